"""The short copies of the lessons: smaller sizes and nothing else, and no lesson slips through at
its full size."""

import shutil

import pairs
import pytest
from short_lessons import shorten, shorten_all

from scdlab.files import package_dir

SIZES = """σ = 0.1  # in Å
SIZES = {
    "quick": dict(σ="σ", steps=400, md_steps=6, curve=(1, 2), labels=500, points=800),
    "full": dict(steps=20000, points=4000),
}
S = SIZES[PROFILE]"""
SHORT = SIZES.replace("steps=400", "steps=10").replace("points=800", "points=60")


def test_only_large_quick_sizes_change():
    assert shorten(SIZES, "tiny") == SHORT
    assert shorten(SHORT, "tiny") == SHORT


@pytest.mark.parametrize(
    ("source", "short"),
    [
        (
            'STEPS = {"quick": 600, "full": 20_000}[PROFILE]',
            'STEPS = {"quick": 10, "full": 20_000}[PROFILE]',
        ),
        ('S = {"quick": {"fit_steps": 90, "n": 7}}', 'S = {"quick": {"fit_steps": 10, "n": 7}}'),
        (
            'S = {"quick": dict(steps=1_000, steps_of=80)}',
            'S = {"quick": dict(steps=10, steps_of=80)}',
        ),
    ],
)
def test_every_way_of_writing_sizes(source, short):
    assert shorten(source, "tiny") == short


@pytest.mark.parametrize(
    "source", ["steps = 40", 'SIZES = {"quick": dict(labels=40)}', 'S = {"full": dict(steps=40)}']
)
def test_a_lesson_without_sizes_is_named(source):
    with pytest.raises(ValueError, match=r"07_tiny\.py has no `SIZES"):
        shorten(source, "07_tiny.py")


def test_both_halves_of_every_pair_are_short(tmp_path):
    """JupyterLab reads a lesson's code from src, whatever the notebook says."""
    folder = tmp_path / "notebooks"
    shutil.copytree(package_dir("notebooks"), folder)
    shorten_all(folder)
    assert pairs.complaints(folder) == []
    for source in (folder / "src").glob("*.py"):
        assert source.read_text(encoding="utf-8") != (
            package_dir("notebooks") / "src" / source.name
        ).read_text(encoding="utf-8")

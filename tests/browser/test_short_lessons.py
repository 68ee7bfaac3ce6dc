"""The short copies of the lessons: smaller sizes and nothing else, and no lesson slips through at its full size."""

import nbformat
import pytest
from short_lessons import shorten

SIZES = """# σ in Å
SIZES = {
    "quick": dict(σ="σ", steps=400, md_steps=6, curve=(1, 2), labels=500, points=800),
    "full": dict(steps=20000, points=4000),
}
S = SIZES[PROFILE]"""
SHORT = SIZES.replace("steps=400", "steps=10").replace("points=800", "points=60")


@pytest.fixture
def shortened(tmp_path):
    """shortened(source) -> the cell's source in the short copy of a lesson that consists of it."""

    def write_and_shorten(source):
        cells = [nbformat.v4.new_markdown_cell("# SIZES"), nbformat.v4.new_code_cell(source)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "07_tiny.ipynb")
        shorten(tmp_path / "07_tiny.ipynb")
        title, code = nbformat.read(tmp_path / "07_tiny.ipynb", as_version=4).cells
        assert title.source == "# SIZES"
        return code.source

    return write_and_shorten


def test_only_large_quick_sizes_change(shortened):
    assert shortened(SIZES) == SHORT


@pytest.mark.parametrize(
    ("source", "short"),
    [
        ('STEPS = {"quick": 600, "full": 20_000}[PROFILE]', 'STEPS = {"quick": 10, "full": 20_000}[PROFILE]'),
        ('S = {"quick": {"fit_steps": 90, "n": 7}}', 'S = {"quick": {"fit_steps": 10, "n": 7}}'),
        ('S = {"quick": dict(steps=1_000, steps_of=80)}', 'S = {"quick": dict(steps=10, steps_of=80)}'),
    ],
)
def test_every_way_of_writing_sizes(shortened, source, short):
    assert shortened(source) == short


@pytest.mark.parametrize(
    "source", ["steps = 400", 'SIZES = {"quick": dict(labels=400)}', 'S = {"full": dict(steps=4)}']
)
def test_a_lesson_without_sizes_is_named(shortened, source):
    with pytest.raises(ValueError, match=r"07_tiny.ipynb has no cell `SIZES"):
        shortened(source)

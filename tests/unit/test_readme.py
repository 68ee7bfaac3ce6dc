"""The README: a screen or two, links that lead somewhere, and numbers that stand in the reports."""

import json
import re
from pathlib import Path

import pytest

from scdlab import claims
from scdlab.claims.show import counts, pending

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "data/README.md"]


def report(name: str) -> list[dict]:
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["results"]


def test_the_readme_stays_short():
    assert len(README.splitlines()) <= 110
    assert (
        max(len(block.splitlines()) for block in re.findall(r"```python\n(.*?)```", README, re.S))
        <= 12
    )


def test_the_picture_is_small_and_says_what_it_shows():
    ((words, path),) = re.findall(r"!\[(.*?)\]\((.*?)\)", README)
    assert (ROOT / path).stat().st_size < 1.5e6
    assert "tools/picture.py" in words and len(words.split()) > 20


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize(("name", "peer"), [("schnet", "PyG"), ("et", "torchmd-net")])
def test_speeds_are_those_of_the_reports(name, peer):
    ratios = [
        row["ratio"]
        for row in report(name)
        if (row["batch"], row["forces"], row["terms"]) == (128, True, "equal")
        and row.get("peer", peer) == peer
    ]
    assert len(ratios) == 1
    assert f"**{ratios[0]:.1f}×** as fast as {peer}'s | `python benchmarks/{name}.py`" in README


def test_the_speed_of_force_calls_is_that_of_the_report():
    (row,) = [
        row
        for row in report("calculator")
        if (row["model"], row["of"], row.get("peer"))
        == ("EquivariantTransformer", "ethanol", "torchmd-net")
    ]
    assert f"**{row['ratio']:.1f}×** as fast as torchmd-net's, in float32 | `python" in README


def test_the_time_of_a_slider_is_that_of_the_report():
    row = next(row for row in report("view") if row["atoms"] == 50)
    assert f"**{row['slider_ms']:.0f} ms**, 50 atoms with {row['arrows']} arrows" in README


def test_the_error_under_rotations_is_that_of_the_record():
    found = claims.load_record("ecse-cost", "cpu").summary
    exact = found["turned_ecse_meV"]["mean"]
    average = found["turned_degree_6_meV"]["mean"]
    assert f"**{exact:.0e} meV**".replace("e-0", "e-") in README
    assert f"182 fixed rotations: {average:.1f} meV" in README


def test_the_verdicts_are_those_of_the_records():
    (row,) = [line for line in README.split("\n") if line.endswith("| `scdlab claims` |")]
    found = f"{counts()}; {len(pending())} to do"
    assert row == f"| claims of papers measured here | {found} | `scdlab claims` |", (
        "`python tools/counts.py` writes it"
    )

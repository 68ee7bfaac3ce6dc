"""Curves of claims: kept beside models, gathered from measured seeds, drawn told and untold."""

import claim_curves as claim_curves_tool
import pytest

from scdlab import claims
from scdlab.claims import curves, dens, dens_rules
from scdlab.claims import record as records
from scdlab.explore.claim_curves import claim_curves
from scdlab.training import FitResult

ID = "dens-force-encoding"


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """Records and curves in a temporary folder."""
    monkeypatch.setattr(curves, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records")


@pytest.mark.slow
def test_a_run_leaves_curves_that_can_be_gathered_shipped_and_drawn(shipped, tmp_path):
    assert curves.load_curves(ID, "quick") is None
    claims.run(ID, "quick", out=tmp_path / "out", device="cpu", echo=lambda line: None)
    found = curves.gather(ID, "quick", tmp_path / "out")
    assert list(found.arms) == ["dens", "untold", "plain"] and found.seeds == [0]
    assert found.unit == "meV/Å"
    assert [found.arms[arm].told for arm in found.arms] == [True, False, False]
    for name, arm in found.arms.items():
        assert arm.label == dens.WORDS[name]
        assert arm.steps == [list(range(1, dens_rules.QUICK["steps"] + 1))]
        assert len(arm.values[0]) == 5 and 100 < arm.values[0][0] < 2000
    words = [ID, "--profile", "quick", "--out", str(tmp_path / "out")]
    claim_curves_tool.main([*words, "--picture", str(tmp_path / "pages")])
    assert "DeNS without a force input" in (tmp_path / "pages" / f"{ID}.quick.html").read_text()
    path = curves.curves_path(ID, "quick")
    assert path.parent.name == "curves" and curves.load_curves(ID, "quick") == found
    figure = found.figure(["plain", "dens"])
    assert [trace.line.dash for trace in figure.data] == ["dash", "dash", "solid", "solid"]
    with pytest.raises(ValueError, match="have the arms dens, untold, plain, got 'full'"):
        found.figure(["full"])
    path.write_text(path.read_text().replace('"quick"', '"cpu"'))
    with pytest.raises(ValueError, match="does not match its digest"):
        curves.load_curves(ID, "quick")


def test_seeds_without_curves_are_an_error_that_says_how_to_get_them(tmp_path):
    with pytest.raises(ValueError, match=rf"claims run {ID} --profile night"):
        curves.gather(ID, "night", tmp_path)
    with pytest.raises(ValueError, match="no-such-claim"):
        curves.gather("no-such-claim", "night", tmp_path)


def test_a_curve_is_the_validation_rows_in_its_unit(tmp_path):
    rows = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": 1.0, "val_force_mae": 0.25},
        {"step": 4, "loss": 0.5, "val_force_mae": 0.125},
    ]
    result = FitResult(model=None, rows=rows)
    curves.keep_curve(None, result, "dens", "DeNS", True)
    curves.keep_curve(tmp_path, result, "dens", "DeNS", True)
    kept = curves.read_kept(tmp_path / "curve.dens.json", {"steps": list, "values": list})
    assert kept["steps"] == [2, 4] and kept["values"] == [250.0, 125.0]
    with pytest.raises(ValueError, match="must have a column 'val_noise_mse', got step, loss"):
        curves.keep_curve(tmp_path, result, "scd", "SCD", True, "val_noise_mse")


def test_seeds_are_thin_their_mean_is_thick_and_what_is_not_told_is_broken():
    steps = [[10, 20, 30]] * 3
    told = [[4.0, 2.0, 1.0], [5.0, 3.0, 2.0], [6.0, 4.0, 3.0]]
    figure = claim_curves(
        {"DeNS": (True, steps, told), "plain": (False, steps, [[9.0, 8.0, 7.0]] * 3)},
        title="Ethanol",
    )
    assert len(figure.data) == 8
    mean = figure.data[3]
    assert list(mean.y) == pytest.approx([5.0, 3.0, 2.0]) and "mean of 3 seeds" in mean.name
    assert mean.line.width > figure.data[0].line.width
    assert [trace.line.dash for trace in figure.data] == ["solid"] * 4 + ["dash"] * 4
    assert figure.data[0].line.color != figure.data[4].line.color
    assert [bool(trace.showlegend is not False) for trace in figure.data].count(True) == 2
    assert figure.layout.yaxis.title.text == "validation force MAE (meV/Å)"
    assert figure.layout.yaxis.type == "log" and figure.layout.xaxis.title.text == "training step"
    assert figure.layout.template == claim_curves({"a": (True, [[1]], [[1.0]])}).layout.template


def test_a_mean_is_drawn_only_where_all_seeds_were_measured():
    figure = claim_curves({"DeNS": (True, [[1, 2], [1, 3]], [[2.0, 1.0], [2.0, 1.0]])})
    assert list(figure.data[2].y) == [None] and len(figure.data) == 3


@pytest.mark.parametrize(
    "arms, message",
    [
        ({}, "at least one arm, got none"),
        ({"DeNS": (True, [], [])}, "got 0 and 0"),
        ({"DeNS": (True, [[1]], [[1.0], [2.0]])}, "got 1 and 2"),
        ({"DeNS": (True, [[1, 2]], [[1.0]])}, "an error for each step, got 1 for 2"),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(arms, message):
    with pytest.raises(ValueError, match=message):
        claim_curves(arms)


def test_curves_of_two_errors_are_not_mixed(tmp_path):
    models = {}
    for unit in ("meV/Å", "meV"):
        folder = tmp_path / "models" / unit.replace("/", "")
        folder.mkdir(parents=True)
        rows = [{"step": 1, "val_force_mae": 1.0}]
        curves.keep_curve(
            folder,
            FitResult(None, rows=rows),
            unit.partition("/")[0] + str(len(models)),
            unit,
            True,
            unit=unit,
        )
        models[unit] = folder.name
    curves.write_kept(tmp_path / f"{ID}.night.seed0.json", {"models": models})
    with pytest.raises(ValueError, match="must be of one error, got meV, meV/Å"):
        curves.gather(ID, "night", tmp_path)

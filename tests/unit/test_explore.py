"""Figures are pure functions in one style; widgets draw what their traits say, and never swallow an
error."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from scdlab import analysis, explore
from scdlab.explore import filter_plots, style, svg
from scdlab.explore import widgets as explorer_base

ETHANOL = molecule("CH3CH2OH")


class Store:
    """As much of an AtomStore as the widgets use."""

    def __init__(self, *names):
        self.atoms = [molecule(name) for name in names]

    def __len__(self):
        return len(self.atoms)

    def to_ase(self, i):
        return self.atoms[i]


class Model:
    """Filters that are known: layer l, channel c is cos(r) · (l + 1) - c."""

    cutoff = 4.0

    def filter_curves(self, r):
        return torch.stack(
            [torch.stack([torch.cos(r) * (k + 1) - c for c in range(3)], dim=1) for k in range(2)]
        )


def every_figure():
    r = np.linspace(0, 4, 50)
    history = {
        "step": [0, 10, 20],
        "energy_mae": [1.0, 0.5, 0.2],
        "val_energy_mae": [1.1, None, 0.3],
    }
    return {
        "molecule": explore.molecule_figure(
            ETHANOL, arrows=np.ones((9, 3)), highlight=[1, 2], center=0, labels=True
        ),
        "parity": explore.parity_plot([1.0, 2.0], {"a": [1.1, 2.0], "b": torch.tensor([0.0, 2.0])}),
        "learning": explore.learning_curve(history),
        "learning of two": explore.learning_curve({"x": history, "y": history}),
        "curves": explore.filter_curves(
            r, Model().filter_curves(torch.tensor(r))[0], cutoff=4.0, channels=[0, 2]
        ),
        "cuts": explore.filter_cuts(Model(), 1, 2),
        "filter": explore.filter_figure(Model(), 1, 2),
        "path": explore.path_plot(r, {"a": r**2, "b": -r}),
        "drift": explore.drift_plot({"a": (r, r + 5), "b": (r, 0 * r)}, per_atom=9),
        "bars": explore.compare_bars({"a": [1, 2, 3], "b": 2.0}, "energy MAE", "eV", log=True),
        "compare": explore.compare_curves(
            [10, 100], {"a": [[1, 2], [3, 4]], "b": [1, 2]}, "labels", "error", unit="eV"
        ),
        "neighbors": explore.NeighborExplorer(Store("CH3CH2OH")).picture(),
    }


def test_every_figure_has_the_style_and_survives_json():
    for name, figure in every_figure().items():
        assert figure.layout.template == style.go.layout.Template(style.pio.templates["scdlab"]), (
            name
        )
        assert len(json.loads(figure.to_json())["data"]) > 0, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["parity", "learning", "path", "drift", "bars", "compare"])
def test_measured_axes_name_their_unit(name):
    assert "(eV" in every_figure()[name].layout.yaxis.title.text


def test_bonds_of_ethanol():
    bonds = {tuple(pair) for pair in analysis.bonds_of(ETHANOL).tolist()}
    assert len(bonds) == 8
    assert (0, 1) in bonds and (1, 2) in bonds  # C–C, C–O
    assert len(analysis.bonds_of(Atoms("He"))) == 0


def test_arrows_share_one_scale_that_the_legend_states():
    forces = np.zeros((9, 3))
    forces[0] = [0, 0, 4.0]
    forces[1] = [0, 2.0, 0]
    shafts = explore.molecule_figure(ETHANOL, arrows=forces, arrow_scale=0.5)
    line = next(t for t in shafts.data if t.legendgroup == "arrows" and t.type == "scatter3d")
    assert line.name == "force (1 Å drawn = 2 eV/Å)"
    mesh = next(t for t in shafts.data if t.type == "mesh3d")
    tips = ETHANOL.positions[:2] + 0.5 * forces[:2]
    points = np.stack([mesh.x, mesh.y, mesh.z], axis=1)
    for tip in tips:
        assert np.linalg.norm(points - tip, axis=1).min() < 1e-9
    assert not [
        t for t in explore.molecule_figure(ETHANOL, arrows=0 * forces).data if t.type == "mesh3d"
    ]
    with pytest.raises(ValueError, match="one arrow per atom"):
        explore.molecule_figure(ETHANOL, arrows=forces[:3])


def test_parity_plot_tells_the_error():
    figure = explore.parity_plot([1.0, 3.0], {"m": [1.5, 3.0]})
    assert figure.data[0].name == "m: MAE 0.25 eV"
    with pytest.raises(ValueError, match="'m' has 3 values"):
        explore.parity_plot([1.0, 3.0], {"m": [1, 2, 3]})


def test_learning_curve_skips_what_was_not_measured():
    history = {"step": [0, 10, 20], "val_energy_mae": [1.1, None, float("nan")]}
    (trace,) = explore.learning_curve(history).data
    assert list(trace.x) == [0] and list(trace.y) == [1.1]
    with pytest.raises(ValueError, match="no 'force_mae'; it has step, val_energy_mae"):
        explore.learning_curve(history, "force_mae")


def test_a_cut_is_the_curve_spread_over_a_plane():
    axis, values = filter_plots.cut_values(Model(), 1, 2, n=81)
    # some place inside
    k = 30
    m = 55
    r = np.hypot(axis[k], axis[m])
    assert values[k, m] == pytest.approx(2 * np.cos(r) - 2, abs=1e-3)
    assert np.isnan(values[0, 0])  # the corner lies beyond the cutoff


def test_drift_starts_at_zero():
    figure = explore.drift_plot({"m": ([0, 1], [7.0, 7.9])}, per_atom=9)
    assert list(figure.data[0].y) == pytest.approx([0.0, 0.1])


def test_series_can_be_told_apart_without_color():
    looks = [(style.color(k), style.DASHES[k]) for k in range(6)]
    assert len(set(looks)) == len({dash for _, dash in looks}) == 6


def test_neighbor_explorer_state_is_in_its_traits():
    widget = explore.NeighborExplorer(Store("CH3CH2OH", "H2O"))
    assert widget.state() == {"molecule": 0, "atom": 0, "cutoff": 2.0, "neighbor": 1, "sees": 4}
    ticks = widget.figure.data[6].x
    assert len(ticks) == 4
    widget.controls["cutoff"].value = 1.2  # as a reader would
    assert widget.cutoff == 1.2 and widget.state()["sees"] == 3
    assert len(widget.figure.data[6].x) == 3  # the picture follows
    widget.atom = 8
    widget.molecule = 1  # water has three atoms: the atom moves to the last of them
    assert widget.state() == {"molecule": 1, "atom": 2, "cutoff": 1.2, "neighbor": 1, "sees": 1}
    assert "H2O" in widget.figure.layout.title.text
    assert widget.controls["neighbor"].max == 2


def test_filter_explorer_draws_the_chosen_filter():
    widget = explore.FilterExplorer(Model())
    widget.controls["layer"].value = 1
    widget.channel = 2
    assert widget.state() == {"layer": 1, "channel": 2}
    curve = next(t for t in widget.figure.data if t.type == "scatter")
    assert curve.y[-1] == pytest.approx(2 * np.cos(4.0) - 2, abs=1e-4)
    assert "Block 1, channel 2" in widget.figure.layout.title.text


def test_a_figure_changed_in_place_is_the_picture_of_its_state():
    neighbors = explore.NeighborExplorer(Store("CH3CH2OH", "H2O"))
    neighbors.molecule = 1
    neighbors.cutoff = 1.2
    neighbors.neighbor = 2
    filters = explore.FilterExplorer(Model())
    filters.layer = 1
    filters.channel = 2
    for widget in (neighbors, filters):
        now, new = (json.loads(fig.to_json()) for fig in (widget.figure, widget.picture()))
        assert now == new
        whole = explorer_base.FigureExplorer.changes(widget)  # what a subclass need not name
        assert len(whole.traces) == len(widget.changes().traces)
        title = widget.figure.layout.title.text
        widget.figure.layout.title.text = "another"
        whole.put_into(widget.figure)
        assert widget.figure.layout.title.text == title


def test_controls_are_described_and_bounded():
    for widget in (explore.NeighborExplorer(Store("H2O")), explore.FilterExplorer(Model())):
        assert set(widget.controls) == set(widget.names)
        assert all(control.description for control in widget.controls.values())


@pytest.mark.parametrize(
    "widget", [explore.NeighborExplorer(Store("H2O")), explore.FilterExplorer(Model())]
)
def test_a_widget_carries_a_still_picture(widget):
    bundle = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    root = ElementTree.fromstring(bundle["image/svg+xml"])
    assert root.tag.endswith("svg") and len(root) > 3
    assert len(json.dumps(bundle)) < 150_000
    go.Figure(bundle["application/vnd.plotly.v1+json"])  # a valid figure
    for trace in widget.figure.data:  # what travels as json, and not as a buffer, must have no NaN
        for value in trace.to_plotly_json().values():
            if isinstance(value, list | tuple) or (
                isinstance(value, np.ndarray) and value.ndim > 1
            ):
                json.dumps(np.asarray(value).tolist(), allow_nan=False)


def test_an_error_while_drawing_is_shown_and_raised(monkeypatch):
    widget = explore.NeighborExplorer(Store("H2O"))

    def fail():
        raise RuntimeError("no <ink>")

    with monkeypatch.context() as patch:
        patch.setattr(widget, "changes", fail)
        with pytest.raises(RuntimeError, match="no <ink>"):
            widget.controls["cutoff"].value = 3.0
        assert "RuntimeError: no &lt;ink&gt;" in widget.message.value
    widget.cutoff = 1.0
    assert widget.message.value == ""  # the next good picture clears it


def test_an_explorer_without_a_picture_is_no_explorer():
    class Unfinished(explorer_base.SvgExplorer):
        names = ()

    with pytest.raises(TypeError, match=r"abstract method '?picture'?"):
        Unfinished()


def test_results_are_kept_until_refresh():
    widget = explore.NeighborExplorer(Store("H2O"))
    made = []
    for _ in range(2):
        assert widget.remember("key", lambda: made.append(1) or len(made)) == 1
    widget.refresh()
    assert widget.remember("key", lambda: made.append(1) or len(made)) == 2


def test_a_single_atom_has_no_neighbors():
    store = Store("H2O")
    store.atoms.append(Atoms("He"))
    widget = explore.NeighborExplorer(store)
    with pytest.raises(Exception, match="single atom"):
        widget.molecule = 1


def test_svg_escapes_its_title():
    assert "a&lt;b" in svg.molecule(ETHANOL, title="a<b")

"""What explorers are made of: wrong things are refused in one sentence, crystals shown rightly."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list

import scdlab
from scdlab import explore
from scdlab.atoms import AtomStore, load_ethanol
from scdlab.explore import svg

torch.manual_seed(0)
MODEL = scdlab.SchNet(hidden_channels=16, num_layers=1)
CONDITIONAL = scdlab.EquivariantTransformer(
    hidden_channels=16, num_layers=1, num_heads=2, conditional=True
)
PET = scdlab.PET(hidden_channels=16, num_layers=1, num_heads=2)
MOLECULES = AtomStore.from_ase([molecule(name) for name in ("H2O", "CH4", "NH3", "CO2")])
FRAMES = load_ethanol()[:3]
NO_STORES = ("/nowhere", ["a"], None, 3, MODEL, molecule("H2O"), {}, AtomStore, [molecule("H2O")])
NO_MODELS = ("/nowhere", [MODEL], 3, MOLECULES, torch.nn.Linear(2, 2), scdlab.SchNet)


def one_sentence(error):
    text = str(error.value)
    return "\n" not in text and 20 < len(text) < 300 and text.endswith((".", "…"))


EXPLORERS = {
    "NeighborExplorer": lambda store, model: explore.NeighborExplorer(store),
    "NoiseExplorer": lambda store, model: explore.NoiseExplorer(store, model, None),
    "ConditionExplorer": lambda store, model: explore.ConditionExplorer(model, store),
    "ForceExplorer": lambda store, model: explore.ForceExplorer(store, model),
    "EmbeddingExplorer": lambda store, model: explore.EmbeddingExplorer(
        store, {"m": model}, method="pca"
    ),
}


@pytest.mark.parametrize("name", EXPLORERS)
def test_what_is_no_store_is_refused(name):
    for thing in NO_STORES:
        if thing is None and name in ("NoiseExplorer", "ConditionExplorer"):
            continue  # the kit's sample
        with pytest.raises(ValueError, match=f"{name} takes an AtomStore, got") as error:
            EXPLORERS[name](thing, CONDITIONAL)
        assert one_sentence(error)
    with pytest.raises(ValueError, match="The store is empty"):
        EXPLORERS[name](MOLECULES[:0], CONDITIONAL)


@pytest.mark.parametrize("name", list(EXPLORERS)[1:])
def test_what_is_no_model_is_refused(name):
    for thing in NO_MODELS:
        with pytest.raises(ValueError, match="model") as error:
            EXPLORERS[name](FRAMES, thing)
        assert one_sentence(error)


def test_filters_and_frames_need_their_models():
    for thing in (*NO_MODELS, None, CONDITIONAL):
        with pytest.raises(ValueError, match="FilterExplorer shows filters") as error:
            explore.FilterExplorer(thing)
        assert one_sentence(error)
    for paths in (3, {"a": "x"}, {"a": [1]}, ["a"]):
        with pytest.raises(ValueError, match="path"):
            explore.FrameExplorer(PET, paths=paths)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        *(
            (lambda **state: explore.NeighborExplorer(MOLECULES, **state), {name: value})
            for name, values in {
                "molecule": (-1, 4, 10**6, "a", 1.5, None, True),
                "atom": (-1, 3, "a"),
                "cutoff": (float("nan"), 0.1, 100.0, "a"),
                "neighbor": (0, 3),
            }.items()
            for value in values
        ),
        *(
            (lambda **state: explore.FilterExplorer(MODEL, **state), {name: value})
            for name, values in {
                "layer": (-1, 1, "a"),
                "channel": (-1, 16),
                "cutoff": (-1, 0, float("inf"), "a", True),
            }.items()
            for value in values
        ),
        *(
            (lambda **state: explore.NoiseExplorer(MOLECULES, reference=None, **state), state)
            for state in ({"kind": "x"}, {"source": 3}, {"relaxed": "a"}, {"sigma": "a"})
        ),
        *(
            (lambda **state: explore.ForceExplorer(FRAMES, **state), state)
            for state in ({"frame": "a"}, {"corrupt": 2}, {"ratio": None}, {"seed": 1.5})
        ),
        *(
            (lambda **state: explore.EmbeddingExplorer(MOLECULES, {"m": MODEL}, **state), state)
            for state in ({"n": "a"}, {"n": -1}, {"n": 1.5}, {"seed": -1}, {"seed": "a"})
        ),
    ],
)
def test_values_out_of_range_and_of_another_kind_are_refused(make, arguments):
    with pytest.raises(ValueError, match="The explorer's") as error:
        make(**arguments)
    assert one_sentence(error)


def test_later_values_are_checked_as_the_first_are():
    explorer = explore.NeighborExplorer(MOLECULES)
    for name, value in (("molecule", 10**6), ("atom", 7), ("cutoff", -1.0), ("neighbor", "x")):
        before = explorer.state()
        with pytest.raises(ValueError, match=f"explorer's {name} must be"):
            setattr(explorer, name, value)
        assert explorer.state() == before
    explorer.molecule = np.int64(1)
    assert explorer.state()["sees"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("crystal", "cutoff"),
    [
        (bulk("NaCl", "rocksalt", a=5.4), 3.0),
        (bulk("Cu"), 3.0),
        (bulk("Cu", cubic=True), 5.5),
        (bulk("Si").repeat((1, 1, 2)), 4.0),
        (bulk("Fe", "bcc", a=2.87) * (1, 1, 1), 6.0),
    ],
)
def test_neighbors_of_crystals_are_those_of_ase(crystal, cutoff):
    explorer = explore.NeighborExplorer(AtomStore.from_ase([crystal]), cutoff=cutoff)
    for atom in range(len(crystal)):
        explorer.atom = atom
        expected = np.sort(
            neighbor_list("d", crystal, cutoff)[neighbor_list("i", crystal, cutoff) == atom]
        )
        assert explorer.state()["sees"] == len(expected)
        shown = np.sort(explorer.distances()[explorer.seen()])
        np.testing.assert_allclose(shown, expected, atol=1e-4)
    assert explorer.to_svg().startswith("<svg")
    assert str(len(expected)) in explorer.figure.layout.title.text


@pytest.mark.slow
def test_from_a_crystal_to_a_molecule_and_back():
    store = AtomStore.from_ase([molecule("CH4"), bulk("NaCl", "rocksalt", a=5.4), Atoms("He")])
    explorer = explore.NeighborExplorer(store, neighbor=4)
    explorer.molecule = 1
    explorer.neighbor = 30
    assert explorer.controls["atom"].max == 1
    explorer.molecule = 0
    assert explorer.neighbor == 4 and explorer.state()["sees"] == 4
    with pytest.raises(ValueError, match="Structure 2 is a single atom, so that there are no"):
        explorer.molecule = 2
    assert "single atom" in explorer.message.value
    explorer.molecule = 0
    assert explorer.message.value == ""


@pytest.mark.slow
def test_small_and_constant_embeddings():
    with pytest.raises(ValueError, match="The store has 2 of them: EmbeddingExplorer needs at"):
        explore.EmbeddingExplorer(MOLECULES[:2], {"m": MODEL}, method="pca")
    same = AtomStore.from_ase([molecule("H2O")] * 20)
    explorer = explore.EmbeddingExplorer(same, {"m": MODEL}, method="pca")
    assert np.isfinite(explorer.xy()).all() and explorer.to_svg().startswith("<svg")
    state = explorer.state()
    assert state["extensivity"] is None and state["smoothness"] is None


def test_a_still_picture_that_fails_leaves_the_widget(monkeypatch, caplog):
    explorer = explore.NeighborExplorer(MOLECULES)
    view = explore.view_molecule(molecule("H2O"))

    def fails(*arguments, **keywords):
        raise RuntimeError("no picture")

    monkeypatch.setattr(svg, "molecule", fails)
    with caplog.at_level("WARNING", "scdlab"):
        bundle = explorer._repr_mimebundle_()
        data, _ = view._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and "image/svg+xml" not in bundle
    assert "application/vnd.jupyter.widget-view+json" in data and "image/svg+xml" not in data
    assert caplog.text.count("still picture of a widget failed (RuntimeError: no picture)") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        *({"size": size} for size in (3, (0, 0), ("a", 1), (float("nan"), 1), (1, 2, 3), None)),
        *({"marked": marked} for marked in (3, {"a": "x"}, {"a": [0.5]}, {"a": [float("nan")]})),
        *({"arrows": arrows} for arrows in ("x", [["a"] * 3] * 3, {"a": {"vectors": None}})),
        *({"arrows": np.ones((3, 3)), "arrow_scale": scale} for scale in ("a", True, -1, [1])),
    ],
)
def test_views_refuse_what_they_cannot_draw(arguments):
    with pytest.raises(ValueError, match=r"size|mark|arrows") as error:
        explore.view_molecule(molecule("H2O"), **arguments)
    assert one_sentence(error)


def test_figures_of_molecules_take_what_views_take():
    for thing in ("CCO", None, 3, MOLECULES, [], MODEL):
        for draw in (explore.molecule_figure, explore.view_molecule, explore.static_view):
            with pytest.raises(ValueError, match=r"view|draw"):
                draw(thing)
    figure = explore.molecule_figure(MOLECULES[:1])
    assert len(figure.data) > 1

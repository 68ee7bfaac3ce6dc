"""The frame explorer shows what the library computes: its weights, frames and energies are computed
here again."""

import warnings
import xml.etree.ElementTree as ElementTree

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

import scdlab
from scdlab.analysis import rotation
from scdlab.analysis import scan as scanning
from scdlab.explore import FrameExplorer, frame_pictures, frame_words
from scdlab.nn.trained_labels import TrainedLabels
from scdlab.symmetry.averaging import PCAFrames, RandomRotations

CO2, ETHANOL, WATER = (molecule(name) for name in ("CO2", "CH3CH2OH", "H2O"))
SMALL = dict(hidden_channels=16, num_layers=1, num_attention_layers=1, num_heads=2, cutoff=4.0)


START = dict(atom=8, path=scanning.LINE, moved=0.0, rotation=0.0, center=0, shows="path")


def network(seed=0):
    torch.manual_seed(seed)
    return scdlab.PET(**SMALL)


@pytest.fixture(scope="module")
def model():
    return network().eval()


def at_start(shown, **state):
    with shown.hold_trait_notifications():
        for name, value in (START | state).items():
            setattr(shown, name, value)
    return shown


@pytest.fixture(scope="module")
def of_ethanol(model):
    return FrameExplorer(model, ETHANOL, **START)


@pytest.fixture
def ethanol(of_ethanol):
    """One explorer for all, at the start: what it has computed once, it keeps."""
    yield at_start(of_ethanol)
    of_ethanol.message.value = ""


@pytest.fixture(scope="module")
def of_water(model):
    return FrameExplorer(model)


@pytest.fixture
def water(of_water):
    return at_start(of_water, atom=2)


@pytest.fixture
def count(model):
    """How often the model was called, in a list of the numbers of atoms."""
    calls = []
    hook = model.register_forward_hook(lambda module, args, out: calls.append(len(args[0].z)))
    yield calls
    hook.remove()


def batch_of(atoms, *positions):
    batch = scdlab.AtomStore.from_ase([atoms]).take([0] * len(positions))
    batch.pos = torch.as_tensor(np.concatenate(positions), dtype=torch.float32)
    return batch


def energy(model, atoms, *positions):
    """eV, by the model itself."""
    with torch.no_grad():
        return model.eval()(batch_of(atoms, *positions)).energy.double().numpy()


def average(model, name):
    return {
        "raw": lambda m: m,
        "rotations": lambda m: RandomRotations(m, 8, inversion=False),
        "pca": PCAFrames,
        "ecse": scdlab.ECSE,
    }[name](model)


def angle(a, b, c):
    u = a - b
    v = c - b
    return np.degrees(np.arccos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1)))


# --------------------------------------------------------------------------------------------------
# functions


@pytest.mark.parametrize("atoms", [WATER, ETHANOL, CO2], ids=str)
def test_paths_start_where_the_atom_is_and_change_what_they_say(atoms):
    k = len(atoms) - 1
    paths = scanning.paths_of(atoms, k, 4.0)
    assert list(paths) == [scanning.BOND, scanning.LINE, scanning.CUTOFF]
    for path in paths.values():
        places = path.place(path.grid)
        assert 0.0 in path.grid and places.shape == (33, 3)
        np.testing.assert_allclose(path.place(np.zeros(1))[0], atoms.positions[k], atol=1e-9)
        np.testing.assert_allclose(
            np.linalg.norm(np.diff(places, axis=0), axis=1), np.diff(path.grid), rtol=0.01
        )
    j = int(np.linalg.norm(np.delete(atoms.positions, k, 0) - atoms.positions[k], axis=1).argmin())
    for name in (scanning.BOND, scanning.CUTOFF):
        r = np.linalg.norm(paths[name].place(paths[name].grid) - atoms.positions[j], axis=1)
        np.testing.assert_allclose(paths[name].read(paths[name].grid), r, atol=1e-9)
        assert paths[name].what == f"distance {atoms.symbols[j]}{j}–{atoms.symbols[k]}{k}"
    assert r[-1] == pytest.approx(4.3)  # beyond the cutoff
    bend = paths[scanning.LINE]
    third = int(bend.what.removeprefix("angle ").partition("–")[0][1:])
    told = bend.read(bend.grid)
    seen = [angle(atoms.positions[third], atoms.positions[j], x) for x in bend.place(bend.grid)]
    np.testing.assert_allclose(seen, 180 - np.abs(180 - told), atol=1e-4)
    assert (
        np.abs(told - 180).min() < 1e-6 and told[-1] > 181
    )  # the line is one of its points, not the last


def test_own_paths_and_small_molecules():
    own = scanning.paths_of(WATER, 1, 4.0, {"up": [0, 0, 0.5]})["up"]
    np.testing.assert_allclose(
        own.place(np.array([-0.5, 0.2])) - WATER.positions[1], [[0, 0, -0.5], [0, 0, 0.2]]
    )
    assert (own.low, own.high, own.unit) == (-0.5, 0.5, "Å")
    assert list(scanning.paths_of(molecule("N2"), 0, 4.0)) == [scanning.BOND, scanning.CUTOFF]


def test_jumps_are_told_from_what_is_only_steep():
    grid = np.linspace(-1, 1, 33)

    def smooth(t):
        return np.sin(3 * t) + t**2

    assert (
        scanning.refined(smooth, grid).jump < 1e-6
        and scanning.refined(smooth, grid, enough=0).jump < 1e-9
    )
    # -0.15: jump and slope cancel over an interval of the grid, so that the curve alone hardly
    # shows it
    for where, size in ((0.31, 0.02), (0.31, -0.15), (-0.999, 0.05), (0.98, 0.05)):
        scan = scanning.refined(
            lambda t, where=where, size=size: smooth(t) + size * (t > where), grid
        )
        assert scan.jump == pytest.approx(abs(size), rel=1e-3) and scan.at == pytest.approx(
            where, abs=1e-5
        )
        assert scan.step == pytest.approx(abs(size), rel=0.05)
    steep = scanning.refined(lambda t: smooth(t) + 0.02 * np.tanh((t - 0.31) / 1e-4), grid)
    assert steep.jump < 1e-4 and steep.step == pytest.approx(0.04, rel=0.05)
    assert steep.at == pytest.approx(0.31, abs=1e-3)
    holes = scanning.refined(lambda t: np.where(np.abs(t) < 0.2, np.nan, smooth(t)), grid)
    assert holes.jump < 1e-5 and np.isnan(holes.e).any() and (np.diff(holes.t) > 0).all()
    nothing = scanning.refined(lambda t: np.full(len(t), np.nan), grid)
    assert np.isnan([nothing.jump, nothing.at, nothing.step]).all()


# --------------------------------------------------------------------------------------------------
# the state


@pytest.mark.parametrize(("moved", "rotation"), [(0.1, 0.0), (0.1, 40.0), (0.0, 0.0)])
def test_weights_and_energies_are_those_of_the_library(model, ethanol, moved, rotation):
    shown = at_start(ethanol, path=scanning.BOND, moved=moved, rotation=rotation, atom=3, center=2)
    state = shown.state()
    pos = ETHANOL.positions.copy()
    pos[3] += moved * (pos[3] - pos[2]) / np.linalg.norm(pos[3] - pos[2])  # H3 is bound to O2
    turn = np.radians(rotation)
    axis = np.array([1, 2, 3]) / np.sqrt(14)
    x = pos - ETHANOL.positions.mean(0)  # Rodrigues's formula
    pos = (
        x * np.cos(turn)
        + np.cross(axis, x) * np.sin(turn)
        + np.outer(x @ axis, axis) * (1 - np.cos(turn))
    )
    np.testing.assert_allclose(shown.positions() - ETHANOL.positions.mean(0), pos, atol=1e-9)
    for name in frame_pictures.METHODS:
        expected = energy(average(model, name), ETHANOL, pos)[0]
        assert state[f"energy_{name}"] == pytest.approx(expected, abs=5e-6)
    r = np.linalg.norm(pos - pos[2], axis=1)
    assert (
        state["distances"] == pytest.approx(np.sort(r)[1:].tolist()) and state["neighbors"][0] == 3
    )
    for prunings, key in ((4, "frames_after"), (0, "frames_before")):
        made = scdlab.ECSE(model, prunings=prunings).frames(batch_of(ETHANOL, pos))
        mine = (made.center == 2) & (torch.linalg.det(made.axes) > 0)
        assert state[key] == int(mine.sum()) > 0
        matrix = scanning.weight_matrix(shown.frames(pruned=prunings > 0), 2, state["neighbors"])
        for j, k, w in zip(made.j[mine], made.k[mine], made.weights[mine], strict=True):
            at = [state["neighbors"].index(int(i)) for i in (j, k)]
            assert matrix[*at] == matrix[*at[::-1]] == pytest.approx(float(w), rel=1e-4)
        assert np.count_nonzero(matrix) == state[key]
        if prunings == scdlab.ECSE(model).prunings:
            assert state["frames"] == state[key]
            assert state["largest"] == pytest.approx(float(made.weights[mine].max()), rel=1e-4)
    assert (
        state["inner"] == pytest.approx(float(made.inner_radius[2]), rel=1e-5)
        and state["auxiliary"] == 0.0
    )
    assert state["coordinate"] == pytest.approx(r[3]) and state["outer"] == 3.85


def test_pruning_takes_frames_away(ethanol):
    shown = at_start(ethanol, moved=float(ethanol._path().grid[22]))  # H7-C0-H8 is nearly straight
    state = shown.state()
    assert state["frames_before"] > state["frames_after"] > 0
    assert "after 4 prunings" in shown.drawing.value


def test_curves_are_the_energies_along_the_path(model, water):
    path = scanning.paths_of(WATER, 2, 4.0)[scanning.LINE]
    assert FrameExplorer(model).path == scanning.LINE
    places = np.repeat(WATER.positions[None], 33, axis=0)
    places[:, 2] = path.place(path.grid)
    for name, scan in water.scans().items():
        on_grid = np.array([scan.e[np.abs(scan.t - t).argmin()] for t in path.grid])
        there = (
            np.abs(path.read(path.grid) - 180) > 1e-3
        )  # PCA has no frame for the straight molecule
        expected = energy(average(model, name), WATER, *places[there])
        np.testing.assert_allclose(on_grid[there], expected, atol=5e-6)
        assert bool(np.isnan(on_grid[~there]).all()) is (name == "pca")


def test_who_turns_and_who_jumps(model, water):
    """Raw turns; PCA frames jump where two extents of water are equal, at 60°; ECSE does
    neither."""
    state = at_start(water, atom=2, shows="turn").state()
    turned = [
        rotation.rotated(WATER.positions, 15.0 * k, WATER.positions.mean(0)) for k in range(24)
    ]
    for name in frame_pictures.METHODS:
        e = energy(average(model, name), WATER, *turned)
        assert state[f"spread_{name}"] == pytest.approx(1000 * np.ptp(e), abs=0.01)
    assert state["spread_raw"] > 10 > state["spread_rotations"] > 1 > 0.01 > state["spread_pca"]
    assert state["spread_ecse"] < 0.01
    path = water._path()
    places = np.repeat(WATER.positions[None], 2, axis=0)
    places[:, 2] = path.place((np.array([59.999, 60.001]) - path.start) / path.rate)
    gap = 1000 * np.abs(np.diff(energy(PCAFrames(model), WATER, *places)))[0]
    assert state["jump_pca"] == pytest.approx(gap, rel=0.02) and gap > 0.5
    assert state["jump_at_pca"] == pytest.approx(60, abs=0.01)
    assert max(state[f"jump_{name}"] for name in ("raw", "rotations", "ecse")) < 0.05
    told = frame_words.verdict(state)
    assert f"raw {state['spread_raw']:.0f}" in told and "ECSE 0.00 meV" in told
    steep = state | {
        "jump_ecse": 0.1,
        "step_ecse": 12.0,
    }  # of an ECSE whose prunings sharpen a step to 10⁻⁵ Å
    assert frame_words.verdict(steep) == told
    assert "ECSE 12 meV" in dict(frame_words.describe(steep))["no jump, but steep"]
    assert f"jumps with PCA frames by {gap:.2f} meV at 60.00°, else not." in told


def test_an_invariant_energy_stays_on_its_curve(ethanol):
    shown = ethanol
    before = shown.state()
    shown.rotation = 50.0
    after = shown.state()
    for name, stays in (("raw", False), ("rotations", False), ("pca", True), ("ecse", True)):
        assert (abs(after[f"energy_{name}"] - before[f"energy_{name}"]) < 1e-5) is stays
    assert "dots: turned by 50°" in shown.drawing.value
    assert all(before[key] == after[key] for key in before if key.startswith(("jump", "spread")))


# --------------------------------------------------------------------------------------------------
# the controls

MOVES = {
    "atom": 5,
    "path": scanning.CUTOFF,
    "moved": 0.5,
    "rotation": 60.0,
    "center": 1,
    "shows": "turn",
}
MOVED = {  # trait -> numbers that hang on it, and some that do not
    "atom": (("name", "what", "jump_at_ecse"), ("center_name", "spread_raw", "frames")),
    "path": (("what", "unit", "jump_at_ecse"), ("spread_raw", "frames", "energy_raw")),
    "moved": (
        ("coordinate", "energy_raw", "energy_pca", "energy_ecse", "distances"),
        ("jump_pca", "spread_raw"),
    ),
    "rotation": (
        ("energy_raw", "energy_rotations"),
        ("frames", "coordinate", "spread_raw", "jump_ecse"),
    ),
    "center": (
        ("neighbors", "inner", "largest"),
        ("energy_raw", "coordinate", "jump_ecse", "spread_raw"),
    ),
    "shows": ((), ("energy_raw", "frames", "spread_raw", "jump_ecse")),
}


def same(a, b):
    """Equal, but for the rounding of a float32 batch."""
    return a == (pytest.approx(b, abs=1e-5, rel=1e-4) if isinstance(b, float) else b)


@pytest.mark.slow
@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("by", ["python", "control"])
def test_each_trait_moves_the_state_and_the_pictures(model, ethanol, name, by):
    shown = ethanol
    before = shown.state()
    picture = shown.drawing.value
    scene = shown.molecule.value
    words = shown.words.value
    value = float(shown._path().grid[4]) if name == "moved" else MOVES[name]
    setattr(*((shown, name) if by == "python" else (shown.controls[name], "value")), value)
    after = shown.state()
    (moved, stays) = MOVED[name]
    assert after[name] == shown.controls[name].value == value != before[name]
    assert [key for key in moved if same(before[key], after[key])] == []
    assert all(same(before[key], after[key]) for key in stays)
    assert shown.drawing.value == shown.picture() != picture
    assert (shown.molecule.value != scene) is (name in ("moved", "rotation", "center"))
    assert shown.molecule.value == shown.scene() and (shown.words.value != words) is (
        name != "shows"
    )
    assert shown.message.value == ""
    if by == "python" and name in ("path", "moved"):
        fresh = FrameExplorer(model, ETHANOL, **START | {name: value})
        assert after == fresh.state() and shown.to_svg() == fresh.to_svg()


def test_along_a_path_the_model_is_not_asked(ethanol, count):
    shown = ethanol
    count.clear()
    scene = shown.molecule.value
    marks = set()
    for moved in shown._path().grid[[3, 20, 27]].tolist():
        shown.moved = moved
        circles = ElementTree.fromstring(shown.drawing.value).findall(".//{*}circle")
        marks.add(next(e for e in circles if "ecse" in e.get("class")).get("cx"))
    shown.center = 4
    assert count == [] and len(marks) == 3 and shown.molecule.value != scene
    shown.rotation = 45.0
    once = len(count)  # each method, of one structure
    assert once > 0 and count[0] == 9
    shown.rotation = 0.0
    shown.rotation = 45.0
    assert len(count) == once
    shown.path = scanning.BOND
    asked = len(count)
    shown.path = scanning.LINE
    shown.path = scanning.BOND
    assert len(count) == asked > once


def points_of(picture):
    """Name of a curve -> its points [m, 2] in pixels."""
    paths = ElementTree.fromstring(picture).findall(".//{*}path")
    return {
        e.get("class"): np.array([p.split(",") for p in e.get("d")[1:].split("L")], float)
        for e in paths
    }


@pytest.mark.parametrize("shows", ["path", "turn"])
def test_what_is_not_known_yet_is_sketched_first(model, shows):
    shown = FrameExplorer(model, WATER, path=scanning.BOND, moved=0.1, shows=shows)
    drawn = []
    told = []
    shown.drawing.observe(lambda change: drawn.append(change["new"]), names=["value"])
    shown.words.observe(lambda change: told.append(change["new"]), names=["value"])
    shown.atom = 1
    sketch, whole = drawn
    assert "when the energies are computed" in told[0] and "meV" not in told[0]
    assert "raw" in told[-1] and "meV" in told[-1] and shown.message.value == ""
    few = points_of(sketch)
    all_of_them = points_of(whole)
    assert list(few) == list(all_of_them) == list(frame_pictures.METHODS)
    assert all(5 <= len(few[name]) <= 6 < len(all_of_them[name]) for name in few)
    assert "circle" not in sketch and "circle" in whole
    if shows == "turn":
        about = WATER.positions.mean(0)
        turned = shown.energies.turn(shown._moved_by(0.1), 72)
        at = [
            rotation.rotated(shown._moved_by(0.1), degrees, about) for degrees in range(0, 361, 72)
        ]
    else:
        t, _ = shown.energies.sketch(shown._path(), 1)["raw"]
        turned = {name: e for name, (_, e) in shown.energies.sketch(shown._path(), 1).items()}
        at = shown.energies.along(shown._path(), 1, t)
        assert 0.0 in t and set(t) <= set(shown._path().grid)
    for name in ("raw", "pca"):
        np.testing.assert_allclose(
            turned[name], energy(average(model, name), WATER, *at), atol=5e-6
        )
    drawn.clear()
    shown.atom = 2  # known from the start
    assert len(drawn) == 1


def test_a_turn_that_is_known_is_drawn_before_the_path_is_scanned(model):
    shown = FrameExplorer(model, WATER, path=scanning.BOND, shows="turn")
    events = []
    scan = shown.energies.scan
    shown.energies.scan = lambda *args: (events.append("scan"), scan(*args))[1]
    shown.drawing.observe(lambda change: events.append("drawn"), names=["value"])
    shown.atom = 1  # the molecule turns as given, whichever atom is to move
    assert events[:2] == ["drawn", "scan"]


def test_a_model_that_fails_after_the_sketch_leaves_the_picture_as_it_was(model, monkeypatch):
    shown = FrameExplorer(model, WATER, path=scanning.BOND)
    before = shown.drawing.value, shown.molecule.value, shown.words.value
    drawn = []
    shown.drawing.observe(lambda change: drawn.append(change["new"]), names=["value"])

    def fail(*args):
        raise RuntimeError("no number")

    monkeypatch.setattr(shown.energies, "scan", fail)
    with pytest.raises(RuntimeError, match="no number"):
        shown.path = scanning.LINE
    assert len(drawn) == 2 and drawn[0] != before[0]
    assert (shown.drawing.value, shown.molecule.value, shown.words.value) == before
    assert "This picture failed" in shown.message.value


def test_a_turn_is_computed_once_for_each_place(water, count):
    shown = at_start(water, atom=2, shows="turn")
    count.clear()
    shown.rotation = 45.0
    shown.rotation = 360.0
    assert count == []
    first = shown.state()["spread_raw"]
    shown.moved = float(shown._path().grid[29])
    assert (
        count and shown.state()["spread_raw"] != first and shown.state()["turned_at"] == shown.moved
    )
    asked = len(count)
    shown.moved = 0.0
    assert len(count) == asked and shown.state()["spread_raw"] == first


def test_another_path_takes_the_atom_along_or_back(water):
    shown = at_start(water, atom=2, path=scanning.CUTOFF, moved=2.0)
    drawn = []
    shown.drawing.observe(drawn.append, names=["value"])
    shown.path = scanning.BOND  # which ends at 0.6 Å
    slider = shown.controls["moved"]
    assert (shown.moved, slider.value, slider.min, slider.max) == (0.0, 0.0, -0.2, 0.6)
    assert len(drawn) == 2  # a sketch, and the curves
    shown.moved = 0.4
    shown.path = scanning.CUTOFF
    assert shown.moved == slider.value == 0.4 and slider.max > 3
    with shown.hold_trait_notifications():
        shown.path = scanning.BOND
        shown.moved = -0.1
        shown.atom = 1
    assert (shown.path, shown.moved, slider.value) == (scanning.BOND, -0.1, -0.1)
    assert (
        shown.state()
        == FrameExplorer(
            shown.energies.backbone, path=scanning.BOND, moved=-0.1, atom=1, center=0
        ).state()
    )


def test_a_browser_that_rounds_a_slider_moves_nothing(water):
    shown = at_start(water, atom=2, path=scanning.BOND, moved=0.113, rotation=50.0)
    shown.controls["moved"].value = 0.125
    shown.controls["rotation"].value = 45.0
    assert (shown.moved, shown.rotation) == (0.113, 50.0)
    shown.controls["moved"].value = 0.2001
    assert shown.moved == pytest.approx(0.2, abs=1e-12)


def test_own_paths_are_offered(model):
    shown = FrameExplorer(model, paths={"up": [0.3, 0, 0.4]}, path="up", moved=-0.25)
    np.testing.assert_allclose(shown.positions()[2] - WATER.positions[2], [-0.15, 0, -0.2])
    assert shown.controls["path"].options[-1] == "up" and shown.state()["coordinate"] == -0.25


def test_refresh_sees_a_model_that_was_trained_further():
    shown = FrameExplorer(network())
    before = shown.state()
    with torch.no_grad():
        shown.energies.backbone.energy_head.scale.mul_(3.0)
    assert shown.state() == before
    shown.refresh()
    assert shown.state()["spread_raw"] == pytest.approx(3 * before["spread_raw"], rel=1e-4)


def test_the_model_stays_as_it_is():
    model = network().train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    FrameExplorer(model).rotation = 30.0
    assert all(part.training for part in model.modules())
    exact = scdlab.ECSE(model).eval()
    FrameExplorer(exact).rotation = 30.0
    assert not any(part.training for part in exact.modules())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_an_ecse_is_taken_with_its_settings(model):
    exact = scdlab.ECSE(model, group="SO(3)", prunings=2, sin2_min=0.3, outer_radius=2.5)
    shown = FrameExplorer(exact, ETHANOL, center=0)
    made = exact.frames(batch_of(ETHANOL, ETHANOL.positions))
    assert (
        shown.state()["frames"] == int((made.center == 0).sum()) and shown.state()["outer"] == 2.5
    )
    assert "after 2 prunings" in shown.words.value and "does not prune" not in shown.words.value
    assert shown.state()["energy_ecse"] == pytest.approx(
        energy(exact, ETHANOL, ETHANOL.positions)[0], abs=5e-6
    )
    variants = [shown.energies.variant(pruned) for pruned in (False, True)]
    assert "mirror" not in shown.words.value
    assert [each.sin2_min for each in variants] == [0.3, 0.3]


# --------------------------------------------------------------------------------------------------
# the picture


def test_the_drawing_has_the_frames_and_radii(ethanol):
    shown = ethanol
    state = shown.state()
    svg = ElementTree.fromstring(shown.molecule.value)
    groups = [g for g in svg.findall(".//{*}g") if g.get("class") == "frame"]
    assert len(groups) == state["frames"] and all(len(g.findall("{*}polygon")) == 3 for g in groups)
    made = shown.frames()
    weights = made.weights[(made.center == 0) & (torch.linalg.det(made.axes) > 0)].numpy()
    expected = sorted(0.12 + 0.88 * weights / weights.max())
    assert [float(g.get("opacity")) for g in groups] == pytest.approx(expected, abs=0.01)
    outer, inner = (float(c.get("r")) for c in list(svg.findall(".//{*}circle"))[:2])
    assert inner / outer == pytest.approx(state["inner"] / state["outer"], abs=1e-2)
    assert f"R_in = {state['inner']:.2f} Å" in shown.molecule.value


def test_the_widget_carries_a_still_picture(ethanol):
    shown = ethanol
    bundle = shown._repr_mimebundle_()
    assert (
        "application/vnd.jupyter.widget-view+json" in bundle
        and "application/vnd.plotly.v1+json" not in bundle
    )
    words = " ".join(ElementTree.fromstring(bundle["image/svg+xml"]).itertext())
    for part in (
        "frames of",
        "R_in",
        "8 rotations",
        "PCA frames",
        "before pruning",
        "energy, relative (meV)",
        "angle H7–C0–H8 (°)",
        "verdict",
        "in a full turn",
    ):
        assert part in words
    curves = list(ElementTree.fromstring(shown.drawing.value).findall(".//{*}path"))
    assert [e.get("class") for e in curves] == list(frame_pictures.METHODS)
    assert len({(e.get("stroke"), e.get("stroke-dasharray")) for e in curves}) == 4


def test_no_frame_in_a_straight_molecule(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = FrameExplorer(model, CO2, path=scanning.BOND)
    state = shown.state()
    assert (state["frames"], state["frames_before"], state["auxiliary"]) == (0, 0, 1.0)
    assert state["energy_pca"] is state["spread_pca"] is state["jump_pca"] is None
    assert "no frame: the auxiliary model answers" in shown.molecule.value
    assert (
        "no frame: the auxiliary model answers (w_aux = 1.00), which was not trained"
        in shown.words.value
    )
    assert (
        "PCA frames: none" in shown.drawing.value and "PCA frames (no frame)" in shown.words.value
    )
    assert state["energy_ecse"] == pytest.approx(
        energy(scdlab.ECSE(model), CO2, CO2.positions)[0], abs=5e-6
    )
    shown.path = scanning.LINE  # bent, there are frames again
    shown.moved = shown._path().high
    assert shown.state()["energy_pca"] is not None


def test_a_trained_auxiliary_model_is_not_called_silent(model):
    exact = scdlab.ECSE(model)
    exact.auxiliary.trained_elements[torch.tensor([6, 8])] = True
    shown = FrameExplorer(exact, CO2, path=scanning.BOND)
    assert (
        "the auxiliary model answers" in shown.words.value
        and "not trained" not in shown.words.value
    )


@pytest.mark.parametrize("m", [0, 1, 8, 12])
def test_matrices_of_any_size(m):
    rng = np.random.default_rng(0)
    before = np.triu(rng.uniform(0.1, 5, (m, m)), 1)
    picture = frame_pictures.matrices(
        before, np.where(before > 2, before, 0), [f"H{k}" for k in range(m)], "Weights", 4
    )
    cells = list(ElementTree.fromstring(picture).findall(".//{*}rect"))
    assert len(cells) == 2 * m**2
    if m:
        assert max(float(c.get("x")) + float(c.get("width")) for c in cells) <= 470


# --------------------------------------------------------------------------------------------------
# bad input


def one_sentence(error):
    text = str(error.value)
    assert text.endswith(".") and text.count(". ") == 0 and "\n" not in text
    return True


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("atom", 3, "atom must be between 0 and 2, got 3"),
        ("atom", -1, "atom must be between 0 and 2, got -1"),
        ("center", 3, "center must be between 0 and 2, got 3"),
        ("path", "up", "path must be one of 'along the bond', .*, got 'up'"),
        ("shows", "both", "shows must be one of 'path', 'turn', got 'both'"),
        ("moved", 9.0, "moved must be between .* in a circle through the line, got 9"),
        ("moved", float("nan"), "got nan"),
        ("rotation", 361.0, "rotation must be between 0 and 360, got 361"),
    ],
)
def test_what_no_slider_reaches_is_refused(model, water, name, value, message):
    with pytest.raises(ValueError, match=message) as error:
        FrameExplorer(model, **{name: value})
    assert one_sentence(error)
    before = water.state()
    with pytest.raises(ValueError, match=message):
        setattr(water, name, value)
    assert water.state() == before


def test_structures_and_models_that_cannot_be_shown(model):
    for make, message in (
        (lambda: FrameExplorer(model, bulk("Cu")), "is periodic"),
        (lambda: FrameExplorer(model, molecule("H")), "2 to 40 atoms, got 1"),
        (
            lambda: FrameExplorer(model, ase.Atoms("H42", np.arange(126).reshape(42, 3))),
            "2 to 40 atoms, got 42",
        ),
        (lambda: FrameExplorer(model, "water"), "as ase.Atoms, got str"),
        (lambda: FrameExplorer("trained"), "such as PET.*, got str"),
        (lambda: FrameExplorer(scdlab.ECSE(model, local=False)), "local=True"),
        (lambda: FrameExplorer(model, paths={"up": [0, 0, 0]}), "path 'up' must be a vector"),
        (lambda: FrameExplorer(model, paths={"up": [0, 1]}), "path 'up' must be a vector"),
        (lambda: scanning.paths_of(molecule("H"), 0, 4.0), "single atom has no neighbors"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            make()
        assert one_sentence(error)
    water_only = network()
    water_only.trained_elements[torch.tensor([1, 8])] = True
    with pytest.raises(ValueError, match="trained, but not on energies") as error:
        FrameExplorer(water_only, WATER)
    assert one_sentence(error)
    water_only.trained_labels = TrainedLabels(energy=(1, 8))
    FrameExplorer(water_only, WATER)
    with pytest.raises(ValueError, match="learned energies of H and O only, none of C"):
        FrameExplorer(water_only, CO2)


def test_a_model_that_fails_is_told_in_the_widget_and_raised(monkeypatch):
    model = network()
    shown = FrameExplorer(model)
    picture = shown.drawing.value
    scene = shown.molecule.value

    def fail(*args, **kwargs):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(model, "represent", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        shown.path = scanning.BOND
    assert "This picture failed: RuntimeError: shapes differ" in shown.message.value
    assert shown.drawing.value == picture and shown.molecule.value == scene
    shown.path = scanning.LINE  # back where it was
    assert shown.message.value == "" and shown.drawing.value == picture

"""The force explorer shows what the library computes of a frame: its numbers are computed here
again."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

import scdlab
from scdlab import analysis
from scdlab.analysis.forces import ANGLES
from scdlab.explore import ForceExplorer, forces, scene, svg, svg_charts
from scdlab.nn.blocks.force_encoding import spherical_degrees
from scdlab.objectives.dens import DeNS


def labeled(name="CH3CH2OH", seed=0, size=1.0):
    atoms = molecule(name)
    rng = np.random.default_rng(seed)
    atoms.rattle(0.05, rng=rng)
    atoms.calc = SinglePointCalculator(
        atoms, energy=-3.0 - seed, forces=size * rng.normal(size=(len(atoms), 3))
    )
    return atoms


STORE = scdlab.AtomStore.from_ase(
    [labeled(seed=k) for k in range(4)] + [labeled("H2O", 9), labeled(seed=5, size=0.0)]
)
# frames
WATER = 4
STILL = 5


def network(seed=0):
    torch.manual_seed(seed)
    return scdlab.EquivariantTransformer(hidden_channels=16, num_layers=1, num_heads=2)


@pytest.fixture(scope="module")
def models():
    return {"plain": network(0), "DeNS": network(1)}


def explorer(models=None, **options):
    return ForceExplorer(STORE, models, **options)


def true_forces(frame):
    return STORE.to_ase(frame).get_forces()


# --------------------------------------------------------------------------------------------------
# functions


def test_lobes_are_the_encoding_read_in_directions_around_the_force():
    force = np.array([0.3, -1.2, 0.7])
    axis = force / np.linalg.norm(force)
    side = np.cross(axis, [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    around = np.cos(ANGLES)[:, None] * axis + np.sin(ANGLES)[:, None] * side  # [n, 3]
    told = spherical_degrees(torch.tensor(force)[None], 3)
    # sqrt(3): the encoding of a unit vector is Y / sqrt(3)
    read = [
        np.sqrt(3) * (y @ t.T)[:, 0]
        for y, t in zip(spherical_degrees(torch.tensor(around), 3), told, strict=True)
    ]
    np.testing.assert_allclose(analysis.degree_curves(force), torch.stack(read), atol=1e-10)
    np.testing.assert_allclose(
        analysis.degree_curves(force, [2])[0], analysis.degree_curves(force)[2]
    )


def test_what_each_degree_says():
    force = np.array([0.0, 3.0, 4.0])
    zero, one, two, three = analysis.degree_curves(force)
    back = len(ANGLES) // 2
    assert np.allclose(zero, 5 / np.sqrt(3))  # the length, to every side
    np.testing.assert_allclose(one, np.sqrt(3) * 5 * np.cos(ANGLES), atol=1e-12)
    assert two[0] == pytest.approx(two[back]) and three[0] == pytest.approx(-three[back])
    for degree, lobe in enumerate((zero, one, two, three)):
        assert lobe[0] == pytest.approx((2 * degree + 1) * 5 / np.sqrt(3)) and lobe[0] == lobe.max()
    assert not analysis.degree_curves(np.zeros(3)).any()


def test_the_sum_narrows_with_every_degree():
    half = [analysis.half_angle(0, last) for last in range(4)]
    assert half[0] is None and half[1] > half[2] > half[3]
    for first, last in ((0, 1), (0, 2), (0, 3), (1, 1), (2, 2), (3, 3)):
        angles = np.linspace(0, np.pi, 20_001)
        total = sum(
            (2 * d + 1) * np.polynomial.legendre.legval(np.cos(angles), np.eye(4)[d])
            for d in range(first, last + 1)
        )
        seen = np.degrees(angles[np.argmax(total <= total[0] / 2)])
        assert analysis.half_angle(first, last) == pytest.approx(seen, abs=0.02)
    assert analysis.half_angle(1, 1) == pytest.approx(60)


def test_the_corruption_is_the_objective_s_and_hangs_on_seed_and_frame():
    one = analysis.corruption(STORE, 2, 0.05, 0.4, 3)
    key = int(np.random.SeedSequence([3, 2]).generate_state(1)[0])
    batch = STORE.take([2])
    same = DeNS(prob=1.0, corrupt_ratio=0.4, sigma=0.05).corrupt(
        batch, torch.Generator().manual_seed(key)
    )
    assert torch.equal(one.eps, same.eps) and torch.equal(
        one.force_input, batch.forces * one.mask[:, None]
    )
    wide = analysis.corruption(STORE, 2, 0.1, 0.4, 3)
    more = analysis.corruption(STORE, 2, 0.05, 0.8, 3)
    assert torch.allclose(wide.eps, 2 * one.eps) and torch.equal(wide.mask, one.mask)
    assert bool((more.mask | ~one.mask).all()) and more.mask.sum() > one.mask.sum()
    for frame, seed in ((1, 3), (2, 4)):
        assert not torch.equal(analysis.corruption(STORE, frame, 0.05, 1.0, seed).eps, one.eps)
    per_atom = [
        analysis.corruption(STORE, 0, 0.05, 0.25, seed).mask.float().mean() for seed in range(100)
    ]
    assert np.mean(per_atom) == pytest.approx(0.25, abs=0.05)


def test_predicted_forces_are_the_model_s_and_leave_its_mode(models):
    model = models["plain"]
    expected = model.eval()(STORE.take([1]), forces=True).forces.detach().numpy()
    for training in (True, False):
        model.train(training)
        np.testing.assert_allclose(analysis.predicted_forces(model, STORE, 1), expected, atol=1e-6)
        assert model.training is training


def test_the_axis_turns_as_it_is_seen():
    right, up = svg.VIEW[:2]
    for force, angle in (
        (right, 0.0),
        (up, np.pi / 2),
        (-up, -np.pi / 2),
        (np.zeros(3), np.pi / 2),
    ):
        assert forces.seen_angle(force) == pytest.approx(angle, abs=0.02)


# --------------------------------------------------------------------------------------------------
# the widget


def test_displayed_numbers_are_computed_again(models):
    shown = explorer(models, frame=2, atom=1, degree=3, sigma=0.1, ratio=0.5, seed=4)
    shown.model = "DeNS"
    state = shown.state()
    true = true_forces(2)
    off = analysis.predicted_forces(models["DeNS"], STORE, 2) - true
    assert (state["formula"], state["name"], state["energy"]) == (
        "C2H6O",
        "C1",
        pytest.approx(-5.0),
    )
    assert state["rms_force"] == pytest.approx(np.sqrt((true**2).sum() / true.size))
    assert state["mae"] == pytest.approx(1000 * np.abs(off).sum() / off.size)
    a = (off + true).ravel()
    b = true.ravel()
    assert state["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    np.testing.assert_allclose(state["true"], true[1])
    np.testing.assert_allclose(
        np.subtract(state["predicted"], state["true"]), state["difference"], atol=1e-12
    )
    made = analysis.corruption(STORE, 2, 0.1, 0.5, 4)
    assert state["corrupted"] == made.mask.nonzero().ravel().tolist() != []
    lengths = made.eps[made.mask].norm(dim=1)
    assert state["moved"] == pytest.approx(float(lengths.square().mean().sqrt()))
    size = np.linalg.norm(true[1]) / np.sqrt(3)
    np.testing.assert_allclose(state["towards"], size * np.array([1, 3, 5, 7]))
    np.testing.assert_allclose(state["against"], size * np.array([1, -3, 5, -7]))
    assert state["half_angle"] == analysis.half_angle(0, 3)


def test_arrows_and_marks_of_the_clean_frame(models):
    shown = explorer(models, frame=1, atom=2, ratio=0.5)
    shown.show_difference = True
    arrows = shown.view.arrows
    true = true_forces(1)
    predicted = analysis.predicted_forces(models["plain"], STORE, 1)
    for each, vectors in zip(arrows.values(), (true, predicted, predicted - true), strict=True):
        np.testing.assert_allclose(each["vectors"], vectors, atol=1e-6)
    kinds = shown.view.scene["arrows"]
    assert (
        len({str(kind["profile"]) for kind in kinds}) == len({kind["color"] for kind in kinds}) == 3
    )
    assert all("eV/Å)" in kind["legend"] for kind in kinds)
    np.testing.assert_allclose(shown.view.atoms.positions, STORE.to_ase(1).positions)
    corrupted, chosen = shown.view.scene["marked"]
    assert corrupted["atoms"] == shown.state()["corrupted"] != [] and chosen["atoms"] == [2]
    for name in forces.ARROWS:
        shown.controls[name].value = False
    assert shown.view.scene["arrows"] == []


def test_a_corrupted_frame_shows_noise_and_clue(models):
    shown = explorer(models, frame=1, sigma=0.2, ratio=0.5, corrupt=True)
    made = analysis.corruption(STORE, 1, 0.2, 0.5, 0)
    moved = STORE.to_ase(1).positions + made.eps.numpy()
    np.testing.assert_allclose(shown.view.atoms.positions, moved, atol=1e-6)
    force_input, back = shown.view.arrows.values()
    stays = ~made.mask.numpy()
    assert (
        not force_input["vectors"][stays].any() and not back["vectors"][stays].any() and stays.any()
    )
    np.testing.assert_allclose(force_input["vectors"][~stays], true_forces(1)[~stays], atol=1e-6)
    np.testing.assert_allclose(back["vectors"], -made.eps.numpy(), atol=1e-7)
    np.testing.assert_allclose(force_input["start"], moved, atol=1e-6)
    assert shown.controls["show_predicted"].disabled and "σ = 0.200 Å" in shown.view.scene["title"]
    shown.corrupt = False
    assert not shown.controls["show_predicted"].disabled
    np.testing.assert_allclose(shown.view.atoms.positions, STORE.to_ase(1).positions)


def test_differences_of_a_good_model_are_drawn_larger():
    class Nearly(torch.nn.Module):
        def forward(self, batch, forces=False):
            return scdlab.Prediction(forces=batch.forces + 0.01)

    shown = explorer(Nearly())
    shown.show_difference = True
    true, _, difference = shown.view.arrows.values()
    assert difference["scale"] == pytest.approx(10 * true["scale"])
    assert (
        "Nearly" in shown.words.value
        and "MAE of the clean frame's forces 10.0 meV/Å" in shown.lines()[1][1]
    )


def test_frames_share_a_scale(models):
    shown = explorer(models)
    scale = shown.view.scene["arrows"][0]["legend"]
    for shown.frame in (1, 2, 3):
        assert shown.view.scene["arrows"][0]["legend"] == scale


MOVES = {
    "frame": 2,
    "model": "DeNS",
    "atom": 5,
    "degree": 3,
    "sigma": 0.1,
    "ratio": 1.0,
    "seed": 7,
    "corrupt": True,
    "show_true": False,
    "show_predicted": False,
    "show_difference": True,
}
MOVED = {  # trait -> numbers that hang on it, and some that do not
    "frame": (("mae", "true", "energy", "rms_force"), ("half_angle",)),
    "model": (("mae", "cosine", "predicted"), ("true", "corrupted", "rms_force")),
    "atom": (("true", "predicted", "towards", "name"), ("mae", "corrupted")),
    "degree": (("half_angle",), ("towards", "mae")),
    "sigma": (("moved",), ("corrupted", "mae")),
    "ratio": (("corrupted",), ("mae",)),
    "seed": (("corrupted",), ("mae",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("by", ["python", "control"])
def test_each_trait_moves_the_state_and_the_picture(models, name, by):
    shown = explorer(models)
    before = shown.state()
    picture = shown.drawing.value
    scene = shown.view.scene
    words = shown.words.value
    setattr(*((shown, name) if by == "python" else (shown.controls[name], "value")), MOVES[name])
    after = shown.state()
    (moved, stays) = MOVED.get(name, ((), ("mae", "corrupted")))
    assert after[name] == shown.controls[name].value == MOVES[name] != before[name]
    assert all(before[key] != after[key] for key in moved) and all(
        before[key] == after[key] for key in stays
    )
    assert shown.drawing.value == shown.picture() and (shown.drawing.value != picture) is (
        name in ("frame", "atom", "degree")
    )
    assert (shown.view.scene != scene) is (name not in ("degree", "sigma"))
    assert (shown.words.value != words) is (name != "corrupt" and not name.startswith("show"))
    assert (shown.view.scene["title"] != scene["title"]) is (name in ("frame", "corrupt"))
    fresh = explorer(models)
    setattr(fresh, name, MOVES[name])
    assert after == fresh.state()


def test_a_frame_is_computed_once(models, monkeypatch):
    shown = explorer(models)
    asked = []
    ask = analysis.predicted_forces
    monkeypatch.setattr(
        forces, "predicted_forces", lambda *about: asked.append(about[2]) or ask(*about)
    )
    shown.frame = 1
    shown.atom = 3
    shown.degree = 1
    shown.sigma = 0.1
    shown.corrupt = True
    shown.frame = 0
    shown.frame = 1
    assert asked == [1]


def test_a_smaller_frame_takes_the_atom_along(models):
    shown = explorer(models, atom=8)
    shown.controls["frame"].value = WATER
    assert (shown.atom, shown.controls["atom"].max, shown.state()["name"]) == (2, 2, "H2")
    shown.frame = 0
    assert (shown.atom, shown.controls["atom"].max) == (2, 8)


def test_traits_set_together_are_drawn_once(models):
    shown = explorer(models)
    drawn = []
    shown.view.observe(drawn.append, names=["scene"])
    with shown.hold_trait_notifications():
        shown.frame = 2
        shown.atom = 3
        shown.corrupt = True
    assert len(drawn) == 1 and shown.drawing.value == shown.picture()


def test_a_browser_that_rounds_a_slider_moves_nothing():
    shown = explorer(sigma=0.0372, ratio=0.33)
    shown.controls["sigma"].value = 0.035
    shown.controls["ratio"].value = 0.35
    assert (shown.sigma, shown.ratio) == (0.0372, 0.33)
    shown.controls["sigma"].value = 0.045
    assert shown.sigma == 0.045


def test_without_a_model_true_forces_remain():
    shown = explorer(frame=3)
    state = shown.state()
    assert state["mae"] is state["cosine"] is state["predicted"] is state["difference"] is None
    assert list(shown.view.arrows) == ["true force F"]
    assert not {"model", "show_predicted", "show_difference"} & set(shown.controls)


def test_a_single_model_needs_no_menu(models):
    shown = explorer(models["plain"])
    assert shown.model == "EquivariantTransformer" and "model" not in shown.controls
    assert "show_predicted" in shown.controls


def test_refresh_sees_a_model_that_was_trained_further():
    model = network()
    shown = explorer(model)
    before = shown.state()
    with torch.no_grad():
        model.energy_head.scale.mul_(3.0)
    assert shown.state() == before
    shown.refresh()
    assert shown.state()["mae"] != before["mae"]


def test_a_force_of_zero_and_words(models):
    lines = dict(explorer(models, frame=STILL, atom=1).lines())
    assert lines["degrees"] == "the force on C1 is zero, and so is every degree of it"
    shown = explorer(models, frame=1, ratio=0.01, corrupt=True)
    assert (
        shown.state()["corrupted"] == [] and "none, by chance" in dict(shown.lines())["corrupted"]
    )
    shown.ratio = 0.5
    told = shown.state()
    shown.atom = next(k for k in range(9) if k not in told["corrupted"])
    lines = dict(shown.lines())
    told = shown.state()
    assert (
        "stays, told nothing" in lines["corrupted"]
        and f"{told['moved']:.3f} Å" in lines["corrupted"]
    )
    assert f"{told['towards'][0]:.2f} eV/Å to every side" in lines["degree 0"]
    assert f"half of that at {told['half_angle']:.0f}°" in lines["sum, 0 to 2"]
    assert all(what in shown.words.value for what in lines)


def test_the_widget_carries_a_still_picture(models):
    shown = explorer(models, degree=1)
    bundle = shown._repr_mimebundle_()
    assert (
        "application/vnd.jupyter.widget-view+json" in bundle
        and "application/vnd.plotly.v1+json" not in bundle
    )
    words = " ".join(ElementTree.fromstring(bundle["image/svg+xml"]).itertext())
    assert all(
        part in words
        for part in ("true force F", "corrupted by DeNS", "degree 3", "axis, not sign", "MAE")
    )
    groups = ElementTree.fromstring(shown.drawing.value).findall("{*}g")
    assert [group.get("opacity") for group in groups] == ["1", "1", "0.3", "0.3", "1"]


def test_lobes_are_drawn_along_the_axis():
    """Degree 1, turned upwards: the positive lobe above the negative one, both as far from the
    middle."""
    picture = svg_charts.polar_plot(
        analysis.degree_curves([0, 0, 2.0], [1]),
        ["one"],
        [["note"]],
        np.pi / 2,
        "title",
        width=100,
    )
    positive, negative, _ = ElementTree.fromstring(picture).find("{*}g").findall("{*}polygon")
    above, below = (
        np.array([p.split(",") for p in e.get("points").split()], float)[:, 1]
        for e in (positive, negative)
    )
    assert above.max() == below.min() and above.max() - above.min() == pytest.approx(
        below.max() - below.min(), abs=0.2
    )
    assert positive.get("stroke-dasharray") is None and negative.get("stroke-dasharray")


# --------------------------------------------------------------------------------------------------
# bad input


def one_sentence(error):
    text = str(error.value)
    assert text.endswith(".") and text.count(". ") == 0 and "\n" not in text
    return True


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("frame", 6, "frame must be between 0 and 5, got 6"),
        ("frame", -1, "frame must be between 0 and 5, got -1"),
        ("atom", 9, "atom must be between 0 and 8, got 9"),
        ("degree", 4, "degree must be between 0 and 3, got 4"),
        ("seed", 100, "seed must be between 0 and 99, got 100"),
        ("sigma", 0.0, "sigma must be between 0.005 and 0.3 Å, got 0"),
        ("sigma", float("nan"), "got nan"),
        ("ratio", 0.0, "ratio must be between 0.01 and 1, got 0"),
    ],
)
def test_what_no_slider_reaches_is_refused(name, value, message):
    with pytest.raises(ValueError, match=message) as error:
        explorer(**{name: value})
    assert one_sentence(error)
    shown = explorer()
    before = shown.state()
    with pytest.raises(ValueError, match=message):
        setattr(shown, name, value)
    assert shown.state() == before


def test_stores_and_models_that_cannot_be_shown(models):
    bare = scdlab.AtomStore.from_ase([molecule("H2O")])
    for make, message in (
        (lambda: ForceExplorer(STORE[:0]), "The store is empty"),
        (lambda: ForceExplorer(bare), "this store has none"),
        (lambda: explorer("trained"), "must be a model, got 'trained'"),
        (lambda: explorer({"a": models["plain"], "b": None}), "Model 'b' must be a model"),
        (
            lambda: analysis.degree_curves([1.0, 2.0]),
            r"three finite numbers in eV/Å, got \[1.0, 2.0\]",
        ),
    ):
        with pytest.raises(ValueError, match=message) as error:
            make()
        assert one_sentence(error)
    with pytest.raises(ValueError, match="one of 'plain', 'DeNS', got 'mine'") as error:
        explorer(models).model = "mine"
    assert one_sentence(error)


class Broken(torch.nn.Module):
    """Fails, or gives what cannot be shown, on water."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, batch, forces=False):
        if len(batch.z) == 3:
            return scdlab.Prediction(forces=self.answer(batch))
        return scdlab.Prediction(forces=0 * batch.pos)


def fail(batch):
    raise RuntimeError("shapes differ\nsecond line")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (fail, "Model 'odd' failed on frame 4: shapes differ"),
        (lambda batch: None, "Model 'odd' gave no finite force"),
        (lambda batch: batch.pos[:2], "Model 'odd' gave no finite force"),
        (lambda batch: batch.pos * np.nan, "Model 'odd' gave no finite force"),
    ],
)
def test_a_model_that_fails_is_told_in_the_widget_and_raised(answer, message):
    shown = explorer({"odd": Broken(answer)})
    assert shown.state()["cosine"] is None  # of forces that are all zero
    picture = shown.drawing.value
    scene = shown.view.scene
    with pytest.raises(ValueError, match=message) as error:
        shown.frame = WATER
    assert one_sentence(error) and "This picture failed" in shown.message.value
    assert shown.drawing.value == picture and shown.view.scene == scene
    shown.frame = 0  # back where it was
    assert shown.message.value == "" and shown.drawing.value == picture


def test_noise_is_magnified_as_in_the_noise_explorer():
    shown = explorer(corrupt=True, ratio=1.0, sigma=0.05)
    assert shown.view.arrows["way back −ε"]["scale"] == scene.magnification(0.05) == 10

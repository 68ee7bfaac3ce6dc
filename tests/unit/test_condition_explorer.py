"""The condition explorer shows what the library computes under each condition: its numbers are
computed here again."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

import scdlab
from scdlab.analysis import conditions, denoising
from scdlab.explore import condition as con
from scdlab.explore import condition_words, controls, svg, svg_charts
from scdlab.nn.official_ct import OfficialCT

STORE = scdlab.AtomStore.from_ase(
    [molecule(name) for name in ("CH3CHO", "C2H6", "CH3CONH2", "CH4", "SiH4")]
)
ATOMS = STORE.to_ase(0)


def network(seed=0, kind=scdlab.EquivariantTransformer, **options):
    """A conditional network whose gates and modulations are open to the condition, as after
    training."""
    torch.manual_seed(seed)
    model = kind(hidden_channels=16, num_layers=2, conditional=True, **options)
    for layer in model.adaln:
        torch.nn.init.normal_(layer.lin2.weight, std=1.0)
    return model


@pytest.fixture(scope="module")
def model():
    return network()


def explorer(model, **options):
    return con.ConditionExplorer(model, STORE, **options)


def by_hand(model, atoms, sigma, seed, draws, c):
    """Shares of the noise left, one draw after the other, by the model itself: [draws]."""
    per_atom = []
    for eps in denoising.displacements(atoms, sigma, seed, draws=draws):
        batch = scdlab.AtomStore.from_ase([Atoms(atoms.numbers, atoms.positions)]).take([0])
        batch.pos = torch.tensor(atoms.positions + eps, dtype=torch.float32)
        c_row = None if c is None else torch.tensor(c, dtype=torch.float32)[None]
        with torch.no_grad():
            guess = sigma * model.eval()(batch, c_row, noise=True).noise.double().numpy()
        per_atom.append(np.square(guess - eps).sum() / np.square(eps).sum())
    return np.array(per_atom)


# --------------------------------------------------------------------------------------------------
# functions


def test_the_self_embedding_is_that_of_the_clean_molecule(model):
    batch = STORE.take([0, 2])
    expected = model.eval()(batch, noise=False).embedding.detach().numpy()
    for row, atoms in enumerate((ATOMS, STORE.to_ase(2))):
        np.testing.assert_allclose(
            conditions.self_embedding(model, atoms), expected[row], rtol=2e-4, atol=1e-6
        )


@pytest.mark.parametrize("name", con.CONDITIONS)
def test_noise_left_is_the_mean_over_draws_one_by_one(model, name):
    own = conditions.self_embedding(model, ATOMS)
    other = conditions.self_embedding(model, STORE.to_ase(1))
    c = {"own": own, "none": None, "other": other, "mix": conditions.mixed(own, other, 0.3)}[name]
    left = conditions.noise_left(model, ATOMS, 0.05, c, seed=3, draws=6)
    per_atom = by_hand(model, ATOMS, 0.05, 3, 6, c)
    assert left.mean == pytest.approx(sum(per_atom) / 6, rel=1e-4)
    variance = sum((share - sum(per_atom) / 6) ** 2 for share in per_atom) / 5
    assert left.error == pytest.approx((variance / 6) ** 0.5, rel=1e-2) and left.error > 0


def test_no_condition_is_the_plain_answer_and_the_mask_token(model):
    pos = ATOMS.positions + denoising.displacements(ATOMS, 0.04, 1, draws=3)
    plain = conditions.answer(model, ATOMS, pos)
    assert np.array_equal(plain, denoising.denoise(model, ATOMS, pos))
    np.testing.assert_allclose(
        conditions.answer(model, ATOMS, pos, model.mask_token), plain, rtol=1e-5, atol=1e-6
    )
    told = conditions.answer(model, ATOMS, pos, conditions.self_embedding(model, ATOMS))
    assert np.abs(told - plain).max() > 1e-2 * np.abs(plain).max()


@pytest.mark.parametrize("kind", [scdlab.EquivariantTransformer, scdlab.SchNet])
def test_gates_are_what_the_layers_use(kind):
    model = network(kind=kind)
    seen = []
    hooks = [
        layer.register_forward_hook(lambda _, inputs, out: seen.append(out[2].mean(0)))
        for layer in model.adaln
    ]
    own = conditions.self_embedding(model, ATOMS)
    for c in (own, None):
        seen.clear()
        conditions.answer(model, ATOMS, ATOMS.positions, c)
        used = torch.stack(seen).detach().numpy()
        np.testing.assert_allclose(conditions.gates(model, ATOMS, c), used, rtol=1e-5, atol=1e-6)
        assert used.shape == (2, 16)
    for hook in hooks:
        hook.remove()
    told = conditions.gates(model, ATOMS, own)
    assert np.abs(told - conditions.gates(model, ATOMS)).max() > 0.01
    assert told.min() >= 0 and told.max() <= 2


def test_gates_start_about_open_and_moved_by_the_condition():
    torch.manual_seed(0)
    fresh = scdlab.EquivariantTransformer(hidden_channels=16, num_layers=2, conditional=True)
    state = con.ConditionExplorer(fresh, STORE).state()
    assert 0.8 < state["gate_mean"] < 1.2 and 0.5 < state["gate_spread"] < 0.8
    assert state["gate_change"] > 1e-3
    with torch.no_grad():
        for layer in fresh.adaln:  # no modulation at all
            layer.lin2.weight.zero_()
    assert np.array_equal(conditions.gates(fresh, ATOMS, np.ones(16)), np.ones((2, 16)))
    state = con.ConditionExplorer(fresh, STORE).state()
    assert (state["gate_mean"], state["gate_spread"], state["gate_change"]) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("kind", [scdlab.EquivariantTransformer, scdlab.SchNet])
def test_the_answer_under_a_condition_turns_with_the_molecule(kind):
    model = network(kind=kind)
    q = Rotation.from_euler("xyz", [20, 70, -50], degrees=True).as_matrix()
    turned = Atoms(ATOMS.numbers, ATOMS.positions @ q.T)
    own = conditions.self_embedding(model, ATOMS)
    np.testing.assert_allclose(conditions.self_embedding(model, turned), own, rtol=1e-4, atol=1e-5)
    pos = ATOMS.positions + denoising.displacements(ATOMS, 0.04, 5)
    straight = conditions.answer(model, ATOMS, pos, own)
    size = np.abs(straight).max()
    np.testing.assert_allclose(
        conditions.answer(model, turned, pos @ q.T, own), straight @ q.T, atol=1e-4 * size
    )
    assert np.abs(straight @ q.T - straight).max() > 0.1 * size


def test_a_mix_ends_in_what_it_mixes():
    own, other = np.random.default_rng(0).normal(size=(2, 16))
    assert np.array_equal(conditions.mixed(own, other, 0.0), own) and np.array_equal(
        conditions.mixed(own, other, 1.0), other
    )
    np.testing.assert_allclose(conditions.mixed(own, other, 0.25), own + 0.25 * (other - own))


def test_functions_leave_the_model_in_its_mode(model):
    for training in (True, False):
        model.train(training)
        conditions.noise_left(model, ATOMS, 0.04, conditions.self_embedding(model, ATOMS), draws=2)
        conditions.gates(model, ATOMS)
        assert model.training is training
    model.train()
    with pytest.raises(ValueError, match="was trained on"):
        unknown = network()
        unknown.train().trained_elements[[1, 6]] = True
        conditions.self_embedding(unknown, ATOMS)
    assert unknown.training


# --------------------------------------------------------------------------------------------------
# the widget


@pytest.mark.parametrize("name", con.CONDITIONS)
def test_displayed_numbers_are_the_functions(model, name):
    shown = explorer(model, molecule=0, other=2, condition=name, mix=0.3, sigma=0.06, seed=4)
    state = shown.state()
    other = STORE.to_ase(2)
    own = conditions.self_embedding(model, ATOMS)
    other = conditions.self_embedding(model, other)
    told = {"own": own, "none": None, "other": other, "mix": conditions.mixed(own, other, 0.3)}
    per_atom = {}
    for key, c in told.items():
        left = conditions.noise_left(model, ATOMS, 0.06, c, 4, conditions.DRAWS)
        assert (state[f"left_{key}"], state[f"error_{key}"]) == left
        per_atom[key] = conditions.shares_left(model, ATOMS, 0.06, c, 4)
    for key in ("own", "other", "mix"):
        difference = per_atom["none"] - per_atom[key]
        assert state[f"gain_{key}"] == pytest.approx(state["left_none"] - state[f"left_{key}"])
        assert state[f"gain_error_{key}"] == pytest.approx(
            difference.std(ddof=1) / conditions.DRAWS**0.5
        )
    now = conditions.gates(model, ATOMS, told[name])
    assert (state["gate_mean"], state["gate_spread"]) == (now.mean(), now.std())
    assert state["gate_change"] == pytest.approx(
        np.abs(now - conditions.gates(model, ATOMS)).mean()
    )
    eps = denoising.displacements(ATOMS, 0.06, 4)
    guess = 0.06 * conditions.answer(model, ATOMS, ATOMS.positions + eps, told[name])
    assert state["unexplained"] == pytest.approx(
        np.square(guess - eps).sum() / np.square(eps).sum()
    )
    back, network_back = (each["vectors"] for each in shown.view.arrows.values())
    np.testing.assert_allclose(back, -eps)
    np.testing.assert_allclose(network_back, -guess)
    np.testing.assert_allclose(shown.view.atoms.positions, ATOMS.positions + eps)
    assert {each["scale"] for each in shown.view.arrows.values()} == {10}
    assert (state["formula"], state["other_formula"]) == ("C2H4O", "C2H5NO")


def test_a_mix_ends_in_own_and_other(model):
    shown = explorer(model, other=2, condition="mix", mix=0.0)
    at_own = shown.state()
    assert at_own["left_mix"] == at_own["left_own"] != at_own["left_other"]
    shown.condition = "own"
    assert shown.state()["unexplained"] == at_own["unexplained"]
    shown.condition = "mix"
    shown.mix = 1.0
    at_other = shown.state()
    assert at_other["left_mix"] == at_other["left_other"] == at_own["left_other"]
    shown.condition = "other"
    assert shown.state()["unexplained"] == at_other["unexplained"] != at_own["unexplained"]


def test_another_that_is_the_same_is_its_own(model):
    state = explorer(model, molecule=1, other=1).state()
    assert state["left_other"] == state["left_own"] == state["left_mix"]


def viewed(shown):
    """What the molecule's view holds: positions of the atoms, and the arrows."""
    return [
        shown.view.atoms.positions.tolist(),
        *(each["vectors"].tolist() for each in shown.view.arrows.values()),
    ]


MOVES = {"molecule": 2, "other": 3, "condition": "none", "mix": 0.8, "sigma": 0.1, "seed": 7}
MOVED = {  # trait -> numbers that hang on it, and some that do not
    "molecule": (("left_own", "left_none", "left_other", "unexplained", "formula"), ()),
    "other": (
        ("left_other", "left_mix", "other_formula"),
        ("left_own", "left_none", "unexplained"),
    ),
    "condition": (
        ("unexplained", "gate_mean"),
        ("left_own", "left_none", "left_other", "left_mix"),
    ),
    "mix": (("left_mix",), ("left_own", "left_none", "left_other", "unexplained")),
    "sigma": (("left_own", "left_none", "left_other", "left_mix", "unexplained"), ("gate_mean",)),
    "seed": (("left_own", "left_none", "left_other", "left_mix", "unexplained"), ("gate_mean",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("by", ["python", "control"])
def test_each_trait_moves_the_state_and_the_picture(model, name, by):
    shown = explorer(model)
    before = shown.state()
    picture = shown.drawing.value
    words = shown.words.value
    seen = viewed(shown)
    if by == "python":
        setattr(shown, name, MOVES[name])
    else:
        shown.controls[name].value = MOVES[name]
    after = shown.state()
    (moved, stays) = MOVED[name]
    assert after[name] == shown.controls[name].value == MOVES[name]
    assert all(before[key] != after[key] for key in moved) and all(
        before[key] == after[key] for key in stays
    )
    assert shown.drawing.value == shown.picture() != picture and shown.words.value != words
    assert (viewed(shown) != seen) is (name not in ("other", "mix"))
    assert after == explorer(model, **{name: MOVES[name]}).state()


def test_traits_set_together_are_drawn_once(model):
    shown = explorer(model)
    drawn = []
    shown.drawing.observe(drawn.append, names=["value"])
    with shown.hold_trait_notifications():
        shown.molecule = 2
        shown.sigma = 0.1
        shown.condition = "mix"
    assert len(drawn) == 1 and shown.drawing.value == shown.picture()


def test_a_browser_that_rounds_a_slider_moves_nothing(model):
    shown = explorer(model, sigma=0.0301, mix=0.333)
    shown.controls["sigma"].value = 0.0301 * 10 ** (0.4 * controls.SIGMA_STEP)
    shown.controls["mix"].value = 0.33
    assert (shown.sigma, shown.mix) == (0.0301, 0.333)
    shown.controls["mix"].value = 0.32
    assert shown.mix == 0.32


def test_channels_keep_their_order(model):
    shown = explorer(model, other=2)
    order = shown.order.copy()
    spread = np.std(
        [conditions.gates(model, shown.atoms, shown.vector(name)) for name in con.CONDITIONS],
        axis=0,
    ).mean(0)
    assert sorted(order) == list(range(16)) and (np.diff(spread[order]) <= 0).all()
    shown.molecule = 1
    shown.condition = "other"
    shown.mix = 0.9
    assert np.array_equal(shown.order, order)


def test_refresh_sees_a_model_that_was_trained_further():
    model = network()
    shown = explorer(model)
    before = shown.state()
    with torch.no_grad():
        for layer in model.adaln:
            layer.lin2.weight.mul_(3.0)
    assert shown.state() == before
    shown.refresh()
    assert (
        shown.state()["gate_spread"] != before["gate_spread"]
        and shown.drawing.value == shown.picture()
    )


def test_words_say_what_is_seen(model):
    shown = explorer(model, other=2, condition="mix", mix=0.25)
    told = shown.state()
    lines = dict(shown.lines())
    assert lines["told"] == "0.75 × its own embedding + 0.25 × that of molecule 2, C2H5NO"
    assert (
        f"own {100 * told['left_own']:.1f} %, none {100 * told['left_none']:.1f} %"
        in lines["noise left"]
    )
    assert all(text.split(":")[0] in shown.words.value for text in lines)
    told |= {
        "gain_own": 0.02,
        "gain_error_own": 0.005,
        "gain_other": -0.03,
        "gain_error_other": 0.001,
        "gain_mix": 0.0,
        "gain_error_mix": 0.001,
    }
    line = dict(condition_words.describe(told))["against none"]
    assert "own leaves 2.00 ± 0.50 less" in line and "other leaves 3.00 ± 0.10 more" in line
    assert "mix leaves as much (+0.00 ± 0.10)" in line


def test_the_widget_carries_a_still_picture(model):
    shown = explorer(model, other=2)
    bundle = shown._repr_mimebundle_()
    assert (
        "application/vnd.jupyter.widget-view+json" in bundle
        and "application/vnd.plotly.v1+json" not in bundle
    )
    for picture in (bundle["image/svg+xml"], shown.drawing.value):
        root = ElementTree.fromstring(picture)
        words = " ".join(root.itertext())
        assert (
            f"{100 * shown.state()['left_own']:.1f} ±" in words
            and condition_words.difference("own", shown.state()) in words
        )
        assert "layer 1" in words and "closed" in words
    assert "way back" in bundle["image/svg+xml"] and "against none" in bundle["image/svg+xml"]


# --------------------------------------------------------------------------------------------------
# bad input


def one_sentence(error):
    text = str(error.value)
    assert text.endswith(".") and text.count(". ") == 0 and "\n" not in text
    return True


def test_models_that_take_no_condition_are_named():
    unconditional = scdlab.EquivariantTransformer(hidden_channels=16, num_layers=1)
    official = OfficialCT(emb_dim=16, num_layers=1, num_heads=2, num_rbf=8)
    for model, name in (
        (unconditional, "EquivariantTransformer"),
        (official, "OfficialCT"),
        ("scd-ct", "str"),
    ):
        for ask in (
            explorer,
            lambda m: conditions.gates(m, ATOMS),
            lambda m: conditions.self_embedding(m, ATOMS),
            lambda m: conditions.noise_left(m, ATOMS, 0.04),
        ):
            with pytest.raises(
                ValueError, match=f"take a conditional model of scdlab.*got {name}"
            ) as error:
                ask(model)
            assert one_sentence(error)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("molecule", 5, "molecule must be between 0 and 4, rows of the store, got 5"),
        ("other", -1, "other must be between 0 and 4, rows of the store, got -1"),
        ("condition", "mine", "one of 'own', 'none', 'other', 'mix', got 'mine'"),
        ("mix", 1.2, "between 0 and 1, got 1.2"),
        ("mix", float("nan"), "between 0 and 1, got nan"),
        ("sigma", 0.0, "between 0.003 and 0.5 Å, got 0"),
        ("sigma", 2.0, "between 0.003 and 0.5 Å, got 2"),
        ("sigma", float("nan"), "got nan"),
        ("seed", 100, "seed must be between 0 and 99, got 100"),
    ],
)
def test_what_no_slider_reaches_is_refused(model, name, value, message):
    with pytest.raises(ValueError, match=message) as error:
        explorer(model, **{name: value})
    assert one_sentence(error)
    shown = explorer(model)
    before = shown.state()
    with pytest.raises(ValueError, match=message):
        setattr(shown, name, value)
    assert shown.state() == before


def test_functions_refuse_what_they_cannot_compute(model):
    own = conditions.self_embedding(model, ATOMS)
    bad = own.copy()
    bad[3] = np.nan
    for ask, message in (
        (lambda: conditions.noise_left(model, ATOMS, -1.0), "positive length"),
        (lambda: conditions.noise_left(model, ATOMS, 0.04, draws=1), "2 draws"),
        (lambda: conditions.noise_left(model, Atoms("H"), 0.04), "single atom"),
        (
            lambda: conditions.gates(model, ATOMS, own[:-1]),
            r"one vector of 16 finite numbers.*\[15\]",
        ),
        (lambda: conditions.gates(model, ATOMS, bad), "16 finite numbers"),
        (lambda: conditions.answer(model, ATOMS, ATOMS.positions, own[None]), r"\[1, 16\]"),
        (lambda: conditions.mixed(own, own, -0.1), "between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


def test_elements_unknown_to_the_model_are_told_in_the_widget_and_raised():
    model = network()
    model.trained_elements[[1, 6, 7, 8]] = True
    with pytest.raises(ValueError, match="cannot predict anything for Si") as error:
        explorer(model, molecule=4)
    assert str(error.value).count(".") == 1
    shown = explorer(model)
    picture = shown.drawing.value
    scene = shown.view.scene
    for name in ("other", "molecule"):
        with pytest.raises(ValueError, match="cannot predict anything for Si"):
            setattr(shown, name, 4)
        assert "This picture failed" in shown.message.value and "Si" in shown.message.value
        assert shown.drawing.value == picture and shown.view.scene == scene
        setattr(shown, name, 1 if name == "other" else 0)  # back where it was
        assert shown.message.value == "" and shown.drawing.value == picture


# --------------------------------------------------------------------------------------------------
# the pictures


def test_bars_are_as_long_as_their_numbers():
    picture = svg_charts.bars(
        ("a", "b"), [10.0, 5.0], [1.0, 0.5], "title", "unit", strong=1, notes=("head", "x", "y")
    )
    root = ElementTree.fromstring(picture)
    rects = root.findall("{*}rect")
    long, short = (float(rect.get("width")) for rect in rects)
    assert long == pytest.approx(2 * short, rel=0.01) and rects[0].get("fill") != rects[1].get(
        "fill"
    )
    words = list(root.itertext())
    assert {"a", "b", "10.0 ± 1.0", "5.0 ± 0.5", "title", "unit", "head", "x", "y", "0"} <= set(
        words
    )
    assert "here" not in picture
    assert "here" in svg_charts.bars(("a",), [10.0], [1.0], mark=(8.0, "here"))
    assert "here" not in svg_charts.bars(("a",), [10.0], [1.0], mark=(80.0, "here"))


def test_ticks_are_round_and_reach_the_top():
    for highest in (0.3, 1.0, 9.9, 24.0, 101.0, 140.0, 2600.0):
        ticks = svg_charts.ticks_from_zero(highest)
        assert (
            ticks[0] == 0 and ticks[-2] < highest <= ticks[-1] * (1 + 1e-9) and 4 <= len(ticks) <= 8
        )
    assert len(svg_charts.ticks_from_zero(0.0)) >= 2


def test_a_heat_map_shows_every_cell_in_its_color():
    values = np.array([[0.0, 1.0, 2.0], [1.0, 5.0, -5.0]])
    root = ElementTree.fromstring(
        svg_charts.heat_map(values, ("r0", "r1"), "title", "columns", 1.0, 1.0, ("low", "high"))
    )
    cells = {path.get("fill"): path.get("d").count("M") for path in root.findall("{*}path")}
    assert sorted(cells.values()) == [2, 2, 2]  # white twice; what lies beyond has the last color
    assert {"r0", "r1", "title", "columns", "low", "high", "0", "1", "2"} <= set(root.itertext())


def test_pictures_stand_below_each_other():
    one = svg_charts.bars(("a",), [1.0], [0.1])
    two = svg_charts.heat_map([[1.0]], ("r",))
    root = ElementTree.fromstring(svg.stack([one, two], ["word " * 60]))
    first, second = root.findall("{*}svg")
    assert (
        float(second.get("y")) == float(first.get("height"))
        and root.get("viewBox").split()[2] == "520"
    )
    assert len(root.findall("{*}text")) > 3

"""The noise explorer shows what the library computes: every displayed number is computed here
again, by other code."""

import itertools
import json
import sys
import xml.etree.ElementTree as ElementTree

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

import scdlab
from scdlab.analysis import bonds, denoising
from scdlab.explore import noise, noise_figure
from scdlab.objectives.noise import sample_noise

STORE = scdlab.AtomStore.from_ase(
    [molecule(name) for name in ("CH3CONH2", "C2H4", "CH4", "CH3CHO")]
)


class Springs(Calculator):
    """E = ½ k |x − x₀|² with x₀ the first positions it sees of a molecule: forces point straight
    back."""

    implemented_properties = ("energy", "forces")
    k = 30.0

    def __init__(self):
        super().__init__()
        self.rest = {}

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = self.atoms.positions - self.rest.setdefault(
            str(self.atoms.symbols), self.atoms.positions.copy()
        )
        self.results = {"energy": 0.5 * self.k * (away**2).sum(), "forces": -self.k * away}


def network(seed=0, kind=scdlab.EquivariantTransformer, **options):
    torch.manual_seed(seed)
    return kind(hidden_channels=16, num_layers=2, **options)


@pytest.fixture(scope="module")
def model():
    return network()


def explorer(model=None, reference=None, store=STORE, **options):
    return noise.NoiseExplorer(
        store, model, Springs() if reference is None else reference, **options
    )


def by_hand(atoms, sigma, seed):
    """The noise of one molecule, from torch's generator: [n, 3]."""
    eps = sigma * torch.randn((len(atoms), 3), generator=torch.Generator().manual_seed(seed))
    return (eps - eps.mean(0)).numpy()


def angle(a, b):
    """The cosine between two lists of vectors, component by component."""
    a = np.ravel(a).tolist()
    b = np.ravel(b).tolist()
    dot, aa, bb = (
        sum(x * y for x, y in zip(p, q, strict=True)) for p, q in ((a, b), (a, a), (b, b))
    )
    return dot / (aa * bb) ** 0.5


# --------------------------------------------------------------------------------------------------
# functions


def test_bands_are_sums_of_radii_and_meet_halfway():
    single, double, triple = bonds.bands_of("C", "C")
    assert [round(b.length, 2) for b in (single, double, triple)] == [1.50, 1.34, 1.20]
    assert single.low == double.high == pytest.approx(
        1.42
    ) and double.low == triple.high == pytest.approx(1.27)
    assert single.high == pytest.approx(1.58) and triple.low == pytest.approx(1.13)
    assert (
        bonds.bands_of("O", "C") == bonds.bands_of("C", "O")
        and bonds.bands_of("O", "C")[0].pair == "C–O"
    )
    assert [
        len(bonds.bands_of(*pair)) for pair in (("C", "H"), ("C", "F"), ("N", "N"), ("C", "U"))
    ] == [1, 1, 3, 0]
    for pair in itertools.combinations_with_replacement(bonds.RADII, 2):
        for band in bonds.bands_of(*pair):
            assert band.low < band.length < band.high


@pytest.mark.parametrize(
    ("name", "heavy", "order"),
    [
        ("C2H6", "CC", 1),
        ("C2H4", "CC", 2),
        ("C2H2", "CC", 3),
        ("HCN", "CN", 3),
        ("H2CO", "CO", 2),
        ("CH3OH", "CO", 1),
    ],
)
def test_orders_of_textbook_bonds(name, heavy, order):
    atoms = molecule(name)
    orders = bonds.bond_orders(atoms)
    pairs = bonds.bonds_of(atoms)
    found = [
        o
        for o, (i, j) in zip(orders, pairs, strict=True)
        if sorted(atoms[i].symbol + atoms[j].symbol) == sorted(heavy)
    ]
    assert found == [order]
    assert all(o == 1 for o, pair in zip(orders, pairs, strict=True) if "H" in atoms.symbols[pair])


def test_elements_without_radii_have_no_order():
    atoms = Atoms("CuO", [[0, 0, 0], [0, 0, 1.7]])
    assert bonds.bond_orders(atoms).tolist() == [0]
    assert bonds.blurred_bonds(atoms, atoms.positions * 1.2) == 0


def test_blurred_bonds_counts_bonds_that_changed_their_band():
    atoms = molecule("CH3CONH2")
    pos = atoms.positions + denoising.displacements(atoms, 0.1, seed=3, draws=40)
    count = np.zeros(40, int)
    for i, j in bonds.bonds_of(atoms):
        a = atoms[int(i)].symbol
        b = atoms[int(j)].symbol
        if "H" in (a, b):
            continue
        typical = [x + y for x, y in zip(bonds.RADII[a], bonds.RADII[b], strict=False)]

        def order(r, typical=typical):
            return min(range(len(typical)), key=lambda k: abs(r - typical[k]))

        before = order(np.linalg.norm(atoms.positions[i] - atoms.positions[j]))
        count += [order(np.linalg.norm(p[i] - p[j])) != before for p in pos]
    assert bonds.blurred_bonds(atoms, pos).tolist() == count.tolist()
    assert 0 < count.mean() < 3


def test_the_two_regimes_differ_in_what_they_blur():
    blurred = {}
    for sigma in noise_figure.REGIMES:
        frames = [molecule(name) for name in ("C2H4", "CH3CHO", "C6H6", "HCOOH", "CH3CN")]
        shaken = [
            bonds.blurred_bonds(a, a.positions + denoising.displacements(a, sigma, draws=50))
            for a in frames
        ]
        blurred[sigma] = np.mean(shaken)
    assert blurred[0.005] < 0.02 and blurred[0.04] > 20 * blurred[0.005] and blurred[0.04] > 0.1


def test_density_counts_every_length_once():
    grid = np.arange(1.0, 2.0, 0.002)
    values = bonds.length_density(np.array([1.3, 1.5, 1.5, 1.5]), grid, 0.02)
    assert values.sum() * 0.002 == pytest.approx(1.0, abs=1e-6)
    assert values[np.argmin(abs(grid - 1.5))] == pytest.approx(
        3 * values[np.argmin(abs(grid - 1.3))], rel=1e-6
    )
    assert bonds.length_density(np.array([0.5, 1.5]), grid, 0.02).sum() * 0.002 == pytest.approx(
        0.5, abs=1e-6
    )


def test_displacements_are_the_objective_s_noise():
    atoms = STORE.to_ase(0)
    expected, _ = sample_noise(STORE.take([0]), 0.04, torch.Generator().manual_seed(7))
    eps = denoising.displacements(atoms, 0.04, seed=7)
    assert np.array_equal(eps, expected.double().numpy())
    assert np.allclose(eps, by_hand(atoms, 0.04, 7), atol=1e-8)
    assert np.allclose(denoising.displacements(atoms, 0.2, seed=7), 5 * eps, atol=1e-6)  # one ray
    assert not np.allclose(denoising.displacements(atoms, 0.04, seed=8), eps)
    many = denoising.displacements(atoms, 0.04, seed=7, draws=200)
    assert many.shape == (200, 9, 3) and np.allclose(many.mean(1), 0, atol=1e-7)
    assert many.std() == pytest.approx(0.04 * (1 - 1 / 9) ** 0.5, rel=0.03)


@pytest.mark.parametrize("sigma", [0.0, -0.1, np.nan, np.inf])
def test_sigma_must_be_a_positive_length(sigma):
    with pytest.raises(ValueError, match="sigma"):
        denoising.displacements(molecule("H2O"), sigma)
    with pytest.raises(ValueError, match="sigma"):
        explorer(sigma=sigma)


def test_cosine_signs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3))
    assert denoising.cosine(a, b) == pytest.approx(angle(a, b))
    assert denoising.cosine(a, 3 * a) == pytest.approx(1) and denoising.cosine(
        a, -a
    ) == pytest.approx(-1)
    assert np.isnan(denoising.cosine(a, 0 * a))
    assert denoising.cosine(np.stack([a, b]), np.stack([b, b])) == pytest.approx([angle(a, b), 1])


def test_energy_of_a_spring_rises_with_the_square():
    atoms = molecule("C2H4")
    springs = Springs()
    sigmas = np.array([0.01, 0.02, 0.1])
    springs.rest[str(atoms.symbols)] = atoms.positions.copy()
    rise = denoising.energy_against_sigma(atoms, sigmas, springs, seed=1)
    expected = [0.5 * springs.k * (by_hand(atoms, sigma, 1) ** 2).sum() for sigma in sigmas]
    assert rise == pytest.approx(expected, rel=1e-5)
    assert denoising.energy_against_sigma(atoms, sigmas, springs, draws=4).shape == (4, 3)
    eps = denoising.displacements(atoms, 0.04)
    forces = denoising.Reference(springs)(atoms, atoms.positions + eps)[1]
    assert denoising.cosine(-eps, forces) == pytest.approx(1.0)


def test_a_trained_model_is_a_reference():
    atoms = STORE.to_ase(1)
    model = network()
    model.energy_head.reference.fill_(-2.5)  # as training leaves it
    batch = STORE.take([1])
    batch.pos = batch.pos.double()
    energy, forces = denoising.Reference(model)(atoms)
    out = model.double().eval()(batch, forces=True)
    assert energy == pytest.approx(out.energy.item(), abs=1e-8)
    assert np.allclose(forces, out.forces.detach().numpy(), atol=1e-8)


def test_gfn2_is_tblite_s():
    tblite = pytest.importorskip("tblite.ase")
    atoms = molecule("CH3CHO")
    relaxed = denoising.Reference("gfn2").relax(atoms)
    assert np.linalg.norm(denoising.Reference("gfn2")(relaxed)[1], axis=1).max() < 0.0101
    moved = relaxed.copy()
    moved.positions += denoising.displacements(relaxed, 0.04)
    energies = []
    for each in (relaxed, moved):
        each = each.copy()
        each.calc = tblite.TBLite(method="GFN2-xTB", verbosity=0)
        energies.append(each.get_potential_energy())
    rise = denoising.energy_against_sigma(relaxed, [0.04])
    assert rise == pytest.approx([energies[1] - energies[0]], abs=1e-5) and rise > 0.1


# --------------------------------------------------------------------------------------------------
# shown = computed


@pytest.mark.parametrize(("index", "sigma", "seed"), [(0, 0.04, 0), (3, 0.005, 5), (1, 0.3, 2)])
def test_displayed_numbers_are_the_library_s(model, index, sigma, seed):
    widget = explorer(model, molecule=index, relaxed=False)
    widget.seed = seed
    widget.sigma = sigma
    told = widget.state()
    atoms = STORE.to_ase(index)
    eps = by_hand(atoms, sigma, seed)
    batch = STORE.take([index])
    batch.pos = batch.pos + torch.as_tensor(eps, dtype=torch.float32)
    with torch.no_grad():
        answer = sigma * model.eval()(batch).noise.numpy()
    forces = -Springs.k * eps
    expected = {
        "molecule": index,
        "sigma": sigma,
        "seed": seed,
        "n_atoms": len(atoms),
        "notes": [],
        "energy_rise": pytest.approx(0.5 * Springs.k * (eps**2).sum(), rel=1e-4),
        "force_length": pytest.approx(np.mean([np.sqrt((f**2).sum()) for f in forces]), rel=1e-4),
        "noise_length": pytest.approx(np.mean([np.sqrt((e**2).sum()) for e in eps]), rel=1e-4),
        "cos_back_force": pytest.approx(angle(-eps, forces), abs=1e-5),
        "cos_answer_noise": pytest.approx(angle(answer, eps), abs=1e-4),
        "cos_answer_force": pytest.approx(angle(-answer, forces), abs=1e-4),
        "unexplained": pytest.approx(((answer - eps) ** 2).sum() / (eps**2).sum(), rel=1e-4),
        "bonds_blurred": int(bonds.blurred_bonds(atoms, atoms.positions + eps)),
    }
    assert {name: told[name] for name in expected} == expected
    assert np.allclose(widget.view.atoms.positions, atoms.positions + eps, atol=1e-6)
    ways = {name: widget.view.arrows[name]["vectors"] for name in widget.view.arrows}
    assert np.allclose(ways["way back −ε"], -eps, atol=1e-6)
    assert np.allclose(ways["network's way back −ε̂"], -answer, atol=1e-5)
    assert np.allclose(ways["force F"], forces, atol=1e-4)
    for name in ("cos_back_force", "cos_answer_noise", "cos_answer_force"):
        assert f"{told[name]:.2f}" in widget.words.value
    assert f"{told['energy_rise']:+.3g} eV" in widget.words.value


def test_figure_is_made_of_the_same_numbers(model):
    widget = explorer(model, relaxed=False)
    sigma = float(denoising.SIGMAS[4])
    widget.sigma = sigma
    told = widget.state()
    data = widget.figure.data
    energy = data[7]
    now = data[11]
    assert energy.y[4] == pytest.approx(told["energy_rise"], rel=1e-6) and list(now.y) == [
        told["energy_rise"]
    ]
    for trace, name in zip(
        data[8:11], ("cos_back_force", "cos_answer_noise", "cos_answer_force"), strict=True
    ):
        assert trace.y[4] == pytest.approx(told[name], abs=1e-6)
    assert list(data[12].y) == [
        told[name] for name in ("cos_back_force", "cos_answer_noise", "cos_answer_force")
    ]
    assert list(widget.figure.layout.yaxis.ticktext) == ["C–C", "C–N", "C–O"]
    pos = widget.view.atoms.positions
    atoms = STORE.to_ase(0)
    heavy = [pair for pair in bonds.bonds_of(atoms) if "H" not in atoms.symbols[pair]]
    assert sorted(data[5].x) == pytest.approx(
        sorted(np.linalg.norm(pos[i] - pos[j]) for i, j in heavy), abs=1e-6
    )
    clean = sorted(data[4].x[::3])
    assert clean == pytest.approx(sorted(atoms.get_distance(i, j) for i, j in heavy), abs=1e-6)


def test_histogram_agrees_with_a_plain_count():
    atoms = molecule("C2H4")
    many = atoms.positions + denoising.displacements(atoms, 0.04, seed=1, draws=400)
    shown = noise_figure.lengths_picture(atoms, many[0], many)
    x, y = (np.array(shown["traces"][3][axis][:-1], float) for axis in "xy")
    r = np.array([np.linalg.norm(p[0] - p[1]) for p in many])
    share = (
        np.array([y[(x >= low) & (x < low + 0.06)].sum() for low in (1.25, 1.31, 1.37)]) / y.sum()
    )
    plain = np.array([((r >= low) & (r < low + 0.06)).mean() for low in (1.25, 1.31, 1.37)])
    assert share == pytest.approx(plain, abs=0.05) and share.sum() > 0.7


def test_blurring_is_averaged_over_many_draws():
    widget = explorer(molecule=3, relaxed=False, sigma=0.1)
    atoms = STORE.to_ase(3)
    many = atoms.positions + denoising.displacements(atoms, 0.1, seed=0, draws=300)
    assert widget.state()["bonds_blurred_mean"] == pytest.approx(
        bonds.blurred_bonds(atoms, many).mean()
    )


# --------------------------------------------------------------------------------------------------
# the widget


def test_every_state_is_reached_from_python_and_from_the_controls(model):
    widget = explorer(model)
    for name, value in {
        "molecule": 1,
        "sigma": 0.005,
        "seed": 4,
        "relaxed": False,
        "show_noise": False,
        "show_answer": False,
        "show_force": False,
    }.items():
        before = widget.view.scene
        setattr(widget, name, value)
        assert widget.controls[name].value == widget.state()[name] == value
        if name != "relaxed":  # springs are at rest where they begin
            assert widget.view.scene != before
    assert widget.view.scene["arrows"] == []
    widget.controls["sigma"].value = 0.1
    widget.controls["molecule"].value = 3
    assert widget.sigma == 0.1 and widget.state()["formula"] == "C2H4O"
    assert set(widget.names) == {*widget.controls, "source"}
    assert all(control.description for control in widget.controls.values())
    json.dumps(widget.state())


def test_one_scene_a_move(model):
    widget = explorer(model)
    scenes = []
    figures = []
    widget.view.observe(scenes.append, names=["scene"])
    widget.figure.observe(
        lambda change: figures.append(change["new"] or None), names=["_py2js_update"]
    )
    moves = [
        ("sigma", 0.1),
        ("sigma", 0.5),
        ("seed", 1),
        ("molecule", 2),
        ("show_force", False),
        ("source", "store"),
    ]
    for n, (name, value) in enumerate(moves, start=1):
        setattr(widget, name, value)
        assert len(scenes) == min(n, 5)  # the last changes nothing
    with widget.hold_trait_notifications():
        widget.sigma = 0.02
        widget.seed = 9
        widget.molecule = 1
    assert len(scenes) == 6
    assert sum(map(bool, figures)) <= 6


def test_a_curve_is_computed_once_for_all_sigma(model):
    widget = explorer(model)
    calls = []
    ask = type(widget.reference).__call__

    class Counting(type(widget.reference)):
        def __call__(self, atoms, pos=None):
            calls.append(1 if pos is None else int(np.prod(np.shape(pos)[:-2])))
            return ask(self, atoms, pos)

    widget.reference.__class__ = Counting
    widget.sigma = 0.1
    assert calls == [1]
    widget.sigma = 0.04  # seen before
    assert calls == [1]
    widget.seed = 1
    assert sorted(calls) == [1, 1, len(denoising.SIGMAS)]


def test_the_same_seed_shows_the_same(model):
    first, again = (explorer(model, seed=5, molecule=1) for _ in range(2))
    assert first.state() == again.state() and first.view.scene == again.view.scene
    first.seed = 6
    assert first.view.scene != again.view.scene
    first.seed = 5
    assert first.state() == again.state() and first.view.scene == again.view.scene


def test_refresh_sees_a_model_that_was_trained_further():
    model = network()
    widget = explorer(model)
    before = widget.state()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    widget.sigma = 0.005
    widget.sigma = 0.04
    assert widget.state() == before
    widget.refresh()
    assert widget.state()["cos_answer_noise"] != before["cos_answer_noise"]


def test_molecules_from_a_file_and_back(tmp_path, model):
    ase.io.write(tmp_path / "water.xyz", molecule("H2O"))
    widget = explorer(model)
    widget.text.value = str(tmp_path / "water.xyz")  # as a reader would
    assert widget.source == str(tmp_path / "water.xyz") and widget.state()["formula"] == "H2O"
    assert widget.state()["bonds"] == 0 and "no order to blur" in widget.words.value
    assert list(widget.figure.layout.yaxis.ticktext) == ["O–H"]
    widget.molecule = 1  # the slider brings the store back
    assert (
        widget.source == "store" and widget.text.value == "" and widget.state()["formula"] == "C2H4"
    )
    widget.load(str(tmp_path / "water.xyz"))
    assert widget.text.value.endswith("water.xyz")
    widget.text.value = ""
    assert widget.source == "store" and widget.state()["formula"] == "C2H4"
    broken = tmp_path / "broken.xyz"
    broken.write_text("3\nhalf a file\nO 0 0 0\n")
    with pytest.raises(ValueError, match="ase cannot read a structure"):
        widget.load(str(broken))
    ase.io.write(tmp_path / "large.xyz", Atoms("He201", np.arange(603).reshape(201, 3)))
    with pytest.raises(ValueError, match="201 atoms; the explorer takes 1 to 200"):
        widget.load(str(tmp_path / "large.xyz"))
    assert widget.state()["formula"] == "C2H4"


def test_molecules_from_smiles():
    widget = explorer()
    widget.load("CC=O")
    assert widget.state()["formula"] == "C2H4O" and widget.text.value == "CC=O"
    same = scdlab.from_smiles("CC=O")
    assert np.allclose(widget.atoms.positions, same.positions)
    widget.text.value = "C#N"
    assert widget.state()["formula"] == "CHN"


def test_a_half_typed_smiles_keeps_the_last_good_molecule():
    widget = explorer()
    scene = widget.view.scene
    for text, words in (
        ("CC(=O", "not a SMILES string"),
        ("not a smiles", "has a blank in it"),
        ("/no/such/file.xyz", "not a SMILES string"),
    ):
        widget.text.value = text  # told, not raised: one is still typing
        assert "still the one before" in widget.message.value
        assert widget.source == "store" and widget.view.scene is scene
        with pytest.raises(ValueError, match=words):
            widget.load(text)
        assert widget.source == "store" and widget.view.scene is scene
    widget.text.value = "C"
    assert widget.message.value == "" and widget.state()["formula"] == "CH4"
    widget.text.value = "C("
    widget.sigma = 0.1  # a good picture clears the message
    assert widget.message.value == ""


# ------------------------------------------------------------------------------------------------
# what cannot be shown


def test_sigma_outside_the_slider_is_refused_and_nothing_changes():
    widget = explorer()
    for sigma in (0.0, -1.0, 0.001, 0.6, np.nan):
        with pytest.raises(ValueError, match=r"sigma must be between 0\.003 and 0\.5"):
            widget.sigma = sigma
    assert widget.sigma == 0.04
    for end in (0.003, 0.5):
        widget.sigma = end
        assert widget.sigma == end and widget.controls["sigma"].value == pytest.approx(
            end, rel=1e-3
        )


def test_elements_the_network_has_not_seen():
    model = network()
    model.trained_elements[[1, 6]] = True
    widget = explorer(model, molecule=1)
    assert widget.state()["notes"] == [] and widget.state()["cos_answer_noise"] is not None
    widget.molecule = 0
    told = widget.state()
    assert (
        told["cos_answer_noise"] is told["unexplained"] is None
        and told["cos_back_force"] is not None
    )
    assert "trained on H, C only" in widget.message.value
    assert "network's way back −ε̂" not in widget.view.arrows
    widget.molecule = 1
    assert widget.message.value == ""


def test_a_model_without_noise_head_answers_by_its_gradient():
    model = network(kind=scdlab.SchNet)
    widget = explorer(model, molecule=1)
    batch = STORE.take([1])
    batch.pos = batch.pos + torch.as_tensor(by_hand(STORE.to_ase(1), 0.04, 0))
    gradient = -model.eval()(batch, forces=True).forces.detach().numpy()
    expected = angle(gradient, by_hand(STORE.to_ase(1), 0.04, 0))
    assert widget.state()["cos_answer_noise"] == pytest.approx(expected, abs=1e-4)


def test_a_model_that_cannot_denoise_is_named():
    widget = explorer(network(kind=scdlab.SchNet, direct_forces=True))
    assert widget.state()["cos_answer_noise"] is None
    assert "No answer of the network: This SchNet has no noise head" in widget.message.value


def test_a_model_keeps_its_mode():
    model = network().train()
    explorer(model)
    assert model.training


def test_a_single_atom():
    widget = explorer(network(), store=scdlab.AtomStore.from_ase([Atoms("He"), molecule("H2O")]))
    told = widget.state()
    assert told["noise_length"] == 0 and told["cos_back_force"] is told["cos_answer_noise"] is None
    assert "single atom" in widget.message.value
    widget.molecule = 1
    assert widget.message.value == ""


def test_without_reference_and_network():
    widget = noise.NoiseExplorer(STORE, None, None)
    told = widget.state()
    assert [
        told[name]
        for name in ("energy_rise", "cos_back_force", "cos_answer_noise", "cos_answer_force")
    ] == [None] * 4
    assert list(widget.view.arrows) == ["way back −ε"]
    widget.sigma = 0.1
    assert widget.message.value == ""
    for reference in ("gfn1", 3):
        with pytest.raises(
            ValueError, match="must be 'gfn2', a trained model or an ase calculator"
        ):
            noise.NoiseExplorer(STORE, None, reference)


def test_gfn2_that_is_not_installed_is_told(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    widget = noise.NoiseExplorer(STORE, model)
    assert "needs tblite" in widget.message.value
    assert widget.state()["energy_rise"] is None and widget.state()["cos_answer_noise"] is not None
    with pytest.raises(ValueError, match="needs tblite"):
        denoising.energy_against_sigma(molecule("H2O"))


def test_a_molecule_that_gfn2_cannot_treat_is_named():
    pytest.importorskip("tblite.ase")
    heavy = Atoms("UO2", [[0, 0, 0], [0, 0, 1.8], [0, 0, -1.8]])
    long = Atoms("C41", np.arange(123).reshape(41, 3))
    widget = noise.NoiseExplorer(scdlab.AtomStore.from_ase([heavy, long, molecule("H2O")]))
    assert (
        "GFN2-xTB cannot treat O2U" in widget.message.value
        and widget.state()["energy_rise"] is None
    )
    widget.molecule = 1
    assert "GFN2-xTB takes molecules of up to 40 atoms here, got 41" in widget.message.value
    widget.molecule = 2
    assert widget.message.value == "" and widget.state()["energy_rise"] > 0


def test_a_reference_that_finds_no_solution_leaves_a_gap():
    class Moody(Springs):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            if self.results["energy"] > 1.0:
                raise CalculationFailed("no convergence")

    widget = explorer(reference=Moody(), molecule=1, relaxed=False)
    assert widget.state()["energy_rise"] is not None
    widget.sigma = 0.5
    told = widget.state()
    assert told["energy_rise"] is told["cos_back_force"] is None
    assert widget.figure.data[7].y[0] is not None and widget.figure.data[7].y[-1] is None
    assert "force F" not in widget.view.arrows and "found no solution" in widget.message.value


def test_the_widget_carries_a_still_picture(model):
    widget = explorer(model)
    widget.sigma = 0.1
    bundle = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    root = ElementTree.fromstring(bundle["image/svg+xml"])
    assert root.tag.endswith("svg")
    inner = root.find("{http://www.w3.org/2000/svg}svg")  # the molecule, and below it the lines
    assert all(
        float(text.get("y")) > float(inner.get("height")) for text in root.findall("{*}text")
    )
    words = "".join(root.itertext())
    assert "cos(−ε, F)" in words and "way back −ε" in words and "σ = 0.100 Å" in words
    assert len(json.dumps(bundle)) < 200_000
    assert not any(np.isnan(y) for t in widget.figure.data for y in t.y if y is not None)


def test_torsional_noise_keeps_every_bond(model):
    widget = explorer(model, kind="torsional", sigma=0.1)
    atoms = STORE.to_ase(0)
    lengths = [
        bonds.bond_lengths(p, bonds.bonds_of(atoms))
        for p in (atoms.positions, widget.view.atoms.positions)
    ]
    assert np.allclose(*lengths, atol=1e-4) and widget.state()["noise_length"] > 0
    curve = widget.figure.data[3].y
    lane = np.array(curve[: list(curve).index(None)], float) - 2  # 0.004 Å a point
    assert (lane > 0.01).sum() * 0.004 < 0.05  # no spread but what draws the line
    for kind, sigma in itertools.product(noise.KINDS, (0.01, 0.2)):
        widget.kind = kind
        widget.sigma = sigma
        assert widget.state()["kind"] == kind and widget.message.value == ""
    # ethene's double bond does not turn
    widget.kind = "torsional"
    widget.molecule = 1
    assert (
        widget.state()["noise_length"] == 0
        and "No bond of this molecule can turn" in widget.message.value
    )


def test_a_browser_that_rounds_the_slider_does_not_change_sigma():
    widget = explorer()
    for sigma in (0.1, 0.04, 0.0123):
        widget.sigma = sigma
        slider = widget.controls["sigma"]
        on_grid = 10 ** (
            slider.min + slider.step * round((np.log10(sigma) - slider.min) / slider.step)
        )
        slider.value = on_grid  # as the page does on its own
        assert widget.sigma == widget.state()["sigma"] == sigma
        slider.value = on_grid * 10**slider.step  # as a reader does
        assert widget.sigma == slider.value > sigma
    for usual in (
        0.003,
        0.005,
        0.01,
        0.02,
        0.04,
        0.05,
        0.1,
        0.3,
        0.5,
    ):  # the page shows them as they are
        at = 10 ** (slider.min + slider.step * round((np.log10(usual) - slider.min) / slider.step))
        assert f"{at:.3f}" == f"{usual:.3f}"


def test_an_ion_keeps_its_charge():
    pytest.importorskip("tblite")
    from tblite.ase import TBLite

    ion = scdlab.from_smiles("C[NH3+]")
    bare = ion.copy()
    bare.calc = TBLite(method="GFN2-xTB", verbosity=0)
    assert denoising.Reference("gfn2")(ion)[0] == pytest.approx(
        bare.get_potential_energy(), abs=1e-4
    )
    shown = noise.NoiseExplorer(STORE, reference="gfn2", source="C[NH3+]")
    assert shown.atoms.get_distance(0, 1) == pytest.approx(1.48, abs=0.05)


@pytest.mark.parametrize(
    ("name", "value"), [("molecule", 4), ("molecule", -1), ("seed", 100), ("seed", -3)]
)
def test_what_no_slider_reaches_is_refused(name, value):
    widget = explorer()
    before = widget.state()
    with pytest.raises(ValueError, match=f"The explorer's {name} must be between 0 and"):
        setattr(widget, name, value)
    assert widget.state() == before


def test_what_cannot_be_shown_leaves_the_explorer_as_it_was(tmp_path):
    widget = explorer()
    before = widget.state()
    strange = Atoms("CX", positions=[[0, 0, 0], [0, 0, 1.5]])
    ase.io.write(tmp_path / "x.xyz", strange)
    for text in (str(tmp_path / "x.xyz"), "[Og]"):
        with pytest.raises(ValueError):
            widget.load(text)
        assert widget.state() == before


def test_torsional_noise_of_a_crystal_is_told():
    from ase.build import bulk

    store = scdlab.AtomStore.from_ase([bulk("NaCl", "rocksalt", a=5.64, cubic=True)])
    widget = explorer(store=store)
    widget.kind = "torsional"
    assert any("periodic" in note for note in widget.state()["notes"])
    widget.kind = "gaussian"
    assert widget.state()["noise_length"] > 0


def test_untrained_heads_and_names_are_no_reference_and_no_model():
    with pytest.raises(ValueError, match="never trained on energies"):
        denoising.Reference(network())
    with pytest.raises(ValueError, match="load_pretrained"):
        noise.NoiseExplorer(STORE, model="coord-et", reference=None)


def test_an_element_that_the_calculator_lacks_is_told():
    from ase.calculators.emt import EMT

    widget = noise.NoiseExplorer(STORE, reference=EMT(), source="CF")
    assert any("EMT" in note for note in widget.state()["notes"])

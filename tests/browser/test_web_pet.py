"""PET in JavaScript, with and without the frames of ECSE, against torch."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from helpers import batch_of, ct, perturbed, pet, rattled, rotation
from web_models import WebModels, difference, plain

import scdlab

KINDS = {
    "plain": {},
    "deep": dict(num_layers=2, num_attention_layers=2, cutoff=3.0),
    "three": dict(num_layers=3, num_heads=4, cutoff=2.2, cutoff_width=0.7),
    "direct": dict(direct_forces=True, noise_head=False),
}


def torch_answer(model, atoms, **options):
    """The original's answer in double precision."""
    model = model.double().eval()
    with torch.no_grad():
        out = model(batch_of(atoms), **options)
    model.float()
    return out


@pytest.mark.browser
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_random_weights(window, tmp_path, precision):
    models = {kind: perturbed(pet(**settings), 1) for kind, settings in KINDS.items()}
    web = WebModels(window, tmp_path, precision, **models)
    bound = 1e-5 if precision == "float32" else 1e-11
    structures = rattled("CH3CH2OH"), molecule("CO"), rattled(bulk("Cu", cubic=True), amount=0.1)
    for kind, model in models.items():
        direct = kind == "direct"
        for atoms in structures:
            there = torch_answer(model, atoms, forces=direct, noise=not direct)
            here = web(kind, atoms, forces=direct)
            assert difference([here["energy"]], there.energy) < bound, kind
            d = there.atoms.shape[1]
            own = np.array(here["atoms"])[: len(atoms) * d].reshape(-1, d)
            assert difference(own, there.atoms) < bound
            assert difference(here["embedding"], there.embedding[0]) < bound
            name = "forces" if direct else "noise"
            assert difference(here[name], getattr(there, name)) < bound
    assert web.files_alone()


@pytest.mark.browser
@pytest.mark.parametrize("settings", [{}, dict(group="SO(3)", prunings=2), dict(beta=3.0)])
@pytest.mark.parametrize("kind", ["plain", "deep", "three"])
def test_frames_of_random_weights(window, tmp_path, kind, settings):
    model = scdlab.ECSE(perturbed(pet(**KINDS[kind]), 1), **settings)
    perturbed(model.auxiliary, 2)
    web = WebModels(window, tmp_path, "float64", net=model)
    chain = Atoms("HCCCCH", [[0, 0, 1.2 * k] for k in range(6)])  # all in line: no frame
    bent = molecule("H2O")
    bent.positions = rattled(bent).positions
    for atoms in (rattled("CH3CH2OH"), chain, bent, molecule("CO2"), Atoms("C")):
        there = torch_answer(model, atoms, noise=False)
        here = web("net", atoms)
        assert difference([here["energy"]], there.energy) < 1e-10
        assert difference(here["perAtom"], there.per_atom["energy"]) < 1e-10
    there = model.frames(batch_of(molecule("CH3CH2OH")))
    made = web.run(
        """([structure]) => models.net.frames(structureOf(structure))
            .map(f => [f.frames.map(x => x.w), f.auxiliaryWeight, f.innerRadius])""",
        plain(molecule("CH3CH2OH")),
    )
    hands = len(there) // sum(len(of_atom[0]) for of_atom in made)
    assert hands == (2 if settings.get("group") == "SO(3)" else 4)
    weights = np.repeat(np.concatenate([of_atom[0] for of_atom in made]), hands)
    assert difference(np.sort(weights), there.weights.sort().values) < 1e-12
    assert difference([of_atom[2] for of_atom in made], there.inner_radius) < 1e-12


@pytest.mark.browser
@pytest.mark.parametrize("own", [True, False])
def test_an_auxiliary_model_has_units_of_its_own_once_it_is_trained(window, tmp_path, own):
    model = scdlab.ECSE(pet(), perturbed(ct(conditional=False, cutoff=3.5), 1))
    for head, amount in ((model.energy_head, 5.0), (model.auxiliary.energy_head, 7.0)):
        head.reference[:] = -amount
        head.scale.fill_(amount)
    model.auxiliary.trained_elements[[6, 8]] = own
    web = WebModels(window, tmp_path, "float64", net=model)
    there = torch_answer(model, molecule("CO2"), noise=False)
    assert difference([web("net", molecule("CO2"))["energy"]], there.energy) < 1e-10


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_trained_weights_along_a_path(window, tmp_path, precision):
    """The energy of rotated ethanol: it changes without frames and stays with them, as in torch."""
    model = scdlab.load_pretrained("pet-ethanol")
    web = WebModels(window, tmp_path, precision, net=model)
    atoms = rattled("CH3CH2OH")
    axis = [1.0, 2.0, -0.5]
    bare = web.run(
        """([structure, axis]) => {
            const s = structureOf(structure);
            const at = t => scdlab.rotated(s, axis, 2 * Math.PI * t);
            return [Array.from(scdlab.energiesAlong(models.net, at, 5)),
                    Array.from(scdlab.energiesAlong(new scdlab.ECSE(models.net), at, 3)),
                    new scdlab.ECSE(models.net).forward(s).nFrames]; }""",
        plain(atoms),
        axis,
    )
    without, with_frames, n_frames = bare
    reference = model.energy_head.reference[atoms.numbers].sum().item()
    turned = []
    for k in range(5):
        other = atoms.copy()
        other.rotate(90.0 * k, axis, center=atoms.positions.mean(0))
        turned.append(torch_answer(model, other).energy.item())
    assert difference(np.array(without) - reference, np.array(turned) - reference) < 1e-5
    assert np.ptp(turned) > 1e-3
    exact = scdlab.ECSE(model)
    there = torch_answer(exact, atoms).energy.item()
    own = abs(there - reference)
    assert np.abs(np.array(with_frames) - there).max() < 1e-5 * own
    assert np.ptp(with_frames) < (1e-6 if precision == "float32" else 1e-10) * own
    assert n_frames == len(exact.frames(batch_of(atoms)))
    assert web.files_alone()


@pytest.mark.browser
def test_symmetry_of_frames(window, tmp_path):
    model = perturbed(pet(**KINDS["deep"]), 3)
    web = WebModels(window, tmp_path, "float64", bare=model, net=scdlab.ECSE(model))
    atoms = rattled("CH3CH2OH")
    here = web("net", atoms)["energy"]
    q = -rotation(4)  # a reflection too
    order = np.random.default_rng(5).permutation(len(atoms))
    other = atoms.copy()
    other.positions = atoms.positions @ q.T + [1.0, -2.0, 30.0]
    assert abs(web("net", other[order])["energy"] - here) < 1e-11 * abs(here)
    bare = web("bare", atoms)["energy"]
    assert abs(web("bare", other)["energy"] - bare) > 1e-3 * abs(bare)


@pytest.mark.browser
def test_bad_input_is_one_sentence(window, tmp_path):
    none = scdlab.ECSE(pet(), auxiliary=None)
    web = WebModels(window, tmp_path, plain=pet(), net=scdlab.ECSE(pet()), none=none)
    for name, atoms, options, said in (
        ("plain", molecule("H2O"), {"forces": True}, "no head for forces"),
        ("net", bulk("Cu"), {}, "this structure is periodic"),
        ("none", molecule("CO2"), {}, "neighbors of atom 1 are in line"),
    ):
        with pytest.raises(Exception, match=said):
            web(name, atoms, **options)

"""Structures at the edge in JavaScript: one atom, atoms out of reach, sizes that change."""

import numpy as np
import pytest
import torch
from ase import Atoms
from helpers import batch_of, ct, perturbed, pet, rattled, schnet
from web_models import WebModels, difference

MODELS = {
    "schnet": schnet,
    "direct": lambda: schnet(direct_forces=True),
    "ct": ct,
    "pet": lambda: pet(num_layers=2),
}


@pytest.mark.browser
@pytest.mark.parametrize("cells", [None, 64])
def test_few_atoms_and_none_in_reach(window, tmp_path, cells):
    models = {name: perturbed(make(), 1).eval() for name, make in MODELS.items()}
    web = WebModels(window, tmp_path, "float64", **models)
    apart = Atoms("CO", [[0, 0, 0], [0, 0, 30.0]])
    for name, model in models.items():
        forces = name in ("schnet", "direct")
        web.run("([name, cells]) => { models[name].filterTableSize = cells; }", name, cells)
        for atoms in (Atoms("C"), apart):
            here = web(name, atoms, forces=forces)
            with torch.no_grad():
                there = model.double()(batch_of(atoms), noise=False)
            assert difference([here["energy"]], there.energy) < 1e-12, name
            if not forces:
                assert difference(here["embedding"], there.embedding[0]) < 1e-12
            if forces:
                assert np.array_equal(here["forces"], np.zeros((len(atoms), 3)))
            if name == "ct":
                assert np.abs(here["noise"]).max() < 1e-12


@pytest.mark.browser
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_an_answer_does_not_depend_on_those_before(window, tmp_path, precision):
    """Arrays are used again, of larger structures and of smaller ones."""
    models = {name: perturbed(make(), 1).eval() for name, make in MODELS.items()}
    web = WebModels(window, tmp_path, precision, **models)
    structures = [rattled("H2O"), rattled("C60"), rattled("CH3CH2OH"), rattled("H2O")]
    last = {}
    for name in models:
        forces = name in ("schnet", "direct")
        answers = [web(name, atoms, forces=forces) for atoms in structures]
        assert answers[0]["energy"] == answers[3]["energy"]
        for output in ("forces", "noise"):
            first = answers[0].get(output)
            assert first is None or np.array_equal(first, answers[3][output])
        last[name] = answers[2]["energy"]
    fresh = WebModels(window, tmp_path, precision, **models)
    for name, energy in last.items():
        assert fresh(name, structures[2])["energy"] == energy

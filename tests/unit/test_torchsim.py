"""A trained model in TorchSim: its own check of models, our energies, forces and stress."""

import subprocess
import sys

import ase.build
import numpy as np
import pytest
import torch
from ase.calculators.fd import calculate_numerical_stress

import scdlab

torch_sim = pytest.importorskip("torch_sim", reason="torch-sim-atomistic is not installed")
from torch_sim.models.interface import validate_model_outputs  # noqa: E402

from scdlab.torchsim import TorchSimModel  # noqa: E402

CPU = torch.device("cpu")


def network(cls=scdlab.SchNet, **settings):
    torch.manual_seed(3)
    sizes = dict(hidden_channels=16, num_layers=2, num_rbf=16)
    return cls(**(sizes | settings)).double()


MODELS = {
    "SchNet": dict(),
    "transformer": dict(cls=scdlab.EquivariantTransformer, num_heads=2),
}


def crystals():
    first = ase.build.bulk("Si", "diamond", a=5.43, cubic=True)
    second = ase.build.bulk("Fe", "fcc", a=3.6, cubic=True) * (2, 1, 1)
    second.set_cell(second.cell.array @ np.array([[1, 0.1, 0], [0, 1, 0], [0.05, 0, 1]]), True)
    for seed, atoms in enumerate((first, second)):
        atoms.rattle(0.1, seed=seed)
    return [first, second]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_torchsim_finds_the_model_consistent(dtype):
    validate_model_outputs(TorchSimModel(network(), dtype), CPU, dtype)


@pytest.mark.parametrize("name", MODELS)
def test_it_says_what_the_calculator_says(name):
    model = network(**MODELS[name])
    atoms = crystals()
    state = torch_sim.io.atoms_to_state(atoms, CPU, torch.float64)
    found = TorchSimModel(model)(state)
    start = 0
    for k, one in enumerate(atoms):
        one.calc = scdlab.Calculator(model)
        rows = slice(start, start + len(one))
        start += len(one)
        assert abs(float(found["energy"][k]) - one.get_potential_energy()) < 1e-9
        np.testing.assert_allclose(found["forces"][rows], one.get_forces(), atol=1e-8)
        stress = found["stress"][k].numpy()
        np.testing.assert_allclose(stress, one.get_stress(voigt=False), atol=1e-9)
        numeric = calculate_numerical_stress(one, eps=1e-5, voigt=False)
        np.testing.assert_allclose(stress, numeric, atol=1e-7)


def test_a_model_without_a_force_call_gives_the_same(monkeypatch):
    model = network()
    state = torch_sim.io.atoms_to_state(crystals(), CPU, torch.float64)
    fast = TorchSimModel(model)(state)
    monkeypatch.setattr("scdlab.nn.inference.evaluator.covers", lambda model: False)
    slow = TorchSimModel(model)(state)
    assert fast.keys() == slow.keys() == {"energy", "forces", "stress"}
    for name, value in slow.items():
        torch.testing.assert_close(fast[name], value, rtol=1e-9, atol=1e-8)


def test_energy_is_kept_and_the_trajectory_is_ours():
    model = network()
    frames = [scdlab.load_ethanol().to_ase(k) for k in (0, 7)]
    state = torch_sim.integrate(
        system=frames,
        model=TorchSimModel(model),
        integrator=torch_sim.nve,
        n_steps=20,
        temperature=0.0,
        timestep=0.0005,  # ps
    )
    ours = scdlab.dynamics.NVE(model, frames, timestep=0.5).run(20)
    np.testing.assert_allclose(state.positions.numpy(), ours.pos, atol=1e-6)
    np.testing.assert_allclose(state.energy.numpy(), ours.energies, atol=1e-6)


def test_molecules_have_no_stress_and_less_can_be_asked():
    frames = scdlab.load_ethanol().to_ase(0)
    state = torch_sim.io.atoms_to_state([frames], CPU, torch.float64)
    model = TorchSimModel(network())
    assert not model(state)["stress"].any()
    model.compute_stress = model.compute_forces = False
    assert set(model(state)) == {"energy"}


def test_what_cannot_be_is_one_sentence():
    direct = network(direct_forces=True)
    with pytest.raises(ValueError, match="compute_stress=False"):
        TorchSimModel(direct)
    frames = scdlab.load_ethanol().to_ase(0)
    state = torch_sim.io.atoms_to_state([frames], CPU, torch.float64)
    assert set(TorchSimModel(direct, compute_stress=False)(state)) == {"energy", "forces"}
    with pytest.raises(TypeError, match="A model of scdlab is needed, got Linear"):
        TorchSimModel(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="dtype must be"):
        TorchSimModel(network(), dtype=torch.float16)
    trained = scdlab.load_pretrained("schnet-ethanol")
    gold = torch_sim.io.atoms_to_state([ase.build.bulk("Au", cubic=True)], CPU, torch.float64)
    with pytest.raises(ValueError, match="Au"):
        TorchSimModel(trained)(gold)


@pytest.mark.slow
def test_without_torchsim_the_import_names_it():
    code = "import sys; sys.modules['torch_sim'] = None; import scdlab.torchsim"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "scdlab.torchsim needs torch_sim, which is not installed" in last

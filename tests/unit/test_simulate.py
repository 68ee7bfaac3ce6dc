"""Molecular dynamics as a source of labels: reproducible, right temperature, labels that agree with
the calculator."""

import importlib
import sys

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from scdlab.atoms import AtomStore, load_aspirin, load_ethanol, make, simulate
from scdlab.atoms.simulate import intact


class Springs(Calculator):
    """Each atom on its own spring (k eV/Å²): the potential energy is (3/2) k_B T per atom."""

    implemented_properties = ("energy", "forces")

    def __init__(self, anchor, k=5.0):
        super().__init__()
        self.anchor = anchor.copy()
        self.k = k

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = self.atoms.positions - self.anchor
        self.results = {"energy": 0.5 * self.k * (away**2).sum(), "forces": -self.k * away}


def crystal():
    return bulk("Cu", cubic=True).repeat((2, 1, 1))


def test_same_seed_same_trajectory_and_the_start_is_untouched():
    start = crystal()
    before = start.positions.copy()
    short = {"interval": 5, "equilibration": 10, "calculator": "emt"}
    one, two = (simulate(start, 4, 300, seed=1, **short) for _ in range(2))
    other = simulate(start, 4, 300, seed=2, **short)
    assert torch.equal(one.take(range(4)).pos, two.take(range(4)).pos)
    assert not torch.equal(one.take(range(4)).pos, other.take(range(4)).pos)
    assert np.array_equal(start.positions, before) and start.calc is None
    assert (
        one.periodic
        and one.meta["simulation"]["calculator"] == "EMT (ase)"
        and one.meta["simulation"]["seed"] == 1
    )


def test_labels_are_the_calculators_for_those_positions():
    frames = simulate(crystal(), 3, 600, "emt", interval=5, equilibration=5)
    for k in range(3):
        atoms = frames.to_ase(k)
        energy = atoms.get_potential_energy()
        forces = atoms.get_forces()
        atoms.calc = EMT()
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-4)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-4)


@pytest.mark.slow
def test_samples_the_canonical_ensemble():
    atoms = crystal().repeat((2, 2, 1))
    store = simulate(
        atoms, 60, 500, Springs(atoms.positions), friction=0.05, interval=20, equilibration=200
    )
    per_atom = store.energy.mean() / len(atoms) / (1.5 * units.kB * 500)
    assert per_atom == pytest.approx(
        1.0, abs=0.1
    )  # 60 frames of 96 coordinates: standard error below 0.03


def test_fixed_atoms_stay_and_are_marked():
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0, 3]))
    batch = simulate(atoms, 2, 300, "emt", interval=5, equilibration=5).take([1])
    fixed = torch.from_numpy(atoms.positions[[0, 3]]).float()
    assert torch.equal(batch.pos[[0, 3]], fixed) and batch.fixed.tolist() == [
        k in (0, 3) for k in range(8)
    ]
    assert batch.forces[[0, 3]].norm() > 1e-3  # the true forces, not the constrained zeros


def test_gfn2_labels_ethanol_and_leaves_the_threads_alone():
    pytest.importorskip("tblite", reason="tblite is not installed: no GFN2-xTB labels")
    threads = torch.get_num_threads()
    store = simulate(molecule("CH3CH2OH"), 2, interval=5, equilibration=5, progress=False)
    assert torch.get_num_threads() == threads
    assert len(store) == 2 and store.has_forces
    assert (
        np.abs(store.energy - np.median(load_ethanol().energy)).max() < 2.0
    )  # eV: the same method as the kit's set
    assert "GFN2" in store.meta["simulation"]["calculator"]


class Charges(Springs):
    """Springs between an atom of charge +1 e and one of -1 e."""

    implemented_properties = ("energy", "forces", "dipole")

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.results["dipole"] = self.atoms.positions[0] - self.atoms.positions[1]


def test_dipole_moments_are_kept_where_asked_for():
    start = molecule("CO")
    short = {"calculator": Charges(start.positions), "interval": 5, "equilibration": 5}
    store = simulate(start, 3, 300, **short, dipole=True)
    pos = store.take(range(3)).pos.reshape(3, 2, 3).numpy()
    assert store.vector_names == ("dipole",) and store.units("dipole") == "e Å"
    np.testing.assert_allclose(store.property("dipole"), pos[:, 0] - pos[:, 1], atol=1e-6)
    assert simulate(start, 3, 300, **short).vector_names == ()
    with pytest.raises(ValueError, match=r"EMT \(ase\) gives no dipole moments"):
        simulate(crystal(), 1, calculator="emt", dipole=True)
    with pytest.raises(ValueError, match="periodic structure has no dipole moment"):
        simulate(crystal(), 1, calculator=Charges(crystal().positions), dipole=True)


def test_gfn2_gives_dipole_moments_in_electrons_times_angstrom():
    pytest.importorskip("tblite", reason="tblite is not installed: no GFN2-xTB labels")
    water = molecule("H2O")  # its oxygen at the top
    moment = simulate(
        water, 1, 1.0, interval=1, equilibration=0, dipole=True, progress=False
    ).property("dipole")[0]
    debye = np.linalg.norm(moment) / units.Debye
    assert moment[2] < 0 and 1.8 < debye < 2.5  # measured: 1.85 D; GFN2-xTB gives 2.3


def test_a_long_run_shows_a_bar_and_a_short_one_does_not(capsys, monkeypatch):
    short = {"interval": 10, "equilibration": 20, "calculator": "emt"}
    simulate(crystal(), 1, 300, **short)
    assert "step" not in capsys.readouterr().err
    monkeypatch.setattr(importlib.import_module("scdlab.atoms.simulate"), "_BAR_FROM", 0.0)
    simulate(crystal(), 1, 300, **short)
    assert "EMT" in capsys.readouterr().err
    simulate(crystal(), 1, 300, **short, progress=False)
    assert "EMT" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n_frames": 0}, "n_frames is 0"),
        ({"temperature": -5}, "temperature is -5"),
        ({"timestep": float("nan")}, "timestep is nan"),
        ({"equilibration": -1}, "equilibration is -1"),
        ({"n_frames": 1.5}, "n_frames is 1.5, but must be a whole number"),
        ({"calculator": "dft"}, "unknown calculator 'dft'"),
        ({"timestep": 500.0}, "blew up at step"),
    ],
)
def test_senseless_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        simulate(
            crystal(),
            **({"n_frames": 2, "temperature": 3000, "calculator": "emt", "interval": 20} | change),
        )
    with pytest.raises(ValueError, match="has no atoms"):
        simulate(crystal()[:0], 1, calculator="emt")


def test_intact_sees_broken_and_new_bonds():
    atoms = molecule("CH3CH2OH")
    frames = np.stack([atoms.positions] * 3)
    frames[1, 3] += 2 * (frames[1, 3] - frames[1, 2])  # the hydroxyl hydrogen flies off
    frames[2, 3] = frames[2, 4] + 0.5  # or sits on another
    frames[0] += 0.02
    assert intact(frames, atoms.numbers, atoms.positions).tolist() == [True, False, False]


def test_the_kits_ethanol_is_whole_and_at_500_kelvin():
    store = load_ethanol()
    assert len(store) == 2000 and store.elements == [1, 6, 8] and (store.n_atoms == 9).all()
    pos = store.take(range(2000)).pos.reshape(2000, 9, 3).numpy()
    start = molecule("CH3CH2OH")
    assert intact(pos, start.numbers, start.positions).all() and store.meta["frames_dropped"] == 0
    # 21 vibrations, classical: (21/2) k_B T of potential energy above the minimum, if they are
    # harmonic
    above = (store.energy.mean() - store.energy.min()) / (10.5 * units.kB * 500)
    assert 0.3 < above < 1.3
    assert (
        np.abs(store.take(range(2000)).forces.numpy().reshape(2000, 9, 3).sum(1)).max() < 1e-3
    )  # no net force


def test_the_kits_aspirin_is_whole_and_at_500_kelvin():
    store = load_aspirin()
    batch = store.take(range(1000))
    assert len(store) == 1000 and np.bincount(batch.z[:21]).tolist() == [0, 8, 0, 0, 0, 0, 9, 0, 4]
    pos = batch.pos.reshape(1000, 21, 3).numpy()
    assert intact(pos, batch.z[:21].numpy(), pos[0], stretch=1.7, contact=1.0).all()
    assert store.meta["frames_dropped"] == 0 and store.meta["simulation"]["temperature"] == 500
    above = (store.energy.mean() - store.energy.min()) / (28.5 * units.kB * 500)  # 57 vibrations
    assert 0.2 < above < 1.3
    assert np.abs(batch.forces.numpy().reshape(1000, 21, 3).sum(1)).max() < 5e-3  # no net force


@pytest.mark.slow
def test_recipes_are_known_by_name(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no recipe for a data set 'water': choose one of ethanol"):
        make.make("water")
    pytest.importorskip("tblite", reason="tblite is not installed: no GFN2-xTB labels")
    store = make.make("ethanol", tmp_path / "e", frames=3, progress=False)
    assert len(AtomStore.open(tmp_path / "e")) == len(store) == 3


def test_gfn2_without_tblite_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(ValueError, match="needs tblite"):
        simulate(molecule("H2O"), 1)

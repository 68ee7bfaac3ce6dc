"""Labels under other names than ase's, and labels that are none."""

import logging

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from scdlab.atoms import AtomStore

RNG = np.random.default_rng(0)
FORCES = [RNG.normal(size=(3, 3)) for _ in range(4)]


def frames(**keys):
    """Four waters; keys of energies map to an offset, those of forces to a factor."""
    out = []
    for k in range(4):
        atoms = molecule("H2O")
        for key, value in keys.items():
            if "energy" in key.lower():
                atoms.info[key] = -10.0 - k + value
            else:
                atoms.arrays[key] = FORCES[k] * value
        out.append(atoms)
    return out


@pytest.mark.parametrize(
    "energy, forces",
    [
        ("energy", "force"),
        ("REF_energy", "REF_forces"),
        ("ref_energy", "ref_force"),
        ("reference_energy", "reference_forces"),
        ("dft_energy", "dft_force"),
        ("DFT_energy", "DFT_forces"),
        ("dft_total_energy", "dft_forces"),
        ("energy_dft", "forces_dft"),
        ("Energy", "Forces"),
        ("free_energy", "forces"),
        ("total_energy", "forces"),
        ("TotalEnergy", "force"),
        ("QM_energy", "QM_forces"),
        ("REF-energy", "REF-forces"),
        ("energy", "REF_forces"),
    ],
)
def test_usual_keys_are_found_and_named(energy, forces, caplog):
    with caplog.at_level(logging.INFO, logger="scdlab"):
        store = AtomStore.from_ase(frames(**{energy: 0.0, forces: 1.0}))
    assert store.energy.tolist() == [-10.0, -11.0, -12.0, -13.0]
    np.testing.assert_allclose(store.arrays()["forces"], np.concatenate(FORCES), rtol=1e-6)
    assert store.meta["labels"] == {"energy": energy, "forces": forces}
    assert f"energies from '{energy}' and forces from '{forces}'" in caplog.text
    assert not store.property_names  # a label is no property besides
    assert not store.atom_properties()


def test_keys_of_a_file_are_found_and_can_be_chosen(tmp_path):
    path = tmp_path / "both.xyz"
    keys = {"REF_energy": 0.0, "REF_forces": 1.0, "pbe_energy": 5.0, "pbe_forces": 2.0}
    ase.io.write(path, frames(**keys), format="extxyz")
    assert AtomStore.from_file(path).meta["labels"]["energy"] == "REF_energy"
    store = AtomStore.from_file(path, energy="pbe_energy")
    assert store.meta["labels"] == {"energy": "pbe_energy", "forces": "pbe_forces"}
    store = AtomStore.from_file(path, forces="pbe_forces")
    assert store.meta["labels"] == {"energy": "pbe_energy", "forces": "pbe_forces"}
    store = AtomStore.from_file(path, energy="REF_energy", forces="pbe_forces")
    assert store.meta["labels"] == {"energy": "REF_energy", "forces": "pbe_forces"}
    with pytest.raises(ValueError, match=r"No structure has 'PBE' .*'REF_energy', 'pbe_energy'"):
        AtomStore.from_file(path, energy="PBE")


def test_forces_are_of_the_origin_of_the_energies(caplog):
    store = AtomStore.from_ase(frames(dft_energy=0.0, dft_forces=1.0, forces=2.0))
    assert store.meta["labels"] == {"energy": "dft_energy", "forces": "dft_forces"}
    assert "those of 'forces' differ" in caplog.text
    with pytest.raises(ValueError, match=r"only forces .* 'REF_forces', .* energy='REF_energy'"):
        AtomStore.from_ase(frames(energy=0.0, REF_energy=1.0, REF_forces=1.0))
    store = AtomStore.from_ase(frames(energy=0.0, REF_energy=0.0, REF_forces=1.0))
    assert store.meta["labels"] == {"energy": "energy", "forces": "REF_forces"}


def test_the_plain_key_comes_first_and_others_are_named(caplog):
    keys = {"energy": 0.0, "forces": 1.0, "REF_energy": 1.5, "REF_forces": 1.0}
    store = AtomStore.from_ase(frames(**keys))
    assert store.energy[0] == -10.0
    assert "those of 'REF_energy' differ from them by up to 1.5 eV" in caplog.text


def test_several_keys_of_different_values_are_refused():
    both = frames(REF_energy=0.0, dft_energy=1.0)
    with pytest.raises(ValueError, match=r"'REF_energy' and 'dft_energy': choose .* energy='REF"):
        AtomStore.from_ase(both)
    assert AtomStore.from_ase(both, energy="dft_energy").energy[0] == -9.0
    assert AtomStore.from_ase(frames(REF_energy=0.0, dft_energy=0.0)).energy[0] == -10.0


def test_a_total_energy_with_a_kinetic_one_is_no_label(caplog):
    moving = frames(total_energy=3.0, potential_energy=0.0)
    for atoms in moving:
        atoms.info["kinetic_energy"] = 3.0
    assert AtomStore.from_ase(moving).meta["labels"] == {"energy": "potential_energy"}


def test_missing_labels_come_with_a_word_about_what_is_there(caplog):
    store = AtomStore.from_ase(frames(energy=0.0, gradient=-1.0))
    assert store.has_energy and not store.has_forces
    assert "no forces under a usual name, but they have 'gradient'" in caplog.text
    caplog.clear()
    AtomStore.from_ase(frames(b3lyp_energy=0.0, b3lyp_forces=1.0))
    assert "no energies under a usual name, but they have 'b3lyp_energy'" in caplog.text
    assert "no forces under a usual name, but they have 'b3lyp_forces'" in caplog.text
    caplog.clear()
    AtomStore.from_ase(frames(energy=0.0, forces=1.0, b3lyp_energy=0.0))
    assert not caplog.text


def test_forces_under_short_names_are_not_passed_over_in_silence(caplog):
    for key in ("frc", "F_dft", "ref-f"):
        caplog.clear()
        AtomStore.from_ase(frames(energy=0.0, **{key: 1.0}))
        assert f"no forces under a usual name, but they have {key!r}" in caplog.text
    caplog.clear()
    apart = frames(energy=0.0)
    for atoms in apart:
        for name in ("fx", "fy", "fz"):
            atoms.set_array(name, np.ones(len(atoms)))
    assert not AtomStore.from_ase(apart).has_forces
    assert "but the columns fx, fy and fz" in caplog.text


def test_a_label_of_some_structures_is_refused():
    some = frames(REF_energy=0.0, REF_forces=1.0)
    del some[3].info["REF_energy"]
    with pytest.raises(ValueError, match=r"Structure 3 has no energy \('REF_energy'\) while"):
        AtomStore.from_ase(some)
    mixed = frames(energy=0.0)[:2] + frames(REF_energy=0.0)[2:]
    with pytest.raises(ValueError, match=r"Structure 2 has no energy but 'REF_energy' while"):
        AtomStore.from_ase(mixed)
    some = frames(REF_energy=0.0, REF_forces=1.0)
    del some[2].arrays["REF_forces"]
    with pytest.raises(ValueError, match=r"Structure 2 has no forces \('REF_forces'\) while"):
        AtomStore.from_ase(some)


@pytest.mark.parametrize("key", ["energy", "REF_energy"])
@pytest.mark.parametrize("value", ["n/a", True, np.ones(2), [1.0, [2.0]], np.nan, np.inf, 1j])
def test_energies_that_are_none_are_refused(key, value):
    bad = frames(**{key: 0.0})
    bad[2].info[key] = value
    with pytest.raises(ValueError, match=rf"Structure 2 has .*'{key}'"):
        AtomStore.from_ase(bad)


@pytest.mark.parametrize("key", ["forces", "REF_forces"])
@pytest.mark.parametrize(
    "value", [np.zeros((3, 2)), np.zeros(3), np.array(["a", "b", "c"]), np.full((3, 3), np.nan)]
)
def test_forces_that_are_none_are_refused(key, value):
    bad = frames(energy=0.0, **{key: 1.0})
    bad[2].arrays[key] = value
    with pytest.raises(ValueError, match=rf"Structure 2.*'{key}'"):
        AtomStore.from_ase(bad)


@pytest.mark.parametrize("value", [-10, np.float32(-10), np.array(-10.0), np.array([-10.0])])
def test_one_number_in_any_wrapping_is_an_energy(value):
    atoms = molecule("H2O")
    atoms.info["energy"] = value
    assert AtomStore.from_ase(atoms).energy.tolist() == [-10.0]


def test_results_and_notes_that_differ_are_told(caplog):
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((3, 3)))
    atoms.info["energy"] = -2.0
    assert AtomStore.from_ase(atoms).energy.tolist() == [-1.0]
    assert "info['energy'] of 1 structures differs" in caplog.text


def test_a_key_must_be_text():
    with pytest.raises(TypeError, match=r"energy must be the key .* got int"):
        AtomStore.from_ase(frames(energy=0.0), energy=3)

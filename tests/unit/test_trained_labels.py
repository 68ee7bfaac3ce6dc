"""What a model has learned from labels: of which elements, and what it refuses or warns of."""

import json
import logging

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

import scdlab
from scdlab import files
from scdlab.nn.trained_labels import Composition, TrainedLabels, labels_from_json
from scdlab.objectives import (
    CoordinateDenoising,
    EnergyForces,
    Objective,
    PropertyRegression,
    mark_trained_elements,
    reference_energies,
)

FIT = dict(steps=2, batch_size=4, progress=False, device="cpu")


def store_of(*names, copies=3, **properties):
    frames = []
    for k, name in enumerate(names * copies):
        atoms = molecule(name) if isinstance(name, str) else name.copy()
        atoms.rattle(0.03, seed=k)
        atoms.calc = EMT()
        energy = atoms.get_potential_energy()
        forces = atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    return scdlab.AtomStore.from_ase(frames)


def schnet():
    torch.manual_seed(0)
    return scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)


def z_of(name):
    return torch.tensor(molecule(name).numbers)


@pytest.fixture
def fine_tuned():
    """Pretrained on H, C, N and O, fine-tuned on energies of H and C."""
    model = schnet()
    pretraining = store_of("CH3CH2OH", "CH3NO2", "H2O")
    scdlab.fit(model, CoordinateDenoising(sigma=0.05), pretraining, **FIT)
    scdlab.fit(model, EnergyForces(), store_of("CH4", "C2H6", "C2H2"), **FIT)
    return model


# ----------------------------------------------------------------------------- elements, quantities


def test_energies_of_elements_without_labels_are_refused(fine_tuned):
    fine_tuned.check_energy(z_of("C2H4"))
    with pytest.raises(ValueError, match="learned energies of H and C only, none of O;"):
        fine_tuned.check_energy(z_of("CH3CH2OH"))
    with pytest.raises(ValueError, match="none of N and O"):
        scdlab.evaluate(fine_tuned, store_of("CH3NO2"))
    with pytest.raises(ValueError, match="none of O"):
        scdlab.evaluate(fine_tuned, store_of("H2O"), EnergyForces())
    with pytest.raises(ValueError, match="none of O"):  # to validate on as well
        scdlab.fit(fine_tuned, EnergyForces(), store_of("CH4"), store_of("CH3OH"), **FIT)
    # what was learned without labels is there
    batch = store_of("CH3CH2OH").take([0])
    assert fine_tuned.eval()(batch, noise=True).noise.isfinite().all()


def test_a_model_that_learned_no_energies_gives_none():
    model = schnet()
    store = store_of("CH4", "C2H6")
    model.check_energy(z_of("H2O"))  # a fresh model answers as it is
    scdlab.fit(model, CoordinateDenoising(sigma=0.05), store, **FIT)
    for check in (model.check_energy, model.check_forces):
        with pytest.raises(ValueError, match="learned none and gives none; fine-tune it with Ener"):
            check(z_of("CH4"))
    with pytest.raises(ValueError, match="not on energies"):
        scdlab.evaluate(model, store, EnergyForces())


def test_direct_forces_are_learned_from_forces_alone():
    torch.manual_seed(0)
    model = scdlab.PET(hidden_channels=16, num_layers=1, num_heads=2, direct_forces=True)
    store = store_of("CH4", "C2H6")
    EnergyForces(forces=False).prepare(model, store)
    model.check_energy(z_of("CH4"))
    with pytest.raises(ValueError, match="trained, but not on forces"):
        model.check_forces(z_of("CH4"))
    EnergyForces(energy_weight=0.0).prepare(model, store)
    model.check_forces(z_of("CH4"))
    with pytest.raises(ValueError, match="trained, but not on energies"):
        model.check_energy(z_of("CH4"))


def test_a_property_of_elements_without_labels_is_refused():
    def gaps(*names):
        frames = [molecule(name) for name in names]
        for k, atoms in enumerate(frames):
            atoms.info["gap"] = float(k)
        return scdlab.AtomStore.from_ase(frames, properties=["gap"])

    model = schnet()
    mark_trained_elements(model, gaps("CH3CH2OH"))
    PropertyRegression("gap").prepare(model, gaps("CH4", "C2H6"))
    assert scdlab.evaluate(model, gaps("C2H2", "CH4"))["gap_mae"] >= 0
    for objective in (None, PropertyRegression("gap")):
        with pytest.raises(ValueError, match="learned 'gap' of H and C only, none of O"):
            scdlab.evaluate(model, gaps("CH3OH", "CH4"), objective)


def test_the_last_training_set_decides(fine_tuned):
    EnergyForces().prepare(fine_tuned, store_of("H2O", "H2", "O2"))
    fine_tuned.check_energy(z_of("H2O"))
    with pytest.raises(ValueError, match="learned energies of H and O only, none of C"):
        fine_tuned.check_energy(z_of("CH4"))  # its reference is of another fit


class Squares(Objective):
    """An objective of somebody's own, which says nothing of its labels."""

    def __call__(self, model, batch, generator=None):
        return (model(batch, noise=False).energy - batch.energy).square().mean(), {}


class Shapes(Squares):
    learns = ()


def test_an_objective_of_ones_own_learns_the_labels_there_are_or_those_it_names():
    model = schnet()
    store = store_of("CH4", "C2H6")
    scdlab.fit(model, Shapes(), store, **FIT)
    assert model.trained_labels == TrainedLabels()
    scdlab.fit(model, Squares(), store, **FIT)
    assert model.trained_labels.energy == model.trained_labels.forces == (1, 6)
    scdlab.fit(model, Squares(), store_of("H2O"), **FIT)
    assert model.trained_labels.energy == (1, 6, 8)


# ---------------------------------------------------------------------------------- saved, shipped


def test_it_is_saved_and_comes_back(fine_tuned, tmp_path):
    EnergyForces().prepare(fine_tuned, store_of("CH4"))
    for model in (fine_tuned, scdlab.ECSE(fine_tuned)):
        scdlab.save(model, tmp_path / "net")
        again = scdlab.load(tmp_path / "net")
        assert again.trained_labels == fine_tuned.trained_labels
        assert again.trained_labels.undetermined.confused == (1, 6)
        with pytest.raises(ValueError, match="none of O"):
            again.check_energy(z_of("H2O"))


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {"energy": "H", "forces": [], "properties": {}},
        {"energy": ["Xx"], "forces": [], "properties": {}},
        {"energy": [1], "forces": [], "properties": {}},
        {"energy": [], "forces": [], "properties": []},
        {"energy": [], "forces": [], "properties": {}, "undetermined": 3},
        {"energy": [], "forces": [], "properties": {}, "undetermined": {"elements": ["H"]}},
    ],
)
def test_damaged_labels_are_refused(content, tmp_path):
    scdlab.save(schnet(), tmp_path / "net")
    path = tmp_path / "net.json"
    about = json.loads(path.read_text()) | {"trained_labels": content}
    path.write_text(json.dumps(about | {"digest": files.content_digest(about)}))
    with pytest.raises(ValueError, match=r"net\.json"):
        scdlab.load(tmp_path / "net")


def test_json_holds_it_whole():
    labels = TrainedLabels((1, 6), (6,), {"gap": (8,)}, Composition((1, 6), ((0.6, -0.8),)))
    assert labels_from_json(json.loads(json.dumps(labels.as_json()))) == labels


def test_the_kits_models_know_what_they_learned():
    for name in scdlab.training.checkpoint.pretrained_names():
        model = scdlab.load_pretrained(name)
        if name in ("pet-ethanol", "schnet-ethanol", "schnet-ethanol-direct"):
            model.check_energy(z_of("CH3CH2OH"))
            model.check_forces(z_of("CH3CH2OH"))
            assert model.trained_labels.undetermined.confused == (1, 6, 8)
        elif name in ("schnet-molecules", "dens-molecules"):  # of many compositions
            model.check_energy(z_of("CH4"))
            model.check_forces(z_of("CH4"))
            assert model.trained_labels.undetermined is None
        else:
            with pytest.raises(ValueError, match="not on energies"):
                model.check_energy(z_of("CH4"))


# ------------------------------------------------------------------------------- reference energies


def messages(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_compositions_that_do_not_vary_are_told_once(caplog, monkeypatch):
    monkeypatch.setattr(reference_energies, "logged", set())
    model = schnet()
    store = store_of("CH3CH2OH", "H2O")
    scdlab.fit(model, EnergyForces(), store, **FIT)
    (text,) = messages(caplog)
    assert "do not determine the reference energies of H, C and O one by one" in text
    caplog.clear()
    model.check_energy(z_of("CH3CH2OH"))
    scdlab.evaluate(model, store)
    both = torch.cat([z_of("CH3CH2OH"), z_of("H2O")])
    model.check_energy(both)  # a sum of what was there
    assert not messages(caplog)
    scdlab.evaluate(model, store_of("H2O", "CH4"))
    model.check_energy(z_of("CH3OH"))
    (text,) = messages(caplog)
    assert text.startswith("The energy of CH4 is off by an unknown constant")


def test_elements_that_are_determined_are_not_named(caplog, monkeypatch):
    monkeypatch.setattr(reference_energies, "logged", set())
    EnergyForces().prepare(schnet(), store_of("CH3CH2OH", "H2O", "H2"))
    assert not messages(caplog)
    # C and O always come in pairs, H varies
    EnergyForces().prepare(schnet(), store_of("CO", "CH3OH", "H2"))
    (text,) = messages(caplog)
    assert "of C and O one by one" in text


def test_energies_of_isolated_atoms_are_taken(caplog):
    given = {"H": -13.5, 6: -1027.0, "O": -2040.0}
    objective = EnergyForces(reference_energies=given)
    assert "'H': -13.5, 'C': -1027.0" in repr(objective)
    model = schnet()
    store = store_of("CH3CH2OH")
    scdlab.fit(model, objective, store, **FIT)
    reference = model.energy_head.reference
    assert reference[[1, 6, 8]].tolist() == [-13.5, -1027.0, -2040.0]
    assert int((reference != 0).sum()) == 3
    model.check_energy(z_of("H2O"))
    assert not messages(caplog) and model.trained_labels.undetermined is None
    with pytest.raises(ValueError, match="holds N and O, and reference_energies has only H, C;"):
        EnergyForces(reference_energies={"H": 0, "C": 1}).prepare(schnet(), store_of("CH3NO2"))


@pytest.mark.parametrize(
    ("given", "error", "complaint"),
    [
        ([-13.6], TypeError, "energies in eV by element"),
        ({}, ValueError, "names no element"),
        ({"Hx": 1.0}, ValueError, "'Hx', which is no element"),
        ({"X": 1.0}, ValueError, "'X', which is no element"),
        ({0: 1.0}, ValueError, "0, which is no element"),
        ({119: 1.0}, ValueError, "119, which is no element"),
        ({True: 1.0}, ValueError, "True, which is no element"),
        ({"H": "13"}, ValueError, "of H must be a finite number in eV, got '13'"),
        ({"H": float("nan")}, ValueError, "of H must be a finite number"),
        ({"H": None}, ValueError, "of H must be a finite number"),
        ({"H": 1.0, 1: 2.0}, ValueError, "names H twice"),
    ],
)
def test_wrong_reference_energies_are_refused(given, error, complaint):
    with pytest.raises(error, match=complaint):
        EnergyForces(reference_energies=given)


def test_counts_of_a_large_set_are_added_up():
    from scdlab.nn.trained_labels import counts_of, undetermined

    rng = np.random.default_rng(0)
    counts = np.zeros((100_000, 119))
    counts[:, 1] = rng.integers(1, 40, 100_000)
    counts[:, 6] = 2 * counts[:, 1]  # always in this proportion …
    gram = counts.T @ counts
    assert undetermined(gram).confused == (1, 6)
    one = counts_of(np.array([1, 1, 6]), np.zeros(3, int), 1)  # … but in one structure
    assert undetermined(gram + one.T @ one) is None


def test_crystals_of_one_element_determine_it(caplog):
    EnergyForces().prepare(schnet(), store_of(bulk("Cu", cubic=True)))
    assert not messages(caplog)

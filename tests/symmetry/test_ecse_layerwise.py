"""ECSE layer by layer: what it shares with ECSE of a whole model, and what it does not. Its
symmetry, smoothness and gradients are tested beside those of the others, in
test_ecse_guarantees."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from helpers import batch_of, perturbed, pet, rattled, schnet
from torch.utils.flop_counter import FlopCounterMode

import scdlab
from scdlab.nn.blocks import own_frames
from scdlab.symmetry.ecse import ECSE


def both(**settings):
    """ECSE of a model as a whole and of its layers, with the same weights."""
    net = perturbed(pet(**settings), seed=1, amount=0.2)
    whole, layers = (ECSE(net, layerwise=layerwise).double().eval() for layerwise in (False, True))
    layers.load_state_dict(whole.state_dict(), strict=False)
    return whole, layers


def test_of_one_layer_it_is_the_same_model():
    whole, layers = both(num_layers=1, direct_forces=True)
    batch = batch_of(rattled("CH3CH2OH"), molecule("CO2"), bulk("MgO", "rocksalt", a=4.3))
    for name, x in vars(whole(batch, forces=True)).items():
        y = getattr(layers(batch, forces=True), name)
        if torch.is_tensor(x):
            torch.testing.assert_close(y, x, rtol=1e-12, atol=1e-12)


def test_of_two_layers_it_is_another_model():
    whole, layers = both(num_layers=2)
    batch = batch_of(rattled("CH3CH2OH"))
    assert abs(float(whole(batch).energy - layers(batch).energy)) > 1e-3


def chain(turn):
    """Four atoms in a row, angles of 110°, whose ends are turned against each other, in degrees."""
    return Atoms("FNOC", positions=_placed(np.radians(turn)))


def _placed(turn, r=1.3):
    bend = np.radians(110)
    a = [r * np.cos(bend), r * np.sin(bend), 0.0]
    d = [r - r * np.cos(bend), r * np.sin(bend) * np.cos(turn), r * np.sin(bend) * np.sin(turn)]
    return np.array([a, [0, 0, 0], [r, 0, 0], d])


def test_it_does_not_see_a_dihedral_angle_that_no_atom_sees():
    """Each atom sees its neighbors in the chain, within 1.6 Å. As a whole, two layers carry what an
    end is like, and where it is, to the atom beside the other end."""
    whole, layers = both(num_layers=2, cutoff=1.6, cutoff_width=0.2)
    batch = batch_of(*(chain(turn) for turn in (40, 100, 160)))
    ends = batch.pos.view(3, 4, 3)
    assert (ends[:, 0] - ends[:, 2]).norm(dim=-1).min() > 1.6
    with torch.no_grad():
        seen, unseen = (float(np.ptp(model(batch).energy.numpy())) for model in (whole, layers))
    assert seen > 1e-4
    assert unseen < 1e-12


def test_it_sees_all_angles_within_the_cutoff():
    _, layers = both(num_layers=2, cutoff=3.5)
    with torch.no_grad():
        energy = layers(batch_of(chain(40), chain(100))).energy
    assert abs(float(energy.diff())) > 1e-4


def test_an_atom_hears_as_many_neighbors_away_as_there_are_layers():
    _, layers = both(num_layers=2, cutoff=1.6, cutoff_width=0.2)
    places = [[0, 0, 0], [1.3, 0, 0], [1.8, 1.2, 0], [3, 1.5, 0.3], [-0.5, 0.9, 0.2]]
    row = Atoms("CNOFH", places)  # C and N have two neighbors each, and so frames

    def share(atoms):
        with torch.no_grad():
            return float(layers(batch_of(atoms)).per_atom["energy"][0])

    before = share(row)
    for k, hears in ((1, True), (2, True), (3, False)):
        moved = row.copy()
        moved.positions[k] += [0.02, 0.03, -0.02]
        assert (abs(share(moved) - before) > 1e-8) == hears


def test_a_layer_costs_the_frames_of_each_atom():
    """Nine atoms that see each other: as a whole, all are computed in the frames of each."""
    whole, layers = both(num_layers=2)
    batch = batch_of(rattled("CH3CH2OH"))

    def flops(model):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(batch, noise=False)
        return counter.get_total_flops()

    assert 4 * flops(layers) < flops(whole)


def test_memory_without_a_graph_is_that_of_a_chunk(monkeypatch):
    """No more than a chunk's tensors are kept for the backward pass, beside those of atoms, edges
    and frames."""
    _, layers = both(num_layers=2)
    batch = batch_of(*(rattled(seed=k) for k in range(6)))

    def kept():
        numbers = [0]

        def count(x):
            numbers[0] += x.numel()
            return x

        with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
            layers(batch, forces=True)
        return numbers[0]

    whole = kept()
    monkeypatch.setattr(own_frames, "CHUNK", 200)
    assert kept() < whole / 2


def test_it_is_trained_saved_and_loaded(tmp_path):
    exact = ECSE(pet(num_layers=2), layerwise=True)
    train = scdlab.load_ethanol().split(40, 0)[0]
    objective = scdlab.objectives.EnergyForces()
    before = exact.stand_in.weight.clone()
    scdlab.fit(exact, objective, train, steps=3, batch_size=4, progress=False)
    torch.testing.assert_close(exact.stand_in.weight, before)  # every atom has frames
    scdlab.save(exact, tmp_path / "exact")
    again = scdlab.load(tmp_path / "exact")
    assert again.layerwise and again.config == exact.config
    batch = train.take([0, 1])
    torch.testing.assert_close(again.eval()(batch).energy, exact.eval()(batch).energy)


def test_what_has_no_such_layers_is_refused():
    for model, settings in ((schnet(), {}), (pet(), dict(local=False))):
        with pytest.raises(ValueError, match=r"layerwise=True needs frames of each atom.*PET"):
            ECSE(model, layerwise=True, **settings)


def test_without_an_auxiliary_model_a_line_is_refused_by_name():
    exact = ECSE(pet(num_layers=2), auxiliary=None, layerwise=True).double().eval()
    with pytest.raises(ValueError, match=r"neighbors of atom 0 in structure 1.*\(C2H2\)"):
        exact(batch_of(molecule("H2O"), molecule("C2H2")))

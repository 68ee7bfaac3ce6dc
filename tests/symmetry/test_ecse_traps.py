"""The traps on the way to ECSE. Each test holds a version with one thing wrong, and shows that it
fails the very check that ours passes."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from helpers import batch_of, perturbed, pet, rattled
from scipy.spatial.transform import Rotation

import scdlab
from scdlab.atoms import neighbor_list
from scdlab.nn.blocks.radial import smooth_step
from scdlab.symmetry import ecse as module
from scdlab.symmetry.averaging import RandomRotations
from scdlab.symmetry.ecse import ECSE, LAMBERT
from scdlab.symmetry.frames import Frames
from scdlab.symmetry.neighbor_pairs import step_up
from scdlab.symmetry.symmetrized import Symmetrized

CUTOFF = 3.5
TURN = Rotation.random(random_state=3).as_matrix()
MIRROR = np.diag([1.0, -1.0, 1.0])


def net():
    """A PET with weights larger than at the start, so that every part has an effect."""
    return perturbed(pet(cutoff=CUTOFF), seed=1, amount=0.2)


def auxiliary():
    torch.manual_seed(1)
    small = dict(hidden_channels=16, num_layers=1, num_heads=2, num_rbf=8, cutoff=CUTOFF)
    return perturbed(scdlab.EquivariantTransformer(**small), seed=1, amount=0.2)


def exact(kind=ECSE, told="random", **kwargs):
    own = auxiliary() if told == "random" else told
    return kind(net(), auxiliary=own, **kwargs).double().eval()


def turned(atoms, q, shift=0.0):
    other = atoms.copy()
    other.positions = atoms.positions @ q.T + shift
    return other


@torch.no_grad()
def energies(model, *structures):
    return model(batch_of(*structures)).energy


# ------------------------------------------------------------------------------------- an outer
# radius up to the cutoff


class UpToTheCutoff(ECSE):
    """R_out = R_cut: weights end where the neighbors that the model sees end, not before."""

    def __init__(self, model, **kwargs):
        super().__init__(model, **kwargs)
        self.outer_radius = model.cutoff


def test_an_outer_radius_up_to_the_cutoff_makes_a_jump(monkeypatch):
    """The second neighbor of an atom comes in at the cutoff, and R_in = R_out + Δ sees it with its
    full weight."""
    monkeypatch.setattr(
        module, "neighbor_list", lambda batch, reach: neighbor_list(batch, min(reach, CUTOFF))
    )

    def entering(r):
        direction = np.array([0.2, 0.7, -0.68])
        return Atoms("OHN", [[0, 0, 0], [0.8, 0.3, 0.2], r * direction / np.linalg.norm(direction)])

    def across(model):
        r = CUTOFF
        ends = [energies(model, entering(r - h), entering(r + h)) for h in (1e-2, 1e-3, 1e-4, 1e-5)]
        return [float((a - b).abs()) for a, b in ends]

    naive = across(exact(UpToTheCutoff))
    ours = across(exact())
    assert min(naive) > 1e-2 and naive[-1] > 0.99 * naive[-2], naive
    assert ours[-1] < 0.11 * ours[-2] < 1e-3 * naive[-2], ours
    with pytest.raises(ValueError, match="outer radius"):
        ECSE(net(), outer_radius=CUTOFF)


# --------------------------------------------------------------------------------------------------
# pooled frames


class Pooled(ECSE):
    """The frames of all atoms of a structure in one pool, whatever they are near to."""

    def __init__(self, model, **kwargs):
        super().__init__(model, local=False, **kwargs)


def test_pooled_frames_are_not_local():
    """Two methanes, 30 Å apart. One feels the other turn, and is another one than it would be
    alone."""
    one = rattled("CH4", 0)
    other = rattled("CH4", 1)
    far = [30.0, 0.0, 0.0]

    @torch.no_grad()
    def per_atom(model, *structures):
        batch = batch_of(*structures)
        return model(batch).per_atom["energy"].view(len(structures), -1)[:, : len(one)]

    def change(model):
        x = per_atom(model, one + turned(other, np.eye(3), far), one + turned(other, TURN, far))
        return float((x[0] - x[1]).abs().max()), float((x[0] - per_atom(model, one)).abs().max())

    assert min(change(exact(Pooled))) > 1e-4
    assert max(change(exact())) <= 1e-12


# --------------------------------------------------------------------------------------------------
# right hands alone


class RightHands(ECSE):
    """Frames [a b c] of determinant +1, as they are made, and no others."""

    def __init__(self, model, **kwargs):
        super().__init__(model, group="SO(3)", **kwargs)


def test_right_handed_frames_tell_mirror_images_apart():
    atoms = Atoms(
        "CHFClBr",
        [[0, 0, 0], [0.6, 0.6, 0.7], [0.8, -0.8, -0.75], [-1.0, 1.05, -0.98], [-1.1, -1.1, 1.15]],
    )
    for kind, tells in ((RightHands, True), (ECSE, False)):
        model = exact(kind)
        e = energies(model, atoms, turned(atoms, TURN), turned(atoms, MIRROR))
        assert abs(float(e[1] - e[0])) < 1e-10
        assert abs(float(e[2] - e[0])) > 1e-4 if tells else abs(float(e[2] - e[0])) < 1e-10


# --------------------------------------------------------------------------------------------------
# log-sum-exp


class PlainExponentials(ECSE):
    """SmoothMax and R_in by the formulas as they are printed, exp(+βr) and exp(-βd), in a chosen
    precision."""

    dtype = torch.float32

    def inner_radius(self, edges, pairs, n_clusters):
        f = smooth_step(edges.r, self.outer_radius, self.radius_width)
        steep = step_up(pairs.sin2, self.sin2_min, self.sin2_width)
        p = (f[pairs.j] * f[pairs.k] * steep).to(self.dtype)
        a = edges.r[pairs.j].to(self.dtype)
        b = edges.r[pairs.k].to(self.dtype)
        up_a = (self.beta * a).exp()
        up_b = (self.beta * b).exp()
        d = (a * up_a + b * up_b) / (up_a + up_b) + LAMBERT / self.beta
        last = math.exp(-self.beta * self.outer_radius)
        far = torch.full((n_clusters,), last, dtype=self.dtype)
        e = 2 * p * (-self.beta * d).exp()
        total = far.index_add(0, pairs.cluster, e)
        mean = (self.outer_radius * far).index_add(0, pairs.cluster, e * d) / total
        return (mean + self.radius_width).to(edges.r.dtype)


class PlainDoubles(PlainExponentials):
    dtype = torch.float64


@pytest.mark.parametrize(("kind", "beta"), [(PlainExponentials, 90.0), (PlainDoubles, 700.0)])
def test_exponentials_overflow_and_logarithms_of_their_sums_do_not(kind, beta):
    atoms = molecule("H2O")
    batch = batch_of(turned(atoms, 1.1 * np.eye(3)))
    gentle = exact(kind).frames(batch)
    same = exact().frames(batch)
    torch.testing.assert_close(
        gentle.inner_radius, same.inner_radius, rtol=1e-5, atol=0
    )  # it is the same formula
    naive, ours = (exact(x, beta=beta).frames(batch) for x in (kind, ECSE))
    assert not naive.inner_radius.isfinite().all()
    nearest = batch.pos[batch.z == 1] - batch.pos[batch.z == 8]
    expected = float(nearest.norm(dim=1).max()) + LAMBERT / beta + 0.15
    assert float(ours.inner_radius[0]) == pytest.approx(expected, abs=1e-9)
    assert ours.weights.isfinite().all() and float(ours.auxiliary_weight[0]) == 0
    assert energies(exact(beta=beta), atoms).isfinite().all()


# -------------------------------------------------------------------------------------------------
# rotations drawn anew


class Restless(Symmetrized):
    """The mean over rotations that every call draws anew."""

    def frames(self, batch):
        axes = torch.from_numpy(Rotation.random(4).as_matrix())
        of = torch.arange(batch.num_graphs).repeat_interleave(4)
        return Frames(
            axes.repeat(batch.num_graphs, 1, 1), torch.ones(len(of), dtype=torch.float64), of
        )


def test_rotations_drawn_anew_give_another_energy_in_every_call():
    atoms = rattled("CH3OH")
    naive = Restless(net()).double().eval()
    assert abs(float(energies(naive, atoms) - energies(naive, atoms))) > 1e-4
    for ours in (
        exact(),
        RandomRotations(net(), n=4).double().eval(),
    ):
        assert torch.equal(energies(ours, atoms), energies(ours, atoms))


# --------------------------------------------------------------------------------------------------
# detached weights


class DetachedWeights(ECSE):
    """The gradient goes through frames and model, and takes the weights for constants."""

    def frames(self, batch):
        found = super().frames(batch)
        return Frames(
            found.axes, found.weights.detach(), found.cluster, found.auxiliary_weight.detach()
        )


class DetachedFrames(ECSE):
    """The gradient goes through weights and model, and takes the axes for constants."""

    def frames(self, batch):
        found = super().frames(batch)
        return dataclasses.replace(found, axes=found.axes.detach())


def force_errors(model, atoms, h=1e-4):
    """Largest error of forces against finite differences, and their torque, relative to the largest
    force."""
    forces = model(batch_of(atoms), forces=True).forces
    numeric = torch.zeros_like(forces)
    for k in range(numeric.numel()):
        ends = [atoms.copy() for _ in range(4)]
        for other, step in zip(ends, (h, -h, h / 2, -h / 2), strict=True):
            other.positions.flat[k] += step
        a, b, c, d = energies(model, *ends)
        numeric.view(-1)[k] = -(4 * (c - d) / h - (a - b) / (2 * h)) / 3
    torque = torch.linalg.cross(torch.from_numpy(atoms.positions), forces).sum(0)
    size = float(numeric.abs().max())
    return float((forces - numeric).abs().max()) / size, float(torque.abs().max()) / size


def test_detached_weights_leave_no_torque_and_only_finite_differences_tell():
    atoms = rattled("CH3OH")
    error, torque = force_errors(exact(DetachedWeights, prunings=0), atoms)
    assert error > 1e-2 and torque < 1e-10, (error, torque)
    error, torque = force_errors(exact(DetachedFrames, prunings=0), atoms)
    assert error > 1e-2 and torque > 1e-3, (error, torque)
    error, torque = force_errors(exact(prunings=0), atoms)
    assert error < 1e-7 and torque < 1e-10, (error, torque)


# --------------------------------------------------------------------------------------------------
# no auxiliary model


class NoAuxiliary(ECSE):
    """Σ w y / Σ w, whatever Σ w is."""

    def frames(self, batch):
        found = super().frames(batch)
        return dataclasses.replace(found, auxiliary_weight=None)

    def shares(self, frames, clusters):
        norm = torch.zeros(len(clusters), dtype=torch.float64)
        norm = norm.index_add(0, frames.cluster, frames.weights)
        return frames.weights / norm[frames.cluster], torch.where(norm > 0, 0.0, math.inf)

    def auxiliary_outputs(self, batch, frames, request):
        return {"energy": torch.zeros(len(batch.z), dtype=torch.float64)}  # ∞ · 0, as 0 / 0


def test_without_an_auxiliary_model_linear_molecules_are_no_number():
    water = rattled("H2O")
    line = turned(molecule("CO2"), TURN)
    naive = energies(exact(NoAuxiliary, told=None), water, line)
    ours = energies(exact(), water, line)
    torch.testing.assert_close(naive[0], ours[0], rtol=1e-12, atol=1e-12)
    assert naive[1].isnan() and ours[1].isfinite()
    with pytest.raises(ValueError, match=r"structure 1 of the batch \(CO2\).*auxiliary"):
        energies(exact(told=None), water, line)

"""DeNS: denoising structures off equilibrium, with their forces as a clue (Liao, Smidt, Shuaibi and
Das, TMLR 2024, arXiv:2403.09549).

At a minimum of the energy "where were the atoms?" has about one answer. Off the minimum it has
many: the noisy structure could have come from any of its neighbors. The forces F of the structure
before the noise tell which it was:

    x̃_i = x_i + m_i ε_i          ε ~ N(0, σ² I); m_i = 1: atom i is corrupted
    E, F̂, ε̂ = model(x̃ | m_i F_i)      one pass; a corrupted atom is told the force that it felt
                                         before

    L = ρ |E - Ê| + mean over atoms that stayed of ‖F_i - F̂_i‖ + λ σ_F mean over corrupted atoms of
    ‖ε̂_i - ε_i/σ‖

Only a share p of the structures is corrupted, and in each only a share r of the atoms, so a step
still learns energies and forces as usual, from the same pass. λ falls linearly to 0 over the run.
σ_F is the spread of the forces in the training set, which makes λ a number without a unit. The
paper's text squares the last norm, its code does not: `loss` offers both ("squared" as a mean over
components, as CoordinateDenoising has it), and as the code does is the default. With
main=EnergyForces() energies and forces are squared, and λ stands before σ_F².

With forces as a gradient the first two terms pull against each other: a network that undoes the
noise inside has the energy of x, and its force on an atom that stayed, the clue held fixed, is not
F_i but F_i + Σ_j F_j ∂x_j/∂x̃_i, with a sum over the corrupted atoms j. A network that predicts
forces directly has no such conflict.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.objectives.coordinate import check_weight, displaced, noise_error, sample_noise
from scdlab.objectives.supervised import LOSSES, EnergyForces, free_atoms, squared_or_norm

FORCE_ENCODINGS = ("true", "none", "shuffled")
SCALES = (
    50  # sizes of noise between the two ends of a multi-scale σ, evenly spaced in their logarithm
)


class Corruption(NamedTuple):
    """What was done to a batch: eps [N, 3] Å, zero for atoms that stayed; mask [N], the corrupted
    ones; sigma [N] Å, the size of the noise of each atom's structure; clue [N, 3] eV/Å, what atoms
    are told, or None; batch, the noisy one."""

    eps: Tensor
    mask: Tensor
    sigma: Tensor
    force_input: Tensor | None
    batch: object


class DeNS:
    """Energies and forces, with denoising beside them in the same pass.

    probability: p, share of the structures that are corrupted; ratio: r, share of their atoms that
    are; sigma: size of the noise in Å, or (smallest, largest) for one of 50 sizes between, drawn
    for each structure; weight: λ, as published 5 where forces weigh 80; decay: whether `fit` lets
    it fall linearly to 0; loss: "norm" or "squared", the mean square per component; main: an
    EnergyForces, which also says how energies are weighed; centered: no noise in the mean of a
    structure that is corrupted as a whole, as in CoordinateDenoising.

    Ablations: force_encoding="none" tells no forces; force_encoding="shuffled" tells each atom the
    force of another atom of its structure, a negative control; ratio=1 corrupts whole structures,
    which then give no force to learn; only_below: corrupt no structure whose root mean square force
    component, of free atoms, is above this (eV/Å), so that only structures near equilibrium are
    denoised.

    Atoms that the batch marks as `fixed` are never corrupted, nor do their forces count. Parts:
    those of `main`, the force error being that of the atoms that stayed, and "noise_mse" and
    "noise_unexplained" as CoordinateDenoising's; `counted` says over how many atoms these are
    means. `fit` validates by `judge`: labels of structures as they are. Random numbers are drawn in
    the order: noise, corrupted atoms (if ratio < 1), sizes (if several), structures (if p < 1),
    shifts (if force_encoding="shuffled"). p = 0 or r = 0 is `main` itself. Where all forces are
    zero, nothing is told; with p = r = 1 and loss="squared" the noise term is then that of
    CoordinateDenoising.
    """

    def __init__(
        self,
        prob: float = 0.25,
        corrupt_ratio: float = 0.25,
        sigma: float | tuple[float, float] = 0.05,
        denoising_weight: float = 0.0625,
        decay: bool = True,
        force_encoding: str = "true",
        loss: str = "norm",
        supervised: EnergyForces | None = None,
        max_rms_force: float | None = None,
        centered: bool = True,
    ):
        for name, share in (("prob", prob), ("corrupt_ratio", corrupt_ratio)):
            if not 0 <= share <= 1:
                raise ValueError(
                    f"{name} is a share of what is corrupted, from 0 to 1, not {share}."
                )
        ends = tuple(map(float, sigma)) if isinstance(sigma, (tuple, list)) else (float(sigma),)
        if not (
            1 <= len(ends) <= 2
            and all(math.isfinite(s) and s > 0 for s in ends)
            and ends[0] <= ends[-1]
        ):
            raise ValueError(
                "sigma is the size of the noise, a positive length in Å such as 0.05, or two of "
                f"them, the smaller one first, not {sigma}."
            )
        if force_encoding not in FORCE_ENCODINGS:
            raise ValueError(
                f"An atom is told one of {', '.join(FORCE_ENCODINGS)} as its force, not "
                f"{force_encoding!r}."
            )
        if loss not in LOSSES:
            raise ValueError(f"The loss is one of {', '.join(LOSSES)}, not {loss!r}.")
        if max_rms_force is not None and not max_rms_force >= 0:
            raise ValueError(
                "max_rms_force is a size of forces in eV/Å, 0 or more, or None, not "
                f"{max_rms_force}."
            )
        supervised = (
            EnergyForces(energy_weight=0.02, loss="norm") if supervised is None else supervised
        )
        if not (isinstance(supervised, EnergyForces) and supervised.forces):
            raise ValueError(
                "supervised must learn energies and forces, as EnergyForces() does, not "
                f"{supervised!r}."
            )
        check_weight(denoising_weight)
        self.prob = float(prob)
        self.corrupt_ratio = float(corrupt_ratio)
        self.loss = loss
        self.force_encoding = force_encoding
        self.sigma = ends[0] if len(ends) == 1 else ends
        self.denoising_weight = float(denoising_weight)
        self.anneal = {"denoising_weight": (float(denoising_weight), 0.0)} if decay else {}
        self.supervised = supervised
        self.judge = supervised
        self.max_rms_force = max_rms_force
        self.centered = centered
        self.atomwise = supervised.atomwise
        self.counted = {}

    def __repr__(self):
        return (
            f"DeNS(prob={self.prob}, corrupt_ratio={self.corrupt_ratio}, sigma={self.sigma}, "
            f"denoising_weight={self.denoising_weight}, decay={bool(self.anneal)}, "
            f"force_encoding={self.force_encoding!r}, loss={self.loss!r}, "
            f"supervised={self.supervised!r}, max_rms_force={self.max_rms_force}, "
            f"centered={self.centered})"
        )

    def prepare(self, model, train) -> None:
        """Prepare for the labels, set the scale of the force encoding, and check that the model can
        do this at all.

        Raises ValueError when it cannot be told forces or has no noise to give, when forces are
        missing or no numbers, and for a structure in which no atom may move.
        """
        free = free_atoms(batch := train.take(range(len(train))))
        if free is not None and bool((still := sum_over_atoms(free.long(), batch) == 0).any()):
            raise ValueError(
                f"All atoms of structure {int(still.nonzero()[0])} of the training set are fixed, "
                "so it can be neither corrupted nor learned from; leave it out."
            )
        self.supervised.prepare(model, train)
        if model.force_encoding is not None:
            model.force_encoding.scale.copy_(model.energy_head.scale)
        one = train.take([0]).to(next(model.parameters()).device)
        with torch.no_grad():
            model(
                one, noise=True, force_input=None if self.force_encoding == "none" else one.forces
            )

    def heads(self, model) -> list:
        """The modules that give energies and forces."""
        return self.supervised.heads(model)

    def __call__(self, model, batch, generator=None):
        if not (self.prob and self.corrupt_ratio):
            found = self.supervised(model, batch, generator)
            self.counted = self.supervised.counted
            return found
        eps, mask, sigma, force_input, noisy = self.corrupt(batch, generator)
        out = model(noisy, forces=True, noise=True, force_input=force_input)
        supervised, parts = self.supervised.compare(model, out, batch, left_out=mask)
        target = eps / sigma.unsqueeze(
            -1
        )  # (N, 3): each structure's noise in units of its own size
        loss, noise_parts = noise_error(out.noise, target, mask, 1.0)
        if self.loss == "norm":
            length = squared_or_norm(out.noise - target.to(out.noise.dtype), "norm")  # (N)
            loss = (length * mask).sum() / mask.sum().clamp(min=1)
        self.counted = {**self.supervised.counted, **dict.fromkeys(noise_parts, mask.sum())}
        unit = model.energy_head.scale ** (
            2 if self.supervised.loss == "squared" else 1
        )  # that of the force term
        return supervised + self.denoising_weight * unit * loss, {**parts, **noise_parts}

    def corrupt(self, batch, generator=None) -> Corruption:
        """Noise and clue for a batch. Raises ValueError when it has no forces."""
        if batch.get("forces") is None:
            raise ValueError(
                "DeNS tells atoms the forces that they felt before the noise, and this batch has "
                "none; use labeled structures, or CoordinateDenoising, which needs no labels."
            )
        like = dict(device=batch.pos.device, generator=generator)
        several = isinstance(self.sigma, tuple)
        free = free_atoms(batch)
        eps = torch.zeros_like(batch.pos)
        mask = torch.zeros_like(batch.z, dtype=torch.bool)
        if self.corrupt_ratio:
            eps, mask = sample_noise(
                batch,
                1.0 if several else self.sigma,
                generator,
                centered=self.centered,
                ratio=self.corrupt_ratio,
                free=free,
            )
        sigma = eps.new_full((batch.num_graphs,), 1.0 if several else self.sigma)  # (B) Å
        if several:
            steps = torch.randint(SCALES, (batch.num_graphs,), **like) / (SCALES - 1)
            sigma = (self.sigma[0] * (self.sigma[1] / self.sigma[0]) ** steps).to(eps.dtype)
        chosen = torch.ones(batch.num_graphs, dtype=torch.bool, device=eps.device)  # (B)
        if self.prob < 1:
            chosen = torch.rand(batch.num_graphs, **like) < self.prob
        if self.max_rms_force is not None:
            felt = torch.ones_like(mask) if free is None else free
            square = sum_over_atoms(torch.where(felt, batch.forces.square().sum(-1), 0.0), batch)
            count = 3 * sum_over_atoms(felt.long(), batch).clamp(min=1)
            chosen = chosen & ((square / count).sqrt() <= self.max_rms_force)
        mask = mask & chosen.index_select(0, batch.batch)  # (N)
        sigma = sigma.index_select(0, batch.batch)  # (N)
        eps = eps * mask.unsqueeze(-1) * (sigma.unsqueeze(-1) if several else 1.0)
        force_input = None
        if self.force_encoding != "none":
            told = (
                batch.forces
                if self.force_encoding == "true"
                else _of_others(batch.forces, batch, generator)
            )
            force_input = torch.where(mask.unsqueeze(-1), told, 0.0)
        return Corruption(eps, mask, sigma, force_input, displaced(batch, eps))


def _of_others(forces: Tensor, batch, generator) -> Tensor:
    """Each atom's force [N, 3] replaced by that of another atom of its structure, all by one shift;
    zero for an atom that is alone."""
    size = batch.ptr.diff()
    start = batch.ptr[:-1]  # (B)
    drawn = torch.rand(len(size), device=forces.device, generator=generator)
    shift = 1 + (drawn * (size - 1)).long()  # (B) from 1 to size - 1
    of = batch.batch
    place = (torch.arange(len(forces), device=forces.device) - start[of] + shift[of]) % size[of]
    return forces.index_select(0, start[of] + place) * (size > 1)[of].unsqueeze(-1)

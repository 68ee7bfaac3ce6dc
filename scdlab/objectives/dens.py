"""DeNS: denoising structures off equilibrium, with their forces as an input (Liao, Smidt, Shuaibi
and Das, TMLR 2024, arXiv:2403.09549).

At a minimum of the energy "where were the atoms?" has about one answer. Off the minimum it has
many: the noisy structure could have come from any of its neighbors. The forces F of the structure
before the noise decide which it was:

    x̃_i = x_i + m_i ε_i             ε ~ N(0, σ² I); m_i = 1: atom i is corrupted
    E, F̂, ε̂ = model(x̃ | m_i F_i)    one pass; force input: of a corrupted atom its force before

    L = ρ |E - Ê|
        + mean over atoms that stayed of ‖F_i - F̂_i‖
        + λ σ_E/Å mean over corrupted atoms of ‖ε̂_i - ε_i/σ‖

Only a share p of the structures is corrupted, and in each only a share r of the atoms, so a step
still learns energies and forces as usual, from the same pass. λ falls linearly to 0 over the run.

σ_E is the spread of the energies in the training set: their standard deviation (eV) after the
references of the elements were taken off. This is the release's unit. It divides energies and
forces alike by the standard deviation of the energies, and the noise by σ: in
atomicarchitects/equiformer, main_md17_dens.py, lines 158–160 (the spread) and 366–403 (the loss).
Its weights 1 (energies), 80 (forces) and 5 (noise), times σ_E/80, are ρ = 1/80, 1 and λ = 5/80
here. In forces' own unit, their root mean square component, the noise would weigh 5 to 7 times as
much on frames of small molecules.

The paper's text squares the last norm, its code does not: `loss` offers both ("squared" as a mean
over components, as CoordinateDenoising has it), and as the code does is the default. With
supervised=EnergyForces() energies and forces are squared, and λ stands before σ_E²/Å².

With forces as a gradient the first two terms pull against each other: a network that undoes the
noise inside has the energy of x, and its force on an atom that stayed, the force input held fixed,
is not F_i but F_i + Σ_j F_j ∂x_j/∂x̃_i, with a sum over the corrupted atoms j. The release's
network for small molecules has this conflict too, since it takes forces as a gradient and receives
them in the same way (nets/equiformer_md17_dens.py): it explains no difference from the paper. Two
ways around it: labels_of_corrupted=False leaves the labels of such structures out, and a network
that predicts forces directly (direct_forces=True) has no such conflict.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scdlab.atoms.batch import Batch, completed
from scdlab.atoms.shares import balanced, drawn_for_structures, uniform_for_structures
from scdlab.atoms.store import AtomStore
from scdlab.log import logger
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.nn.model import Model
from scdlab.objectives.arguments import (
    check_choice,
    check_length,
    check_share,
    check_switch,
    check_weight,
)
from scdlab.objectives.base import Objective, Parts, free_atoms, required
from scdlab.objectives.label_statistics import check_scale, energies_left, pieces
from scdlab.objectives.noise import displaced, noise_error, sample_noise
from scdlab.objectives.supervised import LOSSES, EnergyForces, squared_or_norm

FORCE_ENCODINGS = ("true", "none", "shuffled")
# sizes of noise between the two ends of a multi-scale σ, evenly spaced in their logarithm
SCALES = 50


class Corruption(NamedTuple):
    """What was done to a batch.

    Attributes
    ----------
    eps : Tensor, [N, 3]
        Displacements in Å, zero for atoms that stayed.
    mask : Tensor of bool, [N]
        The corrupted atoms.
    sigma : Tensor, [N]
        Size of the noise of each atom's structure in Å.
    force_input : Tensor, [N, 3], or None
        Forces in eV/Å that the model gets as an input, zero for atoms that stayed.
    batch : Batch
        The noisy structures.
    """

    eps: Tensor
    mask: Tensor
    sigma: Tensor
    force_input: Tensor | None
    batch: Batch


@dataclass
class DeNS(Objective):
    """Energies and forces, with denoising beside them in the same pass.

    Atoms that the batch marks as `fixed` are never corrupted, nor do their forces count. Parts:
    those of `supervised`, the force error being that of the atoms that stayed, and "noise_mse" and
    "noise_unexplained" as CoordinateDenoising's, over the corrupted atoms. `fit` validates by
    `supervised`: labels of structures as they are.

    Random numbers are drawn in the order: noise, corrupted atoms (if corrupt_ratio < 1), sizes (if
    several), structures (if prob < 1), shifts (if force_encoding="shuffled"). prob = 0 or
    corrupt_ratio = 0 is `supervised` itself. Where all forces are zero, so is the force
    input; with prob = corrupt_ratio = 1 and loss="squared" the noise term is then that of
    CoordinateDenoising.

    Parameters
    ----------
    prob : float, default 0.25
        Share p of the structures that are corrupted.
    corrupt_ratio : float, default 0.25
        Share r of their atoms that are. An ablation: 1 corrupts whole structures, which then give
        no force to learn.
    sigma : float or (float, float), default 0.05
        Size of the noise in Å, or (smallest, largest) for one of 50 sizes between, drawn for each
        structure.
    denoising_weight : float, default 0.0625
        λ, as released 5 where forces weigh 80.
    decay : bool, default True
        Whether `fit` lets λ fall linearly to 0.
    force_encoding : str, default "true"
        The force input of corrupted atoms: "true", their own forces before the noise; ablations are
        "none", no force input, and "shuffled", the force of another atom of the structure, a
        negative control.
    loss : str, default "norm"
        "norm", or "squared" for the mean square per component, of the noise term.
    supervised : EnergyForces, optional
        The loss of the labels, by default EnergyForces(energy_weight=1 / 80, loss="norm"), as
        released.
    max_rms_force : float, optional
        Corrupt no structure whose root mean square force component, of free atoms, is above this
        (eV/Å), so that only structures near equilibrium are denoised.
    centered : bool, default True
        No noise in the mean of a structure that is corrupted as a whole, as in CoordinateDenoising.
    labels_of_corrupted : bool, default True
        Whether the energies of corrupted structures, and the forces on their atoms that stayed, are
        learned, as released. False: these structures are denoised, and nothing else; both means of
        the labels are over the structures in which no atom was corrupted.

    Raises
    ------
    ValueError
        For an argument that is out of its range.
    """

    prob: float = 0.25
    corrupt_ratio: float = 0.25
    sigma: float | tuple[float, float] = 0.05
    denoising_weight: float = 0.0625
    decay: bool = True
    force_encoding: str = "true"
    loss: str = "norm"
    supervised: EnergyForces = field(
        default_factory=lambda: EnergyForces(energy_weight=1 / 80, loss="norm")
    )
    max_rms_force: float | None = None
    centered: bool = True
    labels_of_corrupted: bool = True

    balances = True

    def __post_init__(self) -> None:
        check_share("prob", self.prob)
        check_share("corrupt_ratio", self.corrupt_ratio)
        self.sigma = _sizes(self.sigma)
        check_choice("force_encoding", self.force_encoding, FORCE_ENCODINGS)
        check_choice("loss", self.loss, LOSSES)
        if self.max_rms_force is not None and not self.max_rms_force >= 0:
            raise ValueError(
                "max_rms_force must be a force of at least 0 eV/Å, or None, got "
                f"{self.max_rms_force!r}."
            )
        if not (isinstance(self.supervised, EnergyForces) and self.supervised.forces):
            raise ValueError(
                "supervised must learn energies and forces, as EnergyForces() does, got "
                f"{self.supervised!r}."
            )
        check_weight("denoising_weight", self.denoising_weight)
        check_switch("labels_of_corrupted", self.labels_of_corrupted)
        self.prob = float(self.prob)
        self.corrupt_ratio = float(self.corrupt_ratio)
        self.denoising_weight = float(self.denoising_weight)
        self.anneal = {"denoising_weight": (self.denoising_weight, 0.0)} if self.decay else {}

    @property
    def labeled(self) -> EnergyForces:
        return self.supervised

    @property
    def validation_objective(self) -> EnergyForces:
        return self.supervised

    def prepare(self, model: Model, train: AtomStore) -> None:
        """Prepare for the labels, set the spread of the energies and the scale of the force
        encoding, and check the model.

        Parameters
        ----------
        model : Model
            The model that is to be trained.
        train : AtomStore
            The training set.

        Raises
        ------
        ValueError
            When the model takes no force input or has no noise to give, when forces are missing or
            no numbers, for a structure in which no atom may move, and for energies so large that
            they have no spread.
        """
        if free_atoms(train.take([0])) is not None:
            _check_fixed(train)
        self.supervised.prepare(model, train)
        model.energy_head.set_spread(_spread(train, model.energy_head.reference.cpu().numpy()))
        if model.force_encoding is not None:
            model.force_encoding.scale.copy_(model.energy_head.scale)
        one = train.take([0]).to(next(model.parameters()).device)
        force_input = None if self.force_encoding == "none" else one.forces
        with torch.no_grad():
            model(one, noise=True, force_input=force_input)

    def __call__(
        self, model: Model, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Parts]:
        batch = completed(batch)
        if not (self.prob and self.corrupt_ratio):
            return self.supervised(model, batch, generator)
        eps, mask, sigma, force_input, noisy = self.corrupt(batch, generator)
        out = model(noisy, forces=True, noise=True, force_input=force_input)
        left_out = {"left_out": mask}
        if not self.labels_of_corrupted:
            left_out["structures_left_out"] = sum_over_atoms(mask.long(), batch) > 0  # (B)
        labeled, parts = self.supervised.compare(model, out, batch, **left_out)
        target = eps / sigma.unsqueeze(-1)  # (N, 3) each structure's noise in units of its own size
        noise = required(out.noise, "noise")  # ε̂ (N, 3)
        loss, noise_parts = noise_error(batch, noise, target, mask, 1.0)
        if self.loss == "norm":
            length = squared_or_norm(noise - target.to(noise.dtype), "norm")  # (N)
            loss = (length * mask).sum() / mask.sum().clamp(min=1)
        loss = balanced(loss, batch, mask.sum())
        power = 2 if self.supervised.loss == "squared" else 1
        spread = model.energy_head.spread  # eV; none before `prepare`
        unit = 1.0 if spread is None else spread**power  # as the force term, eV/Å or its square
        return labeled + self.denoising_weight * unit * loss, {**parts, **noise_parts}

    def corrupt(self, batch: Batch, generator: torch.Generator | None = None) -> Corruption:
        """Noise and force input for a batch.

        Parameters
        ----------
        batch : Batch
            Structures with forces.
        generator : torch.Generator, optional
            Source of the random numbers, on the batch's device.

        Raises
        ------
        ValueError
            When the batch has no forces.
        """
        if batch.get("forces") is None:
            raise ValueError(
                "DeNS needs the forces of the structures before the noise, and this batch has "
                "none; use labeled structures, or CoordinateDenoising, which needs no labels."
            )
        device = batch.pos.device
        several = isinstance(self.sigma, tuple)
        free = free_atoms(batch)
        eps = torch.zeros_like(batch.pos)  # (N, 3)
        mask = torch.zeros_like(batch.z, dtype=torch.bool)  # (N)
        size = 1.0 if isinstance(self.sigma, tuple) else self.sigma
        if self.corrupt_ratio:
            eps, mask = sample_noise(
                batch,
                size,
                generator,
                centered=self.centered,
                ratio=self.corrupt_ratio,
                free=free,
            )
        sigma = eps.new_full((batch.num_graphs,), size)  # (B) Å
        if isinstance(self.sigma, tuple):
            smallest, largest = self.sigma
            steps = drawn_for_structures(
                batch,
                generator,
                lambda n, s: torch.randint(SCALES, (n,), device=device, generator=s),
            ) / (SCALES - 1)  # (B)
            sigma = (smallest * (largest / smallest) ** steps).to(eps.dtype)
        chosen = torch.ones(batch.num_graphs, dtype=torch.bool, device=eps.device)  # (B)
        if self.prob < 1:
            chosen = uniform_for_structures(batch, generator) < self.prob
        if self.max_rms_force is not None:
            counts = torch.ones_like(mask) if free is None else free  # (N)
            square = sum_over_atoms(torch.where(counts, batch.forces.square().sum(-1), 0.0), batch)
            count = 3 * sum_over_atoms(counts.long(), batch).clamp(min=1)
            chosen = chosen & ((square / count).sqrt() <= self.max_rms_force)
        mask = mask & chosen.index_select(0, batch.batch)  # (N)
        sigma = sigma.index_select(0, batch.batch)  # (N)
        eps = eps * mask.unsqueeze(-1) * (sigma.unsqueeze(-1) if several else 1.0)
        force_input = None
        if self.force_encoding != "none":
            forces = batch.forces  # (N, 3)
            if self.force_encoding == "shuffled":
                forces = _of_others(forces, batch, generator)
            force_input = torch.where(mask.unsqueeze(-1), forces, 0.0)
        return Corruption(eps, mask, sigma, force_input, displaced(batch, eps))


def _spread(train: AtomStore, reference: np.ndarray) -> float:
    """Standard deviation in eV of the energies less the references [119] of their atoms; 1 where
    they do not differ."""
    energies = energies_left(train, reference)
    with np.errstate(over="ignore"):  # refused below
        spread = float(energies.std())
    check_scale("energies", spread, energies)
    if spread > 1e-6:
        return spread
    logger.warning(
        "The energies of the training set do not differ beside their references, so the noise term "
        "of DeNS has the unit 1 eV/Å instead of their spread; train on more structures, or choose "
        "denoising_weight by it."
    )
    return 1.0


def _check_fixed(train: AtomStore) -> None:
    """Raise ValueError for a structure in which no atom may move."""
    for first, batch in pieces(train):
        free = free_atoms(batch)
        assert free is not None
        still = sum_over_atoms(free.long(), batch) == 0  # (B)
        if bool(still.any()):
            raise ValueError(
                f"All atoms of structure {first + int(still.nonzero()[0])} of the training set are "
                "fixed, so it can be neither corrupted nor learned from; leave it out."
            )


def _sizes(sigma: float | tuple[float, float]) -> float | tuple[float, float]:
    """The size of the noise, or the smallest and the largest, as floats."""
    if not isinstance(sigma, (tuple, list)):
        check_length("sigma", sigma, example=0.05)
        return float(sigma)
    for size in sigma:
        check_length("sigma", size, example=0.05)
    if not 1 <= len(sigma) <= 2 or sigma[0] > sigma[-1]:
        raise ValueError(
            f"sigma must be a length in Å, or two with the smaller one first, got {sigma!r}."
        )
    return float(sigma[0]) if len(sigma) == 1 else (float(sigma[0]), float(sigma[1]))


def _of_others(forces: Tensor, batch: Batch, generator: torch.Generator | None) -> Tensor:
    """Each atom's force [N, 3] replaced by that of another atom of its structure, all by one shift;
    zero for an atom that is alone."""
    size = batch.ptr.diff()  # (B)
    start = batch.ptr[:-1]  # (B)
    drawn = uniform_for_structures(batch, generator)  # (B)
    shift = 1 + (drawn * (size - 1)).long()  # (B) from 1 to size - 1
    of = batch.batch  # (N)
    place = (torch.arange(len(forces), device=forces.device) - start[of] + shift[of]) % size[of]
    return forces.index_select(0, start[of] + place) * (size > 1)[of].unsqueeze(-1)

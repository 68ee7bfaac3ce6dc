"""Denoising seen through distances: give back the pairwise distances of the structure before the
noise.

    x̃ = x + ε,  ε ~ N(0, σ²)           x̂: corrected coordinates, made by the network from x̃
    L = mean over pairs i < j of (|x̂_i - x̂_j| - |x_i - x_j|)² / 2σ²

Distances are invariant under rotations, so no frame has to be agreed on. The division makes L ≈ 1
for the blind answer, giving x̃ back as it came: a distance then errs by r̂·(ε_i - ε_j), whose
variance is 2σ². After a blog post that pretrains DimeNet this way on QM9 and fine-tunes it on the
dipole moment (DimeNet: arXiv:2003.03123).

Two ways to make x̂:
    "noise"        x̂ = x̃ - σ ε̂, ε̂ the model's noise output. It is equivariant, so x̂
                   starts from the blind answer and can only be improved.
    "coordinates"  x̂_i = three numbers read off the invariant features of atom i, as the blog's
                   network gives them. Its frame is its own, which the loss allows. But invariant
                   features describe an atom's surroundings, not where the atom is: atoms
                   that a symmetry maps onto each other have the same features, so they land on one
                   point (the hydrogens of methane, the carbons of benzene) and their distance comes
                   out 0. Noise lifts the tie by so little that a smooth network can hardly use it.
                   Such an answer stays far worse than the blind one; what it learns on the way may
                   still be of use.

Leakage. The objective needs no label, so nothing stops one from pretraining on the structures one
will be tested on; the published run did. Without leakage is `fit(model, objective, train)` on the
training part of `store.split(...)`, with leakage the same on the whole store: the difference
between the two is worth measuring.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from scdlab.atoms.batch import Batch, completed
from scdlab.atoms.neighbors import pairs_within
from scdlab.atoms.shares import normal_for_atoms
from scdlab.atoms.store import AtomStore
from scdlab.nn.model import Model
from scdlab.objectives.arguments import check_choice, check_length
from scdlab.objectives.base import Mean, Objective, Parts, mark_trained_elements, required
from scdlab.objectives.freezing import called, detached_embeddings

HEAD = "coordinates"  # the head that output="coordinates" adds


@dataclass
class PairwiseDenoising(Objective):
    """Denoising of pairwise distances, within each molecule.

    Parts, both means over pairs: "distance_mae", the error of the corrected distances in Å, and
    "blind_mae", that of the noisy ones.

    Parameters
    ----------
    sigma : float, default 0.14
        σ of the noise in Å on every coordinate (0.14 is the variance of 0.02 that was published).
    scope : str, default "molecule"
        "molecule", or "batch", the published variant: distances between *all* atoms of the batch,
        most of them atoms of different molecules, which share nothing but the origin of their
        files. Of several processes, each compares the atoms of its own share of a batch.
    output : str, default "noise"
        "noise" or "coordinates", how the corrected structure is made (see above).
    freeze_element_embeddings : bool, default True
        The embeddings of the elements are not trained, as in `SelfConditionedDenoising` and for its
        reason.
    """

    sigma: float = 0.14
    scope: str = "molecule"
    output: str = "noise"
    freeze_element_embeddings: bool = True

    loss_over = "distance_mae"

    def __post_init__(self) -> None:
        check_length("sigma", self.sigma, example=0.14)
        check_choice("scope", self.scope, ("molecule", "batch"))
        check_choice("output", self.output, ("noise", "coordinates"))

    def prepare(self, model: Model, train: AtomStore) -> None:
        """Give the model the head it needs.

        Parameters
        ----------
        model : Model
            The model that is to be trained.
        train : AtomStore
            The training set.

        Raises
        ------
        ValueError
            For periodic structures, whose distances are many, and for single atoms.
        """
        if train.periodic:
            raise ValueError(
                "PairwiseDenoising compares distances within molecules, and the training set is "
                "periodic; use CoordinateDenoising."
            )
        if not (train.n_atoms > 1).any():
            raise ValueError(
                "PairwiseDenoising compares distances, and the training set has single atoms only; "
                "give molecules."
            )
        if self.output == "coordinates":
            model.add_property(HEAD, kind="per_atom").std.fill_(1.0)
        mark_trained_elements(model, train)

    def perturb(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A batch with noise added to its positions.

        Parameters
        ----------
        batch : Batch
            The structures.
        generator : torch.Generator, optional
            Source of the random numbers, on the batch's device.
        """
        noisy = copy.copy(batch)
        noisy.pos = batch.pos + self.sigma * normal_for_atoms(batch, generator)
        return noisy

    def correct(self, model: Model, noisy: Batch) -> Tensor:
        """x̂ [N, 3] in Å: corrected positions.

        Parameters
        ----------
        model : Model
            The model.
        noisy : Batch
            The structures with noise.
        """
        frozen = detached_embeddings(model) if self.freeze_element_embeddings else {}
        if self.output == "coordinates":
            return called(model, frozen, noisy, noise=False).properties[HEAD]
        answer = required(called(model, frozen, noisy, noise=True).noise, "noise")  # (N, 3)
        return noisy.pos.to(answer.dtype) - self.sigma * answer

    def distances(self, pos: Tensor, pairs: tuple[Tensor, Tensor] | None) -> Tensor:
        """Distances [P] in Å.

        Parameters
        ----------
        pos : Tensor, [N, 3]
            Positions in Å.
        pairs : (Tensor, Tensor), [P] each, or None
            The first and the second atom of each pair; None for every atom with every other.
        """
        if pairs is None:
            return torch.pdist(pos)
        return (pos.index_select(0, pairs[0]) - pos.index_select(0, pairs[1])).norm(dim=-1)

    def __call__(
        self, model: Model, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Parts]:
        batch = completed(batch)
        noisy = self.perturb(batch, generator)
        pairs = None if self.scope == "batch" else pairs_within(batch.ptr, batch.batch)
        true = self.distances(batch.pos, pairs)  # (P) Å
        blind = self.distances(noisy.pos, pairs)  # (P) Å
        error = self.distances(self.correct(model, noisy), pairs) - true  # (P) Å
        count = len(true)
        n = max(count, 1)  # a batch of single atoms has no pair
        parts = {
            "distance_mae": Mean(error.detach().abs().sum() / n, count, selected=True),
            "blind_mae": Mean((blind - true).abs().sum() / n, count, selected=True),
        }
        return error.square().sum() / n / (2 * self.sigma**2), parts

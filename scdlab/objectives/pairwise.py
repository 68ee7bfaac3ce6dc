"""Denoising seen through distances: give back the pairwise distances of the structure that was
disturbed.

    x̃ = x + ε,  ε ~ N(0, σ²)           x̂: corrected coordinates, made by the network from x̃
    L = mean over pairs i < j of (|x̂_i - x̂_j| - |x_i - x_j|)² / 2σ²

Distances do not change when a structure turns, so no frame has to be agreed on. The division makes
L ≈ 1 for the blind answer, giving x̃ back as it came: a distance then errs by r̂·(ε_i - ε_j), whose
variance is 2σ². After a blog post that pretrains DimeNet this way on QM9 and fine-tunes it on the
dipole moment (DimeNet: arXiv:2003.03123).

Two ways to make x̂:
    "noise"        x̂ = x̃ - σ ε̂, ε̂ the model's noise output. It turns with the structure, so x̂
                   starts from the blind answer and can only be improved.
    "coordinates"  x̂_i = three numbers read off the invariant features of atom i, as the blog's
                   network gives them. Its frame is its own, which the loss allows. But invariant
                   features say what an atom's surroundings look like, not where the atom is: atoms
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

import torch

from scdlab.atoms.neighbors import pairs_within
from scdlab.objectives.supervised import _mark_seen

HEAD = "coordinates"  # the head that output="coordinates" adds


class PairwiseDenoising:
    """Denoising of pairwise distances, within each molecule.

    sigma: σ of the noise in Å on every coordinate (0.14 is the variance of 0.02 that was
    published); output: "noise" or "coordinates", how the corrected structure is made (see above).
    scope="batch" is the published variant: distances between *all* atoms of the batch, most of them
    atoms of different molecules, which share nothing but the origin of their files.

    Parts: distance_mae, the error of the corrected distances in Å, and blind_mae, that of the
    disturbed ones: means over pairs, and `counted` says after each call how many those were.
    """

    atomwise = frozenset()

    def __init__(self, sigma: float = 0.14, scope: str = "molecule", output: str = "noise"):
        if not 0 < sigma < float("inf"):
            raise ValueError(
                f"sigma is the size of the noise, a positive number of Å such as 0.14, not {sigma}."
            )
        if scope not in ("molecule", "batch"):
            raise ValueError(
                "The distances compared are those of each 'molecule' or of the 'batch', not "
                f"{scope!r}."
            )
        if output not in ("noise", "coordinates"):
            raise ValueError(
                f"Coordinates are corrected by 'noise' or given as 'coordinates', not {output!r}."
            )
        self.sigma = sigma
        self.scope = scope
        self.output = output

    def __repr__(self):
        return (
            f"PairwiseDenoising(sigma={self.sigma}, scope={self.scope!r}, output={self.output!r})"
        )

    def prepare(self, model, train) -> None:
        """Give the model the head it needs. Raises ValueError for periodic structures, whose
        distances are many."""
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
        _mark_seen(model, train)

    def perturb(self, batch, generator=None):
        """The batch with noise added to its positions."""
        noisy = copy.copy(batch)
        noise = torch.randn(
            batch.pos.shape, generator=generator, device=batch.pos.device, dtype=batch.pos.dtype
        )
        noisy.pos = batch.pos + self.sigma * noise
        return noisy

    def correct(self, model, noisy):
        """x̂ [N, 3]: the model's answer to the disturbed batch."""
        if self.output == "coordinates":
            return model(noisy, noise=False).properties[HEAD]
        out = model(noisy, noise=True)
        return noisy.pos.to(out.noise.dtype) - self.sigma * out.noise

    def distances(self, pos, pairs):
        if pairs is None:
            return torch.pdist(pos)  # every atom with every other
        return (pos.index_select(0, pairs[0]) - pos.index_select(0, pairs[1])).norm(dim=-1)

    def __call__(self, model, batch, generator=None):
        noisy = self.perturb(batch, generator)
        pairs = None if self.scope == "batch" else pairs_within(batch.ptr, batch.batch)
        true = self.distances(batch.pos, pairs)
        blind = self.distances(noisy.pos, pairs)  # (P) Å
        error = self.distances(self.correct(model, noisy), pairs) - true  # (P) Å
        n = max(len(true), 1)  # a batch of single atoms has no pair
        parts = {
            "distance_mae": error.detach().abs().sum() / n,
            "blind_mae": (blind - true).abs().sum() / n,
        }
        self.counted = dict.fromkeys(("loss", *parts), len(true))
        return error.square().sum() / n / (2 * self.sigma**2), parts

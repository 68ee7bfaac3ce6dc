"""Coordinate denoising (Zaidi et al., ICLR 2023, arXiv:2206.00133): displace the atoms, predict
by how much.

    x̃ = x + ε,   ε ~ N(0, σ² I)            noise
    ε̂ = model(x̃)                           predict
    L = ‖ε̂ - ε/σ‖² per component           compare

No label is needed. Near a minimum of the energy the best answer is proportional to the force that
pulls the atoms back (Vincent 2011: denoising is score matching), so a network that denoises well
has learned something of a force field.

What cannot be seen cannot be answered. The prediction of a translation-invariant network depends on
ε only through ε - ε̄, with ε̄ = 1/N Σ_i ε_i the mean over a structure's N atoms. For Gaussian noise
ε̄ is independent of ε - ε̄, so the best answer is ε - ε̄, and Var ε̄ = σ²/N per component is left
over: a floor of 1/N in units of σ², whatever the network. Centering the noise, ε ← ε - ε̄, removes
the question. Where some atoms stay put, they show the mean, and nothing needs centering. The same
holds for rotations: in a molecule of unknown orientation, the part of ε that rotates it as a whole
(3 of its 3N directions) is invisible too, centered or not (`noise.noise_floor`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scdlab.atoms.batch import Batch, completed
from scdlab.atoms.shares import balanced
from scdlab.atoms.store import AtomStore
from scdlab.nn.model import Model
from scdlab.objectives.arguments import check_supervised, check_weight
from scdlab.objectives.base import (
    Objective,
    Parts,
    SupervisedObjective,
    free_atoms,
    mark_trained_elements,
    required,
)
from scdlab.objectives.freezing import called, detached_embeddings
from scdlab.objectives.noise import check_noise, displaced, noise_error, sample_noise


@dataclass
class CoordinateDenoising(Objective):
    """Noise on the positions, to be predicted from the noisy structure.

    Atoms that the batch marks as `fixed` stay where they are. Parts: "noise_mse", mean squared
    error per component in units of σ²; "noise_unexplained", the same divided by what the blind
    guess ε̂ = 0 gets: 1 has learned nothing, 0 is perfect. Both are means over the corrupted atoms.

    Parameters
    ----------
    sigma : float, default 0.04
        Size of the noise in Å: 0.04 disturbs bond orders, 0.005 merely regularizes.
    centered : bool, default True
        No noise in the mean of a structure.
    normalized : bool, default True
        Whether the target is ε/σ, otherwise ε in Å.
    ratio : float, default 1.0
        Share of atoms corrupted; the loss is over these alone.
    kind : str, default "gaussian"
        "gaussian" or "torsional", where structures without a rotatable bond are left out of the
        loss (all of it as in `sample_noise`).
    supervised : SupervisedObjective, optional
        Another objective, computed from the same pass over the noisy structure, with
        loss = supervised + weight · denoising. Its labels are those of the clean structure, so
        sigma should then be small.
    weight : float, default 1.0
        Weight of denoising beside `supervised`.
    freeze_element_embeddings : bool, default True
        Without labels the embeddings of the elements are not trained, as in
        `SelfConditionedDenoising` and for its reason. With `supervised` they are.
    """

    sigma: float = 0.04
    centered: bool = True
    normalized: bool = True
    ratio: float = 1.0
    kind: str = "gaussian"
    supervised: SupervisedObjective | None = None
    weight: float = 1.0
    freeze_element_embeddings: bool = True

    def __post_init__(self) -> None:
        check_noise(self.sigma, self.ratio, self.kind)
        check_supervised(self.supervised)
        check_weight("weight", self.weight)
        self.sigma = float(self.sigma)
        self.ratio = float(self.ratio)
        self.weight = float(self.weight)
        self.loss_over = "noise_mse" if self.supervised is None else None
        self.balances = self.supervised is not None

    @property
    def labeled(self) -> SupervisedObjective | None:
        return self.supervised

    def prepare(self, model: Model, train: AtomStore) -> None:
        """Prepare for `supervised`, if there is one, and check that the model can denoise at all.

        The scale of the energy stays: noise by gradient is free of it.

        Parameters
        ----------
        model : Model
            The model that is to be trained.
        train : AtomStore
            The training set.

        Raises
        ------
        ValueError
            When the model cannot denoise, and when no structure has a rotatable bond for torsional
            noise.
        """
        if self.supervised is not None:
            self.supervised.prepare(model, train)
        mark_trained_elements(model, train)
        with torch.no_grad():
            model(train.take([0]).to(next(model.parameters()).device), noise=True)
        if self.kind == "torsional" and not self._turns_a_bond(train):
            raise ValueError(
                "Torsional noise needs a rotatable bond, got a training set without any: use "
                "kind='gaussian'."
            )

    def _turns_a_bond(self, train: AtomStore) -> bool:
        for first in range(0, len(train), 64):
            chunk = train.take(np.arange(first, min(first + 64, len(train))))
            if bool(sample_noise(chunk, self.sigma, kind=self.kind)[1].any()):
                return True
        return False

    def __call__(
        self, model: Model, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Parts]:
        batch = completed(batch)
        # eps (N, 3) Å, mask (N)
        eps, mask = sample_noise(
            batch, self.sigma, generator, self.kind, self.centered, self.ratio, free_atoms(batch)
        )
        noisy = displaced(batch, eps)  # x̃ = x + ε
        outputs = {} if self.supervised is None else self.supervised.model_outputs
        freeze = self.freeze_element_embeddings and self.supervised is None
        frozen = detached_embeddings(model) if freeze else {}
        out = called(model, frozen, noisy, noise=True, **outputs)  # ε̂ (N, 3)
        unit = self.sigma if self.normalized else 1.0
        noise = required(out.noise, "noise")
        loss, parts = noise_error(batch, noise, eps, mask, self.sigma, unit)
        if self.supervised is None:
            return loss, parts
        labeled, labeled_parts = self.supervised.compare_balanced(model, out, batch)
        loss = balanced(loss, batch, mask.sum())
        return labeled + self.weight * loss, {**labeled_parts, **parts}

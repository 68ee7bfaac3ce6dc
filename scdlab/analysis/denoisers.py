"""Several denoisers, each told what its method tells it, on the same noisy copies of a structure.

    coordinate denoising     ε̂ = σ f(x + ε)                    told nothing else       `Blind`
    DeNS                     ε̂ = σ f(x + ε | F(x))             the forces before       `ToldForces`
    self-conditioned (SCD)   ε̂ = σ f(x + ε | c)                a description c         `ToldVector`
    a force field            ε̂ = −(F(x + ε) − F(x)) / k        F(x), and one number k  `ByForce`

A force field was never trained on noise. For small noise F(x + ε) ≈ F(x) − Hε, so the change of the
force points back; a single stiffness k in the place of the matrix H turns it into a length. It is
fitted to other draws of the noise on the same structure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import ase
import numpy as np
import torch
from numpy.typing import ArrayLike

from scdlab.analysis import conditions
from scdlab.analysis.denoising import denoise, displacements, unexplained_noise
from scdlab.analysis.inputs import array, batch_at
from scdlab.nn.model import evaluating

FITTED = 8  # draws to which the stiffness of a force field is fitted
FITTED_SIGMA = 0.02  # Å
_FIRST = 1000  # the seed of those draws: no other draw has it


class Denoiser(Protocol):
    """What answers for noisy copies of one structure."""

    def __call__(self, atoms: ase.Atoms, pos: np.ndarray, sigma: float) -> np.ndarray:
        """The answer ε̂ [draws, n, 3] in Å at noisy positions [draws, n, 3] of size σ in Å."""
        ...


@dataclass(frozen=True)
class Blind:
    """A denoiser that sees the noisy structure alone.

    Parameters
    ----------
    model : torch.nn.Module
        A model that denoises.
    """

    model: Any

    def __call__(self, atoms: ase.Atoms, pos: np.ndarray, sigma: float) -> np.ndarray:
        """As of `Denoiser`."""
        return sigma * denoise(self.model, atoms, pos)


@dataclass(frozen=True)
class ToldForces:
    """A denoiser that is told the forces before the noise, as DeNS trains it.

    Parameters
    ----------
    model : AtomisticModel
        A model with `force_input`.
    forces : array_like
        Forces [n, 3] in eV/Å of the structure before the noise.
    """

    model: Any
    forces: ArrayLike

    def __call__(self, atoms: ase.Atoms, pos: np.ndarray, sigma: float) -> np.ndarray:
        """As of `Denoiser`."""
        batch = batch_at(self.model, atoms, pos)
        told = np.tile(array(self.forces), (len(batch.pos) // len(atoms), 1))
        given = torch.as_tensor(told).to(batch.pos)
        with evaluating(self.model), torch.no_grad():
            noise = self.model(batch, noise=True, force_input=given).noise
        return sigma * noise.double().cpu().numpy().reshape(pos.shape)


@dataclass(frozen=True)
class ToldVector:
    """A conditional denoiser under one condition.

    Parameters
    ----------
    model : AtomisticModel
        A conditional model.
    condition : array_like, optional
        The vector [d]; None is the mask token: told nothing.
    """

    model: Any
    condition: ArrayLike | None = None

    def __call__(self, atoms: ase.Atoms, pos: np.ndarray, sigma: float) -> np.ndarray:
        """As of `Denoiser`."""
        return sigma * conditions.answer(self.model, atoms, pos, self.condition)


@dataclass(frozen=True)
class ByForce:
    """A force field as a denoiser: its forces, less those of the structure, over one stiffness.

    Parameters
    ----------
    model : AtomisticModel
        A model with forces.
    clean : numpy.ndarray
        Its forces [n, 3] in eV/Å before the noise.
    stiffness : float
        k in eV/Å².
    """

    model: Any
    clean: np.ndarray
    stiffness: float

    @classmethod
    def fitted(cls, model: Any, atoms: ase.Atoms) -> "ByForce":
        """With the stiffness that leaves least of other draws of the noise.

        Parameters
        ----------
        model : AtomisticModel
            A model with forces.
        atoms : ase.Atoms
            The structure.

        Returns
        -------
        ByForce
            The denoiser.
        """
        clean = _forces(model, atoms, atoms.positions)
        eps = displacements(atoms, FITTED_SIGMA, _FIRST, draws=FITTED)
        pull = clean - _forces(model, atoms, atoms.positions + eps)
        return cls(model, clean, float((pull**2).sum() / (pull * eps).sum()))

    def __call__(self, atoms: ase.Atoms, pos: np.ndarray, sigma: float) -> np.ndarray:
        """As of `Denoiser`."""
        return (self.clean - _forces(self.model, atoms, pos)) / self.stiffness


def _forces(model: Any, atoms: ase.Atoms, pos: np.ndarray) -> np.ndarray:
    with evaluating(model):
        out = model(batch_at(model, atoms, pos), forces=True)
    return out.forces.detach().double().cpu().numpy().reshape(pos.shape)


def noise_left_by(
    denoisers: Mapping[str, Denoiser], atoms: ase.Atoms, sigma: float, seed: int = 0, draws: int = 1
) -> dict[str, np.ndarray]:
    """The share |ε̂ − ε|² / |ε|² that each denoiser leaves of each draw of the noise.

    Parameters
    ----------
    denoisers : mapping
        Name -> denoiser.
    atoms : ase.Atoms
        The structure, of two atoms or more.
    sigma : float
        Size of the noise in Å.
    seed : int, default 0
        Seed of the noise, the same draws for all.
    draws : int, default 1
        How many.

    Returns
    -------
    dict
        Name -> shares [draws]: 0 is perfect, 1 is what the answer "no noise" leaves.

    Raises
    ------
    ValueError
        For a single atom.
    """
    if len(atoms) < 2:
        raise ValueError(
            "A single atom cannot be displaced against others: choose a structure of two atoms or "
            "more."
        )
    eps = displacements(atoms, sigma, seed, draws=draws)
    pos = atoms.positions + eps
    return {
        name: unexplained_noise(each(atoms, pos, sigma), eps) for name, each in denoisers.items()
    }

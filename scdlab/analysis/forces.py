"""A force by degrees of spherical harmonics, what DeNS corrupts in a frame, and a model's forces.

A force enters a network as |F|/√3 Y^(l)(F/|F|), degree by degree (`nn.ForceEncoding`). Read back as
a function of direction,

    f_l(n) = |F|/√3 Σ_m Y_lm(F/|F|) Y_lm(n) = |F|/√3 (2l+1) P_l(cos ∠(F, n))    `degree_curves`

with Legendre's polynomials P_l: every degree is symmetric about F, so a section through F shows all
of it. Degree 0 is |F|/√3 to every side. Degree 1 is F itself, f_1(n) = √3 F·n: nothing is lost.
Degree 2 is as large towards −F as towards F: the axis without its sign. The sum of degrees 0 … L
narrows around F as L grows (`half_angle`).

DeNS: Y.-L. Liao, T. Smidt, M. Shuaibi and A. Das, TMLR 2024, arXiv:2403.09549.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.polynomial.legendre import Legendre
from numpy.typing import ArrayLike

from scdlab.atoms import AtomStore
from scdlab.nn.forward import Model
from scdlab.nn.model import evaluating
from scdlab.objectives.dens import Corruption, DeNS

MAX_DEGREE = 3  # of the curves
ANGLES = np.linspace(0, 2 * np.pi, 144, endpoint=False)  # from F, in a plane that holds it


def degree_curves(force: ArrayLike, degrees: Iterable[int] = range(MAX_DEGREE + 1)) -> np.ndarray:
    """f_l of a force, as curves over the angle from the force.

    Parameters
    ----------
    force : array_like
        A force [3] in eV/Å.
    degrees : iterable of int, default 0 … 3
        The degrees l.

    Returns
    -------
    numpy.ndarray
        Curves [degrees, 144] in eV/Å, at `ANGLES`.

    Raises
    ------
    ValueError
        For a force that is not three finite numbers.
    """
    vector = np.asarray(force, float)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise ValueError(f"A force must be three finite numbers in eV/Å, got {vector.tolist()}.")
    size = np.linalg.norm(vector) / np.sqrt(3)
    return size * np.stack([_legendre(degree)(np.cos(ANGLES)) for degree in degrees])


@cache
def half_angle(first: int, last: int) -> float | None:
    """The angle from F at which a sum of degrees has first fallen to half of its value towards F.

    Parameters
    ----------
    first, last : int
        The sum is that of f_l over l = first … last.

    Returns
    -------
    float or None
        The angle in degrees of arc; None where it never falls so far, as for degree 0 alone.
    """
    total = sum((_legendre(degree) for degree in range(first, last + 1)), Legendre([0.0]))
    crossings = (total - total(1.0) / 2).roots()
    real = crossings[np.isreal(crossings)].real
    inside = real[(real >= -1) & (real < 1)]
    return float(np.degrees(np.arccos(inside.max()))) if len(inside) else None


def corruption(
    store: AtomStore, frame: int, sigma: float = 0.05, ratio: float = 0.25, seed: int = 0
) -> Corruption:
    """What `DeNS` does to a frame that it has chosen, as a function of (seed, frame) alone.

    At another sigma the same atoms move in the same directions, and a larger ratio adds atoms.

    Parameters
    ----------
    store : AtomStore
        Frames with forces.
    frame : int
        The frame.
    sigma : float, default 0.05
        Size of the noise in Å.
    ratio : float, default 0.25
        Probability of each atom to be corrupted.
    seed : int, default 0
        Seed of atoms and noise.

    Returns
    -------
    Corruption
        As `DeNS.corrupt` gives it.

    Raises
    ------
    ValueError
        As `DeNS` does.
    """
    generator = torch.Generator().manual_seed(
        int(np.random.SeedSequence([seed, frame]).generate_state(1)[0])
    )
    return DeNS(prob=1.0, corrupt_ratio=ratio, sigma=sigma).corrupt(store.take([frame]), generator)


def predicted_forces(model: Any, store: AtomStore, frame: int, name: str = "") -> np.ndarray:
    """`model(batch, forces=True).forces` of one frame, in evaluation mode.

    Parameters
    ----------
    model : torch.nn.Module
        Any model that gives forces.
    store : AtomStore
        The frames.
    frame : int
        The frame.
    name : str, optional
        What errors call the model; by default its class.

    Returns
    -------
    numpy.ndarray
        Forces [n, 3] in eV/Å.

    Raises
    ------
    ValueError
        Where the model fails, or gives no finite force for each atom.
    """
    name = repr(name or type(model).__name__)
    batch = store.take([frame]).to(next((p.device for p in model.parameters()), "cpu"))
    try:
        if isinstance(model, Model):
            model.check_forces(batch.z)
        with evaluating(model), torch.no_grad():
            forces = model(batch, forces=True).forces
    except Exception as error:  # whatever a model of the reader's own may raise
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ValueError(f"Model {name} failed on frame {frame}: {reason}.") from error
    if forces is None or forces.shape != batch.pos.shape or not bool(torch.isfinite(forces).all()):
        raise ValueError(
            f"Model {name} gave no finite force for each atom of frame {frame}: it needs finite "
            "model(batch, forces=True).forces of shape [atoms, 3]."
        )
    return forces.double().cpu().numpy()


def _legendre(degree: int) -> Legendre:
    """(2l+1) P_l, as a function of the cosine."""
    return (2 * degree + 1) * Legendre.basis(degree)

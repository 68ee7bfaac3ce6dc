"""What the compiled networks read of the pairs of atoms, and what they give back for them."""

from typing import NamedTuple

import numpy as np

from scdlab.compiling import compiled

from .radial_tables import cells_in, hermite


class Geometry(NamedTuple):
    """The pairs within the cutoff, P of them.

    `node`, `weights` and `slopes` say how each reads tables.
    """

    i: np.ndarray  # [P] int64
    j: np.ndarray  # [P] int64
    r: np.ndarray  # [P] Å
    unit: np.ndarray  # [P, 3], from i to j
    node: np.ndarray  # [P] int64
    weights: np.ndarray  # [P, 6]
    slopes: np.ndarray  # [P, 6], of the weights by the distance, Å⁻¹


def geometry_of(i: np.ndarray, j: np.ndarray, vectors: np.ndarray, cutoff: float) -> Geometry:
    """The pairs within the cutoff.

    Parameters
    ----------
    i, j : ndarray
        The atoms of pairs within the cutoff or a little more, [Q] int64.
    vectors : ndarray
        From atom i to atom j, [Q, 3] Å.
    cutoff : float
        The cutoff in Å.

    Returns
    -------
    Geometry
        Of the pairs that are closer than the cutoff.
    """
    distance = np.sqrt(np.einsum("px,px->p", vectors, vectors))
    inside = distance < cutoff
    if not inside.all():
        i = i[inside]
        j = j[inside]
        vectors = vectors[inside]
        distance = distance[inside]
    size = len(i)
    node = np.empty(size, np.int64)
    weights = np.empty((size, 6), vectors.dtype)
    slopes = np.empty((size, 6), vectors.dtype)
    _places(distance, cutoff, cells_in(vectors.dtype), node, weights, slopes)
    unit = vectors / distance[:, None]
    return Geometry(i, j, distance, unit, node, weights, slopes)


@compiled
def _places(
    r: np.ndarray,
    cutoff: float,
    cells: int,
    node: np.ndarray,
    weights: np.ndarray,
    slopes: np.ndarray,
) -> None:
    """Where distances r [P] lie in tables: writes the rest."""
    per_length = cells / cutoff
    for p in range(len(r)):
        place = r[p] * per_length
        k = min(int(place), cells - 1)
        node[p] = k
        hermite(place - k, weights[p], slopes[p])
        for t in range(6):
            slopes[p, t] *= per_length


@compiled
def forces_on_atoms(i: np.ndarray, j: np.ndarray, gradient: np.ndarray, size: int) -> np.ndarray:
    """Forces on the atoms from the gradient of the energy by the pair vectors r_j - r_i.

    Parameters
    ----------
    i, j : ndarray
        The atoms of the pairs, [P] int64.
    gradient : ndarray
        ∂E/∂r_ij, [P, 3] eV/Å.
    size : int
        Number of atoms N.

    Returns
    -------
    ndarray
        Forces, [N, 3] eV/Å.
    """
    forces = np.zeros((size, 3), gradient.dtype)
    for p in range(len(i)):
        for x in range(3):
            forces[i[p], x] += gradient[p, x]
            forces[j[p], x] -= gradient[p, x]
    return forces

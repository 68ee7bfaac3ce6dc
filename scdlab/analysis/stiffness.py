"""How stiff each atom of a molecule is held, read off the forces of thermal frames, and how much
noise that leaves to a denoiser.

For a density exp(-E/k_BT), integrating by parts gives an exact identity for every coordinate u,

    ⟨F_u²⟩ = k_BT ⟨∂²E/∂u²⟩                      `thermal_stiffness`

so the mean square force on an atom, in axes that move with the molecule (`local_axes`), is its mean
stiffness k. A harmonic coordinate of that stiffness has the thermal spread s² = k_BT/k. Noise of
size σ on it has the posterior variance s²σ²/(s² + σ²), so that even the best answer leaves

    s²/(s² + σ²)                                 `share_left`, `share_from_forces`

of the squared noise: little where the molecule is stiff, nearly all where it is soft.
`shares_along` measures the same share of a network. (In the formula the other atoms stay where they
are. Noise on them too leaves somewhat more.)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase.units import kB
from numpy.typing import ArrayLike

from scdlab.atoms import AtomStore
from scdlab.nn.model import evaluating
from scdlab.objectives.dens import DeNS


def share_left(stiffness: Any, kT: float, sigma: float) -> Any:
    """Share of the squared noise that the best blind answer leaves in a harmonic coordinate.

    Parameters
    ----------
    stiffness : float, numpy.ndarray or Tensor
        Second derivative k of the energy, eV/Å².
    kT : float
        Thermal energy, eV.
    sigma : float
        Size of the noise, Å.

    Returns
    -------
    float, numpy.ndarray or Tensor
        s²/(s² + σ²) with s² = kT/k.
    """
    spread = kT / stiffness  # s², Å²
    return spread / (spread + sigma**2)


def share_from_forces(forces: Any, kT: float, sigma: float) -> Any:
    """The same share, of the mean stiffness that thermal forces give away.

    Parameters
    ----------
    forces : numpy.ndarray or Tensor
        Forces along coordinates, [frames, coordinates] in eV/Å.
    kT : float
        Thermal energy of the frames, eV.
    sigma : float
        Size of the noise, Å.

    Returns
    -------
    numpy.ndarray or Tensor
        [coordinates].
    """
    stiffness = (forces**2).mean(0) / kT  # ⟨F²⟩ = kT ⟨∂²E/∂u²⟩
    return share_left(stiffness, kT, sigma)


def neighbors_for_axes(pos: ArrayLike, numbers: ArrayLike) -> list[tuple[int, int]]:
    """Two atoms for each, which fix its axes: the nearest, and one beside that.

    Parameters
    ----------
    pos : array_like
        Positions [n, 3] in Å.
    numbers : array_like
        Atomic numbers [n].

    Returns
    -------
    list of (int, int)
        (toward, beside): the nearest atom, and the atom nearest to that one of those that are left,
        no hydrogen if there is a choice within 2 Å.

    Raises
    ------
    ValueError
        For fewer than three atoms.
    """
    pos = np.asarray(pos, float)
    hydrogen = np.asarray(numbers) == 1
    if len(pos) < 3:
        raise ValueError(f"Axes of an atom need three atoms, got {len(pos)}; take a larger one.")
    distance = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    pairs = []
    for atom in range(len(pos)):
        toward = int(distance[atom].argmin())
        away = distance[toward].copy()
        away[atom] = np.inf
        heavy = ~hydrogen & (away < 2.0)
        pairs.append((toward, int(np.where(heavy, away, np.inf if heavy.any() else away).argmin())))
    return pairs


def local_axes(pos: ArrayLike, atom: int, toward: int, beside: int) -> np.ndarray:
    """Axes that move with an atom: along its bond, in the plane of three atoms, and out of it.

    Parameters
    ----------
    pos : array_like
        Positions [frames, n, 3] in Å.
    atom, toward, beside : int
        The atom, the one it is bonded to, and a third that is not in line with them.

    Returns
    -------
    numpy.ndarray
        Unit vectors [frames, 3, 3], one a column: from `toward` to `atom`; perpendicular to that,
        in the plane of the three; and the plane's normal.

    Raises
    ------
    ValueError
        For three atoms in line.
    """
    pos = np.asarray(pos, float)
    along = _unit(pos[:, atom] - pos[:, toward])
    normal = np.cross(along, _unit(pos[:, beside] - pos[:, toward]))
    if np.linalg.norm(normal, axis=-1).min() < 1e-3:
        raise ValueError(
            f"Atoms {atom}, {toward} and {beside} are in line in one of the frames, and fix no "
            "axes; choose another third atom."
        )
    normal = _unit(normal)
    return np.stack([along, np.cross(normal, along), normal], axis=-1)


def all_local_axes(store: AtomStore) -> np.ndarray:
    """The axes of every atom in frames of one molecule.

    Parameters
    ----------
    store : AtomStore
        Frames of one molecule.

    Returns
    -------
    numpy.ndarray
        Unit vectors [frames, n, 3, 3], one a column, as `local_axes` gives them.

    Raises
    ------
    ValueError
        For frames that are not of one molecule, or with three atoms in line.
    """
    pos, numbers = _one_molecule(store)
    pairs = neighbors_for_axes(pos[0], numbers)
    return np.stack([local_axes(pos, i, j, k) for i, (j, k) in enumerate(pairs)], axis=1)


def forces_along(store: AtomStore) -> np.ndarray:
    """The forces on every atom along its axes.

    Parameters
    ----------
    store : AtomStore
        Frames of one molecule, with forces.

    Returns
    -------
    numpy.ndarray
        [frames, n, 3] eV/Å: along the bond, in the plane, out of the plane.

    Raises
    ------
    ValueError
        For frames without forces or not of one molecule.
    """
    if not store.has_forces:
        raise ValueError(
            "Stiffness is read off forces, and these frames have none; take labeled frames."
        )
    axes = all_local_axes(store)  # (T, n, 3, 3)
    forces = store.take(range(len(store))).forces.numpy().reshape(*axes.shape[:2], 3)
    return np.einsum("tnc,tncu->tnu", forces, axes)


def thermal_stiffness(store: AtomStore, temperature: float) -> np.ndarray:
    """The mean stiffness of every atom along its axes, from the forces of thermal frames.

    Parameters
    ----------
    store : AtomStore
        Frames of one molecule in equilibrium at `temperature`, with forces.
    temperature : float
        In K.

    Returns
    -------
    numpy.ndarray
        ⟨F_u²⟩/k_BT in eV/Å², [n, 3]: along the bond, in the plane, out of the plane.

    Raises
    ------
    ValueError
        For frames without forces or not of one molecule, and for a temperature of 0 or less.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0 K, got {temperature!r}.")
    return np.square(forces_along(store)).mean(axis=0) / (kB * temperature)


def shares_along(
    model: Any, store: AtomStore, objective: DeNS, rounds: int = 5, seed: int = 0
) -> np.ndarray:
    """Share of the squared noise that a network leaves, for every atom along each of its axes.

    Parameters
    ----------
    model : AtomisticModel
        A network that predicts noise.
    store : AtomStore
        Frames of one molecule, unseen in training.
    objective : DeNS
        Corrupts the frames, with or without a force input.
    rounds : int, default 5
        How often each frame is corrupted anew.
    seed : int, default 0
        Of the noise.

    Returns
    -------
    numpy.ndarray
        [n, 3]; 1 is the share of the answer "no noise".

    Raises
    ------
    ValueError
        For frames that are not of one molecule.
    """
    axes = torch.from_numpy(all_local_axes(store)).float().flatten(0, 1)  # (T n, 3, 3)
    n = int(store.n_atoms[0])
    batch = store.take(range(len(store)))
    generator = torch.Generator().manual_seed(seed)
    left = torch.zeros(n, 3, dtype=torch.float64)
    there = torch.zeros(n, 3, dtype=torch.float64)
    for _ in range(rounds):
        done = objective.corrupt(batch, generator)
        with torch.no_grad(), evaluating(model):
            answer = model(done.batch, noise=True, force_input=done.force_input).noise
        noise = done.eps / done.sigma.unsqueeze(-1)
        for vector, total in ((answer - noise, left), (noise, there)):
            along = torch.einsum("ac,acu->au", vector, axes).square() * done.mask.unsqueeze(-1)
            total += along.view(-1, n, 3).double().sum(dim=0)
    return (left / there).numpy()


def _one_molecule(store: AtomStore) -> tuple[np.ndarray, np.ndarray]:
    """Positions [frames, n, 3] and atomic numbers [n] of frames of one molecule."""
    batch = store.take(range(len(store)))
    counts: Sequence[int] = np.unique(np.asarray(store.n_atoms)).tolist()
    numbers = batch.z.numpy().reshape(-1, counts[0]) if len(counts) == 1 else None
    if numbers is None or (numbers != numbers[0]).any():
        raise ValueError(
            "Axes are those of one molecule, and these structures are of several; choose frames of "
            "one, with its atoms in one order."
        )
    return batch.pos.numpy().reshape(*numbers.shape, 3), numbers[0]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

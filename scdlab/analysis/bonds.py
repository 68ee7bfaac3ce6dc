"""Bond lengths, and the order of bond that each of them suggests.

The length of a bond shows whether it is single, double or triple: the typical length of an order is
the sum of the two atoms' radii of that order, and a length belongs to the nearest one. Noise on the
positions blurs that, which `blurred_bonds` counts.

    r_ij = |x_j − x_i|                                   `bond_lengths`
    order(r_ij) = argmin_k |r_ij − (R_k(i) + R_k(j))|    `bond_orders`,  R_k: `RADII`
"""

import itertools
from typing import NamedTuple

import ase
import numpy as np
from numpy.typing import ArrayLike

from scdlab.atoms.molecules import bonds

# Radii in Å of an atom in a single, double and triple bond: P. Pyykkö and M. Atsumi, Chem. Eur. J.
# 15, 186 (2009) and 15, 12770 (2009); P. Pyykkö, S. Riedel, M. Patzschke, Chem. Eur. J. 11, 3511
# (2005). It is a table of what organic molecules have: single bonds alone for hydrogen and the
# halogens, no triple bond of O, Si and S.
RADII = {
    "H": (0.32,),
    "B": (0.85, 0.78, 0.73),
    "C": (0.75, 0.67, 0.60),
    "N": (0.71, 0.60, 0.54),
    "O": (0.63, 0.57),
    "F": (0.64,),
    "Si": (1.16, 1.07),
    "P": (1.11, 1.02, 0.94),
    "S": (1.03, 0.94),
    "Cl": (0.99,),
    "Br": (1.14,),
    "I": (1.33,),
}
LONE_WIDTH = 0.08  # Å; half-width of the band of a pair that has one order only


class Band(NamedTuple):
    """The lengths of one order of bond between two elements, in Å.

    Attributes
    ----------
    pair : str
        The two elements, such as "C–O".
    order : int
        1, 2 or 3.
    length : float
        The typical length.
    low, high : float
        The ends of the band around it.
    """

    pair: str
    order: int
    length: float
    low: float
    high: float


def bands_of(a: str, b: str) -> list[Band]:
    """The bands of two elements, single bond first.

    Neighboring bands meet halfway, so that a length belongs to the order whose typical length is
    nearest; the first and the last band reach as far outwards as inwards.

    Parameters
    ----------
    a, b : str
        Symbols of the elements.

    Returns
    -------
    list of Band
        Empty for elements without radii in `RADII`.
    """
    a, b = sorted((a, b), key=_carbon_first)
    # falling: the triple bond is the shortest
    lengths = [x + y for x, y in zip(RADII.get(a, ()), RADII.get(b, ()), strict=False)]
    middles = [(x + y) / 2 for x, y in itertools.pairwise(lengths)]
    bands = []
    for k, length in enumerate(lengths):
        inwards = length - middles[0] if middles else LONE_WIDTH
        outwards = middles[-1] - length if middles else LONE_WIDTH
        low = middles[k] if k < len(middles) else length - outwards
        high = middles[k - 1] if k else length + inwards
        bands.append(Band(f"{a}–{b}", k + 1, round(length, 4), round(low, 4), round(high, 4)))
    return bands


def bonds_of(atoms: ase.Atoms) -> np.ndarray:
    """Pairs of atoms that are near enough to be bonded. No model in the kit is given bonds.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure. Of a periodic one, bonds across the faces of the cell are not among them.

    Returns
    -------
    numpy.ndarray
        Index pairs [b, 2], i < j.
    """
    return bonds(atoms.numbers, atoms.get_positions())


def bond_lengths(pos: ArrayLike, pairs: np.ndarray) -> np.ndarray:
    """Lengths of bonds.

    Parameters
    ----------
    pos : array_like
        Positions [..., n, 3] in Å.
    pairs : numpy.ndarray
        Index pairs [b, 2].

    Returns
    -------
    numpy.ndarray
        Lengths [..., b] in Å.
    """
    x = np.asarray(pos, float)
    return np.linalg.norm(x[..., pairs[:, 1], :] - x[..., pairs[:, 0], :], axis=-1)


def bond_orders(
    atoms: ase.Atoms, pos: ArrayLike | None = None, pairs: np.ndarray | None = None
) -> np.ndarray:
    """The order whose typical length is nearest to each bond's length.

    A reading of lengths, not chemistry: benzene's 1.39 Å reads as a double bond.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.
    pos : array_like, optional
        Positions [..., n, 3] in Å at which the lengths are read; by default those of `atoms`.
    pairs : numpy.ndarray, optional
        Bonds as index pairs [b, 2]; by default those of `atoms` at its own positions.

    Returns
    -------
    numpy.ndarray
        Orders [..., b]: 1, 2 or 3, and 0 where `RADII` lacks an element.
    """
    pairs = bonds_of(atoms) if pairs is None else pairs
    lengths = bond_lengths(atoms.positions if pos is None else pos, pairs)
    symbols = atoms.get_chemical_symbols()
    orders = np.zeros(lengths.shape, int)
    for k, (i, j) in enumerate(pairs):
        typical = np.array([band.length for band in bands_of(symbols[i], symbols[j])])
        if len(typical):
            orders[..., k] = 1 + np.abs(lengths[..., k, None] - typical).argmin(-1)
    return orders


def blurred_bonds(atoms: ase.Atoms, pos: ArrayLike) -> np.ndarray:
    """Count the bonds that read as another order at displaced positions.

    Next to none at σ = 0.005 Å, a good part of the double and aromatic bonds at 0.04 Å. Bonds of
    hydrogen have one order, and never count.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure as it is.
    pos : array_like
        Displaced positions [..., n, 3] in Å.

    Returns
    -------
    numpy.ndarray
        Integers [...].
    """
    pairs = bonds_of(atoms)
    return (bond_orders(atoms, pos, pairs) != bond_orders(atoms, pairs=pairs)).sum(-1)


def blurring(atoms: ase.Atoms, pos: ArrayLike, many: ArrayLike) -> dict[str, int | float]:
    """How many bonds a displacement blurs, and how many the noise blurs on average.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure of n atoms as it is.
    pos : array_like
        Displaced positions [n, 3] in Å.
    many : array_like
        Positions of many draws of the noise [draws, n, 3] in Å.

    Returns
    -------
    dict
        bonds, those that can have several orders; bonds_blurred and bonds_blurred_mean, how many of
        them read as another order at `pos` and on average over the draws; and draws.
    """
    names = atoms.get_chemical_symbols()
    several = [len(bands_of(names[a], names[b])) > 1 for a, b in bonds_of(atoms)]
    blurred = blurred_bonds(atoms, many)
    return {
        "bonds": int(np.sum(several)),
        "bonds_blurred": int(blurred_bonds(atoms, pos)),
        "bonds_blurred_mean": float(blurred.mean()),
        "draws": len(blurred),
    }


def length_density(lengths: ArrayLike, grid: np.ndarray, width: float) -> np.ndarray:
    """A smooth histogram: counts in the cells of a grid, smeared by a Gaussian.

    Parameters
    ----------
    lengths : array_like
        Lengths in Å, any shape.
    grid : numpy.ndarray
        An even grid [m] in Å.
    width : float
        Standard deviation of the Gaussian in Å.

    Returns
    -------
    numpy.ndarray
        Density [m] in 1/Å; its integral is at most 1.
    """
    step = grid[1] - grid[0]
    edges = np.append(grid - step / 2, grid[-1] + step / 2)
    values = np.asarray(lengths).ravel()
    if not len(values):
        return np.zeros(len(grid))
    counts = np.histogram(values, edges)[0] / (len(values) * step)
    reach = min(int(np.ceil(4 * width / step)), (len(grid) - 1) // 2)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    return np.convolve(counts, kernel / kernel.sum(), mode="same")


def _carbon_first(symbol: str) -> tuple[bool, bool, str]:
    """The order in which elements are named: C, then the others by the alphabet, H last."""
    return (symbol == "H", symbol != "C", symbol)

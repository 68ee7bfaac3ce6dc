"""Molecules as chemists write them: SMILES becomes atoms in space, bonds are read off distances.

Two atoms are bonded when they are closer than 1.2 × the sum of their covalent radii (Cordero et al.
2008). A bond is rotatable when it is a bridge (cutting it parts the molecule), neither end is
terminal, it is as long as a single bond, and neither part lies all on its axis. Bonds are an input
of no model here.
"""

import operator
from collections.abc import Iterator
from typing import Any

import ase
import numpy as np
from ase.data import atomic_masses, covalent_radii
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from scdlab.atoms import conformers

BOND_TOLERANCE = 1.2
# × the sum of the covalent radii: below, a bond is more than single (C-C 1.41 Å, C-N 1.37, C-O
# 1.32)
SINGLE = 0.93
LARGEST = 200  # atoms with hydrogens: embedding and relaxing more takes rdkit minutes
_LONGEST = 5_000  # characters, far more than LARGEST atoms need
_LOWEST_CHARGE = -4  # of a monatomic ion
_OFF_AXIS = 0.2  # Å


def from_smiles(smiles: str, seed: int = 0) -> ase.Atoms:
    """The molecule that a SMILES string describes, with its hydrogens, as one conformer in space.

    Distances are embedded (ETKDG) and relaxed with MMFF94. Where that gives bonds or contacts that
    the elements do not allow, GFN2-xTB (up to 60 atoms), UFF and the embedding are tried in turn;
    where none passes, the molecule is refused (`atoms.conformers`). That takes 30 seconds at most.
    Ions carry formal charges (`get_initial_charges`), isotopes their masses (`get_masses`).

    Parameters
    ----------
    smiles : str
        One molecule, such as "CCO".
    seed : int, default 0
        Of the embedding; the same seed gives the same atoms.

    Returns
    -------
    ase.Atoms
        With info["smiles"], and info["force_field"]: where the geometry comes from, which is
        "MMFF94", "GFN2-xTB", "UFF", or "none" for the embedding alone.

    Raises
    ------
    ValueError
        With the reason, for what is not one whole molecule, and for a molecule of which no geometry
        is found that its elements allow.
    """
    from rdkit import Chem, rdBase

    if not isinstance(smiles, str) or not smiles.strip():
        raise ValueError(
            f"{_short(repr(smiles))} is not a SMILES string: write a molecule such as 'CCO' "
            "(ethanol)."
        )
    seed = _whole_seed(seed)
    smiles = smiles.strip()
    if len(smiles.split()) > 1:
        raise ValueError(
            f"SMILES {_quoted(smiles)} has a blank in it, expected one molecule without a name: "
            "leave out what follows the first blank."
        )
    if len(smiles) > _LONGEST:
        raise ValueError(
            f"SMILES {_quoted(smiles)} has {len(smiles):,} characters, expected up to "
            f"{_LONGEST:,}: read larger molecules from a file."
        )
    with rdBase.BlockLogs():  # what rdkit would print is in the errors below
        molecule = _parse(smiles, Chem)
        masses = _masses(molecule, smiles)
    if molecule.GetNumAtoms() > LARGEST:
        raise ValueError(
            f"SMILES {_quoted(smiles)} has {molecule.GetNumAtoms()} atoms with its hydrogens; "
            f"up to {LARGEST} are placed in space, read larger molecules from a file."
        )
    try:
        pos, made_by = conformers.place(molecule, seed)
    except conformers.NoConformer as error:
        raise ValueError(
            f"SMILES {_quoted(smiles)} cannot be placed in space ({error}); check its rings and "
            "stereo centers, or read the molecule from a file."
        ) from error
    atoms = ase.Atoms(
        numbers=[atom.GetAtomicNum() for atom in molecule.GetAtoms()],
        positions=pos,
        info={"smiles": smiles, "force_field": made_by},
    )
    charges = [atom.GetFormalCharge() for atom in molecule.GetAtoms()]
    if any(charges):
        atoms.set_initial_charges(charges)
    if masses is not None:
        atoms.set_masses(masses)
    return atoms


def _whole_seed(seed: Any) -> int:
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**31:
        raise ValueError(
            f"The seed of a conformer must be an integer from 0 to 2³¹ - 1, got {seed!r}."
        )
    return number


def _masses(molecule: Any, smiles: str) -> Any:
    """Masses of the atoms in u where a SMILES string names isotopes, else None."""
    from rdkit import Chem

    if not any(atom.GetIsotope() for atom in molecule.GetAtoms()):
        return None
    table = Chem.GetPeriodicTable()
    masses = []
    for atom in molecule.GetAtoms():
        z = atom.GetAtomicNum()
        isotope = atom.GetIsotope()
        mass = table.GetMassForIsotope(z, isotope) if isotope else float(atomic_masses[z])
        if not mass > 0:
            raise ValueError(
                f"SMILES {_quoted(smiles)} names the isotope {isotope}{atom.GetSymbol()}, whose "
                "mass is not known: write one that exists, or leave the number out."
            )
        masses.append(mass)
    return masses


def _parse(smiles: str, Chem: Any) -> Any:
    """The rdkit molecule of a SMILES string, with all hydrogens. Raises ValueError with the
    reason."""
    molecule = Chem.MolFromSmiles(smiles, sanitize=False)
    if molecule is None:
        raise ValueError(
            f"{_quoted(smiles)} is not a SMILES string that rdkit can read; look for an unclosed "
            "ring, bracket or parenthesis, and write elements like C, [Na+], Cl."
        )
    problems = [problem.Message() for problem in Chem.DetectChemistryProblems(molecule)]
    if problems:
        raise ValueError(
            f"SMILES {_quoted(smiles)} is no possible molecule ({problems[0]}); correct bonds or "
            "charges."
        )
    Chem.SanitizeMol(molecule)
    if molecule.GetNumAtoms() == 0 or any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
        raise ValueError(
            f"SMILES {_quoted(smiles)} has a placeholder (*) or no atom at all; write every atom "
            "as an element."
        )
    for atom in molecule.GetAtoms():
        if not _LOWEST_CHARGE <= atom.GetFormalCharge() <= atom.GetAtomicNum():
            raise ValueError(
                f"SMILES {_quoted(smiles)} has {atom.GetSymbol()} with a charge of "
                f"{atom.GetFormalCharge():+d}, expected {_LOWEST_CHARGE} to the "
                f"{atom.GetAtomicNum()} electrons that it has; correct the charge."
            )
    parts = len(Chem.GetMolFrags(molecule))
    if parts > 1:
        raise ValueError(
            f"SMILES {_quoted(smiles)} describes {parts} separate molecules or ions without "
            "their places in space; give one of them."
        )
    return Chem.AddHs(Chem.RemoveHs(molecule))


def _quoted(smiles: str) -> str:
    return repr(_short(smiles))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def bonds(z: ArrayLike, pos: ArrayLike) -> np.ndarray:
    """The pairs of atoms that are near enough to be bonded.

    Parameters
    ----------
    z : array_like
        Atomic numbers, [N].
    pos : array_like
        Positions, [N, 3], Å.

    Returns
    -------
    numpy.ndarray
        Index pairs, [n, 2], i < j, sorted.
    """
    pos = np.asarray(pos, dtype=float)
    radius = covalent_radii[np.asarray(z)]
    if len(pos) < 2:
        return np.empty((0, 2), dtype=np.int64)
    i, j = _candidates(pos, 2 * BOND_TOLERANCE * radius.max())
    r = pos[i] - pos[j]
    near = np.einsum("px,px->p", r, r) < (BOND_TOLERANCE * (radius[i] + radius[j])) ** 2
    return np.stack([i[near], j[near]], axis=1)


def _candidates(pos: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs i < j in lexicographic order that may be within reach: all of a small molecule, else by
    a tree."""
    if len(pos) <= 64:
        return np.triu_indices(len(pos), 1)
    i, j = np.sort(KDTree(pos).query_pairs(reach, output_type="ndarray"), axis=1).T
    order = np.lexsort((j, i))
    return i[order], j[order]


def rotatable_bonds(z: ArrayLike, pos: ArrayLike) -> list[tuple[int, int, np.ndarray]]:
    """The bonds about which one part of a molecule can rotate.

    Found from geometry alone. Methyl groups and hydroxyls count; rings, double and triple bonds,
    amides and aromatic bonds do not. Rotating `group` about the axis from i to j changes no bond
    length and no bond angle.

    Parameters
    ----------
    z : array_like
        Atomic numbers, [N].
    pos : array_like
        Positions, [N, 3], Å.

    Returns
    -------
    list of (i, j, group)
        Two atoms, and those on the smaller side, that of j, without i and j; sorted.
    """
    z = np.asarray(z)
    pos = np.asarray(pos, dtype=float)
    pairs = bonds(z, pos)
    neighbors: list[list[int]] = [[] for _ in z]
    for i, j in pairs.tolist():
        neighbors[i].append(j)
        neighbors[j].append(i)
    radius = covalent_radii[z]
    length = np.linalg.norm(pos[pairs[:, 0]] - pos[pairs[:, 1]], axis=1)
    single = length > SINGLE * radius[pairs].sum(axis=1)
    single = {pair for pair, long in zip(map(tuple, pairs.tolist()), single, strict=True) if long}
    found = []
    for parent, child, below, fragment in bridges(neighbors):
        if (min(parent, child), max(parent, child)) not in single:
            continue
        if len(neighbors[parent]) < 2 or len(neighbors[child]) < 2:
            continue
        above = np.setdiff1d(fragment, below, assume_unique=True)
        i = parent
        j = child
        far = above
        near = below
        if (len(below), child) > (len(above), parent):
            i = child
            j = parent
            far = below
            near = above
        if _off_axis(pos, i, j, near) and _off_axis(pos, i, j, far):
            found.append((i, j, np.sort(near[near != j])))
    return sorted(found, key=lambda bond: bond[:2])


def _off_axis(pos: np.ndarray, i: int, j: int, atoms: np.ndarray) -> bool:
    """Whether any of `atoms` is away from the axis through i and j: rotating about it would
    move that atom."""
    return bool(axis_distance(pos, i, j, atoms).max() > _OFF_AXIS)


def axis_distance(pos: np.ndarray, i: int, j: int, atoms: np.ndarray) -> np.ndarray:
    """Distances of atoms from the axis through two atoms.

    Parameters
    ----------
    pos : numpy.ndarray
        Positions, [N, 3], Å.
    i, j : int
        The atoms on the axis.
    atoms : numpy.ndarray
        Indices of the others, [m].

    Returns
    -------
    numpy.ndarray
        Distances, [m], Å.
    """
    axis = (pos[j] - pos[i]) / np.linalg.norm(pos[j] - pos[i])
    r = pos[atoms] - pos[j]
    return np.sqrt(np.clip(np.einsum("mx,mx->m", r, r) - (r @ axis) ** 2, 0, None))


def bridges(
    neighbors: list[list[int]],
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Find the bonds whose cut parts their fragment.

    Tarjan's search, without recursion: visited in depth-first order, the atoms below a child are
    one run of `order`, and its bond is a bridge when no bond leads from them to above it
    (low[child] > number[parent]).

    Parameters
    ----------
    neighbors : list of list of int
        The atoms that each atom is bonded to.

    Yields
    ------
    parent, child : int
        The ends of a bond.
    below : ndarray
        The atoms on the child's side.
    fragment : ndarray
        All atoms of the fragment.
    """
    number = [-1] * len(neighbors)
    low = [0] * len(neighbors)
    for root in range(len(neighbors)):
        if number[root] >= 0:
            continue
        order = [root]
        found = []
        number[root] = 0
        low[root] = 0
        stack = [(root, -1, iter(neighbors[root]))]
        while stack:
            atom, parent, rest = stack[-1]
            for other in rest:
                if number[other] < 0:
                    number[other] = len(order)
                    low[other] = len(order)
                    order.append(other)
                    stack.append((other, atom, iter(neighbors[other])))
                    break
                if other != parent:
                    low[atom] = min(low[atom], number[other])
            else:
                stack.pop()
                if parent >= 0:
                    low[parent] = min(low[parent], low[atom])
                    if low[atom] > number[parent]:
                        found.append((parent, atom, number[atom], len(order)))
        fragment = np.array(order)
        for parent, child, first, last in found:
            yield parent, child, fragment[first:last], fragment

"""A molecule of rdkit in space: of several geometries, the first that its elements allow.

Distances are embedded (ETKDG, Riniker and Landrum, J. Chem. Inf. Model. 55, 2562, 2015) and relaxed
with MMFF94. rdkit lacks MMFF94 parameters of many small molecules, and makes some up without saying
so (N≡N 1.46 Å); five- and six-valent atoms are tetrahedral to it, in UFF and in the embedding
alike. So each geometry is compared with what is known of bonds (`problem`), and the first that
passes is taken: MMFF94, GFN2-xTB, UFF, the embedding alone.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import ase
import numpy as np
from ase.data import chemical_symbols, covalent_radii
from scipy.optimize import minimize

from scdlab.atoms.bond_lengths import usual_length
from scdlab.atoms.gfn2 import HEAVIEST, gfn2, one_thread

_log = logging.getLogger("scdlab")

SECONDS = 28.0  # for all attempts together
CONTACT = 1.2  # × the sum of the covalent radii: nearer atoms count as bonded
ACROSS = 1.0  # the same for atoms across a ring of four, which are close in fact
SLACK = 0.1  # Å, of a bond length either way …
METAL = 0.25  # … and where a metal takes part
STRAINED = 0.08  # Å that bonds in rings of three and four, and at atoms of five neighbors, gain
LEAST_ANGLE = 78.0  # degrees, between terminal ligands at an atom of five or six neighbors
MOST_GFN2 = 60  # atoms that GFN2-xTB relaxes in a few seconds
_EMBEDDING = (7, 7, 3, 3)  # seconds for each attempt
_STEPS = 300
# nonmetals and metalloids, of whose bonds the lengths are known well
_KNOWN = {1, 2, *range(5, 11), *range(14, 19), *range(32, 37), *range(51, 55)}
_SP = 0.08  # Å that single bonds are shorter for each linear end, if both ends are unsaturated


class NoConformer(ValueError):
    """No geometry of a molecule is one that its elements allow; the text says why."""


def place(molecule: Any, seed: int) -> tuple[np.ndarray, str]:
    """Find positions for the atoms of a molecule.

    Runs in a thread beside the caller's, which waits: rdkit leaves Python alone while it computes,
    so that Ctrl-C works. The thread ends at its next step then; Python waits for it when it exits.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        With all its hydrogens.
    seed : int
        Of the embedding.

    Returns
    -------
    pos : numpy.ndarray
        [n, 3], Å.
    made_by : str
        "MMFF94", "GFN2-xTB", "UFF", or "none" for the embedding alone.

    Raises
    ------
    NoConformer
        When no geometry passes, or `SECONDS` are over.
    """
    stop = threading.Event()
    done = threading.Event()
    found: list[Any] = []

    def search() -> None:
        try:
            found.append(_search(molecule, seed, stop))
        except BaseException as error:  # of any kind: it is raised again in the caller's thread
            found.append(error)
        done.set()

    threading.Thread(target=search, name="from_smiles").start()
    end = time.monotonic() + SECONDS
    try:
        # not Thread.join: an interrupt of it counts the thread as ended
        while not done.wait(0.02) and time.monotonic() < end:
            _watch_interrupts()
    finally:
        stop.set()
    if not found:
        raise NoConformer(f"none was found within {SECONDS:.0f} seconds")
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _watch_interrupts() -> None:
    """Give Ctrl-C back to Python: rdkit takes it while it embeds, and then only stops embedding."""
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def problem(molecule: Any, pos: np.ndarray) -> str:
    """What a geometry has that its elements do not allow.

    Bonds are compared with `usual_length`, given what may lengthen or shorten them (conjugation,
    charges, metals); atoms without a bond must be further apart than bonded ones; stereo centers
    and double bonds must be as they are written.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        With all its hydrogens.
    pos : numpy.ndarray
        [n, 3], Å.

    Returns
    -------
    str
        The worst, in words; empty when all is well.
    """
    if not np.isfinite(pos).all():
        return "positions that are not finite"
    z = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    distance = distances(pos)
    worst = 0.0
    words = ""
    for bond in molecule.GetBonds():
        i = bond.GetBeginAtomIdx()
        j = bond.GetEndAtomIdx()
        low, high = _allowed(bond)
        off = max(low - distance[i, j], distance[i, j] - high)
        if off > worst:
            worst = off
            words = (
                f"a bond {_name(z, i)}-{_name(z, j)} of {distance[i, j]:.2f} Å, expected "
                f"{low:.2f} to {high:.2f} Å"
            )
    short = _least_apart(molecule, z) - distance
    if len(z) > 1 and short.max() > worst:
        i, j = np.unravel_index(short.argmax(), short.shape)
        words = f"{_name(z, i)} and {_name(z, j)}, not bonded, only {distance[i, j]:.2f} Å apart"
    return words or _crowded(molecule, pos) or _other_stereo(molecule, pos)


def distances(pos: np.ndarray) -> np.ndarray:
    """All distances.

    Parameters
    ----------
    pos : numpy.ndarray
        [n, 3], Å.

    Returns
    -------
    numpy.ndarray
        [n, n], Å.
    """
    return np.linalg.norm(pos[:, None] - pos, axis=-1)


def _search(molecule: Any, seed: int, stop: threading.Event) -> tuple[np.ndarray, str]:
    """The first geometry that passes; NoConformer with what the last had wrong."""
    from rdkit import rdBase

    said = []
    with rdBase.BlockLogs():  # what rdkit would print is in the errors
        embedded = _embedded(molecule, seed, stop)
        for make, name in _attempts():
            try:
                pos = make(molecule, embedded, stop)
            except RuntimeError as error:  # rdkit's and tblite's: no solution for these atoms
                _log.debug("from_smiles: %s failed: %s", name, error)
                continue
            if stop.is_set():
                raise NoConformer("stopped")
            if pos is None:
                continue
            wrong = problem(molecule, pos)
            if not wrong:
                return pos, name
            said.append(f"{'the embedding' if name == 'none' else name} gives {wrong}")
    raise NoConformer(said[-1] if said else "no method gives a geometry")


def _attempts() -> Iterator[tuple[Callable[..., np.ndarray | None], str]]:
    yield _mmff, "MMFF94"
    yield _gfn2, "GFN2-xTB"
    yield _gfn2_spread, "GFN2-xTB"
    yield _uff, "UFF"
    yield lambda molecule, embedded, stop: embedded, "none"


def _embedded(molecule: Any, seed: int, stop: threading.Event) -> np.ndarray:
    from rdkit.Chem import rdDistGeom

    plain = rdDistGeom.EmbedParameters()
    tries = [
        (rdDistGeom.ETKDGv3(), False),
        (rdDistGeom.ETKDGv3(), True),  # slower, and finds strained cages
        (rdDistGeom.srETKDGv3(), False),  # small rings
        (plain, False),  # distances alone: rings with triple bonds, fullerenes
    ]
    for (options, random), seconds in zip(tries, _EMBEDDING, strict=True):
        options.randomSeed = seed
        options.useRandomCoords = random
        options.timeout = seconds
        try:
            failed = rdDistGeom.EmbedMolecule(molecule, options) != 0
        except RuntimeError as error:  # its optimizer gives some cages up
            _log.debug("from_smiles: an embedding failed: %s", error)
            failed = True
        if not failed:
            break
        if stop.is_set():
            raise NoConformer("stopped")
    else:
        raise NoConformer("rdkit finds no conformer")
    return molecule.GetConformer().GetPositions()


def _mmff(molecule: Any, embedded: np.ndarray, stop: threading.Event) -> np.ndarray | None:
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers

    if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
        return None
    moved = Chem.Mol(molecule)
    rdForceFieldHelpers.MMFFOptimizeMolecule(moved, maxIters=2000)
    return moved.GetConformer().GetPositions()


def _uff(molecule: Any, embedded: np.ndarray, stop: threading.Event) -> np.ndarray | None:
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers

    if not rdForceFieldHelpers.UFFHasAllMoleculeParams(molecule):
        return None
    moved = Chem.Mol(molecule)
    rdForceFieldHelpers.UFFOptimizeMolecule(moved, maxIters=2000)
    return moved.GetConformer().GetPositions()


def _gfn2(molecule: Any, embedded: np.ndarray, stop: threading.Event) -> np.ndarray | None:
    """Relaxed with GFN2-xTB, right for small molecules of most elements; None where it cannot be
    used."""
    from ase.optimize import BFGS

    z = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    if not 1 < len(z) <= MOST_GFN2 or max(z) > HEAVIEST:
        return None
    charge = sum(atom.GetFormalCharge() for atom in molecule.GetAtoms())
    # off any symmetric saddle point
    start = embedded + np.random.default_rng(0).normal(0, 0.03, embedded.shape)
    atoms = ase.Atoms(z, start)
    try:
        atoms.calc = gfn2(charge=charge, multiplicity=1 + (sum(z) - charge) % 2)
    except ImportError:  # tblite has no wheels for some platforms
        return None
    with one_thread():
        for _ in BFGS(atoms, logfile=None).irun(fmax=0.03, steps=_STEPS):
            if stop.is_set():
                return None
    return atoms.positions


def _gfn2_spread(molecule: Any, embedded: np.ndarray, stop: threading.Event) -> np.ndarray | None:
    """The same from ligands that were spread."""
    return _gfn2(molecule, _spread(molecule, embedded), stop)


def _spread(molecule: Any, embedded: np.ndarray) -> np.ndarray:
    """The embedding with bonds of their usual lengths and with the ligands of each atom apart, from
    where GFN2-xTB finds the octahedra and bipyramids that rdkit does not know."""
    ends = np.array(
        [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()], int
    ).reshape(-1, 2)
    lengths = np.array([np.mean(_allowed(bond)) for bond in molecule.GetBonds()])
    n = len(embedded)
    i, j = np.triu_indices(n, 1)
    steps = _bonds_between(molecule)[i, j]
    i = i[steps == 2]
    j = j[steps == 2]

    def energy(x: np.ndarray) -> tuple[float, np.ndarray]:
        """20 Σ (r − length)² over bonds + Σ 1/r over ligands of one atom, and its gradient."""
        pos = x.reshape(n, 3)
        gradient = np.zeros_like(pos)
        bond = pos[ends[:, 0]] - pos[ends[:, 1]]
        r = np.linalg.norm(bond, axis=1)
        pull = 40 * ((r - lengths) / r)[:, None] * bond
        np.add.at(gradient, ends[:, 0], pull)
        np.add.at(gradient, ends[:, 1], -pull)
        apart = pos[i] - pos[j]
        d = np.linalg.norm(apart, axis=1)
        push = -apart / d[:, None] ** 3
        np.add.at(gradient, i, push)
        np.add.at(gradient, j, -push)
        return float(20 * ((r - lengths) ** 2).sum() + (1 / d).sum()), gradient.ravel()

    found = minimize(energy, embedded.ravel(), jac=True, method="L-BFGS-B")
    return found.x.reshape(n, 3)


def _allowed(bond: Any) -> tuple[float, float]:
    """The shortest and the longest that a bond may be, Å."""
    first = bond.GetBeginAtom()
    second = bond.GetEndAtom()
    z = (first.GetAtomicNum(), second.GetAtomicNum())
    order = bond.GetBondTypeAsDouble()
    charged = order == 1 and first.GetFormalCharge() * second.GetFormalCharge() < 0
    radicals = first.GetNumRadicalElectrons() and second.GetNumRadicalElectrons()
    resonant = bond.GetIsConjugated() or charged or radicals or _shares(first) or _shares(second)
    least = min(3, max(1, int(order)))  # of 1.5: a single bond …
    most = int(np.ceil(order)) + bool(resonant)  # … and a double one
    low = usual_length(*z, min(3, max(least, most)))
    high = usual_length(*z, least)
    kinds = [str(atom.GetHybridization()) for atom in (first, second)]
    if order == 1 and (charged or set(kinds) <= {"SP", "SP2"}):
        high -= _SP * kinds.count("SP")
    usual = high
    if z[0] not in _KNOWN or z[1] not in _KNOWN:
        low -= SLACK if 1 in z else METAL
        high += METAL
    else:
        low -= SLACK
        high += 0.0 if charged else SLACK
        crowded = max(first.GetDegree(), second.GetDegree()) > 4
        high += STRAINED if crowded or bond.IsInRingSize(3) or bond.IsInRingSize(4) else 0.0
    bonded = CONTACT * covalent_radii[list(z)].sum()  # what `bonds` reads off distances
    return low, (min(high, bonded) if usual < bonded else high)


def _shares(atom: Any) -> bool:
    """Whether an atom shares its charge, and so the order of its bond, with others, as O⁻ in
    sulfate does."""
    return (
        atom.GetFormalCharge() < 0
        and atom.GetDegree() == 1
        and any(
            bond.GetBondTypeAsDouble() > 1
            for neighbor in atom.GetNeighbors()
            for bond in neighbor.GetBonds()
        )
    )


def _bonds_between(molecule: Any) -> np.ndarray:
    """The number of bonds on the shortest way between atoms, [n, n]."""
    from rdkit import Chem

    return Chem.GetDistanceMatrix(molecule)


def _least_apart(molecule: Any, z: np.ndarray) -> np.ndarray:
    """How far apart two atoms must be at least, [n, n] Å; 0 where they are bonded."""
    least = CONTACT * (covalent_radii[z][:, None] + covalent_radii[z])
    steps = _bonds_between(molecule)
    bonded = steps == 1
    shared = bonded.astype(int) @ bonded.astype(int)  # neighbors that two atoms have in common
    least[(steps == 2) & (shared > 1)] *= ACROSS / CONTACT
    least[bonded] = 0.0
    np.fill_diagonal(least, 0.0)
    return least


def _crowded(molecule: Any, pos: np.ndarray) -> str:
    """The first atom of five or six neighbors whose terminal ones are not apart as those of a
    bipyramid or an octahedron are, in words."""
    for atom in molecule.GetAtoms():
        if atom.GetDegree() not in (5, 6):
            continue
        ends = [end.GetIdx() for end in atom.GetNeighbors() if end.GetDegree() == 1]
        arms = pos[ends] - pos[atom.GetIdx()]
        arms /= np.linalg.norm(arms, axis=1, keepdims=True)
        cosines = np.triu(arms @ arms.T, 1)
        if len(ends) > 1 and cosines.max() > np.cos(np.radians(LEAST_ANGLE)):
            angle = np.degrees(np.arccos(min(cosines.max(), 1.0)))
            name = f"{atom.GetSymbol()}{atom.GetIdx()}"
            return f"an angle of {angle:.0f}° at {name}, expected {LEAST_ANGLE:.0f}° and more"
    return ""


def _other_stereo(molecule: Any, pos: np.ndarray) -> str:
    """The first stereo center or double bond that is not as the SMILES string has it, in words."""
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    placed = Chem.Mol(molecule)
    conformer = Chem.Conformer(len(pos))
    for k, point in enumerate(pos.tolist()):
        conformer.SetAtomPosition(k, Point3D(*point))
    placed.RemoveAllConformers()
    placed.AddConformer(conformer)
    Chem.AssignStereochemistryFrom3D(placed)
    for atom, now in zip(molecule.GetAtoms(), placed.GetAtoms(), strict=True):
        wanted = atom.GetPropsAsDict().get("_CIPCode")
        if wanted and wanted != now.GetPropsAsDict().get("_CIPCode"):
            return f"another configuration at atom {atom.GetIdx()}, {wanted} in the SMILES string"
    for bond, now in zip(molecule.GetBonds(), placed.GetBonds(), strict=True):
        wanted = bond.GetStereo()
        if wanted > Chem.BondStereo.STEREOANY and now.GetStereo() != wanted:
            return f"another configuration at double bond {bond.GetIdx()}"
    return ""


def _name(z: np.ndarray, k: Any) -> str:
    return f"{chemical_symbols[z[k]]}{k}"

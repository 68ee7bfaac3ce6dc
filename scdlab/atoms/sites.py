"""Sites of proteins that hold more than one atom, or part of one, as PDB files have them.

A PDB file gives alternative positions of an atom, each with the share of molecules in which it is
there; ase reads all of them as atoms. They are refused, or the rule is asked for: of each residue
the alternative with the highest mean occupancy is kept, the first where several are equal. An atom
that is there in part without an alternative is kept whole. Where a file leaves out the columns of
the elements, ase takes the alpha carbon "CA" for calcium; names are read here by the columns in
which they stand.
"""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scdlab.atoms import promises, reading

if TYPE_CHECKING:
    from ase import Atoms

WHOLE = 0.999  # occupancies from here up are rounded ones
_RESIDUES = frozenset(
    (
        *("ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE", "LEU", "LYS"),
        *("MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL", "MSE"),
        *("A", "C", "G", "U", "DA", "DC", "DG", "DT", "HOH", "WAT", "TIP", "SOL"),
    )
)


@dataclass
class _Model:
    """Lines of the atoms of one model, and the cell that holds for it."""

    lines: list[str] = field(default_factory=list)
    cell: list[float] | None = None


def settle(
    path: Path, frames: "list[Atoms]", index: Any = ":", alternatives: str = "refuse"
) -> "tuple[list[Atoms], list[str]]":
    """Structures of a file with one whole atom on each site.

    Parameters
    ----------
    path : Path
        The file.
    frames : list of ase.Atoms
        What ase has read from it.
    index : int, slice or str, default ":"
        Which structures of the file these are.
    alternatives : str, default "refuse"
        "highest" keeps the alternative of the highest occupancy.

    Returns
    -------
    frames : list of ase.Atoms
        The structures; those of other files than PDB as they are.
    notes : list of str
        What was left out or changed, and by which rule.

    Raises
    ------
    ValueError
        For alternative positions, unless a rule is asked for, and for another rule.
    """
    if alternatives not in ("refuse", "highest"):
        raise ValueError(
            f"alternatives must be 'refuse' or 'highest', got {alternatives!r}: choose one."
        )
    if not all("residuenames" in frame.arrays for frame in frames):
        return frames, []
    models = _models(bytes(promises.content(path)).decode("utf-8", errors="replace"))
    chosen = reading.as_ase_index(index)
    models = models[chosen] if isinstance(chosen, slice) else [models[k] for k in chosen]
    counts: dict[str, int] = dict.fromkeys(("alternatives", "partial", "elements", "cells"), 0)
    settled = []
    for k, (frame, model) in enumerate(zip(frames, models, strict=False)):
        if len(model.lines) != len(frame):  # not as ase reads it
            return frames, []
        line = next((line for line in model.lines if line[16] != " "), None)
        if line is not None and alternatives == "refuse":
            raise ValueError(
                f"Structure {k} has alternative positions of atoms (the first is "
                f"{' '.join(line[12:27].split())!r}): give the file with one of them, or "
                "keep those of the highest occupancy with alternatives='highest'."
            )
        settled.append(_settled(frame, model, counts))
    rules = {
        "alternatives": "left out as alternatives of the highest occupancy in their residue",
        "partial": "there in part, without an alternative, and kept whole",
        "elements": "with the element that the columns of their names say",
    }
    notes = [f"atoms {rule}: {counts[what]:,}" for what, rule in rules.items() if counts[what]]
    if counts["cells"]:
        notes.append(f"structures whose cell of 1 Å stands for none: {counts['cells']:,}")
    return settled, notes


def _models(text: str) -> list[_Model]:
    """The models of a PDB file, cut where ase cuts them."""
    models = []
    current = _Model()
    for line in io.StringIO(text, newline=None):
        if line.startswith("CRYST1"):
            current.cell = [float(line[at : at + 9]) for at in (6, 15, 24)]
            current.cell += [float(line[at : at + 7]) for at in (33, 40, 47)]
        elif line.startswith(("ATOM", "HETATM")):
            current.lines.append(line.rstrip("\n").ljust(80))
        elif line.startswith("END"):
            models.append(current)
            current = _Model(cell=current.cell)  # stated once for all models
    return models or [current]


def _settled(frame: "Atoms", model: _Model, counts: dict[str, int]) -> "Atoms":
    """One structure of a PDB file; what was done is counted."""
    frame = frame.copy()
    for row, line in enumerate(model.lines):
        symbol = _element(line)
        if symbol and symbol != frame.symbols[row]:
            frame.symbols[row] = symbol
            counts["elements"] += 1
    if model.cell is not None:
        if model.cell[:3] == [1.0, 1.0, 1.0]:
            frame.cell = None
            frame.pbc = False
            counts["cells"] += 1
        elif not frame.pbc.any():
            frame.cell = model.cell
            frame.pbc = True
    occupancy = np.array([_occupancy(line) for line in model.lines])
    kept = _kept(model.lines, occupancy)
    counts["alternatives"] += int((~kept).sum())
    alone = np.array([line[16] == " " for line in model.lines])
    partial = (occupancy > 0) & (occupancy < WHOLE)
    counts["partial"] += int((partial & alone).sum())
    if partial.any() and "occupancy" in frame.arrays:
        del frame.arrays["occupancy"]  # settled
    return frame[kept]


def _kept(lines: list[str], occupancy: np.ndarray) -> np.ndarray:
    """Which of the atoms are kept, [N] bool."""
    residues: dict[tuple, list[int]] = {}
    for row, line in enumerate(lines):
        residues.setdefault(_residue(line), []).append(row)
    kept = np.ones(len(lines), bool)
    for rows in residues.values():
        labels = dict.fromkeys(lines[row][16] for row in rows if lines[row][16] != " ")
        if not labels:
            continue
        share = {
            label: np.mean([occupancy[row] for row in rows if lines[row][16] == label])
            for label in labels
        }
        best = max(labels, key=lambda label: share[label])
        # a residue may be another one in its alternative
        name = next(lines[row][17:21] for row in rows if lines[row][16] == best)
        places: dict[str, list[int]] = {}
        for row in rows:
            places.setdefault(lines[row][12:16], []).append(row)
        for same in places.values():
            own = [row for row in same if lines[row][16] in (" ", best)]
            own = own or [row for row in same if lines[row][17:21] == name]
            own.sort(key=lambda row: (lines[row][16] != best, -occupancy[row], row))
            kept[same] = False
            kept[own[:1]] = True
    return kept


def _residue(line: str) -> tuple[str, str]:
    """Chain and number of the residue of an atom."""
    return line[21], line[22:27]


def _occupancy(line: str) -> float:
    try:
        return float(line[54:60])
    except ValueError:
        return 1.0  # not stated


def _element(line: str) -> str | None:
    """The element of an atom by the columns of its name, where the file states none and the name is
    clear; None elsewhere."""
    from ase.data import atomic_numbers

    name = line[12:16]
    letters = [letter for letter in name if letter.isalpha()]
    if line[76:78].strip() or not letters:
        return None
    known = line[17:21].strip() in _RESIDUES
    hydrogen = len(name.strip()) == 4 and letters[0].upper() == "H"
    if not (known or name[0] == " " or hydrogen):
        return None
    symbol = "Se" if line[17:20] == "MSE" and "SE" in name else letters[0].upper()
    return symbol if symbol in atomic_numbers else None

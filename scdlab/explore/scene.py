"""What the 3-D view of a molecule draws, as plain data: atoms, arrows and marks, checked.

`scene_of` makes one dict, which travels to the browser as one message:

    frame    z [n] · pos [3n] Å, flat · bonds [2m], flat pairs of indices · cell [9] Å or [] ·
             elements: how each looks
    arrows   a list of kinds: name, unit, color, legend · profile: the outline of one arrow, from
             tip to tail · start [3k] and step [3k] Å, flat: arrow i goes from start to start + step
             as drawn
    marked   a list of kinds of marks around atoms: legend, color, wider (Å beyond the atom's
             radius), lines (or solid), atoms [k]
    title, aria (the picture in words), note (what is left out), labels, large, size
"""

from collections.abc import Mapping, Sequence
from typing import Any

import ase
import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from numpy.typing import ArrayLike

from scdlab.analysis.bonds import bonds_of
from scdlab.analysis.inputs import array
from scdlab.explore import style
from scdlab.explore.inputs import checked_indices, checked_mapping, in_short, is_positive

LARGE = 1_000  # atoms; from here on: bonds as lines, no labels, and only the longest arrows
MANY_ARROWS = 300  # so many of each kind in a large view
MOST = 20_000  # atoms that a view accepts
# Å drawn for the longest arrow, unless the caller fixes the scale; twice that in a large view
LONGEST = 1.8
SHORTEST = 0.02  # Å; arrows drawn shorter than this would be dots

SHAFT = 0.045  # Å, radius of an arrow
# Outlines of arrow heads as (distance behind the tip, radius) in Å: kinds of arrows differ by them,
# not by color alone.
HEADS = (
    ((0, 0), (0.32, 0.14)),  # cone
    ((0, 0), (0.18, 0.13), (0.18, SHAFT), (0.24, SHAFT), (0.42, 0.13)),  # two cones
    ((0, 0), (0, 0.13), (0.16, 0.13)),  # hammer
    ((0, 0), (0.19, 0.14), (0.38, SHAFT)),  # diamond
)
ARROW_COLORS = (style.VERMILION, style.BLUE, style.GREEN, style.PURPLE)
# color, Å wider than the atom, drawn as lines
MARKS = ((style.ORANGE, 0.2, False), (style.INK, 0.26, True))
_ENTRIES = ("vectors", "unit", "color", "scale", "start")  # of a kind of arrows


def scene_of(
    atoms: ase.Atoms,
    arrows: Mapping[str, dict],
    marks: Sequence[dict],
    title: str,
    size: Sequence[float],
    labels: bool,
) -> dict[str, Any]:
    """The scene of atoms and arrows that were checked.

    Parameters
    ----------
    atoms : ase.Atoms
        As `as_atoms` gives them.
    arrows : mapping
        As `as_arrows` gives them.
    marks : sequence of dict
        As `as_marks` gives them.
    title : str
        A line above.
    size : sequence of float
        Width and height in pixels.
    labels : bool
        Whether element and index are written on each atom; not in a large view.

    Returns
    -------
    dict
        See the module's docstring.
    """
    large = len(atoms) > LARGE
    kinds = [_kind(name, each, k, large) for k, (name, each) in enumerate(arrows.items())]
    note = ""
    if large:
        note = f"{len(atoms):,} atoms: drawn simply, with lines for bonds and without labels"
        cut = any(each["hidden"] for each in kinds)
        note += f"; of each kind only the {MANY_ARROWS} longest arrows." if cut else "."
    aria = f"{title}: " if title else ""
    aria += f"{atoms.get_chemical_formula()}, {len(atoms)} atoms"
    aria += "".join(f"; arrows: {each['legend']}" for each in kinds)
    names = [f"{style.symbol(z)}{k}" for k, z in enumerate(atoms.numbers)]
    aria += "".join(
        f"; {m['legend']}: {', '.join(names[k] for k in m['atoms']) or 'none'}" for m in marks
    )
    return {
        "frame": _frame(atoms),
        "arrows": kinds,
        "marked": list(marks),
        "title": title,
        "aria": aria,
        "note": note,
        "labels": bool(labels) and not large,
        "large": large,
        "size": [int(side) for side in size],
    }


def as_atoms(atoms: Any) -> ase.Atoms:
    """What `view_molecule` accepts, as ase.Atoms that can be drawn.

    Parameters
    ----------
    atoms : ase.Atoms, AtomStore, batch or (z, pos)
        One structure.

    Returns
    -------
    ase.Atoms
        A copy.

    Raises
    ------
    ValueError
        For what is no single structure, for no atoms and for too many, for positions that are not
        finite, and for unknown elements.
    """
    atoms = _converted(atoms)
    if len(atoms) == 0:
        raise ValueError("There are no atoms to draw: pass a structure with at least one.")
    if len(atoms) > MOST:
        raise ValueError(
            f"The view draws at most {MOST:,} atoms, got {len(atoms):,}: pass a part of the "
            "structure."
        )
    bad = np.flatnonzero(~np.isfinite(atoms.get_positions()).all(1))
    if len(bad):
        raise ValueError(
            f"The position of atom {bad[0]} is not a finite number: only finite positions can be "
            "drawn."
        )
    unknown = atoms.numbers[(atoms.numbers < 0) | (atoms.numbers >= len(jmol_colors))]
    if len(unknown):
        raise ValueError(
            f"There is no element {unknown[0]} to draw: atomic numbers go up to "
            f"{len(jmol_colors) - 1}."
        )
    return atoms


def as_arrows(arrows: Any, atoms: ase.Atoms, scale: Any = None) -> dict[str, dict[str, Any]]:
    """What `view_molecule` accepts as arrows, complete.

    Parameters
    ----------
    arrows : array_like or mapping, optional
        Arrows as in `view_molecule`.
    atoms : ase.Atoms
        The structure of n atoms.
    scale : float or mapping, optional
        Å drawn per unit.

    Returns
    -------
    dict
        Name -> dict(vectors [n, 3], unit, color, scale, start [n, 3]).

    Raises
    ------
    ValueError
        For too many kinds, unknown entries, wrong shapes, numbers that are not finite, and a scale
        that is not positive.
    """
    if arrows is None:
        return {}
    kinds = arrows if isinstance(arrows, dict) else {"arrows": arrows}
    if len(kinds) > len(HEADS):
        raise ValueError(
            f"The view draws at most {len(HEADS)} kinds of arrows, got {len(kinds)}: leave some "
            "out."
        )
    own = scale if isinstance(scale, dict) else dict.fromkeys(kinds, scale)
    if stray := set(own) - set(kinds):
        raise ValueError(
            f"arrow_scale must name arrows that are drawn ({', '.join(kinds)}), got "
            f"{', '.join(map(repr, stray))}: leave the others out."
        )
    full: dict[str, dict[str, Any]] = {}
    for k, (name, given) in enumerate(kinds.items()):
        entries = given if isinstance(given, dict) else {"vectors": given}
        _check_entries(name, entries)
        start = entries.get("start")
        start = atoms.get_positions() if start is None else start
        fixed = own.get(name) if entries.get("scale") is None else entries["scale"]
        full[name] = {
            "vectors": _per_atom(entries["vectors"], f"arrows {name!r}", len(atoms)),
            "unit": entries.get("unit", ""),
            "color": entries.get("color") or ARROW_COLORS[k],
            "scale": fixed,
            "start": _per_atom(start, f"starts of the arrows {name!r}", len(atoms)),
        }
        if fixed is not None and not is_positive(fixed):
            raise ValueError(
                f"The scale of the arrows {name!r} must be a positive number of Å per unit, got "
                f"{fixed}."
            )
    for each in full.values():
        if each["scale"] is None:
            each["scale"] = round_scale(
                [a["vectors"] for a in full.values() if a["unit"] == each["unit"]]
            )
    return full


def as_marks(marked: Mapping[str, ArrayLike] | None, atoms: ase.Atoms) -> list[dict[str, Any]]:
    """What `view_molecule` accepts as marks, as the scene holds it.

    Parameters
    ----------
    marked : mapping, optional
        Name -> indices of atoms.
    atoms : ase.Atoms
        The structure.

    Returns
    -------
    list of dict
        See the module's docstring.

    Raises
    ------
    ValueError
        For too many kinds, and for atoms that are not there.
    """
    marked = checked_mapping(marked, "marked")
    if len(marked) > len(MARKS):
        raise ValueError(
            f"The view draws at most {len(MARKS)} kinds of marks, got {len(marked)}: leave some "
            "out."
        )
    marks = []
    for (name, which), (color, wider, lines) in zip(marked.items(), MARKS, strict=False):
        chosen = checked_indices(which, name)
        if stray := [k for k in chosen if not 0 <= k < len(atoms)]:
            raise ValueError(
                f"{name!r} must mark atoms from 0 to {len(atoms) - 1}, got {stray[0]}: count the "
                "atoms from 0."
            )
        marks.append(
            {"legend": name, "color": color, "wider": wider, "lines": lines, "atoms": chosen}
        )
    return marks


def round_scale(vectors: Sequence[np.ndarray]) -> float:
    """A round scale of arrows on which the longest of all vectors is at most `LONGEST`.

    Parameters
    ----------
    vectors : sequence of numpy.ndarray
        Vectors [n, 3] of one unit.

    Returns
    -------
    float
        Å per unit; 1 Å drawn is a round number of units.
    """
    longest = max(np.linalg.norm(v, axis=1).max() for v in vectors)
    if not longest > 0:
        return 1.0
    least = longest / (LONGEST * _size(len(vectors[0]) > LARGE))  # units per Å
    power = 10.0 ** np.floor(np.log10(least))
    return 1 / next(
        m * power for m in (1, 1.5, 2, 3, 4, 5, 7, 10) if m * power >= least * (1 - 1e-9)
    )


def magnification(sigma: float) -> int:
    """Å drawn per Å of noise: 100 below σ = 0.01 Å, 10 below 0.1 Å, and 1 from there, where tips
    reach the clean positions.

    Parameters
    ----------
    sigma : float
        In Å.

    Returns
    -------
    int
        The factor.
    """
    if sigma < 0.01:
        return 100
    return 10 if sigma < 0.1 else 1


def _converted(atoms: Any) -> ase.Atoms:
    if isinstance(atoms, ase.Atoms):
        return atoms.copy()
    if hasattr(atoms, "to_ase") and hasattr(atoms, "__len__"):
        if len(atoms) != 1:
            raise ValueError(
                f"The view draws one structure, got a store of {len(atoms):,}: pass "
                "store.to_ase(i)."
            )
        return atoms.to_ase(0)
    if getattr(atoms, "num_graphs", 1) != 1:
        raise ValueError(
            f"The view draws one structure, got a batch of {atoms.num_graphs}: pass "
            "store.to_ase(i)."
        )
    z, pos = (atoms.z, atoms.pos) if hasattr(atoms, "pos") else _pair(atoms)
    z = array(z)
    pos = array(pos)
    if z.ndim != 1 or pos.shape != (len(z), 3):
        raise ValueError(
            f"The view needs z of shape [n] and pos of shape [n, 3], got {list(z.shape)} and "
            f"{list(pos.shape)}: pass one number and one position for each atom."
        )
    cell = getattr(atoms, "cell", None)
    cell = None if cell is None else array(cell).reshape(3, 3)
    pbc = getattr(atoms, "pbc", None)
    pbc = cell is not None if pbc is None else array(pbc).reshape(3).astype(bool)
    return ase.Atoms(numbers=z.astype(int), positions=pos, cell=cell, pbc=pbc)


def _pair(atoms: Any) -> tuple[Any, Any]:
    try:
        z, pos = atoms
    except (TypeError, ValueError):
        raise ValueError(
            f"The view draws ase.Atoms or a pair (z, pos), got {type(atoms).__name__}."
        ) from None
    return z, pos


def _check_entries(name: str, entries: Mapping[str, Any]) -> None:
    stray = set(entries) - set(_ENTRIES)
    if "vectors" in entries and not stray:
        return
    wrong = f"has an unknown entry {min(stray)!r}" if "vectors" in entries else "has no vectors"
    raise ValueError(f"The kind of arrows {name!r} {wrong}: its entries are {', '.join(_ENTRIES)}.")


def _per_atom(values: Any, what: str, n: int) -> np.ndarray:
    try:
        values = array(values).copy()
    except (TypeError, ValueError):
        raise ValueError(
            f"The {what} must be numbers, one vector per atom, got {in_short(values)}."
        ) from None
    if values.shape != (n, 3):
        raise ValueError(
            f"The {what} have shape {values.shape}: one vector per atom, shape ({n}, 3), can be "
            "drawn."
        )
    if not np.isfinite(values).all():
        row = np.flatnonzero(~np.isfinite(values).all(1))[0]
        raise ValueError(
            f"Row {row} of the {what} is not a finite number: only finite vectors can be drawn."
        )
    return values


def _size(large: bool) -> float:
    """Arrows of a large view are drawn larger, or nobody would see them."""
    return 2.0 if large else 1.0


def _kind(name: str, given: Mapping[str, Any], k: int, large: bool) -> dict[str, Any]:
    """One kind of arrows as the scene holds it."""
    step = given["vectors"] * given["scale"]
    length = np.linalg.norm(step, axis=1)
    drawn = np.flatnonzero(length >= SHORTEST)
    hidden = max(0, len(drawn) - MANY_ARROWS) if large else 0
    if hidden:
        drawn = np.sort(drawn[np.argsort(-length[drawn], kind="stable")[:MANY_ARROWS]])
    unit = f" {given['unit']}" if given["unit"] else ""
    size = _size(large)
    legend = f"{name} (1 Å drawn = {1 / given['scale']:.3g}{unit})"
    if not len(drawn):
        legend = f"{legend}, too short to draw" if length.any() else f"{name}: all zero"
    return {
        "name": name,
        "unit": given["unit"],
        "color": given["color"],
        "legend": legend,
        "profile": [
            [size * back, size * radius] for back, radius in (*HEADS[k], (HEADS[k][-1][0], SHAFT))
        ],
        "atoms": drawn.tolist(),
        "start": _flat(given["start"][drawn]),
        "step": _flat(step[drawn]),
        "hidden": hidden,
    }


def _frame(atoms: ase.Atoms) -> dict[str, Any]:
    elements = {
        str(z): {"symbol": style.symbol(z), "color": style.element_color(z), "radius": _radius(z)}
        for z in np.unique(atoms.numbers).tolist()
    }
    cell = atoms.cell.array if atoms.pbc.any() and atoms.cell.rank == 3 else np.zeros((0, 3))
    return {
        "z": atoms.numbers.tolist(),
        "pos": _flat(atoms.get_positions()),
        "bonds": bonds_of(atoms).ravel().tolist(),
        "cell": _flat(cell),
        "elements": elements,
    }


def _radius(z: int) -> float:
    """The drawn radius of an atom in Å: small enough that arrows come out of it."""
    return round(0.14 + 0.18 * float(covalent_radii[z]), 3)


def _flat(values: np.ndarray) -> list[float]:
    return np.round(values, 4).ravel().tolist()

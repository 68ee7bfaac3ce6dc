"""What the calculators of ase.Atoms have computed for them as they are now.

A calculator keeps the results of what it computed last. They are of another structure where the
atoms moved afterwards, and where one calculator serves several structures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

_LABELS = ("energy", "free_energy", "forces", "stress", "dipole")


@dataclass(frozen=True)
class Results:
    """Results of calculators.

    Parameters
    ----------
    found : list of dict
        For each structure what its calculator has computed for it.
    stale : set of int
        Structures whose calculators have results, but of another geometry.
    lost : frozenset of str
        What these results are.
    """

    found: list[Mapping[str, Any]]
    stale: set[int]
    lost: frozenset[str] = frozenset()


def results_of(frames: "Sequence[Atoms]", check: bool = True) -> Results:
    """The results that belong to structures; nothing is computed.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        The structures.
    check : bool, default True
        False trusts all results, such as those that a reader of a file has attached.

    Returns
    -------
    Results
        For each structure.
    """
    found = [_stored(frame.calc) for frame in frames]
    labeled = [k for k, own in enumerate(found) if own]
    if not check or not labeled:
        return Results(found, set())
    sure = _exactly_alike(frames, labeled)
    stale = {k for k in labeled if k not in sure and _required(k, frames[k], found[k])}
    lost = frozenset().union(*(found[k] for k in stale))
    return Results([{} if k in stale else own for k, own in enumerate(found)], stale, lost)


def _stored(calculator: Any) -> Mapping[str, Any]:
    results = getattr(calculator, "results", None)
    return results if isinstance(results, Mapping) else {}


def _required(k: int, frame: "Atoms", results: Mapping[str, Any]) -> bool:
    """Whether ase would have to compute the results anew: the check of each calculator itself."""
    from ase.calculators.calculator import compare_atoms

    names = [name for name in _LABELS if name in results] or list(results)
    check = getattr(frame.calc, "calculation_required", None)
    try:
        if check is not None:
            return bool(check(frame, names))
        return bool(compare_atoms(getattr(frame.calc, "atoms", None), frame))
    except Exception as error:  # calculators raise anything
        raise ValueError(
            f"Structure {k} has a calculator ({type(frame.calc).__name__}) that cannot say whether "
            f"its results belong to the structure ({type(error).__name__}: {error}): put them into "
            "an ase SinglePointCalculator."
        ) from error


def _exactly_alike(frames: "Sequence[Atoms]", labeled: Sequence[int]) -> set[int]:
    """Structures that equal, bit by bit, those of their calculators, for which ase's own check
    (slow on many small ones) gives the same answer."""
    usual: dict[type, bool] = {}
    chosen: list[int] = []
    pairs: list[tuple[Atoms, Atoms]] = []
    for k in labeled:
        calculator: Any = frames[k].calc
        kind = type(calculator)
        if kind not in usual:
            usual[kind] = _checks_as_ase(kind)
        if not usual[kind] or calculator.atoms is None:
            continue
        mine = frames[k].arrays
        theirs = calculator.atoms.arrays
        if mine["numbers"].shape == theirs["numbers"].shape and _alike_initially(mine, theirs):
            chosen.append(k)
            pairs.append((frames[k], calculator.atoms))
    sizes = np.array([len(mine.numbers) for mine, _ in pairs], int)
    if not sizes.all() or not len(sizes):
        return set()

    def equal(name: str) -> np.ndarray:
        own = np.concatenate([mine.arrays[name] for mine, _ in pairs])
        return own == np.concatenate([theirs.arrays[name] for _, theirs in pairs])

    alike = equal("positions").all(1) & equal("numbers")
    same = np.logical_and.reduceat(alike, np.cumsum(sizes) - sizes)
    cells = np.array([mine.cell.array for mine, _ in pairs])
    same &= (cells == np.array([theirs.cell.array for _, theirs in pairs])).all((1, 2))
    pbc = np.array([mine.pbc for mine, _ in pairs])
    same &= (pbc == np.array([theirs.pbc for _, theirs in pairs])).all(1)
    return set(np.array(chosen)[same].tolist())


def _alike_initially(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether initial charges and magnetic moments are the same, or absent in both."""
    if len(mine) == 2 == len(theirs):  # positions and numbers alone
        return True
    for name in ("initial_charges", "initial_magmoms"):
        if (name in mine) != (name in theirs):
            return False
        if name in mine and not np.array_equal(mine[name], theirs[name]):
            return False
    return True


def _checks_as_ase(kind: type) -> bool:
    """Whether calculators of a type are checked by ase's own methods."""
    from ase.calculators.calculator import BaseCalculator, Calculator

    return (
        issubclass(kind, Calculator)
        and kind.check_state is Calculator.check_state
        and kind.calculation_required is BaseCalculator.calculation_required
    )

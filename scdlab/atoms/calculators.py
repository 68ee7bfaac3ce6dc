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
    """

    found: list[Mapping[str, Any]]
    stale: set[int]
    reason: str = "another geometry"


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
    stale = {k for k in labeled if k not in sure and _required(frames[k], found[k])}
    return Results([{} if k in stale else own for k, own in enumerate(found)], stale)


def _stored(calculator: Any) -> Mapping[str, Any]:
    results = getattr(calculator, "results", None)
    return results if isinstance(results, Mapping) else {}


def _required(frame: "Atoms", results: Mapping[str, Any]) -> bool:
    """Whether ase would have to compute the results anew: the check of each calculator itself."""
    from ase.calculators.calculator import compare_atoms

    names = [name for name in _LABELS if name in results] or list(results)
    check = getattr(frame.calc, "calculation_required", None)
    if check is not None:
        return bool(check(frame, names))
    return bool(compare_atoms(getattr(frame.calc, "atoms", None), frame))


def _exactly_alike(frames: "Sequence[Atoms]", labeled: Sequence[int]) -> set[int]:
    """Structures that equal, bit by bit, those of their calculators, for which ase's own check
    (slow on many small ones) gives the same answer."""
    usual: dict[type, bool] = {}
    pairs = []
    for k in labeled:
        frame = frames[k]
        calculator = frame.calc
        kind = type(calculator)
        if kind not in usual:
            usual[kind] = _checks_as_ase(kind)
        atoms = getattr(calculator, "atoms", None)
        if (
            usual[kind]
            and atoms is not None
            and len(atoms) == len(frame) > 0
            and _alike_initially(frame.arrays, atoms.arrays)
        ):
            pairs.append((k, frame, atoms))
    if not pairs:
        return set()
    numbers, frames_, atoms_ = zip(*pairs, strict=True)
    start = np.cumsum([0, *map(len, frames_[:-1])])

    def stacked(structures: "Sequence[Atoms]", name: str) -> np.ndarray:
        return np.concatenate([each.arrays[name] for each in structures])

    alike = (stacked(frames_, "positions") == stacked(atoms_, "positions")).all(1)
    alike &= stacked(frames_, "numbers") == stacked(atoms_, "numbers")
    same = np.logical_and.reduceat(alike, start)
    mine = np.array([each.cell.array for each in frames_])
    theirs = np.array([each.cell.array for each in atoms_])
    same &= (mine == theirs).all((1, 2))
    same &= (np.array([each.pbc for each in frames_]) == [each.pbc for each in atoms_]).all(1)
    return {k for k, is_same in zip(numbers, same, strict=True) if is_same}


def _alike_initially(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether initial charges and magnetic moments are the same, or absent in both."""
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

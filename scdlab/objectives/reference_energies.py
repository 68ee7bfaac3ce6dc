"""Reference energies of the elements: fitted to a training set, or given.

    E = Σ_i (E_ref[z_i] + s · MLP(x_i))

They take off nearly all of a total energy, so that the network learns what is left. Fitted by least
squares on the compositions of the training set, they are defined only as far as its compositions
vary: frames of one molecule determine one sum. Energies of isolated atoms, from the method that the
labels come from, are defined for every composition.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from scdlab.log import logger
from scdlab.nn.blocks.heads import MAX_Z
from scdlab.nn.trained_labels import Composition, named, undetermined

#: Elements of which the message has been logged in this process: a lesson trains many models.
logged: set[tuple[int, ...]] = set()


def checked_references(given: Mapping[str | int, float]) -> dict[str, float]:
    """Energies of isolated atoms by symbol, by atomic number.

    Parameters
    ----------
    given : mapping of str or int to float
        Energies in eV by symbol or by atomic number.

    Raises
    ------
    TypeError
        For anything but a mapping.
    ValueError
        For what is no element, for one that is named twice, and for what is no finite number.
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            "reference_energies must be energies in eV by element, such as {'H': -13.6}, got "
            f"{given!r}."
        )
    found: dict[int, float] = {}
    for element, energy in given.items():
        z = _number(element)
        if z in found:
            raise ValueError(
                f"reference_energies names {chemical_symbols[z]} twice; give one energy for each "
                "element."
            )
        try:
            value = float(energy)
        except (TypeError, ValueError):
            value = np.nan
        if isinstance(energy, bool | str) or not np.isfinite(value):
            raise ValueError(
                f"The reference energy of {chemical_symbols[z]} must be a finite number in eV, got "
                f"{energy!r}."
            )
        found[z] = value
    if not found:
        raise ValueError(
            "reference_energies names no element; give one energy in eV for each, or None to fit "
            "them to the training set."
        )
    return {chemical_symbols[z]: found[z] for z in sorted(found)}


def _number(element: object) -> int:
    if isinstance(element, str) and atomic_numbers.get(element):
        return atomic_numbers[element]
    if isinstance(element, int | np.integer) and not isinstance(element, bool):
        z = int(element)
        if 1 <= z <= MAX_Z:
            return z
    raise ValueError(
        f"reference_energies names {element!r}, which is no element; name it by its symbol, such "
        "as 'H', or by its atomic number."
    )


def given_references(given: Mapping[str | int, float], elements: Iterable[int]) -> np.ndarray:
    """Energies of isolated atoms as an array.

    Parameters
    ----------
    given : mapping of str or int to float
        As for `checked_references`.
    elements : iterable of int
        Those of the training set.

    Returns
    -------
    ndarray, [119]
        Energies in eV by atomic number.

    Raises
    ------
    ValueError
        For an element of the training set that has none.
    """
    solution = np.zeros(MAX_Z + 1)
    energies = checked_references(given)
    for symbol, energy in energies.items():
        solution[atomic_numbers[symbol]] = energy
    missing = [z for z in elements if chemical_symbols[z] not in energies]
    if missing:
        raise ValueError(
            f"The training set holds {named(missing)}, and reference_energies has only "
            f"{', '.join(energies)}; give the energy in eV of an isolated atom of every element."
        )
    return solution


def check_compositions(gram: np.ndarray, before: Composition | None) -> Composition | None:
    """What the compositions of a training set leave open, logged once for the same elements.

    Parameters
    ----------
    gram : ndarray [119, 119]
        As for `undetermined`.
    before : Composition or None
        What the model has noted already.
    """
    found = undetermined(gram)
    if found is not None and found != before and found.confused not in logged:
        logged.add(found.confused)
        logger.warning(
            "The compositions of the training set do not determine the reference energies of %s "
            "one by one: energies of other compositions will be off by a constant, unless those of "
            "isolated atoms are given, EnergyForces(reference_energies={'H': …}).",
            named(found.confused),
        )
    return found

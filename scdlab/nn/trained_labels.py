"""What a model has learned from labels: which quantities, of which elements.

A model that was pretrained on many elements and fine-tuned on the energies of a few has energies
for those few alone: the reference energies of the others are zero, and their labels were never met.
`TrainedLabels` is what training notes, what `save` keeps, and what `Model.check_energy` refuses by.

A training set whose compositions do not vary enough determines no energy of each element: of frames
of one molecule, any energies with the right sum will do. For such a set `Composition` holds the
directions n in the space of compositions c (how many atoms of each element) that were never met: an
energy is determined where n·c = 0.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.symbols import Symbols
from torch import Tensor

from scdlab.log import logger
from scdlab.nn.blocks.heads import MAX_Z

if TYPE_CHECKING:
    from scdlab.nn.forward import Model

Elements = tuple[int, ...]

# n·c of a composition that was not seen is of the order of 1 / |n| with n in whole numbers
_SEEN = 1e-3
# eigenvalues of a scaled Gram matrix below it are zero
_ZERO = 1e-10


@dataclass(frozen=True)
class Composition:
    """Which compositions a training set does not determine energies of.

    Parameters
    ----------
    elements : tuple of int
        Atomic numbers [m] that the training set has.
    directions : tuple of tuple of float
        Orthonormal directions [k, m] in the space of compositions along which it has nothing.
    """

    elements: Elements
    directions: tuple[tuple[float, ...], ...]

    @property
    def confused(self) -> Elements:
        """Elements whose energies are not determined one by one."""
        weight = np.abs(np.array(self.directions)).max(axis=0)
        return tuple(z for z, w in zip(self.elements, weight, strict=True) if w > 1e-6)

    def outside(self, counts: np.ndarray) -> np.ndarray:
        """Which structures the training set does not determine the energies of.

        Parameters
        ----------
        counts : ndarray [n, 119]
            How many atoms of each element the structures have.

        Returns
        -------
        ndarray of bool, [n]
        """
        c = counts[:, list(self.elements)].astype(np.float64)
        along = np.abs(c @ np.array(self.directions).T).max(axis=1)
        return along > _SEEN + 1e-9 * c.sum(axis=1)


@dataclass(frozen=True)
class TrainedLabels:
    """What the labels of a model's training covered.

    Parameters
    ----------
    energy, forces : tuple of int
        Atomic numbers of the elements whose energies and forces were labels; empty where there were
        none.
    properties : mapping of str to tuple of int
        Likewise for properties, by name.
    undetermined : Composition, optional
        What the energies do not determine; None where they determine those of all compositions.
    """

    energy: Elements = ()
    forces: Elements = ()
    properties: Mapping[str, Elements] = field(default_factory=dict)
    undetermined: Composition | None = None

    def replaced(self, **changes: Any) -> "TrainedLabels":
        """The same with other entries.

        Parameters
        ----------
        **changes
            Entries by name.
        """
        return dataclasses.replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """The content as json has it: elements by their symbols."""
        found: dict[str, Any] = {
            "energy": _symbols(self.energy),
            "forces": _symbols(self.forces),
            "properties": {name: _symbols(z) for name, z in self.properties.items()},
        }
        if self.undetermined is not None:
            found["undetermined"] = {
                "elements": _symbols(self.undetermined.elements),
                "directions": [list(row) for row in self.undetermined.directions],
            }
        return found


def labels_from_json(content: object) -> TrainedLabels:
    """What `TrainedLabels.as_json` gave.

    Parameters
    ----------
    content : json value
        What a file holds.

    Raises
    ------
    ValueError
        For anything else.
    """
    if not isinstance(content, dict) or not {"energy", "forces", "properties"} <= {*content}:
        raise ValueError("it must name the elements of 'energy', 'forces' and 'properties'")
    properties = content["properties"]
    if not isinstance(properties, dict):
        raise ValueError("its 'properties' must be elements by the name of a property")
    undetermined = content.get("undetermined")
    return TrainedLabels(
        energy=_numbers(content["energy"]),
        forces=_numbers(content["forces"]),
        properties={str(name): _numbers(symbols) for name, symbols in properties.items()},
        undetermined=None if undetermined is None else _composition(undetermined),
    )


def _composition(content: object) -> Composition:
    wrong = "its 'undetermined' must hold 'elements' and, of as many numbers each, 'directions'"
    if not isinstance(content, dict) or not {"elements", "directions"} <= {*content}:
        raise ValueError(wrong)
    elements = _numbers(content["elements"])
    try:
        rows = np.array(content["directions"], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(wrong) from error
    if rows.ndim != 2 or rows.shape[1] != len(elements) or not len(rows):
        raise ValueError(wrong)
    if not np.isfinite(rows).all():
        raise ValueError(wrong)
    return Composition(elements, tuple(map(tuple, rows.tolist())))


def _symbols(numbers: Iterable[int]) -> list[str]:
    return [chemical_symbols[k] for k in numbers]


def _numbers(symbols: object) -> Elements:
    if not isinstance(symbols, list):
        raise ValueError(f"elements must be a list of symbols, got {symbols!r}")
    for symbol in symbols:
        if not isinstance(symbol, str) or not atomic_numbers.get(symbol):
            raise ValueError(f"{symbol!r} is no symbol of an element")
    return tuple(sorted(atomic_numbers[symbol] for symbol in symbols))


def undetermined(gram: np.ndarray) -> Composition | None:
    """What the energies of a training set cannot determine.

    Parameters
    ----------
    gram : ndarray [119, 119]
        counts.T @ counts, with how many atoms of each element the structures have, `counts_of`. It
        can be added up over parts of the set.

    Returns
    -------
    Composition or None
        None where the energy of each element is determined.
    """
    present = np.flatnonzero(gram.diagonal())
    gram = gram[np.ix_(present, present)]
    size = np.sqrt(gram.diagonal())
    values, vectors = np.linalg.eigh(gram / np.outer(size, size))
    null = vectors[:, values < _ZERO] / size[:, None]  # [m, k]
    if not null.shape[1]:
        return None
    directions = np.linalg.qr(null)[0].T
    rows = tuple(tuple(float(round(x, 12)) + 0.0 for x in row) for row in directions)
    return Composition(tuple(int(z) for z in present), rows)


def counts_of(z: np.ndarray, structure: np.ndarray, n: int) -> np.ndarray:
    """How many atoms of each element structures have.

    Parameters
    ----------
    z : ndarray of int, [N]
        Atomic numbers.
    structure : ndarray of int, [N]
        The structure to which each atom belongs.
    n : int
        Number of structures.

    Returns
    -------
    ndarray of float, [n, 119]
    """
    width = MAX_Z + 1
    flat = np.bincount(structure * width + z, minlength=n * width)
    return flat.reshape(n, width).astype(np.float64)


def check_elements(model: "Model", z: Tensor) -> None:
    """Raise ValueError when atomic numbers hold an element that was not in the training set.

    Parameters
    ----------
    model : Model
        The model.
    z : Tensor [N]
        Atomic numbers.
    """
    trained = model.trained_elements
    if trained.any() and not trained[z].all():
        unknown = ", ".join(_symbols(z[~trained[z]].unique().tolist()))
        known = ", ".join(_symbols(trained.nonzero().flatten().tolist()))
        raise ValueError(
            f"The model was trained on {known} only and cannot predict anything for {unknown}; "
            "train it on structures that contain every element it is used for."
        )


def check_energy(model: "Model", z: Tensor | np.ndarray, structure: Tensor | None = None) -> None:
    """Raise ValueError where a trained model has not learned the energies of some elements.

    See `Model.check_energy`.

    Parameters
    ----------
    model : Model
        The model.
    z : Tensor or ndarray, [N]
        Atomic numbers.
    structure : Tensor, [N], optional
        The structure of each atom; None for one structure.
    """
    if not bool(model.trained_elements.any()):  # a model that nobody trained answers as it is
        return
    numbers = _checked(model, z, model.trained_labels.energy, "energies", "EnergyForces")
    composition = model.trained_labels.undetermined
    if composition is None:
        return
    of = np.zeros(len(numbers), np.int64) if structure is None else _array(structure)
    outside = composition.outside(counts_of(numbers, of, int(of.max(initial=0)) + 1))
    if outside.any() and not model.backbone.warned_of_composition:
        model.backbone.warned_of_composition = True
        first = numbers[of == int(np.flatnonzero(outside)[0])]
        logger.warning(
            "The energy of %s is off by an unknown constant: the compositions that this %s was "
            "trained on do not determine the reference energies of %s one by one; give those of "
            "isolated atoms, EnergyForces(reference_energies={'H': …}), or train on more "
            "compositions.",
            Symbols(first).get_chemical_formula(),
            type(model.backbone).__name__,
            named(composition.confused),
        )


def check_forces(model: "Model", z: Tensor | np.ndarray) -> None:
    """Raise ValueError where a trained model has not learned the forces on some elements.

    See `Model.check_forces`.

    Parameters
    ----------
    model : Model
        The model.
    z : Tensor or ndarray, [N]
        Atomic numbers.
    """
    if not bool(model.trained_elements.any()):
        return
    learned = model.trained_labels.forces
    if not model.direct_forces:  # the gradient of an energy that was learned
        learned = tuple({*learned, *model.trained_labels.energy})
    _checked(model, z, learned, "forces", "EnergyForces")


def check_property(model: "Model", name: str, z: Tensor | np.ndarray) -> None:
    """Raise ValueError where a trained model has not learned a property of some elements.

    See `Model.check_property`.

    Parameters
    ----------
    model : Model
        The model.
    name : str
        The property.
    z : Tensor or ndarray, [N]
        Atomic numbers.
    """
    if bool(model.trained_elements.any()):
        learned = model.trained_labels.properties.get(name, ())
        _checked(model, z, learned, repr(name), "PropertyRegression")


def _checked(
    model: "Model", z: Tensor | np.ndarray, learned: Elements, what: str, objective: str
) -> np.ndarray:
    """The atomic numbers as an array, all of which are among the learned ones."""
    numbers = _array(z)
    name = type(model.backbone).__name__
    if not learned:
        raise ValueError(
            f"This {name} was trained, but not on {what}: it has learned none and gives none; "
            f"fine-tune it with {objective} on structures that have them."
        )
    unknown = np.setdiff1d(numbers, learned)
    if len(unknown):
        raise ValueError(
            f"This {name} has learned {what} of {named(learned)} only, none of {named(unknown)}; "
            f"fine-tune it with {objective} on structures that contain every element it is used "
            "for."
        )
    return numbers


def _array(z: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(z, Tensor):
        z = z.detach().cpu().numpy()
    return np.asarray(z, dtype=np.int64).reshape(-1)


def named(numbers: Iterable[int]) -> str:
    """Elements in words, as in "H, C and O".

    Parameters
    ----------
    numbers : iterable of int
        Atomic numbers.
    """
    symbols = _symbols(int(z) for z in numbers)
    if len(symbols) < 2:
        return "".join(symbols)
    return f"{', '.join(symbols[:-1])} and {symbols[-1]}"

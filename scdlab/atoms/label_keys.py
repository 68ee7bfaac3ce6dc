"""Keys of ase.Atoms that could name energies and forces, and what is under them."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scdlab.atoms.calculators import Results

if TYPE_CHECKING:
    from ase import Atoms

# origins of labels, in the order in which they are looked for; "" is a key without one
FAMILIES = ("", "ref", "dft", "qm", "target", "true", "label")
# kinds of energies of one family, likewise
_ENERGIES = ("", "potential", "free", "total")
_PATTERN = re.compile(r"(.*?)(potential|free|total|)(energy|forces?)(.*)")
_COMPUTED = {"energy", "free_energy"}  # results of a calculator
TOLERANCE = {"energy": 1e-6, "forces": 1e-5}  # eV, eV/Å: less is rounding


@dataclass(frozen=True)
class Key:
    """What a key says: of an energy or of forces, of which family, and how good a match it is."""

    label: str
    family: str
    rank: tuple[int, ...]

    @property
    def known(self) -> bool:
        """Whether keys like it are labels by convention."""
        return self.family in FAMILIES


@functools.lru_cache(maxsize=4096)
def parse_key(key: str) -> Key | None:
    """What a key says; None for one that names neither energies nor forces."""
    compact = re.sub("[^a-z0-9]", "", key.lower()).replace("reference", "ref")
    match = _PATTERN.fullmatch(compact)
    if match is None:
        return None
    before, kind, what, after = match.groups()
    family = before + after
    known = FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)
    if what == "energy":
        # the plain key in its usual spelling comes first
        rank = (known, _ENERGIES.index(kind), key != "energy")
        return Key("energy", family, rank)
    return Key("forces", family, (known, len(kind), what != "forces", key != what))


class Candidates:
    """Keys of the structures that could name labels, and their values."""

    def __init__(self, frames: "Sequence[Atoms]", results: Results):
        self.frames = frames
        self.results = results
        self.size = np.array([len(frame) for frame in frames])
        infos = {key for key in _union(frame.info for frame in frames) if isinstance(key, str)}
        arrays = _union(frame.arrays for frame in frames)
        computed = _union(results.found)
        self.arrays = arrays
        self.infos = infos
        self.keys: dict[str, list[str]] = {}  # label -> keys that are there, the best first
        there = {"energy": infos | computed & _COMPUTED, "forces": arrays | computed & {"forces"}}
        for label, keys in there.items():
            named = [key for key in keys if (p := parse_key(key)) and p.label == label]
            self.keys[label] = sorted(named, key=lambda key: (parsed_key(key).rank, key))
        if any(re.sub("[^a-z]", "", key.lower()) in ("kineticenergy", "ekin") for key in infos):
            # the total energy of a dynamics holds the kinetic one
            self.keys["energy"] = [k for k in self.keys["energy"] if parsed_key(k).rank[1] != 3]
        self._raw: dict[tuple[str, str], list] = {}
        self._values: dict[tuple[str, str], Any] = {}

    def raw(self, label: str, key: str) -> list:
        """What each structure has under `key`, None where it has nothing."""
        if (label, key) not in self._raw:
            self._raw[label, key] = self._gathered(label, key)
        return self._raw[label, key]

    def _gathered(self, label: str, key: str) -> list:
        if label == "energy":
            own = [frame.info.get(key) for frame in self.frames]
        else:
            own = [frame.arrays.get(key) for frame in self.frames]
        if key not in (label, "free_energy"):  # a calculator knows these names alone
            return own
        computed = [found.get(key) for found in self.results.found]
        return [noted if mine is None else mine for mine, noted in zip(computed, own, strict=True)]

    def known(self, label: str) -> list[str]:
        """Keys that name the label by convention, and hold numbers."""
        found = []
        for key in self.keys[label]:
            if not parsed_key(key).known:
                continue
            there = [value for value in self.raw(label, key) if value is not None]
            # text under the usual key is a damaged label, under others a note
            if there and (key == label or is_numeric(there[0]) or any(map(is_numeric, there))):
                found.append(key)
        return found

    def lacking(self, label: str, key: str) -> list[int]:
        """The structures that have nothing under `key`."""
        return [k for k, value in enumerate(self.raw(label, key)) if value is None]

    def values(self, label: str, key: str) -> np.ndarray:
        """Energies [n] or forces [N, 3] under `key`, which all structures have."""
        if (label, key) not in self._values:
            raw = self.raw(label, key)
            checked = _energies(key, raw) if label == "energy" else _forces(key, raw, self.size)
            self._values[label, key] = checked
        return self._values[label, key]

    def difference(self, label: str, first: str, second: str) -> float:
        """By how much two keys differ at most; 0.0 for rounding, and where the second is none."""
        try:
            other = self.values(label, second)
        except ValueError:  # not taken, so that it vetoes nothing
            return 0.0
        mine = self.values(label, first)
        gap = np.abs(mine - other)
        beyond = gap > TOLERANCE[label] + 1e-9 * np.abs(mine)
        return float(np.nanmax(gap, initial=0.0)) if beyond.any() else 0.0


def _union(mappings: Iterable[Mapping]) -> set:
    """All keys of some mappings, many of which have the same."""
    return set().union(*{tuple(mapping) for mapping in mappings})


def parsed_key(key: str) -> Key:
    """What a key says that names energies or forces."""
    parsed = parse_key(key)
    assert parsed is not None
    return parsed


def is_numeric(value: Any) -> bool:
    """Whether a value is a number or an array of numbers."""
    if value is None or isinstance(value, (str, bytes, bool)):
        return False
    try:
        return np.asarray(value).dtype.kind in "iuf"
    except ValueError:  # rows of different lengths
        return False


def _energies(key: str, raw: Sequence) -> np.ndarray:
    """[n] float64 of one number for each structure."""
    if set(map(type, raw)) <= {float, int, np.float64, np.float32, np.int64}:
        return np.array(raw, np.float64)
    for k, value in enumerate(raw):
        if not is_numeric(value) or np.size(value) != 1:
            raise ValueError(
                f"Structure {k} has {key!r} = {_short(value)}, which is no energy: give it one "
                "number, or remove it."
            )
    return np.array([np.asarray(value, np.float64).reshape(()) for value in raw])


def _forces(key: str, raw: Sequence, size: np.ndarray) -> np.ndarray:
    """[N, 3] of one vector for each atom."""
    if all(type(value) is np.ndarray for value in raw) and {v.dtype.kind for v in raw} == {"f"}:
        shapes = [value.shape for value in raw]
        if shapes == [(n, 3) for n in size.tolist()]:
            return np.concatenate(raw)
    for k, value in enumerate(raw):
        shape = (int(size[k]), 3)
        if not is_numeric(value) or np.shape(value) != shape:
            raise ValueError(
                f"Structure {k} has {key!r} that are no forces of its {size[k]} atoms: give it "
                f"numbers of the shape {shape}, got {_short(value)}."
            )
    return np.concatenate(raw)


def _short(value: Any) -> str:
    """A value, or the type and shape of an array, for an error."""
    if isinstance(value, (list, tuple, np.ndarray)):
        array = np.asarray(value, dtype=None if isinstance(value, np.ndarray) else object)
        if array.size > 4:
            return f"{array.dtype} of the shape {array.shape}"
    text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) <= 40 else text[:37] + "..."

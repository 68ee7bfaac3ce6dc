"""Energies and forces of ase.Atoms: which of what the structures carry are their labels.

Labels are looked for among the results of the attached calculators, as far as these belong to the
structure as it is now, then in `info` (energies) and `arrays` (forces). Data sets call them
differently: "energy" and "forces" (ase), "REF_energy" and "REF_forces" (MACE), "dft_energy" and
"dft_force" (QUIP), … The keys of one origin, such as `dft_`, are a family; energies and forces are
of one family wherever it has both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scdlab.atoms.calculators import Results
from scdlab.atoms.label_keys import (
    FAMILIES,
    TOLERANCE,
    Candidates,
    is_numeric,
    parse_key,
    parsed_key,
)
from scdlab.log import logger

if TYPE_CHECKING:
    from ase import Atoms

_NOUN = {"energy": "energies", "forces": "forces"}
_SHORT_ENERGIES = ("e", "u0", "etot", "e_tot", "epot", "e_pot", "toten", "energies")
_SHORT_FORCES = ("f", "frc", "frcs", "fxyz", "f_xyz")
_COMPONENTS = ("fx", "fy", "fz")


@dataclass(frozen=True)
class Labels:
    """Energies and forces, and what they are called.

    Parameters
    ----------
    energy : ndarray or None
        [n].
    forces : ndarray or None
        [N, 3].
    keys : dict
        "energy" and "forces" -> the key of `info` or `arrays` that was used.
    """

    energy: np.ndarray | None
    forces: np.ndarray | None
    keys: dict[str, str]


def find_labels(
    frames: "Sequence[Atoms]",
    results: Results,
    energy: str | None,
    forces: str | None,
    finite: bool = True,
) -> Labels:
    """The labels of structures.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        The structures.
    results : Results
        What their calculators have computed for them.
    energy : str or None
        The key of the energies; None: the first of the usual ones that all structures have.
    forces : str or None
        The key of the forces, likewise.
    finite : bool, default True
        Whether to refuse labels that are NaN or infinite.

    Returns
    -------
    Labels
        Those that all structures have.

    Raises
    ------
    ValueError
        When only some structures have a label, for one that is no energy or no forces, for a key
        that is not there, and where several keys could be meant.
    TypeError
        For a key that is no text.
    """
    for label, asked in (("energy", energy), ("forces", forces)):
        if asked is not None and not isinstance(asked, str):
            raise TypeError(
                f"{label} must be the key under which the structures have it, got "
                f"{type(asked).__name__}: give text, such as 'REF_{label}'."
            )
    candidates = Candidates(frames, results)
    energy_key = _chosen(candidates, "energy", energy, _energies_beside(candidates, forces))
    forces_key = _chosen_forces(candidates, energy_key, energy, forces)
    keys = {"energy": energy_key, "forces": forces_key}
    used = {label: key for label, key in keys.items() if key is not None}
    if any(key != label for label, key in used.items()):
        told = " and ".join(f"{_NOUN[label]} from {key!r}" for label, key in used.items())
        logger.info("Labels: %s.", told)
    _warn_of_stale(frames, results, used)
    _warn_of_unknown(candidates, used)
    found = {label: candidates.values(label, key) for label, key in used.items()}
    if finite:
        for label, key in used.items():
            _check_finite(key, found[label], candidates.size)
    _warn_of_shadowed(candidates, used)
    return Labels(found.get("energy"), found.get("forces"), used)


def _chosen(
    candidates: Candidates, label: str, asked: str | None, among: Sequence[str] | None = None
) -> str | None:
    """The key of a label, None where there is none."""
    if asked is not None:
        return _asked_for(candidates, label, asked)
    keys = candidates.known(label) if among is None else list(among)
    complete = [key for key in keys if not candidates.lacking(label, key)]
    if not complete:
        if keys:
            raise ValueError(_partly(candidates, label, keys[0]))
        return None
    best = complete[0]
    if keys[0] not in complete:
        lacking = candidates.lacking(label, keys[0])
        logger.warning(
            "The %s are taken from %r; %s of %s structures, the first of them number %d, have no "
            "%r%s.",
            *(_NOUN[label], best, f"{len(lacking):,}", f"{len(candidates.frames):,}", lacking[0]),
            *(keys[0], _stale_words(candidates.results, lacking)),
        )
    different = {key: d for key in complete[1:] if (d := candidates.difference(label, best, key))}
    if different and parsed_key(best).rank[:2] != (0, 0):
        names = " and ".join(map(repr, [best, *different]))
        raise ValueError(
            f"Structures have different {_NOUN[label]} under the keys {names}: choose one with "
            f"{label}={best!r}."
        )
    for key, gap in different.items():
        logger.warning(
            "The %s are taken from %r; those of %r differ from them by up to %.3g %s: choose them "
            "with %s=%r.",
            *(_NOUN[label], best, key, gap, "eV" if label == "energy" else "eV/Å", label, key),
        )
    return best


def _asked_for(candidates: Candidates, label: str, asked: str) -> str:
    """The key that was asked for, which all structures must have."""
    lacking = candidates.lacking(label, asked)
    if len(lacking) == len(candidates.frames):
        there = ", ".join(map(repr, candidates.keys[label])) or "no such key"
        home = "info" if label == "energy" else "arrays"
        stale = _stale_words(candidates.results, lacking)
        raise ValueError(
            f"No structure has {asked!r} in its {home} or among its calculator's results{stale}: "
            f"give {label}= one of the keys that are there ({there})."
        )
    if lacking:
        raise ValueError(_partly(candidates, label, asked))
    return asked


def _energies_beside(candidates: Candidates, forces: str | None) -> list[str] | None:
    """Keys of the family of the forces that were asked for; None where there are none."""
    parsed = None if forces is None else parse_key(forces)
    if parsed is None:
        return None
    own = [key for key in candidates.keys["energy"] if parsed_key(key).family == parsed.family]
    own = [key for key in own if any(map(is_numeric, candidates.raw("energy", key)))]
    return own or None


def _chosen_forces(
    candidates: Candidates, energy_key: str | None, energy: str | None, forces: str | None
) -> str | None:
    """The key of the forces: of the family of the energies, where that has forces."""
    if forces is not None or energy_key is None:
        return _chosen(candidates, "forces", forces)
    parsed = parse_key(energy_key)
    family = None if parsed is None else parsed.family
    own = [key for key in candidates.keys["forces"] if parsed_key(key).family == family]
    own = [key for key in own if any(is_numeric(v) for v in candidates.raw("forces", key))]
    known = candidates.known("forces")
    if own and family is not None and (family in FAMILIES or energy is not None):
        # those of the family first, and a word where plain "forces" differ
        rest = [key for key in known if key not in own]
        if not candidates.lacking("forces", own[0]):
            _warn_of_other_forces(candidates, own[0], rest)
        return _chosen(candidates, "forces", None, own)
    key = _chosen(candidates, "forces", None, known)
    if key is None or energy is not None:
        return key
    # forces of another family: of the same calculation only where its energies are the same
    for other in candidates.known("energy"):
        if parsed_key(other).family != parsed_key(key).family:
            continue
        if candidates.lacking("energy", other):
            continue
        if candidates.difference("energy", energy_key, other):
            raise ValueError(
                f"The only forces of the structures are {key!r}, but the energies {energy_key!r} "
                f"differ from {other!r}, which belong to them: choose with energy={other!r}, "
                f"forces={key!r}."
            )
    return key


def _warn_of_other_forces(candidates: Candidates, key: str, others: Sequence[str]) -> None:
    for other in others:
        if candidates.lacking("forces", other):
            continue
        if gap := candidates.difference("forces", key, other):
            logger.warning(
                "The forces are taken from %r, as the energies; those of %r differ from them by up "
                "to %.3g eV/Å: choose them with forces=%r.",
                *(key, other, gap, other),
            )


def _partly(candidates: Candidates, label: str, key: str) -> str:
    """The error for a label that only some structures have."""
    lacking = candidates.lacking(label, key)
    stale = _stale_words(candidates.results, lacking)
    named = "" if key == label else f" ({key!r})"
    others = [
        other
        for other in candidates.keys[label]
        if other != key and candidates.raw(label, other)[lacking[0]] is not None
    ]
    instead = f" but {', '.join(repr(key[:60]) for key in others[:8])}" if others else ""
    return (
        f"Structure {lacking[0]} has no {label}{named}{instead} while others have{stale}; "
        f"{len(lacking):,} of {len(candidates.frames):,} have none: label all of them, or none."
    )


def _stale_words(results: Results, lacking: Sequence[int]) -> str:
    """Why structures lack a label that their calculators could be expected to give."""
    if not lacking or lacking[0] not in results.stale:
        return ""
    return ", for its calculator's results are of another geometry"


def _warn_of_stale(frames: "Sequence[Atoms]", results: Results, used: Mapping[str, str]) -> None:
    missing = {"energy", "free_energy"} if "energy" not in used else set()
    missing |= {"forces"} - used.keys()
    if missing & results.lost:
        logger.warning(
            "The results of the calculators of %s of %s structures (the first is number %d) are of "
            "another geometry and are not taken: compute them for the structures as they are.",
            *(f"{len(results.stale):,}", f"{len(frames):,}", min(results.stale)),
        )


def _warn_of_shadowed(candidates: Candidates, used: Mapping[str, str]) -> None:
    """A word where a calculator's results and the structure's own entry of one name differ."""
    for label, key in used.items():
        home = "info" if label == "energy" else "arrays"
        if key not in (candidates.infos if label == "energy" else candidates.arrays):
            continue
        pairs = [
            (own[key], getattr(frame, home)[key])
            for frame, own in zip(candidates.frames, candidates.results.found, strict=True)
            if own.get(key) is not None and getattr(frame, home).get(key) is not None
        ]
        differ = [not _equal(computed, noted, TOLERANCE[label]) for computed, noted in pairs]
        if any(differ):
            logger.warning(
                "The %s are those of the calculators; %s[%r] of %s structures differs from them.",
                *(_NOUN[label], home, key, f"{sum(differ):,}"),
            )


def _equal(first: Any, second: Any, tolerance: float) -> bool:
    if np.shape(first) != np.shape(second) or not is_numeric(second):
        return False
    return bool(np.allclose(first, second, rtol=1e-9, atol=tolerance, equal_nan=True))


def _warn_of_unknown(candidates: Candidates, used: Mapping[str, str]) -> None:
    """A word where a label is missing, and something is there that could be it."""
    energies = [key for key in candidates.infos if _could_be_energy(key)]
    vectors = [key for key in candidates.arrays if _could_be_forces(key)]
    likely = {
        "energy": [key for key in energies if any(map(is_numeric, candidates.raw("energy", key)))],
        "forces": [
            key
            for key in vectors
            if any(_is_of_atoms(frame.arrays.get(key)) for frame in candidates.frames)
        ],
    }
    remedies = {"energy": "", "forces": " (forces are minus a gradient)"}
    for label, keys in likely.items():
        if label in used or not keys:
            continue
        logger.warning(
            "The structures have no %s under a usual name, but they have %s: if these are what is "
            "meant, choose one with %s=KEY%s.",
            *(_NOUN[label], ", ".join(map(repr, sorted(keys))), label, remedies[label]),
        )
    if "forces" not in used and {*_COMPONENTS} <= {key.lower() for key in candidates.arrays}:
        logger.warning(
            "The structures have no forces under a usual name, but the columns fx, fy and fz: if "
            "these are what is meant, make them one array of three columns, 'forces' "
            "(forces:R:3 in extended xyz)."
        )


def _is_of_atoms(array: np.ndarray | None) -> bool:
    """Whether an array holds a vector for each atom."""
    return array is not None and array.shape[1:] == (3,) and array.dtype.kind == "f"


def _could_be_energy(key: str) -> bool:
    parsed = parse_key(key)
    return parsed.label == "energy" if parsed else _is_short(key, _SHORT_ENERGIES)


def _could_be_forces(key: str) -> bool:
    parsed = parse_key(key)
    if parsed is not None:
        return parsed.label == "forces"
    return "grad" in key.lower() or _is_short(key, _SHORT_FORCES)


def _is_short(key: str, names: Sequence[str]) -> bool:
    """Whether a key is one of some short names, as it is or with an origin, such as E_dft."""
    words = key.lower().replace("-", "_").split("_")
    return "_".join(word for word in words if word not in FAMILIES) in names


def _check_finite(key: str, values: np.ndarray, size: np.ndarray) -> None:
    """Check labels, with their key in the error."""
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
    if not len(bad):
        return
    if values.ndim == 1:
        raise ValueError(
            f"Structure {bad[0]} has an energy ({key!r}) that is NaN or infinite: correct or "
            "remove it."
        )
    k = int(np.searchsorted(np.cumsum(size), bad[0], side="right"))
    raise ValueError(
        f"Structure {k}, atom {bad[0] - size[:k].sum()} has a force ({key!r}) that is NaN or "
        "infinite: correct or remove it."
    )

"""Measure a claim: run its recipe over the seeds of a profile, and write what it gave.

Profiles: "quick" tries the mechanics (at most a minute, never a verdict), "cpu" is sized for half
an hour on two cores, "night" for hours on them, "full" for one GPU. Each seed's result is kept in
`out`, so that an interrupted run continues with the seed it was at, and so are the models that
several recipes start from (`keep`). A claim's `checkpoints` are such models of seed 0, handed on
with their provenance for `scdlab.load_pretrained`: `scdlab claims run ID --profile P --checkpoints
data/checkpoints`.
"""

import contextlib
import dataclasses
import datetime
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

import scdlab
from scdlab import files
from scdlab.devices import checked_device
from scdlab.locks import locked, locked_in_turn
from scdlab.log import show

from . import provenance
from .claim import Claim, Settings, claims, get, seeds_of
from .kept import Bench, lend, models_folder, read_kept, write_kept
from .record import OutdatedRecord, Record, load_record, number, record_path, summarize


def run(
    claim_id: str,
    profile: str = "quick",
    seeds: Iterable[int] | None = None,
    device: str = "auto",
    out: str | Path = "runs/claims",
    allow_dirty: bool = False,
    checkpoints: str | Path | None = None,
    echo: Callable[[str], object] = show,
) -> Record:
    """Run a claim's recipe over its seeds and, but for "quick", write the record.

    Parameters
    ----------
    claim_id : str
        The claim's id.
    profile : {"quick", "cpu", "night", "full"}, default "quick"
        Which settings.
    seeds : iterable of int, optional
        Which seeds to run; all of the profile's by default. A record is written once all have been
        measured, so a long profile may be run a few seeds at a time.
    device : {"auto", "cpu", "cuda"}, default "auto"
        As in `scdlab.fit`.
    out : path, default "runs/claims"
        Folder where each seed's result is kept. A result is reused while settings, torch and the
        code that decides it (`provenance.deciding_digest`) are the same.
    allow_dirty : bool, default False
        Run although the working tree has uncommitted changes; the record is then returned, not
        written.
    checkpoints : path, optional
        Folder for the claim's `checkpoints`, the models of seed 0 that its recipe keeps; nowhere by
        default.
    echo : callable (str) -> None, optional
        Called with each line of progress; printed by default.

    Returns
    -------
    Record
        What was measured.

    Raises
    ------
    ValueError
        Unknown claim or profile, seeds that the profile does not have, checkpoints of a claim or
        profile that has none, a record that no longer fits its claim and was not withdrawn, or a
        recipe that gives other numbers than the claim's quantities, or one that is not finite.
    TypeError
        An argument of another kind.
    OSError
        The folder cannot be written, or another run measures this seed there (Busy).
    RuntimeError
        The tree has uncommitted changes (or is no git checkout) and the profile would be recorded,
        or the source was edited meanwhile.
    """
    claim = get(claim_id)
    settings = claim.settings(profile)
    chosen = _chosen(seeds, claim, profile)
    if device != "auto":
        checked_device(device)
    if checkpoints is not None:
        _check_checkpoints(claim, profile, chosen, allow_dirty)
    commit, dirty = (None, None) if profile == "quick" else state_of_tree(allow_dirty)
    if profile != "quick" and not dirty:
        refuse_outdated(claim, profile)
    if checkpoints is not None:  # what cannot be written is known before anything is measured
        Path(checkpoints).mkdir(parents=True, exist_ok=True)
    found = {seed: measure(claim, profile, seed, device, Path(out), echo) for seed in chosen}
    every = kept_seeds(claim, profile, device, Path(out))
    complete = profile != "quick" and list(every) == seeds_of(settings)
    results = every if complete else found
    record = _record(
        claim,
        profile,
        list(results),
        list(results.values()),
        complete,
        settings=settings,
        commit=commit,
        dirty=dirty,
    )
    written = complete and not dirty
    if written:
        if not provenance.is_as_loaded(provenance.modules_of(claim.recipe)):
            raise RuntimeError(
                f"The source that decides the numbers of {claim.id!r} was edited while it was "
                "measured, so that no commit can be named: run it again."
            )
        files.write_json(record_path(claim.id, profile), dataclasses.asdict(record))
    echo(_conclusion(record, written))
    if checkpoints is not None:
        _hand_on(claim, record, results[0]["models"], Path(out), Path(checkpoints), echo)
    return record


def state_of_tree(allow_dirty: bool) -> tuple[str, bool]:
    """The commit that a record will name.

    Parameters
    ----------
    allow_dirty : bool
        Whether uncommitted changes are allowed.

    Returns
    -------
    commit : str
        The commit of the checkout.
    dirty : bool
        Whether it has uncommitted changes.

    Raises
    ------
    RuntimeError
        It has uncommitted changes that are not allowed, or this is no git checkout.
    """
    commit, dirty = provenance.checkout()
    if dirty and not allow_dirty:
        raise RuntimeError(
            "A record must name the commit it was measured on: commit your changes first, or pass"
            " --allow-dirty to run without writing the record."
        )
    return commit, dirty


def refuse_outdated(claim: Claim, profile: str) -> None:
    """Raise OutdatedRecord where a record stands in the way that belongs to the claim's history.

    Parameters
    ----------
    claim : Claim
        The claim that is to be recorded.
    profile : {"cpu", "night", "full"}
        The profile.
    """
    try:
        load_record(claim.id, profile)
    except OutdatedRecord:
        raise
    except ValueError:  # damaged: it is made again
        return


def key_of(claim: Claim, settings: Settings, device: str) -> dict[str, Any]:
    """All that decides what a seed of a claim gives, beside the seed.

    Parameters
    ----------
    claim : Claim
        The claim.
    settings : dict
        Of the profile. How many seeds it has decides no number of any.
    device : {"auto", "cpu", "cuda"}
        Where it is measured.

    Returns
    -------
    dict
        claim, settings, source, torch and device.
    """
    return {
        "claim": claim.id,
        "settings": {name: value for name, value in settings.items() if name != "seeds"},
        "source": provenance.deciding_digest(provenance.modules_of(claim.recipe)),
        "torch": torch.__version__,
        "device": provenance.hardware_of(device)["gpu"] or "cpu",
    }


def kept_seeds(claim: Claim, profile: str, device: str, out: Path) -> dict[int, dict[str, Any]]:
    """The seeds of a profile that have been measured.

    Parameters
    ----------
    claim : Claim
        The claim.
    profile : {"quick", "cpu", "night", "full"}
        The profile.
    device : {"auto", "cpu", "cuda"}
        Where they were measured.
    out : Path
        Folder where results are kept.

    Returns
    -------
    dict
        Seed -> its result: key, values, seconds, took, models, hardware.
    """
    settings = claim.settings(profile)
    key = key_of(claim, settings, device)
    found = {seed: _kept(claim, profile, key, seed, out) for seed in seeds_of(settings)}
    return {seed: result for seed, result in found.items() if result is not None}


def _chosen(seeds: Iterable[int] | None, claim: Claim, profile: str) -> list[int]:
    """The seeds to run, in order; ValueError for those that the profile does not have."""
    everything = seeds_of(claim.settings(profile))
    if not isinstance(seeds, Iterable | None):
        raise TypeError(f"seeds must be a list of numbers, got {seeds!r}: write seeds=[0].")
    given = everything if seeds is None else list(seeds)
    chosen = [seed for seed in everything if seed in given]
    if not chosen or any(seed not in everything for seed in given):
        raise ValueError(
            f"The seeds must be some of {everything}, those of the {profile} profile of "
            f"{claim.id!r}, got {given}: leave them out to measure all."
        )
    return chosen


def _record(
    claim: Claim,
    profile: str,
    seeds: list[int],
    results: list[dict[str, Any]],
    complete: bool,
    **origin: Any,
) -> Record:
    """The record of what the seeds gave, with its digest; `origin`: settings, commit and dirty. A
    verdict stands only where all seeds were measured."""
    values = [r["values"] for r in results]
    record = Record(
        claim=claim.id,
        profile=profile,
        seeds=seeds,
        values=values,
        seed_seconds=[r["seconds"] for r in results],
        summary=summarize(values),
        rule=claim.written_rule,
        verdict=claim.verdict(values, origin["settings"]) if complete else None,
        command=f"scdlab claims run {claim.id} --profile {profile}",
        source=provenance.source_digest(),
        versions=provenance.versions(),
        hardware=results[0]["hardware"],
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=round(sum(r["seconds"] for r in results), 1),
        **origin,
    )
    return dataclasses.replace(record, digest=files.content_digest(dataclasses.asdict(record)))


def _check_checkpoints(claim: Claim, profile: str, seeds: list[int], allow_dirty: bool) -> None:
    """Raise ValueError for a run that has no checkpoints to hand on."""
    if not claim.checkpoints or profile == "quick" or 0 not in seeds or allow_dirty:
        makers = ", ".join(c.id for c in claims() if c.checkpoints) or "none"
        raise ValueError(
            "Checkpoints are models of seed 0, profile cpu, night or full, from a clean tree, of a "
            f"claim that has any: {makers}."
        )


def _hand_on(
    claim: Claim,
    record: Record,
    kept: dict[str, str],
    out: Path,
    folder: Path,
    echo: Callable[[str], object],
) -> None:
    """Write the claim's checkpoints, models of seed 0, with their provenance."""
    for name, trained_on in claim.checkpoints.items():
        origin = {
            part: getattr(record, part)
            for part in ("claim", "profile", "settings", "commit", "source")
        }
        origin |= {
            "versions": record.versions,
            "hardware": record.hardware,
            "date": record.date,
            "seed": 0,
            "command": f"{record.command} --checkpoints data/checkpoints",
            "seen": trained_on,
        }
        tests = claim.checkpoint_tests.get(name, {})
        origin |= {entry: record.values[0][quantity] for entry, quantity in tests.items()}
        model = scdlab.load(models_folder(out) / kept[name] / "model")
        scdlab.save(model, folder / name, provenance=origin)
        echo(f"{claim.id}: {name} of seed 0 is in {folder}.")


def measure(
    claim: Claim,
    profile: str,
    seed: int,
    device: str,
    out: Path,
    echo: Callable[[str], object],
    in_turn: bool = False,
) -> dict[str, Any]:
    """One seed's result: from `out` when the same run stands there, else measured and put there.

    Parameters
    ----------
    claim : Claim
        The claim.
    profile : {"quick", "cpu", "night", "full"}
        The profile.
    seed : int
        The seed.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    out : Path
        Folder where results are kept.
    echo : callable (str) -> None
        Called with each line of progress.
    in_turn : bool, default False
        Wait for another process that measures this seed, where there is one.

    Returns
    -------
    dict
        key, values, seconds (with those of models found ready), took (without), models, hardware.

    Raises
    ------
    ValueError
        The recipe gave other numbers than the claim's quantities, or one that is not finite.
    Busy
        Another process measures this seed.
    """
    key = key_of(claim, claim.settings(profile), device)
    target = out / f"{claim.id}.{profile}.seed{seed}"
    with contextlib.ExitStack() as stack:
        if in_turn:
            stack.enter_context(locked_in_turn(target, lambda busy: echo(str(busy))))
        else:  # also: what cannot be written is known before anything is measured
            stack.enter_context(locked(target))
        kept = _kept(claim, profile, key, seed, out)
        if kept is not None:
            echo(f"{claim.id}, seed {seed}: kept from an earlier run")
            return kept
        start = time.perf_counter()
        bench = Bench(out, {part: key[part] for part in ("torch", "device")}, echo=echo)
        with lend(bench):
            measured = claim.recipe(claim.settings(profile), seed, device)
        took = time.perf_counter() - start - bench.waited
        seconds = took + bench.seconds  # those of models that were found ready as well
        result = {
            "key": key,
            "values": _checked(claim, measured),
            "seconds": round(seconds, 1),
            "took": round(took, 1),
            "models": bench.models,
            "hardware": provenance.hardware_of(device),
        }
        write_kept(_path(claim, profile, seed, out), result)
    shown = ", ".join(f"{name} = {number(result['values'][name])}" for name in claim.arms)
    echo(f"{claim.id}, seed {seed}: {shown} ({seconds:.0f} s)")
    return result


def _path(claim: Claim, profile: str, seed: int, out: Path) -> Path:
    """Where a seed's result stands."""
    return out / f"{claim.id}.{profile}.seed{seed}.json"


def _kept(
    claim: Claim, profile: str, key: dict[str, Any], seed: int, out: Path
) -> dict[str, Any] | None:
    """A seed's result as an earlier run left it; None where there is none of this key, or its
    models are gone."""
    path = _path(claim, profile, seed, out)
    if not path.is_file():
        return None
    if read_kept(path, {"key": dict})["key"] != key:
        return None
    numbers = dict.fromkeys(("seconds", "took"), float)
    kinds = {"values": dict, "models": dict, "hardware": dict, **numbers}
    kept = read_kept(path, kinds)
    there = [
        (models_folder(out) / name / "kept.json").is_file() for name in kept["models"].values()
    ]
    return kept if all(there) else None


def _checked(claim: Claim, measured: dict[str, Any]) -> dict[str, float]:
    """What a recipe gave, as finite numbers of the claim."""
    values = {name: float(value) for name, value in measured.items()}
    if set(values) != set(claim.quantities):
        raise ValueError(
            f"The recipe of {claim.id!r} gave {sorted(values)}; the claim names "
            f"{sorted(claim.quantities)}."
        )
    if bad := [name for name, value in values.items() if not math.isfinite(value)]:
        raise ValueError(
            f"The recipe of {claim.id!r} gave values that are not finite: {', '.join(bad)}."
        )
    return values


def _conclusion(record: Record, written: bool) -> str:
    """One sentence on what was measured, and whether it was recorded."""
    if written:
        return f"{record.claim}: {record.verdict}; recorded for the {record.profile} profile."
    if record.profile == "quick":
        return f"{record.claim}: the recipe works; the quick profile gives no verdict."
    if record.verdict is None:
        return (
            f"{record.claim}: seeds {record.seeds} measured; the record is written when all of the "
            "profile's are."
        )
    return (
        f"{record.claim}: {record.verdict}; not recorded, since the tree has uncommitted changes."
    )

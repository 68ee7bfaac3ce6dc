"""What a night would measure: claims in the order of their worth for an hour, and what fits."""

import dataclasses
import heapq
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .claim import PROFILES, RECORDED, Claim, claims, get, seeds_of
from .measure import kept_seeds
from .record import OutdatedRecord, load_record
from .show import Table


@dataclasses.dataclass
class Entry:
    """A claim of a night.

    Parameters
    ----------
    claim : Claim
        The claim.
    left : list of int
        Seeds that have not been measured.
    seconds : float or None
        Estimate for one seed: the mean of those measured, else from the claim's hours; None where
        neither is there.
    problem : str, default ""
        Why it is skipped: one sentence with the remedy.
    """

    claim: Claim
    left: list[int]
    seconds: float | None
    problem: str = ""

    @property
    def rank(self) -> tuple[float, float, int]:
        """Sorts a night: worth for an hour that is left, most first; unknown durations last."""
        if self.seconds is None:
            return 1.0, 0.0, -self.claim.worth
        hours = self.seconds * len(self.left) / 3600
        return 0.0, -self.claim.worth / hours if hours else -math.inf, -self.claim.worth


def entries_of(
    ids: Iterable[str], profile: str, device: str, out: Path, dirty: bool = False
) -> list[Entry]:
    """The claims of a night, in the order in which they are taken.

    Parameters
    ----------
    ids : iterable of str
        The claims; when empty, all that have the profile and no valid record of it.
    profile : {"cpu", "night", "full"}
        The profile.
    device : {"auto", "cpu", "cuda"}
        Where they are measured.
    out : Path
        Folder where results are kept.
    dirty : bool, default False
        Whether nothing will be recorded.

    Returns
    -------
    list of Entry
        One for each claim.

    Raises
    ------
    ValueError
        Unknown claim or profile, a claim that has no settings for it, or no claim at all.
    """
    if profile not in RECORDED:
        known = profile in PROFILES
        why = "the quick profile is never recorded" if known else f"there is none called {profile}"
        raise ValueError(
            f"A night measures one of the profiles {', '.join(RECORDED)}, got {profile!r}: {why}."
        )
    chosen = [get(claim_id) for claim_id in dict.fromkeys(ids)]
    for claim in chosen:
        claim.settings(profile)
    named = bool(chosen)
    if not named:
        chosen = [claim for claim in claims() if profile in claim.profiles]
        if not chosen:
            raise ValueError(
                f"No claim has settings for the profile {profile!r}: choose another profile."
            )
    found = []
    for claim in chosen:
        problem = ""
        try:
            if load_record(claim.id, profile) and not named:
                continue
        except OutdatedRecord as error:
            problem = "" if dirty else str(error)
        except ValueError:  # damaged: it is made again
            pass
        found.append(_entry(claim, profile, device, out, problem))
    return sorted(found, key=lambda entry: entry.rank)


def _entry(claim: Claim, profile: str, device: str, out: Path, problem: str) -> Entry:
    seeds = seeds_of(claim.settings(profile))
    hours = claim.hours.get(profile)
    seconds = None if hours is None else 3600 * hours / len(seeds)
    kept: dict[int, dict[str, Any]] = {}
    try:
        kept = kept_seeds(claim, profile, device, out)
    except ValueError as error:  # a kept result that is damaged
        problem = problem or str(error)
    if kept:
        seconds = sum(result["took"] for result in kept.values()) / len(kept)
    return Entry(claim, [seed for seed in seeds if seed not in kept], seconds, problem)


def fits(seconds: float | None, remaining: float) -> bool:
    """Whether a seed would end in time; one of unknown duration is tried.

    Parameters
    ----------
    seconds : float or None
        Estimate for the seed.
    remaining : float
        Seconds until the night ends.

    Returns
    -------
    bool
        Whether to start it.
    """
    return remaining > 0 and (seconds is None or seconds <= remaining)


def forecast(entries: list[Entry], hours: float | None, jobs: int) -> list[tuple[int, float]]:
    """What a night would come to if all estimates were right.

    Parameters
    ----------
    entries : list of Entry
        In the order in which they are taken.
    hours : float or None
        How long it may take; None for no limit.
    jobs : int
        Processes side by side.

    Returns
    -------
    list of (int, float)
        For each entry: how many of its seeds would be measured, and when the last of them would
        end, in seconds from now; NaN where no duration is known.
    """
    limit = math.inf if hours is None else 3600 * hours
    waiting = [(k, e.seconds) for k, e in enumerate(entries) for _ in e.left if not e.problem]
    free = [0.0] * min(jobs, max(1, len(waiting)))  # when each process is free
    count = [0] * len(entries)
    end = [0.0] * len(entries)
    while waiting:
        now = heapq.heappop(free)
        each = next((each for each in waiting if fits(each[1], limit - now)), None)
        if each is None:
            break
        waiting.remove(each)
        k, seconds = each
        heapq.heappush(free, now + (seconds or 0.0))
        count[k] += 1
        end[k] = math.nan if seconds is None else max(end[k], now + seconds)
    return list(zip(count, end, strict=True))


def plan_table(entries: list[Entry], profile: str, hours: float | None, jobs: int) -> Table:
    """What a night would measure, and what fits.

    Parameters
    ----------
    entries : list of Entry
        In the order in which they are taken.
    profile : {"cpu", "night", "full"}
        The profile.
    hours : float or None
        How long it may take; None for no limit.
    jobs : int
        Processes side by side.

    Returns
    -------
    Table
        A row for each claim.
    """
    rows = []
    total = 0.0
    unknown = False
    for entry, (count, end) in zip(entries, forecast(entries, hours, jobs), strict=True):
        needed = None if entry.seconds is None else entry.seconds * len(entry.left) / 3600
        if entry.problem:
            outlook = "skipped"
        elif not entry.left:
            outlook = "measured; its record is written"
        elif count == 0:
            outlook = "does not fit"
        elif count < len(entry.left):
            outlook = f"{count} of {len(entry.left)} seeds fit"
        else:
            outlook = "fits, no estimate" if math.isnan(end) else f"ends after {clock(end)}"
        if not entry.problem:
            total += needed or 0.0
            unknown = unknown or needed is None
        rows.append(
            (
                entry.claim.id,
                outlook,
                "?" if needed is None else f"{needed:.2f}",
                str(entry.claim.worth),
                f"{len(entry.left)} of {len(seeds_of(entry.claim.settings(profile)))}",
            )
        )
    limit = "no limit" if hours is None else f"{hours:g} h"
    note = (
        f"{total:.2f} core hours{' and what has no estimate' if unknown else ''} are left; "
        f"{limit}, {jobs} side by side."
    )
    columns = ("claim", "estimate", "core hours", "worth", "seeds left")
    return Table(f"Profile {profile}: what is to be measured", columns, tuple(rows), note)


def clock(seconds: float) -> str:
    """A duration in hours and minutes, or in seconds below a minute.

    Parameters
    ----------
    seconds : float
        The duration.

    Returns
    -------
    str
        Such as "1:05 h".
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"

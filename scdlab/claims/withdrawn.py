"""Records that were withdrawn: what was measured of a claim or a method before it changed.

`scdlab claims withdraw ID --reason TEXT` moves a record into `records/withdrawn`, as
ID.PROFILE.DATE.json: the record as it was, the reason and the date, with a digest over all of it.
It is never edited and never deleted; `scdlab claims --history` shows what stands there. A withdrawn
record is checked like any other, but against its own rule: that of the claim may have changed.
"""

import datetime
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scdlab import files

from . import record as records
from .claim import RECORDED, REGISTRY, claims, get
from .record import Record, basic_problems, own_problems
from .show import Table, unit

_ENTRIES = {"record", "reason", "withdrawn", "digest"}


class Withdrawn(NamedTuple):
    """A record that was withdrawn.

    Attributes
    ----------
    record : Record
        What had been recorded.
    reason : str
        Why it was withdrawn.
    date : str
        When, UTC.
    """

    record: Record
    reason: str
    date: str


def folder() -> Path:
    """Where withdrawn records stand.

    Returns
    -------
    Path
        The folder, there or not.
    """
    return records.RECORDS / "withdrawn"


def withdraw(claim_ids: Iterable[str], reason: str, profile: str | None = None) -> list[Path]:
    """Move records of claims to those that were withdrawn: all of them, or none.

    A claim that is no longer in the ledger may still have a record to withdraw.

    Parameters
    ----------
    claim_ids : iterable of str
        The claims.
    reason : str
        Why: what has changed since they were measured.
    profile : {"cpu", "night", "full"}, optional
        The profile whose records are withdrawn; all that are there by default.

    Returns
    -------
    list of Path
        The new files.

    Raises
    ------
    ValueError
        No reason, an unknown claim or profile, a claim without a record, or a record that was
        edited by hand.
    TypeError
        An argument of another kind.
    """
    reason = _checked_reason(reason)
    if isinstance(claim_ids, str) or not isinstance(claim_ids, Iterable):
        raise TypeError(f"Claims are given as a list of names, got {claim_ids!r}.")
    if profile is not None and profile not in RECORDED:
        raise ValueError(
            f"A record is one of the profiles {', '.join(RECORDED)}, got {profile!r}: choose one."
        )
    found: dict[Path, dict[str, Any]] = {}
    for claim_id in claim_ids:
        for path in _records_of(claim_id, profile):
            found[path] = _read_record(path, claim_id)
    if not found:
        raise ValueError("Name the claims whose records are withdrawn: see `scdlab claims`.")
    now = datetime.datetime.now(datetime.UTC)
    written = []
    for path, content in found.items():
        target = _kept_before(path.stem, content) or folder() / (
            f"{path.stem}.{now:%Y-%m-%dT%H%M%SZ}.json"
        )
        if not target.is_file():  # else an earlier attempt was cut short between these two steps
            about = {"record": content, "reason": reason, "withdrawn": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
            target.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(target, about | {"digest": files.content_digest(about)})
        path.unlink()
        written.append(target)
    return written


def _checked_reason(reason: str) -> str:
    if not isinstance(reason, str):
        raise TypeError(f"The reason must be text, got {reason!r}.")
    reason = " ".join(reason.split())
    if not reason:
        raise ValueError(
            "A record is withdrawn for a reason, got none: say what has changed since it was "
            "measured."
        )
    if files.has_absolute_path(reason):
        raise ValueError(
            f"The reason must hold no path of this machine, got {reason!r}: name what has changed "
            "in words."
        )
    return reason


def _records_of(claim_id: str, profile: str | None) -> list[Path]:
    """Files of a claim's records; ValueError where there are none."""
    if not isinstance(claim_id, str):
        raise TypeError(f"A claim is named by text, got {claim_id!r}: see `scdlab claims`.")
    names = {f"{claim_id}.{each}.json" for each in RECORDED if profile in (None, each)}
    there = sorted(path for path in records.RECORDS.glob("*.json") if path.name in names)
    if not there:
        get(claim_id)  # it may be misspelled
        of = f" of the profile {profile}" if profile else ""
        raise ValueError(
            f"The claim {claim_id!r} has no record{of} to withdraw: `scdlab claims` shows what is "
            "recorded, `scdlab claims --history` what was withdrawn."
        )
    return there


def _read_record(path: Path, claim_id: str) -> dict[str, Any]:
    again = "only what `run` wrote is kept as history: restore it, or remove it"
    content = files.read_json(path, "record", again)
    wrong = basic_problems(content) or own_problems(content)
    if not wrong and f"{content['claim']}.{content['profile']}.json" != path.name:
        wrong = [f"it is the record of {content['claim']}.{content['profile']}"]
    if wrong:
        raise ValueError(
            f"The record {path.name} of {claim_id!r} cannot be withdrawn ({wrong[0]}): {again}."
        )
    return content


def _kept_before(stem: str, content: Mapping[str, Any]) -> Path | None:
    """The file of this very record among those withdrawn."""
    for path in sorted(folder().glob(f"{stem}.*.json")):
        if read_withdrawn(path).record.digest == content["digest"]:
            return path
    return None


def read_withdrawn(path: Path) -> Withdrawn:
    """A withdrawn record, checked.

    Parameters
    ----------
    path : Path
        The json file.

    Returns
    -------
    Withdrawn
        What it holds.

    Raises
    ------
    ValueError
        It is damaged, or was edited by hand.
    """
    again = "restore it from the history of the repository"
    content = files.read_json(path, "withdrawn record", again)
    wrong = problems_of_withdrawn(content)
    if not wrong:
        about = content["record"]
        name = rf"{re.escape(about['claim'])}\.{about['profile']}\.\d{{4}}-\d\d-\d\dT\d{{6}}Z\.json"
        if not re.fullmatch(name, path.name):
            wrong = ["its name is not that of its record"]
    if wrong:
        raise ValueError(
            f"The withdrawn record {path.name} cannot be trusted ({wrong[0]}): {again}."
        )
    return Withdrawn(Record(**content["record"]), content["reason"], content["withdrawn"])


def problems_of_withdrawn(content: dict[str, Any]) -> list[str]:
    """What is wrong with the content of a withdrawn record.

    Parameters
    ----------
    content : dict
        What the json file holds.

    Returns
    -------
    list of str
        Problems, most basic first; an empty list when it can be trusted.
    """
    if set(content) != _ENTRIES or not isinstance(content["record"], dict):
        return ["its entries are not record, reason, withdrawn and digest"]
    if content["digest"] != files.content_digest(content):
        return ["its digest does not match its content: it was edited by hand"]
    reason = content["reason"]
    if not isinstance(reason, str) or not reason.strip() or files.has_absolute_path(reason):
        return ["its reason is no text, empty, or holds a path of a machine"]
    date = content["withdrawn"]
    if not isinstance(date, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", date):
        return ["it does not say when it was withdrawn"]
    return basic_problems(content["record"]) or own_problems(content["record"])


def withdrawn(lesson: int | None = None) -> list[Withdrawn]:
    """All records that were withdrawn, in the order of the claims, then of their dates.

    Parameters
    ----------
    lesson : int, optional
        Only those of this lesson's claims; all by default, also of claims that are gone.

    Returns
    -------
    list of Withdrawn
        The records.

    Raises
    ------
    ValueError
        One is damaged, or was edited by hand.
    """
    order = {claim.id: k for k, claim in enumerate(claims())}
    found = [read_withdrawn(path) for path in sorted(folder().glob("*.json"))]
    if lesson is not None:
        found = [
            each
            for each in found
            if each.record.claim in REGISTRY and get(each.record.claim).lesson == lesson
        ]
    return sorted(found, key=lambda each: (order.get(each.record.claim, len(order)), each.date))


def history(lesson: int | None = None) -> Table:
    """Every record that was withdrawn: what it said, and why it no longer stands.

    Parameters
    ----------
    lesson : int, optional
        Only those of this lesson's claims; all by default.

    Returns
    -------
    Table
        A row for each.
    """
    rows = []
    for each in withdrawn(lesson):
        record = each.record
        claim = REGISTRY.get(record.claim)
        names = list(record.summary)[:2]
        if claim is not None and set(claim.arms) <= set(record.summary):
            names = claim.arms
        meanings = {name: name for name in names} | (claim.quantities if claim else {})
        arms = [f"{meanings[name]}: {record.text(name)} {unit(name)}".rstrip() for name in names]
        rows.append(
            (
                f"{record.claim}\n{claim.title if claim else 'no claim any more'}",
                "\n".join([*arms, f"({record.where}, commit {(record.commit or '')[:7]})"]),
                f"{each.date[:10]}: {each.reason}",
                str(record.verdict),
            )
        )
    columns = ("claim", "recorded, mean ± std", "withdrawn", "verdict then")
    note = "" if rows else "No record was withdrawn."
    return Table("Claims: records that were withdrawn", columns, tuple(rows), note)

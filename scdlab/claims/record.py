"""A record: what one profile of a claim's recipe gave, with everything needed to judge it later.

Records are json files written only by `run` (`scdlab claims run ID --profile P`). They hold
command, commit, digest of the source, versions, hardware and date, and carry a sha256 digest of
their own content, so that an edit by hand is found.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scdlab import files

from .claim import RECORDED, REGISTRY, Values, get, seeds_of

_TYPES: dict[str, tuple[type, ...]] = {
    "claim": (str,),
    "profile": (str,),
    "settings": (dict,),
    "seeds": (list,),
    "values": (list,),
    "seed_seconds": (list,),
    "summary": (dict,),
    "rule": (str,),
    "verdict": (str, type(None)),
    "command": (str,),
    "commit": (str, type(None)),
    "dirty": (bool, type(None)),
    "source": (str,),
    "versions": (dict,),
    "hardware": (dict,),
    "date": (str,),
    "seconds": (int, float),
    "digest": (str,),
}
RECORDS = Path(__file__).resolve().parent / "records"


@dataclasses.dataclass(frozen=True)
class Record:
    """What one profile of a claim's recipe gave.

    Parameters
    ----------
    claim : str
        The claim's id.
    profile : {"quick", "cpu", "night", "full"}
        The profile that was run.
    settings : dict
        The recipe's settings.
    seeds : list of int
        The seeds that were measured.
    values : list of dict
        For each seed: name of a quantity -> value.
    seed_seconds : list of float
        For each seed: seconds, those of the models that it shares with others included.
    summary : dict
        Name -> mean, std, min and max over seeds.
    rule : str
        The claim's rule, its precondition included.
    verdict : str or None
        One of VERDICTS; None for mechanics only (the quick profile, few seeds).
    command : str
        The command that measures it again.
    commit : str or None
        Commit of the checkout.
    dirty : bool or None
        Whether the checkout had uncommitted changes.
    source : str
        Digest of the package's source.
    versions : dict
        Package -> version.
    hardware : dict
        As `hardware_of` gives it.
    date : str
        When it was measured, UTC.
    seconds : float
        Seconds of all seeds.
    digest : str
        sha256 of all else.
    """

    claim: str
    profile: str
    settings: dict[str, Any]
    seeds: list[int]
    values: list[Values]
    seed_seconds: list[float]
    summary: dict[str, dict[str, float]]
    rule: str
    verdict: str | None
    command: str
    commit: str | None
    dirty: bool | None
    source: str
    versions: dict[str, str]
    hardware: dict[str, Any]
    date: str
    seconds: float
    digest: str = ""

    def text(self, name: str) -> str:
        """A quantity's mean ± standard deviation over seeds.

        Parameters
        ----------
        name : str
            One of the claim's quantities.

        Returns
        -------
        str
            Such as "1.23 ± 0.04".
        """
        s = self.summary[name]
        return number(s["mean"]) + (f" ± {number(s['std'], 2)}" if len(self.seeds) > 1 else "")

    @property
    def where(self) -> str:
        """Profile and hardware, short enough for a table."""
        h = self.hardware
        return (
            f"{self.profile}, {h['gpu'] or str(h['cores']) + ' cores'}, {len(self.seeds)} seeds, "
            f"{self.date[:10]}"
        )


def number(x: float, digits: int = 3) -> str:
    """A number as text, without an exponent for everyday sizes.

    Parameters
    ----------
    x : float
        The number.
    digits : int, default 3
        Significant digits.

    Returns
    -------
    str
        The text.
    """
    if x == 0:
        return "0"
    if not math.isfinite(x):
        return str(float(x))
    mantissa, exponent = f"{x:.{digits - 1}e}".split("e")
    if not -3 <= int(exponent) < 5:
        return f"{mantissa}e{exponent}"
    return f"{x:,.{max(0, digits - 1 - int(exponent))}f}"


def summarize(values: Sequence[Values]) -> dict[str, dict[str, float]]:
    """Statistics over seeds.

    Parameters
    ----------
    values : sequence of dict
        For each seed: name of a quantity -> value.

    Returns
    -------
    dict
        Name -> mean, std (n - 1; 0 for one seed), min and max.
    """
    summary = {}
    for name in values[0]:
        x = np.array([v[name] for v in values])
        std = x.std(ddof=1) if len(x) > 1 else 0.0
        summary[name] = {
            "mean": float(x.mean()),
            "std": float(std),
            "min": float(x.min()),
            "max": float(x.max()),
        }
    return summary


def record_path(claim_id: str, profile: str) -> Path:
    """Where a record stands.

    Parameters
    ----------
    claim_id : str
        The claim's id.
    profile : {"cpu", "night", "full"}
        The profile.

    Returns
    -------
    Path
        The json file, there or not.
    """
    return RECORDS / f"{claim_id}.{profile}.json"


class OutdatedRecord(ValueError):
    """A record whose claim has changed since it was measured."""


def load_record(claim_id: str, profile: str | None = None) -> Record | None:
    """The record of a claim.

    Parameters
    ----------
    claim_id : str
        The claim's id.
    profile : {"cpu", "night", "full"}, optional
        The profile; by default the largest that was recorded: full before night before cpu.

    Returns
    -------
    Record or None
        The record, None when there is none.

    Raises
    ------
    OutdatedRecord
        The claim's settings, rule or quantities have changed since it was measured.
    ValueError
        The record is damaged: see `problems`.
    """
    for name in reversed(RECORDED) if profile is None else (profile,):
        path = record_path(claim_id, name)
        if path.is_file():
            again = f"`scdlab claims run {claim_id} --profile {name}`"
            content = files.read_json(path, "record", f"remake it with {again}")
            wrong = problems(content)
            fits = basic_problems(content) or content["claim"] != claim_id or not misfits(content)
            if not fits:
                raise OutdatedRecord(
                    f"The record {path.name} no longer fits its claim ({wrong[0]}): keep it as "
                    f'history with `scdlab claims withdraw {claim_id} --reason "…"`, and measure '
                    f"again with {again}."
                )
            if not wrong and (content["claim"], content["profile"]) != (claim_id, name):
                wrong = [
                    f"it is the record of {content['claim']}.{content['profile']} under another "
                    "name"
                ]
            if wrong:
                raise ValueError(
                    f"The record {path.name} cannot be trusted ({wrong[0]}): remake it with "
                    f"{again}."
                )
            return Record(**content)
    return None


def problems(content: dict[str, Any]) -> list[str]:
    """What is wrong with a record's content.

    Parameters
    ----------
    content : dict
        What the json file holds.

    Returns
    -------
    list of str
        Problems, most basic first; an empty list when the record can be trusted.
    """
    if wrong := basic_problems(content):
        return wrong
    if wrong := misfits(content):
        return wrong
    wrong = own_problems(content)
    if not wrong and content["verdict"] != get(content["claim"]).verdict(
        content["values"], content["settings"]
    ):
        wrong.append("its verdict disagrees with the rule applied to its values")
    return wrong


def basic_problems(content: dict[str, Any]) -> list[str]:
    """Why some content is that of no record, or of one that was edited.

    Parameters
    ----------
    content : dict
        What the json file holds.

    Returns
    -------
    list of str
        Problems; an empty list where it is a record as `run` wrote it.
    """
    fields = {f.name for f in dataclasses.fields(Record)}
    if set(content) != fields:
        return [
            "its fields are not those of a record (missing or unknown: "
            f"{', '.join(name[:40] for name in sorted(fields ^ set(content))[:8])})"
        ]
    if wrong := _type_problems(content):
        return wrong
    if content["digest"] != files.content_digest(content):
        return ["its digest does not match its content: it was edited by hand"]
    if content["profile"] not in RECORDED:
        return [f"the profile {content['profile']!r} is never recorded"]
    return []


def misfits(content: dict[str, Any]) -> list[str]:
    """What about a record is no longer what its claim states.

    Parameters
    ----------
    content : dict
        A record without basic problems.

    Returns
    -------
    list of str
        Problems; an empty list where the claim is still the one that was measured.
    """
    if content["claim"] not in REGISTRY:
        return [f"there is no claim {content['claim']!r}"]
    claim = get(content["claim"])
    if content["profile"] not in claim.profiles:
        return [f"the claim has no settings for the profile {content['profile']!r} any more"]
    if content["settings"] != claim.settings(content["profile"]):
        return ["the recipe's settings have changed since it was measured"]
    if content["rule"] != claim.written_rule:
        return ["the rule has changed since it was measured"]
    if any(set(v) != set(claim.quantities) for v in content["values"]):
        return ["its quantities are not the claim's"]
    return []


def own_problems(content: dict[str, Any]) -> list[str]:
    """What is wrong with a record by itself, whatever its claim states now.

    Parameters
    ----------
    content : dict
        A record without basic problems.

    Returns
    -------
    list of str
        Problems with its origin, its seeds and its summary.
    """
    wrong = _origin_problems(content)
    values = content["values"]
    seeds = content["seeds"]
    asked = content["settings"].get("seeds")
    named = seeds_of(content["settings"]) if isinstance(asked, int | list) else []
    if not values or seeds != named or len(values) != len(seeds):
        wrong.append("it does not hold every seed of its profile")
    elif any(set(v) != set(values[0]) for v in values):
        wrong.append("its seeds do not have the same quantities")
    elif not _same_numbers(content["summary"], summarize(values)):
        wrong.append("its summary disagrees with its values")
    if not content["verdict"]:
        wrong.append("it has no verdict")
    return wrong


def _type_problems(content: dict[str, Any]) -> list[str]:
    """Entries of another type than a record's, or of another length than its seeds."""
    wrong = [
        f"its {name} is a {type(content[name]).__name__}"
        for name, kinds in _TYPES.items()
        if not isinstance(content[name], kinds)
        or (isinstance(content[name], bool) and bool not in kinds)
    ]
    if wrong:
        return wrong
    rows = [*content["values"], *content["summary"].values()]
    if not all(isinstance(row, dict) and all(map(_is_number, row.values())) for row in rows):
        wrong.append("its values or its summary hold what is no finite number")
    if not all(map(_is_number, [*content["seed_seconds"], *content["seeds"]])):
        wrong.append("its seeds or their seconds hold what is no finite number")
    if len(content["seed_seconds"]) != len(content["seeds"]):
        wrong.append("it does not hold the seconds of every seed")
    if content["hardware"] and not {"gpu", "cores"} <= content["hardware"].keys():
        wrong.append("its hardware names no cores or no gpu")
    return wrong


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _origin_problems(content: dict[str, Any]) -> list[str]:
    """What is wrong with where a record comes from."""
    wrong = []
    if not re.fullmatch(r"[0-9a-f]{40}", content["commit"] or "") or content["dirty"] is not False:
        wrong.append("it names no commit of a clean tree")
    for part in ("command", "source", "versions", "hardware", "date", "seconds"):
        if content[part] in (None, "", {}):
            wrong.append(f"its {part} is empty")
    if files.has_absolute_path(content):
        wrong.append("it holds a path of the machine it was made on")
    return wrong


def _same_numbers(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two summaries agree up to the rounding of another processor."""
    return a.keys() == b.keys() and all(
        a[name].keys() == b[name].keys()
        and all(math.isclose(a[name][k], b[name][k], rel_tol=1e-9, abs_tol=1e-12) for k in b[name])
        for name in b
    )

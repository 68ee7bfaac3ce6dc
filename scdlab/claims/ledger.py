"""The ledger: what a paper claims, the recipe that tests it here, and what was measured.

A `Claim` is written down before anything is measured: the paper's statement and number, a recipe
built from the public names of `scdlab`, and the rule that turns measured values into a verdict. A
`Record` is what one profile of the recipe gave, over several seeds, with everything needed to judge
it later: command, commit, digest of the source, versions, hardware, date. Records are json files
written only by `run` (`scdlab claims run ID --profile P`) and carry a sha256 digest of their own
content, so that an edit by hand is found.

Profiles: "quick" tries the mechanics (at most a minute, never a verdict), "cpu" is sized for two
cores, "full" for one GPU. Each seed's result is kept in `out`, so that an interrupted run continues
with the seed it was at, and so are the models that several recipes start from (`keep`). A claim's
`checkpoints` are such models of seed 0, handed on with their provenance for
`scdlab.load_pretrained`: `scdlab claims run ID --profile P --checkpoints data/checkpoints`.

Verdicts: *reproduced* (the paper's statement holds as the paper puts it), *same direction* (the
effect has the paper's sign under a weaker contrast or at a smaller scale), *tie* (the difference is
within the seeds' spread), *not seen at this scale* (the opposite, far from the paper's conditions),
*contradicted* (the opposite, under its conditions).
"""

import contextlib
import contextvars
import dataclasses
import datetime
import difflib
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch

import scdlab
from scdlab import files

PROFILES = ("quick", "cpu", "full")
VERDICTS = ("reproduced", "same direction", "not seen at this scale", "contradicted", "tie")
RECORDS = Path(__file__).resolve().parent / "records"
_PACKAGES = ("torch", "torch-geometric", "numpy", "ase", "lightning-fabric")
_CLAIMS: dict[str, "Claim"] = {}


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement of a paper and how it is tested here.

    Attributes:
        id: short name, words joined by "-".
        lesson: number of the lesson that teaches it.
        title: the statement, one sentence.
        source: paper, and where in it.
        paper: the paper's number and conditions, in words; through `recalled` when it was not
            looked up.
        quantities: name -> description of every number the recipe gives; units end the name. The
            first two are the arms that the claim compares, the better one first.
        paper_values: name -> the paper's value as text, for the quantities that have one.
        rule: how values become a verdict, in words, written before the measurement.
        judge: the same in code: (values: name -> float64 [seeds], settings) -> one of VERDICTS.
        recipe: (settings, seed, device) -> name -> float, for one seed.
        profiles: profile -> settings of the recipe; "seeds" (how many) is read by the ledger.
        checkpoints: name of a model that the recipe keeps -> which structures it has seen, and
            which it has not.
    """

    id: str
    lesson: int
    title: str
    source: str
    paper: str
    quantities: dict[str, str]
    rule: str
    judge: Callable
    recipe: Callable
    profiles: dict[str, dict]
    paper_values: dict[str, str] = dataclasses.field(default_factory=dict)
    checkpoints: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if set(self.profiles) != set(PROFILES):
            raise ValueError(
                f"claim {self.id!r}: needs settings for each of {', '.join(PROFILES)}."
            )
        if unknown := set(self.paper_values) - set(self.quantities):
            raise ValueError(
                f"claim {self.id!r}: paper_values names unknown quantities {sorted(unknown)}."
            )

    @property
    def arms(self) -> list[str]:
        """The first two quantities: what the claim compares."""
        return list(self.quantities)[:2]

    def settings(self, profile: str) -> dict:
        """The recipe's settings under `profile`, as they come back from json (tuples are lists)."""
        if profile not in PROFILES:
            raise ValueError(
                f"There is no profile {profile!r}; choose one of {', '.join(PROFILES)}."
            )
        return json.loads(json.dumps(self.profiles[profile]))

    def verdict(self, values: list[dict], settings: dict) -> str:
        """The verdict of the rule on `values`, one dict of floats per seed."""
        verdict = self.judge(
            {name: np.array([v[name] for v in values]) for name in self.quantities}, settings
        )
        if verdict not in VERDICTS:
            raise ValueError(
                f"claim {self.id!r}: judge gave {verdict!r}, which is none of "
                f"{', '.join(VERDICTS)}."
            )
        return verdict


@dataclasses.dataclass(frozen=True)
class Record:
    """What one profile of a claim's recipe gave. `verdict` is None for mechanics only: the quick
    profile, few seeds."""

    claim: str
    profile: str
    settings: dict
    seeds: list[int]
    values: list[dict]  # per seed: name -> float
    seed_seconds: list[float]
    summary: dict  # name -> {mean, std, min, max} over seeds
    rule: str
    verdict: str | None
    command: str
    commit: str | None
    dirty: bool | None
    source: str  # digest of the package's source
    versions: dict
    hardware: dict
    date: str
    seconds: float
    digest: str = ""

    def text(self, name: str) -> str:
        """A quantity's mean ± standard deviation over seeds."""
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


def recalled(text: str) -> str:
    """A number of a paper that was written from memory: says so wherever it is printed."""
    return f"{text} (recalled, unverified)"


def register(claim: Claim) -> Claim:
    """Add `claim` to the ledger. ValueError when its id is taken."""
    if claim.id in _CLAIMS:
        raise ValueError(f"There is already a claim {claim.id!r}.")
    _CLAIMS[claim.id] = claim
    return claim


def claims() -> list[Claim]:
    """Every claim, in the order of the lessons."""
    return sorted(_CLAIMS.values(), key=lambda c: c.lesson)


def get(claim_id: str) -> Claim:
    """The claim called `claim_id`. ValueError naming the nearest one when there is none."""
    if claim_id in _CLAIMS:
        return _CLAIMS[claim_id]
    near = difflib.get_close_matches(claim_id, _CLAIMS, n=1, cutoff=0)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"There is no claim {claim_id!r}{hint} `scdlab claims` lists them all.")


def direction(better, worse) -> str:
    """Which way the gap between two arms points: "paper" (`better` is lower), "opposite" or "tie".

    `better` and `worse` [seeds] are errors of the arm that should win and of the other, seed by
    seed. A direction is seen when every seed shows it and the mean gap exceeds the standard
    deviation of the gap over seeds.
    """
    gap = np.asarray(worse, float) - np.asarray(better, float)
    spread = gap.std(ddof=1) if len(gap) > 1 else np.inf  # one seed has no spread to compare with
    if abs(gap.mean()) <= spread or not (np.all(gap > 0) or np.all(gap < 0)):
        return "tie"
    return "paper" if gap.mean() > 0 else "opposite"


def graded(seen: str, at_scale: bool) -> str:
    """The verdict on a `direction` that was seen. at_scale: whether it was tested at the paper's
    own scale."""
    if seen == "paper":
        return "reproduced" if at_scale else "same direction"
    if seen == "opposite":
        return "contradicted" if at_scale else "not seen at this scale"
    return "tie"


def run(
    claim_id,
    profile="quick",
    seeds=None,
    device="auto",
    out="runs/claims",
    allow_dirty=False,
    checkpoints=None,
    echo=print,
) -> Record:
    """Run a claim's recipe over its seeds and, for "cpu" and "full", write the record.

    Args:
        seeds: which seeds to run; None = all of the profile's. A record is written once all have
            been measured, so a long profile may be run a few seeds at a time.
        device: "auto", "cpu" or "cuda", as in `scdlab.fit`.
        out: folder where each seed's result is kept. A result is reused while settings, source and
            torch are the same.
        allow_dirty: run although the working tree has uncommitted changes; the record is then
            returned, not written.
        checkpoints: folder for the claim's `checkpoints`, the models of seed 0 that its recipe
            keeps; None = nowhere.
        echo: called with each line of progress.

    Raises:
        ValueError: unknown claim or profile, seeds the profile does not have, checkpoints of a
            claim or profile that has none, or a recipe that gives other numbers than the claim's
            quantities, or one that is not finite.
        RuntimeError: the tree has uncommitted changes (or is no git checkout) and the profile would
            be recorded.
    """
    claim = get(claim_id)
    settings = claim.settings(profile)
    everything = list(range(settings["seeds"]))
    seeds = everything if seeds is None else sorted(set(seeds))
    if not seeds or set(seeds) - set(everything):
        raise ValueError(
            f"The {profile} profile of {claim_id!r} has the seeds {everything}, not {seeds}."
        )
    if checkpoints is not None and (
        not claim.checkpoints or profile == "quick" or 0 not in seeds or allow_dirty
    ):
        makers = ", ".join(c.id for c in claims() if c.checkpoints) or "none"
        raise ValueError(
            "Checkpoints are models of seed 0, profile cpu or full, from a clean tree, of a claim "
            f"that has any: {makers}."
        )
    commit, dirty = (None, None) if profile == "quick" else _commit()
    if dirty and not allow_dirty:
        raise RuntimeError(
            "A record must name the commit it was measured on: commit your changes first, or pass"
            " --allow-dirty to run without writing the record."
        )
    hardware = hardware_of(device)
    key = {
        "claim": claim.id,
        "settings": settings,
        "source": source_digest(),
        "torch": torch.__version__,
    }
    key |= {"device": hardware["gpu"] or "cpu"}
    results = [_seed(claim, profile, key, seed, device, Path(out), echo) for seed in seeds]
    values = [r["values"] for r in results]
    complete = profile != "quick" and seeds == everything
    record = Record(
        claim=claim.id,
        profile=profile,
        settings=settings,
        seeds=seeds,
        values=values,
        seed_seconds=[r["seconds"] for r in results],
        summary=summarize(values),
        rule=claim.rule,
        verdict=claim.verdict(values, settings) if complete else None,
        command=f"scdlab claims run {claim.id} --profile {profile}",
        commit=commit,
        dirty=dirty,
        source=key["source"],
        versions=_versions(),
        hardware=hardware,
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=round(sum(r["seconds"] for r in results), 1),
    )
    record = dataclasses.replace(record, digest=files.content_digest(dataclasses.asdict(record)))
    echo(_conclusion(record, written := complete and not dirty))
    if written:
        files.write_json(record_path(claim.id, profile), dataclasses.asdict(record))
    if checkpoints is not None:
        _hand_on(claim, record, results[0]["models"], Path(out), Path(checkpoints), echo)
    return record


def _hand_on(claim, record, kept, out, folder, echo) -> None:
    """Write the claim's checkpoints, models of seed 0, with their provenance."""
    for name, seen in claim.checkpoints.items():
        origin = {
            part: getattr(record, part)
            for part in ("claim", "profile", "settings", "commit", "source")
        }
        origin |= {
            "versions": record.versions,
            "hardware": record.hardware,
            "date": record.date,
            "seed": 0,
        }
        origin |= {"command": f"{record.command} --checkpoints data/checkpoints", "seen": seen}
        scdlab.save(
            scdlab.load(_models(out) / kept[name] / "model"), folder / name, provenance=origin
        )
        echo(f"{claim.id}: {name} of seed 0 is in {folder}.")


def _seed(claim, profile, key, seed, device, out, echo) -> dict:
    """One seed's values, seconds and kept models: from `out` when the same run stands there, else
    measured and put there."""
    path = out / f"{claim.id}.{profile}.seed{seed}.json"
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        models = kept.get("models", {}).values()
        if kept["key"] == key and all(
            (_models(out) / name / "kept.json").is_file() for name in models
        ):
            echo(f"{claim.id}, seed {seed}: kept from an earlier run")
            return kept
    start = time.perf_counter()
    with _lend(_Bench(out, key)) as bench:
        values = {
            name: float(value)
            for name, value in claim.recipe(key["settings"], seed, device).items()
        }
    seconds = round(time.perf_counter() - start + bench.seconds, 1)
    if set(values) != set(claim.quantities):
        raise ValueError(
            f"The recipe of {claim.id!r} gave {sorted(values)}; the claim names "
            f"{sorted(claim.quantities)}."
        )
    if bad := [name for name, value in values.items() if not math.isfinite(value)]:
        raise ValueError(
            f"The recipe of {claim.id!r} gave values that are not finite: {', '.join(bad)}."
        )
    result = {"key": key, "values": values, "seconds": seconds, "models": bench.models}
    files.write_json(path, result)
    shown = ", ".join(f"{name} = {number(values[name])}" for name in claim.arms)
    echo(f"{claim.id}, seed {seed}: {shown} ({seconds:.0f} s)")
    return result


# --- models that recipes share
# --------------------------------------------------------------------------------


@dataclasses.dataclass
class _Bench:
    """What `run` lends to the recipe it measures: where models are kept, those it used, seconds
    they took before."""

    out: Path
    key: dict
    models: dict[str, str] = dataclasses.field(default_factory=dict)  # name -> folder in out/models
    seconds: float = 0.0
    counted: set[str] = dataclasses.field(
        default_factory=set
    )  # models whose time this seed has in it already


_BENCH: contextvars.ContextVar[_Bench | None] = contextvars.ContextVar("bench", default=None)


@contextlib.contextmanager
def _lend(bench):
    token = _BENCH.set(bench)
    try:
        yield bench
    finally:
        _BENCH.reset(token)


def _models(out: Path) -> Path:
    return out / "models"


def keep(name: str, settings: dict, seed: int, train: Callable):
    """The model `name` of a seed, trained by `train(folder)`, or as an earlier recipe left it in
    the same `out`.

    settings: all that decides what the model becomes. `train` returns scdlab.fit's result; its
    folder is for `fit(out=folder, resume=True)`, so that an interrupted training goes on. The time
    of a model found ready counts in the seconds of every seed that uses it. Outside of `run` the
    model is trained, the folder is None, nothing is kept.
    """
    bench = _BENCH.get()
    if bench is None:
        return train(None).model
    about = {"name": name, "settings": settings, "seed": seed}
    about |= {part: bench.key[part] for part in ("source", "torch", "device")}
    bench.models[name] = folder = f"{name}.seed{seed}.{files.content_digest(about)[:12]}"
    path = _models(bench.out) / folder
    if (path / "kept.json").is_file():
        if folder not in bench.counted:
            bench.seconds += json.loads((path / "kept.json").read_text(encoding="utf-8"))["seconds"]
        bench.counted.add(folder)
        return scdlab.load(path / "model")
    result = train(path)
    bench.counted.add(folder)
    files.write_json(path / "kept.json", about | {"seconds": round(result.seconds, 1)})
    return result.model


def _conclusion(record: Record, written: bool) -> str:
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


def summarize(values: list[dict]) -> dict:
    """name -> {mean, std (over seeds, n − 1; 0 for one seed), min, max}."""
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


def _same_numbers(a: dict, b: dict) -> bool:
    """Whether two summaries agree up to the rounding of another processor."""
    return a.keys() == b.keys() and all(
        a[name].keys() == b[name].keys()
        and all(math.isclose(a[name][k], b[name][k], rel_tol=1e-9, abs_tol=1e-12) for k in b[name])
        for name in b
    )


def number(x: float, digits: int = 3) -> str:
    """`digits` significant ones, without an exponent for everyday sizes."""
    if x == 0:
        return "0"
    mantissa, exponent = f"{x:.{digits - 1}e}".split("e")
    if not -3 <= int(exponent) < 5:
        return f"{mantissa}e{exponent}"
    return f"{x:,.{max(0, digits - 1 - int(exponent))}f}"


# --- records on disk
# ----------------------------------------------------------------------------------------


def record_path(claim_id: str, profile: str) -> Path:
    return RECORDS / f"{claim_id}.{profile}.json"


def load_record(claim_id: str, profile: str | None = None) -> Record | None:
    """The record of a claim under `profile`, or, when None, the largest profile recorded; None when
    there is none.

    ValueError when the record is damaged: see `problems`.
    """
    for name in ("full", "cpu") if profile is None else (profile,):
        path = record_path(claim_id, name)
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            wrong = problems(content)
            if not wrong and (content["claim"], content["profile"]) != (claim_id, name):
                wrong = [
                    f"it is the record of {content['claim']}.{content['profile']} under another "
                    "name"
                ]
            if wrong:
                raise ValueError(
                    f"The record {path.name} cannot be trusted: {wrong[0]}. Remake it with"
                    f" `scdlab claims run {claim_id} --profile {name}`."
                )
            return Record(**content)
    return None


def problems(content: dict) -> list[str]:
    """What is wrong with a record's content, most basic first; an empty list when it can be
    trusted."""
    fields = {f.name for f in dataclasses.fields(Record)}
    if set(content) != fields:
        return [
            "its fields are not those of a record (missing or unknown: "
            f"{', '.join(sorted(fields ^ set(content)))})"
        ]
    if content["digest"] != files.content_digest(content):
        return ["its digest does not match its content: it was edited by hand"]
    if content["claim"] not in _CLAIMS:
        return [f"there is no claim {content['claim']!r}"]
    claim = get(content["claim"])
    wrong = []
    if content["profile"] not in ("cpu", "full"):
        return [f"the profile {content['profile']!r} is never recorded"]
    if not re.fullmatch(r"[0-9a-f]{40}", content["commit"] or "") or content["dirty"] is not False:
        wrong.append("it names no commit of a clean tree")
    for part in ("command", "source", "versions", "hardware", "date", "seconds"):
        if content[part] in (None, "", {}):
            wrong.append(f"its {part} is empty")
    if files.has_absolute_path(content):
        wrong.append("it holds a path of the machine it was made on")
    if content["settings"] != claim.settings(content["profile"]):
        wrong.append("the recipe's settings have changed since it was measured")
    if content["rule"] != claim.rule:
        wrong.append("the rule has changed since it was measured")
    values = content["values"]
    seeds = content["seeds"]
    if seeds != list(range(content["settings"]["seeds"])) or len(values) != len(seeds):
        wrong.append("it does not hold every seed of its profile")
    elif any(set(v) != set(claim.quantities) for v in values):
        wrong.append("its quantities are not the claim's")
    elif not _same_numbers(content["summary"], summarize(values)):
        wrong.append("its summary disagrees with its values")
    elif content["verdict"] != claim.verdict(values, content["settings"]):
        wrong.append("its verdict disagrees with the rule applied to its values")
    return wrong


# --- provenance
# ---------------------------------------------------------------------------------------------


def _commit() -> tuple[str, bool]:
    """The checkout's commit, and whether it has uncommitted changes (records and checkpoints do not
    count)."""
    root = Path(scdlab.__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        raise RuntimeError(
            "Records are made in a git checkout of scdlab, with git installed; use the quick "
            "profile here."
        )

    def ask(*words):
        return subprocess.run(
            [git, "-C", str(root), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    products = [":(exclude)scdlab/claims/records", ":(exclude)data/checkpoints"]
    status = ask("status", "--porcelain", "--", ".", *products)
    return ask("rev-parse", "HEAD"), bool(status)


def source_digest() -> str:
    """sha256 over the package's .py files (line ends normalized): which code gave a result,
    whatever the commit is."""
    root = Path(scdlab.__file__).resolve().parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        total.update(f"{path.relative_to(root).as_posix()}\0{len(text)}\0".encode() + text)
    return total.hexdigest()


def _versions() -> dict:
    versions = {"python": platform.python_version(), "scdlab": scdlab.__version__}
    return versions | {name: importlib.metadata.version(name) for name in _PACKAGES}


def hardware_of(device: str) -> dict:
    """cpu model, usable cores, threads of torch, memory in GiB, gpu (None when the run is on the
    CPU), system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():  # Linux: platform.processor() is empty or only names the architecture
        found = re.search(
            r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE
        )
        model = found.group(1) if found else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if device != "cpu" and torch.cuda.is_available() else None
    memory = round(psutil.virtual_memory().total / 2**30, 1)
    return {
        "cpu": model,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "memory_GiB": memory,
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
    }

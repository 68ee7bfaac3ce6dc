"""The mutation campaign: every reader of the kit against damaged files.

    python tests/trust/mutation.py --cases 5000 --seed 1     a part of it
    python tests/trust/mutation.py --case 1:4711             one case, with its traceback

A case is a pair (seed, number), which decides what is read and how it was damaged. Outcomes:

    refused            one sentence, raised by the kit
    unchanged          read, and equal to what the untouched files give
    accepted_visible   read as other numbers, where no digest stands beside them
    damage_accepted    the same where one does
    traceback          any other exception, or one that no code of the kit raised
    endless            more than LIMIT seconds of processor time
    memory             more than MEMORY bytes beside what the process had
    code               something of the file was run
    crash              the process died

All but the first three are failures. Cases run in forked processes with limits of time and memory,
many in each, so that one that goes wrong takes no other with it.
"""

import argparse
import collections
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mutation_damage as damage
import mutation_targets
from mutation_files import REPLACED, replace, stamp

import scdlab

NIGHTLY = 100_000
PIECE = 10_000
LIMIT = 10  # seconds of processor time for one case
MEMORY = 1 << 30  # bytes that one case may take
FAILURES = ("damage_accepted", "traceback", "endless", "memory", "code", "crash")
LONGEST = 1200  # characters of a message: one sentence, and the names of a large file in it
_PACKAGE = str(Path(scdlab.__file__).resolve().parent)
_CALLS = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class"}
_ran: list[str] = []  # calls of `_CALLS` while a file is read


class Endless(BaseException):
    """A case that took too long; no reader catches it."""


def _too_long(*_: Any) -> None:
    raise Endless


def _watch(event: str, _: tuple) -> None:
    if event in _CALLS:
        _ran.append(event)


class Bench:
    """The targets with their files as they should be, in a folder of its own.

    Parameters
    ----------
    folder : Path
        Where to work.
    names : sequence of str, optional
        Only these targets; their cases are others than those of all.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ()):
        self.folder = folder
        self.canary = folder / "canary"
        everything = mutation_targets.targets()
        self.targets = [each for each in everything if not names or each.name in names]
        self.weights = [target.weight for target in self.targets]
        self.files: list[dict[str, bytes]] = []
        self.expected: list[str] = []
        for target in self.targets:
            place = self.fresh()
            target.make(place)
            self.files.append(
                {
                    str(path.relative_to(place)): path.read_bytes()
                    for path in sorted(place.rglob("*"))
                    if path.is_file() and not path.name.endswith(".lock")
                }
            )
            self.expected.append(stamp(target.read(place)))
            if unknown := set(target.kinds) - {"*", *self.files[-1]}:
                raise ValueError(f"The target {target.name} has no file {sorted(unknown)[0]}.")
        self.originals = [
            data for files in self.files for data in files.values() if len(data) < 20_000
        ]

    def fresh(self) -> Path:
        """An empty folder for one case."""
        place = self.folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place

    def write(self, k: int) -> Path:
        """The untouched files of a target."""
        place = self.fresh()
        for name, data in self.files[k].items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return place

    def mutated(self, rng: random.Random, k: int) -> tuple[Path, str]:
        """Files of a target with one of them damaged, and what was done."""
        place = self.write(k)
        target = self.targets[k]
        name, kind = rng.choice(list(target.kinds.items()))
        if name == "*":
            name = rng.choice(list(self.files[k]))
        data = self.files[k][name]
        path = place / name
        said = []
        if rng.random() < 0.03 and kind not in damage.INNER:
            return place, f"{name}: {replace(rng, path)}"
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            try:
                data, what = self._damage(rng, kind, data)
            except Exception:  # what other libraries raise where a file is damaged already
                if kind in damage.INNER:
                    continue
                data, what = damage.flip(rng, data or b"\0")
            said.append(what)
        path.write_bytes(data)
        if target.refresh is not None and rng.random() < 0.4:
            try:
                target.refresh(place)
                said.append("digests written anew")
            except (ValueError, OSError, AttributeError, TypeError, KeyError, RecursionError):
                said.append("digests as they were")
        return place, f"{name}: {'; '.join(said)}"

    def _damage(self, rng: random.Random, kind: str, data: bytes) -> tuple[bytes, str]:
        ways = damage.WAYS[kind]
        how = rng.random() if kind not in damage.INNER else 1
        if how < 0.02:
            return mutation_targets.foreign(rng, self.originals)
        if how < 0.03:
            return damage.canary(str(self.canary)), "a pickle that runs code"
        if how < 0.04:
            return b"", "empty"
        if ways and (how < 0.65 or kind in damage.INNER):
            return rng.choice(ways)(rng, data)
        return rng.choice(damage.BYTES)(rng, data or b"\0")

    def judge(self, seed: int, number: int) -> tuple[str, str]:
        """The outcome of one case, and what was done and said."""
        rng = random.Random(f"{seed}:{number}")
        k = rng.choices(range(len(self.targets)), self.weights)[0]
        target = self.targets[k]
        place, what = self.mutated(rng, k)
        _ran.clear()
        self.canary.unlink(missing_ok=True)
        said = ""
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        signal.setitimer(signal.ITIMER_REAL, 4 * LIMIT)  # for what waits and computes nothing
        try:
            found = target.read(place)
            # without a record there is none; an index that is gone is made again
            there = not any(what.endswith(f": {each}") for each in REPLACED)
            digested = target.digested and there and "digests written anew" not in what
            outcome = "unchanged"
            if stamp(found) != self.expected[k]:
                outcome = "damage_accepted" if digested else "accepted_visible"
        except Endless:
            outcome = "endless"
        except Exception as error:
            outcome, said = _judged(error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
        if _ran or self.canary.exists():
            outcome, said = "code", str(_ran or "a pickle was loaded")
        return outcome, f"{target.name}, {what}" + (f" -> {said}" if said else "")


def _judged(error: Exception) -> tuple[str, str]:
    """The outcome that an exception is."""
    said = f"{type(error).__name__}: {error}"[:400]
    if _out_of_memory(error):
        return "memory", said
    if not isinstance(error, ValueError | OSError | TypeError):
        return "traceback", said
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    file = "" if where is None else where.tb_frame.f_code.co_filename
    if not file.startswith(_PACKAGE):
        return "traceback", f"raised in {Path(file).name}: {said}"
    text = str(error)
    if not text.strip() or "\n" in text or len(text) > LONGEST:
        return "traceback", f"not one sentence: {said}"
    return "refused", said


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, however it was reported in the end."""
    while error is not None:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


# --------------------------------------------------------------------------------------------------
# processes


def _limit_memory() -> None:
    """Bound the address space of this process to what it has and MEMORY more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _work(bench: Bench, folder: Path, seed: int, numbers: Any, pipe: Any) -> None:
    """In a process of its own: judge cases, and send (number, outcome, what) for each."""
    bench.folder = folder
    bench.canary = folder / "canary"
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    os.environ |= {"SCDLAB_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}
    os.environ.pop("SCDLAB_DATA", None)
    tempfile.tempdir = str(folder)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for each in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(each, _too_long)
    _limit_memory()
    for number in numbers:
        pipe.send((number, None, ""))
        try:
            outcome, what = bench.judge(seed, number)
        except Endless:  # as the limit struck between two statements
            outcome, what = "endless", f"case {number}"
        except Exception:
            outcome, what = "crash", f"case {number}: {traceback.format_exc()[-600:]}"
        pipe.send((number, outcome, what))
    pipe.send(None)


def judged(
    bench: Bench, folder: Path, seed: int, cases: range, workers: int
) -> Iterator[tuple[int, str, str]]:
    """(number, outcome, what was done) of each case, in the order in which they end."""
    context = multiprocessing.get_context("fork")
    todo = {k: cases[k::workers] for k in range(workers)}
    running: dict[Any, tuple] = {}

    def start(k: int) -> None:
        receive, send = context.Pipe(duplex=False)
        process = context.Process(
            target=_work, args=(bench, folder / f"worker-{k}", seed, todo[k], send), daemon=True
        )
        process.start()
        send.close()
        running[receive] = (k, process, [None, time.monotonic()])

    for k in todo:
        start(k)
    while running:
        ready = multiprocessing.connection.wait(list(running), timeout=1)
        for receive in ready:
            k, process, now = running[receive]
            try:
                message = receive.recv()
            except EOFError:  # the process died
                process.join()
                message = (now[0], "crash", f"case {now[0]}: exit code {process.exitcode}")
                del running[receive]
                todo[k] = _after(todo[k], now[0])
                if len(todo[k]):
                    start(k)
            if message is None:
                process.join()
                del running[receive]
            elif message[1] is None:
                now[:] = [message[0], time.monotonic()]
            else:
                yield message
        for receive, (k, process, now) in list(running.items()):
            # in one long call of C, which no signal interrupts
            if time.monotonic() - now[1] > 12 * LIMIT:
                process.kill()
                process.join()
                del running[receive]
                yield now[0], "endless", f"case {now[0]}: killed after {12 * LIMIT} s"
                todo[k] = _after(todo[k], now[0])
                if len(todo[k]):
                    start(k)


def _after(numbers: range, last: int | None) -> range:
    """What is left of the numbers after one of them."""
    return numbers if last is None else numbers[numbers.index(last) + 1 :]


# --------------------------------------------------------------------------------------------------


def prepare(folder: Path, names: Sequence[str] = ()) -> Bench:
    """The targets, with their files made in `folder`; for all cases of a process.

    Parameters
    ----------
    folder : Path
        Where to work.
    names : sequence of str, optional
        Only these targets.
    """
    with warnings.catch_warnings():
        mutation_targets.quiet()
        return Bench(folder, names)


def run(
    cases: int,
    seed: int,
    folder: Path,
    minutes: float | None = None,
    workers: int = 2,
    bench: Bench | None = None,
) -> dict[str, Any]:
    """Judge cases 0 … cases - 1 of a seed.

    Parameters
    ----------
    cases : int
        How many.
    seed : int
        Another seed gives other cases.
    folder : Path
        Where to work.
    minutes : float, optional
        Stop after so long.
    workers : int, default 2
        Processes at a time.
    bench : Bench, optional
        The targets, where they are made already.

    Returns
    -------
    dict
        Counts by outcome, and all failures.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ.get(name) for name in ("SCDLAB_CACHE", "SCDLAB_DATA")}
    os.environ["SCDLAB_CACHE"] = str(folder / "cache")
    start = time.monotonic()
    counts: collections.Counter[str] = collections.Counter()
    failures = []
    try:
        bench = bench or prepare(folder / "files")
        for number, outcome, what in judged(bench, folder, seed, range(cases), workers):
            counts[outcome] += 1
            if outcome in FAILURES:
                failures.append({"case": f"{seed}:{number}", "what": f"{outcome}: {what}"})
            if minutes is not None and time.monotonic() - start > 60 * minutes:
                break
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    return {
        "campaign": "mutation",
        "cases": sum(counts.values()),
        "seconds": round(time.monotonic() - start, 1),
        "counts": dict(sorted(counts.items())),
        "failures": failures,
        "settings": {"seed": seed, "targets": [target.name for target in bench.targets]},
    }


def main() -> int:
    """The command line; 1 when anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", help="SEED:NUMBER, run here, with its traceback")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "mutation")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--target", action="append", default=[], help="only this; for several")
    chosen = parser.parse_args()
    out = chosen.out.resolve()
    os.environ["SCDLAB_CACHE"] = str(out / "cache")
    bench = prepare(out / "files", chosen.target)
    if chosen.case:
        return one(chosen.case, bench)
    found = run(chosen.cases, chosen.seed, out, workers=chosen.workers, bench=bench)
    for failure in found["failures"]:
        print(failure["case"], failure["what"])
    print(found["counts"], f"{found['seconds']} s")
    return int(bool(found["failures"]))


def one(case: str, bench: Bench) -> int:
    """One case in this process: what was done, its traceback, its outcome."""
    signal.signal(signal.SIGPROF, _too_long)
    seed, number = map(int, case.split(":"))
    read = {target.name: target.read for target in bench.targets}

    def shown(name: str, place: Path) -> Any:
        try:
            return read[name](place)
        except BaseException:
            traceback.print_exc()
            raise

    for target in bench.targets:
        name = target.name
        object.__setattr__(target, "read", lambda place, name=name: shown(name, place))
    outcome, what = bench.judge(seed, number)
    print(f"{outcome}: {what}\nfiles: {bench.folder / 'case'}")
    return int(outcome in FAILURES)


sys.addaudithook(_watch)

if __name__ == "__main__":
    sys.exit(main())

"""Side-by-side timings that can be trusted on a noisy machine.

Each contestant lives in a process of its own and waits. The parent lets them take turns, one timing each per round,
so that whatever slows the machine slows all of them; the ratio is taken within a round, and the median over rounds is
quoted.

Two sets of terms. "equal": subnormal numbers flushed to zero and freed memory pages kept, for every contestant. "as it
comes": an untouched process, as a user runs it.
"""

import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

TERMS = ("equal", "as it comes")
CASES = [(n, forces) for n in (128, 32) for forces in (False, True)]  # molecules in a batch; with forces or without


def tune() -> None:
    """Equal terms for this process; must run before torch's first parallel operation."""
    import torch

    if not torch.set_flush_denormal(True):
        raise SystemExit("This processor cannot flush subnormal numbers, so equal terms cannot be had here.")
    if sys.platform != "linux":
        raise SystemExit("Keeping freed pages uses glibc's mallopt; run the benchmark on Linux.")
    libc = ctypes.CDLL("libc.so.6")
    m_trim_threshold, m_mmap_threshold = -1, -3
    if not (libc.mallopt(m_mmap_threshold, 1 << 30) and libc.mallopt(m_trim_threshold, 1 << 30)):
        raise SystemExit("glibc refused mallopt, so equal terms cannot be had here.")


def training_step(model, predict, n: int, n_atoms: int, forces: bool):
    """A step of AdamW on the squared error to random labels, the same for every contestant: a function that takes one
    and returns its loss. predict() gives energies [n] and forces [n_atoms, 3], or None."""
    import torch

    labels = torch.Generator().manual_seed(1)
    target = torch.randn(n, generator=labels)
    target_forces = torch.randn(n_atoms, 3, generator=labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def step():
        optimizer.zero_grad()
        energy, predicted = predict()
        loss = (energy - target).square().mean()
        if forces:
            loss = loss + (predicted - target_forces).square().sum(-1).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def serve(step) -> None:
    """The contestant's side: time `step()` each time the parent asks for a number of repeats; print median ms."""
    step()
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(1e3 * statistics.median(times), flush=True)


class Contestant:
    def __init__(self, script, *arguments):
        self.process = subprocess.Popen([sys.executable, str(script), *map(str, arguments)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        if not any(line.strip() == "ready" for line in self.process.stdout):  # some libraries greet before it
            raise SystemExit(f"A contestant did not start: {' '.join(map(str, arguments))}")

    def time(self, repeats: int) -> float:
        self.process.stdin.write(f"{repeats}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def duel(script, ours: tuple, theirs: tuple, rounds: int, repeats: int) -> dict:
    """Interleaved timings of two contestants: medians in ms, and the median and spread of theirs / ours by round."""
    a, b = Contestant(script, *ours), Contestant(script, *theirs)
    try:
        times = [(a.time(repeats), b.time(repeats)) for _ in range(rounds)]
    finally:
        a.close()
        b.close()
    ratios = [y / x for x, y in times]
    return {"ours_ms": statistics.median(x for x, _ in times), "theirs_ms": statistics.median(y for _, y in times),
            "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}  # fmt: skip


def machine() -> dict:
    """What the numbers were measured on."""
    import numpy
    import torch
    import torch_geometric

    from scdlab.claims.ledger import hardware_of

    about = hardware_of("cpu")
    return {"processor": about["cpu"], "cores": about["cores"], "memory_GiB": about["memory_GiB"],
            "threads": about["threads"], "python": platform.python_version(), "torch": torch.__version__,
            "torch_geometric": torch_geometric.__version__, "numpy": numpy.__version__,
            "date": str(date.today())}  # fmt: skip


def write(path: Path, results: dict) -> None:
    """Write a report as json."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def picture(results: list[dict], path: Path, peer: str, title: str) -> None:
    """Bars of both sides' times, one panel for each set of terms, as an image."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for ax, terms in zip(axes, TERMS, strict=True):
        rows = [r for r in results if r["terms"] == terms]
        for k, (side, color) in enumerate((("ours", "#0072B2"), ("theirs", "#E69F00"))):
            bars = ax.barh([i + 0.4 * k for i in range(len(rows))], [r[f"{side}_ms"] for r in rows], 0.38, color=color,
                           label={"ours": "scdlab", "theirs": peer}[side])  # fmt: skip
            ax.bar_label(bars, fmt="%.0f", padding=3)
        names = [f"{r['batch']} molecules,\nenergies{' + forces' if r['forces'] else ''}" for r in rows]
        ax.set_yticks([i + 0.2 for i in range(len(rows))], names)
        ax.invert_yaxis()
        ax.margins(x=0.15)
        ax.set(title=f"terms: {terms}", xlabel="training step / ms")
    axes[0].legend(frameon=False)
    fig.suptitle(f"{title}: shorter is better")
    fig.savefig(path, dpi=130)


def table(report: dict, peer: str = "PyG") -> str:
    """A report as a markdown table, with the machine it was measured on: what the README shows."""
    rows = [f"| training step on | scdlab | {peer} | ratio, equal terms | scdlab | {peer} | ratio, as it comes |",
            "|---|--:|--:|--:|--:|--:|--:|"]  # fmt: skip
    cases = {}
    for row in report["results"]:
        cases.setdefault((row["batch"], row["forces"]), {})[row["terms"]] = row
    for (batch, forces), terms in cases.items():
        cells = [f"{batch} molecules, energies{' and forces' if forces else ''}"]
        for row in (terms[t] for t in TERMS):
            cells += [f"{row['ours_ms']:.0f} ms", f"{row['theirs_ms']:.0f} ms", f"**{row['ratio']:.1f}×**"]
        rows.append(f"| {' | '.join(cells)} |")
    m = report["machine"]
    about = (
        f"Medians on {m['cores']} cores of {m['processor']}, torch {m['torch']}, {m['date']}: `{report['command']}`."
    )
    return "\n".join([*rows, "", about])


def put_into(readme: Path, name: str, text: str) -> None:
    """Replace what stands between the readme's markers `<!-- bench: name -->` and `<!-- end -->`."""
    start = f"<!-- bench: {name} -->\n"
    before, rest = readme.read_text(encoding="utf-8").split(start)
    _, after = rest.split("<!-- end -->", 1)
    readme.write_text(f"{before}{start}{text}\n<!-- end -->{after}", encoding="utf-8")


def loss_difference(steps: dict) -> float:
    """Relative difference of the two contestants' losses before training: both must compute the same thing."""
    ours, theirs = losses = [float(step()) for step in steps.values()]
    difference = abs(ours - theirs) / abs(theirs)
    if difference > 1e-5:
        raise SystemExit(f"The two sides do not compute the same loss ({losses}); nothing was timed.")
    return difference


def compare_steps(script: Path, sides, peer: str, title: str, shown=table, versions=None) -> None:
    """The command line of a benchmark of training steps: time all CASES under both TERMS, write report and picture, and
    put `shown(report)` into the README.

    sides(n, forces) -> {"ours": step, other: step}; versions: those of the peer, for the report.
    """
    parser = argparse.ArgumentParser(description=f"{title}, against {peer}.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=script.parent / "results", help="folder of the report and picture")
    parser.add_argument(
        "--worker", nargs=4, metavar=("SIDE", "TERMS", "BATCH", "FORCES"), help="used by the script itself"
    )
    options = parser.parse_args()
    if options.worker:
        side, terms, n, forces = options.worker
        if terms == "equal":
            tune()
        serve(sides(int(n), forces == "True")[side])
        return
    results = []
    for n, forces in CASES:
        steps = sides(n, forces)
        difference = loss_difference(steps)
        for terms in TERMS:
            contestants = (("--worker", side, terms, n, forces) for side in steps)
            row = duel(script, *contestants, options.rounds, options.repeats)
            results.append({"batch": n, "forces": forces, "terms": terms, "loss_difference": difference, **row})
            times = f"scdlab {row['ours_ms']:7.1f} ms   {peer} {row['theirs_ms']:7.1f} ms   {row['ratio']:5.2f}×"
            spread = f"({row['ratio_min']:.2f}–{row['ratio_max']:.2f})"
            print(f"{n:4d} molecules  {'E + F' if forces else 'E':5s}  {terms:12s} {times} {spread}", flush=True)
    command = f"python benchmarks/{script.name} --rounds {options.rounds} --repeats {options.repeats}"
    report = {"command": command, "machine": machine() | (versions or {}), "results": results}
    write(options.out / f"{script.stem}.json", report)
    picture(results, options.out / f"{script.stem}.png", peer, title)
    if options.out == script.parent / "results":
        put_into(script.parents[1] / "README.md", script.stem, shown(report))

"""Side-by-side timings that can be trusted on a noisy machine.

Each contestant lives in a process of its own and waits. The parent lets them take turns, one timing
each per round, so that whatever slows the machine slows all of them; the ratio is taken within a
round, and the median over rounds is quoted.

Two sets of terms. "equal": subnormal numbers flushed to zero and freed memory pages kept, for every
contestant. "as it comes": an untouched process, as a user runs it.

Beside each result stand the peak memory of a step, the floor under our step (`floor`), and whether
other processes kept the machine busy meanwhile.
"""

import argparse
import contextlib
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

TERMS = ("equal", "as it comes")
BUSY = 0.15  # cores short of torch's threads: less is the system's own
CASES = [
    (n, forces) for n in (128, 32) for forces in (False, True)
]  # molecules in a batch; with forces or without


def tune() -> None:
    """Equal terms for this process; must run before torch's first parallel operation."""
    import torch

    if not torch.set_flush_denormal(True):
        raise SystemExit(
            "This processor cannot flush subnormal numbers, so equal terms cannot be had here."
        )
    from scdlab.memory import tune_malloc

    tune_malloc()


def training_step(model, predict, n: int, n_atoms: int, forces: bool):
    """A step of AdamW on the squared error to random labels, the same for every contestant: a
    function that takes one and returns its loss. predict() gives energies [n] and forces [n_atoms,
    3], or None.

    Gradients are asked for the parameters only: with forces the positions are a leaf too, and a
    plain backward() would fill a gradient of theirs that nobody reads.
    """
    import torch

    parameters = [p for p in model.parameters() if p.requires_grad]

    labels = torch.Generator().manual_seed(1)
    target = torch.randn(n, generator=labels).to(parameters[0].device)
    target_forces = torch.randn(n_atoms, 3, generator=labels).to(parameters[0].device)
    optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True)

    def step():
        optimizer.zero_grad()
        energy, predicted = predict()
        loss = (energy - target).square().mean()
        if forces:
            loss = loss + (predicted - target_forces).square().sum(-1).mean()
        loss.backward(inputs=parameters)
        optimizer.step()
        return loss.detach()

    step.model = model
    step.forces = forces
    step.predict = predict
    return step


class PeakMemory:
    """How far this process's resident memory has risen above what it was at the start, in MB.

    Memory freed before the start is handed back first, so that a step cannot hide in it. None where
    the system has no such account (it is Linux's /proc).
    """

    def __init__(self):
        self.start = None
        if sys.platform != "linux" or not os.access("/proc/self/clear_refs", os.W_OK):
            return
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        self.start = self._kB("VmRSS")

    def risen(self) -> float | None:
        return None if self.start is None else (self._kB("VmHWM") - self.start) * 1024 / 1e6

    @staticmethod
    def _kB(name) -> int:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split(f"{name}:")[1].split()[0])


def serve(step, clock=time.perf_counter) -> None:
    """The contestant's side: time `step()` each time the parent sends a number of repeats; print
    the median in ms, by `clock`, and the peak memory of all steps so far."""
    memory = PeakMemory()
    step()
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = clock()
            step()
            times.append(clock() - start)
        print(json.dumps([1e3 * statistics.median(times), memory.risen()]), flush=True)


class Contestant:
    """A process that times its own step; `peak_MB` is the peak memory of its steps so far, None
    where unknown."""

    def __init__(self, script, *arguments):
        self.peak_MB = None
        self.process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if not any(
            line.strip() == "ready" for line in self.process.stdout
        ):  # some libraries greet before it
            raise SystemExit(f"A contestant did not start: {' '.join(map(str, arguments))}")

    def time(self, repeats: int) -> float:
        self.process.stdin.write(f"{repeats}\n")
        self.process.stdin.flush()
        ms, self.peak_MB = json.loads(self.process.stdout.readline())
        return ms

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def duel(script, sides: dict, rounds: int, repeats: int) -> dict:
    """Interleaved timings: sides, {name: arguments of its contestant}, the first one ours.

    For each peer: medians in ms, the median and spread of theirs / ours by round, peak memory in
    MB, and the cores that other processes used meanwhile.
    """
    contestants = {}
    others = Others()
    try:
        for name, arguments in sides.items():
            contestants[name] = Contestant(script, *arguments)
        times = [
            {name: one.time(repeats) for name, one in contestants.items()} for _ in range(rounds)
        ]
        load = others.report()
    finally:
        for one in contestants.values():
            one.close()
    ours, *peers = contestants
    rows = {}
    for peer in peers:
        ratios = [t[peer] / t[ours] for t in times]
        rows[peer] = {
            "ours_ms": statistics.median(t[ours] for t in times),
            "theirs_ms": statistics.median(t[peer] for t in times),
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "ours_MB": contestants[ours].peak_MB,
            "theirs_MB": contestants[peer].peak_MB,
            **load,
        }
    return rows


class Others:
    """Cores that processes other than this one and its children have used since this was made."""

    def __init__(self):
        self.wall = time.perf_counter()
        self.machine = _busy_seconds()
        self.own = _own_seconds()

    def report(self) -> dict:
        """{"others": cores in use, "busy": whether too few are left for a thread on each of
        torch's}."""
        import psutil
        import torch

        wall = time.perf_counter() - self.wall
        cores = max(0.0, (_busy_seconds() - self.machine - (_own_seconds() - self.own)) / wall)
        free = psutil.cpu_count() - cores
        return {"others": round(cores, 2), "busy": free < torch.get_num_threads() - BUSY}


def _busy_seconds() -> float:
    import psutil

    spent = psutil.cpu_times()._asdict()
    return sum(
        spent.get(kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal")
    )


def _own_seconds() -> float:
    import psutil

    own = psutil.Process()
    total = sum(own.cpu_times()[:4])  # user, system, and those of children that ended
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
            total += sum(child.cpu_times()[:2])
    return total


def warn_if_busy(seconds: float = 2.0) -> dict:
    """Watch the machine for some seconds before a run; print a line when it is busy. What was
    seen is for the report."""
    others = Others()
    time.sleep(seconds)
    load = others.report()
    if load["busy"]:
        print(
            f"Other processes use {load['others']} cores of this machine now: the times will be "
            "those of a busy one."
        )
    return load


def load_of(report: dict) -> str:
    """One sentence for benchmarks/README.md when a run's machine was busy, else nothing."""
    seen = [row for row in [*report["results"], report.get("before", {})] if row.get("busy")]
    if not seen:
        return ""
    return (
        f" The machine was busy: other processes used up to {max(row['others'] for row in seen)} "
        "cores."
    )


def median_seconds(task, clock=time.perf_counter, repeats: int = 9) -> float:
    """How long a task takes by a clock, the median of some calls after a first one."""
    task()
    times = []
    for _ in range(repeats):
        start = clock()
        task()
        times.append(clock() - start)
    return statistics.median(times)


def ceilings() -> dict:
    """What this machine reaches with torch's threads, medians: a product of float32 matrices, and a
    copy in memory.

    Bandwidth counts bytes read and bytes written.
    """
    import torch

    n = 2048
    size = 1 << 26
    a, b, out = (torch.rand(n, n) for _ in range(3))
    product = median_seconds(lambda: torch.mm(a, b, out=out))
    # 256 MB each: no cache holds them
    source = torch.ones(size)
    target = torch.empty(size)
    copy = median_seconds(lambda: target.copy_(source))
    return {"matmul_GFLOPs": 2e-9 * n**3 / product, "copy_GBs": 2e-9 * 4 * size / copy}


def product_speed(dtype, n: int = 1024) -> float:
    """GFLOP/s of a product of square matrices, by the processor's time of one thread: the median of
    nine."""
    import torch

    a, b, out = (torch.rand(n, n, dtype=dtype) for _ in range(3))
    seconds = median_seconds(lambda: torch.mm(a, b, out=out), time.process_time)
    return 2e-9 * n**3 / seconds


def matrix_products(step) -> int:
    """Floating-point operations of all matrix products in one step, by the formulas of torch's flop
    counter.

    Not its FlopCounterMode itself: that follows modules with hooks, which do not bear
    torch.autograd.grad.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    aten = torch.ops.aten
    # the counter does not know products that are added to what is there
    in_place = {aten.addmm_: aten.addmm, aten.baddbmm_: aten.baddbmm}

    class Counter(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            packet = function._overloadpacket
            count = flop_registry.get(in_place.get(packet, packet))
            if count is not None:
                self.total += count(*args, **(kwargs or {}), out_val=out)
            return out

    with Counter() as counter:
        step()
    return counter.total


def floor(step, ceiling: dict) -> dict:
    """The time that this step's matrix products and unavoidable traffic take at the speeds that the
    machine reaches: what is left to gain without computing the same function by other means. The
    ceilings are measured in the same run, so floors of different runs differ as the machine does.

    flops: the matrix products that the step does now, counted by `matrix_products`. It does not see
    elementwise arithmetic, gathers, sums over neighbors, nor compiled kernels of ours. bytes: what
    must pass through memory. Parameters are read by the forward and the backward pass and by AdamW,
    which writes them; their gradients are written and read; AdamW's two moments are read and
    written: nine times four bytes. The atom features that each block of the model hands on are
    written and read once in every pass: forward and backward, and with forces those of the forces
    too, as if no cache held them. Nothing for pairs, which a program may
    make as it goes.
    floor_ms: the larger of flops and bytes over their measured ceilings.
    """
    import torch

    features = 0

    def count(_, __, out):
        nonlocal features
        outputs = out if isinstance(out, tuple) else (out,)
        features += sum(x.numel() for x in outputs if isinstance(x, torch.Tensor))

    hooks = [block.register_forward_hook(count) for block in step.model.blocks]
    flops = matrix_products(step)
    for hook in hooks:
        hook.remove()
    if not features:
        raise SystemExit(
            "The model's blocks were not called, so the floor of its step cannot be counted."
        )
    passes = 4 if step.forces else 2
    moved = 4 * (9 * sum(p.numel() for p in step.model.parameters()) + 2 * passes * features)
    seconds = max(flops / (1e9 * ceiling["matmul_GFLOPs"]), moved / (1e9 * ceiling["copy_GBs"]))
    return {"flops": flops, "bytes": moved, "floor_ms": 1e3 * seconds}


def machine() -> dict:
    """What the numbers were measured on."""
    import numpy
    import torch
    import torch_geometric

    from scdlab.claims.provenance import hardware_of

    found = hardware_of("cpu")
    return {
        "processor": found["cpu"],
        "cores": found["cores"],
        "memory_GiB": found["memory_GiB"],
        "threads": found["threads"],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        "numpy": numpy.__version__,
        "date": str(date.today()),
    }


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
            bars = ax.barh(
                [i + 0.4 * k for i in range(len(rows))],
                [r[f"{side}_ms"] for r in rows],
                0.38,
                color=color,
                label={"ours": "scdlab", "theirs": peer}[side],
            )
            ax.bar_label(bars, fmt="%.0f", padding=3)
        names = [
            f"{r['batch']} molecules,\nenergies{' + forces' if r['forces'] else ''}" for r in rows
        ]
        ax.set_yticks([i + 0.2 for i in range(len(rows))], names)
        ax.invert_yaxis()
        ax.margins(x=0.15)
        ax.set(title=f"terms: {terms}", xlabel="training step / ms")
    axes[0].legend(frameon=False)
    fig.suptitle(f"{title}: shorter is better")
    fig.savefig(path, dpi=130)


def table(report: dict, peer: str = "PyG") -> str:
    """A report as a markdown table, with the machine it was measured on: what benchmarks/README.md
    shows of one peer."""
    rows = [
        f"| training step on | scdlab | {peer} | ratio, equal terms | scdlab | {peer} | ratio, as "
        f"it comes | floor | memory, scdlab | {peer} |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    cases = {}
    for row in report["results"]:
        if row["peer"] == peer:
            cases.setdefault((row["batch"], row["forces"]), {})[row["terms"]] = row
    for (batch, forces), terms in cases.items():
        cells = [f"{batch} molecules, energies{' and forces' if forces else ''}"]
        for row in (terms[t] for t in TERMS):
            cells += [
                f"{row['ours_ms']:.0f} ms",
                f"{row['theirs_ms']:.0f} ms",
                f"**{row['ratio']:.1f}×**",
            ]
        row = terms[TERMS[1]]
        cells += [
            _cell(row["floor_ms"], "ms"),
            _cell(row["ours_MB"], "MB"),
            _cell(row["theirs_MB"], "MB"),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, "", about(report)])


def _cell(value, unit) -> str:
    return "not measured" if value is None else f"{value:.0f} {unit}"


def about(report: dict) -> str:
    """What a report was measured on and how, for under its table."""
    m = report["machine"]
    ceiling = ""
    if "copy_GBs" in m:
        ceiling = (
            f" Ceilings: {m['matmul_GFLOPs']:.0f} GFLOP/s (matrix products), {m['copy_GBs']:.0f} "
            "GB/s (copies)."
        )
    return (
        f"Medians on {m['cores']} cores of {m['processor']}, torch {m['torch']}, {m['date']}: "
        f"`{report['command']}`.{ceiling}{load_of(report)}"
    )


def put_into(page: Path, name: str, text: str) -> None:
    """Replace what stands between the page's `<!-- bench: name -->` and `<!-- end -->`."""
    start = f"<!-- bench: {name} -->\n"
    before, rest = page.read_text(encoding="utf-8").split(start)
    _, after = rest.split("<!-- end -->", 1)
    page.write_text(f"{before}{start}{text}\n<!-- end -->{after}", encoding="utf-8")


def same_predictions(predict: dict) -> None:
    """End the program unless all sides predict our energies (to 1e-5, in norm) and forces
    (1e-4)."""
    answers = {side: function() for side, function in predict.items()}
    for peer, theirs in answers.items():
        for what, x, y, bound in zip(
            ("energies", "forces"), answers["ours"], theirs, (1e-5, 1e-4), strict=True
        ):
            if y is not None and not (x - y).norm() <= bound * y.norm():
                raise SystemExit(
                    f"scdlab and {peer} do not predict the same {what}; nothing timed."
                )


def loss_differences(steps: dict) -> dict:
    """For each peer, the relative difference of its loss and ours before training: all must compute
    the same thing, and predict the same energies and forces (the loss alone hardly sees forces that
    are small beside their targets).

    steps: {"ours": step, peer: step, …}. Ends the program when they do not.
    """
    same_predictions(
        {side: step.predict for side, step in steps.items() if hasattr(step, "predict")}
    )
    losses = {side: float(step()) for side, step in steps.items()}
    ours = losses.pop("ours")
    differences = {peer: abs(ours - loss) / abs(loss) for peer, loss in losses.items()}
    for peer, difference in differences.items():
        if not difference <= 1e-5:
            raise SystemExit(
                f"scdlab and {peer} do not compute the same loss ({ours}, {losses[peer]}); nothing "
                "timed."
            )
    return differences


def loss_difference(steps: dict) -> float:
    """The largest of `loss_differences`."""
    return max(loss_differences(steps).values())


def compare_steps(script: Path, sides, peer: str, title: str, shown=table, versions=None) -> None:
    """The command line of a benchmark of training steps: time all CASES under both TERMS, write
    report and picture, and put `shown(report)` into benchmarks/README.md.

    sides(n, forces) -> {"ours": step, peer: step, …}, one peer or more; `peer` is the one pictured;
    versions: those of the peers, for the report.
    """
    parser = argparse.ArgumentParser(description=f"{title}, against {peer}.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--out",
        type=Path,
        default=script.parent / "results",
        help="folder of the report and picture",
    )
    parser.add_argument(
        "--worker",
        nargs=4,
        metavar=("SIDE", "TERMS", "BATCH", "FORCES"),
        help="used by the script itself",
    )
    options = parser.parse_args()
    if options.worker:
        side, terms, n, forces = options.worker
        if terms == "equal":
            tune()
        serve(sides(int(n), forces == "True")[side])
        return
    before = warn_if_busy()
    ceiling = ceilings()
    results = []
    for n, forces in CASES:
        steps = sides(n, forces)
        differences = loss_differences(steps)
        under = floor(steps["ours"], ceiling)
        names = list(steps)
        del steps  # the contestants make their own
        for terms in TERMS:
            contestants = {side: ("--worker", side, terms, n, forces) for side in names}
            for other, row in duel(script, contestants, options.rounds, options.repeats).items():
                case = {"peer": other, "batch": n, "forces": forces, "terms": terms}
                results.append({**case, "loss_difference": differences[other], **under, **row})
                print(_line(results[-1]), flush=True)
    command = (
        f"python benchmarks/{script.name} --rounds {options.rounds} --repeats {options.repeats}"
    )
    report = {
        "command": command,
        "machine": machine() | ceiling | (versions or {}),
        "before": before,
        "busy": any(row["busy"] for row in (before, *results)),
        "results": results,
    }
    write(options.out / f"{script.stem}.json", report)
    pictured = [row for row in results if row["peer"] == peer]
    picture(pictured, options.out / f"{script.stem}.png", peer, title)
    if options.out == script.parent / "results":
        put_into(script.with_name("README.md"), script.stem, shown(report))


def _line(row: dict) -> str:
    """One result, as it is printed during a run."""
    times = (
        f"scdlab {row['ours_ms']:7.1f} ms   {row['peer']} {row['theirs_ms']:7.1f} ms   "
        f"{row['ratio']:5.2f}×"
    )
    spread = f"({row['ratio_min']:.2f}–{row['ratio_max']:.2f})"
    memory = f"memory {_cell(row['ours_MB'], 'MB')} and {_cell(row['theirs_MB'], 'MB')}"
    busy = f"   BUSY: others used {row['others']} cores" if row["busy"] else ""
    what = (
        f"{row['batch']:4d} molecules  {'E + F' if row['forces'] else 'E':5s}  {row['terms']:12s}"
    )
    return f"{what} {times} {spread}   floor {row['floor_ms']:.1f} ms   {memory}{busy}"

"""How the cost of a training step grows: with atoms per structure, with the batch, and with pairs.

SchNet and the equivariant transformer, 128 features, 6 blocks; one step = neighbor search, forward,
squared error of energies, backward, AdamW. Three sweeps, each with everything else fixed:

    atoms    one periodic structure of 64 … 97,336 atoms, 0.1 atoms/Å³ (that of water), cutoff 5 Å
    batch    1 … 4,096 molecules of QM9, cutoff 5 Å
    pairs    512 such atoms, cutoff 3 … 8 Å; the pairs that this makes are counted

An exponent p, time ∝ size^p, is the slope of a straight line through the logarithms, over the
larger half of a sweep: below it, what a step costs at all hides how it grows (and below 1,024 pairs
filters are exact, not from tables). All sizes take turns in one process, on equal terms (subnormal
numbers flushed, memory pages kept), and the median over rounds counts. Memory is how far a step
raises the resident memory; it is divided by the atoms.

    python benchmarks/growth.py     about ten minutes and 16 GB of memory; writes
                                    results/growth.json, pictures, and the table in
                                    benchmarks/README.md
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from harness import (
    Others,
    PeakMemory,
    about,
    machine,
    put_into,
    training_step,
    tune,
    warn_if_busy,
    write,
)

HERE = Path(__file__).resolve()
MODELS = ("SchNet", "EquivariantTransformer")
COLORS = dict(zip(MODELS, ("#0072B2", "#E69F00"), strict=True))
# name: (what grows, as the axis names it; settings: atoms along an edge, molecules, or cutoff in Å)
SWEEPS = {
    "atoms": ("atoms per structure", (4, 5, 7, 10, 14, 20, 28, 37, 46)),
    "batch": ("molecules in a batch", (1, 4, 16, 64, 256, 1024, 4096)),
    "pairs": ("pairs within the cutoff", (3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0)),
}
SPACING = 2.15  # Å: 0.1 atoms/Å³


def crystal(edge: int):
    """A batch of one periodic structure: edge³ atoms (H, C, N, O) on a cubic lattice that is shaken
    a little."""
    import ase

    import scdlab

    rng = np.random.default_rng(0)
    at = SPACING * np.stack(np.meshgrid(*3 * [np.arange(edge)], indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    atoms = ase.Atoms(
        rng.choice([1, 6, 7, 8], len(at)),
        at + rng.normal(0, 0.1, at.shape),
        cell=3 * [SPACING * edge],
        pbc=True,
    )
    return scdlab.AtomStore.from_ase([atoms]).take([0])


def case(model: str, sweep: str, setting):
    """(size, atoms, step) of one point of a sweep: how large it is in the sweep's own terms, how
    many atoms that is, and its training step."""
    import torch

    import scdlab
    from scdlab.atoms import neighbor_list

    cutoff = setting if sweep == "pairs" else 5.0
    if sweep == "batch":
        store = scdlab.load_qm9(limit=60_000)
        batch = store.take(
            torch.randperm(len(store), generator=torch.Generator().manual_seed(0))[:setting].numpy()
        )
    else:
        batch = crystal(8 if sweep == "pairs" else setting)
    torch.manual_seed(0)
    network = getattr(scdlab, model)(hidden_channels=128, num_layers=6, num_rbf=50, cutoff=cutoff)
    n = batch.num_graphs
    size = {"atoms": batch.num_nodes, "batch": n, "pairs": len(neighbor_list(batch, cutoff))}[sweep]
    step = training_step(
        network,
        lambda: (network(batch, noise=False).energy.float(), None),
        n,
        batch.num_nodes,
        False,
    )
    return size, batch.num_nodes, step


def exponent(sizes, times) -> tuple[float, float]:
    """p and c of time = c · size^p by least squares on the logarithms of the larger half of a sweep
    (sizes in order).

    Raises ValueError for fewer than three sizes, whose larger half is no line.
    """
    if len(sizes) < 3:
        raise ValueError(f"A sweep of {len(sizes)} sizes shows no growth; measure three or more.")
    half = slice(len(sizes) // 2, None)
    p, log_c = np.polyfit(np.log(sizes[half]), np.log(times[half]), 1)
    return float(p), float(np.exp(log_c))


def measure(model: str, sweep: str, settings, rounds: int) -> dict:
    """One sweep of one model: the median over rounds of each size's step, in ms, the exponent, and
    the memory of a step for each atom, in kB."""
    sizes, atoms, steps = zip(*(case(model, sweep, setting) for setting in settings), strict=True)
    times = [[] for _ in steps]
    memory = []
    for n, step in zip(atoms, steps, strict=True):
        step()  # warms up
        peak = PeakMemory()
        step()
        risen = peak.risen()
        memory.append(None if risen is None else 1e3 * risen / n)
    for _ in range(rounds):
        for step, seen in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            seen.append(1e3 * (time.perf_counter() - start))
    medians = [statistics.median(seen) for seen in times]
    p, c = exponent(sizes, medians)
    return {
        "model": model,
        "sweep": sweep,
        "sizes": list(sizes),
        "ms": medians,
        "kB_per_atom": memory,
        "exponent": p,
        "factor_ms": c,
    }


def picture(results: list[dict], sweep: str, path: Path) -> None:
    """Time against size on logarithmic axes, both models, and the lines fitted to the larger
    halves, as an image."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for row in (r for r in results if r["sweep"] == sweep):
        color = COLORS[row["model"]]
        half = row["sizes"][len(row["sizes"]) // 2 :]
        label = f"{row['model']}: exponent {row['exponent']:.2f}"
        ax.loglog(row["sizes"], row["ms"], "o", color=color, label=label)
        ax.loglog(half, [row["factor_ms"] * size ** row["exponent"] for size in half], color=color)
    ax.set_xticks(row["sizes"][::2], [f"{size:,}" for size in row["sizes"][::2]])
    ax.set_xticks([], minor=True)
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.set(xlabel=SWEEPS[sweep][0], ylabel="training step / ms")
    ax.legend(frameon=False)
    fig.savefig(path, dpi=130)
    plt.close(fig)


def table(report: dict) -> str:
    """The report as a markdown table, with the machine it was measured on."""
    columns = " | ".join(f"{model} | exponent | kB an atom" for model in MODELS)
    rows = [f"| a training step grows with | {columns} |", f"|---|{6 * '--:|'}"]
    for sweep, (what, _) in SWEEPS.items():
        found = {r["model"]: r for r in report["results"] if r["sweep"] == sweep}
        sizes = found[MODELS[0]]["sizes"]
        cells = [f"{what}, {sizes[0]:,} to {sizes[-1]:,}"]
        for row in (found[model] for model in MODELS):
            cells += [
                f"{row['ms'][0]:,.0f} to {row['ms'][-1]:,.0f} ms",
                f"**{row['exponent']:.2f}**",
                _ends(row["kB_per_atom"][len(row["sizes"]) // 2 :]),
            ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            *rows,
            "",
            f"{about(report)} Exponents and memory are those of the larger half of each sweep.",
        ]
    )


def _ends(memory: list[float | None]) -> str:
    """Memory for each atom at both ends of the larger half of a sweep."""
    if None in memory:
        return "not known here"
    return f"{memory[0]:.0f} to {memory[-1]:.0f}"


def shown(report: dict) -> str:
    """What benchmarks/README.md shows: the table and the pictures."""
    images = " ".join(
        f"![Growth with {what}](results/growth_{s}.png)" for s, (what, _) in SWEEPS.items()
    )
    return f"{table(report)}\n\n{images}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE.parent / "results",
        help="folder of the report and pictures",
    )
    options = parser.parse_args()
    tune()
    before = warn_if_busy()
    results = []
    for sweep, (what, settings) in SWEEPS.items():
        for model in MODELS:
            others = Others()
            row = measure(model, sweep, settings, options.rounds) | others.report()
            results.append(row)
            ends = f"{row['ms'][0]:.0f} … {row['ms'][-1]:.0f} ms"
            busy = f"   BUSY: others used {row['others']} cores" if row["busy"] else ""
            print(
                f"{what:24s} {model:23s} {ends:16s} time ∝ size^{row['exponent']:.2f}{busy}",
                flush=True,
            )
    command = f"python benchmarks/growth.py --rounds {options.rounds}"
    report = {
        "command": command,
        "machine": machine(),
        "before": before,
        "busy": any(row["busy"] for row in (before, *results)),
        "results": results,
    }
    write(options.out / "growth.json", report)
    for sweep in SWEEPS:
        picture(results, sweep, options.out / f"growth_{sweep}.png")
    if options.out == HERE.parent / "results":
        put_into(HERE.with_name("README.md"), "growth", shown(report))


if __name__ == "__main__":
    main()

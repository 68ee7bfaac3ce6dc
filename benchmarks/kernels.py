"""Whether fused kernels and filter tables earn their place: the same training step with and without
them.

SchNet and the equivariant transformer, 128 features × 6 layers, batches of QM9, equal terms. Three
contestants:

    plain     plain torch, exact filters          neighbor_sums.plain_torch(), and no table
    fused     fused kernels, exact filters        model.filter_table_size = None
    tables    fused kernels, filters from tables  the model as it comes

Their losses are compared before anything is timed. Beside the times stand

- the error of tables: energies (without the elements' references) and forces of a batch against
  exact filters in float64 and plain torch, |difference| / |value| as vectors over the batch; of
  random parameters on QM9, and after a short training on ethanol. "none" is what float32 alone
  does, with exact filters.
- the time that compiling the kernels takes the first time: the first training step of a process
  whose cache is empty, less its second.

    python benchmarks/kernels.py    about five minutes; writes results/kernels.json, a picture, and
                                    the tables in benchmarks/README.md
"""

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import (
    CASES,
    about,
    ceilings,
    duel,
    loss_differences,
    machine,
    put_into,
    serve,
    training_step,
    tune,
    warn_if_busy,
    write,
)

HERE = Path(__file__).resolve()
MODELS = {"SchNet": {}, "EquivariantTransformer": {"num_heads": 8}}
CELLS = (256, 512, 1024)
SIDES = {
    "fused": "fused kernels",
    "plain": "plain torch",
    "tables": "fused kernels, tables",
}  # the first, to compare


def network(name: str, hidden_channels: int = 128, num_layers: int = 6):
    """A fresh network with the same random parameters every time."""
    import torch

    import scdlab

    torch.manual_seed(0)
    return getattr(scdlab, name)(
        hidden_channels=hidden_channels,
        num_layers=num_layers,
        num_rbf=50,
        cutoff=5.0,
        **MODELS[name],
    )


def molecules(n: int):
    """A batch of n molecules of QM9."""
    import torch

    import scdlab

    torch.manual_seed(0)
    store = scdlab.load_qm9(limit=60_000)
    return store.take(torch.randperm(len(store))[:n].numpy())


def sides(name: str, n: int, forces: bool) -> dict:
    """The training steps on the same batch, by name of the side; each returns its loss."""
    from scdlab.atoms import neighbor_list
    from scdlab.nn.ops import neighbor_sums

    batch = molecules(n)
    pairs = neighbor_list(batch, 5.0)

    def side(exact):
        model = network(name)
        model.filter_table_size = None if exact else model.filter_table_size

        def predict():
            out = model(batch, forces=forces, noise=False, pairs=pairs)
            return out.energy.float(), out.forces

        return training_step(model, predict, n, batch.num_nodes, forces)

    exact = side(exact=True)

    def plain():
        with neighbor_sums.reference_kernels():  # the backward pass too
            return exact()

    return {"fused": side(exact=True), "plain": plain, "tables": side(exact=False)}


def check(name: str, n: int, forces: bool) -> dict:
    """Relative differences of the losses of "plain" and "tables" and that of "fused"; ends the
    program above 1e-5."""
    steps = sides(name, n, forces)
    return loss_differences({"ours": steps.pop("fused"), **steps})


def errors(model, batch, cells=CELLS) -> list[dict]:
    """Relative errors of energies and forces with tables of so many cells, and of exact filters
    (cells: None)."""
    from scdlab.nn.blocks.heads import sum_over_atoms
    from scdlab.nn.ops import neighbor_sums

    model.train()  # tables serve training only

    def answers(network):
        out = network(batch, forces=True, noise=False)
        references = sum_over_atoms(network.energy_head.reference[batch.z], batch)
        return out.energy.detach() - references, out.forces.detach().double()

    reference = copy.deepcopy(model).double()
    reference.filter_table_size = None
    with neighbor_sums.reference_kernels():
        true = answers(reference)
    rows = []
    kept = model.filter_table_size
    for count in (None, *cells):
        model.filter_table_size = count
        energies, forces = (
            ((a - b).norm() / b.norm()).item() for a, b in zip(answers(model), true, strict=True)
        )
        rows.append({"cells": count, "energies": energies, "forces": forces})
    model.filter_table_size = kept
    if any(row["forces"] == rows[0]["forces"] for row in rows[1:]):
        raise SystemExit("The batch is too small for tables to be used; nothing to measure on it.")
    return rows


def trained(model, steps: int = 60):
    """The model after a short training on ethanol, and a batch of frames that it has not seen."""
    import scdlab

    train, test, _ = scdlab.load_ethanol().split(640, 128)
    scdlab.fit(
        model,
        scdlab.objectives.EnergyForces(),
        train,
        steps=steps,
        batch_size=64,
        device="cpu",
        progress=False,
    )
    return model, test.take(range(len(test)))


def compile_seconds(name: str) -> float:
    """What compiling adds to the first step of a process with an empty cache, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(HERE), "--compile", name]
        found = subprocess.run(
            command,
            env=os.environ | {"NUMBA_CACHE_DIR": folder},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        if not any(Path(folder).rglob("*.nbi")):
            raise SystemExit(
                "No kernel was compiled into the empty cache, so the time it takes is not known."
            )
    return float(found.split()[-1])


def first_step(name: str) -> float:
    """How much longer the first training step of this process takes than the second, in seconds."""
    step = sides(name, 32, True)["tables"]
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds[0] - seconds[1]


def timed(name: str, n: int, forces: bool, rounds: int, repeats: int) -> dict:
    """One case of the report: medians in ms; the gain of kernels (plain / fused) and of tables
    (fused / tables), each a median over rounds with its spread; memory in MB."""
    differences = check(name, n, forces)
    rows = duel(
        HERE, {side: ("--worker", side, name, n, forces) for side in SIDES}, rounds, repeats
    )
    plain = rows["plain"]
    tables = rows["tables"]
    return {
        "model": name,
        "batch": n,
        "forces": forces,
        "plain_ms": plain["theirs_ms"],
        "fused_ms": plain["ours_ms"],
        "tables_ms": tables["theirs_ms"],
        "kernels": plain["ratio"],
        "kernels_min": plain["ratio_min"],
        "kernels_max": plain["ratio_max"],
        "tables": 1 / tables["ratio"],
        "tables_min": 1 / tables["ratio_max"],
        "tables_max": 1 / tables["ratio_min"],
        "plain_MB": plain["theirs_MB"],
        "fused_MB": plain["ours_MB"],
        "tables_MB": tables["theirs_MB"],
        "loss_difference": max(differences.values()),
        "others": plain["others"],
        "busy": plain["busy"],
    }


def table(report: dict) -> str:
    """The report as two markdown tables, with the machine it was measured on."""
    head = (
        f"| training step on | plain torch | fused kernels | gain | tables of {report['cells']:,} "
        "cells | gain |"
    )
    rows = [head, "|---|--:|--:|--:|--:|--:|"]
    for r in report["results"]:
        rows.append(
            f"| {r['model']}, {r['batch']} molecules, "
            f"energies{' and forces' if r['forces'] else ''} | {r['plain_ms']:.0f} ms | "
            f"{r['fused_ms']:.0f} ms | **{r['kernels']:.1f}×** | {r['tables_ms']:.0f} ms | "
            f"**{r['tables']:.1f}×** |"
        )
    cells = [row["cells"] for row in report["errors"][0]["errors"]]
    columns = " | ".join("float32, no table" if c is None else f"{c:,} cells" for c in cells)
    rows += [
        "",
        f"| relative error of energies; forces | {columns} |",
        f"|---|{'--:|' * len(cells)}",
    ]
    for r in report["errors"]:
        found = " | ".join(f"{e['energies']:.0e}; {e['forces']:.0e}" for e in r["errors"])
        rows.append(f"| {r['model']}, {r['parameters']} | {found} |")
    seconds = ", ".join(f"{value:.0f} s for {name}" for name, value in report["compile_s"].items())
    return "\n".join(
        [*rows, "", f"Compiling the kernels, once on a machine: {seconds}. {about(report)}"]
    )


def shown(report: dict) -> str:
    """What benchmarks/README.md shows: the tables and the picture."""
    return (
        f"{table(report)}\n"
        "\n"
        "![Training step without and with fused kernels and tables](results/kernels.png)"
    )


def picture(results: list[dict], path: Path) -> None:
    """Bars of the three contestants' times, one panel for each model, as an image."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(r["model"] for r in results))
    fig, axes = plt.subplots(1, len(names), figsize=(9, 3.6), layout="constrained", squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        rows = [r for r in results if r["model"] == name]
        for k, (side, color) in enumerate(
            (("plain", "#999999"), ("fused", "#56B4E9"), ("tables", "#0072B2"))
        ):
            bars = ax.barh(
                [i + 0.27 * k for i in range(len(rows))],
                [r[f"{side}_ms"] for r in rows],
                0.25,
                color=color,
                label=SIDES[side],
            )
            ax.bar_label(bars, fmt="%.0f", padding=3)
        labels = [
            f"{r['batch']} molecules,\nenergies{' + forces' if r['forces'] else ''}" for r in rows
        ]
        ax.set_yticks([i + 0.27 for i in range(len(rows))], labels)
        ax.invert_yaxis()
        ax.margins(x=0.15)
        ax.set(title=name, xlabel="training step / ms")
    axes[0, 0].legend(frameon=False)
    fig.savefig(path, dpi=130)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "results", help="folder of the report and picture"
    )
    parser.add_argument(
        "--worker", nargs=4, metavar=("SIDE", "MODEL", "BATCH", "FORCES"), help="used by the script"
    )
    parser.add_argument("--compile", metavar="MODEL", help="used by the script itself")
    options = parser.parse_args()
    if options.compile:
        print(first_step(options.compile))
        return
    if options.worker:
        side, name, n, forces = options.worker
        tune()
        serve(sides(name, int(n), forces == "True")[side])
        return
    before = warn_if_busy()
    ceiling = ceilings()
    results = []
    found = []
    compiling = {name: compile_seconds(name) for name in MODELS}
    print(
        "compiling:",
        ", ".join(f"{name} {value:.1f} s" for name, value in compiling.items()),
        flush=True,
    )
    for name in MODELS:
        for parameters, (model, batch) in (
            ("random parameters, QM9", (network(name), molecules(64))),
            ("trained, ethanol", trained(network(name))),
        ):
            found.append({"model": name, "parameters": parameters, "errors": errors(model, batch)})
            for row in found[-1]["errors"]:
                print(
                    f"{name}, {parameters}, {row['cells']} cells: {row['energies']:.1e} "
                    f"{row['forces']:.1e}",
                    flush=True,
                )
    for name in MODELS:
        for n, forces in CASES:
            results.append(row := timed(name, n, forces, options.rounds, options.repeats))
            busy = f"   BUSY: others used {row['others']} cores" if row["busy"] else ""
            times = "   ".join(
                f"{side} {row[f'{side}_ms']:7.1f} ms" for side in ("plain", "fused", "tables")
            )
            gains = f"kernels {row['kernels']:.2f}×   tables {row['tables']:.2f}×"
            print(
                f"{name:22s} {n:4d} {'E + F' if forces else 'E':5s}  {times}   {gains}{busy}",
                flush=True,
            )
    command = f"python benchmarks/{HERE.name} --rounds {options.rounds} --repeats {options.repeats}"
    report = {
        "command": command,
        "machine": machine() | ceiling,
        "before": before,
        "busy": any(row["busy"] for row in (before, *results)),
        "cells": network("SchNet", 8, 1).filter_table_size,
        "compile_s": compiling,
        "errors": found,
        "results": results,
    }
    write(options.out / "kernels.json", report)
    picture(results, options.out / "kernels.png")
    if options.out == HERE.parent / "results":
        put_into(HERE.with_name("README.md"), "kernels", shown(report))


if __name__ == "__main__":
    main()

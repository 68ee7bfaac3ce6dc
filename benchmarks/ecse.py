"""What exact symmetry costs: ECSE around PET in evaluations, FLOPs and time, beside averages over
fixed rotations.

One thread, under torch.no_grad. Three questions.

    one molecule   one snapshot of ethanol: PET as it is, ECSE with frames of atoms, the same with
                   weights pruned four times, and of each layer by itself, ECSE with frames of the
                   structure (pooled), a quadrature of degree 5 and random rotations, 84 evaluations
                   each. And the first five on a batch of 8 snapshots, where PET itself has enough
                   to do that arithmetic, not Python, takes the time
    a force call   ethanol through `scdlab.Calculator`, as dynamics ask for it: the default PET and
                   its ECSEs, snapshot after snapshot, and the floor of each: its matrix products at
                   the speed that one thread reaches
    many atoms     rattled copper, periodic, 108 … 1,000 atoms, ECSE with pruned frames around a PET
                   of one layer

What a frame costs. It shows PET an atom's receptive field, where layer l of L computes the atoms
within L - 1 - l steps of the one whose share is wanted. An atom h steps away is thus computed
L - h times, and

    work = Σ_i frames(i) Σ_j∈field(i) max(L - h_ij, 0) / (L N)

in evaluations of PET on all N atoms.

With one layer, with frames of the structure, and layer by layer, that is the mean number of frames
per environment; else an atom's share needs its neighbors' tokens too. Allowed: 1.2 × work in FLOPs,
and twice that in time.

FLOPs are those of matrix products (`harness.matrix_products`); time is the processor's, which other
processes do not add to, the median over rounds in which all sides take turns; its ratio is taken
within a round. Rotation error: the largest less the
smallest energy of one snapshot in eight random orientations, float64, after a short training; it
and nothing else depends on that training. Zero: the energies agree to their last digit.
The exponent p of FLOPs or time ∝ atoms^p is fitted over all sizes. Peak memory is how far one call
raises the resident memory of this process, once freed pages are handed back.

    python benchmarks/ecse.py     about ten minutes; writes results/ecse.json and its tables in
                                  benchmarks/README.md
"""

import argparse
import copy
import statistics
import time
from pathlib import Path

import numpy as np
from harness import (
    Others,
    PeakMemory,
    about,
    machine,
    matrix_products,
    product_speed,
    put_into,
    tune,
    warn_if_busy,
    write,
)

HERE = Path(__file__).resolve()
NETWORKS = {  # features × layers
    f"{hidden} × {layers}": dict(hidden_channels=hidden, num_layers=layers, num_attention_layers=2)
    for layers in (1, 2)
    for hidden in (64, 128)
}
RAW = "PET"
OURS = "ECSE"
PRUNED = "ECSE, pruned"
LAYERS = "ECSE, layer by layer"
SIDES = (RAW, OURS, PRUNED, LAYERS, "ECSE, pooled", "quadrature", "random rotations")
CASES = ((1, SIDES), (8, SIDES[:5]))  # snapshots of ethanol in a batch, and who is measured
BOXES = ((3, 3, 3), (4, 4, 4), (5, 5, 5), (5, 5, 10))  # cubic cells of copper, 4 atoms each
COPPER = dict(hidden_channels=32, num_layers=1, num_attention_layers=2, cutoff=4.0)
ORIENTATIONS = 8
KINDS = ("float64", "float32")  # of force calls


def network(settings: dict, steps: int = 0):
    """PET, after some steps of training on energies and forces of ethanol."""
    import torch

    import scdlab

    torch.manual_seed(0)
    model = scdlab.PET(**settings)
    if steps:
        train = scdlab.load_ethanol().split(640, 128)[0]
        energies = scdlab.objectives.EnergyForces()
        scdlab.fit(model, energies, train, steps=steps, batch_size=16, device="cpu", progress=False)
    return model.eval()


def sides(model, names=SIDES) -> dict:
    """{side: what answers}, all around one model."""
    from scdlab.symmetry import ECSE, Quadrature, RandomRotations

    made = dict(
        zip(
            SIDES,
            (
                lambda: model,
                lambda: ECSE(model),
                lambda: ECSE(model, prunings=4),
                lambda: ECSE(model, layerwise=True),
                lambda: ECSE(model, local=False),
                lambda: Quadrature(model, 5),
                lambda: RandomRotations(model, 84),
            ),
            strict=True,
        )
    )
    return {name: made[name]().eval() for name in names}


def ethanol(n: int):
    """A batch of n snapshots of ethanol, evenly spaced, from the last tenth of the trajectory."""
    import scdlab

    store = scdlab.load_ethanol()
    first = len(store) * 9 // 10
    return store.take(range(first, len(store), (len(store) - first) // n)[:n])


def copper(box: tuple):
    """A batch of one periodic box of copper, its atoms moved by 0.1 Å."""
    from ase.build import bulk

    import scdlab

    atoms = bulk("Cu", cubic=True) * box
    atoms.rattle(0.1, seed=0)
    return scdlab.AtomStore.from_ase([atoms]).take([0])


def in_float64(batch):
    """The batch with positions and cell in float64."""
    batch = copy.copy(batch)
    batch.pos = batch.pos.double()
    if "cell" in batch:
        batch.cell = batch.cell.double()
    return batch


def evaluations(model, batch) -> dict:
    """{"frames": per environment (of atoms, or of structures), "work": evaluations of PET on all
    atoms}."""
    from scdlab.atoms import neighbor_list

    if not hasattr(model, "frames"):
        return {"frames": 1.0, "work": 1.0}
    batch = in_float64(batch)
    layers = model.n_hops
    frames = model.frames(batch)
    if getattr(model, "layerwise", False):
        mean = len(frames) / len(batch.z)
        return {"frames": mean, "work": mean}
    clusters = model.clusters(batch, neighbor_list(batch, model.cutoff))
    computed = clusters.atom.new_full(clusters.atom.shape, layers)
    if clusters.hop is not None:
        computed = (layers - clusters.hop).clamp(min=0)
    total = computed.new_zeros(len(clusters.ptr) - 1)
    total.index_add_(
        0, total.new_tensor(range(len(total))).repeat_interleave(clusters.ptr.diff()), computed
    )
    return {
        "frames": len(frames) / len(total),
        "work": float(total[frames.cluster].sum()) / (layers * len(batch.z)),
    }


def call(model, batch, forces: bool):
    """A function that computes energies, or energies and forces, and keeps no graph."""
    import torch

    @torch.no_grad()
    def step():
        return model(batch, forces=forces, noise=False)

    return step


def rotation_error(model, batch) -> float:
    """The largest less the smallest energy in random orientations, in meV: of the worst structure
    of the batch."""
    import torch
    from scipy.spatial.transform import Rotation

    batch = in_float64(batch)
    energies = []
    for turn in Rotation.random(ORIENTATIONS, random_state=1).as_matrix():
        turned = copy.copy(batch)
        turned.pos = batch.pos @ torch.from_numpy(turn).T
        energies.append(call(model, turned, False)().energy)
    energies = torch.stack(energies)
    return 1e3 * float((energies.amax(0) - energies.amin(0)).max())


def take_turns(steps: dict, rounds: int, repeats: int) -> dict:
    """{side: its times in ms, one a round}; sides take turns."""
    times = {side: [] for side in steps}
    for _ in range(rounds):
        for side, step in steps.items():
            once = []
            for _ in range(repeats):
                start = time.process_time()
                step()
                once.append(1e3 * (time.process_time() - start))
            times[side].append(statistics.median(once))
    return times


def one_molecule(
    name: str, structures: int, names, rounds: int, repeats: int, errors: dict
) -> list[dict]:
    """A row for each side, without forces and with them; errors: rotation errors by side, in
    meV."""
    batch = ethanol(structures)
    rows = []
    models = sides(network(NETWORKS[name]), names)
    for forces in (False, True):
        others = Others()
        steps = {side: call(model, batch, forces) for side, model in models.items()}
        flops = {side: matrix_products(step) for side, step in steps.items()}  # warms up, too
        times = take_turns(steps, rounds, repeats)
        load = others.report()
        for side, model in models.items():
            ratios = [own / raw for own, raw in zip(times[side], times[RAW], strict=True)]
            cost = evaluations(model, batch)
            rows.append(
                {
                    "network": name,
                    "structures": structures,
                    "forces": forces,
                    "side": side,
                    **cost,
                    "flops": flops[side],
                    "flops_ratio": flops[side] / flops[RAW],
                    "flops_allowed": 1.2 * cost["work"],
                    "ms": statistics.median(times[side]),
                    "ratio": statistics.median(ratios),
                    "ratio_min": min(ratios),
                    "ratio_max": max(ratios),
                    "ratio_allowed": 2.4 * cost["work"],
                    "error_meV": errors[side],
                    **load,
                }
            )
    return rows


def force_calls(rounds: int) -> list[dict]:
    """A row for each side and precision: ms of a force call of ethanol, default settings, and its
    floor: its matrix products at the speed that this processor reaches in that precision."""
    import torch

    import scdlab

    store = scdlab.load_ethanol()
    first = len(store) * 9 // 10
    snapshots = [store.to_ase(first + k) for k in range(0, 8 * rounds, 8)]
    models = sides(network({}), (RAW, OURS, PRUNED, LAYERS))
    others = Others()
    rows = []
    for dtype in (torch.float64, torch.float32):
        calculators = {
            side: scdlab.Calculator(model, dtype=dtype) for side, model in models.items()
        }
        times = {side: [] for side in calculators}
        speed = product_speed(dtype)
        floors = {}
        for atoms in snapshots[:1] + snapshots:  # the first one twice: it warms up
            for side, calculator in calculators.items():
                atoms.calc = calculator
                start = time.process_time()
                atoms.get_forces()
                times[side].append(1e3 * (time.process_time() - start))
                calculator.reset()
                if side not in floors:
                    floors[side] = 1e-6 * matrix_products(atoms.get_forces) / speed
                    calculator.reset()
        for side, seen in times.items():
            ms = statistics.median(seen[1:])
            about_it = {"side": side, "dtype": str(dtype).split(".")[1]}
            rows.append(about_it | {"ms": ms, "floor_ms": floors[side]})
    load = others.report()
    return [row | load for row in rows]


def call_table(report: dict) -> str:
    """Costs of force calls as a markdown table."""
    rows = [
        "| a force call of ethanol, PET 128 × 2 | in float64, the default | floor | in float32 "
        "| floor |",
        "|---|--:|--:|--:|--:|",
    ]
    by = {(row["side"], row["dtype"]): row for row in report["calls"]}
    for side in dict.fromkeys(row["side"] for row in report["calls"]):
        cells = [by[side, kind][what] for kind in KINDS for what in ("ms", "floor_ms")]
        rows.append(f"| {side} | " + " | ".join(f"{ms:.0f} ms" for ms in cells) + " |")
    return "\n".join(rows)


def many_atoms(boxes, rounds: int, repeats: int) -> dict:
    """Energies and forces of boxes of copper: per size frames, FLOPs, ms and peak MB, and exponents
    over all sizes."""
    others = Others()
    model = sides(network(COPPER), [PRUNED])[PRUNED]
    batches = [copper(box) for box in boxes]
    atoms = [len(batch.z) for batch in batches]
    steps = {n: call(model, batch, True) for n, batch in zip(atoms, batches, strict=True)}
    flops = [matrix_products(step) for step in steps.values()]
    memory = []
    for step in steps.values():
        peak = PeakMemory()
        step()
        memory.append(peak.risen())
    ms = [statistics.median(seen) for seen in take_turns(steps, rounds, repeats).values()]
    frames = [evaluations(model, batch)["frames"] for batch in batches]
    return {
        "atoms": atoms,
        "frames": frames,
        "flops": flops,
        "ms": ms,
        "MB": memory,
        "flops_exponent": exponent(atoms, flops),
        "ms_exponent": exponent(atoms, ms),
        **others.report(),
    }


def exponent(sizes, costs) -> float:
    """p of cost ∝ size^p, by least squares on the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def table(report: dict) -> str:
    """Costs on ethanol as a markdown table."""
    rows = [
        "| ethanol, energies and forces | PET | frames per environment | work | FLOPs (allowed) | "
        "time | time (allowed) | rotation error |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for r in (r for r in report["results"] if r["forces"]):
        what = f"{r['side']}, {r['structures']} snapshot{'s' if r['structures'] > 1 else ''}"
        flops = "1"
        taken = "1"
        if r["side"] != RAW:
            flops = f"**{r['flops_ratio']:.2f}×** ({r['flops_allowed']:.2f})"
            taken = f"**{r['ratio']:.1f}×** ({r['ratio_allowed']:.1f})"
        rows.append(
            f"| {what} | {r['network']} | {r['frames']:.1f} | {r['work']:.1f} | {flops} | "
            f"{r['ms']:.0f} ms | {taken} | {r['error_meV']:.1e} meV |"
        )
    return "\n".join(rows)


def growth_table(report: dict) -> str:
    """Costs on copper as a markdown table."""
    g = report["growth"]
    rows = [
        "| atoms of copper, pruned frames | frames per atom | MFLOP per atom | ms per atom | MB "
        "per atom |",
        "|--:|--:|--:|--:|--:|",
    ]
    for n, frames, flops, ms, memory in zip(
        *(g[k] for k in ("atoms", "frames", "flops", "ms", "MB")), strict=True
    ):
        peak = "not measured" if memory is None else f"{memory / n:.2f}"
        rows.append(f"| {n:,} | {frames:.1f} | {1e-6 * flops / n:.2f} | {ms / n:.2f} | {peak} |")
    return "\n".join(
        [
            *rows,
            "",
            f"FLOPs ∝ atoms^{g['flops_exponent']:.2f}, time ∝ atoms^{g['ms_exponent']:.2f}.",
        ]
    )


def shown(report: dict) -> str:
    """What benchmarks/README.md shows: the tables, and the machine they were measured on."""
    where = about(report | {"results": [*report["results"], *report["calls"], report["growth"]]})
    tables = "\n\n".join([table(report), call_table(report), growth_table(report)])
    return f"{tables}\n\nOne thread, processor time. {where}"


def main():
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--steps", type=int, default=100, help="of training, before rotation errors are measured"
    )
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "results", help="folder of the report"
    )
    options = parser.parse_args()
    tune()
    torch.set_num_threads(1)
    before = warn_if_busy()
    results = []
    for name, settings in NETWORKS.items():
        trained = network(settings, options.steps).double()
        errors = {side: rotation_error(model, ethanol(1)) for side, model in sides(trained).items()}
        for structures, names in CASES:
            rows = one_molecule(name, structures, names, options.rounds, options.repeats, errors)
            results += rows
            for r in rows:
                busy = f"   BUSY: others used {r['others']} cores" if r["busy"] else ""
                print(
                    f"{r['network']:8s} {r['structures']} {'E + F' if r['forces'] else 'E':5s} "
                    f"{r['side']:16s} {r['frames']:5.2f} frames, work {r['work']:5.2f}   "
                    f"{1e-6 * r['flops']:9.1f} MFLOP {r['flops_ratio']:6.2f}× (≤ "
                    f"{r['flops_allowed']:6.2f})   {r['ms']:7.1f} ms {r['ratio']:6.2f}× (≤ "
                    f"{r['ratio_allowed']:6.2f})   {r['error_meV']:.1e} meV{busy}",
                    flush=True,
                )
    command = (
        f"python benchmarks/ecse.py --rounds {options.rounds} --repeats {options.repeats} --steps "
        f"{options.steps}"
    )
    calls = force_calls(max(options.rounds, 2))
    growth = many_atoms(BOXES, options.rounds, options.repeats)
    report = {
        "command": command,
        "machine": machine(),
        "before": before,
        "busy": any(row["busy"] for row in (before, growth, *calls, *results)),
        "results": results,
        "calls": calls,
        "growth": growth,
    }
    print(call_table(report))
    print(growth_table(report), flush=True)
    write(options.out / "ecse.json", report)
    if options.out == HERE.parent / "results":
        put_into(HERE.with_name("README.md"), "ecse", shown(report))


if __name__ == "__main__":
    main()

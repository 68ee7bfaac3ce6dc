"""What denoising beside the labels costs: a training step of DeNS against a plain one on energies
and forces.

The same equivariant transformer, which can take forces as input, on the same frames of ethanol or
aspirin; a quarter of the structures corrupted, a quarter of their atoms, as published. A step is
what `scdlab.fit` does: draw, loss, backward, AdamW. New noise in every step. Steps take turns.

    python benchmarks/dens.py      about three minutes; writes results/dens.json and its table in
                                   benchmarks/README.md
"""

import argparse
from pathlib import Path

from harness import TERMS, about, duel, machine, put_into, serve, tune, warn_if_busy, write
from two_pass import TERM_NAMES, training_step

HERE = Path(__file__).resolve()
SIDES = ("DeNS", "energies and forces")
NETWORKS = {
    "128 × 6": dict(hidden_channels=128, num_layers=6, num_heads=8, num_rbf=50),
    "64 × 3": dict(hidden_channels=64, num_layers=3, num_heads=4, num_rbf=32),
}
CASES = (
    ("ethanol", 32, "128 × 6"),
    ("aspirin", 8, "128 × 6"),
    ("ethanol", 16, "64 × 3"),
)  # molecule, frames, network


def step_of(side: str, molecule: str, frames: int, network: str):
    """The training step of one side."""
    import torch

    import scdlab
    from scdlab.objectives import DeNS, EnergyForces

    store = getattr(scdlab, f"load_{molecule}")()
    batch = store.take(range(0, len(store), len(store) // frames)[:frames])
    objective = {"DeNS": DeNS, "energies and forces": EnergyForces}[side]()
    torch.manual_seed(0)
    model = scdlab.EquivariantTransformer(**NETWORKS[network], force_input=True)
    objective.prepare(model, store)
    return training_step(
        model.train(), lambda model, generator: objective(model, batch, generator)[0]
    )


def table(report: dict) -> str:
    """The report as a markdown table, with the machine it was measured on."""
    rows = [
        "| training step on | network | energies and forces | DeNS | median ratio |",
        "|---|--:|--:|--:|--:|",
    ]
    for r in report["results"]:
        case = f"{r['frames']} frames of {r['molecule']}, {TERM_NAMES[r['terms']]}"
        rows.append(
            f"| {case} | {r['network']} | {r['theirs_ms']:.0f} ms | {r['ours_ms']:.0f} ms "
            f"| **{1 / r['corrupt_ratio']:.2f}×** |"
        )
    return "\n".join([*rows, "", about(report)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "results", help="folder of the report"
    )
    parser.add_argument(
        "--worker",
        nargs=5,
        metavar=("SIDE", "TERMS", "MOLECULE", "FRAMES", "NETWORK"),
        help="used by the script itself",
    )
    options = parser.parse_args()
    if options.worker:
        side, terms, molecule, frames, network = options.worker
        if terms == "equal":
            tune()
        serve(step_of(side, molecule, int(frames), network))
        return
    before = warn_if_busy()
    results = []
    for molecule, frames, network in CASES:
        for terms in TERMS:
            workers = {side: ("--worker", side, terms, molecule, frames, network) for side in SIDES}
            (row,) = duel(HERE, workers, options.rounds, options.repeats).values()
            results.append(
                {"molecule": molecule, "frames": frames, "network": network, "terms": terms} | row
            )
            busy = f"   BUSY: others used {row['others']} cores" if row["busy"] else ""
            print(
                f"{frames:3d} frames of {molecule}, {network}, {terms:12s} {row['theirs_ms']:7.1f} "
                f"ms   DeNS {row['ours_ms']:7.1f} ms   {1 / row['corrupt_ratio']:.2f}×{busy}",
                flush=True,
            )
    command = f"python benchmarks/dens.py --rounds {options.rounds} --repeats {options.repeats}"
    report = {
        "command": command,
        "machine": machine(),
        "before": before,
        "busy": any(row["busy"] for row in (before, *results)),
        "results": results,
    }
    write(options.out / "dens.json", report)
    if options.out == HERE.parent / "results":
        put_into(HERE.with_name("README.md"), "dens", table(report))


if __name__ == "__main__":
    main()

"""Adaptive layer norm on frames that no claim tests on: what it reads, and how loudly it starts.

    python tools/adaln_search.py [--steps 1000] [--seeds 100 101] [--only NAME …]

Self-conditioned denoising of ethanol, as the claim `scd-adaln` has it, but other seeds: what is
chosen here is chosen before any claim is measured. The layer reads the condition c, or the atom
beside it, [c, LN(x)]; its last weights start from Xavier times a gain. Each training is kept in the
folder --out, so that a search may be interrupted, and two processes may share it. Printed is the
noise left on unseen frames with the own condition, and the gain of the condition, 1 - own/none.
"""

import argparse
import json
from pathlib import Path

VARIANTS = {  # name -> reads the atom beside the condition, gain of the last layer's first weights
    "c, 0": (False, 0.0),
    "c, 0.5": (False, 0.5),
    "c, 1": (False, 1.0),
    "c, 2": (False, 2.0),
    "[c, x], 0.5": (True, 0.5),
    "[c, x], 1": (True, 1.0),
    "[c, x], 2": (True, 2.0),
    "c, 4": (False, 4.0),
    "[c, x], 4": (True, 4.0),
}


def measured(name: str, steps: int, seed: int) -> dict:
    """Noise left after a training, with the own condition and without one."""
    import torch
    from torch import nn

    from scdlab.claims import self_conditioned as scd
    from scdlab.claims.self_conditioned_adaln import Modulation, left_after

    settings = scd.CPU
    model = scd.fresh(settings, seed)
    torch.manual_seed(seed)
    model.adaln = nn.ModuleList(
        Modulation(settings["hidden_channels"], *VARIANTS[name], open_gate=True)
        for _ in range(settings["num_layers"])
    )
    return left_after(model, steps, settings, seed, "cpu", "frames")


def path_of(folder: Path, name: str, steps: int, seed: int) -> Path:
    """Where a result is kept."""
    word = "".join(letter for letter in name if letter.isalnum() or letter == ".")
    return folder / f"{word}.{steps}.seed{seed}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--table", action="store_true", help="print what is there, train nothing")
    parser.add_argument("--out", type=Path, default=Path("runs/adaln-search"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"| {args.steps:,} steps | noise left, own | gain, % |\n|---|---|---|")
    for name in args.only:
        found = []
        for seed in args.seeds:
            path = path_of(args.out, name, args.steps, seed)
            if not path.is_file() and not args.table:
                path.write_text(json.dumps(measured(name, args.steps, seed)))
            if path.is_file():
                found.append(json.loads(path.read_text()))
        own = ", ".join(f"{each['left_own_frames']:.4f}" for each in found)
        gain = ", ".join(f"{100 * each['gain_frames']:.1f}" for each in found)
        print(f"| {name} | {own} | {gain} |", flush=True)


if __name__ == "__main__":
    main()

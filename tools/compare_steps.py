"""Training steps of two checkouts side by side: does a change cost time?

    python tools/compare_steps.py ../other-checkout [--rounds 15]

Each checkout runs in a process of its own, with one thread; the two take turns of a few steps, of
which the fastest counts, so that a busy machine slows neither. Printed is the median, over the
rounds, of the ratio of this checkout's time to the other's, with the quartiles. A checkout of
scdlab 0.1 is understood too.
"""

import argparse
import inspect
import logging
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
CASES = ("SchNet", "ET", "SCD", "DeNS", "PET", "ECSE")
STEPS = 5  # in each turn, of which the fastest counts
OLD = {  # names of 0.1
    "hidden_channels": "hidden",
    "num_layers": "layers",
    "num_heads": "heads",
    "force_input": "force_encoding",
}


def step_of(case: str):
    """A function that does one training step: loss, gradient, AdamW."""
    import numpy as np
    import torch

    import scdlab
    from scdlab import objectives

    def sizes(**settings):
        old = "hidden" in inspect.signature(scdlab.SchNet.__init__).parameters
        return {OLD.get(name, name) if old else name: value for name, value in settings.items()}

    logging.getLogger("scdlab").setLevel(logging.ERROR)  # messages would stand between the times
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ethanol = scdlab.load_ethanol()
    size = dict(hidden_channels=128, num_layers=6)
    if case == "SchNet":
        model = scdlab.SchNet(**sizes(**size))
        objective = objectives.EnergyForces()
    elif case == "ET":
        model = scdlab.EquivariantTransformer(**sizes(**size, num_heads=8))
        objective = objectives.EnergyForces()
    elif case == "SCD":
        model = scdlab.EquivariantTransformer(**sizes(**size, num_heads=8), conditional=True)
        objective = objectives.SelfConditionedDenoising()
    elif case == "DeNS":
        model = scdlab.EquivariantTransformer(**sizes(**size, num_heads=8, force_input=True))
        objective = objectives.DeNS()
    else:
        model = scdlab.PET(**sizes(hidden_channels=64, num_layers=1))
        model = scdlab.ECSE(model) if case == "ECSE" else model
        objective = objectives.EnergyForces()
    objective.prepare(model, ethanol[:200])
    model.train()
    batch = ethanol.take(np.arange(4 if case == "ECSE" else 32))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)

    def step():
        optimizer.zero_grad()
        loss, _ = objective(model, batch, torch.Generator().manual_seed(0))
        loss.backward()
        optimizer.step()

    return step


def work() -> None:
    """A process of one checkout: for each case named on standard input, the seconds of its fastest
    step."""
    steps = {}
    for line in sys.stdin:
        case = line.strip()
        if case not in steps:
            steps[case] = step_of(case)
            steps[case]()
            steps[case]()
        seconds = []
        for _ in range(STEPS):
            start = time.perf_counter()
            steps[case]()
            seconds.append(time.perf_counter() - start)
        print(min(seconds), flush=True)


class Side:
    """A checkout that times turns on request."""

    def __init__(self, checkout: Path):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work"],
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, case: str) -> float:
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"The process of {self.process.args} ended during {case}.")
        return float(line)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", nargs="?", type=Path, help="the checkout to compare with")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work()
        return
    if options.other is None or not (options.other / "scdlab").is_dir():
        sys.exit("Name the folder of another checkout of scdlab, which has a folder `scdlab`.")
    ours = Side(HERE)
    theirs = Side(options.other.resolve())
    print("| step | here, ms | there, ms | ratio | quartiles |\n|---|---|---|---|---|")
    for case in options.cases:
        ours.turn(case)
        theirs.turn(case)
        times = []
        for number in range(options.rounds):
            pair = [
                (side, side.turn(case)) for side in ((ours, theirs), (theirs, ours))[number % 2]
            ]
            times.append([dict(pair)[ours], dict(pair)[theirs]])
        ratios = [a / b for a, b in times]
        low, middle, high = statistics.quantiles(ratios, n=4)
        here, there = (1e3 * statistics.median(each) for each in zip(*times, strict=True))
        print(
            f"| {case} | {here:.1f} | {there:.1f} | {middle:.3f} | {low:.3f}–{high:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""What the layer that reads its condition costs, and what it gains: accuracy per second.

Adaptive layer norm (adaLN) sets scale, shift and gate of a layer. Ours reads the atom beside the
condition, [c, LN(x)], for every atom; one that reads the condition alone, c, does so once for each
structure, and is cheaper. Both are trained by self-conditioned denoising on the same frames of
ethanol, with the same weights of the body and the same noise, for the *same seconds*: steps of the
two take turns to find the ratio of their times, and the cheaper one gets as many more steps.
Compared is the noise left on unseen frames, as a share of the noise, with the own condition; and
own/none, how much of it is due to the condition.

    python benchmarks/adaln.py [--steps 1000] [--seeds 0 1 2]     about ten minutes on one core

Writes results/adaln.json, and the table in benchmarks/README.md; each training is kept in the
folder --runs, so that an interrupted benchmark goes on.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from harness import machine, put_into, write
from torch import Tensor, nn
from torch.nn.functional import silu

import scdlab
from scdlab.atoms.batch import Batch
from scdlab.claims import self_conditioned as scd
from scdlab.claims.self_conditioned_adaln import left_after
from scdlab.nn.blocks.linear import xavier_linear
from scdlab.nn.model import Model
from scdlab.objectives import SelfConditionedDenoising

HERE = Path(__file__).resolve()
ARMS = {"both": "reads [c, LN(x)], ours", "condition": "reads c alone, starts at zero"}
WARM_UP = 3  # rounds that are not counted


class OfCondition(nn.Module):
    """Scale, shift and gate of a layer from the condition alone, in the place of `AdaLN`.

    Parameters
    ----------
    d : int
        Width of conditions and features.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.first = xavier_linear(d, d)
        self.norm = nn.LayerNorm(d)
        self.last = nn.Linear(d, 3 * d)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, c: Tensor, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The modulation of a layer, [N, d] each; c: [B, d] or [N, d], x: [N, d]."""
        read = self.last(self.norm(silu(self.first(c))))  # (B, 3d)
        if len(read) != len(x):
            read = read.index_select(0, batch.batch)  # (N, 3d)
        scale, shift, gate = read.chunk(3, dim=-1)
        return 1 + scale, shift, 1 + torch.tanh(gate)


def network(arm: str, settings: dict, seed: int) -> Model:
    """The network of an arm; both bodies start from the same weights."""
    model = scd.fresh(settings, seed)
    if arm == "condition":
        torch.manual_seed(seed)
        width, layers = settings["hidden_channels"], settings["num_layers"]
        model.adaln = nn.ModuleList(OfCondition(width) for _ in range(layers))
    return model


def ratio_of_times(settings: dict, rounds: int) -> dict:
    """Milliseconds of a step of each arm, turn by turn on one batch, and their median ratio."""
    batch = scdlab.load_ethanol().sample(settings["pretrain_batch"], 0).take(slice(None))
    objective = SelfConditionedDenoising(settings["sigma"])
    steps = {}
    for arm in ARMS:
        model = network(arm, settings, 0).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
        generator = torch.Generator().manual_seed(0)

        def step(model=model, optimizer=optimizer, generator=generator):
            optimizer.zero_grad()
            objective(model, batch, generator)[0].backward()
            optimizer.step()

        steps[arm] = step
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for turn in range(rounds + WARM_UP):
        for arm, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= WARM_UP:
                seconds[arm].append(time.perf_counter() - start)
    pairs = zip(seconds["both"], seconds["condition"], strict=True)
    return {
        "ms": {arm: 1e3 * statistics.median(s) for arm, s in seconds.items()},
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
    }


def shown(report: dict) -> str:
    """What benchmarks/README.md shows of a report."""
    lines = [
        "| adaptive layer norm | ms a step | steps | noise left, own condition | own/none |",
        "|---|--:|--:|--:|--:|",
    ]
    for arm, word in ARMS.items():
        rows = [row for row in report["results"] if row["arm"] == arm]
        own = [row["left_own_frames"] for row in rows]
        ratio = [row["left_own_frames"] / row["left_none_frames"] for row in rows]
        lines.append(
            f"| {word} | {report['step']['ms'][arm]:.1f} | {rows[0]['steps']:,} "
            f"| {statistics.mean(own):.4f} ± {statistics.stdev(own):.4f} "
            f"| {statistics.mean(ratio):.3f} |"
        )
    m = report["machine"]
    made = f"torch {m['torch']}, {m['date']}: `{report['command']}`."
    seeds = ", ".join(f"{d:+.4f}" for d in report["differences"])
    return "\n".join(
        [*lines, "", f"Ours minus the other, seed by seed: {seeds}. One thread, {made}"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/adaln"))
    parser.add_argument("--out", type=Path, default=HERE.parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = scd.CPU
    options.runs.mkdir(parents=True, exist_ok=True)
    timed = options.runs / "step.json"
    if not timed.is_file():
        timed.write_text(json.dumps(ratio_of_times(settings, options.rounds)))
    step = json.loads(timed.read_text())
    print(f"a step of ours takes {step['ratio']:.3f} times as long", flush=True)
    lengths = {"both": options.steps, "condition": round(step["ratio"] * options.steps)}
    results = []
    for seed in options.seeds:
        for arm, steps in lengths.items():
            kept = options.runs / f"{arm}.{steps}.seed{seed}.json"
            if not kept.is_file():
                model = network(arm, settings, seed)
                left = left_after(model, steps, settings, seed, "cpu", "frames")
                kept.write_text(json.dumps(left))
            results.append(
                {"arm": arm, "steps": steps, "seed": seed, **json.loads(kept.read_text())}
            )
            print(results[-1], flush=True)
    own = {arm: [row["left_own_frames"] for row in results if row["arm"] == arm] for arm in ARMS}
    report = {
        "command": f"python benchmarks/adaln.py --steps {options.steps}",
        "machine": machine(),
        "step": step,
        "differences": [a - b for a, b in zip(own["both"], own["condition"], strict=True)],
        "results": results,
    }
    write(options.out / "adaln.json", report)
    print(shown(report))
    if options.out == HERE.parent / "results":
        put_into(HERE.with_name("README.md"), "adaln", shown(report))


if __name__ == "__main__":
    main()

"""The training step of self-conditioned denoising: two passes of one network, against the obvious
way to write it, and against steps of one pass.

The conditional equivariant transformer (CT), 128 features × 6 layers, 8 heads, 50 radial functions,
5 Å, batches of QM9. A step is what `scdlab.fit` does with SelfConditionedDenoising:

    c = embedding(x + 0.005 Å · ε₁)               pass 1; a fifth of the c become the mask token
    loss = mean (ε̂(x + 0.04 Å · ε₂ | c) - ε₂)²    pass 2
    backward through both passes, AdamW

The obvious way (obvious_et.py) has the same weights and draws the same numbers, new in every step.
Losses and gradients of both sides are compared before anything is timed.

The steps of one pass are ours too, and take turns with the others: energies (the cheapest), noise
by the noise head (what forces from a head of their own would cost), energies and forces as their
gradient, and noise by the transformer without conditions, which shows what adaptive layer norm
costs.

    python benchmarks/two_pass.py     about seven minutes; writes results/two_pass.json, a picture,
                                      and the tables in benchmarks/README.md
"""

import argparse
import copy
from pathlib import Path

from harness import (
    TERMS,
    _cell,
    about,
    ceilings,
    duel,
    floor,
    machine,
    put_into,
    serve,
    tune,
    warn_if_busy,
    write,
)

HERE = Path(__file__).resolve()
PEER = "obvious"
BATCHES = (128, 32)  # molecules
TERM_NAMES = {"equal": "equal terms", "as it comes": "as it comes"}
NETWORK = dict(hidden_channels=128, num_layers=6, num_heads=8, num_rbf=50, cutoff=5.0)
SINGLES = ("energies", "noise", "energies and forces")  # steps of one pass
ET = "noise, unconditional"


def training_step(model, loss_of):
    """A function that takes one step on loss_of(model, generator), with new noise each time, and
    returns its loss."""
    import torch

    generator = torch.Generator(next(model.parameters()).device).manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def step():
        optimizer.zero_grad()
        loss = loss_of(model, generator)
        loss.backward()
        optimizer.step()
        return loss.detach()

    step.model = model
    step.forces = False
    return step


def contestants(n: int, device: str = "cpu"):
    """A batch of n molecules, our network, and the obvious one with the same weights."""
    import torch
    from obvious_et import ObviousTransformer

    import scdlab

    torch.manual_seed(0)
    store = scdlab.load_qm9(limit=60_000)
    batch = store.take(torch.randperm(len(store))[:n].numpy()).to(device)
    # for steps that need labels
    batch.energy = torch.randn(n).double().to(device)
    batch.forces = torch.randn(batch.pos.shape).to(device)
    ours = scdlab.EquivariantTransformer(**NETWORK, conditional=True).to(device)
    return batch, ours, ObviousTransformer(ours)


def losses(batch) -> dict:
    """What each contestant minimizes: functions of (model, generator)."""
    from obvious_et import two_passes

    from scdlab.objectives import CoordinateDenoising, EnergyForces, SelfConditionedDenoising

    def of(objective):
        return lambda model, generator: objective(model, batch, generator)[0]

    return {
        "ours": of(SelfConditionedDenoising()),
        PEER: lambda model, generator: two_passes(model, batch, generator),
        "energies": of(EnergyForces(forces=False)),
        "noise": of(CoordinateDenoising()),
        "energies and forces": of(EnergyForces()),
        ET: of(CoordinateDenoising()),
    }


def sides(n: int, device: str = "cpu") -> dict:
    """The steps on the same batch of n molecules, each of a network of its own; each returns its
    loss."""
    import scdlab

    batch, ours, theirs = contestants(n, device)
    own = {PEER: theirs, ET: scdlab.EquivariantTransformer(**NETWORK).to(device)}
    return {
        name: training_step(own[name] if name in own else copy.deepcopy(ours), loss_of)
        for name, loss_of in losses(batch).items()
    }


def check(n: int, device: str = "cpu") -> tuple[float, float]:
    """Relative differences of the two sides' losses and of their gradients, as vectors of all
    weights, before training.

    Raises SystemExit when the sides do not compute the same.
    """
    import torch

    batch, *models = contestants(n, device)
    found = []
    for side, model in zip(("ours", PEER), models, strict=True):
        loss = losses(batch)[side](model, torch.Generator(device).manual_seed(0))
        loss.backward()
        weights = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        weights.pop("blocks.0.u.weight", None)  # of the obvious one: it mixes vectors that are zero
        found.append((loss.detach(), weights))
    (loss, own), (other, obvious) = found
    same = own.keys() == obvious.keys()
    own, obvious = (
        torch.cat([weights[name].flatten() for name in sorted(weights)])
        for weights in (own, obvious)
    )
    differences = ((loss - other).abs() / other.abs()).item(), float("inf")
    if same:
        differences = differences[0], ((own - obvious).norm() / obvious.norm()).item()
    if not (differences[0] <= 1e-5 and differences[1] <= 1e-4):
        raise SystemExit(
            f"The two sides do not compute the same loss and gradient ({differences}); nothing was "
            "timed."
        )
    return differences


def result(rows: dict) -> dict:
    """One line of the report from the duels of a batch. `ratio`: of the obvious way to ours;
    `single`: of each step of one pass, its time, its memory, and how many of it our step of two
    passes costs; `adaln`: what a step of one pass costs with adaptive layer norm, in steps without
    it."""
    single = {
        name: {"ms": row["theirs_ms"], "MB": row["theirs_MB"], "costs": 1 / row["ratio"]}
        for name, row in rows.items()
        if name != PEER
    }
    return {**rows[PEER], "single": single, "adaln": single["noise"]["ms"] / single[ET]["ms"]}


def table(report: dict) -> str:
    """The report as two markdown tables, with the machine it was measured on."""
    rows = [
        "| two passes on | scdlab | the obvious way | ratio | floor | memory, scdlab | the obvious "
        "way |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    costs = [
        f"| two passes cost | {' | '.join(f'one pass: {name}' for name in SINGLES)} | adaLN costs "
        "a pass |",
        f"|---|{'--:|' * (len(SINGLES) + 1)}",
    ]
    for r in report["results"]:
        case = f"{r['batch']} molecules, {TERM_NAMES[r['terms']]}"
        memory = " | ".join(_cell(r[side], "MB") for side in ("ours_MB", "theirs_MB"))
        rows.append(
            f"| {case} | {r['ours_ms']:.0f} ms | {r['theirs_ms']:.0f} ms | **{r['ratio']:.1f}×** "
            f"| {r['floor_ms']:.0f} ms | {memory} |"
        )
        cells = (
            f"**{s['costs']:.2f}** of {s['ms']:.0f} ms"
            for s in (r["single"][name] for name in SINGLES)
        )
        costs.append(f"| {case} | {' | '.join(cells)} | {r['adaln'] - 1:+.0%} |")
    return "\n".join([*rows, "", *costs, "", about(report)])


def shown(report: dict) -> str:
    """What benchmarks/README.md shows: the tables and the picture."""
    return (
        f"{table(report)}\n"
        "\n"
        "![Two passes of the transformer against the obvious way](results/two_pass.png)"
    )


def picture(results: list[dict], path: Path) -> None:
    """Bars of the times of ours, of the steps of one pass, and of the obvious way, as an image."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    columns = min(2, len(results))
    rows = -(-len(results) // columns)
    size = 4.5 * columns, 2.4 * rows
    fig, axes = plt.subplots(
        rows, columns, figsize=size, sharey=True, layout="constrained", squeeze=False
    )
    for ax, r in zip(axes.flat, results, strict=False):
        bars = {"two passes, scdlab": r["ours_ms"], "two passes, the obvious way": r["theirs_ms"]}
        bars |= {f"one pass: {name}": r["single"][name]["ms"] for name in SINGLES}
        colors = ["#0072B2", "#E69F00", *["#56B4E9"] * len(SINGLES)]
        ax.bar_label(ax.barh(list(bars), list(bars.values()), color=colors), fmt="%.0f", padding=3)
        ax.margins(x=0.2)
        ax.set(xlabel="training step / ms")
        ax.set_title(f"{r['batch']} molecules, {TERM_NAMES[r['terms']]}", fontsize=10)
    axes[0][0].invert_yaxis()
    fig.savefig(path, dpi=130)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "results", help="folder of the report and picture"
    )
    parser.add_argument(
        "--worker", nargs=3, metavar=("SIDE", "TERMS", "BATCH"), help="used by the script itself"
    )
    options = parser.parse_args()
    if options.worker:
        side, terms, n = options.worker
        if terms == "equal":
            tune()
        serve(sides(int(n))[side])
        return
    before = warn_if_busy()
    ceiling = ceilings()
    results = []
    for n in BATCHES:
        loss, gradient = check(n)
        steps = sides(n)
        under = floor(steps["ours"], ceiling)
        names = list(steps)
        del steps  # the contestants make their own
        for terms in TERMS:
            workers = {side: ("--worker", side, terms, n) for side in names}
            row = result(duel(HERE, workers, options.rounds, options.repeats))
            about_it = {
                "batch": n,
                "terms": terms,
                "loss_difference": loss,
                "gradient_difference": gradient,
            }
            results.append(about_it | under | row)
            times = (
                f"scdlab {row['ours_ms']:7.1f} ms   {PEER} {row['theirs_ms']:7.1f} ms   "
                f"{row['ratio']:5.2f}×"
            )
            spread = f"({row['ratio_min']:.2f}–{row['ratio_max']:.2f})"
            single = ", ".join(f"{s['costs']:.2f} of {name}" for name, s in row["single"].items())
            busy = f"   BUSY: others used {row['others']} cores" if row["busy"] else ""
            print(
                f"{n:4d} molecules  {terms:12s} {times} {spread}   {single}   adaLN "
                f"{row['adaln']:.2f}×{busy}",
                flush=True,
            )
    command = f"python benchmarks/two_pass.py --rounds {options.rounds} --repeats {options.repeats}"
    report = {
        "command": command,
        "machine": machine() | ceiling,
        "before": before,
        "busy": any(row["busy"] for row in (before, *results)),
        "results": results,
    }
    write(options.out / "two_pass.json", report)
    picture(results, options.out / "two_pass.png")
    if options.out == HERE.parent / "results":
        put_into(HERE.with_name("README.md"), "two_pass", shown(report))


if __name__ == "__main__":
    main()

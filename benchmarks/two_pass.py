"""The training step of self-conditioned denoising: two passes of one network, against the obvious way to write it.

The equivariant transformer, 128 features × 6 layers, 8 heads, 50 radial functions, 5 Å, batches of QM9. A step:

    h = mean over atoms of what the network says about x + 0.005 Å · ε₁         pass 1: the embedding
    loss = mean |ε̂(x + 0.04 Å · ε₂) - ε₂|² + 10⁻³ mean h²                       pass 2: the noise
    backward through both passes, AdamW

The term in h stands in for a conditional network, which reads h in the second pass: the gradient runs through both
passes here as it will there. Both sides have the same weights and draw the same noise, new in every step.

Ours finds neighbors once for both passes: pairs of the clean positions within 5 Å and a margin that the noise cannot
cross, twice its longest vector. Every pair that counts in either pass is among them, and a pair beyond the cutoff
counts for nothing, because the cutoff function is zero there: both sides compute the same function. The two losses and
their gradients are compared before anything is timed. The obvious way (obvious_et.py) searches in each pass.

A third contestant takes an ordinary step of ours, one pass that learns energies: what the second pass costs.

    python benchmarks/two_pass.py     about five minutes; writes results/two_pass.json, a picture, the README's table
"""

import argparse
import copy
from pathlib import Path

from harness import (
    TERMS,
    about,
    ceilings,
    duel,
    floor,
    machine,
    put_into,
    serve,
    tell_if_busy,
    training_step,
    tune,
    write,
)

from scdlab.objectives.coordinate import moved

HERE = Path(__file__).resolve()
PEER, SINGLE = "obvious", "one pass"
BATCHES = (128, 32)  # molecules
TOLD = {"equal": "equal terms", "as it comes": "as it comes"}
SIGMAS = 0.005, 0.04  # Å: of the pass that gives the embedding, and of the one that predicts its noise
NETWORK = dict(hidden=128, layers=6, heads=8, n_basis=50, cutoff=5.0)


def shared_pairs(batch, shifts, cutoff: float):
    """One half list for all passes: every pair that is within the cutoff when the atoms move by any of the `shifts`, a
    list of [N, 3] Å. Two atoms come closer by at most twice the longest shift."""
    from scdlab.atoms import neighbor_list

    return neighbor_list(batch, cutoff + 2 * max(float(by.norm(dim=-1).max()) for by in shifts))


def loss_of(model, batch, draws, share: bool):
    """The loss of two passes. draws: ε₁, ε₂ [N, 3]; share: one search for both passes, or one in each by the model."""
    shifts = [sigma * draw for sigma, draw in zip(SIGMAS, draws, strict=True)]
    known = {"pairs": shared_pairs(batch, shifts, model.cutoff)} if share else {}
    h = model(moved(batch, shifts[0]), noise=False, **known).embedding / batch.natoms.unsqueeze(-1)  # [B, d], a mean
    error = model(moved(batch, shifts[1]), noise=True, **known).noise - draws[1]  # [N, 3] in units of σ
    return error.square().sum(-1).mean() + 1e-3 * h.square().mean()


def two_passes(model, batch, share: bool):
    """A function that takes one step, with new noise each time, and returns its loss."""
    import torch

    noise = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def step():
        optimizer.zero_grad()
        loss = loss_of(model, batch, [torch.randn(batch.pos.shape, generator=noise) for _ in SIGMAS], share)
        loss.backward()
        optimizer.step()
        return loss.detach()

    step.model, step.forces = model, False
    return step


def contestants(n: int):
    """A batch of n molecules, our network, and the obvious one with the same weights."""
    import torch
    from obvious_et import ObviousTransformer

    import scdlab

    torch.manual_seed(0)
    store = scdlab.load_qm9(limit=60_000)
    batch = store.take(torch.randperm(len(store))[:n].numpy())
    ours = scdlab.EquivariantTransformer(**NETWORK)
    return batch, ours, ObviousTransformer(ours)


def sides(n: int) -> dict:
    """The steps on the same batch of n molecules; each returns its loss."""
    batch, ours, theirs = contestants(n)
    single = copy.deepcopy(ours)

    def energies():
        return single(batch, noise=False).energy.float(), None

    return {
        "ours": two_passes(ours, batch, share=True),
        PEER: two_passes(theirs, batch, share=False),
        SINGLE: training_step(single, energies, n, batch.num_nodes, False),
    }


def check(n: int) -> tuple[float, float]:
    """Relative differences of the two losses and of the two gradients, as vectors of all weights, before training.

    Raises SystemExit when the sides do not compute the same.
    """
    import torch

    batch, ours, theirs = contestants(n)
    draws = [torch.randn(batch.pos.shape, generator=torch.Generator().manual_seed(k)) for k in range(len(SIGMAS))]
    loss, other = (loss_of(model, batch, draws, share) for model, share in ((ours, True), (theirs, False)))
    names = [name for name, _ in ours.named_parameters() if not name.startswith("energy_head")]  # nobody asks for it
    own, obvious = (
        torch.cat([g.flatten() for g in torch.autograd.grad(value, [dict(model.named_parameters())[k] for k in names])])
        for value, model in ((loss, ours), (other, theirs))
    )
    by_loss, by_gradient = (loss - other).abs() / other.abs(), (own - obvious).norm() / obvious.norm()
    differences = by_loss.item(), by_gradient.item()
    if differences[0] > 1e-5 or differences[1] > 1e-4:
        raise SystemExit(f"The two sides do not compute the same loss and gradient ({differences}); nothing was timed.")
    return differences


def table(report: dict) -> str:
    """The report as a markdown table, with the machine it was measured on."""
    rows = ["| two passes on | scdlab | the obvious way | ratio | one pass, scdlab | two cost | floor |",
            "|---|--:|--:|--:|--:|--:|--:|"]  # fmt: skip
    for r in report["results"]:
        rows.append(
            f"| {r['batch']} molecules, {TOLD[r['terms']]} | {r['ours_ms']:.0f} ms | {r['theirs_ms']:.0f} ms "
            f"| **{r['ratio']:.1f}×** | {r['one_pass_ms']:.0f} ms | {r['passes']:.1f} of one | {r['floor_ms']:.0f} ms |"
        )
    return "\n".join([*rows, "", about(report)])


def shown(report: dict) -> str:
    """What the README shows: the table and the picture."""
    return (
        f"{table(report)}\n\n![Two passes of the transformer against the obvious way](benchmarks/results/two_pass.png)"
    )


def picture(results: list[dict], path: Path) -> None:
    """Bars of both sides' times, batches and terms one above the other, as an image."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for k, (side, label, color) in enumerate((("ours", "scdlab", "#0072B2"), ("theirs", "the obvious way", "#E69F00"))):
        bars = ax.barh([i + 0.4 * k for i in range(len(results))], [r[f"{side}_ms"] for r in results], 0.38,
                       color=color, label=label)  # fmt: skip
        ax.bar_label(bars, fmt="%.0f", padding=3)
    names = [f"{r['batch']} molecules,\n{TOLD[r['terms']]}" for r in results]
    ax.set_yticks([i + 0.2 for i in range(len(results))], names)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set(xlabel="training step of two passes / ms")
    ax.legend(frameon=False)
    fig.savefig(path, dpi=130)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE.parent / "results", help="folder of the report and picture")
    parser.add_argument("--worker", nargs=3, metavar=("SIDE", "TERMS", "BATCH"), help="used by the script itself")
    options = parser.parse_args()
    if options.worker:
        side, terms, n = options.worker
        if terms == "equal":
            tune()
        serve(sides(int(n))[side])
        return
    before, ceiling = tell_if_busy(), ceilings()
    results = []
    for n in BATCHES:
        loss, gradient = check(n)
        under = floor(sides(n)["ours"], ceiling)
        for terms in TERMS:
            workers = {side: ("--worker", side, terms, n) for side in ("ours", PEER, SINGLE)}
            rows = duel(HERE, workers, options.rounds, options.repeats)
            row, single = rows[PEER], rows[SINGLE]
            row |= {"one_pass_ms": single["theirs_ms"], "passes": 1 / single["ratio"]}
            about_it = {"batch": n, "terms": terms, "loss_difference": loss, "gradient_difference": gradient}
            results.append(about_it | under | row)
            times = f"scdlab {row['ours_ms']:7.1f} ms   {PEER} {row['theirs_ms']:7.1f} ms   {row['ratio']:5.2f}×"
            spread = f"({row['ratio_min']:.2f}–{row['ratio_max']:.2f})"
            busy = f"   BUSY: others used {row['others']} cores" if row["busy"] else ""
            print(f"{n:4d} molecules  {terms:12s} {times} {spread}   {row['passes']:.2f} of one pass{busy}", flush=True)
    command = f"python benchmarks/two_pass.py --rounds {options.rounds} --repeats {options.repeats}"
    report = {"command": command, "machine": machine() | ceiling, "before": before,
              "busy": any(row["busy"] for row in (before, *results)), "results": results}  # fmt: skip
    write(options.out / "two_pass.json", report)
    picture(results, options.out / "two_pass.png")
    if options.out == HERE.parent / "results":
        put_into(HERE.parents[1] / "README.md", "two_pass", shown(report))


if __name__ == "__main__":
    main()

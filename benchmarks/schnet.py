"""SchNet's training step against PyTorch Geometric's: 128 features, 6 blocks, 50 Gaussians, 5 Å, batches of QM9.

Both sides get the same weights, batches and edges, and take the same step: forward (and forces), squared error,
backward, AdamW. PyG is given its edges (`interaction_graph=`), because its own search needs a compiled extension; we
are given our pairs likewise. Before anything is timed, the two losses are compared.

    python benchmarks/schnet.py     about ten minutes; writes results/schnet.json, a picture, and the README's table
"""

import argparse
from pathlib import Path

from harness import TERMS, duel, machine, picture, put_into, serve, table, training_step, tune, write

HERE = Path(__file__).resolve()
CASES = [(n, forces) for n in (128, 32) for forces in (False, True)]


def sides(n: int, forces: bool):
    """The two training steps on the same batch; each returns its loss."""
    import torch
    from torch_geometric.nn.models import SchNet as PygSchNet

    import scdlab
    from scdlab.atoms import neighbor_list

    torch.manual_seed(0)
    store = scdlab.load_qm9(limit=60_000)
    batch = store.take(torch.randperm(len(store))[:n].numpy())
    pairs = neighbor_list(batch, 5.0)
    edges = torch.stack([torch.cat([pairs.i, pairs.j]), torch.cat([pairs.j, pairs.i])])
    theirs = PygSchNet(
        128, 128, 6, 50, 5.0, interaction_graph=lambda pos, _: (edges, (pos[edges[0]] - pos[edges[1]]).norm(dim=-1))
    )
    ours = scdlab.SchNet(hidden=128, layers=6, n_basis=50, cutoff=5.0)
    same_weights(ours, theirs)

    def predict_ours():
        out = ours(batch, forces=forces, pairs=pairs)
        return out.energy.float(), out.forces

    def predict_theirs():
        pos = batch.pos.detach().requires_grad_(forces)
        energy = theirs(batch.z, pos, batch.batch).squeeze(-1)
        return energy, -torch.autograd.grad(energy.sum(), pos, create_graph=True)[0] if forces else None

    size = n, batch.num_nodes, forces
    return {
        "ours": training_step(ours, predict_ours, *size),
        "pyg": training_step(theirs, predict_theirs, *size),
    }


def same_weights(ours, theirs) -> None:
    """PyG's parameters into ours; the names differ, the layers do not."""
    import torch

    with torch.no_grad():
        ours.embedding.weight[:100] = theirs.embedding.weight
    for block, peer in zip(ours.blocks, theirs.interactions, strict=True):
        for own, other in (
            (block.filter.lin1, peer.mlp[0]),
            (block.filter.lin2, peer.mlp[2]),
            (block.lin_in, peer.conv.lin1),
            (block.lin_out1, peer.conv.lin2),
            (block.lin_out2, peer.lin),
        ):
            own.load_state_dict(other.state_dict())
    ours.energy_head.mlp[0].load_state_dict(theirs.lin1.state_dict())
    ours.energy_head.mlp[2].load_state_dict(theirs.lin2.state_dict())


def check(n: int, forces: bool) -> float:
    """Relative difference of the two losses before training: both sides must compute the same thing."""
    losses = {name: float(step()) for name, step in sides(n, forces).items()}
    difference = abs(losses["ours"] - losses["pyg"]) / abs(losses["pyg"])
    if difference > 1e-5:
        raise SystemExit(f"The two sides do not compute the same loss ({losses}); nothing was timed.")
    return difference


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--worker", nargs=4, metavar=("SIDE", "TERMS", "BATCH", "FORCES"), help="used by the script itself"
    )
    options = parser.parse_args()
    if options.worker:
        side, terms, n, forces = options.worker
        if terms == "equal":
            tune()
        serve(sides(int(n), forces == "True")[side])
        return
    results = []
    for n, forces in CASES:
        difference = check(n, forces)
        for terms in TERMS:
            row = duel(
                HERE,
                *(("--worker", side, terms, n, forces) for side in ("ours", "pyg")),
                options.rounds,
                options.repeats,
            )
            results.append({"batch": n, "forces": forces, "terms": terms, "loss_difference": difference, **row})
            times = f"scdlab {row['ours_ms']:7.1f} ms   PyG {row['theirs_ms']:7.1f} ms   {row['ratio']:5.2f}×"
            spread = f"({row['ratio_min']:.2f}–{row['ratio_max']:.2f})"
            print(f"{n:4d} molecules  {'E + F' if forces else 'E':5s}  {terms:12s} {times} {spread}", flush=True)
    command = f"python benchmarks/schnet.py --rounds {options.rounds} --repeats {options.repeats}"
    report = {"command": command, "machine": machine(), "results": results}
    write(HERE.parent / "results" / "schnet.json", report)
    picture(results, HERE.parent / "results" / "schnet.png", "PyG", "Training step of SchNet 128 × 6 on QM9")
    put_into(HERE.parents[1] / "README.md", "schnet", table(report))


if __name__ == "__main__":
    main()

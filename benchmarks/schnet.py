"""SchNet's training step against PyTorch Geometric's: 128 features, 6 blocks, 50 Gaussians, 5 Å, batches of QM9.

Both sides get the same weights, batches and edges, and take the same step: forward (and forces), squared error,
backward, AdamW. PyG is given its edges (`interaction_graph=`), because its own search needs a compiled extension; we
are given our pairs likewise. Before anything is timed, the two losses are compared.

    python benchmarks/schnet.py     about ten minutes; writes results/schnet.json, a picture, and the README's table
"""

from pathlib import Path

from harness import compare_steps, loss_difference, training_step

HERE = Path(__file__).resolve()


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
    """Relative difference of the two losses before training."""
    return loss_difference(sides(n, forces))


def main():
    compare_steps(HERE, sides, "PyG", "Training step of SchNet 128 × 6 on QM9")


if __name__ == "__main__":
    main()

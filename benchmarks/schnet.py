"""SchNet's training step against PyTorch Geometric's: 128 features, 6 blocks, 50 Gaussians, 5 Å,
batches of QM9.

All sides get the same weights, batches and edges, and take the same step: forward (and forces),
squared error, backward, AdamW. PyG is given its edges (`interaction_graph=`), because its own
search needs a compiled extension; we are given our pairs likewise. Before anything is timed, the
losses are compared. schnetpack takes part where it is installed: see `schnetpack_model` for how,
and why it is not by default.

    python benchmarks/schnet.py     about ten minutes; writes results/schnet.json, a picture, and
                                    the tables in benchmarks/README.md
"""

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from harness import compare_steps, loss_difference, table, training_step

HERE = Path(__file__).resolve()
SECOND = "schnetpack"  # the second peer


def sides(n: int, forces: bool, device: str = "cpu") -> dict:
    """The training steps on the same batch, by name of the side; each returns its loss."""
    import torch
    from torch_geometric.nn.models import SchNet as PygSchNet

    import scdlab
    from scdlab.atoms import neighbor_list

    torch.manual_seed(0)
    store = scdlab.load_qm9(limit=60_000)
    batch = store.take(torch.randperm(len(store))[:n].numpy()).to(device)
    pairs = neighbor_list(batch, 5.0)
    edges = torch.stack([torch.cat([pairs.i, pairs.j]), torch.cat([pairs.j, pairs.i])])
    pyg = PygSchNet(
        128,
        128,
        6,
        50,
        5.0,
        interaction_graph=lambda pos, _: (edges, (pos[edges[0]] - pos[edges[1]]).norm(dim=-1)),
    )
    ours = scdlab.SchNet(hidden_channels=128, num_layers=6, num_rbf=50, cutoff=5.0)
    same_weights(ours, pyg)
    ours.to(device)
    pyg.to(device)

    def predict_ours():
        out = ours(batch, forces=forces, pairs=pairs)
        return out.energy.float(), out.forces

    def predict_with(energy_of):
        """energy_of(pos) -> energies [n]; forces are its gradient."""
        pos = batch.pos.detach().requires_grad_(forces)
        energy = energy_of(pos)
        return energy, -torch.autograd.grad(energy.sum(), pos, create_graph=True)[
            0
        ] if forces else None

    size = n, batch.num_nodes, forces
    steps = {
        "ours": training_step(ours, predict_ours, *size),
        "PyG": training_step(
            pyg, lambda: predict_with(lambda pos: pyg(batch.z, pos, batch.batch).squeeze(-1)), *size
        ),
    }
    if find_spec(SECOND):
        second = schnetpack_with(ours).to(device)
        steps[SECOND] = training_step(
            second,
            lambda: predict_with(lambda pos: schnetpack_energy(second, batch, pos, edges)),
            *size,
        )
    return steps


def schnetpack_model(hidden_channels: int, num_layers: int):
    """schnetpack's SchNet and its energy head.

    It is not among the kit's requirements, because none of its releases works with this torch as it
    comes: 2.1 needs a sympy older than torch's, and 2.0.3 imports the name of a type variable
    that torch no longer has. Given that name, 2.0.3 computes what it always did.
    """
    import torch
    from torch.utils.data import dataloader

    if not hasattr(dataloader, "T_co"):
        dataloader.T_co = TypeVar("T_co", covariant=True)
    part = {
        name: import_module(f"{SECOND}.{name}") for name in ("representation", "atomistic", "nn")
    }
    ssp = import_module(f"{SECOND}.nn.activations").shifted_softplus
    basis = part["nn"].GaussianRBF(50, 5.0)
    cutoff = part["nn"].CosineCutoff(5.0)
    body = part["representation"].SchNet(hidden_channels, num_layers, basis, cutoff)
    head = part["atomistic"].Atomwise(
        hidden_channels, n_hidden=hidden_channels // 2, activation=ssp
    )
    return torch.nn.Sequential(body, head)


def schnetpack_with(ours):
    """The same, with the weights of our SchNet."""
    import torch

    body, head = schnetpack_model(ours.hidden_channels, len(ours.blocks))
    with torch.no_grad():
        body.embedding.weight.copy_(ours.embedding.weight[: len(body.embedding.weight)])
    for block, peer in zip(ours.blocks, body.interactions, strict=True):
        for own, other in (
            (block.filter.lin1, peer.filter_network[0]),
            (block.filter.lin2, peer.filter_network[1]),
            (block.lin_in, peer.in2f),
            (block.lin_out1, peer.f2out[0]),
            (block.lin_out2, peer.f2out[1]),
        ):
            other.load_state_dict(own.state_dict())
    head.outnet[0].load_state_dict(ours.energy_head.mlp[0].state_dict())
    head.outnet[1].load_state_dict(ours.energy_head.mlp[2].state_dict())
    return torch.nn.Sequential(body, head)


def schnetpack_energy(model, batch, pos, edges):
    """Energies [n] at positions pos [N, 3], along edges [2, E]: schnetpack reads a dictionary."""
    i, j = edges
    inputs = {
        "_atomic_numbers": batch.z,
        "_Rij": pos[j] - pos[i],
        "_idx_i": i,
        "_idx_j": j,
        "_idx_m": batch.batch,
    }
    return model(inputs)["y"]


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


def shown(report: dict) -> str:
    """What benchmarks/README.md shows: a table for each peer."""
    return "\n\n".join(
        table(report, peer) for peer in dict.fromkeys(row["peer"] for row in report["results"])
    )


def main():
    if find_spec(SECOND) is None:
        print(
            f"not installed: {SECOND} (pip install -c requirements.lock {SECOND}==2.0.3); PyG is "
            "the only peer."
        )
    versions = {SECOND: version(SECOND)} if find_spec(SECOND) else {}
    compare_steps(HERE, sides, "PyG", "Training step of SchNet 128 × 6 on QM9", shown, versions)


if __name__ == "__main__":
    main()

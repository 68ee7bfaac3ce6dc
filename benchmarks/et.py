"""The equivariant transformer's training step against torchmd-net's: 128 features, 6 layers, 5 Å,
batches of QM9.

Both sides get the same weights and batches and take the same step: neighbor list, forward (and
forces), squared error, backward, AdamW. Options that make both the same function:
vector_cutoff=True (all that comes from a neighbor fades out), trainable_rbf=False,
max_num_neighbors large enough for every atom, and shifted softplus in the energy head. Before
anything is timed, the two losses are compared.

    python benchmarks/et.py         about twenty minutes; writes results/et.json, a picture, and
                                    the table in benchmarks/README.md

Needs the extra `bench`: pip install "scdlab[bench]".
"""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from harness import compare_steps, loss_difference, table, training_step

HERE = Path(__file__).resolve()
PEER = "torchmd-net"
OPTIONS = dict(
    num_rbf=50,
    rbf_type="expnorm",
    trainable_rbf=False,
    activation="silu",
    attn_activation="silu",
    neighbor_embedding=True,
    distance_influence="both",
    cutoff_lower=0.0,
    cutoff_upper=5.0,
    max_num_neighbors=64,
    vector_cutoff=True,
)


def peer(hidden_channels: int, num_layers: int, num_heads: int):
    """torchmd-net's transformer with an energy head and a noise head."""
    from torch import nn
    from torchmdnet.models.output_modules import EquivariantVectorOutput, Scalar
    from torchmdnet.models.torchmd_et import TorchMD_ET

    body = TorchMD_ET(
        hidden_channels=hidden_channels, num_layers=num_layers, num_heads=num_heads, **OPTIONS
    )
    return nn.ModuleDict(
        {
            "body": body,
            "energy": Scalar(hidden_channels, activation="ssp"),
            "noise": EquivariantVectorOutput(hidden_channels),
        }
    )


def same_weights(ours, weights: dict) -> None:
    """torchmd-net's weights (the state of `peer`, a dict of tensors) into ours; names and the order
    of rows differ.

    Its rows of v_proj and dv_proj stand head by head, (heads, 3, d/heads); ours part by part, (3,
    heads, d/heads). Its first layer mixes vectors that are zero, so ours leaves those weights out.
    """
    import torch

    def copy(own, name, parts=False):
        for kind, p in own.named_parameters():
            w = weights[f"{name}.{kind}"]
            if parts:
                heads = ours.config["num_heads"]
                d = ours.hidden_channels
                w = w.view(heads, 3, d // heads, -1).transpose(0, 1).reshape(w.shape)
            p[: len(w)] = w  # torchmd-net knows the elements up to 99

    with torch.no_grad():
        copy(ours.embedding, "body.embedding")
        copy(ours.neighbor_embedding.embedding, "body.neighbor_embedding.embedding")
        copy(ours.neighbor_embedding.filter, "body.neighbor_embedding.distance_proj")
        copy(ours.neighbor_embedding.combine, "body.neighbor_embedding.combine")
        for k, block in enumerate(ours.blocks):
            at = f"body.attention_layers.{k}"
            copy(block.norm, f"{at}.layernorm")
            copy(block.q, f"{at}.q_proj")
            copy(block.k, f"{at}.k_proj")
            copy(block.value, f"{at}.v_proj", parts=True)
            copy(block.dk, f"{at}.dk_proj")
            copy(block.dv, f"{at}.dv_proj", parts=True)
            copy(block.o, f"{at}.o_proj")
            if block.u is not None:
                copy(block.u, f"{at}.vec_proj")
        copy(ours.out_norm, "body.out_norm")
        copy(ours.energy_head.mlp, "energy.output_network.layers")
        if ours.noise_head is not None:
            for k, block in enumerate((ours.noise_head.block1, ours.noise_head.block2)):
                copy(block.length, f"noise.output_network.{k}.vec1_proj")
                copy(block.vector, f"noise.output_network.{k}.vec2_proj")
                copy(block.mlp, f"noise.output_network.{k}.update_net.layers")


def sides(n: int, forces: bool, device: str = "cpu"):
    """The two training steps on the same batch; each returns its loss."""
    import torch

    import scdlab

    torch.manual_seed(0)
    store = scdlab.load_qm9(limit=60_000)
    batch = store.take(torch.randperm(len(store))[:n].numpy()).to(device)
    theirs = peer(hidden_channels=128, num_layers=6, num_heads=8)
    ours = scdlab.EquivariantTransformer(
        hidden_channels=128, num_layers=6, num_heads=8, num_rbf=50, cutoff=5.0, noise_head=False
    )
    same_weights(ours, theirs.state_dict())
    del theirs["noise"]
    ours.to(device)
    theirs.to(device)

    def predict_ours():
        out = ours(batch, forces=forces)
        return out.energy.float(), out.forces

    def predict_theirs():
        pos = batch.pos.detach().requires_grad_(forces)
        x, v, z, pos, owner = theirs["body"](batch.z, pos, batch.batch)
        energy = (
            theirs["energy"]
            .reduce(theirs["energy"].pre_reduce(x, v, z, pos, owner), owner)
            .squeeze(-1)
        )
        return energy, -torch.autograd.grad(energy.sum(), pos, create_graph=True)[
            0
        ] if forces else None

    size = n, batch.num_nodes, forces
    return {
        "ours": training_step(ours, predict_ours, *size),
        PEER: training_step(theirs, predict_theirs, *size),
    }


def check(n: int, forces: bool) -> float:
    """Relative difference of the two losses before training."""
    return loss_difference(sides(n, forces))


def shown(report: dict) -> str:
    """What benchmarks/README.md shows: the table and the picture."""
    return (
        f"{table(report, PEER)}\n"
        "\n"
        f"![Training step of the transformer against {PEER}](results/et.png)"
    )


def main():
    if find_spec("torchmdnet") is None:
        print(
            "benchmarks/et.py compares with torchmd-net, which is not installed: pip install "
            '"scdlab[bench]". Skipped.'
        )
        return
    title = "Training step of the equivariant transformer 128 × 6 on QM9"
    compare_steps(HERE, sides, PEER, title, shown, {PEER: version(PEER)})


if __name__ == "__main__":
    main()

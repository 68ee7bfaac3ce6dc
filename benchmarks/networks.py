"""The training steps of TensorProductNet against the same network out of e3nn's modules, of DimeNet
against PyTorch Geometric's DimeNet++, and of PET against metatrain's.

All take the same step on 32 frames of ethanol: forward, forces, squared error, backward, AdamW.
Pairs, and the triplets that PyG asks for, are known before. TensorProductNet and DimeNet have the
weights of their peers, and losses and gradients are compared before anything is timed. metatrain's
PET is another function: its center tokens have no residual beside them, and its heads have a layer
more. It gets the same widths, layers, attention heads and cutoff, normalization before attention,
and a residual featurization, as ours has. It takes part where metatrain is installed, which is not
among the kit's requirements. PyG derives its basis with sympy before it starts, half a minute each
time.

One thread for each side, subnormal numbers flushed and memory pages kept, and time is the
processor's, which other processes do not add to. Floor: our step's matrix products at the speed
that one thread reaches; it does not see fused loops.

    python benchmarks/networks.py     some minutes; writes results/networks.json and the table in
                                      benchmarks/README.md
"""

import argparse
import math
import time
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from harness import (
    about,
    duel,
    loss_differences,
    machine,
    matrix_products,
    product_speed,
    put_into,
    serve,
    training_step,
    tune,
    warn_if_busy,
    write,
)

HERE = Path(__file__).resolve()
N = 32
DATA = "ethanol"
PEERS = {"TensorProductNet": "e3nn", "DimeNet": "PyG", "PET": "metatrain"}
PACKAGES = {"PyG": "torch_geometric"}  # where they are not called as the peer is
SIZES = {
    "DimeNet": dict(hidden_channels=128, num_layers=4),
    "TensorProductNet": dict(hidden_channels=32, num_layers=3, lmax=2),
    "PET": dict(hidden_channels=128, num_layers=2, num_attention_layers=2),
}


def structures():
    """A batch of 32 frames of ethanol."""
    import torch

    import scdlab

    store = scdlab.load_ethanol()
    torch.manual_seed(0)
    return store.take(torch.randperm(len(store))[:N].numpy())


def sides(network: str, only: str | None = None) -> dict:
    """The two training steps on the same batch, or only one of them; each returns its loss."""
    import torch

    import scdlab
    from scdlab.atoms import neighbor_list

    batch = structures()
    torch.manual_seed(0)
    ours = getattr(scdlab, network)(**SIZES[network], noise_head=False)
    pairs = neighbor_list(batch, ours.cutoff)
    size = N, batch.num_nodes, True
    made = {"TensorProductNet": e3nn_network, "DimeNet": pyg_dimenet, "PET": metatrain_pet}

    def predict_ours():
        out = ours(batch, forces=True, pairs=pairs)
        return out.energy.float(), out.forces

    steps = {}
    if only in (None, "ours"):
        steps["ours"] = training_step(ours.train(), predict_ours, *size)
    if only in (None, PEERS[network]):
        theirs, energy_of, same = made[network](ours, batch, pairs)

        def predict_theirs():
            pos = batch.pos.detach().requires_grad_()
            energy = energy_of(pos)
            return energy, -torch.autograd.grad(energy.sum(), pos, create_graph=True)[0]

        step = training_step(theirs.train(), predict_theirs, *size)
        step.same = same  # (ours, theirs, c): our parameter is c times theirs
        steps[PEERS[network]] = step
    return steps


def gradient_difference(same) -> float | None:
    """The largest relative difference, in norm, between gradients of the same parameters after a
    step of each side; None where there are none to compare."""
    found = [
        float((c * own.grad - other.grad).norm() / other.grad.norm())
        for own, other, c in same
        if own.grad is not None and other.grad is not None
    ]
    return max(found, default=None)


def e3nn_network(ours, batch, pairs):
    """The tensor product network out of e3nn's linear layers and tensor products, with our weights,
    and its energies: features of all degrees in one row, [N, Σ d (2l + 1)]."""
    import copy

    import torch
    from e3nn import o3

    from scdlab.nn.nequip import act

    d = ours.hidden_channels
    edges = pairs.directed()
    sh = o3.Irreps.spherical_harmonics(ours.lmax)

    def linear(layers):
        """e3nn divides by the square root of the number of inputs itself."""
        irreps = _irreps(d, len(layers) - 1)
        layer = o3.Linear(irreps, irreps)
        with torch.no_grad():
            layer.weight.copy_(torch.cat([f.weight.T.flatten() for f in layers]) * math.sqrt(d))
        return layer

    class Layer(torch.nn.Module):
        def __init__(self, block, l_in, l_out):
            super().__init__()
            paths = block.convolution.paths
            self.kept = [k for k, path in enumerate(paths) if path[2] <= l_out]
            paths = [paths[k] for k in self.kept]
            self.before = linear(block.before)
            self.after = linear(block.after[: l_out + 1])
            self.gates = copy.deepcopy(block.gates) if l_out else None
            self.hidden = torch.nn.Parameter(block.convolution.hidden.detach().clone())
            into = [sum(c == path[2] for path in paths) for *_, c in paths]
            share = torch.tensor(into).sqrt().view(-1, 1, 1)  # e3nn divides by it in the product
            radial = block.convolution.radial.detach()[self.kept] * share
            self.radial = torch.nn.Parameter(radial)
            self.irreps = _irreps(d, l_out)
            self.product = o3.TensorProduct(
                _irreps(d, l_in),
                sh,
                self.irreps,
                [(*path, "uvu", True) for path in paths],
                shared_weights=False,
                internal_weights=False,
            )

        def forward(self, x, y, basis):
            weights = act(basis @ self.hidden) @ self.radial.transpose(0, 1).flatten(1)
            messages = self.product(self.before(x)[edges.source], y, torch.cat([weights, weights]))
            m = messages.new_zeros(len(x), messages.shape[1]).index_add(0, edges.target, messages)
            after = self.after(m)
            updates = [act(after[:, :d])]
            if self.gates is not None:
                gates = (2 * (m[:, :d] @ self.gates.weight.T).sigmoid()).split(d, dim=1)
                for g, part in zip(gates, self.irreps.slices()[1:], strict=True):
                    u = after[:, part].unflatten(1, (d, -1))
                    updates.append((g.unsqueeze(2) * u).flatten(1))
            out = torch.cat(updates, dim=1)
            x = torch.nn.functional.pad(x, (0, max(out.shape[1] - x.shape[1], 0)))
            return (x[:, : out.shape[1]] + out) / math.sqrt(2)

    last = len(ours.blocks) - 1
    highest = [0] + [ours.lmax] * last + [0]  # degrees before each layer, and after the last
    theirs = torch.nn.Module()
    theirs.embedding = copy.deepcopy(ours.embedding)
    theirs.layers = torch.nn.ModuleList(
        Layer(block, highest[k], highest[k + 1]) for k, block in enumerate(ours.blocks)
    )
    theirs.basis = copy.deepcopy(ours.basis)
    theirs.head = copy.deepcopy(ours.energy_head)

    def energies(pos):
        r_ij = pairs.vectors(pos, batch)
        vectors = edges.both_signed(r_ij)
        y = o3.spherical_harmonics(sh, vectors, normalize=True, normalization="component")
        basis = theirs.basis(r_ij.norm(dim=1))
        x = theirs.embedding(batch.z)
        for layer in theirs.layers:
            x = layer(x, y, basis)
        return theirs.head(x, batch).float()

    same = [(ours.embedding.weight, theirs.embedding.weight, 1.0)]
    own = zip(ours.blocks, theirs.layers, strict=True)
    same += [(a.convolution.hidden, b.hidden, 1.0) for a, b in own]
    return theirs, energies, same


def _irreps(d: int, highest: int):
    from e3nn import o3

    return o3.Irreps([(d, (degree, (-1) ** degree)) for degree in range(highest + 1)])


def pyg_dimenet(ours, batch, pairs):
    """PyG's DimeNet++ with our weights, and its energies."""
    import copy

    import torch
    from torch_geometric.nn.models import DimeNetPlusPlus

    c = ours.config
    theirs = DimeNetPlusPlus(
        c["hidden_channels"],
        c["hidden_channels"],
        c["num_layers"],
        c["int_emb_size"],
        c["basis_emb_size"],
        c["out_emb_channels"],
        c["num_spherical"],
        c["num_rbf"],
        c["cutoff"],
    )
    same = same_dimenet(ours, theirs)
    with torch.no_grad():
        for own, other, factor in same:
            other.copy_(own[: len(other)] / factor)
    theirs.head = copy.deepcopy(ours.energy_head)
    edges = pairs.directed()
    j, i = edges.source, edges.target
    kj, ji = triplets(j, i)

    def energies(pos):
        r_ij = pos[i] - pos[j]
        to_i = r_ij[ji]
        from_k = r_ij[kj]
        angle = torch.atan2(torch.linalg.cross(to_i, from_k).norm(dim=-1), (to_i * from_k).sum(-1))
        distance = r_ij.norm(dim=-1)
        rbf = theirs.rbf(distance)
        sbf = theirs.sbf(distance, angle, kj)
        x = theirs.emb(batch.z, rbf, i, j)
        out = theirs.output_blocks[0](x, rbf, i, num_nodes=len(batch.z))
        for block, output in zip(theirs.interaction_blocks, theirs.output_blocks[1:], strict=True):
            x = block(x, rbf, sbf, kj, ji)
            out = out + output(x, rbf, i, num_nodes=len(batch.z))
        return theirs.head(out, batch).float()

    return theirs, energies, [row for row in same if row[0] is not ours.embed.embedding.weight]


def triplets(source, target):
    """Pairs of edges k→j and j→i with k ≠ i, [2, T]: of edges j = source → i = target, [E]."""
    import torch

    meet = (target.unsqueeze(0) == source.unsqueeze(1)).nonzero()  # ji, kj
    ji, kj = meet[source[meet[:, 1]] != target[meet[:, 0]]].T
    return torch.stack([kj, ji])


def same_dimenet(ours, theirs) -> list:
    """(ours, theirs, c): our parameter is c times theirs.

    Two conventions differ: our radial basis has the factor √2 that makes it orthonormal, and our
    angle is the one at the atom, theirs its supplement: P_l(-cos α) = (-1)^l P_l(cos α).
    """
    import torch

    degrees, roots = ours.config["num_spherical"], ours.config["num_rbf"]
    sign = torch.tensor([(-1.0) ** order for order in range(degrees)]).repeat_interleave(roots)
    half = 1 / math.sqrt(2)

    def all_of(own, other):
        return [(a, b, 1.0) for a, b in zip(own.parameters(), other.parameters(), strict=True)]

    same = [
        (ours.embed.embedding.weight, theirs.emb.emb.weight, 1.0),
        (ours.rbf.frequencies, theirs.rbf.freq, 1.0),
        (ours.embed.rbf.weight, theirs.emb.lin_rbf.weight, half),
        (ours.embed.rbf.bias, theirs.emb.lin_rbf.bias, 1.0),
    ]
    same += all_of(ours.embed.combine, theirs.emb.lin)
    for own, other in zip(ours.blocks, theirs.interaction_blocks, strict=True):
        same += [
            (own.rbf1.weight, other.lin_rbf1.weight, half),
            (own.rbf2.weight, other.lin_rbf2.weight, 1.0),
            (own.sbf1.weight, other.lin_sbf1.weight, sign),
            (own.sbf2.weight, other.lin_sbf2.weight, 1.0),
        ]
        for a, b in (
            ("kj", "lin_kj"),
            ("ji", "lin_ji"),
            ("down", "lin_down"),
            ("up", "lin_up"),
            ("lin", "lin"),
            ("before", "layers_before_skip"),
            ("after", "layers_after_skip"),
        ):
            same += all_of(getattr(own, a), getattr(other, b))
    for own, other in zip(ours.outputs, theirs.output_blocks, strict=True):
        same += [
            (own.rbf.weight, other.lin_rbf.weight, half),
            (own.up.weight, other.lin_up.weight, 1.0),
        ]
        same += all_of(own.layers, other.lins)
        same += [(own.out.weight, other.lin.weight, 1.0)]
    return same


def metatrain_pet(ours, batch, pairs):
    """metatrain's PET of the same size, and its energies."""
    import torch

    script = torch.jit.script
    torch.jit.script = lambda function, *_, **__: function  # metatensor's fail to compile here
    try:
        backend = import_module("metatrain.pet.modules.backend").PETBackend
        get_default_hypers = import_module("metatrain.utils.architectures").get_default_hypers
    finally:
        torch.jit.script = script

    c = ours.config
    h = c["hidden_channels"]
    hypers = get_default_hypers("pet")["model"] | dict(
        cutoff=c["cutoff"],
        cutoff_width=c["cutoff_width"],
        num_neighbors_adaptive=None,
        d_pet=h,
        d_node=h,
        d_head=h,
        d_feedforward=2 * h,
        num_heads=c["num_heads"],
        num_gnn_layers=c["num_layers"],
        num_attention_layers=c["num_attention_layers"],
        normalization="LayerNorm",
        activation="SiLU",
        transformer_type="PreLN",
        featurizer_type="residual",
    )
    elements = sorted(set(batch.z.tolist()))
    theirs = backend(hypers, elements)
    theirs.add_output("energy", {"energy": [1]})
    edges = pairs.directed()
    cells = torch.zeros(batch.num_graphs, 3, 3)
    shifts = torch.zeros(len(edges), 3, dtype=torch.long)

    def energies(pos):
        inputs = pos, edges.target, edges.source, batch.z, cells, shifts, batch.batch
        data = theirs.preprocess(*inputs, hypers["cutoff_width_adaptive"])
        nodes, links = theirs.calculate_features(data)
        out = theirs.predict(nodes, links, data, cells, batch.batch, ["energy"])[0]
        per_atom = out["energy"][0].squeeze(-1)
        return per_atom.new_zeros(batch.num_graphs).index_add(0, batch.batch, per_atom)

    return theirs, energies, []


def parameters(step) -> int:
    """How many parameters of a side the step trains."""
    step()
    return sum(p.numel() for p in step.model.parameters() if p.grad is not None)


def table(report: dict) -> str:
    """The report as a markdown table, with the machine it was measured on."""
    rows = [
        "| training step with forces on 32 | peer | scdlab | peer | ratio | floor | memory, scdlab "
        "| peer | parameters, scdlab | peer |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in report["results"]:
        size = " × ".join(str(s) for s in list(SIZES[r["network"]].values())[:2])
        memory = [
            "not measured" if r[f"{side}_MB"] is None else f"{r[f'{side}_MB']:.0f} MB"
            for side in ("ours", "theirs")
        ]
        same = "" if r["loss_difference"] is None else ", the same function"
        rows.append(
            f"| {r['network']} {size}, {r['data']} | {r['peer']}{same} | {r['ours_ms']:.0f} ms | "
            f"{r['theirs_ms']:.0f} ms | **{r['ratio']:.1f}×** | {r['floor_ms']:.0f} ms | "
            f"{memory[0]} | {memory[1]} | {r['parameters']:,} | {r['their_parameters']:,} |"
        )
    return "\n".join([*rows, "", f"One thread, processor time. {about(report)}"])


def main():
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "results", help="folder of the report"
    )
    parser.add_argument("--networks", nargs="+", choices=PEERS, default=[*PEERS])
    parser.add_argument("--worker", nargs=2, metavar=("NETWORK", "SIDE"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.worker:
        tune()
        network, side = options.worker
        serve(sides(network, side)[side], time.process_time)
        return
    before = warn_if_busy()
    results = []
    versions = {}
    for network in options.networks:
        peer = PEERS[network]
        package = PACKAGES.get(peer, peer)
        if find_spec(package) is None:
            print(f"not installed: {peer}, the peer of {network}.")
            continue
        versions[package] = version(package)
        steps = sides(network)
        difference = None if network == "PET" else loss_differences(steps)[peer]
        slopes = gradient_difference(steps[peer].same)
        sizes = [parameters(step) for step in steps.values()]
        products = 1e-6 * matrix_products(steps["ours"]) / product_speed(torch.float32)
        if slopes is not None and slopes > 1e-4:
            raise SystemExit(f"scdlab and {peer} do not have the same gradients; nothing timed.")
        del steps  # the contestants make their own
        contestants = {side: ("--worker", network, side) for side in ("ours", peer)}
        row = duel(HERE, contestants, options.rounds, options.repeats)[peer]
        case = {"network": network, "data": DATA, "peer": peer, "loss_difference": difference}
        case |= {"gradient_difference": slopes, "floor_ms": products}
        case |= {"parameters": sizes[0], "their_parameters": sizes[1]}
        results.append(case | row)
        report = {  # written after each case: the run may be stopped
            "command": f"python benchmarks/networks.py --rounds {options.rounds} --networks "
            + " ".join(options.networks),
            "machine": machine() | versions,
            "before": before,
            "busy": any(row["busy"] for row in (before, *results)),
            "results": results,
        }
        print(table(report), flush=True)
        write(options.out / "networks.json", report)
        if options.out == HERE.parent / "results":
            put_into(HERE.with_name("README.md"), "networks", table(report))


if __name__ == "__main__":
    main()

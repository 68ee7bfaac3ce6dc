"""How well models start: the error after equally many steps of training, beside their peers.

What a network is after some hundred steps depends on the weights it starts from. Each side draws
its own start, as a user gets it, and all else is the same: function (see benchmarks/schnet.py and
et.py), structures, batches in their order, unit, loss, optimizer and learning rate. Three seeds
draw starts and batches; the error is compared seed by seed.

    ethanol   energies and forces of frames of ethanol (GFN2-xTB, comes with the kit), batches of 10

Energies alone, as of QM9, would need many more steps and seeds: their error after some hundred
steps differs by a factor of two from seed to seed, on either side.

    python benchmarks/starts.py     about five minutes; writes results/starts.json, and the table in
                                    benchmarks/README.md

Needs the extra `bench`; schnetpack takes part where it is installed, see benchmarks/schnet.py.
"""

import argparse
import statistics
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from et import PEER as TORCHMD
from et import peer as torchmd_with
from harness import machine, put_into, write
from schnet import SECOND as SCHNETPACK
from schnet import schnetpack_energy, schnetpack_model
from torch import Tensor, nn

import scdlab
from scdlab.atoms import neighbor_list

HERE = Path(__file__).resolve()
CUTOFF = 5.0  # Å
WIDTH = 64
LAYERS = 3
HEADS = 8
SEEDS = (0, 1, 2)
WITHIN = 1.05  # how much larger than the peer's our error may be
NETWORKS = {"SchNet": ("PyG", SCHNETPACK), "EquivariantTransformer": (TORCHMD,)}  # and their peers
PACKAGES = {"PyG": "torch_geometric", SCHNETPACK: "schnetpack", TORCHMD: "torchmdnet"}


@dataclass
class Task:
    """What is learned: energies less a part that is known, and forces, in units of `unit`; `steps`
    steps of training."""

    store: scdlab.AtomStore
    energy: np.ndarray  # eV, one a structure
    unit: float  # eV, or eV/Å
    forces: bool
    batch_size: int
    n_test: int
    steps: int

    def batch(self, index):
        """Structures, their pairs, energies [B] and forces [N, 3] or None, in units."""
        batch = self.store.take(index)
        energy = torch.as_tensor(self.energy[index] / self.unit).float()
        forces = (batch.forces / self.unit).float() if self.forces else None
        return batch, neighbor_list(batch, CUTOFF), energy, forces


def tasks() -> dict[str, Task]:
    """The tasks by name; the first of a permutation of each store are its test set."""
    frames = scdlab.load_ethanol()
    batch = frames.take(range(len(frames)))
    energy = batch.energy.numpy()
    spread = float(batch.forces.std())
    return {
        "ethanol": Task(frames, energy - energy.mean(), spread, True, 10, 200, 400),
    }


def sides(network: str) -> list[str]:
    """Ours, and the peers that are installed."""
    return ["ours", *(p for p in NETWORKS[network] if find_spec(PACKAGES[p]))]


class Given(nn.Module):
    """Edges [2, E] and their lengths [E] in place of PyG's own search."""

    given: tuple[Tensor, Tensor]

    def forward(self, pos: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        return self.given


def model_of(network: str, side: str) -> nn.Module:
    """A network as its library starts it."""
    if side == "ours":
        heads = {"num_heads": HEADS, "noise_head": False} if network != "SchNet" else {}
        make = getattr(scdlab, network)
        return make(hidden_channels=WIDTH, num_layers=LAYERS, num_rbf=50, cutoff=CUTOFF, **heads)
    if side == TORCHMD:
        model = torchmd_with(WIDTH, LAYERS, HEADS)
        del model["noise"]
        return model
    if side == SCHNETPACK:
        return schnetpack_model(WIDTH, LAYERS)
    from torch_geometric.nn.models import SchNet

    return SchNet(WIDTH, WIDTH, LAYERS, 50, CUTOFF, interaction_graph=Given())


def predicted(model: nn.Module, side: str, batch, pairs, forces: bool):
    """Energies [B] and forces [N, 3], or None, of one side."""
    if side == "ours":
        out = model(batch, forces=forces, noise=False, pairs=pairs)
        return out.energy.float(), out.forces
    pos = batch.pos.detach().requires_grad_(forces)
    edges = torch.stack([torch.cat([pairs.i, pairs.j]), torch.cat([pairs.j, pairs.i])])
    if side == "PyG":
        length = (pos[edges[0]] - pos[edges[1]]).norm(dim=-1)
        model.interaction_graph.given = edges, length
        energy = model(batch.z, pos, batch.batch).squeeze(-1)
    elif side == SCHNETPACK:
        energy = schnetpack_energy(model, batch, pos, edges)
    else:
        head = model["energy"]
        x, v, z, pos_, owner = model["body"](batch.z, pos, batch.batch)
        energy = head.reduce(head.pre_reduce(x, v, z, pos_, owner), owner).squeeze(-1)
    if not forces:
        return energy, None
    return energy, -torch.autograd.grad(energy.sum(), pos, create_graph=model.training)[0]


def errors(model: nn.Module, side: str, task: Task, test: np.ndarray) -> dict[str, float]:
    """Mean absolute errors in meV, and meV/Å."""
    model.eval()
    energy: list[Tensor] = []
    force: list[Tensor] = []
    for index in np.array_split(test, max(len(test) // 100, 1)):
        batch, pairs, e, f = task.batch(index)
        found, found_forces = predicted(model, side, batch, pairs, task.forces)
        energy.append((found - e).detach().abs())
        if f is not None:
            force.append((found_forces - f).detach().abs().flatten())
    mean = {"energy_meV": 1e3 * task.unit * float(torch.cat(energy).mean())}
    if force:
        mean["force_meV_A"] = 1e3 * task.unit * float(torch.cat(force).mean())
    return mean


def trained(network: str, side: str, task: Task, seed: int, lr: float) -> dict:
    """Errors on the test set after a training from the side's own start."""
    torch.manual_seed(seed)
    model = model_of(network, side).train()
    order = np.random.default_rng(0).permutation(len(task.store))
    test, train = order[: task.n_test], order[task.n_test :]
    draw = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    steps = task.steps
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 50, 2 * (steps - step) / steps)
        index = draw.choice(train, task.batch_size, replace=False)
        batch, pairs, energy, forces = task.batch(index)
        found, found_forces = predicted(model, side, batch, pairs, task.forces)
        loss = (found - energy).square().mean()
        if forces is not None:
            loss = 0.1 * loss + (found_forces - forces).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return errors(model, side, task, test)


def measure(network: str, name: str, task: Task, lr: float, seeds=SEEDS) -> list[dict]:
    """A row for each peer: both sides' errors by seed, and the ratio of their means."""
    measured: dict[str, list[dict]] = {}
    for side in sides(network):
        measured[side] = [trained(network, side, task, seed, lr) for seed in seeds]
        print(network, name, side, measured[side], flush=True)
    quantity = "force_meV_A" if task.forces else "energy_meV"
    own = [found[quantity] for found in measured["ours"]]
    rows = []
    for peer in list(measured)[1:]:
        other = [found[quantity] for found in measured[peer]]
        rows.append(
            {
                "network": network,
                "task": name,
                "peer": peer,
                "quantity": quantity,
                "steps": task.steps,
                "lr": lr,
                "ours": own,
                "theirs": other,
                "ratio": statistics.mean(own) / statistics.mean(other),
            }
        )
    return rows


def shown(report: dict) -> str:
    """What benchmarks/README.md shows of a report."""
    lines = [
        "| error after equally many steps | steps | scdlab | | peer | scdlab / peer |",
        "|---|--:|--:|---|--:|--:|",
    ]
    units = {"energy_meV": "meV", "force_meV_A": "meV/Å"}
    for row in report["results"]:
        unit = units[row["quantity"]]
        what = "forces" if row["quantity"] == "force_meV_A" else "energies"
        ours, theirs = (_spread(row[side], unit) for side in ("ours", "theirs"))
        lines.append(
            f"| {row['network']}, {what}, {row['task']} | {row['steps']:,} | {ours} "
            f"| {row['peer']} | {theirs} | **{row['ratio']:.2f}** |"
        )
    m = report["machine"]
    made = f"torch {m['torch']}, {m['date']}: `{report['command']}`."
    return "\n".join([*lines, "", f"Means over the seeds and their spread. One thread, {made}"])


def _spread(values: list[float], unit: str) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} {unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Errors after equally many steps, beside peers.")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--out", type=Path, default=HERE.parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = tasks()
    results = [
        row
        for network in options.networks
        for name, task in found.items()
        for row in measure(network, name, task, options.lr)
    ]
    peers = {row["peer"] for row in results}
    report = {
        "command": f"python benchmarks/starts.py --lr {options.lr:g}",
        "machine": machine() | {peer: version(peer) for peer in peers if peer != "PyG"},
        "results": results,
    }
    write(options.out / "starts.json", report)
    print(shown(report))
    if options.out == HERE.parent / "results":
        put_into(HERE.with_name("README.md"), "starts", shown(report))


if __name__ == "__main__":
    main()

"""Force calls, as molecular dynamics makes them: atoms move a little, energy and forces are asked
for, through ase calculators. And steps of dynamics of 64 molecules, together and one by one.

SchNet and the equivariant transformer, 128 features × 6 layers, 5 Å; ethanol, 64 waters and 1,000
atoms of salt, the last two periodic. Beside ours in its default, float64, and in float32: the same
model by autograd, and the peer with the same weights, in its default precision: PyG's SchNet in an
ase calculator of a few lines (molecules alone: it has no cells), torchmd-net's transformer in its
own. Before anything is timed, energies and forces are compared.

    python benchmarks/calculator.py         about ten minutes; writes results/calculator.json, and
                                            the tables in benchmarks/README.md

Needs the extra `bench`: pip install "scdlab[bench]".
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from harness import about, duel, machine, put_into, serve, warn_if_busy, write

HERE = Path(__file__).resolve()
SYSTEMS = ("ethanol", "64 waters", "1,000 atoms of NaCl")
MODELS = ("SchNet", "EquivariantTransformer")
MOVE = 2e-3  # Å, about what an atom moves in half a femtosecond
MOLECULES = 64


def system(name: str):
    """The structure: ase.Atoms."""
    from ase import Atoms
    from ase.build import bulk, molecule

    if name == "ethanol":
        return molecule("CH3CH2OH")
    if name == "1,000 atoms of NaCl":
        salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 5
        salt.rattle(0.05, seed=0)
        return salt
    rng = np.random.default_rng(0)
    side = 3.107  # Å: the density of water
    waters = Atoms(cell=np.full(3, 4 * side), pbc=True)
    for place in np.ndindex(4, 4, 4):
        water = molecule("H2O")
        water.rotate(360 * rng.random(), rng.normal(size=3))
        water.translate(side * (np.array(place) + 0.5))
        waters += water
    return waters


def network(name: str):
    """A model of the benchmark, with random weights that are the same in every process."""
    import torch

    import scdlab

    torch.manual_seed(0)
    sizes = dict(hidden_channels=128, num_layers=6, num_rbf=50, cutoff=5.0)
    if name == "SchNet":
        return scdlab.SchNet(**sizes)
    return scdlab.EquivariantTransformer(**sizes, num_heads=8, noise_head=False)


def by_autograd(model, dtype=None):
    """Our calculator, made to call the model itself."""
    import scdlab

    class ByAutograd(scdlab.Calculator):
        def _covered(self) -> bool:
            return False

    return ByAutograd(model) if dtype is None else ByAutograd(model, dtype=dtype)


def pyg_calculator(ours):
    """PyG's SchNet with the weights of ours, as an ase calculator."""
    import torch
    from ase.calculators.calculator import Calculator, all_changes
    from schnet import same_weights
    from torch_geometric.nn.models import SchNet

    def graph(pos, batch):
        """All pairs, which it could search only with a compiled extension; all of them are near."""
        i, j = (1 - torch.eye(len(pos))).nonzero().T
        return torch.stack([i, j]), (pos[i] - pos[j]).norm(dim=-1)

    theirs = SchNet(128, 128, 6, 50, 5.0, interaction_graph=graph)
    same_weights(ours, theirs)
    theirs.eval().requires_grad_(False)

    class PyG(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            z = torch.from_numpy(atoms.numbers)
            pos = torch.tensor(atoms.positions, dtype=torch.float32, requires_grad=True)
            energy = theirs(z, pos).sum()
            (gradient,) = torch.autograd.grad(energy, pos)
            self.results = {"energy": float(energy.detach()), "forces": -gradient.numpy()}

    return PyG()


def torchmdnet_calculator(ours):
    """torchmd-net's calculator, given a model instead of a file."""
    import torch
    import torchmdnet.calculators as calculators
    from et import peer, same_weights
    from torchmdnet.models.model import TorchMD_Net

    torch.manual_seed(0)
    theirs = peer(hidden_channels=128, num_layers=6, num_heads=8)
    whole = TorchMD_Net(theirs["body"], theirs["energy"])  # which draws weights anew
    same_weights(ours, theirs.state_dict())
    load_model = calculators.load_model
    calculators.load_model = lambda *args, **kwargs: whole
    try:
        return calculators.TMDNETCalculator("none")
    finally:
        calculators.load_model = load_model


def calculator(side: str, name: str):
    """A contestant's calculator; weights are those of the peer where there is one."""
    import torch

    import scdlab

    ours = network(name)
    theirs = pyg_calculator(ours) if name == "SchNet" else torchmdnet_calculator(ours)
    if side in ("PyG", "torchmd-net"):
        return theirs
    if side == "autograd":
        return by_autograd(ours)
    return scdlab.Calculator(ours, dtype=torch.float32 if side == "float32" else torch.float64)


def force_call(side: str, name: str, of: str):
    """A step: atoms move, and forces are asked for."""
    atoms = system(of)
    atoms.info["charge"] = 0  # torchmd-net reads it
    atoms.calc = calculator(side, name)
    start = atoms.positions.copy()
    rng = np.random.default_rng(1)

    def step():
        atoms.positions = start + rng.normal(0, MOVE, start.shape)
        return atoms.get_forces()

    return step


def dynamics(side: str, name: str):
    """A step of dynamics of 64 molecules of ethanol: one batch, or ase one by one."""
    from ase import units
    from ase.md.verlet import VelocityVerlet

    import scdlab

    model = network(name)
    frames = [system("ethanol") for _ in range(MOLECULES)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.02, seed=k)
    if side == "ours":
        moved = scdlab.dynamics.NVE(model, frames)
        return lambda: moved.run(1)
    runs = []
    for atoms in frames:
        atoms.calc = by_autograd(model) if side == "ase, autograd" else scdlab.Calculator(model)
        runs.append(VelocityVerlet(atoms, 0.5 * units.fs))

    def step():
        for run in runs:
            run.run(1)

    return step


def sides(name: str, of: str) -> list[str]:
    """The contestants for a structure, ours first."""
    found = ["ours", "float32", "autograd"]
    if name == "EquivariantTransformer" and find_spec("torchmdnet"):
        found.append("torchmd-net")
    if name == "SchNet" and of == "ethanol":
        found.append("PyG")
    return found


def check(name: str, of: str) -> None:
    """End the program unless all contestants give the same forces."""
    forces = {side: force_call(side, name, of)() for side in sides(name, of)}
    right = forces["autograd"]
    for side, found in forces.items():
        bound = 1e-8 if side == "ours" else 1e-4
        if not np.abs(found - right).max() <= bound * np.abs(right).max():
            raise SystemExit(f"{name}, {of}: {side} does not give the same forces; nothing timed.")


def table(report: dict) -> str:
    """What benchmarks/README.md shows."""
    lines = [
        "| force call | scdlab | in float32 | by autograd | peer | ratio to the peer |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in MODELS:
        for of in SYSTEMS:
            rows = {
                row["peer"]: row
                for row in report["results"]
                if (row["model"], row["of"]) == (name, of)
            }
            peer = next((rows[p] for p in ("torchmd-net", "PyG") if p in rows), None)
            cells = [f"{name}, {of}", f"{rows['autograd']['ours_ms']:.2f} ms"]
            cells += [f"{rows[other]['theirs_ms']:.2f} ms" for other in ("float32", "autograd")]
            cells += (
                [f"{peer['peer']}: {peer['theirs_ms']:.1f} ms", f"**{peer['ratio']:.1f}×**"]
                if peer
                else ["–", "–"]
            )
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"| a step of {MOLECULES} molecules of ethanol | `scdlab.dynamics` | ase, our calculator | "
        "ratio | ase, autograd | ratio |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in MODELS:
        rows = {row["peer"]: row for row in report["dynamics"] if row["model"] == name}
        cells = [name, f"{rows['ase']['ours_ms']:.1f} ms"]
        for other in ("ase", "ase, autograd"):
            cells += [f"{rows[other]['theirs_ms']:.1f} ms", f"**{rows[other]['ratio']:.1f}×**"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", about(report)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE.parent / "results")
    parser.add_argument("--worker", nargs=3, help="used by the script itself")
    options = parser.parse_args()
    if options.worker:
        side, name, of = options.worker
        serve(dynamics(side, name) if of == "dynamics" else force_call(side, name, of))
        return
    before = warn_if_busy()
    results = []
    moved = []
    for name in MODELS:
        for of in SYSTEMS:
            check(name, of)
            contestants = {side: ("--worker", side, name, of) for side in sides(name, of)}
            repeats = 50 if of == "ethanol" else 3
            for peer, row in duel(HERE, contestants, options.rounds, repeats).items():
                results.append({"model": name, "of": of, "peer": peer, **row})
                print(f"{name}, {of}, {peer}: {row['ours_ms']:.2f} {row['theirs_ms']:.2f} ms")
        contestants = {
            side: ("--worker", side, name, "dynamics") for side in ("ours", "ase", "ase, autograd")
        }
        for peer, row in duel(HERE, contestants, options.rounds, 2).items():
            moved.append({"model": name, "peer": peer, **row})
            print(f"{name}, dynamics, {peer}: {row['ours_ms']:.1f} {row['theirs_ms']:.1f} ms")
    report = {
        "command": f"python benchmarks/calculator.py --rounds {options.rounds}",
        "machine": machine(),
        "before": before,
        "busy": any(row["busy"] for row in (before, *results, *moved)),
        "results": results,
        "dynamics": moved,
    }
    write(options.out / "calculator.json", report)
    if options.out == HERE.parent / "results":
        put_into(HERE.with_name("README.md"), "calculator", table(report))


if __name__ == "__main__":
    main()

"""The research core works with its own dependencies: what only the extras bring is refused."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

# Run in a process of its own. Arguments: a folder to write to, then the modules to refuse.
HOOK = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

folder, refused = Path(sys.argv[1]), set(sys.argv[2:])
find_spec = PathFinder.find_spec


def find_the_rest(name, path=None, target=None):
    return None if name.partition(".")[0] in refused else find_spec(name, path, target)


PathFinder.find_spec = find_the_rest
"""

DAY = """
import numpy as np
from ase.build import molecule

import scdlab

water, methane = molecule("H2O"), molecule("CH4")
store = scdlab.AtomStore.from_ase([water, methane] * 4)
z, pos, ptr = np.tile(water.numbers, 8), np.tile(water.positions, (8, 1)), np.arange(0, 25, 3)
labeled = scdlab.AtomStore.from_arrays(z, pos, ptr, energy=np.arange(8.0), forces=np.zeros((24, 3)))
train, val, test = labeled.split(4, 2, seed=0)

model = scdlab.SchNet(**SMALL)
forces = scdlab.objectives.EnergyForces()
scdlab.fit(model, forces, train, val, steps=2, batch_size=2, out=folder / "run")
scdlab.evaluate(model, test)
denoising = scdlab.objectives.CoordinateDenoising(sigma=0.1)
scdlab.fit(model, denoising, store, steps=2, batch_size=2)

scdlab.save(model, folder / "model")
loaded = scdlab.load(folder / "model")
water.calc = scdlab.Calculator(loaded)
assert np.isfinite(water.get_potential_energy()) and water.get_forces().shape == (3, 3)

batch = store.take([0, 1])
exact = scdlab.ECSE(scdlab.PET(**SMALL))
assert exact(batch, forces=True).forces.shape == (8, 3)
scdlab.symmetry_report(exact, molecule("CH4"))
for backbone in (scdlab.DimeNet, scdlab.EquivariantTransformer, scdlab.TensorProductNet):
    assert backbone(**SMALL)(batch).energy.shape == (2,)
embedding, rows = scdlab.embed(model, store)
assert embedding.shape == (8, SMALL["hidden_channels"]) and len(rows) == 8
features = np.random.default_rng(0).normal(size=(9, 3))
assert scdlab.reduce_embedding(features, method="pca").shape == (9, 2)
for floor in ("analysis", "atoms", "claims", "nn", "objectives", "symmetry", "training"):
    getattr(scdlab, floor)
"""


COMMAND = """
from scdlab.__main__ import main

main()
"""


def owners() -> dict[str, set[str]]:
    """Top name of a module -> canonical names of the distributions that install it."""
    found = metadata.packages_distributions()
    return {top: {canonicalize_name(name) for name in names} for top, names in found.items()}


def closure(requirements: list[str]) -> set[str]:
    """Canonical names of all that `requirements` install on this machine, themselves included."""
    queue = [Requirement(line) for line in requirements]
    names = set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in names or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        names.add(name)
        queue += [Requirement(line) for line in metadata.requires(name) or []]
    return names


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def refused() -> list[str]:
    """Modules installed here that an installation of the core alone would lack."""
    kept = closure(project()["dependencies"])
    return sorted(top for top, names in owners().items() if not names & {*kept, "scdlab"})


def test_what_only_the_extras_bring_is_refused():
    absent = set(refused())
    assert absent > {"jupyterlab", "ipywidgets", "plotly", "anywidget", "umap", "py3Dmol"}
    assert absent > {"typer", "papermill", "nbconvert", "rdkit", "torchmdnet", "pytest"}
    assert not absent & {"torch", "numpy", "ase", "lightning_fabric", "safetensors"}


def run(code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run a program where only the core is installed."""
    command = [sys.executable, "-c", HOOK + code, str(folder), *refused()]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_a_day_of_research_needs_the_core_alone(tmp_path):
    done = run(DAY.replace("SMALL", repr({"hidden_channels": 16, "num_layers": 1})), tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_command_names_the_extra_that_it_needs(tmp_path):
    done = run(COMMAND, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("The scdlab command needs typer, which is not installed")
    assert "'.[lessons]'" in done.stderr

"""Makes the small data sets of `data/`: what they are, and the one command that remakes each.

    scdlab data make ethanol | aspirin | isomers | alloys | qm9-sample

ethanol      GFN2-xTB molecular dynamics of ethanol at 500 K: correlated frames of one molecule, as
             MD17 has.
aspirin      the same for aspirin, 21 atoms.
isomers      the same for 60 isomers of C7H10O2 taken from QM9, 50 frames each: chemistry and
             conformation vary at one composition, as in ISO17 (Schütt et al., NeurIPS 2017).
alloys       periodic crystals of seven metals and their binary alloys, labeled by EMT (Jacobsen,
             Stoltze, Nørskov, Surf. Sci. 366, 394, 1996): structures of another domain, with labels
             that cost nothing.
qm9-sample   5,000 molecules of QM9, drawn at random, for machines without the whole set.

A frame of ethanol or aspirin in which a bond broke or formed is dropped, an isomer that reacted is
left out; meta holds how many.
"""

import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scdlab import files
from scdlab.atoms.qm9 import load_qm9
from scdlab.atoms.simulate import intact, simulate
from scdlab.atoms.simulation_checks import whole_count
from scdlab.atoms.store import AtomStore

if TYPE_CHECKING:
    from ase import Atoms

C7H10O2 = {6: 7, 1: 10, 8: 2}
LICENCE = {"licence": "MIT, as this kit"}


def make(name: str, out: str | Path | None = None, **settings: Any) -> AtomStore:
    """Make a data set and save it.

    Parameters
    ----------
    name : str
        One of `MAKERS`.
    out : str or Path, optional
        The folder for it; by default data/<name> of the kit.
    **settings
        Arguments of its function.

    Raises
    ------
    ValueError
        For an unknown name, settings that make no sense, and a folder that holds something else;
        and where a simulation has ended early: what it has made is in <folder>-partial then.
    """
    if name not in MAKERS:
        raise ValueError(
            f"There is no recipe for a data set {name!r}: choose one of {', '.join(MAKERS)}."
        )
    folder = Path(out) if out else files.package_dir("data") / name
    _check_folder(folder)
    counts = {k: v for k, v in settings.items() if k in ("frames", "molecules", "structures")}
    settings |= {k: whole_count(f"make {name}", k, v) for k, v in counts.items()}
    try:
        store = MAKERS[name](**settings)
    except _EndedEarly as error:
        if not len(error.store):
            raise ValueError(
                f"{name} is not made, because {error}; run the command again."
            ) from error
        aside = folder.with_name(f"{folder.name}-partial")
        error.store.save(aside)
        raise ValueError(
            f"{name} is not made, because {error}; the {len(error.store):,} frames until then are "
            f"in {aside}; run the command again for all."
        ) from error
    store.save(folder)
    return store


class _EndedEarly(Exception):
    """A simulation that ended before its last frame, with the store of what it has made."""

    def __init__(self, store: AtomStore, why: str):
        super().__init__(why)
        self.store = store


def _check_folder(folder: Path) -> None:
    """Refuse a target that cannot become a store, before anything is computed."""
    if folder.is_dir():
        ours = (folder / "store.json").is_file() or not any(folder.iterdir())
        wrong = "" if ours else "is a folder that holds other files"
    else:
        wrong = "is a file" if folder.exists() else ""
    if wrong:
        raise ValueError(f"{folder} {wrong}, expected a new folder or a saved store: name another.")
    near = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not os.access(near, os.W_OK):
        raise PermissionError(f"{folder} cannot be written (no right to write in {near}).")


def make_ethanol(frames: int = 2000, seed: int = 0, progress: bool = True) -> AtomStore:
    """Ethanol at 500 K: one trajectory of GFN2-xTB, a frame every 20 fs, with dipole moments."""
    from ase.build import molecule

    store, dropped = _trajectory(
        molecule("CH3CH2OH"), frames, seed, progress, interval=40, dipole=True
    )
    store.meta |= {
        "source": "ethanol, GFN2-xTB molecular dynamics",
        "frames_dropped": dropped,
        **LICENCE,
    }
    return store


def make_aspirin(frames: int = 1000, seed: int = 0, progress: bool = True) -> AtomStore:
    """Aspirin at 500 K: one trajectory of GFN2-xTB, a frame every 20 fs."""
    from scdlab.atoms.molecules import from_smiles

    store, dropped = _trajectory(
        from_smiles("CC(=O)Oc1ccccc1C(=O)O"), frames, seed, progress, interval=40
    )
    store.meta |= {
        "source": "aspirin, GFN2-xTB molecular dynamics",
        "frames_dropped": dropped,
        **LICENCE,
    }
    return store


def make_isomers(
    molecules: int = 60, frames: int = 50, seed: int = 0, progress: bool = True
) -> AtomStore:
    """Isomers of C7H10O2: GFN2-xTB at 500 K from their QM9 geometries, a frame every 10 fs.

    Property `molecule` counts the isomers from 0; meta["qm9_rows"] holds the row of each in
    load_qm9()."""
    from tqdm import tqdm

    qm9 = load_qm9()
    kept = []
    rows = []
    reacted = []
    with tqdm(total=molecules, desc="isomers", disable=not progress) as bar:
        for row in np.random.default_rng(seed).permutation(of_formula(qm9, C7H10O2)).tolist():
            try:
                store, dropped = _trajectory(qm9.to_ase(row), frames, seed + row, False, 20)
            except _EndedEarly as error:
                whole = _joined(kept, "molecule") if kept else error.store[:0]
                raise _EndedEarly(whole, str(error)) from error
            if dropped:
                reacted.append(row)
                continue
            kept.append(store)
            rows.append(row)
            bar.update(1)
            if len(kept) == molecules:
                break
    together = _joined(kept, "molecule")
    together.meta |= {
        "source": "isomers of C7H10O2, GFN2-xTB molecular dynamics from QM9 geometries",
        "simulation": kept[0].meta["simulation"] | {"seed": f"{seed} + row of the isomer in QM9"},
        "qm9_rows": rows,
        "qm9_rows_left_out_because_they_reacted": reacted,
        **LICENCE,
    }
    return together


def _trajectory(
    atoms: "Atoms", frames: int, seed: int, progress: bool, interval: int, dipole: bool = False
) -> tuple[AtomStore, int]:
    """(frames of `atoms` at 500 K whose bonds are those of the start, how many were dropped)."""
    from ase import Atoms

    start = Atoms(atoms.numbers, atoms.positions)
    store = simulate(
        start, frames, 500, "gfn2", seed, interval=interval, dipole=dipole, progress=progress
    )
    if "ended_early" in store.meta["simulation"]:
        raise _EndedEarly(store, store.meta["simulation"]["ended_early"]["why"])
    pos = store.take(range(frames)).pos.reshape(frames, -1, 3)
    whole = intact(pos, start.numbers, start.positions)
    if not whole.any():
        return store[:0], frames
    kept = store[whole]
    kept.meta = dict(store.meta)
    return kept, int((~whole).sum())


def _joined(stores: Sequence[AtomStore], name: str) -> AtomStore:
    """One store of all frames; the property `name` counts the stores they came from."""
    batches = [store.take(range(len(store))) for store in stores]
    size = np.concatenate([b.natoms.numpy() for b in batches])
    return AtomStore.from_arrays(
        np.concatenate([b.z.numpy() for b in batches]),
        np.concatenate([b.pos.numpy() for b in batches]),
        np.concatenate([[0], np.cumsum(size)]),
        energy=np.concatenate([b.energy.numpy() for b in batches]),
        forces=np.concatenate([b.forces.numpy() for b in batches]),
        properties={name: np.repeat(np.arange(len(stores)), [len(store) for store in stores])},
    )


METALS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au")
SYSTEMS = (*METALS, *("".join(pair) for pair in itertools.combinations(METALS, 2)))


def make_alloys(structures: int = 672, seed: int = 0, progress: bool = True) -> AtomStore:
    """Alloys: as many crystals of each of the 28 SYSTEMS, of 4 to 32 atoms, with EMT's energies and
    forces.

    Crystal k belongs to system k // 4 % 28 and is a function of (seed, k) alone. Three of four are
    strained and rattled, every fourth is a minimum of the energy in positions and cell (property
    `relaxed`). Labels are those of positions and cell as they are stored, in float32.
    """
    from ase.calculators.emt import EMT
    from tqdm import tqdm

    crystals = []
    for k in tqdm(range(structures), desc="alloys", disable=not progress):
        system = k // 4 % len(SYSTEMS)
        relaxed = k % 4 == 3
        crystal = _alloy(SYSTEMS[system], relaxed, np.random.default_rng([seed, k]))
        crystal.positions = crystal.positions.astype(np.float32)
        crystal.set_cell(crystal.cell.array.astype(np.float32))
        crystal.calc = EMT()
        crystal.get_forces()
        crystal.info = {"system": system, "relaxed": int(relaxed)}
        crystals.append(crystal)
    meta = {
        "source": "alloys of seven metals, EMT",
        "calculator": "EMT (ase), energies counted from the pure metals' fcc crystals",
        "systems": list(SYSTEMS),
        "structures": {
            "start": (
                "fcc or hcp, 1, 2, 4 or 8 cells of 4 atoms, elements at random, lattice constant "
                "by Vegard's law"
            ),
            "distorted": "three of four: symmetric strain of spread 0.04, rattled by 0.02 to 0.2 Å",
            "relaxed": (
                "every fourth, property relaxed = 1: positions and cell, forces below 0.002 eV/Å"
            ),
            "closest": f"no two atoms nearer than {CLOSEST} Å, periodic images included",
            "seed": seed,
        },
        **LICENCE,
    }
    return AtomStore.from_ase(crystals, properties=["system", "relaxed"], meta=meta)


CLOSEST = 2.0  # Å


def _alloy(system: str, relaxed: bool, rng: np.random.Generator) -> "Atoms":
    """One crystal of `system`, such as "CuAu" or "Cu", drawn until no atoms are too close."""
    from ase.neighborlist import neighbor_list

    while True:
        crystal = _drawn(re.findall("[A-Z][a-z]*", system), rng)
        if relaxed and not _relax(crystal):
            continue
        if not len(neighbor_list("i", crystal, CLOSEST)):
            return crystal


def _drawn(elements: Sequence[str], rng: np.random.Generator) -> "Atoms":
    """A strained and rattled crystal of `elements`, decorated at random, with at least one atom of
    each."""
    from ase.build import bulk
    from ase.data import atomic_numbers, reference_states

    repeat = [(1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2)][rng.choice(4, p=[0.15, 0.25, 0.4, 0.2])]
    n = 4 * int(np.prod(repeat))
    first = n if len(elements) == 1 else int(rng.integers(1, n))
    symbols = rng.permutation([elements[0]] * first + [elements[-1]] * (n - first))
    pure = [reference_states[atomic_numbers[symbol]]["a"] for symbol in symbols]
    a = float(np.mean(pure))  # Å, Vegard's law
    if rng.random() < 0.5:
        cell = bulk("X", "fcc", a=a, cubic=True)
    else:  # of the same distance between neighbors
        cell = bulk("X", "hcp", a=a / np.sqrt(2), c=a * np.sqrt(4 / 3), orthorhombic=True)
    crystal = cell * repeat
    crystal.symbols = symbols
    strain = np.eye(3) + rng.normal(0, 0.04, (3, 3))
    crystal.set_cell(crystal.cell.array @ (strain + strain.T) / 2, scale_atoms=True)
    crystal.positions += rng.uniform(0.02, 0.2) * rng.normal(size=crystal.positions.shape)
    return crystal


def _relax(crystal: "Atoms") -> bool:
    """Whether positions and cell were brought to a minimum of EMT's energy."""
    from ase.calculators.emt import EMT
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    crystal.calc = EMT()
    cell_and_positions: Any = FrechetCellFilter(crystal)
    return BFGS(cell_and_positions, logfile=None).run(fmax=0.002, steps=400)


def make_qm9_sample(molecules: int = 5000, seed: int = 0) -> AtomStore:
    """A random sample of QM9, in its order."""
    qm9 = load_qm9()
    rows = np.sort(np.random.default_rng(seed).permutation(len(qm9))[:molecules])
    sample = qm9.subset(rows)
    sample.meta = qm9.meta | {
        "sample": f"{molecules:,} of {len(qm9):,} molecules at random, seed {seed}"
    }
    del sample.meta["csv_bytes"]
    return sample


MAKERS: dict[str, Callable[..., AtomStore]] = {
    "ethanol": make_ethanol,
    "aspirin": make_aspirin,
    "isomers": make_isomers,
    "alloys": make_alloys,
    "qm9-sample": make_qm9_sample,
}


def of_formula(store: AtomStore, formula: Mapping[int, int]) -> np.ndarray:
    """Structures of a store made of exactly `formula` (atomic number -> count), as indices."""
    batch = store.take(range(len(store)))
    structure = batch.batch.numpy()
    counts = [
        np.bincount(structure, batch.z.numpy() == z, len(store)) == n for z, n in formula.items()
    ]
    return np.flatnonzero(np.logical_and.reduce([store.n_atoms == sum(formula.values()), *counts]))

"""What a target of the mutation campaign is, and structure files as targets."""

import dataclasses
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from scdlab import AtomStore

# what may stand in place of a file
REPLACED = ("missing", "a folder", "a full folder", "a dangling link", "a link to itself", "a pipe")


def replace(rng: random.Random, path: Path) -> str:
    """Something that is no file in place of a file."""
    path.unlink()
    what = rng.choice(REPLACED)
    if what == "a folder":
        path.mkdir()
    elif what == "a full folder":
        path.mkdir()
        (path / path.name).write_text("x")
    elif what == "a dangling link":
        path.symlink_to(path.parent / "nothing")
    elif what == "a link to itself":
        path.symlink_to(path)
    elif what == "a pipe":
        os.mkfifo(path)
    return what


@dataclasses.dataclass(frozen=True)
class Target:
    """One kind of file that the kit reads.

    Parameters
    ----------
    name : str
        Of the target.
    make : callable
        Writes the files into a folder.
    read : callable
        Reads them; raises what the kit raises.
    kinds : dict
        File, relative to the folder -> kind of its content, a key of `damage.WAYS`; only these
        files are damaged.
    weight : int
        How often it is drawn.
    digested : bool
        Whether a digest covers what is read, so that no damage may pass.
    refresh : callable, optional
        Writes the digests of a folder anew, so that damage comes past them.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    kinds: dict[str, str]
    weight: int = 10
    digested: bool = False
    refresh: Callable[[Path], None] | None = None


def stamp(value: Any) -> str:
    """A digest of everything that a value holds."""
    found = hashlib.sha256()
    _feed(found, value)
    return found.hexdigest()


def _feed(found: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        found.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            _feed(found, [key, value[key]])
    elif isinstance(value, list | tuple):
        found.update(b"(")
        for each in value:
            _feed(found, each)
    else:
        found.update(f"{type(value).__name__}{value!r}".encode())


def of_store(store: AtomStore) -> list:
    """All that a store holds, and a batch of it."""
    batch = store.take(range(len(store)))
    names = [store.property_names, store.vector_names]
    meta = {k: v for k, v in store.meta.items() if k != "source"}
    return [store.arrays(), store.atom_properties(), names, meta, batch.pos, batch.z, batch.ptr]


# --------------------------------------------------------------------------------------------------
# structure files


def molecules() -> list[ase.Atoms]:
    """Three labeled frames of a molecule."""
    frames = [molecule("CH3OH") for _ in range(3)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=k)
        forces = np.random.default_rng(k).normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-1.5 - k, forces=forces)
        atoms.info["charge"] = 0.5
    return frames


def _crystal() -> ase.Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0, forces=np.zeros((2, 3)))
    return atoms


# name of the file -> (format of ase, several structures)
_MOLECULE_FILES = {
    "m.xyz": "xyz",
    "m.extxyz": "extxyz",
    "m.traj": "traj",
    "m.pdb": "proteindatabank",
    "m.json": "json",
    "m.db": "db",
    "m.xyz.gz": "extxyz",
    "coord": "turbomole",
    "m.gro": "gromacs",
    "m.g96": "gromos",
    "m.mol": "mol",
    "m.sdf": "sdf",
    "m.com": "gaussian-in",
    "m.nwi": "nwchem-in",
}
_CRYSTAL_FILES = {
    "c.xyz": "extxyz",
    "c.traj": "traj",
    "c.cif": "cif",
    "POSCAR": "vasp",
    "XDATCAR": "vasp-xdatcar",
    "c.lammps-data": "lammps-data",
    "c.gen": "gen",
    "c.xsf": "xsf",
    "c.cube": "cube",
    "geometry.in": "aims",
    "c.ascii": "v-sim",
    "c.xsd": "xsd",
    "c.shelx": "res",
    "c.f34": "crystal",
    "c.magres": "magres",
    "c.rmc6f": "rmc6f",
    "c.cfg": "cfg",
    "c.config": "dlp4",
    "c.con": "eon",
    "c.car": "dmol-car",
    "c.xtd": "xtd",
}
_BINARY = ("traj", "db", "gz")
_OFTEN = ("m.xyz", "m.extxyz", "c.xyz", "m.traj", "c.cif", "POSCAR", "m.pdb", "c.lammpstrj")

_DUMP = """ITEM: TIMESTEP
{0}
ITEM: NUMBER OF ATOMS
3
ITEM: BOX BOUNDS pp pp pp
0.0 9.0
0.0 9.0
0.0 9.0
ITEM: ATOMS id element x y z fx fy fz
1 O 1.0 1.0 1.0 0.1 0.2 0.3
2 H 1.9 1.0 1.{0} -0.1 0.0 0.0
3 H 1.0 1.9 1.0 0.0 -0.2 0.0
"""


def _structure_file(name: str, kind: str, several: Callable) -> Target:
    def make(folder: Path) -> None:
        frames = several()
        single = ase.io.formats.ioformats[kind].single
        if single and isinstance(frames, list):
            frames = frames[0]
        more = {"masses": True} if kind == "lammps-data" else {}
        ase.io.write(folder / name, frames, format=kind, **more)

    suffix = name.rsplit(".", 1)[-1]
    content = "binary" if suffix in _BINARY else "json" if suffix == "json" else "text"
    weight = 30 if name in _OFTEN else 2 if suffix == "db" else 6
    return Target(name, make, reads(name), {name: content}, weight)


def reads(name: str) -> Callable[[Path], Any]:
    """A function that reads the file of this name in a folder."""
    return lambda folder: of_store(AtomStore.from_file(folder / name, energy_unit="eV"))


def _make_dump(folder: Path) -> None:
    (folder / "c.lammpstrj").write_text("".join(_DUMP.format(k) for k in range(3)))


def structure_files() -> list[Target]:
    """Structure files in the formats of ase."""
    return [
        *(_structure_file(name, kind, molecules) for name, kind in _MOLECULE_FILES.items()),
        *(_structure_file(name, kind, _crystal) for name, kind in _CRYSTAL_FILES.items()),
        Target("lammps dump", _make_dump, reads("c.lammpstrj"), {"c.lammpstrj": "text"}, 20),
    ]

"""What the kit reads, as targets of the mutation campaign: files as they should be, made by the kit
or by ase, and a function that reads them and returns everything that was read.

`make(folder)` writes the files of a target; `read(folder)` reads them. What `read` returns is
compared with what the untouched files gave, so it holds every number and name.
"""

import dataclasses
import json
import os
import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import mutation_damage as damage
import numpy as np
import torch
from mutation_files import Target, molecules, of_store, reads, structure_files

import scdlab
from scdlab import AtomStore
from scdlab.nn.official import load_official_ct

# --------------------------------------------------------------------------------------------------
# data sets


def _frames() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "z": np.array([8, 1, 1]),
        "R": rng.normal(size=(6, 3, 3)),
        "E": rng.normal(size=6),
        "F": rng.normal(size=(6, 3, 3)),
    }


def _make_npz(folder: Path) -> None:
    np.savez(folder / "d.npz", **_frames(), charge=np.arange(6.0))


def _make_flat_npz(folder: Path) -> None:
    rng = np.random.default_rng(1)
    np.savez(
        folder / "d.npz",
        z=np.array([8, 1, 1, 6, 8]),
        R=rng.normal(size=(5, 3)),
        n_atoms=np.array([3, 2]),
        energy=rng.normal(size=2),
        cell=np.eye(3) * 9 + np.zeros((2, 3, 3)),
    )


def _make_md17(folder: Path) -> None:
    splits = {"train1": np.array([0, 3]), "test1": np.array([1, 2])}
    np.savez(folder / "rmd17_water.npz", **_frames(), **splits)


def _make_rmd17(folder: Path) -> None:
    names = {"z": "nuclear_charges", "R": "coords", "E": "energies", "F": "forces"}
    (folder / "rmd17" / "npz_data").mkdir(parents=True)
    (folder / "rmd17" / "splits").mkdir()
    data = {names[name]: value for name, value in _frames().items()}
    np.savez(folder / "rmd17" / "npz_data" / "rmd17_water.npz", **data)
    for side, rows in (("train", "0\n3\n"), ("test", "1\n2\n")):
        (folder / "rmd17" / "splits" / f"index_{side}_01.csv").write_text(rows)


def _read_md17(folder: Path) -> Any:
    store = scdlab.load_md17("water", root=folder)
    return [of_store(store), [of_store(side) for side in store.published_split(1)]]


def _read_from_data_folder(folder: Path) -> Any:
    os.environ["SCDLAB_DATA"] = str(folder)
    return of_store(scdlab.load_md17("water"))


_QM9_HEAD = (
    "XYZ_file,Index,SMILES,InChi,N_atoms,Stoichiometry,Elements,XYZ_Ang,Mulliken_pop,"
    "Harmonic_Freq_cmi,"
)
_QM9_ROW = (
    '"dsgdb9nsd_000003.xyz",3,"O","InChI=1S/H2O/h1H2",3,"[2,0,0,1,0]","[\'O\',\'H\',\'H\']",'
    '"[[0.0,0.0,0.0],[0.0,0.0,{0}],[0.9,0.0,-0.2]]","[-0.6,0.3,0.3]","[1671.4,3803.8,3907.7]",'
    "1.85,6.31,-.2928,0.0687,0.3615,19.0002,0.021375,-76.404702,-76.401867,-76.400922,-76.422349,"
    "6.002\n"
)


def _make_qm9(folder: Path) -> None:
    from scdlab.atoms import qm9

    qm9.MOLECULES = 6  # three files of two molecules each stand for all
    head = _QM9_HEAD + ",".join(column for column, _, _ in qm9.PROPERTIES.values()) + "\n"
    for k, name in enumerate(qm9.PARTS):
        (folder / name).write_text(
            head + _QM9_ROW.format(0.96 + k / 10) + _QM9_ROW.format(1.06 + k / 10)
        )


def _read_qm9(folder: Path) -> Any:
    store = scdlab.load_qm9(root=folder)
    return [store.arrays(), store.property_names, of_store(store[:2])[-3:]]


def _read_qm9_cache(folder: Path) -> Any:
    os.environ["SCDLAB_CACHE"] = str(folder)
    store = scdlab.load_qm9(root=folder / "csv")
    return [store.arrays(), store.property_names, store.meta]


def _make_qm9_cache(folder: Path) -> None:
    (folder / "csv").mkdir()
    _make_qm9(folder / "csv")
    _read_qm9_cache(folder)


# --------------------------------------------------------------------------------------------------
# what the kit itself writes


def _store() -> AtomStore:
    frames = [*molecules(), *molecules()]
    for atoms in frames:
        atoms.info["dipole"] = np.array([0.1, 0.2, 0.3])
    return AtomStore.from_ase(frames)


def _make_store(folder: Path) -> None:
    _store().save(folder / "s")


def _read_store(folder: Path) -> Any:
    store = AtomStore.open(folder / "s")
    store.summary()
    if hasattr(store, "verify"):
        store.verify()
    return of_store(store)


def _refresh_store(folder: Path) -> None:
    from scdlab.files import content_digest, digest

    path = folder / "s" / "store.json"
    head = json.loads(path.read_text(encoding="utf-8"))
    for name in head.get("digests", {}):
        file = folder / "s" / f"{name}.npy"
        if file.is_file():
            head["digests"][name] = digest(file)
    if "digest" in head:
        head["digest"] = content_digest(head)
    path.write_text(json.dumps(head), encoding="utf-8")


def small_model() -> scdlab.SchNet:
    """A model that is made and loaded within a millisecond or two."""
    torch.manual_seed(0)
    return scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)


def _make_model(folder: Path) -> None:
    model = small_model()
    model.add_property("charge", "scalar_mean")
    scdlab.save(model, folder / "model")


def _read_model(folder: Path) -> Any:
    model = scdlab.load(folder / "model")
    return [model.state_dict(), model.config, model.units, model.provenance]


def _refresh_model(folder: Path) -> None:
    from scdlab.files import content_digest, digest

    path = folder / "model.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    if "weights_sha256" in about:
        about["weights_sha256"] = digest(folder / "model.safetensors")
    if "digest" in about:
        about["digest"] = content_digest(about)
    path.write_text(json.dumps(about), encoding="utf-8")


_RUN: dict[str, Any] = dict(
    steps=2, batch_size=3, device="cpu", progress=False, checkpoint_every=1, seed=0
)


def _fit(folder: Path, resume: bool) -> Any:
    objective = scdlab.objectives.EnergyForces()
    return scdlab.fit(small_model(), objective, _store(), out=folder / "run", resume=resume, **_RUN)


def _read_run(folder: Path) -> Any:
    result = _fit(folder, resume=True)
    return [result.model.state_dict()]


def _make_official(folder: Path) -> None:
    config = dict(emb_dim=16, num_layers=1, num_heads=2, num_rbf=8)
    model = scdlab.nn.OfficialCT(**config)
    from scdlab.nn.official import _official_name

    without = ("trained_elements", "energy_head.reference")
    state = {}
    for name, value in model.state_dict().items():
        if name not in without:
            value = value.clone()
            state[_official_name(name)] = (
                value.reshape(1, -1) if name.endswith("mask_token") else value
            )
    torch.save({"state_dict": state, "hyper_parameters": config}, folder / "o.ckpt")
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in state.items()}, folder / "o.safetensors")
    (folder / "o.json").write_text(json.dumps(config))


def _read_official(folder: Path) -> Any:
    return load_official_ct(folder / "o.ckpt").state_dict()


def _read_official_safetensors(folder: Path) -> Any:
    return load_official_ct(folder / "o.safetensors", folder / "o.json").state_dict()


# --------------------------------------------------------------------------------------------------
# records, lessons, caches

RECORD = "ecse-cost.cpu.json"


def _make_record(folder: Path) -> None:
    from scdlab.claims import record

    original = Path(record.__file__).parent / "records" / RECORD
    (folder / RECORD).write_bytes(original.read_bytes())


def _read_record(folder: Path) -> Any:
    from scdlab import claims
    from scdlab.claims import record

    record.RECORDS = folder
    found = record.load_record("ecse-cost", "cpu")
    return [dataclasses.asdict(found) if found else None, claims.compare("ecse-cost").rows]


def _refresh_record(folder: Path) -> None:
    from scdlab.files import content_digest

    path = folder / RECORD
    content = json.loads(path.read_text(encoding="utf-8"))
    content["digest"] = content_digest(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _make_lesson(folder: Path) -> None:
    cells = [
        ("markdown", "# A lesson\n\n$E = mc^2$", []),
        ("code", "PROFILE = 'quick'\nDEVICE = 'auto'\nSEED = 0", ["parameters"]),
        ("code", "print(SEED)", ["solution"]),
    ]
    more = {"outputs": [], "execution_count": None}
    content = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "cells": [
            {"cell_type": kind, "id": f"c{k}", "metadata": {"tags": tags}, "source": source}
            | (more if kind == "code" else {})
            for k, (kind, source, tags) in enumerate(cells)
        ],
    }
    (folder / "00_x.ipynb").write_text(json.dumps(content, indent=1))


def _read_lesson(folder: Path) -> Any:
    from scdlab.lessons import listed, runner

    return [runner.parameters_of(path) for path in listed.list_lessons(folder)]


class _QuickMap:
    """In place of UMAP, which takes seconds to compile: a projection."""

    def __init__(self, **settings: Any):
        """Settings are UMAP's."""

    def fit_transform(self, x: np.ndarray) -> np.ndarray:
        """The first two channels."""
        return x[:, :2]


def _read_map(folder: Path) -> Any:
    import sys
    import types

    os.environ["SCDLAB_CACHE"] = str(folder)
    none = types.SimpleNamespace(MOST=0, nearest=None)  # no neighbors are found beforehand
    sys.modules["umap"] = types.SimpleNamespace(UMAP=_QuickMap)  # type: ignore[assignment]
    sys.modules["scdlab.analysis.umap_neighbors"] = none  # type: ignore[assignment]
    x = np.random.default_rng(0).normal(size=(20, 4))
    return scdlab.reduce_embedding(x, "umap")


# --------------------------------------------------------------------------------------------------
# what comes as objects and text


def _make_pyg(folder: Path) -> None:
    flat = {}
    for k, atoms in enumerate(molecules()):
        flat |= {f"z.{k}": atoms.numbers, f"pos.{k}": atoms.positions.astype(np.float32)}
        flat |= {f"energy.{k}": np.array([-1.0]), f"force.{k}": atoms.get_forces()}
        flat |= {f"y.{k}": np.array([[1.0, 2.0]]), f"cell.{k}": np.eye(3)[None] * 9.0}
    np.savez(folder / "pyg.npz", **flat)


def _read_pyg(folder: Path) -> Any:
    from torch_geometric.data import Data

    with np.load(folder / "pyg.npz", allow_pickle=False) as file:
        flat = {name: file[name] for name in file.files}
    data: dict[str, dict] = {}
    for name, value in flat.items():
        field, _, k = name.partition(".")
        data.setdefault(k, {})[field or "x"] = torch.from_numpy(value)
    return of_store(AtomStore.from_pyg([Data(**fields) for fields in data.values()]))


SMILES = ("CCO", "c1ccccc1", "C[C@H](N)C(=O)O", "[NH4+]", "C#N", "O=C=O", "CS(=O)C", "[2H]O[2H]")


def _make_smiles(folder: Path) -> None:
    (folder / "smiles.txt").write_text(SMILES[2])


def _read_smiles(folder: Path) -> Any:
    atoms = scdlab.from_smiles((folder / "smiles.txt").read_bytes().decode("latin-1"))
    return [atoms.numbers, atoms.positions]


# --------------------------------------------------------------------------------------------------


def targets() -> list[Target]:
    """All of them."""
    store_files = {
        f"s/{name}.npy": "npy" for name in ("z", "pos", "ptr", "energy", "forces", "vectors")
    }
    run_files = {
        "run/run.json": "json",
        "run/log.json": "json",
        "run/log.csv": "text",
        "run/train_index.npy": "npy",
        "run/checkpoint.safetensors": "safetensors",
    }
    rmd17 = {
        "rmd17/npz_data/rmd17_water.npz": "npz",
        "rmd17/splits/index_train_01.csv": "text",
        "rmd17/splits/index_test_01.csv": "text",
    }
    qm9 = {f"qm9_part{k}.csv": "text" for k in (1, 2, 3)}
    qm9_cache = {f"qm9-v1/{name}.npy": "npy" for name in ("z", "pos", "ptr", "values")}
    return [
        *structure_files(),
        Target("npz of frames", _make_npz, reads("d.npz"), {"d.npz": "npz"}, 40),
        Target("npz of structures", _make_flat_npz, reads("d.npz"), {"d.npz": "npz"}, 30),
        Target("MD17", _make_md17, _read_md17, {"rmd17_water.npz": "npz"}, 30),
        Target("revised MD17", _make_rmd17, _read_md17, rmd17, 30),
        Target("SCDLAB_DATA", _make_rmd17, _read_from_data_folder, rmd17, 10),
        Target("QM9", _make_qm9, _read_qm9, qm9, 15),
        Target(
            "QM9 in the cache",
            _make_qm9_cache,
            _read_qm9_cache,
            qm9_cache | {"qm9-v1/store.json": "json"},
            8,
        ),
        Target(
            "store",
            _make_store,
            _read_store,
            store_files | {"s/store.json": "json"},
            90,
            True,
            _refresh_store,
        ),
        Target(
            "model",
            _make_model,
            _read_model,
            {"model.json": "json", "model.safetensors": "safetensors"},
            60,
            True,
            _refresh_model,
        ),
        Target("fit", lambda folder: _fit(folder, False), _read_run, run_files, 8, True),
        Target("official .ckpt", _make_official, _read_official, {"o.ckpt": "ckpt"}, 15),
        Target(
            "official .safetensors",
            _make_official,
            _read_official_safetensors,
            {"o.safetensors": "safetensors", "o.json": "json"},
            15,
        ),
        Target("record", _make_record, _read_record, {RECORD: "json"}, 30, True, _refresh_record),
        Target("lesson", _make_lesson, _read_lesson, {"00_x.ipynb": "json"}, 15),
        Target("map in the cache", _read_map, _read_map, {"*": "npy"}, 8),
        Target("PyTorch Geometric", _make_pyg, _read_pyg, {"pyg.npz": "arrays"}, 15),
        Target("SMILES", _make_smiles, _read_smiles, {"smiles.txt": "line"}, 4),
    ]


def foreign(rng: random.Random, originals: list[bytes]) -> tuple[bytes, str]:
    """Another file under this name."""
    kind = rng.choice(("other", "other", "script", "page", "binary"))
    if kind == "other":
        return rng.choice(originals), "another file"
    if kind == "script":
        return b"import os\nos.system('touch canary')\nimages = [1]\n", "a script"
    if kind == "page":
        return b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n", "a page of a server"
    return pickle.dumps(rng.choice(damage.VALUES)) + rng.randbytes(50), "a pickle"


def quiet() -> None:
    """No warnings, no log: what is judged is what is returned and raised."""
    import logging

    warnings.simplefilter("ignore")
    logging.getLogger("scdlab").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)

"""Converts what scdlab 0.1 and its successors before 0.2 wrote: models (json and safetensors) and
records of claims.

    python tools/convert_0_2.py data/checkpoints scdlab/claims/records

Only names change: keys of settings, of weights and of properties; and a model's json says which
labels the model has learned, as far as its weights show. Every number stays as it was measured; so
do the commit, the date and the command, which say where it was measured. Digests are computed anew.
Files that are of 0.2 already are left as they are.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import safetensors.torch
from ase.data import atomic_numbers
from torch import Tensor

from scdlab import files
from scdlab.nn.blocks.heads import MAX_Z
from scdlab.nn.trained_labels import TrainedLabels, undetermined
from scdlab.training.checkpoint import FORMAT_VERSION

SETTINGS = {
    "hidden": "hidden_channels",
    "layers": "num_layers",
    "attention_layers": "num_attention_layers",
    "heads": "num_heads",
    "n_basis": "num_rbf",
    "n_radial": "num_rbf",
    "n_spherical": "num_spherical",
    "int_emb": "int_emb_size",
    "basis_emb": "basis_emb_size",
    "out_emb": "out_emb_channels",
    "force_encoding": "force_input",
    "rho": "energy_weight",
    "probability": "prob",
}
DENS = {"ratio": "corrupt_ratio", "weight": "denoising_weight"}  # in recipes of DeNS
KINDS = {"sum": "scalar_sum", "mean": "scalar_mean", "atoms": "per_atom"}
WEIGHTS = {"seen": "trained_elements"}
#: Of data sets that hold one molecule: its composition.
COMPOSITIONS = {"md17:ethanol": {"C": 2, "H": 6, "O": 1}}


def settings_of(old: dict, dens: bool = False) -> dict:
    """Settings of a model or of a recipe under their new names."""
    names = SETTINGS | (DENS if dens else {})
    new = {names.get(key, key): value for key, value in old.items()}
    if "properties" in new:
        new["properties"] = {
            name: KINDS.get(kind, kind) for name, kind in new["properties"].items()
        }
    return new


def convert_model(description: Path) -> bool:
    """Convert a model's pair of files; False when it needs nothing."""
    about = json.loads(description.read_text(encoding="utf-8"))
    if about["format_version"] == FORMAT_VERSION and {"trained_labels", "digest"} <= {*about}:
        return False
    weights = description.with_suffix(".safetensors")
    tensors = safetensors.torch.load_file(weights)
    if about["format_version"] != FORMAT_VERSION:
        tensors = {WEIGHTS.get(name, name): tensor for name, tensor in tensors.items()}
        with files.atomic_file(weights) as new:
            safetensors.torch.save_file(tensors, new)
        about = _renamed(about)
        about["weights_sha256"] = files.digest(weights)
    about.setdefault("filter_table_size", 512)
    about["trained_labels"] = learned_by(about, tensors).as_json()
    last = {key: about.pop(key) for key in ("provenance", "digest") if key in about}
    about |= last
    about["digest"] = files.content_digest(about)
    files.write_json(description, about)
    return True


def _renamed(about: dict) -> dict:
    about = {"filter_table_size" if key == "table" else key: value for key, value in about.items()}
    about["format_version"] = FORMAT_VERSION
    about["config"] = settings_of(about["config"])
    if "provenance" in about:
        dens = about["provenance"]["claim"].startswith("dens-")
        about["provenance"]["settings"] = settings_of(about["provenance"]["settings"], dens)
    return about


def learned_by(about: dict, tensors: dict[str, Tensor]) -> TrainedLabels:
    """Which labels a model has learned: energies where its references are not zero, and the
    properties that it has units of."""
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in tensors.items():
        if name in ("energy_head.reference", "model.energy_head.reference"):
            found["energy"] = tuple(tensor.nonzero().flatten().tolist())
        if name in ("trained_elements", "model.trained_elements"):
            found["trained"] = tuple(tensor.nonzero().flatten().tolist())
    data = about.get("provenance", {}).get("settings", {}).get("data")
    composition = None
    if found["energy"] and data in COMPOSITIONS:
        counts = np.zeros((1, MAX_Z + 1))
        for symbol, count in COMPOSITIONS[data].items():
            counts[0, atomic_numbers[symbol]] = count
        composition = undetermined(counts.T @ counts)
    return TrainedLabels(
        energy=found["energy"],
        forces=found["energy"],
        properties=dict.fromkeys(about.get("units", {}), found["trained"]),
        undetermined=composition,
    )


def convert_record(path: Path) -> bool:
    """Convert one record; False when it needs nothing."""
    record = json.loads(path.read_text(encoding="utf-8"))
    dens = record["claim"].startswith("dens-")
    settings = settings_of(record["settings"], dens)
    if settings == record["settings"]:
        return False
    record["settings"] = settings
    if dens:
        record["rule"] = re.sub("`ratio`", "`corrupt_ratio`", record["rule"])
    record["digest"] = files.content_digest(record)
    files.write_json(path, record)
    return True


def main() -> None:
    """Run the command."""
    for folder in map(Path, sys.argv[1:]):
        for path in sorted(folder.glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            convert = convert_model if content.get("format") == "scdlab-model" else convert_record
            print(f"{path}: {'converted' if convert(path) else 'as it was'}")


if __name__ == "__main__":
    main()

"""Converts what scdlab 0.1 wrote: models (json and safetensors) and records of claims.

    python tools/convert_0_2.py data/checkpoints scdlab/claims/records

Only names change: keys of settings, of weights and of properties. Every number stays as it was
measured; so do the commit, the date and the command, which say where it was measured. Digests are
computed anew. Files that are of 0.2 already are left as they are.
"""

import json
import re
import sys
from pathlib import Path

import safetensors.torch

from scdlab import files
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
    if about["format_version"] == FORMAT_VERSION:
        return False
    weights = description.with_suffix(".safetensors")
    tensors = safetensors.torch.load_file(weights)
    tensors = {WEIGHTS.get(name, name): tensor for name, tensor in tensors.items()}
    with files.atomic_file(weights) as new:
        safetensors.torch.save_file(tensors, new)
    about["format_version"] = FORMAT_VERSION
    about["config"] = settings_of(about["config"])
    about["weights_sha256"] = files.digest(weights)
    about = {"filter_table_size" if key == "table" else key: value for key, value in about.items()}
    if "provenance" in about:
        dens = about["provenance"]["claim"].startswith("dens-")
        about["provenance"]["settings"] = settings_of(about["provenance"]["settings"], dens)
        about["digest"] = files.content_digest(about)
    files.write_json(description, about)
    return True


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

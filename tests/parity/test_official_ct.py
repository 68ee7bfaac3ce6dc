"""The released CT against our copy of its layout: same weights, same numbers, without and with a
condition.

tests/fixtures/official_ct_tiny.npz holds a small model of random weights in the released layout
("w/…"), a batch, and the outputs of the released code; the json beside it is its configuration.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from torch_geometric.data import Batch

import scdlab

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "official_ct_tiny.npz"


@pytest.fixture(scope="module")
def reference():
    """The arrays of the fixture and its configuration."""
    with np.load(FIXTURE, allow_pickle=False) as data:
        arrays = {k: torch.from_numpy(data[k]) for k in data.files}
    return arrays, json.loads(FIXTURE.with_suffix(".json").read_text(encoding="utf-8"))


def model_of(reference, **settings):
    arrays, config = reference
    return scdlab.load_official_ct(
        {k[2:]: a for k, a in arrays.items() if k.startswith("w/")}, config | settings
    )


def batch_of(arrays, kind):
    size = torch.bincount(arrays["batch"])
    ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
    batch = Batch(z=arrays["z"], pos=arrays[f"pos_{kind}"], batch=arrays["batch"], ptr=ptr)
    batch._num_graphs = len(size)
    return batch


@torch.no_grad()
def errors(model, arrays, kind):
    """Largest difference of each output from the reference's, relative to the largest number there
    is."""
    out = model(
        batch_of(arrays, kind), condition=arrays["clean/mol_emb"] if kind == "noisy" else None
    )
    own = {
        "y": out.energy[:, None],
        "noise_pred": out.noise,
        "mol_emb": out.embedding,
        "atom_embs": out.atoms,
    }
    other = {k: arrays[f"{kind}/{k}"] for k in own}
    assert all(own[k].shape == other[k].shape for k in own)
    return {k: float((own[k] - other[k]).abs().max() / other[k].abs().max()) for k in own}


@pytest.mark.parametrize("kind", ["clean", "noisy"])
def test_same_weights_same_numbers(reference, kind):
    wrong = {
        k: e for k, e in errors(model_of(reference), reference[0], kind).items() if not e <= 1e-5
    }
    assert not wrong


def test_a_weight_in_the_wrong_place_is_noticed(reference):
    model = model_of(reference)
    with torch.no_grad():
        model.rep_model["attention_layers"][1].dv_proj.weight.copy_(
            model.rep_model["attention_layers"][1].dv_proj.weight.roll(8, 0)
        )
    assert max(errors(model, reference[0], "clean").values()) > 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {"vec_prenorm": False},
        {"vector_cutoff": False},
        {"inv_post_norm": False},
        {"layernorm_on_vec": True},
        {"num_heads": 8},
        {"cutoff_upper": 4.9},
    ],
)
def test_a_setting_that_leaves_no_trace_in_shapes_matters(reference, settings):
    assert max(errors(model_of(reference, **settings), reference[0], "clean").values()) > 1e-3


def test_the_undetached_model_says_the_same(reference):
    for kind in ("clean", "noisy"):
        assert max(errors(model_of(reference, detach=False), reference[0], kind).values()) <= 1e-5


def test_the_faults_of_the_very_weights_and_their_cures(reference):
    arrays = reference[0]
    first = reference[0]["batch"] == 0
    atoms = Atoms(arrays["z"][first].numpy(), arrays["pos_noisy"][first].numpy())
    released = scdlab.symmetry_report(model_of(reference), atoms)
    assert released.rotation > 0.05 and released.force_consistency > 0.05, released
    cured = scdlab.symmetry_report(model_of(reference, vec_prenorm=False, detach=False), atoms)
    assert max(cured.rotation, cured.reflection) < 1e-10 and cured.force_consistency < 1e-4, cured

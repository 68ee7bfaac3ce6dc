"""Property heads that read the lengths of vectors: they do not rotate, are smooth, are saved."""

import copy
import json

import numpy as np
import pytest
import torch
from helpers import batch_of, conditional_schnet, ct, perturbed, pet, rattled, rotated, rotation

import scdlab
from scdlab.nn.blocks.properties import LengthHead, PropertyHead
from scdlab.objectives import CoordinateDenoising, PropertyRegression


@pytest.fixture(scope="module")
def qm9():
    return scdlab.load_qm9(limit=400)[300:340]


def et():
    return ct(conditional=False)


def dimenet():
    torch.manual_seed(0)
    sizes = dict(int_emb_size=8, basis_emb_size=4, out_emb_channels=16, num_spherical=3, num_rbf=3)
    return scdlab.DimeNet(hidden_channels=16, num_layers=1, **sizes)


def tensor_product():
    torch.manual_seed(0)
    return scdlab.TensorProductNet(hidden_channels=8, num_layers=1, lmax=1)


BACKBONES = [et, ct, dimenet, tensor_product]


@pytest.mark.parametrize("net", BACKBONES)
@pytest.mark.parametrize("kind", ["scalar_sum", "scalar_mean"])
def test_they_read_vectors_and_do_not_rotate(net, kind):
    model = net()
    model.add_property("y", kind, vector_lengths=True)
    model = perturbed(model, seed=1).double().eval()
    batch = batch_of(rattled("CH3CH2OH"), rattled("CH4", seed=1))
    found = model(batch, noise=False).properties["y"]
    assert found.shape == (2,)
    for sign in (1, -1):
        turned = rotated(batch, sign * torch.from_numpy(rotation(2)), shift=1.5)
        torch.testing.assert_close(
            model(turned, noise=False).properties["y"], found, rtol=1e-9, atol=1e-11
        )
    torch.nn.init.zeros_(model.property_heads["y"].mlp.length.weight)
    assert (model(batch, noise=False).properties["y"] - found).abs().min() > 1e-4


def test_the_number_is_the_plain_one():
    torch.manual_seed(0)
    head = LengthHead(4).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    v = torch.randn(5, 3, 4, dtype=torch.float64)
    mixed = torch.einsum("oi,nci->nco", head.length.weight, v)
    length = mixed.norm(dim=1)
    expected = head.mlp(torch.cat([x, length], dim=-1))
    torch.testing.assert_close(head(x, v), expected, rtol=0, atol=1e-7)


def test_it_is_smooth_where_vectors_vanish():
    torch.manual_seed(0)
    head = PropertyHead(4, "scalar_mean", vector_lengths=True).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    v = torch.zeros(5, 3, 4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(head.per_atom(x, v).sum(), v, create_graph=True)
    assert bool((slope == 0).all())
    (again,) = torch.autograd.grad(slope.sum(), v)
    assert bool(again.isfinite().all())


def test_models_are_saved_with_either_head_and_old_ones_are_read(tmp_path, qm9):
    model = perturbed(et(), seed=1)
    model.add_property("homo", vector_lengths=True)
    model.add_property("gap", "scalar_sum")
    model.add_property("mu", "vector")
    scdlab.save(model.eval(), tmp_path / "model")
    described = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    properties = described["config"]["properties"]
    assert properties == {
        "homo": {"kind": "scalar_mean", "vector_lengths": True},
        "gap": "scalar_sum",  # as before there were lengths
        "mu": "vector",
    }
    other = scdlab.load(tmp_path / "model")
    batch = qm9.take(range(5))
    found, expected = other(batch).properties, model(batch).properties
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not other.property_heads["gap"].vector_lengths


def test_a_head_of_before_stays_as_it_was_in_fine_tuning(qm9):
    model = et()
    head = model.add_property("homo")
    PropertyRegression("homo").prepare(model, qm9)
    assert model.property_heads["homo"] is head and not head.vector_lengths
    lengths = et().add_property("homo", vector_lengths=True)
    other = et()
    other.property_heads["homo"] = lengths
    PropertyRegression("homo").prepare(other, qm9)
    assert other.property_heads["homo"] is lengths


def test_the_last_vectors_are_trained_by_such_a_head_alone(qm9):
    def reached(lengths):
        model = perturbed(et(), seed=1)
        objective = PropertyRegression("homo", vector_lengths=lengths)
        objective.prepare(model, qm9)
        objective(model, qm9.take(range(6)))[0].backward()
        d = model.hidden_channels
        rows = model.blocks[-1].o.weight.grad[
            :d
        ]  # o1, which scales the vectors of the layer before
        return bool(rows.any())

    assert reached(True) and not reached(False)


def test_it_trains_and_is_evaluated(qm9):
    model = et()
    objective = CoordinateDenoising(
        sigma=0.005, supervised=PropertyRegression("homo", vector_lengths=True), weight=0.1
    )
    result = scdlab.fit(model, objective, qm9, steps=3, batch_size=8, progress=False)
    assert np.isfinite(result.history["loss"]).all()
    assert np.isfinite(scdlab.evaluate(model, qm9)["homo_mae"])
    assert scdlab.symmetry_report(model, qm9.to_ase(0)).rotation < 1e-3
    twin = copy.deepcopy(model)
    assert twin.config == model.config


def test_seeds_keep_the_weights_of_heads_without():
    torch.manual_seed(3)
    plain = PropertyHead(8, "scalar_mean")
    torch.manual_seed(3)
    same = PropertyHead(8, "scalar_mean", vector_lengths=False)
    assert all(
        torch.equal(a, b) for a, b in zip(plain.parameters(), same.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: pet().add_property("homo", vector_lengths=True), "PET has no vector features"),
        (
            lambda: conditional_schnet().add_property("homo", vector_lengths=True),
            "SchNet has no vector features",
        ),
        (lambda: et().add_property("mu", "vector", vector_lengths=True), "'scalar_mean'"),
        (lambda: et().add_property("q", "per_atom", vector_lengths=True), "'scalar_mean'"),
        (
            lambda: PropertyRegression("mu", "vector", vector_lengths=True),
            "whose head reads vectors already",
        ),
    ],
)
def test_where_there_are_none_they_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        given()


def test_another_head_and_another_kind_of_argument_are_refused(qm9):
    model = et()
    model.add_property("homo")
    with pytest.raises(ValueError, match="with vector_lengths=False, not True"):
        PropertyRegression("homo", vector_lengths=True).prepare(model, qm9)
    with pytest.raises(TypeError, match="vector_lengths must be True or False"):
        PropertyRegression("homo", vector_lengths="yes")

"""Every pretraining leaves the same parameters as they are: the embeddings of the elements."""

import copy

import pytest
import torch
from helpers import conditional_schnet, ct, perturbed, pet, schnet, seeded
from torch import nn
from torch.nn.utils import parametrizations

import scdlab
from scdlab.objectives import (
    CoordinateDenoising,
    PairwiseDenoising,
    PropertyRegression,
    SelfConditionedDenoising,
)


@pytest.fixture(scope="module")
def qm9():
    return scdlab.load_qm9(limit=400)[300:340]


def dimenet():
    torch.manual_seed(0)
    sizes = dict(int_emb_size=8, basis_emb_size=4, out_emb_channels=16, num_spherical=3, num_rbf=3)
    return scdlab.DimeNet(hidden_channels=16, num_layers=1, **sizes)


def tensor_product():
    torch.manual_seed(0)
    return scdlab.TensorProductNet(hidden_channels=8, num_layers=1, lmax=1)


def et():
    return ct(conditional=False)


# every embedding of elements of each backbone
ELEMENTS = {
    schnet: {"embedding.weight"},
    conditional_schnet: {"embedding.weight"},
    et: {"embedding.weight", "neighbor_embedding.embedding.weight"},
    ct: {"embedding.weight", "neighbor_embedding.embedding.weight"},
    dimenet: {"embed.embedding.weight"},
    pet: {"center.weight", "neighbor.weight"},
    tensor_product: {"embedding.weight"},
}
PLAIN = [schnet, et, dimenet, pet, tensor_product]
CASES = [
    *((net, CoordinateDenoising) for net in PLAIN),
    *((net, PairwiseDenoising) for net in PLAIN),
    (dimenet, lambda **kwargs: PairwiseDenoising(output="coordinates", **kwargs)),
    (ct, SelfConditionedDenoising),
    (conditional_schnet, SelfConditionedDenoising),
]
each = pytest.mark.parametrize(("net", "objective"), CASES)


def gradients(model, objective, batch):
    loss, _ = objective(model, batch, seeded(3))
    model.zero_grad()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}


@each
def test_only_the_embeddings_of_elements_get_no_gradient(qm9, net, objective):
    batch = qm9.take(range(6))
    model = perturbed(net(), seed=1)
    objective().prepare(model, qm9)
    other = copy.deepcopy(model)
    loss, found = gradients(model, objective(), batch)
    plain, expected = gradients(other, objective(freeze_element_embeddings=False), batch)
    assert torch.equal(loss, plain)
    elements = ELEMENTS[net]
    assert elements <= set(found)
    for name, gradient in found.items():
        if name in elements:
            assert gradient is None and expected[name].abs().max() > 0, name
        elif expected[name] is None:
            assert gradient is None, name
        else:
            assert torch.equal(gradient, expected[name]), name
    assert all(p.requires_grad for p in model.parameters())


@each
def test_training_leaves_them_as_they_are(qm9, net, objective):
    options = dict(steps=3, batch_size=8, lr=1e-2, weight_decay=0.1, progress=False)

    def changed(one):
        model = net()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        scdlab.fit(model, one, qm9, **options)
        own = dict(model.named_parameters())
        return {name for name, p in before.items() if not torch.equal(own[name], p)}

    frozen = changed(objective())
    assert frozen and not frozen & ELEMENTS[net]
    assert changed(objective(freeze_element_embeddings=False)) >= ELEMENTS[net]


@pytest.mark.parametrize(
    ("net", "objective"), [(et, CoordinateDenoising), (ct, SelfConditionedDenoising)]
)
def test_labels_beside_denoising_train_them(qm9, net, objective):
    one = objective(supervised=PropertyRegression("homo"))
    model = perturbed(net(), seed=1)
    one.prepare(model, qm9)
    _, found = gradients(model, one, qm9.take(range(6)))
    assert all(found[name].abs().max() > 0 for name in ELEMENTS[net])


def test_arms_of_a_comparison_train_the_same_parameters(qm9):
    """A conditional model in both, as SCD is compared with coordinate denoising."""
    batch = qm9.take(range(6))

    def untrained(objective):
        model = perturbed(ct(), seed=1)
        objective.prepare(model, qm9)
        _, found = gradients(model, objective, batch)
        return {name for name, g in found.items() if g is None and "embedding" in name}

    of_scd = untrained(SelfConditionedDenoising())
    of_coordinate = untrained(CoordinateDenoising())
    assert of_scd == ELEMENTS[ct]
    # the embedding head is trained by SCD alone, which makes its condition of it
    assert {n for n in of_coordinate if not n.startswith("embedding_head")} == of_scd


class TwoTables(scdlab.nn.AtomisticModel):
    """Two names of one table, and a second one whose rows are normalized."""

    has_vectors = False

    def __init__(self, hidden_channels: int = 8, cutoff: float = 4.0) -> None:
        super().__init__(hidden_channels, cutoff)
        self.first = nn.Embedding(119, hidden_channels)
        self.second = self.first
        self.third = parametrizations.weight_norm(nn.Embedding(119, hidden_channels))
        self.lin = nn.Linear(1, hidden_channels)

    def represent(self, batch, pairs, condition=None, vectors=False, force_input=None):
        r = pairs.vectors(batch.pos, batch).norm(dim=-1, keepdim=True)
        x = self.first(batch.z) + self.third(batch.z)
        w = self.lin(r) * (1 - r / self.cutoff).clamp(min=0).square()
        neighbors = torch.zeros_like(x).index_add(0, pairs.i, w * self.second(batch.z)[pairs.j])
        return scdlab.nn.Features((x + neighbors).tanh())


def test_tables_with_two_names_or_a_parametrization_are_left_too(qm9):
    torch.manual_seed(0)
    _, found = gradients(TwoTables(), CoordinateDenoising(), qm9.take(range(6)))
    tables = {name for name in found if name.startswith(("first", "second", "third"))}
    assert len(tables) == 3 and all(found[name] is None for name in tables)
    assert found["lin.weight"].abs().max() > 0

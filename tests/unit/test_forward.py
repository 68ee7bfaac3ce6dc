"""The forward path of every model: it changes nothing, and its checks stand once."""

import copy
from functools import partial

import pytest
import torch
from ase.build import molecule

import scdlab
from scdlab.nn import OfficialCT, evaluating
from scdlab.symmetry import NearestPair, PCAFrames, QRFrames, Quadrature, RandomRotations

SMALL = dict(hidden_channels=8, num_layers=1, cutoff=3.5)


def pet(**settings):
    return scdlab.PET(**SMALL, num_attention_layers=1, num_heads=2, **settings)


def transformer(**settings):
    return scdlab.EquivariantTransformer(**SMALL, num_heads=2, num_rbf=6, **settings)


MODELS = {
    "schnet": partial(scdlab.SchNet, **SMALL),
    "schnet-direct": partial(scdlab.SchNet, **SMALL, direct_forces=True),
    "et": partial(transformer, conditional=True, force_input=True, drop_path=0.1),
    "dimenet": partial(scdlab.DimeNet, **SMALL),
    "tensor-product": partial(scdlab.TensorProductNet, **SMALL),
    "pet": pet,
    "official-ct": partial(OfficialCT, emb_dim=8, num_layers=1, num_heads=2, num_rbf=6),
    "ecse": lambda: scdlab.ECSE(pet()),
    "ecse-pooled": lambda: scdlab.ECSE(pet(direct_forces=True), local=False, prunings=1),
    "rotations": lambda: RandomRotations(pet(), n=2),
    "quadrature": lambda: Quadrature(pet(), degree=1),
    "pca": lambda: PCAFrames(pet()),
    "nearest": lambda: NearestPair(pet()),
    "qr": lambda: QRFrames(pet()),
}


def structures(*names):
    found = [molecule(name) for name in names]
    for k, atoms in enumerate(found):
        atoms.rattle(0.03, seed=k)
    return scdlab.AtomStore.from_ase(found).take(range(len(found)))


def state(model):
    """Everything that a model holds: tensors, and attributes of every module."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, bool | int | float | str | dict | None) and key[:1] != "_":
                plain[name, key] = copy.copy(value)
        plain[name, "_buffers"] = {key: id(value) for key, value in module._buffers.items()}
    return tensors, plain


@pytest.mark.filterwarnings("ignore:All neighbors")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_forward_pass_changes_nothing(make, training):
    torch.manual_seed(0)
    model = make().train(training)
    model.add_property("gap")
    model.energy_head.reference.fill_(-3.0)
    model.energy_head.scale.fill_(2.0)
    model.property_heads["gap"].mean.fill_(5.0)
    model.trained_elements[[1, 6, 7, 8]] = True
    batch = structures("CH3CH2OH", "H2O")
    if isinstance(model, scdlab.ECSE):
        batch = structures("CH3CH2OH", "HCN")  # surroundings without a frame
    given = batch.clone()
    before = state(model)
    for graph in (True, False):
        with torch.set_grad_enabled(graph):
            model(batch, forces=True)
    after = state(model)
    assert before[1] == after[1]
    assert all(torch.equal(after[0][name], tensor) for name, tensor in before[0].items())
    assert all(torch.equal(batch[key], given[key]) for key in given.keys())  # noqa: SIM118
    assert all(p.grad is None for p in model.parameters())


def test_an_auxiliary_model_is_marked_as_trained_by_a_gradient_alone():
    line = structures("HCN")
    for exact in (scdlab.ECSE(pet()), copy.deepcopy(scdlab.ECSE(pet()))):
        exact.train()(line, forces=True)
        assert not bool(exact.learned)
        exact(line).energy.sum().backward()
        assert bool(exact.learned)
        assert not exact.auxiliary.energy_head.reference.any()


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_what_a_model_does_not_take_is_refused_alike(make):
    model = make().eval()
    batch = structures("CH3CH2OH")
    name = type(model.backbone).__name__
    if model.mask_token is None:
        with pytest.raises(ValueError, match=f"This {name} takes no condition"):
            model(batch, condition=torch.zeros(1, model.hidden_channels))
    else:
        with pytest.raises(ValueError, match="condition must have shape"):
            model(batch, condition=torch.zeros(3, model.hidden_channels))
    forces = torch.zeros(9, 3)
    if model.force_encoding is None:
        with pytest.raises(ValueError, match=f"This {name} takes no force input"):
            model(batch, force_input=forces)
        return
    with pytest.raises(ValueError, match=r"must have shape \[9, 3\].*got \[8, 3\]"):
        model(batch, force_input=forces[1:])
    forces[2] = torch.nan
    with pytest.raises(ValueError, match="force input of atom 2"):
        model(batch, force_input=forces)


def test_evaluating_gives_every_module_its_mode_back():
    model = pet().train()
    model.energy_head.eval()
    with pytest.raises(KeyError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert model.training and not model.energy_head.training


@pytest.mark.parametrize("kind", [scdlab.SchNet, scdlab.PET])
def test_a_subclass_that_fixes_direct_forces_gives_those(kind):
    class Small(kind):
        def __init__(self):
            super().__init__(hidden_channels=8, num_layers=1, direct_forces=True)

    torch.manual_seed(0)
    model = Small().eval()
    torch.manual_seed(0)
    same = kind(hidden_channels=8, num_layers=1, direct_forces=True).eval()
    batch = structures("CH3CH2OH")
    assert model.direct_forces and same.direct_forces
    assert not kind(hidden_channels=8, num_layers=1).direct_forces
    assert torch.equal(model(batch, forces=True).forces, same(batch, forces=True).forces)


def test_filters_of_a_subclass_know_its_heads(monkeypatch):
    class Small(scdlab.EquivariantTransformer):
        def __init__(self):
            super().__init__(hidden_channels=8, num_layers=1, num_heads=4, num_rbf=8)

    asked = []
    monkeypatch.setattr(scdlab.nn.model, "fused_for", lambda d, heads, r: asked.append((d, heads)))
    Small().filters(torch.rand(3))
    scdlab.SchNet(hidden_channels=8, num_layers=1).filters(torch.rand(3))
    assert asked == [(8, 4), (8, 1)]

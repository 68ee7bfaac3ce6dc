"""Conditions: without modulation a network is its unconditional twin, a condition acts from the
first step, a dropped one is none, a row belongs to its own structure; and joint drop-path."""

import math

import numpy as np
import pytest
import torch
from ase.build import molecule
from helpers import ct, perturbed, pet, schnet, tensor_product
from scipy import stats

import scdlab
from scdlab.nn import AdaLN
from scdlab.nn.blocks.adaln import drop_path


def deep_ct(**settings):
    return ct(**(dict(num_layers=3) | settings))


def deep_schnet(**settings):
    return schnet(**(dict(num_layers=3, num_rbf=12, conditional=True) | settings))


def deep_pet(**settings):
    """Of 16 features as the others, twice the width of its tokens a layer."""
    return pet(**(dict(hidden_channels=4, num_layers=2, conditional=True) | settings))


EVERY = pytest.mark.parametrize("net", [deep_ct, deep_schnet, tensor_product, deep_pet])
WHAT = ("energy", "forces", "noise", "embedding", "atoms")


@pytest.fixture(scope="module")
def qm9():
    return scdlab.load_qm9(limit=600)


def random_condition(rows, d=16, dtype=torch.float32):
    return torch.randn(rows, d, generator=torch.Generator().manual_seed(7), dtype=dtype)


def unmodulated(model):
    """The model with scale 1, shift 0 and open gates, whatever the condition."""
    with torch.no_grad():
        for layer in model.adaln:
            layer.lin2.weight.zero_()
            layer.lin2.bias.zero_()
    return model


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("training", [True, False])
def test_without_modulation_a_conditional_model_is_its_unconditional_twin(qm9, net, training):
    model = unmodulated(net()).train(training)
    twin = net(conditional=False).train(training)
    batch = qm9.take(np.arange(300, 320))
    for condition in (None, 100 * random_condition(20), random_condition(len(batch.z))):
        out = model(batch, condition, forces=True, noise=True)
        expected = twin(batch, forces=True, noise=True)
        for what in ("energy", "forces", "noise", "atoms"):
            assert torch.equal(getattr(out, what), getattr(expected, what)), what


@EVERY
def test_a_condition_reaches_all_outputs_of_a_fresh_model(qm9, net):
    model = net()
    batch = qm9.take(np.arange(300, 306))
    c = random_condition(6).requires_grad_()
    told = model(batch, c, forces=True, noise=True)
    untold = model(batch, forces=True, noise=True)
    for what in ("energy", "forces", "noise", "atoms"):
        out = getattr(told, what)
        change = (out - getattr(untold, what)).detach().norm()
        assert change > 1e-3 * out.detach().norm(), what
        (slope,) = torch.autograd.grad(out.square().sum(), c, retain_graph=True)
        assert (slope.norm(dim=1) > 1e-3 * slope.norm()).all(), what
    parameters = dict(model.named_parameters())
    names = [name for name in parameters if name.startswith("adaln")]
    slopes = torch.autograd.grad(told.atoms.square().sum(), [parameters[name] for name in names])
    assert all(slope.any() for slope in slopes), names


@EVERY
def test_an_unconditional_model_has_no_weights_more_than_before(net):
    new = {"adaln", "condition_norm", "mask_token", "embedding_head"}
    conditional = net().state_dict()
    plain = net(conditional=False).state_dict()
    assert {name for name in conditional if name.split(".")[0] not in new} == set(plain)
    assert {name.split(".")[0] for name in set(conditional) - set(plain)} == new


def test_a_model_trained_before_there_were_conditions_still_opens():
    model = scdlab.load_pretrained("coord-et")
    assert model.mask_token is None and not model.config.get("conditional") and model.drop_path == 0


@pytest.mark.parametrize("width", [4, 6])
def test_the_module_is_its_equations(qm9, width):
    torch.manual_seed(0)
    layer = perturbed(AdaLN(4, width), seed=1).double()
    batch = qm9.take([300, 301])
    n = len(batch.z)
    c = random_condition(2, width, torch.float64)
    x = random_condition(n, 4, torch.float64)
    scale, shift, gate = layer(c, x, batch)
    weight = torch.cat([layer.lin_c.weight, layer.lin_x.weight], dim=1)  # Linear([c, x])
    h = torch.cat([c[batch.batch], x], dim=1) @ weight.T + layer.lin_c.bias
    h = h / (1 + torch.exp(-h))  # SiLU
    mean = h.mean(1, keepdim=True)
    h = (h - mean) / (h.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    h = h * layer.norm.weight + layer.norm.bias
    h = h @ layer.lin2.weight.T + layer.lin2.bias
    torch.testing.assert_close(scale, 1 + h[:, :4])
    torch.testing.assert_close(shift, h[:, 4:8])
    torch.testing.assert_close(gate, 1 + torch.tanh(h[:, 8:]))
    for found, expected in zip(
        layer(c[batch.batch], x, batch), (scale, shift, gate), strict=True
    ):  # a condition for every atom
        torch.testing.assert_close(found, expected)
    # no condition makes a block louder than twice itself
    assert (layer(1e4 * c, x, batch)[2] - 1).abs().max() <= 1


@pytest.mark.parametrize("net", [deep_ct, deep_schnet])
def test_a_closed_gate_leaves_the_scalars_as_they_were(qm9, net):
    model = net().eval()
    batch = qm9.take(np.arange(300, 310))
    first = {}
    with torch.no_grad():
        for layer in model.adaln:
            layer.lin2.bias[32:] = -100.0  # tanh α = -1
    start = model.neighbor_embedding if net is deep_ct else model.embedding
    start.register_forward_hook(lambda module, args, out: first.update(x=out))
    found = model(batch).atoms
    torch.testing.assert_close(found, model.out_norm(first["x"]) if net is deep_ct else first["x"])


def test_scale_and_shift_act_on_the_normalized_features(qm9):
    """A constant modulation is another layer norm: (1 + γ)(w x̂ + b) + β = w' x̂ + b'. And a
    half-open gate halves."""
    model = deep_ct(num_layers=2)
    twin = deep_ct(num_layers=2, conditional=False)
    batch = qm9.take(np.arange(300, 310))
    torch.manual_seed(2)
    with torch.no_grad():
        for layer, block in zip(unmodulated(model).adaln, twin.blocks, strict=True):
            scale = torch.randn(16)
            shift = torch.randn(16)
            layer.lin2.bias.copy_(torch.cat([scale, shift, torch.full((16,), math.atanh(-0.5))]))
            block.norm.weight.mul_(1 + scale)
            block.norm.bias.copy_(block.norm.bias * (1 + scale) + shift)
            block.register_forward_hook(
                lambda module, args, out: (0.5 * out[0], out[1])
            )  # vectors are not gated
    out = model.eval()(batch, random_condition(10))
    expected = twin.eval()(batch)
    torch.testing.assert_close(out.atoms, expected.atoms, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.noise, expected.noise, rtol=1e-4, atol=1e-5)


def test_schnets_interactions_hear_the_modulated_features(qm9):
    model = unmodulated(deep_schnet(num_layers=1)).eval()
    batch = qm9.take(np.arange(300, 310))
    heard = {}
    scale, shift = random_condition(2)
    with torch.no_grad():
        model.adaln[0].lin2.bias.copy_(torch.cat([scale, shift, torch.zeros(16)]))
    model.blocks[0].register_forward_pre_hook(lambda module, args: heard.update(x=args[0]))
    model(batch)
    torch.testing.assert_close(heard["x"], (1 + scale) * model.embedding(batch.z) + shift)


@EVERY
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_dropped_condition_is_no_condition_to_the_last_bit(qm9, net, training, dtype):
    model = perturbed(net(), seed=1).to(dtype).train(training)
    batch = qm9.take(np.arange(300, 320))
    without = model(batch, forces=True, noise=True)
    all_dropped = model(batch, model.mask_token.detach().repeat(20, 1), forces=True, noise=True)
    dropped = torch.arange(20) % 3 == 0
    condition = torch.where(
        dropped[:, None], model.mask_token.detach(), random_condition(20, dtype=dtype)
    )
    some = model(batch, condition, forces=True, noise=True)
    for what in WHAT:
        reference = getattr(without, what)
        rows = dropped if len(reference) == 20 else dropped[batch.batch]
        assert torch.equal(getattr(all_dropped, what), reference), what
        assert torch.equal(getattr(some, what)[rows], reference[rows]), what
        assert (getattr(some, what)[~rows] - reference[~rows]).abs().max() > 1e-4, (
            what
        )  # the others were told something


@EVERY
def test_a_condition_speaks_to_its_own_structure_and_atom(qm9, net):
    model = perturbed(net(), seed=1).double().eval()
    batch = qm9.take(np.arange(300, 306))
    c = random_condition(6, dtype=torch.float64)
    out = model(batch, c, forces=True)
    changed = model(batch, torch.cat([c[:2], -c[2:3], c[3:]]), forces=True)
    moved = (out.energy - changed.energy).abs() > 0
    assert moved.tolist() == [k == 2 for k in range(6)]
    per_atom = model(
        batch, c[batch.batch], forces=True
    )  # each atom told what its structure was told
    for what in WHAT[:2]:
        torch.testing.assert_close(
            getattr(per_atom, what), getattr(out, what), rtol=1e-10, atol=1e-12
        )
    one = c[batch.batch].clone()
    one[0] *= -1
    assert (model(batch, one).energy[0] - out.energy[0]).abs() > 1e-6


@EVERY
def test_answers_are_differentiable_by_the_condition(net):
    model = perturbed(net(hidden_channels=4, num_layers=2), seed=1).double().eval()
    batch = scdlab.AtomStore.from_ase([molecule("H2O"), molecule("CO2")]).take([0, 1])
    batch.pos = batch.pos.double()
    c = random_condition(2, model.hidden_channels, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: model(batch, c).energy, c)
    model.train()  # forces that training differentiates again
    assert torch.autograd.gradcheck(lambda c: model(batch, c, forces=True).forces, c, atol=1e-6)


@EVERY
def test_the_embedding_is_the_heads(qm9, net):
    model = perturbed(net(), seed=1).eval()
    batch = qm9.take(np.arange(300, 310))
    out = model(batch)
    head = model.embedding_head
    pooled = torch.stack([head.atom(x).sum(0) for x in out.atoms.split(batch.ptr.diff().tolist())])
    torch.testing.assert_close(out.embedding, head.mlp(pooled), rtol=1e-5, atol=1e-5)
    plain = net(conditional=False).eval()(batch)
    pooled = torch.stack([x.sum(0) for x in plain.atoms.split(batch.ptr.diff().tolist())])
    torch.testing.assert_close(plain.embedding, pooled)


@EVERY
@pytest.mark.parametrize("shape", [(19, 16), (20, 15), (20,), (1, 16), (20, 1, 16)])
def test_a_condition_of_another_shape_is_told_both(qm9, net, shape):
    batch = qm9.take(np.arange(300, 320))
    shown = ", ".join(map(str, shape))
    needed = rf"must have shape \[20, 16\].*\[{len(batch.z)}, 16\].*got \[{shown}\]"
    with pytest.raises(ValueError, match=needed):
        net()(batch, torch.zeros(shape))


@pytest.mark.parametrize(
    "model",
    [
        deep_ct(conditional=False),
        deep_schnet(conditional=False),
        scdlab.DimeNet(16, 1, int_emb_size=8, basis_emb_size=4, out_emb_channels=16),
    ],
    ids=["ET", "SchNet", "DimeNet"],
)
def test_a_model_that_takes_no_condition_says_so(qm9, model):
    remedy = "build it with conditional=True"
    if isinstance(model, scdlab.DimeNet):  # which has no such argument
        remedy = "use one that .* conditional=True: EquivariantTransformer, .*SchNet"
    with pytest.raises(ValueError, match=f"takes no condition; {remedy}"):
        model(qm9.take([300]), torch.zeros(1, 16))


@EVERY
def test_a_conditional_model_is_saved_and_loaded_whole(qm9, net, tmp_path):
    model = perturbed(net(), seed=1).eval()
    batch = qm9.take(np.arange(300, 310))
    scdlab.save(model, tmp_path / "told")
    again = scdlab.load(tmp_path / "told")
    assert again.config == model.config and again.config["conditional"] is True
    for condition in (None, random_condition(10)):
        for what in WHAT:
            options = dict(forces=True, noise=True)
            assert torch.equal(
                getattr(model(batch, condition, **options), what),
                getattr(again(batch, condition, **options), what),
            )


# -- drop-path
# --------------------------------------------------------------------------------------------------


def test_paths_are_dropped_by_structure_with_their_probability_and_keep_the_mean(qm9):
    batch = qm9.take(np.arange(600))
    torch.manual_seed(0)
    path = drop_path(batch, 0.3, torch.zeros(1))
    each = torch.stack([p[0, 0] for p in path.split(batch.ptr.diff().tolist())])
    assert torch.equal(path[:, 0], each[batch.batch])  # one fate for all atoms of a structure
    kept = each > 0
    torch.testing.assert_close(each[kept], torch.full((int(kept.sum()),), 1 / 0.7))
    assert stats.binomtest(int(kept.sum()), 600, 0.7).pvalue > 1e-3


@pytest.mark.parametrize("conditional", [True, False])
def test_scalars_and_vectors_take_the_same_path(qm9, conditional):
    model = perturbed(deep_ct(num_layers=1, drop_path=0.5, conditional=conditional), seed=1).train()
    batch = qm9.take(np.arange(300, 340))
    seen = {}
    model.neighbor_embedding.register_forward_hook(lambda module, args, out: seen.update(x=out))
    model.blocks[0].register_forward_hook(
        lambda module, args, out: seen.update(dx=out[0], dv=out[1])
    )
    model.noise_head.register_forward_pre_hook(lambda module, args: seen.update(v=args[1]))
    model.out_norm.register_forward_pre_hook(lambda module, args: seen.update(after=args[0]))
    torch.manual_seed(3)
    model(batch)
    skipped = torch.stack([(v == 0).all() for v in seen["v"].split(batch.ptr.diff().tolist())])
    assert 5 < skipped.sum() < 35
    path = 2.0 * (~skipped)[batch.batch].float()[:, None]
    torch.testing.assert_close(seen["after"], seen["x"] + path * seen["dx"])
    torch.testing.assert_close(seen["v"], path[:, None] * seen["dv"])


def test_nothing_is_dropped_outside_training(qm9):
    model = deep_ct(drop_path=0.5)
    batch = qm9.take(np.arange(300, 310))
    first, second = (model.train()(batch).energy for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(model.eval()(batch).energy, deep_ct().eval()(batch).energy)
    model.drop_path = 0.0
    assert torch.equal(model.train()(batch).energy, deep_ct().train()(batch).energy)


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (-0.1, "drop_path must be a probability from 0 to below 1"),
        (1.0, "drop_path must be a probability from 0 to below 1"),
        (math.nan, "drop_path of EquivariantTransformer must be a finite number"),
    ],
)
def test_a_drop_path_that_cannot_be_is_refused(p, words):
    with pytest.raises(ValueError, match=words):
        deep_ct(drop_path=p)

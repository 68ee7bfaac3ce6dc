"""Self-conditioned denoising: the loss, which way its gradient runs, what is shared by its two
passes, its ablations, and that training with it works."""

import copy
import math

import numpy as np
import pytest
import torch
from ase.build import bulk
from helpers import conditional_pet, conditional_schnet, ct, perturbed, seeded, tensor_product
from hypothesis import given, settings
from hypothesis import strategies as st

import scdlab
from scdlab.nn import forward as nn_forward
from scdlab.objectives import (
    CoordinateDenoising,
    EnergyForces,
    PropertyRegression,
    SelfConditionedDenoising,
    sample_noise,
    scd,
    shared_pairs,
)
from scdlab.objectives.noise import displaced


@pytest.fixture(scope="module")
def qm9():
    return scdlab.load_qm9(limit=600)


def listened(model):
    """What each pass is asked and answers, in order: a list that fills up."""
    passes = []

    def note(module, args, options, out):
        passes.append((args[0], options, out))

    model.register_forward_hook(note, with_kwargs=True)
    return passes


# -- the loss
# --------------------------------------------------------------------------------------------------


def two_passes(model, batch, generator, sigma=0.04, reg_sigma=0.005, p_drop_condition=0.2):
    """The step, written plainly: a search in each pass, structures one by one."""
    like = dict(generator=generator, dtype=batch.pos.dtype)
    clean = copy.copy(batch)
    noisy = copy.copy(batch)
    clean.pos = batch.pos + reg_sigma * torch.randn(batch.pos.shape, **like)
    eps = sigma * torch.randn(batch.pos.shape, **like)
    eps = torch.cat([e - e.mean(0) for e in eps.split(batch.natoms.tolist())])
    noisy.pos = batch.pos + eps

    c = model(clean).embedding
    for k, u in enumerate(torch.rand(len(c), generator=generator)):
        if u < p_drop_condition:
            c = torch.cat([c[:k], model.mask_token[None], c[k + 1 :]])

    noise = model(noisy, condition=c, noise=True).noise
    return ((noise - eps / sigma) ** 2).mean()


@pytest.mark.parametrize("net", [ct, conditional_schnet])
@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_the_plain_one(qm9, net, training):
    model = perturbed(net(), seed=1, modulations=0.5).train(training)
    batch = qm9.take(np.arange(300, 332))
    loss, parts = SelfConditionedDenoising(p_drop_condition=0.3)(model, batch, seeded(4))
    expected = two_passes(model, batch, seeded(4), p_drop_condition=0.3)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(parts["noise_mse"].value, expected.detach(), rtol=1e-6, atol=0)
    assert (
        abs(loss - two_passes(model, batch, seeded(4), p_drop_condition=0.0)) > 1e-5
    )  # it can tell another loss


@pytest.mark.parametrize("net", [ct, conditional_schnet])
def test_the_gradient_is_the_plain_one(qm9, net):
    model = perturbed(net(), seed=1, modulations=0.5).double()
    batch = qm9.take(np.arange(300, 310))
    batch.pos = batch.pos.double()
    SelfConditionedDenoising(freeze_element_embeddings=False)(model, batch, seeded(4))[0].backward()
    own = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    two_passes(model, batch, seeded(4)).backward()
    for name, p in model.named_parameters():
        if p.grad is None:
            assert own[name] is None and name.startswith("energy_head"), name
        else:
            assert (own[name] - p.grad).abs().max() <= 1e-9 * p.grad.abs().max().clamp(min=1e-3), (
                name
            )


@pytest.mark.parametrize("net", [ct, conditional_schnet])
def test_without_conditions_it_is_coordinate_denoising(qm9, net):
    model = perturbed(net(), seed=1, modulations=0.5)
    batch = qm9.take(np.arange(300, 320))
    loss, parts = SelfConditionedDenoising(p_drop_condition=1.0, reg_sigma=0)(
        model, batch, seeded(2)
    )
    plain, plain_parts = CoordinateDenoising()(model, batch, seeded(2))
    torch.testing.assert_close(loss, plain, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        parts["noise_unexplained"].value, plain_parts["noise_unexplained"].value, rtol=1e-6, atol=0
    )


def test_the_callers_batch_keeps_its_positions(qm9):
    batch = qm9.take(np.arange(300, 310))
    before = batch.pos.clone()
    SelfConditionedDenoising()(ct(), batch, seeded())
    assert torch.equal(batch.pos, before)


# -- which way the gradient runs
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [ct, conditional_schnet])
def test_the_gradient_reaches_the_embedding_through_the_condition(qm9, net):
    """Nothing but the condition leads from the loss to the embedding head."""
    model = perturbed(net(), seed=1, modulations=0.5).train()
    batch = qm9.take(np.arange(300, 310))

    def gradients(**options):
        model.zero_grad()
        SelfConditionedDenoising(**options)(model, batch, seeded())[0].backward()
        return {
            name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
        }

    through = gradients()
    stopped = gradients(stop_gradient=True)
    unused = gradients(p_drop_condition=1.0)
    head = [name for name in through if name.startswith("embedding_head")]
    assert len(head) == len(list(model.embedding_head.parameters()))
    for name in head:
        assert through[name].abs().max() > 1e-6, name
        assert stopped[name] is None, name
        assert unused[name] is None or not unused[name].any(), name
    body = (
        "blocks.0.o.weight" if net is ct else "blocks.0.lin_in.weight"
    )  # through both passes, or through one
    assert (through[body] - stopped[body]).abs().max() > 1e-6
    missing = {name for name, g in through.items() if g is None or not g.any()}
    frozen = {"embedding.weight", "neighbor_embedding.embedding.weight"}
    assert missing - frozen <= {name for name in through if name.startswith("energy_head")}
    assert stopped["adaln.0.lin2.weight"].any() and stopped["mask_token"].any()


@pytest.mark.parametrize("net", [ct, conditional_schnet, conditional_pet, tensor_product])
def test_the_first_step_trains_what_makes_the_condition(qm9, net):
    model = net().train()
    SelfConditionedDenoising()(model, qm9.take(np.arange(300, 320)), seeded())[0].backward()
    head = dict(model.embedding_head.named_parameters())
    assert all(p.grad.any() for p in head.values()), {n for n, p in head.items() if p.grad is None}
    assert model.mask_token.grad.any()
    assert all(p.grad.any() for p in model.adaln.parameters())


# -- what the passes share and are asked
# ------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [ct, conditional_schnet, conditional_pet, tensor_product])
@pytest.mark.parametrize("condition", ["own", "other", "atoms"])
def test_two_passes_share_one_search_for_neighbors(qm9, net, condition, monkeypatch):
    calls = []
    for module in (scd, nn_forward):
        search = module.neighbor_list
        monkeypatch.setattr(
            module, "neighbor_list", lambda *args, f=search: calls.append(args) or f(*args)
        )
    model = net()
    batch = qm9.take(np.arange(300, 310))
    passes = listened(model)
    SelfConditionedDenoising(condition=condition)(model, batch, seeded())
    assert len(passes) == 2 and len(calls) == 1
    assert passes[0][1]["pairs"] is passes[1][1]["pairs"]


@given(
    seed=st.integers(0, 10**6),
    sigma=st.floats(1e-3, 0.3),
    cutoff=st.floats(1.0, 6.0),
    periodic=st.booleans(),
)
@settings(max_examples=40)
def test_shared_pairs_miss_none(qm9, seed, sigma, cutoff, periodic):
    if periodic:
        batch = scdlab.AtomStore.from_ase(
            [bulk("Cu", cubic=True), bulk("MgO", "rocksalt", a=4.2)]
        ).take([0, 1])
    else:
        batch = qm9.take(np.arange(seed % 500, seed % 500 + 8))
    generator = seeded(seed)
    first, second = (
        displaced(batch, s * torch.randn(batch.pos.shape, generator=generator))
        for s in (sigma / 8, sigma)
    )

    def names(pairs):
        shift = torch.zeros(len(pairs), 3) if pairs.shift is None else pairs.shift
        return {
            (i, j, *image)
            for i, j, image in zip(pairs.i.tolist(), pairs.j.tolist(), shift.tolist(), strict=True)
        }

    shared = names(shared_pairs(first, second, cutoff))
    needed = names(scdlab.neighbor_list(first, cutoff)) | names(
        scdlab.neighbor_list(second, cutoff)
    )
    assert needed <= shared
    reach = cutoff + 2 * (first.pos - second.pos).norm(dim=-1).max().item()
    assert shared <= names(scdlab.neighbor_list(batch, reach + sigma))


def test_the_first_pass_is_told_nothing_and_the_second_its_embedding(qm9):
    model = perturbed(ct(), seed=1, modulations=0.5)
    batch = qm9.take(np.arange(300, 310))
    passes = listened(model)
    SelfConditionedDenoising(p_drop_condition=0.5)(model, batch, seeded(1))
    (clean, asked, told), (noisy, asked_too, _) = passes
    assert asked.get("condition") is None
    rms = [float((each.pos - batch.pos).square().mean().sqrt()) for each in (clean, noisy)]
    assert rms[0] == pytest.approx(0.005, rel=0.1) and rms[1] == pytest.approx(0.04, rel=0.1)
    rows = asked_too["condition"]
    kept = (rows == told.embedding).all(1)
    assert (
        torch.equal(rows[~kept], model.mask_token.expand(int((~kept).sum()), -1))
        and 0 < kept.sum() < 10
    )


def test_the_share_of_dropped_conditions(qm9):
    model = ct(hidden_channels=8, num_layers=1)
    batch = qm9.take(np.arange(600))
    passes = listened(model)
    for drop in (0.0, 0.2, 1.0):
        with torch.no_grad():
            SelfConditionedDenoising(p_drop_condition=drop)(model, batch, seeded())
        share = float((passes[-1][1]["condition"] == model.mask_token).all(1).float().mean())
        assert share == pytest.approx(drop, abs=0.06 * (0 < drop < 1))


def test_other_takes_another_molecules_condition(qm9):
    model = perturbed(ct(), seed=1, modulations=0.5)
    batch = qm9.take(np.arange(300, 310))
    passes = listened(model)
    SelfConditionedDenoising(condition="other", p_drop_condition=0.0)(model, batch, seeded())
    own = passes[0][2].embedding
    given_ = passes[1][1]["condition"]
    assert not (own == given_).all(1).any()  # nobody keeps its own
    assert all((row == own).all(1).sum() == 1 for row in given_)  # each is handed to one


@pytest.mark.parametrize("stop", [False, True])
def test_who_is_alone_in_a_batch_is_told_nothing_of_another(qm9, stop):
    model = perturbed(ct(), seed=1, modulations=0.5)
    passes = listened(model)
    alone = SelfConditionedDenoising(condition="other", p_drop_condition=0.0, stop_gradient=stop)
    loss, _ = alone(model, qm9.take([300]), seeded())
    assert torch.equal(passes[1][1]["condition"], model.mask_token[None])
    loss.backward()
    assert model.mask_token.grad.any()
    assert not any(p.grad is not None and p.grad.any() for p in model.embedding_head.parameters())
    # 5 = 2 + 2 + 1 in validation; and under a budget of atoms as many fit in as happen to
    result = scdlab.fit(
        model, alone, qm9[300:310], qm9[310:315], steps=4, batch_size=2, progress=False
    )
    assert np.isfinite(result.best)
    result = scdlab.fit(
        model, alone, qm9[300:310], qm9[310:315], steps=4, max_atoms=20, progress=False
    )
    assert np.isfinite(result.best)


def test_atoms_takes_a_condition_for_every_atom(qm9):
    model = perturbed(ct(), seed=1, modulations=0.5)
    batch = qm9.take(np.arange(300, 310))
    passes = listened(model)
    loss, _ = SelfConditionedDenoising(condition="atoms", p_drop_condition=0.4)(
        model, batch, seeded()
    )
    rows = passes[1][1]["condition"]
    atoms = passes[0][2].atoms
    dropped = (rows == model.mask_token).all(1)
    whole = [bool(d.all()) or not bool(d.any()) for d in dropped.split(batch.ptr.diff().tolist())]
    assert all(whole) and dropped.any() and torch.equal(rows[~dropped], atoms[~dropped])
    loss.backward()
    assert model.blocks[0].o.weight.grad.any()


# -- one part embedded, the other denoised
# ----------------------------------------------------------------------------


def pockets():
    """Water beside methanol, ethanol and so on: the water is the pocket."""
    water = scdlab.from_smiles("O")
    frames = []
    for smiles in ("CO", "CCO", "C", "CC=O"):
        ligand = scdlab.from_smiles(smiles)
        ligand.positions += (
            [3.0, 0, 0] - ligand.positions.min(0) + [water.positions[:, 0].max(), 0, 0]
        )
        both = water + ligand
        both.set_array("pocket", np.arange(len(both)) < 3)
        frames.append(both)
    return scdlab.AtomStore.from_ase(frames)


def test_a_part_is_embedded_and_the_other_denoised():
    store = pockets()
    model = perturbed(ct(), seed=1, modulations=0.5)
    passes = listened(model)
    batch = store.take(np.arange(4))
    by_name, _ = SelfConditionedDenoising(context="pocket", p_drop_condition=0.0)(
        model, batch, seeded()
    )
    (embedded, _, told), (denoised, asked, out) = passes
    assert torch.equal(embedded.z, batch.z[batch.pocket]) and torch.equal(
        denoised.z, batch.z[~batch.pocket]
    )
    assert embedded.ptr.tolist() == [0, 3, 6, 9, 12] and denoised.natoms.tolist() == [6, 9, 5, 7]
    assert torch.equal(asked["condition"], told.embedding)
    eps = denoised.pos - batch.pos[~batch.pocket]
    assert (eps.split(denoised.natoms.tolist())[0].mean(0)).abs().max() < 1e-6
    torch.testing.assert_close(by_name, (out.noise - eps / 0.04).square().mean(), rtol=1e-4, atol=0)
    by_function, _ = SelfConditionedDenoising(context=lambda b: b.pocket, p_drop_condition=0.0)(
        model, batch, seeded()
    )
    assert torch.equal(by_name, by_function)
    by_name.backward()
    assert model.embedding_head.atom[1].weight.grad.any()


def test_the_embedded_part_does_not_see_the_other():
    store = pockets()
    model = perturbed(ct(), seed=1, modulations=0.5)
    passes = listened(model)
    batch = store.take(np.arange(4))
    objective = SelfConditionedDenoising(context="pocket", reg_sigma=0.0, p_drop_condition=0.0)
    objective(model, batch, seeded())
    objective(
        model,
        displaced(batch, (~batch.pocket)[:, None] * torch.tensor([-0.5, 0.2, 0.0])),
        seeded(),
    )
    torch.testing.assert_close(passes[0][2].embedding, passes[2][2].embedding, rtol=0, atol=0)


def test_parts_of_a_periodic_structure_keep_its_cell():
    cells = scdlab.AtomStore.from_ase(
        [bulk("MgO", "rocksalt", a=4.2, cubic=True), bulk("MgO", "rocksalt", a=4.4)]
    )
    model = ct()
    batch = cells.take([0, 1])
    passes = listened(model)
    SelfConditionedDenoising(context=lambda b: b.z == 12)(model, batch, seeded())
    for each, _, _ in passes:
        assert torch.equal(each.cell, batch.cell) and torch.equal(each.pbc, batch.pbc)
        assert len(each.z) == 5


def test_a_model_trains_on_parts():
    result = scdlab.fit(
        ct(),
        SelfConditionedDenoising(context="pocket"),
        pockets(),
        steps=6,
        batch_size=4,
        progress=False,
    )
    assert np.isfinite(result.history["loss"]).all()


# -- embeddings of the elements
# ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [ct, conditional_schnet])
def test_element_embeddings_are_frozen_here_and_nowhere_else(qm9, net):
    options = dict(steps=4, batch_size=8, lr=1e-2, weight_decay=0.1, progress=False)

    def trained(model, objective):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        scdlab.fit(model, objective, qm9[300:340], **options)
        assert all(p.requires_grad for p in model.parameters())
        return {
            name
            for name, p in model.named_parameters()
            if name in before and not torch.equal(p, before[name])
        }

    elements = {"embedding.weight"} | (
        {"neighbor_embedding.embedding.weight"} if net is ct else set()
    )
    model = net()
    changed = trained(model, SelfConditionedDenoising())
    assert not changed & elements and any(name.startswith("blocks") for name in changed)
    assert elements <= trained(model, PropertyRegression("homo"))  # fine-tuning
    assert elements <= trained(net(), SelfConditionedDenoising(freeze_element_embeddings=False))


def test_what_was_frozen_by_its_owner_stays_frozen(qm9):
    model = ct()
    batch = qm9.take([300, 301])
    model.embedding.weight.requires_grad_(False)
    SelfConditionedDenoising()(model, batch, seeded())
    assert (
        not model.embedding.weight.requires_grad
        and model.neighbor_embedding.embedding.weight.requires_grad
    )
    with pytest.raises(ValueError, match="given wrongly"):
        SelfConditionedDenoising(context=fails)(model, batch, seeded())
    assert model.neighbor_embedding.embedding.weight.requires_grad


def fails(batch):
    raise ValueError("given wrongly")


# -- training
# --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("net", [ct, conditional_schnet])
@pytest.mark.parametrize("options", [{}, {"condition": "atoms"}, {"stop_gradient": True}], ids=str)
def test_training_lowers_the_loss(qm9, net, options):
    train = qm9[100:130]
    result = scdlab.fit(
        net(),
        SelfConditionedDenoising(**options),
        train,
        steps=80,
        batch_size=10,
        lr=5e-3,
        progress=False,
    )
    history = result.history["noise_unexplained"]
    assert np.mean(history[-5:]) < 0.95 * history[0]


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["atoms", "other"])
def test_what_it_is_told_helps_a_model_unless_it_is_about_another(condition):
    """Ethanol in motion: where its atoms were cannot be known from where they are, and can be
    told."""
    train, val, _ = scdlab.load_ethanol().split(1000, 100, 0)
    torch.manual_seed(0)
    model = scdlab.EquivariantTransformer(16, 2, 2, num_rbf=16, conditional=True)
    scdlab.fit(
        model,
        SelfConditionedDenoising(condition=condition),
        train,
        steps=300,
        batch_size=8,
        lr=5e-3,
        progress=False,
    )
    told, untold = (
        scdlab.evaluate(
            model, val, SelfConditionedDenoising(condition=condition, p_drop_condition=drop)
        )["noise_unexplained"]
        for drop in (0.0, 1.0)
    )
    assert told < 0.95 * untold if condition == "atoms" else abs(told - untold) < 0.02 * untold, (
        told,
        untold,
    )


def test_a_run_is_repeated_and_evaluated_to_the_last_bit(qm9):
    def run():
        model = ct(drop_path=0.1)
        scdlab.fit(
            model, SelfConditionedDenoising(), qm9[300:360], steps=6, batch_size=8, progress=False
        )
        return model

    first = run()
    second = run()
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    errors = [
        scdlab.evaluate(first, qm9[:40], SelfConditionedDenoising(), batch_size=16)
        for _ in range(2)
    ]
    assert errors[0] == errors[1] and set(errors[0]) == {"loss", "noise_mse", "noise_unexplained"}
    assert errors[0]["loss"] == pytest.approx(errors[0]["noise_mse"])


def test_a_pretrained_model_is_saved_loaded_and_fine_tuned(qm9, tmp_path):
    model = ct()
    scdlab.fit(
        model, SelfConditionedDenoising(), qm9[300:360], steps=4, batch_size=8, progress=False
    )
    scdlab.save(model, tmp_path / "scd")
    again = scdlab.load(tmp_path / "scd")
    batch = qm9.take(np.arange(300, 320))
    losses = [
        SelfConditionedDenoising()(each.eval(), batch, seeded(3))[0] for each in (model, again)
    ]
    assert torch.equal(*losses)
    result = scdlab.fit(
        again, PropertyRegression("homo"), qm9[300:360], steps=4, batch_size=8, progress=False
    )
    assert np.isfinite(result.history["homo_mae"]).all()


def test_a_main_objective_learns_from_the_pass_that_embeds(qm9):
    model = perturbed(ct(), seed=1, modulations=0.5)
    batch = qm9.take(np.arange(300, 320))
    main = PropertyRegression("homo")
    both = SelfConditionedDenoising(supervised=main, weight=0.1, p_drop_condition=0.0)
    both.prepare(model, qm9)
    passes = listened(model)
    loss, parts = both(model, batch, seeded(2))
    assert len(passes) == 2
    alone, alone_parts = SelfConditionedDenoising(p_drop_condition=0.0)(model, batch, seeded(2))
    eps, _ = sample_noise(batch, 0.005, seeded(2), centered=False)
    label, label_parts = main(model, displaced(batch, eps))
    torch.testing.assert_close(loss, label + 0.1 * alone)
    assert set(parts) == {*alone_parts, *label_parts} and both.loss_over is None


@pytest.mark.parametrize("net", [ct, conditional_schnet])
def test_beside_energies_and_forces(net):
    store = scdlab.load_ethanol()[:40]
    model = net()
    both = SelfConditionedDenoising(supervised=EnergyForces(), weight=0.1)
    history = scdlab.fit(model, both, store, steps=6, batch_size=8, progress=False).history
    assert {"energy_mae", "force_mae", "noise_mse", "noise_unexplained"} <= set(history)
    assert np.isfinite(history["loss"]).all()


# -- what is said when it cannot work
# ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sigma": 0}, "sigma must be a positive length in Å"),
        ({"sigma": math.inf}, "sigma must be a positive length in Å"),
        ({"reg_sigma": -0.1}, "reg_sigma must be 0 or a positive length in Å"),
        ({"reg_sigma": math.nan}, "reg_sigma must be 0 or a positive length in Å"),
        ({"p_drop_condition": 1.1}, "p_drop_condition must be between 0 and 1, got 1.1"),
        ({"p_drop_condition": math.nan}, "p_drop_condition must be between 0 and 1, got nan"),
        ({"condition": "mine"}, "condition must be 'own', 'other' or 'atoms', got 'mine'"),
        ({"context": 3}, "context must be a function of the batch or the name"),
        ({"context": "pocket", "condition": "atoms"}, "context gives some atoms to one pass"),
        (
            {"context": "pocket", "supervised": PropertyRegression("homo")},
            "context gives some atoms to one pass",
        ),
        ({"supervised": "homo"}, "supervised must be an objective"),
        ({"weight": -1.0}, "weight must be a finite number of at least 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        SelfConditionedDenoising(**settings)


@pytest.mark.parametrize(
    "net",
    [
        ct,
        conditional_schnet,
        lambda conditional: scdlab.DimeNet(16, 1, int_emb_size=8, basis_emb_size=4),
    ],
)
def test_a_model_that_takes_no_condition_is_refused(qm9, net):
    model = net(conditional=False)
    remedy = "(build it with conditional=True|use one .*: EquivariantTransformer, .*SchNet)"
    with pytest.raises(ValueError, match=f"this {type(model).__name__} does not; {remedy}"):
        scdlab.fit(model, SelfConditionedDenoising(), qm9[:20], steps=1, progress=False)
    with pytest.raises(ValueError, match=remedy):
        SelfConditionedDenoising()(model, qm9.take([300]))


def test_a_model_that_cannot_denoise_is_refused(qm9):
    with pytest.raises(ValueError, match="no noise head"):
        scdlab.fit(
            conditional_schnet(direct_forces=True),
            SelfConditionedDenoising(),
            qm9[:20],
            steps=1,
            progress=False,
        )


def test_another_condition_needs_another_structure(qm9):
    objective = SelfConditionedDenoising(condition="other")
    with pytest.raises(ValueError, match="the training set has one only"):
        scdlab.fit(ct(), objective, qm9[300:301], steps=1, progress=False)
    with pytest.raises(ValueError, match=r"condition='other'.* needs batch_size >= 2, got 1"):
        scdlab.fit(ct(), objective, qm9[300:310], steps=1, batch_size=1, progress=False)


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ("pocket", "no field 'pocket' to divide their atoms by"),
        ("z", "context 'z' must give one boolean for each of the .* atoms, got torch.int64"),
        (lambda b: b.natoms > 3, r"one boolean for each of the .* of shape \[2\]"),
        (lambda b: [True], "one boolean for each of the .* got list"),
        (lambda b: b.z > 0, r"takes 12 of the 12 atoms of structure 0 .* one to denoise"),
        (
            lambda b: (b.z > 0) & (torch.arange(len(b.z)) == 0),
            "takes 0 of the .* atoms of structure 1",
        ),
    ],
)
def test_parts_that_are_none_are_refused(qm9, context, said):
    batch = qm9.take([300, 301])
    with pytest.raises(ValueError, match=said):
        SelfConditionedDenoising(context=context)(ct(), batch, seeded())


def test_its_name_gives_all_settings():
    text = repr(
        SelfConditionedDenoising(0.1, p_drop_condition=0.5, condition="other", stop_gradient=True)
    )
    for piece in (
        "sigma=0.1",
        "reg_sigma=0.005",
        "p_drop_condition=0.5",
        "condition='other'",
        "stop_gradient=True",
        "freeze_element_embeddings=True",
    ):
        assert piece in text
    assert eval(text).sigma == 0.1
    assert "context='pocket'" in repr(SelfConditionedDenoising(context="pocket"))
    assert "supervised=PropertyRegression(name='homo'" in repr(
        SelfConditionedDenoising(supervised=PropertyRegression("homo"))
    )

"""The equivariant transformer in JavaScript, with and without a condition, against torch."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from helpers import batch_of, ct, perturbed, rattled, rotation
from web_models import WebModels, difference, plain

import scdlab
from scdlab.analysis.conditions import gates, mixed
from scdlab.nn.ops.filter_tables import Filters

KINDS = {
    "plain": dict(conditional=False),
    "conditional": {},
    "deep": dict(num_layers=3, num_heads=4, cutoff=4.0),
    "quiet": dict(noise_head=False),
    "direct": dict(conditional=False, direct_forces=True, force_input=True),
}
OUTPUTS = ("energy", "noise", "embedding")


def torch_answer(model, atoms, condition=None, force_input=None, cells=None, **options):
    """The original's answer in double precision."""
    model = model.double().eval()
    if cells is not None:
        model.filters = lambda r: Filters(model.basis, r, model.cutoff, cells)
    if condition is not None:
        condition = torch.as_tensor(np.asarray(condition))
    if force_input is not None:
        force_input = torch.as_tensor(np.asarray(force_input))
    with torch.no_grad():
        out = model(batch_of(atoms), condition, force_input, **options)
    model.__dict__.pop("filters", None)
    model.float()
    return out


def compared(here, there, size) -> float:
    differences = []
    for name in (*OUTPUTS, "forces"):
        original = getattr(there, name)
        if here[name] is None:
            assert original is None or name in ("noise", "forces")
            continue
        own = np.array(here[name])
        if name == "embedding":
            original = original[0]
        if name == "energy":
            own = own[None]
        differences.append(difference(own, original))
    d = there.atoms.shape[1]
    differences.append(difference(np.array(here["atoms"])[: size * d].reshape(-1, d), there.atoms))
    return max(differences)


@pytest.mark.browser
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_random_weights(window, tmp_path, precision):
    models = {kind: perturbed(ct(**settings), 1) for kind, settings in KINDS.items()}
    web = WebModels(window, tmp_path, precision, **models)
    bound = 1e-5 if precision == "float32" else 1e-11
    structures = rattled("CH3CH2OH"), molecule("CO"), rattled(bulk("Cu", cubic=True), amount=0.1)
    for kind, model in models.items():
        for atoms in structures:
            n = len(atoms)
            options = {"forces": True} if kind == "direct" else {}
            noise = {"noise": kind != "quiet"}
            there = torch_answer(model, atoms, **options, **noise)
            assert compared(web(kind, atoms, **options), there, n) < bound, kind
            if model.mask_token is not None:
                rng = np.random.default_rng(0)
                for condition in (rng.normal(size=(1, 16)), rng.normal(size=(n, 16))):
                    there = torch_answer(model, atoms, condition, **noise)
                    here = web(kind, atoms, condition=condition.ravel().tolist())
                    assert compared(here, there, n) < bound, kind
    assert web.files_alone()


@pytest.mark.browser
def test_forces_as_input(window, tmp_path):
    model = perturbed(ct(**KINDS["direct"]), 1)
    model.force_encoding.scale.fill_(0.7)
    web = WebModels(window, tmp_path, "float64", net=model)
    atoms = rattled("CH3CH2OH")
    force = np.random.default_rng(0).normal(size=(len(atoms), 3))
    force[3:] = 0
    there = torch_answer(model, atoms, force_input=force, forces=True)
    here = web("net", atoms, forceInput=force.ravel().tolist(), forces=True)
    assert compared(here, there, len(atoms)) < 1e-11
    without = web("net", atoms, forces=True)
    assert np.abs(here["noise"] - without["noise"]).max() > 1e-3


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", ["scd-ct", "scd-ct-frames", "coord-ct", "coord-et"])
def test_trained_weights(window, tmp_path, name, precision):
    """Every kind of condition on a molecule with noise: own, none, another's, mix, an atom's."""
    model = scdlab.load_pretrained(name)
    web = WebModels(window, tmp_path, precision, net=model)
    for cells in (None, 512):
        with_every_condition(web, model, cells)


def with_every_condition(web, model, cells):
    web.run("([cells]) => { models.net.filterTableSize = cells; }", cells)
    clean = molecule("CH3CH2OH")
    atoms = rattled(clean.copy(), amount=0.04)
    n = len(atoms)
    none = torch_answer(model, atoms, cells=cells)
    assert compared(web("net", atoms), none, n) < 1e-5
    if model.mask_token is None:
        return
    own = torch_answer(model, clean, cells=cells).embedding[0].numpy()
    other = torch_answer(model, molecule("C6H6"), cells=cells).embedding[0].numpy()
    here = web.run(
        """([clean, other]) => {
            const own = scdlab.selfEmbedding(models.net, structureOf(clean));
            const another = scdlab.selfEmbedding(models.net, structureOf(other));
            return [own, another, scdlab.mixed(own, another, 0.3)].map(x => Array.from(x)); }""",
        plain(clean),
        plain(molecule("C6H6")),
    )
    conditions = [own, other, mixed(own, other, 0.3)]
    for condition, in_page in zip(conditions, here, strict=True):
        assert difference(in_page, condition) < 1e-5
        there = torch_answer(model, atoms, condition[None], cells=cells)
        answer = web("net", atoms, condition=in_page)
        assert compared(answer, there, n) < 1e-5
        if cells is None:
            open_by = gates(model.double(), atoms, condition)
            model.float()
            in_layers = np.reshape(answer["gates"], open_by.shape)
            assert difference(in_layers, open_by) < 1e-5
    each = np.where(np.arange(n)[:, None] < 4, own, other)
    there = torch_answer(model, atoms, each, cells=cells)
    assert compared(web("net", atoms, condition=each.ravel().tolist()), there, n) < 1e-5
    assert web.files_alone()


@pytest.mark.browser
def test_symmetry(window, tmp_path):
    model = perturbed(ct(**KINDS["deep"]), 3)
    web = WebModels(window, tmp_path, "float64", net=model)
    atoms = rattled("CH3CH2OH")
    condition = np.random.default_rng(0).normal(size=16).tolist()
    here = web("net", atoms, condition=condition)
    other = atoms.copy()
    q = -rotation(4)  # a reflection too
    order = np.random.default_rng(5).permutation(len(atoms))
    other.positions = atoms.positions @ q.T + [1.0, -2.0, 30.0]
    there = web("net", other[order], condition=condition)
    assert abs(there["energy"] - here["energy"]) < 1e-10 * abs(here["energy"])
    assert difference(there["embedding"], here["embedding"]) < 1e-10
    assert difference(there["noise"], (here["noise"] @ q.T)[order]) < 1e-10


@pytest.mark.browser
def test_bad_input_is_one_sentence(window, tmp_path):
    models = dict(net=ct(), plain=ct(conditional=False), pulled=ct(force_input=True))
    web = WebModels(window, tmp_path, **models)
    atoms = molecule("H2O")
    for name, options, said in (
        ("net", {"condition": [1.0] * 5}, "must hold 16 numbers, the model's width, or 48"),
        ("plain", {"condition": [1.0] * 16}, "takes no condition"),
        ("net", {"forceInput": [0.0] * 9}, "takes no force input"),
        ("pulled", {"forceInput": [0.0] * 8}, "must hold 9 finite numbers"),
        ("net", {"forces": True}, "no head for forces"),
    ):
        with pytest.raises(Exception, match=said):
            web(name, atoms, **options)
    with pytest.raises(Exception, match="must be between 0 and 1, got 2"):
        web.run("() => scdlab.mixed([1], [2], 2)")

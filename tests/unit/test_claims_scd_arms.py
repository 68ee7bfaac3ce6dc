"""Claims of lesson 04: equal budgets, equal starts, equal treatment, and what was seen."""

import collections
import types

import numpy as np
import pytest
import torch
from ase.data import chemical_symbols

import scdlab
from scdlab import claims, files
from scdlab.claims import common
from scdlab.claims import self_conditioned as scd
from scdlab.claims import self_conditioned_embedding as embedding
from scdlab.claims import self_conditioned_frames as frames
from scdlab.claims import self_conditioned_homo as homo
from scdlab.claims import self_conditioned_network as network
from scdlab.claims import self_conditioned_transfer as transfer
from scdlab.objectives import CoordinateDenoising, EnergyForces, SelfConditionedDenoising
from scdlab.training import FitResult

LESSON = [claim for claim in claims.claims() if claim.lesson == 4]
FEW = "scd-few-labels-homo"
EXTENT = "scd-extensivity"
FRAMES = "scd-nonequilibrium"
TRANSFER = "scd-frames-transfer"
FORCES = "scd-ethanol-forces"
COST = "scd-cost"
TRAINING = (FEW, FRAMES, TRANSFER, FORCES)  # on labels
TESTED = (*TRAINING, EXTENT, "scd-extensivity-frames", "scd-condition")


def everywhere(monkeypatch, name, value):
    """Replace a function in each module of the lesson's claims that uses it."""
    for module in (common, scd, embedding, homo, transfer, network):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("domain", scd.DOMAINS)
def test_either_pretraining_runs_the_network_equally_often(domain, monkeypatch):
    settings = scd.QUICK | {"n_pretrain": 40, "pretrain_steps": 3, "frames_steps": 3}
    settings |= {"pretrain_batch": 4}
    fresh = scd.fresh
    structures = []

    def watched(*args):
        model = fresh(*args)
        model.register_forward_pre_hook(
            lambda module, args: (
                structures.append(args[0].num_graphs) if torch.is_grad_enabled() else None
            )
        )
        return model

    everywhere(monkeypatch, "fresh", watched)
    counts = {}
    for method in ("scd", "coord", "updates"):
        structures.clear()
        scd.pretrained(method, settings, 0, "cpu", domain)
        counts[method] = list(structures)
    assert counts["scd"] == counts["coord"] == 2 * 3 * [4]
    assert counts["updates"] == 3 * [4]


def test_pretraining_freezes_the_same_parameters_in_either_method():
    settings = scd.QUICK | {"n_pretrain": 40, "pretrain_batch": 4}
    start = scd.fresh(settings, 0).state_dict()
    moved = {}
    for method in ("scd", "coord"):
        model = scd.pretrained(method, settings, 0, "cpu")
        moved[method] = {
            name for name, value in model.state_dict().items() if not value.equal(start[name])
        }
    embeddings = {f"{n}.weight" for n, m in model.named_modules() if type(m) is torch.nn.Embedding}
    assert len(embeddings) == 2
    assert not embeddings & (moved["scd"] | moved["coord"])
    assert moved["coord"] <= moved["scd"], "SCD trains the embedding head as well"


@pytest.mark.parametrize("domain", scd.DOMAINS)
def test_methods_start_from_the_same_weights_and_seeds_from_others(domain, monkeypatch):
    everywhere(monkeypatch, "trained", lambda model, *args, **options: FitResult(model))
    torch.manual_seed(5)
    made = [scd.pretrained(m, scd.QUICK, 0, "cpu", domain).state_dict() for m in scd.METHODS]
    assert all(
        torch.equal(a, b)
        for other in made[1:]
        for a, b in zip(made[0].values(), other.values(), strict=True)
    )
    other = scd.pretrained("scd", scd.QUICK, 1, "cpu", domain).state_dict()
    assert any(not torch.equal(a, b) for a, b in zip(made[0].values(), other.values(), strict=True))


def structures(store):
    """The structures of a store, as what they are: atoms and places."""
    batch = store.take(np.arange(len(store)))
    size = batch.natoms.tolist()
    pieces = zip(batch.z.split(size), batch.pos.split(size), strict=True)
    return {(z.numpy().tobytes(), pos.numpy().tobytes()) for z, pos in pieces}


Training = collections.namedtuple("Training", "objective store how options kind")


@pytest.fixture
def seen(monkeypatch):
    """Recipes that train nothing: what they would have trained and tested on.

    A training adds one to all weights; `how` says from which weights it starts, how long it is, and
    so on."""
    seen = types.SimpleNamespace(trainings=[], tests=[])
    first = {}  # (seed, conditional) -> fresh weights

    def trained(model, objective, store, steps, batch_size, lr, seed, device, **options):
        conditional = model.mask_token is not None
        key = seed, conditional
        if key not in first:
            first[key] = scd.fresh(scd.QUICK, seed, conditional).out_norm.bias.detach()
        start = round(float((model.out_norm.bias.detach() - first[key]).mean()), 6)
        how = start, steps, batch_size, lr, seed
        rest = {name: value for name, value in options.items() if name not in ("out", "resume")}
        kind = "ct" if conditional else "et"
        model.saw = (*getattr(model, "saw", ()), len(seen.trainings))
        seen.trainings.append(Training(objective, store, how, repr(rest), kind))
        with torch.no_grad():
            for p in model.parameters():
                p.add_(1)
        return FitResult(model)

    def tested(model, store):
        seen.tests.append((store, [seen.trainings[k].store for k in getattr(model, "saw", ())]))

    def evaluate(model, store, objective=None, **options):
        tested(model, store)
        return collections.defaultdict(lambda: 1.0)

    def embed(model, store, **options):
        tested(model, store)
        x = np.random.default_rng(len(seen.tests)).normal(size=(len(store), 4))
        return x, np.arange(len(store))

    everywhere(monkeypatch, "trained", trained)
    monkeypatch.setattr(scdlab, "evaluate", evaluate)
    monkeypatch.setattr(embedding.analysis, "embed", embed)
    return seen


def is_pretraining(training):
    return (
        isinstance(training.objective, (CoordinateDenoising, SelfConditionedDenoising))
        and training.objective.labeled is None
    )


@pytest.mark.parametrize("claim_id", TRAINING)
def test_on_labels_all_methods_are_treated_alike(claim_id, seen):
    claim = claims.get(claim_id)
    claim.recipe(claim.settings("quick"), 0, "cpu")
    tuned = [t for t in seen.trainings if not is_pretraining(t)]
    alike = collections.Counter(
        (repr(t.objective), frozenset(structures(t.store)), t.how[1:], t.options) for t in tuned
    )
    stages = {FEW: 2, FRAMES: 1, TRANSFER: 4, FORCES: 1}[claim_id]  # few and many, two molecules
    assert len(alike) == stages
    assert sorted(alike.values()) == ([4, 6] if claim_id == FEW else [4] * stages)
    starts = collections.Counter(t.how[0] for t in tuned if t.kind == "ct")
    assert starts == {1.0: 3 * stages, 0.0: stages}, (
        "three methods from pretrained weights, one from fresh ones"
    )
    before = [t for t in seen.trainings if is_pretraining(t)]
    assert {t.how[0] for t in before} == {0.0}, "pretraining starts from fresh weights"
    assert len({frozenset(structures(t.store)) for t in before}) == 1, "all see the same structures"
    assert len({(t.how[2:], t.options) for t in before}) == 1, "in the same batches, at one rate"


@pytest.mark.parametrize("claim_id", TESTED)
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_that_is_tested_on_was_trained_on(claim_id, seed, seen):
    claim = claims.get(claim_id)
    claim.recipe(claim.settings("quick"), seed, "cpu")
    for store, trained_on in seen.tests:
        for earlier in trained_on:
            assert not structures(earlier) & structures(store)
    assert any(trained_on for _, trained_on in seen.tests)


def test_pretraining_sees_no_labels_and_sets_whole_isomers_aside():
    made = frames.mixed_frames(0)
    assert not made.train.has_energy and not made.train.has_forces
    assert not made.train.property_names and not made.test.property_names
    molecule = made.isomers.property("molecule")
    assert len(set(molecule)) == 10 and len(made.isomers) == 500
    rest = structures(scdlab.load_isomers()) & structures(made.train)
    assert len(rest) == 2250 and not rest & structures(made.isomers)


def test_the_frames_are_split_as_the_checkpoint_says():
    made = frames.mixed_frames(0)
    ethanol = scdlab.load_ethanol().split(1500, 0, seed=0)
    assert structures(made.ethanol[0]) == structures(ethanol[0])
    assert structures(made.ethanol[1]) == structures(ethanol[2])
    expected = structures(ethanol[0])
    isomers = scdlab.load_isomers().split(2500, 0, seed=0, groups="molecule")[0]
    expected |= structures(isomers.split(2250, 0, seed=0)[0])
    expected |= structures(scdlab.load_aspirin().split(800, 0, seed=0)[0])
    expected |= structures(scdlab.load_alloys().split(572, 0, seed=0)[0])
    assert structures(made.train) == expected and not expected & structures(made.test)
    said = claims.get("scd-condition").checkpoints["scd-ct-frames"]
    for words in (
        "1,500 of the 2,000",
        "800 of the 1,000",
        "572 of the 672",
        "2,250 frames of 50 of the 60",
    ):
        assert words in said
    assert structures(frames.mixed_frames(1).train) != expected


def test_labels_are_those_of_molecules_that_pretraining_has_seen_without(seen):
    claim = claims.get(FEW)
    settings = claim.settings("quick")
    claim.recipe(settings, 0, "cpu")
    pretrained, labeled = (
        set().union(*(structures(t.store) for t in seen.trainings if is_pretraining(t) == which))
        for which in (True, False)
    )
    assert labeled < pretrained and len(labeled) <= settings["n_many"] + settings["n_few"]


def test_maps_are_of_molecules_that_this_seed_has_not_pretrained_on():
    settings = scd.QUICK | {"n_map": 10_000}
    for seed in (0, 1):
        seen, held_out = common.molecules(settings, seed)
        made = embedding.unseen(settings, seed)
        assert len(made) == 4000 and not set(made.index) & set(seen.index)
        assert set(held_out.index) <= set(made.index)


@pytest.mark.parametrize("claim_id", [*TESTED, "scd-minima"])
def test_data_that_is_not_there_is_missed_before_anything_is_trained(claim_id, seen, monkeypatch):
    claim = claims.get(claim_id)
    settings = claim.settings(next(p for p in ("cpu", "night") if p in claim.profiles))

    def not_there(*args, **options):
        raise FileNotFoundError("Put the file into a folder.")

    monkeypatch.setattr(scdlab, "load_qm9", not_there)
    monkeypatch.setattr(scdlab, "load_md17", not_there)
    with pytest.raises(FileNotFoundError, match="Put the file"):
        claim.recipe(settings, 0, "cpu")
    assert not seen.trainings


@pytest.fixture(scope="module")
def sample():
    return scdlab.AtomStore.open(files.package_dir("data") / "qm9-sample")


def formulas(store):
    batch = store.take(np.arange(len(store)))
    symbols = np.array(chemical_symbols)[batch.z.numpy()]
    return [formula(piece) for piece in np.split(symbols, batch.ptr[1:-1].numpy())]


def formula(symbols):
    names, counts = np.unique(symbols, return_counts=True)
    return "".join(f"{name}{n if n > 1 else ''}" for name, n in zip(names, counts, strict=True))


def test_isomers_and_other_elements_are_left_out(sample):
    assert len(homo.only(scdlab.load_isomers(), (1, 6, 8))) == 0, "pretraining saw these formulas"
    kept = homo.only(sample, (1, 6, 8))
    every = formulas(sample)
    left = formulas(kept)
    pure = [f for f in every if not set("NF") & set(f)]
    assert "C7H10O2" in pure and len(pure) < len(every), (
        "there is something of either kind to leave out"
    )
    assert left == [f for f in pure if f != "C7H10O2"]
    assert set(kept.index) < set(sample.index)


def test_there_are_as_many_molecules_to_test_on_as_the_recipe_asks_for(sample):
    claim = claims.get(FRAMES)
    kept = homo.only(sample, (1, 6, 8))
    for profile in claim.profiles:
        n = claim.settings(profile)["n_test"]
        assert len(common.draw(kept, n, 0)) == n


# --- what a step costs
# ------------------------------------------------------------------------------------------

SECONDS = {"et": 1.0, "direct": 1.25, "scd": 2.0, "gradient": 3.0, "energy": 1.6}


def test_the_cost_of_a_step_is_a_ratio_of_medians_without_the_first_turn(monkeypatch):
    clock = [0.0]
    turns = collections.Counter()

    def stepper(model, objective, batch, seed):
        if isinstance(objective, EnergyForces):
            name = "gradient" if objective.forces else "energy"
        elif isinstance(objective, SelfConditionedDenoising):
            name = "scd"
        else:
            name = "et" if model.mask_token is None else "direct"

        def step():
            turns[name] += 1
            clock[0] += SECONDS[name] * (
                1000 if turns[name] == 1 else 50 if turns[name] == 3 else 1
            )  # a hiccup

        return step

    monkeypatch.setattr(network, "_stepper", stepper)
    monkeypatch.setattr(network, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    values = network.step_cost(scd.QUICK | {"batch_size": 8, "rounds": 5}, 0, "cpu")
    assert set(turns) == set(SECONDS) and set(turns.values()) == {6}
    assert values == pytest.approx(
        {
            "time_scd_over_gradient": 2 / 3,
            "time_one": 1,
            "time_scd_over_direct": 1.6,
            "time_scd_over_energy": 1.25,
            "throughput_ct_over_et": 0.8,
            "ms_scd_step": 2000,
        }
    )
    assert claims.get(COST).verdict([values, values, values], {}) == "reproduced"


def test_steps_are_timed_on_the_real_thing():
    claim = claims.get(COST)
    values = claim.recipe(claim.settings("quick") | {"num_layers": 1, "batch_size": 4}, 0, "cpu")
    assert set(values) == set(claim.quantities) and values["time_one"] == 1
    assert all(np.isfinite(x) and x > 0 for x in values.values())
    ratio = values["time_scd_over_gradient"]
    expected = (
        "contradicted" if ratio > 1 else "reproduced" if ratio < 1 / 1.2 else "same direction"
    )
    assert claim.verdict([values, values, values], {}) == expected

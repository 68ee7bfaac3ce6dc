"""Claims of lesson 05: verdicts from the rules, measures that are right on models whose answer is
known, small runs."""

import numpy as np
import pytest
import torch

import scdlab
from scdlab import claims
from scdlab.claims import common, ecse, ecse_continuity, ecse_cost
from scdlab.nn.model import Prediction
from scdlab.symmetry.averaging import NearestPair, QRFrames

LESSON = [claim for claim in claims.claims() if claim.id.startswith("ecse-")]
QUICK = claims.get("ecse-accuracy").settings("quick")


@pytest.fixture(scope="module")
def pet():
    """Untrained: it knows nothing of rotations at all."""
    torch.manual_seed(0)
    return ecse.exactly(ecse.fresh(QUICK))


@pytest.fixture(scope="module")
def store():
    return ecse.frames(QUICK, 0)[2]


def verdict(claim_id, *changed, **settings):
    """The verdict on three seeds that give `changed[0]`, or one each; what is not named is 1."""
    claim = claims.get(claim_id)
    changed = changed * 3 if len(changed) == 1 else changed
    assert set().union(*changed) <= set(claim.quantities)
    values = [dict.fromkeys(claim.quantities, 1.0) | each for each in changed]
    return claim.verdict(values, claim.settings("cpu") | settings)


# --- rules
# --------------------------------------------------------------------------------------------------


def test_accuracy_is_judged_by_exactness_and_by_the_force_error():
    good = {"turned_relative_ecse": 1e-12, "force_mae_ecse_meV_per_A": 1.05}
    loose = good | {"turned_relative_ecse": 1e-6}
    worse = good | {"force_mae_ecse_meV_per_A": 1.2}
    assert verdict("ecse-accuracy", good) == "same direction"
    assert verdict("ecse-accuracy", good, steps=100_000) == "reproduced"
    for bad in (loose, worse):
        assert verdict("ecse-accuracy", good, good, bad) == "not seen at this scale", (
            "one seed is enough"
        )
        assert verdict("ecse-accuracy", bad, steps=100_000) == "contradicted"


def test_smoothness_is_judged_by_the_largest_jump_of_the_others():
    assert verdict("ecse-smooth", {"jump_ecse_meV": 1e-3}) == "reproduced"
    assert verdict("ecse-smooth", {"jump_ecse_meV": 1e-2}) == "contradicted"
    assert verdict("ecse-smooth", {"jump_ecse_meV": 1e-3, "jump_qr_meV": 0.005}) == "tie", (
        "one of them did not jump"
    )


def test_frames_are_judged_by_what_pruning_leaves():
    few = {"pooled_ethanol_kept": 4.0, "pooled_ethanol_all": 20.0}
    assert verdict("ecse-frames", few) == "same direction"
    assert verdict("ecse-frames", few | {"pooled_ethanol_kept": 6.0}) == "not seen at this scale"
    assert (
        verdict("ecse-frames", few, few, few | {"atom_least_kept": 0.0}) == "not seen at this scale"
    )
    released = {
        f"pooled_{name}_{what}": float(n)
        for name, both in ecse_cost.RELEASED_COUNTS.items()
        for what, n in zip(("all", "kept"), both, strict=True)
    }
    assert verdict("ecse-frames", released) == "reproduced"


def test_cost_is_judged_by_the_error_that_is_left_and_by_operations():
    exact = {"turned_ecse_meV": 1e-9, "mflop_ecse": 5.0, "mflop_degree_5": 84.0}
    assert verdict("ecse-cost", exact) == "reproduced"
    assert verdict("ecse-cost", exact | {"mflop_ecse": 90.0}) == "same direction"
    assert (
        verdict("ecse-cost", exact, exact, exact | {"turned_degree_6_meV": 1e-7})
        == "not seen at this scale"
    )


@pytest.mark.parametrize(("exponent", "expected"), [(-0.45, "reproduced"), (-0.65, "contradicted")])
def test_random_averages_are_judged_by_their_exponent(exponent, expected):
    assert verdict("ecse-random-averages", {"exponent": exponent}) == expected


# --- measures
# --------------------------------------------------------------------------------------------------


class Slanted(torch.nn.Module):
    """E = Σ x_i: forces are 1 along x, wherever the structure is turned."""

    def forward(self, batch, forces=False, noise=None):
        energy = torch.zeros(batch.num_graphs, dtype=torch.float64).index_add(
            0, batch.batch, batch.pos[:, 0]
        )
        along = torch.tensor([-1.0, 0.0, 0.0], dtype=torch.float64).expand_as(batch.pos)
        return Prediction(
            energy=energy, forces=along if forces else None, noise=None, embedding=None, atoms=None
        )


def test_errors_under_rotation_are_those_of_a_known_model(store):
    batch = ecse.batch_of(store[:4])
    energy, forces = ecse.rotated(Slanted(), batch, 1000, 0, forces=True, mirror=True)
    assert energy.shape == (1000, 4) and forces.shape == (1000, len(batch.z), 3)
    sums = torch.zeros(4, 3, dtype=torch.float64).index_add(0, batch.batch, batch.pos)
    assert ecse.spread(energy) == pytest.approx(
        float(sums.square().sum(1).mean() / 3) ** 0.5, rel=0.05
    )
    assert ecse.spread(forces) == pytest.approx(3**-0.5, rel=0.05), (
        "turned back, they point anywhere"
    )


def test_ecse_is_exact_where_the_network_is_not(pet, store):
    batch = ecse.batch_of(store)
    raw, exact = (
        ecse.rotated(model, batch, 3, 0, forces=True, mirror=True)
        for model in (pet, scdlab.ECSE(pet))
    )
    assert ecse.relative_error(*raw) > 1e-3 and ecse.relative_error(*exact) < 1e-9


def test_paths_go_where_they_should(store):
    found = ecse_continuity.paths(store, 4.5)
    assert set(found) == {"crossing", "swap", "line", "cutoff"}
    assert all(start.shape == end.shape == (len(z), 3) for z, start, end in found.values())

    def at(name, t):
        _, start, end = found[name]
        return start + t * (end - start)

    moments = [np.linalg.eigvalsh((x := at("crossing", t)).T @ x) for t in (0.0, 5 / 9)]
    gaps = [np.diff(m).min() / m.max() for m in moments]
    assert gaps[0] > 1e-4 and gaps[1] < 1e-12
    distance = [
        np.sort(np.linalg.norm(x - x.mean(0), axis=1)) for x in (at("swap", 0.0), at("swap", 1.0))
    ]
    assert np.abs(distance[0] - distance[1]).max() < 0.1, "near neighbors change places by a little"
    u, v = (at("line", 5 / 9)[k] - at("line", 5 / 9)[0] for k in (1, 2))
    assert np.linalg.norm(np.cross(u, v)) < 1e-12 * np.linalg.norm(u) * np.linalg.norm(v) + 1e-12
    far = [
        np.linalg.norm(x[:, None] - x[None], axis=-1)
        for x in (at("cutoff", 0.0), at("cutoff", 1.0))
    ]
    assert np.abs(far[0] - 4.2).min() < 1e-6 and np.abs(far[1] - 4.6).min() < 1e-6


def test_jumps_are_seen_where_they_are_and_nowhere_else(pet, store):
    found = ecse_continuity.paths(store, 4.5)
    for kind, where in ((NearestPair, "swap"), (QRFrames, "line")):
        z, start, end = found[where]
        sides = []
        for t in (5 / 9 - 1e-3, 5 / 9 + 1e-3) if where == "line" else (0.499, 0.501):
            batch = scdlab.AtomStore.from_arrays(z, start, [0, len(z)]).take([0])
            batch.pos = torch.from_numpy(start + t * (end - start))
            sides.append(float(kind(pet)(batch, noise=False).energy.detach()))
        jump, _ = ecse_continuity.walk(kind(pet), found[where], 20)
        assert jump == pytest.approx(1e3 * abs(sides[1] - sides[0]), rel=0.1, abs=0.1) and jump > 1
        smooth, slope = ecse_continuity.walk(pet, found[where], 20, levels=3)
        assert smooth < 1e-4 and slope > 0


@pytest.mark.slow
def test_ecse_is_smooth_when_its_steps_are_followed_far_enough(pet, store):
    path = ecse_continuity.paths(store, 4.5)["line"]
    assert ecse_continuity.walk(scdlab.ECSE(pet), path, 10, levels=6)[0] < 1e-3


def test_pruning_leaves_fewer_frames_and_mirrors_double_them(pet, store):
    batch = ecse.batch_of(store)
    every, kept = (ecse_cost.counts(pet, batch, n, group="SO(3)") for n in (0, 4))
    assert every.shape == kept.shape == (len(batch.z),)
    assert (kept <= every).all() and kept.min() >= 1 and kept.sum() < every.sum()
    assert torch.equal(ecse_cost.counts(pet, batch, 4, group="O(3)"), 2 * kept)
    assert ecse_cost.counts(pet, batch, 4, local=False).shape == (len(store),)


def test_operations_count_evaluations(pet, store):
    batch = ecse.batch_of(store[:1])
    averages = ecse_cost.averages(pet, 0)
    found = {d: averages[f"degree_{d}"].evaluations for d in ecse_cost.DEGREES}
    assert found == ecse_cost.EVALUATIONS
    assert [averages[f"random_{n}"].evaluations for n in ecse_cost.RANDOM] == list(ecse_cost.RANDOM)
    assert ecse_cost.flops(averages["degree_1"], batch) == pytest.approx(
        12 * ecse_cost.flops(pet, batch), rel=1e-2
    )


# --- recipes
# --------------------------------------------------------------------------------------------------


def test_no_training_sees_a_test_frame_and_all_claims_share_one(monkeypatch):
    seen = []
    kept = []

    def noted(model, objective, store, steps, batch_size, lr, seed, device, **options):
        seen.append(
            (
                type(model),
                objective.loss,
                model.augment,
                set(store.index),
                set(options["val"].index),
            )
        )

    def keep(name, settings, seed, train):
        kept.append((name, settings, seed))
        return train(None)

    monkeypatch.setattr(common, "trained", noted)
    monkeypatch.setattr(ecse, "keep", keep)
    for claim in LESSON:
        ecse.learned(claim.settings("quick"), 1, "cpu")
    assert all(one == kept[0] for one in kept), "what a claim adds does not decide what is trained"
    kind, loss, augment, few, val = seen[0]
    assert kind is scdlab.PET and loss == "norm" and augment, "fit turns its batches"
    assert len(few) == 40 and len(val) == 8
    assert not (few | val) & set(ecse.frames(QUICK, 1)[2].index) and not few & val


@pytest.mark.slow
@pytest.mark.parametrize("claim", LESSON, ids=lambda claim: claim.id)
def test_recipes_measure_what_they_name(claim, pet, monkeypatch):
    for module in (ecse, ecse_continuity, ecse_cost):
        monkeypatch.setattr(module, "learned", lambda *_: pet.float())
    small = {"n_test": 3, "path_steps": 4, "levels": 1, "n_turned": 2}
    values = claim.recipe(claim.settings("quick") | small, 0, "cpu")
    pet.double()
    assert list(values) == list(claim.quantities) and np.all(
        np.isfinite([float(v) for v in values.values()])
    )
    assert set(claim.checkpoints) <= {"pet-ethanol"}
    if claim.id == "ecse-accuracy":
        assert values["turned_relative_ecse"] < 1e-9 < values["turned_relative_raw"]
    if claim.id == "ecse-frames":
        assert (
            values["atom_both_hands_kept"] == 2 * values["atom_ethanol_kept"]
            and values["pooled_water_kept"] == 2
        )
    if claim.id == "ecse-cost":
        assert 1 < values["evaluations_ecse"] < 84
        assert values["mflop_degree_5"] == pytest.approx(84 * values["mflop_raw"], rel=1e-2)

"""A small part of the physics campaign: one model of each kind of check, and a short dynamics."""

import physics
import physics_checks as checks
import physics_dynamics
import pytest
from physics_models import MODELS, OBJECTIVES, STRUCTURES, fresh, quiet

FEW = ("SchNet", "ET, conditional", "TensorProductNet, force input", "PET", "official CT")


def _all_good(found) -> None:
    with quiet():
        bad = [each for each in found if not each.good]
    assert not bad


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("structure", ["a molecule", "a skewed cell", "one vector, no others"])
def test_forces_stress_and_symmetries(name, structure):
    model = fresh(name)
    _all_good(checks.forces(model, structure, STRUCTURES[structure]()))
    _all_good(checks.stress(model, structure, STRUCTURES[structure]()))
    _all_good(checks.symmetry(model, structure, STRUCTURES[structure](), seed=0))


@pytest.mark.parametrize("name", MODELS)
def test_batches_cutoff_and_refusals(name):
    model = fresh(name)
    _all_good(checks.cutoff(model))
    _all_good(checks.refusals(model))
    _all_good(checks.batches(model, ["one atom", "a molecule", "a crystal of one atom"]))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_of_losses(objective):
    made, fits = OBJECTIVES[objective]
    name = next(
        name for name in ("TensorProductNet, force input", "ET, conditional") if fits(fresh(name))
    )
    _all_good(checks.loss_gradient(fresh(name), made(), seed=0))


def test_a_wrong_force_is_found(monkeypatch):
    model = fresh("SchNet")
    forward = type(model).forward

    def wrong(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        if out.forces is not None:
            out.forces = out.forces * 1.001
        return out

    monkeypatch.setattr(type(model), "forward", wrong)
    (found,) = checks.forces(model, "a molecule", STRUCTURES["a molecule"]())
    assert not found.good


@pytest.mark.slow
def test_a_run_is_resumed_and_dynamics_keep_the_energy(tmp_path, monkeypatch):
    monkeypatch.setattr(physics, "MODELS", {"SchNet": MODELS["SchNet"]})
    monkeypatch.setattr(physics_dynamics, "STEPS", 50)
    result = physics.run(3, 0, tmp_path, picoseconds=0.2)
    assert result["failures"] == []
    assert result["counts"]["forces"] == 3
    assert result["counts"]["dynamics"] == 1
    assert result["cases"] == sum(result["counts"].values())
    assert result["settings"]["drift"]["SchNet"]["ps"] == 0.2
    monkeypatch.setattr(physics, "one", None)  # nothing is computed twice
    monkeypatch.setattr(physics, "one_drift", None)
    again = physics.run(3, 0, tmp_path, picoseconds=0.2)
    assert again["counts"] == result["counts"]

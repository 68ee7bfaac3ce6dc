"""The contract of objectives: what `fit` reads of any of them, and one written in a notebook."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import scdlab
from scdlab.objectives import (
    CoordinateDenoising,
    DeNS,
    EnergyForces,
    Mean,
    Objective,
    PairwiseDenoising,
    PropertyRegression,
    SelfConditionedDenoising,
)
from scdlab.objectives.base import SupervisedObjective, description

FIT = dict(steps=8, batch_size=4, lr=2e-3, log_every=2, val_every=4, device="cpu", progress=False)


@dataclass
class CoulombLike(Objective):
    """Energies alone, with errors to a power: all that a notebook has to write."""

    power: float = 2.0

    def __call__(self, model, batch, generator=None):
        error = (model(batch, noise=False).energy - batch.energy).abs()  # (B) eV
        parts = {"error": Mean(error.detach().mean(), len(error))}
        return (error**self.power).mean(), parts


class Plain(Objective):
    """No dataclass, and a part that is a plain number."""

    def __call__(self, model, batch, generator=None):
        loss = model(batch, noise=True).noise.square().mean()
        return loss, {"square": loss}


def heavy(batch):
    return batch.z > 1


@pytest.fixture(scope="module")
def ethanol():
    frames = scdlab.load_ethanol()[:30]
    return frames[:20], frames[20:]


def small(**settings):
    torch.manual_seed(0)
    return scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8, **settings)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("make", [CoulombLike, Plain])
def test_an_objective_of_ones_own_trains_validates_and_resumes(ethanol, tmp_path, make):
    train, val = ethanol
    straight = small()
    whole = scdlab.fit(straight, make(), train, val, out=tmp_path / "a", **FIT)
    part = next(iter({"error", "square"} & set(whole.history)))
    assert whole.history["loss"][-1] < whole.history["loss"][0]
    assert whole.history[f"val_{part}"][-1] > 0
    assert straight.trained_elements.nonzero().flatten().tolist() == [1, 6, 8]

    def stop(step, row, model):
        if step == 4:
            raise RuntimeError("the power went off")

    with pytest.raises(RuntimeError, match="power"):
        scdlab.fit(small(), make(), train, val, out=tmp_path / "b", callbacks=[stop], **FIT)
    resumed = small()
    scdlab.fit(resumed, make(), train, val, out=tmp_path / "b", resume=True, **FIT)
    assert torch.equal(weights(straight), weights(resumed))
    assert scdlab.evaluate(straight, val, make())["loss"] == pytest.approx(whole.best, rel=1e-6)


def test_another_setting_of_ones_own_objective_is_another_run(ethanol, tmp_path):
    scdlab.fit(small(), CoulombLike(), ethanol[0], out=tmp_path, **FIT)
    with pytest.raises(ValueError, match=r"CoulombLike\(power=2.0\).*CoulombLike\(power=1.0\)"):
        scdlab.fit(small(), CoulombLike(1.0), ethanol[0], out=tmp_path, resume=True, **FIT)


def test_an_objective_without_a_method_is_refused():
    class Nothing(Objective):
        pass

    class Unlike(SupervisedObjective):
        pass

    with pytest.raises(TypeError, match=r"^Nothing is an .*: define __call__\(model, batch, gen"):
        Nothing()
    with pytest.raises(TypeError, match=r"^Unlike is .*define compare\(.*\) and label_modules\("):
        Unlike()


def test_means_over_batches_of_different_sizes_are_exact(ethanol):
    model = small()
    EnergyForces(forces=False).prepare(model, ethanol[0])
    found = [
        scdlab.evaluate(model, ethanol[0], CoulombLike(), batch_size=size)["error"]
        for size in (3, 7, 20)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-6)


def test_a_mean_compares_as_a_number():
    mean = Mean(torch.tensor(0.5), 3)
    assert mean == 0.5 and mean == Mean(torch.tensor(0.5), 7) and mean < 1 and mean >= 0.5
    assert float(mean) == 0.5


@pytest.mark.parametrize(
    ("make", "old", "message"),
    [
        (DeNS, "probability", "DeNS has no argument 'probability': probability is now prob."),
        (DeNS, "weight", "weight is now denoising_weight"),
        (EnergyForces, "rho", "rho is now energy_weight"),
        (SelfConditionedDenoising, "drop", "drop is now p_drop_condition"),
        (CoordinateDenoising, "main", "main is now supervised"),
        (PairwiseDenoising, "sigmas", "the nearest that it has is 'sigma'"),
        (CoulombLike, "exponent", "CoulombLike has no argument 'exponent'"),
    ],
)
def test_an_unknown_argument_names_the_new_one(make, old, message):
    with pytest.raises(TypeError, match=message):
        make(**{old: 1.0})


@pytest.mark.parametrize(
    "objective",
    [
        EnergyForces(forces_weight=2.0),
        PropertyRegression("homo"),
        CoordinateDenoising(0.1, supervised=EnergyForces()),
        PairwiseDenoising(output="coordinates"),
        DeNS(sigma=(0.01, 0.5), decay=False),
        SelfConditionedDenoising(context="pocket"),
    ],
)
def test_the_name_of_an_objective_makes_it_again(objective):
    assert eval(repr(objective)) == objective


def test_the_name_of_an_objective_holds_no_address():
    named = SelfConditionedDenoising(context=heavy)
    assert f"context={__name__}.heavy" in repr(named)

    @dataclass
    class Mine(Plain):
        part: object = heavy

    assert "heavy" in description(Mine()) and "0x" not in description(Mine())


def test_the_force_term_has_a_weight(ethanol):
    model = small()
    EnergyForces().prepare(model, ethanol[0])
    batch = ethanol[0].take(range(4))
    energy, _ = EnergyForces(energy_weight=1.0, forces_weight=0.0)(model, batch)
    forces, _ = EnergyForces(energy_weight=0.0)(model, batch)
    both, _ = EnergyForces(energy_weight=0.5, forces_weight=3.0)(model, batch)
    torch.testing.assert_close(both, 0.5 * energy + 3.0 * forces)


def test_frozen_embeddings_of_elements_get_no_gradient_and_lose_nothing(ethanol):
    model = small(conditional=True)
    EnergyForces().prepare(model, ethanol[0])
    model.embedding.weight.requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    loss, _ = SelfConditionedDenoising()(model, ethanol[0].take(range(4)), generator)
    assert model.embedding.weight.requires_grad
    loss.backward()
    assert model.embedding.weight.grad is None
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("forces", [3, "no", None])
def test_whether_forces_are_learned_is_true_or_false(forces):
    with pytest.raises(TypeError, match="forces must be True or False, got"):
        EnergyForces(forces=forces)
    assert EnergyForces(forces=np.bool_(False)).forces is False


@pytest.mark.parametrize("name", [3, None, ["gap", "homo"]])
def test_a_property_has_a_name(name):
    with pytest.raises(TypeError, match="name must be that of one property, such as 'gap'"):
        PropertyRegression(name)

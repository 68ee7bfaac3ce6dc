"""Arguments of `fit` and `evaluate`, and what objectives return: what cannot be is one sentence."""

import math
import re

import numpy as np
import pytest
import torch

import scdlab
from scdlab.objectives import EnergyForces, Mean, Objective

FIT = dict(steps=2, batch_size=4, device="cpu", progress=False)


@pytest.fixture(scope="module")
def ethanol():
    return scdlab.load_ethanol()[:12]


def small():
    torch.manual_seed(0)
    return scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)


def one_sentence(error):
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text
    assert error.traceback[-1].path.name.endswith(".py")
    assert "scdlab" in str(error.traceback[-1].path)  # not an error of torch or numpy


@pytest.mark.parametrize(
    "settings, said",
    [
        (dict(lr="a"), "lr must be a number above 0, got 'a'"),
        (dict(lr=math.nan), "lr must be a finite number above 0, got nan"),
        (dict(lr=True), "lr must be a number above 0, got True"),
        (dict(lr={"head": "a", "backbone": 1.0}), "each a number of at least 0"),
        (dict(lr={"head": 0.0, "backbone": 0.0}), "above 0 for the head or the backbone"),
        (dict(steps=1.5), "steps must be a whole number above 0, got 1.5"),
        (dict(steps=True), "steps must be a whole number above 0, got True"),
        (dict(steps=math.inf), "steps must be a whole number"),
        (dict(steps=None), "got None"),
        (dict(batch_size="8"), "batch_size must be a whole number above 0, got '8'"),
        (dict(max_atoms="many"), "max_atoms must be a whole number"),
        (dict(seed=-1), "seed must be at least 0, got -1"),
        (dict(patience=0), "patience must be above 0"),
        (dict(minutes="1"), "minutes must be a number above 0"),
        (dict(minutes=math.inf), "minutes must be a finite number"),
        (dict(grad_clip=-1.0), "grad_clip must be above 0, or None, got -1.0"),
        (dict(ema_decay=math.nan), "ema_decay must be a finite number at least 0 and below 1"),
        (dict(weight_decay=-0.1), "weight_decay must be at least 0"),
        (dict(warmup=-1), "warmup must be at least 0"),
        (dict(log_every=0), "log_every must be above 0"),
        (dict(val_every=0.5), "val_every must be a whole number"),
        (dict(checkpoint_every=0), "checkpoint_every must be above 0"),
        (dict(devices=0), "devices must be above 0"),
        (dict(devices=3, batch_size=2), "batch_size must be at least 3, got 2"),
        (dict(optimizer="sgd"), "optimizer must be a function of groups of parameters"),
        (dict(optimizer=lambda groups: None), "optimizer must return a torch.optim.Optimizer"),
        (dict(callbacks=print), "callbacks must be a list of functions"),
        (dict(callbacks=[1]), "got 1 in it"),
        (dict(anneal=3), "anneal must be a mapping"),
        (dict(anneal={"energy_weight": "ab"}), "the values at the first and at the last step"),
        (dict(schedule=None), "schedule must be"),
        (dict(augment=3), "augment must be"),
        (dict(device=3), "device must be"),
        (dict(device="tpu"), "device must be"),
        (dict(out=3), "out must be the path of a folder"),
        (dict(train=["atoms"]), "train, the training set, must be an AtomStore, got a list"),
        (dict(val="val"), "val, the validation set, must be an AtomStore, got 'val'"),
    ],
)
def test_an_argument_that_cannot_be_is_named(ethanol, settings, said):
    arguments = FIT | dict(train=ethanol) | settings
    with pytest.raises((ValueError, TypeError), match=re.escape(said)) as error:
        scdlab.fit(small(), EnergyForces(), **arguments)
    one_sentence(error)


def test_empty_sets_are_named(ethanol):
    with pytest.raises(ValueError, match="The training set is empty") as error:
        scdlab.fit(small(), EnergyForces(), ethanol[:0], **FIT)
    one_sentence(error)
    with pytest.raises(ValueError, match=r"The validation set is empty; .* leave val= out"):
        scdlab.fit(small(), EnergyForces(), ethanol, ethanol[:0], **FIT)


@pytest.mark.parametrize("one", [np.float32, np.float64, np.array, torch.tensor])
def test_numbers_of_other_libraries_are_numbers(ethanol, one):
    result = scdlab.fit(
        small(), EnergyForces(), ethanol, lr=one(1e-3), **FIT | dict(steps=np.int64(2))
    )
    assert result.steps == 2 and type(result.steps) is int


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_modes_without_gradients_are_named(ethanol, mode):
    with mode(), pytest.raises(ValueError, match="call fit outside of them") as error:
        scdlab.fit(small(), EnergyForces(), ethanol, **FIT)
    one_sentence(error)


def test_a_model_without_trainable_weights_is_named(ethanol):
    model = small()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="no weights that can be trained"):
        scdlab.fit(model, EnergyForces(), ethanol, **FIT)


def test_arguments_of_evaluate_are_named(ethanol):
    for arguments, said in (
        ((small(), ethanol.to_ase(0)), "must be an AtomStore, got an Atoms"),
        (("model", ethanol), "model must be a model"),
        ((small(), ethanol, EnergyForces), "objective must be an objective"),
        ((small(), ethanol, EnergyForces(), "8"), "batch_size must be a whole number"),
        ((small(), ethanol, EnergyForces(), 0), "batch_size must be above 0"),
        ((small(), ethanol[:0]), "empty"),
    ):
        with pytest.raises((ValueError, TypeError), match=said) as error:
            scdlab.evaluate(*arguments)
        one_sentence(error)


class Returns(Objective):
    """Returns what a function makes of a loss."""

    def __init__(self, make):
        self.make = make

    def __call__(self, model, batch, generator=None):
        energy = model(batch, noise=False).energy
        return self.make((energy - batch.energy).square().mean())


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda loss: loss, "must return a loss and its parts, two in all, got a tensor"),
        (lambda loss: None, "must return a loss and its parts, two in all, got None"),
        (lambda loss: (loss, {}, 1), "got a tuple of 3"),
        (lambda loss: (float(loss.detach()), {}), "must be a 0-dimensional tensor, got a float"),
        (lambda loss: (loss.repeat(2), {}), "got a tensor of shape [2]; take its mean"),
        (lambda loss: (loss * 1j, {}), "must be a real number"),
        (lambda loss: (loss, [loss]), "must be a mapping"),
        (lambda loss: (loss, {"a": "b"}), "The part 'a' of Returns must be a Mean"),
        (lambda loss: (loss, {"a": loss.repeat(2)}), "The part 'a' of Returns must be one number"),
        (lambda loss: (loss, {"a": Mean(loss, None)}), "The count of the part 'a'"),
        (lambda loss: (loss, {"loss": Mean(loss, 1)}), "has a part named 'loss'"),
    ],
)
def test_what_an_objective_must_not_return_is_named(ethanol, make, said):
    for call in (scdlab.fit, scdlab.evaluate):
        settings = FIT if call is scdlab.fit else {}
        arguments = (Returns(make), ethanol) if call is scdlab.fit else (ethanol, Returns(make))
        with pytest.raises((ValueError, TypeError), match=re.escape(said)) as error:
            call(small(), *arguments, **settings)
        one_sentence(error)


def test_a_loss_without_a_gradient_is_named(ethanol):
    for make in (torch.Tensor.detach, lambda loss: torch.zeros_like(loss, requires_grad=True)):
        objective = Returns(lambda loss, make=make: (make(loss), {}))
        with pytest.raises(ValueError, match="depends on no weight of the model"):
            scdlab.fit(small(), objective, ethanol, **FIT)


def test_an_objective_that_takes_other_arguments_is_named():
    class Short(Objective):
        def __call__(self, model, batch):
            return model(batch).energy.mean(), {}

    with pytest.raises(TypeError, match=r"must take \(model, batch, generator\), got \(model, b"):
        Short()


def test_a_part_that_is_not_there_is_named(ethanol):
    class Over(Returns):
        loss_over = "pairs"

    objective = Over(lambda loss: (loss, {"atoms": loss.detach()}))
    with pytest.raises(ValueError, match=r"Over.loss_over names the part 'pairs'.*'atoms'"):
        scdlab.fit(small(), objective, ethanol, **FIT)


def test_parts_may_be_plain_numbers(ethanol):
    objective = Returns(lambda loss: (loss, {"a": loss, "b": 0.5}))
    result = scdlab.fit(small(), objective, ethanol, ethanol, **FIT)
    assert set(result.history) >= {"a", "b", "val_a", "val_b"}

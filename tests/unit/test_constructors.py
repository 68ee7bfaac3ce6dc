"""Arguments of models and methods of one's own: what is wrong gets one sentence."""

import inspect
import math

import numpy as np
import pytest
import torch
from ase.build import molecule
from torch import nn

import scdlab
from scdlab.nn import AtomisticModel, Features
from scdlab.symmetry import PCAFrames, Quadrature, RandomRotations

BACKBONES = {
    "SchNet": dict(hidden_channels=8, num_layers=1, num_rbf=8),
    "EquivariantTransformer": dict(hidden_channels=8, num_layers=1, num_heads=2, num_rbf=8),
    "DimeNet": dict(hidden_channels=8, num_layers=1, num_rbf=4),
    "PET": dict(hidden_channels=8, num_layers=1, num_heads=2),
    "TensorProductNet": dict(hidden_channels=8, num_layers=1),
}
SIZES = ("hidden_channels", "num_layers", "num_rbf", "num_heads", "num_spherical", "lmax")


def batch():
    return scdlab.AtomStore.from_ase([molecule("H2O")]).take([0])


def takes(name, argument):
    return argument in inspect.signature(getattr(scdlab, name)).parameters


@pytest.mark.parametrize("name", BACKBONES)
def test_sizes_are_positive_integers(name):
    build = getattr(scdlab, name)
    for argument in filter(lambda a: takes(name, a), SIZES):
        for value in (True, 8.0, "8", None, [8], 8 + 0j, np.float64(8), torch.ones(2)):
            with pytest.raises(TypeError, match=f"{argument} of {name} must be an integer, got"):
                build(**BACKBONES[name] | {argument: value})
        for value in (0, -1, 10**7, 10**5000):
            with pytest.raises(ValueError, match=f"{argument} of {name} must be at"):
                build(**BACKBONES[name] | {argument: value})


@pytest.mark.parametrize("name", BACKBONES)
def test_lengths_are_finite_numbers(name):
    build = getattr(scdlab, name)
    for value in ("5", None, True, [5.0]):
        with pytest.raises(TypeError, match=f"cutoff of {name} must be a number"):
            build(**BACKBONES[name], cutoff=value)
    for value in (float("nan"), float("inf"), 0.0, -1, 10**400):
        with pytest.raises(ValueError, match="cutoff"):
            build(**BACKBONES[name], cutoff=value)
    assert build(**BACKBONES[name], cutoff=4).cutoff == 4.0


@pytest.mark.parametrize("name", BACKBONES)
def test_switches_are_true_or_false(name):
    for argument in ("conditional", "noise_head", "force_input", "direct_forces"):
        if takes(name, argument):
            for value in (1, "yes", None):
                with pytest.raises(TypeError, match=f"{argument} of {name} must be True or False"):
                    getattr(scdlab, name)(**BACKBONES[name], **{argument: value})


def test_heads_divide_the_width():
    for build in (scdlab.EquivariantTransformer, scdlab.PET):
        with pytest.raises(ValueError, match="num_heads"):
            build(hidden_channels=8, num_layers=1, num_heads=3)


def test_names_of_arguments_are_checked():
    with pytest.raises(TypeError, match="SchNet cannot be made so: too many positional"):
        scdlab.SchNet(*range(1, 20))
    with pytest.raises(TypeError, match="SchNet cannot be made so: multiple values"):
        scdlab.SchNet(8, hidden_channels=8)


@pytest.mark.parametrize("wrap", [scdlab.ECSE, PCAFrames, Quadrature, RandomRotations])
def test_what_is_no_backbone_is_named(wrap):
    for given, words in {
        scdlab.SchNet: "the class SchNet",
        None: "None",
        "pet-ethanol": "a str",
        nn.Linear(1, 1): "a Linear",
        nn.Embedding(1, 1): "an Embedding",
    }.items():
        with pytest.raises(ValueError, match=f"takes a backbone, an AtomisticModel, got {words};"):
            wrap(given)
    with pytest.raises(ValueError, match="got one that is in an ECSE already"):
        wrap(scdlab.ECSE(scdlab.SchNet(**BACKBONES["SchNet"])))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("beta", "5"),
        ("beta", float("nan")),
        ("prunings", -1),
        ("prunings", 1.5),
        ("local", "no"),
        ("group", 3),
        ("outer_radius", "far"),
        ("auxiliary", "small"),
        ("auxiliary", nn.Linear(1, 1)),
    ],
)
def test_arguments_of_ecse_are_checked(argument, value):
    model = scdlab.SchNet(**BACKBONES["SchNet"])
    with pytest.raises((TypeError, ValueError), match=f"{argument} of ECSE must be"):
        scdlab.ECSE(model, **{argument: value})


# ----------------------------------------------------------------------------- classes of one's own


def net(represent, init=None):
    return type("Mine", (AtomisticModel,), {"represent": represent} | (init or {}))


@pytest.mark.parametrize(
    ("result", "error", "complaint"),
    [
        (lambda n: torch.zeros(n, 4), TypeError, r"return Features\(x\).*got a Tensor"),
        (lambda n: (torch.zeros(n, 4), None), TypeError, "got a tuple"),
        (lambda n: None, TypeError, "got None"),
        (lambda n: Features(torch.zeros(n, 5)), ValueError, r"shape \[3, 4\].*got shape \[3, 5\]"),
        (lambda n: Features(torch.zeros(1, 4)), ValueError, r"got shape \[1, 4\]"),
        (lambda n: Features(np.zeros((n, 4))), ValueError, "got a ndarray"),
    ],
)
def test_what_represent_returns_is_checked(result, error, complaint):
    def represent(self, batch, pairs, condition=None, vectors=False, force_input=None):
        return result(len(batch.z))

    with pytest.raises(error, match=f"represent of Mine must.*{complaint}"):
        net(represent)(4, 4.0)(batch())


def test_what_represent_takes_is_checked():
    for wrong in (lambda self: None, lambda self, batch: None, lambda self, batch, pairs: None):
        with pytest.raises(TypeError, match=r"represent of Mine must take \(batch, pairs, cond"):
            net(wrong)
    net(lambda self, *args, **kwargs: None)


def test_the_base_class_is_made_first():
    def represent(self, batch, pairs, condition=None, vectors=False, force_input=None):
        raise AssertionError

    def late(self, width=4):
        self.embedding = nn.Embedding(119, width)
        AtomisticModel.__init__(self, width, 4.0)

    def never(self, width=4):
        self.width = width

    for init in (late, never):
        with pytest.raises(TypeError, match=r"__init__ of Mine must call super\(\)\.__init__"):
            net(represent, {"__init__": init})()
    for width in ("4", 4.0, 0):
        with pytest.raises((TypeError, ValueError), match="hidden_channels of Mine must be"):
            net(represent)(width, 4.0)


@pytest.mark.parametrize("cutoff", [1e300, 10**400, math.nan, math.inf])
def test_numbers_that_float32_cannot_hold_are_named(cutoff):
    with pytest.raises(ValueError, match="cutoff of SchNet must be a finite number that float32"):
        scdlab.SchNet(cutoff=cutoff)


@pytest.mark.parametrize("name", ["", "a.b", "keys", "train", "training", 3, None])
def test_names_of_properties_can_be_written(name):
    with pytest.raises(ValueError, match="must have a name without dots"):
        scdlab.SchNet(**BACKBONES["SchNet"]).add_property(name)

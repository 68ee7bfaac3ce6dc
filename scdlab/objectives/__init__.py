"""What one training step minimizes: an objective maps (model, batch, generator) to a loss and its
named parts. `base` has the contract; an objective of one's own is a subclass of `Objective`."""

from scdlab.objectives.augment import random_rotate
from scdlab.objectives.base import (
    Mean,
    Objective,
    SupervisedObjective,
    mark_trained_elements,
    mark_trained_labels,
)
from scdlab.objectives.coordinate import CoordinateDenoising
from scdlab.objectives.dens import DeNS
from scdlab.objectives.noise import displaced, noise_floor, sample_noise
from scdlab.objectives.pairwise import PairwiseDenoising
from scdlab.objectives.scd import SelfConditionedDenoising, shared_pairs
from scdlab.objectives.supervised import EnergyForces, PropertyRegression

__all__ = [
    "CoordinateDenoising",
    "DeNS",
    "EnergyForces",
    "Mean",
    "Objective",
    "PairwiseDenoising",
    "PropertyRegression",
    "SelfConditionedDenoising",
    "SupervisedObjective",
    "displaced",
    "mark_trained_elements",
    "mark_trained_labels",
    "noise_floor",
    "random_rotate",
    "sample_noise",
    "shared_pairs",
]

"""What one training step minimizes: an objective maps (model, batch, generator) to a loss and its
named parts."""

from scdlab.objectives.coordinate import CoordinateDenoising, noise_floor, sample_noise
from scdlab.objectives.dens import DeNS
from scdlab.objectives.pairwise import PairwiseDenoising
from scdlab.objectives.scd import SelfConditionedDenoising, shared_pairs
from scdlab.objectives.supervised import EnergyForces, PropertyRegression

__all__ = [
    "CoordinateDenoising",
    "DeNS",
    "EnergyForces",
    "PairwiseDenoising",
    "PropertyRegression",
    "SelfConditionedDenoising",
    "noise_floor",
    "sample_noise",
    "shared_pairs",
]

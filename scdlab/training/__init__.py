"""Training: `fit`, `evaluate`, and models on disk."""

from scdlab.training.checkpoint import load, load_pretrained, save
from scdlab.training.fit import FitResult, evaluate, fit

__all__ = ["FitResult", "evaluate", "fit", "load", "load_pretrained", "save"]

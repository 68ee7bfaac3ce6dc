"""Training: `fit`, `evaluate`, and models on disk."""

from scdlab.training.callbacks import CsvWriter, TensorBoard
from scdlab.training.checkpoint import load, load_pretrained, save
from scdlab.training.evaluate import evaluate
from scdlab.training.fit import FitResult, fit

__all__ = [
    "CsvWriter",
    "FitResult",
    "TensorBoard",
    "evaluate",
    "fit",
    "load",
    "load_pretrained",
    "save",
]

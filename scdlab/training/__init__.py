"""Training: `fit`, `evaluate`, and models on disk."""

from scdlab.training.callbacks import Callback, CsvWriter, TensorBoard
from scdlab.training.checkpoint import load, load_pretrained, save
from scdlab.training.evaluate import evaluate
from scdlab.training.failure import Replay, replay
from scdlab.training.fit import FitResult, fit

__all__ = [
    "Callback",
    "CsvWriter",
    "FitResult",
    "Replay",
    "TensorBoard",
    "evaluate",
    "fit",
    "load",
    "load_pretrained",
    "replay",
    "save",
]

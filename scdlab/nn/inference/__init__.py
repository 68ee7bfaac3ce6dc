"""Energies and forces of models whose weights are fixed: no autograd, tables, kept neighbors."""

from .evaluator import Answers, Evaluator, with_virials
from .force_call import Evaluation, ForceCall, covers
from .skin import SkinList, Structures

__all__ = [
    "Answers",
    "Evaluation",
    "Evaluator",
    "ForceCall",
    "SkinList",
    "Structures",
    "covers",
    "with_virials",
]

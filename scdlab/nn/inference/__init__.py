"""Energies and forces of models whose weights are fixed: no autograd, tables, kept neighbors."""

from .force_call import Evaluation, ForceCall, covers
from .skin import SkinList, Structures

__all__ = ["Evaluation", "ForceCall", "SkinList", "Structures", "covers"]

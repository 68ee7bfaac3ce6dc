"""Symmetry: what a model should obey, how well it does, and what makes any model obey."""

from scdlab.symmetry.averaging import NearestPair, PCAFrames, QRFrames, Quadrature, RandomRotations
from scdlab.symmetry.ecse import ECSE
from scdlab.symmetry.frames import Frames
from scdlab.symmetry.report import SymmetryReport, symmetry_report
from scdlab.symmetry.symmetrized import Symmetrized

__all__ = [
    "ECSE",
    "Frames",
    "NearestPair",
    "PCAFrames",
    "QRFrames",
    "Quadrature",
    "RandomRotations",
    "Symmetrized",
    "SymmetryReport",
    "symmetry_report",
]

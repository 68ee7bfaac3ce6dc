"""scdlab: learn and research self-supervised learning on atoms.

The names below are the public face. They are imported on first use, so that `import scdlab` is
instant; the block under `TYPE_CHECKING` shows them to editors and type checkers.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from scdlab import extras

if TYPE_CHECKING:
    from scdlab import analysis as analysis
    from scdlab import atoms as atoms
    from scdlab import calculator as calculator
    from scdlab import claims as claims
    from scdlab import dynamics as dynamics
    from scdlab import explore as explore
    from scdlab import lessons as lessons
    from scdlab import memory as memory
    from scdlab import nn as nn
    from scdlab import objectives as objectives
    from scdlab import symmetry as symmetry
    from scdlab import training as training
    from scdlab import units as units
    from scdlab.analysis import embed as embed
    from scdlab.analysis import reduce_embedding as reduce_embedding
    from scdlab.atoms import AtomStore as AtomStore
    from scdlab.atoms import from_smiles as from_smiles
    from scdlab.atoms import load_alloys as load_alloys
    from scdlab.atoms import load_aspirin as load_aspirin
    from scdlab.atoms import load_ethanol as load_ethanol
    from scdlab.atoms import load_isomers as load_isomers
    from scdlab.atoms import load_md17 as load_md17
    from scdlab.atoms import load_qm9 as load_qm9
    from scdlab.atoms import neighbor_list as neighbor_list
    from scdlab.atoms import simulate as simulate
    from scdlab.calculator import Calculator as Calculator
    from scdlab.explore import ConditionExplorer as ConditionExplorer
    from scdlab.explore import EmbeddingExplorer as EmbeddingExplorer
    from scdlab.explore import ForceExplorer as ForceExplorer
    from scdlab.explore import FrameExplorer as FrameExplorer
    from scdlab.explore import NoiseExplorer as NoiseExplorer
    from scdlab.nn import PET as PET
    from scdlab.nn import DimeNet as DimeNet
    from scdlab.nn import EquivariantTransformer as EquivariantTransformer
    from scdlab.nn import Prediction as Prediction
    from scdlab.nn import SchNet as SchNet
    from scdlab.nn import TensorProductNet as TensorProductNet
    from scdlab.nn.official import load_official_ct as load_official_ct
    from scdlab.symmetry import ECSE as ECSE
    from scdlab.symmetry import symmetry_report as symmetry_report
    from scdlab.training import evaluate as evaluate
    from scdlab.training import fit as fit
    from scdlab.training import load as load
    from scdlab.training import load_pretrained as load_pretrained
    from scdlab.training import save as save

__version__ = "0.2.0"


def _import_ase() -> None:
    """Import ase for a user without a home folder: it looks for its settings there, and does not
    start without one."""
    os.environ["HOME"] = os.devnull
    try:
        importlib.import_module("ase.config")
    finally:
        del os.environ["HOME"]


if os.path.expanduser("~") == "~":
    _import_ase()

# name -> the module that it comes from
_NAMES = {
    "embed": "analysis",
    "reduce_embedding": "analysis",
    "AtomStore": "atoms",
    "from_smiles": "atoms",
    "load_alloys": "atoms",
    "load_aspirin": "atoms",
    "load_ethanol": "atoms",
    "load_isomers": "atoms",
    "load_md17": "atoms",
    "load_qm9": "atoms",
    "neighbor_list": "atoms",
    "simulate": "atoms",
    "Calculator": "calculator",
    "ConditionExplorer": "explore",
    "EmbeddingExplorer": "explore",
    "ForceExplorer": "explore",
    "FrameExplorer": "explore",
    "NoiseExplorer": "explore",
    "DimeNet": "nn",
    "EquivariantTransformer": "nn",
    "PET": "nn",
    "Prediction": "nn",
    "SchNet": "nn",
    "TensorProductNet": "nn",
    "load_official_ct": "nn.official",
    "ECSE": "symmetry",
    "symmetry_report": "symmetry",
    "evaluate": "training",
    "fit": "training",
    "load": "training",
    "load_pretrained": "training",
    "save": "training",
}
_MODULES = (
    "analysis",
    "atoms",
    "calculator",
    "claims",
    "dynamics",
    "explore",
    "lessons",
    "memory",
    "nn",
    "objectives",
    "symmetry",
    "training",
    "units",
)

__all__ = ["__version__", *_NAMES]


def __getattr__(name: str) -> Any:
    module = _NAMES.get(name, name)
    if name not in _NAMES and name not in _MODULES:
        raise AttributeError(f"module 'scdlab' has no attribute {name!r}")
    try:
        found = importlib.import_module(f"scdlab.{module}")
    except ModuleNotFoundError as error:
        raise extras.missing(f"scdlab.{name}", error) from error
    return getattr(found, name) if name in _NAMES else found


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])

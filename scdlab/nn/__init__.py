"""What is learned: backbones that map a batch to a `Prediction`, and the parts they are made of."""

from scdlab.nn.blocks.adaln import AdaLN
from scdlab.nn.blocks.force_encoding import ForceEncoding
from scdlab.nn.dimenet import DimeNet
from scdlab.nn.et import EquivariantTransformer
from scdlab.nn.model import AtomisticModel, Features, Model, Prediction, evaluating
from scdlab.nn.nequip import TensorProductNet
from scdlab.nn.official_ct import OfficialCT
from scdlab.nn.pet import PET
from scdlab.nn.schnet import SchNet

__all__ = [
    "PET",
    "AdaLN",
    "AtomisticModel",
    "DimeNet",
    "EquivariantTransformer",
    "Features",
    "ForceEncoding",
    "Model",
    "OfficialCT",
    "Prediction",
    "SchNet",
    "TensorProductNet",
    "evaluating",
]

"""What is learned: backbones that map a batch to a `Prediction`, and the parts they are made of."""

from scdlab.nn.blocks.adaln import AdaLN
from scdlab.nn.blocks.force_encoding import ForceEncoding
from scdlab.nn.dimenet import DimeNet
from scdlab.nn.et import EquivariantTransformer
from scdlab.nn.model import AtomisticModel, Model, evaluating
from scdlab.nn.nequip import TensorProductNet
from scdlab.nn.official_ct import OfficialCT
from scdlab.nn.pet import PET
from scdlab.nn.prediction import AtomOutputs, Features, Prediction, Request
from scdlab.nn.schnet import SchNet

__all__ = [
    "PET",
    "AdaLN",
    "AtomOutputs",
    "AtomisticModel",
    "DimeNet",
    "EquivariantTransformer",
    "Features",
    "ForceEncoding",
    "Model",
    "OfficialCT",
    "Prediction",
    "Request",
    "SchNet",
    "TensorProductNet",
    "evaluating",
]

"""scdlab: learn and research self-supervised learning on atoms.

The names below are the public face. They are imported on first use, so that `import scdlab` is
instant.
"""

import importlib

__version__ = "0.1.0"

_WHERE = {
    "AtomStore": "atoms",
    "load_qm9": "atoms",
    "load_md17": "atoms",
    "load_isomers": "atoms",
    "load_ethanol": "atoms",
    "load_aspirin": "atoms",
    "load_alloys": "atoms",
    "from_smiles": "atoms",
    "simulate": "atoms",
    "neighbor_list": "atoms",
    "SchNet": "nn",
    "DimeNet": "nn",
    "EquivariantTransformer": "nn",
    "TensorProductNet": "nn",
    "PET": "nn",
    "Prediction": "nn",
    "fit": "training",
    "evaluate": "training",
    "save": "training",
    "load": "training",
    "load_pretrained": "training",
    "load_official_ct": "nn.official",
    "ECSE": "symmetry",
    "symmetry_report": "symmetry",
    "embed": "analysis",
    "reduce_embedding": "analysis",
    "Calculator": "calculator",
    "NoiseExplorer": "explore",
    "ConditionExplorer": "explore",
    "EmbeddingExplorer": "explore",
    "ForceExplorer": "explore",
    "FrameExplorer": "explore",
}
_MODULES = (
    "atoms",
    "nn",
    "objectives",
    "training",
    "symmetry",
    "calculator",
    "analysis",
    "explore",
    "claims",
    "lessons",
    "memory",
    "units",
)

__all__ = ["__version__", *_WHERE]


def __getattr__(name):
    if name in _WHERE:
        return getattr(importlib.import_module(f"scdlab.{_WHERE[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"scdlab.{name}")
    raise AttributeError(f"module 'scdlab' has no attribute {name!r}")


def __dir__():
    return sorted([*__all__, *_MODULES])

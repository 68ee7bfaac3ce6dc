"""Structures in, batches out: the store, the neighbor lists, the data sources and the simulator."""

from scdlab.atoms.alloys import load_alloys
from scdlab.atoms.batch import Batch, vector_names
from scdlab.atoms.isomers import isomer_split, load_aspirin, load_ethanol, load_isomers
from scdlab.atoms.md17 import load_md17
from scdlab.atoms.molecules import from_smiles, rotatable_bonds
from scdlab.atoms.neighbors import neighbor_list, pairs_within
from scdlab.atoms.pairs import DirectedPairs, Pairs
from scdlab.atoms.qm9 import load_qm9
from scdlab.atoms.simulate import simulate
from scdlab.atoms.store import AtomStore

__all__ = [
    "AtomStore",
    "Batch",
    "DirectedPairs",
    "Pairs",
    "from_smiles",
    "isomer_split",
    "load_alloys",
    "load_aspirin",
    "load_ethanol",
    "load_isomers",
    "load_md17",
    "load_qm9",
    "neighbor_list",
    "pairs_within",
    "rotatable_bonds",
    "simulate",
    "vector_names",
]

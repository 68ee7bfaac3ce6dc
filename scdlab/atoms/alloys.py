"""The kit's own crystals, in `data/alloys`: seven metals and their binary alloys, labeled by EMT.

Periodic structures of 4 to 32 atoms, most of them strained and rattled, every fourth a minimum of
the energy, made by `scdlab data make alloys`. EMT is a model of fcc metals that is computed in
milliseconds, right in kind rather than in number: enough for a second domain of pretraining, or a
first crystal.
"""

from scdlab import files
from scdlab.atoms.store import AtomStore


def load_alloys() -> AtomStore:
    """672 crystals with EMT's energies (eV) and forces (eV/Å); property `system` is the row of the
    alloy's name in meta["systems"], `relaxed` is 1 for minima and 0 for the others."""
    return AtomStore.open(files.package_dir("data") / "alloys")

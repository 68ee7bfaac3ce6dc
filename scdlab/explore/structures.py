"""The structures that explorers take: out of a store, a file or a SMILES string."""

from pathlib import Path
from typing import Any

import ase

from scdlab import files
from scdlab.analysis.denoising import MAX_ATOMS
from scdlab.analysis.inputs import bare_copy
from scdlab.atoms import AtomStore
from scdlab.explore.scene import as_atoms

MAX_ATOMS_FRAMES = 40  # ECSE evaluates the model some times for each
MOST_FRAMES = 500  # of a file


def sample_store() -> AtomStore:
    """The kit's sample of QM9.

    Returns
    -------
    AtomStore
        The store.
    """
    return AtomStore.open(files.package_dir("data") / "qm9-sample")


def read_structure(text: str) -> ase.Atoms:
    """The molecule that a text names.

    Parameters
    ----------
    text : str
        A structure file that ase can read (its first structure), or a SMILES string.

    Returns
    -------
    ase.Atoms
        The molecule, as `checked` gives it.

    Raises
    ------
    ValueError
        When it is neither, or has more than 200 atoms.
    """
    return read_structures(text, most=1)[0]


def read_structures(text: str, most: int = MOST_FRAMES) -> list[ase.Atoms]:
    """The structures that a text names.

    Parameters
    ----------
    text : str
        A structure file that ase can read, of one frame or several, or a SMILES string.
    most : int, default 500
        So many frames are read, from the first.

    Returns
    -------
    list of ase.Atoms
        One or several, as `checked` gives them.

    Raises
    ------
    ValueError
        When it is neither, or one has more than 200 atoms.
    """
    from scdlab.atoms import from_smiles  # rdkit is slow to import

    text = str(text).strip()
    try:
        is_file = bool(text) and Path(text).expanduser().is_file()
    except OSError:  # a name too long for a file
        is_file = False
    if is_file:
        return read_frames(Path(text).expanduser(), text, most)
    try:
        atoms = from_smiles(text)
    except ValueError as error:
        raise ValueError(f"There is no file of this name, and {error}") from error
    return [checked(atoms, text)]


def read_frames(path: Path, name: str, most: int = MOST_FRAMES) -> list[ase.Atoms]:
    """The frames of a structure file.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        What errors call it.
    most : int, default 500
        So many frames are read, from the first.

    Returns
    -------
    list of ase.Atoms
        At least one, as `checked` gives them.

    Raises
    ------
    ValueError
        For a file that ase cannot read, an empty one, and structures that cannot be shown.
    """
    import ase.io

    try:
        frames = ase.io.read(path, index=f":{most}")
    except Exception as error:  # each of ase's readers fails in its own way
        raise ValueError(
            f"ase cannot read a structure from {name}, got {type(error).__name__} ({error}): "
            "check that the file is complete and in a format of ase."
        ) from error
    frames = [frames] if isinstance(frames, ase.Atoms) else list(frames)
    if not frames:
        raise ValueError(f"There is no structure in {name}: choose another file.")
    several = len(frames) > 1
    return [checked(f, f"{name}, frame {k}" if several else name) for k, f in enumerate(frames)]


def checked(atoms: ase.Atoms, name: str) -> ase.Atoms:
    """A structure that explorers can show: elements, positions, charges and cell alone.

    Parameters
    ----------
    atoms : ase.Atoms
        Any structure.
    name : str
        What errors call it.

    Returns
    -------
    ase.Atoms
        The copy.

    Raises
    ------
    ValueError
        For no atoms and for more than 200, and for elements and positions that no store takes, or
        no view draws.
    """
    if not 0 < len(atoms) <= MAX_ATOMS:
        raise ValueError(
            f"{name} has {len(atoms):,} atoms; the explorer takes 1 to {MAX_ATOMS}: "
            "scdlab.explore.view_molecule draws larger structures."
        )
    atoms = bare_copy(atoms)
    AtomStore.from_ase([atoms])  # refuses elements and positions that no store takes
    return as_atoms(atoms)


def checked_molecule(atoms: Any) -> ase.Atoms:
    """A molecule that `FrameExplorer` can show.

    Parameters
    ----------
    atoms : ase.Atoms
        Any structure.

    Returns
    -------
    ase.Atoms
        The copy.

    Raises
    ------
    ValueError
        For anything else, periodic structures, and fewer than 2 or more than 40 atoms.
    """
    if not isinstance(atoms, ase.Atoms):
        raise ValueError(
            f"FrameExplorer takes one molecule as ase.Atoms, got {type(atoms).__name__}; "
            "store.to_ase(k) gives one of a store."
        )
    if atoms.pbc.any():
        raise ValueError(
            "FrameExplorer takes molecules, and this structure is periodic; set atoms.pbc = False, "
            "or cut a cluster out of it."
        )
    if not 2 <= len(atoms) <= MAX_ATOMS_FRAMES:
        raise ValueError(
            f"FrameExplorer takes molecules of 2 to {MAX_ATOMS_FRAMES} atoms, got {len(atoms)}; "
            "choose another."
        )
    return checked(atoms, "The molecule")

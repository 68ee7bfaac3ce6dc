"""Options that several commands have: how files of structures are read."""

from typing import Annotated, Any

import typer

_FILES = "How files of structures are read"

EnergyUnit = Annotated[
    str | None,
    typer.Option(
        help="Unit of energies, such as kcal/mol; needed for .npz; forces are per Å.",
        rich_help_panel=_FILES,
    ),
]
"""Unit of the energies in files."""

EnergyKey = Annotated[
    str | None,
    typer.Option(
        "--energy",
        metavar="KEY",
        help="Key of the energies, such as REF_energy; by default a usual one, which is printed.",
        rich_help_panel=_FILES,
    ),
]
"""Key of the energies in files."""

ForcesKey = Annotated[
    str | None,
    typer.Option(
        "--forces",
        metavar="KEY",
        help="Key of the forces, such as REF_forces; by default a usual one, which is printed.",
        rich_help_panel=_FILES,
    ),
]
"""Key of the forces in files."""

FileFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Format, as ase calls it, where the file's name does not say it.",
        rich_help_panel=_FILES,
    ),
]
"""Format of files."""

Specorder = Annotated[
    str | None,
    typer.Option(
        metavar="ELEMENTS",
        help="Elements of the types 1, 2, … of LAMMPS, such as Cu,Zr.",
        rich_help_panel=_FILES,
    ),
]
"""Elements of numbered types in files."""


def reading(
    energy_unit: str | None = None,
    energy: str | None = None,
    forces: str | None = None,
    file_format: str | None = None,
    specorder: str | None = None,
) -> dict[str, Any]:
    """What was said about how files are read, as `AtomStore.from_file` takes it.

    Parameters
    ----------
    energy_unit : str, optional
        Unit of the energies.
    energy : str, optional
        Key of the energies.
    forces : str, optional
        Key of the forces.
    file_format : str, optional
        Format of the files.
    specorder : str, optional
        Symbols of the elements, joined by commas.

    Returns
    -------
    dict
        Keyword -> value of what was given.

    Raises
    ------
    ValueError
        What was given for `specorder` names no elements.
    """
    given: dict[str, Any] = {
        "energy_unit": energy_unit,
        "energy": energy,
        "forces": forces,
        "format": file_format,
    }
    if specorder is not None:
        given["specorder"] = _elements(specorder)
    return {name: value for name, value in given.items() if value is not None}


def _elements(text: str) -> list[str]:
    """Symbols of elements in a text."""
    from ase.data import chemical_symbols

    symbols = text.replace(",", " ").split()
    unknown = [symbol for symbol in symbols if symbol not in chemical_symbols[1:]]
    if unknown or not symbols:
        raise ValueError(
            f"--specorder must name elements, got {(unknown or [text])[0]!r}: write it as in Cu,Zr."
        )
    return symbols

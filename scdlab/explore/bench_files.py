"""The files that a bench saves: the structure with all forces, a table of its atoms, the panel in
front as a picture, and a page with everything that was looked at."""

from typing import Any

import numpy as np

from scdlab.explore.committee import Committee
from scdlab.explore.downloads import File, csv_text, live_address, page_text, xyz_text
from scdlab.explore.seen import SeenExplorer
from scdlab.explore.view import MoleculeView

KINDS = ("xyz", "png", "html", "csv")


def file_of(bench: Any, kind: str) -> File:
    """A file with what a bench shows.

    Parameters
    ----------
    bench : Bench
        The bench.
    kind : str
        One of `KINDS`.

    Returns
    -------
    File
        Its name, type and content; a png has svg as its content, which the browser draws.

    Raises
    ------
    ValueError
        For another kind, and for the picture of a panel that has none.
    """
    if kind not in KINDS:
        raise ValueError(f"A file must be one of {', '.join(KINDS)}, got {kind!r}.")
    name = f"scdlab_{bench.atoms.get_chemical_formula()}"
    panel = bench.panel("forces")
    committee = panel if isinstance(panel, Committee) else None
    forces = {} if committee is None else committee.forces()
    if kind == "xyz":
        text = xyz_text(bench.atoms, forces)
        return File(f"{name}.xyz", "chemical/x-xyz", text.encode())
    if kind == "csv":
        text = csv_text(bench.atoms, _columns(bench, committee, forces))
        return File(f"{name}.csv", "text/csv", text.encode())
    if kind == "png":
        picture = bench.section(bench.tab).to_svg()
        if not picture:
            raise ValueError("this panel has no picture; choose another tab.")
        return File(f"{name}_{bench.tab}.png", "image/png", picture.encode())
    view = MoleculeView(bench.atoms, title=bench.source.title)
    page = view.to_html()
    view.close()
    pictures = {words: bench.section(tab).to_svg() for tab, words in bench.looked_at.items()}
    pictures = {words: picture for words, picture in pictures.items() if picture}
    text = page_text(page, bench.source.title, pictures, live_address(bench.atoms))
    return File(f"{name}.html", "text/html", text.encode())


def _columns(
    bench: Any, committee: Committee | None, forces: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The columns of the table of atoms."""
    columns = {f"forces_eV_per_A_{name}": each for name, each in forces.items()}
    spread = None if committee is None else committee.spread()
    if spread is not None:
        columns["spread_eV_per_A"] = spread
    panel = bench.panel("seen")
    if isinstance(panel, SeenExplorer):
        columns |= {f"outside_if_above_1_{name}": d for name, d in panel.distances.items()}
    return columns

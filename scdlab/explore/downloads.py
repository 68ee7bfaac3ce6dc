"""Buttons that save files from a notebook: the kernel makes them, the browser saves them."""

import html
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import anywidget
import ase
import numpy as np
import traitlets

from scdlab.explore import style
from scdlab.files import package_text

static_file = partial(package_text, "scdlab.explore", "static")


class File(NamedTuple):
    """A file that a button saves.

    Attributes
    ----------
    name : str
        Its name.
    kind : str
        Its media type; "image/png" has svg as its content, which the browser draws.
    content : bytes
        What stands in it.
    """

    name: str
    kind: str
    content: bytes


class Downloads(anywidget.AnyWidget):
    """Buttons, one for each kind of file, and a line that says what was saved, what failed, and
    whether the kernel answers at all.

    Parameters
    ----------
    makers : mapping
        Words on a button -> function without arguments that gives the `File`.
    """

    _esm = static_file("downloads.js")
    _css = (
        ".scdlab-downloads { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; }"
        f".scdlab-downloads .trouble {{ color: {style.VERMILION}; font-weight: bold; }}"
    )
    kinds = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, makers: Mapping[str, Callable[[], File]]):
        self.makers = dict(makers)
        super().__init__(kinds=list(self.makers))
        self.on_msg(self._asked)

    def _asked(self, _widget: Any, content: Any, _buffers: Any) -> None:
        what = str(content.get("ask")) if isinstance(content, dict) else ""
        if what == "alive":
            self.send({"alive": True})
            return
        try:
            file = self.makers[what]()
        except Exception as error:
            self.send({"error": f"{what} could not be saved: {error}"})
            raise
        self.send({"file": file.name, "type": file.kind}, [file.content])


def xyz_text(atoms: ase.Atoms, forces: Mapping[str, np.ndarray]) -> str:
    """A structure as extended xyz, with a column of forces for each model.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.
    forces : mapping
        Name -> forces [n, 3] in eV/Å.

    Returns
    -------
    str
        The text.
    """
    names = [f"forces_{_plain(name)}" for name in forces]
    columns = ":".join(["species:S:1:pos:R:3", *(f"{name}:R:3" for name in names)])
    head = f"Properties={columns}"
    if atoms.pbc.any():
        cell = " ".join(f"{x:.8f}" for x in atoms.cell.array.ravel())
        periodic = " ".join("T" if p else "F" for p in atoms.pbc)
        head = f'Lattice="{cell}" pbc="{periodic}" {head}'
    lines = [str(len(atoms)), head]
    for k, symbol in enumerate(atoms.get_chemical_symbols()):
        numbers = [*atoms.positions[k], *(x for f in forces.values() for x in f[k])]
        lines.append(" ".join([symbol, *(f"{x:.6f}" for x in numbers)]))
    return "\n".join(lines) + "\n"


def csv_text(atoms: ase.Atoms, columns: Mapping[str, np.ndarray]) -> str:
    """A table with one row an atom.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.
    columns : mapping
        Name -> numbers [n], or [n, 3] for three columns NAME_x, NAME_y, NAME_z.

    Returns
    -------
    str
        The text.
    """
    flat: dict[str, np.ndarray] = {}
    for name, values in {"position_A": atoms.positions, **columns}.items():
        if values.ndim == 1:
            flat[_plain(name)] = values
        else:
            flat |= {f"{_plain(name)}_{axis}": values[:, i] for i, axis in enumerate("xyz")}
    lines = [",".join(["atom", "element", *flat])]
    for k, symbol in enumerate(atoms.get_chemical_symbols()):
        lines.append(",".join([str(k), symbol, *(f"{values[k]:.6f}" for values in flat.values())]))
    return "\n".join(lines) + "\n"


def live_address(atoms: ase.Atoms) -> str:
    """The part behind "#" that opens a structure on the live page (`scdlab live`).

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.

    Returns
    -------
    str
        The address's part.
    """
    return f"stop=1&{live_structure(atoms)}"


def live_structure(atoms: ase.Atoms) -> str:
    """The entries of an address of the live page that name a structure.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.

    Returns
    -------
    str
        The entries, joined by "&".
    """
    middle = 0 if atoms.pbc.any() else atoms.positions.mean(0)
    text = ";".join(
        ",".join([symbol, *(f"{x:.3f}" for x in pos)])
        for symbol, pos in zip(atoms.get_chemical_symbols(), atoms.positions - middle, strict=True)
    )
    if atoms.pbc.any():
        text += "!" + ",".join(f"{x:.4f}" for x in atoms.cell.array.ravel())
    return f"from=pasted&xyz={quote(text, safe=',')}"


def page_text(view: str, title: str, pictures: Mapping[str, str], address: str) -> str:
    """A page with a structure in 3-D and pictures of panels below it, without kernel or network.

    Parameters
    ----------
    view : str
        The page of a `MoleculeView`.
    title : str
        The page's heading.
    pictures : mapping
        Heading -> svg.
    address : str
        Of the structure on the live page, as `live_address` gives it.

    Returns
    -------
    str
        The page.
    """
    link = f"live.html#{address}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        "<p>Drag the molecule to turn it. Where this page lies beside the kit's live page, "
        f"<a href={json.dumps(link)}>the models run on it there</a>.</p>",
    ]
    below = [
        f"<h2>{html.escape(name)}</h2><div style='overflow-x:auto'>{picture}</div>"
        for name, picture in pictures.items()
    ]
    head, body, rest = view.partition('<div id="view"></div>')
    if not body:
        raise ValueError("A page is made from that of a MoleculeView, and this one has no view.")
    return head + "".join(parts) + body + "".join(below) + rest


def _plain(name: str) -> str:
    """A name as a column of a file may have it."""
    return "".join(c if c.isalnum() else "_" for c in name)

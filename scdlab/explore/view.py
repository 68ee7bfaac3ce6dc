"""The 3-D view of a molecule with arrows on its atoms: offline, one message per change, readable
from Python.

    view = view_molecule(atoms, {"force": {"vectors": forces, "unit": "eV/Å"}})
    view.show(moved, {"force": {"vectors": new_forces, "unit": "eV/Å"}})  # in place
    view.scene["arrows"][0]["legend"]  # "force (1 Å drawn = 0.5 eV/Å)"

What the browser draws is one dict, the trait `scene` (its layout: `explore/scene.py`), so a
slider's move is one message. The drawing itself is `static/view.js` around 3Dmol.js (Rego and Koes,
Bioinformatics 31, 1322, 2015), whose built file ships with the kit and reaches a page once, however
many views it has. Nothing is fetched from anywhere.
"""

import base64
import gzip
import html
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anywidget
import ase
import ase.io
import ipywidgets as widgets
import traitlets
from numpy.typing import ArrayLike

from scdlab.explore import svg
from scdlab.explore.inputs import checked_size
from scdlab.explore.scene import as_arrows, as_atoms, as_marks, scene_of
from scdlab.explore.words import DESCRIPTION
from scdlab.files import atomic_file, inside_script, package_text

static_file = partial(package_text, "scdlab.explore", "static")


class _Library(widgets.Widget):
    """3Dmol's file on its way to the page: one model of the notebook, shared by its views,
    compressed (0.2 MB)."""

    text = traitlets.Bytes().tag(sync=True)
    _shared: "_Library | None" = None

    @classmethod
    def shared(cls) -> "_Library":
        """The one of this kernel."""
        # none yet, or closed by Widget.close_all()
        if cls._shared is None or cls._shared.comm is None:
            cls._shared = cls(text=gzip.compress(static_file("3Dmol-min.js").encode(), mtime=0))
        return cls._shared


class MoleculeView(anywidget.AnyWidget):
    """A molecule in 3-D: drag or use the arrow keys to rotate it, + and - to zoom, Home to see it
    as at first.

    Parameters
    ----------
    atoms, arrows, title, size, labels, arrow_scale, marked
        As in `view_molecule`.

    Attributes
    ----------
    atoms : ase.Atoms
        What is shown.
    arrows : dict
        What is shown, with the numbers as they were given.
    scene : dict
        What the browser draws.
    problem : str
        The browser's error, empty while all is well.
    described_as : str
        The alternative text that `describe` gave to what is shown.
    """

    described_as = ""
    _esm = static_file("view.js")
    _css = static_file("view.css")
    scene = traitlets.Dict().tag(sync=True)
    library = traitlets.Instance(widgets.Widget).tag(sync=True, **widgets.widget_serialization)
    webgl = traitlets.Bool(True).tag(sync=True)  # set by a browser that cannot draw in 3-D …
    picture = traitlets.Unicode().tag(sync=True)  # … and gets this svg instead
    problem = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        atoms: Any,
        arrows: Any = None,
        *,
        title: str = "",
        size: Sequence[float] = (520, 400),
        labels: bool = False,
        arrow_scale: Any = None,
        marked: Mapping[str, ArrayLike] | None = None,
    ):
        self._size = checked_size(size)
        self._labels = labels
        self._title = str(title or "")
        self._scale = arrow_scale
        self.atoms: Any = None  # ase.Atoms, from the first scene on
        self.arrows: dict[str, dict[str, Any]] = {}
        scene = self._compose(atoms, arrows, marked)
        super().__init__(scene=scene, library=_Library.shared())
        self.observe(self._draw_still, names=["webgl"])

    def show(
        self,
        atoms: Any = None,
        arrows: Any = None,
        *,
        title: str | None = None,
        arrow_scale: Any = None,
        marked: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Draw other atoms, arrows and marks in place.

        The camera stays while the molecule has the same elements, and goes along when it has moved
        away; another molecule is fitted into the picture, seen from the same side. After a
        ValueError the view is as it was before.

        Parameters
        ----------
        atoms : optional
            As in `view_molecule`; by default the same.
        arrows : optional
            As in `view_molecule`; by default none.
        title : str, optional
            By default the same.
        arrow_scale : optional
            As in `view_molecule`; by default the same.
        marked : mapping, optional
            As in `view_molecule`; by default none.
        """
        before = (self._title, self._scale)
        self._title = self._title if title is None else str(title)
        self._scale = self._scale if arrow_scale is None else arrow_scale
        try:
            self.scene = self._compose(self.atoms if atoms is None else atoms, arrows, marked)
        except Exception:
            self._title, self._scale = before
            raise
        self.described_as = ""
        self._draw_still()

    def describe(self, text: str) -> None:
        """Give what is shown an alternative text; it lasts until something else is shown.

        Parameters
        ----------
        text : str
            The picture and its finding, in one to three sentences.
        """
        self.described_as = text
        scene: dict[str, Any] = {**self.scene, "aria": text}
        self.scene = scene
        self._draw_still()

    def to_svg(self) -> str:
        """The same picture from a fixed side, for places where nothing can be rotated.

        Returns
        -------
        str
            The picture as svg text.
        """
        return svg.molecule(
            self.atoms,
            title=self._title,
            size=int(max(320, min(self._size))),
            arrows=self.scene["arrows"],
            small=self.scene["large"],
            about=self.scene["aria"],
            note=self.scene["note"],
            marked=self.scene["marked"],
        )

    def to_html(self, path: str | Path | None = None) -> str:
        """The view as one html page that needs neither kernel nor network.

        Parameters
        ----------
        path : str or Path, optional
            A file that it is written to.

        Returns
        -------
        str
            The page.
        """
        page = _PAGE.format(
            title=html.escape(self._title or self.atoms.get_chemical_formula()),
            css=static_file("view.css"),
            library=inside_script(static_file("3Dmol-min.js")),
            esm=inside_script(static_file("view.js")),
            scene=inside_script(json.dumps(self.scene)),
            picture=inside_script(json.dumps(self.to_svg())),
        )
        if path is not None:
            with atomic_file(Path(path)) as new:
                new.write_text(page, encoding="utf-8")
        return page

    def _compose(
        self, atoms: Any, arrows: Any, marked: Mapping[str, ArrayLike] | None
    ) -> dict[str, Any]:
        """The scene of these atoms and arrows; only when it is complete do `atoms` and `arrows`
        change."""
        atoms = as_atoms(atoms)
        arrows = as_arrows(arrows, atoms, self._scale)
        marks = as_marks(marked, atoms)
        scene = scene_of(atoms, arrows, marks, self._title, self._size, self._labels)
        if scene["note"] and (self.atoms is None or len(self.atoms) != len(atoms)):
            warnings.warn(scene["note"], stacklevel=4)
        self.atoms = atoms
        self.arrows = arrows
        return scene

    def _draw_still(self, change: object = None) -> None:
        if not self.webgl:
            self.picture = svg.still_picture(self.to_svg).get("image/svg+xml", "")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget, and a small svg for places without a kernel."""
        live: Any = super()._repr_mimebundle_(**kwargs)
        data, about = live
        words = {DESCRIPTION: self.described_as} if self.described_as else {}
        return data | svg.still_picture(self.to_svg) | words, about


def view_molecule(
    atoms: Any,
    arrows: Any = None,
    *,
    title: str = "",
    size: Sequence[float] = (520, 400),
    labels: bool = False,
    arrow_scale: Any = None,
    marked: Mapping[str, ArrayLike] | None = None,
) -> MoleculeView:
    """A molecule in 3-D with arrows on its atoms.

    Parameters
    ----------
    atoms : ase.Atoms, AtomStore, batch or (z, pos)
        One structure of n atoms; z [n], pos [n, 3] in Å.
    arrows : array_like or mapping, optional
        An array [n, 3], or name -> array, or name -> dict(vectors=[n, 3], unit="eV/Å",
        color="#0072B2", scale=…, start=[n, 3]); all but the vectors may be left out, and arrows
        start at the atoms unless `start` (Å) is given.
    title : str, optional
        A line above.
    size : (float, float), default (520, 400)
        Width and height in pixels.
    labels : bool, default False
        Write element and index on each atom.
    arrow_scale : float or mapping, optional
        Å drawn per unit, one number or name -> number; by default kinds of one unit share a round
        scale on which the longest arrow is at most 1.8 Å. The legend states the scale.
    marked : mapping, optional
        Up to two names -> indices of atoms that have a ring around them (in 3-D a translucent
        sphere, or one of lines).

    Returns
    -------
    MoleculeView
        The view.

    Raises
    ------
    ValueError
        No atoms, positions or arrows that are not finite numbers of the right shape, unknown
        elements, a scale that is not positive, marks on atoms that are not there, or more than
        20,000 atoms.
    """
    return MoleculeView(
        atoms, arrows, title=title, size=size, labels=labels, arrow_scale=arrow_scale, marked=marked
    )


def static_view(atoms: Any, size: Sequence[float] = (520, 400)) -> Any:
    """The molecule as a `py3Dmol.view`, to use its methods (setStyle, addSurface, …).

    Nothing of it changes later, so it needs no kernel. It reads the kit's copy of 3Dmol.js where
    py3Dmol alone would use the network.

    Parameters
    ----------
    atoms : ase.Atoms, AtomStore, batch or (z, pos)
        One structure.
    size : (float, float), default (520, 400)
        Width and height in pixels.

    Returns
    -------
    py3Dmol.view
        The view.
    """
    import py3Dmol

    atoms = as_atoms(atoms)
    width, height = checked_size(size)
    xyz = io.StringIO()
    ase.io.write(xyz, atoms, format="xyz")
    library = base64.b64encode(static_file("3Dmol-min.js").encode()).decode()
    view = py3Dmol.view(
        width=width,
        height=height,
        js=f"data:text/javascript;base64,{library}",
        data=xyz.getvalue(),
        format="xyz",
    )
    view.setStyle({"stick": {"radius": 0.12}, "sphere": {"scale": 0.25}})
    return view


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="data:,">
<style>{css}</style></head>
<body style="font-family: Helvetica, Arial, sans-serif; margin: 1em"><div id="view"></div>
<script>{library}</script>
<script type="module">
{esm}
const state = {{scene: {scene}, picture: {picture}, webgl: true, problem: ""}};
const model = {{get: name => state[name], set: (name, value) => {{ state[name] = value; }},
  on() {{}}, off() {{}}, save_changes() {{}}}};
await draw(model, document.getElementById("view"), async () => window.$3Dmol);
</script></body></html>
"""

"""The 3-D view of a molecule with arrows on its atoms: offline, one message per change, readable
from Python.

    view = view_molecule(atoms, {"force": {"vectors": forces, "unit": "eV/Å"}})
    view.show(moved, {"force": {"vectors": new_forces, "unit": "eV/Å"}})   # in place; the camera
    stays view.scene["arrows"][0]["legend"]                                      # "force (1 Å drawn
    = 0.5 eV/Å)"

Layout. What the browser draws is one dict, the trait `scene`, so a slider's move is one message:

    frame    z [n] · pos [3n] Å, flat · bonds [2m], flat pairs of indices · cell [9] Å or [] ·
             elements: how each looks
    arrows   a list of kinds: name, unit, color, legend · profile: the outline of one arrow, from
             tip to tail · start [3k] and step [3k] Å, flat: arrow i goes from start to start + step
             as drawn
    marked   a list of kinds of marks around atoms: legend, color, wider (Å beyond the atom's
             radius), lines (or solid), atoms [k]
    title, aria (the picture in words), note (what is left out), labels, large, size

The drawing itself is `static/view.js` around 3Dmol.js (Rego and Koes, Bioinformatics 31, 1322,
2015), whose built file ships with the kit and reaches a page once, however many views it has.
Nothing is fetched from anywhere.
"""

import base64
import gzip
import html
import io
import json
import warnings
from functools import cache
from importlib import resources
from pathlib import Path

import anywidget
import ase
import ase.io
import ipywidgets as widgets
import numpy as np
import traitlets
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

from scdlab.analysis.bonds import bonds_of
from scdlab.analysis.inputs import array
from scdlab.explore import style, svg
from scdlab.files import atomic_file

LARGE = 1_000  # atoms; from here on: bonds as lines, no labels, and only the longest arrows
MANY_ARROWS = 300  # so many of each kind in a large view
MOST = 20_000  # atoms that a view accepts
# Å drawn for the longest arrow, unless the caller fixes the scale; twice that in a large view
LONGEST = 1.8
SHORTEST = 0.02  # Å; arrows drawn shorter than this would be dots

SHAFT = 0.045  # Å, radius of an arrow
# Outlines of arrow heads as (distance behind the tip, radius) in Å: kinds of arrows differ by them,
# not by color alone.
HEADS = (
    ((0, 0), (0.32, 0.14)),  # cone
    ((0, 0), (0.18, 0.13), (0.18, SHAFT), (0.24, SHAFT), (0.42, 0.13)),  # two cones
    ((0, 0), (0, 0.13), (0.16, 0.13)),  # hammer
    ((0, 0), (0.19, 0.14), (0.38, SHAFT)),  # diamond
)
ARROW_COLORS = (style.VERMILION, style.BLUE, style.GREEN, style.PURPLE)
MARKS = (
    (style.ORANGE, 0.2, False),
    (style.INK, 0.26, True),
)  # color, Å wider than the atom, drawn as lines


@cache
def _static(name: str) -> str:
    return resources.files("scdlab.explore").joinpath("static", name).read_text(encoding="utf-8")


class _Library(widgets.Widget):
    """3Dmol's file on its way to the page: one model of the notebook, shared by its views,
    compressed (0.2 MB)."""

    text = traitlets.Bytes().tag(sync=True)
    _shared = None

    @classmethod
    def shared(cls) -> "_Library":
        if (
            cls._shared is None or cls._shared.comm is None
        ):  # none yet, or closed by Widget.close_all()
            cls._shared = cls(text=gzip.compress(_static("3Dmol-min.js").encode(), mtime=0))
        return cls._shared


class MoleculeView(anywidget.AnyWidget):
    """A molecule in 3-D: drag or use the arrow keys to turn it, + and - to zoom, Home to see it as
    at first.

    Arguments as in `view_molecule`. `atoms` and `arrows` hold what is shown, with the numbers as
    they were given; `scene` is what the browser draws; `problem` is the browser's error, empty
    while all is well.
    """

    _esm = _static("view.js")
    _css = _static("view.css")
    scene = traitlets.Dict().tag(sync=True)
    library = traitlets.Instance(widgets.Widget).tag(sync=True, **widgets.widget_serialization)
    webgl = traitlets.Bool(True).tag(sync=True)  # set by a browser that cannot draw in 3-D …
    picture = traitlets.Unicode().tag(sync=True)  # … and gets this svg instead
    problem = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        atoms,
        arrows=None,
        *,
        title="",
        size=(520, 400),
        labels=False,
        arrow_scale=None,
        marked=None,
    ):
        self._size = size
        self._labels = labels
        self._title = title
        self._scale = arrow_scale
        self.atoms = None
        self.arrows = {}
        scene = self._compose(atoms, arrows, marked)
        super().__init__(scene=scene, library=_Library.shared())
        self.observe(self._draw_still, names=["webgl"])

    def show(self, atoms=None, arrows=None, *, title=None, arrow_scale=None, marked=None) -> None:
        """Draw other atoms (None: the same), arrows and marks (None: none) in place.

        The camera stays while the molecule has the same elements; another molecule is fitted into
        the picture, seen from the same side. title and arrow_scale: None keeps them. After a
        ValueError the view is as it was before.
        """
        before = self._title, self._scale
        self._title = self._title if title is None else title
        self._scale = self._scale if arrow_scale is None else arrow_scale
        try:
            self.scene = self._compose(self.atoms if atoms is None else atoms, arrows, marked)
        except Exception:
            self._title, self._scale = before
            raise
        self._draw_still()

    def still(self) -> str:
        """The same picture as svg text, from a fixed side: for places where nothing can be
        turned."""
        return svg.molecule(
            self.atoms,
            title=self._title,
            size=max(320, min(self._size)),
            arrows=self.scene["arrows"],
            small=self.scene["large"],
            about=self.scene["aria"],
            note=self.scene["note"],
            marked=self.scene["marked"],
        )

    def to_html(self, path=None) -> str:
        """The view as one html page that needs neither kernel nor network; written to `path` when
        one is given."""
        page = _PAGE.format(
            title=html.escape(self._title or self.atoms.get_chemical_formula()),
            css=self._css,
            library=_inside_script(_static("3Dmol-min.js")),
            esm=_inside_script(self._esm),
            scene=_inside_script(json.dumps(self.scene)),
            still=_inside_script(json.dumps(self.still())),
        )
        if path is not None:
            with atomic_file(Path(path)) as new:
                new.write_text(page, encoding="utf-8")
        return page

    def _compose(self, atoms, arrows, marked) -> dict:
        """The scene of these atoms and arrows; only when it is complete do `atoms` and `arrows`
        change."""
        atoms = as_atoms(atoms)
        arrows = as_arrows(arrows, atoms, self._scale)
        marks = as_marks(marked, atoms)
        large = len(atoms) > LARGE
        kinds = [_kind(name, each, k, large) for k, (name, each) in enumerate(arrows.items())]
        note = ""
        if large:
            cut = any(each["hidden"] for each in kinds)
            note = (
                f"{len(atoms):,} atoms: drawn simply, with lines for bonds and without labels"
                + (f"; of each kind only the {MANY_ARROWS} longest arrows." if cut else ".")
            )
            if self.atoms is None or len(self.atoms) != len(atoms):
                warnings.warn(note, stacklevel=4)
        self.atoms = atoms
        self.arrows = arrows
        told = f"{self._title}: " if self._title else ""
        told += f"{atoms.get_chemical_formula()}, {len(atoms)} atoms"
        told += "".join(f"; arrows: {each['legend']}" for each in kinds)
        names = [f"{style.symbol(z)}{k}" for k, z in enumerate(atoms.numbers)]
        told += "".join(
            f"; {m['legend']}: {', '.join(names[k] for k in m['atoms']) or 'none'}" for m in marks
        )
        return {
            "frame": _frame(atoms),
            "arrows": kinds,
            "marked": marks,
            "title": self._title,
            "aria": told,
            "note": note,
            "labels": bool(self._labels) and not large,
            "large": large,
            "size": [int(side) for side in self._size],
        }

    def _draw_still(self, change=None) -> None:
        if not self.webgl:
            self.picture = self.still()

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and a small svg for places without a kernel."""
        data, about = super()._repr_mimebundle_(**kwargs)
        return data | {"image/svg+xml": self.still()}, about


def view_molecule(
    atoms, arrows=None, *, title="", size=(520, 400), labels=False, arrow_scale=None, marked=None
) -> MoleculeView:
    """A molecule in 3-D with arrows on its atoms.

    atoms: ase.Atoms, a store or a batch of one structure, or a pair (z [n], pos [n, 3] in Å).
    arrows: an array [n, 3], or a dict name -> array or name -> dict(vectors=[n, 3], unit="eV/Å",
    color="#0072B2", scale=…, start=[n, 3]); all but the vectors may be left out, and arrows start
    at the atoms unless `start` (Å) says otherwise. arrow_scale: Å drawn per unit, one number or a
    dict name -> number; by default kinds of one unit share a round scale on which the longest arrow
    is at most 1.8 Å. The legend states the scale. labels: write element and index on each atom.
    size: width and height in pixels. marked: dict of up to two names -> indices of atoms that have
    a ring around them (in 3-D a translucent sphere, or one of lines).

    Raises:
        ValueError: no atoms, positions or arrows that are not finite numbers of the right shape,
            unknown elements, a scale that is not positive, marks on atoms that are not there, or
            more than 20,000 atoms.
    """
    return MoleculeView(
        atoms, arrows, title=title, size=size, labels=labels, arrow_scale=arrow_scale, marked=marked
    )


def static_view(atoms, size=(520, 400)):
    """The molecule as a `py3Dmol.view`, for those who know its methods (setStyle, addSurface, …):
    nothing of it changes later, so it needs no kernel. It reads the kit's copy of 3Dmol.js where
    py3Dmol alone would ask the network."""
    import py3Dmol

    atoms = as_atoms(atoms)
    xyz = io.StringIO()
    ase.io.write(xyz, atoms, format="xyz")
    script = (
        "data:text/javascript;base64," + base64.b64encode(_static("3Dmol-min.js").encode()).decode()
    )
    view = py3Dmol.view(width=size[0], height=size[1], js=script, data=xyz.getvalue(), format="xyz")
    view.setStyle({"stick": {"radius": 0.12}, "sphere": {"scale": 0.25}})
    return view


def as_atoms(atoms) -> ase.Atoms:
    """What `view_molecule` accepts, as ase.Atoms that can be drawn."""
    if isinstance(atoms, ase.Atoms):
        atoms = atoms.copy()
    elif hasattr(atoms, "to_ase") and hasattr(atoms, "__len__"):
        if len(atoms) != 1:
            raise ValueError(
                f"The view draws one structure, not a store of {len(atoms):,}: pass "
                "store.to_ase(i)."
            )
        atoms = atoms.to_ase(0)
    else:
        if getattr(atoms, "num_graphs", 1) != 1:
            raise ValueError(
                f"The view draws one structure, not a batch of {atoms.num_graphs}: pass "
                "store.to_ase(i)."
            )
        z, pos = (atoms.z, atoms.pos) if hasattr(atoms, "pos") else _pair(atoms)
        z = array(z)
        pos = array(pos)
        if z.ndim != 1 or pos.shape != (len(z), 3):
            raise ValueError(
                f"The view needs z [n] and pos [n, 3], but their shapes are {z.shape} and "
                f"{pos.shape}."
            )
        cell = array(atoms.cell).reshape(3, 3) if getattr(atoms, "cell", None) is not None else None
        pbc = (
            array(atoms.pbc).reshape(3).astype(bool)
            if getattr(atoms, "pbc", None) is not None
            else cell is not None
        )
        atoms = ase.Atoms(numbers=z.astype(int), positions=pos, cell=cell, pbc=pbc)
    if len(atoms) == 0:
        raise ValueError("There are no atoms to draw: pass a structure with at least one.")
    if len(atoms) > MOST:
        raise ValueError(
            f"The view draws at most {MOST:,} atoms, not {len(atoms):,}: pass a part of the "
            "structure."
        )
    bad = np.flatnonzero(~np.isfinite(atoms.get_positions()).all(1))
    if len(bad):
        raise ValueError(
            f"The position of atom {bad[0]} is not a finite number: only finite positions can be "
            "drawn."
        )
    unknown = atoms.numbers[(atoms.numbers < 0) | (atoms.numbers >= len(jmol_colors))]
    if len(unknown):
        raise ValueError(
            f"There is no element {unknown[0]} to draw: atomic numbers go up to "
            f"{len(jmol_colors) - 1}."
        )
    return atoms


def _pair(atoms):
    try:
        z, pos = atoms
    except (TypeError, ValueError):
        raise ValueError(
            f"The view draws ase.Atoms or a pair (z, pos), not {type(atoms).__name__}."
        ) from None
    return z, pos


def as_arrows(arrows, atoms: ase.Atoms, scale=None) -> dict:
    """What `view_molecule` accepts, as name -> dict(vectors [n, 3], unit, color, scale, start [n,
    3])."""
    if arrows is None:
        return {}
    kinds = arrows if isinstance(arrows, dict) else {"arrows": arrows}
    if len(kinds) > len(HEADS):
        raise ValueError(
            f"The view tells at most {len(HEADS)} kinds of arrows apart, not {len(kinds)}: leave "
            "some out."
        )
    own = scale if isinstance(scale, dict) else dict.fromkeys(kinds, scale)
    if stray := set(own) - set(kinds):
        raise ValueError(
            f"arrow_scale names {', '.join(map(repr, stray))}, but the arrows are "
            f"{', '.join(kinds)}."
        )
    full = {}
    for k, (name, given) in enumerate(kinds.items()):
        given = given if isinstance(given, dict) else {"vectors": given}
        if "vectors" not in given or (
            stray := set(given) - {"vectors", "unit", "color", "scale", "start"}
        ):
            wrong = (
                "has no vectors"
                if "vectors" not in given
                else f"has an unknown entry {min(stray)!r}"
            )
            raise ValueError(
                f"The kind of arrows {name!r} {wrong}: its entries are vectors, unit, color, "
                "scale, start."
            )
        start = atoms.get_positions() if given.get("start") is None else given["start"]
        full[name] = {
            "vectors": _per_atom(given["vectors"], f"arrows {name!r}", len(atoms)),
            "unit": given.get("unit", ""),
            "color": given.get("color") or ARROW_COLORS[k],
            "scale": own.get(name) if given.get("scale") is None else given["scale"],
            "start": _per_atom(start, f"starts of the arrows {name!r}", len(atoms)),
        }
        fixed = full[name]["scale"]
        if fixed is not None and not (np.isfinite(fixed) and fixed > 0):
            raise ValueError(
                f"The scale of the arrows {name!r} must be a positive number of Å per unit, not "
                f"{fixed}."
            )
    for each in full.values():
        if each["scale"] is None:
            each["scale"] = _round_scale(
                [a["vectors"] for a in full.values() if a["unit"] == each["unit"]]
            )
    return full


def as_marks(marked, atoms: ase.Atoms) -> list[dict]:
    """What `view_molecule` accepts, as the scene holds it; see the module's docstring."""
    marked = marked or {}
    if len(marked) > len(MARKS):
        raise ValueError(
            f"The view tells at most {len(MARKS)} kinds of marks apart, not {len(marked)}: leave "
            "some out."
        )
    marks = []
    for (name, which), (color, wider, lines) in zip(marked.items(), MARKS, strict=False):
        which = np.asarray(which, int).ravel().tolist()
        if stray := [k for k in which if not 0 <= k < len(atoms)]:
            raise ValueError(
                f"{name!r} marks atom {stray[0]}, but the atoms are 0 to {len(atoms) - 1}."
            )
        marks.append(
            {"legend": name, "color": color, "wider": wider, "lines": lines, "atoms": which}
        )
    return marks


def _per_atom(values, what: str, n: int) -> np.ndarray:
    values = array(values).copy()
    if values.shape != (n, 3):
        raise ValueError(
            f"The {what} have shape {values.shape}: one vector per atom, shape ({n}, 3), can be "
            "drawn."
        )
    if not np.isfinite(values).all():
        row = np.flatnonzero(~np.isfinite(values).all(1))[0]
        raise ValueError(
            f"Row {row} of the {what} is not a finite number: only finite vectors can be drawn."
        )
    return values


def _round_scale(vectors: list) -> float:
    """Å per unit, so that 1 Å drawn is a round number of units and the longest of all vectors at
    most `LONGEST`."""
    longest = max(np.linalg.norm(v, axis=1).max() for v in vectors)
    if not longest > 0:
        return 1.0
    least = longest / (LONGEST * _size(len(vectors[0]) > LARGE))  # units per Å
    power = 10.0 ** np.floor(np.log10(least))
    return 1 / next(
        m * power for m in (1, 1.5, 2, 3, 4, 5, 7, 10) if m * power >= least * (1 - 1e-9)
    )


def _size(large: bool) -> float:
    """Arrows of a large view are drawn larger, or nobody would see them."""
    return 2.0 if large else 1.0


def _kind(name: str, given: dict, k: int, large: bool) -> dict:
    """One kind of arrows as the scene holds it; see the module's docstring."""
    step = given["vectors"] * given["scale"]
    length = np.linalg.norm(step, axis=1)
    drawn = np.flatnonzero(length >= SHORTEST)
    hidden = max(0, len(drawn) - MANY_ARROWS) if large else 0
    if hidden:
        drawn = np.sort(drawn[np.argsort(-length[drawn], kind="stable")[:MANY_ARROWS]])
    unit = f" {given['unit']}" if given["unit"] else ""
    size = _size(large)
    legend = f"{name} (1 Å drawn = {1 / given['scale']:.3g}{unit})"
    return {
        "name": name,
        "unit": given["unit"],
        "color": given["color"],
        "legend": legend
        if len(drawn)
        else f"{legend}, too short to draw"
        if length.any()
        else f"{name}: all zero",
        "profile": [
            [size * back, size * radius] for back, radius in (*HEADS[k], (HEADS[k][-1][0], SHAFT))
        ],
        "atoms": drawn.tolist(),
        "start": _flat(given["start"][drawn]),
        "step": _flat(step[drawn]),
        "hidden": hidden,
    }


def _frame(atoms: ase.Atoms) -> dict:
    elements = {
        str(z): {"symbol": style.symbol(z), "color": style.element_color(z), "radius": _radius(z)}
        for z in np.unique(atoms.numbers).tolist()
    }
    cell = atoms.cell.array if atoms.pbc.any() and atoms.cell.rank == 3 else np.zeros((0, 3))
    return {
        "z": atoms.numbers.tolist(),
        "pos": _flat(atoms.get_positions()),
        "bonds": bonds_of(atoms).ravel().tolist(),
        "cell": _flat(cell),
        "elements": elements,
    }


def _radius(z: int) -> float:
    """The drawn radius of an atom in Å: small enough that arrows come out of it."""
    return round(0.14 + 0.18 * float(covalent_radii[z]), 3)


def _flat(values: np.ndarray) -> list[float]:
    return np.round(values, 4).ravel().tolist()


def _inside_script(text: str) -> str:
    """Text that cannot end the <script> it stands in."""
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="data:,">
<style>{css}</style></head>
<body style="font-family: Helvetica, Arial, sans-serif; margin: 1em"><div id="view"></div>
<script>{library}</script>
<script type="module">
{esm}
const state = {{scene: {scene}, picture: {still}, webgl: true, problem: ""}};
const model = {{get: name => state[name], set: (name, value) => {{ state[name] = value; }},
  on() {{}}, off() {{}}, save_changes() {{}}}};
await draw(model, document.getElementById("view"), async () => window.$3Dmol);
</script></body></html>
"""

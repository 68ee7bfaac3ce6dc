"""The place of one structure on maps of many, and its nearest neighbors there, drawn."""

import html
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import ase
import ipywidgets as widgets
import numpy as np
import traitlets

from scdlab.analysis.embeddings import embed, reduce_embedding
from scdlab.atoms import AtomStore
from scdlab.explore import maps, style, svg
from scdlab.explore.controls import Bounds, check_bounds, check_choice
from scdlab.explore.inputs import Text, Whole
from scdlab.explore.style import CONTROL_WIDTH, PLOTS_WIDTH, VIEW_WIDTH
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import SvgExplorer

NEAREST = 10
MAP = 380  # pixels of a map
SMALL = 150  # pixels of a neighbor
POOL = "sum"  # of atoms: an embedding head may be untrained, and features of atoms never are


class Atlas(NamedTuple):
    """Embeddings of structures of a store by several models: computed once for all structures that
    are placed among them.

    Attributes
    ----------
    store : AtomStore
        The structures [n].
    models : dict
        Name -> model.
    embeddings : dict
        Name -> embeddings [n, d], the sums of the features of atoms.
    """

    store: AtomStore
    models: dict[str, Any]
    embeddings: dict[str, np.ndarray]


def atlas(store: AtomStore, models: Mapping[str, Any], n: int, seed: int = 0) -> Atlas:
    """Embed structures by several models.

    Parameters
    ----------
    store : AtomStore
        Structures.
    models : mapping
        Name -> model.
    n : int
        How many of the structures, drawn at random.
    seed : int, default 0
        Which.

    Returns
    -------
    Atlas
        The embeddings.
    """
    some = store.sample(min(n, len(store)), seed=seed)
    found = {name: embed(net, some, n=None, pool=POOL)[0] for name, net in models.items()}
    return Atlas(some, dict(models), found)


class PlaceExplorer(SvgExplorer):
    """A structure among many others, as several models describe them: its place on each map, and
    its ten nearest neighbors.

    A map is the projection on the two directions of largest variance (PCA); neighbors are nearest
    with all channels of the embedding, which a map can only hint at.

    State, in traits: model (a name: whose neighbors are drawn), color ("atoms" or a property of the
    store) and neighbor (1 to 10, the one that stands beside in 3-D). `state()` adds the neighbors'
    rows in the atlas, formulas, distances and values of the color, and percentile: the share of the
    atlas whose own nearest neighbor is nearer than this structure's.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.
    atlas : Atlas
        The others.
    remarks : sequence of str, optional
        Sentences shown below.
    model, color, neighbor
        The state at first.

    Raises
    ------
    ValueError
        For elements that one of the models was not trained on.
    """

    names = ("model", "color", "neighbor")
    words_style = f"line-height: 1.35; max-width: {VIEW_WIDTH + PLOTS_WIDTH}px"
    model = Text()
    color = Text("gap")
    neighbor = Whole(1)
    _in_bounds = traitlets.validate("neighbor")(check_bounds)
    _is_choice = traitlets.validate("model", "color")(check_choice)

    def __init__(
        self,
        atoms: ase.Atoms,
        atlas: Atlas,
        remarks: tuple[str, ...] = (),
        *,
        model: str | None = None,
        color: str = "gap",
        neighbor: int = 1,
    ):
        self.atoms = atoms
        self.atlas = atlas
        self.remarks = tuple(remarks)
        one = AtomStore.geometry(atoms)
        self.own = {
            name: embed(net, one, n=None, pool=POOL)[0][0] for name, net in atlas.models.items()
        }
        self.model = model if model in atlas.models else next(iter(atlas.models))
        self.color = color if color in atlas.store.property_names else "atoms"
        self.neighbor = neighbor
        self.view = MoleculeView(self.chosen, title=self._title(), size=(VIEW_WIDTH, 330))
        row = dict(
            style={"description_width": "70px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        super().__init__(
            model=widgets.Dropdown(
                options=list(atlas.models), value=self.model, description="model", **row
            ),
            color=widgets.Dropdown(
                options=self.choices("color"), value=self.color, description="color", **row
            ),
            neighbor=widgets.IntSlider(neighbor, 1, NEAREST, description="neighbor", **row),
        )

    def lay_out(self) -> list[widgets.Widget]:
        """Controls above, maps and neighbors, the chosen neighbor in 3-D, the numbers in words."""
        right = widgets.VBox([self.view, self.words])
        both = widgets.HBox([self.drawing, right], layout=widgets.Layout(flex_flow="row wrap"))
        return [super().lay_out()[0], self.message, both]

    def bounds(self, name: str) -> Bounds:
        """What values a trait may have.

        Parameters
        ----------
        name : str
            The trait.

        Returns
        -------
        Bounds
            Its ends.
        """
        return Bounds(1, min(NEAREST, len(self.atlas.store)))

    def choices(self, name: str) -> list[str]:
        """What values a trait may have.

        Parameters
        ----------
        name : str
            The trait.

        Returns
        -------
        list of str
            All of them.
        """
        if name == "model":
            return list(self.atlas.models)
        return ["atoms", *self.atlas.store.property_names]

    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows [10] of the nearest structures in the atlas, and their distances [10]."""
        return self.remember(("nearest", self.model), self._find_nearest)

    def _find_nearest(self) -> tuple[np.ndarray, np.ndarray]:
        d = np.linalg.norm(self.atlas.embeddings[self.model] - self.own[self.model], axis=1)
        rows = np.argsort(d, kind="stable")[:NEAREST]
        return rows, d[rows]

    def percentile(self) -> float:
        """The share of the atlas, in percent, whose own nearest neighbor is nearer."""
        return self.remember(("percentile", self.model), self._find_percentile)

    def _find_percentile(self) -> float:
        x = self.atlas.embeddings[self.model]
        rows = np.random.default_rng(0).permutation(len(x))[:300]
        square = (x**2).sum(1)
        d = square[rows, None] + square - 2 * x[rows] @ x.T
        d[np.arange(len(rows)), rows] = np.inf
        usual = np.sqrt(np.maximum(d.min(1), 0))
        return 100 * float((usual < self.nearest()[1][0]).mean())

    def xy(self, model: str) -> np.ndarray:
        """The map [n + 1, 2] of a model, the structure itself last."""
        both = np.vstack([self.atlas.embeddings[model], self.own[model]])
        return self.remember(("map", model), lambda: reduce_embedding(both, "pca"))

    @property
    def chosen(self) -> ase.Atoms:
        """The neighbor that stands beside."""
        return self.atlas.store.to_ase(int(self.nearest()[0][self.neighbor - 1]))

    def state(self) -> dict[str, Any]:
        """The traits, and every number displayed.

        Returns
        -------
        dict
            Plain values by name.
        """
        rows, d = self.nearest()
        return super().state() | {
            "formula": self.atoms.get_chemical_formula(),
            "rows": rows.tolist(),
            "formulas": [self._atoms(k).get_chemical_formula() for k in rows],
            "distances": d.tolist(),
            "values": self._colors()[rows].tolist(),
            "percentile": self.percentile(),
        }

    def _atoms(self, row: int) -> ase.Atoms:
        return self.remember(("atoms", int(row)), lambda: self.atlas.store.to_ase(int(row)))

    def _colors(self) -> np.ndarray:
        store = self.atlas.store
        return store.n_atoms if self.color == "atoms" else store.property(self.color)

    def _label(self) -> str:
        if self.color == "atoms":
            return "number of atoms"
        return style.label(self.color, self.atlas.store.units(self.color))

    def picture(self) -> str:
        """The maps of all models side by side, and the ten neighbors below."""
        charts, title, small = self._pieces()
        heading = svg.document(2 * MAP, 22, [svg.text(8, 16, title, "start")])
        return svg.stack([_rows(charts, 2, MAP), heading, _rows(small, 5, SMALL)])

    def page(self) -> str:
        """The same as html, whose pictures stand as many in a row as the page is wide."""
        charts, title, small = self._pieces()
        heading = f'<div style="padding: 0 8px">{html.escape(title)}</div>'
        return f"{_flowing(charts, 2 * MAP)}{heading}{_flowing(small, 5 * SMALL)}"

    def make_drawing(self) -> widgets.HTML:
        """A place for the pictures."""
        return widgets.HTML(self.page())

    def _pieces(self) -> tuple[list[str], str, list[str]]:
        """A map for each model, the words above the neighbors, and the neighbors."""
        key = ("maps", self.color)
        charts = self.remember(key, lambda: [self._map(name) for name in self.atlas.models])
        rows, d = self.nearest()
        small = [
            _captioned(
                svg.molecule(self._atoms(row)),
                f"{k}: {self._atoms(row).get_chemical_formula()}, {far:.3g}",
                k == self.neighbor,
            )
            for k, (row, far) in enumerate(zip(rows, d, strict=True), start=1)
        ]
        title = f"nearest to {self.atoms.get_chemical_formula()} for {self.model}, with distances"
        return charts, title, small

    def _map(self, name: str) -> str:
        color = np.append(np.asarray(self._colors(), float), np.nan)
        return maps.map_svg(self.xy(name), color, self._label(), name, len(color) - 1, MAP - 5)

    def to_svg(self) -> str:
        """The picture, and the numbers in words."""
        return svg.stack([self.picture()], self.text_lines())

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        values = self.state()
        k = self.neighbor - 1
        unit = "" if self.color == "atoms" else f" {self.atlas.store.units(self.color)}"
        name = "number of atoms" if self.color == "atoms" else self.color
        text = f"{values['formulas'][k]}, {name} {values['values'][k]:.4g}{unit}"
        alone = (
            f"{values['percentile']:.0f} % of the atlas have a nearest neighbor that is nearer "
            "than this structure's"
        )
        where = "the ring on each map is this structure; gray is an unknown value"
        lines = [(f"neighbor {self.neighbor}", text), ("how alone", alone), ("maps", where)]
        return [*lines, *(("cannot answer", why) for why in self.remarks)]

    def redraw(self) -> None:
        """Change pictures and view in place."""
        self.drawing.value = self.page()
        self.view.show(self.chosen, title=self._title())

    def _title(self) -> str:
        return f"neighbor {self.neighbor}: {self.chosen.get_chemical_formula()}"


def _captioned(picture: str, caption: str, framed: bool) -> str:
    """A picture `SMALL` pixels wide with words below it, and a frame if it is the chosen one."""
    width, height = svg.size_of(picture)
    tall = SMALL * height / width
    body = [_placed(picture, 0, 0, SMALL, tall), svg.text(SMALL / 2, tall + 11, caption)]
    if framed:
        look = f'fill="none" stroke="{style.VERMILION}" stroke-width="2"'
        body.append(f'<rect x="2" y="1" width="{SMALL - 4}" height="{tall + 14:g}" {look}/>')
    return svg.document(SMALL, tall + 16, body)


def _placed(picture: str, x: float, y: float, width: float, height: float) -> str:
    """A picture as a part of another."""
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return re.sub(r'^<svg (.*?)width="[^"]*"', rf"<svg {place} \1", picture, count=1)


def _rows(pictures: list[str], across: int, wide: float) -> str:
    """Pictures side by side, so many in a row, each `wide` pixels."""
    sizes = [svg.size_of(each) for each in pictures]
    heights = [wide * height / width for width, height in sizes]
    tall = max(heights)
    body = [
        _placed(each, k % across * wide, k // across * tall, wide, height)
        for k, (each, height) in enumerate(zip(pictures, heights, strict=True))
    ]
    deep = (len(pictures) + across - 1) // across
    return svg.document(wide * min(across, len(pictures)), tall * deep, body)


def _flowing(pictures: list[str], wide: float) -> str:
    """Pictures side by side, as many in a row as the page has room for, `wide` pixels at most."""
    look = f"display: flex; flex-wrap: wrap; align-items: flex-start; max-width: {wide:g}px"
    return f'<div style="{look}">{"".join(pictures)}</div>'

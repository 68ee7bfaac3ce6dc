"""A map of embeddings one can walk on: a point is a structure, and the structure stands beside the
map.

Two numbers stand there as well, both read off the embedding itself, with all its channels, not off
the drawing:

    extensivity   R² of a linear fit, embedding -> number of atoms, on structures held out
                  `analysis.extensivity`
    smoothness    R² of a property guessed as the mean of its 10 nearest neighbors
                  `analysis.smoothness`
"""

import textwrap
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import traitlets
from ase.symbols import Symbols

from scdlab.analysis import embeddings
from scdlab.explore import maps, style, svg
from scdlab.explore.controls import Bounds, check_bounds, check_choice
from scdlab.explore.inputs import Text, Whole, checked_network, checked_store, in_short
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import FigureExplorer

POOLED = {"embedding": "model's own embedding", "mean": "mean over atoms", "sum": "sum over atoms"}
LAYOUTS = {"umap": "UMAP", "pca": "PCA"}


class EmbeddingExplorer(FigureExplorer):
    """Embeddings of a set of structures by several models, as maps: hover or click to see the
    structure.

    State, in traits: model (a name), color ("atoms" or a property of the store), method ("umap",
    "pca"), pool (as in `embed`), and point, one of the n. `state()` adds the structure's formula,
    its row in the store and its value of the color, and the two numbers beside the map, None where
    they mean nothing; smoothness is that of the property of the color, and while atoms color the
    map, of "homo" or of the store's first property.

    Parameters
    ----------
    store : AtomStore
        The structures.
    models : dict
        Name -> model, any that gives embeddings; all see the same structures.
    n : int or None, default 1000
        How many structures; None: all of them. UMAP lays out at most 2,000 and puts the others
        between.
    color, method, pool, point
        The state at first.
    seed : int, default 0
        Seed of the structures that are drawn.

    Raises
    ------
    ValueError
        For no models, for a model that cannot embed the structures (elements it was not built for),
        and for choices that are not there; an explorer refuses what it cannot draw and stays as it
        was.
    """

    names = ("model", "color", "method", "pool", "point")
    refusing = names
    words_style = f"line-height: 1.3; max-width: {style.VIEW_WIDTH}px"
    model = Text()
    color = Text()
    method = Text()
    pool = Text()
    point = Whole()
    _in_bounds = traitlets.validate("point")(check_bounds)

    def __init__(
        self,
        store: Any,
        models: dict[str, Any],
        n: int | None = 1000,
        color: str = "atoms",
        method: str = "umap",
        pool: str = "mean",
        point: int = 0,
        seed: int = 0,
    ):
        checked_store(store, "EmbeddingExplorer", 3)
        for what, number in (("n", n), ("seed", seed)):
            if what == "n" and number is None:
                continue
            whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
            if not whole or int(number or 0) < 0:
                raise ValueError(
                    f"The explorer's {what} must be a whole number, and not negative, got "
                    f"{in_short(number)}."
                )
        if not isinstance(models, dict) or not models:
            raise ValueError(
                'The explorer needs models as {name: model}, at least one: {"untrained": model}.'
            )
        for name, model in models.items():
            checked_network(model, f"Model {name!r}")
        models = {str(name): model for name, model in models.items()}
        self.store = store
        self.models = models
        self._n = n
        self._seed = seed
        self._laid_out: tuple[Any, ...] | None = None  # the state but the point, as drawn
        properties = {self._label(name): name for name in store.property_names}
        self._choices = {
            "model": {name: name for name in models},
            "color": {"number of atoms": "atoms"} | properties,
            "method": {words: name for name, words in LAYOUTS.items()},
            "pool": {words: name for name, words in POOLED.items()},
        }
        self.model = next(iter(models))
        self.color = color
        self.method = method
        self.pool = pool
        self._index = self._embedded(self.model, pool)[1]
        self.shown = store.subset(self._index)
        self._formulas = self._check_models()
        self.point = point
        self.view = MoleculeView(
            self.shown.to_ase(point), title=self._title(), size=(style.VIEW_WIDTH, 280)
        )
        super().__init__(**self._make_controls())
        self.figure.data[0].on_hover(self._pointed)
        self.figure.data[0].on_click(self._pointed)
        self._laid_out = self.key()[:-1]

    def _check_models(self) -> list[str]:
        """The structures' formulas; every model must embed all their elements."""
        batch = self.shown.take(np.arange(len(self.shown)))
        z = batch.z.numpy()
        _, owner = np.unique(z, return_index=True)
        some = self.shown.subset(np.unique(batch.batch.numpy()[owner]))  # all elements are in these
        for name, model in self.models.items():
            self._naming(name, embeddings.embed, model, some, None, self.pool)
        elements = np.split(z, batch.ptr[1:-1].numpy())
        return [Symbols(each).get_chemical_formula() for each in elements]

    def _make_controls(self) -> dict[str, Any]:
        row = dict(style={"description_width": "54px"})
        narrow = widgets.Layout(width="240px")
        wide = widgets.Layout(width="490px")
        last = len(self.shown) - 1
        return {
            name: widgets.Dropdown(
                options=list(choices.items()),
                value=getattr(self, name),
                description=name,
                layout=narrow,
                **row,
            )
            for name, choices in self._choices.items()
        } | {
            "point": widgets.IntSlider(self.point, 0, last, description="point", layout=wide, **row)
        }

    def lay_out(self) -> list[widgets.Widget]:
        """Controls above, the map left, the molecule and the numbers in words right."""
        right = widgets.VBox([self.view, self.words])
        both = widgets.HBox([self.drawing, right], layout=widgets.Layout(flex_flow="row wrap"))
        return [super().lay_out()[0], self.message, both]

    # ----------------------------------------------------------------------------------------------
    # the state

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
        return Bounds(0, len(self.shown) - 1, ", the points of the map")

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
        return list(self._choices[name].values())

    @traitlets.validate("model", "color", "method", "pool")
    def _check_drawable(self, proposal: Any) -> str:
        value = check_choice(self, proposal)
        if self._laid_out is not None:  # what cannot be drawn is refused before anything changes
            chosen = {trait: getattr(self, trait) for trait in ("model", "pool", "method")}
            chosen[proposal["trait"].name] = value
            self._map(chosen["model"], chosen["pool"], chosen["method"])
        return value

    def state(self) -> dict[str, Any]:
        """The traits, and everything displayed about the chosen structure and the map.

        Returns
        -------
        dict
            Plain values by name; None for a number that means nothing here.
        """
        value = self._colors()[self.point]
        numbers = self.numbers()
        return super().state() | {
            "formula": self._formulas[self.point],
            "row": int(self._index[self.point]),
            "value": value.item() if np.isfinite(value) else None,
            "extensivity": numbers["extensivity"][0],
            "smoothness": numbers["smoothness"][0],
        }

    def numbers(self) -> dict[str, Any]:
        """The numbers beside the map.

        Returns
        -------
        dict
            extensivity and smoothness, each as (value or None, why there is none); property: what
            the smoothness is of, None for a store that has none.
        """
        embedded = (self.model, self.pool)
        size = self.remember(
            ("extensivity", *embedded),
            lambda: self._score(*embedded, embeddings.extensivity, self.shown.n_atoms),
        )
        name = self._guessed()
        smooth = (None, "The store has no properties.")
        if name is not None:
            values = self.shown.property(name)
            smooth = self.remember(
                ("smoothness", name, *embedded),
                lambda: self._score(*embedded, embeddings.smoothness, values),
            )
        return {"extensivity": size, "smoothness": smooth, "property": name}

    def xy(self) -> np.ndarray:
        """The present map [n, 2]. Kept: do not change it."""
        return self._map(self.model, self.pool, self.method)

    def embedding(self) -> np.ndarray:
        """The embeddings [n, d] behind it. Kept: do not change it."""
        return self._embedded(self.model, self.pool)[0]

    def forget(self) -> None:
        """Drop all embeddings and maps; the figure is drawn anew."""
        super().forget()
        self._laid_out = (None,) * 4

    def _guessed(self) -> str | None:
        """The property that smoothness is about."""
        if self.color != "atoms":
            return self.color
        names = self.store.property_names
        return "homo" if "homo" in names else next(iter(names), None)

    def _colors(self) -> np.ndarray:
        return self.shown.n_atoms if self.color == "atoms" else self.shown.property(self.color)

    def _label(self, name: str) -> str:
        return "number of atoms" if name == "atoms" else style.label(name, self.store.units(name))

    def _naming(self, model: str, function: Callable, *arguments: Any) -> Any:
        """function(*arguments), where an error names the model it is about."""
        try:
            return function(*arguments)
        except ValueError as error:
            raise ValueError(f"Model {model!r} cannot be shown: {error}") from error

    def _embedded(self, model: str, pool: str) -> tuple[np.ndarray, np.ndarray]:
        """(embeddings [n, d], rows [n]) of a model."""
        return self.remember(("embedding", model, pool), lambda: self._embed(model, pool))

    def _embed(self, model: str, pool: str) -> tuple[np.ndarray, np.ndarray]:
        arguments = (self.models[model], self.store, self._n, pool, self._seed)
        return self._naming(model, embeddings.embed, *arguments)

    def _map(self, model: str, pool: str, method: str) -> np.ndarray:
        return self.remember(
            ("map", model, pool, method), lambda: self._reduce(model, pool, method)
        )

    def _reduce(self, model: str, pool: str, method: str) -> np.ndarray:
        x = self._embedded(model, pool)[0]
        return self._naming(model, embeddings.reduce_embedding, x, method, self._seed)

    def _score(self, model: str, pool: str, score: Callable, values: np.ndarray) -> tuple:
        try:
            return score(self._embedded(model, pool)[0], values), ""
        except ValueError as error:  # all structures of one size, a property without spread, …
            return None, str(error)

    # ----------------------------------------------------------------------------------------------
    # the drawing

    def picture(self) -> go.Figure:
        """The map of the present state."""
        label = self._label(self.color)
        title = self._headline()
        return maps.map_figure(self.xy(), self._colors(), label, title, self._formulas, self.point)

    def to_svg(self) -> str:
        """The map and the molecule, and the numbers in words below them."""
        size = 380
        gap = 20
        title = self._headline()
        drawing = maps.map_svg(
            self.xy(), self._colors(), self._label(self.color), title, self.point, size
        )
        pair = [
            drawing.replace("<svg ", '<svg x="0" ', 1),
            self.view.to_svg().replace("<svg ", f'<svg x="{size}" ', 1),
        ]
        body = [part.replace("<svg ", f'<svg height="{size}" ', 1) for part in pair]
        height = size + gap
        for line in self.text_lines():
            for part in textwrap.wrap(line, 110, subsequent_indent="   "):
                body.append(svg.text(10, height, part, "start"))
                height += 16
        return svg.document(2 * size, height, body, title)

    def _headline(self) -> str:
        return f"{self.model} · {LAYOUTS[self.method]} · {POOLED[self.pool]}"

    def _title(self) -> str:
        return f"{self._formulas[self.point]}, row {self._index[self.point]:,}"

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        values = self.state()
        numbers = self.numbers()
        value = "unknown" if values["value"] is None else f"{values['value']:.4g}"
        unit = "" if self.color == "atoms" else self.store.units(self.color)
        name = "number of atoms" if self.color == "atoms" else self.color
        size = (
            "R² of a linear fit to the number of atoms, on structures left out of it (1: size can "
            "be read off, 0: not)"
        )
        near = (
            f"R² of {numbers['property']} guessed as the mean of its 10 nearest neighbors (1: "
            "exact, 0: no better than the mean of all)"
        )
        chosen = f"{values['formula']}, row {values['row']:,} of the store: {name} {value} {unit}"
        both = (
            f"of all {self.embedding().shape[1]} channels of the embedding, not of the two axes "
            "drawn"
        )
        return [
            ("chosen", chosen.rstrip()),
            ("extensivity", _describe(numbers["extensivity"], size)),
            ("smoothness", _describe(numbers["smoothness"], near)),
            ("both", both),
        ]

    def _pointed(self, trace: Any, points: Any, state: Any) -> None:
        """The pointer is over a point of the map, or has clicked on it."""
        if points.point_inds:
            self.point = points.point_inds[0]

    def notice(self, name: str) -> str:
        """What is shown while another map is computed.

        Parameters
        ----------
        name : str
            The trait that is chosen.

        Returns
        -------
        str
            Empty for color and point, which need no other map.
        """
        if name in ("color", "point"):
            return ""
        return "Computing … a first map by UMAP takes up to half a minute."

    def redraw(self) -> None:
        """Change figure and view in place; only what has changed of the map."""
        xy = self.xy()
        now = self.key()[:-1]
        before = self._laid_out or (None,) * 4
        with self.figure.batch_update():  # one message to the browser
            if now != before:
                label = self._label(self.color)
                self.figure.data[0].update(maps.points(xy, self._colors(), label, self._formulas))
                self.figure.layout.title.text = self._headline()
                maps.set_colors(self.figure, self._colors(), label)
                if (now[0], *now[2:]) != (before[0], *before[2:]):  # not for another color alone
                    maps.show_all(self.figure, xy)
            maps.move_ring(self.figure, xy, self.point)
        self.view.show(self.shown.to_ase(self.point), title=self._title())
        self._laid_out = now


def _describe(score: tuple[float | None, str], what: str) -> str:
    value, why = score
    return f"{value:.2f} = {what}" if value is not None else f"no number here. {why}"

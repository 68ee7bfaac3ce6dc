"""A map of embeddings one can walk on: a point is a structure, and the structure stands beside the
map.

Two numbers stand there as well, both read off the embedding itself, with all its channels, not off
the drawing:

    extensivity   R² of a linear fit, embedding -> number of atoms, on structures held out
                  `embeddings.extensivity`
    smoothness    R² of a property guessed as the mean of its 10 nearest neighbors
                  `embeddings.smoothness`
"""

import html
import textwrap

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import torch
import traitlets
from ase.symbols import Symbols
from plotly.colors import sample_colorscale

from scdlab.analysis import embeddings
from scdlab.analysis.inputs import array
from scdlab.explore import maps, style, svg
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import Explorer, lines_table

POOLED = {"embedding": "model's own embedding", "mean": "mean over atoms", "sum": "sum over atoms"}
LAYOUTS = {"umap": "UMAP", "pca": "PCA"}
_SHADES = 32  # of the scale of color, in the still picture


def map_figure(xy, color, label: str, title: str = "", formulas=None, point: int = 0) -> go.Figure:
    """A map [n, 2] with points colored by `color` [n], one of them ringed; the other arguments as
    in `maps.embedding_map`. A color that is NaN is drawn gray."""
    fig = maps.embedding_map(xy, color, label, formulas=formulas, height=460)
    ring = dict(type="circle", xref="x", yref="y", xsizemode="pixel", ysizemode="pixel")
    for radius, line in (
        (9, dict(color="white", width=5)),
        (9, dict(color=style.VERMILION, width=3)),
    ):
        fig.add_shape(**ring, x0=-radius, x1=radius, y0=-radius, y1=radius, line=line)
    fig.update_layout(
        title_text=title,
        width=490,
        margin=dict(l=15, r=10, t=45, b=15),
        hovermode="closest",
        uirevision="map",
        meta={
            "with_still": True
        },  # on a page without a kernel the molecule's picture stands above it
    )
    _ring(fig, xy, point)
    _span(fig, xy)
    _bounds(fig, color, label)
    return fig


def _ring(fig, xy, point: int) -> None:
    for shape in fig.layout.shapes:
        shape.update(xanchor=float(xy[point, 0]), yanchor=float(xy[point, 1]))


def _span(fig, xy) -> None:
    """All of a map, with a margin: whoever has zoomed into another one sees the whole."""
    low = xy.min(0)
    high = xy.max(0)
    pad = 0.05 * np.maximum(high - low, 1e-9)
    fig.layout.xaxis.range, fig.layout.yaxis.range = np.stack(
        [low - pad, high + pad], axis=1
    ).tolist()


def _bounds(fig, color, label: str) -> None:
    low, high = _ends(color)
    fig.layout.coloraxis.update(cmin=low, cmax=high, colorbar_title_text=label)


def _ends(color) -> tuple[float, float]:
    """What the ends of the scale stand for: all but the lowest and the highest hundredth lie
    between, so that a few strange structures do not leave one color to all others."""
    known = array(color)[np.isfinite(array(color))]
    return tuple(np.quantile(known, [0.01, 0.99]).tolist()) if len(known) else (0.0, 1.0)


def map_svg(xy, color, label: str, title: str = "", point: int = 0, size: int = 380) -> str:
    """The same map as a small svg picture, without names; size in pixels."""
    xy = array(xy)
    color = array(color)
    low = xy.min(0)
    high = xy.max(0)
    x, y = ((xy - low) / np.maximum(high - low, 1e-9) * [1, -1] + [0, 1]).T * (
        size - 40
    ) + 20  # 20 px on each side
    y = y * (size - 80) / (size - 40) + 20  # and the title above, the scale below
    least, most = _ends(color)
    shade = np.full(len(color), -1)
    known = np.isfinite(color)
    along = np.clip((color[known] - least) / max(most - least, 1e-12), 0, 1)
    shade[known] = np.round(along * (_SHADES - 1)).astype(int)
    shades = sample_colorscale(maps.SCALE, np.linspace(0, 1, _SHADES).tolist())
    body = [svg._text(size / 2, 14, title)]
    frame = (
        f'<rect x="8" y="22" width="{size - 16}" height="{size - 62}" fill="none" '
        f'stroke="{style.GRAY}"/>'
    )
    body.append(frame)
    for k in np.unique(shade):
        path = "".join(
            f"M{a:.0f},{b:.0f}h0" for a, b in zip(x[shade == k], y[shade == k], strict=True)
        )
        stroke = style.GRAY if k < 0 else shades[k]
        body.append(
            f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="5" '
            'stroke-linecap="round"/>'
        )
    look = f'fill="none" stroke="{style.VERMILION}" stroke-width="3"'
    body.append(f'<circle cx="{x[point]:.0f}" cy="{y[point]:.0f}" r="9" {look}/>')
    step = 120 / _SHADES
    for k, shade_of_bar in enumerate(shades):
        place = (
            f'x="{size / 2 - 60 + k * step:.1f}" y="{size - 30}" width="{step + 0.5:.1f}" '
            'height="10"'
        )
        body.append(f'<rect {place} fill="{shade_of_bar}"/>')
    body.append(svg._text(size / 2 - 66, size - 21, f"≤ {least:.4g}", "end"))
    body.append(svg._text(size / 2 + 66, size - 21, f"≥ {most:.4g}", "start"))
    body.append(svg._text(size / 2, size - 4, label))
    return svg._document(size, size, body, f"{title}: a map of {len(xy)} points colored by {label}")


class EmbeddingExplorer(Explorer):
    """What models know about a set of structures, as maps one can walk on: hover or click, and see
    the structure.

    store: an AtomStore. models: name -> model, any that gives embeddings; all see the same n
    structures, drawn at random by `seed` (n=None: all of them; UMAP lays out at most 2,000 and puts
    the others between). State, in traits: model (a name), color ("atoms" or a property of the
    store), method ("umap", "pca"), pool (as in `embed`), and point, one of the n. `state()`
    adds the structure's formula, its row in the store and its value of the color, and the two
    numbers beside the map, None where they mean nothing; smoothness is that of the property of the
    color, and while atoms color the map, of "homo" or of the store's first property.

    Raises ValueError for no models, for a model that cannot embed the structures (elements it does
    not know), and for choices that are not there; an explorer refuses what it cannot draw and stays
    as it was.
    """

    names = ("model", "color", "method", "pool", "point")
    model, color, method, pool = (traitlets.Unicode() for _ in range(4))
    point = traitlets.Int()

    def __init__(
        self,
        store,
        models: dict,
        n: int | None = 1000,
        color: str = "atoms",
        method: str = "umap",
        pool: str = "mean",
        point: int = 0,
        seed: int = 0,
    ):
        if not isinstance(models, dict) or not models:
            raise ValueError(
                'The explorer needs models as {name: model}, at least one: {"untrained": model}.'
            )
        for name, model in models.items():
            if not isinstance(model, torch.nn.Module):
                raise ValueError(
                    f"Model {name!r} must be a model, not {model!r}; scdlab.load_pretrained(name) "
                    "loads one that ships."
                )
        models = {str(name): model for name, model in models.items()}
        self.store = store
        self.models = models
        self._n = n
        self._seed = seed
        self._cache = {}
        self._drawn = None
        self._laid_out = None
        self._choices = {
            "model": {name: name for name in models},
            "color": {"number of atoms": "atoms"}
            | {self._label(name): name for name in store.property_names},
            "method": {words: name for name, words in LAYOUTS.items()},
            "pool": {words: name for name, words in POOLED.items()},
        }
        self.model = next(iter(models))
        self.color = color
        self.method = method
        self.pool = pool
        self._index = self._embedded(self.model, pool)[1]
        self.shown = store.subset(self._index)
        batch = self.shown.take(np.arange(len(self.shown)))
        elements = np.split(batch.z.numpy(), batch.ptr[1:-1].numpy())
        self._formulas = [Symbols(z).get_chemical_formula() for z in elements]
        _, owner = np.unique(batch.z.numpy(), return_index=True)
        some = self.shown.subset(np.unique(batch.batch.numpy()[owner]))  # all elements are in these
        for name in models:
            self._told_by(name, embeddings.embed, models[name], some, None, pool)
        self.point = point
        self.view = MoleculeView(self.shown.to_ase(point), title=self._title(), size=(340, 280))
        self.words = widgets.HTML()
        row = dict(style={"description_width": "54px"})
        narrow = widgets.Layout(width="240px")
        wide = widgets.Layout(width="490px")
        dropdowns = {
            name: widgets.Dropdown(
                options=list(choices.items()),
                value=getattr(self, name),
                description=name,
                layout=narrow,
                **row,
            )
            for name, choices in self._choices.items()
        }
        last = len(self.shown) - 1
        slider = widgets.IntSlider(point, 0, last, description="point", layout=wide, **row)
        super().__init__(**dropdowns, point=slider)
        left = widgets.VBox([self.figure], layout=widgets.Layout(flex="0 1 auto"))
        right = widgets.VBox(
            [self.view, self.words], layout=widgets.Layout(flex="1 1 330px", min_width="320px")
        )
        both = widgets.HBox([left, right], layout=widgets.Layout(flex_flow="row wrap"))
        self.children = [self.children[0], self.message, both]
        self.figure.data[0].on_hover(self._pointed)
        self.figure.data[0].on_click(self._pointed)
        self._tell()
        self._drawn, self._laid_out = self._key(), self._key()[:-1]

    # ----------------------------------------------------------------------------------------------
    # the state

    @traitlets.validate("model", "color", "method", "pool")
    def _check_choice(self, proposal):
        name = proposal["trait"].name
        value = proposal["value"]
        known = list(self._choices[name].values())
        if value not in known:
            raise ValueError(
                f"The explorer's {name} is one of {', '.join(map(repr, known))}, not {value!r}."
            )
        if self._drawn is not None:  # what cannot be drawn is refused before anything changes
            chosen = {trait: getattr(self, trait) for trait in ("model", "pool", "method")} | {
                name: value
            }
            self._map(chosen["model"], chosen["pool"], chosen["method"])
        return value

    @traitlets.validate("point")
    def _check_point(self, proposal):
        if not 0 <= proposal["value"] < len(self.shown):
            raise ValueError(
                f"The map's points are 0 to {len(self.shown) - 1}; there is no {proposal['value']}."
            )
        return proposal["value"]

    def state(self) -> dict:
        """The traits, and everything displayed about the chosen structure and the map: plain
        values, None for a number that means nothing here."""
        value = self._colors()[self.point]
        told = self.numbers()
        return super().state() | {
            "formula": self._formulas[self.point],
            "row": int(self._index[self.point]),
            "value": value.item() if np.isfinite(value) else None,
            "extensivity": told["extensivity"][0],
            "smoothness": told["smoothness"][0],
        }

    def numbers(self) -> dict:
        """The numbers beside the map, each as (value or None, why there is none), and the property
        that `smoothness` is of (None: the store has none)."""
        embedded = (self.model, self.pool)
        name = self._guessed()
        size = self._remember(
            "extensivity", embedded, self._score, embeddings.extensivity, self.shown.n_atoms
        )
        if name is None:
            return {
                "extensivity": size,
                "smoothness": (None, "The store has no properties."),
                "property": None,
            }
        smooth = self._remember(
            ("smoothness", name),
            embedded,
            self._score,
            embeddings.smoothness,
            self.shown.property(name),
        )
        return {"extensivity": size, "smoothness": smooth, "property": name}

    def xy(self) -> np.ndarray:
        """The present map [n, 2]. Cached: do not change it."""
        return self._map(self.model, self.pool, self.method)

    def embedding(self) -> np.ndarray:
        """The embeddings [n, d] behind it. Cached: do not change it."""
        return self._embedded(self.model, self.pool)[0]

    def refresh(self) -> None:
        """Compute everything anew: after training a model further."""
        self._cache.clear()
        self._drawn = None
        self._laid_out = (None,) * 4
        self._changed({"name": "model"})

    def _key(self) -> tuple:
        return tuple(getattr(self, name) for name in self.names)

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

    def _remember(self, what, where: tuple, make, *arguments):
        """make(*where, *arguments), kept under what it is and where."""
        if (what, where) not in self._cache:
            self._cache[what, where] = make(*where, *arguments)
        return self._cache[what, where]

    def _told_by(self, model: str, function, *arguments):
        """function(*arguments), where an error says which model it is about."""
        try:
            return function(*arguments)
        except ValueError as error:
            raise ValueError(f"Model {model!r} cannot be shown: {error}") from error

    def _embedded(self, model: str, pool: str):
        """(embeddings [n, d], rows [n]) of a model."""
        return self._remember("embedding", (model, pool), self._embed)

    def _embed(self, model: str, pool: str):
        return self._told_by(
            model, embeddings.embed, self.models[model], self.store, self._n, pool, self._seed
        )

    def _map(self, model: str, pool: str, method: str) -> np.ndarray:
        return self._remember("map", (model, pool, method), self._lay)

    def _lay(self, model: str, pool: str, method: str) -> np.ndarray:
        return self._told_by(
            model, embeddings.reduce_embedding, self._embedded(model, pool)[0], method, self._seed
        )

    def _score(self, model: str, pool: str, score, values) -> tuple:
        try:
            return score(self._embedded(model, pool)[0], values), ""
        except (
            ValueError
        ) as error:  # all structures of one size, a property that is the same everywhere, …
            return None, str(error)

    # ----------------------------------------------------------------------------------------------
    # the drawing

    def picture(self) -> go.Figure:
        return map_figure(
            self.xy(),
            self._colors(),
            self._label(self.color),
            self._headline(),
            self._formulas,
            self.point,
        )

    def still(self) -> str:
        """The map and the molecule, and the numbers in words below them."""
        size = 380
        gap = 20
        drawing = map_svg(
            self.xy(), self._colors(), self._label(self.color), self._headline(), self.point, size
        )
        pair = [
            drawing.replace("<svg ", '<svg x="0" ', 1),
            self.view.still().replace("<svg ", f'<svg x="{size}" ', 1),
        ]
        body = [part.replace("<svg ", f'<svg height="{size}" ', 1) for part in pair]
        height = size + gap
        for what, text in self._lines():
            for line in textwrap.wrap(f"{what}: {text}", 110, subsequent_indent="   "):
                body.append(svg._text(10, height, line, "start"))
                height += 16
        return svg._document(2 * size, height, body, self._headline())

    def _headline(self) -> str:
        return f"{self.model} · {LAYOUTS[self.method]} · {POOLED[self.pool]}"

    def _title(self) -> str:
        return f"{self._formulas[self.point]}, row {self._index[self.point]:,}"

    def _lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        told = self.state()
        numbers = self.numbers()
        value = "unknown" if told["value"] is None else f"{told['value']:.4g}"
        unit = "" if self.color == "atoms" else self.store.units(self.color)
        name = "number of atoms" if self.color == "atoms" else self.color
        size = (
            "R² of a linear fit to the number of atoms, on structures left out of it (1: size can "
            "be read off, 0: not)"
        )
        near = (
            f"R² of {numbers['property']} guessed as the mean of its 10 nearest neighbors (1: "
            "exact, 0: no better "
        )
        near += "than the mean of all)"
        return [
            (
                "chosen",
                (
                    f"{told['formula']}, row {told['row']:,} of the store: {name} {value} {unit}"
                ).rstrip(),
            ),
            ("extensivity", _in_words(*numbers["extensivity"], size)),
            ("smoothness", _in_words(*numbers["smoothness"], near)),
            (
                "both",
                f"of all {self.embedding().shape[1]} channels of the embedding, not of the two "
                "axes drawn",
            ),
        ]

    def _tell(self) -> None:
        self.words.value = lines_table(self._lines(), "line-height: 1.3")

    def _pointed(self, trace, points, state) -> None:
        """The pointer is over a point of the map, or has clicked on it."""
        if points.point_inds:
            self.point = points.point_inds[0]

    def _link(self, name: str, control: widgets.Widget) -> None:
        """As of any explorer; and a choice that is refused is told, and the control goes back to
        what is shown."""

        def chosen(change):
            if change["new"] == getattr(self, name):
                return
            if name not in ("color", "point"):
                self.message.value = "Computing … a first map by UMAP takes up to half a minute."
            try:
                setattr(self, name, change["new"])
            except ValueError as error:
                control.value = getattr(self, name)
                self.message.value = (
                    f"<b style='color:{style.VERMILION}'>{html.escape(str(error))}</b>"
                )
                raise

        control.observe(chosen, names=["value"])
        self.observe(lambda change: control.set_trait("value", change["new"]), names=[name])

    def _changed(self, change) -> None:
        if self._key() != self._drawn:  # several traits set together are drawn once
            super()._changed(change)

    def _redraw(self) -> None:
        xy = self.xy()
        colors = self._colors()
        label = self._label(self.color)
        key = self._key()
        with self.figure.batch_update():  # one message to the browser
            if key[:-1] != self._laid_out:
                self.figure.data[0].update(self.picture().data[0].to_plotly_json())
                self.figure.layout.title.text = self._headline()
                _bounds(self.figure, colors, label)
                if (key[0], *key[2:4]) != (
                    self._laid_out[0],
                    *self._laid_out[2:4],
                ):  # not for another color alone
                    _span(self.figure, xy)
            _ring(self.figure, xy, self.point)
        self.view.show(self.shown.to_ase(self.point), title=self._title())
        self._tell()
        self._drawn = key
        self._laid_out = key[:-1]


def _in_words(value: float | None, why: str, what: str) -> str:
    return f"{value:.2f} = {what}" if value is not None else f"no number here. {why}"

"""Widgets: state in traits, pictures from the pure functions of `plots`, and nothing hidden in
between.

A slider and a line of Python change the same trait, the trait's observer draws, so a test needs no
browser:

    explorer = NeighborExplorer(store)
    explorer.cutoff = 1.2
    explorer.state()        # {"molecule": 0, "atom": 0, "cutoff": 1.2, "neighbor": 1, "sees": 4}

An error while drawing is shown in the widget and raised again: neither the reader nor the lesson
runner can miss it.
"""

import html
import json

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import traitlets

from scdlab.analysis.inputs import array, tensor
from scdlab.explore import plots, style, svg
from scdlab.nn.blocks.radial import GaussianBasis

PLOTLY = "application/vnd.plotly.v1+json"
_WIDE = dict(style={"description_width": "90px"}, layout=widgets.Layout(width="380px"))


class Explorer(widgets.VBox):
    """A figure and its controls: the base of the kit's widgets.

    A subclass declares its state as traits, lists them in `names`, sets them before it calls
    `__init__` with one control per trait, and defines `picture` and `still`. Its figure keeps the
    number and the kind of its traces.
    """

    names: tuple[str, ...] = ()

    def __init__(self, **controls: widgets.Widget):
        self.figure = go.FigureWidget(self.picture())
        self.message = widgets.HTML()
        self.controls = controls
        row = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([row, self.message, self.figure])
        for name, control in controls.items():
            self._link(name, control)
        self.observe(self._changed, names=list(self.names))

    def picture(self) -> go.Figure:
        """The figure of the present state."""
        raise TypeError(f"{type(self).__name__} must define picture(self) -> go.Figure.")

    def still(self) -> str:
        """A small svg of the present state."""
        raise TypeError(f"{type(self).__name__} must define still(self) -> str.")

    def state(self) -> dict:
        """The state, as plain numbers."""
        return {name: getattr(self, name) for name in self.names}

    def _link(self, name: str, control: widgets.Widget) -> None:
        """Tie a control to its trait, both ways."""
        traitlets.link((self, name), (control, "value"))

    def _adjust(self, change) -> None:
        """Called before drawing: where one trait sets the bounds of another."""

    def _changed(self, change) -> None:
        try:
            self._adjust(change)
            self._redraw()
        except Exception as error:
            told = html.escape(f"{type(error).__name__}: {error}")
            self.message.value = (
                f"<b style='color:{style.VERMILION}'>This picture failed: {told}</b>"
            )
            raise
        self.message.value = ""

    def _redraw(self) -> None:
        new = self.picture()
        with self.figure.batch_update():  # one message to the browser
            for old, trace in zip(self.figure.data, new.data, strict=True):
                old.update(trace.to_plotly_json())
            self.figure.layout.title.text = new.layout.title.text
            for axis in (*new.select_xaxes(), *new.select_yaxes()):
                own = self.figure.layout[axis.plotly_name]
                own.title.text = axis.title.text
                if axis.range is not None:
                    own.range = axis.range

    def _repr_mimebundle_(self, **kwargs):
        """The live widget; and for places without a kernel the same figure, and a small svg."""
        figure = json.loads(self.figure.to_json())
        return super()._repr_mimebundle_(**kwargs) | {PLOTLY: figure, "image/svg+xml": self.still()}


def lines_table(lines, style: str) -> str:
    """Lines (what, text) as html: names in bold, then their texts; style: of the table."""
    rows = "".join(
        "<tr><td style='padding: 0 10px 2px 0; font-weight: bold; vertical-align: top; "
        f"white-space: nowrap'>{html.escape(what)}</td><td style='padding-bottom: "
        f"2px'>{html.escape(text)}</td></tr>"
        for what, text in lines
    )
    return f"<table style='{style}'>{rows}</table>"


def _slider(kind, name: str, value, low, high, **options):
    return kind(value=value, min=low, max=high, description=name, **_WIDE, **options)


class NeighborExplorer(Explorer):
    """What one atom of a molecule sees: its neighbors within a cutoff, and one distance in a basis
    of Gaussians.

    store: an AtomStore of molecules of at least two atoms; its first 1,000 can be chosen. State:
    molecule and atom (indices), cutoff in Å, and neighbor: which distance is expanded, by rank (1 =
    nearest).
    """

    names = ("molecule", "atom", "cutoff", "neighbor")
    molecule = traitlets.Int()
    atom = traitlets.Int()
    neighbor = traitlets.Int()
    cutoff = traitlets.Float()

    def __init__(
        self,
        store,
        molecule: int = 0,
        atom: int = 0,
        cutoff: float = 2.0,
        neighbor: int = 1,
        num_rbf: int = 20,
    ):
        self.store = store
        self.basis = GaussianBasis(num_rbf, 0.0, 5.0)
        self.molecule = molecule
        self.atom = atom
        self.cutoff = cutoff
        self.neighbor = neighbor
        last = len(self.atoms) - 1
        super().__init__(
            molecule=_slider(widgets.IntSlider, "molecule", molecule, 0, min(len(store), 1000) - 1),
            atom=_slider(widgets.IntSlider, "atom", atom, 0, last),
            cutoff=_slider(
                widgets.FloatSlider, "cutoff (Å)", cutoff, 0.5, 6.0, step=0.1, readout_format=".1f"
            ),
            neighbor=_slider(widgets.IntSlider, "neighbor", neighbor, 1, last),
        )

    @property
    def atoms(self):
        """The chosen molecule, as ase.Atoms."""
        return self.store.to_ase(self.molecule)

    def distances(self) -> np.ndarray:
        """Distances [n] in Å from the chosen atom to all atoms, itself included."""
        pos = self.atoms.get_positions()
        return np.linalg.norm(pos - pos[self.atom], axis=1)

    def seen(self) -> np.ndarray:
        """Indices of the atoms within the cutoff."""
        near = self.distances() <= self.cutoff
        near[self.atom] = False
        return np.flatnonzero(near)

    def state(self) -> dict:
        return super().state() | {"sees": len(self.seen())}

    def picture(self) -> go.Figure:
        r = self.distances()
        if len(r) < 2:
            raise ValueError(
                f"Molecule {self.molecule} is a single atom, which has no neighbors: choose "
                "another one."
            )
        other = np.argsort(np.where(np.arange(len(r)) == self.atom, -1.0, r), kind="stable")[
            self.neighbor
        ]
        return plots.neighbor_figure(self.atoms, self.atom, self.cutoff, int(other), self.basis)

    def still(self) -> str:
        title = f"Atom {self.atom} sees {len(self.seen())} atoms within {self.cutoff:.1f} Å"
        return svg.molecule(self.atoms, highlight=self.seen(), center=self.atom, title=title)

    def _adjust(self, change) -> None:
        if change["name"] == "molecule":
            for name in ("atom", "neighbor"):  # a slider beyond its new end moves to it
                control = self.controls[name]
                control.max = max(control.min, len(self.atoms) - 1)


class FilterExplorer(Explorer):
    """The filters that a SchNet has learned, one at a time: as a curve over the distance, and
    around an atom.

    model: anything with `filter_curves(distances [R]) -> [layers, R, d]`, and with `cutoff` in Å
    unless one is given. State: layer and channel.
    """

    names = ("layer", "channel")
    layer = traitlets.Int()
    channel = traitlets.Int()

    def __init__(self, model, layer: int = 0, channel: int = 0, cutoff: float | None = None):
        self.model = model
        self.cutoff = float(cutoff or model.cutoff)
        self.layer = layer
        self.channel = channel
        layers, channels = self.curves().shape[::2]
        super().__init__(
            layer=_slider(widgets.IntSlider, "layer", layer, 0, layers - 1),
            channel=_slider(widgets.IntSlider, "channel", channel, 0, channels - 1),
        )

    def curves(self) -> np.ndarray:
        """All filters at 60 distances up to the cutoff: [layers, 60, channels]."""
        return array(self.model.filter_curves(tensor(np.linspace(0, self.cutoff, 60))))

    def picture(self) -> go.Figure:
        return plots.filter_figure(self.model, self.layer, self.channel, self.cutoff)

    def still(self) -> str:
        values = self.curves()[self.layer, :, self.channel]
        title = f"Layer {self.layer}, channel {self.channel}"
        return svg.filter_rings(np.linspace(0, self.cutoff, 60), values, title)

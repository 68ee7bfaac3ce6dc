"""The filters that a network has learned, one at a time."""

from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import traitlets

from scdlab.analysis.inputs import array, tensor
from scdlab.explore import svg_charts
from scdlab.explore.changes import Changes
from scdlab.explore.controls import Bounds, check_bounds
from scdlab.explore.filter_plots import filter_changes, filter_figure
from scdlab.explore.inputs import Whole, in_short
from scdlab.explore.widgets import FigureExplorer


class FilterExplorer(FigureExplorer):
    """The filters that a SchNet has learned, one at a time: as a curve over the distance, and
    around an atom.

    Parameters
    ----------
    model : object
        Anything with `filter_curves(distances [R]) -> [layers, R, d]`, and with `cutoff` in Å
        unless one is given.
    layer, channel : int, default 0
        The state at first.
    cutoff : float, optional
        In Å.
    """

    names = ("layer", "channel")
    layer = Whole()
    channel = Whole()
    _in_bounds = traitlets.validate("layer", "channel")(check_bounds)

    def __init__(self, model: Any, layer: int = 0, channel: int = 0, cutoff: float | None = None):
        if isinstance(model, type) or not callable(getattr(model, "filter_curves", None)):
            raise ValueError(
                "FilterExplorer shows filters that depend on the distance, such as those of "
                f"scdlab.SchNet, got {in_short(model)}."
            )
        reach: Any = getattr(model, "cutoff", None) if cutoff is None else cutoff
        number = isinstance(reach, (int, float)) and not isinstance(reach, bool)
        if not number or not 0 < reach < np.inf:
            raise ValueError(
                f"The explorer's cutoff must be a positive distance in Å, got {in_short(reach)}."
            )
        self.model = model
        self.cutoff = float(reach)
        self._shape = self.curves().shape[::2]
        layers, channels = self._shape
        self.layer = layer
        self.channel = channel
        row = dict(style={"description_width": "90px"}, layout=widgets.Layout(width="380px"))
        super().__init__(
            layer=widgets.IntSlider(layer, 0, layers - 1, description="block", **row),
            channel=widgets.IntSlider(channel, 0, channels - 1, description="channel", **row),
        )

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
        return Bounds(0, self._shape[name == "channel"] - 1)

    def curves(self) -> np.ndarray:
        """All filters at 60 distances up to the cutoff: [layers, 60, channels]."""
        return array(self.model.filter_curves(tensor(np.linspace(0, self.cutoff, 60))))

    def picture(self) -> go.Figure:
        """The chosen filter."""
        return filter_figure(self.model, self.layer, self.channel, self.cutoff)

    def changes(self) -> Changes:
        """What the figure owes to the state."""
        return filter_changes(self.model, self.layer, self.channel, self.cutoff)

    def to_svg(self) -> str:
        """The chosen filter, as rings around an atom."""
        values = self.curves()[self.layer, :, self.channel]
        title = f"Block {self.layer}, channel {self.channel}"
        return svg_charts.filter_rings(np.linspace(0, self.cutoff, 60), values, title)

"""What a widget changes of a plotly figure that is drawn already."""

from typing import Any, NamedTuple


class Changes(NamedTuple):
    """What a figure owes to the state of its widget.

    Attributes
    ----------
    traces : list of dict
        For each trace, name of a property -> its value.
    layout : dict
        The same of the layout.
    """

    traces: list[dict[str, Any]]
    layout: dict[str, Any]

    def put_into(self, figure: Any) -> None:
        """Change a figure in place.

        Parameters
        ----------
        figure : plotly.graph_objects.Figure
            A figure with as many traces.
        """
        for trace, data in zip(figure.data, self.traces, strict=True):
            trace.update(data)
        figure.layout.update(self.layout)

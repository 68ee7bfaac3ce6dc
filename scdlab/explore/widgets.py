"""The base of all widgets: state in traits, pictures from pure functions, and nothing hidden in
between.

A slider and a line of Python change the same trait, the trait's observer draws, so a test needs no
browser:

    explorer = NeighborExplorer(store)
    explorer.cutoff = 1.2
    explorer.state()        # {"molecule": 0, "atom": 0, "cutoff": 1.2, "neighbor": 1, "sees": 4}

An error while drawing is shown in the widget and raised again: neither the reader nor the lesson
runner can miss it.
"""

import abc
import contextlib
import html
import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets
import plotly.graph_objects as go
import traitlets

from scdlab.explore import svg
from scdlab.explore.changes import Changes
from scdlab.explore.controls import SIGMA_BOUNDS, Bounds, steps_of
from scdlab.explore.menus import Menus
from scdlab.explore.words import DESCRIPTION, error_text, labeled, lines_table, unseen

PLOTLY = "application/vnd.plotly.v1+json"
KEPT = 300  # results that a widget keeps


class _AbstractWidget(abc.ABCMeta, traitlets.MetaHasTraits):
    """The metaclass of a widget with abstract methods."""


class Explorer(widgets.VBox, metaclass=_AbstractWidget):
    """A picture and its controls: the base of the kit's widgets.

    A subclass declares its state as traits, lists them in `names`, sets them before it calls
    `__init__` with one control per trait, and defines `picture`, `to_svg`, `make_drawing` and
    `redraw`; `FigureExplorer` and `SvgExplorer` have the latter two. What costs something goes
    through `remember`, and a state that is drawn already is not drawn again.

    Parameters
    ----------
    **controls : ipywidgets.Widget
        Name of a trait -> its control.

    Attributes
    ----------
    controls : dict
        The controls by name.
    message : ipywidgets.HTML
        An error, or what cannot be shown.
    words : ipywidgets.HTML
        The numbers in words, for subclasses with `lines`.
    described_as : str
        The alternative text that `describe` gave to the present state.
    """

    names: ClassVar[tuple[str, ...]] = ()
    sliding: ClassVar[tuple[str, ...]] = ()  # traits between the points of their slider's grid
    refusing: ClassVar[tuple[str, ...]] = ()  # traits whose control goes back if a value is refused
    words_style: ClassVar[str] = "line-height: 1.35"

    _kept = traitlets.Instance(OrderedDict, ())
    _drawn: tuple[Any, ...] | None = None  # the state that is drawn; None: draw whatever comes
    _waiting = False
    described_as = ""
    _unseen: widgets.HTML | None = None  # what screen readers find before the widget

    def __init__(self, **controls: Any):
        self.controls = controls
        self.message = widgets.HTML()
        self.words = widgets.HTML()
        self.drawing: Any = self.make_drawing()
        super().__init__([*self.lay_out(), Menus()])
        for name, control in controls.items():
            self._link(name, control)
        self.observe(self._changed, names=list(self.names))
        self.show_words()
        self.message.value = self.notes()
        self._drawn = self.key()

    # ----------------------------------------------------------------------------------------------
    # what a subclass defines

    @abc.abstractmethod
    def picture(self) -> Any:
        """The picture of the present state."""

    @abc.abstractmethod
    def to_svg(self) -> str:
        """A small svg of the present state, for places without a kernel."""

    @abc.abstractmethod
    def make_drawing(self) -> Any:
        """The widget that holds the picture."""

    @abc.abstractmethod
    def redraw(self) -> None:
        """Bring the drawing to the present state."""

    def lay_out(self) -> list[widgets.Widget]:
        """The children of the widget, from the top: controls, message, picture."""
        row = widgets.HBox(
            list(self.controls.values()), layout=widgets.Layout(flex_flow="row wrap")
        )
        return [row, self.message, self.drawing]

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        return []

    def notes(self) -> str:
        """Remarks on the present state, as html; empty where all is well."""
        return ""

    def adjust(self, change: traitlets.Bunch) -> None:
        """Called before drawing, with what has changed: where one trait sets the bounds of another.

        Parameters
        ----------
        change : traitlets.Bunch
            As traitlets gives it to an observer.
        """

    def bounds(self, name: str) -> Bounds:
        """What values a trait may have that `check_bounds` checks.

        Parameters
        ----------
        name : str
            The trait.

        Returns
        -------
        Bounds
            Its ends.

        Raises
        ------
        KeyError
            For a trait without bounds.
        """
        if name == "sigma":
            return SIGMA_BOUNDS
        if name == "seed":
            return Bounds(0, 99)
        raise KeyError(
            f"{type(self).__name__}.bounds must cover every trait of a slider, got {name!r}: add "
            "it there."
        )

    def choices(self, name: str) -> Sequence[str]:
        """What values a trait may have that `check_choice` checks.

        Parameters
        ----------
        name : str
            The trait.

        Returns
        -------
        sequence of str
            All of them.

        Raises
        ------
        KeyError
            For a trait without choices.
        """
        raise KeyError(
            f"{type(self).__name__}.choices must cover every trait that `check_choice` checks, got "
            f"{name!r}: add it there."
        )

    def on_grid(self, name: str, value: float) -> float:
        """The value of a trait that a slider's value stands for.

        Parameters
        ----------
        name : str
            The trait.
        value : float
            The slider's value.

        Returns
        -------
        float
            By default the same.
        """
        return value

    def notice(self, name: str) -> str:
        """What is shown while a value chosen for one of the traits `refusing` is computed.

        Parameters
        ----------
        name : str
            The trait.

        Returns
        -------
        str
            As html; empty by default: the message stays as it is.
        """
        return ""

    # ----------------------------------------------------------------------------------------------
    # what it has

    def state(self) -> dict[str, Any]:
        """The state, as plain values.

        Returns
        -------
        dict
            The traits by name; subclasses add every number displayed.
        """
        return {name: getattr(self, name) for name in self.names}

    def key(self) -> tuple[Any, ...]:
        """The traits' values in the order of `names`: equal keys, equal pictures."""
        return tuple(getattr(self, name) for name in self.names)

    def remember(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """make(), computed once: the last 300 results are kept.

        Parameters
        ----------
        key : hashable
            All that the result depends on.
        make : callable
            Computes it.

        Returns
        -------
        object
            The result. Do not change it.
        """
        if key not in self._kept:
            self._kept[key] = make()
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def forget(self) -> None:
        """Drop all that is kept."""
        self._kept.clear()

    def refresh(self) -> None:
        """Compute everything anew: after training a model further."""
        self.forget()
        self._drawn = None
        self._changed(traitlets.Bunch(name="model"))

    def show_words(self) -> None:
        """Write the numbers in words."""
        self.words.value = lines_table(self.lines(), self.words_style)

    def text_lines(self) -> list[str]:
        """The numbers in words as lines "what: text"."""
        return [f"{what}: {text}" for what, text in self.lines()]

    def describe(self, text: str) -> None:
        """Give the present state an alternative text, for readers who do not see the picture.

        In another state they find the numbers in words instead.

        Parameters
        ----------
        text : str
            The picture and its finding, in one to three sentences.
        """
        self.described_as = text
        if self._unseen is None:
            self._unseen = widgets.HTML(layout=widgets.Layout(height="0", margin="0"))
            self.children = (self._unseen, *self.children)
        self._unseen.value = unseen(text)

    def _describe_change(self) -> None:
        """What was said of an earlier state gives way to the numbers of this one."""
        self.described_as = ""
        if self._unseen is not None:
            self._unseen.value = unseen("; ".join(self.text_lines()))

    @property
    def words_text(self) -> str:
        """The numbers in words, without their layout."""
        return "".join(what + text for what, text in self.lines())

    @contextlib.contextmanager
    def without_drawing(self) -> Iterator[None]:
        """Within this context traits change and nothing is drawn; draw afterwards."""
        waiting = self._waiting
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = waiting

    def _link(self, name: str, control: Any) -> None:
        """Tie a control to its trait, both ways."""
        if name in self.sliding:
            take = self._take_slid
        elif name in self.refusing:
            take = self._take_chosen
        else:
            traitlets.link((self, name), (control, "value"))
            return
        control.observe(lambda change: take(name, control, change["new"]), names=["value"])
        self.observe(lambda change: control.set_trait("value", change["new"]), names=[name])

    def _take_slid(self, name: str, control: Any, value: float) -> None:
        """A browser moves a slider that was set from Python onto its grid, and reports that: it is
        no move."""
        steps = steps_of(control, value) - steps_of(control, getattr(self, name))
        if abs(steps) > 0.51:
            with self._showing_refusals():
                setattr(self, name, self.on_grid(name, value))

    def _take_chosen(self, name: str, control: Any, value: Any) -> None:
        """A value that is refused is shown as an error, and the control goes back to what is
        shown."""
        if value == getattr(self, name):
            return
        if notice := self.notice(name):
            self.message.value = notice
        with self._showing_refusals():
            try:
                setattr(self, name, value)
            except ValueError:
                control.value = getattr(self, name)
                raise

    @contextlib.contextmanager
    def _showing_refusals(self) -> Iterator[None]:
        """What is refused within this context is shown as well."""
        try:
            yield
        except ValueError as error:
            words = html.escape(str(error))
            if words not in self.message.value:  # a picture that failed is shown already
                self.message.value = error_text(words)
            raise

    def _changed(self, change: traitlets.Bunch) -> None:
        if self._waiting or self.key() == self._drawn:  # traits set together are drawn once
            return
        self._drawn = None  # what failed is drawn again, whatever comes next
        try:
            with self.without_drawing():
                self.adjust(change)
            self.redraw()
            self.show_words()
        except Exception as error:
            words = html.escape(f"{type(error).__name__}: {error}")
            self.message.value = error_text(f"This picture failed: {words}")
            raise
        self._drawn = self.key()
        self._describe_change()
        self.message.value = self.notes()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget, and its svg for places without a kernel."""
        live: Any = super()._repr_mimebundle_(**kwargs)
        about = {DESCRIPTION: self.described_as} if self.described_as else {}
        return live | svg.still_picture(lambda: labeled(self.to_svg(), self.described_as)) | about


class FigureExplorer(Explorer):
    """An Explorer whose `picture` is a plotly figure, with the same traces in every state.

    Parameters
    ----------
    **controls : ipywidgets.Widget
        Name of a trait -> its control.
    """

    @property
    def figure(self) -> Any:
        """The live figure, a `plotly.graph_objects.FigureWidget`."""
        return self.drawing

    @abc.abstractmethod
    def picture(self) -> go.Figure:
        """The figure of the present state."""

    def make_drawing(self) -> go.FigureWidget:
        """The live figure, as it is at first."""
        return go.FigureWidget(self.picture())

    def changes(self) -> Changes:
        """What the figure owes to the state.

        By default all data of `picture`, its title, and the titles and ranges of its axes. To make
        a figure takes plotly several times as long as to change one: a subclass that names what
        changes answers sooner.
        """
        new: Any = self.picture()
        layout: dict[str, Any] = {"title_text": new.layout.title.text}
        for axis in (*new.select_xaxes(), *new.select_yaxes()):
            own = {"title_text": axis.title.text}
            layout[axis.plotly_name] = own if axis.range is None else own | {"range": axis.range}
        return Changes([trace.to_plotly_json() for trace in new.data], layout)

    def redraw(self) -> None:
        """Change the figure in place."""
        changes = self.changes()  # what may fail, before anything changes
        with self.figure.batch_update():  # one message to the browser
            changes.put_into(self.figure)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget; and for places without a kernel the same figure, and a small svg."""
        still = json.loads(self.figure.to_json())
        if self.described_as:
            layout = still["layout"]
            layout["meta"] = (layout.get("meta") or {}) | {"alt": self.described_as}
        return super()._repr_mimebundle_(**kwargs) | {PLOTLY: still}


class SvgExplorer(Explorer):
    """An Explorer whose `picture` is svg text: no FigureWidget, which is 5 MB in a page.

    Parameters
    ----------
    **controls : ipywidgets.Widget
        Name of a trait -> its control.
    """

    @abc.abstractmethod
    def picture(self) -> str:
        """The picture of the present state, as svg text."""

    def make_drawing(self) -> widgets.HTML:
        """A place for the svg."""
        return widgets.HTML(self.picture())

    def to_svg(self) -> str:
        """The picture."""
        return self.picture()

    def redraw(self) -> None:
        """Replace the svg."""
        self.drawing.value = self.picture()

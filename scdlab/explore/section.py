"""A place in a page, or in a tab, for one panel of a bench."""

import html
import re
from typing import Any

import ase
import ipywidgets as widgets

from scdlab.explore import svg
from scdlab.explore.committee import Committee
from scdlab.explore.downloads import live_structure
from scdlab.explore.words import DESCRIPTION, STRUCTURE, labeled, unseen

REASON_WIDTH = 760  # pixels of a still picture that says why a panel has none


class Section(widgets.VBox):
    """A place for one panel of a bench: the panel, or why there is none.

    Attributes
    ----------
    panel : widget or None
        What is shown.
    structure : str
        What the panel shows, as an address of the live page names it.
    described_as : str
        The alternative text that `describe` gave.
    """

    structure = ""
    described_as = ""

    def __init__(self):
        self.panel: Any = None
        self._unseen = widgets.HTML(layout=widgets.Layout(height="0", margin="0"))
        super().__init__([self._unseen])

    def put(self, panel: Any, atoms: ase.Atoms) -> None:
        """Show another panel, and close the one before.

        Parameters
        ----------
        panel : widget
            The panel.
        atoms : ase.Atoms
            The structure that it shows.
        """
        before = self.panel
        self.panel = panel
        self.structure = live_structure(atoms)
        self.described_as = ""
        self._unseen.value = ""
        self.children = (self._unseen, panel)
        if before is not None:
            _close(before)

    def describe(self, text: str) -> None:
        """Give what is shown an alternative text; it lasts until another panel is shown.

        Parameters
        ----------
        text : str
            The picture and its finding, in one to three sentences.
        """
        self.described_as = text
        self._unseen.value = unseen(text)

    def to_svg(self) -> str:
        """The panel as a still picture; empty where it has none."""
        inner = self.panel.explorer if isinstance(self.panel, Committee) else self.panel
        return inner.to_svg() if hasattr(inner, "to_svg") else ""

    def still(self) -> str:
        """The panel as a still picture with its alternative text; the reason where it has none."""
        if picture := self.to_svg():
            return labeled(picture, self.described_as)
        reason = html.unescape(re.sub(r"<[^>]*>", "", getattr(self.panel, "value", ""))).strip()
        return svg.stack([svg.document(REASON_WIDTH, 4, [])], [reason])

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget, and its svg for places without a kernel."""
        live: Any = super()._repr_mimebundle_(**kwargs)
        about = {DESCRIPTION: self.described_as} if self.described_as else {}
        return live | svg.still_picture(self.still) | about | {STRUCTURE: self.structure}


def _close(widget: Any) -> None:
    """Close a widget and all that it holds."""
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()

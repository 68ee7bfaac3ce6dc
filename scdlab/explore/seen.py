"""Which atoms of a structure lie outside of what each network has seen: a cell for each atom and
network, and the atoms outside marked on the structure. The numbers are those of
`analysis/seen.py`."""

from collections.abc import Mapping
from typing import Any

import ase
import ipywidgets as widgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike

from scdlab.explore import style, svg, svg_charts
from scdlab.explore.controls import check_choice
from scdlab.explore.inputs import Text
from scdlab.explore.style import CONTROL_WIDTH, PLOTS_WIDTH, VIEW_WIDTH
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import SvgExplorer


class SeenExplorer(SvgExplorer):
    """Distances of atoms to the nearest training atom, for several networks.

    State, in one trait: model (a name: whose verdict is drawn on the structure). `state()` adds
    farthest (its largest distance in units of what is usual) and outside (the atoms above 1).

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.
    distances : mapping
        Name of a network -> distances [n] in units of what is usual; at least one.
    remarks : sequence of str, optional
        Sentences shown below.
    model : str, optional
        The state at first.

    Raises
    ------
    ValueError
        For no distances.
    """

    names = ("model",)
    words_style = f"line-height: 1.35; max-width: {VIEW_WIDTH + PLOTS_WIDTH}px"
    model = Text()
    _is_choice = traitlets.validate("model")(check_choice)

    def __init__(
        self,
        atoms: ase.Atoms,
        distances: Mapping[str, ArrayLike],
        remarks: tuple[str, ...] = (),
        *,
        model: str | None = None,
    ):
        if not distances:
            raise ValueError(
                "No network has seen all elements of this structure. " + " ".join(remarks)
            )
        self.atoms = atoms
        self.distances = {name: np.asarray(d, float) for name, d in distances.items()}
        self.remarks = tuple(remarks)
        self.model = model if model in self.distances else next(iter(self.distances))
        self.view = MoleculeView(
            atoms, title=self._title(), size=(VIEW_WIDTH, 330), labels=True, marked=self.marks()
        )
        row = dict(
            style={"description_width": "70px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        super().__init__(
            model=widgets.Dropdown(
                options=list(self.distances), value=self.model, description="model", **row
            )
        )

    def lay_out(self) -> list[widgets.Widget]:
        """The control above, structure and cells side by side, the numbers in words below."""
        wrap = widgets.Layout(flex_flow="row wrap")
        both = widgets.HBox([self.view, self.drawing], layout=wrap)
        return [self.controls["model"], self.message, both, self.words]

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
        return list(self.distances)

    def outside(self) -> list[int]:
        """The atoms that lie outside of what the network has seen."""
        return np.flatnonzero(self.distances[self.model] > 1).tolist()

    def marks(self) -> dict[str, list[int]]:
        """What is marked on the structure, as `view_molecule` takes it."""
        return {"outside of what it has seen": self.outside()}

    def state(self) -> dict[str, Any]:
        """The trait, and every number displayed.

        Returns
        -------
        dict
            Plain values by name.
        """
        own = self.distances[self.model]
        return super().state() | {
            "formula": self.atoms.get_chemical_formula(),
            "farthest": float(own.max()),
            "farthest_atom": int(own.argmax()),
            "outside": self.outside(),
        }

    def picture(self) -> str:
        """A cell for each network and atom."""
        names = list(self.distances)
        values = np.stack([np.minimum(self.distances[name], 3.0) for name in names])
        return svg_charts.heat_map(
            1 - values,
            [f"▸ {name}" if name == self.model else name for name in names],
            "Atoms, by how far they are from what each network has seen",
            f"{len(self.atoms)} atoms, in their order; 0 is the edge of what is usual",
            0.0,
            1.0,
            ("outside", "inside"),
            PLOTS_WIDTH,
            150,
        )

    def to_svg(self) -> str:
        """The structure with its marks, the cells, and the numbers in words."""
        return svg.stack([self.view.to_svg(), self.picture()], self.text_lines())

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        values = self.state()
        name = self._named(values["farthest_atom"])
        atoms = ", ".join(map(self._named, values["outside"]))
        n = len(values["outside"])
        verdict = f"{n} of {len(self.atoms)} atoms lie outside: {atoms}" if n else "no atom"
        far = f"{name}, {values['farthest']:.2f} times what is usual"
        lines = [(f"outside for {self.model}", verdict), ("farthest", far)]
        return [*lines, *(("cannot answer", why) for why in self.remarks)]

    def redraw(self) -> None:
        """Change picture and view in place."""
        self.drawing.value = self.picture()
        self.view.show(self.atoms, title=self._title(), marked=self.marks())

    def _named(self, k: int) -> str:
        return f"{style.symbol(self.atoms.numbers[k])}{k}"

    def _title(self) -> str:
        return f"{self.atoms.get_chemical_formula()}, seen by {self.model}"

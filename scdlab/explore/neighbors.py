"""What one atom of a molecule sees."""

from typing import Any

import ase
import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import traitlets

from scdlab.explore import svg
from scdlab.explore.molecule_plots import neighbor_figure
from scdlab.explore.widgets import FigureExplorer
from scdlab.nn.blocks.radial import GaussianBasis


class NeighborExplorer(FigureExplorer):
    """What one atom of a molecule sees: its neighbors within a cutoff, and one distance in a basis
    of Gaussians.

    State, in traits: molecule and atom (indices), cutoff in Å, and neighbor: which distance is
    expanded, by rank (1 = nearest).

    Parameters
    ----------
    store : AtomStore
        Molecules of at least two atoms; the first 1,000 can be chosen.
    molecule, atom : int, default 0
        The state at first.
    cutoff : float, default 2.0
        In Å.
    neighbor : int, default 1
        By rank.
    num_rbf : int, default 20
        Number of Gaussians.
    """

    names = ("molecule", "atom", "cutoff", "neighbor")
    molecule = traitlets.Int()
    atom = traitlets.Int()
    neighbor = traitlets.Int()
    cutoff = traitlets.Float()

    def __init__(
        self,
        store: Any,
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
        row = dict(style={"description_width": "90px"}, layout=widgets.Layout(width="380px"))
        super().__init__(
            molecule=widgets.IntSlider(
                molecule, 0, min(len(store), 1000) - 1, description="molecule", **row
            ),
            atom=widgets.IntSlider(atom, 0, last, description="atom", **row),
            cutoff=widgets.FloatSlider(
                cutoff,
                min=0.5,
                max=6.0,
                step=0.1,
                description="cutoff (Å)",
                readout_format=".1f",
                **row,
            ),
            neighbor=widgets.IntSlider(neighbor, 1, last, description="neighbor", **row),
        )

    @property
    def atoms(self) -> ase.Atoms:
        """The chosen molecule."""
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

    def state(self) -> dict[str, Any]:
        """The traits, and how many atoms the chosen one sees.

        Returns
        -------
        dict
            Plain values by name.
        """
        return super().state() | {"sees": len(self.seen())}

    def picture(self) -> go.Figure:
        """The figure of the present state.

        Returns
        -------
        plotly.graph_objects.Figure
            The molecule and the filters of the chosen pair.

        Raises
        ------
        ValueError
            For a molecule of a single atom.
        """
        r = self.distances()
        if len(r) < 2:
            raise ValueError(
                f"Molecule {self.molecule} is a single atom, which has no neighbors: choose "
                "another one."
            )
        ranked = np.argsort(np.where(np.arange(len(r)) == self.atom, -1.0, r), kind="stable")
        other = int(ranked[self.neighbor])
        return neighbor_figure(self.atoms, self.atom, self.cutoff, other, self.basis)

    def to_svg(self) -> str:
        """The molecule, with the atoms that the chosen one sees."""
        title = f"Atom {self.atom} sees {len(self.seen())} atoms within {self.cutoff:.1f} Å"
        return svg.molecule(self.atoms, highlight=self.seen(), center=self.atom, title=title)

    def adjust(self, change: traitlets.Bunch) -> None:
        """Another molecule: sliders of atoms end at its last one.

        Parameters
        ----------
        change : traitlets.Bunch
            What has changed.
        """
        if change["name"] == "molecule":
            for name in ("atom", "neighbor"):  # a slider beyond its new end moves to it
                control = self.controls[name]
                control.max = max(control.min, len(self.atoms) - 1)

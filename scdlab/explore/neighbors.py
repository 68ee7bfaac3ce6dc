"""What one atom of a molecule sees."""

from typing import Any

import ase
import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import traitlets
from ase.neighborlist import neighbor_list

from scdlab.explore import svg
from scdlab.explore.changes import Changes
from scdlab.explore.controls import Bounds, check_bounds
from scdlab.explore.inputs import Number, Whole, checked_store
from scdlab.explore.molecule_plots import neighbor_changes, neighbor_figure
from scdlab.explore.widgets import FigureExplorer
from scdlab.nn.blocks.radial import GaussianBasis

SHORTEST = 0.5  # Å, of the cutoff …
REACH = 6.0  # … and its longest


class NeighborExplorer(FigureExplorer):
    """What one atom of a molecule or crystal sees: its neighbors within a cutoff, and one distance
    in a basis of Gaussians.

    State, in traits: molecule and atom (indices), cutoff in Å, and neighbor: which distance is
    expanded, by rank (1 = nearest). Of a periodic structure it shows what is within 6 Å of the
    atom, periodic images included.

    Parameters
    ----------
    store : AtomStore
        Structures in which atoms have others beside them; the first 1,000 can be chosen.
    molecule, atom : int, default 0
        The state at first.
    cutoff : float, default 2.0
        In Å.
    neighbor : int, default 1
        By rank.
    num_rbf : int, default 20
        Number of Gaussians.

    Raises
    ------
    ValueError
        For a single atom without neighbors, and for what no slider reaches.
    """

    names = ("molecule", "atom", "cutoff", "neighbor")
    molecule = Whole()
    atom = Whole()
    neighbor = Whole()
    cutoff = Number()
    _in_bounds = traitlets.validate("molecule", "atom", "neighbor", "cutoff")(check_bounds)

    def __init__(
        self,
        store: Any,
        molecule: int = 0,
        atom: int = 0,
        cutoff: float = 2.0,
        neighbor: int = 1,
        num_rbf: int = 20,
    ):
        self.store = checked_store(store, "NeighborExplorer")
        self.basis = GaussianBasis(num_rbf, 0.0, 5.0)
        self.molecule = molecule
        self.atom = atom
        self.cutoff = cutoff
        self.neighbor = neighbor
        others = int(self.bounds("neighbor").high)
        row = dict(style={"description_width": "90px"}, layout=widgets.Layout(width="380px"))
        super().__init__(
            molecule=widgets.IntSlider(
                molecule, 0, int(self.bounds("molecule").high), description="molecule", **row
            ),
            atom=widgets.IntSlider(
                atom, 0, int(self.bounds("atom").high), description="atom", **row
            ),
            cutoff=widgets.FloatSlider(
                cutoff,
                min=SHORTEST,
                max=REACH,
                step=0.1,
                description="cutoff (Å)",
                readout_format=".1f",
                **row,
            ),
            neighbor=widgets.IntSlider(neighbor, 1, others, description="neighbor", **row),
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

        Raises
        ------
        ValueError
            For a neighbor of an atom that has none.
        """
        if name == "molecule":
            return Bounds(0, min(len(self.store), 1000) - 1, ", rows of the store")
        if name == "atom":
            return Bounds(0, len(self._structure()) - 1)
        if name == "cutoff":
            return Bounds(SHORTEST, REACH, " Å", 1e-6)
        others = len(self.atoms) - 1
        if others < 1:
            periodic = self._structure().pbc.any()
            lone = f"has no other atom within {REACH:g} Å" if periodic else "is a single atom"
            raise ValueError(
                f"Structure {self.molecule} {lone}, so that there are no neighbors: choose another "
                "one."
            )
        return Bounds(1, others)

    def _structure(self) -> ase.Atoms:
        row = self.molecule
        return self.remember(("structure", row), lambda: self.store.to_ase(row))

    @property
    def atoms(self) -> ase.Atoms:
        """The chosen molecule; of a periodic structure the chosen atom and what is within 6 Å."""
        atoms = self._structure()
        if not atoms.pbc.any():
            return atoms
        return self.remember(
            ("surroundings", self.molecule, self.atom), lambda: _surroundings(atoms, self.atom)
        )

    @property
    def center(self) -> int:
        """Index of the chosen atom in `atoms`."""
        return 0 if self._structure().pbc.any() else self.atom

    def distances(self) -> np.ndarray:
        """Distances [n] in Å from the chosen atom to all of `atoms`, itself included."""
        pos = self.atoms.get_positions()
        return np.linalg.norm(pos - pos[self.center], axis=1)

    def seen(self) -> np.ndarray:
        """Indices in `atoms` of those within the cutoff."""
        near = self.distances() <= self.cutoff
        near[self.center] = False
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
        return neighbor_figure(*self._shown())

    def changes(self) -> Changes:
        """What the figure owes to the state."""
        return neighbor_changes(*self._shown())

    def _shown(self) -> tuple[ase.Atoms, int, float, int, GaussianBasis]:
        """The arguments of the figure."""
        self.bounds("neighbor")  # there is one
        r = self.distances()
        ranked = np.argsort(np.where(np.arange(len(r)) == self.center, -1.0, r), kind="stable")
        other = int(ranked[self.neighbor])
        return self.atoms, self.center, self.cutoff, other, self.basis

    def to_svg(self) -> str:
        """The molecule, with the atoms that the chosen one sees."""
        title = f"Atom {self.atom} sees {len(self.seen())} atoms within {self.cutoff:.1f} Å"
        return svg.molecule(self.atoms, highlight=self.seen(), center=self.center, title=title)

    def adjust(self, change: traitlets.Bunch) -> None:
        """Another molecule: sliders of atoms end at its last one.

        Parameters
        ----------
        change : traitlets.Bunch
            What has changed.
        """
        if change["name"] in ("molecule", "atom"):
            for name in ("atom", "neighbor"):  # a slider beyond its new end moves to it
                self.controls[name].max = int(self.bounds(name).high)


def _surroundings(atoms: ase.Atoms, center: int) -> ase.Atoms:
    """One atom of a periodic structure, and all within `REACH` of it, as a molecule."""
    i, j, vectors = neighbor_list("ijD", atoms, REACH)
    own = i == center
    numbers = np.append(atoms.numbers[center], atoms.numbers[j[own]])
    return ase.Atoms(numbers, np.concatenate([np.zeros((1, 3)), vectors[own]]))

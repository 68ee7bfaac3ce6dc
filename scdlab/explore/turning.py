"""A structure that is rotated before a network: its energy as it is, averaged in three ways
(`analysis/averages.py`), and its symmetry report as it is and within ECSE."""

from typing import Any

import ase
import ipywidgets as widgets
import numpy as np
import traitlets

from scdlab.analysis.averages import AveragedEnergies
from scdlab.analysis.inputs import bare_copy
from scdlab.analysis.rotation import STEP, rotated, rotation_error, turn_angles
from scdlab.explore import svg, svg_curves
from scdlab.explore.controls import Bounds, check_bounds, plain_number
from scdlab.explore.frame_pictures import METHODS
from scdlab.explore.inputs import Number
from scdlab.explore.style import CONTROL_WIDTH, PLOTS_WIDTH, VIEW_WIDTH
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import SvgExplorer
from scdlab.symmetry.report import symmetry_report

LAWS = ("rotation", "reflection", "translation", "permutation")
REPORTED = {"raw": "as it is", "ecse": "within ECSE"}


class TurnExplorer(SvgExplorer):
    """A network's energy while a structure is rotated, as it is and averaged in three ways.

    State, in one trait: rotation (degrees about the axis (1, 2, 3)). `state()` adds for each of
    "raw", "rotations", "pca" and "ecse" energy_NAME (meV from 0 degrees) and spread_NAME (meV over
    the full rotation), and for each law of the symmetry report LAW_raw and LAW_ecse.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.
    model : AtomisticModel
        A network that is not symmetric by itself, such as a PET.
    name : str, default "PET"
        What it is called.
    rotation : float, default 0
        The state at first.

    Raises
    ------
    ValueError
        For elements that the network was not trained on, and for a periodic structure.
    """

    names = ("rotation",)
    sliding = ("rotation",)
    words_style = f"line-height: 1.35; max-width: {VIEW_WIDTH + PLOTS_WIDTH}px"
    rotation = Number(0.0)
    _in_bounds = traitlets.validate("rotation")(check_bounds)

    def __init__(self, atoms: ase.Atoms, model: Any, name: str = "PET", *, rotation: float = 0.0):
        self.atoms = atoms
        self.name = name
        averaged = AveragedEnergies(model, atoms)
        methods: dict[str, Any] = averaged.methods
        self.angles = turn_angles()
        self.energies = {key: 1e3 * (e - e[0]) for key, e in averaged.turn(atoms.positions).items()}
        self.reports = {
            key: symmetry_report(methods[key], atoms, n_rotations=2, laws=LAWS) for key in REPORTED
        }
        self.rotation = rotation
        self.view = MoleculeView(self.shown, title=self._title(), size=(VIEW_WIDTH, 330))
        row = dict(
            style={"description_width": "90px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        turn = dict(min=0, max=360, step=STEP, readout_format=".0f", description="rotation (°)")
        super().__init__(rotation=widgets.FloatSlider(rotation, **turn, **row))

    def lay_out(self) -> list[widgets.Widget]:
        """The control above, structure and curves side by side, the numbers in words below."""
        wrap = widgets.Layout(flex_flow="row wrap")
        both = widgets.HBox([self.view, self.drawing], layout=wrap)
        return [self.controls["rotation"], self.message, both, self.words]

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
        return Bounds(0, 360, "", 1e-6)

    @property
    def shown(self) -> ase.Atoms:
        """The rotated structure."""
        atoms = bare_copy(self.atoms)
        atoms.positions = rotated(atoms.positions, self.rotation, atoms.positions.mean(0))
        return atoms

    def state(self) -> dict[str, Any]:
        """The trait, and every number displayed.

        Returns
        -------
        dict
            Plain values by name.
        """
        numbers: dict[str, Any] = {"formula": self.atoms.get_chemical_formula()}
        for key, e in self.energies.items():
            here = float(np.interp(self.rotation, self.angles, e))
            numbers[f"energy_{key}"] = plain_number(here)
            numbers[f"spread_{key}"] = rotation_error(e)
        for key, report in self.reports.items():
            numbers |= {f"{law}_{key}": error for law, error in report.as_dict().items()}
        return super().state() | numbers

    def picture(self) -> str:
        """The energies against the angle."""
        values = self.state()
        return svg_curves.curve_chart(
            {key: (self.angles, e) for key, e in self.energies.items()},
            self.rotation,
            {key: values[f"energy_{key}"] for key in self.energies},
            METHODS,
            "rotation (degrees)",
            "energy (meV)",
            f"{values['formula']} rotated before {self.name}",
            0,
            360,
            PLOTS_WIDTH,
        )

    def to_svg(self) -> str:
        """The structure, the curves, and the numbers in words."""
        return svg.stack([self.view.to_svg(), self.picture()], self.text_lines())

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        values = self.state()
        spreads = ", ".join(
            f"{METHODS[key][0]} {_two_digits(values[f'spread_{key}'])} meV" for key in self.energies
        )
        lines = [("in a full rotation", f"highest − lowest energy: {spreads}")]
        for law in LAWS:
            errors = [f"{words} {values[f'{law}_{key}']:.1e}" for key, words in REPORTED.items()]
            lines.append((law, f"largest relative error {', '.join(errors)}"))
        return lines

    def redraw(self) -> None:
        """Change picture and view in place."""
        self.drawing.value = self.picture()
        self.view.show(self.shown, title=self._title())

    def _title(self) -> str:
        return f"{self.atoms.get_chemical_formula()}, rotated by {self.rotation:.0f}°"


def _two_digits(value: float) -> str:
    """A number in two digits, and whole from 100 on: 190 instead of 1.9e+02."""
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.2g}"

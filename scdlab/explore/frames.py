"""Frames one can watch: an atom moves, the molecule rotates, and three ways to make a model's
energy invariant are compared.

A model that is not equivariant gives another energy when the molecule rotates. Averages over
frames mend that (`analysis/averages.py`): eight fixed rotations make it less wavy and never flat,
PCA frames make it flat, but it jumps, and ECSE makes it flat without a jump.

Two scans show which does what: E along a path of one atom (`analysis.paths_of`), and E while the
molecule rotates about a fixed skew axis (`analysis.turn_energies`). A *jump* is what is left of a
change in E when the path is cut ever finer (`analysis.refined`).

ECSE: S. Pozdnyakov and M. Ceriotti, NeurIPS 2023, arXiv:2305.19302.
"""

from collections.abc import Mapping
from typing import Any

import ase
import ipywidgets as widgets
import numpy as np
import traitlets
from ase.build import molecule
from numpy.typing import ArrayLike

from scdlab.analysis.averages import AveragedEnergies
from scdlab.analysis.rotation import STEP as TURN
from scdlab.analysis.rotation import rotated
from scdlab.analysis.scan import (
    BOND,
    LINE,
    STEPS,
    Path,
    Scan,
    atom_name,
    nearest_atom,
    paths_of,
    right_handed,
    weight_matrix,
)
from scdlab.explore import frame_curves, frame_pictures, structures, svg
from scdlab.explore.controls import Bounds, check_bounds, check_choice
from scdlab.explore.frame_numbers import energy_numbers, frame_numbers
from scdlab.explore.frame_words import MAX_NEIGHBORS, describe
from scdlab.explore.inputs import Number, Text, Whole, checked_vectors
from scdlab.explore.style import CONTROL_WIDTH, PLOTS_WIDTH, VIEW_WIDTH
from scdlab.explore.widgets import SvgExplorer
from scdlab.explore.words import lines_table
from scdlab.symmetry.frames import Frames

SKETCHED_TURN = 72  # degrees between the points of a first sketch


class FrameExplorer(SvgExplorer):
    """An atom that moves and a molecule that rotates: the frames that ECSE makes, and what four
    energies make of it.

    State, in traits: atom (that moves), path (a name), moved (Å along it), rotation (degrees about
    the axis (1, 2, 3)), center (the atom whose frames are drawn), and shows: "path" (E along the
    path) or "turn" (E while the molecule rotates in place). `state()` adds every number
    displayed, None for what is not there:

        formula, name, center_name     of the molecule, of the atom that moves, of the center
        coordinate                     the distance in Å or angle in degrees that the path changes
        neighbors, distances           of the center, nearest first, as far as ECSE looks
        inner, outer                   R_in and R_out in Å
        frames                         right-handed frames of the center, as the ECSE has them
        frames_before, frames_after    before pruning, and after `prunings_shown` (those of the
                                       ECSE; 4 if it has none)
        largest, auxiliary             the largest weight; w_aux, 1 where there is no frame
        energy_raw …                   eV of the structure that is shown
        spread_raw …, turned_at        highest − lowest energy in a full rotation, meV, with
                                       the atom displaced that far: the structure as given for
                                       "path", the one that is shown for "turn"
        jump_raw …, jump_at_raw …      the largest jump along the path in meV, and where, as
                                       coordinate
        step_raw …                     how large it is within 0.001 Å, in meV: a jump, or smooth but
                                       steep

    The curve along a path is of the molecule at rotation 0: an invariant energy stays on its curve
    when the molecule is rotated.

    Parameters
    ----------
    model : AtomisticModel or ECSE
        A backbone with an energy, such as a trained PET, or an ECSE of one.
    atoms : ase.Atoms, optional
        A molecule of 2 to 40 atoms; by default water.
    atom, path, moved, rotation, center, shows
        The state at first.
    paths : mapping, optional
        Name -> vector [3] in Å, further paths of the chosen atom (`analysis.paths_of`).

    Raises
    ------
    ValueError
        For another model, periodic structures, single atoms, and for what no slider reaches.
    """

    names = ("atom", "path", "moved", "rotation", "center", "shows")
    sliding = ("moved", "rotation")
    words_style = f"line-height: 1.35; max-width: {VIEW_WIDTH + PLOTS_WIDTH}px"
    atom = Whole()
    center = Whole()
    path = Text(BOND)
    shows = Text("path")
    moved = Number(0.0)
    rotation = Number(0.0)
    _in_bounds = traitlets.validate("atom", "center", "moved", "rotation")(check_bounds)
    _is_choice = traitlets.validate("path", "shows")(check_choice)

    def __init__(
        self,
        model: Any,
        atoms: ase.Atoms | None = None,
        *,
        atom: int | None = None,
        path: str | None = None,
        moved: float = 0.0,
        rotation: float = 0.0,
        center: int | None = None,
        shows: str = "path",
        paths: Mapping[str, ArrayLike] | None = None,
    ):
        self.atoms = structures.checked_molecule(molecule("H2O") if atoms is None else atoms)
        self.energies = AveragedEnergies(model, self.atoms)
        self._own = checked_vectors(paths, "paths of FrameExplorer")
        self.atom = len(self.atoms) - 1 if atom is None else atom
        neighbor = nearest_atom(self.atoms.positions, self.atom, [self.atom])
        self.center = neighbor if center is None else center
        self.path = (LINE if len(self.atoms) > 2 else BOND) if path is None else path
        self.shows = shows
        self.rotation = rotation
        self.moved = moved
        self.molecule = widgets.HTML(self.scene())
        super().__init__(**self._make_controls())

    def lay_out(self) -> list[widgets.Widget]:
        """Controls above, the molecule left, the plots right, the numbers in words below."""
        at = self.controls
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        rows = [
            widgets.HBox([at[name] for name in group], layout=wrap)
            for group in (("atom", "path", "moved"), ("center", "rotation", "shows"))
        ]
        plain = widgets.Layout(flex_flow="row wrap")
        both = widgets.HBox([self.molecule, self.drawing], layout=plain)
        return [*rows, self.message, both, self.words]

    def _make_controls(self) -> dict[str, Any]:
        row = dict(
            style={"description_width": "90px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        who = [(atom_name(self.atoms, k), k) for k in range(len(self.atoms))]
        shown = [("along the path", "path"), ("in a full turn", "turn")]
        menus = {
            "atom": ("atom to move", who),
            "path": ("path", list(self._paths())),
            "center": ("frames of", who),
            "shows": ("energy", shown),
        }
        controls: dict[str, Any] = {
            name: widgets.Dropdown(
                options=options, value=getattr(self, name), description=words, **row
            )
            for name, (words, options) in menus.items()
        }
        controls["path"].style.description_width = "40px"  # its names are long
        now = self._path()
        step = (now.high - now.low) / STEPS
        moved = dict(min=now.low, max=now.high, step=step, readout_format=".3f")
        controls["moved"] = widgets.FloatSlider(self.moved, description="moved (Å)", **moved, **row)
        turn = dict(min=0, max=360, step=TURN, readout_format=".0f")
        controls["rotation"] = widgets.FloatSlider(
            self.rotation, description="rotation (°)", **turn, **row
        )
        return {name: controls[name] for name in self.names}

    # ----------------------------------------------------------------------------------------------
    # the state

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
        if name == "moved":
            path = self._path()
            return Bounds(path.low, path.high, f" {self.path}", 1e-6)
        return Bounds(0, 360, "", 1e-6) if name == "rotation" else Bounds(0, len(self.atoms) - 1)

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
        return list(self._paths()) if name == "path" else ["path", "turn"]

    def positions(self) -> np.ndarray:
        """Where the atoms are: [n, 3] in Å."""
        return rotated(self._moved_by(self.moved), self.rotation, self.atoms.positions.mean(0))

    def frames(self, pruned: bool | None = None) -> Frames:
        """The frames of all atoms of the structure that is shown.

        Parameters
        ----------
        pruned : bool, optional
            Those after or before pruning; by default those of the ECSE.

        Returns
        -------
        Frames
            As `ECSE.frames` gives them.
        """
        prunings = self.energies.variant(pruned).prunings
        key = ("frames", prunings, self.atom, self.path, self.moved, self.rotation)
        return self.remember(key, lambda: self.energies.frames(self.positions(), pruned))

    def scans(self) -> dict[str, Scan]:
        """The energy along the path, at rotation 0.

        Returns
        -------
        dict
            Name of a method -> its scan.
        """
        return self.remember(
            self._key_of_scans(), lambda: self.energies.scan(self._path(), self.atom)
        )

    def turns(self) -> dict[str, np.ndarray]:
        """The energies [25] in eV at 0, 15 … 360 degrees, of the structure `turned_at`.

        Returns
        -------
        dict
            Name of a method -> its energies.
        """
        return self.remember(self._key_of_turns(), self._turned)

    def _turned(self, step: int = TURN) -> dict[str, np.ndarray]:
        return self.energies.turn(self._moved_by(self._turned_at()), step)

    def _computed(self) -> bool:
        """Whether all that is to be shown is kept from before."""
        return self._key_of_scans() in self._kept and self._key_of_turns() in self._kept

    def _shown_is_computed(self) -> bool:
        """Whether the curves are, the numbers in words aside."""
        key = self._key_of_scans() if self.shows == "path" else self._key_of_turns()
        return key in self._kept

    def _key_of_scans(self) -> tuple[Any, ...]:
        return ("scans", self.atom, self.path)

    def _key_of_turns(self) -> tuple[Any, ...]:
        at = self._turned_at()
        return ("turns", self.atom, self.path, at) if at else ("turns", "as given")

    def now(self) -> dict[str, float]:
        """The energy in eV of the structure that is shown, read off the curves where it is on one.

        Returns
        -------
        dict
            Name of a method -> its energy.
        """
        on_grid = (np.abs(self._path().grid - self.moved) < 1e-6).any()
        if self.shows == "path" and not self.rotation % 360 and on_grid:
            return {
                name: float(scan.e[np.abs(scan.t - self.moved).argmin()])
                for name, scan in self.scans().items()
            }
        if self._turned_at() == self.moved and not self.rotation % TURN:
            return {name: float(e[int(self.rotation // TURN)]) for name, e in self.turns().items()}
        key = ("now", self.atom, self.path, self.moved, self.rotation)
        return self.remember(key, lambda: self.energies.at(self.positions()))

    def state(self) -> dict[str, Any]:
        """The traits, and every number displayed.

        Returns
        -------
        dict
            Plain values by name; None for what is not there.
        """
        return dict(self.remember(("state", *self.key()), self._measure))

    def _measure(self) -> dict[str, Any]:
        energies = energy_numbers(self.now(), self.turns(), self.scans(), self._path())
        return self._measure_frames() | energies

    def _measure_frames(self) -> dict[str, Any]:
        """The state as far as it is known without energies."""
        path = self._path()
        frames = {pruned: self.frames(pruned) for pruned in (None, False, True)}
        values = {
            "formula": self.atoms.get_chemical_formula(),
            "name": atom_name(self.atoms, self.atom),
            "center_name": atom_name(self.atoms, self.center),
            "what": path.what,
            "unit": path.unit,
            "coordinate": float(path.read(self.moved)),
            "turned_at": float(self._turned_at()),
        }
        values |= frame_numbers(self.energies, frames, self.positions(), self.center)
        return super().state() | values

    def _paths(self) -> dict[str, Path]:
        return self.remember(
            ("paths", self.atom),
            lambda: paths_of(self.atoms, self.atom, self.energies.backbone.cutoff, self._own),
        )

    def _path(self) -> Path:
        return self._paths()[self.path]

    def _moved_by(self, t: float) -> np.ndarray:
        """Positions [n, 3] in Å of the molecule when the atom has moved by t in Å."""
        return self.energies.along(self._path(), self.atom, [t])[0]

    def _turned_at(self) -> float:
        return self.moved if self.shows == "turn" else 0.0

    def scene(self) -> str:
        """The molecule around the center, with its right-handed frames, R_in and R_out, as svg."""
        frames: Any = self.frames()
        atoms = self.atoms.copy()
        atoms.positions = self.positions()
        there = right_handed(frames, self.center)
        weights = frames.weights[there].cpu().numpy()
        axes = frames.axes[there].cpu().numpy()
        shares = weights / max(weights.sum(), 1e-300)
        inner = float(frames.inner_radius[self.center])
        outer = self.energies.ecse.outer_radius
        title = f"{self.atoms.get_chemical_formula()}: {len(weights)} frames of "
        title += atom_name(self.atoms, self.center)
        return frame_pictures.frames_picture(
            atoms, self.center, axes, shares, inner, outer, outer + 0.1, title
        )

    def picture(self) -> str:
        """The energies along the path, or in a full rotation, and the weights of the pairs of
        neighbors."""
        return self._picture()

    def _picture(self, sketch: bool = False) -> str:
        near = self.energies.neighbors(self.positions(), self.center)[0][:MAX_NEIGHBORS]
        before = weight_matrix(self.frames(False), self.center, near)
        after = weight_matrix(self.frames(True), self.center, near)
        names = [atom_name(self.atoms, k) for k in near]
        center = atom_name(self.atoms, self.center)
        title = f"Weights w of pairs of neighbors of {center}, nearest first"
        weights = frame_pictures.matrices(before, after, names, title, self.energies.prunings)
        return svg.stack([self._chart(sketch), weights])

    def _chart(self, sketch: bool = False) -> str:
        """The curves with a dot of each; as a sketch, through a few points and without dots."""
        atom = atom_name(self.atoms, self.atom)
        dots = {} if sketch else self.now()
        if self.shows == "turn":
            title = f"Energy of the molecule as it turns ({atom} moved by {self.moved:.3f} Å)"
            turns = self._turned(SKETCHED_TURN) if sketch else self.turns()
            return frame_curves.turn_chart(turns, dots, self.rotation, title)
        path = self._path()
        title = f"Energy when {atom} moves {self.path}"
        if sketch:
            curves = self.energies.sketch(path, self.atom)
        else:
            title += f"; dots: turned by {self.rotation:.0f}°" if self.rotation % 360 else ""
            curves = {name: (scan.t, scan.e) for name, scan in self.scans().items()}
        return frame_curves.path_chart(path, curves, dots, self.moved, title)

    def to_svg(self) -> str:
        """The molecule with its frames, the plots, and the numbers in words."""
        return svg.stack([self.scene(), self.picture()], self.text_lines())

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        return describe(self.state(), self.energies.auxiliary_is_silent)

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
            Along a path, the nearest point of its grid.
        """
        if name != "moved":
            return value
        grid = self._path().grid
        return float(grid[np.abs(grid - value).argmin()])

    def adjust(self, change: traitlets.Bunch) -> None:
        """Another path: the slider gets its ends, and an atom beyond them goes back.

        Parameters
        ----------
        change : traitlets.Bunch
            What has changed.
        """
        if change["name"] not in ("atom", "path"):
            return
        path = self._path()
        if not path.low - 1e-6 <= self.moved <= path.high + 1e-6:
            self.moved = 0.0
        control = self.controls["moved"]
        with control.hold_trait_notifications():
            control.min = path.low
            control.max = path.high
            control.step = (path.high - path.low) / STEPS
            control.value = self.moved

    def redraw(self) -> None:
        """Change the pictures in place: at once, with curves through a few points where they are
        not known yet; then whole."""
        before = self.drawing.value, self.molecule.value, self.words.value
        try:
            if not self._computed():
                self.message.value = "Computing four energies: first a sketch, soon the curves …"
                self._show(self._picture(sketch=not self._shown_is_computed()), self.scene())
                self.words.value = lines_table(describe(self._measure_frames()), self.words_style)
            self._show(self.picture(), self.scene())
        except Exception:  # nothing changes then
            self.drawing.value, self.molecule.value, self.words.value = before
            raise

    def _show(self, picture: str, scene: str) -> None:
        self.drawing.value = picture
        self.molecule.value = scene

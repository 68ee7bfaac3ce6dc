"""A structure set in motion by a trained model: a short relaxation, or dynamics as a movie. The
steps are those of `scdlab.dynamics`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ase
import ipywidgets as widgets
import numpy as np
import traitlets
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

from scdlab.dynamics import FIRE, NVE, Langevin
from scdlab.explore import style, svg, svg_curves
from scdlab.explore.controls import Bounds, check_bounds, check_choice
from scdlab.explore.inputs import Text, Whole
from scdlab.explore.style import CONTROL_WIDTH, PLOTS_WIDTH, VIEW_WIDTH
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import SvgExplorer
from scdlab.nn.model import AtomisticModel

KINDS = {"relaxation": "steps", "energy kept": "fs", "heat bath": "fs"}
TIMESTEP = 0.5  # fs
FMAX = 0.05  # eV/Å


class Movie(NamedTuple):
    """Frames of a motion.

    Attributes
    ----------
    time : numpy.ndarray
        Steps or femtoseconds [m].
    pos : numpy.ndarray
        Positions [m, n, 3] in Å.
    energy : numpy.ndarray
        Potential energies [m] in eV, from the first.
    total : numpy.ndarray
        With the kinetic energy, likewise; NaN for a relaxation.
    ended : str
        Why it ended early; empty where it did not.
    """

    time: np.ndarray
    pos: np.ndarray
    energy: np.ndarray
    total: np.ndarray
    ended: str


def filmed(
    model: AtomisticModel, atoms: ase.Atoms, kind: str, temperature: float, frames: int, every: int
) -> Movie:
    """Move a structure and keep frames.

    Parameters
    ----------
    model : AtomisticModel
        A model with energies and forces.
    atoms : ase.Atoms
        The structure.
    kind : str
        One of `KINDS`.
    temperature : float
        In K: of the bath, and of the velocities at first.
    frames : int
        How many frames at most, the first included.
    every : int
        Steps from frame to frame; 1 in a relaxation.

    Returns
    -------
    Movie
        The frames.
    """
    start = atoms.copy()
    if kind == "relaxation":
        moving: Any = FIRE(model, start, fmax=FMAX)
        every = 1
    else:
        rng = np.random.default_rng(0)
        MaxwellBoltzmannDistribution(start, temperature_K=temperature, rng=rng)
        Stationary(start)
        if kind == "energy kept":
            moving = NVE(model, start, timestep=TIMESTEP)
        else:
            moving = Langevin(model, start, timestep=TIMESTEP, temperature=temperature)
    kept: list[tuple[float, np.ndarray, float, float]] = []

    def keep(now: Any) -> None:
        scale = 1.0 if kind == "relaxation" else TIMESTEP
        potential = float(now.energies[0])
        both = np.nan if kind == "relaxation" else potential + float(now.kinetic_energies()[0])
        kept.append((scale * now.steps, now.pos.copy(), potential, both))

    keep(moving)
    ended = ""
    try:
        moving.run((frames - 1) * every, every=every, call=keep)
    except ValueError as error:  # atoms have met or flown apart
        ended = str(error)
    time, pos, energy, total = map(np.array, zip(*kept, strict=True))
    return Movie(time, pos, energy - energy[0], total - total[0], ended)


class MotionExplorer(SvgExplorer):
    """A structure that a model relaxes or sets in motion, frame by frame.

    State, in traits: model (a name), kind ("relaxation", "energy kept", "heat bath"), temperature
    in K (50 to 1,000) and frame. `state()` adds time, energy and total (eV from the first frame;
    total is None in a relaxation), moved (root mean square, in Å, from the first frame) and frames.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.
    models : mapping
        Name -> model with energies and forces; at least one.
    model, kind, temperature, frame
        The state at first.
    frames : int, default 61
        Frames of a movie.
    every : int, default 4
        Steps of dynamics from frame to frame.

    Raises
    ------
    ValueError
        For no models.
    """

    names = ("model", "kind", "temperature", "frame")
    words_style = f"line-height: 1.35; max-width: {VIEW_WIDTH + PLOTS_WIDTH}px"
    model = Text()
    kind = Text("relaxation")
    temperature = Whole(300)
    frame = Whole()
    _in_bounds = traitlets.validate("temperature", "frame")(check_bounds)
    _is_choice = traitlets.validate("model", "kind")(check_choice)

    def __init__(
        self,
        atoms: ase.Atoms,
        models: Mapping[str, AtomisticModel],
        *,
        model: str | None = None,
        kind: str = "relaxation",
        temperature: int = 300,
        frame: int = 0,
        frames: int = 61,
        every: int = 4,
    ):
        if not models:
            raise ValueError("No model can move this structure: each lacks one of its elements.")
        self.atoms = atoms
        self.models = dict(models)
        self._frames = frames
        self._every = every
        self.model = model if model in self.models else next(iter(self.models))
        self.kind = kind
        self.temperature = temperature
        self.frame = min(frame, int(self.bounds("frame").high))
        self.view = MoleculeView(self.shown, title=self._title(), size=(VIEW_WIDTH, 330))
        super().__init__(**self._make_controls())

    def _make_controls(self) -> dict[str, Any]:
        row = dict(
            style={"description_width": "90px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        last = int(self.bounds("frame").high)
        self.play = widgets.Play(self.frame, 0, last, 1, interval=120)
        controls: dict[str, Any] = {
            "model": widgets.Dropdown(
                options=list(self.models), value=self.model, description="model", **row
            ),
            "kind": widgets.Dropdown(
                options=list(KINDS), value=self.kind, description="motion", **row
            ),
            "temperature": widgets.IntSlider(
                self.temperature, 50, 1000, 50, description="T (K)", continuous_update=False, **row
            ),
            "frame": widgets.IntSlider(self.frame, 0, last, description="frame", **row),
        }
        widgets.jslink((self.play, "value"), (controls["frame"], "value"))
        return controls

    def lay_out(self) -> list[widgets.Widget]:
        """Controls above, structure and energies side by side, the numbers in words below."""
        at = self.controls
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        above = widgets.HBox([at["model"], at["kind"], at["temperature"]], layout=wrap)
        movie = widgets.HBox([at["frame"], self.play], layout=wrap)
        both = widgets.HBox([self.view, self.drawing], layout=wrap)
        return [above, movie, self.message, both, self.words]

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
        if name == "temperature":
            return Bounds(50, 1000, " K")
        return Bounds(0, len(self.movie().time) - 1)

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
        return list(self.models) if name == "model" else list(KINDS)

    def adjust(self, change: traitlets.Bunch) -> None:
        """Another movie starts at its first frame.

        Parameters
        ----------
        change : traitlets.Bunch
            What has changed.
        """
        if change["name"] == "frame":
            return
        self.frame = 0
        last = int(self.bounds("frame").high)
        self.controls["frame"].max = last
        self.play.max = last

    def movie(self) -> Movie:
        """The frames of the present motion. Kept: do not change them."""
        warm = 0 if self.kind == "relaxation" else self.temperature
        return self.remember(
            ("movie", self.model, self.kind, warm),
            lambda: filmed(
                self.models[self.model],
                self.atoms,
                self.kind,
                self.temperature,
                self._frames,
                self._every,
            ),
        )

    @property
    def shown(self) -> ase.Atoms:
        """The structure in the present frame."""
        atoms = self.atoms.copy()
        atoms.positions = self.movie().pos[self.frame]
        return atoms

    def state(self) -> dict[str, Any]:
        """The traits, and every number displayed.

        Returns
        -------
        dict
            Plain values by name; None for what is not there.
        """
        movie = self.movie()
        total = float(movie.total[self.frame])
        step = movie.pos[self.frame] - movie.pos[0]
        return super().state() | {
            "formula": self.atoms.get_chemical_formula(),
            "frames": len(movie.time),
            "time": float(movie.time[self.frame]),
            "unit": KINDS[self.kind],
            "energy": float(movie.energy[self.frame]),
            "total": total if np.isfinite(total) else None,
            "moved": float(np.sqrt((step**2).sum(1).mean())),
        }

    def picture(self) -> str:
        """Energy against time, with the present frame."""
        movie = self.movie()
        curves = {"potential": (movie.time, movie.energy)}
        dots = {"potential": float(movie.energy[self.frame])}
        looks = {
            "potential": ("potential energy", style.BLUE, "", 2.0),
            "total": ("with kinetic energy", style.VERMILION, "5 3", 2.0),
        }
        if np.isfinite(movie.total).all():
            curves["total"] = (movie.time, movie.total)
            dots["total"] = float(movie.total[self.frame])
        unit = KINDS[self.kind]
        return svg_curves.curve_chart(
            curves,
            float(movie.time[self.frame]),
            dots,
            looks,
            "step" if unit == "steps" else f"time ({unit})",
            "energy from the start (eV)",
            f"{self.atoms.get_chemical_formula()}: {self.kind}, {self.model}",
            0.0,
            max(float(movie.time[-1]), 1.0),
            PLOTS_WIDTH,
        )

    def to_svg(self) -> str:
        """The structure, the energies, and the numbers in words."""
        return svg.stack([self.view.to_svg(), self.picture()], self.text_lines())

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        values = self.state()
        place = f"frame {self.frame} of {values['frames'] - 1}"
        place += f", {values['time']:g} {values['unit']}"
        moved = f"energy {values['energy']:+.3f} eV, atoms moved by {values['moved']:.2f} Å"
        lines = [("shown", f"{place}: {moved} (root mean square)")]
        if self.kind == "energy kept":
            drift = 1e3 * float(self.movie().total[-1])
            lines.append(("kept?", f"the total energy is off by {drift:+.1f} meV at the end"))
        if self.movie().ended:
            lines.append(("ended", self.movie().ended))
        return lines

    def redraw(self) -> None:
        """Change picture and view in place."""
        self.drawing.value = self.picture()
        self.view.show(self.shown, title=self._title())

    def _title(self) -> str:
        return f"{self.atoms.get_chemical_formula()}, {self.kind}, frame {self.frame}"

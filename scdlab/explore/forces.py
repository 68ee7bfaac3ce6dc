"""Forces as an input: a trajectory with its forces, what DeNS corrupts in each frame, and how a
force is given in degrees.

    x̃_i = x_i + m_i ε_i,   input_i = m_i F_i         what the network is given: `DeNS.corrupt`,
                                                      `corruption`
    |F|/√3 Y^(l)(F/|F|)                               how a force is given, degree by degree
    f_l(n) = |F|/√3 (2l+1) P_l(cos ∠(F, n))           the same as functions of direction
                                                      `degree_curves`

Degree 1 is F itself: nothing is lost. Degree 2 is as large towards −F as towards F: the axis
without its sign. The functions, and what the sum of degrees does, are in `analysis/forces.py`.

DeNS: Y.-L. Liao, T. Smidt, M. Shuaibi and A. Das, TMLR 2024, arXiv:2403.09549.
"""

from typing import Any, NamedTuple

import ase
import ipywidgets as widgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike

from scdlab.analysis.denoising import cosine
from scdlab.analysis.forces import (
    ANGLES,
    MAX_DEGREE,
    corruption,
    degree_curves,
    half_angle,
    predicted_forces,
)
from scdlab.explore import style, svg, svg_charts
from scdlab.explore.controls import Bounds, check_bounds, check_choice, plain_number
from scdlab.explore.force_words import describe
from scdlab.explore.inputs import Flag, Number, Text, Whole, checked_network, checked_store
from scdlab.explore.scene import magnification, round_scale
from scdlab.explore.structures import checked
from scdlab.explore.style import CONTROL_WIDTH, PLOTS_WIDTH, VIEW_WIDTH
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import SvgExplorer
from scdlab.objectives.dens import Corruption

ARROWS = {  # trait -> (legend, color)
    "show_true": ("true force F", style.VERMILION),
    "show_predicted": ("predicted force", style.GREEN),
    "show_difference": ("predicted − true", style.PURPLE),
}
_NOTES = (
    ("length only", "no direction"),
    ("F itself",),
    ("axis, not sign",),
    ("axis and sign",),
    ("all together",),
)


class _Labels(NamedTuple):
    """A frame, its energy in eV (None without one), and its forces [n, 3] in eV/Å."""

    atoms: ase.Atoms
    energy: float | None
    forces: np.ndarray


def seen_angle(force: ArrayLike) -> float:
    """The angle at which a force is seen from the side of the still pictures.

    Parameters
    ----------
    force : array_like
        A force [3].

    Returns
    -------
    float
        In radians from the right; upwards for one that points at the reader.
    """
    right, up = svg.VIEW[:2] @ np.asarray(force, float)
    return float(np.arctan2(up, right)) if np.hypot(right, up) > 1e-9 else np.pi / 2


class ForceExplorer(SvgExplorer):
    """A trajectory with forces: true and predicted arrows, what DeNS corrupts, and the degrees of
    one atom's force.

    State, in traits: frame, atom, model (a name, "" without one), degree (0 to 3: the last of the
    sum), sigma in Å (0.005 to 0.3), ratio (0.01 to 1), seed, corrupt (show the noisy structure with
    its force input), and show_true, show_predicted, show_difference: which arrows are drawn.
    `state()` adds the numbers displayed, None for what is not there:

        formula, n_atoms, symbols  of the frame
        name                       of the atom
        energy, rms_force          eV; eV/Å per component
        mae, cosine                of the model's forces on the clean frame: meV/Å per component;
                                   over all components
        true, predicted …          the atom's force [3] in eV/Å, the model's, and its difference
        corrupted, moved           the atoms that DeNS corrupts, and how far, root mean square in Å
        half_angle                 of the sum of degrees 0 … degree, in degrees of arc
        towards, against           f_0 … f_3 along F and along -F, eV/Å

    Parameters
    ----------
    store : AtomStore
        Frames with forces, such as `scdlab.load_ethanol()`.
    model : torch.nn.Module or dict, optional
        A trained model, several as name -> model, or None for the true forces alone.
    frame, atom, degree, sigma, ratio, seed, corrupt
        The state at first.

    Raises
    ------
    ValueError
        For an empty store or one without forces, for a model that fails, and for what no slider
        reaches.
    """

    names = ("frame", "model", "atom", "degree", "sigma", "ratio", "seed", "corrupt", *ARROWS)
    sliding = ("sigma", "ratio")
    words_style = f"line-height: 1.35; max-width: {PLOTS_WIDTH}px"
    frame = Whole()
    atom = Whole()
    degree = Whole()
    seed = Whole()
    model = Text()
    sigma = Number(0.05)
    ratio = Number(0.25)
    corrupt = Flag(False)
    show_true = Flag(True)
    show_predicted = Flag(True)
    show_difference = Flag(False)
    _in_bounds = traitlets.validate("frame", "atom", "degree", "seed")(check_bounds)
    _sizes_in_bounds = traitlets.validate("sigma", "ratio")(check_bounds)
    _is_choice = traitlets.validate("model")(check_choice)

    def __init__(
        self,
        store: Any,
        model: Any = None,
        *,
        frame: int = 0,
        atom: int = 0,
        degree: int = 2,
        sigma: float = 0.05,
        ratio: float = 0.25,
        seed: int = 0,
        corrupt: bool = False,
    ):
        checked_store(store, "ForceExplorer", needs="has_forces")
        if not store.has_forces:
            raise ValueError(
                "ForceExplorer needs frames with forces, and this store has none: use "
                "scdlab.load_ethanol() or scdlab.simulate."
            )
        models = model if isinstance(model, dict) else {type(model).__name__: model}
        self.models = {} if model is None else {str(name): each for name, each in models.items()}
        for name, each in self.models.items():
            checked_network(each, f"Model {name!r}", "forces")
        self.store = store
        self.frame = frame
        self.atom = atom
        self.degree = degree
        self.seed = seed
        self.sigma = sigma
        self.ratio = ratio
        self.corrupt = corrupt
        self.model = next(iter(self.models), "")
        self._set_scales()
        self.view = MoleculeView(**self._scene(), size=(VIEW_WIDTH, 330), labels=True)
        super().__init__(**self._make_controls())

    def lay_out(self) -> list[widgets.Widget]:
        """Controls above, the molecule left, degrees and words right."""
        at = self.controls
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        boxes = ("corrupt", *ARROWS)
        rows = [
            widgets.HBox([at[name] for name in group if name in at], layout=wrap)
            for group in ([name for name in self.names if name not in boxes], boxes)
        ]
        right = widgets.VBox([self.drawing, self.words])
        both = widgets.HBox([self.view, right], layout=widgets.Layout(flex_flow="row wrap"))
        return [*rows, self.message, both]

    def _make_controls(self) -> dict[str, Any]:
        row = dict(
            style={"description_width": "60px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        controls: dict[str, Any] = {
            name: widgets.IntSlider(
                getattr(self, name), 0, int(self.bounds(name).high), description=name, **row
            )
            for name in ("frame", "atom", "degree", "seed")
        }
        low, high = self.bounds("sigma")[:2]
        sigma = dict(min=low, max=high, step=0.005, description="σ (Å)", readout_format=".3f")
        controls["sigma"] = widgets.FloatSlider(self.sigma, **sigma, **row)
        ratio = dict(min=0.05, max=1.0, step=0.05, description="ratio", readout_format=".2f")
        controls["ratio"] = widgets.FloatSlider(self.ratio, **ratio, **row)
        if len(self.models) > 1:
            controls["model"] = widgets.Dropdown(
                options=list(self.models), value=self.model, description="model", **row
            )
        shown = tuple(ARROWS) if self.models else ("show_true",)
        ticks = {"corrupt": "corrupt"} | {name: ARROWS[name][0] for name in shown}
        box = dict(indent=False, layout=widgets.Layout(width="auto", margin="2px 14px 2px 10px"))
        for name, words in ticks.items():
            controls[name] = widgets.Checkbox(getattr(self, name), description=words, **box)
        return controls

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
        if name == "atom":
            return Bounds(0, int(self.store.n_atoms[self.frame]) - 1)
        return {
            "frame": Bounds(0, len(self.store) - 1),
            "degree": Bounds(0, MAX_DEGREE),
            "seed": Bounds(0, 99),
            "sigma": Bounds(0.005, 0.3, " Å"),
            "ratio": Bounds(0.01, 1.0),
        }[name]

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
        return list(self.models) or [""]

    def forget(self) -> None:
        """Drop all numbers, and set the scales of the arrows anew."""
        super().forget()
        self._set_scales()

    @property
    def atoms(self) -> ase.Atoms:
        """The frame as it is, without noise."""
        return self._labels().atoms

    def forces(self) -> dict[str, np.ndarray]:
        """Forces [n, 3] in eV/Å of the frame. Kept: do not change them.

        Returns
        -------
        dict
            By trait: show_true, and show_predicted and show_difference if there is a model.
        """
        true = self._labels().forces
        if not self.model:
            return {"show_true": true}
        predicted = self._of_model(self.model)
        off = predicted - true
        return {"show_true": true, "show_predicted": predicted, "show_difference": off}

    def corruption(self) -> Corruption:
        """What DeNS does to this frame."""
        key = ("corruption", self.frame, self.sigma, self.ratio, self.seed)
        return self.remember(
            key, lambda: corruption(self.store, self.frame, self.sigma, self.ratio, self.seed)
        )

    def state(self) -> dict[str, Any]:
        """The traits, and every number displayed.

        Returns
        -------
        dict
            Plain values by name; None for what is not there.
        """
        return dict(self.remember(("state", *self.key()), self._measure))

    def _measure(self) -> dict[str, Any]:
        atoms, energy, true = self._labels()
        forces = self.forces()
        noisy = self.corruption()
        mask = noisy.mask
        of_atom = {
            name.removeprefix("show_"): forces[name][self.atom].tolist() if name in forces else None
            for name in ARROWS
        }
        curves = degree_curves(true[self.atom])
        mae = None
        alike = np.nan
        if self.model:
            mae = float(1000 * np.abs(forces["show_difference"]).mean())
            alike = cosine(forces["show_predicted"], true)
        moved = float(noisy.eps[mask].square().sum(1).mean().sqrt()) if mask.any() else 0.0
        numbers = {
            "formula": atoms.get_chemical_formula(),
            "n_atoms": len(atoms),
            "name": f"{atoms.symbols[self.atom]}{self.atom}",
            "energy": energy,
            "rms_force": float(np.sqrt((true**2).mean())),
            "mae": mae,
            "cosine": plain_number(alike),
            "symbols": atoms.get_chemical_symbols(),
            "corrupted": np.flatnonzero(mask).tolist(),
            "moved": moved,
            "half_angle": half_angle(0, self.degree),
            "towards": curves[:, 0].tolist(),
            "against": curves[:, len(ANGLES) // 2].tolist(),
        }
        return super().state() | of_atom | numbers

    def _labels(self) -> _Labels:
        return self.remember(("labels", self.frame), self._read)

    def _read(self) -> _Labels:
        atoms = self.store.to_ase(self.frame)
        energy = atoms.get_potential_energy() if self.store.has_energy else None
        forces = atoms.calc.results["forces"]
        return _Labels(checked(atoms, f"Frame {self.frame}"), energy, forces)

    def _of_model(self, name: str) -> np.ndarray:
        return self.remember(
            ("predicted", name, self.frame),
            lambda: predicted_forces(self.models[name], self.store, self.frame, name),
        )

    def _set_scales(self) -> None:
        """Å drawn per eV/Å, once for all frames and models: four in five forces are up to 1.8 Å
        long, and differences are drawn ten times as long where they are small throughout."""
        some = np.unique(np.linspace(0, len(self.store) - 1, 100).astype(int))
        strong = np.quantile(np.linalg.norm(self.store.take(some).forces, axis=1), 0.8)
        self.scale = round_scale([np.array([[strong, 0.0, 0.0]])])
        true = self._labels().forces
        errors = [np.square(self._of_model(name) - true).mean() for name in self.models]
        off = max(errors, default=0.0)
        self.magnified = 10 if 0 < off < 0.1**2 * np.square(true).mean() else 1

    def arrows(self) -> dict[str, dict[str, Any]]:
        """The arrows that are drawn, as `view_molecule` takes them.

        On a corrupted frame: the force input, which only corrupted atoms get, and the way back −ε;
        predictions, which are of the clean frame, are not drawn there.

        Returns
        -------
        dict
            By legend.
        """
        if self.corrupt:
            noisy = self.corruption()
            name = "clue: F before the noise"
            color = ARROWS["show_true"][1]
            clue = dict(vectors=noisy.force_input, unit="eV/Å", color=color, scale=self.scale)
            scale = magnification(self.sigma)
            back = dict(vectors=-noisy.eps, unit="Å", color=style.BLUE, scale=scale)
            return ({name: clue} if self.show_true else {}) | {"way back −ε": back}
        forces = self.forces()
        kinds = {}
        for trait, (name, color) in ARROWS.items():
            if getattr(self, trait) and trait in forces:
                scale = self.scale * (self.magnified if trait == "show_difference" else 1)
                kinds[name] = dict(vectors=forces[trait], unit="eV/Å", color=color, scale=scale)
        return kinds

    def picture(self) -> str:
        """The force of the chosen atom, degree by degree, and the sum of the first degrees."""
        values = self.state()
        force = self._labels().forces[self.atom]
        curves = degree_curves(force)
        total = curves[: self.degree + 1].sum(0)
        degrees = range(MAX_DEGREE + 1)
        half = [*(half_angle(degree, degree) for degree in degrees), values["half_angle"]]
        notes = [
            (*note, f"half at {angle:.0f}°") if angle else note
            for note, angle in zip(_NOTES, half, strict=True)
        ]
        heads = [*(f"degree {degree}" for degree in degrees), f"sum, 0 to {self.degree}"]
        size = f"|F| = {np.linalg.norm(force):.2f} eV/Å, the arrow is F"
        title = f"Force of {values['name']} by degree: {size}"
        faint = range(self.degree + 1, MAX_DEGREE + 1)
        turn = seen_angle(force)
        return svg_charts.polar_plot(
            [*curves, total], heads, notes, turn, title, faint, PLOTS_WIDTH
        )

    def to_svg(self) -> str:
        """The molecule with its arrows, the degrees, and the numbers in words."""
        return svg.stack([self.view.to_svg(), self.picture()], self.text_lines())

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        return describe(self.state())

    def show_words(self) -> None:
        """Write the numbers in words; predictions cannot be chosen on a corrupted frame."""
        super().show_words()
        for name in ("show_predicted", "show_difference"):
            if name in self.controls:
                self.controls[name].disabled = self.corrupt

    def adjust(self, change: traitlets.Bunch) -> None:
        """Another frame: the slider of atoms ends at its last one.

        Parameters
        ----------
        change : traitlets.Bunch
            What has changed.
        """
        if change["name"] == "frame":  # a slider beyond its new end moves to it
            self.controls["atom"].max = int(self.bounds("atom").high)

    def redraw(self) -> None:
        """Change picture and view in place."""
        # what may fail, before anything changes
        picture = self.picture()
        scene = self._scene()
        self.drawing.value = picture
        self.view.show(**scene)  # one message

    def _scene(self) -> dict[str, Any]:
        """The arguments of the view."""
        atoms = self.atoms.copy()
        values = self.state()
        title = f"{values['formula']}, frame {self.frame}"
        if self.corrupt:
            atoms.positions = atoms.positions + self.corruption().eps.double().numpy()
            title += f", noise σ = {self.sigma:.3f} Å"
        chosen = f"corrupted by DeNS: {len(values['corrupted'])} of {values['n_atoms']} atoms"
        marked = {
            chosen: values["corrupted"],
            f"{values['name']}, the atom whose force is read": [self.atom],
        }
        return dict(atoms=atoms, arrows=self.arrows(), title=title, marked=marked)

"""Forces as a clue: a trajectory with its forces, what DeNS corrupts in each frame, and how a force
is told in degrees.

    x̃_i = x_i + m_i ε_i,   clue_i = m_i F_i          what the network is given: `DeNS.corrupt`,
                                                      `corruption`

A force is told as |F|/√3 Y^(l)(F/|F|), degree by degree (`nn.force_encoding`). Read back as a
function of direction,

    f_l(n) = |F|/√3 Σ_m Y_lm(F/|F|) Y_lm(n) = |F|/√3 (2l+1) P_l(cos ∠(F, n))          `lobes`

with Legendre's polynomials P_l: every degree is symmetric about F, so a section through F shows all
of it. Degree 0 is
|F|/√3 to every side. Degree 1 is F itself, f_1(n) = √3 F·n: nothing is lost. Degree 2 is as large
towards -F as towards
F: the axis without its sign. The sum of degrees 0 … L narrows around F as L grows (`half_angle`):
it says nothing that F did not, but says it in the degrees in which a network's layers work.

DeNS: Y.-L. Liao, T. Smidt, M. Shuaibi and A. Das, TMLR 2024, arXiv:2403.09549.
"""

from collections import OrderedDict

import ase
import ipywidgets as widgets
import numpy as np
import torch
import traitlets

from scdlab.analysis.denoising import cosine as measured_cosine
from scdlab.analysis.forces import (
    ANGLES,
    MAX_DEGREE,
    corruption,
    degree_curves,
    half_angle,
    predicted_forces,
)
from scdlab.explore import noise, style, svg
from scdlab.explore.condition import SvgExplorer
from scdlab.explore.view import MoleculeView, _round_scale
from scdlab.explore.widgets import lines_table
from scdlab.objectives.dens import Corruption

SIGMAS = (0.005, 0.3)  # Å; the ends of the slider
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
_WIDTH = (
    470  # pixels of the lobes: with the molecule's 350 they fit a notebook beside the file browser
)


# --------------------------------------------------------------------------------------------------
# the functions


def turn_of(force) -> float:
    """The angle at which a force [3] is seen from the side of the still pictures, in radians from
    the right; upwards for one that points at the reader."""
    right, up = svg._VIEW[:2] @ np.asarray(force, float)
    return float(np.arctan2(up, right)) if np.hypot(right, up) > 1e-9 else np.pi / 2


# --------------------------------------------------------------------------------------------------
# the explorer


class ForceExplorer(SvgExplorer):
    """A trajectory with forces: true and predicted arrows, what DeNS corrupts, and the degrees of
    one atom's force.

    store: an AtomStore of frames with forces, such as `scdlab.load_ethanol()`. model: a trained
    model, several as name -> model, or None for the true forces alone.

    State, in traits: frame, atom, model (a name, "" without one), degree (0 to 3: the last of the
    sum), sigma in Å (0.005 to 0.3), ratio (0.01 to 1), seed, corrupt (show the noisy structure with
    its clue), and show_true, show_predicted, show_difference: which arrows are drawn. `state()`
    adds the numbers displayed, None for what is not there:

        formula, n_atoms, symbols  of the frame
        name                       of the atom
        energy, rms_force          eV; eV/Å per component
        mae, cosine                of the model's forces on the clean frame: meV/Å per component;
                                   over all components
        true, predicted …          the atom's force [3] in eV/Å, the model's, and its difference
        corrupted, moved           the atoms that DeNS corrupts, and how far, root mean square in Å
        half_angle                 of the sum of degrees 0 … degree, in degrees of arc
        towards, against           f_0 … f_3 along F and along -F, eV/Å

    Raises ValueError for an empty store or one without forces, for a model that fails, and for what
    no slider reaches.
    """

    names = ("frame", "model", "atom", "degree", "sigma", "ratio", "seed", "corrupt", *ARROWS)
    frame, atom, degree, seed = (traitlets.Int() for _ in range(4))
    model = traitlets.Unicode()
    sigma = traitlets.Float(0.05)
    ratio = traitlets.Float(0.25)
    corrupt = traitlets.Bool(False)
    show_true, show_predicted, show_difference = (traitlets.Bool(on) for on in (True, True, False))

    def __init__(
        self,
        store,
        model=None,
        *,
        frame: int = 0,
        atom: int = 0,
        degree: int = 2,
        sigma: float = 0.05,
        ratio: float = 0.25,
        seed: int = 0,
        corrupt: bool = False,
    ):
        if not len(store):
            raise ValueError("The store is empty: ForceExplorer needs at least one frame.")
        if not store.has_forces:
            raise ValueError(
                "ForceExplorer needs frames with forces, and this store has none: use "
                "scdlab.load_ethanol() or scdlab.simulate."
            )
        models = (
            model
            if isinstance(model, dict)
            else {}
            if model is None
            else {type(model).__name__: model}
        )
        self.models = {str(name): each for name, each in models.items()}
        for name, each in self.models.items():
            if not isinstance(each, torch.nn.Module):
                raise ValueError(
                    f"Model {name!r} must be a model, not {each!r}; scdlab.load(path) loads one."
                )
        self.store = store
        self._cache = OrderedDict()
        self._drawn = None
        self.frame = frame
        self.atom = atom
        self.degree = degree
        self.seed = seed
        self.sigma = sigma
        self.ratio = ratio
        self.corrupt = corrupt
        self.model = next(iter(self.models), "")
        self._scales()
        self.view = MoleculeView(**self._scene(), size=(350, 330), labels=True)
        self.words = widgets.HTML()
        super().__init__(**self._make_controls())
        at = self.controls
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        boxes = ("corrupt", *ARROWS)
        rows = [
            widgets.HBox([at[name] for name in group if name in at], layout=wrap)
            for group in ([name for name in self.names if name not in boxes], boxes)
        ]
        right = widgets.VBox([self.drawn, self.words])
        both = widgets.HBox([self.view, right], layout=widgets.Layout(flex_flow="row wrap"))
        self.children = [*rows, self.message, both]
        self._tell()
        self._drawn = self._key()

    def _make_controls(self) -> dict:
        row = dict(style={"description_width": "60px"}, layout=widgets.Layout(width="300px"))
        controls = {
            name: widgets.IntSlider(
                getattr(self, name), 0, self._last(name), description=name, **row
            )
            for name in ("frame", "atom", "degree", "seed")
        }
        controls["sigma"] = widgets.FloatSlider(
            self.sigma,
            min=SIGMAS[0],
            max=SIGMAS[1],
            step=0.005,
            description="σ (Å)",
            readout_format=".3f",
            **row,
        )
        controls["ratio"] = widgets.FloatSlider(
            self.ratio,
            min=0.05,
            max=1.0,
            step=0.05,
            description="ratio",
            readout_format=".2f",
            **row,
        )
        if len(self.models) > 1:
            controls["model"] = widgets.Dropdown(
                options=list(self.models), value=self.model, description="model", **row
            )
        ticks = {"corrupt": "corrupt"} | {
            name: ARROWS[name][0] for name in (ARROWS if self.models else ["show_true"])
        }
        box = dict(indent=False, layout=widgets.Layout(width="auto", margin="2px 14px 2px 10px"))
        for name, words in ticks.items():
            controls[name] = widgets.Checkbox(getattr(self, name), description=words, **box)
        return controls

    # ----------------------------------------------------------------------------------------------
    # the state

    @traitlets.validate("frame", "atom", "degree", "seed")
    def _check_range(self, proposal):
        name = proposal["trait"].name
        value = proposal["value"]
        if not 0 <= value <= self._last(name):
            raise ValueError(
                f"The explorer's {name} goes from 0 to {self._last(name)}, not {value}."
            )
        return value

    @traitlets.validate("sigma", "ratio")
    def _check_size(self, proposal):
        name = proposal["trait"].name
        value = proposal["value"]
        low, high = SIGMAS if name == "sigma" else (0.01, 1.0)
        if not low <= value <= high:  # NaN is not
            raise ValueError(f"The explorer's {name} goes from {low} to {high}, not {value}.")
        return value

    @traitlets.validate("model")
    def _check_model(self, proposal):
        known = list(self.models) or [""]
        if proposal["value"] not in known:
            raise ValueError(
                f"The explorer's model is one of {', '.join(map(repr, known))}, not "
                f"{proposal['value']!r}."
            )
        return proposal["value"]

    def _last(self, name: str) -> int:
        if name == "atom":
            return int(self.store.n_atoms[self.frame]) - 1
        return {"frame": len(self.store) - 1, "degree": MAX_DEGREE, "seed": 99}[name]

    def refresh(self) -> None:
        """Compute everything anew: after training a model further."""
        self._cache.clear()
        self._drawn = None
        self._scales()
        self._changed({"name": "model"})

    @property
    def atoms(self) -> ase.Atoms:
        """The frame as it is, without noise."""
        return self._labels()[0]

    def forces(self) -> dict:
        """show_true, show_predicted, show_difference -> forces [n, 3] in eV/Å of the frame; the
        last two if there is a model. Cached: do not change them."""
        forces = {"show_true": self._labels()[2]}
        if self.model:
            predicted = self._of_model(self.model)
            forces |= {
                "show_predicted": predicted,
                "show_difference": predicted - forces["show_true"],
            }
        return forces

    def corruption(self) -> Corruption:
        """What DeNS does to this frame."""
        key = ("corruption", self.frame, self.sigma, self.ratio, self.seed)
        return self._remember(
            key, lambda: corruption(self.store, self.frame, self.sigma, self.ratio, self.seed)
        )

    def state(self) -> dict:
        """The traits, and every number displayed: plain values, None for what is not there."""
        return dict(self._remember(("state", *self._key()), self._measure))

    def _measure(self) -> dict:
        (atoms, energy, true), forces, (eps, mask, *_) = (
            self._labels(),
            self.forces(),
            self.corruption(),
        )
        of_atom = {
            name.removeprefix("show_"): forces[name][self.atom].tolist() if name in forces else None
            for name in ARROWS
        }
        curves = degree_curves(true[self.atom])
        cosine = measured_cosine(forces["show_predicted"], true) if self.model else np.nan
        return (
            super().state()
            | of_atom
            | {
                "formula": atoms.get_chemical_formula(),
                "n_atoms": len(atoms),
                "name": f"{atoms.symbols[self.atom]}{self.atom}",
                "energy": energy,
                "rms_force": float(np.sqrt((true**2).mean())),
                "mae": float(1000 * np.abs(forces["show_difference"]).mean())
                if self.model
                else None,
                "cosine": noise._number(cosine),
                "symbols": atoms.get_chemical_symbols(),
                "corrupted": np.flatnonzero(mask).tolist(),
                "moved": float(eps[mask].square().sum(1).mean().sqrt()) if mask.any() else 0.0,
                "half_angle": half_angle(0, self.degree),
                "towards": curves[:, 0].tolist(),
                "against": curves[:, len(ANGLES) // 2].tolist(),
            }
        )

    # ----------------------------------------------------------------------------------------------
    # the numbers

    def _labels(self) -> tuple:
        """The frame's atoms, energy in eV (None without one), and forces [n, 3] in eV/Å."""
        return self._remember(("labels", self.frame), self._read)

    def _read(self) -> tuple:
        atoms = self.store.to_ase(self.frame)
        energy = atoms.get_potential_energy() if self.store.has_energy else None
        return noise._checked(atoms, f"Frame {self.frame}"), energy, atoms.calc.results["forces"]

    def _of_model(self, name: str) -> np.ndarray:
        key = ("predicted", name, self.frame)
        return self._remember(
            key, lambda: predicted_forces(self.models[name], self.store, self.frame, name)
        )

    def _scales(self) -> None:
        """Å drawn per eV/Å, once for all frames and models: four in five forces are up to 1.8 Å
        long, and differences are drawn ten times as long where they are small throughout."""
        some = self.store.take(
            np.unique(np.linspace(0, len(self.store) - 1, 100).astype(int))
        ).forces
        strong = np.quantile(np.linalg.norm(some, axis=1), 0.8)
        self.scale = _round_scale([np.array([[strong, 0.0, 0.0]])])
        true = self._labels()[2]
        off = max(
            (np.square(self._of_model(name) - true).mean() for name in self.models), default=0.0
        )
        self.magnified = 10 if 0 < off < 0.1**2 * np.square(true).mean() else 1

    # ----------------------------------------------------------------------------------------------
    # the drawing

    def arrows(self) -> dict:
        """The arrows that are drawn, as `view_molecule` takes them. On a corrupted frame: the clue,
        which only corrupted atoms are told, and the way back −ε; predictions, which are of the
        clean frame, are not drawn there."""
        forces = self.forces()
        noisy = self.corruption()
        kinds = {}
        for trait, (name, color) in ARROWS.items():
            if not (getattr(self, trait) and trait in forces) or (
                self.corrupt and trait != "show_true"
            ):
                continue
            vectors = noisy.force_input if self.corrupt else forces[trait]
            scale = self.scale * (self.magnified if trait == "show_difference" else 1)
            name = "clue: F before the noise" if self.corrupt else name
            kinds[name] = dict(vectors=vectors, unit="eV/Å", color=color, scale=scale)
        if self.corrupt:
            kinds["way back −ε"] = dict(
                vectors=-noisy.eps,
                unit="Å",
                color=style.BLUE,
                scale=noise.magnification(self.sigma),
            )
        return kinds

    def _scene(self) -> dict:
        """The arguments of the view."""
        atoms = self.atoms.copy()
        told = self.state()
        if self.corrupt:
            atoms.positions = atoms.positions + self.corruption().eps.double().numpy()
        title = f"{told['formula']}, frame {self.frame}" + (
            f", noise σ = {self.sigma:.3f} Å" if self.corrupt else ""
        )
        chosen = f"corrupted by DeNS: {len(told['corrupted'])} of {told['n_atoms']} atoms"
        marked = {
            chosen: told["corrupted"],
            f"{told['name']}, the atom whose force is read": [self.atom],
        }
        return dict(atoms=atoms, arrows=self.arrows(), title=title, marked=marked)

    def picture(self) -> str:
        """The force of the chosen atom, degree by degree, and the sum of the first degrees."""
        told = self.state()
        force = self._labels()[2][self.atom]
        curves = degree_curves(force)
        total = curves[: self.degree + 1].sum(0)
        half = [half_angle(degree, degree) for degree in range(MAX_DEGREE + 1)] + [
            told["half_angle"]
        ]
        notes = [
            (*note, f"half at {angle:.0f}°") if angle else note
            for note, angle in zip(_NOTES, half, strict=True)
        ]
        heads = [
            *(f"degree {degree}" for degree in range(MAX_DEGREE + 1)),
            f"sum, 0 to {self.degree}",
        ]
        title = (
            f"Force of {told['name']} by degree: |F| = {np.linalg.norm(force):.2f} eV/Å, the arrow "
            "is F"
        )
        return svg.lobes(
            [*curves, total],
            heads,
            notes,
            turn_of(force),
            title,
            range(self.degree + 1, MAX_DEGREE + 1),
            _WIDTH,
        )

    def still(self) -> str:
        """The molecule with its arrows, the lobes, and the numbers in words."""
        return svg.below(
            [self.view.still(), self.picture()], [f"{name}: {text}" for name, text in self._lines()]
        )

    def _lines(self) -> list[tuple[str, str]]:
        return in_words(self.state())

    def _tell(self) -> None:
        self.words.value = lines_table(self._lines(), f"line-height: 1.35; max-width: {_WIDTH}px")
        for name in ("show_predicted", "show_difference"):
            if name in self.controls:
                self.controls[name].disabled = self.corrupt

    def _link(self, name: str, control: widgets.Widget) -> None:
        if name not in ("sigma", "ratio"):
            return super()._link(name, control)

        def slid(change):
            """A browser moves a slider that was set from Python onto its grid, and says so: that is
            no move."""
            if abs(change["new"] - getattr(self, name)) > 0.51 * control.step:
                setattr(self, name, change["new"])

        control.observe(slid, names=["value"])
        self.observe(lambda change: control.set_trait("value", change["new"]), names=[name])

    def _adjust(self, change) -> None:
        if change["name"] == "frame":
            self.controls["atom"].max = self._last(
                "atom"
            )  # a slider beyond its new end moves to it

    def _redraw(self) -> None:
        # what may fail, before anything changes
        picture = self.picture()
        scene = self._scene()
        self.drawn.value = picture
        self.view.show(**scene)  # one message
        self._tell()


def in_words(told: dict) -> list[tuple[str, str]]:
    """The numbers of `ForceExplorer.state()` as lines (what, text)."""
    name = told["name"]
    near = told["towards"]
    far = told["against"]
    both = [
        f"{a:+.2f} towards F and {b:+.2f} eV/Å towards −F" for a, b in zip(near, far, strict=True)
    ]
    energy = "" if told["energy"] is None else f"energy {told['energy']:.3f} eV, "
    lines = [
        ("frame", f"{told['frame']}: {energy}RMS force {told['rms_force']:.2f} eV/Å per component")
    ]
    if told["model"]:
        cosine = (
            "" if told["cosine"] is None else f", cosine with the true ones {told['cosine']:.3f}"
        )
        lines.append(
            (
                told["model"],
                f"MAE of the clean frame's forces {told['mae']:.1f} meV/Å per component{cosine}",
            )
        )
    for what in ("true", "predicted", "difference"):
        if told[what] is not None:
            xyz = ", ".join(f"{x:+.2f}" for x in told[what])
            lines.append(
                (f"{name}, {what}", f"({xyz}) eV/Å, length {np.linalg.norm(told[what]):.2f}")
            )
    which = ", ".join(f"{told['symbols'][k]}{k}" for k in told["corrupted"]) or "none, by chance"
    text = f"{which}: each atom with probability {told['ratio']:.2g}"
    if told["corrupted"]:
        text += (
            f"; noise of σ = {told['sigma']:.3f} Å moves them by {told['moved']:.3f} Å (root mean "
            "square)"
        )
        text += f"; {name} " + (
            "is told its force" if told["atom"] in told["corrupted"] else "stays, told nothing"
        )
    lines.append(("corrupted", text))
    if not any(told["true"]):
        lines.append(("degrees", f"the force on {name} is zero, and so is every degree of it"))
    else:
        angle = told["half_angle"]
        sharp = f"half of that at {angle:.0f}° from F" if angle else "the same to every side"
        lines += [
            ("degree 0", f"1 number: {near[0]:.2f} eV/Å to every side, the length of F alone"),
            ("degree 1", f"3 numbers, exactly F: {both[1]}"),
            ("degree 2", f"5 numbers: {both[2]}, the axis but not the sign"),
            ("degree 3", f"7 numbers: {both[3]}, the sign again, in a narrower lobe"),
            (
                f"sum, 0 to {told['degree']}",
                f"{sum(near[: told['degree'] + 1]):.2f} eV/Å towards F, {sharp}",
            ),
        ]
    return [(what, text.replace("-", "−")) for what, text in lines]

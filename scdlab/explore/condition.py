"""What a condition does: one noisy molecule, denoised under its own embedding, under none, or under
that of another molecule.

    c = embedding(x)                     the network's embedding of the clean molecule, one vector
                                         `self_embedding`
    ε̂ = σ · model(x + ε | c).noise       its answer under c
                                         `answer`
    |ε̂ − ε|² / |ε|²                      the share of the noise that is left
                                         `noise_left`
    1 + tanh α(c, x)                     how loud each channel of each layer is under c, mean over
                                         the atoms                                        `gates`

Four conditions are compared: the molecule's "own" embedding; "none", the mask token, which is the
network as it is fine-tuned; the embedding of an "other" molecule; and a "mix", (1 − t) own + t
other. All four denoise the same draws of the noise. The functions are in `analysis/conditions.py`.

Self-conditioned denoising: arXiv:2603.17196; gates: `nn/blocks/adaln.py`.
"""

from collections.abc import Callable, Hashable
from typing import Any

import ase
import ipywidgets as widgets
import numpy as np
import traitlets

from scdlab.analysis.conditions import (
    DRAWS,
    MeanAndError,
    answer,
    check_conditional,
    gates,
    mixed,
    self_embedding,
    shares_left_under,
)
from scdlab.analysis.denoising import displacements, unexplained_noise
from scdlab.explore import svg, svg_charts
from scdlab.explore.condition_words import CONDITIONS, describe, difference
from scdlab.explore.controls import Bounds, check_bounds, check_choice, sigma_slider
from scdlab.explore.inputs import Number, Text, Whole, checked_store
from scdlab.explore.noise_figure import ARROWS
from scdlab.explore.scene import magnification
from scdlab.explore.structures import checked, sample_store
from scdlab.explore.style import CONTROL_WIDTH, PLOTS_WIDTH, VIEW_WIDTH
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import SvgExplorer

# where the colors of a change may end
_REACHES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)
# condition -> the traits that it hangs on
_HANGS_ON = {
    "own": ("molecule",),
    "none": (),
    "other": ("other",),
    "mix": ("molecule", "other", "mix"),
}


class ConditionExplorer(SvgExplorer):
    """A noisy molecule, denoised under a condition one can choose: how much it helps, and what it
    changes inside.

    State, in traits: molecule and other (rows of the store), condition ("own", "none", "other",
    "mix"), mix (the other molecule's part in the mix, 0 to 1), sigma in Å (0.003 to 0.5), seed.
    `state()` adds every number displayed:

        unexplained             the share of the noise left of the draw shown, under the present
                                condition
        left_own …              its mean over 32 other draws, under each condition; error_own …:
                                standard errors
        gain_own …              by how much less than "none" a condition leaves on the same draws;
                                gain_error_own …
        gate_mean, gate_spread  mean and standard deviation of the gates under the present condition
        gate_change             their mean distance from the gates under "none"

    Channels stand in one order, by how much the four conditions of the first state spread them, so
    that pictures compare.

    Parameters
    ----------
    model : AtomisticModel
        A conditional model.
    store : AtomStore, optional
        Its first 1,000 molecules can be chosen; by default the kit's sample of QM9.
    molecule, other, condition, mix, sigma, seed
        The state at first.

    Raises
    ------
    ValueError
        For another model, and for what no slider reaches.
    """

    names = ("molecule", "other", "condition", "mix", "sigma", "seed")
    sliding = ("mix", "sigma")
    words_style = f"line-height: 1.35; max-width: {VIEW_WIDTH + PLOTS_WIDTH}px"
    molecule = Whole()
    other = Whole()
    seed = Whole()
    condition = Text("own")
    mix = Number(0.5)
    sigma = Number(0.04)
    _in_bounds = traitlets.validate("molecule", "other", "seed", "mix", "sigma")(check_bounds)
    _is_choice = traitlets.validate("condition")(check_choice)

    def __init__(
        self,
        model: Any,
        store: Any = None,
        molecule: int = 0,
        other: int = 1,
        condition: str = "own",
        mix: float = 0.5,
        sigma: float = 0.04,
        seed: int = 0,
    ):
        check_conditional(model)
        # a condition of another molecule needs one
        self.store = checked_store(
            sample_store() if store is None else store, "ConditionExplorer", 2
        )
        self.model = model
        self.molecule = molecule
        self.other = other
        self.condition = condition
        self.mix = mix
        self.sigma = sigma
        self.seed = seed
        self.order = self._spread_order()  # [d], of the channels
        self.view = MoleculeView(
            self.displaced, self.arrows(), title=self._title(), size=(VIEW_WIDTH, 330)
        )
        row = dict(
            style={"description_width": "70px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        last = int(self.bounds("molecule").high)
        super().__init__(
            molecule=widgets.IntSlider(molecule, 0, last, description="molecule", **row),
            other=widgets.IntSlider(other, 0, last, description="other", **row),
            condition=widgets.Dropdown(
                options=CONDITIONS, value=condition, description="condition", **row
            ),
            mix=widgets.FloatSlider(
                mix, min=0, max=1, step=0.01, description="mix", readout_format=".2f", **row
            ),
            sigma=sigma_slider(sigma, **row),
            seed=widgets.IntSlider(seed, 0, 99, description="seed", **row),
        )

    def lay_out(self) -> list[widgets.Widget]:
        """Controls above, molecule and picture side by side, the numbers in words below."""
        both = widgets.HBox([self.view, self.drawing], layout=widgets.Layout(flex_flow="row wrap"))
        return [super().lay_out()[0], self.message, both, self.words]

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
        if name in ("molecule", "other"):
            return Bounds(0, min(len(self.store), 1000) - 1, ", rows of the store")
        return Bounds(0, 1) if name == "mix" else super().bounds(name)

    def choices(self, name: str) -> tuple[str, ...]:
        """What values a trait may have.

        Parameters
        ----------
        name : str
            The trait.

        Returns
        -------
        tuple of str
            All of them.
        """
        return CONDITIONS

    def forget(self) -> None:
        """Drop all numbers, and sort the channels anew."""
        super().forget()
        self.order = self._spread_order()

    @property
    def atoms(self) -> ase.Atoms:
        """The clean molecule."""
        return self._atoms(self.molecule)

    @property
    def displaced(self) -> ase.Atoms:
        """The molecule with the noise that is shown."""
        atoms = self.atoms.copy()
        atoms.positions = atoms.positions + self.noise()
        return atoms

    def vector(self, condition: str | None = None) -> np.ndarray | None:
        """A condition as the model gets it.

        Parameters
        ----------
        condition : str, optional
            Its name; by default the present one.

        Returns
        -------
        numpy.ndarray or None
            The vector [d]; None for the mask token.
        """
        condition = condition or self.condition
        if condition == "none":
            return None
        own = self._embedding(self.molecule)
        other = self._embedding(self.other)
        return {"own": own, "other": other, "mix": mixed(own, other, self.mix)}[condition]

    def noise(self) -> np.ndarray:
        """The noise ε [n, 3] in Å that is shown."""
        return displacements(self.atoms, self.sigma, self.seed)

    def answer(self) -> np.ndarray:
        """The network's answer ε̂ [n, 3] in Å to the noise that is shown, under the present
        condition."""
        return self.sigma * self._of_condition(
            "answer",
            self.condition,
            ("molecule", "seed", "sigma"),
            lambda c: answer(self.model, self.atoms, self.displaced.positions, c),
        )

    def state(self) -> dict[str, Any]:
        """The traits, and every number displayed.

        Returns
        -------
        dict
            Plain values by name.
        """
        shares = self._shares()
        left = {name: MeanAndError.over(each) for name, each in shares.items()}
        gain = {
            name: MeanAndError.over(shares["none"] - each)
            for name, each in shares.items()
            if name != "none"
        }
        now = self._gates(self.condition)
        return super().state() | {
            "formula": self.atoms.get_chemical_formula(),
            "other_formula": self._atoms(self.other).get_chemical_formula(),
            "draws": DRAWS,
            "unexplained": float(unexplained_noise(self.answer(), self.noise())),
            **{f"left_{name}": each.mean for name, each in left.items()},
            **{f"error_{name}": each.error for name, each in left.items()},
            **{f"gain_{name}": each.mean for name, each in gain.items()},
            **{f"gain_error_{name}": each.error for name, each in gain.items()},
            "gate_mean": float(now.mean()),
            "gate_spread": float(now.std()),
            "gate_change": float(np.abs(now - self._gates("none")).mean()),
        }

    def arrows(self) -> dict[str, dict[str, Any]]:
        """The arrows that are drawn, as `view_molecule` takes them: the ways back −ε and −ε̂, from
        the displaced atoms.

        Returns
        -------
        dict
            By legend.
        """
        scale = dict(unit="Å", scale=magnification(self.sigma))
        back = {"show_noise": -self.noise(), "show_answer": -self.answer()}
        return {
            ARROWS[key][0]: dict(vectors=v, color=ARROWS[key][1], **scale)
            for key, v in back.items()
        }

    # ----------------------------------------------------------------------------------------------
    # the numbers

    def _atoms(self, row: int) -> ase.Atoms:
        name = f"Molecule {row}"
        return self.remember(("atoms", row), lambda: checked(self.store.to_ase(row), name))

    def _embedding(self, row: int) -> np.ndarray:
        return self.remember(
            ("embedding", row), lambda: self_embedding(self.model, self._atoms(row))
        )

    def _key(self, what: str, condition: str, names: tuple[str, ...]) -> Hashable:
        """What a result under a condition is kept by: the traits `names`, and those that the
        condition hangs on."""
        hangs_on = names + _HANGS_ON[condition]
        return (what, condition, *((name, getattr(self, name)) for name in hangs_on))

    def _of_condition(
        self,
        what: str,
        condition: str,
        names: tuple[str, ...],
        make: Callable[[np.ndarray | None], np.ndarray],
    ) -> np.ndarray:
        """make(c) for a condition, kept by `_key`."""
        key = self._key(what, condition, names)
        return self.remember(key, lambda: make(self.vector(condition)))

    def _shares(self) -> dict[str, np.ndarray]:
        """The shares left of each draw, by condition; those that are not kept yet are computed
        together."""
        keys = {name: self._key("left", name, ("molecule", "seed", "sigma")) for name in CONDITIONS}
        new = [name for name, key in keys.items() if key not in self._kept]
        fresh = {}
        if new:
            told = [self.vector(name) for name in new]
            left = shares_left_under(self.model, self.atoms, self.sigma, told, self.seed)
            fresh = dict(zip(new, left, strict=True))
        return {
            name: self.remember(key, lambda name=name: fresh[name]) for name, key in keys.items()
        }

    def _gates(self, condition: str) -> np.ndarray:
        return self._of_condition(
            "gates", condition, ("molecule",), lambda c: gates(self.model, self.atoms, c)
        )

    def _spread_order(self) -> np.ndarray:
        under_each = [self._gates(name) for name in CONDITIONS]
        spread = np.std(under_each, axis=0).mean(0)  # (4, layers, d) -> (d)
        return np.argsort(-spread, kind="stable")

    # ----------------------------------------------------------------------------------------------
    # the drawing

    def picture(self) -> str:
        """Bars of the noise left under the four conditions; the gates under the present one, and
        how far they are from those under the mask token."""
        values = self.state()
        bars = svg_charts.bars(
            CONDITIONS,
            100 * np.array([values[f"left_{c}"] for c in CONDITIONS]),
            100 * np.array([values[f"error_{c}"] for c in CONDITIONS]),
            f"Noise left in {values['formula']} when told …",
            f"noise left (%), mean of {DRAWS} draws ± standard error",
            CONDITIONS.index(self.condition),
            (100.0, "no denoising"),
            ["minus “none”", *(difference(c, values) if c != "none" else "" for c in CONDITIONS)],
            PLOTS_WIDTH,
        )
        now = self._gates(self.condition)[:, self.order]
        none = self._gates("none")[:, self.order]
        rows = [f"layer {k}" for k in range(len(now))]
        gate_map = svg_charts.heat_map(
            now,
            rows,
            f"Gates 1 + tanh α when told “{self.condition}”",
            f"{now.shape[1]} channels",
            1.0,
            1.0,
            ("closed", "twice as loud"),
            PLOTS_WIDTH,
        )
        most = max(np.abs(self._gates(name) - self._gates("none")).max() for name in CONDITIONS)
        change = svg_charts.heat_map(
            now - none,
            rows,
            "The same gates minus those when told “none”",
            "the same channels, those that a condition moves most at the left",
            0.0,
            next(reach for reach in _REACHES if most <= reach),
            ("quieter", "louder"),
            PLOTS_WIDTH,
        )
        return svg.stack([bars, gate_map, change])

    def to_svg(self) -> str:
        """The displaced molecule with its arrows, the picture, and the numbers in words."""
        return svg.stack([self.view.to_svg(), self.picture()], self.text_lines())

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        return describe(self.state())

    def redraw(self) -> None:
        """Change picture and view in place."""
        # what may fail, before anything changes
        picture = self.picture()
        arrows = self.arrows()
        self.drawing.value = picture
        self.view.show(self.displaced, arrows, title=self._title())  # one message

    def _title(self) -> str:
        return f"{self.atoms.get_chemical_formula()} displaced, σ = {self.sigma:.3f} Å"

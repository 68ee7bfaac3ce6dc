"""What a condition does: one noisy molecule, denoised by a network that was told what it is,
nothing, or something else.

    c = embedding(x)                     what the network says of the clean molecule, one vector
                                         `self_embedding`
    ε̂ = σ · model(x + ε | c).noise       what it answers when told c
                                          `answer`
    |ε̂ − ε|² / |ε|²                      the share of the noise that is left
                                          `noise_left`
    1 + tanh α(c)                        how loud each channel of each layer is under c
                                         `gates`

Four conditions are compared: the molecule's "own" embedding; "none", the mask token, which is the
network as it is fine-tuned; the embedding of an "other" molecule; and a "mix", (1 − t) own + t
other. All four denoise the same draws of the noise. What one draw leaves differs much from draw to
draw, and hardly from condition to condition, so two conditions are to be compared draw by draw: the
error of the mean difference is far below that of either mean.

Self-conditioned denoising: arXiv:2603.17196; gates: `nn/adaln.py`.
"""

from collections import OrderedDict

import ase
import ipywidgets as widgets
import numpy as np
import traitlets

from scdlab import files
from scdlab.analysis.conditions import (
    DRAWS,
    MeanAndError,
    answer,
    check_conditional,
    gates,
    mixed,
    self_embedding,
    shares_left,
)
from scdlab.analysis.denoising import SIGMAS, displacements, unexplained_noise
from scdlab.atoms import AtomStore
from scdlab.explore import noise, svg
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import Explorer, lines_table

CONDITIONS = ("own", "none", "other", "mix")
_WIDTH = (
    470  # pixels of the picture: with the molecule's 350 it fits a notebook beside the file browser
)
_REACHES = (
    0.02,
    0.05,
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    1.0,
    1.5,
    2.0,
)  # where the colors of a change may end


# --------------------------------------------------------------------------------------------------
# the functions


# --------------------------------------------------------------------------------------------------
# the explorer


class SvgExplorer(Explorer):
    """An Explorer whose `picture` is svg text: no FigureWidget, which is 5 MB in a page.

    State, controls and errors are as there. Numbers that cost something are kept (`_remember`), and
    a state that is drawn already is not drawn again; a subclass sets `_cache` and `_drawn` before
    it reads the one, and `_drawn` to `_key()` once all is drawn."""

    def __init__(self, **controls: widgets.Widget):
        self.message, self.controls, self.drawn = (
            widgets.HTML(),
            controls,
            widgets.HTML(self.picture()),
        )
        row = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
        widgets.VBox.__init__(
            self, [row, self.message, self.drawn]
        )  # that of Explorer makes a figure
        for name, control in controls.items():
            self._link(name, control)
        self.observe(self._changed, names=list(self.names))

    def picture(self) -> str:
        """The picture of the present state, as svg text."""
        raise TypeError(f"{type(self).__name__} must define picture(self) -> str.")

    def still(self) -> str:
        return self.picture()

    def _redraw(self) -> None:
        self.drawn.value = self.picture()

    def _key(self) -> tuple:
        return tuple(getattr(self, name) for name in self.names)

    def _remember(self, key: tuple, make):
        """make(), kept under `key`; the last 300 are."""
        if key not in self._cache:
            self._cache[key] = make()
            if len(self._cache) > 300:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _changed(self, change) -> None:
        if self._key() == self._drawn:  # several traits set together are drawn once
            return
        self._drawn = None  # what failed is drawn again, whatever comes next
        super()._changed(change)
        self._drawn = self._key()

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and its svg for places without a kernel."""
        return widgets.VBox._repr_mimebundle_(self, **kwargs) | {"image/svg+xml": self.still()}


class ConditionExplorer(SvgExplorer):
    """A noisy molecule, denoised under a condition one can choose: what being told helps, and what
    it changes inside.

    model: one of scdlab's conditional models. store: an AtomStore, by default the kit's sample of
    QM9; its first 1,000 molecules can be chosen.

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
    that pictures compare. Raises ValueError for another model, and for what no slider reaches.
    """

    names = ("molecule", "other", "condition", "mix", "sigma", "seed")
    molecule = traitlets.Int()
    other = traitlets.Int()
    seed = traitlets.Int()
    condition = traitlets.Unicode("own")
    mix = traitlets.Float(0.5)
    sigma = traitlets.Float(0.04)

    def __init__(
        self,
        model,
        store=None,
        molecule: int = 0,
        other: int = 1,
        condition: str = "own",
        mix: float = 0.5,
        sigma: float = 0.04,
        seed: int = 0,
    ):
        check_conditional(model)
        self.store = (
            AtomStore.open(files.package_dir("data") / "qm9-sample") if store is None else store
        )
        self.model = model
        self._cache = OrderedDict()
        self._drawn = None
        self.molecule = molecule
        self.other = other
        self.condition = condition
        self.mix = mix
        self.sigma = sigma
        self.seed = seed
        self.order = self._spread_order()  # [d], of the channels
        self.view = MoleculeView(
            self.displaced, self.arrows(), title=self._title(), size=(350, 330)
        )
        self.words = widgets.HTML()
        row = dict(style={"description_width": "80px"}, layout=widgets.Layout(width="330px"))
        last = min(len(self.store), 1000) - 1
        super().__init__(
            molecule=widgets.IntSlider(molecule, 0, last, description="molecule", **row),
            other=widgets.IntSlider(other, 0, last, description="other", **row),
            condition=widgets.Dropdown(
                options=CONDITIONS, value=condition, description="condition", **row
            ),
            mix=widgets.FloatSlider(
                mix, min=0, max=1, step=0.01, description="mix", readout_format=".2f", **row
            ),
            sigma=widgets.FloatLogSlider(
                value=sigma,
                min=-386 * noise.STEP,
                max=-46 * noise.STEP,
                step=noise.STEP,
                description="σ (Å)",
                readout_format=".3f",
                **row,
            ),
            seed=widgets.IntSlider(seed, 0, 99, description="seed", **row),
        )
        wrap = widgets.Layout(flex_flow="row wrap")
        both = widgets.HBox([self.view, self.drawn], layout=wrap)
        self.children = [
            widgets.HBox(list(self.controls.values()), layout=wrap),
            self.message,
            both,
            self.words,
        ]
        self._tell()
        self._drawn = self._key()

    # ----------------------------------------------------------------------------------------------
    # the state

    @traitlets.validate("molecule", "other", "seed")
    def _check_range(self, proposal):
        name = proposal["trait"].name
        value = proposal["value"]
        last = 99 if name == "seed" else min(len(self.store), 1000) - 1
        if not 0 <= value <= last:
            what = "seed" if name == "seed" else f"{name}, a row of the store,"
            raise ValueError(f"The explorer's {what} goes from 0 to {last}, not {value}.")
        return value

    @traitlets.validate("condition")
    def _check_condition(self, proposal):
        if proposal["value"] not in CONDITIONS:
            raise ValueError(
                f"The condition is one of {', '.join(map(repr, CONDITIONS))}, not "
                f"{proposal['value']!r}."
            )
        return proposal["value"]

    @traitlets.validate("mix")
    def _check_mix(self, proposal):
        mixed(0.0, 0.0, proposal["value"])
        return proposal["value"]

    @traitlets.validate("sigma")
    def _check_sigma(self, proposal):
        sigma = proposal["value"]
        (low, high) = SIGMAS[[0, -1]]
        if not 0.998 * low <= sigma <= 1.002 * high:  # the slider's ends lie within; NaN does not
            raise ValueError(f"The explorer shows sigma from {low:g} to {high:g} Å, not {sigma:g}.")
        return sigma

    def refresh(self) -> None:
        """Compute all numbers anew, and sort the channels anew: after training the model
        further."""
        self._cache.clear()
        self.order = self._spread_order()
        self._drawn = None
        self._changed({"name": "model"})

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
        """A condition, by default the present one, as the model is told it: [d], None for the mask
        token."""
        condition = condition or self.condition
        if condition == "none":
            return None
        own, other = (self._embedding(row) for row in (self.molecule, self.other))
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
            "molecule seed sigma",
            lambda c: answer(self.model, self.atoms, self.displaced.positions, c),
        )

    def state(self) -> dict:
        """The traits, and every number displayed."""
        shares = {name: self._shares(name) for name in CONDITIONS}
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

    def arrows(self) -> dict:
        """The arrows that are drawn, as `view_molecule` takes them: the ways back −ε and −ε̂, from
        the displaced atoms."""
        scale = dict(unit="Å", scale=noise.magnification(self.sigma))
        back = {"show_noise": -self.noise(), "show_answer": -self.answer()}
        return {
            noise._ARROWS[key][0]: dict(vectors=v, color=noise._ARROWS[key][1], **scale)
            for key, v in back.items()
        }

    # ----------------------------------------------------------------------------------------------
    # the numbers

    def _atoms(self, row: int) -> ase.Atoms:
        name = f"Molecule {row}"
        return self._remember(("atoms", row), lambda: noise._checked(self.store.to_ase(row), name))

    def _embedding(self, row: int) -> np.ndarray:
        return self._remember(
            ("embedding", row), lambda: self_embedding(self.model, self._atoms(row))
        )

    def _of_condition(self, what: str, condition: str, names: str, make):
        """make(c) for a condition, kept under the traits `names` and under those that the condition
        hangs on."""
        names += {"own": " molecule", "none": "", "other": " other", "mix": " molecule other mix"}[
            condition
        ]
        key = (what, condition, *((name, getattr(self, name)) for name in names.split()))
        return self._remember(key, lambda: make(self.vector(condition)))

    def _shares(self, condition: str) -> np.ndarray:
        return self._of_condition(
            "shares",
            condition,
            "molecule seed sigma",
            lambda c: shares_left(self.model, self.atoms, self.sigma, c, self.seed),
        )

    def _gates(self, condition: str) -> np.ndarray:
        return self._of_condition("gates", condition, "", lambda c: gates(self.model, c))

    def _spread_order(self) -> np.ndarray:
        spread = np.std([self._gates(name) for name in CONDITIONS], axis=0).mean(
            0
        )  # (4, layers, d) -> (d)
        return np.argsort(-spread, kind="stable")

    # ----------------------------------------------------------------------------------------------
    # the drawing

    def picture(self) -> str:
        """Bars of the noise left under the four conditions; the gates under the present one, and
        how far they are from those under the mask token."""
        told = self.state()
        at = CONDITIONS.index(self.condition)
        left, errors = (
            100 * np.array([told[f"{what}_{c}"] for c in CONDITIONS]) for what in ("left", "error")
        )
        bars = svg.bars(
            CONDITIONS,
            left,
            errors,
            f"Noise left in {told['formula']} when told …",
            f"noise left (%), mean of {DRAWS} draws ± standard error",
            at,
            (100.0, "no denoising"),
            ["minus “none”", *(_difference(c, told) if c != "none" else "" for c in CONDITIONS)],
            _WIDTH,
        )
        now, none = (self._gates(name)[:, self.order] for name in (self.condition, "none"))
        rows = [f"layer {k}" for k in range(len(now))]
        gate_map = svg.heat_map(
            now,
            rows,
            f"Gates 1 + tanh α when told “{self.condition}”",
            f"{now.shape[1]} channels",
            1.0,
            1.0,
            ("closed", "twice as loud"),
            _WIDTH,
        )
        most = max(np.abs(self._gates(name) - self._gates("none")).max() for name in CONDITIONS)
        change = svg.heat_map(
            now - none,
            rows,
            "The same gates minus those when told “none”",
            "the same channels, those that a condition moves most at the left",
            0.0,
            next(reach for reach in _REACHES if most <= reach),
            ("quieter", "louder"),
            _WIDTH,
        )
        return svg.below([bars, gate_map, change])

    def still(self) -> str:
        """The displaced molecule with its arrows, the picture, and the numbers in words."""
        return svg.below(
            [self.view.still(), self.picture()], [f"{name}: {text}" for name, text in self._lines()]
        )

    def _title(self) -> str:
        return f"{self.atoms.get_chemical_formula()} displaced, σ = {self.sigma:.3f} Å"

    def _lines(self) -> list[tuple[str, str]]:
        return in_words(self.state())

    def _tell(self) -> None:
        self.words.value = lines_table(self._lines(), "line-height: 1.35; max-width: 950px")

    def _link(self, name: str, control: widgets.Widget) -> None:
        if name not in ("mix", "sigma"):
            return super()._link(name, control)

        def steps(value):
            return np.log10(value) / noise.STEP if name == "sigma" else value / control.step

        def slid(change):
            """A browser moves a slider that was set from Python onto its grid, and says so: that is
            no move."""
            if abs(steps(change["new"]) - steps(getattr(self, name))) > 0.51:
                setattr(self, name, change["new"])

        control.observe(slid, names=["value"])
        self.observe(lambda change: control.set_trait("value", change["new"]), names=[name])

    def _redraw(self) -> None:
        # what may fail, before anything changes
        picture = self.picture()
        arrows = self.arrows()
        self.drawn.value = picture
        self.view.show(self.displaced, arrows, title=self._title())  # one message
        self._tell()


def in_words(told: dict) -> list[tuple[str, str]]:
    """The numbers of `ConditionExplorer.state()` as lines (what, text)."""
    other = f"molecule {told['other']}, {told['other_formula']}"
    means = {
        "own": "its own embedding, that of the clean molecule",
        "none": "nothing: the mask token",
        "other": f"the embedding of {other}",
        "mix": f"{1 - told['mix']:.2f} × its own embedding + {told['mix']:.2f} × that of {other}",
    }
    left = ", ".join(f"{name} {100 * told[f'left_{name}']:.1f} %" for name in CONDITIONS)
    lines = [
        ("told", means[told["condition"]]),
        ("this draw", f"the arrows: {100 * told['unexplained']:.0f} % of this noise is left"),
        ("noise left", f"{left} (mean of {told['draws']} other draws)"),
        (
            "against none",
            ", ".join(_against_none(name, told) for name in ("own", "other", "mix"))
            + " (percentage points on the same draws ± standard error)",
        ),
        (
            "gates",
            f"mean {told['gate_mean']:.2f}, spread {told['gate_spread']:.2f} (1: as without a "
            f"condition); they are {told['gate_change']:.3f} away from those under none on average",
        ),
    ]
    return lines


def _against_none(name: str, told: dict) -> str:
    """Such as "own leaves 1.20 ± 0.30 less"; a difference within two standard errors is called
    none."""
    gain = 100 * told[f"gain_{name}"]
    error = 100 * told[f"gain_error_{name}"]
    if abs(gain) <= 2 * error:
        return f"{name} leaves as much ({_difference(name, told)})"
    return f"{name} leaves {abs(gain):.2f} ± {error:.2f} {'less' if gain > 0 else 'more'}"


def _difference(name: str, told: dict) -> str:
    """What a condition leaves minus what the mask token leaves, in percentage points: "−1.20 ±
    0.30"."""
    less = round(-100 * told[f"gain_{name}"], 2) + 0.0  # no −0.00
    return f"{less:+.2f} ± {100 * told[f'gain_error_{name}']:.2f}".replace("-", "−")

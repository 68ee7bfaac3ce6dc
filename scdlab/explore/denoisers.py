"""Noise on one structure, and the answer of every denoiser side by side: what each is told, and how
much of the noise it leaves. The functions are in `analysis/denoisers.py`."""

from collections.abc import Mapping
from typing import Any

import ase
import ipywidgets as widgets
import numpy as np
import traitlets

from scdlab.analysis.conditions import MeanAndError
from scdlab.analysis.denoisers import Denoiser, noise_left_by
from scdlab.analysis.denoising import cosine, displacements, unexplained_noise
from scdlab.explore import svg, svg_charts
from scdlab.explore.controls import (
    check_bounds,
    check_choice,
    plain_number,
    sigma_slider,
)
from scdlab.explore.inputs import Number, Text, Whole
from scdlab.explore.noise_figure import ARROWS
from scdlab.explore.scene import magnification
from scdlab.explore.style import CONTROL_WIDTH, PLOTS_WIDTH, VIEW_WIDTH
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import SvgExplorer

DRAWS = {"one": 1, "mean of 16": 16}


class DenoiserExplorer(SvgExplorer):
    """A structure displaced by noise, and what each denoiser makes of it.

    State, in traits: denoiser (a name: whose answer is drawn), sigma in Å (0.003 to 0.5), seed, and
    draws ("one", or "mean of 16": of how many draws the bars are means). `state()` adds every
    number displayed: left_NAME and error_NAME, the share of the noise that each denoiser leaves in
    the mean over the draws, and its standard error (None for one draw); unexplained and cosine, of
    the draw and the denoiser that are shown.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure before the noise, of two atoms or more.
    denoisers : mapping
        Name -> `analysis.denoisers.Denoiser`; at least one.
    remarks : sequence of str, optional
        Sentences shown below: which denoisers cannot answer, and why.
    denoiser, sigma, seed, draws
        The state at first.

    Raises
    ------
    ValueError
        For no denoisers, a single atom, and what no slider reaches.
    """

    names = ("denoiser", "sigma", "seed", "draws")
    sliding = ("sigma",)
    words_style = f"line-height: 1.35; max-width: {VIEW_WIDTH + PLOTS_WIDTH}px"
    denoiser = Text()
    draws = Text("one")
    seed = Whole()
    sigma = Number(0.04)
    _in_bounds = traitlets.validate("sigma", "seed")(check_bounds)
    _is_choice = traitlets.validate("denoiser", "draws")(check_choice)

    def __init__(
        self,
        atoms: ase.Atoms,
        denoisers: Mapping[str, Denoiser],
        remarks: tuple[str, ...] = (),
        *,
        denoiser: str | None = None,
        sigma: float = 0.04,
        seed: int = 0,
        draws: str = "one",
    ):
        if not denoisers:
            raise ValueError(
                "No denoiser can answer for this structure; "
                + (" ".join(remarks) or "give some as {name: denoiser}.")
            )
        self.atoms = atoms
        self.denoisers = dict(denoisers)
        self.remarks = tuple(remarks)
        first = next(iter(self.denoisers))
        self.denoiser = denoiser if denoiser in self.denoisers else first
        self.sigma = sigma
        self.seed = seed
        self.draws = draws
        self.view = MoleculeView(
            self.displaced, self.arrows(), title=self._title(), size=(VIEW_WIDTH, 330)
        )
        row = dict(
            style={"description_width": "70px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        super().__init__(
            denoiser=widgets.Dropdown(
                options=list(self.denoisers), value=self.denoiser, description="denoiser", **row
            ),
            sigma=sigma_slider(sigma, **row),
            seed=widgets.IntSlider(seed, 0, 99, description="seed", **row),
            draws=widgets.Dropdown(options=list(DRAWS), value=draws, description="draws", **row),
        )

    def lay_out(self) -> list[widgets.Widget]:
        """Controls above, structure and bars side by side, the numbers in words below."""
        both = widgets.HBox([self.view, self.drawing], layout=widgets.Layout(flex_flow="row wrap"))
        return [super().lay_out()[0], self.message, both, self.words]

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
        return list(DRAWS) if name == "draws" else list(self.denoisers)

    def noise(self) -> np.ndarray:
        """The noise ε [n, 3] in Å that is shown."""
        return displacements(self.atoms, self.sigma, self.seed)

    @property
    def displaced(self) -> ase.Atoms:
        """The structure with the noise that is shown."""
        atoms = self.atoms.copy()
        atoms.positions = atoms.positions + self.noise()
        return atoms

    def answer(self) -> np.ndarray:
        """The answer ε̂ [n, 3] in Å of the denoiser that is shown."""
        key = ("answer", self.denoiser, self.sigma, self.seed)
        return self.remember(
            key,
            lambda: self.denoisers[self.denoiser](
                self.atoms, self.displaced.positions[None], self.sigma
            )[0],
        )

    def shares(self) -> dict[str, np.ndarray]:
        """The shares [draws] that each denoiser leaves."""
        key = ("shares", self.sigma, self.seed, self.draws)
        return self.remember(
            key,
            lambda: noise_left_by(
                self.denoisers, self.atoms, self.sigma, self.seed, DRAWS[self.draws]
            ),
        )

    def state(self) -> dict[str, Any]:
        """The traits, and every number displayed.

        Returns
        -------
        dict
            Plain values by name; None for what is not there.
        """
        numbers: dict[str, Any] = {"formula": self.atoms.get_chemical_formula()}
        for name, each in self.shares().items():
            many = len(each) > 1
            mean = MeanAndError.over(each) if many else MeanAndError(float(each[0]), np.nan)
            numbers[f"left_{name}"] = mean.mean
            numbers[f"error_{name}"] = plain_number(mean.error)
        numbers["unexplained"] = float(unexplained_noise(self.answer(), self.noise()))
        numbers["cosine"] = plain_number(cosine(self.answer(), self.noise()))
        return super().state() | numbers

    def arrows(self) -> dict[str, dict[str, Any]]:
        """The ways back −ε and −ε̂, from the displaced atoms, as `view_molecule` takes them.

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

    def picture(self) -> str:
        """Bars of the noise that each denoiser leaves."""
        values = self.state()
        names = list(self.denoisers)
        errors = [values[f"error_{name}"] for name in names]
        how = "one draw" if self.draws == "one" else "mean of 16 draws ± standard error"
        return svg_charts.bars(
            names,
            100 * np.array([values[f"left_{name}"] for name in names]),
            100 * np.array(errors, float),  # None becomes NaN
            f"{values['formula']}, σ = {self.sigma:.3f} Å: what is left of the noise",
            f"squared noise left (%), {how}",
            names.index(self.denoiser),
            (100.0, "the answer “no noise”"),
            width=PLOTS_WIDTH,
            left=118,
        )

    def to_svg(self) -> str:
        """The displaced structure with its arrows, the bars, and the numbers in words."""
        return svg.stack([self.view.to_svg(), self.picture()], self.text_lines())

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        values = self.state()
        alike = "none" if values["cosine"] is None else f"{values['cosine']:.2f}"
        shown = (
            f"{self.denoiser} leaves {100 * values['unexplained']:.0f} % of the squared noise of "
            f"this draw; cosine between answer and noise {alike}"
        )
        return [("shown", shown), *(("cannot answer", why) for why in self.remarks)]

    def redraw(self) -> None:
        """Change picture and view in place."""
        picture = self.picture()  # what may fail, before anything changes
        arrows = self.arrows()
        self.drawing.value = picture
        self.view.show(self.displaced, arrows, title=self._title())  # one message

    def _title(self) -> str:
        return f"{self.denoiser}, σ = {self.sigma:.3f} Å"

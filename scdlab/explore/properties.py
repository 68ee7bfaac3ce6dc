"""Properties predicted from what a network made of a structure, each with an interval that says how
far such predictions are usually off (`analysis/intervals.py`)."""

from collections.abc import Mapping
from typing import Any

import ase
import ipywidgets as widgets
import numpy as np
import traitlets

from scdlab.analysis.embeddings import embed
from scdlab.analysis.intervals import Predictor, predictor
from scdlab.atoms import AtomStore
from scdlab.explore import style, svg
from scdlab.explore.controls import Bounds, check_bounds, check_choice
from scdlab.explore.inputs import Number, Text
from scdlab.explore.place import POOL, Atlas
from scdlab.explore.style import CONTROL_WIDTH
from scdlab.explore.widgets import SvgExplorer

PROPERTIES = ("mu", "alpha", "homo", "lumo", "gap", "zpve", "Cv")
WIDTH = 760


def predictors(atlas: Atlas) -> dict[str, dict[str, Predictor]]:
    """Fits of all properties on the embeddings of an atlas.

    Parameters
    ----------
    atlas : Atlas
        Structures with their embeddings.

    Returns
    -------
    dict
        Name of a model -> name of a property -> its predictor.
    """
    return {
        model: {name: predictor(x, atlas.store.property(name)) for name in PROPERTIES}
        for model, x in atlas.embeddings.items()
    }


class PropertyExplorer(SvgExplorer):
    """Predicted properties of a structure with their intervals.

    State, in traits: model (whose embedding is read) and inside (the share of molecules that the
    interval promises to hold, 0.5 to 0.99). `state()` adds for each property predicted_NAME,
    half_NAME (half the width of the interval), r2_NAME, and true_NAME, None where it is not known.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.
    atlas : Atlas
        The structures of the fits.
    fits : mapping
        As `predictors` gives them.
    true : mapping, optional
        Name of a property -> its label.
    model, inside
        The state at first.

    Raises
    ------
    ValueError
        For elements that a model was not trained on.
    """

    names = ("model", "inside")
    sliding = ("inside",)
    words_style = f"line-height: 1.35; max-width: {WIDTH}px"
    model = Text()
    inside = Number(0.9)
    _in_bounds = traitlets.validate("inside")(check_bounds)
    _is_choice = traitlets.validate("model")(check_choice)

    def __init__(
        self,
        atoms: ase.Atoms,
        atlas: Atlas,
        fits: Mapping[str, Mapping[str, Predictor]],
        true: Mapping[str, float] | None = None,
        *,
        model: str | None = None,
        inside: float = 0.9,
    ):
        self.atoms = atoms
        self.atlas = atlas
        self.fits = fits
        self.true = dict(true or {})
        one = AtomStore.geometry(atoms)
        self.own = {name: embed(atlas.models[name], one, n=None, pool=POOL)[0] for name in fits}
        self.model = model if model in fits else next(iter(fits))
        self.inside = inside
        row = dict(
            style={"description_width": "70px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        slider = dict(min=0.5, max=0.99, step=0.01, readout_format=".2f", description="inside")
        super().__init__(
            model=widgets.Dropdown(
                options=list(fits), value=self.model, description="model", **row
            ),
            inside=widgets.FloatSlider(inside, **slider, **row),
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
        """
        return Bounds(0.5, 0.99, "", 1e-6)

    @property
    def fit(self) -> Mapping[str, Predictor]:
        """The predictors of the model, by property."""
        return self.fits[str(self.model)]

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
        return list(self.fits)

    def lay_out(self) -> list[widgets.Widget]:
        """Controls above, the intervals, the words."""
        return [*super().lay_out(), self.words]

    def state(self) -> dict[str, Any]:
        """The traits, and every number displayed.

        Returns
        -------
        dict
            Plain values by name; None for a label that is not known.
        """
        numbers: dict[str, Any] = {"formula": self.atoms.get_chemical_formula()}
        for name, fit in self.fit.items():
            numbers[f"predicted_{name}"] = float(fit(self.own[str(self.model)])[0])
            numbers[f"half_{name}"] = fit.half_width(1 - self.inside)
            numbers[f"r2_{name}"] = fit.r2
            numbers[f"true_{name}"] = self.true.get(name)
        return super().state() | numbers

    def picture(self) -> str:
        """For each property a line from the 1st to the 99th percentile of the atlas, with the
        interval and the label on it."""
        values = self.state()
        title = f"{values['formula']}, read off {self.model}"
        body = [svg.text(8, 16, title, "start")]
        left = 120
        right = WIDTH - 250
        for k, name in enumerate(self.fit):
            y = 48 + 38 * k
            known = self.atlas.store.property(name)
            low, high = np.quantile(known, [0.01, 0.99])
            half = values[f"half_{name}"]
            middle = values[f"predicted_{name}"]

            def across(value: float, low: float = low, high: float = high) -> float:
                return left + float(np.clip((value - low) / (high - low), -0.04, 1.04)) * (
                    right - left
                )

            unit = self.atlas.store.units(name)
            body.append(svg.text(left - 28, y + 4, name, "end"))
            body.append(svg.line(left, y, right, y, style.GRAY))
            for end, anchor in ((low, "start"), (high, "end")):
                words = f"{end:.4g}".replace("-", "−")
                body.append(svg.text(across(end), y + 17, words, anchor))
            a, b = across(middle - half), across(middle + half)
            body.append(
                f'<rect class="interval" x="{a:.1f}" y="{y - 6}" width="{max(b - a, 2):.1f}" '
                f'height="12" fill="{style.BLUE}" opacity="0.35"/>'
            )
            x = across(middle)
            body.append(svg.line(x, y - 9, x, y + 9, style.BLUE, 'stroke-width="3"'))
            true = values[f"true_{name}"]
            words = f"{middle:.3g} ± {half:.2g} {unit}".replace("-", "−")
            if true is not None:
                look = f'fill="{style.VERMILION}" stroke="white"'
                body.append(f'<circle cx="{across(true):.1f}" cy="{y}" r="5" {look}/>')
                words += f"; true {true:.3g}".replace("-", "−")
            body.append(svg.text(right + 24, y + 4, words, "start"))
        y = 48 + 38 * len(self.fit)
        legend = "gray: where 98 % of the atlas lie; blue: prediction and interval"
        legend += "; red: the label" if self.true else ""
        body.append(svg.text(8, y + 4, legend, "start"))
        return svg.document(WIDTH, y + 16, body, f"{title}: " + "; ".join(self.text_lines()))

    def to_svg(self) -> str:
        """The intervals, and the numbers in words."""
        return svg.stack([self.picture()], self.text_lines())

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        values = self.state()
        best = ", ".join(f"{name} {values[f'r2_{name}']:.2f}" for name in self.fit)
        n = len(next(iter(self.fit.values())).residuals)
        lines = [
            ("R² on others", best),
            (
                "promise",
                f"{100 * self.inside:.0f} % of molecules drawn as the {n:,} set aside lie inside; "
                "no promise for a molecule that is not like those of QM9",
            ),
        ]
        if self.true:
            hit = sum(
                abs(values[f"true_{name}"] - values[f"predicted_{name}"]) <= values[f"half_{name}"]
                for name in self.true
            )
            lines.append(("kept?", f"{hit} of {len(self.true)} labels lie inside"))
        return lines

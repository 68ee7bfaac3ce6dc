"""Controls of widgets, and the checks of the values that they set."""

import math
from typing import Any, NamedTuple

import ipywidgets as widgets

# Of sliders for σ, in log₁₀ σ: their grid holds 1, 2, 3, 4, 5, 6, 8 and 9 times 0.01, …, to 0.2 %.
SIGMA_STEP = 1 / 153
SIGMA_ENDS = (-386 * SIGMA_STEP, -46 * SIGMA_STEP)  # in log₁₀ σ: 0.003 and 0.5 Å


class Bounds(NamedTuple):
    """What values a trait may have.

    Attributes
    ----------
    low, high : float
        The ends.
    where : str
        Words behind them in errors: a unit, or what they hang on.
    slack : float
        How far beyond an end a value may be, for rounding.
    """

    low: float
    high: float
    where: str = ""
    slack: float = 0.0


SIGMA_BOUNDS = Bounds(10 ** SIGMA_ENDS[0], 10 ** SIGMA_ENDS[1], " Å", 1e-6)


def sigma_slider(value: float, **options: Any) -> widgets.FloatLogSlider:
    """A slider for the size of the noise, 0.003 to 0.5 Å.

    Parameters
    ----------
    value : float
        In Å.
    **options
        Looks, as ipywidgets takes them.

    Returns
    -------
    ipywidgets.FloatLogSlider
        The slider.
    """
    return widgets.FloatLogSlider(
        value=value,
        min=SIGMA_ENDS[0],
        max=SIGMA_ENDS[1],
        step=SIGMA_STEP,
        description="σ (Å)",
        readout_format=".3f",
        **options,
    )


def check_bounds(self: Any, proposal: Any) -> Any:
    """Refuse a value outside of `Explorer.bounds`. To be registered with `traitlets.validate`.

    Parameters
    ----------
    self : Explorer
        The widget.
    proposal : traitlets.Bunch
        As traitlets gives it to a validator.

    Returns
    -------
    float
        The value.

    Raises
    ------
    ValueError
        For a value outside, and for NaN.
    """
    name = proposal["trait"].name
    value = proposal["value"]
    low, high, where, slack = self.bounds(name)
    if not low - slack <= value <= high + slack:  # NaN is not
        raise ValueError(
            f"The explorer's {name} must be between {_short(low)} and {_short(high)}{where}, got "
            f"{value}."
        )
    return value


def check_choice(self: Any, proposal: Any) -> Any:
    """Refuse a value that is not in `Explorer.choices`. To be registered with `traitlets.validate`.

    Parameters
    ----------
    self : Explorer
        The widget.
    proposal : traitlets.Bunch
        As traitlets gives it to a validator.

    Returns
    -------
    str
        The value.

    Raises
    ------
    ValueError
        For any other value.
    """
    name = proposal["trait"].name
    known = self.choices(name)
    if proposal["value"] not in known:
        raise ValueError(
            f"The explorer's {name} must be one of {', '.join(map(repr, known))}, got "
            f"{proposal['value']!r}."
        )
    return proposal["value"]


def steps_of(control: Any, value: float) -> float:
    """Where a value is on a slider, in steps.

    Parameters
    ----------
    control : ipywidgets.Widget
        A slider, linear or logarithmic.
    value : float
        A value.

    Returns
    -------
    float
        Steps from zero, or from one on a logarithmic slider.
    """
    logarithmic = isinstance(control, widgets.FloatLogSlider)
    return (math.log10(value) if logarithmic else value) / control.step


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def plain_number(value: float) -> float | None:
    """A plain float for a state.

    Parameters
    ----------
    value : float
        A number of any kind, or NaN.

    Returns
    -------
    float or None
        None for what is not finite.
    """
    return float(value) if math.isfinite(value) else None

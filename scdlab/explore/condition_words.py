"""The numbers of ConditionExplorer in words."""

from typing import Any

CONDITIONS = ("own", "none", "other", "mix")


def describe(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The numbers of `ConditionExplorer.state()` in words.

    Parameters
    ----------
    values : dict
        The numbers.

    Returns
    -------
    list of (str, str)
        (what, text) each.
    """
    other = f"molecule {values['other']}, {values['other_formula']}"
    own_part = f"{1 - values['mix']:.2f} × its own embedding"
    means = {
        "own": "its own embedding, that of the clean molecule",
        "none": "nothing: the mask token",
        "other": f"the embedding of {other}",
        "mix": f"{own_part} + {values['mix']:.2f} × that of {other}",
    }
    left = ", ".join(f"{name} {100 * values[f'left_{name}']:.1f} %" for name in CONDITIONS)
    against = ", ".join(_against_none(name, values) for name in ("own", "other", "mix"))
    gate = f"mean {values['gate_mean']:.2f}, spread {values['gate_spread']:.2f}"
    away = f"they are {values['gate_change']:.3f} away from those under none on average"
    return [
        ("told", means[values["condition"]]),
        ("this draw", f"the arrows: {100 * values['unexplained']:.0f} % of this noise is left"),
        ("noise left", f"{left} (mean of {values['draws']} other draws)"),
        ("against none", f"{against} (percentage points on the same draws ± standard error)"),
        ("gates", f"{gate} (1: as without adaLN); {away}"),
    ]


def _against_none(name: str, values: dict[str, Any]) -> str:
    """Such as "own leaves 1.20 ± 0.30 less"; a difference within two standard errors is called
    none."""
    gain = 100 * values[f"gain_{name}"]
    error = 100 * values[f"gain_error_{name}"]
    if abs(gain) <= 2 * error:
        return f"{name} leaves as much ({difference(name, values)})"
    return f"{name} leaves {abs(gain):.2f} ± {error:.2f} {'less' if gain > 0 else 'more'}"


def difference(name: str, values: dict[str, Any]) -> str:
    """What a condition leaves minus what the mask token leaves, in percentage points.

    Parameters
    ----------
    name : str
        The condition.
    values : dict
        The numbers.

    Returns
    -------
    str
        Such as "−1.20 ± 0.30".
    """
    less = round(-100 * values[f"gain_{name}"], 2) + 0.0  # no −0.00
    return f"{less:+.2f} ± {100 * values[f'gain_error_{name}']:.2f}".replace("-", "−")

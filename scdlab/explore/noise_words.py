"""The numbers of the noise explorer in words."""

from typing import Any

from scdlab.explore.noise_figure import REGIMES

ROOM = 8.617333e-5 * 300  # eV; k_B T at 300 K


def regime(sigma: float) -> str:
    """What noise of this size does, in words; the borders lie at the geometric middle, and as far
    beyond.

    Parameters
    ----------
    sigma : float
        In Å.

    Returns
    -------
    str
        The words.
    """
    small, large = REGIMES
    middle = (small * large) ** 0.5
    if sigma < middle:
        return "the regularizing regime (around 0.005 Å)"
    if sigma < large**2 / middle:
        return "the corrupting regime (around 0.04 Å)"
    return "beyond both regimes"


def describe(values: dict[str, Any], sigma: float, reference: str = "") -> list[tuple[str, str]]:
    """The numbers of `NoiseExplorer.state()` in words.

    Parameters
    ----------
    values : dict
        The numbers.
    sigma : float
        In Å.
    reference : str, optional
        The name of the reference.

    Returns
    -------
    list of (str, str)
        (what, text) each.
    """
    moved = f"an atom moves by {values['noise_length']:.3f} Å on average"
    lines = [("noise", f"σ = {sigma:.3f} Å, {values['regime']}; {moved}")]
    if values["bonds"]:
        mean = f"{values['bonds_blurred_mean']:.2g} on average over {values['draws']} draws"
        blurred = f"{values['bonds_blurred']} of {values['bonds']} now read as another order"
        lines.append(("bonds", f"{blurred} ({mean})"))
    else:
        lines.append(("bonds", "single by necessity: there is no order to blur"))
    if values["energy_rise"] is not None:
        rise = values["energy_rise"]
        heat = f"{rise / ROOM:,.0f}" if abs(rise) > 10 * ROOM else f"{rise / ROOM:.2g}"
        lines.append(("energy", f"{rise:+.3g} eV ({reference}), {heat} kT at 300 K"))
    if values["cos_back_force"] is not None:
        force = f"an atom's force is {values['force_length']:.3g} eV/Å on average"
        lines.append(("force", f"cos(−ε, F) = {values['cos_back_force']:.2f}; {force}"))
    if values["cos_answer_noise"] is not None:
        text = f"cos(ε̂, ε) = {values['cos_answer_noise']:.2f}"
        if values["cos_answer_force"] is not None:
            text += f", cos(−ε̂, F) = {values['cos_answer_force']:.2f}"
        left = f"it leaves {100 * values['unexplained']:.0f} % of the noise unexplained"
        lines.append(("network", f"{text}; {left}"))
    return lines

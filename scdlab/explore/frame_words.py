"""The numbers of the frame explorer in words."""

from typing import Any

from scdlab.analysis.scan import WITHIN
from scdlab.explore.frame_pictures import METHODS

# meV; jumps and steps below them are not named: float32 rounds to some 0.001
SMALL = 0.01
STEEP = 0.5
MAX_NEIGHBORS = 12  # that are named: the nearest


def describe(values: dict[str, Any], silent: bool = False) -> list[tuple[str, str]]:
    """The numbers of `FrameExplorer.state()` in words.

    Parameters
    ----------
    values : dict
        The numbers; without those of the energies while they are being computed.
    silent : bool, default False
        The auxiliary model was never trained.

    Returns
    -------
    list of (str, str)
        (what, text) each.
    """
    unit = "°" if values["unit"] == "°" else " Å"
    where = f"{values['moved']:.3f} Å {values['path']}"
    where += f": {values['what']} = {values['coordinate']:.2f}{unit}"
    r = [f"{d:.2f}" for d in values["distances"]]
    many = len(r)
    near = f"{many} neighbor{'s' * (many != 1)} within R_out = {values['outer']:.2f} Å"
    if r:
        more = " …" if many > MAX_NEIGHBORS else ""
        near += f", at {', '.join(r[:MAX_NEIGHBORS])}{more} Å"
    lines = [
        (values["name"], f"moved by {where}; the molecule turned by {values['rotation']:.0f}°"),
        (f"around {values['center_name']}", f"{near}; R_in = {values['inner']:.2f} Å"),
        ("frames", _frames(values, silent)),
    ]
    known = "spread_raw" in values
    lines.append(("verdict", verdict(values) if known else "when the energies are computed."))
    steep = []
    if known:
        steep = [m for m in METHODS if not _jumps(values, m) and _step(values, m) > STEEP]
    if steep:
        text = ", ".join(
            f"{METHODS[name][0]} {_meV(values[f'step_{name}'])} meV{_where(values, name)}"
            for name in steep
        )
        text += f" within {WITHIN} Å"
        if "ecse" in steep and values["prunings"] > 0:
            text += "; with fewer prunings ECSE is gentler"
        lines.append(("no jump, but steep", text))
    return [(what, each.replace("-", "−")) for what, each in lines]


def verdict(values: dict[str, Any]) -> str:
    """Which of the four is flat in a full rotation and which jumps along the path, in one sentence.

    Parameters
    ----------
    values : dict
        The numbers of `FrameExplorer.state()`.

    Returns
    -------
    str
        The sentence.
    """
    spreads = ", ".join(f"{METHODS[name][0]} {_meV(values[f'spread_{name}'])}" for name in METHODS)
    jumps = [
        f"with {METHODS[name][0]} by {_meV(values[f'jump_{name}'])} meV{_where(values, name)}"
        for name in METHODS
        if _jumps(values, name)
    ]
    start = "of the molecule as given"
    if values["turned_at"]:
        start = f"{values['name']} moved by {values['turned_at']:.3f} Å"
    along = f"{' and '.join(jumps)}, else not" if jumps else "with none"
    return (
        f"in a full turn ({start}) the energy varies by {spreads} meV, and along the path it jumps "
        f"{along}."
    )


def _frames(values: dict[str, Any], silent: bool) -> str:
    """How many frames there are, and how much the auxiliary model weighs."""
    auxiliary = values["auxiliary"]
    if values["frames"]:
        hands = ", each with its mirror image" if values["both_hands"] else ""
        text = (
            f"{values['frames_before']} before pruning, {values['frames_after']} after "
            f"{values['prunings_shown']} prunings{hands}; "
        )
        text += "" if values["prunings"] else "this ECSE does not prune; "
        text += f"largest weight {values['largest']:.2f}, w_aux = {auxiliary:.2f}: "
        text += (
            "the auxiliary model has a part" if auxiliary > 0 else "no need of the auxiliary model"
        )
    else:
        text = f"no frame: the auxiliary model answers (w_aux = {auxiliary:.2f})"
    if silent and auxiliary > 0:
        text += ", which was not trained, so what it says is reference energies alone"
    return text


def _step(values: dict[str, Any], name: str) -> float:
    return values[f"step_{name}"] or 0.0


def _jumps(values: dict[str, Any], name: str) -> bool:
    """Whether the change is there however finely the path is cut; of what is only steep little is
    left."""
    jump = values[f"jump_{name}"] or 0.0
    return jump > SMALL and jump > 0.5 * values[f"step_{name}"]


def _where(values: dict[str, Any], name: str) -> str:
    return f" at {values[f'jump_at_{name}']:.2f}{'°' if values['unit'] == '°' else ' Å'}"


def _meV(value: float | None) -> str:
    return "(no frame)" if value is None else f"{value:.{2 if value < 10 else 0}f}"

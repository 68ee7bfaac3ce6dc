"""The numbers of the force explorer in words."""

from typing import Any

import numpy as np


def describe(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The numbers of `ForceExplorer.state()` in words.

    Parameters
    ----------
    values : dict
        The numbers.

    Returns
    -------
    list of (str, str)
        (what, text) each.
    """
    name = values["name"]
    energy = "" if values["energy"] is None else f"energy {values['energy']:.3f} eV, "
    rms = f"RMS force {values['rms_force']:.2f} eV/Å per component"
    lines = [("frame", f"{values['frame']}: {energy}{rms}")]
    if values["model"]:
        text = f"MAE of the clean frame's forces {values['mae']:.1f} meV/Å per component"
        if values["cosine"] is not None:
            text += f", cosine with the true ones {values['cosine']:.3f}"
        lines.append((values["model"], text))
    for what in ("true", "predicted", "difference"):
        if values[what] is not None:
            xyz = ", ".join(f"{x:+.2f}" for x in values[what])
            text = f"({xyz}) eV/Å, length {np.linalg.norm(values[what]):.2f}"
            lines.append((f"{name}, {what}", text))
    lines.append(("corrupted", _corrupted(values)))
    if any(values["true"]):
        lines += _degrees(values)
    else:
        lines.append(("degrees", f"the force on {name} is zero, and so is every degree of it"))
    return [(what, text.replace("-", "−")) for what, text in lines]


def _corrupted(values: dict[str, Any]) -> str:
    """Which atoms DeNS corrupts."""
    chosen = values["corrupted"]
    which = ", ".join(f"{values['symbols'][k]}{k}" for k in chosen) or "none, by chance"
    text = f"{which}: each atom with probability {values['ratio']:.2g}"
    if chosen:
        moved = f"moves them by {values['moved']:.3f} Å (root mean square)"
        own = "is told its force" if values["atom"] in chosen else "stays, told nothing"
        text += f"; noise of σ = {values['sigma']:.3f} Å {moved}; {values['name']} {own}"
    return text


def _degrees(values: dict[str, Any]) -> list[tuple[str, str]]:
    """What each degree of the force holds."""
    near = values["towards"]
    both = [
        f"{a:+.2f} towards F and {b:+.2f} eV/Å towards −F"
        for a, b in zip(near, values["against"], strict=True)
    ]
    angle = values["half_angle"]
    sharp = f"half of that at {angle:.0f}° from F" if angle else "the same to every side"
    total = sum(near[: values["degree"] + 1])
    return [
        ("degree 0", f"1 number: {near[0]:.2f} eV/Å to every side, the length of F alone"),
        ("degree 1", f"3 numbers, exactly F: {both[1]}"),
        ("degree 2", f"5 numbers: {both[2]}, the axis but not the sign"),
        ("degree 3", f"7 numbers: {both[3]}, the sign again, in a narrower lobe"),
        (f"sum, 0 to {values['degree']}", f"{total:.2f} eV/Å towards F, {sharp}"),
    ]

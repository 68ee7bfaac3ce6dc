"""The numbers of the frame explorer: of the frames around an atom, and of the energies."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scdlab.analysis.averages import AveragedEnergies
from scdlab.analysis.rotation import rotation_error
from scdlab.analysis.scan import Path, Scan, right_handed
from scdlab.explore.controls import plain_number


def frame_numbers(
    energies: AveragedEnergies, frames: Mapping[bool | None, Any], pos: np.ndarray, center: int
) -> dict[str, Any]:
    """What there is to say of the frames around an atom.

    Parameters
    ----------
    energies : AveragedEnergies
        The methods.
    frames : mapping
        Frames of all atoms: None -> those of the ECSE, False and True -> before and after pruning.
    pos : numpy.ndarray
        Positions [n, 3] in Å.
    center : int
        The atom.

    Returns
    -------
    dict
        Plain values by name, as in `FrameExplorer.state()`.
    """
    shown = frames[None]
    near, r = energies.neighbors(pos, center)
    weights = shown.weights[right_handed(shown, center)]
    return {
        "neighbors": near.tolist(),
        "distances": r.tolist(),
        "inner": float(shown.inner_radius[center]),
        "outer": energies.ecse.outer_radius,
        "both_hands": energies.ecse.group == "O(3)",
        "frames": len(weights),
        "frames_before": int(right_handed(frames[False], center).sum()),
        "frames_after": int(right_handed(frames[True], center).sum()),
        "prunings": energies.ecse.prunings,
        "prunings_shown": energies.prunings,
        "largest": float(weights.max()) if len(weights) else 0.0,
        "auxiliary": float(shown.auxiliary_weight[center]),
    }


def energy_numbers(
    now: Mapping[str, float],
    turns: Mapping[str, np.ndarray],
    scans: Mapping[str, Scan],
    path: Path,
) -> dict[str, Any]:
    """What there is to say of the energies.

    Parameters
    ----------
    now : mapping
        Name of a method -> the energy of the structure that is shown, eV.
    turns : mapping
        Name -> energies [m] in a full rotation, eV.
    scans : mapping
        Name -> its scan along the path.
    path : Path
        The path.

    Returns
    -------
    dict
        Plain values by name, as in `FrameExplorer.state()`; None for what is not there.
    """
    values = {f"energy_{name}": plain_number(e) for name, e in now.items()}
    for name, e in turns.items():
        values[f"spread_{name}"] = plain_number(1000 * rotation_error(e))
    for name, scan in scans.items():
        values[f"jump_{name}"] = plain_number(1000 * scan.jump)
        values[f"jump_at_{name}"] = plain_number(path.read(scan.at))
        values[f"step_{name}"] = plain_number(1000 * scan.step)
    return values

"""Lesson 05: whether a symmetrized network is smooth, and how the claim is tested here.

See `ecse` for the paper and for what the claims of the lesson share.
"""

import itertools
import math

import numpy as np
import torch

import scdlab
from scdlab.atoms import AtomStore
from scdlab.nn.model import Model
from scdlab.symmetry.averaging import NearestPair, PCAFrames, QRFrames
from scdlab.symmetry.report import remaining_jump

from .claim import Arrays, Claim, Settings, Values, get, register
from .dens import frames
from .ecse import PAPER, exactly, learned, profiles

STRAIGHT = 0.15  # sine of the angle from which a path crosses a line


Path = tuple[np.ndarray, np.ndarray, np.ndarray]  # z [N], first and last positions [N, 3] in Å


def paths(store: AtomStore, cutoff: float) -> dict[str, Path]:
    """Straight paths through places where frames may change.

    Parameters
    ----------
    store : AtomStore
        Structures of one molecule.
    cutoff : float
        The network's, in Å.

    Returns
    -------
    dict
        Name -> atomic numbers [N], first and last positions [N, 3] in Å.
    """
    batch = store.take([0])
    r = store.take([0]).pos.double().numpy()
    # where a path crosses: in the middle of a step, however often split into ten
    z = batch.z.numpy()
    middle = 5 / 9
    found = {"crossing": _crossing(store, middle)}
    # The two nearest neighbors of the middle atom exchange their distances to it.
    center = int(np.linalg.norm(r - r.mean(0), axis=1).argmin())
    d = np.linalg.norm(r - r[center], axis=1)
    one, two = np.argsort(d)[1:3]
    end = r.copy()
    for atom, other in ((one, two), (two, one)):
        end[atom] = r[center] + (r[atom] - r[center]) * d[other] / d[atom]
    found["swap"] = z, r, end
    # The three atoms that are nearly in line come first in the file, and the third crosses the line
    # of the others.
    line = min(itertools.permutations(range(len(z)), 3), key=lambda ijk: _sine(r[list(ijk)]))
    order = [*line, *(k for k in range(len(z)) if k not in line)]
    start = r[order]
    end = r[order]
    axis = (start[1] - start[0]) / np.linalg.norm(start[1] - start[0])
    off = start[2] - start[0] - axis * ((start[2] - start[0]) @ axis)
    end[2] -= off / middle
    found["line"] = z[order], start, end
    # The atoms that are farthest apart lose sight of each other.
    distance = np.linalg.norm(r[:, None] - r[None], axis=-1)
    one, two = np.unravel_index(distance.argmax(), distance.shape)
    start = r.copy()
    end = r.copy()
    for x, away in ((start, cutoff - 0.3), (end, cutoff + 0.1)):
        x[two] = r[one] + (r[two] - r[one]) * away / distance[one, two]
    found["cutoff"] = z, start, end
    return found


def _sine(r: np.ndarray) -> float:
    """Sine of the angle at the first of three atoms; out of the question below STRAIGHT, where the
    path is short."""
    u = r[1] - r[0]
    v = r[2] - r[0]
    sine = np.linalg.norm(np.cross(u, v)) / (np.linalg.norm(u) * np.linalg.norm(v))
    return float(sine) if sine > STRAIGHT else math.inf


def _crossing(store: AtomStore, middle: float) -> Path:
    """A strain along two principal axes, of the frame where least of it makes their moments
    cross."""
    found = []
    for k in range(len(store)):
        batch = store.take([k])
        r = batch.pos.double().numpy()
        r = r - r.mean(0)
        moments, axes = np.linalg.eigh(r.T @ r)
        for a in (0, 1):
            found.append((moments[a + 1] / moments[a], a, axes, r, batch.z.numpy()))
    ratio, a, axes, r, z = min(found, key=lambda each: each[0])
    strain = np.ones(3)
    strain[a : a + 2] += (ratio ** np.array([0.25, -0.25]) - 1) / middle
    return z, r, r @ (axes * strain) @ axes.T


@torch.no_grad()
def walk(model: Model, path: Path, steps: int, levels: int = 1) -> tuple[float, float]:
    """The jump and the steepest slope of the energy along a path.

    All steps are split into ten at the first level, and the ten largest at each one after it; the
    last two levels count.

    Parameters
    ----------
    model : Model
        Gives energies.
    path : tuple
        Atomic numbers [N], first and last positions [N, 3] in Å.
    steps : int
        Steps of the first walk.
    levels : int, default 1
        How often steps are split.

    Returns
    -------
    jump : float
        What is left in meV of the largest step when steps shrink tenfold, 0 where all is smooth.
    slope : float
        The steepest slope, in eV for each Å that all coordinates together move.
    """
    z, start, end = path
    t = np.linspace(0, 1, steps + 1)[None]
    largest = []
    for level in range(levels + 1):
        pos = torch.from_numpy(start + t.reshape(-1, 1, 1) * (end - start)).flatten(0, 1)
        n = t.size
        store = scdlab.AtomStore.from_arrays(np.tile(z, n), pos.numpy(), np.arange(n + 1) * len(z))
        batch = store.take(np.arange(n))
        batch.pos = pos  # float64, finer than the store keeps
        step = model(batch, noise=False).energy.view(t.shape).diff(dim=1).abs().numpy()
        largest.append(float(step.max()))
        row, k = np.unravel_index(
            np.argsort(-step, axis=None)[: 10 if level else steps], step.shape
        )
        t = np.linspace(t[row, k], t[row, k + 1], 11, axis=1)
    slope = largest[-1] * steps * 10**levels / float(np.linalg.norm(end - start))
    return 1e3 * remaining_jump(largest[-2], largest[-1]), slope


def smoothness(settings: Settings, seed: int, device: str) -> Values:
    """The largest jump of each kind of frames, of ECSE and of the network itself along all
    paths."""
    model = exactly(learned(settings, seed, device))
    walks = paths(frames(settings, seed)[2], settings["cutoff"])
    values = {}
    for name, wrapped, levels in (
        ("ecse", scdlab.ECSE(model), settings["levels"]),
        ("pruned", scdlab.ECSE(model, prunings=4), settings["levels"]),
        ("raw", model, settings["levels"]),
        ("pca", PCAFrames(model), 1),
        ("nearest", NearestPair(model), 1),
        ("qr", QRFrames(model), 1),
    ):
        found = {
            where: walk(wrapped, path, settings["path_steps"], levels)
            for where, path in walks.items()
        }
        values[f"jump_{name}_meV"] = max(jump for jump, _ in found.values())
        values[f"slope_{name}_eV_per_A"] = max(slope for _, slope in found.values())
        values |= {f"jump_{name}_{where}_meV": jump for where, (jump, _) in found.items()}
    return {name: values[name] for name in get("ecse-smooth").quantities}


def judge_smoothness(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    others = np.stack([values[f"jump_{name}_meV"] for name in ("pca", "nearest", "qr")])
    largest = others.max(0)
    if np.any(others <= 0.01 * largest):
        return "tie"
    return "reproduced" if np.all(values["jump_ecse_meV"] <= 1e-3 * largest) else "contradicted"


register(
    Claim(
        id="ecse-smooth",
        lesson=5,
        title="ECSE is smooth, where frames that depend on one choice jump.",
        source=f"{PAPER}, its weights; Dym et al. 2024 on frames that weigh alike",
        paper=(
            "in words: the symmetrized model is smooth as the backbone is; no frames that can be "
            "computed efficiently and weigh alike are continuous"
        ),
        quantities={
            "jump_ecse_meV": "largest jump on any path, ECSE",
            "jump_pca_meV": "largest jump on any path, principal axes",
            "jump_nearest_meV": "largest jump on any path, nearest pair",
            "jump_qr_meV": "largest jump on any path, first atoms of the file (QR)",
            "jump_raw_meV": "largest jump on any path, PET as it is",
            "jump_pruned_meV": "largest jump on any path, ECSE with four prunings",
            "jump_pca_crossing_meV": "jump where principal moments cross, principal axes",
            "jump_nearest_swap_meV": "jump where nearest neighbors change places, nearest pair",
            "jump_qr_line_meV": "jump where the first atoms are in line, QR",
            "jump_ecse_crossing_meV": "jump where principal moments cross, ECSE",
            "jump_ecse_swap_meV": "jump where nearest neighbors change places, ECSE",
            "jump_ecse_line_meV": "jump where the first atoms are in line, ECSE",
            "jump_ecse_cutoff_meV": "jump where an atom leaves the cutoff, ECSE",
            "slope_ecse_eV_per_A": "steepest slope on any path, ECSE",
            "slope_pruned_eV_per_A": "steepest slope on any path, ECSE with four prunings",
            "slope_raw_eV_per_A": "steepest slope on any path, PET as it is",
        },
        rule=(
            "Walk along straight paths through a crossing of principal moments, an exchange of the "
            "two nearest neighbors of the middle atom, a line of three atoms and the cutoff, with "
            "path_steps steps, and split the largest into ten, ECSE's as many times as there are "
            "levels; the jump is what remains. Each of the other frames must jump, by more than 1 "
            "% of the largest jump among them in every seed, else it is a tie. Reproduced when "
            "ECSE's jump is at most 1e-3 of the largest in every seed, else contradicted. Slopes "
            "are reported and not judged."
        ),
        judge=judge_smoothness,
        recipe=smoothness,
        profiles=profiles({"path_steps": 5, "levels": 1}, {"path_steps": 50, "levels": 7}),
    )
)

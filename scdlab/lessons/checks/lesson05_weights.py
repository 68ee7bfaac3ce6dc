"""Checks of the exercises of lesson 05 on the weights of ECSE's frames."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from scdlab.lessons.checks import Pending, Wrong, call, check, number_from

DELTA = 0.15  # Δ in Å
W = 0.2
WIDTH = 0.15  # ΔW
PAIRS = (  # r_j, r_k, s, R_in: each factor is between 0 and 1 somewhere
    (1.00, 1.05, 1.00, 1.40),
    (1.00, 1.05, 0.30, 1.40),
    (1.32, 1.05, 0.80, 1.40),
    (1.05, 1.31, 0.80, 1.40),
    (1.33, 1.30, 0.60, 1.40),
    (1.00, 1.00, 0.12, 1.40),
    (1.34, 1.36, 0.15, 1.45),
    (1.00, 1.00, 0.04, 1.40),
    (1.41, 1.00, 0.90, 1.40),
    (1.00, 1.41, 0.90, 1.40),
)


def _step(r: float, stop: float, width: float) -> float:
    """f: 1 up to stop - width, 0 from stop on, smooth."""
    x = 2 * (r - (stop - width / 2)) / width
    if abs(x) >= 1:
        return float(x < 0)
    return 0.5 * (1 + math.tanh(1 / (x + 1) + 1 / (x - 1)))


def _up(s: float, start: float, width: float) -> float:
    """q: 0 up to start, 1 from start + width on."""
    return 1 - _step(s, start + width, width)


def _near(r_j: float, r_k: float, inner: float) -> float:
    return _step(r_j, inner, DELTA) * _step(r_k, inner, DELTA)


def _rise(s: float) -> float:
    """The last factor."""
    return (s - (W - WIDTH)) / WIDTH


def _right(r_j: float, r_k: float, s: float, inner: float) -> float:
    return _near(r_j, r_k, inner) * _up(s, W - WIDTH, WIDTH) * _rise(s)


_WRONG: tuple[tuple[Callable[[float, float, float, float], float], str], ...] = (
    (
        lambda a, b, s, inner: _near(a, b, inner) * _up(s, W - WIDTH, WIDTH),
        "The last factor is missing, (s − (W − ΔW))/ΔW. With f, f and q alone a weight is never "
        "above 1, and the largest may be small though the pair is of use.",
    ),
    (
        lambda a, b, s, inner: _near(a, b, inner) * _rise(s),
        "q is missing: the last factor alone passes through zero at s = W − ΔW and is negative "
        "below, where a frame is about to lose its second axis.",
    ),
    (
        lambda a, b, s, inner: _near(a, b, inner) * max(_rise(s), 0.0),
        "You cut the last factor off at zero: the weight is continuous then, but it has a kink, "
        "and forces jump there. q ends it with all derivatives.",
    ),
    (
        lambda a, b, s, inner: _near(a, b, inner) * _up(s, W, WIDTH) * _rise(s),
        "Your q rises from W to W + ΔW. That is the q of p, in the formula of R_in; the weight's "
        "begins at W − ΔW, so that it is 1 wherever p is not zero.",
    ),
    (
        lambda a, b, s, inner: _step(a, inner, DELTA) * _up(s, W - WIDTH, WIDTH) * _rise(s),
        "The second neighbor's f is missing: a frame is lost when either of the two leaves.",
    ),
    (
        lambda a, b, s, inner: _step(b, inner, DELTA) * _up(s, W - WIDTH, WIDTH) * _rise(s),
        "The first neighbor's f is missing: a frame is lost when either of the two leaves.",
    ),
    (
        lambda a, b, s, inner: _up(s, W - WIDTH, WIDTH) * _rise(s),
        "Both f are missing: a pair beyond R_in must have no weight.",
    ),
    (
        lambda a, b, s, inner: _near(a, b, inner),
        "Nothing depends on s yet: two neighbors in line make no frame and must have no weight.",
    ),
    (
        lambda a, b, s, inner: (
            (_step(a, inner, DELTA) + _step(b, inner, DELTA))
            / 2
            * _up(s, W - WIDTH, WIDTH)
            * _rise(s)
        ),
        "You take a mean of the two f. If one neighbor has left, the frame is gone, so multiply.",
    ),
    (
        lambda a, b, s, inner: _near(a, b, inner + DELTA) * _up(s, W - WIDTH, WIDTH) * _rise(s),
        "f already reaches from R − Δ to R: give it R_in itself, not R_in + Δ.",
    ),
    (
        lambda a, b, s, inner: _near(a, b, inner) * _step(s, W, WIDTH) * _rise(s),
        "Your q falls where it should rise: q(s|ω, δ) = 1 − f(s|ω + δ, δ).",
    ),
    (
        lambda a, b, s, inner: (
            _near(a, b, inner) * _up(math.sqrt(s), W - WIDTH, WIDTH) * _rise(math.sqrt(s))
        ),
        "s is sin² of the angle already: do not take its root.",
    ),
)


@check
def check_weight(answer: Callable[..., Any]) -> str:
    """Check the weight of a frame.

    Parameters
    ----------
    answer : callable
        A function (r_j, r_k, s, inner) of four numbers -> the weight of the frame of two neighbors
        at distances r_j and r_k, with s = sin² of the angle between them and R_in = inner.
    """
    found = [number_from(call(answer, *pair)) for pair in PAIRS]
    if all(
        abs(w - _right(*pair)) < 1e-6 * max(1.0, abs(w))
        for w, pair in zip(found, PAIRS, strict=True)
    ):
        return (
            "Smooth to zero when either neighbor leaves or the two come in line, and "
            f"{_right(1.0, 1.0, 1.0, 1.4):.2f} for two near ones at a right angle."
        )
    for other, hint in _WRONG:
        if all(abs(w - other(*pair)) < 1e-6 for w, pair in zip(found, PAIRS, strict=True)):
            raise Wrong(hint)
    k = max(range(len(PAIRS)), key=lambda k: abs(found[k] - _right(*PAIRS[k])))
    r_j, r_k, s, inner = PAIRS[k]
    raise Wrong(
        f"For r_j = {r_j} Å, r_k = {r_k} Å, s = {s} and R_in = {inner} Å the weight is "
        f"{_right(*PAIRS[k]):.4f}, and yours is {found[k]:.4f}."
    )


def angle_of(w: float) -> float:
    """The angle in degrees, beyond 90, at which two near neighbors make a frame of weight w.

    Parameters
    ----------
    w : float
        The weight, positive.
    """
    low = W - WIDTH
    high = 1.0
    for _ in range(200):
        s = (low + high) / 2
        if _up(s, W - WIDTH, WIDTH) * _rise(s) < w:
            low = s
        else:
            high = s
    return 180 - math.degrees(math.asin(math.sqrt(low)))


@check
def check_takes_over(answer: "float | Callable[[], float]") -> str:
    """Check the angle at which the auxiliary model begins to take over.

    Parameters
    ----------
    answer : float or callable
        The angle between an atom's only two neighbors, in degrees, from which w_aux > 0, or a
        function of nothing that returns it.
    """
    found = number_from(call(answer) if callable(answer) else answer)
    begins = angle_of(0.5)
    complete = 180 - math.degrees(math.asin(math.sqrt(W - WIDTH)))
    if abs(found - begins) <= 0.3:
        return (
            f"w = ½ at {begins:.1f}°. The last trace of the frames is gone at {complete:.1f}°, "
            f"still {180 - complete:.0f}° before the line."
        )
    for value, hint in (
        (math.radians(begins), "That is the angle in radians; it is asked for in degrees."),
        (
            180 - begins,
            "That is how far the angle is from a straight line; take it from 180°.",
        ),
        (
            complete,
            "There the weight is zero, and nothing but the auxiliary model is left. It begins "
            "earlier: w_aux = f(w|½, ½) is above zero as soon as w < ½.",
        ),
        (
            180 - math.degrees(math.asin(math.sqrt(W))),
            "There s = W, and the weight is exactly 1. w_aux = f(w|½, ½) is still zero.",
        ),
        (
            180 - math.degrees(math.asin(math.sqrt(W - WIDTH + WIDTH / 2))),
            "There s is halfway between W − ΔW and W, so q and the last factor are ½ each: their "
            "product is ¼. Where is it ½?",
        ),
        (
            180 - math.degrees(math.asin(_half())),
            "s is sin² of the angle: take the root before the arcsine.",
        ),
    ):
        if abs(found - value) <= 0.3:
            raise Wrong(hint)
    if not 90 < found < 180:
        raise Wrong("The two neighbors come in line, so the angle lies between 90° and 180°.")
    s = math.sin(math.radians(found)) ** 2
    w = _up(s, W - WIDTH, WIDTH) * _rise(s)
    raise Wrong(
        f"At {found:g}° s = {s:.3f} and the weight is {w:.2f}. w_aux = f(w|½, ½) rises above zero "
        "where the weight falls below ½."
    )


def _half() -> float:
    """s where the weight is ½."""
    return math.sin(math.radians(angle_of(0.5))) ** 2


_NAMES = {
    "weights": ("weights", "weight", "w"),
    "axes": ("axes", "axis", "frames", "frame", "f"),
    "nothing": ("nothing", "none", "right", "correct", ""),
}


@check
def check_suspects(answer: "Mapping[str, str] | Callable[[], Mapping[str, str]]") -> str:
    """Check what was cut off from the gradient in each of three versions.

    Parameters
    ----------
    answer : dict or callable
        "A", "B" and "C" -> "weights", "axes" or "nothing", or a function of nothing that returns
        it.
    """
    if callable(answer):
        answer = call(answer)
    if not isinstance(answer, Mapping):
        raise Wrong(
            "The answer should be a dict, as {'A': 'nothing', …}, but it is a "
            f"{type(answer).__name__}."
        )
    found = {}
    for name in "ABC":
        if name not in answer:
            raise Wrong(f"Version {name} is missing.")
        if answer[name] is ...:
            raise Pending
        word = str(answer[name]).strip().lower() if answer[name] is not None else "nothing"
        kinds = [kind for kind, words in _NAMES.items() if word in words]
        if not kinds:
            raise Wrong(
                f"{name} should be 'weights', 'axes' or 'nothing', but it is {answer[name]!r}."
            )
        found[name] = kinds[0]
    if found["B"] != "nothing":
        raise Wrong("Look at B's force error: it is rounding of finite differences, and no more.")
    if "nothing" in (found["A"], found["C"]):
        raise Wrong(
            "Only one version is right, and A and C both have force errors far above B's: "
            "something is cut off in each."
        )
    if found != {"A": "weights", "B": "nothing", "C": "axes"}:
        raise Wrong(
            "Compare the torques of A and C. Weights depend on distances and angles alone, so "
            "their gradient makes no torque, and leaving it out makes none either. Axes rotate "
            "with the molecule."
        )
    return (
        "A leaves out the gradient of the weights, C that of the axes. A has no torque, so a test "
        "of symmetry passes it; only finite differences find it."
    )

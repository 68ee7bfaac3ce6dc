"""Loops of functions that act on each number, or on each row: SiLU and normalization."""

from typing import Any

import numpy as np
from numba import njit

from scdlab.nn.ops.activations import EPSILON
from scdlab.nn.ops.loops.rows import arguments
from scdlab.nn.ops.runtime import Precisions, shared_part
from scdlab.nn.ops.simd import draw, exp, fill, like, load_like, number, put, store, total

EIGHTS = 512  # that a thread draws at once
ROWS = 32


@shared_part
def sigmoid(x: Any, one: Any) -> Any:
    """1 / (1 + e⁻ˣ) of eight numbers."""
    ones = fill(one)
    return ones / (ones + exp(fill(one - one) - x))


@njit(inline="always")
def silu_and_slope(x: Any, one: Any) -> tuple[Any, Any]:
    """SiLU of eight numbers, and its derivative."""
    s = sigmoid(x, one)
    return x * s, s + x * (s * (fill(one) - s))


@njit(inline="always")
def silu_to_curvature(x: Any, one: Any) -> tuple[Any, Any, Any]:
    """SiLU of eight numbers, and its first and second derivatives."""
    s = sigmoid(x, one)
    both = s * (fill(one) - s)
    twos = fill(one + one)
    return x * s, s + x * both, both * (twos + x * (fill(one) - twos * s))


@shared_part
def _silu(data: int, one: Any, word: int) -> None:
    args = arguments(data)
    n = args[1]
    step = 8 * word
    x = args[2]
    y = args[3]
    while True:
        first = draw(data, EIGHTS)
        if first >= n:
            break
        for at in range(step * first, step * min(first + EIGHTS, n), step):
            a = load_like(x + at, one)
            store(y + at, a * sigmoid(a, one))


@shared_part
def _silu_slope(data: int, one: Any, word: int) -> None:
    args = arguments(data)
    n = args[1]
    step = 8 * word
    g = args[2]
    x = args[3]
    gx = args[4]
    while True:
        first = draw(data, EIGHTS)
        if first >= n:
            break
        for at in range(step * first, step * min(first + EIGHTS, n), step):
            _, slope = silu_and_slope(load_like(x + at, one), one)
            store(gx + at, load_like(g + at, one) * slope)


@shared_part
def _silu_curvature(data: int, one: Any, word: int) -> None:
    args = arguments(data)
    n = args[1]
    step = 8 * word
    h = args[2]
    g = args[3]
    x = args[4]
    gg = args[5]
    gx = args[6]
    while True:
        first = draw(data, EIGHTS)
        if first >= n:
            break
        for at in range(step * first, step * min(first + EIGHTS, n), step):
            _, slope, curvature = silu_to_curvature(load_like(x + at, one), one)
            u = load_like(h + at, one)
            store(gg + at, u * slope)
            store(gx + at, u * load_like(g + at, one) * curvature)


@shared_part
def _normalize(data: int, one: Any, word: int) -> None:
    args = arguments(data)
    n = args[1]
    row = word * args[2]
    x = args[3]
    y = args[4]
    scale = args[5]
    part = like(1 / args[2], one)
    while True:
        first = draw(data, ROWS)
        if first >= n:
            break
        for k in range(first, min(first + ROWS, n)):
            at = x + k * row
            sums = fill(one - one)
            for c in range(0, row, 8 * word):
                sums = sums + load_like(at + c, one)
            mean = fill(part * total(sums))
            sums = fill(one - one)
            for c in range(0, row, 8 * word):
                far = load_like(at + c, one) - mean
                sums = sums + far * far
            s = one / np.sqrt(part * total(sums) + like(EPSILON, one))
            put(scale + k * word, s)
            eight = fill(s)
            for c in range(0, row, 8 * word):
                store(y + k * row + c, (load_like(at + c, one) - mean) * eight)


@shared_part
def _normalize_slope(data: int, one: Any, word: int) -> None:
    args = arguments(data)
    n = args[1]
    row = word * args[2]
    g = args[3]
    y = args[4]
    scale = args[5]
    gs = args[6]
    gx = args[7]
    part = like(1 / args[2], one)
    while True:
        first = draw(data, ROWS)
        if first >= n:
            break
        for k in range(first, min(first + ROWS, n)):
            at = k * row
            plain = fill(one - one)
            along = fill(one - one)
            for c in range(at, at + row, 8 * word):
                v = load_like(g + c, one)
                plain = plain + v
                along = along + v * load_like(y + c, one)
            s = number(scale + k * word, one)
            mean = fill(part * total(plain))
            slope = fill(part * (total(along) + s * number(gs + k * word, one)))
            eight = fill(s)
            for c in range(at, at + row, 8 * word):
                store(
                    gx + c, eight * (load_like(g + c, one) - mean - slope * load_like(y + c, one))
                )


@shared_part
def _normalize_curvature(data: int, one: Any, word: int) -> None:
    args = arguments(data)
    n = args[1]
    row = word * args[2]
    h = args[3]
    g = args[4]
    y = args[5]
    scale = args[6]
    gg = args[7]
    gy = args[8]
    gs = args[9]
    part = like(1 / args[2], one)
    while True:
        first = draw(data, ROWS)
        if first >= n:
            break
        for k in range(first, min(first + ROWS, n)):
            at = k * row
            of_h = fill(one - one)
            of_g = fill(one - one)
            h_y = fill(one - one)
            g_y = fill(one - one)
            h_g = fill(one - one)
            for c in range(at, at + row, 8 * word):
                u = load_like(h + c, one)
                v = load_like(g + c, one)
                w = load_like(y + c, one)
                of_h = of_h + u
                of_g = of_g + v
                h_y = h_y + u * w
                g_y = g_y + v * w
                h_g = h_g + u * v
            s = number(scale + k * word, one)
            mean = part * total(of_h)
            along_h = part * total(h_y)
            along_g = part * total(g_y)
            slope = total(h_g) - mean * total(of_g) - along_h * total(g_y)
            put(gs + k * word, slope)
            m = fill(mean)
            a = fill(along_h)
            b = fill(-s * along_g)
            c_g = fill(-s * along_h)
            eight = fill(s)
            for c in range(at, at + row, 8 * word):
                u = load_like(h + c, one)
                store(gg + c, eight * (u - m - a * load_like(y + c, one)))
                store(gy + c, b * u + c_g * load_like(g + c, one))


def silu_single(data: int) -> None:
    """y = x σ(x). Arguments: eights; x, y."""
    _silu(data, np.float32(1.0), 4)


def silu_double(data: int) -> None:
    """The same in float64."""
    _silu(data, np.float64(1.0), 8)


def silu_slope_single(data: int) -> None:
    """gx = g f'(x), f' = σ + x σ (1 - σ). Arguments: eights; g, x, gx."""
    _silu_slope(data, np.float32(1.0), 4)


def silu_slope_double(data: int) -> None:
    """The same in float64."""
    _silu_slope(data, np.float64(1.0), 8)


def silu_curvature_single(data: int) -> None:
    """From h, what stands at gx: gg = h f'(x) and gx = h g f''(x).

    f'' = σ (1 - σ) (2 + x (1 - 2σ))
    Arguments: eights; h, g, x, gg, gx.
    """
    _silu_curvature(data, np.float32(1.0), 4)


def silu_curvature_double(data: int) -> None:
    """The same in float64."""
    _silu_curvature(data, np.float64(1.0), 8)


def normalize_single(data: int) -> None:
    """y = (x - mean) s, s = (variance + ε)^-1/2, of each row.

    Arguments: rows; d, x, y [n, d], s [n].
    """
    _normalize(data, np.float32(1.0), 4)


def normalize_double(data: int) -> None:
    """The same in float64."""
    _normalize(data, np.float64(1.0), 8)


def normalize_slope_single(data: int) -> None:
    """gx = s (g - mean(g) - y (mean(g ∘ y) + s gs / d)), from g at y and gs at s.

    Arguments: rows; d, g, y [n, d], s, gs [n], gx [n, d].
    """
    _normalize_slope(data, np.float32(1.0), 4)


def normalize_slope_double(data: int) -> None:
    """The same in float64."""
    _normalize_slope(data, np.float64(1.0), 8)


def normalize_curvature_single(data: int) -> None:
    """From h, what stands at gx (with gs = 0): the gradients by g, y and s,

    gg = s (h - mean(h) - y mean(h ∘ y)),  gy = -s (h mean(g ∘ y) + g mean(h ∘ y)),
    gs = h · g - d (mean(h) mean(g) + mean(h ∘ y) mean(g ∘ y)).

    Arguments: rows; d, h, g, y [n, d], s [n], gg, gy [n, d], gs [n].
    """
    _normalize_curvature(data, np.float32(1.0), 4)


def normalize_curvature_double(data: int) -> None:
    """The same in float64."""
    _normalize_curvature(data, np.float64(1.0), 8)


silu = Precisions(silu_single, silu_double)
silu_slope = Precisions(silu_slope_single, silu_slope_double)
silu_curvature = Precisions(silu_curvature_single, silu_curvature_double)
normalize = Precisions(normalize_single, normalize_double)
normalize_slope = Precisions(normalize_slope_single, normalize_slope_double)
normalize_curvature = Precisions(normalize_curvature_single, normalize_curvature_double)

"""The read-out of energies, and its derivative: e_i = w₂ · ssp(W₁ x_i + b₁) + b₂."""

import math
from typing import Any, NamedTuple

import numpy as np

from scdlab.compiling import compiled, within
from scdlab.nn.ops.simd import exp, fill, keep_apart, larger, like, load_like, store, total, word

from .products import packed, padded, product
from .shares import start_of

_LN2 = math.log(2.0)
_SERIES = tuple(1 / k for k in range(35, 0, -2))  # of artanh: s + s³/3 + s⁵/5 + …


class ReadOut(NamedTuple):
    """Weights of the head, m features within, padded."""

    w1: np.ndarray  # [d m], packed
    w1_back: np.ndarray  # [m d], packed
    b1: np.ndarray  # [m]
    w2: np.ndarray  # [m]
    b2: np.ndarray  # [1]


def read_out(head: Any, places: np.ndarray, d: int, dtype: np.dtype, kept: np.dtype) -> ReadOut:
    """The weights of an `EnergyHead` of two layers.

    Parameters
    ----------
    head : EnergyHead
        The head, in float64.
    places : ndarray
        Where the features stand among the d padded ones.
    d : int
        How many these are.
    dtype, kept : numpy dtype
        float32 or float64: of the network, and of its matrices.

    Returns
    -------
    ReadOut
        Its weights.
    """
    first = head.mlp[0]
    last = head.mlp[2]
    inner = first.weight.shape[0]
    m = padded(inner)
    w1 = np.zeros((d, m))
    w1[places, :inner] = first.weight.detach().numpy().T
    b1 = np.zeros(m, dtype)
    b1[:inner] = first.bias.detach().numpy()
    w2 = np.zeros(m, dtype)
    w2[:inner] = last.weight.detach().numpy()[0]
    return ReadOut(
        w1=packed(w1, dtype, kept),
        w1_back=packed(w1.T, dtype, kept),
        b1=b1,
        w2=w2,
        b2=last.bias.detach().numpy().astype(dtype),
    )


@within
def _log_one_and(one: Any, t: Any) -> Any:
    """ln(1 + t) for t from 0 to 1: 2 artanh(s), s = t / (2 + t) ≤ 1/3."""
    s = t / (fill(like(2.0, one)) + t)
    square = s * s
    series = fill(like(_SERIES[0], one))
    for coefficient in _SERIES[1:]:
        series = series * square + fill(like(coefficient, one))
    return (s + s) * series


@compiled
def shifted_softplus(one: Any, size: int, x: int, slope: int) -> None:
    """x ← ln(½eˣ + ½), and its slope 1 / (1 + e⁻ˣ), of `size` bytes at two addresses."""
    keep_apart()
    zero = fill(like(0.0, one))
    ones = fill(like(1.0, one))
    ln2 = fill(like(_LN2, one))
    for c in range(0, size, 8 * word(one)):
        a = load_like(x + c, one)
        positive = larger(a, zero)
        near = exp(a - positive - positive)  # of -|x|
        store(x + c, positive + _log_one_and(one, near) - ln2)
        store(slope + c, exp(a - positive) / (ones + near))


@compiled
def times(one: Any, size: int, g: int, slope: int) -> None:
    """g ← g ∘ slope, of `size` bytes at two addresses."""
    keep_apart()
    for c in range(0, size, 8 * word(one)):
        store(g + c, load_like(g + c, one) * load_like(slope + c, one))


@compiled
def energies_and_gradient(
    low: int,
    high: int,
    head: ReadOut,
    x: np.ndarray,
    inner: np.ndarray,
    energies: np.ndarray,
    gx: np.ndarray,
) -> None:
    """What atoms from low to high add to the energy, and its gradient by their features.

    Parameters
    ----------
    low, high : int
        Which atoms.
    head : ReadOut
        The head.
    x : ndarray
        Features, [N, d].
    inner : ndarray
        Overwritten, [N, 2 m].
    energies, gx : ndarray
        Written, [N] and [N, d], in units of the head's scale.
    """
    keep_apart()
    one = x[0, 0]
    weight = head.w1[0]
    d = x.shape[1]
    m = len(head.b1)
    bytes_d = d * word(one)
    bytes_m = m * word(one)
    at = start_of(inner) + 2 * low * bytes_m
    features = start_of(x) + low * bytes_d
    product(
        one, weight, high - low, features, bytes_d, start_of(head.w1), d, d, m,
        start_of(head.b1), np.int64(0), at, 2 * bytes_m,
    )  # fmt: skip
    last = start_of(head.w2)
    for n in range(low, high):
        row = start_of(inner) + 2 * n * bytes_m
        shifted_softplus(one, bytes_m, row, row + bytes_m)
        sum_ = fill(like(0.0, one))
        for c in range(0, bytes_m, 8 * word(one)):
            w2 = load_like(last + c, one)
            sum_ = sum_ + load_like(row + c, one) * w2
            store(row + c, load_like(row + bytes_m + c, one) * w2)
        energies[n] = total(sum_) + head.b2[0]
    zeros = np.zeros(d, x.dtype)
    product(
        one, weight, high - low, at, 2 * bytes_m, start_of(head.w1_back), m, m, d,
        start_of(zeros), np.int64(0), start_of(gx) + low * bytes_d, bytes_d,
    )  # fmt: skip

"""The read-out of energies, and its derivative: e_i = w₂ · ssp(W₁ x_i + b₁) + b₂."""

from typing import Any, NamedTuple

import numpy as np

from .compiled import compiled

_LN2 = float(np.log(2.0))


class ReadOut(NamedTuple):
    """Weights of the head, as matrices that rows are multiplied by."""

    w1: np.ndarray  # [d, d/2]
    b1: np.ndarray  # [d/2]
    w2: np.ndarray  # [d/2]
    b2: np.ndarray  # [1]


def read_out(head: Any, dtype: np.dtype) -> ReadOut:
    """The weights of an `EnergyHead` of two layers.

    Parameters
    ----------
    head : EnergyHead
        The head, in float64.
    dtype : numpy dtype
        float32 or float64.

    Returns
    -------
    ReadOut
        Its weights.
    """
    first = head.mlp[0]
    last = head.mlp[2]
    return ReadOut(
        *(
            np.ascontiguousarray(x.detach().numpy(), dtype=dtype)
            for x in (first.weight.T, first.bias, last.weight[0], last.bias)
        )
    )


@compiled
def shifted_softplus(x: np.ndarray, out: np.ndarray) -> None:
    """ln(½eˣ + ½), written to `out`; both [N, d]."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            a = x[n, c]
            out[n, c] = max(a, 0.0) + np.log1p(np.exp(-abs(a))) - _LN2


@compiled
def times_sigmoid(g: np.ndarray, x: np.ndarray) -> None:
    """g ← g / (1 + e⁻ˣ), the derivative of the shifted softplus times g; both [N, d]."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            g[n, c] /= 1.0 + np.exp(-x[n, c])


def energies_and_gradient(head: ReadOut, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What atoms add to the energy, and its gradient by their features.

    Parameters
    ----------
    head : ReadOut
        The head.
    x : ndarray
        Features, [N, d].

    Returns
    -------
    energies, gradient : ndarray
        [N] and [N, d], in units of the head's scale.
    """
    a = x @ head.w1 + head.b1  # (N, d/2)
    h = np.empty_like(a)
    shifted_softplus(a, h)
    energies = h @ head.w2 + head.b2  # (N)
    h[:] = head.w2
    times_sigmoid(h, a)
    return energies, h @ head.w1.T

"""Energies of the equivariant transformer and their gradient by the pair vectors, without autograd.

The equations are those of `scdlab.nn.et`; the second half takes their derivatives backwards. The
prefix g is the derivative of the energy by what follows it. One table a layer holds all functions
of the distance: dk, and times the cutoff dv in its three parts, so that a pair reads it once. Steps
that go over atoms take turns with steps that go over pairs; threads share each of them.
"""

from typing import NamedTuple

import numpy as np

from scdlab.compiling import compiled, within

from .geometry import Geometry
from .messages import messages, messages_back
from .products import added, multiplied
from .read_out import energies_and_gradient
from .shares import bounds, clear, collect, run, shares_of
from .transformer_atoms import (
    normalize,
    normalize_back,
    receive_own,
    receive_own_back,
    scale,
    scale_back,
    update,
    update_back,
)
from .transformer_pairs import receive, receive_back
from .transformer_weights import TransformerWeights

_ATOMS = 24  # whose features are taken through a step together


class TransformerState(NamedTuple):
    """What a call computes; N atoms, P pairs, S shares, L layers of d features."""

    x: np.ndarray  # [N, d]; on the way back its derivative
    near: np.ndarray  # [N, d], what atoms are to their neighbors
    read: np.ndarray  # [N, d]
    normed: np.ndarray  # [L + 1, N, d], normalized, before weight and bias
    spread: np.ndarray  # [L + 1, N]
    linear: np.ndarray  # [L, N, 5d]: q, k, and the values of y, s¹ and s²
    own_logits: np.ndarray  # [L, N, heads]
    logits: np.ndarray  # [L, P, 2 heads or more]
    o: np.ndarray  # [L, N, 3d]
    u: np.ndarray  # [L, N, 3, 3d]
    v: np.ndarray  # [L, N, 3, d], what layers read
    scaled: np.ndarray  # [N, 3, d], v_j ∘ the values of s¹
    energies: np.ndarray  # [N]
    of_head: np.ndarray  # [N, 2 m]
    zeros: np.ndarray  # [5d]
    go: np.ndarray  # [N, 3d]
    gu: np.ndarray  # [N, 3, 3d]
    gy: np.ndarray  # [N, d]
    gv: np.ndarray  # [N, 3, d]
    gr: np.ndarray  # [P]
    gunit: np.ndarray  # [P, 3]
    sums: np.ndarray  # [S, N, d], what atoms receive
    vector_sums: np.ndarray  # [S, N, 3d], the same of vectors
    linear_sums: np.ndarray  # [S, N, 5d], on the way back


def transformer_state(weights: TransformerWeights, n_atoms: int, n_pairs: int) -> TransformerState:
    """Room for what a call computes.

    Parameters
    ----------
    weights : TransformerWeights
        Of the network.
    n_atoms, n_pairs : int
        N and P.

    Returns
    -------
    TransformerState
        Zeros.
    """
    layers, d = weights.norm_weight.shape
    layers -= 1
    heads = weights.num_heads
    shares = shares_of(n_pairs)
    shapes: dict[str, tuple[int, ...]] = dict(
        x=(n_atoms, d),
        near=(n_atoms, d),
        read=(n_atoms, d),
        normed=(layers + 1, n_atoms, d),
        spread=(layers + 1, n_atoms),
        linear=(layers, n_atoms, 5 * d),
        own_logits=(layers, n_atoms, heads),
        logits=(layers, n_pairs, -(-2 * heads // 8) * 8),
        o=(layers, n_atoms, 3 * d),
        u=(layers, n_atoms, 3, 3 * d),
        v=(layers, n_atoms, 3, d),
        scaled=(n_atoms, 3, d),
        energies=(n_atoms,),
        of_head=(n_atoms, 2 * len(weights.head.b1)),
        zeros=(5 * d,),
        go=(n_atoms, 3 * d),
        gu=(n_atoms, 3, 3 * d),
        gy=(n_atoms, d),
        gv=(n_atoms, 3, d),
        gr=(n_pairs,),
        gunit=(n_pairs, 3),
        sums=(shares, n_atoms, d),
        vector_sums=(shares, n_atoms, 3 * d),
        linear_sums=(shares, n_atoms, 5 * d),
    )
    dtype = weights.start.dtype
    return TransformerState(**{name: np.zeros(shape, dtype) for name, shape in shapes.items()})


@within
def _as_vectors(x: np.ndarray) -> np.ndarray:
    """[N, 3d] as [N, 3, d]."""
    return x.reshape(len(x), 3, x.shape[1] // 3)


@within
def _rows(x: np.ndarray) -> np.ndarray:
    """[N, 3, d] as [3N, d]."""
    return x.reshape(3 * len(x), x.shape[2])


@within
def _update(
    k: int, low: int, high: int, weights: TransformerWeights, state: TransformerState
) -> None:
    """What layer k makes of what atoms have received."""
    layers, d = len(state.linear), state.x.shape[1]
    has_vectors = k > 0
    gives_vectors = k < layers - 1
    collect(low, high, state.sums)
    multiplied(low, high, state.sums[0], d, weights.w_o[k], 3 * d, weights.b_o[k], state.o[k])
    if gives_vectors:
        collect(low, high, state.vector_sums)
    if has_vectors:
        n = 3 * d if gives_vectors else 2 * d
        v = _rows(state.v[k])
        multiplied(3 * low, 3 * high, v, d, weights.w_u[k], n, state.zeros, _rows(state.u[k]))
    v_new = state.v[min(k + 1, layers - 1)]
    w = _as_vectors(state.vector_sums[0])
    update(
        low, high, state.o[k], state.u[k], state.v[k], w, has_vectors, gives_vectors, state.x, v_new
    )


@within
def _send(
    k: int, low: int, high: int, weights: TransformerWeights, state: TransformerState
) -> None:
    """What atoms send in layer k, and receive from themselves."""
    layers, d = len(state.linear), state.x.shape[1]
    has_vectors = k > 0
    gives_vectors = k < layers - 1
    normalize(
        low, high, state.x, weights.norm_weight[k], weights.norm_bias[k], weights.mask,
        state.normed[k], state.spread[k], state.read,
    )  # fmt: skip
    n = 5 * d if gives_vectors else 3 * d
    multiplied(low, high, state.read, d, weights.w_all[k], n, weights.b_all[k], state.linear[k])
    clear(low, high, state.sums)
    if gives_vectors:
        clear(low, high, state.vector_sums)
    receive_own(
        low, high, state.linear[k], weights.zero[k], state.v[k], has_vectors, gives_vectors,
        state.own_logits[k], state.scaled, state.sums[0], _as_vectors(state.vector_sums[0]),
    )  # fmt: skip


@within
def _read_out(low: int, high: int, weights: TransformerWeights, state: TransformerState) -> None:
    """Energies; then x is no longer features, but their derivative."""
    last = len(state.linear)
    of_norm = weights.norm_weight[last]
    normed, spread = state.normed[last], state.spread[last]
    bias = weights.norm_bias[last]
    normalize(low, high, state.x, of_norm, bias, weights.mask, normed, spread, state.read)
    head, g = weights.head, state.gy
    energies_and_gradient(low, high, head, state.read, state.of_head, state.energies, g)
    state.x[low:high] = 0
    normalize_back(low, high, g, of_norm, weights.mask, normed, spread, state.x)


@within
def _update_back(
    k: int, low: int, high: int, weights: TransformerWeights, state: TransformerState
) -> None:
    """The derivatives of `_update`, and of what atoms receive from themselves."""
    layers, d = len(state.linear), state.x.shape[1]
    has_vectors = k > 0
    gives_vectors = k < layers - 1
    update_back(
        low, high, state.x, state.gv, state.o[k], state.u[k], has_vectors, gives_vectors,
        state.go, state.gu,
    )  # fmt: skip
    multiplied(low, high, state.go, 3 * d, weights.w_o_back[k], d, state.zeros, state.gy)
    clear(low, high, state.linear_sums)
    if has_vectors and gives_vectors:
        clear(low, high, state.vector_sums)
        scale(low, high, state.linear[k], state.v[k], state.scaled)
    receive_own_back(
        low, high, state.linear[k], weights.zero[k], state.own_logits[k], state.gy, state.gv,
        has_vectors, gives_vectors, state.linear_sums[0], _as_vectors(state.vector_sums[0]),
    )  # fmt: skip


@within
def _send_back(
    k: int, low: int, high: int, weights: TransformerWeights, state: TransformerState
) -> None:
    """The derivatives of `_send`, and of the products of vectors in `_update`."""
    layers, d = len(state.linear), state.x.shape[1]
    gives_vectors = k < layers - 1
    collect(low, high, state.linear_sums)
    glinear = state.linear_sums[0]
    if k > 0:
        gu, gv = _rows(state.gu), _rows(state.gv)
        if gives_vectors:
            added(3 * low, 3 * high, gu, 3 * d, weights.w_u_back[k], d, gv)
            collect(low, high, state.vector_sums)
            gscaled = _as_vectors(state.vector_sums[0])
            scale_back(low, high, state.linear[k], state.v[k], gscaled, glinear, state.gv)
        else:
            multiplied(3 * low, 3 * high, gu, 2 * d, weights.w_u_back[k], d, state.zeros, gv)
    n = 5 * d if gives_vectors else 3 * d
    multiplied(low, high, glinear, n, weights.w_all_back[k], d, state.zeros, state.read)
    normalize_back(
        low, high, state.read, weights.norm_weight[k], weights.mask, state.normed[k],
        state.spread[k], state.x,
    )  # fmt: skip


@within
def _atoms(
    turn: int,
    low: int,
    high: int,
    weights: TransformerWeights,
    z: np.ndarray,
    state: TransformerState,
) -> None:
    """What atoms from low to high do in a turn."""
    layers, d = len(state.linear), state.x.shape[1]
    if turn == 0:
        for n in range(low, high):
            state.near[n] = weights.around[z[n]]
            state.x[n] = weights.start[z[n]]
        clear(low, high, state.sums)
        return
    k = turn - 1
    if k <= layers:
        if k == 0:
            collect(low, high, state.sums)
            added(low, high, state.sums[0], d, weights.w_combine, d, state.x)
        else:
            _update(k - 1, low, high, weights, state)
        if k < layers:
            _send(k, low, high, weights, state)
        else:
            _read_out(low, high, weights, state)
            _update_back(k - 1, low, high, weights, state)
        return
    k = 2 * layers + 1 - turn
    _send_back(k, low, high, weights, state)
    if k > 0:
        _update_back(k - 1, low, high, weights, state)
    else:
        multiplied(low, high, state.x, d, weights.w_combine_back, d, state.zeros, state.gy)


@within
def _pairs(
    turn: int,
    share: int,
    low: int,
    high: int,
    weights: TransformerWeights,
    pairs: Geometry,
    state: TransformerState,
) -> None:
    """What pairs from low to high do in a turn."""
    layers = len(state.linear)
    own = state.sums[share]
    if turn == 0:
        messages(low, high, pairs, weights.around_table, state.near, own)
        return
    if turn > 2 * layers:
        table, near = weights.around_table, state.near
        messages_back(low, high, pairs, table, near, state.gy, own, state.gr)
        return
    forwards = turn <= layers
    k = turn - 1 if forwards else 2 * layers - turn
    has_vectors = k > 0
    gives_vectors = k < layers - 1
    vectors = _as_vectors(state.vector_sums[share])
    if forwards:
        receive(
            low, high, pairs, weights.tables[k], state.linear[k], state.scaled, has_vectors,
            gives_vectors, weights.num_heads, state.logits[k], own, vectors,
        )  # fmt: skip
        return
    if k == layers - 1:
        state.gr[low:high] = 0
        state.gunit[low:high] = 0
    receive_back(
        low, high, pairs, weights.tables[k], state.linear[k], state.scaled, has_vectors,
        gives_vectors, weights.num_heads, state.logits[k], state.gy, state.gv,
        state.linear_sums[share], vectors, state.gr, state.gunit,
    )  # fmt: skip


@compiled
def _steps(
    first: int,
    last: int,
    share: int,
    shares: int,
    weights: TransformerWeights,
    z: np.ndarray,
    pairs: Geometry,
    state: TransformerState,
) -> None:
    """A thread's share of the steps from first to last: even ones go over atoms, odd ones over
    pairs."""
    for number in range(first, last):
        turn = number // 2
        if number % 2 == 0:
            low, high = bounds(len(z), share, shares)
            for start in range(low, high, _ATOMS):
                _atoms(turn, start, min(start + _ATOMS, high), weights, z, state)
        else:
            low, high = bounds(len(pairs.i), share, shares)
            _pairs(turn, share, low, high, weights, pairs, state)


def transformer(
    weights: TransformerWeights, z: np.ndarray, pairs: Geometry, state: TransformerState
) -> tuple[np.ndarray, np.ndarray]:
    """Energies of the atoms and their gradient by the pair vectors.

    Parameters
    ----------
    weights : TransformerWeights
        Of the network.
    z : ndarray
        Atomic numbers, [N] int64.
    pairs : Geometry
        The pairs within the cutoff, P of them.
    state : TransformerState
        Of `transformer_state`, for N atoms and P pairs or more; overwritten.

    Returns
    -------
    energies, gradient : ndarray
        [N], and ∂E/∂r_ij [P, 3], in units of the head's scale.
    """
    run(_steps, 4 * len(state.linear) + 4, weights, z, pairs, state)
    gr = state.gr[: len(pairs.i)]
    gunit = state.gunit[: len(pairs.i)]
    across = gunit - pairs.unit * (pairs.unit * gunit).sum(1, keepdims=True)
    return state.energies, gr[:, None] * pairs.unit + across / pairs.r[:, None]

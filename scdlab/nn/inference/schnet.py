"""Energies of SchNet and their gradient by the pair vectors, without autograd.

The same equations as `scdlab.nn.schnet`, then their derivatives backwards, layer by layer. A bar
over a symbol, here the prefix g, is the derivative of the energy by it:

    forward     z = x W_in,  y_i = Σ_j w(r_ij) ∘ z_j,  a = y W₁ + b₁,  x ← x + ssp(a) W₂ + b₂
    backward    ga = (gx W₂ᵀ) ∘ ssp'(a),  gy = ga W₁ᵀ,  gz_j = Σ_i w(r_ij) ∘ gy_i,
                gr_ij = w'(r_ij) · (gy_i ∘ z_j + gy_j ∘ z_i),  gx ← gx + gz W_inᵀ

Steps that go over atoms take turns with steps that go over pairs; threads share each of them.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from scdlab.compiling import compiled, within
from scdlab.nn.blocks.radial import cosine_cutoff
from scdlab.nn.schnet import SchNet

from .geometry import Geometry
from .messages import messages, messages_back
from .products import added, multiplied, packed, padded, storage
from .radial_tables import radial_table
from .read_out import ReadOut, energies_and_gradient, read_out, shifted_softplus, times
from .shares import bounds, clear, collect, run, shares_of, start_of

_ATOMS = 24  # whose features are taken through a step together


class SchNetWeights(NamedTuple):
    """What the compiled functions read of a SchNet, in one precision.

    L layers of d features, padded; linear layers as packed matrices that rows of features are
    multiplied by, and those of the way back.
    """

    start: np.ndarray  # [119, d], features of the elements
    filters: np.ndarray  # [L, nodes, 3, d]
    w_in: np.ndarray  # [L, d d]
    w1: np.ndarray  # [L, d d]
    b1: np.ndarray  # [L, d]
    w2: np.ndarray  # [L, d d]
    b2: np.ndarray  # [L, d]
    w_in_back: np.ndarray  # [L, d d]
    w1_back: np.ndarray  # [L, d d]
    w2_back: np.ndarray  # [L, d d]
    head: ReadOut


class SchNetState(NamedTuple):
    """What a call computes; N atoms, P pairs, S shares."""

    x: np.ndarray  # [N, d]; on the way back its derivative
    sent: np.ndarray  # [L, N, d]
    inner: np.ndarray  # [L, N, d], slopes of the activations
    mixed: np.ndarray  # [N, d]
    of_head: np.ndarray  # [N, 2 m]
    zeros: np.ndarray  # [d]
    energies: np.ndarray  # [N]
    gy: np.ndarray  # [N, d]
    gr: np.ndarray  # [P]
    sums: np.ndarray  # [S, N, d], what atoms receive


def schnet_weights(model: SchNet, dtype: np.dtype) -> SchNetWeights:
    """The weights of a model.

    Parameters
    ----------
    model : SchNet
        The model.
    dtype : numpy dtype
        float32 or float64.

    Returns
    -------
    SchNetWeights
        Its weights.
    """
    exact = copy.deepcopy(model).double().requires_grad_(False)
    inner = exact.embedding.weight.shape[1]
    d = padded(inner)

    def widened(array: Tensor) -> np.ndarray:
        """Zeros beside the features, in the last direction or, of matrices, the last two."""
        values = array.numpy()
        wide = np.zeros((*values.shape[:-1], d), values.dtype)
        wide[..., :inner] = values
        return wide

    def matrix(weight: Tensor) -> np.ndarray:
        square = np.zeros((d, d))
        square[:inner, :inner] = weight.T.numpy()
        return square

    def curves(network: nn.Module) -> Callable[[Tensor], Tensor]:
        def of_distance(r: Tensor) -> Tensor:
            values = network(exact.basis(r)) * cosine_cutoff(r, exact.cutoff).unsqueeze(-1)
            return nn.functional.pad(values, (0, d - inner))

        return of_distance

    blocks: list[Any] = list(exact.blocks)
    matrices = {
        name: [matrix(getattr(block, of).weight) for block in blocks]
        for name, of in (("w_in", "lin_in"), ("w1", "lin_out1"), ("w2", "lin_out2"))
    }
    head = exact.energy_head.mlp
    everything = [*(m for some in matrices.values() for m in some), head[0].weight.numpy()]
    kept = storage(everything, dtype)
    packs = {
        name: np.stack([packed(m, dtype, kept) for m in some]) for name, some in matrices.items()
    }
    packs |= {
        f"{name}_back": np.stack([packed(m.T, dtype, kept) for m in some])
        for name, some in matrices.items()
    }
    return SchNetWeights(
        start=widened(exact.embedding.weight).astype(dtype),
        filters=np.stack([radial_table(curves(b.filter), exact.cutoff, dtype) for b in blocks]),
        b1=widened(torch.stack([block.lin_out1.bias for block in blocks])).astype(dtype),
        b2=widened(torch.stack([block.lin_out2.bias for block in blocks])).astype(dtype),
        head=read_out(exact.energy_head, np.arange(inner), d, dtype, kept),
        **packs,
    )


def schnet_state(weights: SchNetWeights, n_atoms: int, n_pairs: int) -> SchNetState:
    """Room for what a call computes.

    Parameters
    ----------
    weights : SchNetWeights
        Of the network.
    n_atoms, n_pairs : int
        N and P.

    Returns
    -------
    SchNetState
        Zeros.
    """
    layers, d = weights.b1.shape
    shapes: dict[str, tuple[int, ...]] = dict(
        x=(n_atoms, d),
        sent=(layers, n_atoms, d),
        inner=(layers, n_atoms, d),
        mixed=(n_atoms, d),
        of_head=(n_atoms, 2 * len(weights.head.b1)),
        zeros=(d,),
        energies=(n_atoms,),
        gy=(n_atoms, d),
        gr=(n_pairs,),
        sums=(shares_of(n_pairs), n_atoms, d),
    )
    dtype = weights.start.dtype
    return SchNetState(**{name: np.zeros(shape, dtype) for name, shape in shapes.items()})


@within
def _to_pairs_back(low: int, high: int, k: int, weights: SchNetWeights, state: SchNetState) -> None:
    """gy of layer k, from gx."""
    d = state.x.shape[1]
    zeros = state.zeros
    row = d * state.x.itemsize
    multiplied(low, high, state.x, d, weights.w2_back[k], d, zeros, state.mixed)
    g = start_of(state.mixed) + low * row
    times(zeros[0], (high - low) * row, g, start_of(state.inner[k]) + low * row)
    multiplied(low, high, state.mixed, d, weights.w1_back[k], d, zeros, state.gy)
    clear(low, high, state.sums)


@within
def _atoms(
    turn: int, low: int, high: int, weights: SchNetWeights, z: np.ndarray, state: SchNetState
) -> None:
    """What atoms from low to high do in a turn."""
    layers, d = weights.b1.shape
    x = state.x
    zeros = state.zeros
    row = d * x.itemsize
    if turn > layers:
        k = 2 * layers - turn
        collect(low, high, state.sums)
        added(low, high, state.sums[0], d, weights.w_in_back[k], d, x)
        _to_pairs_back(low, high, k - 1, weights, state)
        return
    if turn == 0:
        for n in range(low, high):
            x[n] = weights.start[z[n]]
    else:
        k = turn - 1
        collect(low, high, state.sums)
        mixed = state.mixed
        multiplied(low, high, state.sums[0], d, weights.w1[k], d, weights.b1[k], mixed)
        start = start_of(mixed) + low * row
        slopes = start_of(state.inner[k]) + low * row
        shifted_softplus(zeros[0], (high - low) * row, start, slopes)
        added(low, high, mixed, d, weights.w2[k], d, x)
        for n in range(low, high):
            for c in range(d):
                x[n, c] += weights.b2[k, c]
    if turn < layers:
        multiplied(low, high, x, d, weights.w_in[turn], d, zeros, state.sent[turn])
        clear(low, high, state.sums)
    else:
        energies_and_gradient(low, high, weights.head, x, state.of_head, state.energies, x)
        _to_pairs_back(low, high, layers - 1, weights, state)


@within
def _pairs(
    turn: int,
    share: int,
    low: int,
    high: int,
    weights: SchNetWeights,
    pairs: Geometry,
    state: SchNetState,
) -> None:
    """What pairs from low to high do in a turn."""
    layers = len(weights.b1)
    own = state.sums[share]
    if turn < layers:
        messages(low, high, pairs, weights.filters[turn], state.sent[turn], own)
        return
    if turn == layers:
        state.gr[low:high] = 0
    k = 2 * layers - 1 - turn
    messages_back(low, high, pairs, weights.filters[k], state.sent[k], state.gy, own, state.gr)


@compiled
def _steps(
    first: int,
    last: int,
    share: int,
    shares: int,
    weights: SchNetWeights,
    z: np.ndarray,
    pairs: Geometry,
    state: SchNetState,
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


def schnet(
    weights: SchNetWeights, z: np.ndarray, pairs: Geometry, state: SchNetState
) -> tuple[np.ndarray, np.ndarray]:
    """Energies of the atoms and their gradient by the pair vectors.

    Parameters
    ----------
    weights : SchNetWeights
        Of the network.
    z : ndarray
        Atomic numbers, [N] int64.
    pairs : Geometry
        The pairs within the cutoff, P of them.
    state : SchNetState
        Of `schnet_state`, for N atoms and P pairs or more; overwritten.

    Returns
    -------
    energies, gradient : ndarray
        [N], and ∂E/∂r_ij [P, 3], in units of the head's scale.
    """
    run(_steps, 4 * len(weights.b1), weights, z, pairs, state)
    gr = state.gr[: len(pairs.i)]
    return state.energies, gr[:, None] * pairs.unit

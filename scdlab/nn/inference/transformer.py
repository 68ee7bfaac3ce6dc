"""Energies of the equivariant transformer and their gradient by the pair vectors, without autograd.

The equations are those of `scdlab.nn.et`; the second half takes their derivatives backwards. The
prefix g is the derivative of the energy by what follows it. One table a layer holds all functions
of the distance: dk, and times the cutoff dv in its three parts, so that a pair reads it once.
"""

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from scdlab.nn.blocks.radial import cosine_cutoff
from scdlab.nn.et import EquivariantTransformer

from .geometry import Geometry
from .messages import messages, messages_back
from .radial_tables import radial_table
from .read_out import ReadOut, energies_and_gradient
from .transformer_atoms import (
    normalize,
    normalize_back,
    receive_own,
    receive_own_back,
    scaled_back,
    update,
    update_back,
)
from .transformer_pairs import receive, receive_back


class LayerWeights(NamedTuple):
    """What is read of one layer, in one precision; d features, linear layers as matrices that rows
    of features are multiplied by."""

    norm: tuple[np.ndarray, np.ndarray]  # [d] each
    w_all: np.ndarray  # [d, 5d]: q, k, and the values of y, s¹ and s²
    b_all: np.ndarray  # [5d]
    w_o: np.ndarray  # [d, 3d]
    b_o: np.ndarray  # [3d]
    w_u: np.ndarray | None  # [d, 3d]; None in the first layer
    table: np.ndarray  # [nodes, 3, 4d]: dk, dv of y, s¹ and s² times the cutoff
    zero: np.ndarray  # [4d], the same for an atom and itself


class TransformerWeights(NamedTuple):
    """What is read of an equivariant transformer, in one precision."""

    start: np.ndarray  # [119, d]
    around: np.ndarray  # [119, d], what neighbors add
    around_table: np.ndarray  # [nodes, 3, d]
    w_combine: np.ndarray  # [2d, d]
    b_combine: np.ndarray  # [d]
    layers: list[LayerWeights]
    out_norm: tuple[np.ndarray, np.ndarray]  # [d] each
    num_heads: int
    cutoff: float


def transformer_weights(model: EquivariantTransformer, dtype: np.dtype) -> TransformerWeights:
    """The weights of a model.

    Parameters
    ----------
    model : EquivariantTransformer
        The model.
    dtype : numpy dtype
        float32 or float64.

    Returns
    -------
    TransformerWeights
        Its weights.
    """
    exact = copy.deepcopy(model).double().requires_grad_(False)

    def array(x: Tensor) -> np.ndarray:
        return np.ascontiguousarray(x.numpy(), dtype=dtype)

    def norm(layer: nn.LayerNorm) -> tuple[np.ndarray, np.ndarray]:
        return array(layer.weight), array(layer.bias)

    def cutoff(r: Tensor) -> Tensor:
        return cosine_cutoff(r, exact.cutoff).unsqueeze(-1)

    def around(r: Tensor) -> Tensor:
        return exact.neighbor_embedding.filter(exact.basis(r)) * cutoff(r)

    def layer(block: Any) -> LayerWeights:
        def filters(r: Tensor) -> Tensor:
            basis = exact.basis(r)
            values = [block.value_filter(basis, part) * cutoff(r) for part in ("y", "s1", "s2")]
            return torch.cat([block.key_filter(basis), *values], dim=-1)

        return LayerWeights(
            norm=norm(block.norm),
            w_all=array(torch.cat([block.q.weight, block.k.weight, block.value.weight]).T),
            b_all=array(torch.cat([block.q.bias, block.k.bias, block.value.bias])),
            w_o=array(block.o.weight.T),
            b_o=array(block.o.bias),
            w_u=None if block.u is None else array(block.u.weight.T),
            table=radial_table(filters, exact.cutoff, dtype),
            zero=array(filters(torch.zeros(1, dtype=torch.float64))[0]),
        )

    embedding = exact.neighbor_embedding
    return TransformerWeights(
        start=array(exact.embedding.weight),
        around=array(embedding.embedding.weight),
        around_table=radial_table(around, exact.cutoff, dtype),
        w_combine=array(embedding.combine.weight.T),
        b_combine=array(embedding.combine.bias),
        layers=[layer(block) for block in exact.blocks],
        out_norm=norm(exact.out_norm),
        num_heads=exact.num_heads,
        cutoff=exact.cutoff,
    )


class _Kept(NamedTuple):
    """What the way back needs of a layer."""

    normed: np.ndarray  # (N, d), normalized, before weight and bias
    spread: np.ndarray  # (N)
    linear: np.ndarray  # (N, 5d): q, k, and the values of y, s¹ and s²
    own_logits: np.ndarray  # (N, heads)
    logits: np.ndarray  # (2, P, heads)
    o: np.ndarray  # (N, 3d)
    u: np.ndarray  # (N, 3, 3d); of no meaning where there are no vectors
    v: np.ndarray  # (N, 3, d); the same
    scaled: np.ndarray  # (N, 3, d), v_j ∘ the values of s¹; zeros where there are no vectors


def transformer(
    weights: TransformerWeights, head: ReadOut, z: np.ndarray, pairs: Geometry
) -> tuple[np.ndarray, np.ndarray]:
    """Energies of the atoms and their gradient by the pair vectors.

    Parameters
    ----------
    weights : TransformerWeights
        Of the network.
    head : ReadOut
        Of the energies.
    z : ndarray
        Atomic numbers, [N] int64.
    pairs : Geometry
        The pairs within the cutoff, P of them.

    Returns
    -------
    energies, gradient : ndarray
        [N], and ∂E/∂r_ij [P, 3], in units of the head's scale.
    """
    at = pairs.i, pairs.j, pairs.node
    d = weights.start.shape[1]
    near = weights.around[z]  # (N, d)
    around = np.zeros_like(near)
    messages(*at, pairs.weights, weights.around_table, near, around)
    x = np.concatenate([weights.start[z], around], axis=1) @ weights.w_combine
    x += weights.b_combine
    v = np.zeros((len(z), 3, d), x.dtype)
    kept = []
    for number, layer in enumerate(weights.layers):
        last = number == len(weights.layers) - 1
        state, v = _forward(layer, weights.num_heads, pairs, x, v, number > 0, not last)
        kept.append(state)

    normed = np.empty_like(x)
    spread = np.empty(len(x), x.dtype)
    out = np.empty_like(x)
    normalize(x, *weights.out_norm, normed, spread, out)
    energies, gout = energies_and_gradient(head, out)
    gx = np.zeros_like(x)
    normalize_back(gout, weights.out_norm[0], normed, spread, gx)
    gv = v  # not read: the energy has nothing of the last vectors
    gr = np.zeros_like(pairs.r)  # (P)
    gunit = np.zeros_like(pairs.unit)  # (P, 3)
    for number in reversed(range(len(weights.layers))):
        last = number == len(weights.layers) - 1
        layer = weights.layers[number]
        gv = _backward(layer, pairs, kept[number], gx, gv, gr, gunit, number > 0, not last)
    garound = np.ascontiguousarray((gx @ weights.w_combine.T)[:, d:])  # (N, d)
    gnear = np.zeros_like(near)  # of no use: elements do not move
    messages_back(*at, pairs.weights, pairs.slopes, weights.around_table, near, garound, gnear, gr)
    across = gunit - pairs.unit * (pairs.unit * gunit).sum(1, keepdims=True)
    return energies, gr[:, None] * pairs.unit + across / pairs.r[:, None]


def _forward(
    layer: LayerWeights,
    num_heads: int,
    pairs: Geometry,
    x: np.ndarray,
    v: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
) -> tuple[_Kept, np.ndarray]:
    """A layer: changes x [N, d]; gives what is kept of it, and the new v [N, 3, d]."""
    size, d = x.shape
    normed = np.empty_like(x)
    spread = np.empty(size, x.dtype)
    read = np.empty_like(x)
    normalize(x, *layer.norm, normed, spread, read)
    linear = read @ layer.w_all  # (N, 5d)
    own_logits = np.empty((size, num_heads), x.dtype)
    scaled = np.empty_like(v)
    y = np.empty_like(x)
    w = np.empty_like(v)
    receive_own(linear, layer.b_all, layer.zero, v, has_vectors, own_logits, scaled, y, w)
    logits = np.empty((2, len(pairs.i), num_heads), x.dtype)
    receive(
        pairs.i, pairs.j, pairs.node, pairs.weights, pairs.unit, layer.table,
        linear, scaled, has_vectors, gives_vectors, logits, y, w,
    )  # fmt: skip
    o = y @ layer.w_o  # (N, 3d)
    u = np.empty((size, 3, 3 * d), x.dtype)
    if layer.w_u is not None:
        np.matmul(v.reshape(3 * size, d), layer.w_u, out=u.reshape(3 * size, 3 * d))
    v_new = np.empty_like(v)
    update(o, layer.b_o, u, v, w, has_vectors, gives_vectors, x, v_new)
    return _Kept(normed, spread, linear, own_logits, logits, o, u, v, scaled), v_new


def _backward(
    layer: LayerWeights,
    pairs: Geometry,
    kept: _Kept,
    gx: np.ndarray,
    gv: np.ndarray,
    gr: np.ndarray,
    gunit: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
) -> np.ndarray:
    """From the derivatives by what a layer gives, those by what it reads.

    Adds to gx [N, d], gr [P] and gunit [P, 3]; returns the new gv [N, 3, d], of no meaning where
    the layer reads no vectors.
    """
    size, d = gx.shape
    go = np.empty_like(kept.o)
    gu = np.empty_like(kept.u)
    update_back(gx, gv, kept.o, kept.u, has_vectors, gives_vectors, go, gu)
    gy = go @ layer.w_o.T  # (N, d)
    glinear = np.empty_like(kept.linear)
    gscaled = np.empty_like(kept.scaled)
    receive_own_back(
        kept.linear, layer.zero, kept.own_logits, gy, gv, gives_vectors, glinear, gscaled
    )
    receive_back(
        pairs.i, pairs.j, pairs.node, pairs.weights, pairs.slopes, pairs.unit, layer.table,
        kept.linear, kept.scaled, has_vectors, gives_vectors, kept.logits,
        gy, gv, glinear, gscaled, gr, gunit,
    )  # fmt: skip
    gv_new = gv
    if layer.w_u is not None:
        gv_new = (gu.reshape(3 * size, 3 * d) @ layer.w_u.T).reshape(size, 3, d)
        if gives_vectors:
            gv_new += gv
        scaled_back(kept.linear, kept.v, gscaled, glinear, gv_new)
    normalize_back(glinear @ layer.w_all.T, layer.norm[0], kept.normed, kept.spread, gx)
    return gv_new

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
    spread: np.ndarray  # (N, 1)
    q: np.ndarray  # (N, d)
    k: np.ndarray  # (N, d)
    value: np.ndarray  # (N, 3, d)
    own_logits: np.ndarray  # (N, heads)
    logits: np.ndarray  # (2, P, heads)
    o: np.ndarray  # (N, 3, d)
    u: np.ndarray | None  # (N, 3, 3, d): atoms, axes, parts
    v: np.ndarray | None  # (N, 3, d)
    scaled: np.ndarray  # (N, 3, d), v_j ∘ the values of s¹; zeros where v is None


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
    v = None
    kept = []
    for number, layer in enumerate(weights.layers):
        last = number == len(weights.layers) - 1
        state, dx, dv = _forward(layer, weights.num_heads, pairs, x, v, last)
        kept.append(state)
        x = x + dx
        v = dv if v is None or dv is None else v + dv

    normed, spread = _normalized(x)
    energies, gx = energies_and_gradient(head, normed * weights.out_norm[0] + weights.out_norm[1])
    gx = _normalized_back(gx * weights.out_norm[0], normed, spread)
    gv = None  # the energy does not read the last vectors
    gr = np.zeros_like(pairs.r)  # (P)
    gunit = np.zeros_like(pairs.unit)  # (P, 3)
    for layer, state in zip(reversed(weights.layers), reversed(kept), strict=True):
        gx, gv = _backward(layer, pairs, state, gx, gv, gr, gunit)
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
    v: np.ndarray | None,
    last: bool,
) -> tuple[_Kept, np.ndarray, np.ndarray | None]:
    """A layer: what is kept of it, and the changes of x [N, d] and v [N, 3, d]."""
    size, d = x.shape
    zero = layer.zero.reshape(4, d)
    normed, spread = _normalized(x)
    linear = (normed * layer.norm[0] + layer.norm[1]) @ layer.w_all + layer.b_all  # (N, 5d)
    q = np.ascontiguousarray(linear[:, :d])
    k = np.ascontiguousarray(linear[:, d : 2 * d])
    value = np.ascontiguousarray(linear[:, 2 * d :]).reshape(size, 3, d)
    scaled = np.zeros((size, 3, d), x.dtype) if v is None else v * value[:, 1, None]

    own_logits = (q * k * zero[0]).reshape(size, num_heads, -1).sum(2)  # (N, heads)
    own = _silu(own_logits)[:, :, None] * (value[:, 0] * zero[1]).reshape(size, num_heads, -1)
    y = own.reshape(size, d)
    w = scaled * zero[2]  # (N, 3, d)
    logits = np.empty((2, len(pairs.i), num_heads), x.dtype)
    receive(
        pairs.i, pairs.j, pairs.node, pairs.weights, pairs.unit, layer.table,
        q, k, value, scaled, v is not None, not last, logits, y, w,
    )  # fmt: skip
    o = (y @ layer.w_o + layer.b_o).reshape(size, 3, d)
    if v is None or layer.w_u is None:
        state = _Kept(normed, spread, q, k, value, own_logits, logits, o, None, v, scaled)
        return state, o[:, 2], None if last else w
    u = (v.reshape(3 * size, d) @ layer.w_u).reshape(size, 3, 3, d)
    dx = (u[:, :, 0] * u[:, :, 1]).sum(1) * o[:, 1] + o[:, 2]
    state = _Kept(normed, spread, q, k, value, own_logits, logits, o, u, v, scaled)
    return state, dx, None if last else u[:, :, 2] * o[:, 0, None] + w


def _backward(
    layer: LayerWeights,
    pairs: Geometry,
    kept: _Kept,
    gx: np.ndarray,
    gv: np.ndarray | None,
    gr: np.ndarray,
    gunit: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None]:
    """From the derivatives by what a layer gives, those by what it reads; adds to gr [P] and gunit
    [P, 3]."""
    size, d = gx.shape
    num_heads = kept.own_logits.shape[1]
    zero = layer.zero.reshape(4, d)
    vectors = gv is not None
    gw = np.zeros((size, 3, d), gx.dtype) if gv is None else gv
    go = np.zeros_like(kept.o)  # (N, 3, d)
    go[:, 2] = gx
    gv_in = None
    if kept.u is not None and layer.w_u is not None:
        u = kept.u
        go[:, 1] = gx * (u[:, :, 0] * u[:, :, 1]).sum(1)
        gu = np.zeros_like(u)
        product = (gx * kept.o[:, 1])[:, None]  # (N, 1, d)
        gu[:, :, 0] = product * u[:, :, 1]
        gu[:, :, 1] = product * u[:, :, 0]
        if vectors:
            go[:, 0] = (gw * u[:, :, 2]).sum(1)
            gu[:, :, 2] = gw * kept.o[:, 0, None]
        gv_in = (gu.reshape(3 * size, 3 * d) @ layer.w_u.T).reshape(size, 3, d) + gw
    gy = go.reshape(size, 3 * d) @ layer.w_o.T  # (N, d)

    # the atom itself
    heads = size, num_heads, -1
    own_value = (kept.value[:, 0] * zero[1]).reshape(heads)
    ga = (gy.reshape(heads) * own_value).sum(2) * _silu_slope(kept.own_logits)  # (N, heads)
    of_key = (ga[:, :, None] * zero[0].reshape(num_heads, -1)).reshape(size, d)
    gq = of_key * kept.k
    gk = of_key * kept.q
    gvalue = np.zeros_like(kept.value)  # (N, 3, d)
    active = _silu(kept.own_logits)[:, :, None]
    gvalue[:, 0] = (active * (gy * zero[1]).reshape(heads)).reshape(size, d)
    gscaled = gw * zero[2]  # (N, 3, d)
    # and its neighbors
    receive_back(
        pairs.i, pairs.j, pairs.node, pairs.weights, pairs.slopes, pairs.unit, layer.table,
        kept.q, kept.k, kept.value, kept.scaled, kept.v is not None, vectors, kept.logits,
        gy, gw, gq, gk, gvalue, gscaled, gr, gunit,
    )  # fmt: skip
    if kept.v is not None and gv_in is not None:
        gv_in += gscaled * kept.value[:, 1, None]
        gvalue[:, 1] = (gscaled * kept.v).sum(1)
    glinear = np.concatenate([gq, gk, gvalue.reshape(size, 3 * d)], axis=1)  # (N, 5d)
    gnormed = (glinear @ layer.w_all.T) * layer.norm[0]
    return gx + _normalized_back(gnormed, kept.normed, kept.spread), gv_in


def _normalized(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Layer norm without weight and bias: (N, d), and the standard deviation (N, 1)."""
    x = x - x.mean(1, keepdims=True)
    spread = np.sqrt((x * x).mean(1, keepdims=True) + 1e-5)
    return x / spread, spread


def _normalized_back(g: np.ndarray, normed: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The derivative by x from that by its normalized form."""
    along = (g * normed).mean(1, keepdims=True)
    return (g - g.mean(1, keepdims=True) - normed * along) / spread


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))


def _silu_slope(x: np.ndarray) -> np.ndarray:
    s = 1.0 / (1.0 + np.exp(-x))
    return s * (1.0 + x * (1.0 - s))

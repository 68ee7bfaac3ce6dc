"""The forms of `neighbor_sums` in plain torch, for every precision, width and device.

Each function gives the derivatives of its form by the arguments number `wanted`; an argument that
the derivative does not hold may be None. A thousand pairs at a time, so that nothing of the size
[edges, 3, d] ever leaves the cache.
"""

from typing import Any

import torch
from torch import Tensor

from scdlab.nn.ops.edges import DirectedEdges


def attention(
    wanted: tuple[int, ...], edges: DirectedEdges, w: Any, A: Any, q: Any, k: Any
) -> tuple[Tensor, ...]:
    """Derivatives of Σ_{a←b} Σ_heads A_ab (q_a · k_b ∘ w).

    By w [P, d], A [2, P, heads], q and k [N, d].
    """
    like = k if q is None else q
    d = like.shape[1]
    heads = edges.num_heads
    per_head = heads, d // heads
    shapes = (edges.n_pairs, d), (2, edges.n_pairs, heads), (edges.n_atoms, d), (edges.n_atoms, d)
    out = {m: like.new_zeros(shapes[m]) for m in wanted}
    for at, directed in edges.chunks:
        query = _of_edges(q, directed.target, *per_head)  # (2, C, heads, d/heads)
        key = _of_edges(k, directed.source, *per_head)  # (2, C, heads, d/heads)
        filters: Any = None if w is None else w[at].view(-1, *per_head)  # (C, heads, d/heads)
        weight = None if A is None else A[:, at].unsqueeze(-1)  # (2, C, heads, 1)
        product: Any = query * key if 0 in out or 1 in out else None
        if 0 in out:
            there, back = product * weight
            torch.add(there, back, out=out[0][at].view_as(there))
        if 1 in out:
            out[1][:, at] = (product * filters).sum(-1)
        if 2 in out:
            _add(out[2], directed.target, key.mul_(filters).mul_(weight))
        if 3 in out:
            _add(out[3], directed.source, query.mul_(filters).mul_(weight))
    return tuple(out[m] for m in wanted)


def cfconv(
    wanted: tuple[int, ...], edges: DirectedEdges, w: Any, g: Any, u: Any
) -> tuple[Tensor, ...]:
    """Derivatives of Σ_{a←b} w ∘ (g_a · u_b), by w [P, d], g, u [N, d] or [N, 3, d]."""
    like = u if g is None else g
    d = like.shape[-1]
    components = like[:1].numel() // d  # 1 of scalars, 3 of vectors
    shapes = (edges.n_pairs, d), like.shape, like.shape
    out = {m: like.new_zeros(shapes[m]) for m in wanted}
    for at, directed in edges.chunks:
        at_target = _of_edges(g, directed.target, components, d)  # (2, C, components, d)
        at_source = _of_edges(u, directed.source, components, d)  # (2, C, components, d)
        if 0 in out:
            for one, other in zip(at_target.unbind(2), at_source.unbind(2), strict=True):
                out[0][at].addcmul_(one[0], other[0]).addcmul_(one[1], other[1])  # (C, d)
        if 1 in out:
            _add(out[1], directed.target, at_source.mul_(w[at].unsqueeze(1)))
        if 2 in out:
            _add(out[2], directed.source, at_target.mul_(w[at].unsqueeze(1)))
    return tuple(out[m] for m in wanted)


def vector_messages(
    wanted: tuple[int, ...], edges: DirectedEdges, w: Any, r: Any, g: Any, s: Any
) -> tuple[Tensor, ...]:
    """Derivatives of Σ_{a←b} Σ_xyz r_ab · g_a ∘ w ∘ s_b.

    By w [P, d], r [P, 3], g [N, 3, d] and s [N, d].
    """
    like = w if s is None else s
    d = like.shape[1]
    shapes = (edges.n_pairs, d), (edges.n_pairs, 3), (edges.n_atoms, 3, d), (edges.n_atoms, d)
    out = {m: like.new_zeros(shapes[m]) for m in wanted}
    for at, directed in edges.chunks:
        gradient = _of_edges(g, directed.target, 3, d)  # (2, C, 3, d)
        scalar = _of_edges(s, directed.source, d)  # (2, C, d)
        filters: Any = None if w is None else w[at]  # (C, d)
        r_ab: Any = (
            None if r is None else torch.stack([r[at], -r[at]]).unsqueeze(-1)
        )  # (2, C, 3, 1)
        message: Any = scalar * filters if 1 in out or 2 in out else None  # (2, C, d)
        along: Any = _along(gradient, r_ab) if 0 in out or 3 in out else None  # (2, C, d)
        if 0 in out:
            out[0][at].addcmul_(along[0], scalar[0]).addcmul_(along[1], scalar[1])
        if 1 in out:
            there, back = torch.matmul(gradient, message.unsqueeze(-1)).squeeze(-1)  # (C, 3) each
            out[1][at] = there - back
        if 2 in out:
            _add(out[2], directed.target, r_ab * message.unsqueeze(2))
        if 3 in out:
            _add(out[3], directed.source, along.mul_(filters))
    return tuple(out[m] for m in wanted)


def _along(vectors: Tensor, r_ab: Tensor) -> Tensor:
    """r_ab · g_a: [2, C, 3, d] and [2, C, 3, 1] -> [2, C, d]."""
    along = vectors[:, :, 0] * r_ab[:, :, 0]
    return along.addcmul_(vectors[:, :, 1], r_ab[:, :, 1]).addcmul_(vectors[:, :, 2], r_ab[:, :, 2])


def _of_edges(x: Tensor | None, atom: Tensor, *shape: int) -> Any:
    """Rows of x for edges, [2, C, …]; flat first, because rows of matrices are copied fastest."""
    if x is None:
        return None
    return x.reshape(len(x), -1).index_select(0, atom).view(2, len(atom) // 2, *shape)


def _add(out: Tensor, atom: Tensor, messages: Tensor) -> None:
    """Sum the messages of edges, [2, C, …], at the atoms [2C]."""
    out.view(len(out), -1).index_add_(0, atom, messages.reshape(len(atom), -1))

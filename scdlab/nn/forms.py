"""Attention over neighbors as multilinear forms: everything it computes, and all its derivatives, from three sums.

A pair {i, j} is stored once and heard both ways: i hears j, j hears i. Write such a directed edge as a ← b; what
depends on the distance alone (f, m) belongs to the pair and serves both its edges, and r_ab = -r_ba. Then

    attention   F(A, q, k, f) = Σ_{a←b} Σ_heads A_ab (q_a · k_b ∘ f)      A [2, P, heads]; q, k [N, d]; f [P, d]
    carry       F(g, m, u)    = Σ_{a←b} m · (g_a · u_b)                   g, u [N, 3, d]; m [P, d]
    point       F(g, r, f, s) = Σ_{a←b} Σ_xyz r_ab · g_a ∘ f ∘ s_b        g [N, 3, d]; r [P, 3]; f [P, d]; s [N, d]

Each is linear in each argument, so its derivative by one argument is a sum that no longer holds it, and those are the
operations of a layer:

    ∂F/∂A: logits Σ_head q_a k_b ∘ f           ∂F/∂q: Σ_b A_ab f ∘ k_b, what attention sums over neighbors
    ∂F/∂g: Σ_b m ∘ u_b, vectors carried over   ∂F/∂g: Σ_b r_ab f ∘ s_b, new vectors along the edges

The derivative of ∂F/∂x in direction h by another argument y is ∂F/∂y with h put in x's place: forms stay forms, to any
order. Forces need the first derivative, training on forces the second.

Pairs are taken a thousand at a time, so that [edges, 3, d] never leaves the cache, and nothing of that size is kept for
the backward pass: it gathers again.
"""

import torch
from torch import Tensor

_AT_A_TIME = 1024  # pairs; on a GPU, all of them


class BothWays:
    """Pairs i, j [P] of n atoms, walked in both directions. Each chunk holds a slice of the pairs, and for its edges
    first i ← j, then j ← i: `to` and `of` [2C], who hears and who is heard."""

    def __init__(self, i: Tensor, j: Tensor, n: int, heads: int):
        self.n, self.p, self.heads = n, len(i), heads
        size = _AT_A_TIME if i.device.type == "cpu" else max(self.p, 1)
        self.chunks = []
        for start in range(0, self.p, size):
            at = slice(start, start + size)
            self.chunks.append((at, torch.cat([i[at], j[at]]), torch.cat([j[at], i[at]])))


class _Partials(torch.autograd.Function):
    """The derivatives of a form by its arguments number `wanted`, at the other arguments."""

    @staticmethod
    def forward(ctx, form, wanted, edges, *args):
        ctx.form, ctx.wanted, ctx.edges = form, wanted, edges
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*args)
        return form(wanted, edges, *args)

    @staticmethod
    def backward(ctx, *directions):
        args, grads = ctx.saved_tensors, [None] * len(ctx.saved_tensors)
        for k, direction in zip(ctx.wanted, directions, strict=True):  # the product rule
            others = tuple(m for m, need in enumerate(ctx.needs_input_grad[3:]) if need and m != k)
            if direction is None or not others:
                continue
            there = [direction if m == k else x for m, x in enumerate(args)]
            for m, g in zip(others, _Partials.apply(ctx.form, others, ctx.edges, *there), strict=True):
                grads[m] = g if grads[m] is None else grads[m] + g
        return None, None, None, *grads


def _gather(x: Tensor | None, index: Tensor, *shape: int) -> Tensor | None:
    """Rows of x as [2, C, …] edges; flat first, because index_select copies rows of matrices fastest."""
    return None if x is None else x.reshape(len(x), -1).index_select(0, index).view(2, len(index) // 2, *shape)


def _add(out: Tensor, index: Tensor, edges: Tensor) -> None:
    """Sum [2, C, …] edges into the rows of out that index [2C] names."""
    out.view(len(out), -1).index_add_(0, index, edges.reshape(len(index), -1))


def _attention(wanted, edges, A, q, k, f):
    """F = Σ_{a←b} Σ_heads A_ab (q_a · k_b ∘ f)"""
    like = k if q is None else q
    d, heads = like.shape[1], edges.heads
    shapes = (2, edges.p, heads), (edges.n, d), (edges.n, d), (edges.p, d)
    out = {m: like.new_zeros(shapes[m]) for m in wanted}
    for at, to, of in edges.chunks:
        qa, kb = _gather(q, to, heads, d // heads), _gather(k, of, heads, d // heads)  # (2, C, heads, d/heads) each
        fp = None if f is None else f[at].view(-1, heads, d // heads)  # (C, heads, d/heads)
        w = None if A is None else A[:, at].unsqueeze(-1)  # (2, C, heads, 1)
        if 0 in out or 3 in out:
            qk = qa * kb
        if 3 in out:
            there, back = qk * w
            torch.add(there, back, out=out[3][at].view_as(there))
        if 0 in out:
            out[0][:, at] = (qk * fp).sum(-1)
        if 1 in out:
            _add(out[1], to, kb.mul_(fp).mul_(w))
        if 2 in out:
            _add(out[2], of, qa.mul_(fp).mul_(w))
    return tuple(out[m] for m in wanted)


def _carry(wanted, edges, g, m, u):
    """F = Σ_{a←b} m · (g_a · u_b)"""
    like = u if g is None else g
    d = like.shape[2]
    shapes = (edges.n, 3, d), (edges.p, d), (edges.n, 3, d)
    out = {k: like.new_zeros(shapes[k]) for k in wanted}
    for at, to, of in edges.chunks:
        ga, ub = _gather(g, to, 3, d), _gather(u, of, 3, d)  # (2, C, 3, d) each
        if 1 in out:
            for x, y in zip(ga.unbind(2), ub.unbind(2), strict=True):  # (2, C, d) each
                out[1][at].addcmul_(x[0], y[0]).addcmul_(x[1], y[1])
        if 0 in out:
            _add(out[0], to, ub.mul_(m[at].unsqueeze(1)))
        if 2 in out:
            _add(out[2], of, ga.mul_(m[at].unsqueeze(1)))
    return tuple(out[k] for k in wanted)


def _point(wanted, edges, g, r, f, s):
    """F = Σ_{a←b} Σ_xyz r_ab · g_a ∘ f ∘ s_b"""
    like = f if s is None else s
    d = like.shape[1]
    shapes = (edges.n, 3, d), (edges.p, 3), (edges.p, d), (edges.n, d)
    out = {m: like.new_zeros(shapes[m]) for m in wanted}
    for at, to, of in edges.chunks:
        ga, sb = _gather(g, to, 3, d), _gather(s, of, d)  # (2, C, 3, d), (2, C, d)
        fp = None if f is None else f[at]  # (C, d)
        rab = None if r is None else torch.stack([r[at], -r[at]]).unsqueeze(-1)  # (2, C, 3, 1)
        if 0 in out or 1 in out:
            fs = sb * fp  # (2, C, d)
        if 0 in out:
            _add(out[0], to, rab * fs.unsqueeze(2))
        if 1 in out:
            there, back = torch.matmul(ga, fs.unsqueeze(-1)).squeeze(-1)  # (C, 3) each
            out[1][at] = there - back
        if 2 in out or 3 in out:
            along = ga[:, :, 0] * rab[:, :, 0]
            along.addcmul_(ga[:, :, 1], rab[:, :, 1]).addcmul_(ga[:, :, 2], rab[:, :, 2])  # (2, C, d): r_ab · g_a
        if 2 in out:
            out[2][at].addcmul_(along[0], sb[0]).addcmul_(along[1], sb[1])
        if 3 in out:
            _add(out[3], of, along.mul_(fp))
    return tuple(out[m] for m in wanted)


def logits(q: Tensor, k: Tensor, f: Tensor, edges: BothWays) -> Tensor:
    """Σ_head q_a k_b ∘ f for every edge: q, k [N, d], f [P, d] -> [2, P, heads]."""
    return _Partials.apply(_attention, (0,), edges, None, q, k, f)[0]


def attend(A: Tensor, f: Tensor, k: Tensor, edges: BothWays) -> Tensor:
    """Σ_b A_ab f ∘ k_b for every atom: A [2, P, heads], f [P, d], k [N, d] -> [N, d]."""
    return _Partials.apply(_attention, (1,), edges, A, None, k, f)[0]


def carry(m: Tensor, u: Tensor, edges: BothWays) -> Tensor:
    """Σ_b m ∘ u_b for every atom: m [P, d], u [N, 3, d] -> [N, 3, d]."""
    return _Partials.apply(_carry, (0,), edges, None, m, u)[0]


def point(r: Tensor, f: Tensor, s: Tensor, edges: BothWays) -> Tensor:
    """Σ_b r_ab f ∘ s_b for every atom: r [P, 3] from i towards j, f [P, d], s [N, d] -> [N, 3, d]."""
    return _Partials.apply(_point, (0,), edges, None, r, f, s)[0]

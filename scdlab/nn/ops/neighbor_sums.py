"""Sums over neighbors as multilinear forms: everything they compute, and all their derivatives,
from a few loops.

A pair {i, j} is stored once and heard both ways: i hears j, j hears i. Write such a directed edge
as a ← b; what depends on the distance alone (f) belongs to the pair and serves both its edges, and
r_ab = -r_ba. Then

    carry       F(f, g, u)    = Σ_{a←b} f ∘ (g_a · u_b)                   f [P, d]; g, u [N, d] or
                              [N, 3, d]
    attention   F(f, A, q, k) = Σ_{a←b} Σ_heads A_ab (q_a · k_b ∘ f)
                A [2, P, heads]; q, k [N, d]
    point       F(f, r, g, s) = Σ_{a←b} Σ_xyz r_ab · g_a ∘ f ∘ s_b
                r [P, 3]; g [N, 3, d]; s [N, d]

Each is linear in each argument, so its derivative by one argument is a sum that no longer holds it,
and those are the operations of a layer:

    ∂F/∂g: Σ_b f ∘ u_b, a convolution; vectors carried over
    ∂F/∂A: logits Σ_head q_a k_b ∘ f           ∂F/∂q: Σ_b A_ab f ∘ k_b, what attention sums over
                                               neighbors
    ∂F/∂g: Σ_b r_ab f ∘ s_b, new vectors along the edges

The derivative of ∂F/∂x in direction h by another argument y is ∂F/∂y with h put in x's place: forms
stay forms, to any order. Forces need the first derivative, training on forces the second.

Filters come from a `FilterRows` (table.py): f may be the rows of a spline, f_p = c_p Σ_t B_t(r_p)
T_{node_p + t}, with a factor c [P]. A form is linear in c and in T as well; its derivative by r_p
replaces B by dB/dr, and c_p is what it is multiplied by. So forms over splines too stay forms, with
one more number, the order of the derivative.

Two implementations: fused loops for float32 on a processor (kernels.py), which keep nothing of the
size [edges, d], and plain torch everywhere else. Plain torch takes a thousand pairs at a time, so
that [edges, 3, d] never leaves the cache.
"""

import contextlib
import functools

import torch
from torch import Tensor

from scdlab.nn.ops.filter_tables import FilterRows

_AT_A_TIME = 1024  # pairs; on a GPU, all of them
_fused = True


@contextlib.contextmanager
def reference_kernels():
    """Within this context no fused kernel runs: the reference that they are tested and timed
    against."""
    global _fused
    before = _fused
    _fused = False
    try:
        yield
    finally:
        _fused = before


class DirectedEdges:
    """Pairs i, j [P] of n atoms, walked in both directions: edge p is i ← j, edge P + p is j ← i.

    `chunks`, for plain torch: a slice of the pairs, and for its edges first i ← j, then j ← i: `to`
    and `of` [2C], who hears and who is heard. `walk`, for the kernels: start [N + 1], other [2P],
    edge [2P], whom each atom hears.

    `asked`: what a backward pass is for. A custom function cannot see that from within. None:
    everything; "positions": forces, so tables, which do not depend on positions, need no gradient;
    "parameters": positions need none.
    """

    def __init__(self, i: Tensor, j: Tensor, n: int, num_heads: int = 1):
        if i.shape != j.shape or i.dim() != 1:
            raise ValueError(
                f"Pairs are two lists of the same length, not of shapes {[*i.shape]} and "
                f"{[*j.shape]}."
            )
        # the kernels read them by address
        self.i = i.long().contiguous()
        self.j = j.long().contiguous()
        self.n = n
        self.p = len(i)
        self.num_heads = num_heads
        self.asked: str | None = None

    @contextlib.contextmanager
    def backward_for(self, purpose: str, then: str | None = None):
        """Within this context, backward passes serve one purpose; after it, those for `then`.

        A custom function cannot see what a backward pass is for: `needs_input_grad` is true of
        filter tables while forces are taken from the energy by `torch.autograd.grad(energy, pos)`,
        and true of distances while the loss is differentiated by the weights. Autograd passes
        nothing to a `backward` but gradients, so the purpose stands here, where every function of
        this pass finds it. An error in the context restores what was before.

        Parameters
        ----------
        purpose : {"positions", "parameters"}
            What gradients are taken by.
        then : {"positions", "parameters"} or None, default None
            The same, of all later backward passes; None for everything.
        """
        before = self.asked
        self.asked = purpose
        try:
            yield
        except BaseException:
            self.asked = before
            raise
        self.asked = then

    @functools.cached_property
    def chunks(self):
        size = _AT_A_TIME if self.i.device.type == "cpu" else max(self.p, 1)
        slices = (slice(start, start + size) for start in range(0, self.p, size))
        return [
            (at, torch.cat([self.i[at], self.j[at]]), torch.cat([self.j[at], self.i[at]]))
            for at in slices
        ]

    @functools.cached_property
    def walk(self):
        from scdlab.nn.ops.kernels import sort_pairs

        ends = torch.cat([self.i, self.j])
        if self.p and not 0 <= int(ends.min()) <= int(ends.max()) < self.n:
            raise IndexError(
                f"Pairs name atoms outside 0 … {self.n - 1}: give the model the pairs of this very "
                "batch."
            )
        start, edge = sort_pairs(ends, self.n)
        return start, torch.cat([self.j, self.i]).index_select(0, edge), edge

    @functools.cached_property
    def own_rows(self) -> FilterRows:
        return FilterRows(self.p)


class _Partials(torch.autograd.Function):
    """The derivatives of a form by its arguments number `wanted`, at the other arguments: (c, f,
    and the form's own).

    r [P]: distances that the place depends on, or None; order: how many times its spline has been
    differentiated.
    """

    @staticmethod
    def forward(ctx, form, wanted, edges, place, order, r, *args):
        ctx.form = form
        ctx.wanted = wanted
        ctx.edges = edges
        ctx.place = place
        ctx.order = order
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(r, *args)
        if place is None:
            return form.plain(tuple(k - 1 for k in wanted), edges, *args[1:])
        from scdlab.nn.ops import kernels

        return getattr(kernels, form.fused)(wanted, edges, place, order, *args)

    @staticmethod
    def backward(ctx, *directions):
        r, *args = ctx.saved_tensors
        if ctx.edges.asked == "parameters" and torch.is_grad_enabled():
            ctx.edges.asked = (
                None  # this gradient will be differentiated, and then positions matter again
            )
        need_r, *need = ctx.needs_input_grad[5:]
        if ctx.edges.asked == "positions" and r is not None:
            need[1] = False  # rows of a table
        elif ctx.edges.asked == "parameters":
            need_r = need[0] = False
            need[2] = need[2] and ctx.form is not _VECTOR_MESSAGES  # the vectors along the pairs
        grads = [None] * len(args)
        grad_r = None

        def partials(wanted, order, c, *rest):
            return _Partials.apply(ctx.form, wanted, ctx.edges, ctx.place, order, r, c, *rest)

        for k, direction in zip(ctx.wanted, directions, strict=True):  # the product rule
            if direction is None:
                continue
            there = [direction if m == k else x for m, x in enumerate(args)]
            others = tuple(m for m, needed in enumerate(need) if needed and m != k)
            if others:
                for m, g in zip(others, partials(others, ctx.order, *there), strict=True):
                    grads[m] = g if grads[m] is None else grads[m] + g
            if need_r:
                c, *rest = there
                (slope,) = partials((0,), ctx.order + 1, None, *rest)
                slope = slope if c is None else c * slope
                grad_r = slope if grad_r is None else grad_r + slope
        return None, None, None, None, None, grad_r, *grads


def _gather(x: Tensor | None, index: Tensor, *shape: int) -> Tensor | None:
    """Rows of x as [2, C, …] edges; flat first, because index_select copies rows of matrices
    fastest."""
    return (
        None
        if x is None
        else x.reshape(len(x), -1).index_select(0, index).view(2, len(index) // 2, *shape)
    )


def _add(out: Tensor, index: Tensor, edges: Tensor) -> None:
    """Sum [2, C, …] edges into the rows of out that index [2C] names."""
    out.view(len(out), -1).index_add_(0, index, edges.reshape(len(index), -1))


def _attention(wanted, edges, f, A, q, k):
    """F = Σ_{a←b} Σ_heads A_ab (q_a · k_b ∘ f)"""
    like = k if q is None else q
    d = like.shape[1]
    heads = edges.num_heads
    shapes = (edges.p, d), (2, edges.p, heads), (edges.n, d), (edges.n, d)
    out = {m: like.new_zeros(shapes[m]) for m in wanted}
    for at, to, of in edges.chunks:
        qa = _gather(q, to, heads, d // heads)  # (2, C, heads, d/heads)
        kb = _gather(k, of, heads, d // heads)  # (2, C, heads, d/heads)
        fp = None if f is None else f[at].view(-1, heads, d // heads)  # (C, heads, d/heads)
        w = None if A is None else A[:, at].unsqueeze(-1)  # (2, C, heads, 1)
        if 0 in out or 1 in out:
            qk = qa * kb
        if 0 in out:
            there, back = qk * w
            torch.add(there, back, out=out[0][at].view_as(there))
        if 1 in out:
            out[1][:, at] = (qk * fp).sum(-1)
        if 2 in out:
            _add(out[2], to, kb.mul_(fp).mul_(w))
        if 3 in out:
            _add(out[3], of, qa.mul_(fp).mul_(w))
    return tuple(out[m] for m in wanted)


def _cfconv(wanted, edges, f, g, u):
    """F = Σ_{a←b} f ∘ (g_a · u_b)"""
    like = u if g is None else g
    # components: 1 of scalars, 3 of vectors
    d = like.shape[-1]
    x = like[:1].numel() // like.shape[-1]
    shapes = (edges.p, d), like.shape, like.shape
    out = {k: like.new_zeros(shapes[k]) for k in wanted}
    for at, to, of in edges.chunks:
        ga = _gather(g, to, x, d)  # (2, C, x, d)
        ub = _gather(u, of, x, d)  # (2, C, x, d)
        if 0 in out:
            for one, other in zip(ga.unbind(2), ub.unbind(2), strict=True):  # (2, C, d) each
                out[0][at].addcmul_(one[0], other[0]).addcmul_(one[1], other[1])
        if 1 in out:
            _add(out[1], to, ub.mul_(f[at].unsqueeze(1)))
        if 2 in out:
            _add(out[2], of, ga.mul_(f[at].unsqueeze(1)))
    return tuple(out[k] for k in wanted)


def _vector_messages(wanted, edges, f, r, g, s):
    """F = Σ_{a←b} Σ_xyz r_ab · g_a ∘ f ∘ s_b"""
    like = f if s is None else s
    d = like.shape[1]
    shapes = (edges.p, d), (edges.p, 3), (edges.n, 3, d), (edges.n, d)
    out = {m: like.new_zeros(shapes[m]) for m in wanted}
    for at, to, of in edges.chunks:
        ga = _gather(g, to, 3, d)  # (2, C, 3, d)
        sb = _gather(s, of, d)  # (2, C, d)
        fp = None if f is None else f[at]  # (C, d)
        rab = None if r is None else torch.stack([r[at], -r[at]]).unsqueeze(-1)  # (2, C, 3, 1)
        if 1 in out or 2 in out:
            fs = sb * fp  # (2, C, d)
        if 2 in out:
            _add(out[2], to, rab * fs.unsqueeze(2))
        if 1 in out:
            there, back = torch.matmul(ga, fs.unsqueeze(-1)).squeeze(-1)  # (C, 3) each
            out[1][at] = there - back
        if 0 in out or 3 in out:
            along = ga[:, :, 0] * rab[:, :, 0]
            along.addcmul_(ga[:, :, 1], rab[:, :, 1]).addcmul_(
                ga[:, :, 2], rab[:, :, 2]
            )  # (2, C, d): r_ab · g_a
        if 0 in out:
            out[0][at].addcmul_(along[0], sb[0]).addcmul_(along[1], sb[1])
        if 3 in out:
            _add(out[3], of, along.mul_(fp))
    return tuple(out[m] for m in wanted)


class _Form:
    """A form's two implementations: plain torch, and the name of the fused one in kernels.py,
    loaded when used.

    of: what each of the form's own arguments has one row of: "atom", "pair", or "way", [2, P,
    heads].
    """

    def __init__(self, plain, *of):
        self.plain = plain
        self.fused = plain.__name__.removeprefix("_")
        self.of = of

    def partial(self, wanted: int, edges, place, f, *args) -> Tensor:
        """The derivative by the form's own argument number `wanted`, or by f (0)."""
        place = edges.own_rows if place is None else place
        self._check(edges, place, f, args)
        tensors = [x for x in (f, *args, place.r, place.factor) if x is not None]
        flat = all(
            x.dim() < 3 or x.shape[1] == 3 or self is _ATTENTION for x in tensors
        )  # scalars, or vectors of three
        if flat and fused_for((args[-1] if f is None else f).shape[-1], edges.num_heads, *tensors):
            return _Partials.apply(
                self, (wanted + 1,), edges, place, 0, place.r, place.factor, f, *args
            )[0]
        f = None if f is None else place.filters(f)
        return _Partials.apply(self, (wanted + 1,), edges, None, 0, None, None, f, *args)[0]

    def _check(self, edges, place, f, args) -> None:
        """Raise ValueError for arguments of another batch or width; the kernels would read past
        their ends."""
        d = (args[-1] if f is None else f).shape[-1]
        rows = {"atom": edges.n, "pair": edges.p}
        fits = f is None or f.shape == (place.n_rows, d)
        fits = (
            fits
            and place.n_pairs == edges.p
            and (place.factor is None or len(place.factor) == edges.p)
        )
        for of, x in zip(self.of, args, strict=True):
            if x is None:
                continue
            if of == "way":
                fits = (
                    fits and x.shape == (2, edges.p, edges.num_heads) and d % edges.num_heads == 0
                )
            else:
                fits = fits and len(x) == rows[of] and x.shape[-1] == (3 if of == "pair" else d)
        if not fits:
            shapes = ", ".join(str([*x.shape]) for x in (f, *args) if x is not None)
            raise ValueError(
                f"A sum over {edges.p} pairs of {edges.n} atoms does not go with tensors of shapes "
                f"{shapes}: filters have a row for each pair, features one for each atom, and all "
                "are of one width."
            )


def fused_for(d: int, num_heads: int, *tensors: Tensor) -> bool:
    """Whether the fused kernels take d features in so many heads: float32 on a processor, eights of
    features in a head, unless `reference_kernels` forbids it."""
    fit = d % (8 * num_heads) == 0 and all(
        x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors
    )
    return _fused and fit


_ATTENTION = _Form(_attention, "way", "atom", "atom")
_CFCONV = _Form(_cfconv, "atom", "atom")
_VECTOR_MESSAGES = _Form(_vector_messages, "pair", "atom", "atom")


def logits(
    q: Tensor, k: Tensor, f: Tensor, edges: DirectedEdges, place: FilterRows | None = None
) -> Tensor:
    """Σ_head q_a k_b ∘ f for every edge: q, k [N, d], f [P, d] or rows of the place's table -> [2,
    P, heads]."""
    return _ATTENTION.partial(1, edges, place, f, None, q, k)


def attention_sum(
    A: Tensor, f: Tensor, k: Tensor, edges: DirectedEdges, place: FilterRows | None = None
) -> Tensor:
    """Σ_b A_ab f ∘ k_b for every atom: A [2, P, heads], f [P, d] or rows, k [N, d] -> [N, d]."""
    return _ATTENTION.partial(2, edges, place, f, A, None, k)


def cfconv(f: Tensor, u: Tensor, edges: DirectedEdges, place: FilterRows | None = None) -> Tensor:
    """Σ_b f ∘ u_b for every atom: f [P, d] or rows, u [N, d] or [N, 3, d] -> like u."""
    return _CFCONV.partial(1, edges, place, f, None, u)


def vector_messages(
    r: Tensor, f: Tensor, s: Tensor, edges: DirectedEdges, place: FilterRows | None = None
) -> Tensor:
    """Σ_b r_ab f ∘ s_b for every atom: r [P, 3] from i towards j, f [P, d] or rows, s [N, d] -> [N,
    3, d]."""
    return _VECTOR_MESSAGES.partial(2, edges, place, f, r, None, s)


def pair_sum(f: Tensor, x: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """For every atom the sum over its pairs of filter ∘ partner: f [P, d], x [N, d] -> [N, d]."""
    return cfconv(f, x, DirectedEdges(i, j, len(x)))


def pair_product(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """The symmetric product x_i ∘ y_j + x_j ∘ y_i of the two atoms of each pair: x, y [N, d] -> [P,
    d]."""
    return _CFCONV.partial(0, DirectedEdges(i, j, len(x)), None, None, x, y)

"""Attention over the neighbors and the atom itself, with filters in keys and values: one function,
and its two derivatives.

    y_a = Σ_b a_ab w_ab ∘ v_b + a_aa w(0) ∘ v_a
    a_ab = c_ab SiLU(l_ab),     l_ab = Σ_head q_a ∘ u_ab ∘ k_b        of each head
    a_aa = SiLU(l_aa),          l_aa = Σ_head q_a ∘ u(0) ∘ k_a

    q, k, v [N, d]   queries, keys and values;   c [P]   cutoff function
    u, w             filters of keys and of values, from tables U and W [K, d]

With g the gradient at y, λ_ab = c SiLU'(l_ab) Σ_head g_a ∘ w ∘ v_b is that at the logits, and

    ∂/∂q_a = Σ_b λ_ab u ∘ k_b     ∂/∂k_b = Σ_a λ_ab u ∘ q_a     ∂/∂v_b = Σ_a a_ab w ∘ g_a

and likewise by the tables, by c and by the distances r. Of the neighbors no more than the logits
is kept. `loops.neighbor_attention_curvatures` has the second derivatives.
"""

import torch
from torch import Tensor
from torch.nn.functional import silu

from scdlab.nn.ops.edges import DirectedEdges
from scdlab.nn.ops.filter_tables import FilterRows, PairFilters
from scdlab.nn.ops.fused_function import FusedFunction, SomeTensors, Tensors, zeros_where_none
from scdlab.nn.ops.neighbor_sums import attention_sum, logits, single_on_processor


def neighbor_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: PairFilters,
    values: PairFilters,
    key_at_zero: Tensor,
    value_at_zero: Tensor,
    envelope: Tensor,
    edges: DirectedEdges,
) -> Tensor:
    """What every atom attends to: y above.

    Parameters
    ----------
    q, k, v : Tensor
        Queries, keys and values of the atoms, [N, d] each.
    keys, values : PairFilters
        Filters u and w of the pairs, [P, d], read by one look-up.
    key_at_zero, value_at_zero : Tensor
        u(0) and w(0), of an atom for itself, [1, d] each.
    envelope : Tensor
        The cutoff function c of the pairs, [P].
    edges : DirectedEdges
        The neighbors, and the number of heads.

    Returns
    -------
    Tensor
        [N, d].

    Raises
    ------
    ValueError
        For tensors of another batch or width.
    """
    lookup = keys.lookup
    args = q, k, v, keys.values, values.values, key_at_zero, value_at_zero, envelope
    r = envelope.detach() if lookup.depends_on is None else lookup.depends_on
    own = lookup is values.lookup and lookup.factor is None
    if own and single_on_processor(q.shape[-1], edges.num_heads, *args, r):
        function = NeighborAttention(edges, lookup)
        function.check(*args)
        return function(*args, r)[0]
    return _composed(q, k, v, keys, values, key_at_zero, value_at_zero, envelope, edges)


def _composed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: PairFilters,
    values: PairFilters,
    key_at_zero: Tensor,
    value_at_zero: Tensor,
    envelope: Tensor,
    edges: DirectedEdges,
) -> Tensor:
    """The same, out of sums over neighbors."""
    heads = len(q), edges.num_heads, q.shape[-1] // edges.num_heads
    a = silu(logits(q, k, keys, edges)) * envelope.unsqueeze(-1)  # (2, P, heads)
    a_self = silu((q * k * key_at_zero).view(heads).sum(-1, keepdim=True))  # (N, heads, 1)
    own = a_self * (v * value_at_zero).view(heads)  # (N, heads, d/heads)
    return attention_sum(a, v, values, edges) + own.view_as(v)  # (N, d)


class NeighborAttention(FusedFunction):
    """Of q, k, v, U, W, u(0), w(0), c and r, which rows of a pair's own do not read.

    Parameters
    ----------
    edges : DirectedEdges
        The neighbors, and the number of heads.
    lookup : FilterRows
        How pairs read both filters, without a factor.
    """

    of_positions = (7, 8)

    def __init__(self, edges: DirectedEdges, lookup: FilterRows) -> None:
        super().__init__(edges)
        self.lookup = lookup
        self.is_spline = lookup.depends_on is not None
        # rows of the pairs' own depend on weights and positions
        self.of_weights = (3, 4, 5, 6) if self.is_spline else (5, 6)

    def check(self, q: Tensor, *args: Tensor) -> None:
        """Raise ValueError for arguments of another batch or width; the loops would read past
        their ends."""
        n = self.edges.n_atoms
        n_pairs = self.edges.n_pairs
        d = q.shape[-1]
        K = self.lookup.n_rows
        shapes = [tuple(x.shape) for x in (q, *args)]
        wanted = [(n, d)] * 3 + [(K, d)] * 2 + [(1, d)] * 2 + [(n_pairs,)]
        if shapes != wanted or self.lookup.n_pairs != n_pairs:
            raise ValueError(
                f"Attention over {n_pairs} pairs of {n} atoms takes tensors of shapes "
                f"{', '.join(str([*x]) for x in wanted)}, got "
                f"{', '.join(str([*x]) for x in shapes)}, and filters of {self.lookup.n_pairs} "
                "pairs."
            )

    def composed(self, *args: Tensor) -> Tensors:
        q, k, v, U, W, u0, w0, c, r = args
        lookup = self.lookup.at(r)
        filters = PairFilters(U, lookup), PairFilters(W, lookup)
        return (_composed(q, k, v, *filters, u0, w0, c, self.edges),)

    def value(self, *args: Tensor) -> tuple[Tensors, Tensors]:
        from scdlab.nn.ops.loops import neighbor_attention as loops

        q, k, v, U, W, u0, w0, c, _ = args
        edges = self.edges
        n, d, heads, P = self._sizes(q)
        node = self.lookup.node
        B = self.lookup.kept_weights(0)
        taps = B.shape[1]
        graph = *edges.by_target, node, B  # checks the pairs, before a loop reads by them
        of_edges = _block(q, 1, 2 * P * heads)
        a = _block(q, 1, 2 * P * heads)
        loops.attention_weights(
            P, heads, d, taps, edges.i, edges.j, node, B, U, q, k, c, of_edges, a
        )
        of_atoms = _block(q, 1, n * heads)
        own = _block(q, 1, n * heads)
        y = torch.empty_like(q)
        loops.attended(n, P, heads, d, taps, *graph, W, q, k, v, u0, w0, a, of_atoms, own, y)
        return (y,), (of_edges, of_atoms)

    def slopes(
        self, args: Tensors, kept: Tensors, grads: Tensors, need: tuple[bool, ...]
    ) -> SomeTensors:
        from scdlab.nn.ops.loops import neighbor_attention as loops

        q, k, v, U, W, u0, w0, c, _ = args
        of_edges, of_atoms = kept
        (g,) = grads
        edges = self.edges
        n, d, heads, P = self._sizes(q)
        node = self.lookup.node
        B = self.lookup.kept_weights(0)
        taps = B.shape[1]
        of_r = self.is_spline and need[8]
        B1 = self.lookup.kept_weights(1) if of_r else B  # not read
        numbers = _block(q, 2, 2 * P * heads)
        room = _block(q, 2, 2 * P * heads) if of_r or need[7] else numbers  # not written
        gc = torch.empty_like(c) if need[7] else c  # not written
        gr = torch.empty_like(c) if of_r else c  # not written
        pairs = edges.i, edges.j, node, B, B1, U, W, q, k, v, g, c, of_edges, numbers
        loops.slopes_of_pairs(P, heads, d, taps, int(need[7]), int(of_r), *pairs, gc, gr, room)
        gq, gk, gv = (torch.empty_like(q) for _ in range(3))
        at_zero = need[5] or need[6]
        part = q.new_empty(-(-n // loops.ATOMS), 2, 1, d) if at_zero else q
        graph = *edges.by_target, node, B
        atoms = U, W, q, k, v, g, u0, w0, of_atoms, _block(q, 2, n * heads), numbers
        loops.slopes_of_atoms(n, P, heads, d, taps, int(at_zero), *graph, *atoms, gq, gk, gv, part)
        gU = gW = gu0 = gw0 = None
        if at_zero:
            gu0, gw0 = part.sum(0)
        if need[3] or need[4]:
            gU = torch.empty_like(U)
            gW = torch.empty_like(W)
            rows = edges.i, edges.j, *self._by_row(), B, q, k, v, g, numbers
            loops.slopes_of_tables(len(U), P, heads, d, taps, *rows, gU, gW)
        found = gq, gk, gv, gU, gW, gu0, gw0, gc, gr if of_r else None
        return tuple(x if needed else None for x, needed in zip(found, need, strict=True))

    def curvatures(
        self, args: Tensors, kept: Tensors, grads: Tensors, directions: SomeTensors
    ) -> tuple[SomeTensors, SomeTensors]:
        from scdlab.nn.ops.loops import neighbor_attention_curvatures as loops

        q, k, v, U, W, u0, w0, c, _ = args
        of_edges, of_atoms = kept
        (g,) = grads
        edges = self.edges
        n, d, heads, P = self._sizes(q)
        node = self.lookup.node
        B = self.lookup.kept_weights(0)
        taps = B.shape[1]
        along = zeros_where_none(directions, args)
        along_q, along_k, along_v, along_U, along_W, _, _, along_c, along_r = along
        turned = B
        if self.is_spline:
            turned = self.lookup.kept_weights(1) * along_r.unsqueeze(-1)  # (P, 4)
            along_U = U
            along_W = W
        tables = U, W, along_U, along_W
        features = q, k, v, g, along_q, along_k, along_v
        numbers = _block(q, 4, 2 * P * heads)
        pairs = edges.i, edges.j, node, B, turned, *tables, *features
        loops.curvatures_of_pairs(P, heads, d, taps, *pairs, of_edges, c, along_c, numbers)
        gg, gq, gk, gv = (torch.empty_like(q) for _ in range(4))
        part = q.new_empty(-(-n // loops.ATOMS), 2, 1, d)
        graph = *edges.by_target, node, B, turned
        at_zero = torch.cat([u0, w0])
        atoms = *tables, *features, at_zero, of_atoms, _block(q, 4, n * heads), numbers
        loops.curvatures_of_atoms(n, P, heads, d, taps, *graph, *atoms, gg, gq, gk, gv, part)
        gU = torch.empty_like(U)
        gW = torch.empty_like(W)
        if not self.is_spline:  # the rows' own directions are not multiplied by a table
            turned = torch.zeros_like(B)
        rows = edges.i, edges.j, *self._by_row(), B, turned, *features, numbers
        loops.curvatures_of_tables(len(U), P, heads, d, taps, *rows, gU, gW)
        gu0, gw0 = part.sum(0)
        return (gg,), (gq, gk, gv, gU, gW, gu0, gw0, None, None)

    def _sizes(self, q: Tensor) -> tuple[int, int, int, int]:
        return len(q), q.shape[1], self.edges.num_heads, self.edges.n_pairs

    def _by_row(self) -> tuple[Tensor, Tensor]:
        from scdlab.nn.ops.dispatch import pairs_by_row

        return pairs_by_row(self.lookup)


def _block(like: Tensor, arrays: int, n: int) -> Tensor:
    """Room for arrays of n numbers each, which the loops fill in eights: zeros beyond the last
    number, since they are read with it. Of the size that `loops.rows.padded` has."""
    block = like.new_empty(arrays, (n + 15) // 8 * 8)
    block[:, n:] = 0.0
    return block

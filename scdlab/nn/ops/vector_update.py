"""Changes of vectors in an equivariant transformer, and of scalars by vectors: one function, and
its two derivatives.

    x_a = (A_a · B_a) ∘ o²_a + o³_a
    w_a = C_a ∘ o¹_a + Σ_b (w¹_ab ∘ s¹_b ∘ v_b + r_ab w²_ab ∘ s²_b) + w¹(0) ∘ s¹_a ∘ v_a

    v, A, B, C [N, 3, d]   vectors;     s¹, s², o¹, o², o³ [N, d]   scalars
    r [P, 3]               of pairs, r_ba = -r_ab
    w¹, w²                 filters, from tables T¹ and T² [K, d]

With G the gradient at w, and z_a = Σ_b w¹ ∘ G_b + w¹(0) ∘ G_a,

    ∂/∂v = z ∘ s¹       ∂/∂s¹ = z · v       ∂/∂s²_b = Σ_a w² ∘ (r_ab · G_a)

and likewise by tables, r and distances. Nothing is kept but the arguments, and nothing is written
of the size [edges, d].
"""

import torch
from torch import Tensor

from scdlab.nn.ops.edges import DirectedEdges
from scdlab.nn.ops.filter_tables import FilterRows, PairFilters, SplineFilters
from scdlab.nn.ops.fused_function import FusedFunction, SomeTensors, Tensors, zeros_where_none
from scdlab.nn.ops.neighbor_sums import cfconv, single_on_processor, vector_messages


def vector_update(
    v: Tensor,
    s1: Tensor,
    s2: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    o1: Tensor,
    o2: Tensor,
    o3: Tensor,
    of_vectors: PairFilters,
    of_directions: PairFilters,
    at_zero: Tensor,
    directions: Tensor,
    edges: DirectedEdges,
) -> tuple[Tensor, Tensor]:
    """The changes of scalars and vectors: x and w above.

    Parameters
    ----------
    v : Tensor
        Vectors, [N, 3, d].
    s1, s2 : Tensor
        What the vectors of a neighbor, and the directions towards it, are multiplied by, [N, d].
    a, b, c : Tensor
        The vectors, mixed across channels three times, [N, 3, d].
    o1, o2, o3 : Tensor
        What attention gives, [N, d].
    of_vectors, of_directions : PairFilters
        Filters w¹, with the cutoff, and w², without, [P, d].
    at_zero : Tensor
        w¹(0), of an atom for itself, [1, d].
    directions : Tensor
        A vector of each pair, from i towards j, [P, 3].
    edges : DirectedEdges
        The neighbors.

    Returns
    -------
    scalars : Tensor
        x, [N, d].
    vectors : Tensor
        w, [N, 3, d].

    Raises
    ------
    ValueError
        For tensors of another batch or width.
    """
    tables = of_vectors.values, of_directions.values
    args = v, s1, s2, a, b, c, o1, o2, o3, *tables, at_zero, directions
    lookups = of_vectors.lookup, of_directions.lookup
    # on a GPU, numbers of the look-ups are not read: it would be waited for
    d = v.shape[-1]
    depends_on = _depends_on(*lookups) if single_on_processor(d, 1, *args) else None
    if depends_on is None or not single_on_processor(d, 1, depends_on):
        filters = of_vectors, of_directions
        return _composed(v, s1, s2, a, b, c, o1, o2, o3, *filters, at_zero, directions, edges)
    function = VectorUpdate(edges, *lookups)
    function.check(*args, depends_on)
    scalars, vectors = function(*args, depends_on)
    return scalars, vectors


def _depends_on(of_vectors: FilterRows, of_directions: FilterRows) -> Tensor | None:
    """What the weights of two look-ups depend on, where loops read both: the distances of splines
    with the same nodes, or the cutoff of rows of the pairs' own, which only the first have."""
    if isinstance(of_vectors, SplineFilters) and isinstance(of_directions, SplineFilters):
        same_nodes = (
            of_vectors.r is of_directions.r
            and of_vectors.cells == of_directions.cells
            and of_vectors.start is of_directions.start  # may be a number of a GPU
            and of_vectors.cutoff == of_directions.cutoff
        )
        return of_vectors.r if same_nodes else None
    splines = isinstance(of_vectors, SplineFilters) or isinstance(of_directions, SplineFilters)
    return None if splines or of_directions.factor is not None else of_vectors.factor


def _composed(
    v: Tensor,
    s1: Tensor,
    s2: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    o1: Tensor,
    o2: Tensor,
    o3: Tensor,
    of_vectors: PairFilters,
    of_directions: PairFilters,
    at_zero: Tensor,
    directions: Tensor,
    edges: DirectedEdges,
) -> tuple[Tensor, Tensor]:
    """The same, out of sums over neighbors."""
    x = (a * b).sum(1) * o2 + o3  # (N, d)
    # v_b ∘ s¹_b is formed per atom rather than per edge
    scaled = v * s1.unsqueeze(1)  # (N, 3, d)
    w = cfconv(scaled, of_vectors, edges)  # (N, 3, d)
    w = w + vector_messages(s2, of_directions, directions, edges)  # (N, 3, d)
    return x, c * o1.unsqueeze(1) + w + scaled * at_zero


class VectorUpdate(FusedFunction):
    """Of v, s¹, s², A, B, C, o¹, o², o³, T¹, T², w¹(0), r, and what the weights of the look-ups
    depend on.

    Parameters
    ----------
    edges : DirectedEdges
        The neighbors.
    of_vectors, of_directions : FilterRows
        The look-ups of w¹ and w²: splines of the same nodes, or rows of the pairs' own, of which
        the former have a factor.
    """

    of_positions = (12, 13)

    def __init__(
        self, edges: DirectedEdges, of_vectors: FilterRows, of_directions: FilterRows
    ) -> None:
        super().__init__(edges)
        self.of_vectors = of_vectors
        self.of_directions = of_directions
        # rows of the pairs' own depend on weights and positions
        self.of_weights = (9, 10, 11) if isinstance(of_vectors, SplineFilters) else (11,)

    def check(self, v: Tensor, *args: Tensor) -> None:
        """Raise ValueError for arguments of another batch or width; the loops would read past
        their ends."""
        n = self.edges.n_atoms
        n_pairs = self.edges.n_pairs
        d = v.shape[-1]
        K = self.of_vectors.n_rows
        wanted = [(n, 3, d), *[(n, d)] * 2, *[(n, 3, d)] * 3, *[(n, d)] * 3]
        wanted += [(K, d), (self.of_directions.n_rows, d), (1, d), (n_pairs, 3), (n_pairs,)]
        shapes = [tuple(x.shape) for x in (v, *args)]
        pairs = self.of_vectors.n_pairs, self.of_directions.n_pairs
        if shapes != wanted or pairs != (n_pairs, n_pairs):
            raise ValueError(
                f"A change of vectors over {n_pairs} pairs of {n} atoms takes tensors of shapes "
                f"{', '.join(str([*x]) for x in wanted)}, and does not go with those of shapes "
                f"{', '.join(str([*x]) for x in shapes)}, and filters of {pairs[0]} and {pairs[1]} "
                "pairs."
            )

    def composed(self, *args: Tensor) -> Tensors:
        *of_atoms, T1, T2, w0, r, depends_on = args
        of_vectors, of_directions = self.of_vectors, self.of_directions
        if isinstance(of_vectors, SplineFilters) and isinstance(of_directions, SplineFilters):
            of_vectors = of_vectors.at(depends_on)
            of_directions = of_directions.at(depends_on)
        else:
            of_vectors = FilterRows(len(depends_on), depends_on)
        filters = PairFilters(T1, of_vectors), PairFilters(T2, of_directions)
        v, s1, s2, a, b, c, o1, o2, o3 = of_atoms
        return _composed(v, s1, s2, a, b, c, o1, o2, o3, *filters, w0, r, self.edges)

    def value(self, *args: Tensor) -> tuple[Tensors, Tensors]:
        from scdlab.nn.ops.loops import vector_update as loops

        v, s1, s2, A, B, C, o1, o2, o3, T1, T2, w0, r, depends_on = args
        n, d, P = self._sizes(v)
        x = torch.empty_like(o3)
        w = torch.empty_like(v)
        loops.products(n, d, A, B, C, o1, o2, o3, x, w)
        B1, B2 = self._weights(depends_on)
        graph = *self.edges.by_target, self.of_vectors.node, B1, B2
        loops.sums(n, P, B1.shape[1], d, *graph, T1, T2, w0, r, v, s1, s2, w)
        return (x, w), ()

    def slopes(
        self, args: Tensors, kept: Tensors, grads: Tensors, need: tuple[bool, ...]
    ) -> SomeTensors:
        from scdlab.nn.ops.loops import vector_update as loops

        v, s1, s2, A, B, C, o1, o2, _, T1, T2, w0, r, depends_on = args
        g, G = grads
        n, d, P = self._sizes(v)
        by_v, by_A, by_B, by_C = (torch.empty_like(v) for _ in range(4))
        by_s1, by_s2, by_o1, by_o2 = (torch.empty_like(s1) for _ in range(4))
        loops.products_slopes(n, d, A, B, C, o1, o2, g, G, by_A, by_B, by_C, by_o1, by_o2)
        B1, B2 = self._weights(depends_on)
        taps = B1.shape[1]
        node = self.of_vectors.node
        by_w0 = v.new_empty(-(-n // loops.ATOMS), 1, d)
        graph = *self.edges.by_target, node, B1, B2
        found = by_v, by_s1, by_s2, by_w0
        loops.sums_slopes(n, P, taps, d, *graph, T1, T2, w0, r, v, s1, G, *found)
        by_T1 = by_T2 = by_r = by_weights = None
        i = self.edges.i
        j = self.edges.j
        if need[9] or need[10]:
            by_T1 = torch.empty_like(T1)
            by_T2 = torch.empty_like(T2)
            rows = i, j, *self._by_row(), B1, B2, r, v, s1, s2, G
            loops.sums_slopes_tables(len(T1), P, taps, d, *rows, by_T1, by_T2)
        if need[12] or need[13]:
            by_r = torch.empty_like(r)
            by_weights = torch.empty_like(depends_on)
            D1, D2 = self._slopes_of_weights(B1, B2)
            pairs = i, j, node, D1, B2, D2, T1, T2, r, v, s1, s2, G
            loops.sums_slopes_pairs(P, taps, d, *pairs, by_r, by_weights)
        by = [by_v, by_s1, by_s2, by_A, by_B, by_C, by_o1, by_o2, g, by_T1, by_T2]
        by += [by_w0.sum(0) if need[11] else None, by_r, by_weights]
        return tuple(x if needed else None for x, needed in zip(by, need, strict=True))

    def curvatures(
        self, args: Tensors, kept: Tensors, grads: Tensors, directions: SomeTensors
    ) -> tuple[SomeTensors, SomeTensors]:
        from scdlab.nn.ops.loops import vector_update_curvatures as loops

        v, s1, s2, A, B, C, o1, o2, _, T1, T2, w0, r, depends_on = args
        g, G = grads
        n, d, P = self._sizes(v)
        along = zeros_where_none(directions, args)
        by_G, by_v, by_A, by_B, by_C = (torch.empty_like(v) for _ in range(5))
        by_g, by_s1, by_s2, by_o1, by_o2 = (torch.empty_like(s1) for _ in range(5))
        found = by_g, by_G, by_A, by_B, by_C, by_o1, by_o2
        loops.products_curvatures(n, d, A, B, C, o1, o2, g, G, *along[3:9], *found)
        B1, B2 = self._weights(depends_on)
        taps = B1.shape[1]
        weights, tables = self._turned(args, along, B1, B2)
        graph = *self.edges.by_target, self.of_vectors.node, B1, B2
        of_pairs_and_atoms = r, v, s1, s2, G, along[12], *along[:3]
        by_w0 = v.new_empty(-(-n // loops.ATOMS), 1, d)
        found = by_G, by_v, by_s1, by_s2, by_w0, torch.empty_like(v)
        read = T1, T2, *tables, w0, *of_pairs_and_atoms
        turned = (torch.ones_like(B1), B2) if self._of_own_rows else weights
        loops.sums_curvatures(n, taps, d, *graph, *turned, *read, *found)
        by_T1 = torch.empty_like(T1)
        by_T2 = torch.empty_like(T2)
        rows = self.edges.i, self.edges.j, *self._by_row(), B1, B2, *weights
        size = len(T1), P, taps, d
        loops.sums_curvatures_tables(*size, *rows, *of_pairs_and_atoms, by_T1, by_T2)
        by = by_v, by_s1, by_s2, by_A, by_B, by_C, by_o1, by_o2, None, by_T1, by_T2, by_w0.sum(0)
        return (by_g, by_G), (*by, None, None)

    @property
    def _of_own_rows(self) -> bool:
        return not isinstance(self.of_vectors, SplineFilters)

    def _sizes(self, v: Tensor) -> tuple[int, int, int]:
        return len(v), v.shape[-1], self.edges.n_pairs

    def _weights(self, depends_on: Tensor) -> tuple[Tensor, Tensor]:
        """B of the two look-ups, [P, taps] each."""
        B2 = self.of_directions.kept_weights(0)
        if self._of_own_rows:
            return depends_on.detach().unsqueeze(-1), B2
        return self.of_vectors.kept_weights(0), B2

    def _slopes_of_weights(self, B1: Tensor, B2: Tensor) -> tuple[Tensor, Tensor]:
        """Their derivatives by what they depend on."""
        if self._of_own_rows:
            return torch.ones_like(B1), torch.zeros_like(B2)
        return self.of_vectors.kept_weights(1), self.of_directions.kept_weights(1)

    def _turned(
        self, args: Tensors, along: Tensors, B1: Tensor, B2: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Ḃ of the two look-ups; and the tables that ẇ is read from: of a spline with weights Ḃ,
        of rows of the pairs' own, which have directions too, ẇ itself."""
        D1, D2 = self._slopes_of_weights(B1, B2)
        change = along[13].unsqueeze(-1)  # (P, 1)
        weights = D1 * change, D2 * change  # (P, taps)
        if not self._of_own_rows:
            return weights, (args[9], args[10])
        return weights, (torch.addcmul(args[9] * change, along[9], B1), along[10])

    def _by_row(self) -> tuple[Tensor, Tensor]:
        from scdlab.nn.ops.dispatch import pairs_by_row

        return pairs_by_row(self.of_vectors)

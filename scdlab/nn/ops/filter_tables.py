"""Filter tables: a filter is a function of one scalar, so it is computed at some hundred distances,
not at every pair.

A network W(r) that turns a distance into a filter [d] is evaluated on a grid r_k = r_0 + kh, once a
pass. Between the nodes a cubic B-spline runs, with q = ⌊(r - r_0)/h⌋ and u = (r - r_0)/h - q:

    w(r) = Σ_{t=0}^{3} B_t(u) T_{q+t},      T = (1 + δ/6 + δ²/36) W,
                                            δW_k = 2W_k - W_{k-1} - W_{k+1},

so T_k = (54 W_k - 10 (W_{k-1} + W_{k+1}) + W_{k-2} + W_{k+2}) / 36.

The spline through the points W solves (1 - δ/6) T = W; three terms of the geometric series need no
system of equations and leave an error of order h⁶ at the nodes, h⁴ between them
(quasi-interpolation; de Boor, A Practical Guide to Splines, chapter XII). It is twice continuously
differentiable, so forces are smooth, and they are the exact gradient of the interpolated energy. T
is linear in W: training goes through the table, and the backward pass of the filter network runs on
the grid too. With K nodes and P pairs the filter networks cost K/P of what they did. Each further
derivative by the distance is less exact by one order of h: enough for energies and forces, less for
curvatures.

`FilterRows` says how a pair reads its filter: from a table of its own row (exact), or from four
rows of a spline.
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from scdlab.nn.blocks.radial import cosine_cutoff

# Pieces of the cubic B-spline: column t holds B_t(u) as coefficients of 1, u, u², u³.
_PIECES = (
    torch.tensor([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]], dtype=torch.float64)
    / 6
)


class FilterRows:
    """Where the pairs of one pass find their filters: in rows f [P, d] of their own, times factor
    [P] if given."""

    r = None  # distances that the place itself depends on; here the rows carry that dependence

    def __init__(self, n_pairs: int, factor: Tensor | None = None):
        self.n_pairs = n_pairs
        self.n_rows = n_pairs
        self.factor = factor

    def filters(self, f: Tensor) -> Tensor:
        """The filter of every pair, [P, d], in plain torch."""
        return f if self.factor is None else f * self.factor.unsqueeze(-1)

    # What the fused kernels read: w_p = Σ_t B_pt T_{node_p + t}

    @functools.cached_property
    def node(self) -> Tensor:
        """First row of each pair, [P]."""
        return torch.arange(self.n_pairs, device="cpu")

    def weights(self, order: int = 0) -> Tensor:
        """B [P, taps], differentiated `order` times by the distance."""
        return torch.ones(self.n_pairs, 1, dtype=torch.float32, device="cpu")

    @functools.cached_property
    def kept(self) -> dict:
        """What the kernels have made of this place, by name: weights by order, and lists of pairs
        by row."""
        return {}


class SplineFilters(FilterRows):
    """Rows of a table [cells + 3, d] over [start, cutoff], for pairs at r [P]; with `cut`, times
    the cosine cutoff.

    The cutoff is applied to the pair and not to the table: so the filter is exactly zero at r_c,
    with zero slope.
    """

    factor = None

    def __init__(self, r: Tensor, start: float, cutoff: float, cells: int, cut: bool):
        self.r = r
        self.start = start
        self.cutoff = cutoff
        self.cells = cells
        self.cut = cut
        self.n_pairs = len(r)
        self.step = (cutoff - start) / cells
        self.n_rows = cells + 3

    @functools.cached_property
    def node(self) -> Tensor:
        return ((self.r.detach() - self.start) / self.step).long().clamp_(0, self.cells - 1)

    def weights(self, order: int = 0) -> Tensor:
        spline = [self._splines(m) for m in range(order + 1)]
        if not self.cut:
            return spline[order]
        k = math.pi / self.cutoff
        inside = (self.r < self.cutoff).to(self.r.dtype)
        total = cosine_cutoff(self.r, self.cutoff).unsqueeze(-1) * spline[order]
        for m in range(1, order + 1):  # Leibniz' rule
            slope = 0.5 * k**m * torch.cos(k * self.r + m * math.pi / 2) * inside
            total = total + math.comb(order, m) * slope.unsqueeze(-1) * spline[order - m]
        return total

    def _splines(self, order: int) -> Tensor:
        u = ((self.r - self.start) / self.step - self.node).clamp(
            max=1.0
        )  # beyond the cutoff, where nothing is heard
        powers = [torch.zeros_like(u)] * order
        for k in range(order, 4):
            powers.append(math.perm(k, order) / self.step**order * u ** (k - order))
        return torch.stack(powers[:4], dim=-1) @ _PIECES.to(u)  # (P, 4)

    def filters(self, f: Tensor) -> Tensor:
        weights = self.weights()
        return sum(weights[:, t : t + 1] * f.index_select(0, self.node + t) for t in range(4))


class _Rows(torch.autograd.Function):
    """T = (1 + δ/6 + δ²/36) W: W [K + 4, d] -> [K, d]. Weighing five rows symmetrically, it is its
    own transpose, if zeros stand about the gradient."""

    @staticmethod
    def forward(ctx, w: Tensor) -> Tensor:
        near = w[1:-3] + w[3:-1]
        far = w[:-4] + w[4:]
        return (1.5 * w[2:-2]).add_(near, alpha=-5 / 18).add_(far, alpha=1 / 36)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Rows.apply(pad(gradient, (0, 0, 4, 4)))


class Filters:
    """What the layers of one pass ask about the distances r [P]: `basis`, what filter networks read
    (at the pairs, or at the nodes of a grid), `rows`, which makes of their answers what pairs read,
    and the places `uncut` and `cut` (times the cosine cutoff), by which they do.

    cells: of a table; None for the exact filters; tables: where passes that may share their tables
    keep them.
    """

    def __init__(
        self, basis, r: Tensor, cutoff: float, cells: int | None = None, tables: dict | None = None
    ):
        self.cells = cells
        self.envelope = cosine_cutoff(r, cutoff)
        self.made = None
        if cells is None:
            self.basis = basis(r)  # (P, n)
            self.uncut = FilterRows(len(r))
            self.cut = FilterRows(len(r), self.envelope)
        else:
            closest = float(r.detach().min())
            if not math.isfinite(closest):
                raise ValueError(
                    "A position of the batch is NaN or infinite: correct or remove its structure."
                )
            start = (
                math.floor(4.0 * closest) / 4.0
            )  # on a coarse scale: closer by a hair, same table
            start = min(start, 0.5 * cutoff)
            if tables is not None:  # what was made without a gradient has none to give
                self.made = tables.setdefault((start, cells, r.dtype, torch.is_grad_enabled()), {})
            nodes = torch.arange(-3, cells + 4, device=r.device, dtype=r.dtype)
            self.basis = basis(start + nodes * ((cutoff - start) / cells))  # (cells + 7, n)
            self.uncut, self.cut = (
                SplineFilters(r, start, cutoff, cells, cut) for cut in (False, True)
            )

    def rows(self, values: Tensor) -> Tensor:
        """Values of a filter network at `basis` -> rows for the places: the same, or the spline's
        coefficients."""
        return (
            values if self.cells is None else _Rows.apply(values)
        )  # (cells + 7, d) -> (cells + 3, d)

    def once(self, name, make) -> Tensor:
        """make(), or what a pass that shares this table has made under the same name."""
        if self.made is None:
            return make()
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

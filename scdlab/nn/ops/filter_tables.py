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

`PairFilters` are the filters of all pairs: the values of a network, and a look-up that says how a
pair reads them. `FilterRows` reads a row of the pair's own (exact), `SplineFilters` four rows of a
table. `Filters` makes them, once a pass, and `NetworkFilters` is what it gives of a network.
"""

import functools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from scdlab import devices
from scdlab.nn.blocks.radial import cosine_cutoff

# Pieces of the cubic B-spline: column t holds B_t(u) as coefficients of 1, u, u², u³.
_PIECES = (
    torch.tensor([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]], dtype=torch.float64)
    / 6
)


@functools.cache
def _pieces(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The pieces on a device, copied once: a GPU would wait for each copy."""
    with torch.inference_mode(False):  # what is kept serves passes with gradients too
        return _PIECES.to(device, dtype)


class FilterRows:
    """A look-up of filters that have a row for each pair.

    Parameters
    ----------
    n_pairs : int
        Number of pairs P.
    factor : Tensor or None, default None
        What each pair's row is multiplied by, such as the cutoff, [P].
    """

    depends_on: Tensor | None = None  # distances; rows of their own carry this dependence

    def __init__(self, n_pairs: int, factor: Tensor | None = None) -> None:
        self.n_pairs = n_pairs
        self.n_rows = n_pairs
        self.factor = factor

    def read(self, values: Tensor) -> Tensor:
        """The filter of every pair, in plain torch: [n_rows, d] -> [P, d]."""
        return values if self.factor is None else values * self.factor.unsqueeze(-1)

    def at(self, r: Tensor) -> "FilterRows":
        """The same look-up at other distances r [P], which rows of the pairs' own do not read."""
        return self

    # What the fused kernels read: w_p = Σ_t B_pt T_{node_p + t}

    @functools.cached_property
    def node(self) -> Tensor:
        """First row of each pair, [P]."""
        return torch.arange(self.n_pairs, device="cpu")

    def weights(self, order: int = 0) -> Tensor:
        """B [P, taps], differentiated `order` times by the distance."""
        return torch.ones(self.n_pairs, 1, dtype=torch.float32, device="cpu")

    @functools.cached_property
    def kept(self) -> dict[Any, Any]:
        """What the kernels have made of this look-up: weights by order, lists of pairs by row."""
        return {}

    def kept_weights(self, order: int) -> Tensor:
        """The same weights as the kernels read them, without a gradient; made once."""
        if order not in self.kept:
            self.kept[order] = self.weights(order).detach().contiguous()
        return self.kept[order]


class SplineFilters(FilterRows):
    """A look-up of filters in a table of spline coefficients.

    The cutoff is applied to the pair and not to the table: so the filter is exactly zero at r_c,
    with zero slope.

    Parameters
    ----------
    r : Tensor
        Distances of the pairs, [P] Å.
    start, cutoff : float
        The interval that the table spans, in Å; start may be a tensor on a GPU.
    cells : int
        Cells of the table, which has cells + 3 rows.
    with_cutoff : bool
        Whether filters are multiplied by the cosine cutoff.
    """

    def __init__(
        self, r: Tensor, start: float | Tensor, cutoff: float, cells: int, with_cutoff: bool
    ) -> None:
        self.r = r
        self.depends_on = r
        self.start = start
        self.cutoff = cutoff
        self.cells = cells
        self.with_cutoff = with_cutoff
        self.factor = None
        self.n_pairs = len(r)
        self.n_rows = cells + 3
        self.step = (cutoff - start) / cells

    def at(self, r: Tensor) -> "SplineFilters":
        """The same table, read at other distances r [P]."""
        return SplineFilters(r, self.start, self.cutoff, self.cells, self.with_cutoff)

    @functools.cached_property
    def node(self) -> Tensor:
        """First of the four rows of each pair, [P]."""
        cell = ((self.r.detach() - self.start) / self.step).long()
        return cell.clamp_(0, self.cells - 1)

    def weights(self, order: int = 0) -> Tensor:
        """B [P, 4], differentiated `order` times by the distance."""
        spline = [self._splines(m) for m in range(order + 1)]
        if not self.with_cutoff:
            return spline[order]
        r = self.r
        k = math.pi / self.cutoff
        inside = (r < self.cutoff).to(r.dtype)
        total = cosine_cutoff(r, self.cutoff).unsqueeze(-1) * spline[order]
        for m in range(1, order + 1):  # Leibniz' rule
            slope = 0.5 * k**m * torch.cos(k * r + m * math.pi / 2) * inside
            total = total + math.comb(order, m) * slope.unsqueeze(-1) * spline[order - m]
        return total

    def _splines(self, order: int) -> Tensor:
        """The pieces of the spline, without the cutoff, differentiated `order` times: [P, 4]."""
        u = (self.r - self.start) / self.step - self.node
        u = u.clamp(max=1.0)  # beyond the cutoff, where filters are zero
        powers = [torch.zeros_like(u)] * order
        for k in range(order, 4):
            powers.append(math.perm(k, order) / self.step**order * u ** (k - order))
        return torch.stack(powers[:4], dim=-1) @ _pieces(u.dtype, u.device)  # (P, 4)

    def read(self, values: Tensor) -> Tensor:
        """The filter of every pair, in plain torch: [cells + 3, d] -> [P, d]."""
        weights = self.weights()
        filters = weights[:, 0:1] * values.index_select(0, self.node)
        for t in range(1, 4):
            filters = filters + weights[:, t : t + 1] * values.index_select(0, self.node + t)
        return filters


@dataclass(frozen=True)
class PairFilters:
    """The filters of all pairs.

    Parameters
    ----------
    values : Tensor
        Rows of filters, [n_rows, d]: one for each pair, or spline coefficients.
    lookup : FilterRows
        How pairs read them.
    """

    values: Tensor
    lookup: FilterRows

    def of_pairs(self) -> Tensor:
        """The filter of every pair, [P, d]."""
        return self.lookup.read(self.values)


@dataclass(frozen=True)
class NetworkFilters:
    """What a filter network W gives.

    Parameters
    ----------
    with_cutoff, without_cutoff : PairFilters
        c(r) W(r) and W(r) of all pairs, [P, d].
    at_zero : Tensor
        W(0), of an atom for itself, [1, d].
    """

    with_cutoff: PairFilters
    without_cutoff: PairFilters
    at_zero: Tensor


class SplineCoefficients(torch.autograd.Function):
    """T = (1 + δ/6 + δ²/36) W: [K + 4, d] -> [K, d].

    Weighing five rows symmetrically, it is its own transpose, if zeros stand about the gradient.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        near = w[1:-3] + w[3:-1]
        far = w[:-4] + w[4:]
        return (1.5 * w[2:-2]).add_(near, alpha=-5 / 18).add_(far, alpha=1 / 36)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        (gradient,) = grad_outputs
        return SplineCoefficients.apply(pad(gradient, (0, 0, 4, 4)))


def _start(closest: Tensor, cutoff: float) -> float | Tensor:
    """Where a table starts, in Å: below the closest pair, on a coarse scale. Where atoms are closer
    by a hair, the table is the same.

    On a GPU the number stays there; NaN is found in the loss. On a processor it is refused.
    """
    if not devices.reads_freely(closest.device):
        return ((4.0 * closest).floor() / 4.0).clamp(max=0.5 * cutoff)
    smallest = float(closest)
    if not math.isfinite(smallest):
        raise ValueError(
            "A position of the batch is NaN or infinite: correct or remove its structure."
        )
    return min(math.floor(4.0 * smallest) / 4.0, 0.5 * cutoff)


class Filters:
    """The filters of one pass: filters(network) applies a filter network to the distances, and
    filters.together several at once.

    Parameters
    ----------
    basis : callable
        Radial basis, distances [P] -> [P, n]: what filter networks read.
    r : Tensor
        Distances of the pairs, [P] Å.
    cutoff : float
        Cutoff in Å.
    cells : int or None, default None
        Cells of the table that filters are read from; None for exact filters.
    tables : dict or None, default None
        Where passes that may share their tables keep them.

    Attributes
    ----------
    envelope : Tensor
        The cosine cutoff c(r), [P].
    """

    def __init__(
        self,
        basis: Callable[[Tensor], Tensor],
        r: Tensor,
        cutoff: float,
        cells: int | None = None,
        tables: dict[Any, Any] | None = None,
    ) -> None:
        self.cells = cells
        self.envelope = cosine_cutoff(r, cutoff)
        self._basis = basis
        self._kept: dict[Any, Tensor] | None = None
        self._zero = r.new_zeros(1)
        if cells is None:
            self._nodes = basis(r)  # (P, n)
            self._lookup = FilterRows(len(r))
            self._lookup_with_cutoff = FilterRows(len(r), self.envelope)
            return
        start = _start(r.detach().min(), cutoff)
        # what was made without a gradient has none to give; what stays on a GPU names no table
        if tables is not None and isinstance(start, float):
            key = (start, cells, r.dtype, torch.is_grad_enabled())
            self._kept = tables.setdefault(key, {})
        nodes = torch.arange(-3, cells + 4, device=r.device, dtype=r.dtype)
        self._nodes = basis(start + nodes * ((cutoff - start) / cells))  # (cells + 7, n)
        self._lookup = SplineFilters(r, start, cutoff, cells, with_cutoff=False)
        self._lookup_with_cutoff = SplineFilters(r, start, cutoff, cells, with_cutoff=True)

    def __call__(self, network: Callable[..., Tensor], *part: Any) -> PairFilters:
        """The filters c(r) W(r) that a network gives.

        Parameters
        ----------
        network : callable
            The filter network W: radial basis [P, n] -> [P, d].
        *part
            Further arguments of the network, such as which of its parts is meant.

        Returns
        -------
        PairFilters
            The filters, times the cosine cutoff. Passes that share their tables compute them once.
        """
        (values,) = self._once(
            [(network, *part)], lambda _: [self._tabulated(network(self._nodes, *part))]
        )
        return PairFilters(values, self._lookup_with_cutoff)

    def together(
        self,
        networks: Callable[[Tensor, Sequence[int]], Sequence[Tensor]],
        keys: Sequence[Hashable],
    ) -> list[NetworkFilters]:
        """The filters of several networks, evaluated at once.

        Parameters
        ----------
        networks : callable
            From a radial basis [n, functions], and the numbers of the networks that are asked for,
            what each of these gives, [n, d].
        keys : sequence
            What names each network where passes share their tables.

        Returns
        -------
        list of NetworkFilters
            Those of each network.
        """

        def at_pairs(which: Sequence[int]) -> Sequence[Tensor]:
            return [self._tabulated(x) for x in networks(self._nodes, which)]

        def at_zero(which: Sequence[int]) -> Sequence[Tensor]:
            return networks(self._basis_at_zero, which)

        values = self._once([("pairs", key) for key in keys], at_pairs)
        zeros = self._once([("zero", key) for key in keys], at_zero)
        return [
            NetworkFilters(
                PairFilters(x, self._lookup_with_cutoff), PairFilters(x, self._lookup), zero
            )
            for x, zero in zip(values, zeros, strict=True)
        ]

    @functools.cached_property
    def _basis_at_zero(self) -> Tensor:
        return self._basis(self._zero)  # (1, functions)

    def _tabulated(self, values: Tensor) -> Tensor:
        """Values at the pairs as they are, those on the grid as coefficients of a spline."""
        return values if self.cells is None else SplineCoefficients.apply(values)

    def _once(
        self, keys: Sequence[Hashable], make: Callable[[Sequence[int]], Sequence[Tensor]]
    ) -> Sequence[Tensor]:
        """What `make` gives for all keys, of their numbers, or what a pass that shares this table
        has made under the same key."""
        if self._kept is None:
            return make(range(len(keys)))
        missing = [k for k, key in enumerate(keys) if key not in self._kept]
        if missing:
            self._kept |= zip((keys[k] for k in missing), make(missing), strict=True)
        return [self._kept[key] for key in keys]

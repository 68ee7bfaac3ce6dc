"""The fused attention over neighbors, and linear layers of one input, against plain torch in
float64: value, slopes and curvatures on odd graphs, with filters of both kinds; what passes with a
purpose leave out; threads; and derivatives beyond the second."""

import pytest
import torch
from torch.nn.functional import silu

from scdlab.atoms import Pairs
from scdlab.nn.ops import linears, neighbor_attention, runtime
from scdlab.nn.ops.edges import DirectedEdges
from scdlab.nn.ops.filter_tables import FilterRows, PairFilters, SplineFilters
from scdlab.nn.ops.neighbor_sums import reference_kernels

CUTOFF = 5.0
CELLS = 8  # few: the rows are random numbers, and float32's rounding of r counts in cells
GRAPHS = {  # atoms, pairs
    "many": (70, [(k * 7 % 61, (k * k + 3) % 61) for k in range(300)]),  # 9 atoms hear none
    "few": (5, [(0, 1), (0, 1), (0, 2), (3, 3), (2, 1), (3, 3), (0, 0)]),
    "one atom": (1, [(0, 0), (0, 0)]),
    "no pairs": (3, []),
    "nothing": (0, []),
}
KINDS = ("spline", "rows")
WIDTHS = [(8, 1), (24, 3), (64, 8), (128, 8)]  # d, heads
NAMES = ("q", "k", "v", "U", "W", "u0", "w0", "c", "r")


def draw(kind, graph, d, heads):
    """Edges, and the arguments in float64."""
    n, pairs = GRAPHS[graph]
    torch.manual_seed(0)
    i, j = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).t().contiguous()
    edges = DirectedEdges(Pairs(i, j, None, CUTOFF), n, heads)
    K = CELLS + 3 if kind == "spline" else len(i)
    shapes = [(n, d)] * 3 + [(K, d)] * 2 + [(1, d)] * 2 + [(len(i),)]
    args = [torch.randn(shape) for shape in shapes]
    args.append(0.1 + 4.8 * torch.rand(len(i)))
    return edges, [x.double() for x in args]


def attend(kind, edges, args):
    q, k, v, U, W, u0, w0, c, r = args
    lookup = SplineFilters(r, 0.0, CUTOFF, CELLS, False) if kind == "spline" else FilterRows(len(r))
    filters = PairFilters(U, lookup), PairFilters(W, lookup)
    return neighbor_attention.neighbor_attention(q, k, v, *filters, u0, w0, c, edges)


def random_like(tensors, seed):
    """The same numbers in every precision."""
    torch.manual_seed(seed)
    return [torch.randn(x.shape).to(x) for x in tensors]


def forces_and_gradients(function, edges, args, positions, weights, along=None, purposes=True):
    """Of the value times a gradient g: its derivatives by `positions`, and of those times a
    direction each (or of `along` alone), and of the value itself, the derivatives by g and by
    `weights`."""
    leaves = [x.detach().clone().requires_grad_() for x in args]
    value = function(leaves)
    g = random_like([value], 1)[0].requires_grad_()
    energy = (value * g).sum()
    first, then = ("positions", "parameters") if purposes else (None, None)
    with edges.backward_for(first, then=then):
        slopes = torch.autograd.grad(
            energy, [leaves[m] for m in positions], create_graph=True, materialize_grads=True
        )
    chosen = zip(positions, slopes, random_like(slopes, 2), strict=True)
    loss = sum((x * u).sum() for m, x, u in chosen if along in (None, m))
    leaves = [g, *(leaves[m] for m in weights)]
    more = {"allow_unused": True, "materialize_grads": True}
    second = torch.autograd.grad(loss, leaves, retain_graph=True, **more)
    found = [value, *slopes, *second, *torch.autograd.grad(energy, leaves, **more)]
    edges.purpose = None
    return [x.detach() for x in found]


def compare(found, right, bound=1e-5):
    assert len(found) == len(right)
    for k, (x, y) in enumerate(zip(found, right, strict=True)):
        assert x.dtype == torch.float32 and x.shape == y.shape
        if y.numel():
            error = (x.double() - y).abs().max().item()
            assert error <= bound * max(y.abs().max().item(), 1.0), k


def of_both(kind, graph, d, heads, along=None):
    """The same by the loops and by plain torch."""
    edges, args = draw(kind, graph, d, heads)
    positions = (0, 1, 2, 7, 8)
    weights = (0, 1, 2, 3, 4, 5, 6)
    if kind == "rows":  # filters depend on positions and weights
        positions = (0, 1, 2, 3, 4, 7)

    def function(args):
        return attend(kind, edges, args)

    single = [x.float() for x in args]
    found = forces_and_gradients(function, edges, single, positions, weights, along)
    with reference_kernels():
        right = forces_and_gradients(function, edges, args, positions, weights, along)
    return found, right


@pytest.mark.parametrize(("d", "heads"), WIDTHS)
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("kind", KINDS)
def test_value_slopes_and_curvatures(kind, graph, d, heads):
    compare(*of_both(kind, graph, d, heads))


@pytest.mark.parametrize("kind", KINDS)
def test_each_direction_alone(kind):
    for m in (0, 1, 2, 7, 8) if kind == "spline" else (0, 1, 2, 3, 4, 7):
        found, right = of_both(kind, "few", 16, 2, along=m)
        assert any(x.any() for x in right), NAMES[m]
        compare(found, right)


@pytest.mark.parametrize("kind", KINDS)
def test_loops_are_what_ran(kind, monkeypatch):
    ran = []
    for name in ("value", "slopes", "curvatures"):
        before = getattr(neighbor_attention.NeighborAttention, name)

        def watched(self, *args, name=name, before=before):
            ran.append(name)
            return before(self, *args)

        monkeypatch.setattr(neighbor_attention.NeighborAttention, name, watched)
    of_both(kind, "few", 16, 2)
    assert ran == ["value", "slopes", "curvatures", "slopes"]
    for d, heads in ((12, 1), (16, 4)):  # heads that are no eights
        ran.clear()
        edges, args = draw(kind, "few", d, heads)
        attend(kind, edges, [x.float() for x in args])
        assert not ran


@pytest.mark.parametrize("kind", KINDS)
def test_threads_and_layouts_change_no_bit(kind, monkeypatch):
    edges, args = draw(kind, "many", 24, 3)
    args = [x.float() for x in args]

    def everything():
        positions = (0, 1, 2, 7)
        return forces_and_gradients(
            lambda args: attend(kind, edges, args), edges, args, positions, range(7)
        )

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = everything()
        torch.set_num_threads(2)
        others = [everything()]
        monkeypatch.setattr(runtime, "TEAM", None)
        others.append(everything())
    finally:
        torch.set_num_threads(before)
    for answers in others:
        assert all(torch.equal(x, y) for x, y in zip(alone, answers, strict=True))
    turned = [x.t().contiguous().t() for x in args]
    assert not turned[0].is_contiguous()
    assert torch.equal(attend(kind, edges, args), attend(kind, edges, turned))


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_without_a_purpose(kind):
    """To the third, by positions too, as a Hessian of a force takes them."""
    edges, args = draw(kind, "few", 8, 1)

    def derivatives(args):
        leaves = [x.detach().requires_grad_() for x in args]
        total = attend(kind, edges, leaves)
        found = []
        for order in (1, 2, 3, 4):
            total = (total * random_like([total], order)[0]).sum() if order == 1 else total
            slopes = torch.autograd.grad(
                total, leaves, create_graph=order < 4, allow_unused=True, materialize_grads=True
            )
            found += slopes
            total = sum((x * u).sum() for x, u in zip(slopes, random_like(slopes, 9), strict=True))
        return found

    found = derivatives([x.float() for x in args])
    with reference_kernels():
        right = derivatives(args)
    assert right[-2].any()
    compare(found, right, 5e-5)


def test_tensors_of_another_batch_or_width_are_refused():
    edges, args = draw("spline", "few", 16, 2)
    args = [x.float() for x in args]
    for m in range(8):
        for wrong in (args[m][:-1], torch.cat([args[m], args[m]], dim=-1)):
            changed = [*args[:m], wrong, *args[m + 1 :]]
            with pytest.raises(ValueError, match="takes tensors of shapes"):
                attend("spline", edges, changed)


def test_pairs_of_other_atoms_are_refused():
    edges, args = draw("rows", "few", 16, 2)
    edges = DirectedEdges(Pairs(edges.i, edges.j + 10**9, None, CUTOFF), 5, 2)
    with pytest.raises(IndexError, match="atoms outside"):
        attend("rows", edges, [x.float() for x in args])


def test_layers_with_a_bias_and_without_are_refused():
    layers = [(torch.randn(8, 6), torch.randn(8)), (torch.randn(8, 6), None)]
    with pytest.raises(ValueError, match="have a bias each, or none has"):
        linears.linears(torch.randn(7, 6), layers, draw("rows", "few", 8, 1)[0])


def test_layers_of_several_widths():
    torch.manual_seed(0)
    edges = draw("rows", "few", 8, 1)[0]
    x = torch.randn(3, 6)
    layers = [(torch.randn(d, 6), torch.randn(d)) for d in (4, 8)]
    for y, (w, b) in zip(linears.silu_linears(x, layers, edges), layers, strict=True):
        torch.testing.assert_close(y, silu(x @ w.t() + b))


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("active", [True, False])
def test_linear_layers_of_one_input(active, biases):
    if active and not biases:
        pytest.skip("filter networks have biases")
    torch.manual_seed(0)
    edges = draw("rows", "few", 8, 1)[0]
    x = torch.randn(7, 6) if active else torch.randn(7, 3, 6)
    layers = [0.3 * torch.randn(8, 6) for _ in range(3)]
    args = [x, *layers, *(torch.randn(8) for _ in range(3 if biases else 0))]

    def ours(args):
        pairs = [(w, b) for w, b in zip(args[1:4], args[4:] or [None] * 3, strict=True)]
        function = linears.silu_linears if active else linears.linears
        y = function(args[0], pairs, edges)
        return (y[0] * y[1]).sin() + y[2]

    def plain(args):
        y = [args[0] @ w.t() for w in args[1:4]]
        if biases:
            y = [a + b for a, b in zip(y, args[4:], strict=True)]
        y = [silu(a) for a in y] if active else y
        return (y[0] * y[1]).sin() + y[2]

    # what filter networks read depends on positions alone
    weights = range(1 if active else 0, len(args))
    found = forces_and_gradients(ours, edges, args, (0,), weights)
    right = forces_and_gradients(plain, edges, [a.double() for a in args], (0,), weights)
    compare(found, right)
    found = forces_and_gradients(ours, edges, args, (0,), range(len(args)), purposes=False)
    right = forces_and_gradients(
        plain, edges, [a.double() for a in args], (0,), range(len(args)), purposes=False
    )
    compare(found, right)

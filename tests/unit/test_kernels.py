"""Fused kernels against plain torch in float64: every form, place and argument, to the second
derivative; shapes that break vectorized code; threads, repeats and layouts that must change
nothing; and when kernels run at all."""

import _thread
import subprocess
import sys

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from scdlab import compiling
from scdlab.atoms import Pairs
from scdlab.nn.ops import dispatch, neighbor_sums, runtime
from scdlab.nn.ops.edges import DirectedEdges
from scdlab.nn.ops.filter_tables import FilterRows, PairFilters, SplineFilters
from scdlab.nn.ops.loops.sorting import sort

# few cells: the rows are random numbers, so float32's rounding of r counts in units of a cell
CUTOFF = 5.0
CELLS = 8

SHAPES = {  # of each sum's arguments; filters are [K, d]
    "cfconv": lambda n, p, K, d, num_heads: [(n, d), (K, d)],
    "cfconv_vectors": lambda n, p, K, d, num_heads: [(n, 3, d), (K, d)],
    "logits": lambda n, p, K, d, num_heads: [(n, d), (n, d), (K, d)],
    "attention_sum": lambda n, p, K, d, num_heads: [(2, p, num_heads), (n, d), (K, d)],
    "vector_messages": lambda n, p, K, d, num_heads: [(n, d), (K, d), (p, 3)],
    "pair_product": lambda n, p, K, d, num_heads: [(n, d), (n, d)],
}
FILTERS = {"logits": 2, "attention_sum": 2}  # which argument the filters are; of the others, 1
PLACES = ("rows", "factor", "spline", "cut")
CASES = [
    (name, place)
    for name in SHAPES
    for place in PLACES
    if name != "pair_product" or place == "rows"
]
WIDTHS = [
    (8, 1),
    (16, 2),
    (24, 3),
    (24, 1),
    (40, 1),
    (128, 8),
    (128, 16),
]  # d, heads: whole eights in every head
WIDTHS += [(1, 1), (4, 4), (7, 7), (12, 1), (24, 8)]  # and others, which are plain torch's

GRAPHS = {  # atoms, pairs
    "many": (
        70,
        [(k * 7 % 61, (k * k + 3) % 61) for k in range(300)],
    ),  # more than a thread draws at once; 9 hear none
    "few": (
        5,
        [(0, 1), (0, 1), (0, 2), (3, 3), (2, 1), (3, 3), (0, 0)],
    ),  # twice the same, self-images, one alone
    "one atom": (1, [(0, 0), (0, 0)]),
    "no pairs": (3, []),
    "nothing": (0, []),
}


def draw(name, place, n, p, d, num_heads, seed=0):
    """Random float32 inputs of a form at a place: its arguments, then what the place depends on, if
    anything."""
    torch.manual_seed(seed)
    K = CELLS + 3 if place in ("spline", "cut") else p
    tensors = [torch.randn(shape) for shape in SHAPES[name](n, p, K, d, num_heads)]
    if place != "rows":
        tensors.append(torch.randn(p) if place == "factor" else CUTOFF * torch.rand(p))
    return tensors


def edges_of(i, j, n, num_heads=1):
    return DirectedEdges(Pairs(i, j, None, CUTOFF), n, num_heads)


def cfconv(x, filters, i, j):
    """The sum by itself, of pairs i, j."""
    return neighbor_sums.cfconv(x, filters, edges_of(i, j, len(x)))


def evaluate(name, place, i, j, n, num_heads, tensors):
    edges = edges_of(i, j, n, num_heads)
    if name == "pair_product":
        return neighbor_sums.pair_product(*tensors, edges)
    lookup = None
    if place == "factor":
        *tensors, factor = tensors
        lookup = FilterRows(len(i), factor)
    elif place != "rows":
        *tensors, r = tensors
        lookup = SplineFilters(r, 0.0, CUTOFF, CELLS, with_cutoff=place == "cut")
    if lookup is not None:
        k = FILTERS.get(name, 1)
        tensors = [*tensors[:k], PairFilters(tensors[k], lookup), *tensors[k + 1 :]]
    return getattr(neighbor_sums, name.removesuffix("_vectors"))(*tensors, edges)


def derivatives(name, place, graph, tensors, num_heads=1, dtype=torch.float32, device="cpu"):
    """Value, first derivatives of a contraction of it, and second: those of a contraction of the
    first ones, by the inputs and by the first contraction's weights."""
    n, pairs = graph
    i, j = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).t().contiguous().to(device)
    leaves = [x.to(device, dtype).requires_grad_() for x in tensors]
    value = evaluate(name, place, i, j, n, num_heads, leaves)
    torch.manual_seed(1)  # weights are drawn in float32, so every precision meets the same
    weight = torch.randn(value.shape).to(value).requires_grad_()
    first = torch.autograd.grad((value * weight).sum(), leaves, create_graph=True)
    contraction = sum((g * torch.randn(g.shape).to(g)).sum() for g in first)
    return [value, *first, *torch.autograd.grad(contraction, [*leaves, weight])]


def compare(name, place, graph, d, num_heads, least=0.0):
    """Relative errors; least: what counts as the largest number where terms, products of order one,
    may all cancel."""
    tensors = draw(name, place, graph[0], len(graph[1]), d, num_heads)
    fused = derivatives(name, place, graph, tensors, num_heads)
    with neighbor_sums.reference_kernels():
        plain = derivatives(name, place, graph, tensors, num_heads, torch.float64)
    assert len(fused) == 2 * len(tensors) + 2
    for k, (x, y) in enumerate(zip(fused, plain, strict=True)):
        assert x.dtype == torch.float32 and x.shape == y.shape
        if y.numel():
            error = (x.double() - y).abs().max().item()
            largest = max(y.abs().max().item(), least)
            assert error <= 1e-5 * largest, (k, error, largest)


@pytest.mark.parametrize(("d", "num_heads"), WIDTHS)
@pytest.mark.parametrize(("name", "place"), CASES)
def test_values_and_two_derivatives_at_every_width(name, place, d, num_heads):
    compare(name, place, GRAPHS["many"], d, num_heads)


@pytest.mark.parametrize("graph", list(GRAPHS)[1:])
@pytest.mark.parametrize(("name", "place"), CASES)
def test_degenerate_graphs(name, place, graph):
    compare(name, place, GRAPHS[graph], d=16, num_heads=2, least=1.0)


@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(st.data())
def test_any_graph_at_any_width(data):
    name, place = data.draw(st.sampled_from(CASES))
    n = data.draw(st.integers(1, 40))
    heads = data.draw(st.integers(1, 4))
    width = data.draw(st.sampled_from([8, 16, 24, 32, 5]))
    atom = st.integers(0, n - 1)
    pairs = data.draw(st.lists(st.tuples(atom, atom), max_size=80))
    compare(name, place, (n, pairs), heads * width, heads, least=1.0)


def test_atoms_that_hear_nobody_get_exactly_zero():
    n, pairs = GRAPHS["many"]
    for name in ("cfconv", "cfconv_vectors", "attention_sum", "vector_messages"):
        value = derivatives(name, "rows", (n, pairs), draw(name, "rows", n, len(pairs), 16, 1))[0]
        assert (value[61:] == 0).all() and (value[:61] != 0).any()


@pytest.fixture
def threads():
    """Set the number of threads for the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def everything(name, place):
    graph = GRAPHS["many"]
    return derivatives(name, place, graph, draw(name, place, graph[0], len(graph[1]), 24, 3), 3)


@pytest.mark.parametrize(("name", "place"), CASES)
def test_threads_and_repeats_change_no_bit(name, place, threads, monkeypatch):
    threads(1)
    alone = everything(name, place)
    again = everything(name, place)
    threads(2)
    two = [everything(name, place) for _ in range(2)]
    started = []

    def watched(*arguments, start=_thread.start_new_thread):
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(runtime._thread, "start_new_thread", watched)
    monkeypatch.setattr(runtime, "TEAM", None)  # no OpenMP library to be found: threads of our own
    two.append(everything(name, place))
    assert started
    for answers in (again, *two):
        assert all(torch.equal(x, y) for x, y in zip(alone, answers, strict=True))


@pytest.mark.parametrize(("name", "place"), CASES)
def test_layouts_change_no_bit(name, place):
    n, pairs = GRAPHS["many"]
    i, j = torch.tensor(pairs).t().contiguous()
    columns = torch.tensor(pairs).t()  # the same indices, a stride of two
    tensors = draw(name, place, n, len(pairs), 24, 3)
    layouts = {
        "transposed": [x.movedim(0, -1).contiguous().movedim(-1, 0) for x in tensors],
        "every other": [torch.stack([x, x + 1], dim=-1)[..., 0] for x in tensors],
        "a part": [torch.cat([x[:1] + 1, x])[1:] for x in tensors],  # begins within its storage
    }

    def answers(tensors, i, j):
        leaves = [x.detach().requires_grad_() for x in tensors]
        value = evaluate(name, place, i, j, n, 3, leaves)
        first = torch.autograd.grad(
            value.sum(), leaves, create_graph=True
        )  # the gradient of a sum has stride zero
        return [value, *first, *torch.autograd.grad(sum(g.sum() for g in first), leaves)]

    solid = answers(tensors, i, j)
    assert not layouts["every other"][0].is_contiguous() and not columns[0].is_contiguous()
    for layout in layouts.values():
        for x, y in zip(answers(layout, i, j), solid, strict=True):
            assert torch.equal(x, y)
    for indices in (columns, (i.int(), j.int())):
        for x, y in zip(answers(tensors, *indices), solid, strict=True):
            assert torch.equal(x, y)


@pytest.mark.parametrize(("name", "place"), CASES)
def test_kernels_run_for_float32_and_not_under_plain_torch(name, place, monkeypatch):
    class Ran(Exception):
        pass

    def run(dtype=torch.float32):
        graph = GRAPHS["few"]
        derivatives(name, place, graph, draw(name, place, graph[0], len(graph[1]), 16, 2), 2, dtype)

    def refuse(*args):
        raise Ran

    for form in ("cfconv", "attention", "vector_messages"):
        monkeypatch.setattr(dispatch, form, refuse)
    run(torch.float64)
    with pytest.raises(Ran):
        run()
    with pytest.raises(ZeroDivisionError), neighbor_sums.reference_kernels():
        run()
        with neighbor_sums.reference_kernels():
            pass
        run()  # the inner context gives back what it found
        raise ZeroDivisionError
    with pytest.raises(Ran):  # and so does the outer one, whatever happened in it
        run()


@pytest.mark.slow
def test_importing_compiles_nothing():
    code = (
        "import sys, scdlab, scdlab.nn\n"
        "assert not {'numba', 'llvmlite'} & set(sys.modules), 'imported'\n"
        "from scdlab.nn.ops import dispatch, runtime\n"
        "found = runtime.all_kernels()\n"
        "assert found and not any('compiled' in vars(k) for k in found), 'compiled'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_prepare_compiles_every_kernel():
    runtime.compile_all()
    found = runtime.all_kernels()
    assert len(found) >= 13 and all(k.compiled.address for k in found)


@pytest.mark.parametrize(
    "trouble",
    [
        RuntimeError("cannot cache function 'sort': no locator available for file '/sorting.py'"),
        OSError(28, "No space left on device"),
        EOFError("Ran out of input"),  # a damaged entry
    ],
)
def test_where_kernels_cannot_be_kept_they_are_compiled_all_the_same(monkeypatch, caplog, trouble):
    asked = []
    plain = runtime.cfunc

    def refuse(signature, cache=False, **flags):
        asked.append(cache)
        if cache:
            raise trouble
        return plain(signature, **flags)

    monkeypatch.setattr(compiling, "_WARNED", [])
    monkeypatch.setattr(runtime, "cfunc", refuse)
    monkeypatch.setattr(dispatch, "sort", runtime.Kernel(sort.body))
    begin, order = dispatch.sort_pairs(torch.tensor([2, 0, 2, 1]), 3)
    assert (
        asked == [True, False] and order.tolist() == [1, 3, 0, 2] and begin.tolist() == [0, 1, 2, 4]
    )
    runtime.Kernel(sort.body).compiled  # noqa: B018
    assert len(caplog.records) == 1 and "set NUMBA_CACHE_DIR" in caplog.text
    monkeypatch.setattr(
        runtime, "cfunc", lambda *a, **k: exec("raise RuntimeError('another trouble')")
    )
    with pytest.raises(RuntimeError, match="another trouble"):
        runtime.Kernel(sort.body).compiled  # noqa: B018


@pytest.mark.parametrize("j", [[1, 3], [1, -1]])
def test_pairs_of_another_batch_are_refused(j):
    x = torch.randn(3, 8)
    with pytest.raises(IndexError, match="outside 0 … 2"):
        cfconv(x, torch.randn(2, 8), torch.tensor([0, 0]), torch.tensor(j))


@pytest.mark.parametrize("fused", [True, False])
def test_tensors_of_another_batch_or_width_are_refused(fused, monkeypatch):
    monkeypatch.setattr(neighbor_sums, "_use_fused", fused)
    i = torch.tensor([0, 0])
    j = torch.tensor([1, 2])
    f = torch.randn(2, 16)
    x = torch.randn(3, 16)
    wrong = [(x, f[:1], i, j), (x[:, :8], f, i, j), (x, f, i, j[:1]), (x, torch.randn(5, 16), i, j)]
    for arguments in wrong:
        with pytest.raises(ValueError, match=r"does not go with|same length"):
            cfconv(*arguments)
    edges = edges_of(i, j, 3, num_heads=2)
    for call in (
        lambda: neighbor_sums.pair_product(x, x[:2], edges),
        lambda: neighbor_sums.attention_sum(torch.randn(2, 2, 1), x, f, edges),
        lambda: neighbor_sums.logits(x, x[:2], f, edges),
        lambda: neighbor_sums.vector_messages(x, f, torch.randn(3, 3), edges),
        lambda: neighbor_sums.cfconv(x, PairFilters(f, FilterRows(5)), edges),
    ):
        with pytest.raises(ValueError, match="does not go with"):
            call()


def test_a_default_of_double_precision_changes_nothing():
    i = torch.tensor([0, 0])
    j = torch.tensor([1, 2])
    f = torch.randn(2, 16)
    x = torch.randn(3, 16)
    expected = cfconv(x, f, i, j)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(cfconv(x, f, i, j), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_kernel_takes_no_address_of_anything_else():
    with pytest.raises(TypeError, match="float64"):
        sort(
            1,
            1,
            1,
            torch.zeros(1, dtype=torch.float64),
            torch.zeros(2).long(),
            torch.zeros(1).long(),
        )


@pytest.mark.slow
def test_an_interrupt_waits_for_the_threads():
    code = (
        "import signal, torch\n"
        "from scdlab.atoms import Pairs\n"
        "from scdlab.nn.ops import neighbor_sums, runtime\n"
        "torch.set_num_threads(2)\n"
        "runtime.TEAM = None\n"
        "i = torch.randint(4000, (40000,)); j = torch.randint(4000, (40000,))\n"
        "f, x = torch.randn(40000, 128), torch.randn(4000, 128)\n"
        "def total():\n"
        "    edges = neighbor_sums.DirectedEdges(Pairs(i, j, None, 5.0), len(x))\n"
        "    return neighbor_sums.cfconv(x, f, edges)\n"
        "expected = total()\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "seen = 0\n"
        "for k in range(150):\n"
        "    try:\n"
        "        signal.setitimer(signal.ITIMER_REAL, 1e-4 * (1 + k % 40))\n"
        "        total()\n"
        "    except KeyboardInterrupt:\n"
        "        seen += 1\n"
        "    finally:\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "assert seen > 5, seen\n"
        "assert torch.equal(total(), expected)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_a_backward_pass_is_for_is_restored_after_an_error():
    edges = edges_of(torch.tensor([0]), torch.tensor([1]), 2)
    with edges.backward_for("positions", then="parameters"):
        assert edges.purpose == "positions"
    assert edges.purpose == "parameters"
    with pytest.raises(ZeroDivisionError), edges.backward_for("positions"):
        raise ZeroDivisionError
    assert edges.purpose == "parameters"

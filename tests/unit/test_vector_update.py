"""The fused change of vectors against plain torch in float64: value, slopes and curvatures, on odd
graphs, with filters of both kinds; what passes with a purpose give and leave out; threads; and a
network with and without it."""

import pytest
import torch

import scdlab
from scdlab.atoms import Pairs
from scdlab.nn.ops import neighbor_sums, runtime, vector_update
from scdlab.nn.ops.edges import DirectedEdges
from scdlab.nn.ops.filter_tables import FilterRows, PairFilters, SplineFilters
from scdlab.nn.ops.neighbor_sums import reference_kernels

CUTOFF = 5.0
CELLS = 8  # few: the rows are random numbers, and float32's rounding of r counts in cells
GRAPHS = {  # atoms, pairs
    "many": (70, [(k * 7 % 61, (k * k + 3) % 61) for k in range(300)]),  # 9 atoms hear none
    "structures": (12, [(0, 1), (1, 2), (0, 2), (5, 4), (4, 6), (9, 11), (10, 9)]),
    "few": (5, [(0, 1), (0, 1), (0, 2), (3, 3), (2, 1), (3, 3), (0, 0)]),
    "one atom": (1, [(0, 0), (0, 0)]),
    "no pairs": (3, []),
    "nothing": (0, []),
}
KINDS = ("spline", "rows")
NAMES = ("v", "s1", "s2", "a", "b", "c", "o1", "o2", "o3", "T1", "T2", "w0", "r", "weights")


def draw(kind, graph, d):
    """Edges, and the arguments in float64."""
    n, pairs = GRAPHS[graph]
    torch.manual_seed(0)
    i, j = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).t().contiguous()
    edges = DirectedEdges(Pairs(i, j, None, CUTOFF), n)
    K = CELLS + 3 if kind == "spline" else len(i)
    shapes = [(n, 3, d), (n, d), (n, d), *[(n, 3, d)] * 3, *[(n, d)] * 3, (K, d), (K, d), (1, d)]
    args = [torch.randn(shape) for shape in (*shapes, (len(i), 3))]
    args.append(0.1 + 4.8 * torch.rand(len(i)) if kind == "spline" else torch.randn(len(i)))
    return edges, [x.double() for x in args]


def filters(kind, T1, T2, depends_on):
    """The two filters of all pairs."""
    if kind == "spline":
        lookups = [SplineFilters(depends_on, 0.0, CUTOFF, CELLS, cut) for cut in (True, False)]
    else:
        lookups = [FilterRows(len(depends_on), depends_on), FilterRows(len(depends_on))]
    return [PairFilters(T, lookup) for T, lookup in zip((T1, T2), lookups, strict=True)]


def update(kind, edges, args):
    *of_atoms, T1, T2, w0, r, depends_on = args
    read = filters(kind, T1, T2, depends_on)
    return vector_update.vector_update(*of_atoms, *read, w0, r, edges)


def random_like(tensors, seed):
    """The same numbers in every precision."""
    torch.manual_seed(seed)
    return [torch.randn(x.shape).to(x) for x in tensors]


def by_torch(kind, edges, args, along=None):
    """In float64, without loops: value, slopes, and the gradients of ⟨along, slopes⟩ by the
    gradients at the value and by the arguments; `along`: which directions there are."""
    with reference_kernels():
        leaves = [x.detach().requires_grad_() for x in args]
        value = update(kind, edges, leaves)
        grads = [g.requires_grad_() for g in random_like(value, 1)]
        slopes = torch.autograd.grad(value, leaves, grads, create_graph=True)
        directions = random_like(slopes, 2)
        wanted = range(len(slopes)) if along is None else along
        total = sum((slopes[m] * directions[m]).sum() for m in wanted)
        leaves = [*grads, *leaves]
        found = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    return list(value), list(slopes), list(found)


def single(args):
    return [x.float() for x in args]


def compare(found, right, names=None):
    assert len(found) == len(right)
    for k, (x, y) in enumerate(zip(found, right, strict=True)):
        assert x.dtype == torch.float32 and x.shape == y.shape
        if y.numel():
            error = (x.double() - y).abs().max().item()
            assert error <= 1e-5 * max(y.abs().max().item(), 1.0), k if names is None else names[k]


def function_of(kind, edges, args):
    """The fused function, its value and what it keeps."""
    read = filters(kind, *args[9:11], args[13])
    function = vector_update.VectorUpdate(edges, read[0].lookup, read[1].lookup)
    function.check(*args)
    value, kept = function.value(*args)
    return function, value, kept


def fused(kind, edges, args, along=None):
    """As `by_torch`, by the loops themselves."""
    args = single(args)
    function, value, kept = function_of(kind, edges, args)
    grads = random_like(value, 1)
    slopes = function.slopes(tuple(args), kept, tuple(grads), (True,) * len(args))
    directions = random_like(slopes, 2)
    wanted = range(len(args)) if along is None else along
    chosen = tuple(u if m in wanted else None for m, u in enumerate(directions))
    by_grads, by_args = function.curvatures(tuple(args), kept, tuple(grads), chosen)
    assert by_args[12] is None and by_args[13] is None  # they depend on positions alone
    return list(value), list(slopes), [*by_grads, *by_args]


def directions_of(kind):
    """Arguments that have directions where forces are taken: tables of a spline have none."""
    return [m for m in range(len(NAMES)) if m != 11 and not (kind == "spline" and m in (9, 10))]


@pytest.mark.parametrize("d", [8, 24, 64])
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("kind", KINDS)
def test_value_slopes_and_curvatures(kind, graph, d):
    edges, args = draw(kind, graph, d)
    along = directions_of(kind)
    value, slopes, curvatures = fused(kind, edges, args, along)
    right = by_torch(kind, edges, args, along)
    compare(value, right[0])
    compare(slopes, right[1], NAMES)
    names = ("g", "G", *NAMES)
    known = [m for m, x in enumerate(curvatures) if x is not None]
    assert len(known) == 13  # of two gradients and eleven arguments; o³ is added
    assert not right[2][10].any()
    chosen = [names[m] for m in known]
    compare([curvatures[m] for m in known], [right[2][m] for m in known], chosen)


@pytest.mark.parametrize("kind", KINDS)
def test_each_direction_alone(kind):
    edges, args = draw(kind, "few", 8)
    for m in directions_of(kind):
        found = fused(kind, edges, args, [m])[2]
        right = by_torch(kind, edges, args, [m])[2]
        known = [k for k, x in enumerate(found) if x is not None]
        assert any(right[k].any() for k in known), NAMES[m]
        compare([found[k] for k in known], [right[k] for k in known])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", range(len(NAMES)))
def test_each_slope_alone(kind, m):
    edges, args = draw(kind, "few", 8)
    args = single(args)
    function, value, kept = function_of(kind, edges, args)
    grads = tuple(random_like(value, 1))
    found = function.slopes(tuple(args), kept, grads, (True,) * len(args))
    need = tuple(k == m for k in range(len(args)))
    alone = function.slopes(tuple(args), kept, grads, need)
    assert [x is not None for x in alone] == list(need)
    assert torch.equal(alone[m], found[m])


@pytest.mark.parametrize("kind", KINDS)
def test_threads_repeats_and_layouts_change_no_bit(kind, monkeypatch):
    edges, args = draw(kind, "many", 24)

    def everything(args):
        return [x for part in fused(kind, edges, args) for x in part if x is not None]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = everything(args)
        torch.set_num_threads(2)
        others = [everything(args)]
        monkeypatch.setattr(runtime, "TEAM", None)
        others.append(everything(args))
    finally:
        torch.set_num_threads(before)
    for answers in others:
        assert all(torch.equal(x, y) for x, y in zip(alone, answers, strict=True))
    args = single(args)
    turned = [x.transpose(0, -1).contiguous().transpose(0, -1) for x in args]
    assert not any(x.is_contiguous() for x in turned[:9])
    for x, y in zip(update(kind, edges, args), update(kind, edges, turned), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_gradients_without_a_purpose(kind):
    """To the third derivative, by positions too, as a Hessian of a force takes them."""
    edges, args = draw(kind, "few", 8)

    def derivatives(args):
        leaves = [x.detach().requires_grad_() for x in args]
        value = update(kind, edges, leaves)
        found = list(value)
        total = sum((x * g).sum() for x, g in zip(value, random_like(value, 1), strict=True))
        for order in (2, 3, 4):
            again = order < 4
            slopes = torch.autograd.grad(
                total, leaves, create_graph=again, allow_unused=True, materialize_grads=True
            )
            found += slopes
            total = sum(
                (x * u).sum() for x, u in zip(slopes, random_like(slopes, order), strict=True)
            )
        return found

    found = derivatives(single(args))
    with reference_kernels():
        right = derivatives(args)
    assert right[-1].any()
    for k, (x, y) in enumerate(zip(found, right, strict=True)):
        error = (x.double() - y).abs().max().item()
        assert error <= 3e-5 * max(y.abs().max().item(), 1.0), k


@pytest.mark.parametrize("kind", KINDS)
def test_passes_for_positions_and_for_parameters_give_what_others_give(kind, monkeypatch):
    edges, args = draw(kind, "many", 8)
    args = single(args)
    of_weights = (0, 1, 2, 9, 10, 11)

    def gradients(purposes):
        """Of a loss of the forces on a value that depends on positions and weights, by weights."""
        weights = [args[m].clone().requires_grad_() for m in of_weights]
        positions = [args[m].clone().requires_grad_() for m in (12, 13)]
        given = dict(zip(of_weights, weights, strict=True))
        if kind == "rows":  # rows depend on both
            for m in (9, 10):
                given[m] = given[m] * torch.cos(positions[1]).unsqueeze(-1)
        given |= {12: positions[0], 13: positions[1]}
        value = update(kind, edges, [given.get(m, x) for m, x in enumerate(args)])
        energy = sum((x * g).sum() for x, g in zip(value, random_like(value, 1), strict=True))
        with edges.backward_for(purposes[0], then=purposes[1]):
            forces = torch.autograd.grad(energy, positions, create_graph=True)
        loss = energy + sum(
            (x * u).sum() for x, u in zip(forces, random_like(forces, 2), strict=True)
        )
        found = torch.autograd.grad(loss, weights)
        edges.purpose = None
        return [*forces, *found]

    plain = gradients((None, None))
    ran = []
    monkeypatch.setattr(
        vector_update.VectorUpdate,
        "curvatures",
        lambda self, *x, before=vector_update.VectorUpdate.curvatures: (
            ran.append(1) or before(self, *x)
        ),
    )
    found = gradients(("positions", "parameters"))
    assert ran == [1]
    compare(found, [x.double() for x in plain])


@pytest.mark.parametrize("fused", [True, False])
def test_tensors_of_another_batch_or_width_are_refused(fused, monkeypatch):
    monkeypatch.setattr(neighbor_sums, "_use_fused", fused)
    edges, args = draw("rows", "few", 16)
    args = single(args)
    update("rows", edges, args)
    for m in (0, 2, 9, 10, 12):
        wrong = list(args)
        wrong[m] = args[m][:-1]
        with pytest.raises((ValueError, RuntimeError), match=r"does not go with|must match"):
            update("rows", edges, wrong)
    if fused:
        for m in range(12):
            wrong = list(args)
            wrong[m] = torch.cat([args[m], args[m]], dim=-1)
            with pytest.raises(ValueError, match="does not go with"):
                update("rows", edges, wrong)


def test_when_loops_run(monkeypatch):
    class Ran(Exception):
        pass

    def refuse(*args):
        raise Ran

    monkeypatch.setattr(vector_update.VectorUpdate, "value", refuse)
    for kind in KINDS:
        edges, args = draw(kind, "few", 16)
        update(kind, edges, args)
        with pytest.raises(Ran):
            update(kind, edges, single(args))
        with reference_kernels():
            update(kind, edges, single(args))
        edges, args = draw(kind, "few", 12)
        update(kind, edges, single(args))
    edges, args = draw("spline", "few", 16)
    *of_atoms, T1, T2, w0, r, distances = single(args)
    read = filters("spline", T1, T2, distances)
    nearer = PairFilters(T2, read[1].lookup.at(0.5 * distances))
    vector_update.vector_update(*of_atoms, read[0], nearer, w0, r, edges)  # of other nodes


def of_network(dtype, cells, forces=True):
    """Energies, forces, and gradients of a loss on them by all parameters."""
    torch.manual_seed(0)
    model = scdlab.EquivariantTransformer(16, 3, num_heads=2).to(dtype).train()
    model.filter_table_size = cells
    batch = scdlab.load_ethanol().take([0, 500, 1000])
    batch.pos = batch.pos.to(dtype)
    out = model(batch, forces=forces, noise=True)
    loss = out.energy.square().mean() + out.noise.square().sum()
    found = [out.energy, out.noise]
    if forces:
        loss = loss + out.forces.square().sum()
        found.append(out.forces)
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss.backward(inputs=parameters)
    return found, [p.grad for p in parameters]


@pytest.mark.parametrize("cells", [None, 32])
@pytest.mark.parametrize("forces", [True, False])
def test_a_network_is_the_same_with_and_without_loops(cells, forces, monkeypatch):
    fused, gradients = of_network(torch.float32, cells, forces)
    with monkeypatch.context() as patch:
        patch.setattr(vector_update, "_depends_on", lambda *lookups: None)
        right, right_gradients = of_network(torch.float32, cells, forces)
    if cells is None:
        with reference_kernels():
            right, right_gradients = of_network(torch.float64, cells, forces)
    for x, y in zip(fused, right, strict=True):
        assert (x.double() - y).abs().max() <= 1e-5 * y.abs().max()
    compared = 0
    for x, y in zip(gradients, right_gradients, strict=True):
        assert (x is None) == (y is None)
        if y is not None:
            assert (x.double() - y).abs().max() <= 2e-5 * max(y.abs().max(), 1e-3)
            compared += 1
    assert compared > 20

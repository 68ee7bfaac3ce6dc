"""Filter tables: splines to the second derivative, their order, their end at the cutoff; and models
through tables against exact ones: energies, forces, gradients, training, when a table is used, and
no subnormal numbers."""

import contextlib
import copy
import itertools
import math

import pytest
import torch
from helpers import is_subnormal
from torch.utils._python_dispatch import TorchDispatchMode

import scdlab
from scdlab.atoms import Pairs, neighbor_list
from scdlab.nn import et
from scdlab.nn.ops import neighbor_sums, runtime
from scdlab.nn.ops.filter_tables import Filters, PairFilters, SplineCoefficients, SplineFilters
from scdlab.objectives import EnergyForces, SelfConditionedDenoising

CUTOFF = 5.0
DEFAULT = 512  # cells of a model's table
CUT = pytest.mark.parametrize("cut", [False, True])


def inside_cells(n, cells):
    """Distances [n] in float64, all well inside a cell of the table: float32 does not move them
    into the next."""
    torch.manual_seed(0)
    at = torch.randint(cells, (n,)) + 0.1 + 0.8 * torch.rand(n, dtype=torch.float64)
    return at * (CUTOFF / cells)


def spline(r, cells, cut):
    return SplineFilters(r, 0.0, CUTOFF, cells, cut)


def read(place, table, order=0):
    """The filters of a place, differentiated `order` times by the distance: [P, d]."""
    weights = place.weights(order)
    return sum(weights[:, t : t + 1] * table[place.node + t] for t in range(4))


def spline_of(function, r, cells):
    """A function of the distance, read at r through a table of so many cells."""
    filters = Filters(lambda nodes: function(nodes).unsqueeze(-1), r, CUTOFF, cells)
    (given,) = filters.together(lambda values, _: [values], ["given"])
    return given.without_cutoff.of_pairs().squeeze(-1)


def test_weights_sum_to_one_and_their_slopes_to_zero():
    r = torch.linspace(0, CUTOFF, 1001, dtype=torch.float64)
    place = spline(r, 7, cut=False)
    torch.testing.assert_close(place.weights().sum(1), torch.ones_like(r), rtol=0, atol=1e-14)
    assert (place.weights() >= -1e-15).all()
    for order in (1, 2, 3):
        assert place.weights(order).sum(1).abs().max() < 1e-12
    assert place.weights(4).abs().max() == 0  # pieces of third degree


@CUT
@pytest.mark.parametrize("order", [1, 2, 3])
def test_slopes_are_finite_differences(order, cut):
    r = inside_cells(200, 16)
    h = 1e-5
    above, below = (spline(r + s, 16, cut).weights(order - 1) for s in (h, -h))
    exact = spline(r, 16, cut).weights(order)
    assert (((above - below) / (2 * h)) - exact).abs().max() < 1e-7 * exact.abs().max()


@CUT
def test_filters_can_be_differentiated_twice(cut):
    r = inside_cells(12, 4).requires_grad_()
    table = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)

    def filters(r, table):
        return spline(r, 4, cut).read(table)

    assert torch.autograd.gradcheck(filters, (r, table)) and torch.autograd.gradgradcheck(
        filters, (r, table)
    )
    (slope,) = torch.autograd.grad(filters(r, table).sum(), r)
    torch.testing.assert_close(slope, read(spline(r, 4, cut), table, 1).sum(1))


@CUT
def test_twice_continuously_differentiable_at_the_nodes(cut):
    torch.manual_seed(0)
    cells = 10
    table = torch.randn(13, 5, dtype=torch.float64)
    nodes = torch.arange(1, cells, dtype=torch.float64) * (CUTOFF / cells)
    below, above = (spline(nodes + s, cells, cut) for s in (-1e-9, 1e-9))
    assert (below.node + 1 == above.node).all()
    for order in (0, 1, 2):
        left = read(below, table, order)
        right = read(above, table, order)
        assert (left - right).abs().max() < 1e-7 * left.abs().max(), order
    left = read(below, table, 3)
    right = read(above, table, 3)
    assert (
        left - right
    ).abs().max() > 0.1 * left.abs().max()  # as it must: else the comparison sees nothing


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exactly_zero_at_the_cutoff_and_beyond(dtype):
    torch.manual_seed(0)
    table = torch.randn(11, 3, dtype=dtype)
    r = torch.tensor([CUTOFF, CUTOFF + 1e-3, 2 * CUTOFF], dtype=dtype, requires_grad=True)
    place = spline(r, 8, cut=True)
    filters = place.read(table)
    (slope,) = torch.autograd.grad(filters.sum(), r)
    assert (filters == 0).all() and (slope == 0).all()
    assert all((place.weights(order) == 0).all() for order in range(3))  # what the kernels read
    near = spline(torch.tensor([CUTOFF - 1e-3], dtype=dtype), 8, cut=True)
    assert (
        read(near, table).abs().max() < 1e-5 and read(near, table, 1).abs().max() < 1e-2
    )  # and no step before it


def test_cubics_are_reproduced():
    r = torch.linspace(0, CUTOFF, 500, dtype=torch.float64)

    def cubic(r):
        return 0.3 - r + 0.7 * r**2 - 0.2 * r**3

    torch.testing.assert_close(spline_of(cubic, r, 6), cubic(r), rtol=0, atol=1e-12)
    assert (spline_of(lambda r: r**4, r, 6) - r**4).abs().max() > 1e-3


def test_half_the_step_divides_the_error_by_sixteen():
    r = torch.linspace(0, CUTOFF, 4001, dtype=torch.float64)

    def bump(r):
        return torch.exp(-3 * (r - 2) ** 2) + 0.1 * torch.sin(2 * r)

    errors = [
        (spline_of(bump, r, cells) - bump(r)).abs().max().item() for cells in (256, 512, 1024)
    ]
    assert all(14 < coarse / fine < 18 for coarse, fine in itertools.pairwise(errors)), errors


@CUT
def test_kernels_read_what_plain_torch_reads(cut):
    torch.manual_seed(0)
    cells = 64
    d = 16
    r = inside_cells(300, cells).float()
    table = torch.randn(cells + 3, d)
    place = spline(r, cells, cut)
    first = 2 * torch.arange(300)
    edges = neighbor_sums.DirectedEdges(Pairs(first, first + 1, None, CUTOFF), 600)
    messages = neighbor_sums.cfconv(torch.ones(600, d), PairFilters(table, place), edges)  # of one
    filters = place.read(table)
    for each in (messages[::2], messages[1::2]):
        torch.testing.assert_close(each, filters, rtol=1e-6, atol=1e-6)


# --------------------------------------------------------------------------------------------------
# models

KINDS = {"schnet": scdlab.SchNet, "et": scdlab.EquivariantTransformer}
KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def ethanol():
    """80 structures of 36 pairs each: batches of 40 have more than enough for a table."""
    return scdlab.load_ethanol().split(80, 0)[0]


@pytest.fixture(scope="module")
def batches(ethanol):
    return {
        "ethanol": ethanol.take(range(40)),
        "qm9": scdlab.load_qm9(limit=150).take(range(110, 150)),
    }


def random_net(kind, hidden_channels=64, num_layers=3):
    torch.manual_seed(0)
    return KINDS[kind](hidden_channels=hidden_channels, num_layers=num_layers).train()


def use_cells(net, cells):
    """Put filters through a table of so many cells whatever the precision and the number of pairs;
    None: exact."""
    net.filters = lambda r: Filters(net.basis, r, net.cutoff, cells)
    return net


@pytest.fixture(scope="module")
def runs(ethanol):
    """kind -> (losses of 30 steps, trained net) through the table, and the same exactly."""
    done = {}

    def run(kind):
        if kind not in done:
            done[kind] = [train(random_net(kind), table, ethanol) for table in (DEFAULT, None)]
        return done[kind]

    return run


def train(net, table, store):
    used = set()
    filters = type(net).filters

    def watched(self, r):
        answer = filters(self, r)
        used.add(answer.cells)
        return answer

    net.filter_table_size = table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(net), "filters", watched)
        result = scdlab.fit(
            net,
            EnergyForces(),
            store,
            steps=30,
            batch_size=40,
            lr=2e-3,
            log_every=1,
            device="cpu",
            progress=False,
        )
    assert used == {table}
    return result.history["loss"], net


def answers(net, batch):
    """Energies without references, forces, and the parameters' gradient of a loss on both."""
    net.energy_head.reference.zero_()
    out = net(batch, forces=True, noise=False)
    loss = (
        out.energy - out.energy.detach().mean() - 1
    ).square().mean() + out.forces.square().mean()
    gradients = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    return out.energy.detach(), out.forces.detach(), [g for g in gradients if g is not None]


def relative(x, y):
    return float((x - y).norm() / y.norm())


def compare(net, batch):
    net = copy.deepcopy(net).train()
    found = []
    for net.filter_table_size in (DEFAULT, None):
        assert (
            net.filters(torch.rand(len(neighbor_list(batch, net.cutoff)))).cells
            == net.filter_table_size
        )
        found.append(answers(net, batch))
    (energy, forces, gradients), (exact_energy, exact_forces, exact_gradients) = found
    assert relative(energy, exact_energy) <= 1e-5
    assert relative(forces, exact_forces) <= 1e-4
    assert 0 < (forces - exact_forces).abs().max() <= 1e-4 * exact_forces.abs().max()
    assert len(gradients) > 10
    for g, exact in zip(gradients, exact_gradients, strict=True):
        assert (g - exact).norm() <= 1e-3 * exact.norm()


@pytest.mark.slow
@KIND
@pytest.mark.parametrize("name", ["ethanol", "qm9"])
@pytest.mark.parametrize(("hidden_channels", "num_layers"), [(64, 3), (128, 6)])
def test_tables_are_exact_enough_with_random_parameters(
    kind, name, hidden_channels, num_layers, batches
):
    compare(random_net(kind, hidden_channels, num_layers), batches[name])


@pytest.mark.slow
@KIND
def test_tables_are_exact_enough_after_training(kind, runs, batches):
    (_, through_table), (_, exactly) = runs(kind)
    for net in (through_table, exactly):
        compare(net, batches["ethanol"])


@pytest.mark.slow
@KIND
def test_training_through_a_table_is_training(kind, runs):
    (table, _), (exact, _) = runs(kind)
    assert len(table) == len(exact) == 30 and exact[-1] < 0.9 * exact[0]
    torch.testing.assert_close(torch.tensor(table), torch.tensor(exact), rtol=0.01, atol=0)


@KIND
def test_more_cells_are_more_exact(kind, batches):
    """In float64, where nothing but the table errs: by O(h³) in a slope."""
    net = random_net(kind).double()
    batch = scdlab.load_qm9(limit=50).take([30, 40])
    exact = answers(use_cells(net, None), batch)[1]
    errors = [
        relative(answers(use_cells(net, cells), batch)[1], exact) for cells in (256, 512, 1024)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2] and errors[2] < 1e-5, errors


@KIND
def test_forces_are_the_gradient_of_the_energy_through_the_table(kind):
    net = use_cells(random_net(kind).double(), 128)
    batch = scdlab.load_qm9(limit=50).take([30, 40])
    batch.pos = batch.pos.double()
    forces = net(batch, forces=True).forces.detach()
    start = batch.pos
    h = 1e-5
    torch.manual_seed(1)
    for _ in range(8):
        along = torch.randn_like(start)
        energies = []
        for batch.pos in (start + h * along, start - h * along):
            energies.append(net(batch).energy.sum().item())
        slope = (energies[0] - energies[1]) / (2 * h)
        assert (
            abs(slope + (forces * along).sum().item())
            <= 1e-6 * (forces.norm() * along.norm()).item()
        )


@KIND
@pytest.mark.parametrize("cells", [None, 64])
def test_a_shorter_backward_pass_changes_no_derivative(kind, cells):
    """Whether a caller may ask for the gradient by positions too (theirs carry one) or not: forces,
    the parameters' gradient of a loss on them, and a gradient of that gradient, as for
    Hessian-vector products."""
    found = []
    for theirs in (True, False):
        net = use_cells(
            random_net(kind, hidden_channels=16 if kind == "schnet" else 64, num_layers=2), cells
        )
        batch = scdlab.load_qm9(limit=50).take([30, 40])
        batch.pos.requires_grad_(theirs)
        forces = net(batch, forces=True, noise=False).forces
        parameters = list(net.parameters())
        first = torch.autograd.grad(
            forces.square().sum(), parameters, create_graph=True, allow_unused=True
        )
        second = torch.autograd.grad(
            sum(g.square().sum() for g in first if g is not None), parameters, allow_unused=True
        )
        found.append([forces, *(g for g in (*first, *second) if g is not None and g.norm() > 0)])
    assert len(found[0]) == len(found[1]) > 20
    for x, y in zip(*found, strict=True):
        assert relative(y, x) <= 1e-5


@KIND
@pytest.mark.parametrize("cells", [None, 64])
def test_a_loss_on_forces_has_a_gradient_by_positions(kind, cells):
    found = []
    for dtype in (torch.float32, torch.float64):
        net = use_cells(random_net(kind).to(dtype), cells)
        batch = scdlab.load_qm9(limit=50).take([30, 40])
        batch.pos = batch.pos.to(dtype).requires_grad_()
        (gradient,) = torch.autograd.grad(
            net(batch, forces=True, noise=False).forces.square().sum(), batch.pos
        )
        found.append(gradient.double())
    assert relative(*found) <= 1e-4


@KIND
def test_tables_are_used_in_training_on_enough_pairs_only(kind, batches):
    net = random_net(kind)
    many = CUTOFF * torch.rand(2 * DEFAULT)
    assert net.filter_table_size == DEFAULT and net.filters(many).cells == DEFAULT
    assert net.filters(many[1:]).cells is None
    with neighbor_sums.reference_kernels():
        assert net.filters(many).cells is None
    net.filter_table_size = 64
    assert net.filters(many[:128]).cells == 64 and net.filters(many[:127]).cells is None
    net.filter_table_size = None
    assert net.filters(many).cells is None
    net.filter_table_size = DEFAULT
    assert net.double().filters(many.double()).cells is None
    net.to("meta", torch.float32)
    assert net.filters(many.to("meta")).cells is None  # a device that is no processor
    net = random_net(kind).eval()
    assert net.filters(many).cells is None
    exact = use_cells(copy.deepcopy(net), None)
    assert torch.equal(net(batches["ethanol"]).energy, exact(batches["ethanol"]).energy)


class Products(TorchDispatchMode):
    """Notes for every matrix product, of backward passes too, whether a subnormal number enters
    it."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm):
            self.found += [is_subnormal(x) for x in args if isinstance(x, torch.Tensor)]
        return function(*args, **(kwargs or {}))


@KIND
def test_no_subnormal_number_enters_a_matrix_product_or_a_kernel(kind, batches, monkeypatch):
    found = []
    run = runtime.Kernel.__call__

    def watched(self, items, *args):
        run(self, items, *args)
        found.extend(is_subnormal(x) for x in args if isinstance(x, torch.Tensor))

    monkeypatch.setattr(runtime.Kernel, "__call__", watched)
    net = random_net(kind)
    with Products() as products:
        answers(net, batches["qm9"])
    assert len(products.found) > 50 and not any(products.found)
    assert len(found) > 100 and not any(found)


@CUT
def test_no_subnormal_number_is_among_the_weights(cut):
    r = torch.cat([torch.linspace(0.3, CUTOFF, 200_001), CUTOFF - torch.logspace(-7, 0, 1000)])
    assert math.isclose(float(r.max()), CUTOFF)
    place = spline(r, 1024, cut)
    assert not any(is_subnormal(place.weights(order)) for order in range(3))


def test_rows_are_differentiated_to_any_order():
    torch.manual_seed(0)
    w = torch.randn(12, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(SplineCoefficients.apply, w)
    assert torch.autograd.gradgradcheck(lambda w: SplineCoefficients.apply(w.square()).sin(), w)


@pytest.fixture(scope="module")
def conditional():
    torch.manual_seed(0)
    models = [
        net(hidden_channels=16, conditional=True, **more)
        for net, more in (
            (scdlab.SchNet, {"num_layers": 2}),
            # two layers between the first and the last have the same filters
            (scdlab.EquivariantTransformer, {"num_layers": 4, "num_heads": 2, "num_rbf": 12}),
        )
    ]
    for model in models:
        for layer in model.adaln:  # or what it is told would not matter
            torch.nn.init.normal_(layer.lin2.weight, std=0.2)
        model.filter_table_size = 64
    return dict(zip(("SchNet", "ET"), models, strict=True))


def calls_of(model, function):
    """How many filter networks of the layers were evaluated, and what the function gave."""
    evaluated = []
    with pytest.MonkeyPatch.context() as patch:
        hooks = []
        if isinstance(model, scdlab.SchNet):
            for block in model.blocks:
                hooks.append(block.filter.register_forward_hook(lambda *_: evaluated.append(1)))
        else:
            before = et.silu_linears

            def watched(x, layers, edges):
                evaluated.append(len(layers) if len(x) > 1 else 0)  # not at zero
                return before(x, layers, edges)

            patch.setattr(et, "silu_linears", watched)
        try:
            out = function()
        finally:
            for hook in hooks:
                hook.remove()
    return sum(evaluated), out


CONDITIONAL = pytest.mark.parametrize("kind", ["SchNet", "ET"])


@CONDITIONAL
def test_two_passes_of_a_step_make_one_table_and_differ_in_nothing(kind, conditional, monkeypatch):
    """Loss and gradient of self-conditioned denoising with the tables shared, and with a table for
    each pass, float64 (where a model takes no tables of its own accord)."""
    model = copy.deepcopy(conditional[kind]).double()
    batch = scdlab.load_qm9(limit=3000).take([1500, 2000, 2500])
    model.filters = lambda r: Filters(model.basis, r, model.cutoff, 64, model._shared_tables)
    objective = SelfConditionedDenoising(
        sigma=0.01
    )  # the closest pair stays in its quarter of an ångström

    def step():
        model.zero_grad()
        loss, _ = objective(model, batch, torch.Generator().manual_seed(0))
        loss.backward()
        return loss.detach(), {
            name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
        }

    shared, (loss, gradients) = calls_of(model, step)
    monkeypatch.setattr(type(model), "shared_filter_tables", lambda model: contextlib.nullcontext())
    own, (expected, expected_gradients) = calls_of(model, step)
    # the condition is made without the vectors of the last layer
    assert (shared, own) == {"SchNet": (2, 4), "ET": (3 + 3 * 4, 2 * (3 + 3 * 4) - 2)}[kind]
    assert loss == expected and gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-9, atol=1e-14)


@CONDITIONAL
def test_a_table_is_shared_by_passes_that_read_the_same_alone(kind, conditional):
    """Not by a pass without gradient and one with it, nor when the closest pairs ask for another
    start, nor later."""
    model = conditional[kind]
    batch = scdlab.load_qm9(limit=3000).take(list(range(0, 3000, 150)))
    wide = copy.copy(batch)
    wide.pos = 1.4 * batch.pos
    once = calls_of(model, lambda: model(batch))[0]

    def passes(*batches):
        with model.shared_filter_tables():
            return [model(batch).energy.sum() for batch in batches]

    assert calls_of(model, lambda: passes(batch, batch, batch))[0] == once
    assert calls_of(model, lambda: passes(batch, wide))[0] == 2 * once
    assert calls_of(model, lambda: (passes(batch), passes(batch)))[0] == 2 * once
    with model.shared_filter_tables():
        with torch.no_grad():
            model(batch)
        model(batch).energy.sum().backward()
    schnet = isinstance(model, scdlab.SchNet)
    weight = (model.blocks[0].filter.lin1 if schnet else model.blocks[1].dv).weight
    assert weight.grad is not None and weight.grad.any()
    with pytest.raises(RuntimeError, match="inside"), model.shared_filter_tables():
        raise RuntimeError("inside")
    assert calls_of(model, lambda: (model(batch), model(batch)))[0] == 2 * once
    model.eval()
    try:
        expected = model(batch).energy
        with model.shared_filter_tables():  # exact filters are each pass's own
            model(wide)
            assert torch.equal(model(batch).energy, expected)
    finally:
        model.train()

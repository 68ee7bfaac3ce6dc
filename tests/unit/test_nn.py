"""Radial functions, pair operations, heads and the model's contract."""

import math

import pytest
import torch
from ase.build import molecule
from helpers import is_subnormal, stored_batch
from torch_geometric.data import Batch, Data

import scdlab
from scdlab.nn.blocks.linear import StackedLinear, xavier_linear
from scdlab.nn.blocks.properties import PropertyHead
from scdlab.nn.blocks.radial import GaussianBasis, cosine_cutoff, shifted_softplus
from scdlab.nn.ops.neighbor_sums import DirectedEdges, cfconv, pair_product


def random_pairs(n=7, p=15, d=4):
    g = torch.Generator().manual_seed(0)
    # i == j (a self-image) included
    i = torch.randint(n, (p,), generator=g)
    j = torch.randint(n, (p,), generator=g)
    i[0] = j[0]
    draw = lambda rows: torch.randn(rows, d, generator=g, dtype=torch.float64, requires_grad=True)  # noqa: E731
    edges = DirectedEdges(scdlab.atoms.Pairs(i, j, None, 5.0), n)
    return draw(p), draw(n), draw(n), edges


def test_a_convolution_is_the_loop_over_both_directions():
    w, x, _, edges = random_pairs()
    expected = torch.zeros_like(x)
    for p, (a, b) in enumerate(zip(edges.i.tolist(), edges.j.tolist(), strict=True)):
        expected[a] = expected[a] + w[p] * x[b]
        expected[b] = expected[b] + w[p] * x[a]
    torch.testing.assert_close(cfconv(x, w, edges), expected)


def test_pair_operations_are_right_to_second_order():
    w, x, y, edges = random_pairs()
    for fn, a, b in ((cfconv, x, w), (pair_product, x, y)):
        assert torch.autograd.gradcheck(lambda a, b, f=fn: f(a, b, edges), (a, b))
        assert torch.autograd.gradgradcheck(lambda a, b, f=fn: f(a, b, edges), (a, b))


def test_shifted_softplus():
    x = torch.linspace(-5, 5, 11, dtype=torch.float64)
    torch.testing.assert_close(shifted_softplus(x), (0.5 * x.exp() + 0.5).log())
    assert shifted_softplus(torch.zeros(1, dtype=torch.float64)).abs() < 1e-15


def test_cutoff_ends_with_value_and_slope_zero():
    r = torch.tensor([0.0, 2.5, 5.0 - 1e-7, 5.0, 6.0], dtype=torch.float64, requires_grad=True)
    c = cosine_cutoff(r, 5.0)
    torch.testing.assert_close(c[:2].detach(), torch.tensor([1.0, 0.5], dtype=torch.float64))
    assert c[2:].abs().max() < 1e-12
    (slope,) = torch.autograd.grad(c.sum(), r)
    assert slope[2:].abs().max() < 1e-6


def test_gaussians_peak_at_their_centers_with_the_usual_width():
    basis = GaussianBasis(50, 0.0, 5.0)
    torch.testing.assert_close(basis(basis.centers).diagonal(), torch.ones(50))
    spacing = float(basis.centers[1])
    torch.testing.assert_close(basis(torch.tensor([spacing]))[0, 0], torch.tensor(math.exp(-0.5)))


def test_no_subnormal_number_leaves_the_bases():
    r = torch.linspace(0, 30, 5000)
    for basis in (GaussianBasis(50, 0.0, 5.0), GaussianBasis(300, 0.0, 30.0, gamma=10.0)):
        assert not is_subnormal(basis(r))
        assert is_subnormal(
            torch.exp(-basis.gamma * (r[:, None] - basis.centers) ** 2)
        )  # the plain formula has them


def test_no_subnormal_number_enters_a_matrix_product(monkeypatch):
    found = []
    original = torch.nn.functional.linear

    def watched(x, *rest):
        found.append(is_subnormal(x.detach()))
        return original(x, *rest)

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    store = scdlab.load_qm9(limit=200)
    scdlab.SchNet(hidden_channels=16, num_layers=2)(store.take(range(100, 132)), forces=True)
    assert found and not any(found)


@pytest.mark.parametrize(
    "arguments, named",
    [
        (dict(cutoff=-1.0), "cutoff"),
        (dict(cutoff=float("nan")), "cutoff"),
        (dict(basis="bessel"), "basis"),
        (dict(filter_activation="thrice"), "filter_activation"),
        (dict(num_layers=0), "layer"),
        (dict(num_rbf=1), "basis"),
    ],
)
def test_bad_settings_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        scdlab.SchNet(**arguments)


def test_a_prediction_has_the_promised_shapes_and_types():
    batch = scdlab.AtomStore.from_ase([molecule("CH4"), molecule("H2O"), molecule("C6H6")]).take(
        [0, 1, 2]
    )
    out = scdlab.SchNet(hidden_channels=16, num_layers=2)(batch, forces=True)
    assert out.energy.shape == (3,) and out.energy.dtype == torch.float64
    assert (
        out.forces.shape == (20, 3)
        and out.embedding.shape == (3, 16)
        and out.atoms.shape == (20, 16)
    )
    assert out.noise is None and out.properties == {}
    assert scdlab.SchNet(hidden_channels=16, num_layers=2)(batch).forces is None


def test_forces_come_without_gradient_tracking_too():
    batch = stored_batch("CH4")
    model = scdlab.SchNet(hidden_channels=16, num_layers=2).eval()
    with torch.no_grad():
        out = model(batch, forces=True)
    assert not out.forces.requires_grad and not out.energy.requires_grad
    torch.testing.assert_close(out.forces, model(batch, forces=True).forces)
    assert not batch.pos.requires_grad  # the caller's batch is as it was


def test_a_lone_atom_has_an_energy_and_no_force():
    out = scdlab.SchNet(hidden_channels=16, num_layers=2)(stored_batch("O"), forces=True)
    assert torch.isfinite(out.energy).all() and out.forces.abs().max() == 0


def test_batching_changes_nothing():
    store = scdlab.load_qm9(limit=50)
    model = scdlab.SchNet(hidden_channels=16, num_layers=2).double()
    together = model(store.take(range(20, 40)), forces=True)
    alone = [model(store.take([k]), forces=True) for k in range(20, 40)]
    torch.testing.assert_close(
        together.energy, torch.cat([a.energy for a in alone]), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(
        together.forces, torch.cat([a.forces for a in alone]), rtol=1e-10, atol=1e-10
    )


def test_a_batch_that_pyg_made_will_do():
    data = [
        Data(z=torch.tensor(a.numbers), pos=torch.tensor(a.positions, dtype=torch.float32))
        for a in (molecule("CH4"), molecule("H2O"))
    ]
    model = scdlab.SchNet(hidden_channels=16, num_layers=2)
    model.add_property("gap", "scalar_mean")
    ours = model(
        scdlab.AtomStore.from_ase([molecule("CH4"), molecule("H2O")]).take([0, 1]), forces=True
    )
    theirs = model(Batch.from_data_list(data), forces=True)
    torch.testing.assert_close(ours.energy, theirs.energy)
    torch.testing.assert_close(ours.properties["gap"], theirs.properties["gap"])
    torch.testing.assert_close(ours.forces, theirs.forces)


def test_energies_keep_more_digits_than_float32_holds():
    model = scdlab.SchNet(hidden_channels=16, num_layers=2)
    model.energy_head.reference[1] = -1e6 - 0.0123
    for changed in (
        model,
        model.float(),
        model.double().float(),
    ):  # the reference survives changes of precision
        off = changed(stored_batch("H2")).energy.item() + 2e6 + 0.0246
        assert abs(off) < 10 and abs(off - round(off, 6)) < 1  # the network's own part only
    model.energy_head.scale.zero_()
    assert abs(model(stored_batch("H2")).energy.item() + 2e6 + 0.0246) < 1e-8


def test_a_condition_is_refused_by_a_model_that_takes_none():
    with pytest.raises(ValueError, match="conditional=True"):
        scdlab.SchNet(hidden_channels=16)(stored_batch("CH4"), condition=torch.zeros(1, 16))


def test_an_element_outside_the_training_set_is_refused():
    model = scdlab.SchNet(hidden_channels=16, num_layers=1).eval()
    model.trained_elements[torch.tensor([1, 6])] = True
    model(stored_batch("CH4"))
    with pytest.raises(ValueError, match=r"trained on H, C only.*N"):
        model(stored_batch("NH3"))


def test_filter_curves_are_what_the_blocks_use():
    model = scdlab.SchNet(hidden_channels=8, num_layers=2)
    curves = model.filter_curves([1.0, 2.0, 5.0])
    assert curves.shape == (2, 3, 8)
    r = torch.tensor([2.0])
    torch.testing.assert_close(
        curves[1, 1:2], model.blocks[1].filter(model.basis(r)) * cosine_cutoff(r, 5.0)
    )
    assert curves[:, 2].abs().max() < 1e-6  # nothing is left at the cutoff


def test_properties_pool_by_sum_or_mean():
    x = torch.randn(5, 4)
    batch = stored_batch("CH4")
    head = PropertyHead(4, "scalar_sum")
    mean = PropertyHead(4, "scalar_mean")
    mean.load_state_dict(head.state_dict())
    torch.testing.assert_close(head(x, batch), 5 * mean(x, batch))
    with pytest.raises(ValueError, match="'scalar_sum', 'scalar_mean'"):
        PropertyHead(4, "max")


def test_direct_forces_balance_and_are_equivariant():
    model = scdlab.SchNet(hidden_channels=16, num_layers=2, direct_forces=True).double()
    batch = stored_batch("CH3CH2OH")
    forces = model(batch, forces=True).forces
    assert forces.abs().max() > 1e-6 and forces.sum(0).abs().max() < 1e-12 * max(
        1.0, float(forces.abs().max())
    )


@pytest.mark.parametrize("bias", [True, False])
def test_stacked_layers_are_drawn_as_parts_of_one(bias):
    torch.manual_seed(0)
    whole = xavier_linear(5, 6, bias)
    torch.manual_seed(0)
    stacked = StackedLinear(5, 2, ("a", "b", "c"), bias)
    assert stacked.state_dict().keys() == whole.state_dict().keys()
    assert torch.equal(stacked.weight, whole.weight)
    x = torch.randn(7, 3, 5)
    found = [torch.nn.functional.linear(x, *layer) for layer in stacked.layers("c", "a", "b")]
    expected = whole(x).chunk(3, dim=-1)
    torch.testing.assert_close(found, [expected[2], expected[0], expected[1]])

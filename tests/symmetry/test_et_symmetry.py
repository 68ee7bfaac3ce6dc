"""The equivariant transformer keeps the laws: with random, trained and adversarial parameters, at
the cutoff, in small cells, on degenerate structures; its forms are what they say, to the second
derivative; and a component-wise activation is caught."""

import copy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from helpers import perturbed, rotation

import scdlab
from scdlab.atoms import Pairs, neighbor_list
from scdlab.nn.blocks.heads import GatedEquivariantBlock
from scdlab.nn.ops import edges as edges_module
from scdlab.nn.ops import neighbor_sums
from scdlab.nn.ops.edges import DirectedEdges
from scdlab.objectives import CoordinateDenoising, EnergyForces


def random_net(num_layers=3, kind=scdlab.EquivariantTransformer):
    torch.manual_seed(0)
    net = kind(hidden_channels=16, num_layers=num_layers, num_heads=4, num_rbf=16)
    return perturbed(net)


def trained_net():
    net = random_net()
    train = scdlab.load_ethanol().split(100, 0)[0]
    scdlab.fit(net, EnergyForces(), train, steps=15, batch_size=8, lr=1e-2, progress=False)
    scdlab.fit(
        net,
        CoordinateDenoising(supervised=EnergyForces()),
        train,
        steps=15,
        batch_size=8,
        lr=1e-2,
        progress=False,
    )
    return net


def adversarial_net():
    """Weights scaled up, large biases (LayerNorm's too), and vectors hundreds of units long."""
    net = random_net()
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.mul_(1.5)
            if name.endswith("bias"):
                p.add_(torch.randn_like(p))
        net.blocks[0].dv.weight[-net.hidden_channels :] *= 100
        net.energy_head.mlp[2].weight.mul_(1e-3)
    return net


NETS = {"random": random_net, "trained": trained_net, "adversarial": adversarial_net}


@pytest.fixture(scope="module", params=NETS)
def net(request):
    return NETS[request.param]().eval()


def answer(net, atoms, dtype):
    """Energy without references, forces and noise of one structure."""
    net = copy.deepcopy(net).to(dtype).eval()
    net.energy_head.reference.zero_()
    net.trained_elements.zero_()
    batch = scdlab.AtomStore.from_ase([atoms]).take([0])
    batch.pos = torch.as_tensor(atoms.positions, dtype=dtype)
    if "cell" in batch:
        batch.cell = torch.as_tensor(np.asarray(atoms.cell), dtype=dtype)[None]
    out = net(batch, forces=True, noise=True)
    return out.energy.detach().double(), out.forces.detach().double(), out.noise.detach().double()


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_turned_structures_have_turned_answers(net, dtype, tolerance):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=1)
    before = answer(net, atoms, dtype)
    for seed in range(2):
        for mirror in (1, -1):
            q = rotation(seed) * mirror
            turned = atoms.copy()
            turned.positions = atoms.positions @ q.T
            after = answer(net, turned, dtype)
            back = torch.from_numpy(q)
            for name, x, y in zip(("energy", "forces", "noise"), before, after, strict=True):
                y = y if name == "energy" else y @ back
                error = float((y - x).abs().max() / x.abs().max())
                assert error <= tolerance, (name, seed, mirror, error)


@pytest.mark.slow
def test_the_report_holds(net):
    report = scdlab.symmetry_report(net, molecule("CH3CH2OH"), n_rotations=1)
    assert (
        max(report.rotation, report.reflection, report.translation, report.permutation) < 1e-10
    ), report
    assert report.force_consistency < 1e-6, report
    assert report.smoothness < 1e-6, report


def test_a_crystal_smaller_than_the_cutoff():
    cell = bulk("MgO", "rocksalt", a=4.2)  # its shortest cell vector is 2.97 Å, the cutoff 5 Å
    cell.rattle(0.1, seed=1)
    report = scdlab.symmetry_report(random_net(), cell, n_rotations=1)
    assert (
        max(report.rotation, report.reflection, report.translation, report.permutation) < 1e-10
    ), report
    assert report.force_consistency < 1e-6, report
    one = answer(random_net(), cell, torch.float64)
    eight = answer(random_net(), cell * 2, torch.float64)
    assert abs(8 * one[0] - eight[0]).item() < 1e-9 * abs(eight[0]).item()
    torch.testing.assert_close(one[1].repeat(8, 1), eight[1], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(one[2].repeat(8, 1), eight[2], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("which", ["random", "adversarial"])
def test_smooth_at_the_cutoff(which):
    net = NETS[which]().double().eval()
    net.trained_elements.zero_()

    def largest_steps(n):
        """Largest steps of energy, forces and noise while a fourth atom leaves the sphere of
        another."""
        path = [
            Atoms("OCHO", [[0, 0, 0], [1.2, 0, 0], [1.7, 1, 0], [x, 0.3, 0.2]])
            for x in np.linspace(4.8, 5.2, n)
        ]
        batch = scdlab.AtomStore.from_ase(path).take(range(n))
        batch.pos = torch.as_tensor(np.concatenate([atoms.positions for atoms in path]))
        out = net(batch, forces=True, noise=True)
        parts = [out.energy.view(n, 1), out.forces.view(n, 12), out.noise.view(n, 12)]
        return torch.stack([part.detach().diff(dim=0).abs().max() for part in parts])

    # ten times finer: a smooth path's steps shrink tenfold
    coarse = largest_steps(21)
    fine = largest_steps(201)
    assert (fine < 0.2 * coarse).all(), (coarse, fine)


@pytest.mark.parametrize(
    "atoms",
    [Atoms("C"), molecule("H2"), molecule("CO2"), Atoms("HH", [[0, 0, 0], [0, 0, 9.0]])],
    ids=["atom", "H2", "CO2", "apart"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_structures(atoms, dtype):
    net = random_net().to(dtype).train()
    batch = scdlab.AtomStore.from_ase([atoms]).take([0])
    batch.pos = batch.pos.to(dtype).requires_grad_()
    out = net(batch, forces=True, noise=True)
    for part in (out.energy, out.forces, out.noise):
        assert part.isfinite().all()
    if len(atoms) == 1 or np.ptp(atoms.positions) > 5:  # nobody near: no direction to point in
        assert out.forces.abs().max() == 0 and out.noise.abs().max() == 0
    loss = out.energy.sum() + out.forces.square().sum() + out.noise.square().sum()
    gradients = torch.autograd.grad(loss, [batch.pos, *net.parameters()], allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)
    if len(atoms) == 3:  # along the axis, as everything in a linear molecule must be
        assert out.noise[:, :2].abs().max() < 1e-6 * out.noise.abs().max()


def test_lengths_are_smooth_at_zero_vectors():
    torch.manual_seed(0)
    block = GatedEquivariantBlock(4, 2).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    v = torch.zeros(3, 3, 4, dtype=torch.float64)
    v.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: block(x, v), v, eps=1e-8, atol=1e-5)
    (first,) = torch.autograd.grad(sum(out.sum() for out in block(x, v)), v, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), v)
    assert first.isfinite().all() and second.isfinite().all()


@pytest.fixture
def edges():
    """Two pairs that share an atom, one alone, and an atom paired with its own image."""
    return four_pairs()


def four_pairs():
    i = torch.tensor([0, 0, 1, 3])
    j = torch.tensor([1, 2, 2, 3])
    return DirectedEdges(Pairs(i, j, None, 5.0), 4, num_heads=2)


def test_forms_are_their_sums(edges):
    torch.manual_seed(0)
    like = dict(dtype=torch.float64)
    q = torch.randn(4, 6, **like)
    k = torch.randn(4, 6, **like)
    f = torch.randn(4, 6, **like)
    u = torch.randn(4, 3, 6, **like)
    r = torch.randn(4, 3, **like)
    a = torch.randn(2, 4, 2, **like)
    walk = [(0, p, i, j) for p, (i, j) in enumerate([(0, 1), (0, 2), (1, 2), (3, 3)])]
    walk += [(1, p, j, i) for _, p, i, j in walk]
    logits = torch.zeros(2, 4, 2, **like)
    attended = torch.zeros(4, 6, **like)
    carried = torch.zeros(4, 3, 6, **like)
    pointed = torch.zeros(4, 3, 6, **like)
    for way, p, to, of in walk:
        logits[way, p] = (q[to] * k[of] * f[p]).view(2, 3).sum(1)
        attended[to] += a[way, p].repeat_interleave(3) * f[p] * k[of]
        carried[to] += f[p] * u[of]
        pointed[to] += (1 - 2 * way) * r[p][:, None] * f[p] * k[of]
    torch.testing.assert_close(neighbor_sums.logits(q, k, f, edges), logits)
    torch.testing.assert_close(neighbor_sums.attention_sum(a, k, f, edges), attended)
    torch.testing.assert_close(neighbor_sums.cfconv(u, f, edges), carried)
    torch.testing.assert_close(neighbor_sums.vector_messages(k, f, r, edges), pointed)


SHAPES = {
    "logits": [(4, 4)] * 3,
    "attention_sum": [(2, 4, 2), (4, 4), (4, 4)],
    "cfconv": [(4, 3, 4), (4, 4)],
    "vector_messages": [(4, 4), (4, 4), (4, 3)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_forms_are_closed_under_differentiation(name, monkeypatch):
    monkeypatch.setattr(edges_module, "PAIRS_AT_A_TIME", 3)  # two chunks
    edges = four_pairs()
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in SHAPES[name]]

    def form(*args):
        return getattr(neighbor_sums, name)(*args, edges)

    assert torch.autograd.gradcheck(form, inputs)
    assert torch.autograd.gradgradcheck(form, inputs)


def test_chunks_change_nothing(monkeypatch):
    net = random_net().double()
    batch = scdlab.AtomStore.from_ase([molecule("CH3CH2OH"), molecule("C6H6")]).take([0, 1])
    whole = net(batch, forces=True)
    monkeypatch.setattr(edges_module, "PAIRS_AT_A_TIME", 7)
    pieces = net(batch, forces=True)
    torch.testing.assert_close(pieces.forces, whole.forces, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(pieces.noise, whole.noise, rtol=1e-10, atol=1e-12)


class Naive(scdlab.EquivariantTransformer):
    """Squashes vector features component by component, as released code does: tanh does not
    turn."""

    def represent(self, batch, pairs, condition=None, vectors=False):
        features = super().represent(batch, pairs, condition, vectors)
        if features.v is not None:
            features.v = torch.tanh(features.v)
        return features


def test_a_component_wise_activation_is_caught():
    report = scdlab.symmetry_report(random_net(kind=Naive), molecule("CH3OH"), n_rotations=1)
    assert report.rotation > 1e-4, (
        report
    )  # only the noise shows it: the energy never meets the squashed vectors
    assert (
        max(report.translation, report.permutation) < 1e-10 and report.force_consistency < 1e-6
    ), report


def test_energies_do_not_depend_on_whether_noise_is_asked_for():
    net = random_net()
    batch = scdlab.AtomStore.from_ase([molecule("CH3CH2OH")]).take([0])
    pairs = neighbor_list(batch, 5.0)
    torch.testing.assert_close(
        net(batch, pairs=pairs, noise=True).energy, net(batch, pairs=pairs, noise=False).energy
    )

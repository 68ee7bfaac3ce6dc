"""PET: its cutoff, a slow reference, who hears whom, what vanishes smoothly, forces, shares of one
atom, files."""

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from helpers import batch_of
from torch.utils.flop_counter import FlopCounterMode

import scdlab
from scdlab.atoms import neighbor_list
from scdlab.nn.blocks.radial import smooth_step
from scdlab.nn.pet import PET
from scdlab.objectives import EnergyForces

SMALL = dict(hidden_channels=8, num_layers=2, num_attention_layers=2, num_heads=2)


def net(**kwargs):
    torch.manual_seed(0)
    return PET(**{**SMALL, **kwargs}).double().eval()


def features(model, batch, reach=None):
    return model.represent(batch, neighbor_list(batch, reach or model.cutoff), None, False).x


def cloud(n=7, size=3.0, seed=0):
    """Atoms in a box, none closer than 0.7 Å."""
    rng = np.random.default_rng(seed)
    points = []
    while len(points) < n:
        x = rng.random(3) * size
        if all(np.linalg.norm(x - y) > 0.7 for y in points):
            points.append(x)
    return Atoms(rng.choice([1, 6, 7, 8], n), points)


def steps_from(pairs, start, n):
    """hop [n]: the fewest pairs to walk from each atom to one of `start`; n where there is no
    way."""
    hop = torch.full((n,), n)
    hop[start] = 0
    for _ in range(n):
        for a, b in zip(pairs.i.tolist(), pairs.j.tolist(), strict=True):
            low = min(hop[a], hop[b]) + 1
            hop[a], hop[b] = min(hop[a], low), min(hop[b], low)
    return hop


def test_smooth_step_is_its_formula_and_exact_outside():
    r = torch.linspace(3.52, 4.48, 50, dtype=torch.float64)
    x = 2 * (r - 4.0) / 1.0
    expected = 0.5 * (1 + torch.tanh(1 / (x + 1) + 1 / (x - 1)))
    torch.testing.assert_close(smooth_step(r, 4.5, 1.0), expected, rtol=1e-12, atol=1e-15)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        r = torch.tensor([[-1.0, 0.0, 3.5], [4.5, 5.0, 1e4]], dtype=dtype)
        assert torch.equal(
            smooth_step(r, 4.5, 1.0), torch.tensor([[1, 1, 1], [0, 0, 0]], dtype=dtype)
        )


def test_smooth_step_has_derivatives_everywhere_and_a_stop_of_each_entry():
    for dtype in (torch.float32, torch.float64):
        ends = torch.tensor([0.0, 3.5, 3.5 + 1e-7, 3.501, 4.499, 4.5 - 1e-7, 4.5, 9.0], dtype=dtype)
        x = ends.clone().requires_grad_()
        y = smooth_step(x, 4.5, 1.0)
        for _ in range(3):
            (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            assert y.isfinite().all() and (y.abs() < 1e-6).all()  # flat at both ends
    r = torch.tensor([[0.7, 0.9, 1.2]], dtype=torch.float64, requires_grad=True)
    stop = torch.tensor([[1.2], [1.5]], dtype=torch.float64, requires_grad=True)
    assert smooth_step(r, stop, 0.9).shape == (2, 3)
    assert torch.autograd.gradcheck(lambda r, stop: smooth_step(r, stop, 0.9), (r, stop))
    assert torch.autograd.gradgradcheck(lambda r, stop: smooth_step(r, stop, 0.9), (r, stop))


def slow(model, batch):
    """PET as its docstring says it, atom by atom: features [N, d] of one structure that is not
    periodic."""

    def fade(r):
        x = 2 * (r - model.cutoff + model.width / 2) / model.width
        return (
            1.0 if x <= -1 else 0.0 if x >= 1 else 0.5 * (1 + math.tanh(1 / (x + 1) + 1 / (x - 1)))
        )

    def normal(x, norm):
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias

    def silu(x):
        return x / (1 + torch.exp(-x))

    def two(mlp, x):
        return mlp[2](silu(mlp[0](x)))

    z = batch.z
    pos = batch.pos
    n = len(batch.z)
    out = []
    r = {(i, j): pos[j] - pos[i] for i in range(n) for j in range(n) if i != j}
    r = {e: x for e, x in r.items() if x.norm() < model.cutoff}
    f = {e: fade(float(x.norm())) for e, x in r.items()}
    message = {(i, j): model.neighbor(z[j]) for i, j in r}
    center = [model.center(k) for k in z]
    for layer in model.blocks:
        token = {}
        said = []
        for i in range(n):
            edges = [e for e in r if e[0] == i]
            geometry = [layer.geometry(torch.cat([r[e], r[e].norm().view(1)])) for e in edges]
            t = [
                two(layer.mlp, torch.cat([g, message[e]]))
                for g, e in zip(geometry, edges, strict=True)
            ]
            t = torch.stack([center[i], *t])
            weight = torch.tensor([1.0, *(f[e] for e in edges)], dtype=pos.dtype)
            for block in layer.blocks:
                q, k, v = block.qkv(normal(t, block.norm1)).chunk(3, dim=-1)
                heard = []
                for q1, k1, v1 in zip(
                    *(x.chunk(block.num_heads, dim=-1) for x in (q, k, v)), strict=True
                ):
                    a = weight * torch.exp(q1 @ k1.T / math.sqrt(q1.shape[1]))
                    heard.append(a / a.sum(1, keepdim=True) @ v1)
                t = t + block.out(torch.cat(heard, dim=-1))
                t = t + two(block.mlp, normal(t, block.norm2))
            center[i] = t[0]
            token |= dict(zip(edges, t[1:], strict=True))
            bonds = sum((f[e] * silu(layer.bond(token[e])) for e in edges), torch.zeros_like(t[0]))
            said.append(torch.cat([silu(layer.center(t[0])), bonds]))
        out.append(torch.stack(said))
        message = {(i, j): 0.5 * (message[i, j] + token[j, i]) for i, j in r}
    return torch.cat(out, dim=1)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_it_is_its_slow_reference(num_layers):
    model = net(num_layers=num_layers, cutoff=2.2)
    batch = batch_of(cloud(9, 3.0))
    with torch.no_grad():
        torch.testing.assert_close(
            features(model, batch), slow(model, batch), rtol=1e-10, atol=1e-10
        )


def test_an_atom_hears_as_many_neighbors_away_as_there_are_layers():
    """Edges must be reversed in the exchange: else nobody would hear the neighbors of neighbors."""
    model = net(cutoff=1.5, num_layers=2)
    chain = Atoms("CNOF", [[1.2 * k, 0.1 * k * k, 0] for k in range(4)])
    before = features(model, batch_of(chain))[0]
    for k, hears in ((1, True), (2, True), (3, False)):
        moved = chain.copy()
        moved.positions[k] += [0.02, 0.03, -0.05]
        assert ((features(model, batch_of(moved))[0] - before).abs().max() > 1e-6) == hears
    assert model.n_hops == 2


def test_neighbors_vanish_smoothly():
    model = net()

    def path(n):
        """Energies and forces as a third atom leaves the sight of two others."""
        at = np.linspace(3.4, 4.6, n + 1)
        structures = [Atoms("COH", [[0, 0, 0], [0, 1.2, 0], [r, 0.3, 0.2]]) for r in at]
        out = model(batch_of(*structures), forces=True)
        return out.energy.detach(), out.forces.view(n + 1, -1).detach()

    coarse = path(40)
    fine = path(400)
    for x, y in zip(coarse, fine, strict=True):
        assert y.diff(dim=0).abs().max() < 0.15 * x.diff(dim=0).abs().max()
        assert x.diff(dim=0).abs().max() > 1e-4
    apart = model(batch_of(Atoms("C"), Atoms("O"))).energy.sum()
    for r in (4.5 - 1e-9, 4.5 + 1e-9):
        assert (
            abs(model(batch_of(Atoms("CO", [[0, 0, 0], [r, 0, 0]]))).energy.item() - apart.item())
            < 1e-12
        )


def test_pairs_beyond_the_cutoff_do_no_harm():
    model = net(cutoff=2.2)
    batch = batch_of(cloud(9, 3.0))
    torch.testing.assert_close(
        features(model, batch, reach=6.0), features(model, batch), rtol=1e-12, atol=1e-12
    )


def test_forces_are_the_slope_of_the_energy():
    model = net(cutoff=2.5)
    atoms = cloud(5, 2.2)
    forces = model(batch_of(atoms), forces=True).forces
    eps = 1e-4
    for k, x in ((0, 0), (2, 1), (4, 2)):
        ends = []
        for sign in (1, -1):
            batch = batch_of(atoms)
            batch.pos[k, x] += sign * eps
            ends.append(model(batch).energy.item())
        assert forces[k, x].item() == pytest.approx(
            (ends[1] - ends[0]) / (2 * eps), rel=1e-6, abs=1e-8
        )


def test_forces_have_derivatives():
    model = net(hidden_channels=4, num_attention_layers=1)
    batch = batch_of(Atoms("COH", [[0, 0, 0], [1.2, 0.1, 0], [-0.4, 3.8, 0.3]]))
    pairs = neighbor_list(batch, model.cutoff)

    def energy(pos):
        batch.pos = pos
        return model.represent(batch, pairs, None, False).x.square().sum()

    pos = batch.pos.clone().requires_grad_()
    assert torch.autograd.gradcheck(energy, pos) and torch.autograd.gradgradcheck(energy, pos)


def test_losses_on_forces_have_the_right_gradients():
    model = net(cutoff=2.5).train()
    batch = batch_of(cloud(5, 2.2))
    weights = [
        p
        for name, p in model.named_parameters()
        if "noise" not in name and name != "energy_head.mlp.0.bias"
    ]
    direction = [torch.randn_like(p) for p in weights]

    def loss():
        return model(batch, forces=True, noise=False).forces.square().sum()

    def shifted(step):
        with torch.no_grad():
            for p, d in zip(weights, direction, strict=True):
                p.add_(d, alpha=step)
        return loss().item()

    gradients = torch.autograd.grad(loss(), weights)
    along = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True)).item()
    slope = (shifted(1e-5) - shifted(-2e-5)) / 2e-5
    assert along == pytest.approx(slope, rel=1e-6)


def test_order_place_and_company_do_not_matter_but_directions_do():
    model = net()
    atoms = molecule("CH3CH2OH")
    x = features(model, batch_of(atoms))
    order = np.random.default_rng(0).permutation(len(atoms))
    torch.testing.assert_close(
        features(model, batch_of(atoms[order])), x[torch.from_numpy(order)], rtol=1e-10, atol=1e-10
    )
    together = batch_of(Atoms("C"), atoms, molecule("H2O"))
    torch.testing.assert_close(features(model, together)[1:10], x, rtol=1e-10, atol=1e-10)
    moved = batch_of(atoms)
    turned = atoms.copy()
    moved.pos += torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(features(model, moved), x, rtol=1e-10, atol=1e-10)
    turned.rotate(40, (1, 2, 3))
    energies = model(batch_of(atoms, turned)).energy
    assert abs(energies[0] - energies[1]) > 1e-6


def test_a_crystal_is_its_supercell():
    model = net(cutoff=4.0)
    cell = bulk("NaCl", "rocksalt", a=4.6)
    cell.positions[1] += [0.1, 0.2, -0.1]
    small, large = (model(batch_of(a), forces=True) for a in (cell, cell * (2, 1, 3)))
    expected = small.per_atom["energy"].repeat(6)
    torch.testing.assert_close(large.per_atom["energy"], expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(large.forces, small.forces.repeat(6, 1), rtol=1e-9, atol=1e-9)
    assert (small.per_atom["energy"][0] - small.per_atom["energy"][1]).abs() > 1e-3


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_the_share_of_one_atom_alone(num_layers):
    """Only what it depends on is computed: share and its slope are the same; a batch holds two such
    atoms here."""
    model = net(num_layers=num_layers, cutoff=2.0)
    atoms = [cloud(14, 3.6, seed=1), cloud(9, 3.0, seed=2)]
    whole = batch_of(*atoms)
    part = batch_of(*atoms)
    start = torch.tensor([3, 14])
    part.hop = steps_from(neighbor_list(part, 2.0), start, 23)
    assert (part.hop > num_layers).any() and (part.hop == 1).any()
    per_atom = []
    slopes = []
    for batch in (whole, part):
        batch.pos.requires_grad_()
        out = model(batch).per_atom["energy"].index_select(0, start)
        per_atom.append(out.detach())
        slopes.append(torch.autograd.grad(out.sum(), batch.pos)[0])
    torch.testing.assert_close(per_atom[1], per_atom[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-12, atol=1e-12)


def test_the_share_of_one_atom_costs_what_it_takes():
    # 16 atoms that all see as many
    crystal = batch_of(bulk("Cu", "fcc", a=3.6, cubic=True) * (2, 2, 1))
    pairs = neighbor_list(crystal, 3.0)
    hop = (torch.arange(16) > 0).long()

    def flops(model):
        with FlopCounterMode(display=False) as counter:
            model.represent(crystal, pairs, None, False)
        with FlopCounterMode(display=False) as images:
            pairs.vectors(crystal.pos, crystal)
        with FlopCounterMode(display=False) as weights:  # products of weights, which no atom counts
            for layer in model.blocks:
                layer.mlp[0].weight[:, :8] @ layer.geometry.weight
        fixed = images.get_total_flops() + weights.get_total_flops()
        return counter.get_total_flops() - fixed

    shallow = net(num_layers=1, cutoff=3.0)
    deep = net(num_layers=2, cutoff=3.0)
    whole = [flops(shallow), flops(deep)]
    crystal.hop = hop
    assert flops(shallow) == whole[0] / 16
    crystal.hop = steps_from(pairs, torch.tensor([0]), 16)
    near = int((crystal.hop < 2).sum())
    assert near < 16 and flops(deep) == whole[1] * (near + 1) / 32


@pytest.mark.parametrize("num_layers", [1, 3])
def test_without_a_gradient_it_is_the_same(num_layers):
    model = net(num_layers=num_layers, cutoff=2.2)
    batch = batch_of(cloud(9, 3.0), Atoms("C"), molecule("H2O"), bulk("Cu", a=3.0, cubic=True))
    kept = features(model, batch)
    assert kept.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(features(model, batch), kept, rtol=1e-12, atol=1e-12)
        model.center.weight[29] = torch.nan  # which harms the crystal alone
        harmed = features(model, batch)
    assert harmed[13:].isnan().any(dim=1).all()
    torch.testing.assert_close(harmed[:13], kept[:13], rtol=1e-12, atol=1e-12)


def test_atoms_without_neighbors():
    model = net(num_layers=3)
    for batch in (
        batch_of(Atoms("C")),
        batch_of(Atoms("C"), molecule("H2O"), Atoms("H")),
        batch_of(Atoms("H"), Atoms("O")),
    ):
        out = model(batch, forces=True)
        assert out.energy.isfinite().all() and out.noise.isfinite().all()
        assert out.forces.isfinite().all() and (out.forces[0] == 0).all()
    hop = batch_of(Atoms("C"), Atoms("O"))
    hop.hop = torch.tensor([0, 5])
    torch.testing.assert_close(features(model, hop)[0], features(model, batch_of(Atoms("C")))[0])


def test_an_untrained_network_has_energies_of_order_one():
    for layers in (1, 3):
        torch.manual_seed(0)
        share = PET(num_layers=layers)(scdlab.load_ethanol().take(range(4))).per_atom["energy"]
        assert 0.02 < share.std() < 3 and share.mean().abs() < 3


def test_heads_are_numbers_along_the_axes():
    model = net()
    batch = batch_of(molecule("CH3OH"), molecule("H2O"))
    kinds = dict(sum="scalar_sum", mean="scalar_mean", vector="vector", tensor="tensor")
    for name, kind in dict(**kinds, atoms="per_atom").items():
        model.add_property(name, kind).double()
    out = model(batch)
    shapes = {name: tuple(y.shape) for name, y in out.properties.items()}
    assert shapes == dict(sum=(2,), mean=(2,), vector=(2, 3), tensor=(2, 3, 3), atoms=(9, 3))
    torch.testing.assert_close(out.properties["tensor"], out.properties["tensor"].mT)
    assert (
        out.noise.shape == (9, 3)
        and out.atoms.shape == (9, model.hidden_channels)
        and model.hidden_channels == 4 * SMALL["hidden_channels"]
    )
    scale = model.energy_head.scale.fill_(2.0)
    by_gradient = net(noise_head=False)
    by_gradient.energy_head.scale.copy_(scale)
    told = by_gradient(batch, forces=True, noise=True)
    torch.testing.assert_close(told.noise, -told.forces / 2)


def test_direct_forces():
    store = scdlab.load_ethanol()
    torch.manual_seed(0)
    model = PET(**SMALL, direct_forces=True)
    objective = EnergyForces()
    objective.prepare(model, store)
    assert 0.5 < model.force_head.scale < 0.999 and model.force_head.scale.dtype == torch.float64
    batch = store.take(range(4))
    before = model(batch, forces=True).forces
    model.force_head.scale.mul_(2)
    torch.testing.assert_close(model(batch, forces=True).forces, 2 * before)
    loss, _ = objective(model.train(), batch)
    loss.backward()
    assert model.force_head.linear.weight.grad.abs().max() > 0


def test_it_learns():
    torch.manual_seed(0)
    train = scdlab.load_ethanol().take(range(8))
    model = PET(hidden_channels=32, num_layers=1, num_attention_layers=1).train()
    objective = EnergyForces()
    objective.prepare(model, scdlab.load_ethanol())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        loss, parts = objective(model, train)
        loss.backward()
        optimizer.step()
    assert parts["force_mae"] < 0.6 * train.forces.abs().mean()


def test_files(tmp_path):
    torch.manual_seed(0)
    model = scdlab.PET(**SMALL, cutoff=4.0, cutoff_width=0.7)
    batch = scdlab.load_ethanol().take([0, 1])
    model.add_property("dipole", "vector")
    scdlab.save(model, tmp_path / "pet")
    again = scdlab.load(tmp_path / "pet")
    before, after = (m.eval()(batch, forces=True) for m in (model, again))
    for x, y in (
        (before.energy, after.energy),
        (before.forces, after.forces),
        (before.noise, after.noise),
        (before.properties["dipole"], after.properties["dipole"]),
    ):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (dict(num_layers=0), "must be at least 1"),
        (dict(num_attention_layers=0), "must be at least 1"),
        (dict(hidden_channels=0), "must be at least 1"),
        (dict(num_heads=3), "must be a multiple of num_heads"),
        (dict(num_heads=0), "must be at least 1"),
        (dict(cutoff_width=0.0), "cutoff_width"),
        (dict(cutoff_width=5.0), "cutoff_width"),
        (dict(cutoff=-1.0), "positive distance"),
    ],
)
def test_what_cannot_be_built(wrong, match):
    with pytest.raises(ValueError, match=match):
        PET(**{**SMALL, **wrong})

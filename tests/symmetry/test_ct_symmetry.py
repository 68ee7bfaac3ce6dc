"""Conditional networks keep the laws with a condition given: random, trained and adversarial
parameters; their forces are gradients at a given condition, and through it; and what the released
conditional transformer does wrong is caught: components squashed one by one, and a condition mixed
with detached features."""

import copy

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from helpers import batch_of, conditional_pet, perturbed, rotated, rotation, seeded

import scdlab
from scdlab.objectives import EnergyForces, SelfConditionedDenoising
from scdlab.symmetry import report as reports


def random_net(kind=scdlab.EquivariantTransformer, amount=0.1):
    torch.manual_seed(0)
    heads = {"num_heads": 4} if issubclass(kind, scdlab.EquivariantTransformer) else {}
    net = kind(hidden_channels=16, num_layers=3, num_rbf=16, conditional=True, **heads)
    return perturbed(net, amount=amount)


def trained_net(kind=scdlab.EquivariantTransformer):
    # products of products of weights that were moved are too large to train from
    net = random_net(kind, amount=0.0 if kind is scdlab.TensorProductNet else 0.1)
    train = scdlab.load_ethanol().split(100, 0)[0]
    objective = SelfConditionedDenoising(supervised=EnergyForces())
    lr = 3e-3 if kind is scdlab.TensorProductNet else 1e-2  # products of products need smaller ones
    scdlab.fit(net, objective, train, steps=25, batch_size=8, lr=lr, progress=False)
    return net


def adversarial_net(kind=scdlab.EquivariantTransformer):
    """Weights scaled up, large biases (LayerNorm's too), modulations of tens, and vectors hundreds
    of units long."""
    # products of products of weights far from the start are too curved for any difference
    net = random_net(kind, amount=0.03 if kind is scdlab.TensorProductNet else 0.1)
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.mul_(1.5)
            if name.endswith("bias"):
                p.add_(torch.randn_like(p))
        for layer in net.adaln:
            layer.lin2.weight.mul_(1.25)
        if kind is scdlab.EquivariantTransformer:
            net.blocks[0].dv.weight[-net.hidden_channels :] *= 100
        net.energy_head.mlp[2].weight.mul_(1e-3)
    return net


KINDS = {
    "CT": scdlab.EquivariantTransformer,
    "SchNet": scdlab.SchNet,
    "TensorProductNet": scdlab.TensorProductNet,
}
NETS = {"random": random_net, "trained": trained_net, "adversarial": adversarial_net}


@pytest.fixture(
    scope="module", params=[(kind, how) for kind in KINDS for how in NETS], ids="-".join
)
def net(request):
    kind, how = request.param
    return NETS[how](KINDS[kind]).eval()


class Told(torch.nn.Module):
    """A conditional model with a condition given, [1, d] for every structure or [N, d] for its
    atoms."""

    def __init__(self, model, condition):
        super().__init__()
        self.model = model
        self.cutoff = model.cutoff
        self.energy_head = model.energy_head
        self.noise_head = model.noise_head
        self.register_buffer("condition", condition)

    def forward(self, batch, **options):
        condition = self.condition
        if len(condition) == 1:
            condition = condition.expand(batch.num_graphs, -1)
        return self.model(batch, condition=condition, **options)


def conditions(net):
    """Another molecule's embedding, and something that no embedding is."""
    other = scdlab.AtomStore.from_ase([molecule("C2H6")]).take([0])
    with torch.no_grad():
        embedding = (
            copy.deepcopy(net).train()(other).embedding
        )  # training: ethane may hold elements nobody has met
    return {
        "another's": embedding,
        "noise": 10
        * torch.randn(1, net.hidden_channels, generator=torch.Generator().manual_seed(3)),
    }


@pytest.mark.slow
def test_the_report_holds_with_a_condition_given(net):
    atoms = molecule("CH3OH")
    atoms.rattle(0.1, seed=1)
    plain = copy.deepcopy(net).double()(batch_of(atoms)).energy
    for name, condition in conditions(net).items():
        told = Told(net, condition)
        assert (copy.deepcopy(told).double()(batch_of(atoms)).energy - plain).abs() > 1e-6, (
            "the condition changes nothing"
        )
        report = scdlab.symmetry_report(told, atoms, n_rotations=1)
        assert (
            max(report.rotation, report.reflection, report.translation, report.permutation) < 1e-10
        ), (name, report)
        # adversarial weights curve energies so much that the report's finite differences, 1e-4 Å,
        # are off by 1e-3
        assert report.force_consistency < 5e-3, (name, report)
        exact = reports.force_consistency(reports.Subject(told, atoms), h=1e-6)
        assert exact < 1e-6, (name, exact)
        assert report.smoothness < 1e-6, (name, report)


@pytest.mark.slow
def test_turned_structures_have_turned_noise_and_the_same_embedding(net):
    """For SchNet, too, whose noise is a gradient; with one condition an atom as well."""
    net = copy.deepcopy(net).double()
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=1)
    batch = batch_of(atoms)
    for rows in (1, len(atoms)):
        c = torch.randn(
            rows,
            net.hidden_channels,
            generator=torch.Generator().manual_seed(rows),
            dtype=torch.float64,
        )
        before = net(batch, c, forces=True, noise=True)
        for seed in range(2):
            for mirror in (1, -1):
                q = torch.from_numpy(rotation(seed) * mirror)
                turned = copy.copy(batch)
                turned.pos = batch.pos @ q.T + 2.0
                after = net(turned, c, forces=True, noise=True)
                for what in ("energy", "forces", "noise", "embedding", "atoms"):
                    x = getattr(before, what)
                    y = getattr(after, what)
                    y = y @ q if what in ("forces", "noise") else y
                    assert (y - x).abs().max() <= 1e-10 * x.abs().max(), (what, rows, seed, mirror)


def test_in_a_crystal_smaller_than_the_cutoff():
    cell = bulk("MgO", "rocksalt", a=4.2)
    cell.rattle(0.1, seed=1)
    net = random_net().eval()
    report = scdlab.symmetry_report(Told(net, conditions(net)["noise"]), cell, n_rotations=1)
    assert (
        max(report.rotation, report.reflection, report.translation, report.permutation) < 1e-10
    ), report
    assert report.force_consistency < 1e-6, report


@pytest.mark.slow
def test_forces_are_the_gradient_through_the_condition_as_well(net):
    """A structure conditioned on its own embedding: nothing on the way is detached, E(x | c(x)) has
    a gradient."""
    net = copy.deepcopy(net).double()
    batch = batch_of(molecule("CH3OH"))
    batch.pos = (
        batch.pos
        + 0.1 * torch.randn(batch.pos.shape, generator=torch.Generator().manual_seed(0)).double()
    )

    def answer(pos, forces=False):
        at = copy.copy(batch)
        at.pos = pos
        return net(at, net(at).embedding, forces=forces)

    pos = batch.pos.clone().requires_grad_()
    forces = answer(pos, forces=True).forces.detach()
    numeric = torch.empty_like(forces)
    with torch.no_grad():
        for k in range(pos.numel()):
            step = torch.zeros(pos.numel(), dtype=pos.dtype)
            step[k] = 1e-5  # Å; of fourth order, as some of these energies are very steep
            numeric.view(-1)[k] = 0.0
            for number, weight in ((-2, -1), (-1, 8), (1, -8), (2, 1)):
                energy = answer(batch.pos + number * step.view_as(pos)).energy
                numeric.view(-1)[k] += weight * energy.item() / 12e-5
    assert (forces - numeric).abs().max() < 1e-5 * forces.abs().max()
    with torch.no_grad():
        c = net(batch).embedding
    given = net(batch, c, forces=True).forces
    assert (
        given - forces
    ).abs().max() > 1e-6 * forces.abs().max()  # c(x) moves with x: another gradient


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("atoms", [Atoms("C"), molecule("CO2")], ids=["atom", "CO2"])
def test_degenerate_structures(kind, atoms):
    net = random_net(kind).train()
    batch = scdlab.AtomStore.from_ase([atoms]).take([0])
    c = torch.ones(1, net.hidden_channels, requires_grad=True)
    out = net(batch, c, forces=True, noise=True)
    loss = (
        out.energy.sum()
        + out.forces.square().sum()
        + out.noise.square().sum()
        + out.embedding.square().sum()
    )
    for g in torch.autograd.grad(loss, [c, *net.parameters()], allow_unused=True):
        assert g is None or g.isfinite().all()
    if len(atoms) == 1:
        assert out.forces.abs().max() == 0 and out.noise.abs().max() == 0


class Squashed(scdlab.EquivariantTransformer):
    """Normalizes vectors component by component, with a learned bias."""

    def represent(self, batch, pairs, condition=None, vectors=False):
        features = super().represent(batch, pairs, condition, vectors)
        if features.v is not None:
            features.v = torch.tanh(features.v) + 0.02
        return features


class Detached(scdlab.EquivariantTransformer):
    """Adds a detached copy of the features to what the layers are told."""

    def represent(self, batch, pairs, condition=None, vectors=False):
        heard = super().represent(batch, pairs, condition, vectors).x.detach()
        return super().represent(
            batch, pairs, condition.index_select(0, batch.batch) + heard, vectors
        )


@pytest.mark.slow
def test_the_faults_of_the_released_model_are_caught():
    atoms = molecule("CH3OH")
    for kind, law, bound in ((Squashed, "rotation", 1e-3), (Detached, "force_consistency", 1e-2)):
        net = random_net(kind).eval()
        report = scdlab.symmetry_report(
            Told(net, conditions(net)["another's"]), atoms, n_rotations=1
        )
        assert getattr(report, law) > bound, report
        assert report.translation < 1e-10, report


def slopes(model, batch, c):
    """Forces as differences of energies at a fixed condition, float64."""
    found = torch.empty_like(batch.pos)
    with torch.no_grad():
        for k in range(found.numel()):
            step = torch.zeros_like(batch.pos)
            step.view(-1)[k] = 1e-5  # Å
            energies = []
            for sign in (-1, 1):
                moved = copy.copy(batch)
                moved.pos = batch.pos + sign * step
                energies.append(model(moved, c).energy.sum())
            found.view(-1)[k] = (energies[0] - energies[1]) / 2e-5
    return found


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
def test_pet_within_ecse_is_exact_with_a_condition_given(trained):
    net = conditional_pet(num_layers=2, cutoff=3.0)
    if trained:
        train = scdlab.load_ethanol().split(50, 0)[0]
        objective = SelfConditionedDenoising(supervised=EnergyForces())
        scdlab.fit(net, objective, train, steps=15, batch_size=8, lr=5e-3, progress=False)
    else:
        perturbed(net)
    exact = scdlab.ECSE(net).double().eval()
    exact.model.trained_elements.zero_()
    batch = batch_of("CH3OH")
    batch.pos = batch.pos + 0.1 * torch.randn(batch.pos.shape, generator=seeded()).double()
    for rows in (1, len(batch.z)):
        c = torch.randn(rows, net.hidden_channels, generator=seeded(rows), dtype=torch.float64)
        before = exact(batch, c, forces=True, noise=True)
        assert (before.energy - exact(batch).energy).abs() > 1e-6
        scale = before.forces.abs().max()
        assert (slopes(exact, batch, c) - before.forces).abs().max() < 1e-5 * scale
        q = torch.from_numpy(rotation(rows))
        after = exact(rotated(batch, q, shift=1.0), c, forces=True, noise=True)
        for what in ("energy", "forces", "noise", "embedding"):
            x = getattr(before, what)
            y = getattr(after, what)
            y = y @ q if what in ("forces", "noise") else y
            assert (y - x).abs().max() <= 1e-9 * x.abs().max(), (what, rows)

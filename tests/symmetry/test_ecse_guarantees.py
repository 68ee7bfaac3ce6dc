"""What ECSE promises, in float64: exact symmetry, energies and forces without a jump, forces and
stress that are the gradient, far atoms that are not felt, and weights that are what the formulas
say. Around PET, random and trained, and around a toy."""

import copy
import functools
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from helpers import batch_of, rattled, rotated
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

import scdlab
from scdlab.nn.blocks import own_frames
from scdlab.nn.blocks.radial import smooth_step
from scdlab.nn.model import AtomisticModel, Features
from scdlab.nn.pet import PET
from scdlab.objectives import EnergyForces
from scdlab.symmetry import copies
from scdlab.symmetry.ecse import ECSE, LAMBERT

CUTOFF = 3.5
TURN = torch.from_numpy(Rotation.random(random_state=3).as_matrix())
MIRROR = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))


class Toy(AtomisticModel):
    """No network to speak of, and it passes no messages: x_i = Σ_j f(r_ij) z_j tanh(W r_ij + 1). E
    is linear in x."""

    equivariant = False
    linear = True
    n_hops = 1

    def __init__(self, d=6):
        super().__init__(d, CUTOFF)
        self.look = torch.nn.Linear(3, d, bias=False)

    def represent(self, batch, pairs, condition=None, vectors=False):
        r = pairs.vectors(batch.pos, batch)
        z = batch.z.to(batch.pos.dtype).unsqueeze(-1) / 8
        f = smooth_step(r.norm(dim=-1), self.cutoff, 1.0).unsqueeze(-1)
        x = torch.zeros(len(z), self.hidden_channels, dtype=r.dtype)
        x = x.index_add(0, pairs.i, f * z[pairs.j] * torch.tanh(self.look(r) + 1))
        return Features(x.index_add(0, pairs.j, f * z[pairs.i] * torch.tanh(self.look(-r) + 1)))


def shuffled(net, size=0.2):
    """With weights that are larger than at the start: errors that initialization hides must
    show."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(size * torch.randn_like(p))
    return net


def random_auxiliary():
    torch.manual_seed(1)
    return shuffled(
        scdlab.EquivariantTransformer(16, num_layers=1, num_heads=2, num_rbf=8, cutoff=CUTOFF), 0.4
    )


@functools.cache
def backbone(kind):
    torch.manual_seed(0)
    if kind == "toy":
        net = Toy()
    else:
        layers = 1 if kind == "one layer" else 2
        net = PET(
            hidden_channels=8, num_layers=layers, num_attention_layers=1, num_heads=2, cutoff=CUTOFF
        )
        net = net if kind == "trained" else shuffled(net)
    if kind == "trained":
        train = scdlab.load_ethanol().split(100, 0)[0]
        scdlab.fit(net, EnergyForces(), train, steps=60, batch_size=4, lr=5e-3, progress=False)
        net.trained_elements.zero_()
        net.energy_head.reference.zero_()
    return net


def ecse(kind="random", properties=False, **kwargs):
    layerwise = kind == "by layers" and kwargs.get("local", True)
    own = dict(auxiliary=random_auxiliary(), layerwise=layerwise)
    exact = ECSE(copy.deepcopy(backbone(kind)), **own, **kwargs)
    for name, pool in dict(
        dipole="vector", polarizability="tensor", pull="per_atom", gap="scalar_mean"
    ).items():
        if properties:
            exact.add_property(name, pool)
    return exact.double().eval()


KINDS = ("random", "one layer", "trained", "toy", "by layers")


def bent(sin2_min, r=0.96):
    """Water whose hydrogens make an angle, in degrees, above 180 on the other side."""
    t = math.radians(sin2_min)
    return Atoms("OHH", [[0, 0, 0], [r, 0, 0], [r * math.cos(t), r * math.sin(t), 0]])


def layer_of(a=2.5):
    """A buckled sheet of boron and nitrogen, periodic in two directions."""
    cell = [[a, 0, 0], [a / 2, a * math.sqrt(3) / 2, 0], [0, 0, 0]]
    return Atoms(
        "BN", [[0, 0, 0], [a / 2, a / (2 * math.sqrt(3)), 0.3]], cell=cell, pbc=[True, True, False]
    )


STRUCTURES = {
    "atom": Atoms("O", [[1.0, 2.0, 3.0]]),
    "H2": molecule("H2"),
    "CO2": molecule("CO2"),
    "C2H2": molecule("C2H2"),
    "water": molecule("H2O"),
    "nearly straight water": bent(161),
    "benzene": molecule("C6H6"),
    "CH4": molecule("CH4"),
    "SF6": Atoms("SF6", [[0, 0, 0], *(1.56 * np.concatenate([np.eye(3), -np.eye(3)]))]),
    "ethanol": rattled("CH3CH2OH"),
    "crystal": rattled(bulk("MgO", "rocksalt", a=4.4), seed=1, amount=0.1),
    "chain": Atoms("CO", [[0, 0, 0], [1.2, 0.6, 0.1]], cell=[2.5, 0, 0], pbc=[True, False, False]),
    "sheet": layer_of(),
}


def answers(model, batch):
    """All that a model says, by name."""
    out = model(batch, forces=True)
    named = dict(
        energy=out.energy,
        forces=out.forces,
        noise=out.noise,
        embedding=out.embedding,
        atoms=out.atoms,
    )
    named["shares"] = out.per_atom["energy"]
    return {name: y.detach() for name, y in {**named, **out.properties}.items() if y is not None}


VECTORS = ("forces", "noise", "dipole", "pull")
TENSORS = ("polarizability",)


def differences(model, batch, q, before=None):
    """Largest error of each answer, relative to its size where that is above 1, when a batch is
    turned by q."""
    before = answers(model, batch) if before is None else before
    after = answers(model, rotated(batch, q, 0.7))
    errors = {}
    for name, x in before.items():
        y = after[name]
        y = y @ q if name in VECTORS else q.T @ y @ q if name in TENSORS else y
        errors[name] = float((y - x).abs().max()) / max(float(x.abs().max()), 1.0)
    return errors


# --------------------------------------------------------------------------------------------------
# symmetry


@pytest.mark.slow
@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("kind", ["trained", "toy", "by layers"])
def test_turned_and_mirrored_structures_have_turned_and_mirrored_answers(name, kind):
    batch = batch_of(STRUCTURES[name])
    model = ecse(kind, properties=True)
    before = answers(model, batch)
    assert {*VECTORS, *TENSORS, "gap"} - {"noise" if kind == "toy" else ""} <= {*before}
    for q in (TURN, TURN @ MIRROR):
        errors = differences(model, batch, q, before)
        assert max(errors.values()) <= 1e-9, errors
    if name not in (
        "atom",
        "H2",
        "CO2",
        "C2H2",
    ):  # these are the auxiliary model's, and the others are not
        plain = differences(model.model, batch, TURN)
        assert plain["energy"] > 1e-5, "the backbone must not be invariant by itself"


@pytest.mark.parametrize("name", ["nearly straight water", "ethanol", "sheet"])
def test_pooled_frames_are_exact_too(name):
    model = ecse(properties=True, local=False)
    for q in (TURN, TURN @ MIRROR):
        errors = differences(model, batch_of(STRUCTURES[name]), q)
        assert max(errors.values()) <= 1e-9, errors


@pytest.mark.parametrize("kind", KINDS)
def test_right_hands_alone_leave_mirror_images_apart(kind):
    batch = batch_of(STRUCTURES["ethanol"])  # shaken, so it has a handedness
    model = ecse(kind, properties=True, group="SO(3)")
    assert max(differences(model, batch, TURN).values()) <= 1e-9
    assert differences(model, batch, TURN @ MIRROR)["energy"] > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ethanol", "benzene", "crystal"])
def test_the_order_of_the_file_and_the_place_in_space_do_not_matter(name):
    atoms = STRUCTURES[name]
    model = ecse("trained", properties=True)
    order = np.random.default_rng(0).permutation(len(atoms))
    before = answers(model, batch_of(atoms))
    after = answers(model, batch_of(atoms[order]))
    for key, x in before.items():
        x = x[order] if len(x) == len(atoms) and key not in VECTORS[2:3] + TENSORS else x
        torch.testing.assert_close(after[key], x, rtol=1e-10, atol=1e-10)
    shifted = answers(model, rotated(batch_of(atoms), torch.eye(3, dtype=torch.float64), 11.3))
    for key, x in before.items():
        torch.testing.assert_close(shifted[key], x, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("local", [True, False])
def test_a_batch_is_its_structures_and_twice_is_the_same(local):
    model = ecse("trained", properties=True, local=local)
    structures = list(STRUCTURES.values())[:10]
    batch = batch_of(*structures)
    together = answers(model, batch)
    again = answers(model, batch)
    assert all(torch.equal(x, again[name]) for name, x in together.items())
    alone = [answers(model, batch_of(atoms)) for atoms in structures]
    for name, x in together.items():
        torch.testing.assert_close(
            x, torch.cat([one[name] for one in alone]), rtol=1e-12, atol=1e-12
        )


def test_periodic_structures_batch_with_molecules():
    model = ecse()
    structures = [STRUCTURES[name] for name in ("water", "chain", "sheet", "ethanol")]
    together = answers(model, batch_of(*structures))
    alone = [answers(model, batch_of(atoms)) for atoms in structures]
    for name, x in together.items():
        torch.testing.assert_close(
            x, torch.cat([one[name] for one in alone]), rtol=1e-12, atol=1e-12
        )


def test_a_larger_cell_of_the_same_crystal_has_the_same_energy_per_atom():
    model = ecse()
    sheet = STRUCTURES["sheet"]
    one = answers(model, batch_of(sheet))
    four = answers(model, batch_of(sheet * (2, 2, 1)))
    torch.testing.assert_close(4 * one["energy"], four["energy"], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(one["forces"].repeat(4, 1), four["forces"], rtol=1e-10, atol=1e-10)


# --------------------------------------------------------------------------------------------------
# gradients


def slope(energies, h=2e-4):
    """Derivatives at 0 of energies(steps) -> [len(steps)], by central differences that Richardson's
    extrapolation makes good to h⁴."""
    a, b, c, d = energies([h, -h, h / 2, -h / 2])
    return (4 * (c - d) / h - (a - b) / (2 * h)) / 3


def numeric_forces(model, atoms):
    forces = np.zeros((len(atoms), 3))
    for k in range(forces.size):

        def energies(steps, k=k):
            several = [atoms.copy() for _ in steps]
            for other, step in zip(several, steps, strict=True):
                other.positions.flat[k] += step
            with torch.no_grad():
                return model(batch_of(*several)).energy.tolist()

        forces.flat[k] = -slope(energies)
    return torch.from_numpy(forces)


GRADIENTS = [
    ("CO2", "random"),
    ("nearly straight water", "random"),
    ("nearly straight water", "trained"),
    ("benzene", "random"),
    ("ethanol", "trained"),
    ("crystal", "one layer"),
    ("chain", "random"),
    ("nearly straight water", "by layers"),
    ("ethanol", "by layers"),
    ("crystal", "by layers"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), GRADIENTS)
def test_forces_are_the_gradient_of_the_energy(name, kind):
    atoms = rattled(STRUCTURES[name].copy(), seed=4, amount=0.01)
    model = ecse(kind)
    if name == "benzene":  # half of it: the carbons
        atoms = atoms[:6]
    forces = answers(model, batch_of(atoms))["forces"]
    assert forces.abs().max() > 1e-2
    torch.testing.assert_close(forces, numeric_forces(model, atoms), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "local"), [("trained", True), ("trained", False), ("by layers", True)]
)
def test_stress_is_the_derivative_with_respect_to_strain(kind, local):
    model = ecse(kind, local=local)
    crystal = STRUCTURES["crystal"].copy()
    crystal.calc = scdlab.Calculator(model)
    stress = crystal.get_stress(voigt=False)
    assert abs(stress).max() > 1e-3
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):

        def energies(steps, a=a, b=b):
            several = [crystal.copy() for _ in steps]
            for other, step in zip(several, steps, strict=True):
                strain = np.zeros((3, 3))
                strain[a, b] = step
                other.set_cell(
                    crystal.cell @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True
                )
            with torch.no_grad():
                return model(batch_of(*several)).energy.tolist()

        assert abs(slope(energies, 1e-4) / crystal.get_volume() - stress[a, b]) < 1e-7


@pytest.mark.parametrize("kind", ["random", "toy", "by layers"])
def test_training_on_forces_descends_the_loss_it_says(kind):
    """The gradient of a loss of forces along a random direction of all parameters, the auxiliary
    model's too."""
    model = ecse(kind).train()
    batch = batch_of(STRUCTURES["nearly straight water"], rattled("H2O"), STRUCTURES["sheet"])
    torch.manual_seed(0)
    parameters = [p for p in model.parameters() if p is not model.features.weight]
    direction = [torch.randn_like(p) for p in parameters]

    def loss(forces):
        return (forces - torch.sin(batch.pos)).square().sum()

    gradients = torch.autograd.grad(
        loss(model(batch, forces=True).forces), parameters, allow_unused=True
    )
    assert gradients[0] is not None
    along = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True) if g is not None)
    ends = []
    with torch.no_grad():
        for step in (1e-4, -1e-4, 5e-5, -5e-5):
            for p, d in zip(parameters, direction, strict=True):
                p.add_(step * d)
            ends.append(float(loss(model(batch, forces=True).forces)))
            for p, d in zip(parameters, direction, strict=True):
                p.sub_(step * d)
    assert float(along) == pytest.approx(slope(lambda _: ends, 1e-4), rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "local"), [("random", True), ("random", False), ("by layers", True)]
)
def test_small_chunks_change_nothing_nor_does_a_graph(monkeypatch, kind, local):
    model = ecse(kind, properties=True, local=local)
    batch = batch_of(
        *(STRUCTURES[name] for name in ("ethanol", "CO2", "nearly straight water", "chain"))
    )
    whole = answers(model, batch)
    assert len(model.frames(batch)) >= 20
    for size in (copies.CHUNK, 20):
        monkeypatch.setattr(copies, "CHUNK", size)
        monkeypatch.setattr(own_frames, "CHUNK", size)
        with torch.no_grad():
            bare = answers(model, batch)
        for other in (bare, answers(model, batch)):
            for name, x in whole.items():
                torch.testing.assert_close(other[name], x, rtol=1e-12, atol=1e-12)


# --------------------------------------------------------------------------------------------------
# continuity


def largest_steps(model, path, ts):
    """Steps of the energy and of the forces, [2, len(ts) - 1], along a path, and how many frames
    there were."""
    n = len(ts)
    batch = batch_of(*path(ts))
    with torch.no_grad():
        out = model(batch, forces=True)
        number = (
            torch.bincount(model.frames(batch).cluster, minlength=len(batch.z)).view(n, -1).sum(1)
        )
    parts = (out.energy.view(n, 1), out.forces.view(n, -1))
    return torch.stack([part.diff(dim=0).abs().amax(1) for part in parts]), number.unique()


def jumps(model, path, n=61, levels=5, places=2):
    """Jumps that remain of the energy and the forces, relative to the largest steps, where a path
    is steepest.

    The largest step s(h) of a smooth function is L h, so (10 s(h/10) - s(h)) / 9 is the jump.
    Pruned weights change within thousandths of an Å, so the path is looked at ever more closely
    first, around its largest steps.
    """
    worst = [0.0, 0.0]
    ts = np.linspace(0, 1, n)
    first, number = largest_steps(model, path, ts)
    assert (first.amax(1) > 1e-6).all()
    for k in range(2):
        for place in first[k].topk(places).indices.tolist():
            low = ts[max(place - 1, 0)]
            high = ts[min(place + 2, n - 1)]
            for _ in range(levels):
                near = np.linspace(low, high, 16)
                at = int(largest_steps(model, path, near)[0][k].argmax())
                low = near[max(at - 1, 0)]
                high = near[min(at + 2, 15)]
            coarse, fine = (
                largest_steps(model, path, np.linspace(low, high, m))[0][k].max() for m in (6, 51)
            )
            worst[k] = max(worst[k], float((10 * fine - coarse) / 9 / coarse))
    return worst, number


def along(symbols, places):
    """A path of one structure: places(t) is a list of positions, and t runs from 0 to 1."""
    return lambda ts: [Atoms(symbols, places(t)) for t in ts]


def crossing(t):
    """Six atoms whose covariance is diag(1 + x, 1, 0.3) Å², x from -0.1 to 0.1: two eigenvalues
    cross."""
    r = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    q = torch.linalg.qr(r - r.mean(0))[0]
    return (q * (6 * q.new_tensor([0.9 + 0.2 * t, 1.0, 0.3])).sqrt()).numpy()


PATHS = {
    "a third neighbor crosses R_in": along(
        "OHHN", lambda t: [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [-0.3, -0.3, 1.05 + 0.3 * t]]
    ),
    "a neighbor enters at the cutoff": along(
        "OHHN", lambda t: [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [-0.3, -0.4, 3.65 - 0.4 * t]]
    ),
    "the only second neighbor enters": along(
        "OHN", lambda t: [[0, 0, 0], [0.9, 0.1, 0], [0.2, 0.3, 3.65 - 0.5 * t]]
    ),
    "water is bent through a straight line": lambda ts: [bent(145 + 70 * t) for t in ts],
    "the nearest neighbors swap": along(
        "OHCN", lambda t: [[0, 0, 0], [1.0, 0, 0], [-0.5, 1.1 + 0.2 * t, 0], [0.3, -0.4, 1.2]]
    ),
    "eigenvalues of the inertia cross": along("COHNHF", crossing),
}


JUMPS = [(name, "one layer", 4) for name in PATHS]
JUMPS += [("the only second neighbor enters", "trained", 4)]
JUMPS += [
    (name, "toy", 0)
    for name in ("a third neighbor crosses R_in", "water is bent through a straight line")
]
JUMPS += [(name, "by layers", 0) for name in PATHS]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "prunings"), JUMPS)
def test_no_jump_of_energy_or_forces(name, kind, prunings):
    worst, number = jumps(ecse(kind, prunings=prunings), PATHS[name])
    assert max(worst) <= 1e-3, worst
    assert len(number) > 1 or not prunings or "cutoff" in name, "no frame came or went"


# --------------------------------------------------------------------------------------------------
# locality


@pytest.mark.parametrize("kind", KINDS)
def test_a_far_fragment_is_not_felt(kind):
    one = rattled("CH3OH")
    other = rattled("CH4", seed=1)

    def per_atom(model, turn):
        far = other.copy()
        far.positions = far.positions @ turn + [30.0, 1.0, 2.0]
        with torch.no_grad():
            return model(batch_of(one + far)).per_atom["energy"][: len(one)]

    eye = np.eye(3)
    for local in (True, False):
        model = ecse(kind, local=local)
        change = float((per_atom(model, TURN.numpy()) - per_atom(model, eye)).abs().max())
        assert change <= 1e-12 if local else change > 1e-9, (local, change)
    near = per_atom(ecse(kind), eye)
    with torch.no_grad():  # as above: with a gradient PET's softmax is rounded otherwise
        alone = ecse(kind)(batch_of(one)).per_atom["energy"]
    if kind == "by layers":  # products of matrices with other numbers of rows
        torch.testing.assert_close(near, alone, rtol=1e-13, atol=1e-13)
    else:
        assert torch.equal(near, alone)


# ------------------------------------------------------------------------------------------- the
# weights, by the book


def step(r, stop, radius_width):
    """f_c(r|R, Δ) of one number, as it is written."""
    x = 2 * (r - (stop - radius_width / 2)) / radius_width
    return 1.0 if x <= -1 else 0.0 if x >= 1 else 0.5 * (1 + math.tanh(1 / (x + 1) + 1 / (x - 1)))


def by_the_book(model, pos, i):
    """Of atom i: weights {(j, k): w} of ordered pairs of neighbors, R_in, w_aux, and distances {(j,
    k): max(r_j, r_k)} of pairs with p > 0. Sums of exponentials as they stand: distances are
    moderate here."""
    width = model.radius_width
    beta = model.beta
    angle = model.sin2_min
    angle_width = model.sin2_width
    others = [j for j in range(len(pos)) if j != i]
    r = {j: float(np.linalg.norm(pos[j] - pos[i])) for j in others}
    pairs = [(j, k) for j in others for k in others if j != k]
    sine2 = {
        (j, k): 1 - float((pos[j] - pos[i]) @ (pos[k] - pos[i]) / (r[j] * r[k])) ** 2
        for j, k in pairs
    }
    t = LAMBERT / beta
    total = math.exp(-beta * model.outer_radius)
    mean = model.outer_radius * math.exp(-beta * model.outer_radius)
    usable = {}
    for j, k in pairs:
        p = (
            step(r[j], model.outer_radius, width)
            * step(r[k], model.outer_radius, width)
            * step(-sine2[j, k], -angle, angle_width)
        )
        e = math.exp(beta * r[j]), math.exp(beta * r[k])
        d = (r[j] * e[0] + r[k] * e[1]) / sum(e) + t
        total = total + p * math.exp(-beta * d)
        mean = mean + p * d * math.exp(-beta * d)
        usable |= {(j, k): max(r[j], r[k])} if p > 0 else {}
    inner = mean / total + width
    start = angle - angle_width
    weights = {}
    for j, k in pairs:
        w = (
            step(r[j], inner, width)
            * step(r[k], inner, width)
            * step(-sine2[j, k], -start, angle_width)
        )
        weights[j, k] = w * (sine2[j, k] - start) / angle_width
    largest = sum(w**64 for (j, k), w in weights.items() if j < k) ** (1 / 64)
    return weights, inner, step(largest, 0.5, 0.5), usable


def test_the_constant_of_the_smooth_maximum_is_what_keeps_it_above_the_maximum():
    assert LAMBERT * math.exp(LAMBERT) == pytest.approx(math.exp(-1), rel=1e-14)
    x = np.linspace(0, 10, 100_001)
    short = x - x / (
        1 + np.exp(-x)
    )  # the larger of two, less their mean weighted by exponentials, with β = 1
    assert short.max() == pytest.approx(LAMBERT, abs=1e-9)


clusters = st.integers(1, 6).flatmap(
    lambda n: hnp.arrays(
        np.float64, (n, 3), elements=st.floats(-2.5, 2.5).map(lambda x: round(x, 3))
    )
)


@given(pos=clusters)
@settings(max_examples=60, deadline=None)
def test_weights_are_by_the_book_and_one_is_at_least_one_where_any_pair_is_of_use(pos):
    gaps = np.linalg.norm(pos[:, None] - pos, axis=-1)[np.triu_indices(len(pos), 1)]
    if len(gaps) and gaps.min() < 0.3:
        return
    model = book_model()
    found = model.frames(batch_of(Atoms("C" * len(pos), pos)))
    for i in range(len(pos)):
        weights, inner, rest, usable = by_the_book(model, pos, i)
        mine = (found.cluster == i).nonzero().flatten()
        assert torch.equal(found.center[mine], found.cluster[mine])
        assert float(found.inner_radius[i]) == pytest.approx(inner, abs=1e-10)
        assert float(found.auxiliary_weight[i]) == pytest.approx(rest, abs=1e-10)
        ours = dict.fromkeys(weights, 0.0)
        for k in mine.tolist():  # both hands weigh alike
            ours[int(found.j[k]), int(found.k[k])] += float(found.weights[k]) / 2
        assert ours == pytest.approx(weights, abs=1e-10)
        if usable:
            assert max(ours.values()) >= 1 - 1e-12
            assert float(found.inner_radius[i]) >= min(usable.values()) + model.radius_width - 1e-12
            assert float(found.auxiliary_weight[i]) == 0.0


@functools.cache
def book_model():
    return ecse("toy", prunings=0)


def test_frames_are_both_hands_of_right_angles_along_the_neighbors():
    batch = batch_of(STRUCTURES["ethanol"])
    model = book_model()
    found = model.frames(batch)
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(
        found.axes.mT @ found.axes, eye.expand_as(found.axes), rtol=0, atol=1e-12
    )
    a = found.axes[..., 0]
    c = found.axes[..., 2]
    to_first, to_second = (batch.pos[x] - batch.pos[found.center] for x in (found.j, found.k))
    torch.testing.assert_close(
        a, to_first / to_first.norm(dim=-1, keepdim=True), rtol=0, atol=1e-12
    )
    assert ((c * to_second).sum(-1) < 0).all() and (found.axes[..., 1] * to_second).sum(
        -1
    ).abs().max() < 1e-12
    det = torch.linalg.det(found.axes)
    torch.testing.assert_close(det[::2], torch.ones_like(det[::2]))
    torch.testing.assert_close(det[1::2], -torch.ones_like(det[1::2]))


def test_pruning_keeps_the_heaviest_frames_and_few_of_them():
    batch = batch_of(STRUCTURES["benzene"], STRUCTURES["ethanol"], STRUCTURES["water"])
    all_frames = ecse().frames(batch)
    kept = ecse(prunings=4).frames(batch)
    assert 0 < len(kept) < 0.7 * len(all_frames)
    top = [
        torch.zeros(len(batch.z), dtype=torch.float64).scatter_reduce(
            0, f.cluster, f.weights, "amax"
        )
        for f in (all_frames, kept)
    ]
    torch.testing.assert_close(*top, rtol=1e-6, atol=1e-12)
    assert torch.equal(all_frames.auxiliary_weight, kept.auxiliary_weight)

"""Averages over rotations: what each makes exact, and the flaw that each is shown for."""

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from e3nn import o3
from helpers import batch_of, rattled, rotated
from scipy.spatial.transform import Rotation

from scdlab.nn.model import AtomisticModel, Features
from scdlab.symmetry.averaging import NearestPair, PCAFrames, QRFrames, Quadrature, RandomRotations

OF_STRUCTURE = pytest.mark.parametrize("kind", [PCAFrames, NearestPair, QRFrames])
TURN = torch.from_numpy(Rotation.random(random_state=3).as_matrix())
MIRROR = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))


class Toy(AtomisticModel):
    """Knows nothing of rotations: x_i = sin(Σ_j z_j tanh(W r_ij + 1) / 5), smooth, and it feels
    angles and mirrors; or, with a degree, x_i = Σ_j z_j (W r_ij)^degree, a polynomial of that
    degree in the rotation. E is linear in x."""

    equivariant = False
    linear = True

    def __init__(self, degree=None, d=4, cutoff=20.0):
        super().__init__(d, cutoff)
        self.degree = degree
        self.look = torch.nn.Linear(3, d, bias=False)

    def represent(self, batch, pairs, condition, vectors):
        r = self.look(pairs.vectors(batch.pos, batch))
        z = batch.z.to(batch.pos.dtype).unsqueeze(-1)
        values = [torch.tanh(y + 1) if self.degree is None else y**self.degree for y in (r, -r)]
        x = torch.zeros(len(z), self.hidden_channels, dtype=r.dtype)
        x = x.index_add(0, pairs.i, z[pairs.j] * values[0]).index_add(
            0, pairs.j, z[pairs.i] * values[1]
        )
        return Features(torch.sin(x / 5) if self.degree is None else x)


def toy(**kwargs):
    torch.manual_seed(1)
    net = Toy(**kwargs).double().eval()
    torch.nn.init.normal_(net.look.weight, std=0.5)
    return net


def error(model, batch, q):
    """Largest errors of energies and forces when structures are turned by q and moved."""
    a = model(batch, forces=True)
    b = model(rotated(batch, q, shift=0.7), forces=True)
    differences = (b.energy - a.energy, b.forces @ q - a.forces)
    return tuple(float(d.detach().abs().max()) for d in differences)


def numeric_forces(model, batch, h=1e-5):
    forces = torch.zeros_like(batch.pos)
    with torch.no_grad():
        for k in range(batch.pos.numel()):
            ends = []
            for sign in (1, -1):
                other = batch.clone()
                other.pos.view(-1)[k] += sign * h
                ends.append(model(other).energy.sum())
            forces.view(-1)[k] = (ends[1] - ends[0]) / (2 * h)
    return forces


@pytest.fixture(scope="module")
def generic():
    """Molecules of different sizes, shaken: no two distances are equal, no three atoms on one
    line."""
    structures = [molecule(name) for name in ("CH3CH2OH", "H2O", "CH3CONH2")]
    for k, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=k)
    return batch_of(*structures)


@OF_STRUCTURE
@pytest.mark.parametrize("proper", [False, True])
def test_frames_that_turn_with_the_structure_make_a_model_exact(generic, kind, proper):
    net = toy()
    exact = kind(net, proper=proper)
    assert error(net, generic, TURN)[0] > 0.1, "the toy must not be invariant by itself"
    assert max(error(exact, generic, TURN)) < 1e-9
    mirrored = max(error(exact, generic, TURN @ MIRROR))
    assert mirrored > 1e-3 if proper else mirrored < 1e-9


@OF_STRUCTURE
@pytest.mark.parametrize("proper", [False, True])
def test_frames_are_orthogonal_turn_with_the_structure_and_their_number_is_told(
    generic, kind, proper
):
    average = kind(toy(), proper=proper)
    frames = average.frames(generic)
    turned = average.frames(rotated(generic, TURN, 2.0))
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(
        frames.axes.mT @ frames.axes, eye.expand_as(frames.axes), rtol=0, atol=1e-12
    )
    assert frames.cluster.tolist() == [k for k in range(3) for _ in range(average.evaluations)]
    dets = torch.linalg.det(frames.axes)
    assert torch.allclose(dets, torch.ones_like(dets)) if proper else abs(float(dets.sum())) < 1e-9
    for k in range(3):  # the same set of frames, in some order
        new = turned.axes[turned.cluster == k]
        old = TURN @ frames.axes[frames.cluster == k]
        apart = (new[:, None] - old[None]).abs().amax((-1, -2))
        assert float(apart.amin(0).max()) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [PCAFrames, NearestPair, QRFrames, lambda m: RandomRotations(m, n=4), Quadrature]
)
def test_forces_are_the_gradient_through_the_frames_and_a_batch_is_its_structures(generic, make):
    average = make(toy())
    out = average(generic, forces=True)
    torch.testing.assert_close(out.forces, numeric_forces(average, generic), rtol=0, atol=1e-6)
    alone = average(batch_of(rattled("H2O", 1)), forces=True)
    torch.testing.assert_close(alone.energy, out.energy[1:2], rtol=0, atol=1e-10)
    torch.testing.assert_close(alone.forces, out.forces[generic.batch == 1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", [PCAFrames, NearestPair])
def test_the_order_of_the_file_does_not_matter(generic, kind):
    atoms = rattled("CH3CH2OH", 0)
    average = kind(toy())
    first = average(batch_of(atoms))
    second = average(batch_of(atoms[::-1]))
    torch.testing.assert_close(first.energy, second.energy, rtol=0, atol=1e-10)


def test_qr_frames_depend_on_the_order_of_the_file():
    atoms = rattled("CH3CH2OH", 0)
    average = QRFrames(toy())
    with torch.no_grad():
        first = average(batch_of(atoms))
        second = average(batch_of(atoms[::-1]))
    assert abs(float(first.energy - second.energy)) > 1e-3


def test_the_nearest_pair_skips_atoms_on_the_line_of_the_first():
    """Listed out of order: the middle is atom 2, its nearest atom 3, next atom 0 on their line,
    then atom 1."""
    atoms = Atoms("HCON", [[-1.05, 0, 0], [0.1, 0, 1.3], [0, 0, 0], [1.0, 0, 0]])
    batch = batch_of(atoms)
    axes = NearestPair(toy(), proper=True).frames(batch).axes[0]
    a = axes.new_tensor([1.0, 0, 0])
    b = axes.new_tensor([0, -1.0, 0])
    torch.testing.assert_close(
        axes, torch.stack([a, b, torch.linalg.cross(a, b)], dim=-1), rtol=0, atol=1e-12
    )
    assert max(error(NearestPair(toy()), batch, TURN)) < 1e-9


def test_qr_frames_are_the_q_of_a_qr_decomposition(generic):
    frames = QRFrames(toy(), proper=True).frames(generic).axes
    for k, start in enumerate(generic.ptr[:-1].tolist()):
        r = generic.pos[start : start + 3]
        q, u = torch.linalg.qr((r[1:] - r[0]).T)
        q = q * u.diagonal().sign()
        torch.testing.assert_close(
            frames[k][:, [0, 2]], q * q.new_tensor([1, -1]), rtol=0, atol=1e-12
        )


# ------------------------------------------------------------------------------------------------
# rotations and rules


def haar_spread(axes, weights, lmax):
    """Largest |mean of D^l_mn| for each degree 1 … lmax; over all rotations it is 0."""
    angles = o3.matrix_to_angles(axes)
    weights = weights / weights.sum()
    mean = [
        torch.einsum("k,kmn->mn", weights, o3.wigner_D(degree, *angles))
        for degree in range(1, lmax + 1)
    ]
    return [float(m.abs().max()) for m in mean]


@pytest.fixture
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


EVALUATIONS = {1: 12, 2: 18, 3: 24, 4: 70, 5: 84, 7: 208, 8: 405}


@pytest.mark.parametrize("degree", EVALUATIONS)
def test_quadrature_integrates_every_wigner_function_up_to_its_degree_and_no_further(
    degree, float64
):
    rule = Quadrature(toy(), degree=degree)
    frames = rule.frames(batch_of(molecule("H2O")))
    assert rule.evaluations == len(frames.cluster) == EVALUATIONS[degree]
    assert bool((frames.weights > 0).all())
    *exact, beyond = haar_spread(frames.axes, frames.weights, degree + 1)
    assert max(exact) < 1e-12
    assert beyond > 1e-2


def test_three_degrees_fit_the_budget_and_inversion_doubles_it():
    assert Quadrature(toy()).evaluations <= 84
    assert Quadrature(toy(), inversion=True).evaluations == 2 * Quadrature(toy()).evaluations


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_quadrature_is_exact_for_a_polynomial_of_its_degree_and_not_beyond(generic, degree):
    net = toy(degree=degree)
    rotation, reflection = (
        max(error(Quadrature(net, degree=3), generic, q)) for q in (TURN, MIRROR @ TURN)
    )
    scale = float(net(generic).energy.detach().abs().max())
    assert (rotation < 1e-9 * scale) == (degree <= 3)
    assert rotation > 1e-4 * scale or degree <= 3
    assert (reflection < 1e-9 * scale) == (
        degree <= 3
    )  # a sum over pairs: no invariant of degree 3 knows handedness


@pytest.mark.parametrize(("degree", "exact"), [(4, True), (3, False)])
def test_a_vector_of_the_model_needs_one_degree_more(generic, degree, exact):
    net = toy(degree=3)
    net.add_property("dipole", kind="vector").double()
    a, b = (
        Quadrature(net, degree=degree)(x).properties["dipole"]
        for x in (generic, rotated(generic, TURN))
    )
    off = float((b @ TURN - a).detach().abs().max() / a.detach().abs().max())
    assert (off < 1e-9) if exact else (off > 1e-4)


def test_rotations_are_fixed_by_the_seed_and_inversion_pairs_them(generic):
    net = toy()
    energy = RandomRotations(net, n=6, seed=5)(generic).energy
    assert torch.equal(energy, RandomRotations(net, n=6, seed=5)(generic).energy)
    assert not torch.allclose(energy, RandomRotations(net, n=6, seed=6)(generic).energy)
    axes = RandomRotations(net, n=6, seed=5).frames(generic).axes[:6]
    torch.testing.assert_close(axes[3:], -axes[:3], rtol=0, atol=0)
    assert len(RandomRotations(net, n=1, inversion=False).frames(generic).cluster) == 3
    assert RandomRotations(net, n=6).evaluations == 6


def test_random_rotations_are_rotations_and_uniform(float64):
    axes = RandomRotations(toy(), n=4000, inversion=False).frames(batch_of(molecule("H2O"))).axes
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(4000))
    assert max(haar_spread(axes, torch.ones(4000), 2)) < 4 / 4000**0.5


def test_the_error_of_random_rotations_falls_as_one_over_the_root_of_n():
    # even: inversion alone changes nothing
    batch = batch_of(rattled("H2O", 0))
    net = toy(degree=2)
    truth = Quadrature(net, degree=3)(batch).energy

    def size(n):  # root mean square over seeds
        errors = [
            RandomRotations(net, n=n, inversion=False, seed=seed)(batch).energy - truth
            for seed in range(60)
        ]
        return float(torch.cat(errors).detach().square().mean().sqrt())

    one = size(1)
    sixteen = size(16)
    assert sixteen > 1e-6
    assert 2.5 < one / sixteen < 6.4  # 4, give or take what 60 seeds leave open


def test_a_network_in_float32_keeps_exact_axes(generic):
    """Axes that were rounded to float32 with the weights would not be rotations to more than seven
    digits."""
    average = Quadrature(toy()).float()
    assert average.frames(generic).axes.dtype == torch.float64
    assert average(generic, forces=True).energy.dtype == torch.float64


def test_crystals_take_rotations_and_rules_but_no_frames_of_their_own():
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.05, seed=0)
    batch = batch_of(crystal)
    net = toy(degree=2, cutoff=3.0)
    assert max(error(Quadrature(net), batch, TURN)) < 1e-8
    assert RandomRotations(net, n=2)(batch).energy.isfinite().all()
    for kind in (PCAFrames, NearestPair, QRFrames):
        with pytest.raises(ValueError, match=r"Structure 0 of the batch is periodic.*ECSE"):
            kind(net)(batch)


# --------------------------------------------------------------------------------------------------
# the flaws


def jump(average, structure_at, halves=(1e-2, 1e-3, 1e-4, 1e-5)):
    """|E(h) - E(-h)| along a path through 0, for each h: it shrinks with h unless the energy jumps
    at 0."""
    steps = []
    with torch.no_grad():
        for h in halves:
            ends = average(batch_of(structure_at(h), structure_at(-h))).energy
            steps.append(float((ends[0] - ends[1]).abs()))
    return steps


def crossing(t):
    """Six atoms whose covariance is diag(1 + t, 1, 0.3) Å²: two eigenvalues cross where t is 0."""
    r = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    q = torch.linalg.qr(r - r.mean(0))[0]  # centered columns of length 1
    return Atoms("COHNHF", (q * (6 * q.new_tensor([1 + t, 1.0, 0.3])).sqrt()).numpy())


def swap(t):
    """The second and the third neighbor of the atom in the middle are at equal distances, 1.3 Å,
    where t is 0."""
    return Atoms("OHCN", [[0, 0, 0], [1.0, 0, 0], [-0.5, 1.2 + t, 0], [0.3, -0.4, 1.2]])


@pytest.mark.parametrize(
    ("kind", "path"),
    [(PCAFrames, crossing), (NearestPair, swap)],
    ids=["eigenvalues cross", "neighbors swap"],
)
def test_an_energy_jumps_where_its_frame_does_and_refining_the_path_does_not_help(kind, path):
    steps = jump(kind(toy()), path)
    assert min(steps) > 0.05
    assert steps[-1] > 0.9 * steps[-2]
    for smooth in (QRFrames, lambda m: RandomRotations(m, n=8), Quadrature):
        steps = jump(smooth(toy()), path)
        assert steps[-1] < 2e-3 * steps[0] + 1e-12


def test_qr_frames_turn_at_once_where_the_first_three_atoms_cross_a_line():
    def bend(t):  # the third atom passes through the line of the first two
        return Atoms("OCHN", [[0, 0, 0], [1.2, 0, 0], [2.1, t, 0], [0.5, 0.3, 1.1]])

    steps = jump(QRFrames(toy()), bend, halves=(1e-2, 1e-3))
    assert min(steps) > 0.01
    assert steps[1] > 0.9 * steps[0]


def test_principal_axes_of_methane_do_not_turn_and_forces_are_nan():
    methane = batch_of(molecule("CH4"))
    energy, _ = error(PCAFrames(toy()), methane, TURN)
    assert energy > 1e-8
    forces = PCAFrames(toy())(methane, forces=True).forces
    assert not float(forces.detach().abs().max()) < 1e3  # nor is NaN


def test_the_gradient_of_pca_frames_grows_without_bound_toward_a_crossing():
    def force(t):
        return float(
            PCAFrames(toy())(batch_of(crossing(t)), forces=True).forces.detach().abs().max()
        )

    assert force(1e-5) > 50 * force(1e-2)


# --------------------------------------------------------------------------------------------------
# no frame


@OF_STRUCTURE
@pytest.mark.parametrize("name", ["CO2", "C2H2", "N2", "O"])
def test_what_has_no_frame_is_refused_by_name(kind, name):
    line = molecule(name)
    line.rotate(40, (1, 2, 3))
    with pytest.raises(
        ValueError, match=rf"Structure 1 of the batch gives {kind.__name__} no frame.*ECSE"
    ):
        kind(toy())(batch_of(molecule("H2O"), line))


@pytest.mark.parametrize(
    "make",
    [
        lambda m: RandomRotations(m, n=0),
        lambda m: RandomRotations(m, n=3),
        lambda m: RandomRotations(m, n=2.0),
        lambda m: Quadrature(m, degree=0),
    ],
)
def test_numbers_that_make_no_average_are_refused(make):
    with pytest.raises((ValueError, TypeError), match="got "):
        make(toy())

"""Stiffness from thermal forces, the noise it leaves, and the places that a force allows."""

import ase
import ase.calculators.singlepoint
import numpy as np
import pytest
import torch
from ase.units import kB

import scdlab
from scdlab import analysis
from scdlab.atoms import AtomStore
from scdlab.explore import candidate_figure
from scdlab.objectives import DeNS

K = torch.tensor([40.0, 5.0, 1.0])  # eV/Å² along x, y, z


def spring(places):
    """Forces on an atom that springs hold at the origin."""
    return -places * K.to(places.dtype)


def thermal_water(temperature=500.0, frames=1500, k=(40.0, 5.0, 1.0)):
    """Frames in which one hydrogen of water moves on springs along its own axes."""
    rng = np.random.default_rng(0)
    pos = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    axes = analysis.local_axes(pos[None], 1, 0, 2)[0]
    store = []
    for _ in range(frames):
        along = -rng.normal(size=3) * np.sqrt(kB * temperature * np.array(k))
        atoms = ase.Atoms("OH2", pos)
        forces = np.zeros((3, 3))
        forces[1] = axes @ along
        atoms.calc = ase.calculators.singlepoint.SinglePointCalculator(
            atoms, energy=0.0, forces=forces
        )
        store.append(atoms)
    return AtomStore.from_ase(store)


def test_what_a_posterior_leaves_of_noise():
    """A Gaussian prior of spread s, noise σ: the variance of x given x̃, in units of σ²."""
    rng = np.random.default_rng(0)
    k, kT, sigma = 10.0, 0.04, 0.05
    x = np.sqrt(kT / k) * rng.normal(size=100_000)
    seen = x + sigma * rng.normal(size=len(x))
    best = np.polynomial.Polynomial.fit(seen, x, 1)(seen)
    left = np.square(best - x).mean() / sigma**2
    assert analysis.share_left(k, kT, sigma) == pytest.approx(left, rel=0.02)


def test_axes_are_those_of_the_bond_and_its_plane():
    pos = np.array([[[0.0, 0, 0], [0.0, 0, 1.0], [0.9, 0, -0.3]]])
    axes = analysis.local_axes(pos, 1, 0, 2)[0]
    assert np.allclose(axes.T @ axes, np.eye(3))
    assert np.allclose(axes[:, 0], [0, 0, 1])
    assert abs(axes[:, 2] @ [0, 1, 0]) == pytest.approx(1)
    with pytest.raises(ValueError, match="in line"):
        analysis.local_axes(np.array([[[0.0, 0, 0], [0, 0, 1.0], [0, 0, 2.0]]]), 0, 1, 2)


def test_neighbors_that_fix_axes():
    atoms = scdlab.load_ethanol().to_ase(0)
    pairs = analysis.neighbors_for_axes(atoms.positions, atoms.numbers)
    hydroxyl = next(k for k, (j, _) in enumerate(pairs) if j == 2 and atoms.numbers[k] == 1)
    assert atoms.numbers[pairs[hydroxyl][1]] == 6  # the hydrogen, its oxygen, and a carbon
    with pytest.raises(ValueError, match="three atoms"):
        analysis.neighbors_for_axes(atoms.positions[:2], atoms.numbers[:2])


def test_stiffness_from_thermal_forces():
    found = analysis.thermal_stiffness(thermal_water(), 500.0)
    assert found[1] == pytest.approx([40.0, 5.0, 1.0], rel=0.15)
    assert np.all(found[[0, 2]] == 0)


def test_the_hydroxyl_hydrogen_of_ethanol():
    """Stiff along the bond, softer bending, hardly held against turning: forces of GFN2-xTB."""
    store = scdlab.load_ethanol()
    along, bending, turning = analysis.thermal_stiffness(store, 500.0)[3]
    assert 40 < along < 55 and 3 < bending < 7 and 0 < turning < 0.5


def test_stiffness_refuses_what_it_cannot_use():
    store = scdlab.load_ethanol()
    with pytest.raises(ValueError, match="temperature"):
        analysis.thermal_stiffness(store, 0.0)
    with pytest.raises(ValueError, match="none"):
        analysis.thermal_stiffness(AtomStore.from_ase([store.to_ase(0).copy()]), 500.0)
    mixed = AtomStore.from_ase([ase.Atoms("H2O", np.eye(3)), ase.Atoms("OH2", np.eye(3))])
    with pytest.raises(ValueError, match="one molecule"):
        analysis.all_local_axes(mixed)


def test_shares_of_a_network_that_answers_nothing():
    class Silent(torch.nn.Module):
        def forward(self, batch, **_):
            return scdlab.Prediction(noise=torch.zeros_like(batch.pos))

    store = scdlab.load_ethanol()[:20]
    shares = analysis.shares_along(Silent(), store, DeNS(prob=1.0), rounds=2)
    assert shares.shape == (9, 3)
    assert np.allclose(shares, 1)


def test_width_is_tolerance_over_stiffness():
    step = torch.tensor([0.01, 0.0, 0.0])
    here, there = spring(torch.zeros(3))[0], spring(step)[0]
    assert float(analysis.width(here, there, 0.01, 0.2)) == pytest.approx(0.2 / 40)


def test_kept_places_narrow_from_ball_to_point():
    truth = torch.zeros(3)
    picture = torch.tensor([0.03, 0.05, 0.06])
    ball = analysis.kept_places(spring, truth, picture, torch.eye(3), 0.15)
    assert (ball - picture).norm(dim=1).max() < 0.15
    assert analysis.shape_of(ball, ball) == "ball"
    for tolerance, shape in ((0.3, "disc"), (0.05, "needle"), (0.005, "point")):
        widths = tolerance / K
        kept = analysis.kept_places(
            spring, truth, picture, torch.eye(3), 0.15, tolerance, widths, n=2000
        )
        assert (spring(kept) - spring(truth)).norm(dim=1).max() < tolerance
        assert analysis.shape_of(kept, ball) == shape
    # nothing that would be kept lies outside the box: the widest kept place reaches the width
    assert kept[:, 0].abs().max() == pytest.approx(float(widths[0]), rel=0.1)


def test_kept_places_refuse():
    args = spring, torch.zeros(3), torch.zeros(3), torch.eye(3), 0.1
    with pytest.raises(ValueError, match="widths"):
        analysis.kept_places(*args, tolerance=0.1)
    with pytest.raises(ValueError, match="two places"):
        analysis.shape_of(torch.zeros(1, 3), torch.randn(9, 3))


def test_the_figure_shows_one_set_at_a_time():
    clouds = {"nothing": torch.randn(900, 3), "0.3 eV/Å": 0.1 * torch.randn(50, 3)}
    fig = candidate_figure(clouds, ["a ball", "a disc"], ["x", "y", "z"], first=1, title="Where")
    assert [trace.visible for trace in fig.data] == [False, True, True, None]
    assert len(fig.data[0].x) == 400  # not all are drawn
    assert list(fig.data[2].x) == list(fig.data[0].x)  # the first set stays behind
    steps = fig.layout.sliders[0].steps
    assert [step.label for step in steps] == list(clouds)
    assert list(steps[0].args[0]["visible"]) == [True, False, True, True]
    sides = fig.layout.scene
    assert len({round(s.range[1] - s.range[0], 9) for s in (sides.xaxis, sides.yaxis)}) == 1
    assert "a disc" in fig.layout.title.text
    with pytest.raises(ValueError, match="one finding"):
        candidate_figure(clouds, ["a ball"], ["x", "y", "z"])

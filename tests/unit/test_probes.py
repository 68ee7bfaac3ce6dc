"""Linear probes: a ridge that fits itself, and the composition as control."""

import numpy as np
import pytest
import torch
from ase.build import molecule

import scdlab
from scdlab import analysis
from scdlab.analysis import probes

RNG = np.random.default_rng(0)


def by_hand(x, y, seed=0):
    """The probe by brute force: for each ridge, each structure of the fit left out in turn."""
    order = np.random.default_rng(seed).permutation(len(x))
    fit = order[: 2 * len(x) // 3]
    test = order[2 * len(x) // 3 :]
    z = (x - x[fit].mean(0)) / x[fit].std(0)
    unit = np.square(z[fit]).sum() / x.shape[1]

    def fitted(rows, ridge):
        # the constant is not shrunk; channels are those of the whole fit
        a = np.hstack([z[rows], np.ones((len(rows), 1))])
        penalty = ridge * unit * np.diag([*[1.0] * x.shape[1], 0.0])
        return np.linalg.solve(a.T @ a + penalty, a.T @ y[rows])

    def left_out(ridge):
        missed = []
        for k in fit:
            w = fitted(fit[fit != k], ridge)
            missed.append(y[k] - z[k] @ w[:-1] - w[-1])
        return np.square(missed).mean()

    best = min(probes.RIDGES, key=left_out)
    w = fitted(fit, best)
    missed = y[test] - z[test] @ w[:-1] - w[-1]
    return max(0.0, 1 - np.square(missed).sum() / np.square(y[test] - y[test].mean()).sum())


@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0])
def test_the_probe_is_a_ridge_tuned_by_leaving_one_out(noise):
    x = RNG.normal(size=(60, 12)) * np.logspace(-2, 2, 12)
    y = x @ (RNG.normal(size=12) / np.logspace(-2, 2, 12)) + noise * RNG.normal(size=60)
    assert analysis.linear_probe(x, y) == pytest.approx(by_hand(x, y), rel=1e-6)


def test_what_is_linear_is_read_off_and_noise_is_not():
    x = RNG.normal(size=(300, 8))
    y = 3 * x[:, 0] - x[:, 5] + 7
    assert analysis.linear_probe(x, y) > 1 - 1e-9
    assert analysis.linear_probe(x, RNG.normal(size=300)) < 0.1
    assert analysis.linear_probe(torch.tensor(x), torch.tensor(y)) == analysis.linear_probe(x, y)


def test_many_channels_of_noise_do_little_harm():
    """A ridge of a fixed tiny size reads noise as signal; one that is tuned leaves it out."""
    signal = RNG.normal(size=(120, 1))
    y = signal[:, 0] + 0.5 * RNG.normal(size=120)
    x = np.hstack([signal, RNG.normal(size=(120, 70))])
    assert analysis.linear_probe(x, y) > analysis.extensivity(x, y) + 0.2


def test_channels_of_any_size_and_redundant_ones():
    x = RNG.normal(size=(90, 5))
    y = x[:, 0] + 0.1 * RNG.normal(size=90)
    first = analysis.linear_probe(x, y)
    assert analysis.linear_probe(x * 1e200, y * 1e-200) == pytest.approx(first, rel=1e-6)
    assert analysis.linear_probe(x * [1e-6, 1, 1e6, 1, 1], y) == pytest.approx(first, rel=1e-6)
    doubled = np.hstack([x, x, np.ones((90, 1))])
    assert analysis.linear_probe(doubled, y) == pytest.approx(first, abs=1e-3)


def test_the_composition_counts_elements_and_gives_shares():
    store = scdlab.AtomStore.from_ase([molecule(name) for name in ("H2O", "CH4", "CO2")])
    # H, C, O
    counts = [[2, 0, 1], [4, 1, 0], [0, 1, 2]]
    found = analysis.composition(store)
    np.testing.assert_allclose(found[:, :3], counts)
    np.testing.assert_allclose(found[:, 3:], np.array(counts) / [[3], [5], [3]])
    assert analysis.composition(store, [1]).shape == (1, 4)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.ones((20, 3)), np.arange(19.0), "one value for each"),
        (np.ones(20), np.arange(20.0), "one value for each"),
        (np.ones((20, 0)), np.arange(20.0), "one value for each"),
        (np.ones((8, 3)), np.arange(8.0), "at least 9"),
        (np.ones((20, 3)), np.ones(20), "must vary"),
        (np.full((20, 3), np.nan), np.arange(20.0), "features .* row 0"),
        (np.ones((20, 3)), [*range(19), np.inf], "values .* row 19"),
        (np.ones((20, 3)), ["a"] * 20, "real numbers"),
    ],
)
def test_what_cannot_be_probed_is_refused(x, y, words):
    with pytest.raises(ValueError, match=words):
        analysis.linear_probe(x, y)


def test_no_structures_have_no_composition():
    store = scdlab.AtomStore.from_ase([molecule("H2O")])
    with pytest.raises(ValueError, match="at least 1 structure"):
        analysis.composition(store, [])

"""Linear probes: how much of a property can be read off features by a linear fit.

A fit of many channels to few structures is a verdict on the estimator, not on the features: the
ridge is therefore chosen by the fit itself, by leaving out one structure at a time, and R² is that
of structures which took no part in it. What the numbers of atoms of each element say alone
(`composition`) is the control: features of any network, untrained ones too, hold it.
"""

import numpy as np
from numpy.typing import ArrayLike

from scdlab.analysis.fits import r_squared, two_thirds
from scdlab.analysis.inputs import array, scaled
from scdlab.atoms import AtomStore

RIDGES = np.logspace(-9, 3, 25)  # times the mean variance of a channel
_LEAST = 9  # structures, a third of them held out


def composition(store: AtomStore, index: ArrayLike | None = None) -> np.ndarray:
    """How many atoms of each element structures have, and which share of their atoms that is.

    Parameters
    ----------
    store : AtomStore
        The structures.
    index : array_like, optional
        Rows of the store [n]; by default all.

    Returns
    -------
    numpy.ndarray
        [n, 2 e]: numbers of atoms of each of the e elements, in order of atomic number, and then
        their shares.

    Raises
    ------
    ValueError
        When no structure is given.
    """
    rows = np.arange(len(store)) if index is None else np.asarray(index)
    if not len(rows):
        raise ValueError("The composition needs at least 1 structure, got none; give more rows.")
    batch = store.take(rows)
    elements, element = np.unique(batch.z.numpy(), return_inverse=True)
    count = np.zeros((len(rows), len(elements)))
    np.add.at(count, (batch.batch.numpy(), element), 1)
    return np.hstack([count, count / count.sum(axis=1, keepdims=True)])


def linear_probe(features: ArrayLike, values: ArrayLike, seed: int = 0) -> float:
    """R² of a ridge regression of a property on features, on a held-out third of the structures.

    Channels are brought to one spread. The ridge is the one, of `RIDGES`, with the smallest error
    when each structure of the fit is left out in turn.

    Parameters
    ----------
    features : array_like or Tensor
        One row a structure, [n, d].
    values : array_like or Tensor
        The property [n].
    seed : int, default 0
        Seed of the split.

    Returns
    -------
    float
        1: all of the variance; 0: no better than the mean, and the value given for worse.

    Raises
    ------
    ValueError
        For fewer than 9 structures, unequal lengths, NaN, and values that are all the same.
    """
    x = array(features)
    y = array(values)
    _check(x, y)
    x, _ = scaled(x)
    y, _ = scaled(y)
    if y.std() == 0:
        raise ValueError(
            "The values of a linear probe must vary, got equal ones; choose another property."
        )
    fit, test = two_thirds(len(x), seed)
    mean = x[fit].mean(axis=0)
    spread = x[fit].std(axis=0)
    spread[spread == 0] = 1.0  # a channel that never varies says nothing
    y_mean = y[fit].mean()
    u, s, vt = np.linalg.svd((x[fit] - mean) / spread, full_matrices=False)
    from_u = u.T @ (y[fit] - y_mean)
    n = len(fit)
    ridges = RIDGES * max(float(np.square(s).sum()) / x.shape[1], np.finfo(float).tiny)
    errors = []
    for ridge in ridges:
        kept = np.square(s) / (np.square(s) + ridge)
        missed = y[fit] - y_mean - u @ (kept * from_u)
        # of the fit without that structure: the leverage, with that of the mean
        leverage = np.square(u) @ kept + 1 / n
        errors.append(np.square(missed / np.maximum(1 - leverage, 1e-9)).mean())
    ridge = ridges[int(np.argmin(errors))]
    w = vt.T @ (s / (np.square(s) + ridge) * from_u)
    return r_squared(y[test], y_mean + (x[test] - mean) / spread @ w)


def _check(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 2 or not x.shape[1] or y.shape != (len(x),):
        raise ValueError(
            "A linear probe needs features [n, d] and one value for each of the n structures, got "
            f"shapes {list(x.shape)} and {list(y.shape)}; give one row and one value a structure."
        )
    if len(x) < _LEAST:
        raise ValueError(
            f"A linear probe needs at least {_LEAST} structures, got {len(x)}; give more."
        )
    for name, found in (("features", x), ("values", y)):
        bad = np.flatnonzero(~np.isfinite(found.reshape(len(x), -1)).all(axis=1))
        if len(bad):
            raise ValueError(
                f"The {name} of a linear probe must be finite, got NaN or infinity in row "
                f"{bad[0]}; leave such structures out."
            )

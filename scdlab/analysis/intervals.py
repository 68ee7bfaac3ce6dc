"""Properties predicted from features, with an interval that holds the truth as often as it says.

A ridge regression on m structures predicts; n others, which took no part in it, say how far it is
usually off (split conformal prediction):

    r_j = |y_j − ŷ_j|                 residuals of the n structures set aside
    q = the ⌈(n + 1)(1 − α)⌉-th smallest of them
    ŷ ± q                             holds y with probability at least 1 − α

for every structure that is drawn as those n were, whatever the features and whatever the network
behind them. For a structure that is drawn otherwise the promise is void, and nothing in the number
q shows it.

V. Vovk, A. Gammerman and G. Shafer, Algorithmic Learning in a Random World (2005); J. Lei et al.,
J. Am. Stat. Assoc. 113, 1094 (2018), arXiv:1604.04173.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scdlab.analysis.fits import r_squared, ridge_weights
from scdlab.analysis.inputs import array

RIDGE = 1e-3  # times the mean variance of a channel


class Predictor(NamedTuple):
    """A ridge regression, and the residuals of structures that it has not seen.

    Attributes
    ----------
    mean, scale : numpy.ndarray
        Of the features [d].
    weights : numpy.ndarray
        Of the scaled features [d].
    constant : float
        The mean of the property.
    residuals : numpy.ndarray
        Absolute residuals [n] of the structures set aside, in ascending order.
    r2 : float
        R² on those structures.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    constant: float
    residuals: np.ndarray
    r2: float

    def __call__(self, features: ArrayLike) -> np.ndarray:
        """Predictions.

        Parameters
        ----------
        features : array_like
            [n, d].

        Returns
        -------
        numpy.ndarray
            [n], in the unit of the property.
        """
        return self.constant + (array(features) - self.mean) / self.scale @ self.weights

    def half_width(self, miss: float = 0.1) -> float:
        """Half the width of the interval that misses with probability `miss` at most.

        Parameters
        ----------
        miss : float, default 0.1
            The share α.

        Returns
        -------
        float
            In the unit of the property.
        """
        return conformal_half_width(self.residuals, miss)


def conformal_half_width(residuals: ArrayLike, miss: float = 0.1) -> float:
    """The ⌈(n + 1)(1 − α)⌉-th smallest of n absolute residuals.

    Parameters
    ----------
    residuals : array_like
        Residuals [n] of structures that took no part in the fit.
    miss : float, default 0.1
        The share α of structures that may lie outside.

    Returns
    -------
    float
        Half the width of the interval; infinite where n is too small to promise anything.

    Raises
    ------
    ValueError
        For no residuals, and for a share that is not between 0 and 1.
    """
    r = np.sort(np.abs(array(residuals)).ravel())
    if not len(r) or not 0 < miss < 1:
        raise ValueError(
            "An interval needs residuals of structures set aside, and a share between 0 and 1 of "
            f"misses, got {len(r)} residuals and {miss!r}."
        )
    rank = math.ceil((len(r) + 1) * (1 - miss) - 1e-9)
    return float(r[rank - 1]) if rank <= len(r) else math.inf


def predictor(features: ArrayLike, values: ArrayLike, seed: int = 0) -> Predictor:
    """Fit a property on one half of the structures, and measure it on the other.

    Parameters
    ----------
    features : array_like
        One row a structure, [n, d].
    values : array_like
        The property [n].
    seed : int, default 0
        Which half.

    Returns
    -------
    Predictor
        The fit.

    Raises
    ------
    ValueError
        For fewer than 20 structures, unequal lengths, and what is not finite.
    """
    x = array(features)
    y = array(values)
    if x.ndim != 2 or y.shape != (len(x),) or len(x) < 20:
        raise ValueError(
            "A predictor needs features [n, d] and a value for each of 20 structures or more, got "
            f"shapes {list(x.shape)} and {list(y.shape)}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(
            "The features and values of a predictor must be finite, and some are NaN or infinite; "
            "leave those structures out."
        )
    order = np.random.default_rng(seed).permutation(len(x))
    fit = order[: len(x) // 2]
    aside = order[len(x) // 2 :]
    mean = x[fit].mean(0)
    scale = x[fit].std(0)
    scale[scale == 0] = 1.0  # a channel that never varies says nothing
    a = (x[fit] - mean) / scale
    constant = float(y[fit].mean())
    weights = ridge_weights(a, y[fit] - constant, RIDGE)
    predicted = constant + (x[aside] - mean) / scale @ weights
    residuals = np.sort(np.abs(y[aside] - predicted))
    return Predictor(mean, scale, weights, constant, residuals, r_squared(y[aside], predicted))

"""What fits that are judged on structures of their own have in common."""

import numpy as np


def two_thirds(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit and rows to test, drawn at random.

    Parameters
    ----------
    n : int
        Number of rows.
    seed : int
        Which of them are drawn.

    Returns
    -------
    fit, test : numpy.ndarray
        Two thirds of the rows, and the others.
    """
    order = np.random.default_rng(seed).permutation(n)
    return order[: 2 * n // 3], order[2 * n // 3 :]


def r_squared(true: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the spread of values that is predicted, R², at least 0.

    Parameters
    ----------
    true : numpy.ndarray
        Values, [n].
    predicted : numpy.ndarray
        Predictions, [n].

    Returns
    -------
    float
        From 0 to 1; 0 where all values are the same.
    """
    spread = np.square(true - true.mean()).sum()
    return float(max(0.0, 1 - np.square(true - predicted).sum() / spread)) if spread else 0.0


def ridge_weights(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """Weights of a ridge regression: w = (XᵀX + λ)⁻¹ Xᵀ y.

    Parameters
    ----------
    x : numpy.ndarray
        Inputs, each channel with mean zero, [n, d].
    y : numpy.ndarray
        Values with mean zero, [n].
    strength : float
        λ, in units of the mean of the diagonal of XᵀX.

    Returns
    -------
    numpy.ndarray
        [d].
    """
    gram = x.T @ x
    ridge = strength * max(np.trace(gram) / len(gram), np.finfo(float).tiny)
    return np.linalg.solve(gram + ridge * np.eye(len(gram)), x.T @ y)

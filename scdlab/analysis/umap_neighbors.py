"""The neighbors that UMAP would find by itself, found sooner.

Of fewer than 4,096 points UMAP computes all distances, and calls its compiled function from Python
for each pair. Here the loop over pairs is compiled too. Distances, and so maps, are the same to the
last bit, unless points coincide, which then come in another order.
"""

import numpy as np
from umap.distances import euclidean
from umap.utils import fast_knn_indices

from scdlab.compiling import compiled

MOST = 4096  # points: of so many on, UMAP searches neighbors in another way


def nearest(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, None]:
    """The k nearest of each point, itself among them, as UMAP's `precomputed_knn`.

    Parameters
    ----------
    x : numpy.ndarray
        Points [m, d].
    k : int
        Number of neighbors.

    Returns
    -------
    index : numpy.ndarray
        Their rows [m, k], nearest first.
    distance : numpy.ndarray
        Their distances [m, k], float32.
    None
        In place of an index for points to come.
    """
    distances = _distances(np.ascontiguousarray(x, np.float32))
    index = fast_knn_indices(distances, k)
    return index, np.take_along_axis(distances, index, 1).astype(np.float32), None


@compiled
def _distances(x):  # (m, d) -> (m, m)
    found = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            found[i, j] = euclidean(x[i], x[j])
            found[j, i] = found[i, j]
    return found

"""Embeddings: drawn in two dimensions, and measured by two numbers.

PCA keeps straight lines straight and shows the directions of largest variance. UMAP (McInnes et al.
2018, arXiv:1802.03426) keeps neighbors together and shows little of distances between groups. A
picture persuades easily, so two numbers stand beside it:

    extensivity   R² of a linear fit, embedding -> number of atoms, on structures held out
    smoothness    R² of the mean property of the k nearest neighbors, as a prediction of the
                  property
"""

import hashlib
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from scdlab import files
from scdlab.analysis.fits import r_squared, ridge_weights, two_thirds
from scdlab.analysis.inputs import array, check_model_and_store, scaled
from scdlab.atoms import AtomStore, npy
from scdlab.atoms.arguments import whole
from scdlab.log import logger
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.nn.model import evaluating

METHODS = ("umap", "pca")
POOLS = ("embedding", "mean", "sum")
_NEIGHBORS = 15  # UMAP's own default


def embed(
    model: Any,
    store: AtomStore,
    n: int | None = 1000,
    pool: str = "embedding",
    seed: int = 0,
    batch_size: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of structures of a store, drawn at random.

    A conditional model gets no condition: its mask token. The model is left as it was.

    Parameters
    ----------
    model : torch.nn.Module
        Any model that gives a `Prediction`.
    store : AtomStore
        The structures.
    n : int or None, default 1000
        Number of structures; None takes all.
    pool : {"embedding", "mean", "sum"}, default "embedding"
        "embedding" is `Prediction.embedding`: the output of the embedding head of a conditional
        model, the sum over atoms of others. "mean" and "sum" pool `Prediction.atoms` over the atoms
        of each structure.
    seed : int, default 0
        Seed of the choice.
    batch_size : int, default 64
        Structures evaluated at once.

    Returns
    -------
    x : numpy.ndarray
        Embeddings [n, d].
    index : numpy.ndarray
        Their rows [n] in the store.

    Raises
    ------
    TypeError
        For what is no model, no store or no number.
    ValueError
        For an unknown pool, nothing to embed, elements that the model was not trained on, and
        embeddings that are not finite.
    """
    check_model_and_store(model, store)
    if pool not in POOLS:
        raise ValueError(f"pool must be one of {', '.join(map(repr, POOLS))}, got {pool!r}.")
    batch_size = whole("batch_size", batch_size, least=1)
    n = len(store) if n is None else min(whole("n", n), len(store))
    if n < 1:
        raise ValueError(
            "There is nothing to embed; give a store with structures and n of at least 1."
        )
    index = np.sort(np.random.default_rng(seed).permutation(len(store))[:n])
    device = next(model.parameters()).device
    rows = []
    with evaluating(model), torch.no_grad():
        for first in range(0, n, batch_size):
            batch = store.take(index[first : first + batch_size]).to(device)
            out = model(batch, noise=False)
            x = out.embedding if pool == "embedding" else sum_over_atoms(out.atoms, batch)  # (b, d)
            x = x / batch.ptr.diff().unsqueeze(-1) if pool == "mean" else x
            rows.append(x.double().cpu().numpy())
    found = np.concatenate(rows)
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise ValueError(
            f"The embedding of structure {index[bad[0]]} is NaN or infinite ({len(bad)} of {n} "
            "are): the model gives numbers that its precision does not hold; retrain it with a "
            "smaller learning rate, or look at its input there."
        )
    return found, index


def reduce_embedding(
    x: ArrayLike, method: str = "umap", seed: int = 0, max_points: int = 2000
) -> np.ndarray:
    """Embeddings drawn in two dimensions.

    Channels are centered, not scaled. The map is laid out by at most max_points rows, drawn at
    random; UMAP puts the others between their nearest five (its own way to do so takes longer to
    compile than to lay out a map). It runs on one thread, so that the same seed gives the same map,
    and its maps are kept in the cache (`files.cache_dir`).

    Parameters
    ----------
    x : array_like or Tensor
        Embeddings [n, d].
    method : {"umap", "pca"}, default "umap"
        How they are drawn.
    seed : int, default 0
        Seed of the rows that lay out the map, and of UMAP.
    max_points : int, default 2000
        Largest number of those rows.

    Returns
    -------
    numpy.ndarray
        The map [n, 2], float64.

    Raises
    ------
    ValueError
        For an unknown method, and for embeddings that are too few, too narrow or not finite.
    """
    rows = np.ascontiguousarray(array(x))
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}.")
    _check_rows(rows)
    if rows.shape[1] < 2:
        raise ValueError(
            f"A map needs at least 2 channels, and the embeddings have {rows.shape[1]}; plot them "
            "directly."
        )
    least = 3 if method == "pca" else _NEIGHBORS + 1
    if min(len(rows), max_points) < least:
        raise ValueError(
            f"{method} needs at least {least} points, got {min(len(rows), max_points)}; give more "
            f"structures{', or use pca' if method == 'umap' else ''}."
        )
    few = np.sort(np.random.default_rng(seed).permutation(len(rows))[:max_points])
    rows, factor = scaled(rows)
    rows = rows - rows[few].mean(axis=0)
    if method == "umap":
        return _umap(scaled(rows)[0], few, seed)
    with np.errstate(over="ignore"):
        xy = _pca(rows, few) * factor
    if not np.isfinite(xy).all():
        raise ValueError(
            f"The embeddings are so large ({np.abs(array(x)).max():.1e}) that their map overflows; "
            "divide them by a constant first."
        )
    return xy


def extensivity(embedding: ArrayLike, n_atoms: ArrayLike, seed: int = 0) -> float:
    """How well a linear fit reads the number of atoms off the embedding.

    1: size is laid out along a line; 0: no better than guessing the mean size, and the value given
    when the fit is worse still. A ridge of 1e-6 of the mean variance keeps redundant channels
    harmless.

    Parameters
    ----------
    embedding : array_like or Tensor
        Embeddings [n, d].
    n_atoms : array_like or Tensor
        Numbers of atoms [n], or any other numbers.
    seed : int, default 0
        Seed of the split.

    Returns
    -------
    float
        R² on a held-out third of the structures.

    Raises
    ------
    ValueError
        For fewer than 9 structures, unequal lengths, NaN, and numbers that are all the same.
    """
    x = array(embedding)
    y = array(n_atoms)
    _check_pair(x, y, least=9)
    x, _ = scaled(x)
    y, _ = scaled(y)
    if y.std() == 0:
        raise ValueError(
            "All structures have the same number of atoms, so size cannot be read off; mix sizes."
        )
    fit, test = two_thirds(len(x), seed)
    mean = x[fit].mean(axis=0)
    y_mean = y[fit].mean()
    w = ridge_weights(x[fit] - mean, y[fit] - y_mean, 1e-6)
    return r_squared(y[test], y_mean + (x[test] - mean) @ w)


def smoothness(embedding: ArrayLike, values: ArrayLike, k: int = 10) -> float:
    """How well the mean over the k nearest other structures predicts a property.

    Parameters
    ----------
    embedding : array_like or Tensor
        Embeddings [n, d]; distances are Euclidean in them.
    values : array_like or Tensor
        The property [n].
    k : int, default 10
        Number of neighbors.

    Returns
    -------
    float
        R², and 0 for worse than the mean of all.

    Raises
    ------
    ValueError
        For fewer than k + 2 structures, unequal lengths, NaN, and values that are all the same.
    """
    x = array(embedding)
    y = array(values)
    if k < 1:
        raise ValueError(f"k, the number of neighbors, must be at least 1, got {k!r}.")
    _check_pair(x, y, least=k + 2)
    x, _ = scaled(x)
    y, _ = scaled(y)
    if y.std() == 0:
        raise ValueError(
            "All values are equal, so there is nothing to predict; choose a property that varies."
        )
    # (n, k + 1), itself among them, not always first when points coincide
    near = np.asarray(KDTree(x).query(x, k + 1)[1])
    own = near == np.arange(len(x))[:, None]
    own[~own.any(axis=1), -1] = True
    return r_squared(y, y[near[~own].reshape(len(x), k)].mean(axis=1))


def _pca(x: np.ndarray, few: np.ndarray) -> np.ndarray:
    """Projections on the two directions of largest variance; of each, the largest entry is
    positive."""
    _, _, axes = np.linalg.svd(x[few], full_matrices=False)
    axes = axes[:2] * np.sign(axes[[0, 1], np.abs(axes[:2]).argmax(axis=1)])[:, None]
    return x @ axes.T  # (n, d) -> (n, 2)


def _umap(x: np.ndarray, few: np.ndarray, seed: int) -> np.ndarray:
    about = f"umap {metadata.version('umap-learn')} {x.shape} {len(few)} {seed}"
    key = hashlib.sha256(about.encode() + x.tobytes()).hexdigest()[:32]
    return files.cached(
        f"maps/{key}.npy",
        make=lambda: _laid_out(x, few, seed),
        read=lambda path: _kept(path, len(x)),
        write=_keep,
    )


def _laid_out(x: np.ndarray, few: np.ndarray, seed: int) -> np.ndarray:
    """The map of all x [n, d], laid out by the rows `few`."""
    first = "" if "umap" in sys.modules else " (its first use compiles: up to half a minute)"
    logger.info("UMAP of %s points%s; the map is kept for next time.", f"{len(x):,}", first)
    start = time.perf_counter()
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="n_jobs value|.*force_all_finite|.*ensure_all_finite"
        )
        warnings.filterwarnings(
            "ignore", message="Graph is not fully connected|.*Spectral initialisation failed"
        )
        warnings.filterwarnings("ignore", message="precomputed_knn")
        import umap

        from scdlab.analysis.umap_neighbors import MOST, nearest

        known: dict[str, Any] = {}
        if len(few) < MOST:
            neighbors = nearest(x[few], _NEIGHBORS)
            known = dict(precomputed_knn=neighbors, force_approximation_algorithm=True)
        options = dict(n_neighbors=_NEIGHBORS, random_state=seed, n_jobs=1)
        laid = umap.UMAP(**options, **known).fit_transform(x[few])
    # numba has given the OpenMP runtime, which torch shares, a number of its own
    torch.set_num_threads(threads)
    xy = _between(x, x[few], np.asarray(laid, dtype=float))
    if time.perf_counter() - start > 5:
        logger.info("UMAP took %.0f s.", time.perf_counter() - start)
    return xy


def _keep(path: Path, xy: np.ndarray) -> None:
    with files.atomic_file(path) as new, open(new, "wb") as f:
        np.save(f, xy, allow_pickle=False)


def _kept(path: Path, n: int) -> np.ndarray:
    """The map of n points that an earlier call left. Raises ValueError where it is damaged."""
    found = np.array(npy.open_array(path, "float64", (n, 2)))
    if not np.isfinite(found).all():
        raise ValueError(f"{path} holds no map: remove it.")
    return found


def _between(x: np.ndarray, few: np.ndarray, laid: np.ndarray, k: int = 5) -> np.ndarray:
    """Places for all x [n, d] on the map `laid` [m, 2] of `few` [m, d]: the mean of the k nearest,
    by 1/distance²."""
    d, near = KDTree(few).query(x, k)
    # of `few` itself: practically its own place
    w = 1 / np.maximum(d, 1e-12 * (1 + np.abs(few).max())) ** 2
    return (laid[near] * (w / w.sum(axis=1, keepdims=True))[..., None]).sum(axis=1)


def _check_rows(x: np.ndarray) -> None:
    if x.ndim != 2:
        raise ValueError(f"Embeddings must be one row a structure, [n, d], got shape {x.shape}.")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise ValueError(
            f"Row {bad[0]} of the embeddings is NaN or infinite ({len(bad)} of {len(x)} rows are); "
            "leave such structures out, or retrain with a smaller learning rate."
        )


def _check_pair(x: np.ndarray, y: np.ndarray, least: int) -> None:
    _check_rows(x)
    if y.shape != (len(x),):
        raise ValueError(
            f"There are {len(x)} embeddings and values of shape {y.shape}; give one value each."
        )
    if not np.isfinite(y).all():
        raise ValueError(
            f"Value {np.flatnonzero(~np.isfinite(y))[0]} is NaN or infinite; leave that structure "
            "out."
        )
    if len(x) < least:
        raise ValueError(f"This number needs at least {least} structures, got {len(x)}; give more.")

"""Maps of embeddings: many dimensions drawn in two, and the numbers that say what a map shows.

PCA keeps straight lines straight and shows the directions of largest variance. UMAP (McInnes et al.
2018, arXiv:1802.03426) keeps neighbors together and says little about distances between groups. A
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

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from scipy.spatial import cKDTree

from scdlab import files
from scdlab.explore.plots import array
from scdlab.nn.blocks.heads import sum_over_atoms

METHODS = ("umap", "pca")
POOLS = ("embedding", "mean", "sum")
SCALE = "Cividis"  # the same to color-blind readers, and it stays in order when printed gray
_NEIGHBORS = 15  # UMAP's own default


def embed(
    model, store, n: int | None = 1000, pool: str = "embedding", seed: int = 0, batch_size: int = 64
):
    """Embeddings x [n, d] of n structures of the store, drawn at random, and which rows of the
    store they are [n].

    pool: "embedding", the model's own (`Prediction.embedding`: of a conditional model what its head
    says, of others the sum), or the "mean" or "sum" of `Prediction.atoms` over the atoms of each
    structure. A conditional model is told nothing: it sees its mask token. n=None takes all. The
    model is left as it was. Raises ValueError for an unknown pool, for nothing to embed, and for
    elements that the model was not trained on.
    """
    if pool not in POOLS:
        raise ValueError(
            f"Embeddings are pooled by {', '.join(map(repr, POOLS[:-1]))} or {POOLS[-1]!r}, not "
            f"{pool!r}."
        )
    n = len(store) if n is None else min(n, len(store))
    if n < 1:
        raise ValueError(
            "There is nothing to embed; give a store with structures and n of at least 1."
        )
    index = np.sort(np.random.default_rng(seed).permutation(len(store))[:n])
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows = []
    try:
        with torch.no_grad():
            for first in range(0, n, batch_size):
                batch = store.take(index[first : first + batch_size]).to(device)
                out = model(batch, noise=False)
                x = (
                    out.embedding if pool == "embedding" else sum_over_atoms(out.atoms, batch)
                )  # (b, d)
                x = x / batch.ptr.diff().unsqueeze(-1) if pool == "mean" else x
                rows.append(x.double().cpu().numpy())
    finally:
        model.train(was_training)
    return np.concatenate(rows), index


def reduce_embedding(x, method: str = "umap", seed: int = 0, max_points: int = 2000) -> np.ndarray:
    """Embeddings [n, d] drawn in two dimensions: [n, 2] float64. method: "umap" or "pca".

    Channels are centered, not scaled. The map is laid out by at most max_points rows, drawn at
    random; UMAP puts the others between their nearest five (its own way to do so takes longer to
    compile than to lay out a map). It runs on one thread, so that the same seed gives the same map,
    and its maps are kept in the cache (`files.cache_dir`). Raises ValueError for what cannot be
    drawn.
    """
    x = np.ascontiguousarray(array(x))
    if method not in METHODS:
        raise ValueError(
            f"The method must be one of {', '.join(map(repr, METHODS))}, not {method!r}."
        )
    _check_rows(x)
    if x.shape[1] < 2:
        raise ValueError(
            f"A map needs at least 2 channels, and the embeddings have {x.shape[1]}; plot them "
            "directly."
        )
    least = 3 if method == "pca" else _NEIGHBORS + 1
    if min(len(x), max_points) < least:
        raise ValueError(
            f"{method} needs at least {least} points, not {min(len(x), max_points)}; give more "
            f"structures{', or use pca' if method == 'umap' else ''}."
        )
    few = np.sort(np.random.default_rng(seed).permutation(len(x))[:max_points])
    x = x - x[few].mean(axis=0)
    return _pca(x, few) if method == "pca" else _umap(x, few, seed)


def _pca(x, few) -> np.ndarray:
    """Projections on the two directions of largest variance; of each, the largest entry is
    positive."""
    _, _, axes = np.linalg.svd(x[few], full_matrices=False)
    axes = axes[:2] * np.sign(axes[[0, 1], np.abs(axes[:2]).argmax(axis=1)])[:, None]
    return x @ axes.T  # (n, d) -> (n, 2)


def _umap(x, few, seed) -> np.ndarray:
    about = f"umap {metadata.version('umap-learn')} {x.shape} {len(few)} {seed}"
    key = hashlib.sha256(about.encode() + x.tobytes()).hexdigest()[:32]
    path = files.cache_dir() / "maps" / f"{key}.npy"
    found = _kept(path, len(x))
    if found is not None:
        return found
    first = "" if "umap" in sys.modules else " (its first use compiles: up to half a minute)"
    print(f"UMAP of {len(x):,} points{first}; the map is kept for next time.", flush=True)
    start = time.perf_counter()
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="n_jobs value|.*force_all_finite|.*ensure_all_finite"
        )
        warnings.filterwarnings(
            "ignore", message="Graph is not fully connected|.*Spectral initialisation failed"
        )
        import umap

        laid = umap.UMAP(n_neighbors=_NEIGHBORS, random_state=seed, n_jobs=1).fit_transform(x[few])
    torch.set_num_threads(
        threads
    )  # numba has given the OpenMP runtime, which torch shares, a number of its own
    xy = _between(x, x[few], np.asarray(laid, dtype=float))
    if time.perf_counter() - start > 5:
        print(f"UMAP took {time.perf_counter() - start:.0f} s.", flush=True)
    with files.atomic_file(path) as new, open(new, "wb") as f:
        np.save(f, xy, allow_pickle=False)
    return xy


def _kept(path, n: int) -> np.ndarray | None:
    """The map of n points that an earlier call left, or None: not there, or damaged, so that it is
    made anew."""
    if not path.is_file():
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == (n, 2) and np.isfinite(found).all() else None


def _between(x, few, laid, k: int = 5) -> np.ndarray:
    """Places for all x [n, d] on the map `laid` [m, 2] of `few` [m, d]: the mean of the k nearest,
    by 1/distance²."""
    d, near = cKDTree(few).query(x, k)
    w = (
        1 / np.maximum(d, 1e-12 * (1 + np.abs(few).max())) ** 2
    )  # of `few` itself: practically its own place
    return (laid[near] * (w / w.sum(axis=1, keepdims=True))[..., None]).sum(axis=1)


def extensivity(embedding, n_atoms, seed: int = 0) -> float:
    """How well a linear fit reads the number of atoms off the embedding: R² on a held-out third of
    the structures.

    1: size is laid out along a line; 0: no better than guessing the mean size, and the value given
    when the fit is worse still. A ridge of 1e-6 of the mean variance keeps redundant channels
    harmless.
    """
    x = array(embedding)
    y = array(n_atoms)
    _check_pair(x, y, least=9)
    if y.std() == 0:
        raise ValueError(
            "All structures have the same number of atoms, so size cannot be read off; mix sizes."
        )
    order = np.random.default_rng(seed).permutation(len(x))
    fit = order[: 2 * len(x) // 3]
    test = order[2 * len(x) // 3 :]
    mean = x[fit].mean(axis=0)
    y_mean = y[fit].mean()
    centered = x[fit] - mean
    gram = centered.T @ centered
    ridge = 1e-6 * max(np.trace(gram) / len(gram), np.finfo(float).tiny)
    w = np.linalg.solve(gram + ridge * np.eye(len(gram)), centered.T @ (y[fit] - y_mean))
    return _r2(y[test], y_mean + (x[test] - mean) @ w)


def smoothness(embedding, values, k: int = 10) -> float:
    """How well the mean over the k nearest other structures predicts a property [n]: R², and 0 for
    worse than the mean. Distances are Euclidean in the embedding."""
    x = array(embedding)
    y = array(values)
    _check_pair(x, y, least=k + 2)
    if y.std() == 0:
        raise ValueError(
            "All values are equal, so there is nothing to predict; choose a property that varies."
        )
    near = cKDTree(x).query(x, k + 1)[
        1
    ]  # (n, k + 1), itself among them, not always first when points coincide
    own = near == np.arange(len(x))[:, None]
    own[~own.any(axis=1), -1] = True
    return _r2(y, y[near[~own].reshape(len(x), k)].mean(axis=1))


def _r2(true, predicted) -> float:
    spread = np.square(true - true.mean()).sum()
    return float(max(0.0, 1 - np.square(true - predicted).sum() / spread)) if spread else 0.0


def _check_rows(x) -> None:
    if x.ndim != 2:
        raise ValueError(f"Embeddings must be one row a structure, [n, d], not of shape {x.shape}.")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise ValueError(
            f"Row {bad[0]} of the embeddings is NaN or infinite ({len(bad)} of {len(x)} rows are); "
            "leave such structures out, or retrain with a smaller learning rate."
        )


def _check_pair(x, y, least: int) -> None:
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
        raise ValueError(f"This number needs at least {least} structures, not {len(x)}; give more.")


def embedding_map(
    xy, color, label: str = "atoms", title: str = "", formulas=None, height: int = 420
) -> go.Figure:
    """A map [n, 2] as points colored by `color` [n]; label: what the colors mean, with its unit;
    formulas [n]: names that appear under the pointer."""
    return compare_maps({title: xy}, color, label, formulas=formulas, height=height)


def compare_maps(
    maps: dict, color, label: str = "atoms", numbers=None, formulas=None, height: int = 420
) -> go.Figure:
    """Several maps of the same structures side by side, on one scale of color.

    maps: name -> xy [n, 2]; color [n], the same in all; numbers: name -> number or text written
    beside the name, the extensivity for instance; formulas [n]: names under the pointer. The axes
    of a map have no units and no meaning of their own, so they carry no ticks.
    """
    color = array(color)
    if not maps:
        raise ValueError("There is no map to draw; give at least one as {name: xy}.")
    for name, xy in maps.items():
        if array(xy).shape != (len(color), 2):
            raise ValueError(
                f"Map {name!r} has the shape {array(xy).shape}; {len(color)} colors need [n, 2] "
                "with one row each."
            )
    if formulas is not None and len(formulas) != len(color):
        raise ValueError(
            f"There are {len(color)} points and {len(formulas)} formulas; give one each, or none."
        )
    titles = [_title(name, (numbers or {}).get(name)) for name in maps]
    fig = make_subplots(
        1, len(maps), subplot_titles=titles if any(titles) else None, horizontal_spacing=0.03
    )
    head = "%{text}<br>" if formulas is not None else ""
    for column, xy in enumerate(maps.values(), start=1):
        xy = array(xy)
        fig.add_scattergl(
            x=xy[:, 0],
            y=xy[:, 1],
            mode="markers",
            showlegend=False,
            row=1,
            col=column,
            marker=dict(color=color, coloraxis="coloraxis", size=5, opacity=0.8),
            text=None if formulas is None else list(formulas),
            hovertemplate=f"{head}{label} %{{marker.color:.4~g}}<extra></extra>",
        )
    frame = dict(showticklabels=False, ticks="", showgrid=False, mirror=True, title_text="")
    fig.update_xaxes(**frame).update_yaxes(**frame)
    bar = dict(title=dict(text=label, side="right"), thickness=14, outlinewidth=0)
    margin = dict(l=20, r=20, b=20, t=50 if any(titles) else 20)
    fig.update_layout(
        template="scdlab",
        height=height,
        margin=margin,
        coloraxis=dict(colorscale=SCALE, colorbar=bar),
    )
    return fig


def _title(name: str, number) -> str:
    if number is None:
        return name
    return f"{name} · {number if isinstance(number, str) else f'{number:.2f}'}"

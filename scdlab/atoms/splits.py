"""Which side of a split each structure is on: 0 training, 1 validation, 2 test."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scdlab.atoms.arguments import whole


def dealt(order: np.ndarray, n_train: int, n_val: int) -> np.ndarray:
    """The side of each structure when they are dealt out in an order.

    The first `n_train` go to training, the next `n_val` to validation, the rest to the test.

    Parameters
    ----------
    order : numpy.ndarray
        Indices of the structures, [n].
    n_train : int
        Structures for training.
    n_val : int
        Structures for validation.

    Returns
    -------
    numpy.ndarray
        The side of each structure, [n].
    """
    side = np.full(len(order), 2)
    side[order[:n_train]] = 0
    side[order[n_train : n_train + n_val]] = 1
    return side


def by_blocks(
    n_blocks: int, n: int, n_train: int, n_val: int, rng: np.random.Generator
) -> np.ndarray:
    """The side of each of n structures, dealt out in contiguous runs in random order.

    Parameters
    ----------
    n_blocks : int
        Number of runs.
    n : int
        Number of structures.
    n_train : int
        Structures for training.
    n_val : int
        Structures for validation.
    rng : numpy.random.Generator
        Source of the random order.

    Returns
    -------
    numpy.ndarray
        The side of each structure, [n].

    Raises
    ------
    ValueError
        For a number of runs that is not from 1 to n.
    """
    n_blocks = whole("blocks", n_blocks, 1, n)
    runs = np.array_split(np.arange(n), n_blocks)
    order = np.concatenate([runs[k] for k in rng.permutation(len(runs))])
    return dealt(order, n_train, n_val)


def by_groups(
    values: np.ndarray, n: int, n_train: int, n_val: int, rng: np.random.Generator
) -> np.ndarray:
    """The side of each of n structures, where those of equal value stay together.

    Groups come in random order. Each goes to training if it fits there, else to validation if it
    fits there, else to the test.

    Parameters
    ----------
    values : numpy.ndarray
        The group of each structure, [n].
    n : int
        Number of structures.
    n_train : int
        Structures for training.
    n_val : int
        Structures for validation.
    rng : numpy.random.Generator
        Source of the random order.

    Returns
    -------
    numpy.ndarray
        The side of each structure, [n].

    Raises
    ------
    ValueError
        For values of another number than n or that are NaN, and where no group fits on a side that
        should have structures.
    """
    if values.shape != (n,):
        raise ValueError(
            f"groups must hold one value for each of the {n:,} structures, got the shape "
            f"{values.shape}."
        )
    if values.dtype.kind == "f" and np.isnan(values).any():
        k = np.flatnonzero(np.isnan(values))[0]
        raise ValueError(f"Structure {k} belongs to the group NaN: give every structure its group.")
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    side_of_group = np.full(len(size), 2)
    room = [n_train, n_val]
    for k in rng.permutation(len(size)):
        for side in (0, 1):
            if size[k] <= room[side]:
                room[side] -= int(size[k])
                side_of_group[k] = side
                break
    for side, (wanted, name) in enumerate(((n_train, "training"), (n_val, "validation"))):
        if wanted and room[side] == wanted:
            raise ValueError(
                f"No whole group fits into {wanted:,} structures for {name} (the smallest of "
                f"{len(size):,} groups has {size.min():,}): take more, or fewer for the "
                "other side."
            )
    return side_of_group[group]


def published(splits: Any, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The two sides of the k-th published split of n structures.

    Parameters
    ----------
    splits : mapping
        "train1", "test1", … -> the structures of one side.
    k : int
        Which of them.
    n : int
        Number of structures.

    Returns
    -------
    train, test : numpy.ndarray
        The structures of both sides.

    Raises
    ------
    ValueError
        For a split that is not there, lacks a side, names a structure that does not exist or one
        on both sides.
    """
    splits = splits if isinstance(splits, Mapping) else {}
    if f"train{k}" not in splits:
        known = ", ".join(str(name)[5:] for name in splits if str(name).startswith("train"))
        raise ValueError(
            f"This store has no published split {k} (it has: {known or 'none'}): use split() "
            "instead."
        )
    sides = []
    for name in (f"train{k}", f"test{k}"):
        try:
            rows = np.asarray(splits.get(name))
        except ValueError:  # rows of different lengths
            rows = np.empty(0)
        numbers = rows.ndim == 1 and rows.size > 0 and rows.dtype.kind in "iu"
        if not numbers or rows.min() < 0 or rows.max() >= n:
            raise ValueError(
                f"The published split {k} of this store has no {name!r} that lists some of its "
                f"{n:,} structures: correct meta['splits'], or use split() instead."
            )
        sides.append(rows.astype(np.int64))
    if both := set(sides[0].tolist()) & set(sides[1].tolist()):
        raise ValueError(
            f"The published split {k} of this store has structure {min(both)} on both sides: "
            "correct meta['splits'], or use split() instead."
        )
    return sides[0], sides[1]

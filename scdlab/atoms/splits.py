"""Which side of a split each structure is on: 0 training, 1 validation, 2 test."""

import numpy as np


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
    if n_blocks != int(n_blocks) or not 1 <= n_blocks <= n:
        raise ValueError(
            f"blocks must be a whole number between 1 and {n:,}, the structures that there are, "
            f"got {n_blocks}."
        )
    runs = np.array_split(np.arange(n), int(n_blocks))
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

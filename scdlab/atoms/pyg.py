"""What PyTorch Geometric data sets hold, as the keyword arguments of `AtomStore.from_arrays`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scdlab.atoms.validate import all_or_none


def pyg_arrays(dataset: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """The arrays of a PyTorch Geometric data set, as `AtomStore.from_pyg` describes them.

    Parameters
    ----------
    dataset : sequence of Data
        The structures, each with z and pos.
    names : sequence of str or None
        Names of the columns of y; None: y0, y1, …

    Returns
    -------
    dict
        Keyword arguments of `AtomStore.from_arrays`.

    Raises
    ------
    ValueError
        For an empty data set, structures without z or pos, labels that only some have, and
        another number of names than of columns.
    """
    data = [dataset[k] for k in range(len(dataset))]
    if not data:
        raise ValueError("The data set is empty: pass one with at least one structure.")
    for k, each in enumerate(data):
        if each.get("z") is None or each.get("pos") is None:
            raise ValueError(
                f"Structure {k} of the data set lacks z or pos: an AtomStore needs both."
            )
    energy = _column(data, "energy")
    forces = _column(data, "forces", "force")
    cell = _column(data, "cell")
    pbc = _column(data, "pbc")
    return {
        "z": np.concatenate([each.z.cpu().numpy() for each in data]),
        "pos": np.concatenate([each.pos.detach().cpu().numpy() for each in data]),
        "ptr": np.concatenate([[0], np.cumsum([len(each.z) for each in data])]),
        "cell": None if cell is None else np.stack([each.reshape(3, 3) for each in cell]),
        "pbc": None if pbc is None else np.stack([each.reshape(3) for each in pbc]),
        "energy": None if energy is None else np.array([each.item() for each in energy]),
        "forces": None if forces is None else np.concatenate(forces),
        "properties": _targets(_column(data, "y"), names),
    }


def _column(data: Sequence, *keys: str) -> list[np.ndarray] | None:
    """Of every structure the first of `keys` that it has, or None where none has any."""

    def first(each: Any) -> np.ndarray | None:
        for key in keys:
            if each.get(key) is not None:
                return each[key].detach().cpu().numpy()
        return None

    return all_or_none([first(each) for each in data], keys[0])


def _targets(y: list[np.ndarray] | None, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """The columns of y as properties. Raises ValueError for another number of names."""
    if y is None:
        return {}
    values = np.stack([np.asarray(value, np.float64).reshape(-1) for value in y])  # [n, P]
    names = [f"y{k}" for k in range(values.shape[1])] if names is None else list(names)
    if len(names) != values.shape[1]:
        raise ValueError(
            f"y has {values.shape[1]} columns, but {len(names)} names are given: pass one name "
            "each."
        )
    return dict(zip(names, values.T, strict=True))

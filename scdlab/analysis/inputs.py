"""What the functions of this floor share: arrays of any origin, molecules as batches."""

from typing import Any

import ase
import numpy as np
import torch

from scdlab.atoms import AtomStore

_TINY = 1e-15  # of the largest number of an array; squares of smaller ones lose digits in float32
_HUGE = 1e15


def array(values: Any) -> np.ndarray:
    """Convert values to a float64 array.

    Parameters
    ----------
    values : array_like or Tensor
        A numpy array, a tensor on any device with or without a graph, or a list.

    Returns
    -------
    numpy.ndarray
        The same shape; the data are shared where that is possible.

    Raises
    ------
    ValueError
        For what are no numbers, or complex ones.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.double().numpy() if values.is_floating_point() else values.numpy()
    try:
        given = np.asarray(values)
        if np.iscomplexobj(given):
            raise TypeError("complex numbers")
        return np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected an array of real numbers, got a {type(values).__name__} that holds others "
            f"({str(error).rstrip('.')}); give one row of numbers a structure."
        ) from error


def scaled(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Numbers brought to a size whose squares and sums are finite.

    Parameters
    ----------
    x : numpy.ndarray
        Finite numbers of any size.

    Returns
    -------
    x : numpy.ndarray
        The same where they are of a usual size, else divided by a power of two.
    factor : float
        What they were divided by.
    """
    largest = float(np.abs(x).max(initial=0.0))
    if largest == 0 or _TINY < largest < _HUGE:
        return x, 1.0
    exponent = min(int(np.frexp(largest)[1]), 1023)  # of the largest power of two that is finite
    return np.ldexp(x, -exponent), float(np.ldexp(1.0, exponent))


def tensor(values: Any) -> torch.Tensor:
    """Convert values to a float32 tensor, for models and bases.

    Parameters
    ----------
    values : array_like
        Numbers of any shape.

    Returns
    -------
    Tensor
        The same shape.
    """
    return torch.as_tensor(values, dtype=torch.float32)


def check_model_and_store(model: Any, store: Any) -> None:
    """Check the kinds of what is evaluated and on what.

    Parameters
    ----------
    model : torch.nn.Module
        The argument `model`.
    store : AtomStore
        The argument `store`.

    Raises
    ------
    TypeError
        For anything else.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(
            f"model must be a model such as scdlab.SchNet(), got {model!r:.60} "
            f"({type(model).__name__}); scdlab.load(path) opens a saved one."
        )
    if not isinstance(store, AtomStore):
        raise TypeError(
            f"store must be an AtomStore, got {store!r:.60} ({type(store).__name__}); make one of "
            "a list of ase.Atoms with scdlab.AtomStore.from_ase(list_of_atoms)."
        )


def bare_copy(atoms: ase.Atoms) -> ase.Atoms:
    """Copy elements, positions, charges and cell alone: no labels, no constraints.

    Parameters
    ----------
    atoms : ase.Atoms
        Any structure.

    Returns
    -------
    ase.Atoms
        The copy.
    """
    charges = atoms.get_initial_charges()
    return ase.Atoms(
        atoms.numbers, atoms.get_positions(), cell=atoms.cell, pbc=atoms.pbc, charges=charges
    )


def batch_at(model: torch.nn.Module, atoms: ase.Atoms, pos: np.ndarray) -> Any:
    """Build a batch of one molecule at several sets of positions.

    Parameters
    ----------
    model : torch.nn.Module
        The model that will read the batch: its first parameter gives device and precision.
    atoms : ase.Atoms
        The molecule: elements, charges and cell.
    pos : numpy.ndarray
        Positions [..., n, 3] in Å.

    Returns
    -------
    torch_geometric.data.Batch
        One structure for each set of positions.
    """
    pos = np.asarray(pos, float)
    weight = next(model.parameters())
    batch = AtomStore.geometry(atoms).take([0] * max(1, int(np.prod(pos.shape[:-2]))))
    batch = batch.to(weight.device)
    batch.pos = torch.as_tensor(pos.reshape(-1, 3)).to(weight)
    return batch

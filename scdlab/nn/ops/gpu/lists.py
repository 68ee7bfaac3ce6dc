"""The lists that kernels walk, made on the device without waiting for it."""

import torch
from torch import Tensor


def sort_pairs(key: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """List pairs by a key, in their old order, as `dispatch.sort_pairs` does on a processor.

    Parameters
    ----------
    key : Tensor
        A key of each pair, [P] int64, from 0 to n - 1.
    n : int
        Number of keys.

    Returns
    -------
    begin, order : Tensor
        The pairs with key k are order[begin[k] : begin[k + 1]]: [n + 1] and [P] int64.
    """
    ordered, order = torch.sort(key, stable=True)
    keys = torch.arange(n + 1, device=key.device, dtype=key.dtype)
    return torch.searchsorted(ordered, keys), order


def check_atoms(atom: Tensor, n_atoms: int) -> None:
    """Check that pairs name atoms that are there, without waiting for the device.

    On a processor the error comes at once. A GPU reports it where the next result is read, as an
    assertion that failed on the device; torch cannot go on there.

    Parameters
    ----------
    atom : Tensor
        Numbers of atoms, int64.
    n_atoms : int
        How many there are.
    """
    there = ((atom >= 0) & (atom < n_atoms)).all()
    torch._assert_async(  # pyright: ignore[reportPrivateImportUsage]
        there,
        f"Pairs name atoms outside 0 … {n_atoms - 1}: give the model the pairs of this very batch.",
    )

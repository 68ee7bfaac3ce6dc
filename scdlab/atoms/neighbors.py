"""Which atoms are within the cutoff of each other, as a half list: each unordered pair once.

A pair's distance, and so its filter, is the same seen from either end: it is computed once and used
both ways. In a periodic structure a pair is (i, j, image), with r_ij = pos[j] - pos[i] + shift @
cell; a cell smaller than the cutoff gives several images of one pair, and an atom pairs with its
own images (i = j), each ±image once.

Up to 200 atoms: all pairs by index arithmetic, then a filter, the whole batch at once (a cell list
has nothing to skip at 20 atoms). Periodic structures of up to 80 atoms likewise, each pair with the
few images that can be near. Larger structures: a cell list, one by one (`atoms/cell_list.py`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scdlab.atoms.batch import Batch, completed, host_ptr
from scdlab.atoms.pairs import Pairs, structure_of_atoms

ALL_PAIRS_UP_TO = 200  # atoms; above, n²/2 candidate pairs cost more than a cell list
UNSEARCHED_UP_TO = 32  # atoms; above, many pairs lie beyond a cutoff of 5 Å
ALL_IMAGES_UP_TO = 80  # atoms of a periodic structure
# pairs and images of one structure: of a cell that is small or skewed beside the cutoff
MANY = 100_000
_COINCIDENT = 1e-6  # Å


@torch.no_grad()
def neighbor_list(batch: Batch, cutoff: float) -> Pairs:
    """Find all pairs of atoms that are closer than a cutoff.

    Parameters
    ----------
    batch : Batch or torch_geometric.data.Data
        Structures, as `AtomStore.take` gives them; of one of torch-geometric's, what is missing is
        worked out, see `completed`.
    cutoff : float
        Distance in Å.

    Returns
    -------
    Pairs
        The half list: each unordered pair once.

    Raises
    ------
    ValueError
        For a cutoff that is not positive, for atoms that coincide or have no finite position, and
        for periodic cell vectors that span no volume.
    """
    if isinstance(cutoff, str | None) or not cutoff > 0 or not np.isfinite(cutoff):
        raise ValueError(
            f"The cutoff is {cutoff!r}: it must be a positive length in Å, such as 5.0."
        )
    batch = completed(batch)
    pos = batch.pos.detach()
    ptr = batch.ptr
    size = ptr.diff()
    owner = structure_of_atoms(batch)
    periodic = periodic_axes(batch, len(size))
    large = size > ALL_PAIRS_UP_TO
    cells = None
    if periodic is not None and not large.all():
        cells = _cells(batch, periodic)
        # images of one atom near a given point, about
        images = (2.0 * cutoff * cells[1].norm(dim=2) + 1.0).prod(1)
        large |= periodic.any(1) & ((size > ALL_IMAGES_UP_TO) | (images * size * size > 2 * MANY))
    large = large.nonzero().flatten().tolist()  # these are left to the cell list

    if large or periodic is not None:
        finite = torch.isfinite(pos).all(1)
        if not finite.all():
            raise ValueError(_not_finite(int(owner[int(finite.long().argmin())])))

    parts = []
    if len(large) < len(size):
        if cells is None:
            parts.append(_all_pairs(pos, ptr, owner, large, cutoff))
        else:
            parts.append(_all_images(pos, ptr, owner, large, *cells, cutoff))
    for k in large:
        box = np.zeros((3, 3))
        pbc = np.zeros(3, bool)
        if periodic is not None:
            box = batch.cell.detach().reshape(-1, 3, 3)[k].double().cpu().numpy()
            pbc = periodic[k].cpu().numpy()
        parts.append(_cell_list(pos, int(ptr[k]), int(ptr[k + 1]), k, box, pbc, cutoff))
    i, j, shift = parts[0] if len(parts) == 1 else _merged(parts)
    return Pairs(i, j, None if periodic is None else shift.to(pos), float(cutoff))


def all_pairs(batch: Batch, cutoff: float) -> Pairs | None:
    """All pairs of a batch of small molecules, at any distance, without reading from its device.

    For training on a GPU, which `neighbor_list` waits for: pairs beyond the cutoff do no harm, and
    in a molecule of 20 atoms there are few of them. Distances are not looked at, so nothing is said
    of atoms that coincide or have no finite position.

    Parameters
    ----------
    batch : Batch
        Structures.
    cutoff : float
        Distance in Å that the pairs are for.

    Returns
    -------
    Pairs or None
        None where structures have cells or more than 32 atoms, or where the processor does not know
        how many they have.
    """
    ptr = host_ptr(batch)
    if ptr is None or batch.get("cell") is not None:
        return None
    size = np.diff(ptr)
    if size.max() > UNSEARCHED_UP_TO:
        return None
    total = int((size * (size - 1)).sum()) // 2
    i, j = pairs_within(batch.ptr, structure_of_atoms(batch), total=total)
    return Pairs(i, j, None, float(cutoff))


def pairs_within(
    ptr: Tensor,
    structure: Tensor,
    without: Sequence[int] = (),
    loops: bool = False,
    total: int | None = None,
) -> tuple[Tensor, Tensor]:
    """All pairs of atoms of the same structure, at any distance.

    Parameters
    ----------
    ptr : Tensor
        Where the atoms of each structure start, [B + 1] int64.
    structure : Tensor
        The structure of each atom, [N] int64.
    without : sequence of int, default ()
        Structures to leave out.
    loops : bool, default False
        Whether an atom pairs with itself too.
    total : int, optional
        How many pairs there are, where that is known: on a GPU it must be waited for.

    Returns
    -------
    i, j : Tensor
        The two atoms of each pair, [P] int64 each, sorted, with i < j (with `loops`, i ≤ j).
    """
    atom = torch.arange(len(structure), device=ptr.device)
    own = 0 if loops else 1  # atom a pairs with a + own, …, the last of its structure
    count = ptr[1:].index_select(0, structure) - atom - own
    for k in without:
        count[ptr[k] : ptr[k + 1]] = 0
    i, rank = repeated(count, total)
    return i, rank + (i + own)


def repeated(count: Tensor, total: int | None = None) -> tuple[Tensor, Tensor]:
    """Repeat each index k count[k] times, in order.

    As `torch.repeat_interleave`, but by counting the starts passed: that function opens a thread
    team every time.

    Parameters
    ----------
    count : Tensor
        How often each index is repeated, [n] int64.
    total : int, optional
        Σ count, where it is known.

    Returns
    -------
    index, rank : Tensor
        The indices, and which repetition of its index each one is, [Σ count] int64 both.
    """
    first = torch.cumsum(count, 0) - count
    total = int(count.sum()) if total is None else total
    starts = torch.zeros(total + 1, dtype=torch.long, device=count.device)
    k = starts.index_add_(0, first, torch.ones_like(first)).cumsum(0)[:-1] - 1
    return k, torch.arange(len(k), device=k.device) - first.index_select(0, k)


def _all_pairs(
    pos: Tensor, ptr: Tensor, owner: Tensor, without: Sequence[int], cutoff: float
) -> tuple[Tensor, Tensor, None]:
    """Pairs of a batch that is not periodic but for the structures `without`: i < j, sorted, and no
    shift."""
    i, j = pairs_within(ptr, owner, without)
    r = pos.index_select(0, j).sub_(pos.index_select(0, i))  # [candidates, 3]
    d2 = torch.linalg.vecdot(r, r)  # [candidates]
    _check_distances(d2, i, j, ptr, owner)
    near = (d2 < cutoff * cutoff).nonzero().flatten()
    return i.index_select(0, near), j.index_select(0, near), None


def _cells(batch: Batch, periodic: Tensor) -> tuple[Tensor, Tensor]:
    """The cell vectors a_k and their duals b_k (a_k·b_l = δ_kl), [B, 3, 3] float64 each, zero where
    not periodic."""
    cell = batch.cell.detach().reshape(-1, 3, 3).double().where(periodic.unsqueeze(2), 0.0)
    gram = cell @ cell.mT + torch.diag_embed((~periodic).double())
    inverse, failed = torch.linalg.inv_ex(gram)
    size = (inverse * gram).diagonal(dim1=1, dim2=2)  # |a_k|² |b_k|²
    flat = (failed > 0) | ~((size > 0) & (size < 1e12)).all(1)  # True for NaN as well
    if flat.any():
        raise ValueError(_flat(int(flat.nonzero()[0])))
    return cell, inverse @ cell


def _all_images(
    pos: Tensor,
    ptr: Tensor,
    owner: Tensor,
    without: Sequence[int],
    cell: Tensor,
    dual: Tensor,
    cutoff: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs and images of a batch of small structures but those `without`: i ≤ j, sorted,
    self-images once.

    The image s of a pair lies at r = x + Σ s_k a_k, so s_k = b_k·(r - x), and |r| < cutoff leaves
    few of them: |b_k·x + s_k| ≤ cutoff |b_k|. Along a direction that is not periodic, b_k = 0
    leaves s_k = 0.
    """
    pos = pos.double()
    i, j = pairs_within(ptr, owner, without, loops=True)
    along = _combined(pos, dual.mT.index_select(0, owner))  # [N, 3], b_k·pos
    along = along.index_select(0, j) - along.index_select(0, i)  # [P, 3], b_k·x
    reach = (cutoff * dual.norm(dim=2) + 1e-9).index_select(0, owner).index_select(0, i)  # [P, 3]
    low = torch.ceil(-along - reach).long()
    # images along each direction, [P, 3]
    span = (torch.floor(reach - along).long() - low + 1).clamp_(min=0)
    count = span.prod(1)
    # the images of an atom itself come in opposite couples around s = 0, which is in the middle:
    # only those after it are kept
    skip = torch.where(i == j, count // 2 + 1, 0)
    pair, rank = repeated(count - skip)
    rank += skip.index_select(0, pair)
    _, n1, n2 = span.index_select(0, pair).unbind(1)
    shift = torch.stack([rank // (n1 * n2), rank // n2 % n1, rank % n2], 1)  # [Q, 3]
    shift = shift + low.index_select(0, pair)

    i = i.index_select(0, pair)
    j = j.index_select(0, pair)
    r = pos.index_select(0, j).sub_(pos.index_select(0, i))
    r += _combined(shift.double(), cell.index_select(0, owner.index_select(0, i)))
    d2 = torch.linalg.vecdot(r, r)  # [Q]
    _check_distances(d2, i, j, ptr, owner)
    near = (d2 < cutoff * cutoff).nonzero().flatten()
    return i.index_select(0, near), j.index_select(0, near), shift.index_select(0, near)


def _combined(x: Tensor, rows: Tensor) -> Tensor:
    """Σ_k x_k rows_k: [N, 3] and [N, 3, 3] -> [N, 3], faster than thousands of small matrix
    products."""
    return (x[:, 0:1] * rows[:, 0]).addcmul_(x[:, 1:2], rows[:, 1]).addcmul_(x[:, 2:3], rows[:, 2])


def _cell_list(
    pos: Tensor, start: int, end: int, k: int, box: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The half list of structure k, the atoms start:end: i ≤ j, sorted, self-images once."""
    from ase.geometry import complete_cell

    from scdlab.atoms.cell_list import pairs_of

    points = pos[start:end].double().cpu().numpy()
    length = np.linalg.norm(box, axis=1)
    if not pbc.all():  # vectors along open directions only need to be independent
        box = complete_cell(np.where(pbc[:, None], box, 0.0))
    if not (abs(np.linalg.det(box)) > 1e-6 * np.prod(length[pbc]) > 0):  # NaN as well
        raise ValueError(_flat(k))
    i, j, shift, d2 = pairs_of(points, box, pbc, cutoff)
    if len(d2) and d2.min() < _COINCIDENT**2:
        closest = d2.argmin()
        raise ValueError(_coincident(k, int(i[closest]), int(j[closest])))
    # numpy's arithmetic: it does not wake torch's threads for such small arrays
    shift = shift.astype(pos[:0].cpu().numpy().dtype)
    return (
        torch.from_numpy(i + start).to(pos.device),
        torch.from_numpy(j + start).to(pos.device),
        torch.from_numpy(shift).to(pos.device),
    )


def _merged(
    parts: Sequence[tuple[Tensor, Tensor, Tensor | None]],
) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of several groups of structures, each sorted, as one sorted list."""
    i = torch.cat([part[0] for part in parts])
    j = torch.cat([part[1] for part in parts])
    shift = torch.cat([p[2] if p[2] is not None else p[0].new_zeros(len(p[0]), 3) for p in parts])
    order = torch.argsort(i, stable=True)  # a structure is in one group, so j stays sorted
    return i[order], j[order], shift[order]


def _check_distances(d2: Tensor, i: Tensor, j: Tensor, ptr: Tensor, owner: Tensor) -> None:
    good = d2 >= _COINCIDENT**2  # False for NaN as well
    if not good.all():
        bad = int((~good).nonzero()[0])
        k = int(owner[i[bad]])
        if torch.isfinite(d2[bad]):
            raise ValueError(_coincident(k, int(i[bad] - ptr[k]), int(j[bad] - ptr[k])))
        raise ValueError(_not_finite(k))


def _coincident(k: int, a: int, b: int) -> str:
    return (
        f"Structure {k} of the batch has atoms {a} and {b} at the same position: remove one of "
        "them."
    )


def _not_finite(k: int) -> str:
    return (
        f"Structure {k} of the batch has a position that is NaN or infinite: correct or remove it."
    )


def _flat(k: int) -> str:
    return (
        f"Structure {k} of the batch has periodic cell vectors that lie in one plane or are not "
        "finite: correct its cell or pbc."
    )


def periodic_axes(batch: Batch, n: int) -> Tensor | None:
    """Along which cell vectors each structure repeats.

    Parameters
    ----------
    batch : Batch
        Structures, with `cell` and `pbc` where they have any; a cell without `pbc` repeats along
        all three.
    n : int
        Number of structures in the batch.

    Returns
    -------
    Tensor or None
        pbc, [n, 3] bool; None when no structure is periodic.

    Raises
    ------
    ValueError
        Where there is not one cell and one pbc for each structure.
    """
    if batch.get("cell") is None:
        return None
    pbc = batch.get("pbc")
    cell = batch.cell.reshape(-1, 3, 3)
    pbc = (cell != 0).any(2) if pbc is None else pbc.reshape(-1, 3).bool()
    if len(cell) != n or len(pbc) != n:
        raise ValueError(
            f"The batch has {n} structures but {len(cell)} cells and {len(pbc)} pbc: give each its "
            "own."
        )
    return pbc if bool(pbc.any()) else None

"""The share of a batch that one of several processes has, so that together they compute what one
process would.

Two things depend on the whole of a batch and not on a share alone. *Random numbers*: those of all
structures are drawn in each process alike, and each keeps those of its own. *Means*: a mean over a
share's atoms counts as much as it has atoms. A batch that is no share of another, that of a single
process, is left as it is by all functions here.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scdlab.atoms.batch import Batch

#: Attribute of a batch that holds its share. To PyG, what starts with an underscore is no field.
_SHARE = "_share"
Draw = Callable[[int, torch.Generator | None], Tensor]


@dataclass(eq=False)
class Share:
    """What a process knows of the batch that it has a share of.

    Parameters
    ----------
    atoms : Tensor, [N]
        The share's atoms, as rows of the whole batch.
    structures : Tensor, [B]
        Its structures, likewise.
    n_atoms, n_structures : int
        Atoms and structures of the whole batch.
    generator : torch.Generator
        Source of random numbers, in the same state in each process.
    of_model : torch.Generator
        The same in place of torch's own generator, for what a model draws.
    processes : int
        How many there are.
    total : function
        The sum of a tensor over the processes.
    make_whole : function
        Makes the whole batch.
    """

    atoms: Tensor
    structures: Tensor
    n_atoms: int
    n_structures: int
    generator: torch.Generator
    of_model: torch.Generator
    processes: int
    total: Callable[[Tensor], Tensor]
    make_whole: Callable[[], Batch]

    @functools.cached_property
    def whole(self) -> Batch:
        """The whole batch."""
        return self.make_whole()

    def of_atoms(self, chosen: Tensor, chosen_of_share: Tensor, cut: Callable) -> "Share":
        """The share of a batch from which some atoms were cut.

        Parameters
        ----------
        chosen : Tensor of bool
            Atoms of the whole batch that are kept.
        chosen_of_share : Tensor of bool, [N]
            Atoms of the share that are kept.
        cut : function
            Cuts a batch to atoms: of (batch, booleans).
        """
        place = chosen.long().cumsum(0) - 1
        return dataclasses.replace(
            self,
            atoms=place[self.atoms[chosen_of_share]],
            n_atoms=int(chosen.sum()),
            make_whole=lambda: cut(self.whole, chosen),
        )


def share_of(batch: Batch) -> Share | None:
    """The share that a batch is of another; None for a batch of its own.

    Parameters
    ----------
    batch : Batch
        The structures.
    """
    return getattr(batch, _SHARE, None)


def declare_share(batch: Batch, share: Share) -> None:
    """Note that a batch is a share of another, for `share_of`.

    Parameters
    ----------
    batch : Batch
        The batch; it is changed in place. Shallow copies of it are the same share.
    share : Share
        Which.
    """
    setattr(batch, _SHARE, share)


def drawn_for_atoms(batch: Batch, generator: torch.Generator | None, draw: Draw) -> Tensor:
    """Random numbers of a batch's atoms.

    Parameters
    ----------
    batch : Batch
        The structures.
    generator : torch.Generator, optional
        Source of the random numbers of a batch of its own.
    draw : function
        Draws for n atoms: of (n, generator), [n, …].

    Returns
    -------
    Tensor
        [N, …].
    """
    share = share_of(batch)
    if share is None:
        return draw(len(batch.z), generator)
    return draw(share.n_atoms, share.generator).index_select(0, share.atoms)


def drawn_for_structures(batch: Batch, generator: torch.Generator | None, draw: Draw) -> Tensor:
    """Random numbers of a batch's structures.

    Parameters
    ----------
    batch : Batch
        The structures.
    generator : torch.Generator, optional
        Source of the random numbers of a batch of its own.
    draw : function
        Draws for n structures: of (n, generator), [n, …].

    Returns
    -------
    Tensor
        [B, …].
    """
    share = share_of(batch)
    if share is None:
        return draw(batch.num_graphs, generator)
    return draw(share.n_structures, share.generator).index_select(0, share.structures)


def drawn_for_model(batch: Batch, draw: Draw) -> Tensor:
    """Random numbers that a model draws for a batch's structures, from torch's own generator.

    Parameters
    ----------
    batch : Batch
        The structures.
    draw : function
        Draws for n structures: of (n, generator), [n, …]; None is torch's own.

    Returns
    -------
    Tensor
        [B, …].
    """
    share = share_of(batch)
    if share is None:
        return draw(batch.num_graphs, None)
    return draw(share.n_structures, share.of_model).index_select(0, share.structures)


def normal_for_atoms(batch: Batch, generator: torch.Generator | None) -> Tensor:
    """Normal numbers [N, 3] in the precision of the positions, three for each atom of a batch.

    Parameters
    ----------
    batch : Batch
        The structures.
    generator : torch.Generator, optional
        Source of the random numbers of a batch of its own.
    """
    like: dict[str, Any] = dict(device=batch.pos.device, dtype=batch.pos.dtype)
    return drawn_for_atoms(
        batch, generator, lambda n, source: torch.randn(n, 3, generator=source, **like)
    )


def uniform_for_structures(batch: Batch, generator: torch.Generator | None) -> Tensor:
    """Numbers [B] from 0 to 1, one for each structure of a batch.

    Parameters
    ----------
    batch : Batch
        The structures.
    generator : torch.Generator, optional
        Source of the random numbers of a batch of its own.
    """
    device = batch.pos.device
    return drawn_for_structures(
        batch, generator, lambda n, source: torch.rand(n, device=device, generator=source)
    )


def balanced(mean: Tensor, batch: Batch, count: int | Tensor) -> Tensor:
    """A mean over a share, weighted so that its mean over the processes is that over the whole
    batch.

    Parameters
    ----------
    mean : Tensor
        Of a term of a loss.
    batch : Batch
        The structures.
    count : int or Tensor
        How many structures, atoms or pairs of the share it is a mean over.
    """
    share = share_of(batch)
    if share is None:
        return mean
    own = torch.as_tensor(count, dtype=torch.float64, device=mean.device)
    return mean * (share.processes * own / share.total(own).clamp(min=1)).to(mean.dtype)


def mean_of_whole(mean: Tensor, batch: Batch, count: int | Tensor) -> Tensor:
    """The mean over the whole batch of what has a mean over each share, without a gradient.

    Parameters
    ----------
    mean : Tensor
        Of a share.
    batch : Batch
        The structures.
    count : int or Tensor
        How many structures, atoms or pairs of the share it is a mean over.
    """
    share = share_of(batch)
    if share is None:
        return mean
    own = torch.as_tensor(count, dtype=torch.float64, device=mean.device)
    pair = torch.stack([mean.detach().double() * own, own])
    total, number = share.total(pair)
    return (total / number.clamp(min=1)).to(mean.dtype)

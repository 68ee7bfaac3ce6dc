"""Directed edges as sums over neighbors walk them, and what a backward pass through them is for."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Literal, TypeAlias

from torch import Tensor

from scdlab import devices
from scdlab.atoms.pairs import DirectedPairs, Pairs, both_directions
from scdlab.nn.ops.filter_tables import FilterRows

PAIRS_AT_A_TIME = 1024  # in plain torch on a processor; on a GPU, all of them

Purpose: TypeAlias = Literal["positions", "parameters"] | None


class DirectedEdges:
    """Pairs of n atoms in both directions: edge p is i ← j, edge P + p is j ← i.

    Parameters
    ----------
    pairs : Pairs
        The half list.
    n_atoms : int
        Number of atoms N.
    num_heads : int, default 1
        Attention heads that the features are divided into.

    Raises
    ------
    ValueError
        Where `pairs.i` and `pairs.j` are not two lists of the same length.
    """

    def __init__(self, pairs: Pairs, n_atoms: int, num_heads: int = 1) -> None:
        if pairs.i.shape != pairs.j.shape or pairs.i.dim() != 1:
            raise ValueError(
                f"Pairs are two lists of the same length, not of shapes {[*pairs.i.shape]} and "
                f"{[*pairs.j.shape]}."
            )
        # the kernels read them by address
        self.i = pairs.i.long().contiguous()
        self.j = pairs.j.long().contiguous()
        self.n_atoms = n_atoms
        self.n_pairs = len(self.i)
        self.num_heads = num_heads
        self.purpose: Purpose = None

    @contextlib.contextmanager
    def backward_for(self, purpose: Purpose, then: Purpose = None) -> Iterator[None]:
        """Within this context, backward passes serve one purpose; after it, those for `then`.

        A custom function cannot see what a backward pass is for: `needs_input_grad` is true of
        filter tables while forces are taken from the energy by `torch.autograd.grad(energy, pos)`,
        and true of distances while the loss is differentiated by the weights. Autograd passes
        nothing to a `backward` but gradients, so the purpose stands here, where every function of
        this pass finds it. An error in the context restores what was before.

        Parameters
        ----------
        purpose : {"positions", "parameters"} or None
            What gradients are taken by; None for everything.
        then : {"positions", "parameters"} or None, default None
            The same, of all later backward passes.
        """
        before = self.purpose
        self.purpose = purpose
        try:
            yield
        except BaseException:
            self.purpose = before
            raise
        self.purpose = then

    @functools.cached_property
    def chunks(self) -> list[tuple[slice, DirectedPairs]]:
        """For plain torch: a slice of the pairs, and its edges."""
        size = PAIRS_AT_A_TIME if self.i.device.type == "cpu" else max(self.n_pairs, 1)
        slices = (slice(start, start + size) for start in range(0, self.n_pairs, size))
        return [(at, both_directions(self.i[at], self.j[at])) for at in slices]

    @functools.cached_property
    def by_target(self) -> tuple[Tensor, Tensor, Tensor]:
        """For the kernels: start [N + 1], source [2P] and edge [2P], the edges into each atom.

        Raises
        ------
        IndexError
            For pairs of atoms that are not there; a kernel would read past its arrays. A GPU
            reports it later, see `gpu.lists.check_atoms`.
        """
        edges = both_directions(self.i, self.j)
        target = edges.target
        if not devices.reads_freely(target.device):
            from scdlab.nn.ops.gpu import lists

            lists.check_atoms(target, self.n_atoms)
            start, edge = lists.sort_pairs(target, self.n_atoms)
            return start, edges.source.index_select(0, edge), edge
        from scdlab.nn.ops.dispatch import sort_pairs

        if self.n_pairs and not 0 <= int(target.min()) <= int(target.max()) < self.n_atoms:
            raise IndexError(
                f"Pairs name atoms outside 0 … {self.n_atoms - 1}: give the model the pairs of "
                "this very batch."
            )
        start, edge = sort_pairs(target, self.n_atoms)
        return start, edges.source.index_select(0, edge), edge

    @functools.cached_property
    def own_rows(self) -> FilterRows:
        """The look-up of filters that have a row for each pair."""
        return FilterRows(self.n_pairs)

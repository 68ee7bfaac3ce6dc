"""Spherical harmonics of the neighbors' directions, and the products of features with them: which
there are, and by what numbers they take components to components (Wigner's 3j symbols, of e3nn)."""

import functools
import math

import torch
from torch import Tensor, nn

from scdlab.atoms.pairs import DirectedPairs, Pairs, both_directions
from scdlab.nn.ops.edges import DirectedEdges
from scdlab.nn.ops.tensor_product import Terms

# degrees of a product: of the features, of the harmonics, of the result
Path = tuple[int, int, int]


def product_paths(l_in: int, l_sh: int, l_out: int) -> list[Path]:
    """All products that mirror as harmonics do.

    Parameters
    ----------
    l_in, l_sh, l_out : int
        Highest degrees of the features, of the harmonics, and of the result.

    Returns
    -------
    list of tuple of int
        (l₁, l₂, l₃) with |l₁ - l₂| ≤ l₃ ≤ l₁ + l₂ and an even sum.
    """
    every = ((a, b, c) for c in range(l_out + 1) for a in range(l_in + 1) for b in range(l_sh + 1))
    return [(a, b, c) for a, b, c in every if abs(a - b) <= c <= a + b and (a + b + c) % 2 == 0]


@functools.lru_cache
def coefficients(l1: int, l2: int, l3: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """√(2l₃ + 1) C: components of size one have products of size one.

    Parameters
    ----------
    l1, l2, l3 : int
        Degrees of the features, of the harmonics, and of the result.
    dtype : torch.dtype
        Precision.
    device : torch.device
        Where to.

    Returns
    -------
    Tensor
        [2l₂ + 1, 2l₃ + 1, 2l₁ + 1].
    """
    from e3nn.o3 import wigner_3j

    with torch.inference_mode(False):  # it is kept, and may be needed for training later
        c = wigner_3j(l1, l2, l3, dtype=torch.float64, device=device) * math.sqrt(2 * l3 + 1)
        return c.permute(1, 2, 0).to(dtype).contiguous()


@functools.lru_cache
def terms_of(paths: tuple[Path, ...], l_sh: int) -> Terms:
    """The terms of a sum of products, for fused loops.

    Features and results hold the degrees that the paths name, one after the other.

    Parameters
    ----------
    paths : tuple of (int, int, int)
        The products.
    l_sh : int
        Highest degree of the harmonics.

    Returns
    -------
    Terms
        Their terms, for float32 on a processor.
    """
    first_in, rows_in = _first_rows(sorted({l1 for l1, _, _ in paths}))
    first_out, rows_out = _first_rows(sorted({l3 for _, _, l3 in paths}))
    cpu = torch.device("cpu")
    terms = []
    columns = []
    for k, (l1, l2, l3) in enumerate(paths):
        c = coefficients(l1, l2, l3, torch.float32, cpu)
        for into, source in c.ne(0).any(0).nonzero().tolist():
            terms.append((k, first_out[l3] + into, first_in[l1] + source, (-1.0) ** l2))
            column = torch.zeros((l_sh + 1) ** 2, device=cpu)
            column[l2**2 : (l2 + 1) ** 2] = c[:, into, source]
            columns.append(column)
    path, into, source, mirrored = torch.tensor(terms, dtype=torch.float64, device=cpu).unbind(1)
    return Terms(
        path.long(),
        into.long(),
        source.long(),
        torch.stack(columns, dim=1),
        mirrored.float(),
        len(paths),
        rows_in,
        rows_out,
    )


def _first_rows(degrees: list[int]) -> tuple[dict[int, int], int]:
    """Where the rows of each degree begin when they follow each other, and how many there are."""
    first = {}
    rows = 0
    for degree in degrees:
        first[degree] = rows
        rows += 2 * degree + 1
    return first, rows


class Harmonics:
    """What all layers read about the pairs.

    Parameters
    ----------
    basis : nn.Module
        Radial basis, distances [P] -> [P, n].
    r_ij : Tensor
        Vectors of the pairs, [P, 3] Å.
    pairs : Pairs
        The half list.
    n_atoms : int
        Number of atoms N.
    lmax : int
        Highest degree of the harmonics.

    Attributes
    ----------
    edges : DirectedEdges
        Both directions of the pairs.
    basis : Tensor
        Radial basis of the pairs, [P, n].
    y : Tensor
        Y^(0)(r̂), Y^(1)(r̂), … from i towards j, [P, (lmax + 1)²].
    """

    def __init__(
        self, basis: nn.Module, r_ij: Tensor, pairs: Pairs, n_atoms: int, lmax: int
    ) -> None:
        from e3nn.o3 import spherical_harmonics

        self.edges = DirectedEdges(pairs, n_atoms)
        self.lmax = lmax
        r = r_ij.norm(dim=-1)  # (P)
        self.basis = basis(r)
        degrees = list(range(lmax + 1))
        unit = r_ij / r.unsqueeze(-1)
        self.y = spherical_harmonics(degrees, unit, normalize=False, normalization="component")
        self._matrices: dict[Path, Tensor] = {}
        self._numbers: dict[Terms, Tensor] = {}

    @functools.cached_property
    def directed(self) -> DirectedPairs:
        """The same as two lists, for plain torch."""
        return both_directions(self.edges.i, self.edges.j)

    def numbers(self, terms: Terms) -> Tensor:
        """What the terms of a product are multiplied by, for every edge, [2P, Q]."""
        if terms not in self._numbers:
            self._numbers[terms] = terms.of_edges(self.y)
        return self._numbers[terms]

    def matrices(self, l1: int, l2: int, l3: int) -> Tensor:
        """What takes degree l₁ to degree l₃ in the product with Y^(l₂)(r̂).

        Parameters
        ----------
        l1, l2, l3 : int
            Degrees of the features, of the harmonics, and of the result.

        Returns
        -------
        Tensor
            A matrix for each edge, i ← j and j ← i of every pair, [2, P, 2l₃ + 1, 2l₁ + 1].
        """
        path = l1, l2, l3
        if path not in self._matrices:
            y = self.y[:, l2**2 : (l2 + 1) ** 2]
            c = coefficients(l1, l2, l3, y.dtype, y.device)
            matrix = (y @ c.flatten(1)).view(len(y), 2 * l3 + 1, 2 * l1 + 1)
            mirrored = -matrix if l2 % 2 else matrix  # Y(-r̂) = (-1)^l Y(r̂)
            self._matrices[path] = torch.stack([matrix, mirrored])
        return self._matrices[path]

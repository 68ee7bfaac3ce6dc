"""The weights of an equivariant transformer, as its force call reads them."""

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from scdlab.nn.blocks.radial import cosine_cutoff
from scdlab.nn.et import EquivariantTransformer

from .products import WIDTH, packed, storage
from .radial_tables import radial_table
from .read_out import ReadOut, read_out

_EIGHT = 8  # heads are padded to a multiple of it


class TransformerWeights(NamedTuple):
    """What is read of an equivariant transformer, in one precision.

    L layers of d features, padded; linear layers as packed matrices that rows of features are
    multiplied by, and those of the way back.
    """

    start: np.ndarray  # [119, d], what elements add to the first features
    around: np.ndarray  # [119, d], what they are to their neighbors
    around_table: np.ndarray  # [nodes, 3, d]
    w_combine: np.ndarray  # [d d], of what neighbors add
    w_combine_back: np.ndarray  # [d d]
    norm_weight: np.ndarray  # [L + 1, d]; the last is that of the read-out
    norm_bias: np.ndarray  # [L + 1, d]
    mask: np.ndarray  # [d], one for features and zero for padding
    w_all: np.ndarray  # [L, 5d d]: q, k, and the values of y, s¹ and s²
    w_all_back: np.ndarray  # [L, 5d d]
    b_all: np.ndarray  # [L, 5d]
    w_o: np.ndarray  # [L, 3d d]
    w_o_back: np.ndarray  # [L, 3d d]
    b_o: np.ndarray  # [L, 3d]
    w_u: np.ndarray  # [L, 3d d]; zeros in the first layer
    w_u_back: np.ndarray  # [L, 3d d]
    tables: np.ndarray  # [L, nodes, 3, 4d]: dk, dv of y, s¹ and s² times the cutoff
    zero: np.ndarray  # [L, 4d], the same for an atom and itself
    head: ReadOut
    num_heads: int


def _places(d: int, heads: int) -> tuple[np.ndarray, int]:
    """Where features stand once each head is padded to vectors of eight, [d]; and how many features
    there are then."""
    width = d // heads
    wide = -(-width // _EIGHT) * _EIGHT
    if heads * wide % WIDTH:
        wide = -(-width // WIDTH) * WIDTH
    head, feature = np.divmod(np.arange(d), width)
    return head * wide + feature, heads * wide


def transformer_weights(model: EquivariantTransformer, dtype: np.dtype) -> TransformerWeights:
    """The weights of a model.

    Parameters
    ----------
    model : EquivariantTransformer
        The model.
    dtype : numpy dtype
        float32 or float64.

    Returns
    -------
    TransformerWeights
        Its weights.
    """
    exact = copy.deepcopy(model).double().requires_grad_(False)
    blocks: list[Any] = list(exact.blocks)
    inner = exact.embedding.weight.shape[1]
    places, d = _places(inner, exact.num_heads)

    def widened(x: Tensor) -> np.ndarray:
        """Zeros beside the features, of which there are several parts in the last direction."""
        parts = x.shape[-1] // inner
        wide = np.zeros((*x.shape[:-1], parts * d))
        for part in range(parts):
            wide[..., part * d + places] = x[..., part * inner : (part + 1) * inner].numpy()
        return wide

    def matrix(*weights: Tensor) -> np.ndarray:
        """[d, …]: what rows of features are multiplied by."""
        both = np.zeros((d, sum(len(w) for w in weights) // inner * d))
        both[places] = widened(torch.cat(weights).T)
        return both

    def cutoff(r: Tensor) -> Tensor:
        return cosine_cutoff(r, exact.cutoff).unsqueeze(-1)

    def around(r: Tensor) -> Tensor:
        return spread(exact.neighbor_embedding.filter(exact.basis(r)) * cutoff(r))

    def spread(x: Tensor) -> Tensor:
        """`widened`, with derivatives."""
        parts = x.shape[-1] // inner
        where = np.concatenate([part * d + places for part in range(parts)])
        to = torch.zeros(x.shape[-1], parts * d, dtype=x.dtype)
        to[torch.arange(len(where)), torch.from_numpy(where)] = 1.0
        return x @ to

    def filters(block: Any, r: Tensor) -> Tensor:
        basis = exact.basis(r)
        layers = [(block.dk.weight, block.dk.bias), *block.dv.layers("y", "s1", "s2")]
        dk, *dv = (silu(linear(basis, weight, bias)) for weight, bias in layers)
        return spread(torch.cat([dk, *(x * cutoff(r) for x in dv)], dim=-1))

    combine = exact.neighbor_embedding.combine
    of_element, of_neighbors = combine.weight.split(inner, dim=1)
    matrices = {
        "w_all": [matrix(b.q.weight, b.k.weight, b.value.weight) for b in blocks],
        "w_o": [matrix(b.o.weight) for b in blocks],
        "w_u": [np.zeros((d, 3 * d)) if b.u is None else matrix(b.u.weight) for b in blocks],
    }
    w_combine = matrix(of_neighbors)
    everything = [*(m for some in matrices.values() for m in some), w_combine]
    kept = storage([*everything, exact.energy_head.mlp[0].weight.numpy()], dtype)
    packs = {
        name: np.stack([packed(m, dtype, kept) for m in some]) for name, some in matrices.items()
    }
    packs |= {
        f"{name}_back": np.stack([packed(m.T, dtype, kept) for m in some])
        for name, some in matrices.items()
    }
    norms = [*(block.norm for block in blocks), exact.out_norm]
    b_all = [torch.cat([b.q.bias, b.k.bias, b.value.bias]) for b in blocks]
    nowhere = torch.zeros(1, dtype=torch.float64)
    zero = [filters(block, nowhere)[0] for block in blocks]
    start = exact.embedding.weight @ of_element.T + combine.bias
    tables = [
        radial_table(lambda r, block=block: filters(block, r), exact.cutoff, dtype)
        for block in blocks
    ]
    return TransformerWeights(
        start=widened(start).astype(dtype),
        around=widened(exact.neighbor_embedding.embedding.weight).astype(dtype),
        around_table=radial_table(around, exact.cutoff, dtype),
        w_combine=packed(w_combine, dtype, kept),
        w_combine_back=packed(w_combine.T, dtype, kept),
        norm_weight=widened(torch.stack([norm.weight for norm in norms])).astype(dtype),
        norm_bias=widened(torch.stack([norm.bias for norm in norms])).astype(dtype),
        mask=widened(torch.ones(inner)).astype(dtype),
        b_all=widened(torch.stack(b_all)).astype(dtype),
        b_o=widened(torch.stack([block.o.bias for block in blocks])).astype(dtype),
        tables=np.stack(tables),
        zero=torch.stack(zero).numpy().astype(dtype),
        head=read_out(exact.energy_head, places, d, dtype, kept),
        num_heads=exact.num_heads,
        **packs,
    )

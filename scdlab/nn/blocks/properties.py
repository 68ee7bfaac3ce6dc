"""Read-outs of properties: numbers, vectors and tensors of structures.

    Property:      y = μ + s · pool_i MLP(x_i)
                   pool = sum (extensive properties) or mean (intensive ones)
                   with vector_lengths, MLP([x_i, |W v_i|])
    Vector:        y = s · Σ_i gated equivariant blocks of (x_i, v_i)
                   rotates with the structure, as a dipole moment does
    Tensor:        y = s · Σ_i a_i 1 + sym(u_i ⊗ w_i),   (a, u, w) likewise
                   rotates on both sides, as a polarizability does

A model that knows nothing of rotations (PET) has Cartesian heads: the numbers along the axes
are MLP(x_i), and nothing makes them rotate.
"""

from typing import Any

import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch
from scdlab.nn.blocks.heads import (
    Float64Buffers,
    NoiseHead,
    TensorHead,
    invariant_mlp,
    mlp,
    smooth_norm,
    sum_over_atoms,
)
from scdlab.renames import renamed_value

KINDS = ("scalar_sum", "scalar_mean", "vector", "tensor", "per_atom")
NUMBERS = ("scalar_sum", "scalar_mean")  # the kinds that are one number a structure


class PropertyHead(Float64Buffers):
    """A property in the unit of the labels.

    Parameters
    ----------
    d : int
        Number of features.
    kind : {"scalar_sum", "scalar_mean", "vector", "tensor", "per_atom"}
        A number a structure, a sum or a mean over its atoms, [B]; a vector [B, 3] or a symmetric
        tensor [B, 3, 3] that rotates with the structure; or three numbers an atom, [N, 3], that do
        not rotate.
    equivariant : bool, default True
        Whether the backbone has vector features. If not, vectors and tensors are numbers along the
        axes of space, and so are those of atoms.
    linear : bool, default False
        Whether there is one layer instead of two.
    vector_lengths : bool, default False
        Whether numbers are read off the lengths of vectors too, see `LengthHead`.

    Attributes
    ----------
    mean, std : Tensor
        Mean and spread of the labels, float64.

    Raises
    ------
    ValueError
        For a kind that there is not, and for lengths where the kind or the backbone has none.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        d: int,
        kind: str,
        equivariant: bool = True,
        linear: bool = False,
        vector_lengths: bool = False,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(
                f"The kind of a property must be one of {', '.join(map(repr, KINDS))}, got "
                f"{kind!r}{renamed_value('kind', kind, KINDS)}."
            )
        if vector_lengths and not (equivariant and kind in NUMBERS):
            raise ValueError(
                "vector_lengths is for properties of kind 'scalar_sum' or 'scalar_mean' and models "
                f"with vector features, got kind={kind!r}{'' if equivariant else ' without them'}; "
                "leave it out."
            )
        self.kind = kind
        self.vector_lengths = vector_lengths
        self.reads_vectors = vector_lengths or (equivariant and kind in ("vector", "tensor"))
        # drawn even where the backbone has no vectors to read, so that a seed keeps its weights
        rotating = {"vector": NoiseHead, "tensor": TensorHead}
        equivariant_layers = rotating[kind](d) if kind in rotating else None
        self.mlp: nn.Module
        if equivariant_layers is not None and self.reads_vectors:
            self.mlp = equivariant_layers
        elif vector_lengths:
            self.mlp = LengthHead(d)
        else:
            numbers = {"vector": 3, "per_atom": 3, "tensor": 9}.get(kind, 1)
            self.mlp = invariant_mlp(d, numbers, linear)
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("std", torch.ones((), dtype=torch.float64))

    @property
    def settings(self) -> "str | dict[str, Any]":
        """What rebuilds the head, as json has it: its kind, or arguments of `add_property`."""
        if not self.vector_lengths:
            return self.kind
        return {"kind": self.kind, "vector_lengths": True}

    def per_atom(self, x: Tensor, v: Tensor | None = None) -> Tensor:
        """What each atom gives, before mean and spread.

        Parameters
        ----------
        x : Tensor
            Features, [N, d].
        v : Tensor or None, default None
            Vectors, [N, 3, d], of an equivariant backbone.

        Returns
        -------
        Tensor
            [N], [N, 3] or [N, 3, 3].
        """
        y = self.mlp(x, v) if self.reads_vectors else self.mlp(x)  # (N, d) (, (N, 3, d)) -> (N, …)
        if self.kind == "tensor" and not self.reads_vectors:
            y = y.view(-1, 3, 3)
            y = 0.5 * (y + y.mT)
        return y.squeeze(-1) if self.kind in NUMBERS else y

    def total(self, per_atom: Tensor, batch: Batch) -> Tensor:
        """The property, from what each atom gives.

        Parameters
        ----------
        per_atom : Tensor
            [N], [N, 3] or [N, 3, 3].
        batch : Batch
            The structures.

        Returns
        -------
        Tensor
            [B], [B, 3] or [B, 3, 3], float64; of kind "per_atom", [N, 3] in the precision of the
            network.
        """
        if self.kind == "per_atom":
            return per_atom * self.std.to(per_atom.dtype)  # (N, 3)
        y = sum_over_atoms(per_atom.double(), batch)  # (N, …) -> (B, …)
        if self.kind in (
            "vector",
            "tensor",
        ):  # no mean: a direction fixed in space would not rotate
            return self.std * y
        if self.kind == "scalar_mean":
            y = y / batch.ptr.diff()  # atoms of each structure
        return self.mean + self.std * y

    def forward(self, x: Tensor, batch: Batch, v: Tensor | None = None) -> Tensor:
        """The property, from features x [N, d] and vectors v [N, 3, d]."""
        return self.total(self.per_atom(x, v), batch)


def property_arguments(settings: "str | dict[str, Any]") -> dict[str, Any]:
    """Arguments of `add_property` from the `settings` of a head; of models that were saved before
    there were vector lengths, these are the kind.

    Parameters
    ----------
    settings : str or dict
        As `PropertyHead.settings` gives them.
    """
    if isinstance(settings, str):
        return {"kind": settings, "vector_lengths": False}
    return settings


class LengthHead(nn.Module):
    """A number read off scalars and the lengths of vectors: MLP([x, |W v|]), [N, d] -> [N, 1].

    Denoising trains the vectors of the last layer most, and features alone do not hold them.

    Parameters
    ----------
    d : int
        Number of scalars and vectors.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.length = nn.Linear(d, d, bias=False)
        self.mlp = mlp(2 * d, max(d // 2, 1), 1)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        """Numbers [N, 1] from scalars x [N, d] and vectors v [N, 3, d]."""
        return self.mlp(torch.cat([x, smooth_norm(self.length(v))], dim=-1))

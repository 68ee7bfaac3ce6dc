"""Energies of SchNet and their gradient by the pair vectors, without autograd.

The same equations as `scdlab.nn.schnet`, then their derivatives backwards, layer by layer. A bar
over a symbol, here the prefix g, is the derivative of the energy by it:

    forward     z = x W_in,  y_i = Σ_j w(r_ij) ∘ z_j,  a = y W₁ + b₁,  x ← x + ssp(a) W₂ + b₂
    backward    ga = (gx W₂ᵀ) ∘ ssp'(a),  gy = ga W₁ᵀ,  gz_j = Σ_i w(r_ij) ∘ gy_i,
                gr_ij = w'(r_ij) · (gy_i ∘ z_j + gy_j ∘ z_i),  gx ← gx + gz W_inᵀ
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from scdlab.nn.blocks.radial import cosine_cutoff
from scdlab.nn.schnet import SchNet

from .geometry import Geometry
from .messages import messages, messages_back
from .radial_tables import radial_table
from .read_out import ReadOut, energies_and_gradient, shifted_softplus, times_sigmoid


class SchNetWeights(NamedTuple):
    """What the compiled function reads of a SchNet, in one precision.

    L layers of d features; linear layers as matrices that rows of features are multiplied by.
    """

    start: np.ndarray  # [119, d], features of the elements
    filters: np.ndarray  # [L, nodes, 3, d]
    w_in: np.ndarray  # [L, d, d]
    w1: np.ndarray  # [L, d, d]
    b1: np.ndarray  # [L, d]
    w2: np.ndarray  # [L, d, d]
    b2: np.ndarray  # [L, d]
    cutoff: float


def schnet_weights(model: SchNet, dtype: np.dtype) -> SchNetWeights:
    """The weights of a model.

    Parameters
    ----------
    model : SchNet
        The model.
    dtype : numpy dtype
        float32 or float64.

    Returns
    -------
    SchNetWeights
        Its weights.
    """
    exact = copy.deepcopy(model).double().requires_grad_(False)

    def curves(network: nn.Module) -> Callable[[Tensor], Tensor]:
        def of_distance(r: Tensor) -> Tensor:
            return network(exact.basis(r)) * cosine_cutoff(r, exact.cutoff).unsqueeze(-1)

        return of_distance

    blocks: list[Any] = list(exact.blocks)
    tables = [radial_table(curves(block.filter), exact.cutoff, dtype) for block in blocks]

    def stacked(tensors: list[Tensor]) -> np.ndarray:
        return np.ascontiguousarray(torch.stack(tensors).numpy(), dtype=dtype)

    return SchNetWeights(
        start=np.ascontiguousarray(exact.embedding.weight.numpy(), dtype=dtype),
        filters=np.stack(tables),
        w_in=stacked([block.lin_in.weight.T for block in blocks]),
        w1=stacked([block.lin_out1.weight.T for block in blocks]),
        b1=stacked([block.lin_out1.bias for block in blocks]),
        w2=stacked([block.lin_out2.weight.T for block in blocks]),
        b2=stacked([block.lin_out2.bias for block in blocks]),
        cutoff=exact.cutoff,
    )


def schnet(
    weights: SchNetWeights, head: ReadOut, z: np.ndarray, pairs: Geometry
) -> tuple[np.ndarray, np.ndarray]:
    """Energies of the atoms and their gradient by the pair vectors.

    Parameters
    ----------
    weights : SchNetWeights
        Of the network.
    head : ReadOut
        Of the energies.
    z : ndarray
        Atomic numbers, [N] int64.
    pairs : Geometry
        The pairs within the cutoff, P of them.

    Returns
    -------
    energies, gradient : ndarray
        [N], and ∂E/∂r_ij [P, 3], in units of the head's scale.
    """
    layers = range(len(weights.b1))
    at = pairs.i, pairs.j, pairs.node
    x = weights.start[z]  # (N, d)
    sent = []
    inner = []
    for k in layers:
        sent.append(x @ weights.w_in[k])  # (N, d)
        y = np.zeros_like(x)
        messages(*at, pairs.weights, weights.filters[k], sent[k], y)
        inner.append(y @ weights.w1[k] + weights.b1[k])
        shifted_softplus(inner[k], y)
        x += y @ weights.w2[k]
        x += weights.b2[k]

    energies, gx = energies_and_gradient(head, x)  # (N), (N, d)
    gr = np.zeros_like(pairs.r)  # ∂E/∂r of the pairs
    for k in reversed(layers):
        ga = gx @ weights.w2[k].T
        times_sigmoid(ga, inner[k])
        gy = ga @ weights.w1[k].T  # (N, d)
        gz = np.zeros_like(x)
        messages_back(*at, pairs.weights, pairs.slopes, weights.filters[k], sent[k], gy, gz, gr)
        gx += gz @ weights.w_in[k].T
    return energies, gr[:, None] * pairs.unit

"""SchNet: continuous-filter convolutions (Schütt et al., NeurIPS 2017, arXiv:1706.08566; J. Chem.
Phys. 148, 241722, 2018).

Pixels sit on a grid, atoms do not. A convolution over atoms needs its filter at whatever distance
the neighbors happen to be, so a small network generates it:

    cfconv:       x_i ← Σ_j x_j ∘ W(r_ij)
                  W(r) = MLP(e(r)) · c(r)             e: radial basis, c: cutoff
    interaction:  v_i = linear(ssp(linear(cfconv(linear(x)))_i))
                  x_i ← x_i + v_i
    energy:       E = Σ_i MLP(x_i)

ssp is the shifted softplus. The first code activates the filter after both of its layers and has no
cutoff function; later ones (SchNetPack, PyG) drop the second activation and multiply by a cosine
cutoff. The default here is the later form; `filter_activation="twice"` gives the first activation,
still with the cutoff, without which forces jump.

Filter networks and interactions start from uniform Xavier weights and biases of zero, as in PyG and
SchNetPack. Heads keep torch's smaller weights: from Xavier's, which both give their heads too,
errors after 300 to 500 steps were larger by 14 to 56 % (ethanol, QM9; two seeds each).

With conditional=True a condition modulates what enters an interaction and gates what it gives
(`blocks.adaln`). SchNet has no layer norm: adaLN reads normalized features, but it is x itself that
is scaled and shifted.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.heads import MAX_Z, DirectForceHead
from scdlab.nn.blocks.linear import xavier_linear
from scdlab.nn.blocks.radial import GaussianBasis, RawDistance, cosine_cutoff, shifted_softplus
from scdlab.nn.model import AtomisticModel, Features
from scdlab.nn.ops.filter_tables import Filters
from scdlab.nn.ops.neighbor_sums import DirectedEdges, cfconv


class FilterNetwork(nn.Module):
    """The MLP of W(r), not yet times the cutoff: radial basis [P, n] -> filters [P, d].

    Parameters
    ----------
    num_rbf : int
        Number n of radial functions.
    hidden_channels : int
        Width d.
    twice : bool
        Whether the second layer is activated too.
    """

    def __init__(self, num_rbf: int, hidden_channels: int, twice: bool) -> None:
        super().__init__()
        self.lin1 = xavier_linear(num_rbf, hidden_channels)
        self.lin2 = xavier_linear(hidden_channels, hidden_channels)
        self.twice = twice

    def forward(self, basis: Tensor) -> Tensor:
        """Filters [P, d] from the radial basis [P, n]."""
        w = self.lin2(shifted_softplus(self.lin1(basis)))  # (P, n) -> (P, d)
        return shifted_softplus(w) if self.twice else w


class Interaction(nn.Module):
    """One interaction block, the message of the neighbors: [N, d] -> [N, d].

    Parameters
    ----------
    num_rbf : int
        Number of radial functions.
    hidden_channels : int
        Width d.
    twice : bool
        Whether the second layer of the filter network is activated too.
    """

    def __init__(self, num_rbf: int, hidden_channels: int, twice: bool) -> None:
        super().__init__()
        self.filter = FilterNetwork(num_rbf, hidden_channels, twice)
        self.lin_in = xavier_linear(hidden_channels, hidden_channels, bias=False)
        self.lin_out1 = xavier_linear(hidden_channels, hidden_channels)
        self.lin_out2 = xavier_linear(hidden_channels, hidden_channels)

    def forward(self, x: Tensor, filters: Filters, edges: DirectedEdges) -> Tensor:
        """The change of the features x, [N, d]."""
        w = filters(self.filter)  # (P, d)
        y = cfconv(self.lin_in(x), w, edges)  # (N, d)
        return self.lin_out2(shifted_softplus(self.lin_out1(y)))  # (N, d)


class SchNet(AtomisticModel):
    """SchNet with energies, and forces as their gradient.

    Parameters
    ----------
    hidden_channels : int, default 128
        Width d of the features.
    num_layers : int, default 6
        Interaction blocks; they share no weights.
    num_rbf : int, default 50
        Radial functions.
    cutoff : float, default 5.0
        Distance in Å within which atoms are neighbors.
    basis : {"gaussian", "none"}, default "gaussian"
        Radial basis; "none" is the distance itself.
    filter_activation : {"once", "twice"}, default "once"
        How often filters are activated (see above).
    direct_forces : bool, default False
        Whether forces come from a head of their own and not from the gradient of the energy: a
        comparison, not advice.
    conditional : bool, default False
        Whether the model takes a condition, and has an embedding head to make one.

    Raises
    ------
    ValueError
        For a basis or an activation that there is not, and for numbers below 1.

    References
    ----------
    Schütt et al., "SchNet: A continuous-filter convolutional neural network for modeling quantum
    interactions", NeurIPS 2017, arXiv:1706.08566.
    """

    takes_all_pairs = True

    def __init__(
        self,
        hidden_channels: int = 128,
        num_layers: int = 6,
        num_rbf: int = 50,
        cutoff: float = 5.0,
        basis: str = "gaussian",
        filter_activation: str = "once",
        direct_forces: bool = False,
        conditional: bool = False,
    ) -> None:
        super().__init__(hidden_channels, cutoff)
        if basis not in ("gaussian", "none"):
            raise ValueError(
                f"basis must be 'gaussian' or 'none' (the distance itself), got {basis!r}."
            )
        if filter_activation not in ("once", "twice"):
            raise ValueError(
                f"filter_activation must be 'once' or 'twice', got {filter_activation!r}."
            )
        if num_layers < 1 or hidden_channels < 1:
            raise ValueError(
                "num_layers and hidden_channels must be at least 1, got "
                f"num_layers={num_layers} and hidden_channels={hidden_channels}."
            )
        self.basis = GaussianBasis(num_rbf, 0.0, cutoff) if basis == "gaussian" else RawDistance()
        # a head for forces reads both atoms of a pair: one neighbor further
        self.n_hops = num_layers + 1 if direct_forces else num_layers
        self.embedding = nn.Embedding(MAX_Z + 1, hidden_channels)
        self.blocks = nn.ModuleList(
            Interaction(self.basis.n, hidden_channels, filter_activation == "twice")
            for _ in range(num_layers)
        )
        self.force_head = DirectForceHead(hidden_channels, self.basis.n) if direct_forces else None
        if conditional:
            self.make_conditional(num_layers)

    def represent(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None = None,
        vectors: bool = False,
        force_input: list[Tensor] | None = None,
    ) -> Features:
        """Features of the atoms, [N, d]."""
        r_ij = pairs.vectors(batch.pos, batch)  # (P, 3), r_j - r_i
        r = r_ij.norm(dim=-1)  # (P)
        filters = self.filters(r)
        edges = DirectedEdges(pairs, len(batch.z))
        x = self.embedding(batch.z)  # (N, d)
        for k, block in enumerate(self.blocks):
            modulate = self.modulation(k, condition, batch)
            if modulate is None:
                x = x + block(x, filters, edges)
            else:
                scale, shift, gate = modulate(layer_norm(x, x.shape[-1:]))  # (N, d) each
                x = x + gate * block(torch.addcmul(shift, scale, x), filters, edges)
        if self.force_head is None:
            return Features(x, edges=edges)
        unit = r_ij / r.unsqueeze(-1)  # (P, 3)
        forces = self.force_head(x, self.basis(r), filters.envelope, unit, edges)  # (N, 3)
        return Features(x, forces=forces, edges=edges)

    @torch.no_grad()
    def filter_curves(self, distances: Tensor) -> Tensor:
        """The learned filters W(r): functions of one number, so curves.

        Parameters
        ----------
        distances : Tensor
            Distances r, [R] Å.

        Returns
        -------
        Tensor
            Filters of each block, [num_layers, R, d].
        """
        distances = torch.as_tensor(distances).to(self.embedding.weight)
        basis = self.basis(distances)  # (R, n)
        envelope = cosine_cutoff(distances, self.cutoff).unsqueeze(-1)  # (R, 1)
        networks: list[Any] = [block.filter for block in self.blocks]
        return torch.stack([network(basis) * envelope for network in networks])

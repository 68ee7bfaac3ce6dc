"""SchNet: continuous-filter convolutions (Schütt et al., NeurIPS 2017, arXiv:1706.08566; J. Chem.
Phys. 148, 241722, 2018).

Pixels sit on a grid, atoms do not. A convolution over atoms needs its filter at whatever distance
the neighbors happen to be, so a small network generates it:

    cfconv:       x_i ← Σ_j x_j ∘ W(r_ij),      W(r) = MLP(e(r)) · c(r),
                                                e: radial basis, c: cutoff
    interaction:  v_i = linear(ssp(linear(cfconv(linear(x)))_i)),           x_i ← x_i + v_i
    energy:       E = Σ_i MLP(x_i)

ssp is the shifted softplus. The first code activates the filter after both of its layers and has no
cutoff function; later ones (SchNetPack, PyG) drop the second activation and multiply by a cosine
cutoff. The default here is the later form; `filter_activation="twice"` gives the first activation,
still with the cutoff, without which forces jump.

With conditional=True a condition modulates what enters an interaction and gates what it gives
(adaln.py). SchNet has no layer norm, and gets none: it is x itself that is scaled and shifted.
"""

import torch
from torch import Tensor, nn

from scdlab.nn.blocks.heads import MAX_Z, DirectForceHead
from scdlab.nn.blocks.radial import GaussianBasis, RawDistance, cosine_cutoff, shifted_softplus
from scdlab.nn.model import AtomisticModel, Features
from scdlab.nn.ops.neighbor_sums import DirectedEdges, cfconv


class FilterNetwork(nn.Module):
    """The MLP of W(r): radial basis [P, n] -> filters [P, d], not yet times the cutoff."""

    def __init__(self, num_rbf: int, d: int, twice: bool):
        super().__init__()
        self.lin1 = nn.Linear(num_rbf, d)
        self.lin2 = nn.Linear(d, d)
        self.twice = twice

    def forward(self, basis: Tensor) -> Tensor:
        w = self.lin2(shifted_softplus(self.lin1(basis)))  # (P, n) -> (P, d)
        return shifted_softplus(w) if self.twice else w


class Interaction(nn.Module):
    """One interaction block: what an atom learns from its neighbors, [N, d] -> [N, d]."""

    def __init__(self, num_rbf: int, d: int, twice: bool):
        super().__init__()
        self.filter = FilterNetwork(num_rbf, d, twice)
        self.lin_in = nn.Linear(d, d, bias=False)
        self.lin_out1 = nn.Linear(d, d)
        self.lin_out2 = nn.Linear(d, d)

    def forward(self, x: Tensor, filters, edges) -> Tensor:
        w = filters.once(
            self, lambda: filters.rows(self.filter(filters.basis))
        )  # (P, d), or as a table has rows
        y = cfconv(w, self.lin_in(x), edges, filters.cut)  # cfconv: (N, d) -> (N, d)
        return self.lin_out2(shifted_softplus(self.lin_out1(y)))


class SchNet(AtomisticModel):
    """SchNet with energies, and forces as their gradient.

    hidden: width d of the features; layers: interaction blocks, weights not shared; n_basis: radial
    functions; cutoff in Å; basis: "gaussian" or "none" (the raw distance); filter_activation:
    "once" or "twice" (see above); direct_forces: predict forces by a head of their own, not as the
    gradient of the energy (a comparison, not advice); conditional: whether it takes a condition,
    and has an embedding head to make one.
    """

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
    ):
        config = dict(
            hidden_channels=hidden_channels,
            num_layers=num_layers,
            num_rbf=num_rbf,
            cutoff=cutoff,
            basis=basis,
            filter_activation=filter_activation,
            direct_forces=direct_forces,
            conditional=conditional,
        )
        super().__init__(hidden_channels, cutoff, config)
        if basis not in ("gaussian", "none"):
            raise ValueError(
                f"SchNet's basis is 'gaussian' or 'none' (the raw distance), not {basis!r}."
            )
        if filter_activation not in ("once", "twice"):
            raise ValueError(
                f"SchNet's filter_activation is 'once' or 'twice', not {filter_activation!r}."
            )
        if num_layers < 1 or hidden_channels < 1:
            raise ValueError(
                f"SchNet needs at least one layer and one feature, not num_layers={num_layers}, "
                f"hidden_channels={hidden_channels}."
            )
        self.basis = GaussianBasis(num_rbf, 0.0, cutoff) if basis == "gaussian" else RawDistance()
        self.n_hops = num_layers + direct_forces
        self.embedding = nn.Embedding(MAX_Z + 1, hidden_channels)
        self.blocks = nn.ModuleList(
            Interaction(self.basis.n, hidden_channels, filter_activation == "twice")
            for _ in range(num_layers)
        )
        self.force_head = DirectForceHead(hidden_channels, self.basis.n) if direct_forces else None
        if conditional:
            self._take_condition(num_layers)

    def represent(self, batch, pairs, condition=None, vectors=False) -> Features:
        r_ij = pairs.vectors(batch.pos, batch)  # (P, 3), r_j - r_i
        r = r_ij.norm(dim=-1)  # (P)
        filters = self.filters(r)
        edges = DirectedEdges(pairs.i, pairs.j, len(batch.z))
        x = self.embedding(batch.z)  # (N, d)
        for k, block in enumerate(self.blocks):
            if condition is None:
                x = x + block(x, filters, edges)
            else:
                scale, shift, gate = self.adaln[k](condition, batch)  # (N, d) each
                x = x + gate * block(torch.addcmul(shift, scale, x), filters, edges)
        if self.force_head is None:
            return Features(x, edges=edges)
        direct = self.force_head(x, self.basis(r), filters.envelope, r_ij / r.unsqueeze(-1), pairs)
        return Features(x, forces=direct, edges=edges)

    @torch.no_grad()
    def filter_curves(self, distances: Tensor) -> Tensor:
        """The learned filters W(r) at distances [R] in Å -> [layers, R, d]: functions of one
        scalar, so curves."""
        distances = torch.as_tensor(distances).to(self.embedding.weight)
        basis = self.basis(distances)
        envelope = cosine_cutoff(distances, self.cutoff)
        return torch.stack([block.filter(basis) * envelope.unsqueeze(-1) for block in self.blocks])

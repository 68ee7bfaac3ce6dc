"""The released CT (the conditional transformer of self-conditioned denoising, arXiv:2603.17196),
number for number.

Published checkpoints hold weights for one exact sequence of operations, and this file is that
sequence, in plain torch. With c the condition, for edges j → i within the cutoff and i → i (r = 0,
r̂ = 0), a layer is

    h = LN(x)
    (shift, scale, gate) = fc([c, h])
    h ← tanh(a h) (1 + scale)/a + shift
    v ← tanh(a' v) g' + b'
    α_ij = SiLU(Σ_head q_i k_j ∘ dk_ij)
    (y, s¹, s²)_ij = val_j ∘ dv_ij c(r_ij)
    y_i = Σ_j α_ij y_ij
    x_i ← LN(x_i + tanh(a" gate) ∘ ((U₁v · U₂v) ∘ o² + o³))
    v_i ← v_i + o¹ ∘ U₃v_i + Σ_j v_j ∘ s¹_ij + s²_ij r̂_ij

It breaks three laws, which `EquivariantTransformer(conditional=True)`, our CT, keeps;
`scdlab.symmetry_report` measures by how much:

1. tanh and b', component by component (`vec_prenorm`), do not rotate with the vectors: nothing is
   equivariant any more.
2. fc reads a *detached* copy of h, so what autograd calls a gradient is not the energy's.
   `detach=False`, an option of ours, gives the same energies and their true forces.
3. Whitening of vectors (`layernorm_on_vec`, `vec_post_norm`) adds ε diag(1, 2, 3) to their
   covariance: the axes of space show while vectors are short.

In periodic structures it keeps the `max_num_neighbors` nearest of each atom, so that energies jump,
and vectors from an atom to its own images stay as long as they are.
"""

import inspect
import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.adaln import drop_path as drawn_paths
from scdlab.nn.blocks.heads import EmbeddingHead, EnergyHead, NoiseHead, sum_over_atoms
from scdlab.nn.blocks.radial import cosine_cutoff
from scdlab.nn.model import AtomisticModel
from scdlab.nn.prediction import Features
from scdlab.renames import unknown_argument

#: Settings of the release that a CT cannot have otherwise.
FIXED = dict(
    model="CET",
    rbf_type="expnorm",
    activation="silu",
    distance_influence="both",
    cutoff_lower=0.0,
    emb_agg="sum",
    head_agg="sum",
    add_head_to_pred=False,
    conditional=True,
)


def _clamp(x: Tensor) -> Tensor:
    return x.clamp(-1e3, 1e3)


class Whitening(nn.Module):
    """(C + ε diag(1, 2, 3))^-½ (v - v̄): v̄ and C are the mean and the covariance of an atom's
    vectors [3, d]."""

    def __init__(self, d: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, v: Tensor) -> Tensor:
        """Vectors [N, 3, d] -> whitened ones, likewise."""
        u = v.double() - v.double().mean(-1, keepdim=True)  # (N, 3, d)
        axes = torch.diag(torch.tensor([1.0, 2.0, 3.0])).to(u)
        covariance = u @ u.mT / u.shape[-1]
        values, q = torch.linalg.eigh(covariance + self.eps * axes)  # (N, 3), (N, 3, 3)
        inverse_root = q / (values + self.eps).sqrt().unsqueeze(-2) @ q.mT
        return (inverse_root @ u).to(v.dtype) * self.weight


class GatedAdaLN(nn.Module):
    """Adaptive layer norm: x [N, d], condition [N, d] -> modulated x, and the gate of the layer's
    change of x."""

    def __init__(self, d: int, detach: bool):
        super().__init__()
        self.x_norm = nn.LayerNorm(d)
        self.detach = detach
        self.alpha_x = nn.Parameter(torch.tensor(0.2))
        self.fc = nn.Sequential(
            nn.Linear(2 * d, d), nn.SiLU(), nn.LayerNorm(d), nn.Linear(d, 3 * d)
        )
        self.x_modulate = nn.ParameterDict({"alpha": torch.tensor(0.2)})

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Features and conditions [N, d] -> modulated features and gates, likewise."""
        h = self.x_norm(x)
        read = h.detach() if self.detach else h
        shift, scale, gate = self.fc(torch.cat([c, read], -1)).chunk(3, -1)
        a = self.x_modulate["alpha"].abs().clamp(min=1e-5)
        return torch.tanh(a * h) * (1 + scale) / a + shift, torch.tanh(gate * self.alpha_x)


class Layer(nn.Module):
    """Attention over neighbors: x [N, d], v [N, 3, d], condition c [N, d] -> changes of x and v."""

    def __init__(
        self,
        d: int,
        num_heads: int,
        num_rbf: int,
        vec_prenorm: bool,
        vector_cutoff: bool,
        detach: bool,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.vec_prenorm = vec_prenorm
        self.vector_cutoff = vector_cutoff
        self.conditional_ln = GatedAdaLN(d, detach)
        self.vec_norm = nn.ParameterDict(
            {
                "norm_alpha": torch.tensor(0.2),
                "norm_gamma": torch.full((d,), 5.0),
                "norm_beta": torch.zeros(d),
            }
        )
        self.q_proj = nn.Linear(d, d)
        self.k_proj = nn.Linear(d, d)
        self.v_proj = nn.Linear(d, 3 * d)
        self.o_proj = nn.Linear(d, 3 * d)
        self.vec_proj = nn.Linear(d, 3 * d, bias=False)
        self.dk_proj = nn.Linear(num_rbf, d)
        self.dv_proj = nn.Linear(num_rbf, 3 * d)

    def per_head(self, x: Tensor) -> Tensor:
        """[…, k d] -> […, heads, k d/heads]."""
        return x.view(*x.shape[:-1], self.num_heads, -1)

    def forward(self, x: Tensor, v: Tensor, c: Tensor, edges: "Edges") -> tuple[Tensor, Tensor]:
        """Changes of x [N, d] and v [N, 3, d]."""
        h, gate = self.conditional_ln(x, c)
        if self.vec_prenorm:
            p = self.vec_norm
            v = torch.tanh(p["norm_alpha"] * v) * p["norm_gamma"] + p["norm_beta"]
        q = self.per_head(self.q_proj(h))  # (N, heads, d/heads)
        k = self.per_head(self.k_proj(h))  # (N, heads, d/heads)
        value = self.per_head(self.v_proj(h))  # (N, heads, 3 d/heads)
        dk = self.per_head(silu(self.dk_proj(edges.basis)))  # (E, heads, d/heads)
        dv = self.per_head(silu(self.dv_proj(edges.basis)))  # (E, heads, 3 d/heads)
        a = silu((q[edges.target] * k[edges.source] * dk).sum(-1, keepdim=True))  # (E, heads, 1)
        message = value[edges.source] * dv
        cut = edges.cut[:, None, None]
        if self.vector_cutoff:
            message = message * cut
        else:
            a = a * cut
        y, s1, s2 = message.chunk(3, -1)  # (E, heads, d/heads) each
        along = edges.unit[:, :, None, None] * s2.unsqueeze(1)
        w = self.per_head(v)[edges.source] * s1.unsqueeze(1) + along  # (E, 3, heads, d/heads)
        y = edges.gather((a * y).flatten(1))  # (N, d)
        w = edges.gather(w.flatten(2))  # (N, 3, d)
        u1, u2, u3 = self.vec_proj(v).chunk(3, -1)  # (N, 3, d) each
        o1, o2, o3 = self.o_proj(y).chunk(3, -1)  # (N, d) each
        return gate * ((u1 * u2).sum(1) * o2 + o3), u3 * o1.unsqueeze(1) + w


class Edges:
    """Both directions of all pairs, then each atom to itself.

    Attributes
    ----------
    target, source : Tensor [E]
        The atoms that receive and send.
    r, cut : Tensor [E]
        Distances in Å, and their cutoff function.
    unit : Tensor [E, 3]
        Unit vectors; zero from an atom to itself.
    others : Tensor [E], bool
        Whether two different atoms meet.
    basis : Tensor [E, n]
        The radial basis, set by the model.
    """

    basis: Tensor

    def __init__(self, batch: Batch, pairs: Pairs, cutoff: float, max_neighbors: int):
        self.n = len(batch.z)
        atoms = torch.arange(self.n, device=batch.z.device)
        directed = pairs.directed()
        target = torch.cat([directed.target, atoms])
        source = torch.cat([directed.source, atoms])
        vector = pairs.vectors(batch.pos, batch)  # (P, 3), from i to j
        r = vector.norm(dim=-1)
        r = torch.cat([directed.both(r), r.new_zeros(self.n)])
        vector = torch.cat([directed.both_signed(vector), vector.new_zeros(self.n, 3)])
        kept = r < cutoff
        if pairs.shift is not None:
            most = max_neighbors + 1  # and the atom itself, at r = 0
            for i in (torch.bincount(target[kept]) > most).nonzero():
                around = r[kept & (target == i)].square()
                reach = around.kthvalue(most + 1).values + 0.01  # Å², past the next neighbor
                kept &= (target != i) | (r.square() <= reach)
        self.target = target[kept]
        self.source = source[kept]
        self.r = r[kept]
        vector = vector[kept]
        self.others = self.target != self.source
        self.cut = cosine_cutoff(self.r, cutoff)
        unit = vector / (self.r + 1e-8).unsqueeze(-1)
        self.unit = torch.where(self.others.unsqueeze(-1), unit, vector)

    def gather(self, messages: Tensor) -> Tensor:
        """Sum the messages [E, …] at the atoms that receive them: [N, …]."""
        out = messages.new_zeros(self.n, *messages.shape[1:])
        return out.index_add(0, self.target, messages)


class GatedEnergyHead(EnergyHead):
    """y = mean + Σ_i std · s_i with s_i the scalars of two gated blocks; our names, and reference
    energies as usual."""

    mean: Tensor

    def __init__(self, d: int):
        super().__init__(d)
        self.mlp = NoiseHead(d)
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))

    def per_atom(self, x: Tensor, z: Tensor, v: Tensor | None = None) -> Tensor:
        """Energies [N], float64, of features x [N, d] and v [N, 3, d] and atomic numbers z [N]."""
        x, v = self.mlp.block1(x, v)
        e = self.mlp.block2(silu(x), v)[0].squeeze(-1).double()  # (N)
        return e * self.scale + self.reference[z]

    def total(self, per_atom: Tensor, batch: Batch) -> Tensor:
        """Energies [B], float64, from those of atoms [N]."""
        return sum_over_atoms(per_atom, batch) + self.mean  # (B)


class OfficialCT(AtomisticModel):
    """The released CT: its settings by the release's own names, with the release's defaults.

    `Prediction.energy` is the release's scalar output y [B], in the unit it was trained on (after
    self-supervised training alone it means nothing), `forces` its gradient; `embedding` is the
    embedding head's output.

    Parameters
    ----------
    emb_dim : int, default 256
        Width d of the features, a multiple of num_heads.
    num_layers : int, default 8
        Attention layers.
    num_heads : int, default 8
        Attention heads.
    num_rbf : int, default 64
        Radial functions.
    cutoff_upper : float, default 5.0
        Cutoff in Å.
    max_z : int, default 118
        Atomic numbers below it are embedded.
    max_num_neighbors : int, default 32
        Neighbors that an atom of a periodic structure may have.
    trainable_rbf : bool, default True
        Whether centers and widths of the radial functions are trained.
    neighbor_embedding : bool, default True
        Whether embeddings of neighbors are mixed into that of an atom first.
    vector_cutoff : bool, default True
        Whether the cutoff function multiplies messages, rather than attention.
    vec_prenorm : bool, default True
        Whether tanh is applied to vectors before a layer (fault 1).
    vec_post_norm : bool, default False
        Whether vectors are whitened after each layer (fault 3).
    inv_post_norm : bool, default False
        Whether there is a layer norm of features after each layer, not after the last alone.
    layernorm_on_vec : bool, default False
        Whether vectors are whitened after the last layer (fault 3).
    detach : bool, default True
        Whether adaptive layer norms read a detached copy of the features (fault 2). An option of
        ours.
    drop_path : float, default 0.0
        Probability with which a structure skips a layer in training, as of our CT.
    **fixed
        Settings that a CT cannot have otherwise (`FIXED`), such as model="CET".

    Raises
    ------
    ValueError
        For another value of a fixed setting, and for sizes that do not fit.
    """

    has_vectors = True
    has_drop_path = True
    rep_model: Any  # a ModuleDict, by the release's names

    def __init__(
        self,
        emb_dim: int = 256,
        num_layers: int = 8,
        num_heads: int = 8,
        num_rbf: int = 64,
        cutoff_upper: float = 5.0,
        max_z: int = 118,
        max_num_neighbors: int = 32,
        trainable_rbf: bool = True,
        neighbor_embedding: bool = True,
        vector_cutoff: bool = True,
        vec_prenorm: bool = True,
        vec_post_norm: bool = False,
        inv_post_norm: bool = False,
        layernorm_on_vec: bool = False,
        detach: bool = True,
        drop_path: float = 0.0,
        **fixed: Any,
    ):
        super().__init__(emb_dim, cutoff_upper)
        for name, value in fixed.items():
            if name not in FIXED:
                raise unknown_argument(type(self).__name__, name, SETTINGS)
            if value != FIXED[name]:
                raise ValueError(
                    f"The released CT has {name}={FIXED[name]!r}, got {value!r}; give the settings "
                    "of a CT."
                )
        if num_layers < 1 or emb_dim % num_heads:
            raise ValueError(
                "The released CT has at least one layer, and emb_dim is a multiple of num_heads, "
                f"got num_layers={num_layers}, emb_dim={emb_dim}, num_heads={num_heads}."
            )
        d = self.hidden_channels
        start = math.exp(-self.cutoff)
        body = {
            "embedding": nn.Embedding(max_z, d),
            "distance_expansion": nn.ParameterDict(
                {
                    "means": torch.linspace(start, 1, num_rbf),
                    "betas": torch.full((num_rbf,), (2 / num_rbf * (1 - start)) ** -2),
                }
            ),
            "attention_layers": nn.ModuleList(
                Layer(d, num_heads, num_rbf, vec_prenorm, vector_cutoff, detach)
                for _ in range(num_layers)
            ),
            "x_post_norm": nn.ModuleList(nn.LayerNorm(d) for _ in range(num_layers)),
            "v_post_norm": nn.ModuleList(Whitening(d) for _ in range(num_layers)),
        }
        if neighbor_embedding:
            parts = dict(
                embedding=nn.Embedding(max_z, d),
                distance_proj=nn.Linear(num_rbf, d),
                combine=nn.Linear(2 * d, d),
            )
            body["neighbor_embedding_module"] = nn.ModuleDict(parts)
        self.rep_model = nn.ModuleDict(body)
        self.rep_model["distance_expansion"].requires_grad_(trainable_rbf)
        self.max_z = max_z
        self.max_num_neighbors = max_num_neighbors
        self.neighbor_embedding = neighbor_embedding
        self.inv_post_norm = inv_post_norm
        self.vec_post_norm = vec_post_norm
        self.layernorm_on_vec = layernorm_on_vec
        self.n_hops = num_layers + 1 if neighbor_embedding else num_layers
        self.drop_path = drop_path
        self.num_heads = num_heads
        self.condition_norm = nn.LayerNorm(d)
        self.mask_token = nn.Parameter(torch.zeros(d))
        self.noise_head = NoiseHead(d)
        self.energy_head = GatedEnergyHead(d)
        self.embedding_head = EmbeddingHead(d)

    def represent(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None,
        vectors: bool = True,
        force_input: list[Tensor] | None = None,
    ) -> Features:
        """x [N, d] and v [N, 3, d], from a condition that is normalized already."""
        if condition is None:
            raise ValueError("The released CT always has a condition; give its mask_token.")
        body = self.rep_model
        expansion = body["distance_expansion"]
        edges = Edges(batch, pairs, self.cutoff, self.max_num_neighbors)
        bump = torch.exp(-5 / self.cutoff * edges.r).unsqueeze(-1) - expansion["means"]  # (E, n)
        # no subnormal numbers
        bump = (-expansion["betas"] * bump.square()).clamp(min=-30).exp()
        edges.basis = edges.cut.unsqueeze(-1) * bump
        x = body["embedding"](batch.z)
        if self.neighbor_embedding:
            near = body["neighbor_embedding_module"]
            inside = (edges.cut * edges.others).unsqueeze(-1)
            w = near["distance_proj"](edges.basis) * inside  # (E, d)
            around = edges.gather(w * near["embedding"](batch.z)[edges.source])
            x = near["combine"](torch.cat([x, around], -1))
        c = _clamp(condition if len(condition) == len(x) else condition[batch.batch])
        v = x.new_zeros(len(x), 3, self.hidden_channels)
        parts = (body[k] for k in ("attention_layers", "x_post_norm", "v_post_norm"))
        for layer, x_norm, v_norm in zip(*parts, strict=True):
            x = _clamp(x)
            v = _clamp(v)
            dx, dv = layer(x, v, c, edges)
            if self.training and self.drop_path:
                path = drawn_paths(batch, self.drop_path, x)  # (N, 1)
                dx = path * dx
                dv = path.unsqueeze(1) * dv
            x = x + _clamp(dx)
            v = v + _clamp(dv)
            x = x_norm(x) if self.inv_post_norm else x
            v = v_norm(v) if self.vec_post_norm else v
        last_x_norm = body["x_post_norm"][-1]
        last_v_norm = body["v_post_norm"][-1]
        x = x if self.inv_post_norm else last_x_norm(x)
        v = last_v_norm(v) if self.layernorm_on_vec and not self.vec_post_norm else v
        return Features(x, v)

    def energy_per_atom(self, features: Features, z: Tensor) -> Tensor:
        """Energies [N], float64, of features of atoms and atomic numbers z [N]."""
        head = cast(GatedEnergyHead, self.energy_head)
        return head.per_atom(features.x, z, features.v)

    def check_input(
        self, batch: Batch, condition: Tensor | None, force_input: Tensor | None
    ) -> None:
        """As of any model. Raises ValueError for elements beyond the embedding too."""
        if int(batch.z.max()) >= self.max_z:
            raise ValueError(
                f"The model embeds atomic numbers below {self.max_z}, got {int(batch.z.max())}; "
                "leave such structures out."
            )
        super().check_input(batch, condition, force_input)


#: All settings that the constructor takes.
SETTINGS = (*list(inspect.signature(OfficialCT).parameters)[:-1], *FIXED)

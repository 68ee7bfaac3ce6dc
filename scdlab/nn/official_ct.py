"""The released CT (the conditional transformer of self-conditioned denoising, arXiv:2603.17196),
number for number.

Published checkpoints hold weights for one exact sequence of operations, and this file is that
sequence, in plain torch. With c the condition, for edges j → i within the cutoff and i → i (r = 0,
r̂ = 0), a layer is

    h = LN(x),   (shift, scale, gate) = fc([c, h]),   h ← tanh(a h) (1 + scale)/a + shift,
                                                      v ← tanh(a' v) g' + b'
    α_ij = SiLU(Σ_head q_i k_j ∘ dk_ij),   (y, s¹, s²)_ij = val_j ∘ dv_ij c(r_ij),
                                           y_i = Σ_j α_ij y_ij
    x_i ← LN(x_i + tanh(a" gate) ∘ ((U₁v · U₂v) ∘ o² + o³))       v_i ← v_i + o¹ ∘ U₃v_i + Σ_j v_j ∘
    s¹_ij + s²_ij r̂_ij

It breaks three laws, which `EquivariantTransformer(conditional=True)`, our CT, keeps;
`scdlab.symmetry_report` says by how much:

1. tanh and b', component by component (`vec_prenorm`), do not turn with the vectors: nothing is
   equivariant any more.
2. fc reads a *detached* copy of h, so what autograd calls a gradient is not the energy's.
   `detach=False`, an option of ours, gives the same energies and their true forces.
3. Whitening of vectors (`layernorm_on_vec`, `vec_post_norm`) adds ε diag(1, 2, 3) to their
   covariance: the axes of space show while vectors are short.

In periodic structures it keeps the `max_num_neighbors` nearest of each atom, so that energies jump,
and vectors from an atom to its own images stay as long as they are.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from scdlab.atoms.neighbors import neighbor_list
from scdlab.nn.blocks.adaln import drop_path as drawn_paths
from scdlab.nn.blocks.heads import EmbeddingHead, EnergyHead, NoiseHead, sum_over_atoms
from scdlab.nn.blocks.radial import cosine_cutoff
from scdlab.nn.model import AtomisticModel, Features, Prediction, _leaf

DEFAULTS = dict(
    emb_dim=256,
    num_layers=8,
    num_heads=8,
    num_rbf=64,
    cutoff_upper=5.0,
    max_z=118,
    max_num_neighbors=32,
    trainable_rbf=True,
    neighbor_embedding=True,
    vector_cutoff=True,
    vec_prenorm=True,
    vec_post_norm=False,
    inv_post_norm=False,
    layernorm_on_vec=False,
    detach=True,
    drop_path=0.0,
)
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


class _Whiten(nn.Module):
    """(C + ε diag(1, 2, 3))^-½ (v - v̄): v̄ and C are the mean and the covariance of an atom's
    vectors [3, d]."""

    def __init__(self, d: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, v: Tensor) -> Tensor:
        u = v.double() - v.double().mean(-1, keepdim=True)  # (N, 3, d)
        axes = torch.diag(torch.tensor([1.0, 2.0, 3.0])).to(u)
        values, q = torch.linalg.eigh(u @ u.mT / u.shape[-1] + self.eps * axes)  # (N, 3), (N, 3, 3)
        return (q / (values + self.eps).sqrt().unsqueeze(-2) @ q.mT @ u).to(v.dtype) * self.weight


class _AdaLN(nn.Module):
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
        h = self.x_norm(x)
        shift, scale, gate = self.fc(torch.cat([c, h.detach() if self.detach else h], -1)).chunk(
            3, -1
        )
        a = self.x_modulate["alpha"].abs().clamp(min=1e-5)
        return torch.tanh(a * h) * (1 + scale) / a + shift, torch.tanh(gate * self.alpha_x)


class _Layer(nn.Module):
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
        self.conditional_ln = _AdaLN(d, detach)
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

    def forward(self, x: Tensor, v: Tensor, c: Tensor, edges) -> tuple[Tensor, Tensor]:
        def per_head(t):
            return t.view(*t.shape[:-1], self.num_heads, -1)  # (…, k d) -> (…, heads, k d/heads)

        h, gate = self.conditional_ln(x, c)
        if self.vec_prenorm:
            p = self.vec_norm
            v = torch.tanh(p["norm_alpha"] * v) * p["norm_gamma"] + p["norm_beta"]
        q, k, value = (per_head(f(h)) for f in (self.q_proj, self.k_proj, self.v_proj))
        dk, dv = (
            per_head(silu(f(edges.basis))) for f in (self.dk_proj, self.dv_proj)
        )  # (E, heads, …)
        a = silu((q[edges.to] * k[edges.of] * dk).sum(-1, keepdim=True))  # (E, heads, 1)
        told = value[edges.of] * dv
        cut = edges.cut[:, None, None]
        a, told = (a, told * cut) if self.vector_cutoff else (a * cut, told)
        y, s1, s2 = told.chunk(3, -1)  # (E, heads, d/heads) each
        w = per_head(v)[edges.of] * s1.unsqueeze(1) + edges.unit[:, :, None, None] * s2.unsqueeze(1)
        y = edges.gather((a * y).flatten(1))  # (N, d)
        w = edges.gather(w.flatten(2))  # (N, 3, d)
        (u1, u2, u3), (o1, o2, o3) = self.vec_proj(v).chunk(3, -1), self.o_proj(y).chunk(3, -1)
        return gate * ((u1 * u2).sum(1) * o2 + o3), u3 * o1.unsqueeze(1) + w


class _Edges:
    """Both directions of all pairs, then each atom to itself: of → to [E], unit vectors [E, 3],
    distances r [E], cut [E], others [E]: whether two different atoms meet. most: neighbors that an
    atom of a periodic structure may have."""

    def __init__(self, batch, pairs, cutoff: float, most: int):
        self.n = len(batch.z)
        atoms = torch.arange(len(batch.z), device=batch.z.device)
        to = torch.cat([pairs.i, pairs.j, atoms])
        of = torch.cat([pairs.j, pairs.i, atoms])
        vector = pairs.vectors(batch.pos, batch)  # (P, 3), from i to j
        r = vector.norm(dim=-1)
        r, vector = (
            torch.cat([r, r, r.new_zeros(self.n)]),
            torch.cat([vector, -vector, r.new_zeros(self.n, 3)]),
        )
        kept = r < cutoff
        if pairs.shift is not None:
            for i in (
                torch.bincount(to[kept]) > most + 1
            ).nonzero():  # + 1: the atom itself, at r = 0
                reach = (
                    r[kept & (to == i)].square().kthvalue(most + 2).values + 0.01
                )  # Å², past the next neighbor
                kept &= (to != i) | (r.square() <= reach)
        self.to = to[kept]
        self.of = of[kept]
        self.r = r[kept]
        vector = vector[kept]
        self.others = self.to != self.of
        self.cut = cosine_cutoff(self.r, cutoff)
        self.unit = torch.where(
            self.others.unsqueeze(-1), vector / (self.r + 1e-8).unsqueeze(-1), vector
        )

    def gather(self, told: Tensor) -> Tensor:
        """Sum what the edges tell [E, …] at the atoms they go to: [N, …]."""
        return told.new_zeros(self.n, *told.shape[1:]).index_add(0, self.to, told)


class _EnergyHead(EnergyHead):
    """y = mean + Σ_i std · s_i with s_i the scalars of two gated blocks; our names, and reference
    energies as usual."""

    def __init__(self, d: int):
        super().__init__(d)
        self.mlp = NoiseHead(d)
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))

    def per_atom(self, x: Tensor, v: Tensor, z: Tensor) -> Tensor:
        x, v = self.mlp.block1(x, v)
        e = self.mlp.block2(silu(x), v)[0].squeeze(-1).double()  # (N)
        return e * self.scale + self.reference[z]

    def total(self, per_atom: Tensor, batch) -> Tensor:
        return sum_over_atoms(per_atom, batch) + self.mean  # (B)


class OfficialCT(AtomisticModel):
    """The released CT. config: its settings by the release's own names, `detach`, and `drop_path`
    as of our CT.

    `Prediction.energy` is the release's scalar output y [B], in the unit it was trained on (after
    self-supervised training alone it means nothing), `forces` its gradient; `embedding` is the
    embedding head's output.
    """

    has_vectors = True

    def __init__(self, **config):
        config = FIXED | DEFAULTS | config
        super().__init__(config["emb_dim"], config["cutoff_upper"], config)
        for name, value in FIXED.items():
            if config[name] != value:
                raise ValueError(
                    f"The released CT has {name}={value!r}, not {config[name]!r}; give a CT's "
                    "settings."
                )
        if config["num_layers"] < 1 or config["emb_dim"] % config["num_heads"]:
            raise ValueError(
                "The released CT has at least one layer, and emb_dim is a multiple of num_heads, "
                f"not num_layers={config['num_layers']}, emb_dim={config['emb_dim']}, "
                f"num_heads={config['num_heads']}."
            )
        d = self.hidden_channels
        n = config["num_rbf"]
        layers = config["num_layers"]
        max_z = config["max_z"]
        cutoff = self.cutoff
        start = math.exp(-cutoff)
        options = {k: config[k] for k in ("vec_prenorm", "vector_cutoff", "detach")}
        body = {
            "embedding": nn.Embedding(max_z, d),
            "distance_expansion": nn.ParameterDict(
                {
                    "means": torch.linspace(start, 1, n),
                    "betas": torch.full((n,), (2 / n * (1 - start)) ** -2),
                }
            ),
            "attention_layers": nn.ModuleList(
                _Layer(d, config["num_heads"], n, **options) for _ in range(layers)
            ),
            "x_post_norm": nn.ModuleList(nn.LayerNorm(d) for _ in range(layers)),
            "v_post_norm": nn.ModuleList(_Whiten(d) for _ in range(layers)),
        }
        if config["neighbor_embedding"]:
            parts = dict(
                embedding=nn.Embedding(max_z, d),
                distance_proj=nn.Linear(n, d),
                combine=nn.Linear(2 * d, d),
            )
            body["neighbor_embedding_module"] = nn.ModuleDict(parts)
        self.rep_model = nn.ModuleDict(body)
        self.rep_model["distance_expansion"].requires_grad_(config["trainable_rbf"])
        self.n_hops = layers + config["neighbor_embedding"]
        self.drop_path = config["drop_path"]
        self.condition_norm = nn.LayerNorm(d)
        self.mask_token = nn.Parameter(torch.zeros(d))
        self.noise_head = NoiseHead(d)
        self.energy_head = _EnergyHead(d)
        self.embedding_head = EmbeddingHead(d)

    def represent(self, batch, pairs, condition, vectors=True) -> Features:
        """x [N, d] and v [N, 3, d], from a condition that is normalized already."""
        body = self.rep_model
        config = self.config
        edges = _Edges(batch, pairs, self.cutoff, config["max_num_neighbors"])
        bump = (
            torch.exp(-5 / self.cutoff * edges.r).unsqueeze(-1)
            - body["distance_expansion"]["means"]
        )  # (E, n)
        bump = (
            (-body["distance_expansion"]["betas"] * bump.square()).clamp(min=-30).exp()
        )  # no subnormal numbers
        edges.basis = edges.cut.unsqueeze(-1) * bump
        x = body["embedding"](batch.z)
        if config["neighbor_embedding"]:
            near = body["neighbor_embedding_module"]
            w = near["distance_proj"](edges.basis) * (edges.cut * edges.others).unsqueeze(
                -1
            )  # (E, d)
            x = near["combine"](
                torch.cat([x, edges.gather(w * near["embedding"](batch.z)[edges.of])], -1)
            )
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
            x = x_norm(x) if config["inv_post_norm"] else x
            v = v_norm(v) if config["vec_post_norm"] else v
        x = x if config["inv_post_norm"] else x_norm(x)
        return Features(
            x, v_norm(v) if config["layernorm_on_vec"] and not config["vec_post_norm"] else v
        )

    def forward(self, batch, condition=None, forces=False, noise=None, pairs=None) -> Prediction:
        """As of any conditional model. Raises ValueError for elements beyond the embedding too."""
        if int(batch.z.max()) >= self.config["max_z"]:
            raise ValueError(
                f"The model embeds atomic numbers below {self.config['max_z']}, and there is a "
                f"{int(batch.z.max())}; leave such structures out."
            )
        if not self.training:
            self.check_elements(batch.z)
        # shallow: the caller's batch keeps its own positions
        inputs = copy.copy(batch)
        keep = torch.is_grad_enabled()
        inputs.pos = (
            _leaf(batch.pos, self.mask_token.dtype)
            if forces
            else batch.pos.to(self.mask_token.dtype)
        )
        pairs = neighbor_list(batch, self.cutoff) if pairs is None else pairs
        gradient = None
        with torch.set_grad_enabled(keep or forces):
            features = self.represent(inputs, pairs, self._condition(condition, batch))
            x = features.x
            v = features.v
            per_atom = {"energy": self.energy_head.per_atom(x, v, batch.z)}
            energy = self.energy_head.total(per_atom["energy"], batch)
            if forces:
                second = keep and (self.training or batch.pos.requires_grad)
                (gradient,) = torch.autograd.grad(
                    energy.sum(), inputs.pos, create_graph=second, retain_graph=keep
                )
        if not keep:
            x = x.detach()
            v = v.detach()
            energy = energy.detach()
            per_atom["energy"] = per_atom["energy"].detach()
        per_atom |= {name: head.per_atom(x, v) for name, head in self.property_heads.items()}
        return Prediction(
            energy=energy,
            forces=None if gradient is None else -gradient,
            atoms=x,
            noise=None if noise is False else self.noise_head(x, v),
            embedding=self.embedding_head(x, batch),
            properties={
                name: head.total(per_atom[name], batch)
                for name, head in self.property_heads.items()
            },
            per_atom=per_atom,
        )

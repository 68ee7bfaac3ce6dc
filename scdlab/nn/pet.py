"""PET, the Point-Edge Transformer (Pozdnyakov and Ceriotti, NeurIPS 2023, arXiv:2305.19302):
attention over the neighbors of each atom, which knows nothing of rotations.

Tensors that turn with a structure cost much, and arrows need none: this network reads the
components of r_ij as plain numbers, and sees rotated copies in training (`fit` turns its batches at
random). What remains can be averaged away. Messages m_ij live on directed edges i ← j, m_ij =
embedding of z_j at first. Layer l, at each atom i:

    tokens:      t_ij = MLP([linear(r_ij, |r_ij|), m_ij]) of the neighbors, c_i of the atom itself
                 (an embedding of z_i at first, then what the layer before left of it)
    transformer: tokens hear each other, attention_layers times:  t ← t + attention(LN(t)),  t ← t +
        MLP(LN(t))
                 weight of token t:  f(r_t) exp(q·k_t / √d) / Σ_t' f(r_t') exp(q·k_t' / √d),
                                     f = 1 for c_i
    read-outs:   x_i ← [x_i, SiLU(A_l c_i), Σ_j f(r_ij) SiLU(B_l t_ij)]
    exchange:    m_ij ← ½(m_ij + t_ji)

f is the smooth step (radial.py): a neighbor that leaves vanishes with all derivatives. A linear
head on x is a sum over layers and atoms of one two-layer head for centers and another for bonds.

Departures from the paper: a neighbor's element enters through the first message only; the token's
MLP reads two parts, not three. f enters as ln f beside the logits, ahead of an ordinary softmax:
the same numbers. PyTorch's fused attention is faster, but cannot be differentiated twice, as
training on forces does.

Data layout. Linear layers work on flat tokens, [n + e, h]: the centers of the n atoms that a layer
computes, then their e directed edges; no row is padding. Attention alone needs tokens by atom, [n,
most neighbors + 1, …], where column 0 is the center and column 1 + k the k-th neighbor; `slot` says
where in there each flat token goes, and ln f = -∞ keeps what is left empty out of the softmax.
Directed edges are sorted by the atom that hears, atoms by how far they are from the one whose share
is asked for (`batch.hop`; all alike when there is none). So those that a layer needs come first:
layer l of L computes atoms with hop ≤ L - 1 - l, the first n_l, and edges, the first e_l.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad, silu

from scdlab.nn.blocks.heads import MAX_Z, Float64Buffers
from scdlab.nn.blocks.radial import step_logit
from scdlab.nn.model import AtomisticModel, Features


class _Field:
    """Which atoms and edges a layer computes, and where their tokens go: the first n atoms, the
    first e edges.

    slot [n + e]: row of each flat token among the n · width rows by atom; bias [n, 1, 1, width]: ln
    f there, -∞ where there is no token.
    """

    def __init__(self, n: int, edges: "_Edges"):
        neighbors = edges.neighbors[:n]
        self.n = n
        self.e = int(neighbors.sum())
        self.width = 1 + int(neighbors.max())
        rows = torch.arange(n, device=neighbors.device) * self.width
        to = edges.to[: self.e]
        self.slot = torch.cat([rows, rows.index_select(0, to) + 1 + edges.rank[: self.e]])
        log_f = torch.cat([edges.log_f.new_zeros(n), edges.log_f[: self.e]])
        bias = log_f.new_full((n * self.width,), -math.inf).index_copy(0, self.slot, log_f)
        self.bias = bias.view(n, 1, 1, self.width)

    def by_atom(self, x: Tensor) -> Tensor:
        """Flat tokens [n + e, d] -> tokens by atom, [n · width, d], zero where there is none."""
        return x.new_zeros(self.n * self.width, x.shape[1]).index_copy(0, self.slot, x)


class _Edges:
    """Directed edges within the cutoff, sorted by the atom that hears; atoms have their place in
    the order of hops.

    atoms [N]: the atom at each place; to, of [E]: places of who hears and who is heard; rank [E]:
    which neighbor it is; reverse [E]: the edge the other way (-1 when nobody needs it); geometry
    [E, 4]: r_ij and |r_ij|; f, log_f [E]; fields: one a layer.
    """

    def __init__(self, batch, pairs, cutoff: float, width: float, num_layers: int):
        z = batch.z
        r_ij = pairs.vectors(batch.pos, batch)  # (N), (P, 3), r_j - r_i
        i = pairs.i
        j = pairs.j
        r = r_ij.norm(dim=-1)
        if pairs.cutoff > cutoff:
            near = (r < cutoff).nonzero().flatten()
            i, j, r, r_ij = (x.index_select(0, near) for x in (i, j, r, r_ij))
        # edge p is i ← j, edge P + p is j ← i
        p = len(i)
        to = torch.cat([i, j])
        of = torch.cat([j, i])
        self.atoms = torch.arange(len(z), device=z.device)
        hop = batch.get("hop")
        if hop is not None:
            hop, self.atoms = hop.sort(stable=True)
            place = torch.empty_like(self.atoms).index_copy(
                0, self.atoms, torch.arange(len(z), device=z.device)
            )
            to = place.index_select(0, to)
            of = place.index_select(0, of)
        computed = [
            len(z) if hop is None else int((hop < k).sum()) for k in range(num_layers, 0, -1)
        ]

        self.neighbors = torch.bincount(to, minlength=len(z))
        self.to, order = to.sort(stable=True)
        e = len(order) if hop is None else int(self.neighbors[: computed[0]].sum())
        self.to = self.to[:e]
        order = order[:e]
        self.of = of.index_select(0, order)
        pair = order % max(p, 1)
        first = self.neighbors.cumsum(0) - self.neighbors
        self.rank = torch.arange(e, device=z.device) - first.index_select(0, self.to)
        where = order.new_full((2 * p,), -1).index_copy(0, order, torch.arange(e, device=z.device))
        self.reverse = where.index_select(0, (order + p) % max(2 * p, 1))

        sign = torch.where(order < p, 1.0, -1.0).to(r.dtype).unsqueeze(-1)
        r = r.index_select(0, pair)
        r_ij = sign * r_ij.index_select(0, pair)
        self.geometry = torch.cat([r_ij, r.unsqueeze(-1)], dim=1)  # (E, 4)
        logit = step_logit(r, cutoff, width)
        self.f = logit.sigmoid()
        self.log_f = logsigmoid(logit)
        fields = {n: _Field(n, self) for n in set(computed)}
        self.fields = [fields[n] for n in computed]


class Block(nn.Module):
    """One block of a transformer over the tokens of each atom, pre-norm: flat tokens [n + e, h] ->
    the same."""

    def __init__(self, d: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d))

    def forward(self, x: Tensor, field: _Field) -> Tensor:
        x = x + self.out(self.attention(self.qkv(self.norm1(x)), field))
        return x + self.mlp(self.norm2(x))

    def attention(self, qkv: Tensor, field: _Field) -> Tensor:
        """Queries, keys and values [n + e, 3h] -> what each token hears, [n + e, h]."""
        d = qkv.shape[1] // 3
        qkv = field.by_atom(qkv).view(field.n, field.width, 3, self.num_heads, d // self.num_heads)
        q, k, v = qkv.transpose(1, 3).unbind(2)  # (n, heads, width, d / heads) each
        logits = (q * (d // self.num_heads) ** -0.5) @ k.mT + field.bias
        y = logits.softmax(dim=-1) @ v
        return y.transpose(1, 2).reshape(-1, d).index_select(0, field.slot)


class Layer(nn.Module):
    """One layer: tokens from messages, a transformer over them, and read-outs."""

    def __init__(self, d: int, blocks: int, num_heads: int, cutoff: float):
        super().__init__()
        self.geometry = nn.Linear(4, d)
        # Bonds differ by tenths of an Å, around a length far from 0; with torch's weights, forces
        # stay at 0 for long.
        nn.init.normal_(self.geometry.weight, std=3.0)  # per Å
        with torch.no_grad():
            self.geometry.bias.copy_(-0.5 * cutoff * self.geometry.weight[:, 3])
        self.mlp = nn.Sequential(nn.Linear(2 * d, d), nn.SiLU(), nn.Linear(d, d))
        self.blocks = nn.ModuleList(Block(d, num_heads) for _ in range(blocks))
        self.center = nn.Linear(d, d)
        self.bond = nn.Linear(d, d)

    def forward(self, center: Tensor, message: Tensor, edges: _Edges, field: _Field):
        """Centers [n, h] and messages [e, h] -> centers and tokens of neighbors, likewise, and
        read-outs [n, 2h]."""
        token = self.mlp(torch.cat([self.geometry(edges.geometry[: field.e]), message], dim=1))
        x = torch.cat([center, token])
        for block in self.blocks:
            x = block(x, field)
        center, token = x.split([field.n, field.e])
        bonds = edges.f[: field.e].unsqueeze(-1) * silu(self.bond(token))
        bonds = torch.zeros_like(center).index_add(
            0, edges.to[: field.e], bonds
        )  # (e, h) -> (n, h)
        return center, token, torch.cat([silu(self.center(center)), bonds], dim=1)


class CartesianHead(nn.Module):
    """Atom features x [N, d] -> noise [N, 3] in units of σ, along the axes of space; `v` is for
    other backbones."""

    def __init__(self, d: int):
        super().__init__()
        self.linear = nn.Linear(d, 3)

    def forward(self, x: Tensor, v: Tensor | None = None) -> Tensor:
        return self.linear(x)


class ForceHead(Float64Buffers):
    """Atom features x [N, d] -> forces [N, 3] in eV/Å, along the axes of space: the gradient of
    nothing."""

    def __init__(self, d: int):
        super().__init__()
        self.linear = nn.Linear(d, 3)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV/Å

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.scale.to(x.dtype)


class PET(AtomisticModel):
    """The Point-Edge Transformer with energies, forces as their gradient, and noise: not
    equivariant.

    hidden: width h of tokens and messages; layers: exchanges of messages and the transformer of
    each; attention_layers: blocks of a transformer; heads: of attention, a divisor of hidden;
    cutoff in Å, and cutoff_width, over how much of it neighbors fade; noise_head: whether there is
    one (without it, noise is the gradient of the energy); direct_forces: predict forces by a head
    of their own. Features are the read-outs of all layers, d = 2 layers hidden.

    batch.hop [N] int64, where there is one: steps of at most the cutoff from each atom to the
    nearest of those whose shares are asked for. What others would add is not computed, and the
    features of atoms with hop > 0 mean nothing.
    """

    equivariant = False
    linear = True
    augment = True

    def __init__(
        self,
        hidden_channels: int = 128,
        num_layers: int = 2,
        num_attention_layers: int = 2,
        num_heads: int = 4,
        cutoff: float = 4.5,
        cutoff_width: float = 1.0,
        noise_head: bool = True,
        direct_forces: bool = False,
    ):
        if num_layers < 1 or num_attention_layers < 1 or hidden_channels < 1:
            raise ValueError(
                "PET needs at least one layer, attention layer and feature, not "
                f"num_layers={num_layers}, num_attention_layers={num_attention_layers}, "
                f"hidden_channels={hidden_channels}."
            )
        if num_heads < 1 or hidden_channels % num_heads:
            raise ValueError(
                f"PET's heads share its features evenly: hidden_channels={hidden_channels} is no "
                f"multiple of num_heads={num_heads}."
            )
        super().__init__(2 * num_layers * hidden_channels, cutoff)
        if not 0 < cutoff_width <= cutoff:
            raise ValueError(
                "PET's neighbors fade over the last cutoff_width of the cutoff: it is above 0 and "
                f"at most cutoff={cutoff} Å, not {cutoff_width}."
            )
        self.width = float(cutoff_width)
        self.n_hops = num_layers
        self.center = nn.Embedding(MAX_Z + 1, hidden_channels)
        self.neighbor = nn.Embedding(MAX_Z + 1, hidden_channels)
        self.blocks = nn.ModuleList(
            Layer(hidden_channels, num_attention_layers, num_heads, cutoff)
            for _ in range(num_layers)
        )
        with torch.no_grad():
            self.energy_head.mlp[0].weight.mul_(
                0.1
            )  # forces grow from small ones, rather than collapse first
        self.noise_head = CartesianHead(self.hidden_channels) if noise_head else None
        self.force_head = ForceHead(self.hidden_channels) if direct_forces else None

    def represent(self, batch, pairs, condition=None, vectors=False) -> Features:
        edges = _Edges(batch, pairs, self.cutoff, self.width, len(self.blocks))
        z = batch.z.index_select(0, edges.atoms)
        field = edges.fields[0]
        center = self.center(z[: field.n])
        message = self.neighbor(z.index_select(0, edges.of))
        x = []
        for block, field, following in zip(
            self.blocks, edges.fields, [*edges.fields[1:], None], strict=True
        ):
            center, token, y = block(center[: field.n], message, edges, field)
            x.append(pad(y, (0, 0, 0, len(z) - field.n)))  # (n, 2h) -> (N, 2h)
            if following is not None:
                heard = token.index_select(0, edges.reverse[: following.e])  # t_ji
                message = 0.5 * (message[: following.e] + heard)
        x = torch.cat(x, dim=1)
        if batch.get("hop") is not None:
            x = torch.zeros_like(x).index_copy(0, edges.atoms, x)
        return Features(x, forces=None if self.force_head is None else self.force_head(x))

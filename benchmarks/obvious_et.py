"""The equivariant transformer and its self-conditioned denoising written the obvious way: the
baseline that shows what our way of writing them is worth.

The same equations as scdlab/nn/et.py, in plain torch, as torchmd-net and the released code of
self-conditioned denoising write them: every pair stored in both directions, self-loops among them;
projections of the basis evaluated on every edge; messages built edge by edge and summed with
index_add; conditions handed to the atoms and modulations formed atom by atom; neighbors searched by
the model in every pass. The search itself is ours (the released code has a compiled one), and so
are the heads, which work atom by atom.
"""

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from scdlab.atoms import neighbor_list
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.nn.model import Prediction


def sum_edges(messages, to, n):
    """Sum the messages [E, …] that each of n atoms receives: -> [n, …]."""
    return messages.new_zeros(n, *messages.shape[1:]).index_add(0, to, messages)


class AdaLN(nn.Module):
    """Conditions c and normalized features x of the atoms, [N, d] each -> scale γ, shift β and
    logit α of the gate, [N, d] each."""

    def __init__(self, d: int):
        super().__init__()
        self.lin_c = nn.Linear(d, d)
        self.lin_x = nn.Linear(d, d, bias=False)
        self.norm = nn.LayerNorm(d)
        self.lin2 = nn.Linear(d, 3 * d)

    def forward(self, c, x):
        h = self.norm(silu(self.lin_c(c) + self.lin_x(x)))
        return self.lin2(h).chunk(3, dim=-1)


class Layer(nn.Module):
    """Attention over the edges to ← of: x [N, d], v [N, 3, d], adaLN of x or None -> changes of
    both."""

    def __init__(self, num_rbf: int, d: int, num_heads: int):
        super().__init__()
        self.heads = num_heads
        self.norm = nn.LayerNorm(d)
        self.q = nn.Linear(d, d)
        self.k = nn.Linear(d, d)
        self.value = nn.Linear(d, 3 * d)
        self.dk = nn.Linear(num_rbf, d)
        self.dv = nn.Linear(num_rbf, 3 * d)
        self.u = nn.Linear(d, 3 * d, bias=False)
        self.o = nn.Linear(d, 3 * d)

    def forward(self, x, v, basis, envelope, unit, to, of, modulate=None):
        n, d = x.shape
        x = self.norm(x)
        if modulate is not None:
            scale, shift, gate = modulate(x)
            x = (1 + scale) * x + shift
        q = self.q(x)  # (N, d)
        k = self.k(x)  # (N, d)
        value = self.value(x)  # (N, 3d)
        u1, u2, u3 = self.u(v).chunk(3, dim=-1)  # (N, 3, d) each
        dk = silu(self.dk(basis))  # (E, d)
        dv = silu(self.dv(basis))  # (E, 3d)
        a = q.index_select(0, to) * k.index_select(0, of) * dk
        a = silu(a.view(-1, self.heads, d // self.heads).sum(-1))  # (E, heads)
        y, s1, s2 = (value.index_select(0, of) * dv * envelope.unsqueeze(-1)).chunk(
            3, dim=-1
        )  # (E, d) each
        y = (y.view(-1, self.heads, d // self.heads) * a.unsqueeze(-1)).view(-1, d)
        w = v.index_select(0, of) * s1.unsqueeze(1) + s2.unsqueeze(1) * unit.unsqueeze(
            -1
        )  # (E, 3, d)
        o1, o2, o3 = self.o(sum_edges(y, to, n)).chunk(3, dim=-1)  # (N, d) each
        dx = (u1 * u2).sum(1) * o2 + o3
        dx = dx if modulate is None else (1 + torch.tanh(gate)) * dx
        return dx, u3 * o1.unsqueeze(1) + sum_edges(w, to, n)


class NeighborEmbedding(nn.Module):
    """x_i ← linear([x_i, Σ_j W(r_ij) ∘ emb(z_j)]), over the edges that are no self-loops."""

    def __init__(self, num_rbf: int, d: int, elements: int):
        super().__init__()
        self.embedding = nn.Embedding(elements, d)
        self.filter = nn.Linear(num_rbf, d)
        self.combine = nn.Linear(2 * d, d)

    def forward(self, x, z, basis, envelope, to, of):
        w = self.filter(basis) * envelope.unsqueeze(-1)  # (E, d)
        messages = sum_edges(w * self.embedding(z).index_select(0, of), to, len(x))
        return self.combine(torch.cat([x, messages], dim=-1))


class ObviousTransformer(nn.Module):
    """The function of `ours`, a scdlab.EquivariantTransformer, conditional or not, with a copy of
    its weights."""

    def __init__(self, ours):
        super().__init__()
        hidden, layers, heads, n_basis = (
            ours.config[key] for key in ("hidden_channels", "num_layers", "num_heads", "num_rbf")
        )
        self.cutoff = ours.cutoff
        elements = len(ours.embedding.weight)
        start = math.exp(-self.cutoff)
        self.beta = (2 / n_basis * (1 - start)) ** -2
        self.register_buffer("centers", torch.linspace(start, 1.0, n_basis))
        self.embedding = nn.Embedding(elements, hidden)
        self.neighbor_embedding = NeighborEmbedding(n_basis, hidden, elements)
        self.blocks = nn.ModuleList(Layer(n_basis, hidden, heads) for _ in range(layers))
        self.out_norm = nn.LayerNorm(hidden)
        self.mask_token = self.embedding_head = None
        if ours.mask_token is not None:
            self.adaln = nn.ModuleList(AdaLN(hidden) for _ in range(layers))
            self.condition_norm = nn.LayerNorm(hidden)
            self.mask_token = nn.Parameter(torch.empty(hidden))
            self.embedding_head = copy.deepcopy(ours.embedding_head)
        self.to(ours.embedding.weight)
        self.energy_head = copy.deepcopy(ours.energy_head)
        self.noise_head = copy.deepcopy(ours.noise_head)
        # our first layer has no U: it would mix vectors that are zero
        weights = dict(ours.named_parameters())
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name != "blocks.0.u.weight":
                    parameter.copy_(weights[name])

    def forward(
        self, batch, condition=None, forces: bool = False, noise: bool = True
    ) -> Prediction:
        """Energies [B], forces [N, 3], noise [N, 3] and embeddings [B, d], as the models of scdlab
        give them. condition [B, d]: of a conditional model; None for its mask token."""
        pairs = neighbor_list(batch, self.cutoff)
        pos = batch.pos.to(self.embedding.weight.dtype)
        pos = pos.detach().requires_grad_() if forces else pos
        atoms = torch.arange(len(pos), device=pos.device)
        to = torch.cat([pairs.i, pairs.j, atoms])
        of = torch.cat([pairs.j, pairs.i, atoms])
        r_ij = pos.index_select(0, of) - pos.index_select(0, to)  # (E, 3); no periodic images here
        real = (to != of).nonzero().squeeze(-1)
        r = r_ij.new_zeros(len(to)).index_add(
            0, real, r_ij.index_select(0, real).norm(dim=-1)
        )  # smooth at self-loops
        unit = r_ij / r.masked_fill(r == 0, 1.0).unsqueeze(-1)
        envelope = 0.5 * (torch.cos(r * (math.pi / self.cutoff)) + 1.0) * (r < self.cutoff)
        bumps = torch.exp(
            -self.beta * (torch.exp(-5.0 / self.cutoff * r).unsqueeze(-1) - self.centers).square()
        )
        basis = envelope.unsqueeze(-1) * bumps  # (E, n)
        x = self.embedding(batch.z)  # (N, d)
        part = basis.index_select(0, real), envelope.index_select(0, real), to[real], of[real]
        x = self.neighbor_embedding(x, batch.z, *part)
        v = x.new_zeros(len(x), 3, x.shape[1])
        modulates = [None] * len(self.blocks)
        if self.mask_token is not None:
            if condition is None:
                condition = self.mask_token.expand(batch.num_graphs, -1)
            c = self.condition_norm(condition[batch.batch])  # (N, d)
            modulates = [partial(layer, c) for layer in self.adaln]
        for block, modulate in zip(self.blocks, modulates, strict=True):
            dx, dv = block(x, v, basis, envelope, unit, to, of, modulate)
            x = x + dx
            v = v + dv
        x = self.out_norm(x)
        energy = self.energy_head(x, batch)
        gradient = torch.autograd.grad(energy.sum(), pos, create_graph=True)[0] if forces else None
        return Prediction(
            energy=energy,
            forces=-gradient if forces else None,
            noise=self.noise_head(x, v) if noise else None,
            embedding=(self.embedding_head or sum_over_atoms)(x, batch),
            atoms=x,
        )


def two_passes(
    model,
    batch,
    generator,
    sigma: float = 0.04,
    reg_sigma: float = 0.005,
    p_drop_condition: float = 0.2,
) -> Tensor:
    """The loss of SelfConditionedDenoising(sigma, reg_sigma, p_drop_condition), from the same
    random numbers, one pass after the other."""
    model.embedding.requires_grad_(False)  # elements keep their embeddings
    model.neighbor_embedding.embedding.requires_grad_(False)
    like = dict(dtype=batch.pos.dtype, generator=generator, device=batch.pos.device)
    clean = batch.clone()
    noisy = batch.clone()
    clean.pos = batch.pos + reg_sigma * torch.randn(batch.pos.shape, **like)
    noise = sigma * torch.randn(batch.pos.shape, **like)  # (N, 3) Å
    sizes = batch.ptr.diff().unsqueeze(-1)  # (B, 1)
    mean = sum_edges(noise, batch.batch, batch.num_graphs) / sizes  # (B, 3)
    noise = noise - mean[batch.batch]
    noisy.pos = batch.pos + noise
    c = model(clean, noise=False).embedding  # pass 1: (B, d)
    drawn = torch.rand(batch.num_graphs, generator=generator, device=c.device)
    dropped = drawn < p_drop_condition  # (B)
    c = torch.where(dropped.unsqueeze(-1), model.mask_token, c)
    answer = model(noisy, condition=c, noise=True).noise  # pass 2: (N, 3) in units of σ
    return (answer - (noise / sigma).to(answer.dtype)).square().mean()

"""PET, the Point-Edge Transformer (Pozdnyakov and Ceriotti, NeurIPS 2023, arXiv:2305.19302):
attention over the neighbors of each atom, which knows nothing of rotations.

Tensors that rotate with a structure cost much, and vectors need none: this network reads the
components of r_ij as plain numbers, and meets rotated copies in training (`fit` rotates its batches
at random). What remains can be averaged away. Messages m_ij live on directed edges i ← j, m_ij =
embedding of z_j at first. Layer l, at each atom i:

    tokens:      t_ij = MLP([linear(r_ij, |r_ij|), m_ij])          of the neighbors
                 c_i                                               of the atom itself
    transformer: t ← t + attention(LN(t)),  t ← t + MLP(LN(t))     num_attention_layers times
                 weight of token t:  f(r_t) exp(q·k_t / √d) / Σ_t' f(r_t') exp(q·k_t' / √d)
                                                                   f = 1 for c_i
    read-outs:   x_i ← [x_i, SiLU(A_l c_i), Σ_j f(r_ij) SiLU(B_l t_ij)]
    exchange:    m_ij ← ½(m_ij + t_ji)

c_i is an embedding of z_i at first, then what the layer before left of it. f is the smooth step
(`blocks.radial`): a neighbor that leaves vanishes with all derivatives. A linear head on x is a sum
over layers and atoms of one two-layer head for centers and another for bonds.

With conditional=True a condition modulates the attention of every block (`blocks.adaln`): scale,
shift and gate of an atom, from the condition and LN(c_i), are those of all its tokens.

Departures from the paper: a neighbor's element enters through the first message only; the token's
MLP reads two parts, not three. f enters as ln f beside the logits, ahead of an ordinary softmax:
the same numbers. Attention, SiLU and normalization are fused loops with derivatives of their own,
plain torch beside them (`ops.token_attention`, `ops.activations`); the weights of a normalization
are multiplied into those of the linear layer that follows it.

Data layout. All works on flat tokens, [n + e, h]: the centers of the n atoms that a layer
computes, then their e directed edges (atom by atom where all have equally many); no row is padding.
In plain torch attention needs tokens by atom, [n, most neighbors + 1, …], where column 0 is the
center and column 1 + k the k-th neighbor; `slot` is where in there each flat token goes, and ln f =
-∞ keeps what is left empty out of the softmax.
Directed edges are sorted by their target, atoms by how far they are from the one whose share is
needed (`batch.hop`; all alike when there is none). So those that a layer needs come first: layer l
of L computes atoms with hop ≤ L - 1 - l, the first n_l, and edges, the first e_l.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.adaln import Modulate
from scdlab.nn.blocks.heads import MAX_Z, Float64Buffers
from scdlab.nn.blocks.own_frames import OwnFrames, Stars, layer_by_layer
from scdlab.nn.blocks.tokens import LayerTokens, SortedEdges
from scdlab.nn.model import AtomisticModel, Features
from scdlab.nn.ops.activations import normalize, silu
from scdlab.nn.ops.token_attention import attend


class Block(nn.Module):
    """One block of a transformer over the tokens of each atom, pre-norm.

    Parameters
    ----------
    hidden_channels : int
        Width h of the tokens.
    num_heads : int
        Attention heads, a divisor of h.
    """

    def __init__(self, hidden_channels: int, num_heads: int) -> None:
        super().__init__()
        h = hidden_channels
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(h)
        self.norm2 = nn.LayerNorm(h)
        self.qkv = nn.Linear(h, 3 * h)
        self.out = nn.Linear(h, h)
        self.mlp: Any = nn.Sequential(nn.Linear(h, 2 * h), nn.SiLU(), nn.Linear(2 * h, h))

    def forward(self, x: Tensor, tokens: LayerTokens, modulate: Modulate | None = None) -> Tensor:
        """Flat tokens [n + e, h] -> the same.

        Parameters
        ----------
        x : Tensor
            The tokens, centers first.
        tokens : LayerTokens
            Where the tokens go.
        modulate : function or None, default None
            adaLN: normalized centers [n, h] -> scale, shift and gate, [n, h] each, for all tokens
            of an atom.

        Returns
        -------
        Tensor
            The tokens after the block.
        """
        h = normalize(x)  # (n + e, h)
        if modulate is None:
            x = x + self.out(self.attention(self.norm1, h, tokens))
        else:
            h = torch.addcmul(self.norm1.bias, h, self.norm1.weight)
            every = (m.index_select(0, tokens.atom) for m in modulate(tokens.centers(h)))
            scale, shift, gate = every  # (n + e, h) each
            h = torch.addcmul(shift, scale, h)
            x = x + gate * self.out(self.attention(None, h, tokens))
        return x + self.mlp[2](silu(linear_of(self.norm2, self.mlp[0], normalize(x))))

    def attention(self, norm: nn.LayerNorm | None, h: Tensor, tokens: LayerTokens) -> Tensor:
        """Attention among the tokens of each atom, [n + e, h], from what their queries, keys and
        values are linear in; `norm`: whose weights are still to be applied to it."""
        qkv = self.qkv(h) if norm is None else linear_of(norm, self.qkv, h)  # (n + e, 3h)
        return attend(qkv, tokens.bias, self.num_heads, tokens)


def linear_of(norm: nn.LayerNorm, linear: nn.Linear, h: Tensor) -> Tensor:
    """linear(γ ∘ h + β) of normalized rows h [n, d], γ and β the weights of the norm: one step."""
    bias = torch.addmv(linear.bias, linear.weight, norm.bias)
    return torch.nn.functional.linear(h, linear.weight * norm.weight, bias)


class Layer(nn.Module):
    """One layer: tokens from messages, a transformer over them, and read-outs.

    Parameters
    ----------
    hidden_channels : int
        Width h of tokens and messages.
    num_attention_layers : int
        Blocks of the transformer.
    num_heads : int
        Attention heads, a divisor of h.
    cutoff : float
        Cutoff in Å.
    """

    def __init__(
        self, hidden_channels: int, num_attention_layers: int, num_heads: int, cutoff: float
    ) -> None:
        super().__init__()
        h = hidden_channels
        self.geometry = nn.Linear(4, h)
        # Bonds differ by tenths of an Å, around a length far from 0; with torch's weights, forces
        # stay at 0 for long.
        nn.init.normal_(self.geometry.weight, std=3.0)  # per Å
        with torch.no_grad():
            self.geometry.bias.copy_(-0.5 * cutoff * self.geometry.weight[:, 3])
        self.mlp: Any = nn.Sequential(nn.Linear(2 * h, h), nn.SiLU(), nn.Linear(h, h))
        self.blocks = nn.ModuleList(Block(h, num_heads) for _ in range(num_attention_layers))
        self.center = nn.Linear(h, h)
        self.bond = nn.Linear(h, h)

    def heard(self, message: Tensor) -> Tensor:
        """What messages [e, h] add to the first step of the tokens' MLP, biases in it: [e, h]."""
        h = message.shape[1]
        of_geometry, of_message = self.mlp[0].weight.split(h, dim=1)  # (h, h) each
        bias = torch.addmv(self.mlp[0].bias, of_geometry, self.geometry.bias)
        return torch.addmm(bias, message, of_message.T)

    def forward(
        self,
        center: Tensor,
        heard: Tensor,
        tokens: LayerTokens,
        modulates: list[Modulate | None],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One layer.

        Parameters
        ----------
        center : Tensor
            Tokens c_i of the atoms, [n, h].
        heard : Tensor
            What the messages of the edges add, from `heard`, [e, h].
        tokens : LayerTokens
            What the layer computes.
        modulates : list of function or None
            adaLN of each block of the transformer; None for none.

        Returns
        -------
        center, token, readout : Tensor
            Tokens of the atoms [n, h] and of their neighbors [e, h], and read-outs [n, 2h].
        """
        # the two linear steps that the geometry goes through are one
        weight = self.mlp[0].weight[:, : heard.shape[1]] @ self.geometry.weight  # (h, 4)
        token = torch.addmm(heard, tokens.geometry, weight.T)  # (e, h)
        token = self.mlp[2](silu(token))
        x = tokens.merged(center, token)  # (n + e, h)
        for block, modulate in zip(self.blocks, modulates, strict=True):
            x = block(x, tokens, modulate)
        center, token = tokens.split(x)
        bonds = tokens.f.unsqueeze(-1) * silu(self.bond(token))  # (e, h)
        bonds = tokens.sum_over_edges(bonds)  # (n, h)
        return center, token, torch.cat([silu(self.center(center)), bonds], dim=1)


class CartesianHead(nn.Module):
    """Noise along the axes of space, in units of σ: [N, d] -> [N, 3].

    Parameters
    ----------
    d : int
        Width of the features.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d, 3)

    def forward(self, x: Tensor, v: Tensor | None = None) -> Tensor:
        """Noise from features x; `v` is for other backbones."""
        return self.linear(x)


class ForceHead(Float64Buffers):
    """Forces along the axes of space in eV/Å, the gradient of nothing: [N, d] -> [N, 3].

    Parameters
    ----------
    d : int
        Width of the features.
    """

    scale: Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d, 3)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV/Å

    def forward(self, x: Tensor) -> Tensor:
        """Forces [N, 3] in eV/Å from features x [N, d]."""
        return self.linear(x) * self.scale.to(x.dtype)


class PET(AtomisticModel):
    """The Point-Edge Transformer with energies, forces as their gradient, and noise: not
    equivariant.

    Features are the read-outs of all layers, d = 2 num_layers hidden_channels. Where there is
    `batch.hop` [N] int64, steps of at most the cutoff from each atom to the nearest of those whose
    shares are needed, what others would add is not computed, and features of atoms with hop > 0
    mean nothing.

    Parameters
    ----------
    hidden_channels : int, default 128
        Width h of tokens and messages.
    num_layers : int, default 2
        Exchanges of messages and the transformer of each.
    num_attention_layers : int, default 2
        Blocks of a transformer.
    num_heads : int, default 4
        Attention heads, a divisor of `hidden_channels`.
    cutoff : float, default 4.5
        Distance in Å within which atoms are neighbors.
    cutoff_width : float, default 1.0
        Over how much of the cutoff neighbors fade, in Å.
    noise_head : bool, default True
        Whether there is a head for noise; without it, noise is the gradient of the energy.
    direct_forces : bool, default False
        Whether forces come from a head of their own and not from the gradient of the energy.
    conditional : bool, default False
        Whether the model takes a condition, of width d, and has an embedding head to make one.

    Raises
    ------
    ValueError
        For numbers that make no network.

    References
    ----------
    Pozdnyakov and Ceriotti, "Smooth, exact rotational symmetrization for deep learning on point
    clouds", NeurIPS 2023, arXiv:2305.19302.
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
        conditional: bool = False,
    ) -> None:
        if num_layers < 1 or num_attention_layers < 1 or hidden_channels < 1:
            raise ValueError(
                "num_layers, num_attention_layers and hidden_channels must be at least 1, got "
                f"num_layers={num_layers}, num_attention_layers={num_attention_layers} and "
                f"hidden_channels={hidden_channels}."
            )
        if num_heads < 1 or hidden_channels % num_heads:
            raise ValueError(
                "hidden_channels must be a multiple of num_heads, got "
                f"hidden_channels={hidden_channels} and num_heads={num_heads}."
            )
        super().__init__(2 * num_layers * hidden_channels, cutoff)
        if not 0 < cutoff_width <= cutoff:
            raise ValueError(
                f"cutoff_width must be above 0 and at most cutoff={cutoff} Å, got {cutoff_width}."
            )
        self.width = float(cutoff_width)
        self.n_hops = num_layers
        # an atom's own token, and one that its neighbors hear
        self.passes_on = 2 * (num_layers - 1) * hidden_channels
        self.num_heads = num_heads
        self.num_blocks = num_attention_layers  # of a layer
        self.center = nn.Embedding(MAX_Z + 1, hidden_channels)
        self.neighbor = nn.Embedding(MAX_Z + 1, hidden_channels)
        self.blocks: Any = nn.ModuleList(
            Layer(hidden_channels, num_attention_layers, num_heads, cutoff)
            for _ in range(num_layers)
        )
        with torch.no_grad():  # forces grow from small ones, rather than collapse first
            self.energy_head.mlp[0].weight.mul_(0.1)
        self.noise_head = CartesianHead(self.hidden_channels) if noise_head else None
        self.force_head = ForceHead(self.hidden_channels) if direct_forces else None
        if conditional:
            self.make_conditional(num_layers * num_attention_layers, hidden_channels)

    def represent(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None = None,
        vectors: bool = False,
        force_input: list[Tensor] | None = None,
    ) -> Features:
        """Read-outs of all layers for the atoms, [N, d]."""
        n_atoms = len(batch.z)
        edges = SortedEdges(batch, pairs, self.cutoff, self.width, len(self.blocks))
        z = batch.z.index_select(0, edges.atoms)
        center = self.center(z[: edges.layers[0].n_atoms])  # (n, h)
        message = self.neighbor(z.index_select(0, edges.source))  # (E, h)
        if condition is not None:  # at the places of the atoms
            whole = len(condition) == batch.num_graphs
            row = batch.batch.index_select(0, edges.atoms) if whole else edges.atoms
            condition = condition.index_select(0, row)  # (N, d)
        readouts = []
        for k, (block, tokens) in enumerate(zip(self.blocks, edges.layers, strict=True)):
            n = tokens.n_atoms
            modulates = [
                self.modulation(number, None if condition is None else condition[:n], batch)
                for number in range(k * self.num_blocks, (k + 1) * self.num_blocks)
            ]
            heard = block.heard(message)
            center, token, readout = block(center[:n], heard, tokens, modulates)
            readouts.append(pad(readout, (0, 0, 0, n_atoms - n)))  # (N, 2h)
            if k + 1 < len(edges.layers):
                e = edges.layers[k + 1].n_edges
                opposite = token.index_select(0, edges.reverse[:e])  # (e, h), t_ji
                message = 0.5 * (message[:e] + opposite)
        x = torch.cat(readouts, dim=1)  # (N, d)
        if batch.get("hop") is not None:
            x = torch.zeros_like(x).index_copy(0, edges.atoms, x)
        forces = None if self.force_head is None else self.force_head(x)  # (N, 3)
        return Features(x, forces=forces)

    def represent_in_frames(
        self, batch: Batch, pairs: Pairs, frames: OwnFrames, condition: Tensor | None = None
    ) -> Features:
        """Read-outs of all layers for atoms that are seen in frames of their own, as
        `layer_by_layer` has it.

        Parameters
        ----------
        batch : Batch
            The structures; positions in float64.
        pairs : Pairs
            Their neighbors.
        frames : OwnFrames
            K frames and their weights.
        condition : Tensor, optional
            [B, d] or [N, d].

        Returns
        -------
        Features
            [K, d], of each atom in each of its frames.
        """
        edges = SortedEdges(batch, pairs, self.cutoff, self.width, 1)
        center = self.center(batch.z)  # (N, h)
        message = self.neighbor(batch.z.index_select(0, edges.source))  # (E, h)
        if condition is not None and len(condition) == batch.num_graphs:
            condition = condition.index_select(0, batch.batch)  # (N, d)

        def hear(k: int, message: Tensor) -> Tensor:
            return self.blocks[k].heard(message)

        def layer(k: int, center: Tensor, heard: Tensor, seen: Stars) -> tuple[Tensor, ...]:
            rows = None if condition is None else condition.index_select(0, seen.atom)
            numbers = range(k * self.num_blocks, (k + 1) * self.num_blocks)
            modulates = [self.modulation(number, rows, batch) for number in numbers]
            return self.blocks[k](center, heard, seen.tokens, modulates)

        x = layer_by_layer(hear, layer, len(self.blocks), center, message, edges, frames)
        forces = None if self.force_head is None else self.force_head(x)  # (K, 3)
        return Features(x, forces=forces)

"""What every backbone shares: batch in, `Prediction` out.

A backbone writes one method, `represent`, from a batch and its pairs to features of atoms. This
file turns features into energies, properties and embeddings, and energies into forces

    F_i = -∂E/∂r_i        (so a force field is curl-free by construction: energy is conserved in
                          dynamics)
"""

import contextlib
import copy
from dataclasses import dataclass, field

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from scdlab.atoms.neighbors import Pairs, neighbor_list
from scdlab.nn.blocks.adaln import AdaLN, check_condition
from scdlab.nn.blocks.force_encoding import ForceEncoding
from scdlab.nn.blocks.heads import MAX_Z, EmbeddingHead, EnergyHead, PropertyHead, sum_over_atoms
from scdlab.nn.ops.filter_tables import Filters
from scdlab.nn.ops.neighbor_sums import DirectedEdges, fused_for


@dataclass
class Prediction:
    """What a model says about a batch of B structures with N atoms. What was not asked for, or is
    not there, is None."""

    energy: Tensor | None = None  # [B] eV, float64
    forces: Tensor | None = None  # [N, 3] eV/Å
    noise: Tensor | None = None  # [N, 3] in units of σ
    embedding: Tensor | None = (
        None  # [B, d] one vector a structure: the embedding head's, else the sum of `atoms`
    )
    atoms: Tensor | None = None  # [N, d] one vector an atom
    properties: dict[str, Tensor] = field(
        default_factory=dict
    )  # name -> [B] or [B, 3], in the unit of the labels
    # What each atom gives to what is summed over atoms: "energy" -> [N] eV; of properties, [N, …],
    # in units of the head
    per_atom: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Features:
    """What `represent` returns: invariant x [N, d]; v [N, 3, d], vectors that turn with the
    structure, from backbones that have them; forces [N, 3] from backbones that predict them
    directly; edges, if sums over them may be told what a backward pass is for."""

    x: Tensor
    v: Tensor | None = None
    forces: Tensor | None = None
    edges: DirectedEdges | None = None


class AtomisticModel(nn.Module):
    """Base of all backbones. `config` holds the arguments that rebuild the model; `d` is the width
    of its features; `table` the cells of the tables that filters are read from in training, or None
    for exact filters always."""

    has_vectors = False  # whether `represent` can give v
    # whether it knows nothing of rotations: heads for vectors give numbers along the axes of space
    equivariant = True
    linear = False  # whether features are read-outs, so that heads are one layer
    n_hops: int | None = (
        None  # an atom's share depends on atoms that are so many neighbors away; None: on any
    )

    def __init__(self, d: int, cutoff: float, config: dict):
        super().__init__()
        if not cutoff > 0:
            raise ValueError(f"The cutoff must be a positive distance in Å, not {cutoff}.")
        self.hidden_channels = d
        self.cutoff = float(cutoff)
        self.config = config
        self.energy_head = EnergyHead(d, self.linear)
        # of backbones with vector features; the others denoise by the gradient of the energy
        self.noise_head = None
        self.mask_token = self.embedding_head = (
            None  # of models that take a condition: see `_take_condition`
        )
        self.force_encoding: ForceEncoding | None = (
            None  # of models that can be told forces: see `_take_clue`
        )
        self.property_heads = nn.ModuleDict()
        self._table: int | None = 512
        self._shared: dict | None = None  # tables, within `shared_filter_tables`
        # Elements met in training. An embedding nobody trained would answer all the same, and
        # wrongly.
        self.register_buffer("trained_elements", torch.zeros(MAX_Z + 1, dtype=torch.bool))

    def represent(self, batch, pairs: Pairs, condition: Tensor | None, vectors: bool) -> Features:
        """Features of the atoms; `batch.pos` [N, 3] may carry a gradient; condition: what `adaln`
        reads, [B, d] or [N, d], None for a model that takes none; vectors: whether `v` is asked
        for. Each backbone has its own. One that can be told forces takes them as `force_input`, the
        list that its `force_encoding` gives, or None."""
        raise TypeError(
            f"{type(self).__name__} must define represent(batch, pairs, condition, vectors)."
        )

    def _take_condition(self, num_layers: int) -> None:
        """Make the model a conditional one. Called last, so that all other weights are drawn as
        without it."""
        self.adaln = nn.ModuleList(AdaLN(self.hidden_channels) for _ in range(num_layers))
        self.condition_norm = nn.LayerNorm(
            self.hidden_channels
        )  # embeddings grow with the structure, modulations should not
        self.mask_token = nn.Parameter(torch.randn(self.hidden_channels))
        self.embedding_head = EmbeddingHead(self.hidden_channels)

    def _condition(self, condition: Tensor | None, batch) -> Tensor | None:
        """What `represent` is told: the condition, or the mask token for every structure,
        normalized."""
        if self.mask_token is None:
            if condition is not None:
                raise ValueError(
                    f"This {type(self).__name__} takes no condition; build it with "
                    "conditional=True."
                )
            return None
        if condition is None:
            condition = self.mask_token.expand(batch.num_graphs, -1)
        check_condition(condition, batch, self.hidden_channels)
        return self.condition_norm(condition.to(self.mask_token))

    def _take_clue(self, lmax: int) -> None:
        """Make the model one that can be told forces, in degrees 0 … lmax. Called last, as
        `_take_condition` is."""
        self.force_encoding = ForceEncoding(self.hidden_channels, lmax)

    def _clue(self, force_input: Tensor | None, batch, dtype) -> dict:
        """What `represent` is told of forces: nothing, or their features in each degree."""
        if force_input is None:
            return {}
        if self.force_encoding is None:
            raise ValueError(
                f"This {type(self).__name__} cannot be told forces; build it with "
                "force_encoding=True."
            )
        if force_input.shape != batch.pos.shape:
            raise ValueError(
                f"The clue has shape {list(force_input.shape)}, and this batch needs "
                f"{list(batch.pos.shape)}: a force in eV/Å for each atom, zero for one that is "
                "told nothing."
            )
        if not bool(force_input.isfinite().all()):
            k = int((~force_input.isfinite().all(-1)).nonzero()[0])
            raise ValueError(
                f"The force that atom {k} of the batch is told is not a number; leave its "
                "structure out, or tell it zero."
            )
        return {"force_input": self.force_encoding(force_input.to(dtype))}

    @property
    def direct_forces(self) -> bool:
        """Whether forces are predicted by a head of their own, and are the gradient of nothing."""
        return bool(self.config.get("direct_forces"))

    @property
    def filter_table_size(self) -> int | None:
        """Cells of the tables that filters are read from in training; None for exact filters. Kept
        by `save`."""
        return self._table

    @filter_table_size.setter
    def filter_table_size(self, cells: int | None):
        if cells is not None and (not isinstance(cells, int) or cells < 8):
            raise ValueError(
                f"A table has 8 cells or more, or is None for exact filters, not {cells!r}."
            )
        self._table = cells

    def filters(self, r: Tensor) -> Filters:
        """What the layers ask about the distances r [P] of this pass. Filters are exact, but in
        training, where fused kernels run and pairs are many, they come from a table."""
        cells = self.filter_table_size
        heads = self.config.get("num_heads", 1)
        if (
            cells is None
            or not self.training
            or len(r) < 2 * cells
            or not fused_for(self.hidden_channels, heads, r)
        ):
            cells = None
        return Filters(self.basis, r, self.cutoff, cells, self._shared)

    @contextlib.contextmanager
    def shared_filter_tables(self):
        """Within this context, passes that read their filters from the same table make it once, and
        their gradients meet there: for several passes in one step. The weights must stay as they
        are until it ends, and a backward pass waits for its end."""
        before = self._shared
        self._shared = {}
        try:
            yield
        finally:
            self._shared = before

    def add_property(self, name: str, kind: str | None = None) -> PropertyHead:
        """Give the model a head for the property `name`, or return the one it has. pool: "sum" or
        "mean" (the default) over atoms; "vector" or "tensor" for one that turns with the structure,
        [B, 3] or [B, 3, 3]; "atoms" for three numbers an atom, [N, 3].

        Raises ValueError for a head that is there with another pool, and for vectors that the
        backbone does not have.
        """
        if name in self.property_heads and kind not in (None, self.property_heads[name].kind):
            raise ValueError(
                f"This {type(self).__name__} has a head for {name!r} with "
                f"kind={self.property_heads[name].kind!r}, not {kind!r}; use that, or a fresh "
                "model."
            )
        kind = kind or "scalar_mean"
        if name not in self.property_heads:
            if kind in ("vector", "tensor") and self.equivariant and not self.has_vectors:
                raise ValueError(
                    f"{type(self).__name__} has no vector features, so it has no {kind} "
                    "properties; use a backbone that has them, such as EquivariantTransformer or "
                    "DimeNet."
                )
            weight = next(self.parameters())
            self.property_heads[name] = PropertyHead(
                self.hidden_channels, kind, self.equivariant, self.linear
            ).to(weight)
            self.config = {
                **self.config,
                "properties": {**self.config.get("properties", {}), name: kind},
            }
        return self.property_heads[name]

    def forward(
        self,
        batch,
        condition: Tensor | None = None,
        forces: bool = False,
        noise: bool | None = None,
        pairs: Pairs | None = None,
        force_input: Tensor | None = None,
    ):
        """Predict for a batch.

        condition: for models that take one (conditional=True), [B, d], one a structure, or [N, d],
        one an atom. A row that equals `mask_token` says nothing, and None is that token for all;
        forces: also give forces; noise: also give the noise in the positions, in units of σ (None:
        when the model has a head for it; a model without one answers with the gradient of its
        energy, -forces / scale); pairs: neighbors within the cutoff, when they are already known;
        pairs beyond it do no harm; clue: for models that take one (force_encoding=True), [N, 3]
        eV/Å, the forces that atoms are told, zero for those that are told nothing. Raises
        ValueError for what the backbone does not take or cannot give, and, outside training, for
        elements that were not in the training set.
        """
        noise = self.noise_head is not None if noise is None else noise
        by_gradient = noise and self.noise_head is None
        if by_gradient and self.direct_forces:
            raise ValueError(
                f"This {type(self).__name__} has no noise head, and its forces are no gradient "
                "that could stand in for one; build it with direct_forces=False."
            )
        if not self.training:
            self.check_elements(batch.z)
        pairs = neighbor_list(batch, self.cutoff) if pairs is None else pairs
        dtype = self.energy_head.mlp[0].weight.dtype
        differentiate = by_gradient or (forces and not self.direct_forces)
        keep_graph = torch.is_grad_enabled()
        with torch.set_grad_enabled(keep_graph or differentiate):
            condition = self._condition(condition, batch)
            inputs = copy.copy(batch)  # shallow: the caller's batch keeps its own positions
            inputs.pos = pos = _leaf(batch.pos, dtype) if differentiate else batch.pos.to(dtype)
            vectors = (noise and not by_gradient) or any(
                h.reads_vectors for h in self.property_heads.values()
            )
            features = self.represent(
                inputs, pairs, condition, vectors=vectors, **self._clue(force_input, batch, dtype)
            )
            per_atom = {"energy": self.energy_head.per_atom(features.x, batch.z)}
            energy = self.energy_head.total(per_atom["energy"], batch)
            out_forces = features.forces if forces else None
            out_noise = (
                self.noise_head(features.x, features.v) if noise and not by_gradient else None
            )
            if differentiate:
                # will forces, or noise that is a gradient, be differentiated?
                second = keep_graph and (self.training or by_gradient or batch.pos.requires_grad)
                with _asked_for_positions(features.edges, for_good=_ours(batch)):
                    (gradient,) = torch.autograd.grad(
                        energy.sum(), pos, create_graph=second, retain_graph=keep_graph
                    )
                out_forces = -gradient if forces else None
                out_noise = (
                    gradient / self.energy_head.scale.to(dtype) if by_gradient else out_noise
                )
        with torch.set_grad_enabled(keep_graph):
            x = features.x
            v = features.v
            if not keep_graph:
                x = x.detach()
                v = None if v is None else v.detach()
                per_atom["energy"] = per_atom["energy"].detach()
            per_atom |= {name: head.per_atom(x, v) for name, head in self.property_heads.items()}
            return Prediction(
                energy=energy if keep_graph else energy.detach(),
                forces=out_forces,
                noise=out_noise if out_noise is None or keep_graph else out_noise.detach(),
                embedding=(self.embedding_head or sum_over_atoms)(x, batch),
                atoms=x,
                properties={
                    name: head.total(per_atom[name], batch)
                    for name, head in self.property_heads.items()
                },
                per_atom=per_atom,
            )

    def check_elements(self, z: Tensor) -> None:
        """Raise ValueError when atomic numbers z hold an element that was not in the training
        set."""
        if self.trained_elements.any() and not self.trained_elements[z].all():
            unknown = ", ".join(
                chemical_symbols[k] for k in z[~self.trained_elements[z]].unique().tolist()
            )
            known = ", ".join(
                chemical_symbols[k] for k in self.trained_elements.nonzero().flatten().tolist()
            )
            raise ValueError(
                f"The model was trained on {known} only and cannot say anything about {unknown}; "
                "train it on structures that contain every element it is asked about."
            )


@contextlib.contextmanager
def _asked_for_positions(edges: DirectedEdges | None, for_good: bool):
    """A backward pass for forces: sums over edges leave the rest out. for_good: nobody will ask for
    positions again."""
    if edges is not None:
        edges.asked = "positions"
    yield
    if edges is not None:
        edges.asked = "parameters" if for_good else None


def _ours(batch) -> bool:
    """Whether the positions that are differentiated by are our own leaf, which no caller can
    reach."""
    cell = batch.get("cell")
    return not batch.pos.requires_grad and not (cell is not None and cell.requires_grad)


def _leaf(pos: Tensor, dtype) -> Tensor:
    """Positions to differentiate by: the caller's own if they carry a gradient already, else a
    fresh leaf."""
    return pos.to(dtype) if pos.requires_grad else pos.detach().to(dtype).requires_grad_()

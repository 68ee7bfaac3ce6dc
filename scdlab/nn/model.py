"""What backbones share: from features of atoms to energies, noise and properties.

A backbone is an `AtomisticModel` and defines one method, `represent`, from a batch and its pairs to
features of atoms. Heads read energies, noise, properties and embeddings off them; `forward` is that
of every model (`scdlab.nn.forward`).
"""

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, MutableMapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.adaln import AdaLN, Modulate
from scdlab.nn.blocks.force_encoding import ForceEncoding
from scdlab.nn.blocks.heads import (
    MAX_Z,
    EmbeddingHead,
    EnergyHead,
    GatedForceHead,
)
from scdlab.nn.blocks.own_frames import OwnFrames
from scdlab.nn.blocks.properties import PropertyHead
from scdlab.nn.forward import Model
from scdlab.nn.modes import evaluating
from scdlab.nn.ops.filter_tables import Filters
from scdlab.nn.ops.neighbor_sums import fused_for
from scdlab.nn.prediction import AtomOutputs, Features, Prediction, Request
from scdlab.nn.registry import check_represent, named
from scdlab.nn.trained_labels import TrainedLabels
from scdlab.renames import known_arguments

__all__ = [
    "AtomOutputs",
    "AtomisticModel",
    "Features",
    "Model",
    "Prediction",
    "Request",
    "evaluating",
]


class AtomisticModel(Model):
    """Base of all backbones. A subclass defines `represent`; its hyper-parameters are written once,
    as arguments of its `__init__`.

    Parameters
    ----------
    hidden_channels : int
        Width d of the features that `represent` gives.
    cutoff : float
        Distance in Å within which atoms are neighbors.

    Raises
    ------
    ValueError
        For a cutoff that is not positive.
    """

    equivariant = True
    has_vectors = False
    linear = False
    augment = False
    n_hops = None
    #: How many numbers an atom passes on between layers, of models that can be symmetrized layer by
    #: layer: those define `represent_in_frames`.
    passes_on: int | None = None
    #: Attention heads that features are divided into in sums over neighbors, of models that have
    #: several.
    num_heads: int = 1
    #: Whether `represent` skips layers with the probability `drop_path` in training, which
    #: `fit(anneal=…)` may then change.
    has_drop_path: bool = False
    #: Of conditional models: what conditions modulate, layer by layer, and their norm.
    adaln: nn.ModuleList | None
    condition_norm: nn.LayerNorm
    #: Whether `check_energy` has logged a composition that the training set does not determine.
    warned_of_composition: bool
    #: Radial basis, of models that use `filters`.
    basis: nn.Module

    def __init__(self, hidden_channels: int, cutoff: float):
        super().__init__()
        if not cutoff > 0:
            raise ValueError(f"The cutoff must be a positive distance in Å, got {cutoff}.")
        self.hidden_channels = hidden_channels
        self.cutoff = float(cutoff)
        self.drop_path = 0.0
        self.units = {}
        self.provenance = None
        self.trained_labels = TrainedLabels()
        self.warned_of_composition = False
        self.energy_head = EnergyHead(hidden_channels, self.linear)
        # of backbones with vector features; the others denoise by the gradient of the energy
        self.noise_head = None
        self.embedding_head = None
        self.force_head = None
        self.adaln = None
        self.mask_token = None
        self.force_encoding = None
        self.property_heads = cast(MutableMapping[str, PropertyHead], nn.ModuleDict())
        self._filter_table_size: int | None = 512
        self._shared_tables: dict | None = None  # within `shared_filter_tables`
        self.register_buffer("trained_elements", torch.zeros(MAX_Z + 1, dtype=torch.bool))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "represent" in cls.__dict__:
            check_represent(cls)

    @property
    def backbone(self) -> "AtomisticModel":
        """The model itself."""
        return self

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild the model, and the properties that were added to it."""
        heads = {name: head.settings for name, head in self.property_heads.items()}
        return {**super().config, **({"properties": heads} if heads else {})}

    @property
    def direct_forces(self) -> bool:
        """Whether forces come from `force_head`, and are the gradient of nothing: those that
        `represent` gives, or those of a `GatedForceHead`. A model that gives such forces in another
        way overrides this."""
        return self.force_head is not None

    @abstractmethod
    def represent(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None,
        vectors: bool,
        force_input: list[Tensor] | None = None,
    ) -> Features:
        """Features of the atoms: what each backbone has of its own.

        Parameters
        ----------
        batch : Batch
            The structures; `batch.pos` [N, 3] may carry a gradient.
        pairs : Pairs
            Neighbors within the cutoff, and possibly some beyond it.
        condition : Tensor [B, d] or [N, d], optional
            What `adaln` reads; None for a model that takes none.
        vectors : bool
            Whether vector features are needed.
        force_input : list of Tensor [N, 2l + 1, d], optional
            Features of forces, degree by degree, from `force_encoding`. Passed only to a model that
            takes forces, and only where there are some.
        """

    def represent_in_frames(
        self, batch: Batch, pairs: Pairs, frames: OwnFrames, condition: Tensor | None
    ) -> Features:
        """Features [K, d] of atoms in K frames of their own, whose layers pass on means over these.

        Parameters
        ----------
        batch : Batch
            The structures; positions in float64.
        pairs : Pairs
            Neighbors within the cutoff.
        frames : OwnFrames
            The frames and their weights.
        condition : Tensor [B, d] or [N, d], optional
            As `represent` takes it.

        Raises
        ------
        NotImplementedError
            Unless the backbone defines it, and `passes_on`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} cannot be symmetrized layer by layer: use "
            "ECSE(…, layerwise=False), or define `represent_in_frames` and `passes_on`."
        )

    def energy_per_atom(self, features: Features, z: Tensor) -> Tensor:
        """Energies [N] in eV, float64, from features of atoms and atomic numbers z [N].

        Parameters
        ----------
        features : Features
            What `represent` gave.
        z : Tensor
            Atomic numbers, [N].
        """
        return self.energy_head.per_atom(features.x, z)

    def atom_outputs(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None,
        force_input: Tensor | None,
        request: Request,
    ) -> AtomOutputs:
        """Represent the atoms, and read energies and noise off their features."""
        condition = self.normalized_condition(condition, batch)
        inputs: dict[str, Any] = {}
        if force_input is not None and self.force_encoding is not None:
            inputs["force_input"] = self.force_encoding(force_input.to(batch.pos.dtype))
        heads = self.property_heads.values()
        gated = isinstance(self.force_head, GatedForceHead)
        vectors = request.head_noise or any(head.reads_vectors for head in heads)
        vectors = vectors or (request.head_forces and gated)
        features = self.represent(batch, pairs, condition, vectors=vectors, **inputs)
        self._check_features(features, len(batch.z))
        return self.read_out(features, batch.z, request)

    def normalized_condition(self, condition: Tensor | None, batch: Batch) -> Tensor | None:
        """What `represent` is given as a condition.

        Parameters
        ----------
        condition : Tensor [B, d] or [N, d], optional
            As given to the model; None for the token of structures that have none.
        batch : Batch
            The structures.
        """
        if self.mask_token is None:
            return condition
        if condition is None:
            condition = self.mask_token.expand(batch.num_graphs, -1)
        return self.condition_norm(condition.to(self.mask_token))

    def read_out(self, features: Features, z: Tensor, request: Request) -> AtomOutputs:
        """Energies, and where they are asked for noise and forces, off features of atoms.

        Parameters
        ----------
        features : Features
            What `represent` gave.
        z : Tensor
            Atomic numbers, [N].
        request : Request
            What the pass is to give.
        """
        energy = self.energy_per_atom(features, z)
        noise = None
        if request.head_noise and self.noise_head is not None:
            noise = self.noise_head(features.x, features.v)
        forces = features.forces
        # the head for forces, where it reads vectors; other heads are parts of `represent`
        if request.head_forces and isinstance(self.force_head, GatedForceHead):
            forces = self.force_head(features.x, features.v)
        return AtomOutputs(
            x=features.x,
            energy=energy,
            v=features.v,
            noise=noise,
            forces=forces,
            edges=features.edges,
        )

    def _check_features(self, features: Features, n: int) -> None:
        """Raise where `represent` gives something else than features of n atoms."""
        if not isinstance(features, Features):
            raise TypeError(
                f"represent of {type(self).__name__} must return Features(x) with x of shape "
                f"[N, {self.hidden_channels}], got {named(features)}."
            )
        expected = (n, self.hidden_channels)
        if not isinstance(features.x, Tensor) or features.x.shape != expected:
            x = features.x
            got = f"shape {list(x.shape)}" if isinstance(x, Tensor) else named(x)
            raise ValueError(
                f"represent of {type(self).__name__} must return features x of shape "
                f"{list(expected)}, a row of hidden_channels numbers for each atom, got {got}."
            )

    def make_conditional(self, num_layers: int, width: int | None = None) -> None:
        """Make the model take a condition. To be called last, so that all other weights are drawn
        as without it.

        Parameters
        ----------
        num_layers : int
            How many layers a condition modulates: the length of `adaln`.
        width : int, optional
            Width of the features that are modulated, where it is not `hidden_channels`, the width
            of what `represent` gives and of conditions.
        """
        d = self.hidden_channels
        self.adaln = nn.ModuleList(AdaLN(width or d, d) for _ in range(num_layers))
        # embeddings grow with the structure, modulations should not
        self.condition_norm = nn.LayerNorm(d)
        self.mask_token = nn.Parameter(torch.randn(d))
        self.embedding_head = EmbeddingHead(d)

    def modulation(self, k: int, condition: Tensor | None, batch: Batch) -> Modulate | None:
        """How a condition modulates a layer: what gives scale, shift and gate [N, d] for the
        layer's normalized scalar features [N, d].

        Parameters
        ----------
        k : int
            The layer.
        condition : Tensor [B, d] or [N, d], or None
            What `represent` was given.
        batch : Batch
            The structures.

        Returns
        -------
        function or None
            None for a model that takes no condition.
        """
        if condition is None or self.adaln is None:
            return None
        return partial(self.adaln[k], condition, batch=batch)

    def make_force_input(self, lmax: int) -> None:
        """Make the model take forces as input. To be called last, as `make_conditional` is.

        Parameters
        ----------
        lmax : int
            The highest degree of the features that forces become.
        """
        self.force_encoding = ForceEncoding(self.hidden_channels, lmax)

    @property
    def filter_table_size(self) -> int | None:
        """Cells of the tables that filters are read from in training; None for exact filters. Kept
        by `save`."""
        return self._filter_table_size

    @filter_table_size.setter
    def filter_table_size(self, cells: int | None) -> None:
        if cells is not None and (not isinstance(cells, int) or not 8 <= cells <= 1_000_000):
            raise ValueError(
                "filter_table_size must be 8 cells or more, a million at most, or None for exact "
                f"filters, got {cells!r}."
            )
        self._filter_table_size = cells

    def filters(self, r: Tensor) -> Filters:
        """What the layers read about the distances of one pass.

        Filters are exact, but in training, where fused kernels run and pairs are many, they come
        from a table.

        Parameters
        ----------
        r : Tensor [P]
            Distances in Å.
        """
        cells = self.filter_table_size
        if cells is not None:
            fused = fused_for(self.hidden_channels, self.num_heads, r)
            if not self.training or len(r) < 2 * cells or not fused:
                cells = None
        return Filters(self.basis, r, self.cutoff, cells, self._shared_tables)

    @contextlib.contextmanager
    def shared_filter_tables(self) -> Iterator[None]:
        """Within this context, passes that read their filters from the same table make it once, and
        their gradients meet there: for several passes in one step.

        The weights must stay as they are until it ends, and a backward pass waits for its end.
        """
        before = self._shared_tables
        self._shared_tables = {}
        try:
            yield
        finally:
            self._shared_tables = before

    @known_arguments
    def add_property(
        self, name: str, kind: str | None = None, vector_lengths: bool | None = None
    ) -> PropertyHead:
        """Give the model a head for a property, or return the one it has.

        Parameters
        ----------
        name : str
            Name of the property.
        kind : str, default "scalar_mean"
            "scalar_sum" or "scalar_mean" over atoms, [B]; "vector" or "tensor" for one that rotates
            with the structure, [B, 3] or [B, 3, 3]; "per_atom" for three numbers an atom, [N, 3].
        vector_lengths : bool, default False
            Whether a number is read off the lengths of the vector features too, by backbones that
            have them. Denoising trains those vectors most, and a pass for the number alone would
            leave them out.

        Raises
        ------
        ValueError
            For a head that is there with another kind or other lengths, and for vectors that the
            backbone does not have.
        """
        if name in self.property_heads:
            head = self.property_heads[name]
            given = {"kind": kind, "vector_lengths": vector_lengths}
            for argument, value in given.items():
                there = getattr(head, argument)
                if value not in (None, there):
                    raise ValueError(
                        f"This {type(self).__name__} has a head for {name!r} with "
                        f"{argument}={there!r}, not {value!r}; use that, or a fresh model."
                    )
            return head
        kind = kind or "scalar_mean"
        taken = isinstance(name, str) and hasattr(self.property_heads, name)
        if not isinstance(name, str) or not name or "." in name or taken:
            raise ValueError(
                "A property must have a name without dots that torch does not use for modules, "
                f"such as 'homo', got {name!r}: rename it."
            )
        if kind in ("vector", "tensor") and self.equivariant and not self.has_vectors:
            raise ValueError(
                f"{type(self).__name__} has no vector features, so it has no {kind} properties; "
                "use a backbone that has them, such as EquivariantTransformer or DimeNet."
            )
        if vector_lengths and not self.has_vectors:
            raise ValueError(
                f"{type(self).__name__} has no vector features, so it has no vector_lengths; leave "
                "it out, or use a backbone that has them, such as EquivariantTransformer."
            )
        head = PropertyHead(
            self.hidden_channels, kind, self.equivariant, self.linear, bool(vector_lengths)
        )
        self.property_heads[name] = head.to(next(self.parameters()))
        return head

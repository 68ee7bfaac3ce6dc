"""Models around a backbone: what they hold of it, property by property."""

# Properties take the place of what backbones hold as attributes:
# pyright: reportIncompatibleVariableOverride=false

import contextlib
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from scdlab.nn.blocks.force_encoding import ForceEncoding
from scdlab.nn.blocks.heads import EmbeddingHead, EnergyHead
from scdlab.nn.blocks.properties import PropertyHead
from scdlab.nn.model import AtomisticModel, Model
from scdlab.nn.registry import as_json, named
from scdlab.nn.trained_labels import TrainedLabels
from scdlab.renames import known_arguments

if TYPE_CHECKING:
    from scdlab.nn.blocks.heads import DirectForceHead, GatedForceHead
    from scdlab.nn.pet import ForceHead


class Wrapper(Model):
    """A model around a backbone: sizes, heads and settings are the backbone's.

    Parameters
    ----------
    model : AtomisticModel
        The backbone.

    Raises
    ------
    ValueError
        For anything but a backbone.
    """

    def __init__(self, model: Model):
        super().__init__()
        if isinstance(model, Wrapper):
            raise ValueError(
                f"{type(self).__name__} takes a backbone, got one that is in "
                f"{named(model)} already; give its `model`."
            )
        if not isinstance(model, AtomisticModel):
            raise ValueError(
                f"{type(self).__name__} takes a backbone, an AtomisticModel, got {named(model)}; "
                "make one of the class, or wrap the module in a class with a method `represent`."
            )
        self.model = model
        self.train(model.training)

    @property
    def backbone(self) -> AtomisticModel:
        """The model that is seen in frames."""
        return self.model

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild the model; its properties are the backbone's."""
        return {**super().config, "model": as_json(self.model)}

    @property
    def hidden_channels(self) -> int:
        """Width d of the features."""
        return self.model.hidden_channels

    @property
    def cutoff(self) -> float:
        """Distance in Å within which atoms are neighbors."""
        return self.model.cutoff

    @property
    def n_hops(self) -> int | None:
        """How many neighbors away atoms matter; None: any number."""
        return self.model.n_hops

    @property
    def equivariant(self) -> bool:
        """Whether the backbone knows of rotations."""
        return self.model.equivariant

    @property
    def has_vectors(self) -> bool:
        """Whether the backbone has vector features."""
        return self.model.has_vectors

    @property
    def linear(self) -> bool:
        """Whether heads have one layer."""
        return self.model.linear

    @property
    def direct_forces(self) -> bool:
        """Whether forces come from a head of their own, and are the gradient of nothing."""
        return self.model.direct_forces

    @property
    def drop_path(self) -> float:
        """Probability with which a structure skips a layer in training."""
        return self.model.drop_path

    @drop_path.setter
    def drop_path(self, probability: float) -> None:
        self.model.drop_path = probability

    @property
    def filter_table_size(self) -> int | None:
        """Cells of the tables that filters are read from in training; None for exact filters."""
        return self.model.filter_table_size

    @filter_table_size.setter
    def filter_table_size(self, cells: int | None) -> None:
        self.model.filter_table_size = cells

    @property
    def units(self) -> dict[str, str]:
        """Units of the properties that the model learned."""
        return self.model.units

    @units.setter
    def units(self, units: dict[str, str]) -> None:
        self.model.units = units

    @property
    def provenance(self) -> dict[str, Any] | None:
        """Where a model that was loaded comes from."""
        return self.model.provenance

    @provenance.setter
    def provenance(self, provenance: dict[str, Any] | None) -> None:
        self.model.provenance = provenance

    @property
    def trained_labels(self) -> TrainedLabels:
        """Quantities that were labels in training, and of which elements."""
        return self.model.trained_labels

    @trained_labels.setter
    def trained_labels(self, labels: TrainedLabels) -> None:
        self.model.trained_labels = labels

    @property
    def trained_elements(self) -> Tensor:
        """Elements met in training, [119] bool."""
        return self.model.trained_elements

    @property
    def mask_token(self) -> nn.Parameter | None:
        """The condition of a structure that has none."""
        return self.model.mask_token

    @property
    def force_encoding(self) -> ForceEncoding | None:
        """Features of forces, of models that take them as input."""
        return self.model.force_encoding

    @property
    def energy_head(self) -> EnergyHead:
        """What energies come from."""
        return self.model.energy_head

    @property
    def noise_head(self) -> nn.Module | None:
        """What noise comes from."""
        return self.model.noise_head

    @property
    def embedding_head(self) -> EmbeddingHead | None:
        """What embeddings come from."""
        return self.model.embedding_head

    @property
    def force_head(self) -> "DirectForceHead | ForceHead | GatedForceHead | None":
        """What direct forces come from."""
        return self.model.force_head

    @property
    def property_heads(self) -> MutableMapping[str, PropertyHead]:
        """What properties come from."""
        return self.model.property_heads

    @known_arguments
    def add_property(
        self, name: str, kind: str | None = None, vector_lengths: bool | None = None
    ) -> PropertyHead:
        """Give the model a head for a property, or return the one it has, as of any model."""
        return self.model.add_property(name, kind, vector_lengths)

    def shared_filter_tables(self) -> contextlib.AbstractContextManager[None]:
        """Within this context, passes that read their filters from one table make it once."""
        return self.model.shared_filter_tables()

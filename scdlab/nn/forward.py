"""The forward path of every model: batch in, `Prediction` out.

Energies become forces here,

    F_i = -∂E/∂r_i        (so a force field is curl-free by construction: energy is conserved in
                          dynamics)

and outputs of atoms become those of structures. `Model` is what backbones (`AtomisticModel`) and
models built around them (`scdlab.symmetry`) have in common: the checks of what goes in, gradients,
sums over atoms, and what `fit`, `evaluate`, `save` and the calculator read. Subclasses are
registered by name, with the arguments of their constructors as `config`, so that `load` rebuilds
them.
"""

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scdlab import devices
from scdlab.atoms.batch import Batch, completed
from scdlab.atoms.neighbors import all_pairs, neighbor_list
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.adaln import check_condition
from scdlab.nn.blocks.force_encoding import ForceEncoding
from scdlab.nn.blocks.heads import EmbeddingHead, EnergyHead, sum_over_atoms
from scdlab.nn.blocks.properties import PropertyHead
from scdlab.nn.modes import (
    built_outside_inference,
    check_weights,
    checked_input,
    is_ordinary,
    ordinary_mode,
)
from scdlab.nn.ops.neighbor_sums import DirectedEdges
from scdlab.nn.prediction import AtomOutputs, Prediction, Request
from scdlab.nn.registry import as_json, declares, is_own, recording, register, with_argument
from scdlab.nn.trained_labels import TrainedLabels, check_elements, check_energy, check_forces
from scdlab.renames import RENAMED_ATTRIBUTES, known_arguments, renamed_attribute

if TYPE_CHECKING:
    from scdlab.nn.blocks.heads import DirectForceHead, GatedForceHead
    from scdlab.nn.model import AtomisticModel
    from scdlab.nn.pet import ForceHead


class Model(nn.Module, ABC):
    """A batch in, a `Prediction` out.

    Attributes
    ----------
    config : dict
        The arguments that rebuild the model, as json has them; properties that were added to it
        under "properties".
    hidden_channels : int
        Width d of its features.
    cutoff : float
        Distance in Å within which atoms are neighbors.
    n_hops : int or None
        An atom's outputs depend on atoms that are so many neighbors away; None: any number.
    takes_all_pairs : bool
        Whether pairs beyond the cutoff cost the model little, so that training on a GPU need not
        wait for a search.
    equivariant : bool
        Whether the model knows of rotations; if not, its vectors are numbers along the axes of
        space.
    has_vectors : bool
        Whether `represent` can give vector features.
    linear : bool
        Whether features are read-outs, so that heads have one layer.
    augment : bool
        Whether training rotates structures at random, unless `fit` is given another `augment`.
    drop_path : float
        Probability with which a structure skips a layer in training, where the model has that.
    units : dict of str to str
        Units of the properties that it learned.
    provenance : dict or None
        Where a model that was loaded comes from.
    trained_elements : Tensor [119], bool
        Elements met in training: embeddings of others are untrained, and their outputs wrong.
    trained_labels : TrainedLabels
        Quantities that were labels in training, and of which elements.
    energy_head, noise_head, embedding_head, force_head, property_heads : nn.Module
        What outputs come from; None for those that the model lacks.
    mask_token : nn.Parameter or None
        The condition of a structure that has none, of conditional models.
    force_encoding : ForceEncoding or None
        Features of forces, of models that take them as input.
    """

    takes_all_pairs: bool = False
    hidden_channels: int
    cutoff: float
    n_hops: int | None
    equivariant: bool
    has_vectors: bool
    linear: bool
    augment: bool
    drop_path: float
    units: dict[str, str]
    provenance: dict[str, Any] | None
    trained_elements: Tensor
    trained_labels: TrainedLabels
    energy_head: EnergyHead
    noise_head: nn.Module | None
    embedding_head: EmbeddingHead | None
    force_head: "DirectForceHead | ForceHead | GatedForceHead | None"
    property_heads: MutableMapping[str, PropertyHead]
    mask_token: nn.Parameter | None
    force_encoding: ForceEncoding | None
    init_arguments: dict[str, Any]
    built_in: torch.dtype  # torch's default precision then

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = recording(built_outside_inference(cls.__init__), is_own(cls))
        register(cls)

    def __setattr__(self, name: str, value: "Tensor | nn.Module") -> None:
        """Set an attribute. An old name that the class does not declare is refused: `table = None`
        would otherwise be a new attribute that nothing reads, and results others than with exact
        filters."""
        if name in RENAMED_ATTRIBUTES and not declares(type(self), name):
            raise renamed_attribute(type(self).__name__, name)
        super().__setattr__(name, value)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild the model, models among them as their name and config."""
        return {name: as_json(value) for name, value in self.init_arguments.items()}

    @property
    @abstractmethod
    def backbone(self) -> "AtomisticModel":
        """The model that represents atoms: the model itself, or the one that it is built around."""

    @property
    @abstractmethod
    def direct_forces(self) -> bool:
        """Whether forces come from a head of their own, and are the gradient of nothing."""

    @property
    @abstractmethod
    def filter_table_size(self) -> int | None:
        """Cells of the tables that filters are read from in training; None for exact filters."""

    @filter_table_size.setter
    @abstractmethod
    def filter_table_size(self, cells: int | None) -> None: ...

    @property
    def position_dtype(self) -> torch.dtype:
        """The precision in which positions enter the model."""
        return next(self.parameters()).dtype

    @abstractmethod
    def add_property(
        self, name: str, kind: str | None = None, vector_lengths: bool | None = None
    ) -> PropertyHead:
        """Give the model a head for a property, or return the one it has.

        Parameters
        ----------
        name : str
            The property's name, as in the store.
        kind : str, optional
            "scalar_sum", "scalar_mean" (the default), "vector", "tensor" or "per_atom".
        vector_lengths : bool, optional
            Whether a number is read off the lengths of vectors too.
        """

    @abstractmethod
    def shared_filter_tables(self) -> contextlib.AbstractContextManager[None]:
        """Within this context, passes that read their filters from one table make it once."""

    @abstractmethod
    def atom_outputs(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None,
        force_input: Tensor | None,
        request: Request,
    ) -> AtomOutputs:
        """Compute what each atom gives: the part of a forward pass that is a model's own.

        Parameters
        ----------
        batch : Batch
            The structures; `pos` in `position_dtype`, with a gradient where one is needed.
        pairs : Pairs
            Neighbors within the cutoff.
        condition : Tensor [B, d] or [N, d], optional
            As given to the model, checked.
        force_input : Tensor [N, 3], optional
            Forces in eV/Å as given to the model, checked.
        request : Request
            What the pass is to give.
        """

    def inputs(self, batch: Batch, gradient: bool) -> Batch:
        """The batch as `atom_outputs` reads it: positions in the model's precision.

        Parameters
        ----------
        batch : Batch
            As given to the model; it stays as it is.
        gradient : bool
            Whether energies will be differentiated by the positions. These are the caller's own if
            they carry a gradient already, else a fresh leaf.
        """
        inputs = copy.copy(batch)  # shallow: the caller's batch keeps its own positions
        if gradient and not batch.pos.requires_grad:
            inputs.pos = batch.pos.detach().to(self.position_dtype).requires_grad_()
        else:
            inputs.pos = batch.pos.to(self.position_dtype)
        return inputs

    @known_arguments
    def forward(
        self,
        batch: Batch,
        condition: Tensor | None = None,
        force_input: Tensor | None = None,
        forces: bool = False,
        noise: bool | None = None,
        pairs: Pairs | None = None,
    ) -> Prediction:
        """Predict for a batch.

        Within torch.inference_mode the outputs are those of torch.no_grad; autocast and
        torch.compile change nothing: see `scdlab.nn.modes`.

        Parameters
        ----------
        batch : Batch
            The structures, as `AtomStore.take` gives them.
        condition : Tensor [B, d] or [N, d], optional
            For models with conditional=True: one a structure, or one an atom. A row that equals
            `mask_token` is no condition; None is that token for all.
        force_input : Tensor [N, 3], optional
            For models with force_input=True: forces on atoms in eV/Å, zero for atoms without one.
        forces : bool, default False
            Also give forces.
        noise : bool, optional
            Also give the noise in the positions, in units of σ. None: when the model has a head for
            it. A model without one gives the gradient of its energy, -forces / scale.
        pairs : Pairs, optional
            Neighbors within the cutoff, when they are known already. Pairs beyond it do no harm.

        Raises
        ------
        ValueError
            For what the model does not take or cannot give, and, outside training, for elements
            that were not in the training set.
        """
        others = (condition, force_input, forces, noise, pairs)
        if torch.compiler.is_compiling():
            eager: Any = torch.compiler.disable(self.forward)
            return eager(batch, *others)
        batch = completed(batch)
        if not is_ordinary(batch.pos.device):
            with ordinary_mode(batch.pos.device):
                return self.forward(batch, *others)
        keep_graph = torch.is_grad_enabled()
        request = self._request(forces, noise, keep_graph)
        device = next(self.backbone.parameters()).device
        batch, pairs, condition, force_input = checked_input(
            batch, pairs, condition, force_input, device, keep_graph or request.gradient
        )
        self.check_input(batch, condition, force_input)
        pairs = self.unread_pairs(batch) if pairs is None else pairs
        pairs = neighbor_list(batch, self.cutoff) if pairs is None else pairs
        gradient = None
        with torch.set_grad_enabled(keep_graph or request.gradient):
            inputs = self.inputs(batch, request.gradient)
            atoms = self.atom_outputs(inputs, pairs, condition, force_input, request)
            energy = self.energy_head.total(atoms.energy, inputs)  # (N) -> (B)
            if request.gradient:
                total = atoms.energy_to_differentiate
                # will forces, or noise that is a gradient, be differentiated?
                again = self.training or request.gradient_noise or batch.pos.requires_grad
                with _backward_for_positions(atoms.edges, last=_is_own_leaf(batch)):
                    (gradient,) = torch.autograd.grad(
                        (energy if total is None else total).sum(),
                        inputs.pos,
                        create_graph=keep_graph and again,
                        retain_graph=keep_graph,
                    )
        with torch.set_grad_enabled(keep_graph):
            if not keep_graph:
                atoms = atoms.detach()
                energy = energy.detach()
            return self._prediction(inputs, atoms, energy, gradient, request)

    def unread_pairs(self, batch: Batch) -> Pairs | None:
        """Pairs for a step of training on a GPU, found without waiting for it.

        Parameters
        ----------
        batch : Batch
            The structures.

        Returns
        -------
        Pairs or None
            All pairs of small molecules, see `atoms.neighbors.all_pairs`; None where neighbors are
            to be searched.
        """
        if not (self.takes_all_pairs and self.training):
            return None
        if devices.reads_freely(batch.pos.device):
            return None
        return all_pairs(batch, self.cutoff)

    def _request(self, forces: bool, noise: bool | None, keep_graph: bool) -> Request:
        request = Request(
            forces=forces,
            noise=self.noise_head is not None if noise is None else noise,
            direct_forces=self.direct_forces,
            noise_head=self.noise_head is not None,
            keep_graph=keep_graph,
        )
        weight = next(self.backbone.parameters())
        check_weights(weight, type(self.backbone).__name__, keep_graph or request.gradient)
        if request.gradient_noise and request.direct_forces:
            raise ValueError(
                f"This {type(self.backbone).__name__} has no noise head, and with "
                "direct_forces=True noise cannot be taken from the gradient of the energy; build "
                "it with a noise head, or with direct_forces=False."
            )
        return request

    def _prediction(
        self,
        batch: Batch,
        atoms: AtomOutputs,
        energy: Tensor,
        gradient: Tensor | None,
        request: Request,
    ) -> Prediction:
        """Outputs of structures from those of their atoms, and from the gradient [N, 3] of the
        energy."""
        properties = self.property_outputs(atoms)
        forces = atoms.forces if request.head_forces else None
        noise = atoms.noise if request.head_noise else None
        if gradient is not None and request.gradient_forces:
            forces = -gradient.to(atoms.x.dtype)
        if gradient is not None and request.gradient_noise:
            scale = self.energy_head.scale.to(gradient.dtype)
            noise = (gradient / scale).to(atoms.x.dtype)
        return Prediction(
            energy=energy,
            forces=forces,
            noise=noise,
            embedding=(self.embedding_head or sum_over_atoms)(atoms.x, batch),
            atoms=atoms.x,
            properties={
                name: head.total(properties[name], batch)
                for name, head in self.property_heads.items()
            },
            per_atom={"energy": atoms.energy, **properties},
        )

    def property_outputs(self, atoms: AtomOutputs) -> dict[str, Tensor]:
        """What each atom gives to each property: by name, [N, …], in units of the head.

        Parameters
        ----------
        atoms : AtomOutputs
            What the model computed for the atoms.
        """
        if atoms.properties is not None:
            return atoms.properties
        heads = self.property_heads.items()
        return {name: head.per_atom(atoms.x, atoms.v) for name, head in heads}

    def check_input(
        self, batch: Batch, condition: Tensor | None, force_input: Tensor | None
    ) -> None:
        """Raise ValueError for what the model does not take, see `forward`.

        Parameters
        ----------
        batch : Batch
            The structures.
        condition : Tensor or None
            [B, d] or [N, d].
        force_input : Tensor or None
            [N, 3] eV/Å.
        """
        name = type(self.backbone).__name__
        if not self.training:
            self.check_elements(batch.z)
        if condition is not None:
            if self.mask_token is None:
                remedy = with_argument(type(self.backbone), "conditional")
                raise ValueError(f"This {name} takes no condition; {remedy}.")
            check_condition(condition, batch, self.hidden_channels)
        if force_input is not None:
            if self.force_encoding is None:
                remedy = with_argument(type(self.backbone), "force_input")
                raise ValueError(f"This {name} takes no force input; {remedy}.")
            if force_input.shape != batch.pos.shape:
                raise ValueError(
                    f"The force input must have shape {list(batch.pos.shape)}, one force in eV/Å "
                    f"for each atom of this batch, got {list(force_input.shape)}; give zero for "
                    "atoms without one."
                )
            finite = force_input.isfinite().all(-1)
            if not bool(finite.all()):
                raise ValueError(
                    f"The force input of atom {int((~finite).nonzero()[0])} of the batch is not "
                    "finite; leave its structure out, or give zero."
                )

    def check_elements(self, z: Tensor) -> None:
        """Raise ValueError when atomic numbers hold an element that was not in the training set.

        Parameters
        ----------
        z : Tensor [N]
            Atomic numbers.
        """
        check_elements(self, z)

    def check_energy(self, z: Tensor, structure: Tensor | None = None) -> None:
        """Raise ValueError when energies of these elements were no labels in training.

        Outputs are not checked by it: who reads energies calls it first. A model that was never
        trained passes. A composition whose energy the training set does not determine is logged,
        once.

        Parameters
        ----------
        z : Tensor [N]
            Atomic numbers.
        structure : Tensor [N], optional
            The structure of each atom; None for one structure.
        """
        check_energy(self, z, structure)

    def check_forces(self, z: Tensor) -> None:
        """Raise ValueError when forces on these elements were not learned, likewise.

        Parameters
        ----------
        z : Tensor [N]
            Atomic numbers.
        """
        check_forces(self, z)


def _backward_for_positions(
    edges: DirectedEdges | None, last: bool
) -> contextlib.AbstractContextManager[None]:
    """A backward pass for the gradient by positions, from which sums over edges leave the rest out.

    `last`: no later pass needs the gradient by positions.
    """
    if edges is None:
        return contextlib.nullcontext()
    return edges.backward_for("positions", then="parameters" if last else None)


def _is_own_leaf(batch: Batch) -> bool:
    """Whether the positions that are differentiated by are a leaf of ours, which no caller can
    reach."""
    cell = batch.get("cell")
    return not batch.pos.requires_grad and not (cell is not None and cell.requires_grad)

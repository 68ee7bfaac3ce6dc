"""Learning from labels: energies and forces, or one property (Schütt et al. 2017, section 4.2).

    EnergyForces:        L = ρ ‖E - Ê‖² + f/n Σ_i ‖F_i + ∂Ê/∂r_i‖²
                         (ρ = 0.01 and f = 1 in the paper; eV, eV/Å)
                         L = ρ |E - Ê|  + f/n Σ_i ‖F_i + ∂Ê/∂r_i‖
                         with loss="norm": large errors count less
    PropertyRegression:  L = ‖y - ŷ‖² / s²
                         (s: spread of y in the training set)
                         L = 1/3 ‖y - ŷ‖² / s²
                         of vectors (s: root mean square component of y)

`prepare` fits what is not learned by gradient, such as reference energies. `label_modules` are the
modules that answer for the labels; in a pretrained model they alone are new, and
`fit(..., lr={"head": …, "backbone": …})` gives them a learning rate of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch
from scdlab.atoms.shares import balanced
from scdlab.atoms.store import AtomStore
from scdlab.nn.model import Model, Prediction
from scdlab.objectives.arguments import (
    check_choice,
    check_property_name,
    check_switch,
    check_weight,
)
from scdlab.objectives.base import (
    Mean,
    Parts,
    SupervisedObjective,
    free_atoms,
    mark_trained_elements,
    mark_trained_labels,
    required,
)
from scdlab.objectives.label_statistics import LabelStatistics, check_scale
from scdlab.objectives.reference_energies import (
    check_compositions,
    checked_references,
    given_references,
)

LOSSES = ("norm", "squared")
EXTENSIVE = frozenset(  # of QM9's properties: they grow with size
    {"alpha", "r2", "zpve", "U0", "U", "H", "G", "Cv"}
)


def squared_or_norm(error: Tensor, loss: str) -> Tensor:
    """‖error‖² over the last axis, or ‖error‖, which is smooth where the error is zero."""
    square = error.square().sum(-1)
    return square if loss == "squared" else (square + 1e-12).sqrt()


def _over(counts: Tensor, term: Tensor, error: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means of a term of the loss and of an error over those that count, zero where none does; and
    how many these are."""
    number = counts.sum()
    some = number.clamp(min=1)
    term = torch.where(counts, term, 0.0).sum() / some
    return term, torch.where(counts, error, 0.0).sum() / some, number


@dataclass
class EnergyForces(SupervisedObjective):
    """Energies, and forces as well unless forces=False.

    Forces on atoms that the structures mark as `fixed` are not learned, and do not count in the
    error. Parts: "energy_mae" (eV) over structures, "force_mae" (eV/Å) over atoms.

    Parameters
    ----------
    energy_weight : float, default 0.01
        Weight ρ of the energy term when forces are there.
    forces_weight : float, default 1.0
        Weight f of the force term.
    forces : bool, default True
        Whether forces are learned.
    loss : str, default "squared"
        "squared", or "norm" for the lengths of the errors themselves.
    reference_energies : mapping of str or int to float, optional
        Energy in eV of an isolated atom of each element, by symbol or atomic number, from the
        method of the labels. None: fitted to the training set, which determines them only as far as
        its compositions vary.
    """

    energy_weight: float = 0.01
    forces_weight: float = 1.0
    forces: bool = True
    loss: str = "squared"
    reference_energies: Mapping[str | int, float] | None = None

    balances = True

    def __post_init__(self) -> None:
        check_weight("energy_weight", self.energy_weight)
        check_weight("forces_weight", self.forces_weight)
        check_switch("forces", self.forces)
        check_choice("loss", self.loss, LOSSES)
        if self.reference_energies is not None:
            self.reference_energies = {**checked_references(self.reference_energies)}

    @property
    def model_outputs(self) -> dict[str, bool]:
        return {"forces": self.forces}

    def prepare(self, model: Model, train: AtomStore) -> None:
        """Fit the reference energies and the scale of the energy head to the training set.

        Parameters
        ----------
        model : Model
            The model that is to be trained.
        train : AtomStore
            The training set.

        Raises
        ------
        ValueError
            When labels are missing or are not finite numbers, and when `reference_energies` lacks
            an element.
        """
        for name, there in (
            ("energies", train.has_energy),
            ("forces", train.has_forces or not self.forces),
        ):
            if not there:
                raise ValueError(
                    f"{self!r} needs {name}, and the training set has none; use a labeled data set"
                    f"{' or EnergyForces(forces=False)' if name == 'forces' else ''}."
                )
        found = LabelStatistics(train, self.forces)
        undetermined = None
        if self.reference_energies is None:
            reference = found.reference_energies()
            undetermined = check_compositions(found.gram, model.trained_labels.undetermined)
        else:
            reference = given_references(self.reference_energies, found.elements.tolist())
        # the force is the gradient of the scaled energy, so it sets the scale
        scale = found.force_scale() if self.forces else found.energy_scale(reference)
        if not self.forces:
            check_scale("energies", scale, found.energy)
        scale = scale if scale > 1e-6 else 1.0
        model.energy_head.reference.copy_(torch.from_numpy(reference))
        model.energy_head.scale.fill_(scale)
        if model.force_head is not None:
            model.force_head.get_buffer("scale").fill_(scale)
        mark_trained_elements(model, train)
        # references are of this training set alone, and so are the elements that have energies now
        elements = tuple(found.elements.tolist())
        alone = self.forces and model.direct_forces  # energies are no integral of such forces
        model.trained_labels = model.trained_labels.replaced(
            energy=() if alone and not self.energy_weight else elements,
            forces=elements if self.forces and self.forces_weight else (),
            undetermined=undetermined,
        )

    def label_modules(self, model: Model) -> list[nn.Module]:
        heads = (model.energy_head, model.force_head)
        return [head for head in heads if head is not None]

    def compare(
        self,
        model: Model,
        prediction: Prediction,
        batch: Batch,
        left_out: Tensor | None = None,
        structures_left_out: Tensor | None = None,
    ) -> tuple[Tensor, Parts]:
        """Loss and parts of a prediction that was made with `model_outputs`.

        Parameters
        ----------
        model : Model
            The model that made the prediction.
        prediction : Prediction
            Its energies, and its forces if they are learned.
        batch : Batch
            The structures with their labels.
        left_out : Tensor of bool, [N], optional
            Atoms whose forces do not count, beside the fixed ones.
        structures_left_out : Tensor of bool, [B], optional
            Structures whose energies do not count, nor the forces on their atoms.
        """
        error = required(prediction.energy, "energy") - batch.energy  # (B) eV, float64
        term = squared_or_norm(error.unsqueeze(-1), self.loss)  # (B)
        if structures_left_out is None:
            parts = {"energy_mae": Mean(error.detach().abs().mean(), batch.num_graphs)}
            loss = balanced(term.mean(), batch, batch.num_graphs)
        else:
            loss, mae, number = _over(~structures_left_out, term, error.detach().abs())
            parts = {"energy_mae": Mean(mae, number, selected=True)}
            loss = balanced(loss, batch, number)
            of_them = structures_left_out.index_select(0, batch.batch)  # (N)
            left_out = of_them if left_out is None else left_out | of_them
        if not self.forces:
            return loss, parts
        forces = required(prediction.forces, "forces")  # (N, 3)
        residual = forces - batch.forces.to(forces.dtype)  # (N, 3) eV/Å
        term = squared_or_norm(residual, self.loss)  # (N)
        length = residual.detach().abs().mean(-1)  # (N)
        counts = free_atoms(batch)  # (N)
        if left_out is not None:
            counts = ~left_out if counts is None else counts & ~left_out
        if counts is None:
            term = balanced(term.mean(), batch, batch.num_nodes)
            parts["force_mae"] = Mean(length.mean(), batch.num_nodes)
        else:
            term, mae, number = _over(counts, term, length)
            term = balanced(term, batch, number)
            parts["force_mae"] = Mean(mae, number, selected=True)
        return self.energy_weight * loss + self.forces_weight * term, parts


def finite_expression(name: str, vector: bool = False) -> str:
    """Advice for people: the expression for the structures of a `store` that have the property."""
    return f"np.isfinite(store.property({name!r})){'.all(1)' if vector else ''}"


@dataclass
class PropertyRegression(SupervisedObjective):
    """One named property of the structures.

    Fine-tuning is the same on a model that has been pretrained; its head for the property is the
    only new part:

        model = scdlab.load("runs/pretrained/model")
        rates = {"head": 1e-3, "backbone": 1e-4}
        scdlab.fit(model, PropertyRegression("homo"), train, val, lr=rates)
        homo = model(batch).properties["homo"]  # [B], in model.units["homo"]

    Denoising goes on beside it with CoordinateDenoising(sigma=0.005,
    supervised=PropertyRegression("homo"), weight=0.1), and fades with fit(..., anneal={"weight":
    (0.1, 0.0)}).

    Parts: "<name>_mae" over structures, in the unit of the labels.

    Parameters
    ----------
    name : str
        The property.
    kind : str, optional
        "scalar_sum" or "scalar_mean" over atoms; by default what suits QM9's property. "vector" is
        for what has a direction, such as a dipole moment: the head gives a vector. Where the labels
        are vectors, [n, 3], it is compared with them by components, and "<name>_mae" is the mean
        absolute error of a component; where they are numbers, as QM9's μ, its length is compared.
    vector_lengths : bool, optional
        Whether a number is read off the lengths of the model's vector features too, as in
        `add_property`; by default as the model's head does, if it has one, else False.
    """

    name: str
    kind: str | None = None
    vector_lengths: bool | None = None

    def __post_init__(self) -> None:
        check_property_name(self.name)
        self.kind = self.kind or ("scalar_sum" if self.name in EXTENSIVE else "scalar_mean")
        check_choice("kind", self.kind, ("scalar_sum", "scalar_mean", "vector"))
        self.property_name = self.name
        if self.vector_lengths is not None:
            check_switch("vector_lengths", self.vector_lengths)
            if self.vector_lengths and self.kind == "vector":
                raise ValueError(
                    "vector_lengths is for a property that is a number, got kind='vector', whose "
                    "head reads vectors already; leave it out."
                )

    def prepare(self, model: Model, train: AtomStore) -> None:
        """Give the model a head for the property, set its mean and spread from the training set,
        and keep its unit as `model.units[name]`.

        Parameters
        ----------
        model : Model
            The model that is to be trained.
        train : AtomStore
            The training set.

        Raises
        ------
        ValueError
            For labels that are missing, for all of the structures or for some, that are too large,
            and for vectors that are to be learned as numbers.
        """
        y = torch.from_numpy(np.array(train.property(self.name)))  # (n) or (n, 3) float64
        if len(missing := (~y.isfinite().view(len(y), -1).all(1)).nonzero().flatten()):
            remedy = f"leave them out with store[{finite_expression(self.name, y.ndim == 2)}]"
            raise ValueError(
                f"{len(missing):,} of {len(y):,} structures have no {self.name!r} (the first is "
                f"number {int(missing[0])}); {remedy}."
            )
        if y.ndim == 2 and self.kind != "vector":
            raise ValueError(
                f"{self.name!r} is a vector in this training set: learn it with PropertyRegression("
                f"{self.name!r}, 'vector')."
            )
        spread = y.std(correction=0) if y.ndim == 1 else y.square().mean().sqrt()
        check_scale(f"labels {self.name!r}", max(float(spread), float(y.abs().max())), y.numpy())
        lengths = self.vector_lengths
        own = {} if lengths is None else {"vector_lengths": lengths}
        head = model.add_property(self.name, self.kind, **own)
        if y.ndim == 1:
            head.mean.copy_(y.mean())
        head.std.copy_(spread.clamp(min=1e-6))
        model.units = {**model.units, self.name: train.units(self.name)}
        mark_trained_elements(model, train)
        mark_trained_labels(model, train, (self.name,))

    def label_modules(self, model: Model) -> list[nn.Module]:
        return [model.property_heads[self.name]]

    def compare(self, model: Model, prediction: Prediction, batch: Batch) -> tuple[Tensor, Parts]:
        """Loss and parts of a prediction.

        Parameters
        ----------
        model : Model
            The model that made the prediction.
        prediction : Prediction
            Its properties.
        batch : Batch
            The structures with their labels.

        Raises
        ------
        ValueError
            For numbers that are to be compared with vectors.
        """
        y = prediction.properties[self.name]
        label = batch[self.name]  # (B) or (B, 3) each, in the unit of the labels
        if y.ndim < label.ndim:
            raise ValueError(
                f"The model gives {self.name!r} as a number, and the labels are vectors; train it "
                f"with PropertyRegression({self.name!r}, 'vector')."
            )
        error = (y if y.ndim == label.ndim else y.norm(dim=-1)) - label  # (B) or (B, 3)
        loss = (error / model.property_heads[self.name].std).square().mean()
        return loss, {f"{self.name}_mae": Mean(error.detach().abs().mean(), batch.num_graphs)}

"""How good a model is: means of an objective's parts over a whole store."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scdlab.atoms.batch import Batch
from scdlab.atoms.collate import pack_batches
from scdlab.atoms.store import AtomStore
from scdlab.log import logger
from scdlab.nn import Model, Prediction, evaluating
from scdlab.nn.trained_labels import check_property
from scdlab.objectives import EnergyForces, Mean, Objective, PropertyRegression
from scdlab.objectives.answer import checked_answer
from scdlab.objectives.base import Parts, required
from scdlab.objectives.supervised import finite_expression
from scdlab.renames import known_arguments
from scdlab.training.arguments import check_model, check_objective, check_store, whole_number
from scdlab.training.sampler import Batches

OTHER_REFERENCE = 1.0  # eV; larger mean errors for each atom are those of another zero of energy


@known_arguments
def evaluate(
    model: Model,
    store: AtomStore,
    objective: Objective | None = None,
    batch_size: int | None = 64,
    max_atoms: int | None = None,
) -> dict[str, float]:
    """Errors of a model on a store.

    Parameters
    ----------
    model : Model
        The model.
    store : AtomStore
        Structures with labels.
    objective : Objective, optional
        What to evaluate; by default everything the model predicts and the store has labels for,
        from one pass over the structures as they are, without noise or condition.
    batch_size : int, default 64
        Most structures of a batch.
    max_atoms : int, optional
        Most atoms of a batch, as for `fit`.

    Returns
    -------
    dict of str to float
        Mean absolute errors: "energy_mae" (eV), "energy_mae_per_atom" (eV), "force_mae" (eV/Å),
        "<property>_mae", of vectors those of a component. With an objective its parts, and its loss
        under "loss".

    Raises
    ------
    ValueError
        When there is nothing to compare, and for numbers that are out of range.
    TypeError
        For an argument of the wrong kind.
    """
    check_model(model)
    if objective is not None:
        check_objective(objective)
    check_store("store", store, "store to evaluate on")
    batch_size = None if batch_size is None else whole_number("batch_size", batch_size)
    max_atoms = None if max_atoms is None else whole_number("max_atoms", max_atoms)
    store.check_max_atoms(max_atoms)
    store.verify()
    if objective is not None:
        check_labels(store, objective)
        check_learned(model, store, objective)
        found = mean_parts(model, store, objective, batch_size, max_atoms)
        _hint_at_other_reference(model, store, found)
        return found
    objectives = _labels_of_both(model, store)
    if not objectives:
        raise ValueError(
            "The model predicts nothing that the store has labels for; train it or give an "
            "objective."
        )
    found = {}
    for each in objectives:
        check_labels(store, each)
        check_learned(model, store, each)
        found |= mean_parts(model, store, each, batch_size, max_atoms)
    del found["loss"]
    _hint_at_other_reference(model, store, found)
    return found


def _hint_at_other_reference(model: Model, store: AtomStore, found: dict[str, float]) -> None:
    """Log that energies differ as those of two methods do, which have different zeros: no model of
    the same method is wrong by more than `OTHER_REFERENCE` for each atom."""
    mae = found.get("energy_mae_per_atom")
    if mae is None:
        mae = found.get("energy_mae", 0.0) / float(np.mean(store.n_atoms))
    if not mae > OTHER_REFERENCE:
        return
    known = getattr(model, "provenance", None) or {}
    trained_on = str(known.get("seen") or known.get("data") or "").partition(";")[0]
    theirs = str(store.meta.get("source") or "")
    logger.warning(
        "The energies are off by %.3g eV for each atom: model%s and data%s seem to come from "
        "methods with different zeros of energy; compare forces, or fine-tune the model on such "
        "data.",
        mae,
        f" ({trained_on})" if trained_on else "",
        f" ({theirs})" if theirs else "",
    )


def _labels_of_both(model: Model, store: AtomStore) -> list[Objective]:
    """An objective for each kind of label that the model predicts and the store has."""
    found: list[Objective] = []
    trained = bool(model.trained_elements.any())
    energies = model.trained_labels.energy if trained else model.energy_head.reference.any()
    if store.has_energy and bool(energies):
        found.append(_EnergiesPerAtom(forces=store.has_forces))
    for name in model.property_heads:
        if name not in (*store.property_names, *store.vector_names):
            continue
        ours = model.units.get(name, "")
        theirs = store.units(name)
        if ours and theirs and ours != theirs:
            raise ValueError(
                f"The model gives {name!r} in {ours} and the store has it in {theirs}; convert the "
                "labels."
            )
        found.append(PropertyRegression(name))
    return found


@dataclass
class _EnergiesPerAtom(EnergyForces):
    """Energies and forces, and the errors of energies per atom beside those of totals."""

    def compare(
        self,
        model: Model,
        prediction: Prediction,
        batch: Batch,
        left_out: Tensor | None = None,
        structures_left_out: Tensor | None = None,
    ) -> tuple[Tensor, Parts]:
        loss, parts = super().compare(model, prediction, batch, left_out, structures_left_out)
        error = required(prediction.energy, "energy") - batch.energy  # (B) eV
        per_atom = (error.abs() / batch.ptr.diff()).mean()
        parts = {**parts, "energy_mae_per_atom": Mean(per_atom, batch.num_graphs)}
        order = sorted(parts, key=("energy_mae", "energy_mae_per_atom", "force_mae").index)
        return loss, {name: parts[name] for name in order}


def check_labels(store: AtomStore, objective: Objective) -> None:
    """Raise ValueError, saying how many and which, where structures lack the property that is to be
    learned."""
    if objective.labeled is None or (name := objective.labeled.property_name) is None:
        return
    y = store.property(name)
    there = np.isfinite(y) if y.ndim == 1 else np.isfinite(y).all(1)
    missing = store.index[~there]  # as counted in the set that a split was taken from
    if len(missing):
        which = ", ".join(map(str, sorted(missing)[:5])) + (", …" if len(missing) > 5 else "")
        raise ValueError(
            f"{len(missing):,} of {len(store):,} structures have no {name!r} (number {which}); "
            f"leave them out, as in store[{finite_expression(name, y.ndim == 2)}]."
        )


def check_learned(model: Model, store: AtomStore, objective: Objective) -> None:
    """Raise ValueError for labels that the model has not learned, of the elements of a store.

    Parameters
    ----------
    model : Model
        A model; one that was never trained passes.
    store : AtomStore
        The structures.
    objective : Objective
        What is evaluated.
    """
    labels = objective.labeled
    if isinstance(labels, PropertyRegression):
        check_property(model, labels.name, np.array(store.elements))
    if not isinstance(labels, EnergyForces):
        return
    if model.trained_labels.undetermined is None:
        model.check_energy(torch.tensor(store.elements))
    else:  # structure by structure
        for start in range(0, len(store), 1024):
            arrays = store[start : start + 1024].arrays()
            structure = np.repeat(np.arange(len(arrays["ptr"]) - 1), np.diff(arrays["ptr"]))
            model.check_energy(torch.from_numpy(np.array(arrays["z"])), torch.from_numpy(structure))
    if labels.forces:
        model.check_forces(torch.tensor(store.elements))


def mean_parts(
    model: Model,
    store: Batches,
    objective: Objective,
    batch_size: int | None,
    max_atoms: int | None = None,
) -> dict[str, float]:
    """The objective's loss and parts over a whole store, each averaged over what it is a mean of.

    Parameters
    ----------
    model : Model
        The model.
    store : AtomStore or its copy on a device
        The structures.
    objective : Objective
        What is evaluated.
    batch_size, max_atoms : int, optional
        Most structures and most atoms of a batch.

    Returns
    -------
    dict of str to float
        "loss" and the parts; what could not be measured in any batch is left out.

    Raises
    ------
    ValueError
        When nothing could be measured.
    """
    device = next(model.parameters()).device
    sums: dict[str, float] = {}
    weights: dict[str, float] = {}
    starts = [0, *pack_batches(store.n_atoms, batch_size, max_atoms)[0], len(store)]
    with evaluating(model), torch.no_grad():
        for first, last in itertools.pairwise(starts):
            batch = store.take(np.arange(first, last)).to(device)
            # one and the same noise at every validation, so that losses can be compared
            answer = objective(model, batch, torch.Generator(device).manual_seed(first))
            loss, means = checked_answer(objective, answer, batch.num_graphs)
            over = objective.loss_over
            count = batch.num_graphs if over is None else means[over].count
            for name, mean in {"loss": Mean(loss, count), **means}.items():
                weight = float(mean.count)
                sums[name] = sums.get(name, 0.0) + float(mean) * weight
                weights[name] = weights.get(name, 0.0) + weight
    measured = [weight for name, weight in weights.items() if name != "loss"]
    if not weights["loss"] or (measured and not any(measured)):
        raise ValueError(
            f"No structure of the {len(store):,} to evaluate on has anything that {objective!r} "
            "could measure; give others."
        )
    return {name: sums[name] / weights[name] for name in sums if weights[name]}

"""The auxiliary model of ECSE: it stands in for surroundings that make no frame.

Until it is trained by itself (`fit(exact.auxiliary, …)`), it has the reference energies and units
of the model, which it is given for the length of a call; nothing of it is changed.

With frames of each atom, train it through ECSE (`fit(exact, …)`) rather than by itself: trained
alone on what it is asked about, it leaves a hole of about 1 eV in the energy of bent water, as
lesson 05 measures; see `ecse` for the reason. By itself is enough for pooled frames.
"""

import warnings

from torch import Tensor, nn
from torch.func import functional_call

from scdlab.atoms.batch import Batch
from scdlab.nn.et import EquivariantTransformer
from scdlab.nn.model import AtomisticModel
from scdlab.nn.prediction import Prediction
from scdlab.symmetry.clusters import make_batch, starts

#: What `warn_untrained` warns of, as a pattern that matches it.
UNTRAINED = "(?s).*auxiliary model that stands in there has not been trained"


def default_auxiliary(model: AtomisticModel) -> EquivariantTransformer:
    """A small equivariant transformer that adds nothing to reference energies before training.

    Parameters
    ----------
    model : AtomisticModel
        The backbone beside which it stands.
    """
    made = EquivariantTransformer(
        hidden_channels=64,
        num_layers=1,
        num_heads=4,
        num_rbf=32,
        cutoff=model.cutoff,
        noise_head=model.noise_head is not None,
    )
    last = made.energy_head.mlp[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return made


def auxiliary_kind(model: AtomisticModel, kind: str) -> str:
    """The kind of a property in the auxiliary model.

    Parameters
    ----------
    model : AtomisticModel
        The backbone beside which it stands.
    kind : str
        The kind there. A vector of each atom, of a backbone that knows of no rotations, is an
        equivariant model's vector before it is summed.
    """
    return "vector" if kind == "per_atom" and not model.equivariant else kind


def is_trained_alone(auxiliary: AtomisticModel) -> bool:
    """Whether the auxiliary model was trained by a fit of its own: it has its own units then.

    Parameters
    ----------
    auxiliary : AtomisticModel
        The auxiliary model.
    """
    return bool(auxiliary.trained_elements.any())


def predict(
    model: AtomisticModel, auxiliary: AtomisticModel, batch: Batch, noise: bool
) -> Prediction:
    """The auxiliary model's outputs, with references and units of the model until it has its own.

    Parameters
    ----------
    model : AtomisticModel
        The backbone beside which it stands.
    auxiliary : AtomisticModel
        The auxiliary model.
    batch : Batch
        The structures.
    noise : bool
        Whether noise is an output.
    """
    if is_trained_alone(auxiliary):
        return auxiliary(batch, noise=noise)
    borrowed = {
        "energy_head.reference": model.energy_head.reference,
        "energy_head.scale": model.energy_head.scale,
    }
    for name, head in model.property_heads.items():
        borrowed[f"property_heads.{name}.mean"] = head.mean
        borrowed[f"property_heads.{name}.std"] = head.std
    return functional_call(auxiliary, borrowed, (batch,), {"noise": noise})


def in_units_of_model(
    model: AtomisticModel, auxiliary: AtomisticModel, name: str, per_atom: Tensor, batch: Batch
) -> Tensor:
    """What atoms give to a property, in units of the model's head and relative to its mean.

    Parameters
    ----------
    model, auxiliary : AtomisticModel
        The backbone and the auxiliary model.
    name : str
        The property.
    per_atom : Tensor [N, …]
        What atoms give in units of the auxiliary model, as it was when `predict` was called.
    batch : Batch
        The structures.
    """
    ours = model.property_heads[name]
    theirs = auxiliary.property_heads[name] if is_trained_alone(auxiliary) else ours
    y = theirs.std * per_atom
    if ours.kind in ("scalar_sum", "scalar_mean"):
        size = batch.ptr.diff()[batch.batch] if ours.kind == "scalar_sum" else 1
        y = y + (theirs.mean - ours.mean) / size
    return y / ours.std


def structures_with(batch: Batch, marked: Tensor) -> tuple[Batch, Tensor]:
    """Some structures of a batch, and which of its atoms they hold.

    Parameters
    ----------
    batch : Batch
        The structures.
    marked : Tensor [B], bool
        Those that are taken.
    """
    atoms = marked[batch.batch].nonzero().flatten()
    structure = (marked.cumsum(0) - 1)[batch.batch[atoms]]
    ptr = starts(structure, int(marked.sum()))
    some = make_batch(batch.z[atoms], batch.pos.index_select(0, atoms), structure, ptr)
    if "cell" in batch:
        some.cell = batch.cell[marked]
        some.pbc = batch.pbc.reshape(-1, 3)[marked]
    return some, atoms


def where(batch: Batch, first: int, local: bool) -> str:
    """The neighbors that make no frame, in words.

    Parameters
    ----------
    batch : Batch
        The structures.
    first : int
        An atom, or a structure, that has no frame.
    local : bool
        Whether it is an atom.
    """
    from ase import Atoms

    structure = int(batch.batch[first]) if local else first
    atom = f" of atom {first - int(batch.ptr[structure])}" if local else ""
    z = batch.z[batch.batch == structure].cpu().numpy()
    formula = Atoms(z).get_chemical_formula()
    return f"neighbors{atom} in structure {structure} of the batch ({formula})"


def warn_untrained(neighbors: str) -> None:
    """Warn that outputs are those of an auxiliary model that nobody trained.

    Parameters
    ----------
    neighbors : str
        As `where` gives them.
    """
    warnings.warn(
        f"All {neighbors} are in line, and the auxiliary model that stands in there has not been "
        "trained: only reference energies are known. Train it together with the model, "
        "scdlab.fit(exact, …).",
        stacklevel=2,
    )

"""Learning from labels: energies and forces, or one property (Schütt et al. 2017, section 4.2).

    EnergyForces:         L = ρ ‖E - Ê‖² + 1/n Σ_i ‖F_i + ∂Ê/∂r_i‖²
                          (ρ = 0.01 in the paper; eV, eV/Å)
                          L = ρ |E - Ê|  + 1/n Σ_i ‖F_i + ∂Ê/∂r_i‖
                                         with loss="norm": large errors count less
    PropertyRegression:   L = ‖y - ŷ‖² / s²                                   (s: spread of y in the
                          training set) L = 1/3 ‖y - ŷ‖² / s²     of vectors                (s: root
                          mean square component of y)

An objective is called with (model, batch, generator) and returns the loss and its named parts,
0-dimensional tensors for the log. `prepare` is called once before training: it fits what is not
learned by gradient, such as reference energies. `heads` are the modules that answer for the labels;
in a pretrained model they alone are new, and `fit(..., lr={"head": …, "backbone": …})` gives them a
learning rate of their own. Objectives that can share a forward pass with another say what they ask
the model for (`asks`), and `compare` its Prediction with the labels.
"""

from types import MappingProxyType

import numpy as np
import torch

from scdlab.nn.blocks.heads import MAX_Z


def reference_energies(z, structure, energy) -> np.ndarray:
    """Per-element energies that explain most of the total: least squares of E [n] on element counts
    -> [119] eV.

    z [N]: atomic numbers; structure [N]: which structure each atom belongs to. Where a data set
    cannot tell elements apart (one molecule, say) the solution of smallest norm is taken; totals
    come out the same.
    """
    counts = np.zeros((len(energy), MAX_Z + 1))
    np.add.at(counts, (structure, z), 1.0)
    present = counts.any(axis=0)
    solution = np.zeros(MAX_Z + 1)
    solution[present] = np.linalg.lstsq(counts[:, present], energy, rcond=None)[0]
    return solution


def _mark_seen(model, store) -> None:
    model.trained_elements[torch.tensor(store.elements, device=model.trained_elements.device)] = (
        True
    )


def free_atoms(batch):
    """Which atoms of a batch may move, [N], where it marks some as `fixed`; None where it marks
    none."""
    fixed = batch.get("fixed")
    return None if fixed is None else ~fixed.bool()


LOSSES = ("norm", "squared")


def squared_or_norm(error, loss: str):
    """‖error‖² over the last axis, or ‖error‖, which is smooth where the error is zero."""
    square = error.square().sum(-1)
    return square if loss == "squared" else (square + 1e-12).sqrt()


class EnergyForces:
    """Energies, and forces as well unless forces=False. rho: weight ρ of the energy term when
    forces are there; loss: "squared", or "norm" for the lengths of the errors themselves.

    Forces on atoms that the structures mark as `fixed` are not learned, and do not count in the
    error.
    """

    atomwise = frozenset(
        {"force_mae"}
    )  # parts that are means over atoms; the others are means over structures

    def __init__(self, energy_weight: float = 0.01, forces: bool = True, loss: str = "squared"):
        if loss not in LOSSES:
            raise ValueError(f"The loss is one of {', '.join(LOSSES)}, not {loss!r}.")
        self.energy_weight = energy_weight
        self.forces = forces
        self.loss = loss
        self.counted = {}
        self.asks = {"forces": forces}

    def __repr__(self):
        loss = "" if self.loss == "squared" else f", loss={self.loss!r}"
        return f"EnergyForces(energy_weight={self.energy_weight}, forces={self.forces}{loss})"

    def prepare(self, model, train) -> None:
        """Fit the reference energies and the scale of the energy head to the training set.

        Raises ValueError when labels are missing or are not finite numbers.
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
        batch = train.take(np.arange(len(train)))
        z = batch.z.numpy()
        energy = batch.energy.numpy()
        self._check_numbers(batch)
        reference = reference_energies(z, batch.batch.numpy(), energy)
        rest = energy - np.bincount(batch.batch.numpy(), reference[z], minlength=len(energy))
        if self.forces:  # the force is the gradient of the scaled energy, so it sets the scale
            free = free_atoms(batch)
            forces = batch.forces.double() if free is None else batch.forces[free].double()
            scale = float(forces.square().mean().sqrt())
        else:
            scale = float(rest.std() / np.sqrt(len(z) / len(energy)))
        head = model.energy_head
        head.reference.copy_(torch.from_numpy(reference))
        head.scale.fill_(scale if scale > 1e-6 else 1.0)
        if getattr(model, "force_head", None) is not None:
            model.force_head.scale.fill_(scale if scale > 1e-6 else 1.0)
        _mark_seen(model, train)

    def _check_numbers(self, batch) -> None:
        bad = {"energy": ~batch.energy.isfinite()}
        if self.forces:
            missing = ~batch.forces.isfinite().all(-1)
            free = free_atoms(batch)
            of = batch.batch[missing if free is None else missing & free]
            bad["forces"] = torch.zeros_like(bad["energy"]).index_fill_(0, of, True)
        for name, wrong in bad.items():
            if bool(wrong.any()):
                where = wrong.nonzero().flatten().tolist()
                raise ValueError(
                    f"{len(where):,} of {len(wrong):,} structures of the training set have {name} "
                    f"that are not finite numbers (the first is number {where[0]}); leave them out."
                )

    def heads(self, model) -> list:
        """The modules that give energies and forces."""
        return [
            head
            for head in (model.energy_head, getattr(model, "force_head", None))
            if head is not None
        ]

    def __call__(self, model, batch, generator=None):
        return self.compare(model, model(batch, noise=False, **self.asks), batch)

    def compare(self, model, out, batch, left_out=None):
        """Loss and parts of a Prediction, which must have been `asks`-ed for what is compared;
        left_out [N]: atoms whose forces do not count, beside the fixed ones."""
        error = out.energy - batch.energy  # (B) eV, float64
        parts = {"energy_mae": error.detach().abs().mean()}
        loss = squared_or_norm(error.unsqueeze(-1), self.loss).mean()
        self.counted = {}
        if self.forces:
            residual = out.forces - batch.forces.to(out.forces.dtype)  # (N, 3) eV/Å
            term = squared_or_norm(residual, self.loss)
            far = residual.detach().abs().mean(-1)  # (N)
            counts = free_atoms(batch)
            if left_out is not None:
                counts = ~left_out if counts is None else counts & ~left_out
            if counts is None:
                term = term.mean()
                far = far.mean()
            else:
                number = counts.sum()
                term, far = (
                    torch.where(counts, each, 0.0).sum() / number.clamp(min=1)
                    for each in (term, far)
                )
                self.counted = {"force_mae": number}
            parts["force_mae"] = far
            loss = self.energy_weight * loss + term
        return loss, parts


def finite_expression(name: str, vector: bool = False) -> str:
    """The expression that says which structures of a `store` have the property: advice for
    people."""
    return f"np.isfinite(store.property({name!r})){'.all(1)' if vector else ''}"


EXTENSIVE = frozenset(
    {"alpha", "r2", "zpve", "U0", "U", "H", "G", "Cv"}
)  # of QM9's properties: they grow with size


class PropertyRegression:
    """One named property of the structures. pool: "sum" or "mean" over atoms; by default what suits
    QM9's property.

    "vector" is for what has a direction, such as a dipole moment: the head gives a vector. Where
    the labels are vectors, [n, 3], it is compared with them by components, and the part
    "<name>_mae" is the mean absolute error of a component; where they are numbers, as QM9's μ, its
    length is compared.

    Fine-tuning is the same on a model that has been pretrained; its head for the property is the
    only new part:

        model = scdlab.load("runs/pretrained/model")
        rates = {"head": 1e-3, "backbone": 1e-4}
        scdlab.fit(model, PropertyRegression("homo"), train, val, lr=rates)
        homo = model(batch).properties["homo"]  # [B], in model.units["homo"]

    Denoising goes on beside it with CoordinateDenoising(sigma=0.005,
    supervised=PropertyRegression("homo"), weight=0.1), and fades with fit(..., anneal={"weight":
    (0.1, 0.0)}).
    """

    atomwise = frozenset()
    asks = MappingProxyType({})

    def __init__(self, name: str, kind: str | None = None):
        self.name = name
        self.kind = kind or ("scalar_sum" if name in EXTENSIVE else "scalar_mean")
        if self.kind not in ("scalar_sum", "scalar_mean", "vector"):
            raise ValueError(
                "kind must be 'scalar_sum', 'scalar_mean' or 'vector' to learn a property, got "
                f"{kind!r}."
            )

    def __repr__(self):
        return f"PropertyRegression({self.name!r}, kind={self.kind!r})"

    def prepare(self, model, train) -> None:
        """Give the model a head for the property, set its mean and spread from the training set,
        and keep its unit as `model.units[name]`. Raises ValueError for labels that are missing, for
        all of the structures or for some, and for vectors that are to be learned as numbers."""
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
        head = model.add_property(self.name, self.kind)
        if y.ndim == 1:
            head.mean.copy_(y.mean())
        spread = y.std(correction=0) if y.ndim == 1 else y.square().mean().sqrt()
        head.std.copy_(spread.clamp(min=1e-6))
        model.units = {**getattr(model, "units", {}), self.name: train.units(self.name)}
        _mark_seen(model, train)

    def heads(self, model) -> list:
        """The module that gives the property."""
        return [model.property_heads[self.name]]

    def __call__(self, model, batch, generator=None):
        return self.compare(model, model(batch, noise=False), batch)

    def compare(self, model, out, batch):
        """Loss and parts of a Prediction. Raises ValueError for numbers that are to be compared
        with vectors."""
        y = out.properties[self.name]
        label = batch[self.name]  # (B) or (B, 3) each, in the unit of the labels
        if y.ndim < label.ndim:
            raise ValueError(
                f"The model gives {self.name!r} as a number, and the labels are vectors; train it "
                f"with PropertyRegression({self.name!r}, 'vector')."
            )
        error = (y if y.ndim == label.ndim else y.norm(dim=-1)) - label  # (B) or (B, 3)
        loss = (error / model.property_heads[self.name].std).square().mean()
        return loss, {f"{self.name}_mae": error.detach().abs().mean()}

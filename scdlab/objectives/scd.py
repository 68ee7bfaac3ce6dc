"""Self-conditioned denoising (SCD): embed a structure, then use the embedding to repair it.

Two passes of one network per step:

    c = embedding(x + ε₁)       pass 1: ε₁ ~ N(0, σ₁² I), σ₁ = 0.005 Å, which merely regularizes
    ε̂ = model(x + ε₂ | c)       pass 2: ε₂ ~ N(0, σ² I), σ = 0.04 Å, which blurs bond orders
    L = ‖ε̂ - ε₂/σ‖² per component

c is one invariant vector per structure, a bottleneck. The gradient runs through both passes: what
helps to repair the structure and cannot be seen in the ruins is worth putting into c, so the scalar
features learn what is global. A fifth of the conditions are dropped, replaced by the model's
learned `mask_token`, so that the unconditional network, which is what gets fine-tuned, is trained
too.

Both passes use one list of neighbors. The atoms stand at a = x + ε₁ in one pass and at b = x + ε₂
in the other; at the midpoint a pair is farther apart than in either by max |a - b| at most. The
pairs that are within the cutoff plus that margin at the midpoint hold all that count in either
pass, and a pair beyond the cutoff counts for nothing, because the cutoff function is zero there.

Three ablations and a variant: stop_gradient=True lets pass 1 go untrained by pass 2;
condition="other" gives every structure the embedding of the next one of its batch, which can help
with nothing (a negative control; one that is alone in its batch, as the last of a validation may
be, gets the mask token); "atoms" has no bottleneck, the condition of every atom being its own
features of pass 1; `context` embeds one part of a structure, a pocket, and denoises the other, its
ligand, each alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scdlab.atoms.batch import Batch, completed, mark_complete
from scdlab.atoms.neighbors import neighbor_list
from scdlab.atoms.pairs import Pairs
from scdlab.atoms.shares import balanced, declare_share, share_of, uniform_for_structures
from scdlab.atoms.store import AtomStore
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.nn.model import Model, Prediction
from scdlab.nn.registry import with_argument
from scdlab.objectives.arguments import (
    check_choice,
    check_length,
    check_share,
    check_supervised,
    check_weight,
)
from scdlab.objectives.base import (
    Objective,
    Parts,
    SupervisedObjective,
    mark_trained_elements,
    qualified_name,
    required,
)
from scdlab.objectives.freezing import called, detached_embeddings
from scdlab.objectives.noise import displaced, noise_error, sample_noise

CONDITIONS = ("own", "other", "atoms")


def shared_pairs(first: Batch, second: Batch, cutoff: float) -> Pairs:
    """One half list for two passes over the same atoms at two places.

    Parameters
    ----------
    first, second : Batch
        The same structures, displaced differently.
    cutoff : float
        Distance in Å.

    Returns
    -------
    Pairs
        Every pair that is within the cutoff in either batch, and a few that are in neither.
    """
    margin = float((first.pos - second.pos).norm(dim=-1).max())  # Å
    return neighbor_list(displaced(first, 0.5 * (second.pos - first.pos)), cutoff + margin)


@dataclass(repr=False)  # `Objective` names a function of `context`
class SelfConditionedDenoising(Objective):
    """Denoising with the network's own embedding of the clean structure as its condition.

    Parts: "noise_mse" and "noise_unexplained", as CoordinateDenoising's, over the denoised atoms.
    Random numbers are drawn in the order ε₁ (if reg_sigma > 0), ε₂, uniform [B] (a condition is
    dropped where it is below `p_drop_condition`).

    Parameters
    ----------
    sigma : float, default 0.04
        Size in Å of the noise that is to be predicted.
    reg_sigma : float, default 0.005
        Size in Å of the noise in the pass that embeds, 0 for none.
    p_drop_condition : float, default 0.2
        Share of the conditions that are dropped, in validation too.
    stop_gradient : bool, default False
        Whether pass 1 goes untrained by pass 2.
    condition : str, default "own"
        "own", "other" or "atoms", see above.
    context : str or function, optional
        The atoms that are embedded, the others being denoised: a function from a batch to
        booleans [N], or the name of such a field of the batch.
    supervised : SupervisedObjective, optional
        Another objective, computed from pass 1, with loss = supervised + weight · denoising.
    weight : float, default 1.0
        Weight of denoising beside `supervised`.
    centered : bool, default True
        No noise in the mean of a structure.
    freeze_element_embeddings : bool, default True
        Without labels the embeddings of the elements are not trained, or they would shrink to
        nothing: denoising is the easier the less of the elements reaches the network, and
        fine-tuning would start from there. `CoordinateDenoising` and `PairwiseDenoising` leave the
        same ones as they are. With `supervised` they are trained, as in any fine-tuning.

    Raises
    ------
    ValueError
        For an argument that is out of its range, and for arguments that exclude each other.
    """

    sigma: float = 0.04
    reg_sigma: float = 0.005
    p_drop_condition: float = 0.2
    stop_gradient: bool = False
    condition: str = "own"
    context: str | Callable[[Batch], Tensor] | None = None
    supervised: SupervisedObjective | None = None
    weight: float = 1.0
    centered: bool = True
    freeze_element_embeddings: bool = True

    def __post_init__(self) -> None:
        check_length("sigma", self.sigma, example=0.04)
        check_length("reg_sigma", self.reg_sigma, example=0.005, zero=True)
        check_share("p_drop_condition", self.p_drop_condition)
        check_choice("condition", self.condition, CONDITIONS)
        if not (self.context is None or callable(self.context) or isinstance(self.context, str)):
            raise ValueError(
                "context must be a function of the batch or the name of a boolean field of it, got "
                f"{self.context!r}."
            )
        check_supervised(self.supervised)
        check_weight("weight", self.weight)
        if self.context is not None and (self.condition == "atoms" or self.supervised is not None):
            raise ValueError(
                "context gives some atoms to one pass and the others to the other, so it excludes "
                "condition='atoms' and supervised; leave one of them out."
            )
        self.sigma = float(self.sigma)
        self.reg_sigma = float(self.reg_sigma)
        self.p_drop_condition = float(self.p_drop_condition)
        self.weight = float(self.weight)
        self.smallest_batch = 2 if self.condition == "other" else 1
        self.loss_over = "noise_mse" if self.supervised is None else None
        self.balances = self.supervised is not None

    @property
    def labeled(self) -> SupervisedObjective | None:
        return self.supervised

    def prepare(self, model: Model, train: AtomStore) -> None:
        """Prepare for `supervised`, if there is one, and check that the model can do this at all.

        Parameters
        ----------
        model : Model
            The model that is to be trained.
        train : AtomStore
            The training set.

        Raises
        ------
        ValueError
            When the model takes no condition or has no noise to give, and when the training set
            lacks `context`.
        """
        _mask_token(model)
        if self.condition == "other" and len(train) < 2:
            raise ValueError(
                "condition='other' takes the embedding of another structure, and the training set "
                "has one only; give more."
            )
        if self.supervised is not None:
            self.supervised.prepare(model, train)
        mark_trained_elements(model, train)
        batch = train.take([0]).to(next(model.parameters()).device)
        self._parts(batch)
        with torch.no_grad():
            model(batch, noise=True)

    def __call__(
        self, model: Model, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Parts]:
        _mask_token(model)
        freeze = self.freeze_element_embeddings and self.supervised is None
        frozen = detached_embeddings(model) if freeze else {}
        with model.shared_filter_tables():
            return self._loss(model, frozen, completed(batch), generator)

    def _loss(
        self,
        model: Model,
        frozen: dict[str, Tensor],
        batch: Batch,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Parts]:
        first, second = self._parts(batch)  # the same atoms, or one part and the other
        clean = first
        if self.reg_sigma:
            eps, _ = sample_noise(first, self.reg_sigma, generator, centered=False)
            clean = displaced(first, eps)  # x + ε₁
        eps, mask = sample_noise(second, self.sigma, generator, centered=self.centered)
        noisy = displaced(second, eps)  # x + ε₂; eps (N, 3) Å, mask (N)
        pairs = None
        if self.context is None:
            pairs = model.unread_pairs(clean)
            pairs = shared_pairs(clean, noisy, model.cutoff) if pairs is None else pairs

        outputs = {} if self.supervised is None else self.supervised.model_outputs
        embedded = called(model, frozen, clean, noise=False, pairs=pairs, **outputs)  # pass 1
        c = self._dropped(model, self._condition(embedded), second, generator)  # (B, d) or (N, d)
        out = called(model, frozen, noisy, condition=c, noise=True, pairs=pairs)  # pass 2

        loss, parts = noise_error(second, required(out.noise, "noise"), eps, mask, self.sigma)
        if self.supervised is None:
            return loss, parts
        labeled, labeled_parts = self.supervised.compare_balanced(model, embedded, batch)
        loss = balanced(loss, batch, mask.sum())
        return labeled + self.weight * loss, {**labeled_parts, **parts}

    def _parts(self, batch: Batch) -> tuple[Batch, Batch]:
        """The batch that is embedded and the batch that is denoised."""
        if self.context is None:
            return batch, batch
        chosen = self._chosen(batch, self.context)
        parts = _cut(batch, chosen), _cut(batch, ~chosen)
        share = share_of(batch)
        if share is not None:
            of_whole = self._chosen(share.whole, self.context)
            declare_share(parts[0], share.of_atoms(of_whole, chosen, _cut))
            declare_share(parts[1], share.of_atoms(~of_whole, ~chosen, _cut))
        return parts

    def _chosen(self, batch: Batch, context: str | Callable[[Batch], Tensor]) -> Tensor:
        """The atoms that are embedded, booleans [N]."""
        if isinstance(context, str):
            name = context
            chosen = batch.get(name)
            if chosen is None:
                raise ValueError(
                    f"The structures have no field {name!r} to divide their atoms by; give the "
                    f"store atom_properties={{{name!r}: booleans}}, or context as a function."
                )
        else:
            name = qualified_name(context)
            chosen = context(batch)
        found = f"{chosen.dtype} of shape {list(chosen.shape)}" if torch.is_tensor(chosen) else ""
        if found != f"torch.bool of shape {list(batch.z.shape)}":
            raise ValueError(
                f"context {name!r} must give one boolean for each of the {len(batch.z)} atoms, got "
                f"{found or type(chosen).__name__}."
            )
        embedded = sum_over_atoms(chosen.long(), batch)  # (B) atoms of each structure
        wrong = (embedded == 0) | (embedded == batch.ptr.diff())
        if bool(wrong.any()):
            k = int(wrong.nonzero()[0])
            raise ValueError(
                f"context {name!r} takes {int(embedded[k])} of the "
                f"{int(batch.ptr[k + 1] - batch.ptr[k])} atoms of structure {k} of the batch; "
                "every structure needs one atom to embed and one to denoise."
            )
        return chosen

    def _condition(self, embedded: Prediction) -> Tensor:
        """c of every structure [B, d], or of every atom [N, d]."""
        c = required(embedded.atoms, "features of atoms")
        if self.condition != "atoms":
            c = required(embedded.embedding, "embedding")
        if self.condition == "other":
            c = c.roll(1, dims=0)
        return c.detach() if self.stop_gradient else c

    def _dropped(
        self, model: Model, c: Tensor, batch: Batch, generator: torch.Generator | None
    ) -> Tensor:
        """c with some structures' rows replaced by the mask token."""
        drawn = uniform_for_structures(batch, generator)  # (B)
        dropped = drawn < self.p_drop_condition  # (B)
        if self.condition == "other" and batch.num_graphs == 1:
            dropped = torch.ones_like(dropped)  # there is no other
        if self.condition == "atoms":
            dropped = dropped.index_select(0, batch.batch)  # (N)
        return torch.where(dropped.unsqueeze(-1), _mask_token(model).to(c.dtype), c)


def _mask_token(model: Model) -> Tensor:
    """The model's condition of a structure that has none; ValueError where it takes none."""
    if model.mask_token is None:
        remedy = with_argument(type(model.backbone), "conditional")
        raise ValueError(
            f"SelfConditionedDenoising needs a model that takes a condition, and this "
            f"{type(model).__name__} does not; {remedy}."
        )
    return model.mask_token


def _cut(batch: Batch, chosen: Tensor) -> Batch:
    """The batch of the atoms `chosen` [N] alone."""
    from torch_geometric import data

    size = sum_over_atoms(chosen.long(), batch)  # (B)
    rows = chosen.nonzero().flatten()
    fields = {name: batch[name].index_select(0, rows) for name in ("z", "pos", "batch")}
    fields |= {name: batch[name] for name in ("cell", "pbc") if batch.get(name) is not None}
    ptr = torch.nn.functional.pad(size.cumsum(0), (1, 0))
    part = data.Batch(**fields, natoms=size, ptr=ptr)
    mark_complete(part)
    return part

"""Self-conditioned denoising (SCD): say what a structure is, then use the description to repair it.

Two passes of one network per step:

    c = embedding(x + ε₁)            pass 1: ε₁ ~ N(0, σ₁² I), σ₁ = 0.005 Å, which merely
                                     regularizes
    ε̂ = model(x + ε₂ | c)            pass 2: ε₂ ~ N(0, σ² I), σ = 0.04 Å, which blurs bond orders
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
be, is told nothing); "atoms" has no bottleneck, every atom being told its own features of pass 1;
`part` embeds one part of a structure, a pocket, and denoises the other, its ligand, each alone.
"""

import contextlib
import math

import torch
from torch_geometric.data import Batch

from scdlab.atoms.neighbors import Pairs, neighbor_list
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.objectives.coordinate import (
    check_main,
    check_weight,
    displaced,
    noise_error,
    sample_noise,
)
from scdlab.objectives.supervised import _mark_seen

CONDITIONS = ("own", "other", "atoms")


def shared_pairs(first, second, cutoff: float) -> Pairs:
    """One half list for two passes over the same atoms at two places: every pair that is within the
    cutoff (Å) in batch `first` or in batch `second`, and a few that are in neither."""
    margin = float((first.pos - second.pos).norm(dim=-1).max())  # Å
    return neighbor_list(displaced(first, 0.5 * (second.pos - first.pos)), cutoff + margin)


class SelfConditionedDenoising:
    """Denoising with the network's own embedding of the clean structure as its condition.

    sigma: size in Å of the noise that is to be predicted; regularize: that of the noise in the pass
    that embeds, 0 for none; drop: share of the conditions that are dropped, in validation too;
    stop_gradient, condition ("own", "other", "atoms"): see above; part: which atoms are embedded,
    the others being denoised, as a function from a batch to booleans [N] or as the name of such a
    field of the batch; centered: no noise in the mean of a structure; main: another objective,
    computed from pass 1, with loss = main + weight · denoising.

    frozen: the embeddings of the elements are not trained, or they would shrink to nothing,
    denoising being the easier the less the network knows of them, and fine-tuning would start from
    there. This objective hides them from its gradient while it is computed and leaves no mark in
    the model: under any other objective, fine-tuning among them, they are trained.

    Parts: "noise_mse" and "noise_unexplained", as CoordinateDenoising's; `counted` says after each
    call over how many atoms they are means. Random numbers are drawn in the order ε₁ (if
    regularize), ε₂, uniform [B] (a condition is dropped where it is below `p_drop_condition`).
    """

    def __init__(
        self,
        sigma: float = 0.04,
        reg_sigma: float = 0.005,
        p_drop_condition: float = 0.2,
        stop_gradient: bool = False,
        condition: str = "own",
        context=None,
        supervised=None,
        weight: float = 1.0,
        centered: bool = True,
        freeze_element_embeddings: bool = True,
    ):
        if not (math.isfinite(sigma) and sigma > 0):
            raise ValueError(
                "sigma is the size of the noise to predict, a positive length in Å such as 0.04, "
                f"not {sigma}."
            )
        if not (math.isfinite(reg_sigma) and reg_sigma >= 0):
            raise ValueError(
                "regularize is the size of the noise in the pass that embeds, a length in Å such "
                f"as 0.005 or 0, not {reg_sigma}."
            )
        if not 0 <= p_drop_condition <= 1:
            raise ValueError(
                "p_drop_condition is the share of conditions that are dropped, from 0 to 1, not "
                f"{p_drop_condition}."
            )
        if condition not in CONDITIONS:
            raise ValueError(f"The condition is one of {', '.join(CONDITIONS)}, not {condition!r}.")
        if context is not None and not (callable(context) or isinstance(context, str)):
            raise ValueError(
                "part says which atoms are embedded: a function of the batch, or the name of a "
                f"boolean field of it, not {context!r}."
            )
        if context is not None and (condition == "atoms" or supervised is not None):
            raise ValueError(
                "With part, one pass sees some atoms and the other pass the others, so neither "
                "condition='atoms' nor main can be had; leave them out."
            )
        check_main(supervised)
        check_weight(weight)
        self.sigma = float(sigma)
        self.reg_sigma = float(reg_sigma)
        self.p_drop_condition = float(p_drop_condition)
        self.stop_gradient = stop_gradient
        self.condition = condition
        self.context = context
        self.smallest_batch = 2 if condition == "other" else 1  # structures that `fit` must give it
        self.supervised = supervised
        self.weight = float(weight)
        self.centered = centered
        self.freeze_element_embeddings = freeze_element_embeddings
        self.atomwise = supervised.atomwise if supervised else frozenset()
        self.counted = {}

    def __repr__(self):
        part = (
            ""
            if self.context is None
            else f", context={getattr(self.context, '__name__', self.context)!r}"
        )
        supervised = (
            f", supervised={self.supervised!r}, weight={self.weight}" if self.supervised else ""
        )
        return (
            f"SelfConditionedDenoising(sigma={self.sigma}, reg_sigma={self.reg_sigma}, "
            f"p_drop_condition={self.p_drop_condition}, stop_gradient={self.stop_gradient}, "
            f"condition={self.condition!r}{part}{supervised}, centered={self.centered}, "
            f"freeze_element_embeddings={self.freeze_element_embeddings})"
        )

    def prepare(self, model, train) -> None:
        """Prepare for the main objective, if there is one, and check that the model can do this at
        all.

        Raises ValueError when it takes no condition or has no noise to give, and when the training
        set lacks `part`.
        """
        _check_conditional(model)
        if self.condition == "other" and len(train) < 2:
            raise ValueError(
                "condition='other' takes the embedding of another structure, and the training set "
                "has one only; give more."
            )
        if self.supervised:
            self.supervised.prepare(model, train)
        _mark_seen(model, train)
        batch = train.take([0]).to(next(model.parameters()).device)
        self._parts(batch)
        with torch.no_grad():
            model(batch, noise=True)

    def __call__(self, model, batch, generator=None):
        _check_conditional(model)
        with (
            model.shared_filter_tables(),
            _without_elements(model)
            if self.freeze_element_embeddings
            else contextlib.nullcontext(),
        ):
            return self._loss(model, batch, generator)

    def _loss(self, model, batch, generator):
        first, second = self._parts(batch)  # the same atoms, or one part and the other
        clean = first
        if self.reg_sigma:
            clean = displaced(
                first, sample_noise(first, self.reg_sigma, generator, centered=False)[0]
            )  # x + ε₁
        eps, mask = sample_noise(
            second, self.sigma, generator, centered=self.centered
        )  # (N, 3) Å, (N)
        noisy = displaced(second, eps)  # x + ε₂
        pairs = shared_pairs(clean, noisy, model.cutoff) if self.context is None else None

        told = model(
            clean, noise=False, pairs=pairs, **(self.supervised.asks if self.supervised else {})
        )  # pass 1
        c = self._dropped(model, self._condition(told), second, generator)  # (B, d), or (N, d)
        out = model(noisy, condition=c, noise=True, pairs=pairs)  # pass 2: ε̂ (N, 3)

        loss, parts = noise_error(out.noise, eps, mask, self.sigma)
        self.counted = dict.fromkeys((*parts, *(() if self.supervised else ("loss",))), mask.sum())
        if self.supervised is None:
            return loss, parts
        supervised, main_parts = self.supervised.compare(model, told, batch)
        return supervised + self.weight * loss, {**main_parts, **parts}

    def _parts(self, batch):
        """The batch that is embedded and the batch that is denoised."""
        if self.context is None:
            return batch, batch
        if callable(self.context):
            chosen = self.context(batch)
            name = getattr(self.context, "__name__", "context")
        else:
            chosen = batch.get(self.context)
            name = self.context
            if chosen is None:
                raise ValueError(
                    f"The structures have no field {name!r} to tell their parts apart; give the "
                    f"store atom_properties={{{name!r}: booleans}}, or part as a function."
                )
        if getattr(chosen, "dtype", None) != torch.bool or chosen.shape != batch.z.shape:
            shape = list(getattr(chosen, "shape", ()))
            raise ValueError(
                f"part {name!r} must give one boolean for each of the {len(batch.z)} atoms, not "
                f"{getattr(chosen, 'dtype', type(chosen).__name__)} of shape {shape}."
            )
        embedded = sum_over_atoms(chosen.long(), batch)  # (B) atoms of each structure
        if bool(((embedded == 0) | (embedded == batch.ptr.diff())).any()):
            k = int(((embedded == 0) | (embedded == batch.ptr.diff())).nonzero()[0])
            raise ValueError(
                f"part {name!r} takes {int(embedded[k])} of the "
                f"{int(batch.ptr[k + 1] - batch.ptr[k])} atoms of structure {k} of the batch; "
                "every structure needs one atom to embed and one to denoise."
            )
        return _cut(batch, chosen), _cut(batch, ~chosen)

    def _condition(self, told):
        """c of every structure [B, d], or of every atom [N, d]."""
        c = told.atoms if self.condition == "atoms" else told.embedding
        if self.condition == "other":
            c = c.roll(1, dims=0)
        return c.detach() if self.stop_gradient else c

    def _dropped(self, model, c, batch, generator):
        """c with some structures' rows replaced by the mask token."""
        dropped = (
            torch.rand(batch.num_graphs, device=c.device, generator=generator)
            < self.p_drop_condition
        )  # (B)
        if self.condition == "other" and batch.num_graphs == 1:
            dropped = torch.ones_like(dropped)  # there is no other
        if self.condition == "atoms":
            dropped = dropped.index_select(0, batch.batch)  # (N)
        return torch.where(dropped.unsqueeze(-1), model.mask_token.to(c.dtype), c)


def _check_conditional(model) -> None:
    if getattr(model, "mask_token", None) is None:
        raise ValueError(
            f"SelfConditionedDenoising needs a model that takes a condition, and this "
            f"{type(model).__name__} does not; build it with conditional=True."
        )


@contextlib.contextmanager
def _without_elements(model):
    """Within this context no gradient of an element's embedding is recorded."""
    weights = [
        m.weight
        for m in model.modules()
        if isinstance(m, torch.nn.Embedding) and m.weight.requires_grad
    ]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _cut(batch, chosen):
    """The batch of the atoms `chosen` [N] alone."""
    size = sum_over_atoms(chosen.long(), batch)  # (B)
    rows = chosen.nonzero().flatten()
    fields = {name: batch[name].index_select(0, rows) for name in ("z", "pos", "batch")}
    fields |= {name: batch[name] for name in ("cell", "pbc") if batch.get(name) is not None}
    return Batch(**fields, natoms=size, ptr=torch.nn.functional.pad(size.cumsum(0), (1, 0)))

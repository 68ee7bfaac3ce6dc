"""ECSE: equivariant coordinate system ensembles (Pozdnyakov and Ceriotti, NeurIPS 2023,
arXiv:2305.19302). Exact rotational symmetry for a model that has none, and smooth: no jump
anywhere.

Every ordered pair (j, j') of neighbors of an atom i makes a frame, and all of them together are an
average that rotates with the surroundings of i and depends smoothly on them, since no frame comes
or goes with a weight above zero:

    a = r̂_j
    b = a × r̂_j' / |a × r̂_j'|
    c = a × b
    F = [a b c]
    y_i = (Σ_jj' w_jj' y_i(F_jj'ᵀ r) + w_aux y_aux,i) / (Σ_jj' w_jj' + w_aux)

With f(r|R, Δ) = `smooth_step`: 1 below R - Δ, 0 above R; q its mirror image in s = sin² of the
angle at i: 0 below ω, 1 above ω + δ:

    near neighbors that are not in line:
    w_jj' = f(r_j|R_in, Δ) f(r_j'|R_in, Δ) q(s|W-ΔW, ΔW) (s - (W-ΔW))/ΔW

    the same, as far as i looks:
    p_jj' = f(r_j|R_out, Δ) f(r_j'|R_out, Δ) q(s|W, ΔW)

    above both distances:
    d_jj' = SmoothMax_β(r_j, r_j') + T(β),   T(β) = LambertW(1/e)/β

    with one more entry, d = R_out and p = 1:
    R_in  = Σ p d e^(-βd) / Σ p e^(-βd) + Δ

    w_aux = f(w_max|½, ½)

R_in follows the nearest pair of use: if there is one with p > 0, some w is 1 or more, and w_aux is
0. If all neighbors are in line (or there is one, or none), every w is 0: such surroundings have no
frame, and the outputs are those of an auxiliary model, which is equivariant by construction.
R_out ≤ R_cut - Δ, so that R_in stays within what the model sees.

How an energy is divided among atoms is not observable, so two models divide it differently, and the
sum of shares from both is wrong where some atoms have frames and others have none. On water that is
bent open, an auxiliary model trained alone, on the data that the model had learned too, leaves a
hole of about 1 eV in the energy (lesson 05, quick profile). So train it through ECSE,
`fit(exact, …)`, or pool the frames, local=False: then it takes over for all atoms at once.

Frames of weight well below the largest can be pruned, `prunings` times: w ← w q(w/w_max|0.8, 0.1).
The largest weight is w_max = (Σ w^64)^(1/64), which is smooth, not smaller than any w, and does not
change when w = 0 is added. Pruning is off by default: a frame that leaves within so little makes
the energy smooth but steep, and forces pay for it as far as the model is not symmetric itself (what
it costs and saves: the claims `ecse-accuracy` and `ecse-frames`).

[a b c] is right-handed. A mirror image of the structure has left-handed frames, F diag(1, -1, 1),
so averages over both hands do not change under reflection either: group="O(3)", at twice the cost.
"SO(3)" takes right hands only.

Locality. Each atom has frames of its own, made of its neighbors, in which its own part of the
energy is evaluated: of all that it depends on, and of nothing else. local=False instead pools all
pairs of a structure and rotates the structure as a whole. That takes far fewer evaluations of a
network that passes messages, but then the frames of one molecule change the energy of another that
is far away.

Layer by layer. A model that passes messages computes an atom in the frames of all atoms whose share
depends on it: two layers of PET on ethanol, each atom in the frames of all nine. With
layerwise=True each layer is seen in the frames of the atom that it computes, and passes on means
over them (`scdlab.nn.blocks.own_frames`), which do not rotate. That is as exact and as smooth, for
the frames of each atom times layers. With one layer it is the same model, with more another one:

- Means do not tell how the surroundings of j are turned about the line to i. Where no atom sees a
  chain of four as a whole, the energy is the same for every dihedral angle.
- Means of what a network says to others are not what others have learned to hear. So train it
  through ECSE, `fit(exact, …)`: around a model that was trained alone, energies are wrong.

Departures from the released code: w_max is smooth (there, a plain maximum, and pruning four times
with q(w|0.9 w_max, 0.1 w_max)); frames are of atoms; both hands; everything is differentiated; and
the auxiliary model is always there unless it is declined.
"""

from typing import Any

import torch
from torch import Tensor, nn

from scdlab.atoms.batch import Batch
from scdlab.atoms.neighbors import neighbor_list
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.properties import PropertyHead
from scdlab.nn.blocks.radial import smooth_step
from scdlab.nn.model import AtomisticModel, Model
from scdlab.nn.prediction import AtomOutputs, Request
from scdlab.nn.registry import as_json
from scdlab.renames import known_arguments
from scdlab.symmetry import auxiliary as aux
from scdlab.symmetry.clusters import Clusters, receptive_fields
from scdlab.symmetry.frames import Frames
from scdlab.symmetry.neighbor_pairs import (
    NeighborEdges,
    NeighborPairs,
    pairs_of_neighbors,
    smooth_maximum,
    step_up,
)
from scdlab.symmetry.symmetrized import PASSED_ON, Symmetrized

GROUPS = ("O(3)", "SO(3)")
# W(1/e): by so much over β a smooth maximum of two stays below the maximum at most
LAMBERT = 0.2784645427610738
NEGLIGIBLE = 1e-15  # of the largest weight: below what float64 tells apart
PRUNED_FROM = 0.8  # of the largest weight: smaller frames are pruned
PRUNED_OVER = 0.1


class ECSE(Symmetrized):
    """A model whose outputs rotate with the structure exactly, and smoothly; its arguments are
    those of the model that it is made of.

    Parameters
    ----------
    model : AtomisticModel
        Any backbone. One that passes messages has the number of its steps as `n_hops`.
    auxiliary : AtomisticModel, "default" or None, default "default"
        What stands in for atoms whose neighbors are in line: equivariant by construction, and with
        vectors if `model` predicts any. By default a small equivariant transformer, which adds
        nothing to the reference energies until it is trained, through ECSE as `fit(exact, …)` or,
        for pooled frames, alone as `fit(exact.auxiliary, …)`; None for none.
    group : str, default "O(3)"
        "O(3)", rotations and reflections, or "SO(3)", rotations alone.
    local : bool, default True
        Whether frames are of each atom, rather than pooled.
    outer_radius : float, optional
        R_out in Å; by default the cutoff less `radius_width`.
    radius_width : float, default 0.15
        Δ in Å.
    beta : float, default 5.0
        β in 1/Å.
    sin2_min : float, default 0.2
        W, the sin² of an angle from which frames have their full weight.
    sin2_width : float, default 0.15
        ΔW.
    prunings : int, default 0
        How often small weights are pruned.
    layerwise : bool, default False
        Whether each layer of the model is symmetrized by itself, rather than the model as a whole:
        for PET, trained through ECSE.

    Raises
    ------
    ValueError
        For an R_out beyond the cutoff less Δ, where a neighbor that enters would make a jump; for
        layerwise=True with pooled frames, or around a model that has no such layers; and for other
        settings that cannot be. When called: for a structure that needs the auxiliary model, where
        there is none.
    """

    learned: Tensor

    def __init__(
        self,
        model: Model,
        auxiliary: "AtomisticModel | str | None" = "default",
        group: str = "O(3)",
        local: bool = True,
        outer_radius: float | None = None,
        radius_width: float = 0.15,
        beta: float = 5.0,
        sin2_min: float = 0.2,
        sin2_width: float = 0.15,
        prunings: int = 0,
        layerwise: bool = False,
    ):
        super().__init__(model)
        if layerwise and (model.passes_on is None or not local):
            raise ValueError(
                "ECSE with layerwise=True needs frames of each atom, local=True, and a model whose "
                "layers pass on numbers that can be averaged over them, such as PET, got "
                f"local={local} and {type(model).__name__}; leave layerwise=False."
            )
        if group not in GROUPS:
            raise ValueError(f"The group of ECSE must be {' or '.join(GROUPS)}, got {group!r}.")
        if not (
            radius_width > 0
            and beta > 0
            and 0 < sin2_width <= sin2_min
            and sin2_min + sin2_width < 1
            and prunings >= 0
        ):
            raise ValueError(
                "ECSE needs radius_width > 0, beta > 0, 0 < sin2_width ≤ sin2_min, sin2_min + "
                f"sin2_width < 1 and prunings ≥ 0, got radius_width={radius_width}, beta={beta}, "
                f"sin2_min={sin2_min}, sin2_width={sin2_width}, prunings={prunings}."
            )
        largest = model.cutoff - radius_width
        self.outer_radius = largest if outer_radius is None else float(outer_radius)
        if not radius_width < self.outer_radius <= largest + 1e-12:
            raise ValueError(
                f"ECSE's outer radius is {self.outer_radius:g} Å, and must lie between its width "
                f"{radius_width:g} Å and the model's cutoff less the width, {largest:g} Å: a "
                "neighbor that enters at the cutoff must not have made frames before."
            )
        self.group = group
        self.local = local
        self.radius_width = radius_width
        self.beta = beta
        self.prunings = prunings
        self.layerwise = layerwise
        self.sin2_min = sin2_min
        self.sin2_width = sin2_width
        # whether the auxiliary model was trained along with the model
        self.register_buffer("learned", torch.zeros((), dtype=torch.bool))
        self.auxiliary: AtomisticModel | None = None
        self.features: nn.Linear | None = None
        self.stand_in: nn.Linear | None = None
        if auxiliary is not None:
            self._add_auxiliary(auxiliary)
        self.train(model.training)

    def _add_auxiliary(self, auxiliary: "AtomisticModel | str") -> None:
        model = self.model
        if auxiliary != "default" and not isinstance(auxiliary, AtomisticModel):
            raise ValueError(
                "The auxiliary of ECSE must be an equivariant backbone, 'default' for a small one, "
                f"or None, got {auxiliary!r}."
            )
        # numbers drawn for other models stay what they were
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            if isinstance(auxiliary, str):
                auxiliary = aux.default_auxiliary(model)
            # from its features to those of the model
            features = nn.Linear(auxiliary.hidden_channels, model.hidden_channels, bias=False)
            if self.layerwise and model.passes_on:
                self.stand_in = nn.Linear(auxiliary.hidden_channels, model.passes_on, bias=False)
        weight = next(model.parameters())
        self.auxiliary = auxiliary.to(weight)
        self.features = features.to(weight)
        if self.stand_in is not None:
            self.stand_in.to(weight)
        for name, head in model.property_heads.items():
            auxiliary.add_property(name, aux.auxiliary_kind(model, head.kind))
        if model.direct_forces:
            auxiliary.add_property("direct_forces", "vector")
        if model.noise_head is not None and auxiliary.noise_head is None:
            raise ValueError(
                f"{type(model).__name__} predicts noise, and the auxiliary "
                f"{type(auxiliary).__name__} has no head for it; give one that has, such as "
                "EquivariantTransformer."
            )
        self._watch()

    def _watch(self) -> None:
        """Note when a gradient is accumulated in the auxiliary model: it learns then."""

        def note(parameter: Tensor) -> None:
            self.learned.fill_(True)

        if self.auxiliary is not None:
            for parameter in self.auxiliary.parameters():
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(note)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._watch()  # copies of parameters have no hooks

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that rebuild the model; its properties are the backbone's."""
        return {**super().config, "auxiliary": as_json(self.auxiliary)}

    @known_arguments
    def add_property(
        self, name: str, kind: str | None = None, vector_lengths: bool | None = None
    ) -> PropertyHead:
        """Give model and auxiliary model a head for a property, as of any model."""
        head = super().add_property(name, kind, vector_lengths)
        if self.auxiliary is not None:
            self.auxiliary.add_property(name, aux.auxiliary_kind(self.model, head.kind))
        return head

    def atom_outputs(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None,
        force_input: Tensor | None,
        request: Request,
    ) -> AtomOutputs:
        """Weighted means over frames: of the model, or of each of its layers."""
        if self.layerwise:
            return self.outputs_by_layers(batch, pairs, condition, request)
        return super().atom_outputs(batch, pairs, condition, force_input, request)

    def clusters(self, batch: Batch, pairs: Pairs) -> Clusters:
        """What frames see: the part of a structure that an atom depends on, or, with local=False,
        whole structures."""
        if self.local:
            n_hops = 1 if self.layerwise else self.model.n_hops
            return receptive_fields(batch, pairs, n_hops)
        return super().clusters(batch, pairs)

    def frames(self, batch: Batch) -> Frames:
        """The frames of every atom (of every structure, with local=False): 0 to many for each, in
        order, with weights after pruning. Differentiable in `batch.pos` and `batch.cell`.

        Parameters
        ----------
        batch : Batch
            The structures.
        """
        n_clusters = len(batch.z) if self.local else batch.num_graphs
        edges = self._neighbors(batch)
        pairs = pairs_of_neighbors(edges, len(batch.z))
        inner_radius = self.inner_radius(edges, pairs, n_clusters)
        pairs, w = self._weights(edges, pairs, inner_radius)
        largest = smooth_maximum(w, pairs.cluster, n_clusters)
        auxiliary_weight = smooth_step(largest, 0.5, 0.5)  # (C), 1 where there is no frame
        for pruning in range(self.prunings + 1):
            if pruning:
                now = smooth_maximum(w, pairs.cluster, n_clusters)
                relative = w / now.index_select(0, pairs.cluster)
                w = w * step_up(relative, PRUNED_FROM, PRUNED_OVER)
            least = NEGLIGIBLE * largest.detach()[pairs.cluster]
            kept = (w.detach() > least).nonzero().flatten()
            pairs = pairs[kept]
            w = w.index_select(0, kept)
        return self._made(edges, pairs, w, auxiliary_weight, inner_radius)

    def _neighbors(self, batch: Batch) -> NeighborEdges:
        """Neighbors as far as R_in can be."""
        reach = self.outer_radius + self.radius_width + LAMBERT / self.beta
        pairs = neighbor_list(batch, reach)
        r_ij = pairs.vectors(batch.pos, batch).double()  # (P, 3)
        directed = pairs.directed()
        order = torch.argsort(directed.target, stable=True)
        target = directed.target[order]
        r_ij = directed.both_signed(r_ij).index_select(0, order)  # (E, 3)
        r = r_ij.norm(dim=-1)
        return NeighborEdges(
            target=target,
            source=directed.source[order],
            cluster=target if self.local else batch.batch[target],
            r=r,
            unit=r_ij / r.unsqueeze(-1),
        )

    def inner_radius(self, edges: NeighborEdges, pairs: NeighborPairs, n_clusters: int) -> Tensor:
        """R_in [C] in Å.

        Parameters
        ----------
        edges : NeighborEdges
            Neighbors of atoms.
        pairs : NeighborPairs
            Every two of them.
        n_clusters : int
            How many clusters C there are.
        """
        f = smooth_step(edges.r, self.outer_radius, self.radius_width)  # (E)
        far_enough = step_up(pairs.sin2, self.sin2_min, self.sin2_width)
        p = f.index_select(0, pairs.j) * f.index_select(0, pairs.k) * far_enough
        used = (p.detach() > 0).nonzero().flatten()
        p = p.index_select(0, used)
        cluster = pairs.cluster[used]
        r_j = edges.r.index_select(0, pairs.j[used])
        r_k = edges.r.index_select(0, pairs.k[used])
        difference = r_j - r_k
        smooth_max = r_k + difference * (self.beta * (r_j - r_k)).sigmoid()
        d = smooth_max + LAMBERT / self.beta
        # Exponentials relative to the largest of each cluster, which nothing overflows and which
        # cancels.
        least = d.new_full((n_clusters,), self.outer_radius)
        least = least.scatter_reduce(0, cluster, d.detach(), "amin")
        e = 2 * p * (-self.beta * (d - least[cluster])).exp()  # (j, j') and (j', j)
        far = (-self.beta * (self.outer_radius - least)).exp()  # the entry d = R_out
        total = far.index_add(0, cluster, e)
        mean = (self.outer_radius * far).index_add(0, cluster, e * d) / total
        return mean + self.radius_width

    def _weights(
        self, edges: NeighborEdges, pairs: NeighborPairs, inner_radius: Tensor
    ) -> tuple[NeighborPairs, Tensor]:
        """The pairs that may have a weight, and their weights w, before pruning."""
        start = self.sin2_min - self.sin2_width
        near = edges.r.detach() < inner_radius.detach()[edges.cluster]  # (E)
        used = near[pairs.j] & near[pairs.k] & (pairs.sin2.detach() > start)
        pairs = pairs[used.nonzero().flatten()]
        reach = inner_radius.index_select(0, pairs.cluster)
        s = pairs.sin2
        w = step_up(s, start, self.sin2_width) * (s - start) / self.sin2_width
        for edge in (pairs.j, pairs.k):
            w = w * smooth_step(edges.r.index_select(0, edge), reach, self.radius_width)
        return pairs, w

    def _made(
        self,
        edges: NeighborEdges,
        pairs: NeighborPairs,
        w: Tensor,
        auxiliary_weight: Tensor,
        inner_radius: Tensor,
    ) -> Frames:
        """The frames of pairs of neighbors: of both orders and of all hands."""
        unit_j = edges.unit.index_select(0, pairs.j)
        unit_k = edges.unit.index_select(0, pairs.k)
        a = torch.stack([unit_j, unit_k], 1)  # (Q, 2, 3): both orders of each pair
        b = torch.linalg.cross(a, torch.stack([unit_k, unit_j], 1))
        b = b / b.norm(dim=-1, keepdim=True)
        c = torch.linalg.cross(a, b)
        hands = (1, -1) if self.group == "O(3)" else (1,)
        of_hands = [torch.stack([a, hand * b, c], -1) for hand in hands]
        axes = torch.stack(of_hands, 2)  # (Q, 2, hands, 3, 3)
        m = 2 * len(hands)
        j = edges.source[pairs.j]
        k = edges.source[pairs.k]
        first = torch.stack([j, k], 1)  # (Q, 2): j of both orders
        second = torch.stack([k, j], 1)
        return Frames(
            axes=axes.reshape(-1, 3, 3),
            weights=w.unsqueeze(1).expand(-1, m).reshape(-1),
            cluster=pairs.cluster.repeat_interleave(m),
            auxiliary_weight=auxiliary_weight,
            center=edges.target[pairs.j].repeat_interleave(m),
            j=first.repeat_interleave(len(hands), 1).flatten(),
            k=second.repeat_interleave(len(hands), 1).flatten(),
            inner_radius=inner_radius,
        )

    def auxiliary_outputs(
        self, batch: Batch, frames: Frames, request: Request
    ) -> dict[str, Tensor]:
        """What the auxiliary model gives: by name, a row for each atom.

        Warns when the model is trained and the auxiliary model is not.
        """
        weight = frames.auxiliary_weight
        auxiliary = self.auxiliary
        features = self.features
        if weight is None:
            return {}
        lonely = weight > 0
        neighbors = aux.where(batch, int(lonely.nonzero()[0]), self.local)
        if auxiliary is None or features is None:
            raise ValueError(
                f"All {neighbors} are in line, or nearly so, and make no frame; give ECSE an "
                "auxiliary model that stands in there, or leave auxiliary='default'."
            )
        trained = bool(self.learned) or self.training or aux.is_trained_alone(auxiliary)
        if not trained and bool(self.model.trained_elements.any()):
            aux.warn_untrained(neighbors)
        # Only structures that need it: others may hold elements it was not trained on.
        marked = lonely
        if self.local:
            marked = torch.zeros(batch.num_graphs, dtype=torch.bool, device=lonely.device)
            marked = marked.index_fill(0, batch.batch[lonely], True)
        some, atoms = aux.structures_with(batch, marked)
        out = aux.predict(self.model, auxiliary, some, noise=request.head_noise)
        values = {"energy": out.per_atom["energy"], "atoms": features(out.atoms)}
        if self.stand_in is not None:
            values[PASSED_ON] = self.stand_in(out.atoms)
        if out.noise is not None:
            values["noise"] = out.noise
        for name in self.property_heads:
            per_atom = out.per_atom[name]
            values[name] = aux.in_units_of_model(self.model, auxiliary, name, per_atom, some)
        if request.head_forces and self.force_head is not None:
            values["forces"] = out.per_atom["direct_forces"] * self.force_head.scale
        n = len(batch.z)
        return {
            name: value.new_zeros(n, *value.shape[1:]).index_copy(0, atoms, value)
            for name, value in values.items()
        }

"""ECSE: equivariant coordinate system ensembles (Pozdnyakov and Ceriotti, NeurIPS 2023,
arXiv:2305.19302). Exact rotational symmetry for a model that has none, and smooth: no jump
anywhere.

Every ordered pair (j, j') of neighbors of an atom i makes a frame, and all of them together are an
average that turns with the surroundings of i and depends smoothly on them, since no frame comes or
goes with a weight above zero:

    a = r̂_j,   b = a × r̂_j' / |a × r̂_j'|,   c = a × b,   F = [a b c]
    y_i = (Σ_jj' w_jj' y_i(F_jj'ᵀ r) + w_aux y_aux,i) / (Σ_jj' w_jj' + w_aux)

With f(r|R, Δ) = `smooth_step`: 1 below R - Δ, 0 above R; q its mirror image in s = sin² of the
angle at i: 0 below ω, 1 above ω + δ:

    w_jj'   = f(r_j|R_in, Δ) f(r_j'|R_in, Δ) q(s|W-ΔW, ΔW) (s - (W-ΔW))/ΔW
            near neighbors that are not in line
    p_jj'   = f(r_j|R_out, Δ) f(r_j'|R_out, Δ) q(s|W, ΔW)                      the same, as far as i
            looks
    d_jj'   = SmoothMax_β(r_j, r_j') + T(β),   T(β) = LambertW(1/e)/β          above both distances
    R_in    = Σ p d e^(-βd) / Σ p e^(-βd) + Δ                                  with one more entry,
            d = R_out and p = 1
    w_aux   = f(w_max|½, ½)

R_in follows the nearest pair of use: if there is one with p > 0, some w is 1 or more, and w_aux is
0. If all neighbors are in line (or there is one, or none), every w is 0: such surroundings have no
frame, and an auxiliary model, which is equivariant by construction, answers. R_out ≤ R_cut - Δ, so
that R_in stays within what the model sees.

Frames of weight well below the largest can be pruned, `prunings` times: w ← w q(w/w_max|0.8, 0.1).
The largest weight is w_max = (Σ w^64)^(1/64), which is smooth, not smaller than any w, and does not
change when w = 0 is added. It is off by default: a frame that leaves within so little makes the
energy smooth but steep, and forces pay for it as far as the model is not symmetric itself (what it
costs and saves: the claims `ecse-accuracy` and `ecse-frames`).

[a b c] is right-handed. A mirror image of the structure has left-handed frames, F diag(1, -1, 1),
so averages over both hands do not change under reflection either: group="O(3)", at twice the cost.
"SO(3)" takes right hands only.

Locality. Each atom has frames of its own, made of its neighbors, in which its own share of the
energy is evaluated: of all that it can feel, and of nothing else. local=False instead pools all
pairs of a structure and turns the structure as a whole. That takes far fewer evaluations of a
network that passes messages, but then the frames of one molecule change the energy of another that
is far away.

Departures from the released code: w_max is smooth (there, a plain maximum, and pruning four times
with q(w|0.9 w_max, 0.1 w_max)); frames are of atoms; both hands; everything is differentiated; and
the auxiliary model is always there unless it is declined.
"""

import warnings

import torch
from torch import Tensor, nn

from scdlab.atoms.neighbors import Pairs, neighbor_list, repeated
from scdlab.nn.blocks.radial import smooth_step
from scdlab.nn.et import EquivariantTransformer
from scdlab.nn.registry import describe
from scdlab.symmetry.frames import Clusters, Frames, Symmetrized, batch_of, receptive_fields, starts

GROUPS = ("O(3)", "SO(3)")
# W(1/e): by so much over β a smooth maximum of two stays below the maximum at most
LAMBERT = 0.2784645427610738
NORM = (
    64  # of the smooth largest weight: n equal weights count as n^(1/64) of one, 1.1 for a thousand
)
NEGLIGIBLE = 1e-15  # of the largest weight: below what float64 tells apart


def _q(s: Tensor, start: float, radius_width: float) -> Tensor:
    """0 for s ≤ start, 1 for s ≥ start + width."""
    return smooth_step(-s, -start, radius_width)


class ECSE(Symmetrized):
    """`ECSE(model)` takes a model's arguments, and its answers turn with the structure exactly.

    model: any backbone whose energy is a sum over atoms (`Prediction.shares`), with a `cutoff` and,
    where it passes messages, the number of its steps as `hops`. auxiliary: answers for atoms whose
    neighbors are in line; equivariant by construction, and with vectors if `model` predicts any. By
    default a small equivariant transformer, which adds nothing to the reference energies until it
    is trained, as `fit(exact.auxiliary, …)`; None for none. group: "O(3)" or "SO(3)"; local: frames
    for each atom, or pooled. outer: R_out in Å, by default the cutoff less `width`; width: Δ in Å;
    beta: β in 1/Å; angle, angle_width: W and ΔW; prunings: how often small weights are pruned.

    Raises ValueError for an R_out beyond the cutoff less Δ, where a neighbor that enters would make
    a jump. When asked: for a structure that needs the auxiliary model, where there is none.
    """

    def __init__(
        self,
        model,
        auxiliary="default",
        group: str = "O(3)",
        local: bool = True,
        outer_radius: float | None = None,
        radius_width: float = 0.15,
        beta: float = 5.0,
        sin2_min: float = 0.2,
        sin2_width: float = 0.15,
        prunings: int = 0,
    ):
        settings = dict(
            group=group,
            local=local,
            outer_radius=outer_radius,
            radius_width=radius_width,
            beta=beta,
            sin2_min=sin2_min,
            sin2_width=sin2_width,
            prunings=prunings,
        )
        super().__init__(model, settings)
        if group not in GROUPS:
            raise ValueError(
                f"ECSE makes a model symmetric under {' or '.join(GROUPS)}, not {group!r}."
            )
        if not (
            radius_width > 0
            and beta > 0
            and 0 < sin2_width <= sin2_min
            and sin2_min + sin2_width < 1
            and prunings >= 0
        ):
            raise ValueError(
                "ECSE needs radius_width > 0, beta > 0, 0 < sin2_width ≤ sin2_min, sin2_min + "
                f"sin2_width < 1 and prunings ≥ 0, not radius_width={radius_width}, beta={beta}, "
                f"sin2_min={sin2_min}, sin2_width={sin2_width}, prunings={prunings}."
            )
        self.outer_radius = (
            model.cutoff - radius_width if outer_radius is None else float(outer_radius)
        )
        if not radius_width < self.outer_radius <= model.cutoff - radius_width + 1e-12:
            raise ValueError(
                f"ECSE's outer radius is {self.outer_radius:g} Å, and must lie between its width "
                f"{radius_width:g} Å and the model's cutoff less the width, "
                f"{model.cutoff - radius_width:g} Å: a neighbor that enters at the cutoff must not "
                "have made frames before."
            )
        self.group = group
        self.local = local
        self.radius_width = radius_width
        self.beta = beta
        self.prunings = prunings
        self.sin2_min = sin2_min
        self.sin2_width = sin2_width
        self.auxiliary = auxiliary
        self.features = None  # from the auxiliary model's features to those of the model
        self.register_buffer(
            "learned", torch.zeros((), dtype=torch.bool)
        )  # the auxiliary model, along with the model
        if auxiliary is not None:
            with torch.random.fork_rng(
                devices=[]
            ):  # numbers drawn for other models stay what they were
                torch.default_generator.manual_seed(0)
                if auxiliary == "default":
                    self.auxiliary = self._default()
                self.features = nn.Linear(
                    self.auxiliary.hidden_channels, model.hidden_channels, bias=False
                )
            weight = next(model.parameters())
            self.auxiliary.to(weight), self.features.to(weight)
            for name, head in model.property_heads.items():
                self.auxiliary.add_property(name, self._pool(head.kind))
            if model.direct_forces:
                self.auxiliary.add_property("direct_forces", "vector")
            if model.noise_head is not None and self.auxiliary.noise_head is None:
                raise ValueError(
                    f"{type(model).__name__} predicts noise, and the auxiliary "
                    f"{type(self.auxiliary).__name__} has no head for it; give one that has, such "
                    "as EquivariantTransformer."
                )
        self.train(model.training)

    def _default(self) -> EquivariantTransformer:
        """Small, and silent before training."""
        noise = self.model.noise_head is not None
        made = EquivariantTransformer(
            64, num_layers=1, num_heads=4, num_rbf=32, cutoff=self.model.cutoff, noise_head=noise
        )
        nn.init.zeros_(made.energy_head.mlp[-1].weight)
        nn.init.zeros_(made.energy_head.mlp[-1].bias)
        return made

    def _pool(self, pool: str) -> str:
        """A plain model's vector of each atom is an equivariant model's vector, before it is
        summed."""
        return "vector" if pool == "per_atom" and not self.model.equivariant else pool

    @property
    def config(self) -> dict:
        told = self.auxiliary
        told = None if told is None else describe(told)
        return {**super().config, "auxiliary": told}

    def add_property(self, name: str, pool: str | None = None):
        head = self.model.add_property(name, pool)
        if self.auxiliary is not None:
            self.auxiliary.add_property(name, self._pool(head.kind))
        return head

    def clusters(self, batch, pairs: Pairs) -> Clusters:
        if self.local:
            return receptive_fields(batch, pairs, getattr(self.model, "n_hops", None))
        return super().clusters(batch, pairs)

    # -- frames and weights
    # -------------------------------------------------------------------------------------------

    def frames(self, batch) -> Frames:
        """The frames of every atom (of every structure, with local=False), with weights after
        pruning: 0 to many for each, in order. Differentiable in `batch.pos` and `batch.cell`."""
        n = len(batch.z)
        groups = n if self.local else batch.num_graphs
        pairs = neighbor_list(
            batch, self.outer_radius + self.radius_width + LAMBERT / self.beta
        )  # R_in is below that
        r_ij = pairs.vectors(batch.pos, batch).double()  # (P, 3)
        to = torch.cat([pairs.i, pairs.j])
        order = torch.argsort(to, stable=True)
        to = to[order]
        of = torch.cat([pairs.j, pairs.i])[order]
        r_ij = torch.cat([r_ij, -r_ij]).index_select(
            0, order
        )  # (E, 3), neighbors of each atom in a row
        r = r_ij.norm(dim=-1)
        unit = r_ij / r.unsqueeze(-1)
        # Every two neighbors j, j' of an atom, once: weights do not depend on their order.
        last = torch.bincount(to, minlength=n).cumsum(0)
        j, rank = repeated(last[to] - torch.arange(len(to), device=to.device) - 1)
        k = j + 1 + rank
        group = to[j] if self.local else batch.batch[to[j]]
        s = 1.0 - (unit.index_select(0, j) * unit.index_select(0, k)).sum(-1).square()  # (Q)
        inner = self._inner_radius(r, s, j, k, group, groups)

        near = r.detach() < inner.detach()[to if self.local else batch.batch[to]]  # (E)
        used = (
            (near[j] & near[k] & (s.detach() > self.sin2_min - self.sin2_width)).nonzero().flatten()
        )
        j = j[used]
        k = k[used]
        group = group[used]
        s = s.index_select(0, used)
        reach = inner.index_select(0, group)
        start = self.sin2_min - self.sin2_width
        w = _q(s, start, self.sin2_width) * (s - start) / self.sin2_width
        for e in (j, k):
            w = w * smooth_step(r.index_select(0, e), reach, self.radius_width)
        largest = _largest(w, group, groups)
        rest = smooth_step(largest, 0.5, 0.5)  # (G), 1 where there is no frame
        for turn in range(self.prunings + 1):
            if turn:
                w = w * _q(w / _largest(w, group, groups).index_select(0, group), 0.8, 0.1)
            there = (w.detach() > NEGLIGIBLE * largest.detach()[group]).nonzero().flatten()
            j = j[there]
            k = k[there]
            group = group[there]
            w = w.index_select(0, there)
        return self._made(unit, w, j, k, to, of, group, rest, inner)

    def _inner_radius(self, r, s, j, k, group, groups: int) -> Tensor:
        """R_in [G] in Å."""
        f = smooth_step(r, self.outer_radius, self.radius_width)  # (E)
        p = f.index_select(0, j) * f.index_select(0, k) * _q(s, self.sin2_min, self.sin2_width)
        there = (p.detach() > 0).nonzero().flatten()
        p = p.index_select(0, there)
        group = group[there]
        r_j = r.index_select(0, j[there])
        r_k = r.index_select(0, k[there])
        d = (
            r_k + (r_j - r_k) * (self.beta * (r_j - r_k)).sigmoid() + LAMBERT / self.beta
        )  # SmoothMax + T
        # Exponentials relative to the largest of each group, which nothing overflows and which
        # cancels.
        least = d.new_full((groups,), self.outer_radius).scatter_reduce(
            0, group, d.detach(), "amin"
        )
        e = 2 * p * (-self.beta * (d - least[group])).exp()  # (j, j') and (j', j)
        far = (-self.beta * (self.outer_radius - least)).exp()  # the entry d = R_out
        total = far.index_add(0, group, e)
        return (self.outer_radius * far).index_add(0, group, e * d) / total + self.radius_width

    def _made(self, unit, w, j, k, to, of, group, rest, inner) -> Frames:
        one = unit.index_select(0, j)
        two = unit.index_select(0, k)
        a = torch.stack([one, two], 1)  # (S, 2, 3): both orders of each pair
        b = torch.linalg.cross(a, torch.stack([two, one], 1))
        b = b / b.norm(dim=-1, keepdim=True)
        c = torch.linalg.cross(a, b)
        hands = (1, -1) if self.group == "O(3)" else (1,)
        axes = torch.stack(
            [torch.stack([a, hand * b, c], -1) for hand in hands], 2
        )  # (S, 2, hands, 3, 3)
        m = 2 * len(hands)

        def each(x):
            return x.repeat_interleave(m, 0)

        def pair(x, y):
            return torch.stack([of[x], of[y]], 1).repeat_interleave(len(hands), 1).flatten()

        return Frames(
            axes=axes.reshape(-1, 3, 3),
            weights=w.unsqueeze(1).expand(-1, m).reshape(-1),
            of=each(group),
            rest=rest,
            center=each(to[j]),
            first=pair(j, k),
            second=pair(k, j),
            inner=inner,
        )

    # -- surroundings without a frame
    # ---------------------------------------------------------------------------------

    def auxiliary_prediction(self, batch, told: dict, frames: Frames) -> dict[str, Tensor]:
        model = self.auxiliary
        lonely = frames.rest > 0
        first = int(lonely.nonzero()[0])
        structure = first
        where = ""
        if self.local:
            structure = int(batch.batch[first])
            where = f" of atom {first - int(batch.ptr[structure])}"
        about = (
            f"neighbors{where} in structure {structure} of the batch ({_formula(batch, structure)})"
        )
        if model is None:
            raise ValueError(
                f"All {about} are in line, or nearly so, and make no frame; give ECSE an auxiliary "
                "model that answers there, or leave auxiliary='default'."
            )
        alone = bool(
            model.trained_elements.any()
        )  # trained by a fit of its own: it has units of its own
        if not alone:  # else it speaks in those of the model
            with torch.no_grad():
                model.energy_head.reference.copy_(self.model.energy_head.reference)
                model.energy_head.scale.copy_(self.model.energy_head.scale)
                for name, head in self.model.property_heads.items():
                    model.property_heads[name].mean.copy_(head.mean)
                    model.property_heads[name].std.copy_(head.std)
            if self.training:
                self.learned.fill_(True)
            elif bool(self.model.trained_elements.any()) and not bool(self.learned):
                warnings.warn(
                    f"All {about} are in line, and the auxiliary model that answers there has not "
                    "been trained: only reference energies are known. Train it as any model, "
                    "scdlab.fit(exact.auxiliary, …).",
                    stacklevel=2,
                )
        # Only structures that need it are asked about: others may hold elements it has not met.
        asked = torch.zeros(batch.num_graphs, dtype=torch.bool, device=lonely.device)
        asked = asked.index_fill(0, batch.batch[lonely], True) if self.local else lonely
        atoms = asked[batch.batch].nonzero().flatten()
        of = (asked.cumsum(0) - 1)[batch.batch[atoms]]
        some = batch_of(
            z=batch.z[atoms],
            pos=batch.pos.index_select(0, atoms),
            batch=of,
            ptr=starts(of, int(asked.sum())),
        )
        if "cell" in batch:
            some.cell = batch.cell[asked]
            some.pbc = batch.pbc.reshape(-1, 3)[asked]
        out = model(some, noise=told["noise"])
        values = {
            "energy": out.per_atom["energy"],
            "atoms": self.features(out.atoms),
            "noise": out.noise,
        }
        values |= {
            name: self._in_units(name, out.per_atom[name], some)
            for name in self.model.property_heads
        }
        if told["forces"]:
            values["forces"] = out.per_atom["direct_forces"] * self.model.force_head.scale
        n = len(batch.z)
        return {
            k: v.new_zeros(n, *v.shape[1:]).index_copy(0, atoms, v)
            for k, v in values.items()
            if v is not None
        }

    def _in_units(self, name: str, per_atom: Tensor, batch) -> Tensor:
        """Shares of a property from the auxiliary model, in units of the model's head and relative
        to its mean."""
        ours = self.model.property_heads[name]
        theirs = self.auxiliary.property_heads[name]
        y = theirs.std * per_atom
        if ours.kind in ("scalar_sum", "scalar_mean"):
            size = batch.ptr.diff()[batch.batch] if ours.kind == "scalar_sum" else 1
            y = y + (theirs.mean - ours.mean) / size
        return y / ours.std


def _largest(w: Tensor, group: Tensor, groups: int) -> Tensor:
    """(Σ w^64)^(1/64) of each group, [G]: 0 where there is none. In units of the plain maximum,
    which cancels."""
    top = w.new_zeros(groups).scatter_reduce(0, group, w.detach(), "amax")
    there = top > 0
    unit = torch.where(there, top, 1.0)
    total = w.new_zeros(groups).index_add(0, group, (w / unit[group]).clamp(min=1e-4) ** NORM)
    return torch.where(there, unit * torch.where(there, total, 1.0) ** (1 / NORM), 0.0)


def _formula(batch, k: int) -> str:
    from ase import Atoms

    return Atoms(batch.z[batch.batch == k].cpu().numpy()).get_chemical_formula()

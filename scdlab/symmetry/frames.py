"""Frames: what makes any model symmetric by turning its input, not its insides.

A frame F = [a b c] is an orthogonal matrix whose columns are axes that turn with the structure.
Seen in its frame, a structure r_i has the coordinates Fᵀ r_i, and they do not change when the
structure turns. So whatever a model answers there does not either: numbers are used as they are,
vectors and tensors are turned back,

    y = Σ_k w_k y₀(F_kᵀ r) / Σ_k w_k        vectors: F_k y₀        tensors: F_k y₀ F_kᵀ

and an average over several frames is as good as one, if their weights w_k depend on distances and
angles alone (Puny et al., ICLR 2022, arXiv:2110.03336; Pozdnyakov and Ceriotti, NeurIPS 2023,
arXiv:2305.19302). Whether the average is a *smooth* function of the positions is another question,
and the subject of ecse.py and averaging.py.

How it is laid out. A *cluster* is what the model is shown at a time: a whole structure, or the part
of one that a single atom can feel. Every frame makes a copy of its cluster; copies are independent
structures to the model, and go through it in chunks of bounded size. Each cluster has its targets,
the atoms whose shares are kept: all of them, or the one in the middle.

    clusters    atom [M]       which atom of the batch a node is          image [M, 3]
                               which periodic image of it
                ptr [C + 1]    where each cluster's nodes start           i, j [P]
                               neighbors among nodes
    frames      axes [K, 3, 3], weights [K], of [K]                       which cluster each frame
                belongs to
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scdlab.atoms.neighbors import Pairs, neighbor_list, repeated
from scdlab.nn.blocks.adaln import check_condition
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.nn.model import Prediction
from scdlab.nn.registry import describe, register

OF_THE_MODEL = ("drop_path", "filter_table_size", "units", "provenance")
CHUNK = 30_000  # nodes and, tenfold, pairs of neighbors that go through the model at a time


@dataclass
class Frames:
    """K frames of a batch: axes [K, 3, 3] float64, columns a, b, c; weights [K] float64, not
    normalized; of [K], which cluster (by default: which structure) each belongs to, ascending. Of
    averages that fall back on another model: rest [C], its weight for each cluster. Of frames made
    from pairs of atoms: center, first and second [K], the atom that a frame belongs to and the two
    that give its axes; inner [C] Å, the radius within which such atoms are looked for."""

    axes: Tensor
    weights: Tensor
    of: Tensor
    rest: Tensor | None = None
    center: Tensor | None = None
    first: Tensor | None = None
    second: Tensor | None = None
    inner: Tensor | None = None

    def __len__(self) -> int:
        return len(self.of)

    def part(self, chosen) -> "Frames":
        """Those frames alone; `rest` and `inner`, which are of clusters, stay whole."""
        names = ("axes", "weights", "of", "center", "first", "second")
        some = {name: None if (x := getattr(self, name)) is None else x[chosen] for name in names}
        return Frames(**some, rest=self.rest, inner=self.inner)


@dataclass
class Clusters:
    """What the model is shown at a time: see above. structure [C] of the batch; origin [C, 3], the
    point that a cluster turns about; shift [P, 3]: periodic images of pairs, of whole periodic
    structures only; center: whether the first node alone is a target; hop [M]: how many neighbors
    away from it each node is."""

    atom: Tensor
    ptr: Tensor
    i: Tensor
    j: Tensor
    pair_ptr: Tensor
    structure: Tensor
    origin: Tensor
    image: Tensor | None = None
    shift: Tensor | None = None
    center: bool = False
    hop: Tensor | None = None


def whole_structures(batch, pairs: Pairs) -> Clusters:
    """Each structure of the batch is a cluster, turned about the mean of its atoms (about 0, where
    it is periodic)."""
    structure = batch.batch.index_select(0, pairs.i)
    order = torch.argsort(structure, stable=True)
    pair_ptr = nn.functional.pad(
        torch.bincount(structure, minlength=batch.num_graphs).cumsum(0), (1, 0)
    )
    i = pairs.i.index_select(0, order)
    j = pairs.j.index_select(0, order)
    origin = sum_over_atoms(batch.pos, batch) / batch.ptr.diff().unsqueeze(-1)
    if pairs.shift is not None:
        origin = origin * ~batch.pbc.reshape(-1, 3).any(1, keepdim=True)
    return Clusters(
        atom=torch.arange(len(batch.z), device=batch.z.device),
        ptr=batch.ptr,
        i=i,
        j=j,
        pair_ptr=pair_ptr,
        structure=torch.arange(batch.num_graphs, device=batch.z.device),
        origin=origin,
        shift=None if pairs.shift is None else pairs.shift.index_select(0, order),
    )


@torch.no_grad()
def receptive_fields(batch, pairs: Pairs, n_hops: int | None) -> Clusters:
    """Each atom's cluster: the atoms that it can feel in `hops` steps from neighbor to neighbor
    (None: in any number), with the pairs that carry messages towards it. Of periodic structures,
    atoms and their images: a cluster is open. The atom itself comes first in its own."""
    n = len(batch.z)
    device = batch.z.device
    if n_hops is None and pairs.shift is not None:
        raise ValueError(
            "An atom of a periodic structure can feel infinitely many images of the others when "
            "messages travel any number of steps; give the model an attribute `hops`, the number "
            "of its layers that pass messages."
        )
    to = torch.cat([pairs.i, pairs.j])
    of = torch.cat([pairs.j, pairs.i])
    shift = None if pairs.shift is None else torch.cat([pairs.shift, -pairs.shift]).round().long()
    order = torch.argsort(to, stable=True)
    to = to[order]
    of = of[order]
    degree = torch.bincount(to, minlength=n)
    start = degree.cumsum(0) - degree
    width = 1
    reach = 0
    if shift is not None:
        shift = shift[order]
        reach = int(shift.abs().max()) * n_hops if len(shift) else 0
        width = 2 * reach + 1

    def key(env, atom, image):  # one number for each node there can be
        number = env * n + atom
        if image is not None:
            for k in range(3):
                number = number * width + image[:, k] + reach
        return number

    def step(env, atom, image):  # along all edges of these nodes
        k, rank = repeated(degree[atom])
        edge = start[atom][k] + rank
        return k, env[k], of[edge], None if image is None else image[k] + shift[edge]

    env = atom = torch.arange(n, device=device)
    image = None if shift is None else torch.zeros(n, 3, dtype=torch.long, device=device)
    levels = [(env, atom, image)]
    known = key(env, atom, image)
    level = 0
    while len(env) and (n_hops is None or level < n_hops):
        _, env, atom, image = step(env, atom, image)
        found, first = _unique(key(env, atom, image))
        new = ~torch.isin(found, known)
        first = first[new]
        env = env[first]
        atom = atom[first]
        image = None if image is None else image[first]
        known = torch.cat([known, found[new]])
        levels.append((env, atom, image))
        level += 1
    hop = torch.cat([torch.full_like(part[0], k) for k, part in enumerate(levels)])
    env, atom = (torch.cat([part[k] for part in levels]) for k in (0, 1))
    image = None if shift is None else torch.cat([part[2] for part in levels])
    order = torch.argsort(env * len(levels) + hop, stable=True)  # by cluster, then by hop
    env = env[order]
    atom = atom[order]
    hop = hop[order]
    image = None if image is None else image[order]
    # Pairs: from every node that still passes on what it hears.
    speaks = (
        torch.arange(len(env), device=device)
        if n_hops is None
        else (hop < n_hops).nonzero().flatten()
    )
    k, at, atoms, images = step(env[speaks], atom[speaks], None if image is None else image[speaks])
    keys, place = key(env, atom, image).sort()
    u = speaks[k]
    v = place[torch.searchsorted(keys, key(at, atoms, images))]
    once = (
        u < v if n_hops is None else (u < v) | (hop[v] == n_hops)
    )  # the edge is met from its other end too
    u = u[once]
    v = v[once]
    low = torch.minimum(u, v)
    high = torch.maximum(u, v)
    order = torch.argsort(low * len(env) + high)
    i = low[order]
    j = high[order]
    return Clusters(
        atom=atom,
        ptr=starts(env, n),
        i=i,
        j=j,
        pair_ptr=starts(env[i], n),
        structure=batch.batch,
        origin=batch.pos,
        image=image,
        center=True,
        hop=hop,
    )


def _unique(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The different keys, ascending, and where each stands first."""
    found, inverse = torch.unique(keys, return_inverse=True)
    first = torch.full_like(found, len(keys))
    return found, first.scatter_reduce(
        0, inverse, torch.arange(len(keys), device=keys.device), "amin"
    )


def starts(of: Tensor, n: int) -> Tensor:
    """Where the entries of each of n owners start, owners ascending: [n + 1]."""
    return nn.functional.pad(torch.bincount(of, minlength=n).cumsum(0), (1, 0))


class Symmetrized(nn.Module):
    """A model seen in frames: it takes the same arguments, and what it answers turns with the
    structure.

    Each kind says which frames a batch has (`frames`) and what they see (`clusters`: by default
    whole structures). All else is asked of `model`: heads, cutoff, what it can be told. `settings`
    rebuild it, with the model.

    Under torch.no_grad, frames are evaluated in chunks whose memory does not grow with their
    number. Otherwise all that a backward pass needs is kept.
    """

    augment = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        register(cls)

    def __init__(self, model, settings: dict):
        super().__init__()
        if not isinstance(getattr(model, "cutoff", None), float):
            raise ValueError(
                f"A {type(self).__name__} needs a model that says within which `cutoff` (Å) it "
                f"looks for neighbors, and {type(model).__name__} does not."
            )
        if isinstance(model, Symmetrized):
            raise ValueError(
                f"{type(self).__name__} takes a model as it is, and this is a "
                f"{type(model).__name__} of one already; give its `model`."
            )
        self.model = model
        self.settings = settings
        self.train(model.training)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            model = self.__dict__.get("_modules", {}).get("model")
            if model is None:
                raise
            return getattr(model, name)

    def __setattr__(self, name, value):
        """What is set from outside on any model, and read there, is set on the model itself."""
        model = self.__dict__.get("_modules", {}).get("model")
        if name in OF_THE_MODEL and hasattr(model, name):
            setattr(model, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def config(self) -> dict:
        return {
            "model": describe(self.model),
            **self.settings,
        }

    def frames(self, batch) -> Frames:
        """The frames of a batch whose positions are float64 and may carry a gradient. Each average
        has its own."""
        raise TypeError(f"{type(self).__name__} must define frames(batch).")

    def clusters(self, batch, pairs: Pairs) -> Clusters:
        return whole_structures(batch, pairs)

    def auxiliary_prediction(self, batch, told: dict, frames: Frames) -> dict[str, Tensor]:
        """What another model answers where frames have no weight: by name, a row for each atom."""
        return {}

    def forward(
        self,
        batch,
        condition: Tensor | None = None,
        force_input: Tensor | None = None,
        forces: bool = False,
        noise: bool | None = None,
        pairs: Pairs | None = None,
    ) -> Prediction:
        """Predict for a batch: the arguments are the model's. Raises ValueError for what the model
        does not take, and for a model whose prediction has no `shares`: a sum over atoms is what
        frames of atoms are made for."""
        head = self.model.noise_head
        noise = head is not None if noise is None else noise
        by_gradient = noise and head is None
        direct = bool(getattr(self.model, "direct_forces", False))
        if condition is not None and self.model.mask_token is not None:
            check_condition(condition, batch, self.model.hidden_channels)
        if force_input is not None and force_input.shape != batch.pos.shape:
            raise ValueError(
                f"The clue has shape {list(force_input.shape)}, and this batch needs "
                f"{list(batch.pos.shape)}: a force in eV/Å for each atom, zero for one that is "
                "told nothing."
            )
        if by_gradient and direct:
            raise ValueError(
                f"This {type(self.model).__name__} has no noise head, and its forces are no "
                "gradient that could stand in for one; build it with direct_forces=False."
            )
        if not self.training:
            self.model.check_elements(batch.z)
        pairs = neighbor_list(batch, self.model.cutoff) if pairs is None else pairs
        differentiate = by_gradient or (forces and not direct)
        graph = torch.is_grad_enabled()
        inputs = copy.copy(batch)  # shallow: the caller's batch keeps its own positions
        if "cell" in batch:
            inputs.cell = batch.cell.double().reshape(-1, 3, 3)
            if batch.get("pbc") is None:  # a cell alone is periodic all round
                inputs.pbc = torch.ones(
                    len(inputs.cell), 3, dtype=torch.bool, device=inputs.cell.device
                )
        with torch.set_grad_enabled(graph or differentiate):
            pos = batch.pos.double()
            inputs.pos = pos = (
                pos if pos.requires_grad or not differentiate else pos.detach().requires_grad_()
            )
            told = {
                "condition": condition,
                "force_input": force_input,
                "noise": noise and not by_gradient,
                "forces": forces and direct,
            }
            y, energy = self._average(inputs, pairs, told, graph, differentiate)
            gradient = None
            if differentiate:
                second = graph and (self.training or by_gradient or batch.pos.requires_grad)
                (gradient,) = torch.autograd.grad(
                    energy.sum(), pos, create_graph=second, retain_graph=graph
                )
        with torch.set_grad_enabled(graph):
            per_atom = {name: value if graph else value.detach() for name, value in y.items()}
            x, noise_out, direct_out = (
                per_atom.pop(name, None) for name in ("atoms", "noise", "forces")
            )
            scale = self.model.energy_head.scale
            dtype = x.dtype
            out_forces = direct_out if direct else None if gradient is None else -gradient.to(dtype)
            return Prediction(
                energy=self.model.energy_head.total(per_atom["energy"], inputs),
                forces=out_forces if forces else None,
                noise=noise_out if not by_gradient else (gradient / scale).to(dtype),
                embedding=(self.model.embedding_head or sum_over_atoms)(x, inputs),
                atoms=x,
                properties={
                    name: h.total(
                        per_atom[name].to(dtype) if h.kind == "per_atom" else per_atom[name], inputs
                    )
                    for name, h in self.model.property_heads.items()
                },
                per_atom=per_atom,
            )

    def _average(self, batch, pairs, told: dict, graph: bool, differentiate: bool):
        """Weighted means over frames: by name, a row for each atom; and energies [B] that carry the
        gradient with respect to positions (of frames, weights and model alike) whether or not a
        graph of the rest is kept."""
        clusters = self.clusters(batch, pairs)
        frames = self.frames(batch)
        rest = frames.rest
        norm = frames.weights.new_zeros(len(clusters.structure)).index_add(
            0, frames.of, frames.weights
        )  # (C)
        norm = norm if rest is None else norm + rest
        if not bool((norm.isfinite() & (norm > 0)).all()):
            k = int(clusters.structure[int((~(norm.isfinite() & (norm > 0))).nonzero()[0])])
            raise ValueError(
                f"The weights of the frames of structure {k} of the batch are not finite, positive "
                "numbers; look for atoms that coincide or have no finite position."
            )
        weights = frames.weights / norm.index_select(0, frames.of)  # (K)
        sums = {}
        energy = batch.pos.new_zeros(batch.num_graphs)
        first_order = differentiate and not graph
        slopes = [torch.zeros_like(x, requires_grad=False) for x in (batch.pos, clusters.origin)]
        for chunk in _chunks(clusters, frames.of):
            part = frames.part(chunk)
            w = weights[chunk]
            with torch.set_grad_enabled(graph):
                values, e, atoms, owner, found = self._evaluate(
                    batch, clusters, part, told, graph, differentiate
                )
            if first_order:
                e = e + _follow(part, clusters, found, w.detach(), slopes)
            for name, value in values.items():
                turned = _turned(value, part.axes[owner], self._kind(name))
                each = w[owner].view(-1, *[1] * (turned.ndim - 1)) * turned.double()
                sums[name] = sums.get(
                    name, turned.new_zeros(len(batch.z), *turned.shape[1:]).double()
                )
                sums[name] = sums[name].index_add(0, atoms, each if graph else each.detach())
            energy = energy.index_add(0, clusters.structure[part.of], w * e)
        if first_order:  # what moved with the atoms themselves, in sums over all copies
            for x, slope in zip((batch.pos, clusters.origin), slopes, strict=True):
                energy = torch.cat([energy[:1] + ((x - x.detach()) * slope).sum(), energy[1:]])
        if rest is not None and bool((rest > 0).any()):
            share = rest / norm  # (C), and clusters are atoms, or structures
            share = share if clusters.center else share[batch.batch]
            for name, value in self.auxiliary_prediction(batch, told, frames).items():
                each = share.view(-1, *[1] * (value.ndim - 1)) * value.double()
                if name == "energy":
                    energy = energy + sum_over_atoms(each, batch)
                sums[name] = sums.get(name, 0.0) + (each if graph else each.detach())
        dtype = next(self.model.parameters()).dtype
        y = {
            name: v.to(dtype) if name in ("atoms", "noise", "forces") else v
            for name, v in sums.items()
        }
        return y, (sum_over_atoms(y["energy"], batch) if graph else energy)

    def _kind(self, name: str) -> str:
        """How an output turns: "scalar", "vector" or "tensor"."""
        if name in ("noise", "forces"):
            return "vector"
        pool = (
            self.model.property_heads[name].kind
            if name in self.model.property_heads
            else "scalar_sum"
        )
        atoms = (
            "scalar" if getattr(self.model, "equivariant", True) else "vector"
        )  # numbers that do not turn, elsewhere
        return {"vector": "vector", "per_atom": atoms, "tensor": "tensor"}.get(pool, "scalar")

    def _evaluate(self, batch, clusters, frames, told, graph, differentiate):
        """The model on a copy of each frame's cluster: by name, a row for each target; energies of
        the copies [K]; for each target its atom and its copy; and, for forces without a graph, what
        `_follow` needs."""
        size = clusters.ptr.diff()
        n_pairs = clusters.pair_ptr.diff()
        copy_of, rank = repeated(size[frames.of])
        cluster = frames.of[copy_of]
        node = clusters.ptr[cluster] + rank
        ptr = nn.functional.pad(size[frames.of].cumsum(0), (1, 0))
        at, rank = repeated(n_pairs[frames.of])
        pair = clusters.pair_ptr[frames.of[at]] + rank
        moved = (ptr[:-1] - clusters.ptr[frames.of])[at]
        atom = clusters.atom[node]
        structure = clusters.structure[frames.of]
        r = batch.pos.index_select(0, atom) - clusters.origin.index_select(0, cluster)  # (M, 3)
        if clusters.image is not None:
            cell = batch.cell.index_select(0, structure[copy_of])
            r = r + torch.einsum("mk,mkx->mx", clusters.image[node].to(r.dtype), cell)
        axes = frames.axes.index_select(0, copy_of)  # (M, 3, 3)
        seen = (r.unsqueeze(1) @ axes).squeeze(1)  # Fᵀ r
        dtype = next(self.model.parameters()).dtype
        x = seen if graph else seen.requires_grad_(differentiate)
        with torch.set_grad_enabled(
            graph or differentiate
        ):  # a change of precision is a step of the gradient's way
            inner = batch_of(
                z=batch.z.index_select(0, atom), pos=x.to(dtype), batch=copy_of, ptr=ptr
            )
        if clusters.shift is not None:
            box = batch.cell.index_select(0, structure)
            cell = box @ frames.axes  # (K, 3, 3), turned as positions are
            cell = cell if graph else cell.requires_grad_(differentiate)
            with torch.set_grad_enabled(graph or differentiate):
                inner.cell = cell.to(dtype)
            inner.pbc = batch.pbc.reshape(-1, 3).index_select(0, structure)
        if clusters.hop is not None:
            inner.hop = clusters.hop[node]
        shift = None if clusters.shift is None else clusters.shift[pair]
        arguments = {"noise": told["noise"], "forces": told["forces"]}
        arguments["pairs"] = Pairs(
            clusters.i[pair] + moved, clusters.j[pair] + moved, shift, self.model.cutoff
        )
        if (condition := told["condition"]) is not None:
            whole = len(condition) == batch.num_graphs
            arguments["condition"] = condition.index_select(0, structure if whole else atom)
        if (force_input := told["force_input"]) is not None:
            force_input = force_input.double().index_select(0, atom).unsqueeze(1) @ axes
            arguments["force_input"] = force_input.squeeze(1).to(dtype)
        with torch.set_grad_enabled(graph or differentiate):
            out = self.model(inner, **arguments)
            if not isinstance(getattr(out, "per_atom", None), dict) or "energy" not in out.per_atom:
                raise ValueError(
                    f"{type(self.model).__name__} does not say what each atom gives to the energy "
                    "(Prediction.shares['energy'], [N] eV), so nothing can be averaged atom by "
                    "atom; use a model whose energy is a sum over atoms."
                )
            target = ptr[:-1] if clusters.center else torch.arange(len(atom), device=atom.device)
            owner = copy_of[target]
            values = {
                "energy": out.per_atom["energy"],
                "atoms": out.atoms,
                "noise": out.noise,
                "forces": out.forces,
            }
            values |= {name: out.per_atom[name] for name in self.model.property_heads}
            values = {
                name: v.index_select(0, target) for name, v in values.items() if v is not None
            }
            e = r.new_zeros(len(frames.of)).index_add(0, owner, values["energy"])  # (K)
            if differentiate and not graph:
                asked = (
                    (x,) if clusters.shift is None else (x, cell)
                )  # copies are independent: each its own gradient
                slopes = torch.autograd.grad(e.sum(), asked, materialize_grads=True)
        found = None
        if differentiate and not graph:
            values = {name: v.detach() for name, v in values.items()}
            e = e.detach()
            turned = torch.zeros_like(frames.axes).index_add(
                0, copy_of, r.unsqueeze(2) * slopes[0].unsqueeze(1)
            )
            if clusters.shift is not None:
                turned = turned + box.mT @ slopes[1]
            found = turned, (axes @ slopes[0].unsqueeze(2)).squeeze(2), atom, cluster, copy_of
        return values, e, atom[target], owner, found


def _follow(frames: Frames, clusters: Clusters, found, w: Tensor, slopes: list[Tensor]) -> Tensor:
    """Forces without a graph of the model, nor of the copies: what turning the axes adds to the
    energies [K] to first order, which is zero and has the right slope; and into `slopes`, weighted,
    what moving atoms and origins does."""
    turned, moved, atom, cluster, copy_of = found
    moved = moved * w.index_select(0, copy_of).unsqueeze(1)
    slopes[0].index_add_(0, atom, moved)
    slopes[1].index_add_(0, cluster, -moved)
    return ((frames.axes - frames.axes.detach()) * turned.detach()).sum((-2, -1))


def _chunks(clusters: Clusters, of: Tensor):
    """Frames in ranges that make about CHUNK nodes and 10 CHUNK pairs at most."""
    cost = torch.maximum(clusters.ptr.diff()[of], clusters.pair_ptr.diff()[of] // 10).cumsum(0)
    first = 0
    done = 0
    while first < len(of):
        last = max(int(torch.searchsorted(cost, done + CHUNK, right=True)), first + 1)
        yield slice(first, last)
        first = last
        done = int(cost[last - 1])


def _turned(y: Tensor, axes: Tensor, kind: str) -> Tensor:
    """Outputs seen in frames [T, …], turned back."""
    if kind == "scalar":
        return y
    y = y.double()
    back = axes.mT
    return (y.unsqueeze(1) @ back).squeeze(1) if kind == "vector" else axes @ y @ back


def batch_of(z, pos, batch, ptr):
    """A batch of structures from their arrays."""
    from torch_geometric.data import Batch

    made = Batch(z=z, pos=pos, batch=batch, ptr=ptr)
    made._num_graphs = len(ptr) - 1
    return made

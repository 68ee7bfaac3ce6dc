"""Models seen in frames: what makes any model symmetric by rotating its input, not its insides.

Seen in a frame F (frames.py), a structure r_i has the coordinates Fᵀ r_i, and they do not change
when the structure rotates. So whatever a model computes there does not either: numbers are used as
they are, vectors and tensors are rotated back,

    y = Σ_k w_k y₀(F_kᵀ r) / Σ_k w_k        vectors: F_k y₀        tensors: F_k y₀ F_kᵀ

and an average over several frames is as good as one, if their weights w_k depend on distances and
angles alone (Puny et al., ICLR 2022, arXiv:2110.03336; Pozdnyakov and Ceriotti, NeurIPS 2023,
arXiv:2305.19302). Whether the average is a *smooth* function of the positions is another question,
and the subject of ecse.py and averaging.py.

Every frame makes a copy of its cluster (clusters.py); copies are independent structures to the
model, and go through it in chunks of bounded size.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from scdlab.atoms.batch import Batch
from scdlab.atoms.pairs import Pairs
from scdlab.nn.blocks.heads import sum_over_atoms
from scdlab.nn.blocks.own_frames import OwnFrames
from scdlab.nn.prediction import AtomOutputs, Request
from scdlab.symmetry.clusters import Clusters, whole_structures
from scdlab.symmetry.copies import (
    Copies,
    FirstOrder,
    Outputs,
    chunks,
    copies_of,
    rotated_back,
    rows,
)
from scdlab.symmetry.frames import Frames
from scdlab.symmetry.wrapper import Wrapper

IN_MODEL_PRECISION = ("atoms", "noise", "forces")  # outputs that are not float64
PASSED_ON = "passed on"  # what stands in for an atom between layers, among auxiliary outputs


class Symmetrized(Wrapper):
    """A model seen in frames: it takes the same arguments, and its outputs rotate with the
    structure.

    Each kind defines which frames a batch has (`frames`) and what they see (`clusters`: by default
    whole structures). Heads, cutoff and the like are those of the model.

    Without a graph (torch.no_grad), frames are evaluated in chunks whose memory does not grow with
    their number. Otherwise all that a backward pass needs is kept.

    Parameters
    ----------
    model : AtomisticModel
        The backbone.
    """

    augment = False  # rotated structures give nothing new

    @property
    def position_dtype(self) -> torch.dtype:
        """Frames are made, and averages taken, in float64."""
        return torch.float64

    @abstractmethod
    def frames(self, batch: Batch) -> Frames:
        """The frames of a batch: what each kind has of its own.

        Parameters
        ----------
        batch : Batch
            Structures whose positions are float64 and may carry a gradient.
        """

    def clusters(self, batch: Batch, pairs: Pairs) -> Clusters:
        """What the frames see: whole structures, unless a kind defines otherwise.

        Parameters
        ----------
        batch : Batch
            The structures.
        pairs : Pairs
            Their neighbors within the cutoff.
        """
        return whole_structures(batch, pairs)

    def auxiliary_outputs(
        self, batch: Batch, frames: Frames, request: Request
    ) -> dict[str, Tensor]:
        """What another model gives where frames have no weight: by name, a row for each atom.

        Parameters
        ----------
        batch : Batch
            The structures.
        frames : Frames
            Their frames, with an `auxiliary_weight`.
        request : Request
            What the pass is to give.
        """
        return {}

    def inputs(self, batch: Batch, gradient: bool) -> Batch:
        """The batch with positions and cell in float64."""
        inputs = super().inputs(batch, gradient)
        if "cell" in batch:
            inputs.cell = batch.cell.double().reshape(-1, 3, 3)
            if batch.get("pbc") is None:  # a cell alone is periodic all round
                device = inputs.cell.device
                inputs.pbc = torch.ones(len(inputs.cell), 3, dtype=torch.bool, device=device)
        return inputs

    def shares(self, frames: Frames, structure: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weights that sum to one in each cluster: of the frames [K], and of the auxiliary model
        [C], if there is one.

        Parameters
        ----------
        frames : Frames
            With weights of any size.
        structure : Tensor [C]
            The structure of the batch that each cluster is, or is a part of.

        Raises
        ------
        ValueError
            For weights that are not finite, or not positive in sum.
        """
        rest = frames.auxiliary_weight
        norm = frames.weights.new_zeros(len(structure))
        norm = norm.index_add(0, frames.cluster, frames.weights)  # (C)
        norm = norm if rest is None else norm + rest
        bad = ~(norm.isfinite() & (norm > 0))
        if bool(bad.any()):
            k = int(structure[int(bad.nonzero()[0])])
            raise ValueError(
                f"The weights of the frames of structure {k} of the batch are not finite, positive "
                "numbers; look for atoms that coincide or have no finite position."
            )
        weights = frames.weights / norm.index_select(0, frames.cluster)
        return weights, None if rest is None else rest / norm

    def atom_outputs(
        self,
        batch: Batch,
        pairs: Pairs,
        condition: Tensor | None,
        force_input: Tensor | None,
        request: Request,
    ) -> AtomOutputs:
        """Weighted means over frames.

        Without a graph, energies carry the gradient by the positions (of frames, weights and model
        alike) to first order.
        """
        keep_graph = request.keep_graph
        clusters = self.clusters(batch, pairs)
        frames = self.frames(batch)
        weights, share = self.shares(frames, clusters.structure)
        first_order = None
        if request.gradient and not keep_graph:
            first_order = FirstOrder(batch, clusters)
        sums: dict[str, Tensor] = {}
        for chunk in chunks(clusters, frames):
            part = frames.part(chunk)
            w = weights[chunk]
            copies = copies_of(
                batch,
                clusters,
                part,
                self.cutoff,
                dtype=self.model.position_dtype,
                graph=keep_graph,
                gradient=request.gradient,
            )
            with torch.set_grad_enabled(keep_graph or request.gradient):
                outputs = self._evaluate(batch, copies, clusters, condition, force_input, request)
            if first_order is not None:
                first_order.add(part, clusters, copies, outputs, w)
            with torch.set_grad_enabled(keep_graph):
                self._add(sums, outputs, part, w, len(batch.z))
        energy = None if first_order is None else first_order.energy()
        if share is not None and bool((share > 0).any()):
            # clusters are atoms, or structures
            share = share if clusters.center else share[batch.batch]
            for name, value in self.auxiliary_outputs(batch, frames, request).items():
                each = rows(share, value) * value.double()
                if name == "energy" and energy is not None:
                    energy = energy + sum_over_atoms(each, batch)
                sums[name] = sums.get(name, 0.0) + (each if keep_graph else each.detach())
        return self._atom_outputs(sums, energy)

    def outputs_by_layers(
        self, batch: Batch, pairs: Pairs, condition: Tensor | None, request: Request
    ) -> AtomOutputs:
        """As `atom_outputs`, of a model whose layers pass on means over the frames of each atom.

        Parameters
        ----------
        batch, pairs, condition, request
            As `atom_outputs` takes them.
        """
        model = self.model
        frames = self.frames(batch)
        weights, share = self.shares(frames, batch.batch)
        stand_ins: dict[str, Tensor] = {}
        if share is not None and bool((share > 0).any()):
            stand_ins = self.auxiliary_outputs(batch, frames, request)
        own = OwnFrames(
            atom=frames.cluster,
            axes=frames.axes,
            weights=weights,
            rest=share,
            stand_in=stand_ins.pop(PASSED_ON, None),
            keep_graph=request.keep_graph,
        )
        condition = model.normalized_condition(condition, batch)
        features = model.represent_in_frames(batch, pairs, own, condition)
        out = model.read_out(features, batch.z.index_select(0, frames.cluster), request)
        every = torch.arange(len(frames), device=frames.cluster.device)
        outputs = Outputs(self._by_name(out, request), frames.cluster, every, out.energy)
        sums: dict[str, Tensor] = {}
        self._add(sums, outputs, frames, weights, len(batch.z))
        if share is not None:
            for name, value in stand_ins.items():
                sums[name] = sums[name] + rows(share, value) * value.double()
        return self._atom_outputs(sums, None)

    def _atom_outputs(self, sums: dict[str, Tensor], energy: Tensor | None) -> AtomOutputs:
        """Sums over frames, by name, in the precision of the model's outputs."""
        dtype = self.model.position_dtype
        single = {name: sums[name].to(dtype) for name in IN_MODEL_PRECISION if name in sums}
        properties = {}
        for name, head in self.property_heads.items():
            properties[name] = sums[name]
            if head.kind == "per_atom":  # which has no sum over atoms
                properties[name] = sums[name].to(dtype)
        return AtomOutputs(
            x=single["atoms"],
            energy=sums["energy"],
            noise=single.get("noise"),
            forces=single.get("forces"),
            properties=properties,
            energy_to_differentiate=energy,
        )

    def _evaluate(
        self,
        batch: Batch,
        copies: Copies,
        clusters: Clusters,
        condition: Tensor | None,
        force_input: Tensor | None,
        request: Request,
    ) -> Outputs:
        """The model's outputs for copies."""
        if condition is not None:
            whole = len(condition) == batch.num_graphs
            condition = condition.index_select(0, copies.structure if whole else copies.atom)
        if force_input is not None:
            of_nodes = force_input.double().index_select(0, copies.atom).unsqueeze(1)
            force_input = (of_nodes @ copies.axes).squeeze(1).to(self.model.position_dtype)
        model = self.model
        out = model.atom_outputs(copies.batch, copies.pairs, condition, force_input, request)
        values = self._by_name(out, request)
        target = torch.arange(len(copies.atom), device=copies.atom.device)
        if clusters.center:
            target = copies.batch.ptr[:-1]
        values = {name: value.index_select(0, target) for name, value in values.items()}
        owner = copies.copy[target]
        energy = copies.r.new_zeros(len(copies.structure))
        energy = energy.index_add(0, owner, values["energy"])  # (K)
        return Outputs(values, copies.atom[target], owner, energy)

    def _by_name(self, out: AtomOutputs, request: Request) -> dict[str, Tensor]:
        """What the model gives in frames, by name."""
        values = {"energy": out.energy, "atoms": out.x}
        if request.head_noise and out.noise is not None:
            values["noise"] = out.noise
        if request.head_forces and out.forces is not None:
            values["forces"] = out.forces
        return values | self.model.property_outputs(out)

    def _add(
        self, sums: dict[str, Tensor], outputs: Outputs, frames: Frames, w: Tensor, n: int
    ) -> None:
        """Add weighted outputs, rotated back, to sums of n atoms."""
        for name, value in outputs.values.items():
            back = rotated_back(value, frames.axes[outputs.copy], self._rotates_as(name))
            each = rows(w[outputs.copy], back) * back.double()
            if name not in sums:
                sums[name] = each.new_zeros(n, *each.shape[1:])
            sums[name] = sums[name].index_add(0, outputs.atom, each)

    def _rotates_as(self, name: str) -> str:
        """How an output rotates: "scalar", "vector" or "tensor"."""
        if name in ("noise", "forces"):
            return "vector"
        if name not in self.property_heads:
            return "scalar"
        kind = self.property_heads[name].kind
        if kind in ("vector", "tensor"):
            return kind
        # three numbers an atom are a vector along the axes where the model knows of no rotations
        return "vector" if kind == "per_atom" and not self.equivariant else "scalar"

"""What goes out of a model, and what passes between its parts in one forward pass."""

from dataclasses import dataclass, field

from torch import Tensor

from scdlab.nn.ops.neighbor_sums import DirectedEdges


@dataclass
class Prediction:
    """Outputs for a batch of B structures and N atoms.

    A field that was not requested, or that the model lacks, is None.

    Attributes
    ----------
    energy : Tensor [B], float64
        Energies in eV.
    forces : Tensor [N, 3]
        Forces in eV/Å.
    noise : Tensor [N, 3]
        Noise in the positions, in units of σ.
    embedding : Tensor [B, d]
        One vector a structure: the embedding head's, else the sum of `atoms`.
    atoms : Tensor [N, d]
        One vector an atom.
    properties : dict of str to Tensor
        By name, [B], [B, 3] or [B, 3, 3], in the unit of the labels; of kind "per_atom", [N, 3].
    per_atom : dict of str to Tensor
        What each atom gives to what is summed over atoms: "energy" -> [N] in eV; of properties,
        [N, …], in units of the head.
    """

    energy: Tensor | None = None
    forces: Tensor | None = None
    noise: Tensor | None = None
    embedding: Tensor | None = None
    atoms: Tensor | None = None
    properties: dict[str, Tensor] = field(default_factory=dict)
    per_atom: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Features:
    """What a backbone's `represent` returns.

    Attributes
    ----------
    x : Tensor [N, d]
        Invariant features of the atoms.
    v : Tensor [N, 3, d]
        Vectors that rotate with the structure, of backbones that have them.
    forces : Tensor [N, 3]
        Forces in eV/Å, of backbones that predict them directly.
    edges : DirectedEdges
        The pairs that fused sums ran over. Where they are given, the sums leave out of a backward
        pass what its caller does not need.
    """

    x: Tensor
    v: Tensor | None = None
    forces: Tensor | None = None
    edges: DirectedEdges | None = None


@dataclass(frozen=True)
class Request:
    """What one forward pass is to give.

    Attributes
    ----------
    forces, noise : bool
        Whether forces and noise are outputs.
    direct_forces, noise_head : bool
        Whether they come from a head of their own; otherwise they are the gradient of the energy.
    keep_graph : bool
        Whether the caller will differentiate the outputs.
    """

    forces: bool
    noise: bool
    direct_forces: bool
    noise_head: bool
    keep_graph: bool

    @property
    def head_forces(self) -> bool:
        """Whether forces are to come from a head."""
        return self.forces and self.direct_forces

    @property
    def head_noise(self) -> bool:
        """Whether noise is to come from a head."""
        return self.noise and self.noise_head

    @property
    def gradient_forces(self) -> bool:
        """Whether forces are to be the gradient of the energy."""
        return self.forces and not self.direct_forces

    @property
    def gradient_noise(self) -> bool:
        """Whether noise is to be the gradient of the energy."""
        return self.noise and not self.noise_head

    @property
    def gradient(self) -> bool:
        """Whether energies are differentiated by the positions."""
        return self.gradient_forces or self.gradient_noise


@dataclass
class AtomOutputs:
    """What a model computes for each atom, before anything is summed to structures.

    Attributes
    ----------
    x : Tensor [N, d]
        Features.
    energy : Tensor [N], float64
        Energies in eV.
    v : Tensor [N, 3, d]
        Vector features.
    noise, forces : Tensor [N, 3]
        From heads of their own.
    properties : dict of str to Tensor
        By name, [N, …], in units of the head. None: the property heads compute them from x and v.
    energy_to_differentiate : Tensor [B]
        Energies that carry the gradient by the positions, where those of `energy` do not.
    edges : DirectedEdges
        As in `Features`.
    """

    x: Tensor
    energy: Tensor
    v: Tensor | None = None
    noise: Tensor | None = None
    forces: Tensor | None = None
    properties: dict[str, Tensor] | None = None
    energy_to_differentiate: Tensor | None = None
    edges: DirectedEdges | None = None

    def detach(self) -> "AtomOutputs":
        """The same numbers without a graph."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.detach()

        properties = self.properties
        if properties is not None:
            properties = {name: y.detach() for name, y in properties.items()}
        return AtomOutputs(
            x=self.x.detach(),
            energy=self.energy.detach(),
            v=cut(self.v),
            noise=cut(self.noise),
            forces=cut(self.forces),
            properties=properties,
        )

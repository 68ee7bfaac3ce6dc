"""Frames: axes that rotate with a structure.

A frame F = [a b c] is an orthogonal matrix whose columns are axes that rotate with the structure.
Seen in its frame, a structure r_i has the coordinates Fᵀ r_i, and they do not change when the
structure rotates. So what a model computes there does not either (symmetrized.py).
"""

import dataclasses
from dataclasses import dataclass

from torch import Tensor


@dataclass
class Frames:
    """K frames of a batch.

    Attributes
    ----------
    axes : Tensor [K, 3, 3], float64
        Columns a, b, c.
    weights : Tensor [K], float64
        Not normalized.
    cluster : Tensor [K]
        Which cluster (by default: which structure) each frame belongs to, ascending.
    auxiliary_weight : Tensor [C], optional
        For each cluster the weight of an auxiliary model, of averages that have one.
    center, j, k : Tensor [K], optional
        The atom that a frame belongs to, and the two neighbors that give its axes, of frames made
        from pairs of atoms.
    inner_radius : Tensor [C], optional
        The radius in Å within which such neighbors are looked for.
    """

    axes: Tensor
    weights: Tensor
    cluster: Tensor
    auxiliary_weight: Tensor | None = None
    center: Tensor | None = None
    j: Tensor | None = None
    k: Tensor | None = None
    inner_radius: Tensor | None = None

    def __len__(self) -> int:
        return len(self.cluster)

    def part(self, chosen: slice | Tensor) -> "Frames":
        """Some of the frames; `auxiliary_weight` and `inner_radius`, which are of clusters, stay
        whole.

        Parameters
        ----------
        chosen : slice or Tensor
            Which frames.
        """

        def some(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[chosen]

        return dataclasses.replace(
            self,
            axes=self.axes[chosen],
            weights=self.weights[chosen],
            cluster=self.cluster[chosen],
            center=some(self.center),
            j=some(self.j),
            k=some(self.k),
        )

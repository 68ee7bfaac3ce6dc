"""Rotations drawn uniformly from SO(3).

A unit quaternion q = (w, v) that is uniform on the sphere in four dimensions is a uniform rotation
(Shoemake 1992, "Uniform random rotations"),

    R = (w² - |v|²) 1 + 2 v vᵀ + 2 w [v]ₓ        [v]ₓ u = v × u

and four normal numbers, divided by their length, are such a quaternion.
"""

import torch
from torch import Tensor


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """Rotations of quaternions.

    Parameters
    ----------
    quaternions : Tensor [n, 4]
        (w, x, y, z), of any length.

    Returns
    -------
    Tensor [n, 3, 3]
        The rotation matrices.
    """
    n = len(quaternions)
    unit = quaternions / quaternions.norm(dim=1, keepdim=True)
    w, v = unit.split([1, 3], dim=1)  # (n, 1), (n, 3)
    one = torch.eye(3, dtype=unit.dtype, device=unit.device)
    # rows v × e_k: [v]ₓ transposed
    cross = torch.linalg.cross(v.unsqueeze(1), one.expand(n, 3, 3), dim=2)
    w = w.unsqueeze(2)  # (n, 1, 1)
    square = v.square().sum(1).view(n, 1, 1)
    return (w.square() - square) * one + 2 * v.unsqueeze(2) * v.unsqueeze(1) + 2 * w * cross.mT


def random_rotations(
    n: int,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Rotations drawn uniformly from SO(3).

    Parameters
    ----------
    n : int
        How many.
    generator : torch.Generator, optional
        What they are drawn with; it must live on the device.
    device : torch.device or str, optional
        Where they are drawn.

    Returns
    -------
    Tensor [n, 3, 3], float64
        The rotation matrices.
    """
    return rotation_matrices(
        torch.randn(n, 4, dtype=torch.float64, device=device, generator=generator)
    )

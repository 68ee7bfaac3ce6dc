"""Right and wrong answers to the exercises of lesson 00, wrong ones with a part of the hint."""

import math

import numpy as np
import torch

KB = 8.617e-5  # eV/K


def angle(pos, a, b, c):
    u, v = pos[a] - pos[b], pos[c] - pos[b]
    return torch.arccos((u * v).sum() / (u.norm() * v.norm()))


def asphericity(z, pos):
    centered = pos - pos.mean(0)
    low, _, high = torch.linalg.eigvalsh(centered.T @ centered)
    return high / low


RIGHT = {
    "check_thermal_spread": [
        lambda n, T: math.sqrt((3 * n - 6) / 2) * KB * T,
        lambda n, T: KB * T * np.sqrt(1.5 * n - 3),
        lambda n, T: torch.tensor((3 * n - 6) * 0.5 * (KB * T) ** 2).sqrt(),
    ],
    "check_pair_count": [
        lambda n: n * (n - 1) / 2,
        lambda n: math.comb(n, 2),
        lambda n: sum(range(n)),
    ],
    "check_distances": [
        lambda pos: torch.cdist(pos, pos),
        lambda pos: (pos[:, None] - pos[None]).norm(dim=-1),
        lambda pos: torch.stack([torch.stack([(a - b).norm() for b in pos]) for a in pos]),
    ],
    "check_invariant": [
        lambda z, pos: torch.pdist(pos).sum(),
        lambda z, pos: torch.pdist(pos).max().item(),
        asphericity,
        lambda z, pos: torch.pdist(pos).max() / torch.pdist(pos).min(),  # no scale, but a shape
        lambda z, pos: angle(torch.cat([pos[z == 6], pos[z == 8]]), 0, 2, 1),
        lambda z, pos: 1e-9 * torch.pdist(pos).mean(),  # small numbers count too
        lambda z, pos: 1e6 + torch.pdist(pos).mean(),
    ],
}

WRONG = {
    "check_thermal_spread": [
        (lambda n, T: (3 * n - 6) / 2 * KB * T, "mean of the potential energy"),
        (lambda n, T: (3 * n - 6) / 2 * (KB * T) ** 2, "the variance"),
        (lambda n, T: math.sqrt(3 * n - 6) * KB * T, "½ is missing"),
        (lambda n, T: math.sqrt(3 * n / 2) * KB * T, "3n − 6"),
        (lambda n, T: math.sqrt((3 * n - 3) / 2) * KB * T, "rotations cost no energy either"),
        (lambda n, T: (3 * n - 6) * math.sqrt(0.5) * KB * T, "standard deviations do not"),
        (lambda n, T: math.sqrt((3 * n - 6) / 2) * T, "kelvin"),
        (lambda n, T: KB * T, "how many springs"),
    ],
    "check_pair_count": [
        (lambda n: n * (n - 1), "twice"),
        (lambda n: n * (n + 1) // 2, "own neighbor"),
        (lambda n: n**2, "every"),
        (lambda n: n, "n = 3"),
        (lambda n: None, "return"),
        (7, "should be a function"),
    ],
    "check_distances": [
        (lambda pos: torch.cdist(pos, pos) ** 2, "square root"),
        (lambda pos: torch.cdist(pos, pos, p=1), "√"),
        (lambda pos: torch.cdist(pos, pos) + 1, "itself"),
        (lambda pos: torch.pdist(pos), "shape [10]"),
        (lambda pos: 2 * torch.cdist(pos, pos), "atoms 0 and 1"),
        (lambda pos: torch.triu(torch.cdist(pos, pos)), "Half of the matrix"),
        (lambda pos: (pos[:, None] - pos[None]).square().sum(-1).sqrt(), "NaN"),
        (lambda pos: torch.cdist(pos, pos).detach(), "no derivative"),
        (lambda pos: pos.numpy(), "torch tensor"),
        (lambda pos: pos / torch.zeros(5, 3), "shape"),
    ],
    "check_invariant": [
        (lambda z, pos: pos.norm(dim=1).sum(), "moved"),
        (lambda z, pos: 1e-6 * pos[0, 0], "moved"),  # tiny is not invariant
        (lambda z, pos: (pos - pos.mean(0))[:, 0].abs().sum(), "rotated"),
        (lambda z, pos: (pos[1] - pos[0]).norm(), "another order"),
        (lambda z, pos: angle(pos, 0, 1, 2), "another order"),
        (lambda z, pos: z.sum(), "shape"),
        (lambda z, pos: 0.0, "shape"),
    ],
}

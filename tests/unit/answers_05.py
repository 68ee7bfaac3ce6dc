"""Right answers to the exercises of lesson 05, and usual mistakes with words of their hints."""

import math

import torch


def force_error(energy, forces, pos, h, sign=1, by=2, back=1, atoms=3):
    worst = 0.0
    for i in range(atoms):
        for k in range(3):
            step = torch.zeros_like(pos)
            step[i, k] = h
            slope = (energy(pos + step) - energy(pos - back * step)) / (by * h)
            worst = max(worst, abs(float(forces[i, k] + sign * slope)))
    return worst


def all_force_errors(energy, forces, pos, h):
    steps = h * torch.eye(pos.numel(), dtype=pos.dtype).view(-1, *pos.shape)
    slopes = [(energy(pos + step) - energy(pos - step)) / (2 * h) for step in steps]
    return (forces.flatten() + torch.tensor(slopes, dtype=pos.dtype)).abs().max()


def leak_in_one(per_atom, pos, far, rotation):
    center = pos[far].sum(0) / far.sum()
    rotated = center + torch.einsum("ij,nj->ni", rotation, pos - center)
    change = per_atom(torch.where(far[:, None], rotated, pos)) - per_atom(pos)
    return max(abs(float(each)) for each, away in zip(change, far, strict=True) if not away)


def leak(
    per_atom, pos, far, rotation, about=None, look=None, size=lambda change: change.abs().max()
):
    center = pos[far].mean(0) if about is None else about
    moved = pos.clone()
    moved[far] = (pos[far] - center) @ rotation.T + center
    return float(size((per_atom(moved) - per_atom(pos))[~far if look is None else look]))


def step(r, stop, width):
    x = 2 * (r - (stop - width / 2)) / width
    if abs(x) >= 1:
        return float(x < 0)
    return 0.5 * (1 + math.tanh(1 / (x + 1) + 1 / (x - 1)))


def rise(s, start, width):
    return 1 - step(s, start + width, width)


def near(r_j, r_k, inner):
    return step(r_j, inner, 0.15) * step(r_k, inner, 0.15)


def weight(r_j, r_k, s, inner):
    if max(r_j, r_k) >= inner or s <= 0.05:
        return 0.0
    return near(r_j, r_k, inner) * rise(s, 0.05, 0.15) * (s - 0.05) / 0.15


RIGHT = {
    "check_other_hand": [
        lambda F: F * torch.tensor([1.0, -1.0, 1.0], dtype=F.dtype),
        lambda F: torch.stack([F[..., 0], -F[..., 1], F[..., 2]], -1),
    ],
    "check_force_error": [lambda e, f, x, h: force_error(e, f, x, h), all_force_errors],
    "check_leak": [lambda s, x, far, R: leak(s, x, far, R), leak_in_one],
    "check_weight": [
        weight,
        lambda a, b, s, inner: near(a, b, inner) * rise(s, 0.05, 0.15) * (s / 0.15 - 1 / 3),
        lambda a, b, s, inner: torch.tensor(weight(a, b, s, inner)),
    ],
    "check_takes_over": [157.5, 157.3, torch.tensor(157.6), lambda: 157.4956],
    "check_suspects": [
        {"A": "weights", "B": "nothing", "C": "axes"},
        {"a": 1, "A": " Weights", "B": None, "C": "frames"},
        lambda: dict(A="w", B="right", C="axis"),
    ],
}

WRONG = {
    "check_other_hand": [
        (lambda F: F, "right-handed still"),
        (lambda F: -F, "only b"),
        (lambda F: F * torch.tensor([-1.0, 1.0, 1.0]).double(), "You flip a,"),
        (lambda F: F * torch.tensor([1.0, 1.0, -1.0]).double(), "You flip c"),
        (lambda F: F * torch.tensor([1.0, -1.0, 1.0]).double()[:, None], "flip a row"),
        (lambda F: F.mT, "not those of the mirror image"),
        (lambda F: 2 * F, "no frames"),
        (lambda F: torch.cat([F, -F]), "shape"),
        (lambda F: F.mul_(torch.tensor([1.0, -1.0, 1.0]).double()), "change F itself"),
    ],
    "check_force_error": [
        (lambda e, f, x, h: force_error(e, f, x, h, sign=-1), "*minus* the slope"),
        (lambda e, f, x, h: force_error(e, f, x, h, by=1), "divide by 2h"),
        (lambda e, f, x, h: force_error(e, f, x, h, by=4), "divide by 2h"),
        (lambda e, f, x, h: force_error(e, f, x, h, back=0, by=1), "Step to both sides"),
        (lambda e, f, x, h: force_error(e, f, x, h, atoms=2), "Visit all 3N"),
        (lambda e, f, x, h: 0.0, "never compute an energy"),
        (lambda e, f, x, h: e(x) + 7.0, "almost 0"),
        (lambda e, f, x, h: force_error(e, f, x.add_(1e-9), h), "leave it moved"),
    ],
    "check_leak": [
        (lambda s, x, far, R: leak(s, x, far, R.T), "backwards"),
        (lambda s, x, far, R: leak(s, x, far, R, about=0.0), "about the origin"),
        (lambda s, x, far, R: leak(s, x, far, R, look=torch.ones(7, dtype=bool)), "own shares out"),
        (lambda s, x, far, R: leak(s, x, far, R, look=far), "Look at those of ~far"),
        (lambda s, x, far, R: leak(s, x, far, R, size=lambda d: d.max()), "absolute value"),
        (lambda s, x, far, R: leak(s, x, far, R, size=lambda d: d.abs().mean()), "mean change"),
        (lambda s, x, far, R: leak(s, x, ~far, R, look=~far), "near molecule"),
        (lambda s, x, far, R: 0.0, "at most"),
        (lambda s, x, far, R: leak(s, x.add_(1e-9), far, R), "leave it moved"),
    ],
    "check_weight": [
        (lambda a, b, s, inner: near(a, b, inner) * rise(s, 0.05, 0.15), "last factor is missing"),
        (lambda a, b, s, inner: near(a, b, inner) * (s - 0.05) / 0.15, "q is missing"),
        (lambda a, b, s, inner: near(a, b, inner) * max(s - 0.05, 0) / 0.15, "kink"),
        (
            lambda a, b, s, inner: near(a, b, inner) * rise(s, 0.2, 0.15) * (s - 0.05) / 0.15,
            "the q of p",
        ),
        (
            lambda a, b, s, inner: step(a, inner, 0.15) * rise(s, 0.05, 0.15) * (s - 0.05) / 0.15,
            "second neighbor's f",
        ),
        (
            lambda a, b, s, inner: step(b, inner, 0.15) * rise(s, 0.05, 0.15) * (s - 0.05) / 0.15,
            "first neighbor's f",
        ),
        (lambda a, b, s, inner: rise(s, 0.05, 0.15) * (s - 0.05) / 0.15, "Both f"),
        (lambda a, b, s, inner: near(a, b, inner), "depends on s"),
        (
            lambda a, b, s, inner: weight(a, b, s, inner + 0.15),
            "not R_in + Δ",
        ),
        (
            lambda a, b, s, inner: (
                (step(a, inner, 0.15) + step(b, inner, 0.15))
                / 2
                * rise(s, 0.05, 0.15)
                * (s - 0.05)
                / 0.15
            ),
            "multiply",
        ),
        (
            lambda a, b, s, inner: near(a, b, inner) * step(s, 0.2, 0.15) * (s - 0.05) / 0.15,
            "falls where it should rise",
        ),
        (lambda a, b, s, inner: weight(a, b, s**0.5, inner), "do not take its root"),
        (lambda a, b, s, inner: weight(a, b, s, 1.4), "R_in = 1.45"),
        (lambda a, b, s, inner: 2 * weight(a, b, s, inner), "and yours is"),
    ],
    "check_takes_over": [
        (22.5, "take it from 180°"),
        (167.1, "It begins earlier"),
        (153.4, "exactly 1"),
        (159.3, "product is ¼"),
        (2.749, "radians"),
        (171.6, "take the root"),
        (140, "At 140°"),
        (200, "between 90° and 180°"),
        ("wide", "should be a number"),
    ],
    "check_suspects": [
        ({"A": "axes", "B": "nothing", "C": "weights"}, "Compare the torques"),
        ({"A": "weights", "B": "nothing", "C": "weights"}, "Compare the torques"),
        ({"A": "nothing", "B": "weights", "C": "axes"}, "B's force error"),
        ({"A": "nothing", "B": "nothing", "C": "axes"}, "Only one version is right"),
        ({"A": "weights", "B": "nothing"}, "C is missing"),
        ({"A": "model", "B": "nothing", "C": "axes"}, "should be 'weights'"),
        ("B", "should be a dict"),
    ],
}

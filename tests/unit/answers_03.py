"""Right answers to the exercises of lesson 03, and usual mistakes with words of their hints."""

import math

import torch


def share(forces, kT, sigma, power=2, spread=None, of=None):
    k = forces.abs().pow(power).mean(0).pow(2 / power) / kT
    s2 = kT / k if spread is None else spread(k, kT)
    return s2 / (s2 + sigma**2) if of is None else of(s2, sigma**2)


def five(force, size=lambda n: n, factor=5**0.5, eps=1e-12, order=(0, 1, 2, 3, 4)):
    n = force.norm(dim=1, keepdim=True)
    x, y, z = (force / (n + eps)).T
    rows = [x * z, x * y, (3 * y**2 - x**2 - y**2 - z**2) / 12**0.5, y * z, (z**2 - x**2) / 2]
    return factor * size(n) * torch.stack([rows[k] for k in order], 1)


def with_e3nn(force):
    from scdlab.nn.blocks.force_encoding import spherical_degrees

    return spherical_degrees(force, 2)[2]


def dead(losses, seeds=range(10), same=lambda a, b: a == b, but=("DeNS",), shift=0):
    return [
        name
        for name in losses
        if name not in but and all(same(losses[name](s + shift), losses["DeNS"](s)) for s in seeds)
    ]


RIGHT = {
    "check_share_from_forces": [
        share,
        lambda f, kT, sigma: 1 / (1 + (sigma / kT) ** 2 * f.square().mean(0)),
        lambda f, kT, sigma: 1 - sigma**2 / (sigma**2 + kT**2 / f.var(0)),
        lambda f, kT, sigma: (s2 := kT**2 / f.pow(2).mean(dim=0)) / (s2 + sigma**2),
    ],
    "check_width": [
        lambda here, there, step, tolerance: tolerance * step / abs(there - here),
        lambda here, there, step, tolerance: abs(tolerance / ((here - there) / step)),
        lambda here, there, step, tolerance: torch.tensor(tolerance / abs((there - here) / step)),
    ],
    "check_degree_two": [five, with_e3nn],
    "check_dens_mask": [
        lambda chosen, u, batch, fixed, r: chosen[batch] & (u < r) & ~fixed,
        lambda chosen, u, batch, fixed, r: (
            (u < r) * chosen.index_select(0, batch) * fixed.logical_not()
        ),
    ],
    "check_labels_kept": [lambda p, r: 1 - p * r, lambda p, r: (1 - p) + p * (1 - r)],
    "check_dead_ablation": [
        dead,
        lambda losses: set(dead(losses, range(40))),
        lambda losses: {
            name
            for name, loss in losses.items()
            if name != "DeNS" and sum(abs(loss(s) - losses["DeNS"](s)) for s in range(10)) == 0
        },
    ],
}

WRONG = {
    "check_share_from_forces": [
        (lambda *a: 1 - share(*a), "asked is what is left"),
        (lambda *a: share(*a, power=1), "mean of the squares"),
        (lambda *a: share(*a, spread=lambda k, kT: 1 / k), "factor kT"),
        (lambda *a: share(*a, spread=lambda k, kT: k / kT), "spreads less"),
        (lambda *a: share(*a, spread=lambda k, kT: kT / k / kT / kT), "do not multiply"),
        (lambda *a: share(*a, spread=lambda k, kT: kT / (2 * k)), "halves cancel"),
        (lambda *a: share(*a, of=lambda s2, n: s2**0.5 / (s2**0.5 + n**0.5)), "variances add"),
        (lambda *a: share(*a).sqrt(), "ratio of the lengths"),
        (lambda *a: share(*a, of=lambda s2, n: s2 * n / (s2 + n)), "in Å²"),
        (lambda *a: share(*a, of=lambda s2, n: s2 / n), "prior limits"),
        (lambda *a: share(*a).mean(), "shape"),
        (lambda f, kT, sigma: share(f, kT, sigma, of=lambda s2, n: s2 / (s2 + 9 * n)), "limits"),
    ],
    "check_width": [
        (lambda here, there, step, tolerance: tolerance * step / (there - here), "no sign"),
        (lambda here, there, step, tolerance: abs(there - here) / step, "the stiffness"),
        (lambda here, there, step, tolerance: tolerance * abs(there - here) / step, "narrower"),
        (lambda here, there, step, tolerance: tolerance / abs(there - here), "missing"),
        (lambda here, there, step, tolerance: tolerance * step / abs(here), "not its size"),
        (lambda here, there, step, tolerance: abs(tolerance / here), "no stiff spring"),
        (lambda here, there, step, tolerance: 2 * tolerance * step / abs(there - here), "one side"),
        (lambda here, there, step, tolerance: tolerance * step, "eV"),
        (lambda here, there, step, tolerance: 1.0, "How long a step"),
        (0.1, "should be a function"),
    ],
    "check_degree_two": [
        (lambda f: five(f, size=lambda n: n**2), "not with its square"),
        (lambda f: five(f, size=lambda n: 1.0), "not depend on |F|"),
        (lambda f: five(f, factor=3**-0.5), "√15"),
        (lambda f: five(f, factor=15**0.5), "1/√3"),
        (lambda f: five(f, factor=1.0), "√(5/3)"),
        (lambda f: five(f, eps=0.0), "force of zero"),
        (lambda f: five(f, order=(1, 3, 2, 0, 4)), "order"),
        (lambda f: five(f) * torch.tensor([1, 1, 1, 1, -1]), "wrong sign"),
        (lambda f: five(f) * torch.tensor([1, 1, 1, 1, 2]), "Number 5"),
        (lambda f: five(f)[:, :4], "shape"),
    ],
    "check_dens_mask": [
        (lambda chosen, u, batch, fixed, r: ~(chosen[batch] & (u < r) & ~fixed), "inverted"),
        (lambda chosen, u, batch, fixed, r: chosen[batch] & (u < r), "Fixed atoms"),
        (lambda chosen, u, batch, fixed, r: (u < r) & ~fixed, "not chosen"),
        (lambda chosen, u, batch, fixed, r: chosen[batch] & ~fixed, "compare u with r"),
        (lambda chosen, u, batch, fixed, r: chosen[batch] & (u > r) & ~fixed, "wrong way round"),
        (
            lambda chosen, u, batch, fixed, r: (chosen[batch] | (u < r)) & ~fixed,
            "Either is not enough",
        ),
        (
            lambda chosen, u, batch, fixed, r: chosen[batch] & (u < 0.5) & ~fixed,
            "should be left alone",
        ),
        (lambda chosen, u, batch, fixed, r: (chosen[batch] & (u < r) & ~fixed).float(), "booleans"),
        (lambda chosen, u, batch, fixed, r: chosen & (u < r), "RuntimeError"),
    ],
    "check_labels_kept": [
        (lambda p, r: p * r, "what is kept"),
        (lambda p, r: 1 - p, "atoms that stayed"),
        (lambda p, r: 1 - r, "most structures"),
        (lambda p, r: (1 - p) * (1 - r), "not a share of 1 - r"),
        (lambda p, r: 1 - p - r, "multiply the two"),
        (lambda p, r: 1.0, "How likely"),
    ],
    "check_dead_ablation": [
        (lambda losses: dead(losses, [0]), "try ten"),
        (lambda losses: dead(losses, range(2)), "2 seeds"),
        (
            lambda losses: dead(losses, same=lambda a, b: math.isclose(a, b, rel_tol=1e-4)),
            "exactly",
        ),
        (lambda losses: dead(losses, shift=1), "same seed"),
        (lambda losses: dead(losses, but=()), "leave it out"),
        (lambda losses: [], "never ask"),
        (lambda losses: {name: loss(0) for name, loss in losses.items()}, "not a table"),
        (lambda losses: 1, "list of names"),
        (lambda losses: ["no clues"], "no arm"),
    ],
}

"""Right and wrong answers to the exercises of lesson 02, wrong ones with a part of the hint."""

import torch


def molecule_mean(values, batch, total=False):
    counts = torch.bincount(batch)[:, None]
    sums = torch.zeros(len(counts), values.shape[1]).index_add(0, batch, values)
    return sums if total else sums / counts


def cosine(eps, forces, batch, sign=-1):
    dot, a, b = (
        molecule_mean((u * v).sum(1, keepdim=True), batch, True)[:, 0]
        for u, v in ((eps, forces), (eps, eps), (forces, forces))
    )
    return sign * dot / (a * b).sqrt()


K_B = 8.617333e-5  # eV/K


def generators(pos, center=True):
    """The three infinitesimal rotations [3n, 3], and the three translations [3n, 3]."""
    x = pos - pos.mean(0) if center else pos
    unit = torch.eye(3, dtype=pos.dtype)
    turns = [torch.linalg.cross(axis.expand_as(x), x).flatten() for axis in unit]
    moves = [axis.expand_as(x).flatten() for axis in unit]
    return torch.stack(turns, 1), torch.stack(moves, 1)


def off(eps, vectors):
    q, _ = torch.linalg.qr(vectors)
    return (eps.flatten() - q @ (q.T @ eps.flatten())).view_as(eps)


def rigid_by_qr(eps, pos):
    return off(eps, torch.cat(generators(pos), 1))


def rigid_by_inertia(eps, pos):
    e = eps - eps.mean(0)
    x = pos - pos.mean(0)
    inertia = x.square().sum() * torch.eye(3, dtype=x.dtype) - x.T @ x
    omega = torch.linalg.solve(inertia, torch.linalg.cross(x, e).sum(0))
    return e - torch.linalg.cross(omega.expand_as(x), x)


def rigid_one_by_one(eps, pos):
    e = eps - eps.mean(0)
    for turn in generators(pos)[0].T:
        turn = turn.view_as(e)
        e = e - turn * (turn * (eps - eps.mean(0))).sum() / turn.square().sum()
    return e


RIGHT = {
    "check_corrupt": [
        lambda pos, eps, mask, sigma: (pos + eps * mask[:, None], eps[mask] / sigma),
        lambda pos, eps, mask, sigma: (
            torch.where(mask[:, None], pos + eps, pos),
            (eps / sigma)[mask],
        ),
        lambda pos, eps, mask, sigma: [pos + eps * mask[:, None], eps[mask] / sigma],
        lambda pos, eps, mask, sigma: ((pos + eps * mask[:, None]).numpy(), eps[mask] / sigma),
    ],
    "check_center": [
        lambda eps, batch: eps - molecule_mean(eps, batch)[batch],
        lambda eps, batch: torch.cat([e - e.mean(0) for e in (eps[batch == 0], eps[batch == 1])]),
    ],
    "check_temperature": [
        lambda rise, n: 2 * rise / ((3 * n - 6) * K_B),
        lambda rise, n: torch.tensor(rise / (3 * n - 6) / (0.5 * 8.617e-5)),
    ],
    "check_rigid": [rigid_by_qr, rigid_by_inertia, lambda e, x: rigid_by_qr(e, x).numpy()],
    "check_best_answer": [
        lambda noisy, s, sigma: sigma**2 / (s**2 + sigma**2) * noisy,
        lambda noisy, s, sigma: torch.tensor(noisy - noisy / (1 + (sigma / s) ** 2)),
    ],
    "check_fractional": [
        lambda start, middle, noisy, sigma: (noisy - middle) / sigma,
        lambda start, middle, noisy, sigma: ((noisy - start) - (middle - start)) / sigma,
        lambda start, middle, noisy, sigma: ((noisy - middle) / sigma).numpy(),
    ],
    "check_noise_floor": [lambda n: 1 / n, lambda n: torch.tensor(3 / (3 * n))],
    "check_noise_force": [
        cosine,
        lambda eps, f, batch: cosine(eps, f, batch).numpy(),
        lambda eps, f, batch: cosine(eps, f, batch).tolist(),
    ],
}

WRONG = {
    "check_corrupt": [
        (lambda pos, eps, mask, sigma: (pos + eps, eps[mask] / sigma), "Every atom"),
        (lambda pos, eps, mask, sigma: (pos + eps * ~mask[:, None], eps[mask] / sigma), "inverted"),
        (
            lambda pos, eps, mask, sigma: (pos - eps * mask[:, None], eps[mask] / sigma),
            "noisy = clean + noise",
        ),
        (
            lambda pos, eps, mask, sigma: (pos + sigma * eps * mask[:, None], eps[mask] / sigma),
            "Å already",
        ),
        (lambda pos, eps, mask, sigma: (pos, eps[mask] / sigma), "is not where"),
        (lambda pos, eps, mask, sigma: (pos + eps * mask[:, None], eps / sigma), "keep those rows"),
        (lambda pos, eps, mask, sigma: (pos + eps * mask[:, None], eps[mask]), "divide by sigma"),
        (
            lambda pos, eps, mask, sigma: (pos + eps * mask[:, None], -eps[mask] / sigma),
            "not the way back",
        ),
        (lambda pos, eps, mask, sigma: (pos + eps * mask[:, None], eps[mask] * sigma), "multiply"),
        (
            lambda pos, eps, mask, sigma: (
                pos + eps * mask[:, None],
                eps[~mask].repeat(2, 1)[:4] / sigma,
            ),
            "order",
        ),
        (lambda pos, eps, mask, sigma: (pos.add_(eps * mask[:, None]), eps[mask] / sigma), "copy"),
        (lambda pos, eps, mask, sigma: pos + eps * mask[:, None], "two things"),
    ],
    "check_center": [
        (lambda eps, batch: eps - eps.mean(0), "whole batch"),
        (lambda eps, batch: eps - eps.mean(1, keepdim=True), "x, y and z"),
        (lambda eps, batch: eps, "Nothing"),
        (lambda eps, batch: molecule_mean(eps, batch)[batch], "means themselves"),
        (lambda eps, batch: eps - molecule_mean(eps, batch, total=True)[batch], "divide"),
        (lambda eps, batch: eps.sub_(molecule_mean(eps, batch)[batch]), "changes eps"),
        (lambda eps, batch: eps - eps[0], "mean of molecule 0"),
        (lambda eps, batch: 2 * (eps - molecule_mean(eps, batch)[batch]), "differences"),
        (lambda eps, batch: molecule_mean(eps, batch), "shape [2, 3]"),
    ],
    "check_noise_floor": [
        (lambda n: 1 - 1 / n, "left when the mean"),
        (lambda n: 3 / n, "together"),
        (lambda n: 1 / (3 * n), "factor 3"),
        (lambda n: n**-0.5, "standard deviation"),
        (lambda n: 2 / n, "twice as much"),
        (lambda n: 0.0, "which variance"),
    ],
    "check_noise_force": [
        (lambda eps, f, batch: cosine(eps, f, batch, sign=1), "The sign"),
        (lambda eps, f, batch: cosine(eps, f, batch.new_zeros(7))[0], "whole batch"),
        (lambda eps, f, batch: torch.cosine_similarity(eps, f, dim=1), "each atom"),
        (
            lambda eps, f, batch: molecule_mean(
                torch.cosine_similarity(-eps, f, dim=1)[:, None], batch
            )[:, 0],
            "average",
        ),
        (
            lambda eps, f, batch: molecule_mean((eps * f).sum(1, keepdim=True), batch, True)[:, 0],
            "dot product",
        ),
        (lambda eps, f, batch: 5 * cosine(eps, f, batch), "between"),
        (lambda eps, f, batch: 0.5 * cosine(eps, f, batch), "For molecule 1"),
        (lambda eps, f, batch: -1.0, "torch tensor"),
    ],
    "check_temperature": [
        (lambda rise, n: rise / ((3 * n - 6) * K_B), "not k_B T"),
        (lambda rise, n: 2 * rise / (3 * n * K_B), "whole molecule costs nothing"),
        (lambda rise, n: 2 * rise / ((3 * n - 3) * K_B), "Rotations cost nothing either"),
        (lambda rise, n: 2 / 3 * rise / ((3 * n - 6) * K_B), "kinetic"),
        (lambda rise, n: 2 * rise / (3 * n - 6), "in eV"),
        (lambda rise, n: 2 * rise / K_B, "shared"),
        (lambda rise, n: 300.0, "solve for T"),
    ],
    "check_rigid": [
        (lambda eps, pos: eps - eps.mean(0), "three rotations are still in it"),
        (lambda eps, pos: off(eps, generators(pos)[0]), "mean of eps is still in it"),
        (lambda eps, pos: off(eps, generators(pos, center=False)[0]), "about the origin"),
        (lambda eps, pos: eps - rigid_by_qr(eps, pos), "subtract it"),
        (rigid_one_by_one, "orthonormal"),
        (lambda eps, pos: eps, "Nothing"),
        (lambda eps, pos: 0 * eps, "more than the rigid part"),
        (lambda eps, pos: eps.sub_(eps.mean(0)), "changes eps"),
        (lambda eps, pos: rigid_by_qr(eps, pos).flatten(), "shape [15]"),
    ],
    "check_best_answer": [
        (lambda noisy, s, sigma: s**2 / (s**2 + sigma**2) * noisy, "clean x"),
        (lambda noisy, s, sigma: sigma / (s + sigma) * noisy, "use squares"),
        (lambda noisy, s, sigma: sigma / (s**2 + sigma**2) ** 0.5 * noisy, "Covariance over"),
        (lambda noisy, s, sigma: noisy, "only where s = 0"),
        (lambda noisy, s, sigma: 0.0, "before x̃ is known"),
        (lambda noisy, s, sigma: sigma / (s**2 + sigma**2) * noisy, "units of σ"),
        (lambda noisy, s, sigma: -(sigma**2) / (s**2 + sigma**2) * noisy, "The sign"),
        (lambda noisy, s, sigma: 5.0, "covariance"),
    ],
    "check_fractional": [
        (lambda start, middle, noisy, sigma: (noisy - start) / sigma, "all of the noise"),
        (lambda start, middle, noisy, sigma: (middle - start) / sigma, "torsional part"),
        (lambda start, middle, noisy, sigma: noisy - middle, "divide by sigma"),
        (lambda start, middle, noisy, sigma: (middle - noisy) / sigma, "The sign"),
        (lambda start, middle, noisy, sigma: noisy - start, "in Å"),
        (lambda start, middle, noisy, sigma: noisy, "added to `middle`"),
    ],
}

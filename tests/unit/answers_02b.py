"""Right and wrong answers to the exercises of lesson 02b, wrong ones with a part of the hint."""

import math

import torch


def distance_changes(pos, corrected, batch):
    """Changes of all distances [N, N], which are within molecules, and which are of two different
    atoms."""
    change = torch.cdist(pos, pos) - torch.cdist(corrected, corrected)
    return change, batch[:, None] == batch[None], ~torch.eye(len(pos), dtype=torch.bool)


def pairwise(pos, corrected, batch):
    i, j = torch.triu_indices(len(pos), len(pos), 1)
    i, j = i[batch[i] == batch[j]], j[batch[i] == batch[j]]
    return (
        ((pos[i] - pos[j]).norm(dim=1) - (corrected[i] - corrected[j]).norm(dim=1)).square().mean()
    )


def pairwise_squares(pos, corrected, batch):
    change, same, other = distance_changes(pos, corrected, batch)
    return (
        (change * (torch.cdist(pos, pos) + torch.cdist(corrected, corrected)))[same & other]
        .square()
        .mean()
    )


def pairwise_with_zeros(
    pos, corrected, batch
):  # sums over i = j too and divides rightly: the root of 0 has no slope
    def d(x):
        return (x[:, None] - x[None]).square().sum(-1).sqrt()

    same = batch[:, None] == batch[None]
    return ((d(pos) - d(corrected)) * same).square().sum() / (same.sum() - len(pos))


def linear_fit(x, n, x_new, constant=True):
    a, b = (torch.cat([y, torch.ones_like(y[:, :1])], 1) if constant else y for y in (x, x_new))
    w = torch.linalg.lstsq(a, n[:, None]).solution
    return (a @ w)[:, 0], (b @ w)[:, 0]


def read_off_centered(x, n, x_new, n_new):
    w = torch.linalg.pinv(x - x.mean(0)) @ (n - n.mean())
    miss = n_new - n.mean() - (x_new - x.mean(0)) @ w
    return (1 - miss.square().mean() / n_new.var(correction=0)).item()


def r2(y, guess):
    return 1 - (y - guess).square().sum() / (y - y.mean()).square().sum()


def molecule_shares(z, batch):
    one_hot = (z[:, None] == torch.tensor([1, 6, 7, 8, 9])).float()
    size = torch.bincount(batch).float()
    return torch.zeros(len(size), 5).index_add(0, batch, one_hot) / size[:, None]


def paired(a, b, divide=lambda spread, n: spread / n**0.5):
    gap = b - a
    return gap.mean(), divide(gap.std(), len(gap))


def composition(z, batch, over="molecule"):
    elements = torch.tensor([1, 6, 7, 8, 9])
    count = torch.stack([(z[batch == k, None] == elements).sum(0) for k in batch.unique()]).float()
    if over == "molecule":
        return count / count.sum(1, keepdim=True)
    return count if over is None else count / count.sum(0)


HELPS = ([0.30, 0.31, 0.29], [0.40, 0.43, 0.41])

RIGHT = {
    "check_paired": [
        paired,
        lambda a, b: (float((b - a).mean()), float((b - a).std(correction=0)) / len(a) ** 0.5),
        lambda a, b: [x.item() for x in paired(a, b)],
    ],
    "check_composition": [
        composition,
        lambda z, batch: composition(z, batch).double().numpy(),
        lambda z, batch: molecule_shares(z, batch),
    ],
    "check_cross_pairs": [
        lambda b, n: (b * n - n) / (b * n - 1),
        lambda b, n: 1 - b * math.comb(n, 2) / math.comb(b * n, 2),
    ],
    "check_verdict": [
        (*HELPS, "pretraining helps"),
        (*HELPS[::-1], "pretraining hurts"),
        ([0.30, 0.40, 0.35], [0.31, 0.38, 0.36], "tie"),
        (torch.tensor(HELPS[0]), torch.tensor(HELPS[1]), "pretraining helps"),
    ],
    "check_pairwise": [pairwise, lambda p, c, batch: pairwise(p, c, batch).item()],
    "check_read_off": [
        lambda x, n, x_new, n_new: r2(n_new, linear_fit(x, n, x_new)[1]),
        read_off_centered,
    ],
}

WRONG = {
    "check_pairwise": [
        (lambda p, c, batch: pairwise(p, c, torch.zeros_like(batch)), "different molecules"),
        (
            lambda p, c, batch: (d := distance_changes(p, c, batch))[0][d[1]].square().mean(),
            "zeros",
        ),
        (lambda p, c, batch: distance_changes(p, c, batch)[0].square().mean(), "whole matrix"),
        (lambda p, c, batch: (p - c).square().mean(), "positions"),
        (
            lambda p, c, batch: (d := distance_changes(p, c, batch))[0][d[1] & d[2]].abs().mean(),
            "absolute",
        ),
        (lambda p, c, batch: pairwise(p, c, batch) * 9, "mean, or large"),
        (pairwise_squares, "squared distances"),
        (pairwise_with_zeros, "NaN"),
        (lambda p, c, batch: p - c, "number"),
        (lambda p, c, batch: torch.zeros(()), "nine pairs"),
    ],
    "check_read_off": [
        (lambda x, n, x_new, n_new: r2(n, linear_fit(x, n, x_new)[0]), "fitted to"),
        (lambda x, n, x_new, n_new: r2(n_new, linear_fit(x, n, x_new, constant=False)[1]), "ones"),
        (lambda x, n, x_new, n_new: 1 - r2(n_new, linear_fit(x, n, x_new)[1]), "explained"),
        (
            lambda x, n, x_new, n_new: (n_new - linear_fit(x, n, x_new)[1]).square().mean(),
            "mean squared error",
        ),
        (
            lambda x, n, x_new, n_new: (
                torch.corrcoef(torch.stack([n_new, linear_fit(x, n, x_new)[1]]))[0, 1] ** 2
            ),
            "correlation",
        ),
        (lambda x, n, x_new, n_new: 0.0, "least squares"),
    ],
    "check_paired": [
        (lambda a, b: paired(b, a), "The sign"),
        (lambda a, b: paired(a, b, lambda spread, n: spread), "√n smaller"),
        (lambda a, b: paired(a, b, lambda spread, n: spread / n), "not by n"),
        (lambda a, b: paired(a, b, lambda spread, n: spread**2 / n), "its root"),
        (
            lambda a, b: ((b - a).mean(), ((a.var() + b.var()) / len(a)).sqrt()),
            "different molecules",
        ),
        (lambda a, b: (b - a).mean(), "two numbers"),
        (lambda a, b: ((b - a).median(), 0.1), "The mean of b − a is"),
        (lambda a, b: ((b - a).mean(), 1.0), "standard deviation of b − a"),
    ],
    "check_composition": [
        (lambda z, batch: composition(z, batch, over=None), "hold the size"),
        (lambda z, batch: composition(z, batch, over="element"), "atoms of an element"),
        (lambda z, batch: composition(z, batch, over=None) / len(z), "atoms of the batch"),
        (lambda z, batch: composition(z, batch).flip(1), "another order"),
        (lambda z, batch: composition(z, batch).T, "changed places"),
        (lambda z, batch: (z[:, None] == torch.tensor([1, 6, 7, 8, 9])).float(), "per atom"),
        (lambda z, batch: torch.ones(3, 5) / 5, "methane"),
    ],
    "check_cross_pairs": [
        (lambda b, n: 1 - 1 / b, "paired with itself"),
        (lambda b, n: (n - 1) / (b * n - 1), "*within*"),
        (lambda b, n: 100 * (b * n - n) / (b * n - 1), "per cent"),
        (lambda b, n: math.comb(b * n, 2) - b * math.comb(n, 2), "divide by"),
        (lambda b, n: 0.5, "once for all"),
    ],
    "check_verdict": [
        ((*HELPS, "tie"), "say more"),
        ((*HELPS, "pretraining hurts"), "say more"),
        (([0.30, 0.40, 0.35], [0.31, 0.38, 0.36], "pretraining helps"), "more than the seeds say"),
        (([0.3], [0.4], "pretraining helps"), "three seeds"),
        ((*HELPS, "yes"), "one of"),
        (([0.3, 0.3, 0.3], [0.4, 0.4], "tie"), "same seeds"),
        ((*HELPS,), "three things"),
        (([0.3, 0.3, 0.3], [0.4, 0.4, 0.4], "pretraining helps"), "differ between seeds"),
    ],
}

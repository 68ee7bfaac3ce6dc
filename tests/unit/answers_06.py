"""Right answers to the exercises of lesson 06, and usual mistakes with words of their hints."""

import math

import scipy.stats
import torch


def half_width(r, miss, more=1, size=torch.abs, back=1):
    sizes = size(r).sort().values
    rank = math.ceil((len(r) + more) * (1 - miss) - 1e-9)
    return float(sizes[rank - back]) if rank <= len(r) else math.inf


def ranks(x):
    return x.argsort().argsort().double()


def correlation(a, b, place=ranks):
    return float(torch.corrcoef(torch.stack([place(a), place(b)]))[0, 1])


def sorted_in_place(r, miss):
    r.abs_()
    return half_width(r, miss)


def infinite_at_the_largest(r, miss):
    rank = math.ceil((len(r) + 1) * (1 - miss) - 1e-9)
    return float(r.abs().sort().values[rank - 1]) if rank < len(r) else math.inf


def never_infinite(r, miss):
    rank = min(math.ceil((len(r) + 1) * (1 - miss) - 1e-9), len(r))
    return float(r.abs().sort().values[rank - 1])


RIGHT = {
    "check_interval": [
        half_width,
        lambda r, miss: torch.tensor(half_width(r, miss)),
    ],
    "check_rank_correlation": [
        correlation,
        lambda a, b: torch.tensor(correlation(a, b)),
        lambda a, b: scipy.stats.spearmanr(a, b).statistic,
    ],
}

WRONG = {
    "check_interval": [
        (lambda r, miss: half_width(r, miss, more=0 - 1e-6), "n + 1"),
        (lambda r, miss: half_width(r, miss, back=0), "start at 0"),
        (lambda r, miss: half_width(r, miss, size=lambda x: x), "signs"),
        (lambda r, miss: 1.645 * float(r.std()), "Gaussian"),
        (lambda r, miss: half_width(r, 1 - miss), "may lie outside"),
        (sorted_in_place, "in place"),
        (never_infinite, "Five"),
        (lambda r, miss: half_width(r, miss) if len(r) > 5 else -math.inf, "Five"),
        (infinite_at_the_largest, "Nine"),
        (lambda r, miss: half_width(r, miss) if len(r) >= 10 else math.inf, "Nine"),
        (lambda r, miss: math.inf, "86th"),
        (lambda r, miss: math.nan, "finite"),
        (lambda r, miss: half_width(r, min(miss, 0.1)), "0.25"),
        (lambda r, miss: r.abs(), "number"),
        (lambda r, miss: None, "return"),
    ],
    "check_rank_correlation": [
        (lambda a, b: correlation(a, b, place=lambda x: x), "one large value"),
        (lambda a, b: correlation(a, b, place=lambda x: x.argsort().double()), "twice"),
        (lambda a, b: abs(correlation(a, b)), "opposite"),
        (lambda a, b: 0.0, "exactly 1"),
        (lambda a, b: scipy.stats.spearmanr(a, b), ".statistic"),
        (lambda a, b: None, "return"),
    ],
}

"""Every exercise check accepts a right answer, and answers each usual mistake with the hint that
fits it."""

import answers_00
import answers_01
import answers_01b
import answers_02
import answers_02b
import answers_03
import answers_05
import answers_06
import pytest
import torch
from torch.nn.functional import layer_norm

from scdlab import lessons
from scdlab.lessons.checks import all_checks

KB = 8.617333262e-5  # eV/K


def normed(x, dim=1, eps=1e-5, unbiased=False):
    return (x - x.mean(dim, keepdim=True)) / (
        x.var(dim, unbiased=unbiased, keepdim=True) + eps
    ).sqrt()


def dropped_in_place(c, token, u, p):
    c[u < p] = token
    return c


def moves(first, second):
    return (second - first).norm(dim=1)


def bounded(v, dim=1, eps=1e-12):
    r = (v.square().sum(dim, keepdim=True) + eps).sqrt()
    return v * torch.tanh(r) / r


def bounded_where(v):
    r = v.norm(dim=1, keepdim=True)
    return v * torch.where(r > 0, torch.tanh(r) / r, 1.0)


RIGHT = {
    "check_modulate": [
        lambda x, scale, shift: (1 + scale) * normed(x) + shift,
        lambda x, scale, shift: layer_norm(x, x.shape[-1:]) * (1 + scale) + shift,
    ],
    "check_drop_condition": [
        lambda c, token, u, p: torch.where((u < p)[:, None], token, c),
        lambda c, token, u, p: dropped_in_place(c.clone(), token, u, p),
        lambda c, token, u, p: (m := (u < p).float()[:, None]) * token + (1 - m) * c,
    ],
    "check_other_condition": [
        lambda c: c.roll(1, dims=0),
        lambda c: c.roll(-1, 0),
        lambda c: torch.cat([c[1:], c[:1]]),
    ],
    "check_share_left": [
        lambda k, t, sigma: (s2 := KB * t / k) / (s2 + sigma**2),
        lambda k, t, sigma: 1 - sigma**2 / (KB * t / k + sigma**2),
        lambda k, t, sigma: 1 / (1 + k * sigma**2 / (8.617e-5 * t)),
    ],
    "check_narrow": [
        lambda c, mean, axes, k: mean + (c - mean) @ axes[:k].T @ axes[:k],
        lambda c, mean, axes, k: c - (c - mean) @ axes[k:].T @ axes[k:],
        lambda c, mean, axes, k: mean + sum(((c - mean) @ a)[:, None] * a for a in axes[:k]),
    ],
    "check_margin": [
        lambda a, b: moves(a, b).max(),
        lambda a, b: (b - a).square().sum(1).max().sqrt().item(),
    ],
    "check_vector_norm": [
        bounded,
        lambda v: v * torch.tanh(r := v.norm(dim=1, keepdim=True).clamp(min=1e-9)) / r,
        lambda v: v * torch.tanh(r := v.norm(dim=1, keepdim=True) + 1e-9) / r,
        lambda v: v / (1 + v.square().sum(1, keepdim=True)).sqrt(),
    ],
}

WRONG = {
    "check_modulate": [
        (lambda x, scale, shift: scale * normed(x) + shift, "1 + scale"),
        (lambda x, scale, shift: (1 + scale) * normed(x, dim=0) + shift, "over atoms"),
        (lambda x, scale, shift: (1 + scale) * (x - x.mean()) / x.std() + shift, "for all"),
        (lambda x, scale, shift: (1 + scale) * x + shift, "norm is missing"),
        (
            lambda x, scale, shift: (1 + scale) * (x - x.mean(1, keepdim=True)) + shift,
            "do not divide",
        ),
        (lambda x, scale, shift: (1 + scale) * normed(x, unbiased=True) + shift, "d − 1"),
        (lambda x, scale, shift: (1 + scale) * normed(x, unbiased=True, eps=0) + shift, "d − 1"),
        (lambda x, scale, shift: (1 + scale) * normed(x, eps=0) + shift, "Atom 4"),
        (
            lambda x, scale, shift: (1 + scale) * normed(x) / x.std(1, False, keepdim=True) + shift,
            "its square root",
        ),
        (lambda x, scale, shift: (1 + shift) * normed(x) + scale, "changed places"),
        (lambda x, scale, shift: (1 + scale) * normed(x), "shift is missing"),
        (lambda x, scale, shift: (1 + scale) * (normed(x) + shift), "add it last"),
        (lambda x, scale, shift: x.sub_(x.mean(1, keepdim=True)), "changes x"),
        (lambda x, scale, shift: (1 - scale) * normed(x) + shift, "Atom 0, channel 0"),
        (lambda x, scale, shift: normed(x).mean(0), "shape [8]"),
    ],
    "check_drop_condition": [
        (lambda c, token, u, p: torch.where((u > p)[:, None], token, c), "u > p"),
        (lambda c, token, u, p: torch.where((u <= p)[:, None], token, c), "u ≤ p"),
        (lambda c, token, u, p: torch.where(u < p, token, c), "drop channels"),
        (lambda c, token, u, p: torch.where((u < p)[:, None], token, c) / (1 - p), "dropout"),
        (lambda c, token, u, p: torch.where((u < p)[:, None], token, c / (1 - p)), "dropout"),
        (lambda c, token, u, p: torch.where((u < p)[:, None], 0.0, c), "should be the token"),
        (lambda c, token, u, p: torch.where((c > 0) & (u < p)[:, None], token, c), "partly"),
        (lambda c, token, u, p: c + (u < p)[:, None] * (token - c), "rounded off"),
        (lambda c, token, u, p: torch.where((u < 0.25)[:, None], token, c), "no rows"),
        (lambda c, token, u, p: c.clone(), "Nothing was dropped"),
        (lambda c, token, u, p: token.expand(6, 6), "Row 1"),
        (dropped_in_place, "changes c"),
        (lambda c, token, u, p: c[u >= p], "shape [4, 6]"),
    ],
    "check_other_condition": [
        (lambda c: c[torch.randperm(len(c))], "randperm"),
        (lambda c: c.flip(0), "keeps its own"),
        (lambda c: c.clone(), "every structure"),
        (lambda c: c[:1].expand_as(c), "all get the same"),
        (lambda c: c.mean(0, keepdim=True).repeat(len(c), 1), "all get the same"),
        (lambda c: c[[1] + [0] * (len(c) - 1)], "is used 4 times"),
        (lambda c: c.roll(1, dims=1), "channels"),
        (lambda c: c.roll(1), "Single numbers"),
        (lambda c: -c, "calculate nothing"),
        (lambda c: c.copy_(c.roll(1, dims=0)), "changes c"),
        (lambda c: c[1:], "shape [4, 4]"),
    ],
    "check_share_left": [
        (lambda k, t, sigma: sigma**2 / (KB * t / k + sigma**2), "the best answer explains"),
        (lambda k, t, sigma: (s := (KB * t / k).sqrt()) / (s + sigma), "variances add"),
        (lambda k, t, sigma: (s2 := KB * t / k) / (s2 + 2 * sigma**2), "both of whose atoms"),
        (lambda k, t, sigma: (s2 := KB * t / k) / (s2 + sigma), "a variance and a length"),
        (lambda k, t, sigma: KB * t / k / sigma**2, "the heat counts as well"),
        (lambda k, t, sigma: (s2 := k / (KB * t)) / (s2 + sigma**2), "moves less"),
        (lambda k, t, sigma: (s2 := t / k) / (s2 + sigma**2), "k_B is missing"),
        (lambda k, t, sigma: (s2 := 2 * KB * t / k) / (s2 + sigma**2), "Equipartition"),
        (lambda k, t, sigma: ((s2 := KB * t / k) / (s2 + sigma**2)).sqrt(), "square"),
        (lambda k, t, sigma: (s2 := KB * 500 / k) / (s2 + sigma**2), "At 300 K"),
        (lambda k, t, sigma: torch.zeros_like(k), "Two limits"),
        (lambda k, t, sigma: 0.5, "torch tensor"),
    ],
    "check_narrow": [
        (lambda c, mean, axes, k: (c - mean) @ axes[:k].T @ axes[:k], "mean is missing"),
        (lambda c, mean, axes, k: c @ axes[:k].T @ axes[:k], "take off the mean"),
        (lambda c, mean, axes, k: mean + c @ axes[:k].T @ axes[:k], "did not take it off"),
        (lambda c, mean, axes, k: mean + (c - mean) @ axes[:, :k] @ axes[:, :k].T, "rows of axes"),
        (lambda c, mean, axes, k: mean + (c - mean) @ axes[-k:].T @ axes[-k:], "last k"),
        (lambda c, mean, axes, k: torch.cat([c[:, :k], 0 * c[:, k:]], 1), "channels of c"),
        (lambda c, mean, axes, k: (c - mean) @ axes[:k].T, "shape [6, 2]"),
        (lambda c, mean, axes, k: mean + (c - mean) @ axes[:2].T @ axes[:2], "For k = 4"),
        (lambda c, mean, axes, k: c.sub_(mean) @ axes[:k].T @ axes[:k] + mean, "changes c"),
        (lambda c, mean, axes, k: c.clone(), "For k = 2"),
    ],
    "check_margin": [
        (lambda a, b: 2 * moves(a, b).max(), "Twice too large"),
        (lambda a, b: moves(a, b).max() / 2, "Half of what"),
        (lambda a, b: moves(a, b).mean(), "Take the maximum"),
        (lambda a, b: moves(a, b).square().mean().sqrt(), "Take the maximum"),
        (lambda a, b: (a - b).abs().max(), "component"),
        (lambda a, b: moves(a, b).max() ** 2, "square root"),
        (lambda a, b: (a - b).norm(), "dim=1"),
        (lambda a, b: moves(a, b).sum(), "add up"),
        (lambda a, b: torch.pdist(a - b).max() / 2, "sharper"),
        (lambda a, b: moves(a, b).topk(2).values.mean(), "sharper"),
        (lambda a, b: 0.9 * moves(a, b).max(), "Too small"),
        (lambda a, b: 1.1 * moves(a, b).max(), "Too large"),
        (lambda a, b: moves(a, b).max() or 0.1, "nothing moves"),
        (moves, "should be a number"),
    ],
    "check_vector_norm": [
        (torch.tanh, "one by one"),
        (lambda v: v.clamp(-0.5, 0.5), "one by one"),
        (lambda v: bounded(v, dim=2), "over the d channels"),
        (lambda v: bounded(v, dim=0), "rotation error"),
        (lambda v: bounded(v, dim=(1, 2)), "others change"),
        (lambda v: -bounded(v), "180°"),
        (lambda v: bounded(v).roll(1, dims=1), "A direction changes by"),
        (lambda v: v * torch.tanh(v.norm(dim=1, keepdim=True)), "divide by |v|"),
        (lambda v: v / v.norm(dim=1, keepdim=True), "not below 1"),
        (lambda v: v.clone(), "not below 1"),
        (lambda v: 0.9 * v / v.norm(dim=1, keepdim=True).clamp(min=1), "length is lost"),
        (lambda v: v / 1000, "longer than 1"),
        (lambda v: torch.zeros_like(v), "comes out as zero"),
        (lambda v: torch.tanh(v.norm(dim=1, keepdim=True)), "shape [4, 1, 5]"),
        (lambda v: v * torch.tanh(r := v.norm(dim=1, keepdim=True)) / r, "NaN"),
        (bounded_where, "gradient is NaN"),
        (
            lambda v: v * torch.tanh(r := v.norm(dim=1, keepdim=True)) / (r + 1e-8),
            "right beside it",
        ),
        (lambda v: bounded(v.detach()), "Autograd"),
        (lambda v: v.mul_(0.1), "changes v"),
    ],
}


for answers in (
    answers_00,
    answers_01,
    answers_01b,
    answers_02,
    answers_02b,
    answers_03,
    answers_05,
    answers_06,
):
    RIGHT |= answers.RIGHT
    WRONG |= answers.WRONG


@pytest.mark.parametrize("name", sorted(all_checks()))
def test_every_check_has_right_and_wrong_answers_and_waits_for_one(name, capsys):
    check = getattr(lessons, name)
    assert len(RIGHT[name]) >= 2 and len(WRONG[name]) >= 4
    for blank in (..., lambda *_: ...):
        verdict = check(blank)
        assert verdict.pending and not verdict.passed
    assert check().pending
    assert "Your turn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "answer"), [(n, a) for n, answers in RIGHT.items() for a in answers]
)
def test_right(name, answer, capsys):
    verdict = getattr(lessons, name)(answer)
    assert verdict.passed, verdict.message
    assert verdict.message in capsys.readouterr().out  # the reader sees it


@pytest.mark.parametrize(
    ("name", "answer", "hint"), [(n, a, h) for n, answers in WRONG.items() for a, h in answers]
)
def test_wrong_is_explained(name, answer, hint):
    verdict = getattr(lessons, name)(answer)
    assert not verdict.passed and not verdict.pending
    assert hint in verdict.message


def test_a_verdict_shows_once_and_escapes_what_the_reader_wrote(capsys):
    verdict = lessons.check_units(lambda e: 1 / 0)
    assert "ZeroDivisionError" in verdict.message
    assert verdict._ipython_display_() is None
    assert not verdict  # usable in an if
    assert capsys.readouterr().out.count("ZeroDivisionError") == 1

"""Right and wrong answers to the exercises of lesson 01, wrong ones with a part of the hint."""

import math

import torch
from torch.nn.functional import softplus

K = 0.0433641


def plain_cfconv(x, w, i, j):
    out = torch.zeros_like(x)
    return out.index_add_(0, i, x[j] * w).index_add_(0, j, x[i] * w)


def overwriting_cfconv(x, w, i, j):
    out = torch.zeros_like(x)
    out[i] += x[j] * w
    out[j] += x[i] * w
    return out


def expansion(r, centers):
    return r[:, None] - centers[None, :]


def loop_sum(w, x, i, j):
    out = torch.zeros_like(x)
    for p in range(len(i)):
        out[i[p]] = out[i[p]] + w[p] * x[j[p]]
        out[j[p]] = out[j[p]] + w[p] * x[i[p]]
    return out


def gradient(energy, pos, again=True):
    return torch.autograd.grad(energy.sum(), pos, create_graph=again)[0]


def by_backward(energy, pos):
    energy.sum().backward(create_graph=True)
    return -pos.grad


def work(path, forces):
    step = path.roll(-1, 0) - path
    return (0.5 * (forces + forces.roll(-1, 0)) * step).sum()


def work_in_a_loop(path, forces):
    total = 0.0
    for k in range(len(path)):
        after = (k + 1) % len(path)
        mean = (forces[k] + forces[after]) / 2
        total += float((mean * (path[after] - path[k])).sum())
    return total


RIGHT = {
    "check_units": [
        lambda e: e * K * 1000,
        lambda e: e * 43.4,
        lambda e: 43 * e,  # the number of the text
        lambda e: 1000 * 0.043 * e,
        lambda e: e * 4184 / 6.022e23 / 1.602e-19 * 1000,
    ],
    "check_ssp": [
        lambda x: softplus(x) - math.log(2),
        lambda x: torch.logaddexp(x, torch.zeros_like(x)) - math.log(2),
        lambda x: -torch.nn.functional.logsigmoid(-x) - math.log(2),
    ],
    "check_rbf": [
        lambda r, c, g: torch.exp(-g * expansion(r, c) ** 2),
        lambda r, c, g: torch.exp(-g * (r.unsqueeze(1) - c).square()),
        lambda r, c, g: torch.stack([torch.exp(-g * (r - mu) ** 2) for mu in c], dim=1),
    ],
    "check_cfconv": [
        plain_cfconv,
        lambda x, w, i, j: torch.zeros_like(x).index_add(
            0, torch.cat([i, j]), torch.cat([w * x[j], w * x[i]])
        ),
        lambda x, w, i, j: loop_sum(w, x, i, j),
    ],
    "check_force": [
        lambda energy, pos: -gradient(energy, pos),
        by_backward,
        lambda energy, pos: torch.autograd.grad(-energy.sum(), [pos], create_graph=True)[0],
    ],
    "check_independent_labels": [lambda n: 3 * n - 5, lambda n: 3 * (n - 2) + 1.0],
    "check_loop_work": [work, work_in_a_loop],
}

WRONG = {
    "check_units": [
        (lambda e: e * K, "1000 meV"),
        (lambda e: e * 0.043, "1000 meV"),
        (lambda e: e / K, "multiply"),
        (lambda e: e * K * 4184, "4.184"),
        (lambda e: e * 4184 / 1.602e-19 * 1000, "Avogadro"),
        (lambda e: e * 4184 / 6.022e23, "joules"),
        (lambda e: e * 27.2, "4184 J"),
        (lambda e: K * 1000, "one multiplication"),
        (lambda e: "lots", "should be a number"),
    ],
    "check_ssp": [
        (softplus, "plain softplus"),
        (torch.relu, "ReLU"),
        (lambda x: torch.log(0.5 * x.exp() + 0.5), "overflows"),
        (
            lambda x: torch.where(x > 30, x - math.log(2), torch.log(0.5 * x.exp() + 0.5)),
            "torch.where",
        ),
        (lambda x: x + torch.log(0.5 + 0.5 * torch.exp(-x)), "At x = -200"),
        (lambda x: torch.log(0.5 * x.clamp(max=50).exp() + 0.5), "At x = 200"),
        (lambda x: torch.log(0.5 * x.exp() + 0.5).detach(), "autograd"),
        (torch.tanh, "At x ="),
        (lambda x: 1 + x, "ssp(0) should be 0"),
        (lambda x: x + torch.ones(3), "stopped with"),
    ],
    "check_rbf": [
        (lambda r, c, g: torch.exp(g * expansion(r, c) ** 2), "minus"),
        (lambda r, c, g: torch.exp(-g * expansion(r, c).abs()), "Square"),
        (lambda r, c, g: torch.exp(-(expansion(r, c) ** 2) / g), "divide"),
        (lambda r, c, g: torch.exp(-(expansion(r, c) ** 2)), "not used"),
        (lambda r, c, g: torch.exp(-g * expansion(r, c) ** 2).T, "distances first"),
        (lambda r, c, g: expansion(r, c), "exp(−γ"),
    ],
    "check_cfconv": [
        (lambda x, w, i, j: torch.zeros_like(x).index_add_(0, i, x[j] * w), "one direction"),
        (lambda x, w, i, j: torch.zeros_like(x).index_add_(0, j, x[i] * w), "one direction"),
        (
            lambda x, w, i, j: (
                torch.zeros_like(x).index_add_(0, i, x[i] * w).index_add_(0, j, x[j] * w)
            ),
            "own features",
        ),
        (lambda x, w, i, j: x + plain_cfconv(x, w, i, j), "residual"),
        (overwriting_cfconv, "index_add_"),
        (lambda x, w, i, j: x.index_add_(0, i, x[j] * w), "changes x"),
        (lambda x, w, i, j: plain_cfconv(x, w, i, j) + 1, "no neighbor"),
        (lambda x, w, i, j: 2 * plain_cfconv(x, w, i, j), "plain loop"),
        (lambda x, w, i, j: w, "shape [4, 3]"),
    ],
    "check_force": [
        (gradient, "minus the gradient"),
        (lambda energy, pos: -2 * gradient(energy, pos), "stretched spring"),
        (lambda energy, pos: -gradient(energy.reshape(-1)[0], pos), "batch of two"),
        (lambda energy, pos: -gradient(energy.mean(), pos), "batch of two"),
        (lambda energy, pos: -gradient(energy, pos, again=False), "create_graph"),
        (lambda energy, pos: -gradient(energy, pos).detach(), "create_graph"),
        (lambda energy, pos: energy, "shape []"),
    ],
    "check_independent_labels": [
        (lambda n: 3 * n, "sum to zero"),
        (lambda n: 3 * n + 1, "torque"),
        (lambda n: 3 * n - 6, "Add the energy"),
        (lambda n: 3 * n - 3, "so is the torque"),
        (lambda n: n, "count components"),
    ],
    "check_loop_work": [
        (lambda path, forces: -work(path, forces), "The sign"),
        (
            lambda path, forces: (0.5 * (forces[1:] + forces[:-1]) * (path[1:] - path[:-1])).sum(),
            "not closed",
        ),
        (lambda path, forces: (forces * path).sum(), "step"),
        (lambda path, forces: work(path, forces) / len(path), "average"),
        (
            lambda path, forces: (forces * (path.roll(-1, 0) - path)).sum(),
            "mean of the forces at the two ends",
        ),
        (lambda path, forces: 2 * work(path, forces), "of work on this loop"),
    ],
}

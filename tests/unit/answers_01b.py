"""Right and wrong answers to the exercises of lesson 01b, wrong ones with a part of the hint."""

import numpy as np
import torch


def straight(values, r, h):
    k = (r / h).floor().long().clamp(max=len(values) - 2)
    u = (r / h - k)[:, None]
    return (1 - u) * values[k] + u * values[k + 1]


def by_numpy(values, r, h):
    nodes = np.arange(len(values)) * h
    columns = [np.interp(r.numpy(), nodes, values[:, c].numpy()) for c in range(values.shape[1])]
    return torch.tensor(np.stack(columns, axis=1))


def by_hats(values, r, h):
    nodes = torch.arange(len(values)) * h
    return (1 - (r[:, None] - nodes).abs() / h).clamp(min=0) @ values


def weights(values, r, h):
    k = (r / h).floor().long()
    return k, (r / h - k)[:, None], values[k], values[k + 1]


RIGHT = {
    "check_look_up": [straight, by_numpy, by_hats],
    "check_power": [lambda m: 4 - m, lambda m: float(4 - m)],
}

WRONG = {
    "check_look_up": [
        (lambda v, r, h: v[(r / h).round().long()], "nearest node"),
        (lambda v, r, h: v[(r / h + 1e-9).floor().long()], "node below"),
        (
            lambda v, r, h: (p := weights(v, r + 1e-12, h))[1] * p[2] + (1 - p[1]) * p[3],
            "exchanged",
        ),
        (lambda v, r, h: (p := weights(v, r + 1e-12, h))[2] / 2 + p[3] / 2, "middle"),
        (lambda v, r, h: straight(v, r, 2 * h), "between the nodes 2"),
        (lambda v, r, h: straight(v, r, h)[:, 0], "shape [7]"),
    ],
    "check_power": [
        (lambda m: 4, "du/dr"),
        (lambda m: 4 + m, "less exact"),
        (lambda m: 3 - m, "m = 0"),
        (lambda m: 4 - 2 * m, "one factor"),
    ],
}

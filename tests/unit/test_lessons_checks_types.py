"""Answers of every wrong kind to every exercise: a hint each, never an error."""

import math
import sys

import numpy as np
import pytest
import torch

from scdlab import lessons
from scdlab.lessons.checks import Check, all_checks


class Unspeakable:
    def __repr__(self):
        raise RuntimeError("no text")


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def leave(*arguments):
    sys.exit(3)


def again(*arguments):
    return again(*arguments)


def fail(*arguments):
    raise Silent


def produce(*arguments):
    yield 1


VALUES = [
    None,
    3,
    3.5,
    True,
    "x",
    "3",
    b"1",
    1j,
    10**400,
    math.nan,
    [],
    [1, 2],
    (),
    {},
    {"a": 1},
    set(),
    range(3),
    slice(3),
    object(),
    Unspeakable(),
    int,
    len,
    lessons,
    np.zeros(3),
    np.zeros((5, 3)),
    np.array(1.0),
    np.array("x"),
    np.array(None, dtype=object),
    torch.tensor(1.0),
    torch.zeros(0),
    torch.zeros(3),
    *(
        torch.zeros(shape, dtype=dtype)
        for shape in ((5, 5), (5, 3), (7, 3), (4, 7), (10,), (49,), (2, 3))
        for dtype in (torch.float64, torch.float16, torch.long, torch.bool, torch.complex64)
    ),
    torch.zeros(5, 5).to_sparse(),
    torch.zeros(5, 5, device="meta"),
]
ANSWERS = [
    *VALUES,
    *(lambda *arguments, value=value: value for value in VALUES),
    lambda: 1,
    lambda *a: a,
    lambda *a: a[0],
    lambda *a: a[-1],
    lambda *a: (a[0], a[0]),
    lambda *a: [a[0], None],
    lambda *a: ("x", "y"),
    lambda *a: (None, None),
    lambda *a: a[0].long(),
    lambda *a: a[0].double(),
    lambda *a: a[0] * 1j,
    lambda *a: a[0].numpy(),
    lambda *a: 1 / 0,
    leave,
    again,
    fail,
    produce,
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", all_checks())
def test_an_answer_of_a_wrong_kind_gets_a_hint(name):
    check = getattr(lessons, name)
    for answer in ANSWERS:
        found = check(answer, show=False)
        assert isinstance(found, Check) and found.message and len(found.message) < 1000
        str(found)


def test_text_is_no_number_and_precision_is_no_matter():
    count = lessons.check_pair_count
    assert not count(lambda n: str(n * (n - 1) // 2), show=False)
    assert count(lambda n: np.int64(n * (n - 1) // 2), show=False)
    double = lessons.check_distances(
        lambda pos: (pos[:, None] - pos).double().norm(dim=-1), show=False
    )
    assert double, double.message
    whole = lessons.check_distances(
        lambda pos: (pos[:, None] - pos).norm(dim=-1).long(), show=False
    )
    assert "distance of atoms 0 and 1" in whole.message or "itself" in whole.message

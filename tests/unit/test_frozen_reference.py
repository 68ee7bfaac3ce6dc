"""Every model and objective gives the numbers of the frozen reference, one test a case.

`tests/frozen_reference.py` makes them. On the machine that wrote the reference, SCDLAB_EXACT=1
asks for the very same bits. Elsewhere sums are made in another order, and tolerances hold: a few
times what another instruction set does. What float32 rounds grows over the steps of a training.
"""

import os

import frozen_reference
import numpy as np
import pytest
import torch

EXACT = os.environ.get("SCDLAB_EXACT") == "1"
RELATIVE = {  # to the largest number of an array, by the beginning of its name
    "exact": 1e-9,
    "seeded": 5e-5,
    "single": 5e-5,
    "training": 1e-4,
    "log": 3e-5,
    "evaluated": 3e-5,
    "labels": 3e-5,
    "trained": 5e-3,
}
OTHERWISE = 5e-5
ABSOLUTE = {"symmetry": 1e-7}  # by the beginning of a case: a law that holds shows rounding

# The auxiliary model of ECSE is not trained by itself here, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:All neighbors")


@pytest.fixture(scope="module")
def stored():
    return frozen_reference.read()


@pytest.fixture(autouse=True)
def one_thread():
    """The order of sums, and so their last bits, depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_stored_case_is_compared(stored):
    assert list(stored) == list(frozen_reference.CASES)


@pytest.mark.parametrize("case", frozen_reference.CASES)
def test_numbers_are_those_of_the_reference(case, stored):
    found, expected = frozen_reference.CASES[case](), stored[case]
    assert sorted(found) == sorted(expected)
    wrong = [
        difference
        for name in found
        if (difference := compared(case, name, found[name], expected[name]))
    ]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(found)} arrays differ:", *wrong])


def compared(case: str, name: str, found: np.ndarray, expected: np.ndarray) -> str:
    """What is wrong with an array, or nothing."""
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return f"{name}: {found.dtype} {found.shape}, and was {expected.dtype} {expected.shape}"
    if np.array_equal(found, expected, equal_nan=found.dtype != bool):
        return ""
    if found.dtype == bool or not np.array_equal(np.isfinite(found), np.isfinite(expected)):
        return f"{name}: other entries than before"
    error, size = float(np.nanmax(np.abs(found - expected))), float(np.nanmax(np.abs(expected)))
    allowed = RELATIVE.get(name.split("/")[0], OTHERWISE) * size + ABSOLUTE.get(
        case.split("/")[0], 0.0
    )
    if EXACT or not error <= allowed:
        return f"{name}: off by {error:.1e}, where the largest number is {size:.1e}"
    return ""

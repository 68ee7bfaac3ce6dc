"""The Triton kernels in Triton's interpreter against plain torch in float64: run as a program, with
TRITON_INTERPRET=1 in its environment, for `tests/unit/test_gpu_kernels.py`.

    TRITON_INTERPRET=1 python tests/interpreted_kernels.py cfconv logits     prints the largest
                                                                             errors of each,
                                                                             relative, as json
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent / "unit"))
import test_kernels as plain

from scdlab.nn.ops import neighbor_sums
from scdlab.nn.ops.gpu import dispatch

FEW = (7, [(0, 1), (0, 1), (0, 2), (3, 3), (2, 1), (3, 3), (0, 0), (5, 2)])  # 4 and 6 hear nobody
# an atom hears more neighbors than a program reads at a time, and rows are wider than it reads
MANY = (3, [(k % 2, (k * k) % 2) for k in range(21)])
GRAPHS = {  # graph, d, heads
    "few": (FEW, 6, 2),
    "one atom": (plain.GRAPHS["one atom"], 5, 1),
    "no pairs": (plain.GRAPHS["no pairs"], 6, 2),
    "nothing": (plain.GRAPHS["nothing"], 6, 2),
    "many": (MANY, 150, 1),
}


def error(name: str, place: str, graph: str) -> float:
    """The largest error of value, first and second derivatives, each relative to its largest
    number, or to one where that is less; a second run must give the same bits."""
    (n, pairs), d, heads = GRAPHS[graph]
    tensors = plain.draw(name, place, n, len(pairs), d, heads)
    with neighbor_sums.interpreted_kernels():
        found = plain.derivatives(name, place, (n, pairs), tensors, heads)
        again = []
        if graph == "one atom":
            again = plain.derivatives(name, place, (n, pairs), tensors, heads)
    assert all(torch.equal(x, y) for x, y in zip(found, again, strict=False))
    with neighbor_sums.reference_kernels():
        expected = plain.derivatives(name, place, (n, pairs), tensors, heads, torch.float64)
    worst = 0.0
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == torch.float32 and x.shape == y.shape, (x.shape, y.shape)
        assert torch.isfinite(x).all()
        if y.numel():
            largest = max(y.abs().max().item(), 1.0)
            worst = max(worst, (x.double() - y).abs().max().item() / largest)
    return worst


def errors_of(name: str, asked: list[int]) -> dict[str, float]:
    """The errors of a sum in every case; `asked` grows when a Triton kernel is called."""
    errors = {}
    for case, place in plain.CASES:
        for graph in GRAPHS:
            if case != name or (graph == "many" and place not in ("rows", "cut")):
                continue
            asked.clear()
            errors[f"{place}, {graph}"] = error(name, place, graph)
            assert asked, "the Triton kernels were not asked"
    return errors


def main() -> None:
    # so that several programs share the pairs of a cell
    dispatch.PAIRS_OF_A_SHARE = 1
    asked: list[int] = []
    for form in ("cfconv", "attention", "vector_messages"):
        before = getattr(dispatch, form)
        setattr(dispatch, form, lambda *a, _f=before, **k: asked.append(1) or _f(*a, **k))
    print(json.dumps({name: errors_of(name, asked) for name in sys.argv[1:]}))


if __name__ == "__main__":
    main()

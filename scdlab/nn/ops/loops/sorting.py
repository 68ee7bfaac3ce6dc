"""The loop that lists pairs by a key: edges by atom, pairs by row of a table."""

from scdlab.nn.ops.loops.rows import arguments
from scdlab.nn.ops.runtime import Kernel
from scdlab.nn.ops.simd import draw, ints


@Kernel
def sort(data: int) -> None:
    """The stable order that sorts keys 0 … K - 1, and where each begins.

    Arguments: 1; P, K; key [P], begin [K + 1], order [P].
    """
    args = arguments(data)
    P = args[2]
    K = args[3]
    key = ints(args[4], P)
    begin = ints(args[5], K + 1)
    order = ints(args[6], P)
    if draw(data, 1) == 0:
        begin[:] = 0
        for p in range(P):
            begin[key[p] + 1] += 1
        for k in range(K):
            begin[k + 1] += begin[k]
        for p in range(P):
            order[begin[key[p]]] = p
            begin[key[p]] += 1
        for k in range(K, 0, -1):
            begin[k] = begin[k - 1]
        begin[0] = 0

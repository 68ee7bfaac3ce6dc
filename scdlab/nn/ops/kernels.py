"""Fused kernels for sums over neighbors on a processor (numba): messages are summed as they are
formed.

A layer on [edges, d] tensors is bound by memory: each operation reads and writes one, and a
multiplication is over before its numbers have arrived. Here one loop goes over the edges of an
atom, forms what each neighbor says in registers, eight features at a time, and adds it up. Nothing
of the size [edges, d] is ever written.

A pair's filter w_p [d] is a weighted sum of `taps` consecutive rows of a table T [K, d],

    w_p = Σ_t B_pt T_{node_p + t},

a spline over distance (four taps), or, with B = 1 and node_p = p, row p itself (one tap). Directed
edges are numbered so that edge p < P is i ← j (i hears j) and edge P + p is j ← i. `start`,
`other`, `edge` list for every atom whom it hears, and by which edge. `begin`, `order` list the
pairs that start at each row of T.

Every kernel is a function of one address: a block of integers that holds a counter, the number of
items, and then sizes and addresses of arrays, in the order that its docstring names. Threads draw
runs of items from the counter until none are left, so each result is written by one thread, in one
order: answers do not depend on the number of threads. Float32 and int64; d, and the width of a
head, are multiples of eight. Kernels are compiled when first called, a second each, and kept on
disk; importing this file compiles nothing. `neighbor_sums.py` has the same sums in plain torch.
Like torch's own operations, they hang in a forked process that inherits a team of threads.
"""

import _thread
import ctypes
import functools
import os
import time

import numpy as np
import torch
from numba import carray, cfunc, njit, types

from scdlab.nn.ops.simd import draw, fill, floats, ints, load, store, total

_FLAGS = dict(nopython=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
_TYPES = torch.float32, torch.int64
# items that a thread draws at once
_ATOMS = 16
_PAIRS = 64
_ROWS = 32


class Kernel:
    """A kernel, compiled when first called: kernel(items, *sizes and tensors) runs it on torch's
    threads."""

    def __init__(self, body):
        self.body = body
        self.__doc__ = body.__doc__

    @functools.cached_property
    def compiled(self):
        signature = types.void(types.voidptr)
        try:
            return cfunc(signature, cache=True, **_FLAGS)(self.body)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            return cfunc(signature, **_FLAGS)(
                self.body
            )  # nowhere to keep it (`scdlab doctor` says so): for this process

    def __call__(self, items: int, *args) -> None:
        for x in args:  # a kernel reads by address: what it is given must be what it takes it for
            if not isinstance(x, int) and not (
                x.dtype in _TYPES and x.device.type == "cpu" and x.is_contiguous()
            ):
                raise TypeError(
                    f"{self.body.__name__} was given {x.dtype} on {x.device}: a fault in scdlab, "
                    "please report it."
                )
        block = np.array(
            [0, items, *(x if isinstance(x, int) else x.data_ptr() for x in args)], dtype=np.int64
        )
        _on_threads(self.compiled, block, args, torch.get_num_threads())


def compile_all() -> None:
    """Compile all kernels now and keep them on disk, so that no training waits for it (`make lab`
    calls this)."""
    for kernel in (k for k in globals().values() if isinstance(k, Kernel)):
        kernel.compiled  # noqa: B018


def _on_threads(compiled, block, args, n: int) -> None:
    """Run the compiled kernel on n threads at once and wait; block and args: all the memory that it
    works on.

    On torch's own thread team where it is to be had (its OpenMP library runs any C function): a
    second team would find the processors taken by the first, which spins for a while after each
    operation, waiting for the next.
    """
    data = block.ctypes.data
    if n == 1:
        compiled.ctypes(data)
    elif _TEAM is not None:
        _TEAM(compiled.address, data, n, 0)
    else:
        _on_python_threads(compiled.ctypes, data, (block, args), n)


def _on_python_threads(call, data: int, memory, n: int) -> None:
    """The same on threads of our own. An interrupt waits until all have ended, and each holds the
    memory it writes.

    Bare threads: those of `threading` take locks as they start, and an interrupt that meets one can
    leave it taken."""
    interrupt = None
    started = []
    ended = []

    def work(kept):
        call(data)
        ended.append(1)

    try:
        for _ in range(n - 1):
            started.append(_thread.start_new_thread(work, (memory,)))
        call(data)
    except BaseException as error:
        interrupt = error
    while len(ended) < len(started):
        try:
            time.sleep(0)  # they end about when our own share does
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _team():
    """GOMP_parallel of the OpenMP library that torch has loaded, or None."""
    for name in ("libgomp.so.1", "libiomp5.so"):
        try:
            call = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
        except (AttributeError, OSError):  # no such library here (other systems), or not loaded
            continue
        call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        call.restype = None
        return call
    return None


_TEAM = _team()


@njit(inline="always")
def _block(data):
    return carray(data, (32,), np.int64)


@njit(inline="always")
def _weights(B, p):
    """The weights of pair p, each eight times; of one tap, three are not used."""
    if B.shape[1] == 1:
        b = fill(B[p, 0])
        return b, b, b, b
    return fill(B[p, 0]), fill(B[p, 1]), fill(B[p, 2]), fill(B[p, 3])


@njit(inline="always")
def _filter(at, row, taps, b):
    """Eight features of w = Σ_t b_t T_t, whose rows follow each other from address `at`, `row`
    bytes apart."""
    w = b[0] * load(at)
    if taps == 4:
        w = w + b[1] * load(at + row) + b[2] * load(at + 2 * row) + b[3] * load(at + 3 * row)
    return w


@njit(inline="always")
def _zero(at, size):
    zero = fill(np.float32(0.0))
    for c in range(0, size, 32):
        store(at + c, zero)


@njit(inline="always")
def _spread(to, row, taps, low, high, b, m):
    """Add b_t m to eight features of the rows t = low … high - 1 from address `to`, those that this
    thread owns."""
    if low == 0:
        store(to, load(to) + b[0] * m)
    if taps == 4:
        if low <= 1 < high:
            store(to + row, load(to + row) + b[1] * m)
        if low <= 2 < high:
            store(to + 2 * row, load(to + 2 * row) + b[2] * m)
        if high == 4:
            store(to + 3 * row, load(to + 3 * row) + b[3] * m)


# ---------------------------------------------------------------------------------------------
# carry: Σ w · (g_a · u_b)


@Kernel
def _cfconv_sum(data):
    """atoms; P, taps, X, d; start, other, edge, node, B, T, u [N, X, d], out [N, X, d]: out_a = Σ_b
    w ∘ u_b"""
    h = _block(data)
    n = h[1]
    P = h[2]
    taps = h[3]
    X = h[4]
    row = 4 * h[5]
    start = ints(h[6], n + 1)
    other = ints(h[7], 2 * P)
    edge = ints(h[8], 2 * P)
    node = ints(h[9], P)
    B = floats(h[10], P, taps)
    T = h[11]
    u = h[12]
    out = h[13]
    while True:
        first = draw(data, _ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + _ATOMS, n)):
            to = out + a * X * row
            _zero(to, X * row)
            for e in range(start[a], start[a + 1]):
                p = edge[e] if edge[e] < P else edge[e] - P
                b = _weights(B, p)
                at = T + node[p] * row
                of = u + other[e] * X * row
                for c in range(0, row, 32):
                    w = _filter(at + c, row, taps, b)
                    store(to + c, load(to + c) + w * load(of + c))
                    if X == 3:
                        y = c + row
                        z = c + 2 * row
                        store(to + y, load(to + y) + w * load(of + y))
                        store(to + z, load(to + z) + w * load(of + z))


@njit(inline="always")
def _product(gi, gj, ui, uj, row, X):
    """Eight features of Σ_x (g_i ∘ u_j + g_j ∘ u_i), over X = 1 or 3 components, `row` bytes
    apart."""
    m = load(gi) * load(uj) + load(gj) * load(ui)
    if X == 3:
        m = m + load(gi + row) * load(uj + row) + load(gj + row) * load(ui + row)
        m = m + load(gi + 2 * row) * load(uj + 2 * row) + load(gj + 2 * row) * load(ui + 2 * row)
    return m


@Kernel
def _cfconv_dot(data):
    """pairs; taps, X, d; i, j, node, B, T, g, u [N, X, d], out [P]: out_p = w · Σ_x (g_i ∘ u_j +
    g_j ∘ u_i)"""
    h = _block(data)
    P = h[1]
    taps = h[2]
    X = h[3]
    row = 4 * h[4]
    i = ints(h[5], P)
    j = ints(h[6], P)
    node = ints(h[7], P)
    B = floats(h[8], P, taps)
    T = h[9]
    g = h[10]
    u = h[11]
    out = floats(h[12], P, 1)
    while True:
        first = draw(data, _PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + _PAIRS, P)):
            b = _weights(B, p)
            at = T + node[p] * row
            ai = i[p] * X * row
            aj = j[p] * X * row
            s = fill(np.float32(0.0))
            for c in range(0, row, 32):
                m = _product(g + ai + c, g + aj + c, u + ai + c, u + aj + c, row, X)
                s = s + m * _filter(at + c, row, taps, b)
            out[p, 0] = total(s)


@Kernel
def _cfconv_table(data):
    """rows; P, taps, X, d; i, j, begin, order, B, g, u [N, X, d], out [K, d]: the derivative by
    T"""
    h = _block(data)
    K = h[1]
    P = h[2]
    taps = h[3]
    X = h[4]
    row = 4 * h[5]
    i = ints(h[6], P)
    j = ints(h[7], P)
    begin = ints(h[8], K + 1)
    order = ints(h[9], P)
    B = floats(h[10], P, taps)
    g = h[11]
    u = h[12]
    out = h[13]
    while True:
        first = draw(data, _ROWS)
        if first >= K:
            break
        last = min(first + _ROWS, K)
        _zero(out + first * row, (last - first) * row)
        for q in range(max(first - taps + 1, 0), last):
            to = out + q * row
            low = max(first - q, 0)
            high = min(last - q, taps)
            for k in range(begin[q], begin[q + 1]):
                p = order[k]
                b = _weights(B, p)
                ai = i[p] * X * row
                aj = j[p] * X * row
                for c in range(0, row, 32):
                    m = _product(g + ai + c, g + aj + c, u + ai + c, u + aj + c, row, X)
                    _spread(to + c, row, taps, low, high, b, m)


# ------------------------------------------------------------------------- attention: Σ Σ_heads
# A_ab (q_a · k_b ∘ w)


@Kernel
def _logits(data):
    """pairs; taps, heads, d; i, j, node, B, T, q, k [N, d], out [2P, heads]: out_ab = Σ_head q_a ∘
    k_b ∘ w"""
    h = _block(data)
    P = h[1]
    taps = h[2]
    heads = h[3]
    row = 4 * h[4]
    i = ints(h[5], P)
    j = ints(h[6], P)
    node = ints(h[7], P)
    B = floats(h[8], P, taps)
    T = h[9]
    q = h[10]
    k = h[11]
    out = floats(h[12], 2 * P, heads)
    width = row // heads
    while True:
        first = draw(data, _PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + _PAIRS, P)):
            b = _weights(B, p)
            at = T + node[p] * row
            ai = i[p] * row
            aj = j[p] * row
            for head in range(heads):
                there = fill(np.float32(0.0))
                back = fill(np.float32(0.0))
                for c in range(head * width, (head + 1) * width, 32):
                    w = _filter(at + c, row, taps, b)
                    there = there + w * (load(q + ai + c) * load(k + aj + c))
                    back = back + w * (load(q + aj + c) * load(k + ai + c))
                out[p, head], out[P + p, head] = total(there), total(back)


@Kernel
def _attention_sum(data):
    """atoms; P, taps, heads, d, flip; start, other, edge, node, B, T, A [2P, heads], k [N, d], out
    [N, d]: out_a = Σ_b A_ab w ∘ k_b, with flip = 1 out_b = Σ_a A_ab w ∘ k_a"""
    h = _block(data)
    n = h[1]
    P = h[2]
    taps = h[3]
    heads = h[4]
    row = 4 * h[5]
    flip = h[6]
    start = ints(h[7], n + 1)
    other = ints(h[8], 2 * P)
    edge = ints(h[9], 2 * P)
    node = ints(h[10], P)
    B = floats(h[11], P, taps)
    T = h[12]
    A = floats(h[13], 2 * P, heads)
    k = h[14]
    out = h[15]
    width = row // heads
    while True:
        first = draw(data, _ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + _ATOMS, n)):
            to = out + a * row
            _zero(to, row)
            for e in range(start[a], start[a + 1]):
                way = 0 if edge[e] < P else P
                p = edge[e] - way
                by = edge[e] if flip == 0 else p + P - way
                b = _weights(B, p)
                at = T + node[p] * row
                of = k + other[e] * row
                for head in range(heads):
                    weight = fill(A[by, head])
                    for c in range(head * width, (head + 1) * width, 32):
                        store(
                            to + c,
                            load(to + c) + weight * (_filter(at + c, row, taps, b) * load(of + c)),
                        )


@Kernel
def _attention_dot(data):
    """pairs; taps, heads, d; i, j, node, B, T, A [2P, heads], q, k [N, d], out [P]:
    out_p = Σ over both ways of A_ab q_a · k_b ∘ w"""
    h = _block(data)
    P = h[1]
    taps = h[2]
    heads = h[3]
    row = 4 * h[4]
    i = ints(h[5], P)
    j = ints(h[6], P)
    node = ints(h[7], P)
    B = floats(h[8], P, taps)
    T = h[9]
    A = floats(h[10], 2 * P, heads)
    q = h[11]
    k = h[12]
    out = floats(h[13], P, 1)
    width = row // heads
    while True:
        first = draw(data, _PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + _PAIRS, P)):
            b = _weights(B, p)
            at = T + node[p] * row
            ai = i[p] * row
            aj = j[p] * row
            s = fill(np.float32(0.0))
            for head in range(heads):
                there = fill(A[p, head])
                back = fill(A[P + p, head])
                for c in range(head * width, (head + 1) * width, 32):
                    m = there * (load(q + ai + c) * load(k + aj + c)) + back * (
                        load(q + aj + c) * load(k + ai + c)
                    )
                    s = s + m * _filter(at + c, row, taps, b)
            out[p, 0] = total(s)


@Kernel
def _attention_table(data):
    """rows; P, taps, heads, d; i, j, begin, order, B, A [2P, heads], q, k [N, d], out [K, d]: the
    derivative by T"""
    h = _block(data)
    K = h[1]
    P = h[2]
    taps = h[3]
    heads = h[4]
    row = 4 * h[5]
    i = ints(h[6], P)
    j = ints(h[7], P)
    begin = ints(h[8], K + 1)
    order = ints(h[9], P)
    B = floats(h[10], P, taps)
    A = floats(h[11], 2 * P, heads)
    q = h[12]
    k = h[13]
    out = h[14]
    width = row // heads
    while True:
        first = draw(data, _ROWS)
        if first >= K:
            break
        last = min(first + _ROWS, K)
        _zero(out + first * row, (last - first) * row)
        for at in range(max(first - taps + 1, 0), last):
            to = out + at * row
            low = max(first - at, 0)
            high = min(last - at, taps)
            for e in range(begin[at], begin[at + 1]):
                p = order[e]
                b = _weights(B, p)
                ai = i[p] * row
                aj = j[p] * row
                for head in range(heads):
                    there = fill(A[p, head])
                    back = fill(A[P + p, head])
                    for c in range(head * width, (head + 1) * width, 32):
                        m = there * (load(q + ai + c) * load(k + aj + c))
                        m = m + back * (load(q + aj + c) * load(k + ai + c))
                        _spread(to + c, row, taps, low, high, b, m)


# ----------------------------------------------------------------------------- point: Σ Σ_xyz r_ab
# · g_a ∘ w ∘ s_b


@Kernel
def _vectors_vectors(data):
    """atoms; P, taps, d; start, other, edge, node, B, T, r [P, 3], s [N, d], out [N, 3, d]: out_a =
    Σ_b r_ab w ∘ s_b"""
    h = _block(data)
    n = h[1]
    P = h[2]
    taps = h[3]
    row = 4 * h[4]
    start = ints(h[5], n + 1)
    other = ints(h[6], 2 * P)
    edge = ints(h[7], 2 * P)
    node = ints(h[8], P)
    B = floats(h[9], P, taps)
    T = h[10]
    r = floats(h[11], P, 3)
    s = h[12]
    out = h[13]
    while True:
        first = draw(data, _ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + _ATOMS, n)):
            x = out + 3 * a * row
            y = x + row
            z = x + 2 * row
            _zero(x, 3 * row)
            for e in range(start[a], start[a + 1]):
                p = edge[e] if edge[e] < P else edge[e] - P
                sign = np.float32(1.0) if edge[e] < P else np.float32(-1.0)
                rx = fill(sign * r[p, 0])
                ry = fill(sign * r[p, 1])
                rz = fill(sign * r[p, 2])
                b = _weights(B, p)
                at = T + node[p] * row
                of = s + other[e] * row
                for c in range(0, row, 32):
                    m = _filter(at + c, row, taps, b) * load(of + c)
                    store(x + c, load(x + c) + rx * m)
                    store(y + c, load(y + c) + ry * m)
                    store(z + c, load(z + c) + rz * m)


@Kernel
def _vectors_scalars(data):
    """atoms; P, taps, d; start, other, edge, node, B, T, r [P, 3], g [N, 3, d], out [N, d]:
    out_b = Σ_a w ∘ (r_ab · g_a)"""
    h = _block(data)
    n = h[1]
    P = h[2]
    taps = h[3]
    row = 4 * h[4]
    start = ints(h[5], n + 1)
    other = ints(h[6], 2 * P)
    edge = ints(h[7], 2 * P)
    node = ints(h[8], P)
    B = floats(h[9], P, taps)
    T = h[10]
    r = floats(h[11], P, 3)
    g = h[12]
    out = h[13]
    while True:
        first = draw(data, _ATOMS)
        if first >= n:
            break
        for a in range(first, min(first + _ATOMS, n)):
            to = out + a * row
            _zero(to, row)
            for e in range(start[a], start[a + 1]):
                p = edge[e] if edge[e] < P else edge[e] - P
                sign = (
                    np.float32(-1.0) if edge[e] < P else np.float32(1.0)
                )  # r_ab: this is the edge b ← a, seen from b
                rx = fill(sign * r[p, 0])
                ry = fill(sign * r[p, 1])
                rz = fill(sign * r[p, 2])
                b = _weights(B, p)
                at = T + node[p] * row
                x = g + 3 * other[e] * row
                for c in range(0, row, 32):
                    m = rx * load(x + c) + ry * load(x + row + c) + rz * load(x + 2 * row + c)
                    store(to + c, load(to + c) + m * _filter(at + c, row, taps, b))


@Kernel
def _vectors_pairs(data):
    """pairs; taps, d; i, j, node, B, T, g [N, 3, d], s [N, d], out [P, 3]: out_p = Σ_c w ∘ (g_i ∘
    s_j − g_j ∘ s_i)"""
    h = _block(data)
    P = h[1]
    taps = h[2]
    row = 4 * h[3]
    i = ints(h[4], P)
    j = ints(h[5], P)
    node = ints(h[6], P)
    B = floats(h[7], P, taps)
    T = h[8]
    g = h[9]
    s = h[10]
    out = floats(h[11], P, 3)
    zero = fill(np.float32(0.0))
    while True:
        first = draw(data, _PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + _PAIRS, P)):
            b = _weights(B, p)
            at = T + node[p] * row
            si = s + i[p] * row
            sj = s + j[p] * row
            gi = g + 3 * i[p] * row
            gj = g + 3 * j[p] * row
            x = zero
            y = zero
            z = zero
            for c in range(0, row, 32):
                w = _filter(at + c, row, taps, b)
                wi = w * load(si + c)
                wj = w * load(sj + c)
                x = x + load(gi + c) * wj - load(gj + c) * wi
                y = y + load(gi + row + c) * wj - load(gj + row + c) * wi
                z = z + load(gi + 2 * row + c) * wj - load(gj + 2 * row + c) * wi
            out[p, 0], out[p, 1], out[p, 2] = total(x), total(y), total(z)


@njit(inline="always")
def _along(rx, ry, rz, gi, gj, si, sj, row):
    """Eight features of (r · g_i) ∘ s_j − (r · g_j) ∘ s_i."""
    i = rx * load(gi) + ry * load(gi + row) + rz * load(gi + 2 * row)
    j = rx * load(gj) + ry * load(gj + row) + rz * load(gj + 2 * row)
    return i * load(sj) - j * load(si)


@Kernel
def _vectors_dot(data):
    """pairs; taps, d; i, j, node, B, T, r, g, s, out [P]: out_p = w · ((r · g_i) ∘ s_j − (r · g_j)
    ∘ s_i)"""
    h = _block(data)
    P = h[1]
    taps = h[2]
    row = 4 * h[3]
    i = ints(h[4], P)
    j = ints(h[5], P)
    node = ints(h[6], P)
    B = floats(h[7], P, taps)
    T = h[8]
    r = floats(h[9], P, 3)
    g = h[10]
    s = h[11]
    out = floats(h[12], P, 1)
    while True:
        first = draw(data, _PAIRS)
        if first >= P:
            break
        for p in range(first, min(first + _PAIRS, P)):
            b = _weights(B, p)
            at = T + node[p] * row
            si = s + i[p] * row
            sj = s + j[p] * row
            gi = g + 3 * i[p] * row
            gj = g + 3 * j[p] * row
            rx = fill(r[p, 0])
            ry = fill(r[p, 1])
            rz = fill(r[p, 2])
            m = fill(np.float32(0.0))
            for c in range(0, row, 32):
                m = m + _filter(at + c, row, taps, b) * _along(
                    rx, ry, rz, gi + c, gj + c, si + c, sj + c, row
                )
            out[p, 0] = total(m)


@Kernel
def _vectors_table(data):
    """rows; P, taps, d; i, j, begin, order, B, r, g, s, out [K, d]: the derivative by T"""
    h = _block(data)
    K = h[1]
    P = h[2]
    taps = h[3]
    row = 4 * h[4]
    i = ints(h[5], P)
    j = ints(h[6], P)
    begin = ints(h[7], K + 1)
    order = ints(h[8], P)
    B = floats(h[9], P, taps)
    r = floats(h[10], P, 3)
    g = h[11]
    s = h[12]
    out = h[13]
    while True:
        first = draw(data, _ROWS)
        if first >= K:
            break
        last = min(first + _ROWS, K)
        _zero(out + first * row, (last - first) * row)
        for q in range(max(first - taps + 1, 0), last):
            to = out + q * row
            low = max(first - q, 0)
            high = min(last - q, taps)
            for k in range(begin[q], begin[q + 1]):
                p = order[k]
                b = _weights(B, p)
                si = s + i[p] * row
                sj = s + j[p] * row
                gi = g + 3 * i[p] * row
                gj = g + 3 * j[p] * row
                rx = fill(r[p, 0])
                ry = fill(r[p, 1])
                rz = fill(r[p, 2])
                for c in range(0, row, 32):
                    m = _along(rx, ry, rz, gi + c, gj + c, si + c, sj + c, row)
                    _spread(to + c, row, taps, low, high, b, m)


# --------------------------------------------------------------------------------------------------
# lists of edges


@Kernel
def _sort(data):
    """1; P, K; key [P], begin [K + 1], order [P]: the stable order that sorts keys 0 … K - 1, and
    where each begins"""
    h = _block(data)
    P = h[2]
    K = h[3]
    key = ints(h[4], P)
    begin = ints(h[5], K + 1)
    order = ints(h[6], P)
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


# ---------------------------------------------------------------------- what neighbor_sums.py
# calls: derivatives of the forms


def sort_pairs(key: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """begin [n + 1], order [P]: the pairs with key k are order[begin[k] : begin[k + 1]], in their
    old order."""
    begin = key.new_empty(n + 1)
    order = torch.empty_like(key)
    _sort(1, len(key), n, key, begin, order)
    return begin, order


class _Read:
    """How the pairs read a table at a place: sizes and lists in the kernels' order, and outputs of
    the right shape."""

    def __init__(self, edges, place, order, c, f):
        edges.walk  # noqa: B018 - checks the pairs, before a kernel reads by them
        if order not in place.kept:
            place.kept[order] = place.weights(order).detach().contiguous()
        B = place.kept[order]
        self.B = B if c is None else B * c.unsqueeze(-1)
        self.without_c = B
        self.edges = edges
        self.place = place
        self.taps = B.shape[1]
        self.K = edges.p if self.taps == 1 else place.cells + self.taps - 1
        self.f = None if f is None else f.contiguous()

    @property
    def by_atom(self):
        start, other, edge = self.edges.walk
        return start, other, edge, self.place.node, self.B, self.f

    @property
    def by_pair(self):
        return self.edges.i, self.edges.j, self.place.node, self.B, self.f

    @property
    def by_c(self):
        return self.edges.i, self.edges.j, self.place.node, self.without_c, self.f

    @property
    def by_row(self):
        kept = self.place.kept
        if "rows" not in kept:
            node = self.place.node
            kept["rows"] = (
                (torch.arange(len(node) + 1, device="cpu"), node)
                if self.taps == 1
                else sort_pairs(node, self.K)
            )
        return self.edges.i, self.edges.j, *kept["rows"], self.B


def _solid(*tensors):
    return [None if x is None else x.contiguous() for x in tensors]


def cfconv(wanted, edges, place, order, c, f, g, u):
    """Derivatives of Σ_{a←b} c w ∘ (g_a · u_b) by arguments number `wanted` of c [P], f [K, d], g,
    u [N, (3,) d]."""
    g, u = _solid(g, u)
    like = u if g is None else g
    read = _Read(edges, place, order, c, f)
    N = edges.n
    P = edges.p
    d = like.shape[-1]
    X = like[:1].numel() // d
    K = read.K
    taps = read.taps
    out = []
    for k in wanted:
        if k == 0:
            out.append(like.new_empty(P))
            _cfconv_dot(P, taps, X, d, *read.by_c, g, u, out[-1])
        elif k == 1:
            out.append(like.new_empty(K, d))
            _cfconv_table(K, P, taps, X, d, *read.by_row, g, u, out[-1])
        else:
            out.append(torch.empty_like(like))
            _cfconv_sum(N, P, taps, X, d, *read.by_atom, u if k == 2 else g, out[-1])
    return tuple(out)


def attention(wanted, edges, place, order, c, f, A, q, k):
    """Derivatives of Σ_{a←b} Σ_heads c A_ab (q_a · k_b ∘ w) by c [P], f [K, d], A [2, P, heads], q,
    k [N, d]."""
    A, q, k = _solid(A, q, k)
    like = k if q is None else q
    read = _Read(edges, place, order, c, f)
    N = edges.n
    P = edges.p
    heads = edges.num_heads
    d = like.shape[1]
    K = read.K
    taps = read.taps
    out = []
    for m in wanted:
        if m == 0:
            out.append(like.new_empty(P))
            _attention_dot(P, taps, heads, d, *read.by_c, A, q, k, out[-1])
        elif m == 1:
            out.append(like.new_empty(K, d))
            _attention_table(K, P, taps, heads, d, *read.by_row, A, q, k, out[-1])
        elif m == 2:
            out.append(like.new_empty(2, P, heads))
            _logits(P, taps, heads, d, *read.by_pair, q, k, out[-1])
        else:
            out.append(torch.empty_like(like))
            of, flip = (k, 0) if m == 3 else (q, 1)
            _attention_sum(N, P, taps, heads, d, flip, *read.by_atom, A, of, out[-1])
    return tuple(out)


def vector_messages(wanted, edges, place, order, c, f, r, g, s):
    """Derivatives of Σ_{a←b} Σ_xyz c r_ab · g_a ∘ w ∘ s_b by c [P], f [K, d], r [P, 3], g [N, 3,
    d], s [N, d]."""
    r, g, s = _solid(r, g, s)
    read = _Read(edges, place, order, c, f)
    N = edges.n
    P = edges.p
    d = (g if s is None else s).shape[-1]
    K = read.K
    taps = read.taps
    out = []
    new = read.B.new_empty
    for m in wanted:
        if m == 0:
            out.append(new(P))
            _vectors_dot(P, taps, d, *read.by_c, r, g, s, out[-1])
        elif m == 1:
            out.append(new(K, d))
            _vectors_table(K, P, taps, d, *read.by_row, r, g, s, out[-1])
        elif m == 2:
            out.append(new(P, 3))
            _vectors_pairs(P, taps, d, *read.by_pair, g, s, out[-1])
        elif m == 3:
            out.append(new(N, 3, d))
            _vectors_vectors(N, P, taps, d, *read.by_atom, r, s, out[-1])
        else:
            out.append(new(N, d))
            _vectors_scalars(N, P, taps, d, *read.by_atom, r, g, out[-1])
    return tuple(out)

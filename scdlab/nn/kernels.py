"""Fused kernels for sums over neighbors on a processor (numba): messages are summed as they are formed.

A layer on [edges, d] tensors is bound by memory: each operation reads and writes one, and a multiplication is over
before its numbers have arrived. Here one loop goes over the edges of an atom, forms what each neighbor says in
registers, and adds it up. Nothing of the size [edges, d] is ever written.

A pair's filter w_p [d] is a weighted sum of `taps` consecutive rows of a table T [K, d],

    w_p = Σ_t B_pt T_{node_p + t},

a spline over distance (four taps), or, with B = 1 and node_p = p, row p itself (one tap). Directed edges are numbered
so that edge p < P is i ← j (i hears j) and edge P + p is j ← i. `start`, `other`, `edge` list for every atom whom it
hears, and by which edge. `begin`, `order` list the pairs that start at each row of T.

Every kernel is a function of one address: a block of integers that holds a counter, the number of items, and then
sizes and addresses of arrays in the kernel's order. Threads draw runs of items from the counter until none are left,
so each result is written by one thread, in one order: answers do not depend on the number of threads. Float32, int64.
They are compiled when first called, a second each, and kept on disk; importing this file compiles nothing. `forms.py`
has the same sums in plain torch.
"""

import ctypes
import os
import threading

import numpy as np
import torch
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

_FLAGS = dict(nopython=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@intrinsic
def _draw(typing, data, size):
    """Take `size` items from the counter that `data` points at: the first of them. Atomic."""

    def code(context, builder, signature, args):
        counter = builder.bitcast(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", counter, args[1], "monotonic")

    return types.int64(types.voidptr, types.int64), code


@intrinsic
def _pointer(typing, address):
    def code(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), code


@njit(inline="always")
def _block(data):
    return carray(data, (32,), np.int64)


@njit(inline="always")
def _ints(address, n):
    return carray(_pointer(address), (n,), np.int64)


@njit(inline="always")
def _floats(address, n, d):
    return carray(_pointer(address), (n, d), np.float32)


@njit(inline="always")
def _vectors(address, n, x, d):
    return carray(_pointer(address), (n, x, d), np.float32)


class Kernel:
    """A kernel, compiled when first called: kernel(items, *sizes and tensors) runs it on torch's threads."""

    def __init__(self, body):
        self.body, self.compiled = body, None
        self.__doc__ = body.__doc__

    def __call__(self, items: int, *args) -> None:
        if self.compiled is None:
            self.compiled = cfunc(types.void(types.voidptr), **_FLAGS)(self.body)
        block = np.array([0, items, *(a if isinstance(a, int) else a.data_ptr() for a in args)], dtype=np.int64)
        _on_threads(self.compiled, block.ctypes.data, torch.get_num_threads())


def _on_threads(compiled, data: int, n: int) -> None:
    """Run compiled(data) on n threads at once and wait.

    On torch's own thread team where it is to be had (its OpenMP library runs any C function): a second team would find
    the processors taken by the first, which spins for a while after each operation, waiting for the next.
    """
    if n == 1:
        compiled.ctypes(data)
    elif _TEAM is not None:
        _TEAM(compiled.address, data, n, 0)
    else:
        others = [threading.Thread(target=compiled.ctypes, args=(data,)) for _ in range(n - 1)]
        for thread in others:
            thread.start()
        compiled.ctypes(data)
        for thread in others:
            thread.join()


def _team():
    """GOMP_parallel of the OpenMP library that torch has loaded, or None."""
    for name in ("libgomp.so.1", "libiomp5.so"):
        try:
            call = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
        except (AttributeError, OSError):  # no such library here (other systems), or not loaded
            continue
        call.argtypes, call.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
        return call
    return None


_TEAM = _team()


@njit(inline="always")
def _filter(w, T, B, k, p):
    """w ← Σ_t B_pt T_{k+t}, one or four taps."""
    if B.shape[1] == 1:
        b = B[p, 0]
        for c in range(len(w)):
            w[c] = b * T[k, c]
    else:
        b0, b1, b2, b3 = B[p, 0], B[p, 1], B[p, 2], B[p, 3]
        t0, t1, t2, t3 = T[k], T[k + 1], T[k + 2], T[k + 3]
        for c in range(len(w)):
            w[c] = b0 * t0[c] + b1 * t1[c] + b2 * t2[c] + b3 * t3[c]


@njit(inline="always")
def _dot(x, y):
    s = np.float32(0.0)
    for c in range(len(x)):
        s += x[c] * y[c]
    return s


@njit(inline="always")
def _over_heads(wide, weight, width):
    """wide [d] ← weight [heads], each repeated `width` times. Compilers unroll the constant eight, not short loops."""
    if width % 8 == 0:
        for b in range(len(wide) // 8):
            x = weight[8 * b // width]
            for t in range(8):
                wide[8 * b + t] = x
    else:
        for c in range(len(wide)):
            wide[c] = weight[c // width]


@njit(inline="always")
def _head_sums(out, row, width):
    """out [heads] ← sums of row [d] over the `width` features of each head."""
    for head in range(len(out)):
        s = np.float32(0.0)
        if width % 8 == 0:
            for b in range(width // 8):
                first = head * width + 8 * b
                for t in range(8):
                    s += row[first + t]
        else:
            for c in range(head * width, (head + 1) * width):
                s += row[c]
        out[head] = s


@njit(inline="always")
def _spread(out, row, B, p, q, first, last):
    """out_{q+t} += B_pt row, for those rows of the table that this thread owns."""
    for t in range(B.shape[1]):
        if first <= q + t < last:
            b, to = B[p, t], out[q + t]
            for c in range(len(row)):
                to[c] += b * row[c]


# -------------------------------------------------------------------------------------------- carry: Σ w · (g_a · u_b)


@Kernel
def _carry_sum(data):
    """atoms; P, K, taps, X, d; start, other, edge, node, B, T, u [N, X, d], out [N, X, d]: out_a = Σ_b w ∘ u_b"""
    h = _block(data)
    n, P, K, taps, X, d = h[1], h[2], h[3], h[4], h[5], h[6]
    start, other, edge, node = _ints(h[7], n + 1), _ints(h[8], 2 * P), _ints(h[9], 2 * P), _ints(h[10], P)
    B, T, u, out = _floats(h[11], P, taps), _floats(h[12], K, d), _vectors(h[13], n, X, d), _vectors(h[14], n, X, d)
    w = np.empty(d, np.float32)
    while True:
        first = _draw(data, 16)
        if first >= n:
            break
        for a in range(first, min(first + 16, n)):
            out[a] = 0
            for e in range(start[a], start[a + 1]):
                p = edge[e] if edge[e] < P else edge[e] - P
                _filter(w, T, B, node[p], p)
                for x in range(X):
                    to, of = out[a, x], u[other[e], x]
                    for c in range(d):
                        to[c] += w[c] * of[c]


@Kernel
def _carry_dot(data):
    """pairs; N, K, taps, X, d; i, j, node, B, T, g, u [N, X, d], out [P]: out_p = w · Σ_x (g_i ∘ u_j + g_j ∘ u_i)"""
    h = _block(data)
    P, n, K, taps, X, d = h[1], h[2], h[3], h[4], h[5], h[6]
    i, j, node = _ints(h[7], P), _ints(h[8], P), _ints(h[9], P)
    B, T, g, u, out = (
        _floats(h[10], P, taps),
        _floats(h[11], K, d),
        _vectors(h[12], n, X, d),
        _vectors(h[13], n, X, d),
        _floats(h[14], P, 1),
    )
    w = np.empty(d, np.float32)
    while True:
        first = _draw(data, 64)
        if first >= P:
            break
        for p in range(first, min(first + 64, P)):
            _filter(w, T, B, node[p], p)
            s = np.float32(0.0)
            for x in range(X):
                gi, gj, ui, uj = g[i[p], x], g[j[p], x], u[i[p], x], u[j[p], x]
                for c in range(d):
                    s += w[c] * (gi[c] * uj[c] + gj[c] * ui[c])
            out[p, 0] = s


@Kernel
def _carry_table(data):
    """rows; N, P, taps, X, d; i, j, begin, order, B, g, u [N, X, d], out [K, d]: the derivative by T"""
    h = _block(data)
    K, n, P, taps, X, d = h[1], h[2], h[3], h[4], h[5], h[6]
    i, j, begin, order = _ints(h[7], P), _ints(h[8], P), _ints(h[9], K + 1), _ints(h[10], P)
    B, g, u, out = _floats(h[11], P, taps), _vectors(h[12], n, X, d), _vectors(h[13], n, X, d), _floats(h[14], K, d)
    row = np.empty(d, np.float32)
    while True:
        first = _draw(data, 32)
        if first >= K:
            break
        last = min(first + 32, K)
        out[first:last] = 0
        for q in range(max(first - taps + 1, 0), last):
            for at in range(begin[q], begin[q + 1]):
                p = order[at]
                for x in range(X):
                    gi, gj, ui, uj = g[i[p], x], g[j[p], x], u[i[p], x], u[j[p], x]
                    if x == 0:
                        for c in range(d):
                            row[c] = gi[c] * uj[c] + gj[c] * ui[c]
                    else:
                        for c in range(d):
                            row[c] += gi[c] * uj[c] + gj[c] * ui[c]
                _spread(out, row, B, p, q, first, last)


# --------------------------------------------------------------------------- attention: Σ Σ_heads A_ab (q_a · k_b ∘ w)


@Kernel
def _logits(data):
    """pairs; N, K, taps, heads, d; i, j, node, B, T, q, k [N, d], out [2P, heads]: out_ab = Σ_head q_a ∘ k_b ∘ w"""
    h = _block(data)
    P, n, K, taps, heads, d = h[1], h[2], h[3], h[4], h[5], h[6]
    i, j, node = _ints(h[7], P), _ints(h[8], P), _ints(h[9], P)
    B, T, q, k, out = (
        _floats(h[10], P, taps),
        _floats(h[11], K, d),
        _floats(h[12], n, d),
        _floats(h[13], n, d),
        _floats(h[14], 2 * P, heads),
    )
    w, there, back, width = np.empty(d, np.float32), np.empty(d, np.float32), np.empty(d, np.float32), d // heads
    while True:
        first = _draw(data, 64)
        if first >= P:
            break
        for p in range(first, min(first + 64, P)):
            _filter(w, T, B, node[p], p)
            qi, qj, ki, kj = q[i[p]], q[j[p]], k[i[p]], k[j[p]]
            for c in range(d):
                there[c] = w[c] * (qi[c] * kj[c])
                back[c] = w[c] * (qj[c] * ki[c])
            _head_sums(out[p], there, width)
            _head_sums(out[P + p], back, width)


@Kernel
def _attention_sum(data):
    """atoms; P, K, taps, heads, d, flip; start, other, edge, node, B, T, A [2P, heads], k [N, d], out [N, d]:
    out_a = Σ_b A_ab w ∘ k_b, with flip = 1 out_b = Σ_a A_ab w ∘ k_a"""
    h = _block(data)
    n, P, K, taps, heads, d, flip = h[1], h[2], h[3], h[4], h[5], h[6], h[7]
    start, other, edge, node = _ints(h[8], n + 1), _ints(h[9], 2 * P), _ints(h[10], 2 * P), _ints(h[11], P)
    B, T, A, k, out = (
        _floats(h[12], P, taps),
        _floats(h[13], K, d),
        _floats(h[14], 2 * P, heads),
        _floats(h[15], n, d),
        _floats(h[16], n, d),
    )
    w, there, width = np.empty(d, np.float32), np.empty(d, np.float32), d // heads
    while True:
        first = _draw(data, 16)
        if first >= n:
            break
        for a in range(first, min(first + 16, n)):
            to = out[a]
            to[:] = 0
            for e in range(start[a], start[a + 1]):
                p = edge[e] if edge[e] < P else edge[e] - P
                weight = A[edge[e]] if flip == 0 else A[p if edge[e] >= P else p + P]
                of = k[other[e]]
                _filter(w, T, B, node[p], p)
                _over_heads(there, weight, width)
                for c in range(d):
                    to[c] += there[c] * (w[c] * of[c])


@Kernel
def _attention_dot(data):
    """pairs; N, K, taps, heads, d; i, j, node, B, T, A [2P, heads], q, k [N, d], out [P]:
    out_p = Σ over both ways of A_ab q_a · k_b ∘ w"""
    h = _block(data)
    P, n, K, taps, heads, d = h[1], h[2], h[3], h[4], h[5], h[6]
    i, j, node = _ints(h[7], P), _ints(h[8], P), _ints(h[9], P)
    B, T, A, q, k, out = (
        _floats(h[10], P, taps),
        _floats(h[11], K, d),
        _floats(h[12], 2 * P, heads),
        _floats(h[13], n, d),
        _floats(h[14], n, d),
        _floats(h[15], P, 1),
    )
    w, there, back, width = np.empty(d, np.float32), np.empty(d, np.float32), np.empty(d, np.float32), d // heads
    while True:
        first = _draw(data, 64)
        if first >= P:
            break
        for p in range(first, min(first + 64, P)):
            _filter(w, T, B, node[p], p)
            qi, qj, ki, kj = q[i[p]], q[j[p]], k[i[p]], k[j[p]]
            _over_heads(there, A[p], width)
            _over_heads(back, A[P + p], width)
            s = np.float32(0.0)
            for c in range(d):
                s += w[c] * (there[c] * (qi[c] * kj[c]) + back[c] * (qj[c] * ki[c]))
            out[p, 0] = s


@Kernel
def _attention_table(data):
    """rows; N, P, taps, heads, d; i, j, begin, order, B, A [2P, heads], q, k [N, d], out [K, d]: the derivative by T"""
    h = _block(data)
    K, n, P, taps, heads, d = h[1], h[2], h[3], h[4], h[5], h[6]
    i, j, begin, order = _ints(h[7], P), _ints(h[8], P), _ints(h[9], K + 1), _ints(h[10], P)
    B, A, q, k, out = (
        _floats(h[11], P, taps),
        _floats(h[12], 2 * P, heads),
        _floats(h[13], n, d),
        _floats(h[14], n, d),
        _floats(h[15], K, d),
    )
    row, there, back, width = np.empty(d, np.float32), np.empty(d, np.float32), np.empty(d, np.float32), d // heads
    while True:
        first = _draw(data, 32)
        if first >= K:
            break
        last = min(first + 32, K)
        out[first:last] = 0
        for at_row in range(max(first - taps + 1, 0), last):
            for at in range(begin[at_row], begin[at_row + 1]):
                p = order[at]
                qi, qj, ki, kj = q[i[p]], q[j[p]], k[i[p]], k[j[p]]
                _over_heads(there, A[p], width)
                _over_heads(back, A[P + p], width)
                for c in range(d):
                    row[c] = there[c] * (qi[c] * kj[c]) + back[c] * (qj[c] * ki[c])
                _spread(out, row, B, p, at_row, first, last)


# --------------------------------------------------------------------------------- point: Σ Σ_xyz r_ab · g_a ∘ w ∘ s_b


@Kernel
def _point_vectors(data):
    """atoms; P, K, taps, d; start, other, edge, node, B, T, r [P, 3], s [N, d], out [N, 3, d]:
    out_a = Σ_b r_ab w ∘ s_b"""
    h = _block(data)
    n, P, K, taps, d = h[1], h[2], h[3], h[4], h[5]
    start, other, edge, node = _ints(h[6], n + 1), _ints(h[7], 2 * P), _ints(h[8], 2 * P), _ints(h[9], P)
    B, T, r, s, out = (
        _floats(h[10], P, taps),
        _floats(h[11], K, d),
        _floats(h[12], P, 3),
        _floats(h[13], n, d),
        _vectors(h[14], n, 3, d),
    )
    w = np.empty(d, np.float32)
    while True:
        first = _draw(data, 16)
        if first >= n:
            break
        for a in range(first, min(first + 16, n)):
            out[a] = 0
            x, y, z = out[a, 0], out[a, 1], out[a, 2]
            for e in range(start[a], start[a + 1]):
                p = edge[e] if edge[e] < P else edge[e] - P
                sign = np.float32(1.0) if edge[e] < P else np.float32(-1.0)
                _filter(w, T, B, node[p], p)
                of, rx, ry, rz = s[other[e]], sign * r[p, 0], sign * r[p, 1], sign * r[p, 2]
                for c in range(d):
                    m = w[c] * of[c]
                    x[c] += rx * m
                    y[c] += ry * m
                    z[c] += rz * m


@Kernel
def _point_scalars(data):
    """atoms; P, K, taps, d; start, other, edge, node, B, T, r [P, 3], g [N, 3, d], out [N, d]:
    out_b = Σ_a w ∘ (r_ab · g_a)"""
    h = _block(data)
    n, P, K, taps, d = h[1], h[2], h[3], h[4], h[5]
    start, other, edge, node = _ints(h[6], n + 1), _ints(h[7], 2 * P), _ints(h[8], 2 * P), _ints(h[9], P)
    B, T, r, g, out = (
        _floats(h[10], P, taps),
        _floats(h[11], K, d),
        _floats(h[12], P, 3),
        _vectors(h[13], n, 3, d),
        _floats(h[14], n, d),
    )
    w = np.empty(d, np.float32)
    while True:
        first = _draw(data, 16)
        if first >= n:
            break
        for b in range(first, min(first + 16, n)):
            to = out[b]
            to[:] = 0
            for e in range(start[b], start[b + 1]):
                p = edge[e] if edge[e] < P else edge[e] - P
                sign = np.float32(-1.0) if edge[e] < P else np.float32(1.0)  # r_ab, while this is the edge b ← a
                _filter(w, T, B, node[p], p)
                x, y, z = g[other[e], 0], g[other[e], 1], g[other[e], 2]
                rx, ry, rz = sign * r[p, 0], sign * r[p, 1], sign * r[p, 2]
                for c in range(d):
                    to[c] += w[c] * (rx * x[c] + ry * y[c] + rz * z[c])


@Kernel
def _point_pairs(data):
    """pairs; N, K, taps, d; i, j, node, B, T, g [N, 3, d], s [N, d], out [P, 3]:
    out_p = Σ_c w ∘ (g_i ∘ s_j − g_j ∘ s_i)"""
    h = _block(data)
    P, n, K, taps, d = h[1], h[2], h[3], h[4], h[5]
    i, j, node = _ints(h[6], P), _ints(h[7], P), _ints(h[8], P)
    B, T, g, s, out = (
        _floats(h[9], P, taps),
        _floats(h[10], K, d),
        _vectors(h[11], n, 3, d),
        _floats(h[12], n, d),
        _floats(h[13], P, 3),
    )
    w = np.empty(d, np.float32)
    while True:
        first = _draw(data, 64)
        if first >= P:
            break
        for p in range(first, min(first + 64, P)):
            _filter(w, T, B, node[p], p)
            si, sj = s[i[p]], s[j[p]]
            for x in range(3):
                gi, gj, total = g[i[p], x], g[j[p], x], np.float32(0.0)
                for c in range(d):
                    total += w[c] * (gi[c] * sj[c] - gj[c] * si[c])
                out[p, x] = total


@njit(inline="always")
def _along(row, r, g, s, i, j):
    """row ← (r · g_i) ∘ s_j − (r · g_j) ∘ s_i"""
    rx, ry, rz, si, sj = r[0], r[1], r[2], s[i], s[j]
    ix, iy, iz, jx, jy, jz = g[i, 0], g[i, 1], g[i, 2], g[j, 0], g[j, 1], g[j, 2]
    for c in range(len(row)):
        row[c] = (rx * ix[c] + ry * iy[c] + rz * iz[c]) * sj[c] - (rx * jx[c] + ry * jy[c] + rz * jz[c]) * si[c]


@Kernel
def _point_dot(data):
    """pairs; N, K, taps, d; i, j, node, B, T, r, g, s, out [P]: out_p = w · ((r · g_i) ∘ s_j − (r · g_j) ∘ s_i)"""
    h = _block(data)
    P, n, K, taps, d = h[1], h[2], h[3], h[4], h[5]
    i, j, node = _ints(h[6], P), _ints(h[7], P), _ints(h[8], P)
    B, T, r, g, s, out = (
        _floats(h[9], P, taps),
        _floats(h[10], K, d),
        _floats(h[11], P, 3),
        _vectors(h[12], n, 3, d),
        _floats(h[13], n, d),
        _floats(h[14], P, 1),
    )
    w, row = np.empty(d, np.float32), np.empty(d, np.float32)
    while True:
        first = _draw(data, 64)
        if first >= P:
            break
        for p in range(first, min(first + 64, P)):
            _filter(w, T, B, node[p], p)
            _along(row, r[p], g, s, i[p], j[p])
            out[p, 0] = _dot(w, row)


@Kernel
def _point_table(data):
    """rows; N, P, taps, d; i, j, begin, order, B, r, g, s, out [K, d]: the derivative by T"""
    h = _block(data)
    K, n, P, taps, d = h[1], h[2], h[3], h[4], h[5]
    i, j, begin, order = _ints(h[6], P), _ints(h[7], P), _ints(h[8], K + 1), _ints(h[9], P)
    B, r, g, s, out = (
        _floats(h[10], P, taps),
        _floats(h[11], P, 3),
        _vectors(h[12], n, 3, d),
        _floats(h[13], n, d),
        _floats(h[14], K, d),
    )
    row = np.empty(d, np.float32)
    while True:
        first = _draw(data, 32)
        if first >= K:
            break
        last = min(first + 32, K)
        out[first:last] = 0
        for q in range(max(first - taps + 1, 0), last):
            for at in range(begin[q], begin[q + 1]):
                p = order[at]
                _along(row, r[p], g, s, i[p], j[p])
                _spread(out, row, B, p, q, first, last)


# ------------------------------------------------------------------------------------------------------ lists of edges


@Kernel
def _sort(data):
    """1; P, K; key [P], begin [K + 1], order [P]: the stable order that sorts keys 0 … K - 1, and where each begins"""
    h = _block(data)
    P, K = h[2], h[3]
    key, begin, order = _ints(h[4], P), _ints(h[5], K + 1), _ints(h[6], P)
    if _draw(data, 1) == 0:
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


# ----------------------------------------------------------------------- what forms.py calls: derivatives of the forms


def sort_pairs(key: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """begin [n + 1], order [P]: the pairs with key k are order[begin[k] : begin[k + 1]], in their old order."""
    begin, order = key.new_empty(n + 1), torch.empty_like(key)
    _sort(1, len(key), n, key, begin, order)
    return begin, order


class _Read:
    """How the pairs read a table at a place: sizes and lists in the kernels' order, and outputs of the right shape."""

    def __init__(self, edges, place, order, c, f):
        if order not in place.kept:
            place.kept[order] = place.weights(order).detach().contiguous()
        B = place.kept[order]
        self.B, self.without_c = B if c is None else B * c.unsqueeze(-1), B
        self.edges, self.place = edges, place
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
            kept["rows"] = (torch.arange(len(node) + 1), node) if self.taps == 1 else sort_pairs(node, self.K)
        return self.edges.i, self.edges.j, *kept["rows"], self.B


def _solid(*tensors):
    return [None if x is None else x.contiguous() for x in tensors]


def carry(wanted, edges, place, order, c, f, g, u):
    """Derivatives of Σ_{a←b} c w ∘ (g_a · u_b) by arguments number `wanted` of c [P], f [K, d], g, u [N, (3,) d]."""
    g, u = _solid(g, u)
    like, read, N, P = u if g is None else g, _Read(edges, place, order, c, f), edges.n, edges.p
    d = like.shape[-1]
    X, K, taps = like[:1].numel() // d, read.K, read.taps
    out = []
    for k in wanted:
        if k == 0:
            out.append(like.new_empty(P))
            _carry_dot(P, N, K, taps, X, d, *read.by_c, g, u, out[-1])
        elif k == 1:
            out.append(like.new_empty(K, d))
            _carry_table(K, N, P, taps, X, d, *read.by_row, g, u, out[-1])
        else:
            out.append(torch.empty_like(like))
            _carry_sum(N, P, K, taps, X, d, *read.by_atom, u if k == 2 else g, out[-1])
    return tuple(out)


def attention(wanted, edges, place, order, c, f, A, q, k):
    """Derivatives of Σ_{a←b} Σ_heads c A_ab (q_a · k_b ∘ w) by c [P], f [K, d], A [2, P, heads], q, k [N, d]."""
    A, q, k = _solid(A, q, k)
    like, read, N, P, heads = k if q is None else q, _Read(edges, place, order, c, f), edges.n, edges.p, edges.heads
    d, K, taps = like.shape[1], read.K, read.taps
    out = []
    for m in wanted:
        if m == 0:
            out.append(like.new_empty(P))
            _attention_dot(P, N, K, taps, heads, d, *read.by_c, A, q, k, out[-1])
        elif m == 1:
            out.append(like.new_empty(K, d))
            _attention_table(K, N, P, taps, heads, d, *read.by_row, A, q, k, out[-1])
        elif m == 2:
            out.append(like.new_empty(2, P, heads))
            _logits(P, N, K, taps, heads, d, *read.by_pair, q, k, out[-1])
        else:
            out.append(torch.empty_like(like))
            of, flip = (k, 0) if m == 3 else (q, 1)
            _attention_sum(N, P, K, taps, heads, d, flip, *read.by_atom, A, of, out[-1])
    return tuple(out)


def point(wanted, edges, place, order, c, f, r, g, s):
    """Derivatives of Σ_{a←b} Σ_xyz c r_ab · g_a ∘ w ∘ s_b by c [P], f [K, d], r [P, 3], g [N, 3, d], s [N, d]."""
    r, g, s = _solid(r, g, s)
    read, N, P = _Read(edges, place, order, c, f), edges.n, edges.p
    d, K, taps = (g if s is None else s).shape[-1], read.K, read.taps
    out, new = [], read.B.new_empty
    for m in wanted:
        if m == 0:
            out.append(new(P))
            _point_dot(P, N, K, taps, d, *read.by_c, r, g, s, out[-1])
        elif m == 1:
            out.append(new(K, d))
            _point_table(K, N, P, taps, d, *read.by_row, r, g, s, out[-1])
        elif m == 2:
            out.append(new(P, 3))
            _point_pairs(P, N, K, taps, d, *read.by_pair, g, s, out[-1])
        elif m == 3:
            out.append(new(N, 3, d))
            _point_vectors(N, P, K, taps, d, *read.by_atom, r, s, out[-1])
        else:
            out.append(new(N, d))
            _point_scalars(N, P, K, taps, d, *read.by_atom, r, g, out[-1])
    return tuple(out)

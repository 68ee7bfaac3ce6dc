"""What atoms do by themselves in a layer of the equivariant transformer: loops of `transformer`.

Each is one pass over arrays of features, where numpy would make a dozen, for atoms from `low` to
`high`. `linear` holds for each atom q, k and the values of y, s¹ and s², [N, 5d]; `zero` the
layer's functions at distance zero, dk and dv of y, s¹ and s², [4d]; a g before a name is the
derivative of the energy by it. `mask` is one where there is a feature and zero where it is padded.
"""

import numpy as np

from scdlab.compiling import compiled
from scdlab.nn.ops.simd import fill, keep_apart, like, load_like, store, total, word

from .messages import add_to
from .shares import start_of


@compiled
def normalize(
    low: int,
    high: int,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    mask: np.ndarray,
    normed: np.ndarray,
    spread: np.ndarray,
    out: np.ndarray,
) -> None:
    """out = weight ∘ (x - mean) / spread + bias; normed [N, d] and spread [N] are written too."""
    keep_apart()
    one = x[0, 0]
    eight = 8 * word(one)
    row = x.shape[1] * word(one)
    of_mask = start_of(mask)
    d = mask.sum()
    for n in range(low, high):
        sums = fill(like(0.0, one))
        for c in range(0, row, eight):
            sums = sums + load_like(start_of(x) + n * row + c, one)
        mean = fill(total(sums) / d)
        squares = fill(like(0.0, one))
        for c in range(0, row, eight):
            away = (load_like(start_of(x) + n * row + c, one) - mean) * load_like(of_mask + c, one)
            store(start_of(normed) + n * row + c, away)
            squares = squares + away * away
        spread[n] = np.sqrt(total(squares) / d + like(1e-5, one))
        scale = fill(like(1.0, one) / spread[n])
        for c in range(0, row, eight):
            one_normed = load_like(start_of(normed) + n * row + c, one) * scale
            store(start_of(normed) + n * row + c, one_normed)
            times_weight = load_like(start_of(weight) + c, one) * one_normed
            store(start_of(out) + n * row + c, times_weight + load_like(start_of(bias) + c, one))


@compiled
def normalize_back(
    low: int,
    high: int,
    g: np.ndarray,
    weight: np.ndarray,
    mask: np.ndarray,
    normed: np.ndarray,
    spread: np.ndarray,
    gx: np.ndarray,
) -> None:
    """Adds to gx [N, d] the derivative by x, from g [N, d] by what `normalize` gives."""
    keep_apart()
    one = g[0, 0]
    eight = 8 * word(one)
    row = g.shape[1] * word(one)
    d = mask.sum()
    for n in range(low, high):
        sums = fill(like(0.0, one))
        alongs = fill(like(0.0, one))
        for c in range(0, row, eight):
            part = load_like(start_of(weight) + c, one) * load_like(start_of(g) + n * row + c, one)
            sums = sums + part
            alongs = alongs + part * load_like(start_of(normed) + n * row + c, one)
        mean = fill(total(sums) / d)
        along = fill(total(alongs) / d)
        scale = fill(like(1.0, one) / spread[n])
        for c in range(0, row, eight):
            part = load_like(start_of(weight) + c, one) * load_like(start_of(g) + n * row + c, one)
            part = part - mean - load_like(start_of(normed) + n * row + c, one) * along
            part = part * load_like(start_of(mask) + c, one)
            add_to(start_of(gx) + n * row + c, one, part * scale)


@compiled
def receive_own(
    low: int,
    high: int,
    linear: np.ndarray,
    zero: np.ndarray,
    v: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
    own_logits: np.ndarray,
    scaled: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
) -> None:
    """What each atom receives from itself: y [N, d] and w [N, 3, d], written.

    `own_logits` [N, heads] and `scaled` [N, 3, d], the vectors v times the values of s¹, are
    written.
    """
    keep_apart()
    one = linear[0, 0]
    eight = 8 * word(one)
    d = y.shape[1] * word(one)
    heads = own_logits.shape[1]
    width = d // heads
    at_zero = start_of(zero)
    for n in range(low, high):
        line = start_of(linear) + 5 * d * n
        for head in range(heads):
            logits = fill(like(0.0, one))
            for c in range(head * width, (head + 1) * width, eight):
                qk = load_like(line + c, one) * load_like(line + d + c, one)
                logits = logits + qk * load_like(at_zero + c, one)
            logit = total(logits)
            own_logits[n, head] = logit
            active = fill(logit / (like(1.0, one) + np.exp(-logit)))
            for c in range(head * width, (head + 1) * width, eight):
                value = load_like(line + 2 * d + c, one) * load_like(at_zero + d + c, one)
                store(start_of(y) + n * d + c, active * value)
        if not gives_vectors:
            continue
        for axis in range(3):
            at = (3 * n + axis) * d
            for c in range(0, d, eight):
                message = fill(like(0.0, one))
                if has_vectors:
                    s1 = load_like(line + 3 * d + c, one)
                    times_s1 = load_like(start_of(v) + at + c, one) * s1
                    store(start_of(scaled) + at + c, times_s1)
                    message = times_s1 * load_like(at_zero + 2 * d + c, one)
                store(start_of(w) + at + c, message)


@compiled
def receive_own_back(
    low: int,
    high: int,
    linear: np.ndarray,
    zero: np.ndarray,
    own_logits: np.ndarray,
    gy: np.ndarray,
    gw: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
    glinear: np.ndarray,
    gscaled: np.ndarray,
) -> None:
    """The derivatives of `receive_own`, from gy [N, d] and gw [N, 3, d]: `glinear` [N, 5d] and,
    where there are vectors and new ones, `gscaled` [N, 3, d], written."""
    keep_apart()
    one = linear[0, 0]
    eight = 8 * word(one)
    d = gy.shape[1] * word(one)
    heads = own_logits.shape[1]
    width = d // heads
    at_zero = start_of(zero)
    for n in range(low, high):
        line = start_of(linear) + 5 * d * n
        gline = start_of(glinear) + 5 * d * n
        for head in range(heads):
            logit = own_logits[n, head]
            sigmoid = like(1.0, one) / (like(1.0, one) + np.exp(-logit))
            g_actives = fill(like(0.0, one))
            active = fill(logit * sigmoid)
            for c in range(head * width, (head + 1) * width, eight):
                g = load_like(start_of(gy) + n * d + c, one) * load_like(at_zero + d + c, one)
                g_actives = g_actives + g * load_like(line + 2 * d + c, one)
                store(gline + 2 * d + c, active * g)
            slope = sigmoid * (like(1.0, one) + logit * (like(1.0, one) - sigmoid))
            g_logit = fill(total(g_actives) * slope)
            for c in range(head * width, (head + 1) * width, eight):
                dk = g_logit * load_like(at_zero + c, one)
                store(gline + c, dk * load_like(line + d + c, one))
                store(gline + d + c, dk * load_like(line + c, one))
        for c in range(3 * d, 5 * d, eight):
            store(gline + c, fill(like(0.0, one)))
        if not (has_vectors and gives_vectors):
            continue
        for axis in range(3):
            at = (3 * n + axis) * d
            for c in range(0, d, eight):
                dv = load_like(at_zero + 2 * d + c, one)
                store(start_of(gscaled) + at + c, load_like(start_of(gw) + at + c, one) * dv)


@compiled
def scale(low: int, high: int, linear: np.ndarray, v: np.ndarray, scaled: np.ndarray) -> None:
    """`scaled` [N, 3, d], the vectors times the values of s¹, once more."""
    keep_apart()
    d = v.shape[2]
    for n in range(low, high):
        for axis in range(3):
            for c in range(d):
                scaled[n, axis, c] = v[n, axis, c] * linear[n, 3 * d + c]


@compiled
def scale_back(
    low: int,
    high: int,
    linear: np.ndarray,
    v: np.ndarray,
    gscaled: np.ndarray,
    glinear: np.ndarray,
    gv: np.ndarray,
) -> None:
    """The derivatives of `scaled`: adds to `gv` [N, 3, d] and to those by the values of s¹."""
    keep_apart()
    one = v[0, 0, 0]
    eight = 8 * word(one)
    d = v.shape[2] * word(one)
    for n in range(low, high):
        line = (5 * n + 3) * d
        for axis in range(3):
            at = (3 * n + axis) * d
            for c in range(0, d, eight):
                g = load_like(start_of(gscaled) + at + c, one)
                value = load_like(start_of(linear) + line + c, one)
                add_to(start_of(gv) + at + c, one, g * value)
                vector = load_like(start_of(v) + at + c, one)
                add_to(start_of(glinear) + line + c, one, g * vector)


@compiled
def update(
    low: int,
    high: int,
    o: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
    x: np.ndarray,
    v_new: np.ndarray,
) -> None:
    """x += o³ + (u¹ · u²) ∘ o², and v_new = v + w + u³ ∘ o¹.

    o and u hold their three parts beside one another, [N, 3d] and [N, 3, 3d].
    """
    keep_apart()
    one = x[0, 0]
    eight = 8 * word(one)
    d = x.shape[1] * word(one)
    for n in range(low, high):
        of_o = start_of(o) + 3 * d * n
        for c in range(0, d, eight):
            o1 = load_like(of_o + c, one)
            inner = fill(like(0.0, one))
            for axis in range(3):
                of_u = start_of(u) + 3 * (3 * n + axis) * d + c
                at = (3 * n + axis) * d + c
                if has_vectors:
                    inner = inner + load_like(of_u, one) * load_like(of_u + d, one)
                if gives_vectors:
                    vector = load_like(start_of(w) + at, one)
                    if has_vectors:
                        vector = vector + load_like(start_of(v) + at, one)
                        vector = vector + load_like(of_u + 2 * d, one) * o1
                    store(start_of(v_new) + at, vector)
            more = load_like(of_o + 2 * d + c, one)
            if has_vectors:
                more = more + inner * load_like(of_o + d + c, one)
            add_to(start_of(x) + n * d + c, one, more)


@compiled
def update_back(
    low: int,
    high: int,
    gx: np.ndarray,
    gv: np.ndarray,
    o: np.ndarray,
    u: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
    go: np.ndarray,
    gu: np.ndarray,
) -> None:
    """The derivatives of `update`, from gx [N, d] and gv [N, 3, d]: go [N, 3d] and gu [N, 3, 3d],
    written; where no vectors are given, without the third part of gu."""
    keep_apart()
    one = gx[0, 0]
    eight = 8 * word(one)
    d = gx.shape[1] * word(one)
    for n in range(low, high):
        of_o = start_of(o) + 3 * d * n
        of_go = start_of(go) + 3 * d * n
        for c in range(0, d, eight):
            g = load_like(start_of(gx) + n * d + c, one)
            g1 = fill(like(0.0, one))
            inner = fill(like(0.0, one))
            if has_vectors:
                o1 = load_like(of_o + c, one)
                product = g * load_like(of_o + d + c, one)
                for axis in range(3):
                    of_u = 3 * (3 * n + axis) * d + c
                    u1 = load_like(start_of(u) + of_u, one)
                    u2 = load_like(start_of(u) + of_u + d, one)
                    inner = inner + u1 * u2
                    store(start_of(gu) + of_u, product * u2)
                    store(start_of(gu) + of_u + d, product * u1)
                    if gives_vectors:
                        vector = load_like(start_of(gv) + (3 * n + axis) * d + c, one)
                        g1 = g1 + vector * load_like(start_of(u) + of_u + 2 * d, one)
                        store(start_of(gu) + of_u + 2 * d, vector * o1)
            store(of_go + c, g1)
            store(of_go + d + c, g * inner)
            store(of_go + 2 * d + c, g)

"""What atoms do by themselves in a layer of the equivariant transformer: loops of `transformer`.

Each is one pass over arrays of features, where numpy would make a dozen. `linear` holds for each
atom q, k and the values of y, s¹ and s², [N, 5d]; `zero` the layer's functions at distance zero,
dk and dv of y, s¹ and s², [4d]; a g before a name is the derivative of the energy by it.
"""

import numpy as np

from .compiled import compiled


@compiled
def normalize(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    normed: np.ndarray,
    spread: np.ndarray,
    out: np.ndarray,
) -> None:
    """out = weight ∘ (x - mean) / spread + bias; normed [N, d] and spread [N] are written too."""
    d = x.shape[1]
    for n in range(len(x)):
        mean = x[n, 0] * 0
        for c in range(d):
            mean += x[n, c]
        mean /= d
        square = x[n, 0] * 0
        for c in range(d):
            away = x[n, c] - mean
            normed[n, c] = away
            square += away * away
        spread[n] = np.sqrt(square / d + 1e-5)
        scale = 1 / spread[n]
        for c in range(d):
            normed[n, c] *= scale
            out[n, c] = weight[c] * normed[n, c] + bias[c]


@compiled
def normalize_back(
    g: np.ndarray, weight: np.ndarray, normed: np.ndarray, spread: np.ndarray, gx: np.ndarray
) -> None:
    """Adds to gx [N, d] the derivative by x, from g [N, d] by what `normalize` gives."""
    d = g.shape[1]
    for n in range(len(g)):
        mean = g[n, 0] * 0
        along = g[n, 0] * 0
        for c in range(d):
            one = weight[c] * g[n, c]
            mean += one
            along += one * normed[n, c]
        mean /= d
        along /= d
        for c in range(d):
            gx[n, c] += (weight[c] * g[n, c] - mean - normed[n, c] * along) / spread[n]


@compiled
def receive_own(
    linear: np.ndarray,
    bias: np.ndarray,
    zero: np.ndarray,
    v: np.ndarray,
    has_vectors: bool,
    own_logits: np.ndarray,
    scaled: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
) -> None:
    """What each atom receives from itself: y [N, d] and w [N, 3, d], written.

    The bias is added to `linear`; `own_logits` [N, heads] and `scaled` [N, 3, d], the vectors v
    times the values of s¹, are written.
    """
    d = y.shape[1]
    heads = own_logits.shape[1]
    width = d // heads
    for n in range(len(y)):
        for c in range(5 * d):
            linear[n, c] += bias[c]
        for head in range(heads):
            start = head * width
            logit = bias[0] * 0
            for c in range(start, start + width):
                logit += linear[n, c] * linear[n, d + c] * zero[c]
            own_logits[n, head] = logit
            active = logit / (1 + np.exp(-logit))
            for c in range(start, start + width):
                y[n, c] = active * linear[n, 2 * d + c] * zero[d + c]
        for axis in range(3):
            for c in range(d):
                one = v[n, axis, c] * linear[n, 3 * d + c] if has_vectors else bias[0] * 0
                scaled[n, axis, c] = one
                w[n, axis, c] = one * zero[2 * d + c]


@compiled
def receive_own_back(
    linear: np.ndarray,
    zero: np.ndarray,
    own_logits: np.ndarray,
    gy: np.ndarray,
    gw: np.ndarray,
    gives_vectors: bool,
    glinear: np.ndarray,
    gscaled: np.ndarray,
) -> None:
    """The derivatives of `receive_own`, from gy [N, d] and gw [N, 3, d]: `glinear` [N, 5d] and
    `gscaled` [N, 3, d], written."""
    d = gy.shape[1]
    heads = own_logits.shape[1]
    width = d // heads
    for n in range(len(gy)):
        for head in range(heads):
            start = head * width
            logit = own_logits[n, head]
            sigmoid = 1 / (1 + np.exp(-logit))
            g_active = zero[0] * 0
            for c in range(start, start + width):
                g_active += gy[n, c] * linear[n, 2 * d + c] * zero[d + c]
            g_logit = g_active * sigmoid * (1 + logit * (1 - sigmoid))
            for c in range(start, start + width):
                glinear[n, c] = g_logit * zero[c] * linear[n, d + c]
                glinear[n, d + c] = g_logit * zero[c] * linear[n, c]
                glinear[n, 2 * d + c] = logit * sigmoid * gy[n, c] * zero[d + c]
        for c in range(3 * d, 5 * d):
            glinear[n, c] = 0
        for axis in range(3):
            for c in range(d):
                one = gw[n, axis, c] * zero[2 * d + c] if gives_vectors else zero[0] * 0
                gscaled[n, axis, c] = one


@compiled
def scaled_back(
    linear: np.ndarray, v: np.ndarray, gscaled: np.ndarray, glinear: np.ndarray, gv: np.ndarray
) -> None:
    """The derivatives of `scaled`: adds to `gv` [N, 3, d], writes those by the values of s¹."""
    d = v.shape[2]
    for n in range(len(v)):
        for axis in range(3):
            for c in range(d):
                gv[n, axis, c] += gscaled[n, axis, c] * linear[n, 3 * d + c]
                glinear[n, 3 * d + c] += gscaled[n, axis, c] * v[n, axis, c]


@compiled
def update(
    o: np.ndarray,
    bias: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    has_vectors: bool,
    gives_vectors: bool,
    x: np.ndarray,
    v_new: np.ndarray,
) -> None:
    """x ← x + (u¹ · u²) ∘ o² + o³ and v ← v + u³ ∘ o¹ + w.

    The bias is added to o [N, 3d]; u is [N, 3, 3d], its parts beside one another; x [N, d] is
    changed, v_new [N, 3, d] written where vectors are needed. Without vectors v is zero.
    """
    d = x.shape[1]
    for n in range(len(x)):
        for c in range(3 * d):
            o[n, c] += bias[c]
        for c in range(d):
            x[n, c] += o[n, 2 * d + c]
        if has_vectors:
            for axis in range(3):
                for c in range(d):
                    x[n, c] += u[n, axis, c] * u[n, axis, d + c] * o[n, d + c]
        if gives_vectors:
            for axis in range(3):
                for c in range(d):
                    v_new[n, axis, c] = w[n, axis, c]
                    if has_vectors:
                        v_new[n, axis, c] += v[n, axis, c] + u[n, axis, 2 * d + c] * o[n, c]


@compiled
def update_back(
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
    written."""
    d = gx.shape[1]
    for n in range(len(gx)):
        for c in range(d):
            go[n, c] = 0
            go[n, d + c] = 0
            go[n, 2 * d + c] = gx[n, c]
        if not has_vectors:
            continue
        for axis in range(3):
            for c in range(d):
                product = gx[n, c] * o[n, d + c]
                go[n, d + c] += gx[n, c] * u[n, axis, c] * u[n, axis, d + c]
                gu[n, axis, c] = product * u[n, axis, d + c]
                gu[n, axis, d + c] = product * u[n, axis, c]
                gu[n, axis, 2 * d + c] = 0
                if gives_vectors:
                    go[n, c] += gv[n, axis, c] * u[n, axis, 2 * d + c]
                    gu[n, axis, 2 * d + c] = gv[n, axis, c] * o[n, c]

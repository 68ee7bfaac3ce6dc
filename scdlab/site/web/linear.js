// Dense layers and norms on rows of numbers. Rows stand one after another in a typed array: element
// k of row n is x[n * width + k].

// out = x Wᵀ + b: rows x [rows, nIn] and weights W [nOut, nIn] -> [rows, nOut].
// first: the first row of W and b that is used, of layers that are stacked in one matrix.
// add: whether to add to what `out` holds.
export function linear(x, weight, bias, out, rows, nIn, nOut, first = 0, add = false) {
    const wholeOut = nOut - (nOut % 4);
    for (let o = 0; o < wholeOut; o += 4) {
        // four outputs of two rows at a time stay in registers
        const w0 = (first + o) * nIn;
        const w1 = w0 + nIn;
        const w2 = w1 + nIn;
        const w3 = w2 + nIn;
        const b0 = bias === null ? 0 : bias[first + o];
        const b1 = bias === null ? 0 : bias[first + o + 1];
        const b2 = bias === null ? 0 : bias[first + o + 2];
        const b3 = bias === null ? 0 : bias[first + o + 3];
        let n = 0;
        for (; n + 1 < rows; n += 2) {
            const xa = n * nIn;
            const xb = xa + nIn;
            let a0 = b0;
            let a1 = b1;
            let a2 = b2;
            let a3 = b3;
            let c0 = b0;
            let c1 = b1;
            let c2 = b2;
            let c3 = b3;
            for (let k = 0; k < nIn; k++) {
                const a = x[xa + k];
                const c = x[xb + k];
                const p0 = weight[w0 + k];
                const p1 = weight[w1 + k];
                const p2 = weight[w2 + k];
                const p3 = weight[w3 + k];
                a0 += a * p0;
                a1 += a * p1;
                a2 += a * p2;
                a3 += a * p3;
                c0 += c * p0;
                c1 += c * p1;
                c2 += c * p2;
                c3 += c * p3;
            }
            const ya = n * nOut + o;
            const yb = ya + nOut;
            if (add) {
                out[ya] += a0;
                out[ya + 1] += a1;
                out[ya + 2] += a2;
                out[ya + 3] += a3;
                out[yb] += c0;
                out[yb + 1] += c1;
                out[yb + 2] += c2;
                out[yb + 3] += c3;
            } else {
                out[ya] = a0;
                out[ya + 1] = a1;
                out[ya + 2] = a2;
                out[ya + 3] = a3;
                out[yb] = c0;
                out[yb + 1] = c1;
                out[yb + 2] = c2;
                out[yb + 3] = c3;
            }
        }
        for (; n < rows; n++) {
            for (let m = o; m < o + 4; m++) {
                one(x, weight, bias, out, n, m, nIn, nOut, first, add);
            }
        }
    }
    for (let o = wholeOut; o < nOut; o++) {
        for (let n = 0; n < rows; n++) {
            one(x, weight, bias, out, n, o, nIn, nOut, first, add);
        }
    }
}

// One output of one row.
function one(x, weight, bias, out, n, o, nIn, nOut, first, add) {
    let sum = bias === null ? 0 : bias[first + o];
    for (let k = 0; k < nIn; k++) {
        sum += x[n * nIn + k] * weight[(first + o) * nIn + k];
    }
    out[n * nOut + o] = add ? out[n * nOut + o] + sum : sum;
}

// Wᵀ [nIn, nOut] of W [nOut, nIn]: the gradient by the input of a layer is `linear` with it.
export function transposed(weight, nOut, nIn) {
    const out = new weight.constructor(weight.length);
    for (let o = 0; o < nOut; o++) {
        for (let k = 0; k < nIn; k++) {
            out[k * nOut + o] = weight[o * nIn + k];
        }
    }
    return out;
}

const EPS = 1e-5; // torch's, of layer norms

// LayerNorm with weight and bias (null, null for none): x [rows, d] -> out [rows, d].
export function layerNorm(x, weight, bias, out, rows, d) {
    for (let n = 0; n < rows; n++) {
        const at = n * d;
        let mean = 0;
        for (let k = 0; k < d; k++) {
            mean += x[at + k];
        }
        mean /= d;
        let variance = 0;
        for (let k = 0; k < d; k++) {
            const y = x[at + k] - mean;
            variance += y * y;
        }
        const scale = 1 / Math.sqrt(variance / d + EPS);
        for (let k = 0; k < d; k++) {
            const y = (x[at + k] - mean) * scale;
            out[at + k] = weight === null ? y : y * weight[k] + bias[k];
        }
    }
}

// x σ(x) of the first `size` numbers, in place if out is x.
export function silu(x, out, size) {
    for (let k = 0; k < size; k++) {
        out[k] = x[k] / (1 + Math.exp(-x[k]));
    }
}

// One linear layer by its name in the checkpoint, without a bias where there is none.
export class Linear {
    constructor(weights, name, nIn, nOut) {
        this.nIn = nIn;
        this.nOut = nOut;
        this.weight = weights.get(`${name}.weight`, [nOut, nIn]);
        this.bias = weights.has(`${name}.bias`) ? weights.get(`${name}.bias`, [nOut]) : null;
        this.weightT = null;
    }

    // [rows, nIn] -> [rows, nOut].
    forward(x, out, rows, add = false) {
        linear(x, this.weight, this.bias, out, rows, this.nIn, this.nOut, 0, add);
    }

    // Gradient by the input [rows, nIn] from that by the output [rows, nOut].
    backward(gradient, out, rows, add = false) {
        if (this.weightT === null) {
            this.weightT = transposed(this.weight, this.nOut, this.nIn);
        }
        linear(gradient, this.weightT, null, out, rows, this.nOut, this.nIn, 0, add);
    }
}

// Several linear layers of the same input, their weights stacked in one matrix: forward(x, "s1", …)
// applies one of them.
export class StackedLinear {
    constructor(weights, name, nIn, nOut, parts) {
        const size = parts.length * nOut;
        this.nIn = nIn;
        this.nOut = nOut;
        this.parts = parts;
        this.weight = weights.get(`${name}.weight`, [size, nIn]);
        this.bias = weights.has(`${name}.bias`) ? weights.get(`${name}.bias`, [size]) : null;
    }

    // [rows, nIn] -> [rows, nOut].
    forward(x, part, out, rows) {
        const first = this.parts.indexOf(part) * this.nOut;
        linear(x, this.weight, this.bias, out, rows, this.nIn, this.nOut, first);
    }
}

// A layer norm by its name in the checkpoint.
export class LayerNorm {
    constructor(weights, name, d) {
        this.d = d;
        this.weight = weights.get(`${name}.weight`, [d]);
        this.bias = weights.get(`${name}.bias`, [d]);
    }

    // [rows, d] -> [rows, d], in place if out is x.
    forward(x, out, rows) {
        layerNorm(x, this.weight, this.bias, out, rows, this.d);
    }
}

// Filters of pairs: a filter is a function of one distance, computed at every pair (exact), or read
// from a table of it (a cubic B-spline). As in scdlab/nn/ops/filter_tables.py.
//
//     w(r) = Σ_{t=0}^{3} B_t(u) T_{q+t},      T_k = (54 W_k - 10 (W_{k-1} + W_{k+1})
//                                                    + W_{k-2} + W_{k+2}) / 36
//
// Both kinds have the same three methods: `at(pairs)` sets the distances, `read` gives the filters
// of a network, `backward` takes a gradient by filters back to the distances. A network is an
// object with `d` and `forward(basis, rows, out)`; to be differentiated, with `backward(gradient,
// rows, out)` too, which follows the last `forward`. The weights of a page do not change, so a
// table is made once for each network and each place where it starts.

import { cosineCutoff, cosineCutoffSlope } from "./radial.js";
import { Workspace } from "./workspace.js";

class Filters {
    constructor(basis, cutoff, Float) {
        this.basis = basis;
        this.cutoff = cutoff;
        this.work = new Workspace(Float);
        this.zeros = new Map(); // by network
    }

    // The filter W(0) [d] of an atom for itself.
    atZero(network) {
        if (!this.zeros.has(network)) {
            const basis = new this.work.Float(this.basis.n);
            const out = new this.work.Float(network.d);
            this.basis.forward([0], 1, basis);
            network.forward(basis, 1, out);
            this.zeros.set(network, out);
        }
        return this.zeros.get(network);
    }
}

// A row for each pair.
export class ExactFilters extends Filters {

    // slopes: whether `backward` will follow.
    at(pairs, slopes = false) {
        const n = pairs.n;
        this.pairs = pairs;
        this.envelope = this.work.doubles("envelope", n);
        for (let p = 0; p < n; p++) {
            this.envelope[p] = cosineCutoff(pairs.r[p], this.cutoff);
        }
        this.values = this.work.array("basis", n * this.basis.n);
        this.slopes = slopes ? this.work.array("slopes", n * this.basis.n) : null;
        this.basis.forward(pairs.r, n, this.values, this.slopes);
    }

    // Filters [P, d] of a network, times the cutoff or not.
    read(network, out, withCutoff = true) {
        const n = this.pairs.n;
        const d = network.d;
        network.forward(this.values, n, out);
        if (withCutoff) {
            for (let p = 0; p < n; p++) {
                for (let k = 0; k < d; k++) {
                    out[p * d + k] *= this.envelope[p];
                }
            }
        }
    }

    // Add to slope [P] the gradient by the distances, from that by the filters [P, d] that `read`
    // gave; the latter is overwritten.
    backward(network, filters, gradient, slope) {
        const { n, r } = this.pairs;
        const d = network.d;
        const size = this.basis.n;
        for (let p = 0; p < n; p++) {
            const c = this.envelope[p];
            let sum = 0;
            for (let k = p * d; k < (p + 1) * d; k++) {
                sum += gradient[k] * filters[k];
                gradient[k] *= c;
            }
            if (c > 0) {
                slope[p] += (sum * cosineCutoffSlope(r[p], this.cutoff)) / c;
            }
        }
        const ofBasis = this.work.array("gradient", n * size);
        network.backward(gradient, n, ofBasis);
        for (let p = 0; p < n; p++) {
            let sum = 0;
            for (let k = p * size; k < (p + 1) * size; k++) {
                sum += ofBasis[k] * this.slopes[k];
            }
            slope[p] += sum;
        }
    }
}

// Rows of a table that pairs share.
export class SplineFilters extends Filters {
    constructor(basis, cutoff, cells, Float) {
        super(basis, cutoff, Float);
        this.cells = cells;
        this.tables = new Map(); // by network: by start
    }

    at(pairs, slopes = false) {
        const n = pairs.n;
        let closest = Infinity;
        for (let p = 0; p < n; p++) {
            closest = Math.min(closest, pairs.r[p]);
        }
        // on a coarse scale: where atoms are closer by a hair, the table is the same
        this.start = Math.min(Math.floor(4 * closest) / 4, 0.5 * this.cutoff);
        this.pairs = pairs;
        this.envelope = this.work.doubles("envelope", n);
        this.node = this.work.integers("node", n);
        this.weights = this.work.doubles("weights", 4 * n);
        this.slopes = slopes ? this.work.doubles("slopes", 4 * n) : null;
        const step = (this.cutoff - this.start) / this.cells;
        for (let p = 0; p < n; p++) {
            const at = (pairs.r[p] - this.start) / step;
            const cell = Math.min(Math.max(Math.floor(at), 0), this.cells - 1);
            const u = Math.min(at - cell, 1);
            this.envelope[p] = cosineCutoff(pairs.r[p], this.cutoff);
            this.node[p] = cell;
            pieces(u, this.weights, 4 * p);
            if (slopes) {
                pieceSlopes(u, step, this.slopes, 4 * p);
            }
        }
    }

    // The spline coefficients [cells + 3, d] of a network, from the present start.
    table(network) {
        if (!this.tables.has(network)) {
            this.tables.set(network, new Map());
        }
        const ofNetwork = this.tables.get(network);
        if (!ofNetwork.has(this.start)) {
            ofNetwork.set(this.start, this.coefficients(network));
        }
        return ofNetwork.get(this.start);
    }

    coefficients(network) {
        const rows = this.cells + 7;
        const d = network.d;
        const step = (this.cutoff - this.start) / this.cells;
        const r = new Float64Array(rows);
        for (let k = 0; k < rows; k++) {
            r[k] = this.start + (k - 3) * step;
        }
        const basis = this.work.array("nodes", rows * this.basis.n);
        const w = this.work.array("values", rows * d);
        this.basis.forward(r, rows, basis);
        network.forward(basis, rows, w);
        const out = new this.work.Float((rows - 4) * d);
        for (let k = 0; k < out.length; k++) {
            const near = w[k + d] + w[k + 3 * d];
            const far = w[k] + w[k + 4 * d];
            out[k] = 1.5 * w[k + 2 * d] - (5 / 18) * near + far / 36;
        }
        return out;
    }

    read(network, out, withCutoff = true) {
        const table = this.table(network);
        const d = network.d;
        for (let p = 0; p < this.pairs.n; p++) {
            const c = withCutoff ? this.envelope[p] : 1;
            const b0 = c * this.weights[4 * p];
            const b1 = c * this.weights[4 * p + 1];
            const b2 = c * this.weights[4 * p + 2];
            const b3 = c * this.weights[4 * p + 3];
            const row = this.node[p] * d;
            const at = p * d;
            for (let k = 0; k < d; k++) {
                const t = row + k;
                out[at + k] =
                    b0 * table[t] +
                    b1 * table[t + d] +
                    b2 * table[t + 2 * d] +
                    b3 * table[t + 3 * d];
            }
        }
    }

    backward(network, filters, gradient, slope) {
        const table = this.table(network);
        const d = network.d;
        const r = this.pairs.r;
        for (let p = 0; p < this.pairs.n; p++) {
            const c = this.envelope[p];
            const change = cosineCutoffSlope(r[p], this.cutoff);
            const b0 = c * this.slopes[4 * p] + change * this.weights[4 * p];
            const b1 = c * this.slopes[4 * p + 1] + change * this.weights[4 * p + 1];
            const b2 = c * this.slopes[4 * p + 2] + change * this.weights[4 * p + 2];
            const b3 = c * this.slopes[4 * p + 3] + change * this.weights[4 * p + 3];
            const row = this.node[p] * d;
            const at = p * d;
            let sum = 0;
            for (let k = 0; k < d; k++) {
                const t = row + k;
                sum +=
                    gradient[at + k] *
                    (b0 * table[t] +
                        b1 * table[t + d] +
                        b2 * table[t + 2 * d] +
                        b3 * table[t + 3 * d]);
            }
            slope[p] += sum;
        }
    }
}

// Pieces B_t(u) of the cubic B-spline, t = 0 … 3.
function pieces(u, out, at) {
    const v = 1 - u;
    out[at] = (v * v * v) / 6;
    out[at + 1] = (4 - 6 * u * u + 3 * u * u * u) / 6;
    out[at + 2] = (1 + 3 * u + 3 * u * u - 3 * u * u * u) / 6;
    out[at + 3] = (u * u * u) / 6;
}

// Their derivatives by the distance.
function pieceSlopes(u, step, out, at) {
    const v = 1 - u;
    out[at] = (-v * v) / 2 / step;
    out[at + 1] = (1.5 * u * u - 2 * u) / step;
    out[at + 2] = (0.5 + u - 1.5 * u * u) / step;
    out[at + 3] = (u * u) / 2 / step;
}

// SchNet: continuous-filter convolutions. As in scdlab/nn/schnet.py, with forces by reverse mode.
//
//     cfconv:       x_i ← Σ_j x_j ∘ W(r_ij)
//                   W(r) = MLP(e(r)) · c(r)             e: radial basis, c: cutoff
//     interaction:  v_i = linear(ssp(linear(cfconv(linear(x)))_i))
//                   x_i ← x_i + v_i
//     energy:       E = Σ_i MLP(x_i)
//     forces:       F_i = -∂E/∂r_i                      each step backwards, in reverse order
//
// (Schütt et al., NeurIPS 2017, arXiv:1706.08566.)

import { ExactFilters, SplineFilters } from "./filter_tables.js";
import { DirectForceHead, EnergyHead, MAX_Z } from "./heads.js";
import { Linear } from "./linear.js";
import { Pairs } from "./neighbors.js";
import {
    GaussianBasis,
    RawDistance,
    shiftedSoftplus,
    shiftedSoftplusBackward,
} from "./radial.js";
import { Workspace } from "./workspace.js";

// The MLP of W(r), not yet times the cutoff: radial basis [P, n] -> filters [P, d].
export class FilterNetwork {
    // twice: whether the second layer is activated too.
    constructor(weights, numRbf, d, twice, Float) {
        this.d = d;
        this.lin1 = new Linear(weights, "lin1", numRbf, d);
        this.lin2 = new Linear(weights, "lin2", d, d);
        this.twice = twice;
        this.work = new Workspace(Float);
    }

    forward(basis, rows, out) {
        const size = rows * this.d;
        const hidden = this.work.array("hidden", size);
        const active = this.work.array("active", size);
        this.lin1.forward(basis, hidden, rows);
        shiftedSoftplus(hidden, active, size);
        this.lin2.forward(active, out, rows);
        if (this.twice) {
            this.work.array("last", size).set(out.subarray(0, size));
            shiftedSoftplus(out, out, size);
        }
    }

    // Gradient by the basis [P, n] from that by the filters [P, d], which is overwritten.
    backward(gradient, rows, out) {
        const size = rows * this.d;
        const active = this.work.array("active", size);
        if (this.twice) {
            shiftedSoftplusBackward(this.work.array("last", size), gradient, size);
        }
        this.lin2.backward(gradient, active, rows);
        shiftedSoftplusBackward(this.work.array("hidden", size), active, size);
        this.lin1.backward(active, out, rows);
    }
}

// One interaction block, the message of the neighbors: [N, d] -> [N, d].
export class Interaction {
    constructor(weights, numRbf, d, twice, Float) {
        this.d = d;
        this.filter = new FilterNetwork(weights.under("filter."), numRbf, d, twice, Float);
        this.linIn = new Linear(weights, "lin_in", d, d);
        this.linOut1 = new Linear(weights, "lin_out1", d, d);
        this.linOut2 = new Linear(weights, "lin_out2", d, d);
        this.work = new Workspace(Float);
    }

    // x ← x + v, of n atoms.
    forward(x, filters, pairs, n) {
        const d = this.d;
        const w = this.work.array("w", pairs.n * d);
        const h = this.work.array("h", n * d);
        const y = this.work.array("y", n * d);
        const a = this.work.array("a", n * d);
        const s = this.work.array("s", n * d);
        filters.read(this.filter, w);
        this.linIn.forward(x, h, n);
        cfconv(h, w, pairs, y, n, d);
        this.linOut1.forward(y, a, n);
        shiftedSoftplus(a, s, n * d);
        this.linOut2.forward(s, x, n, true);
    }

    // After `forward`: gradient by the features, in place, and that by the distances [P], added to
    // slope.
    backward(gradient, filters, pairs, n, slope) {
        const d = this.d;
        const w = this.work.array("w", pairs.n * d);
        const h = this.work.array("h", n * d);
        const ofW = this.work.array("gradient of w", pairs.n * d);
        const ofH = this.work.array("gradient of h", n * d);
        const ofY = this.work.array("y", n * d);
        const ofS = this.work.array("s", n * d);
        this.linOut2.backward(gradient, ofS, n);
        shiftedSoftplusBackward(this.work.array("a", n * d), ofS, n * d);
        this.linOut1.backward(ofS, ofY, n);
        cfconv(ofY, w, pairs, ofH, n, d); // a half list: the sum is its own transpose
        this.linIn.backward(ofH, gradient, n, true);
        pairProduct(ofY, h, pairs, ofW, d);
        filters.backward(this.filter, w, ofW, slope);
    }
}

// Σ_b w_ab ∘ x_b for every atom a: features x [N, d], filters w [P, d] -> out [N, d].
export function cfconv(x, w, pairs, out, n, d) {
    out.fill(0, 0, n * d);
    for (let p = 0; p < pairs.n; p++) {
        const i = pairs.i[p] * d;
        const j = pairs.j[p] * d;
        const at = p * d;
        for (let k = 0; k < d; k++) {
            const filter = w[at + k];
            out[i + k] += filter * x[j + k];
            out[j + k] += filter * x[i + k];
        }
    }
}

// x_i ∘ y_j + x_j ∘ y_i of the two atoms of each pair: [N, d] each -> out [P, d].
function pairProduct(x, y, pairs, out, d) {
    for (let p = 0; p < pairs.n; p++) {
        const i = pairs.i[p] * d;
        const j = pairs.j[p] * d;
        const at = p * d;
        for (let k = 0; k < d; k++) {
            out[at + k] = x[i + k] * y[j + k] + x[j + k] * y[i + k];
        }
    }
}

export class SchNet {
    constructor(config, weights, Float) {
        const d = config.hidden_channels;
        if (config.conditional) {
            throw new Error(
                "A SchNet of a page takes no condition; export a model with conditional=False, " +
                    "or an EquivariantTransformer.",
            );
        }
        this.hiddenChannels = d;
        this.numLayers = config.num_layers;
        this.cutoff = config.cutoff;
        this.directForces = config.direct_forces;
        this.basis =
            config.basis === "gaussian"
                ? new GaussianBasis(weights.under("basis."), config.num_rbf, config.cutoff)
                : new RawDistance();
        this.embedding = weights.get("embedding.weight", [MAX_Z + 1, d]);
        this.blocks = [];
        for (let k = 0; k < config.num_layers; k++) {
            const twice = config.filter_activation === "twice";
            const own = weights.under(`blocks.${k}.`);
            this.blocks.push(new Interaction(own, this.basis.n, d, twice, Float));
        }
        this.energyHead = new EnergyHead(weights.under("energy_head."), d, false, Float);
        this.forceHead = config.direct_forces
            ? new DirectForceHead(weights.under("force_head."), d, this.basis.n, Float)
            : null;
        this.pairs = new Pairs();
        this.work = new Workspace(Float);
        this.exact = new ExactFilters(this.basis, this.cutoff, Float);
        this.tables = null;
    }

    // Cells of the tables that filters are read from; null for exact filters.
    set filterTableSize(cells) {
        this.tables =
            cells === null
                ? null
                : new SplineFilters(this.basis, this.cutoff, cells, this.work.Float);
    }

    get filterTableSize() {
        return this.tables === null ? null : this.tables.cells;
    }

    // Features [N, d] of the atoms of a structure, within `pairs`.
    represent(structure, filters) {
        const { z } = structure;
        const d = this.hiddenChannels;
        const x = this.work.array("x", z.length * d);
        for (let i = 0; i < z.length; i++) {
            for (let k = 0; k < d; k++) {
                x[i * d + k] = this.embedding[z[i] * d + k];
            }
        }
        for (const block of this.blocks) {
            block.forward(x, filters, this.pairs, z.length);
        }
        return x;
    }

    // Energy in eV, and forces [3N] in eV/Å; arrays are the model's own until its next pass.
    forward(structure, { forces = false } = {}) {
        const { z } = structure;
        const gradient = forces && !this.directForces;
        const filters = this.tables === null ? this.exact : this.tables;
        this.pairs.search(structure, this.cutoff);
        filters.at(this.pairs, gradient);
        const x = this.represent(structure, filters);
        const out = {
            energy: this.energyHead.total(x, z),
            perAtom: this.energyHead.energies,
            forces: null,
            atoms: x,
        };
        if (gradient) {
            out.forces = this.gradientForces(filters, z.length);
        } else if (forces) {
            out.forces = this.headForces(x, z.length);
        }
        return out;
    }

    // -∂E/∂r of the last pass.
    gradientForces(filters, n) {
        const { pairs, work } = this;
        const gradient = work.array("gradient", n * this.hiddenChannels);
        const slope = work.doubles("slope", pairs.n);
        const forces = work.doubles("forces", 3 * n);
        slope.fill(0, 0, pairs.n);
        forces.fill(0, 0, 3 * n);
        this.energyHead.backward(gradient, n);
        for (let k = this.blocks.length - 1; k >= 0; k--) {
            this.blocks[k].backward(gradient, filters, pairs, n, slope);
        }
        for (let p = 0; p < pairs.n; p++) {
            const factor = slope[p] / pairs.r[p];
            for (let k = 0; k < 3; k++) {
                const pull = factor * pairs.vector[3 * p + k];
                forces[3 * pairs.i[p] + k] += pull;
                forces[3 * pairs.j[p] + k] -= pull;
            }
        }
        return forces;
    }

    headForces(x, n) {
        const forces = this.work.doubles("forces", 3 * n);
        forces.fill(0, 0, 3 * n);
        if (this.tables !== null) {
            this.exact.at(this.pairs); // the head reads the radial basis, not filters
        }
        const { values, envelope } = this.exact;
        this.forceHead.forward(x, values, envelope, this.pairs, n, forces);
        return forces;
    }

    // The learned filters c(r) W(r) of one block at distances r [rows]: [rows, d].
    filterCurves(block, r) {
        const rows = r.length;
        const out = new this.work.Float(rows * this.hiddenChannels);
        const curve = new ExactFilters(this.basis, this.cutoff, this.work.Float);
        curve.at({ n: rows, r });
        curve.read(this.blocks[block].filter, out);
        return out;
    }
}

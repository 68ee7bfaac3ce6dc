// Read-outs: from features of atoms to energies, noise, embeddings and forces. As in
// scdlab/nn/blocks/heads.py.

import { LayerNorm, Linear, silu } from "./linear.js";
import { shiftedSoftplus, shiftedSoftplusBackward } from "./radial.js";
import { Workspace } from "./workspace.js";

export const MAX_Z = 118; // the heaviest element that has a name

// Two dense layers with a shifted softplus between them: [N, dIn] -> [N, dOut].
export class Mlp {
    constructor(weights, name, dIn, dHidden, dOut, Float) {
        this.lin1 = new Linear(weights, `${name}.0`, dIn, dHidden);
        this.lin2 = new Linear(weights, `${name}.2`, dHidden, dOut);
        this.work = new Workspace(Float);
    }

    forward(x, out, rows) {
        const size = rows * this.lin1.nOut;
        const hidden = this.work.array("hidden", size);
        const active = this.work.array("active", size);
        this.lin1.forward(x, hidden, rows);
        shiftedSoftplus(hidden, active, size);
        this.lin2.forward(active, out, rows);
    }

    // Gradient by the input from that by the output, after `forward`.
    backward(gradient, out, rows) {
        const size = rows * this.lin1.nOut;
        const active = this.work.array("active", size);
        this.lin2.backward(gradient, active, rows);
        shiftedSoftplusBackward(this.work.array("hidden", size), active, size);
        this.lin1.backward(active, out, rows);
    }
}

// Energies in eV: E = Σ_i (E_ref[z_i] + s · MLP(x_i)), in double precision.
export class EnergyHead {
    // isLinear: whether there is one layer, for features that are read-outs already.
    constructor(weights, d, isLinear, Float) {
        const half = Math.max(Math.floor(d / 2), 1);
        this.mlp = isLinear
            ? new Linear(weights, "mlp.0", d, 1)
            : new Mlp(weights, "mlp", d, half, 1, Float);
        this.reference = weights.doubles("reference", [MAX_Z + 1]);
        this.scale = weights.doubles("scale", [])[0];
        this.energies = null; // of the atoms of the last pass
        this.work = new Workspace(Float);
    }

    // Energies of the atoms, references and scale in them: features [N, d] -> [N] eV.
    perAtom(x, z) {
        const n = z.length;
        const numbers = this.work.array("numbers", n);
        const energies = this.work.doubles("energies", n);
        this.mlp.forward(x, numbers, n);
        for (let i = 0; i < n; i++) {
            energies[i] = numbers[i] * this.scale + this.reference[z[i]];
        }
        this.energies = energies;
        return energies;
    }

    // The energy of the structure in eV.
    total(x, z) {
        const energies = this.perAtom(x, z);
        let sum = 0;
        for (let i = 0; i < z.length; i++) {
            sum += energies[i];
        }
        return sum;
    }

    // Gradient [N, d] of the energy by the features, after `total`.
    backward(out, n) {
        const ones = this.work.array("ones", n);
        ones.fill(this.scale, 0, n);
        this.mlp.backward(ones, out, n);
    }
}

// Pair forces along the bonds: F_i = s · Σ_j f(x_i, x_j, r_ij) r̂_ij, the gradient of nothing.
export class DirectForceHead {
    constructor(weights, d, numRbf, Float) {
        this.d = d;
        this.left = new Linear(weights, "left", d, d);
        this.right = new Linear(weights, "right", d, d);
        this.filter = new Linear(weights, "filter", numRbf, d);
        this.mlp = new Mlp(weights, "mlp", d, d, 1, Float);
        this.scale = weights.doubles("scale", [])[0];
        this.work = new Workspace(Float);
    }

    // Add forces [3N] in eV/Å to `forces`, from features x [N, d] and the radial basis [P, n],
    // cutoff [P] and pairs.
    forward(x, basis, envelope, pairs, n, forces) {
        const d = this.d;
        const left = this.work.array("left", n * d);
        const right = this.work.array("right", n * d);
        const h = this.work.array("h", pairs.n * d);
        const f = this.work.array("f", pairs.n);
        this.left.forward(x, left, n);
        this.right.forward(x, right, n);
        this.filter.forward(basis, h, pairs.n);
        for (let p = 0; p < pairs.n; p++) {
            const i = pairs.i[p] * d;
            const j = pairs.j[p] * d;
            for (let k = 0; k < d; k++) {
                h[p * d + k] *= left[i + k] * right[j + k] + left[j + k] * right[i + k];
            }
        }
        this.mlp.forward(h, f, pairs.n);
        for (let p = 0; p < pairs.n; p++) {
            const factor = (f[p] * envelope[p] * this.scale) / pairs.r[p];
            for (let k = 0; k < 3; k++) {
                const push = factor * pairs.vector[3 * p + k];
                forces[3 * pairs.i[p] + k] -= push;
                forces[3 * pairs.j[p] + k] += push;
            }
        }
    }
}

// Scalars and vectors exchange what symmetry allows.
//
//     x', g = MLP([x, |W₁ v|])        lengths go into the scalars
//     v'    = g ∘ W₂ v                scalars scale the vectors
export class GatedEquivariantBlock {
    constructor(weights, dIn, dOut, Float) {
        this.dIn = dIn;
        this.dOut = dOut;
        this.length = new Linear(weights, "length", dIn, dIn);
        this.vector = new Linear(weights, "vector", dIn, dOut);
        this.lin1 = new Linear(weights, "mlp.0", 2 * dIn, dIn);
        this.lin2 = new Linear(weights, "mlp.2", dIn, 2 * dOut);
        this.work = new Workspace(Float);
    }

    // Scalars x [N, dIn] and vectors v [N, 3, dIn] -> [N, dOut] and [N, 3, dOut].
    forward(x, v, xOut, vOut, n) {
        const { dIn, dOut, work } = this;
        const turned = work.array("turned", 3 * n * dIn);
        const both = work.array("both", 2 * n * dIn);
        const hidden = work.array("hidden", n * dIn);
        const split = work.array("split", 2 * n * dOut);
        this.length.forward(v, turned, 3 * n);
        for (let i = 0; i < n; i++) {
            for (let k = 0; k < dIn; k++) {
                both[2 * i * dIn + k] = x[i * dIn + k];
                both[(2 * i + 1) * dIn + k] = smoothNorm(turned, 3 * i * dIn + k, dIn);
            }
        }
        this.lin1.forward(both, hidden, n);
        silu(hidden, hidden, n * dIn);
        this.lin2.forward(hidden, split, n);
        this.vector.forward(v, vOut, 3 * n);
        for (let i = 0; i < n; i++) {
            for (let k = 0; k < dOut; k++) {
                const gate = split[(2 * i + 1) * dOut + k];
                xOut[i * dOut + k] = split[2 * i * dOut + k];
                for (let axis = 0; axis < 3; axis++) {
                    vOut[(3 * i + axis) * dOut + k] *= gate;
                }
            }
        }
    }
}

// Length of a vector feature, smooth at zero: sqrt(|v|² + ε²), its components `width` apart.
function smoothNorm(v, at, width) {
    const x = v[at];
    const y = v[at + width];
    const z = v[at + 2 * width];
    return Math.sqrt(x * x + y * y + z * z + 1e-8);
}

// Noise in units of σ, which rotates with the structure: x [N, d], v [N, 3, d] -> [3N].
export class NoiseHead {
    constructor(weights, d, Float) {
        const half = Math.max(Math.floor(d / 2), 1);
        this.half = half;
        this.block1 = new GatedEquivariantBlock(weights.under("block1."), d, half, Float);
        this.block2 = new GatedEquivariantBlock(weights.under("block2."), half, 1, Float);
        this.work = new Workspace(Float);
    }

    forward(x, v, out, n) {
        const half = this.half;
        const scalars = this.work.array("scalars", n * half);
        const vectors = this.work.array("vectors", 3 * n * half);
        const unused = this.work.array("unused", n);
        this.block1.forward(x, v, scalars, vectors, n);
        silu(scalars, scalars, n * half);
        this.block2.forward(scalars, vectors, unused, out, n);
    }
}

// Forces in eV/Å from vector features: x [N, d], v [N, 3, d] -> [3N], the gradient of nothing.
export class GatedForceHead {
    constructor(weights, d, Float) {
        this.blocks = new NoiseHead(weights.under("blocks."), d, Float);
        this.scale = weights.doubles("scale", [])[0];
    }

    forward(x, v, out, n) {
        this.blocks.forward(x, v, out, n);
        for (let k = 0; k < 3 * n; k++) {
            out[k] *= this.scale;
        }
    }
}

// One vector a structure: a dense layer an atom, the sum, a two-layer MLP; [N, d] -> [d].
export class EmbeddingHead {
    constructor(weights, d, Float) {
        this.d = d;
        this.norm1 = new LayerNorm(weights, "atom.0", d);
        this.lin1 = new Linear(weights, "atom.1", d, d);
        this.norm2 = new LayerNorm(weights, "atom.3", d);
        this.norm3 = new LayerNorm(weights, "mlp.0", d);
        this.lin2 = new Linear(weights, "mlp.1", d, d);
        this.norm4 = new LayerNorm(weights, "mlp.3", d);
        this.lin3 = new Linear(weights, "mlp.4", d, d);
        this.work = new Workspace(Float);
    }

    forward(x, n) {
        const d = this.d;
        const normed = this.work.array("normed", n * d);
        const atoms = this.work.array("atoms", n * d);
        this.norm1.forward(x, normed, n);
        this.lin1.forward(normed, atoms, n);
        silu(atoms, atoms, n * d);
        this.norm2.forward(atoms, atoms, n);
        const sum = sumOverAtoms(atoms, n, d, this.work.Float);
        const hidden = new this.work.Float(d);
        const out = new this.work.Float(d);
        this.norm3.forward(sum, sum, 1);
        this.lin2.forward(sum, hidden, 1);
        silu(hidden, hidden, d);
        this.norm4.forward(hidden, hidden, 1);
        this.lin3.forward(hidden, out, 1);
        return out;
    }
}

// The sum of the rows: [N, d] -> [d], a new array.
export function sumOverAtoms(x, n, d, Float) {
    const out = new Float(d);
    for (let i = 0; i < n; i++) {
        for (let k = 0; k < d; k++) {
            out[k] += x[i * d + k];
        }
    }
    return out;
}

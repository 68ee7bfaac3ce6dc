// The equivariant transformer, and CT, the same with a condition. As in scdlab/nn/et.py, forwards
// alone: noise, embedding, energy, direct forces.
//
// Every atom carries scalars x_i [d], which do not change when the structure rotates, and vectors
// v_i [3, d], which rotate with it. A layer is attention over neighbors:
//
//     a_ij = SiLU(Σ_head q_i k_j ∘ dk(r_ij))           weight of neighbor j, one per head
//     (y, s¹, s²)_ij = val_j ∘ dv(r_ij) · c(r_ij)      its message; c: cosine cutoff
//     y_i = Σ_j a_ij y_ij
//     w_i = Σ_j v_j ∘ s¹_ij + s²_ij r̂_ij
//     x_i ← x_i + (U₁v_i · U₂v_i) ∘ o²(y_i) + o³(y_i)
//     v_i ← v_i + o¹(y_i) ∘ U₃v_i + w_i
//
// Atoms attend to themselves too (r = 0, r̂ = 0). (Thölke and De Fabritiis, ICLR 2022,
// arXiv:2202.02541.)

import { AdaLN } from "./adaln.js";
import { checkedCondition, meanGates } from "./conditions.js";
import { ExactFilters, SplineFilters } from "./filter_tables.js";
import { ForceEncoding } from "./force_encoding.js";
import {
    EmbeddingHead,
    EnergyHead,
    GatedForceHead,
    MAX_Z,
    NoiseHead,
    sumOverAtoms,
} from "./heads.js";
import { LayerNorm, Linear, StackedLinear, silu } from "./linear.js";
import { Pairs } from "./neighbors.js";
import { ExpNormalBasis } from "./radial.js";
import { Workspace } from "./workspace.js";

// A filter network of one linear layer, activated or not: radial basis [P, n] -> [P, d].
class FilterLayer {
    constructor(apply, d, activated) {
        this.apply = apply;
        this.d = d;
        this.activated = activated;
    }

    forward(basis, rows, out) {
        this.apply(basis, out, rows);
        if (this.activated) {
            silu(out, out, rows * this.d);
        }
    }
}

// x_i ← linear([x_i, Σ_j W(r_ij) ∘ emb(z_j)]): the neighbors' elements.
export class NeighborEmbedding {
    constructor(weights, numRbf, d, Float) {
        this.d = d;
        this.embedding = weights.get("embedding.weight", [MAX_Z + 1, d]);
        const filter = new Linear(weights, "filter", numRbf, d);
        this.filter = new FilterLayer((b, out, rows) => filter.forward(b, out, rows), d, false);
        this.combine = new Linear(weights, "combine", 2 * d, d);
        this.work = new Workspace(Float);
    }

    // Scalars [N, d] of the first layer, in place of x [N, d].
    forward(x, z, filters, pairs) {
        const { d, work } = this;
        const n = z.length;
        const w = work.array("w", pairs.n * d);
        const own = work.array("own", n * d);
        const around = work.array("around", n * d);
        const both = work.array("both", 2 * n * d);
        embed(this.embedding, z, own, d);
        filters.read(this.filter, w);
        vectorSum(own, w, pairs, around, n, d, 1);
        for (let i = 0; i < n; i++) {
            for (let k = 0; k < d; k++) {
                both[2 * i * d + k] = x[i * d + k];
                both[(2 * i + 1) * d + k] = around[i * d + k];
            }
        }
        this.combine.forward(both, x, n);
    }
}

// One layer: the changes of scalars and vectors.
export class Attention {
    // first: whether this is the first layer, which meets v = 0 and has no U.
    constructor(weights, numRbf, d, numHeads, first, Float) {
        this.d = d;
        this.numHeads = numHeads;
        this.norm = new LayerNorm(weights, "norm", d);
        this.q = new Linear(weights, "q", d, d);
        this.k = new Linear(weights, "k", d, d);
        this.value = new StackedLinear(weights, "value", d, d, ["y", "s1", "s2"]);
        this.u = first ? null : new StackedLinear(weights, "u", d, d, ["U1", "U2", "U3"]);
        this.o = new StackedLinear(weights, "o", d, d, ["o1", "o2", "o3"]);
        const dk = new Linear(weights, "dk", numRbf, d);
        const dv = new StackedLinear(weights, "dv", numRbf, d, ["y", "s1", "s2"]);
        this.keyFilter = new FilterLayer((b, out, rows) => dk.forward(b, out, rows), d, true);
        this.valueFilter = {};
        for (const part of dv.parts) {
            const apply = (b, out, rows) => dv.forward(b, part, out, rows);
            this.valueFilter[part] = new FilterLayer(apply, d, true);
        }
        this.work = new Workspace(Float);
    }

    // Change scalars x [N, d] and vectors v [N, 3, d] in place.
    //
    // modulate: adaLN of this layer with a condition, or null.
    // gate: where its gates [N, d] go.
    forward(x, v, neighbors, n, modulate, gate) {
        const { d, work } = this;
        const h = work.array("h", n * d);
        const dx = work.array("dx", n * d);
        this.norm.forward(x, h, n);
        if (modulate !== null) {
            const scale = work.array("scale", n * d);
            const shift = work.array("shift", n * d);
            modulate.adaln.forward(modulate.condition, h, scale, shift, gate, n);
            for (let k = 0; k < n * d; k++) {
                h[k] = shift[k] + scale[k] * h[k];
            }
        }
        this.changes(h, v, dx, neighbors, n);
        for (let k = 0; k < n * d; k++) {
            x[k] += modulate === null ? dx[k] : gate[k] * dx[k];
        }
    }

    // The change of the scalars, from normalized ones; vectors are changed in place.
    changes(x, v, dx, neighbors, n) {
        const { d, work } = this;
        const y = work.array("y", n * d);
        const factor = work.array("factor", n * d);
        this.attention(x, y, neighbors, n);
        this.o.forward(y, "o3", dx, n);
        if (this.u === null) {
            this.newVectors(x, v, neighbors, n);
            return;
        }
        const u = ["U1", "U2", "U3"].map((part) => work.array(part, 3 * n * d));
        this.u.forward(v, "U1", u[0], 3 * n);
        this.u.forward(v, "U2", u[1], 3 * n);
        this.u.forward(v, "U3", u[2], 3 * n);
        this.o.forward(y, "o2", factor, n);
        for (let i = 0; i < n; i++) {
            for (let k = 0; k < d; k++) {
                let product = 0;
                for (let axis = 0; axis < 3; axis++) {
                    const at = (3 * i + axis) * d + k;
                    product += u[0][at] * u[1][at];
                }
                dx[i * d + k] += product * factor[i * d + k];
            }
        }
        this.o.forward(y, "o1", factor, n);
        this.changeVectors(x, v, u[2], factor, neighbors, n);
    }

    // v ← v + o¹(y) ∘ U₃v + Σ_j v_j ∘ s¹ + Σ_j s² r̂
    changeVectors(x, v, turned, factor, neighbors, n) {
        const { d, work } = this;
        const { filters, pairs } = neighbors;
        const value = work.array("value", n * d);
        const scaled = work.array("scaled", 3 * n * d);
        const s1 = work.array("filter", pairs.n * d);
        const sum = work.array("sum", 3 * n * d);
        // v_j ∘ val_j is formed per atom rather than per edge
        this.value.forward(x, "s1", value, n);
        for (let i = 0; i < 3 * n; i++) {
            const row = Math.floor(i / 3) * d;
            for (let k = 0; k < d; k++) {
                scaled[i * d + k] = v[i * d + k] * value[row + k];
            }
        }
        filters.read(this.valueFilter.s1, s1);
        vectorSum(scaled, s1, pairs, sum, n, d, 3);
        const own = filters.atZero(this.valueFilter.s1);
        for (let i = 0; i < 3 * n; i++) {
            const row = Math.floor(i / 3) * d;
            for (let k = 0; k < d; k++) {
                const at = i * d + k;
                v[at] += turned[at] * factor[row + k] + sum[at] + scaled[at] * own[k];
            }
        }
        this.newVectors(x, v, neighbors, n);
    }

    // Σ_j a_ij y_ij over the neighbors and the atom itself: [N, d] -> [N, d].
    attention(x, out, { filters, pairs }, n) {
        const { d, numHeads, work } = this;
        const width = d / numHeads;
        const value = work.array("value", n * d);
        const q = work.array("q", n * d);
        const k = work.array("k", n * d);
        const dk = work.array("dk", pairs.n * d);
        const dv = work.array("dv", pairs.n * d);
        this.value.forward(x, "y", value, n);
        this.q.forward(x, q, n);
        this.k.forward(x, k, n);
        filters.read(this.keyFilter, dk, false);
        filters.read(this.valueFilter.y, dv, false);
        const dkSelf = filters.atZero(this.keyFilter);
        const dvSelf = filters.atZero(this.valueFilter.y);
        for (let i = 0; i < n; i++) {
            for (let first = i * d; first < (i + 1) * d; first += width) {
                const a = activated(q, first, k, first, dkSelf, first - i * d, width);
                for (let m = 0; m < width; m++) {
                    out[first + m] = a * value[first + m] * dvSelf[first - i * d + m];
                }
            }
        }
        for (let p = 0; p < pairs.n; p++) {
            const c = filters.envelope[p];
            for (let first = 0; first < d; first += width) {
                const i = pairs.i[p] * d + first;
                const j = pairs.j[p] * d + first;
                const at = p * d + first;
                const there = c * activated(q, i, k, j, dk, at, width);
                const back = c * activated(q, j, k, i, dk, at, width);
                for (let m = 0; m < width; m++) {
                    out[i + m] += there * value[j + m] * dv[at + m];
                    out[j + m] += back * value[i + m] * dv[at + m];
                }
            }
        }
    }

    // Add Σ_j s²_ij r̂_ij c(r_ij) to the vectors.
    newVectors(x, v, { filters, pairs }, n) {
        const { d, work } = this;
        const value = work.array("value", n * d);
        const s2 = work.array("filter", pairs.n * d);
        this.value.forward(x, "s2", value, n);
        filters.read(this.valueFilter.s2, s2, false);
        for (let p = 0; p < pairs.n; p++) {
            const i = pairs.i[p] * d;
            const j = pairs.j[p] * d;
            const factor = filters.envelope[p] / pairs.r[p];
            for (let axis = 0; axis < 3; axis++) {
                const along = factor * pairs.vector[3 * p + axis];
                const ofI = 3 * i + axis * d;
                const ofJ = 3 * j + axis * d;
                for (let k = 0; k < d; k++) {
                    const message = along * s2[p * d + k];
                    v[ofI + k] += message * value[j + k];
                    v[ofJ + k] -= message * value[i + k];
                }
            }
        }
    }
}

// SiLU(Σ q_i k_j ∘ dk) of one head.
function activated(q, i, k, j, dk, at, width) {
    let logit = 0;
    for (let m = 0; m < width; m++) {
        logit += q[i + m] * k[j + m] * dk[at + m];
    }
    return logit / (1 + Math.exp(-logit));
}

// Σ_b w_ab ∘ x_b for every atom a: x [N, components, d], filters w [P, d] -> out, of the shape of
// x.
function vectorSum(x, w, pairs, out, n, d, components) {
    out.fill(0, 0, n * components * d);
    for (let p = 0; p < pairs.n; p++) {
        for (let m = 0; m < components; m++) {
            const i = (pairs.i[p] * components + m) * d;
            const j = (pairs.j[p] * components + m) * d;
            for (let k = 0; k < d; k++) {
                const filter = w[p * d + k];
                out[i + k] += filter * x[j + k];
                out[j + k] += filter * x[i + k];
            }
        }
    }
}

// Rows of an embedding: atomic numbers [N] -> out [N, d].
function embed(embedding, z, out, d) {
    for (let i = 0; i < z.length; i++) {
        for (let k = 0; k < d; k++) {
            out[i * d + k] = embedding[z[i] * d + k];
        }
    }
}

export class EquivariantTransformer {
    constructor(config, weights, Float) {
        const d = config.hidden_channels;
        this.hiddenChannels = d;
        this.numLayers = config.num_layers;
        this.cutoff = config.cutoff;
        this.conditional = config.conditional;
        this.basis = new ExpNormalBasis(weights.under("basis."), config.num_rbf, config.cutoff);
        this.embedding = weights.get("embedding.weight", [MAX_Z + 1, d]);
        const around = weights.under("neighbor_embedding.");
        this.neighborEmbedding = new NeighborEmbedding(around, config.num_rbf, d, Float);
        this.blocks = [];
        for (let k = 0; k < config.num_layers; k++) {
            const own = weights.under(`blocks.${k}.`);
            const { num_rbf, num_heads } = config;
            this.blocks.push(new Attention(own, num_rbf, d, num_heads, k === 0, Float));
        }
        this.outNorm = new LayerNorm(weights, "out_norm", d);
        this.energyHead = new EnergyHead(weights.under("energy_head."), d, false, Float);
        this.noiseHead = config.noise_head
            ? new NoiseHead(weights.under("noise_head."), d, Float)
            : null;
        this.forceHead = config.direct_forces
            ? new GatedForceHead(weights.under("force_head."), d, Float)
            : null;
        this.forceEncoding = config.force_input
            ? new ForceEncoding(weights.under("force_encoding."), d)
            : null;
        this.adaln = null;
        if (config.conditional) {
            this.makeConditional(weights, Float);
        }
        this.pairs = new Pairs();
        this.work = new Workspace(Float);
        this.exact = new ExactFilters(this.basis, this.cutoff, Float);
        this.tables = null;
    }

    makeConditional(weights, Float) {
        const d = this.hiddenChannels;
        this.adaln = [];
        for (let k = 0; k < this.numLayers; k++) {
            this.adaln.push(new AdaLN(weights.under(`adaln.${k}.`), d, d, Float));
        }
        this.conditionNorm = new LayerNorm(weights, "condition_norm", d);
        this.maskToken = weights.get("mask_token", [d]);
        this.embeddingHead = new EmbeddingHead(weights.under("embedding_head."), d, Float);
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

    // Scalars x [N, d] and vectors v [N, 3, d] of the atoms, and gates [layers][N, d].
    represent(structure, condition, forceInput) {
        const { z } = structure;
        const { work, pairs } = this;
        const n = z.length;
        const d = this.hiddenChannels;
        const filters = this.tables === null ? this.exact : this.tables;
        pairs.search(structure, this.cutoff);
        filters.at(pairs);
        const neighbors = { filters, pairs };
        const x = work.array("x", n * d);
        const v = work.array("v", 3 * n * d);
        embed(this.embedding, z, x, d);
        this.neighborEmbedding.forward(x, z, filters, pairs);
        v.fill(0, 0, 3 * n * d);
        if (forceInput !== null) {
            this.forceEncoding.addLengths(x, forceInput, n);
        }
        const gates = [];
        this.blocks.forEach((block, k) => {
            const modulate = this.adaln === null ? null : { adaln: this.adaln[k], condition };
            const gate = modulate === null ? null : work.array(`gate ${k}`, n * d);
            block.forward(x, v, neighbors, n, modulate, gate);
            gates.push(gate);
            if (k === 0 && forceInput !== null) {
                this.forceEncoding.addVectors(v, forceInput, n);
            }
        });
        this.outNorm.forward(x, x, n);
        return { x, v, gates };
    }

    // Outputs of a structure; arrays are the model's own until its next pass, but for the
    // embedding.
    //
    // condition: one vector [d], or one an atom [N, d]; null for the mask token.
    // forceInput: forces [3N] in eV/Å, zero for atoms without one.
    forward(structure, { condition = null, forceInput = null, forces = false } = {}) {
        const { z } = structure;
        const n = z.length;
        const d = this.hiddenChannels;
        if (forces && this.forceHead === null) {
            throw new Error(
                "This EquivariantTransformer has no head for forces, and a page takes no " +
                    "gradient of its energy; ask a SchNet for forces.",
            );
        }
        if (forceInput !== null) {
            if (this.forceEncoding === null) {
                throw new Error(
                    "This model takes no force input; export one with force_input=True.",
                );
            }
            this.forceEncoding.checked(forceInput, n);
        }
        const c = this.normalizedCondition(condition, n);
        const { x, v, gates } = this.represent(structure, c, forceInput);
        return {
            energy: this.energyHead.total(x, z),
            perAtom: this.energyHead.energies,
            noise: this.vectors(this.noiseHead, "noise", x, v, n),
            forces: forces ? this.vectors(this.forceHead, "forces", x, v, n) : null,
            embedding: this.conditional
                ? this.embeddingHead.forward(x, n)
                : sumOverAtoms(x, n, d, this.work.Float),
            atoms: x,
            gates: this.conditional ? meanGates(gates, n, d) : null,
        };
    }

    normalizedCondition(condition, n) {
        if (!this.conditional) {
            if (condition !== null) {
                throw new Error("This model takes no condition; export one with conditional=True.");
            }
            return null;
        }
        const d = this.hiddenChannels;
        const c = new this.work.Float(checkedCondition(condition ?? this.maskToken, n, d));
        this.conditionNorm.forward(c, c, c.length / d);
        return c;
    }

    vectors(head, name, x, v, n) {
        if (head === null) {
            return null;
        }
        const out = this.work.array(name, 3 * n);
        head.forward(x, v, out, n);
        return out;
    }
}

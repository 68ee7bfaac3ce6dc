// PET, the Point-Edge Transformer: attention over the neighbors of each atom, which knows nothing
// of rotations. As in scdlab/nn/pet.py, forwards alone.
//
//     tokens:      t_ij = MLP([linear(r_ij, |r_ij|), m_ij])          of the neighbors
//                  c_i                                               of the atom itself
//     transformer: t ← t + attention(LN(t)),  t ← t + MLP(LN(t))     num_attention_layers times
//                  weight of token t:  f(r_t) exp(q·k_t / √d) / Σ_t' f(r_t') exp(q·k_t' / √d)
//     read-outs:   x_i ← [x_i, SiLU(A_l c_i), Σ_j f(r_ij) SiLU(B_l t_ij)]
//     exchange:    m_ij ← ½(m_ij + t_ji)
//
// Tokens are rows of one array: the centers of the atoms that a layer computes, then their edges.
// (Pozdnyakov and Ceriotti, NeurIPS 2023, arXiv:2305.19302.)

import { EnergyHead, MAX_Z, sumOverAtoms } from "./heads.js";
import { LayerNorm, Linear, silu } from "./linear.js";
import { Pairs } from "./neighbors.js";
import { SortedEdges } from "./tokens.js";
import { Workspace } from "./workspace.js";

// One block of a transformer over the tokens of each atom, pre-norm.
export class Block {
    constructor(weights, h, numHeads, Float) {
        this.h = h;
        this.numHeads = numHeads;
        this.norm1 = new LayerNorm(weights, "norm1", h);
        this.norm2 = new LayerNorm(weights, "norm2", h);
        this.qkv = new Linear(weights, "qkv", h, 3 * h);
        this.out = new Linear(weights, "out", h, h);
        this.mlp1 = new Linear(weights, "mlp.0", h, 2 * h);
        this.mlp2 = new Linear(weights, "mlp.2", 2 * h, h);
        this.work = new Workspace(Float);
    }

    // Tokens x [n + e, h], in place.
    forward(x, edges, n, e) {
        const { h, work } = this;
        const rows = n + e;
        const normed = work.array("normed", rows * h);
        const qkv = work.array("qkv", rows * 3 * h);
        const y = work.array("y", rows * h);
        const hidden = work.array("hidden", rows * 2 * h);
        this.norm1.forward(x, normed, rows);
        this.qkv.forward(normed, qkv, rows);
        this.attention(qkv, edges, n, y);
        this.out.forward(y, x, rows, true);
        this.norm2.forward(x, normed, rows);
        this.mlp1.forward(normed, hidden, rows);
        silu(hidden, hidden, rows * 2 * h);
        this.mlp2.forward(hidden, x, rows, true);
    }

    // Attention among the tokens of each atom: queries, keys and values [n + e, 3h] -> sums of the
    // values y [n + e, h].
    attention(qkv, edges, n, y) {
        for (let atom = 0; atom < n; atom++) {
            const first = edges.start[atom];
            const count = edges.start[atom + 1] - first;
            this.row(qkv, edges, atom, atom, n + first, count, y);
            for (let k = 0; k < count; k++) {
                this.row(qkv, edges, n + first + k, atom, n + first, count, y);
            }
        }
    }

    // The same for one token, among the center of its atom and `count` neighbors from row `first`
    // on.
    row(qkv, edges, token, center, first, count, y) {
        const { h, numHeads, work } = this;
        const width = h / numHeads;
        const weight = work.doubles("weight", count + 1);
        const edge = edges.start[center];
        for (let head = 0; head < numHeads; head++) {
            const q = token * 3 * h + head * width;
            let largest = -Infinity;
            for (let t = 0; t <= count; t++) {
                const k = (t === 0 ? center : first + t - 1) * 3 * h + h + head * width;
                let logit = 0;
                for (let m = 0; m < width; m++) {
                    logit += qkv[q + m] * qkv[k + m];
                }
                logit = logit / Math.sqrt(width) + (t === 0 ? 0 : edges.logF[edge + t - 1]);
                weight[t] = logit;
                largest = Math.max(largest, logit);
            }
            let sum = 0;
            for (let t = 0; t <= count; t++) {
                weight[t] = Math.exp(weight[t] - largest);
                sum += weight[t];
            }
            const out = token * h + head * width;
            y.fill(0, out, out + width);
            for (let t = 0; t <= count; t++) {
                const v = (t === 0 ? center : first + t - 1) * 3 * h + 2 * h + head * width;
                const share = weight[t] / sum;
                for (let m = 0; m < width; m++) {
                    y[out + m] += share * qkv[v + m];
                }
            }
        }
    }
}

// One layer: tokens from messages, a transformer over them, and read-outs.
export class Layer {
    constructor(weights, h, numBlocks, numHeads, Float) {
        this.h = h;
        this.geometry = new Linear(weights, "geometry", 4, h);
        this.mlp1 = new Linear(weights, "mlp.0", 2 * h, h);
        this.mlp2 = new Linear(weights, "mlp.2", h, h);
        this.blocks = [];
        for (let k = 0; k < numBlocks; k++) {
            this.blocks.push(new Block(weights.under(`blocks.${k}.`), h, numHeads, Float));
        }
        this.center = new Linear(weights, "center", h, h);
        this.bond = new Linear(weights, "bond", h, h);
        this.work = new Workspace(Float);
    }

    // From centers [n, h] and messages [e, h]: tokens [n + e, h], centers first, and read-outs
    // [n, 2h] into columns `column` and on of x, which has rows of `width`.
    forward(center, message, edges, n, e, x, column, width) {
        const { h, work } = this;
        const geometry = work.array("geometry", 4 * e);
        const ofGeometry = work.array("of geometry", e * h);
        const both = work.array("both", 2 * e * h);
        const hidden = work.array("hidden", e * h);
        const neighbors = work.array("neighbors", e * h);
        const tokens = work.array("tokens", (n + e) * h);
        for (let k = 0; k < e; k++) {
            for (let axis = 0; axis < 3; axis++) {
                geometry[4 * k + axis] = edges.vector[3 * k + axis];
            }
            geometry[4 * k + 3] = edges.r[k];
        }
        this.geometry.forward(geometry, ofGeometry, e);
        for (let k = 0; k < e; k++) {
            for (let m = 0; m < h; m++) {
                both[2 * k * h + m] = ofGeometry[k * h + m];
                both[(2 * k + 1) * h + m] = message[k * h + m];
            }
        }
        this.mlp1.forward(both, hidden, e);
        silu(hidden, hidden, e * h);
        this.mlp2.forward(hidden, neighbors, e);
        for (let k = 0; k < n * h; k++) {
            tokens[k] = center[k];
        }
        for (let k = 0; k < e * h; k++) {
            tokens[n * h + k] = neighbors[k];
        }
        for (const block of this.blocks) {
            block.forward(tokens, edges, n, e);
        }
        this.readOut(tokens, edges, n, e, x, column, width);
        return tokens;
    }

    readOut(tokens, edges, n, e, x, column, width) {
        const { h, work } = this;
        const ofCenters = work.array("of centers", n * h);
        const ofBonds = work.array("hidden", e * h);
        const neighbors = work.array("neighbors", e * h);
        neighbors.set(tokens.subarray(n * h, (n + e) * h));
        this.center.forward(tokens, ofCenters, n);
        silu(ofCenters, ofCenters, n * h);
        this.bond.forward(neighbors, ofBonds, e);
        silu(ofBonds, ofBonds, e * h);
        for (let i = 0; i < n; i++) {
            const at = i * width + column;
            for (let m = 0; m < h; m++) {
                x[at + m] = ofCenters[i * h + m];
                x[at + h + m] = 0;
            }
            for (let k = edges.start[i]; k < edges.start[i + 1]; k++) {
                for (let m = 0; m < h; m++) {
                    x[at + h + m] += edges.f[k] * ofBonds[k * h + m];
                }
            }
        }
    }
}

export class PET {
    constructor(config, weights, Float) {
        const h = config.hidden_channels;
        if (config.conditional) {
            throw new Error(
                "A PET of a page takes no condition; export a model with conditional=False, or " +
                    "an EquivariantTransformer.",
            );
        }
        this.width = h; // of tokens and messages
        this.hiddenChannels = 2 * config.num_layers * h;
        this.numLayers = config.num_layers;
        this.nHops = config.num_layers;
        this.cutoff = config.cutoff;
        this.cutoffWidth = config.cutoff_width;
        this.center = weights.get("center.weight", [MAX_Z + 1, h]);
        this.neighbor = weights.get("neighbor.weight", [MAX_Z + 1, h]);
        this.blocks = [];
        for (let k = 0; k < config.num_layers; k++) {
            const own = weights.under(`blocks.${k}.`);
            const { num_attention_layers, num_heads } = config;
            this.blocks.push(new Layer(own, h, num_attention_layers, num_heads, Float));
        }
        const d = this.hiddenChannels;
        this.energyHead = new EnergyHead(weights.under("energy_head."), d, true, Float);
        this.noiseHead = config.noise_head ? new Linear(weights, "noise_head.linear", d, 3) : null;
        this.forceHead = config.direct_forces
            ? new Linear(weights, "force_head.linear", d, 3)
            : null;
        this.forceUnit = config.direct_forces ? weights.doubles("force_head.scale", [])[0] : 1;
        this.pairs = new Pairs();
        this.work = new Workspace(Float);
    }

    // The edges of n atoms, from pairs within the cutoff and possibly beyond it.
    edges(pairs, n, hop = null) {
        return new SortedEdges(pairs, n, hop, this.cutoff, this.cutoffWidth, this.numLayers);
    }

    // Read-outs of all layers, [N, d]; those of atoms with hop > 0 mean nothing.
    represent(z, edges) {
        const { width: h, work } = this;
        const d = this.hiddenChannels;
        const x = work.array("x", z.length * d);
        const center = work.array("center", edges.nAtoms[0] * h);
        const message = work.array("message", edges.n * h);
        for (let i = 0; i < edges.nAtoms[0]; i++) {
            for (let m = 0; m < h; m++) {
                center[i * h + m] = this.center[z[i] * h + m];
            }
        }
        for (let k = 0; k < edges.n; k++) {
            for (let m = 0; m < h; m++) {
                message[k * h + m] = this.neighbor[z[edges.source[k]] * h + m];
            }
        }
        this.blocks.forEach((block, layer) => {
            const n = edges.nAtoms[layer];
            const e = edges.nEdges[layer];
            const tokens = block.forward(center, message, edges, n, e, x, 2 * layer * h, d);
            if (layer + 1 === this.numLayers) {
                return;
            }
            center.set(tokens.subarray(0, n * h));
            for (let k = 0; k < edges.nEdges[layer + 1]; k++) {
                const opposite = (n + edges.reverse[k]) * h;
                for (let m = 0; m < h; m++) {
                    message[k * h + m] = 0.5 * (message[k * h + m] + tokens[opposite + m]);
                }
            }
        });
        return x;
    }

    // Energy in eV; noise [3N] in units of σ and forces [3N] in eV/Å where there are heads for
    // them, which do not rotate with the structure.
    forward(structure, { forces = false } = {}) {
        const { z } = structure;
        if (forces && this.forceHead === null) {
            throw new Error(
                "This PET has no head for forces, and a page takes no gradient of its energy; " +
                    "ask a SchNet for forces.",
            );
        }
        this.pairs.search(structure, this.cutoff);
        const n = z.length;
        const x = this.represent(z, this.edges(this.pairs, n));
        return {
            energy: this.energyHead.total(x, z),
            perAtom: this.energyHead.energies,
            noise: this.axes(this.noiseHead, "noise", x, n, 1),
            forces: forces ? this.axes(this.forceHead, "forces", x, n, this.forceUnit) : null,
            embedding: sumOverAtoms(x, n, this.hiddenChannels, this.work.Float),
            atoms: x,
        };
    }

    // Three numbers an atom along the axes of space, [3N].
    axes(head, name, x, n, unit) {
        if (head === null) {
            return null;
        }
        const out = this.work.array(name, 3 * n);
        head.forward(x, out, n);
        for (let k = 0; k < 3 * n; k++) {
            out[k] *= unit;
        }
        return out;
    }
}

// The tokens of the Point-Edge Transformer: directed edges within the cutoff, sorted by the atom
// that they lead to, and which of them each layer computes. As in scdlab/nn/blocks/tokens.py.

import { stepLogit } from "./radial.js";

export class SortedEdges {
    // pairs: a half list {n, i, j, vector, r}, of n atoms.
    // hop: steps of at most the cutoff from each atom to the one whose share is needed; null where
    // all shares are. Atoms are to be in order of their hops. Layer l of L computes atoms with hop
    // ≤ L - 1 - l, and the edges that lead to them.
    constructor(pairs, n, hop, cutoff, width, numLayers) {
        this.nAtoms = []; // atoms that each layer computes: the first so many
        for (let layer = 0; layer < numLayers; layer++) {
            const last = numLayers - 1 - layer;
            this.nAtoms.push(hop === null ? n : hop.filter((h) => h <= last).length);
        }
        const into = Array.from({ length: n }, () => []);
        for (let p = 0; p < pairs.n; p++) {
            if (pairs.r[p] < cutoff) {
                into[pairs.i[p]].push([pairs.j[p], p, 1]);
                into[pairs.j[p]].push([pairs.i[p], p, -1]);
            }
        }
        this.start = new Int32Array(n + 1); // where the edges into each atom begin
        for (let atom = 0; atom < n; atom++) {
            const computed = atom < this.nAtoms[0];
            this.start[atom + 1] = this.start[atom] + (computed ? into[atom].length : 0);
        }
        this.n = this.start[n];
        this.nEdges = this.nAtoms.map((atoms) => this.start[atoms]);
        this.target = new Int32Array(this.n);
        this.source = new Int32Array(this.n);
        this.reverse = new Int32Array(this.n).fill(-1); // the edge in the other direction
        this.vector = new Float64Array(3 * this.n); // r_ij from target to source, in Å
        this.r = new Float64Array(this.n);
        this.f = new Float64Array(this.n); // the smooth step
        this.logF = new Float64Array(this.n);
        const firstOfPair = new Int32Array(pairs.n).fill(-1);
        let edge = 0;
        for (let atom = 0; atom < this.nAtoms[0]; atom++) {
            for (const [source, p, sign] of into[atom]) {
                this.target[edge] = atom;
                this.source[edge] = source;
                this.r[edge] = pairs.r[p];
                for (let k = 0; k < 3; k++) {
                    this.vector[3 * edge + k] = sign * pairs.vector[3 * p + k];
                }
                const logit = stepLogit(pairs.r[p], cutoff, width);
                this.f[edge] = 1 / (1 + Math.exp(-logit));
                this.logF[edge] = -Math.log1p(Math.exp(-Math.abs(logit))) + Math.min(logit, 0);
                if (firstOfPair[p] >= 0) {
                    this.reverse[edge] = firstOfPair[p];
                    this.reverse[firstOfPair[p]] = edge;
                }
                firstOfPair[p] = edge;
                edge += 1;
            }
        }
    }
}

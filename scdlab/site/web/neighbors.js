// Which atoms are within the cutoff of each other, as a half list: each unordered pair once. As in
// scdlab/atoms/neighbors.py, for one structure.
//
// A structure is {z: atomic numbers [n], pos: positions [3n] in Å, cell: rows of cell vectors [9]
// in Å, or null where nothing is periodic}. Periodic structures repeat along all three vectors.

const COINCIDENT = 1e-6; // Å

export class Pairs {
    constructor() {
        this.n = 0;
        this.i = new Int32Array(64);
        this.j = new Int32Array(64);
        this.vector = new Float64Array(192); // r_ij = r_j - r_i, [n, 3] Å
        this.r = new Float64Array(64); // |r_ij| in Å
    }

    // Find the pairs of a structure; they stand here until the next search.
    search(structure, cutoff) {
        this.n = 0;
        if (structure.cell) {
            this.allImages(structure, cutoff);
        } else {
            this.allPairs(structure.pos, structure.z.length, cutoff);
        }
        return this;
    }

    allPairs(pos, n, cutoff) {
        for (let i = 0; i < n; i++) {
            for (let j = i + 1; j < n; j++) {
                const x = pos[3 * j] - pos[3 * i];
                const y = pos[3 * j + 1] - pos[3 * i + 1];
                const z = pos[3 * j + 2] - pos[3 * i + 2];
                this.add(i, j, x, y, z, cutoff);
            }
        }
    }

    // Of a periodic structure: the image s of a pair lies at r = x + Σ s_k a_k, so with the duals
    // b_k of the cell vectors a_k, |b_k·x + s_k| ≤ cutoff |b_k|. Images of an atom itself come in
    // opposite couples, of which one is kept.
    allImages(structure, cutoff) {
        const { z, pos, cell } = structure;
        const n = z.length;
        const dual = duals(cell);
        const reach = [0, 1, 2].map((k) => cutoff * length(dual, k) + 1e-9);
        for (let i = 0; i < n; i++) {
            for (let j = i; j < n; j++) {
                const x = [0, 1, 2].map((k) => pos[3 * j + k] - pos[3 * i + k]);
                const low = [];
                const high = [];
                for (let k = 0; k < 3; k++) {
                    const along =
                        dual[3 * k] * x[0] + dual[3 * k + 1] * x[1] + dual[3 * k + 2] * x[2];
                    low.push(Math.ceil(-along - reach[k]));
                    high.push(Math.floor(reach[k] - along));
                }
                for (let a = low[0]; a <= high[0]; a++) {
                    for (let b = low[1]; b <= high[1]; b++) {
                        for (let c = low[2]; c <= high[2]; c++) {
                            if (i === j && !isAfterZero(a, b, c)) {
                                continue;
                            }
                            this.add(
                                i,
                                j,
                                x[0] + a * cell[0] + b * cell[3] + c * cell[6],
                                x[1] + a * cell[1] + b * cell[4] + c * cell[7],
                                x[2] + a * cell[2] + b * cell[5] + c * cell[8],
                                cutoff,
                            );
                        }
                    }
                }
            }
        }
    }

    add(i, j, x, y, z, cutoff) {
        const square = x * x + y * y + z * z;
        if (!Number.isFinite(square)) {
            throw new Error(`Atom ${i + 1} or ${j + 1} has no finite position; correct it.`);
        }
        if (square >= cutoff * cutoff) {
            return;
        }
        if (square < COINCIDENT * COINCIDENT) {
            throw new Error(
                `Atoms ${i + 1} and ${j + 1} are in the same place; move one of them.`,
            );
        }
        if (this.n === this.i.length) {
            this.grow();
        }
        this.i[this.n] = i;
        this.j[this.n] = j;
        this.vector[3 * this.n] = x;
        this.vector[3 * this.n + 1] = y;
        this.vector[3 * this.n + 2] = z;
        this.r[this.n] = Math.sqrt(square);
        this.n += 1;
    }

    grow() {
        for (const name of ["i", "j", "vector", "r"]) {
            const old = this[name];
            this[name] = new old.constructor(2 * old.length);
            this[name].set(old);
        }
    }
}

// Vectors b_k with a_k·b_l = δ_kl, rows [9].
function duals(cell) {
    const out = new Float64Array(9);
    let volume = 0;
    for (let k = 0; k < 3; k++) {
        const a = 3 * ((k + 1) % 3);
        const b = 3 * ((k + 2) % 3);
        out[3 * k] = cell[a + 1] * cell[b + 2] - cell[a + 2] * cell[b + 1];
        out[3 * k + 1] = cell[a + 2] * cell[b] - cell[a] * cell[b + 2];
        out[3 * k + 2] = cell[a] * cell[b + 1] - cell[a + 1] * cell[b];
    }
    for (let k = 0; k < 3; k++) {
        volume += cell[k] * out[k];
    }
    const edges = length(cell, 0) * length(cell, 1) * length(cell, 2);
    if (!(Math.abs(volume) > 1e-6 * edges)) {
        throw new Error(
            "The cell vectors span no volume; give three that do not lie in one plane.",
        );
    }
    return out.map((x) => x / volume);
}

function length(rows, k) {
    return Math.hypot(rows[3 * k], rows[3 * k + 1], rows[3 * k + 2]);
}

function isAfterZero(a, b, c) {
    return a > 0 || (a === 0 && (b > 0 || (b === 0 && c > 0)));
}

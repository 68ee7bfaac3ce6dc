// ECSE: equivariant coordinate system ensembles, exact rotational symmetry for a PET, which has
// none. As in scdlab/symmetry/ecse.py, for energies, of structures that are not periodic.
//
//     E_i = (Σ_jj' w_jj' E_i(F_jj'ᵀ r) + w_aux E_aux,i) / (Σ_jj' w_jj' + w_aux)
//
// Each atom has frames of its own (frames.js), in which its own part of the energy is evaluated: of
// all that it depends on, and of nothing else. Distances do not change in a frame, so the edges of
// an atom's surroundings are found once, and their vectors alone are rotated.
// (Pozdnyakov and Ceriotti, NeurIPS 2023, arXiv:2305.19302.)

import { axesOf, framesOf, reach } from "./frames.js";
import { Pairs } from "./neighbors.js";

const DEFAULTS = { group: "O(3)", radius_width: 0.15, beta: 5, sin2_min: 0.2, sin2_width: 0.15 };

export class ECSE {
    // model: a PET.
    // config: arguments of ECSE in Python, of which those that are missing have their defaults.
    // auxiliary: the equivariant model that stands in for atoms whose neighbors are in line. By
    // default one that adds nothing to the reference energies, as in Python until it is trained;
    // null for none.
    constructor(model, config = {}, auxiliary = "default") {
        const given = { ...DEFAULTS, ...config };
        if (given.local === false) {
            throw new Error(
                "A page makes frames of each atom alone; export an ECSE with local=True.",
            );
        }
        this.model = model;
        this.auxiliary = auxiliary;
        this.cutoff = model.cutoff;
        this.hands = given.group === "O(3)" ? [1, -1] : [1];
        this.settings = {
            outerRadius: given.outer_radius ?? model.cutoff - given.radius_width,
            radiusWidth: given.radius_width,
            beta: given.beta,
            sin2Min: given.sin2_min,
            sin2Width: given.sin2_width,
            prunings: given.prunings ?? 0,
        };
        this.pairs = new Pairs();
        this.seen = new Pairs(); // by the model
        this.about = model.about;
    }

    // The frames of every atom, as `framesOf` gives them.
    frames(structure) {
        checkOpen(structure);
        const n = structure.z.length;
        const neighbors = Array.from({ length: n }, () => []);
        const { i, j, r, vector } = this.pairs.search(structure, reach(this.settings));
        for (let p = 0; p < this.pairs.n; p++) {
            const unit = [0, 1, 2].map((k) => vector[3 * p + k] / r[p]);
            neighbors[i[p]].push({ atom: j[p], r: r[p], unit });
            neighbors[j[p]].push({ atom: i[p], r: r[p], unit: unit.map((x) => -x) });
        }
        return neighbors.map((around) => framesOf(around, this.settings));
    }

    // Energy in eV, that of each atom, and how many frames there were.
    forward(structure) {
        const { z } = structure;
        const ofAtoms = this.frames(structure);
        const perAtom = new Float64Array(z.length);
        let ofAuxiliary = null;
        let nFrames = 0;
        this.seen.search(structure, this.cutoff);
        ofAtoms.forEach(({ frames, auxiliaryWeight }, atom) => {
            let sum = 0;
            let norm = 0;
            if (frames.length > 0) {
                const around = this.surroundings(z, atom);
                for (const { w, j, k } of frames) {
                    for (const [a, b] of [[j.unit, k.unit], [k.unit, j.unit]]) {
                        for (const hand of this.hands) {
                            sum += w * this.energyIn(axesOf(a, b, hand), around);
                            norm += w;
                            nFrames += 1;
                        }
                    }
                }
            }
            if (auxiliaryWeight > 0) {
                ofAuxiliary ??= this.auxiliaryEnergies(structure, atom);
                sum += auxiliaryWeight * ofAuxiliary[atom];
                norm += auxiliaryWeight;
            }
            perAtom[atom] = sum / norm;
        });
        return { energy: perAtom.reduce((a, b) => a + b, 0), perAtom, nFrames };
    }

    // What an atom's energy depends on: atoms within `nHops` steps, in order of hops, itself first.
    surroundings(z, center) {
        const { seen, model } = this;
        const n = z.length;
        const hop = new Int32Array(n).fill(-1);
        const atoms = [center];
        hop[center] = 0;
        for (let level = 0; level < model.nHops; level++) {
            for (let p = 0; p < seen.n; p++) {
                for (const [from, to] of [[seen.i[p], seen.j[p]], [seen.j[p], seen.i[p]]]) {
                    if (hop[from] === level && hop[to] < 0) {
                        hop[to] = level + 1;
                        atoms.push(to);
                    }
                }
            }
        }
        const place = new Int32Array(n).fill(-1);
        atoms.forEach((atom, at) => {
            place[atom] = at;
        });
        const within = [];
        for (let p = 0; p < seen.n; p++) {
            if (hop[seen.i[p]] >= 0 && hop[seen.j[p]] >= 0) {
                within.push(p);
            }
        }
        const pairs = {
            n: within.length,
            i: within.map((p) => place[seen.i[p]]),
            j: within.map((p) => place[seen.j[p]]),
            r: within.map((p) => seen.r[p]),
            vector: within.flatMap((p) => Array.from(seen.vector.subarray(3 * p, 3 * p + 3))),
        };
        const hops = atoms.map((atom) => hop[atom]);
        const edges = model.edges(pairs, atoms.length, hops);
        return { z: atoms.map((atom) => z[atom]), edges, vector: edges.vector.slice() };
    }

    // The energy of the first atom of these surroundings, seen in a frame: vectors Fᵀ r.
    energyIn(axes, { z, edges, vector }) {
        for (let k = 0; k < 3 * edges.n; k += 3) {
            for (let m = 0; m < 3; m++) {
                edges.vector[k + m] =
                    axes[m] * vector[k] + axes[3 + m] * vector[k + 1] + axes[6 + m] * vector[k + 2];
            }
        }
        const x = this.model.represent(z, edges);
        return this.model.energyHead.perAtom(x, z.slice(0, 1))[0];
    }

    // Energies [N] in eV by the auxiliary model, for an atom without frames.
    auxiliaryEnergies(structure, atom) {
        if (this.auxiliary === null) {
            throw new Error(
                `The neighbors of atom ${atom + 1} are in line, or nearly so, and make no frame; ` +
                    "export an ECSE with an auxiliary model.",
            );
        }
        if (this.auxiliary === "default") {
            return Array.from(structure.z, (z) => this.model.energyHead.reference[z]);
        }
        return this.auxiliary.forward(structure).perAtom;
    }
}

function checkOpen(structure) {
    if (structure.cell) {
        throw new Error(
            "A page makes frames of molecules alone, and this structure is periodic; give one " +
                "without a cell.",
        );
    }
}

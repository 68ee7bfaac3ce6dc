// Forces as an input: which structure is meant. As in scdlab/nn/blocks/force_encoding.py, degrees 0
// and 1: x⁽⁰⁾ = W⁽⁰⁾ |F|/√3 and x⁽¹⁾ = W⁽¹⁾ F, in units of the forces of the training set.

export class ForceEncoding {
    constructor(weights, d) {
        this.d = d;
        this.weights = [0, 1].map((degree) => weights.get(`weights.${degree}`, [d]));
        this.scale = weights.doubles("scale", [])[0]; // eV/Å
    }

    // Forces [3N] in eV/Å, of the right number.
    checked(forces, n) {
        if (forces.length !== 3 * n || !Array.from(forces).every(Number.isFinite)) {
            throw new Error(
                `The force input must hold ${3 * n} finite numbers in eV/Å, three an atom; give ` +
                    "zero for atoms without one.",
            );
        }
        return forces;
    }

    // Add x⁽⁰⁾ to scalars x [N, d].
    addLengths(x, forces, n) {
        const { d, scale } = this;
        const w = this.weights[0];
        for (let i = 0; i < n; i++) {
            const size = Math.hypot(forces[3 * i], forces[3 * i + 1], forces[3 * i + 2]);
            for (let k = 0; k < d; k++) {
                x[i * d + k] += (size / Math.sqrt(3) / scale) * w[k];
            }
        }
    }

    // Add x⁽¹⁾ to vectors v [N, 3, d].
    addVectors(v, forces, n) {
        const { d, scale } = this;
        const w = this.weights[1];
        for (let i = 0; i < 3 * n; i++) {
            for (let k = 0; k < d; k++) {
                v[i * d + k] += (forces[i] / scale) * w[k];
            }
        }
    }
}

// Random numbers from a seed, so that a link gives the same scene again.

export class Random {
    // seed: a whole number.
    constructor(seed) {
        this.state = seed >>> 0;
        this.spare = null;
    }

    // A number from 0 to below 1 (mulberry32).
    uniform() {
        this.state = (this.state + 0x6d2b79f5) >>> 0;
        let x = this.state;
        x = Math.imul(x ^ (x >>> 15), x | 1);
        x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
        return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
    }

    // A number of the standard normal distribution (Box and Muller).
    normal() {
        if (this.spare !== null) {
            const spare = this.spare;
            this.spare = null;
            return spare;
        }
        const size = Math.sqrt(-2 * Math.log(1 - this.uniform()));
        const angle = 2 * Math.PI * this.uniform();
        this.spare = size * Math.sin(angle);
        return size * Math.cos(angle);
    }

    // The same, `size` of them.
    normals(size) {
        return Float64Array.from({ length: size }, () => this.normal());
    }
}

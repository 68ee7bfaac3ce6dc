// Functions of the distance r between two atoms: radial bases, cutoffs, and the shifted softplus.
// As in scdlab/nn/blocks/radial.py, and with derivatives by r where energies are differentiated.

const SMALLEST_EXPONENT = -30;
// of x in (-1, 1): here a smooth step is 0 or 1 to the last bit, with all derivatives
const ENDS = 0.998;
const LN2 = Math.log(2);

// Gaussians with evenly spaced centers, e_k(r) = exp(-γ (r - μ_k)²).
export class GaussianBasis {
    // Centers from 0 to the cutoff, as the checkpoint has them.
    constructor(weights, n, cutoff) {
        this.n = n;
        this.gamma = 0.5 * ((n - 1) / cutoff) ** 2;
        this.centers = weights.doubles("centers", [n]);
    }

    // The functions [rows, n] at distances r [rows] in Å, and their derivatives unless slope is
    // null.
    forward(r, rows, out, slope = null) {
        for (let p = 0; p < rows; p++) {
            for (let k = 0; k < this.n; k++) {
                const x = r[p] - this.centers[k];
                const arg = -this.gamma * x * x;
                const value = Math.exp(Math.max(arg, SMALLEST_EXPONENT));
                out[p * this.n + k] = value;
                if (slope !== null) {
                    slope[p * this.n + k] =
                        arg < SMALLEST_EXPONENT ? 0 : -2 * this.gamma * x * value;
                }
            }
        }
    }
}

// Bumps evenly spaced in exp(-r), e_k(r) = c(r) exp(-β (exp(-5 r / r_c) - μ_k)²).
export class ExpNormalBasis {
    // Centers from exp(-r_c) to 1, as the checkpoint has them.
    constructor(weights, n, cutoff) {
        this.n = n;
        this.cutoff = cutoff;
        this.beta = ((2 / n) * (1 - Math.exp(-cutoff))) ** -2;
        this.centers = weights.doubles("centers", [n]);
    }

    // The functions [rows, n] at distances r [rows] in Å.
    forward(r, rows, out) {
        for (let p = 0; p < rows; p++) {
            const x = Math.exp((-5 / this.cutoff) * r[p]);
            const c = cosineCutoff(r[p], this.cutoff);
            for (let k = 0; k < this.n; k++) {
                const arg = -this.beta * (x - this.centers[k]) ** 2;
                out[p * this.n + k] = c * Math.exp(Math.max(arg, SMALLEST_EXPONENT));
            }
        }
    }
}

// No basis at all: the distance in Å itself, [rows] -> [rows, 1].
export class RawDistance {
    constructor() {
        this.n = 1;
    }

    forward(r, rows, out, slope = null) {
        for (let p = 0; p < rows; p++) {
            out[p] = r[p];
            if (slope !== null) {
                slope[p] = 1;
            }
        }
    }
}

// ½(cos(πr/r_c) + 1) for r < r_c, else 0: value and slope are zero at r_c.
export function cosineCutoff(r, cutoff) {
    return r < cutoff ? 0.5 * (Math.cos((r * Math.PI) / cutoff) + 1) : 0;
}

// Its derivative by r.
export function cosineCutoffSlope(r, cutoff) {
    return r < cutoff ? ((-0.5 * Math.PI) / cutoff) * Math.sin((r * Math.PI) / cutoff) : 0;
}

// ln(f / (1 - f)) of f = smoothStep, from about 1000 inside to about -1000 outside.
export function stepLogit(r, stop, width) {
    const x = Math.min(Math.max((2 * (r - stop)) / width + 1, -ENDS), ENDS);
    return (4 * x) / (x * x - 1);
}

// A cutoff with all derivatives: 1 for r ≤ stop - width, 0 for r ≥ stop, both exactly.
export function smoothStep(r, stop, width) {
    return 1 / (1 + Math.exp(-stepLogit(r, stop, width)));
}

// ssp(x) = ln(½eˣ + ½): smooth everywhere, ssp(0) = 0.
export function shiftedSoftplus(x, out, size) {
    for (let k = 0; k < size; k++) {
        out[k] = Math.max(x[k], 0) + Math.log1p(Math.exp(-Math.abs(x[k]))) - LN2;
    }
}

// gradient ← gradient · ssp'(x), ssp' = 1 / (1 + e⁻ˣ).
export function shiftedSoftplusBackward(x, gradient, size) {
    for (let k = 0; k < size; k++) {
        gradient[k] /= 1 + Math.exp(-x[k]);
    }
}

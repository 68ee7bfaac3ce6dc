// The frames of ECSE: every two neighbors of an atom give axes that rotate with its surroundings,
// and weights that depend smoothly on them. As in scdlab/symmetry/ecse.py, for one structure.
//
//     a = r̂_j,  b = a × r̂_j' / |a × r̂_j'|,  c = a × b,  F = [a b c]
//
//     near neighbors that are not in line:
//     w_jj' = f(r_j|R_in, Δ) f(r_j'|R_in, Δ) q(s|W-ΔW, ΔW) (s - (W-ΔW))/ΔW
//     the same, as far as i looks:
//     p_jj' = f(r_j|R_out, Δ) f(r_j'|R_out, Δ) q(s|W, ΔW)
//     above both distances:
//     d_jj' = SmoothMax_β(r_j, r_j') + T(β),   T(β) = LambertW(1/e)/β
//     with one more entry, d = R_out and p = 1:
//     R_in  = Σ p d e^(-βd) / Σ p e^(-βd) + Δ
//     w_aux = f(w_max|½, ½)

import { smoothStep } from "./radial.js";

// W(1/e): by so much over β a smooth maximum of two stays below the maximum at most
const LAMBERT = 0.2784645427610738;
const NEGLIGIBLE = 1e-15; // of the largest weight: below what double precision tells apart
const PRUNED_FROM = 0.8; // of the largest weight: smaller frames are pruned
const PRUNED_OVER = 0.1;
const NORM = 64; // of the smooth largest weight

// Neighbors matter as far as R_in can be.
export function reach(settings) {
    return settings.outerRadius + settings.radiusWidth + LAMBERT / settings.beta;
}

// The frames of one atom.
//
// neighbors: [{atom, r, unit: [x, y, z]}, …], within `reach`.
// settings: outerRadius, radiusWidth, beta, sin2Min, sin2Width, prunings.
//
// Gives {frames: [{w, j, k, unitJ, unitK}, …], one for every two neighbors of weight above zero,
// whose weight w is that of both orders and of each hand; auxiliaryWeight; innerRadius in Å}.
export function framesOf(neighbors, settings) {
    const pairs = [];
    for (let j = 0; j < neighbors.length; j++) {
        for (let k = j + 1; k < neighbors.length; k++) {
            const a = neighbors[j].unit;
            const b = neighbors[k].unit;
            const cosine = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
            pairs.push({ j: neighbors[j], k: neighbors[k], sin2: 1 - cosine * cosine, w: 0 });
        }
    }
    const innerRadius = innerRadiusOf(pairs, settings);
    for (const pair of pairs) {
        pair.w = weightOf(pair, innerRadius, settings);
    }
    const largest = smoothMaximum(pairs);
    const auxiliaryWeight = smoothStep(largest, 0.5, 0.5); // 1 where there is no frame
    const least = NEGLIGIBLE * largest;
    let kept = pairs.filter((pair) => pair.w > least);
    for (let pruning = 0; pruning < settings.prunings; pruning++) {
        const now = smoothMaximum(kept);
        for (const pair of kept) {
            pair.w *= stepUp(pair.w / now, PRUNED_FROM, PRUNED_OVER);
        }
        kept = kept.filter((pair) => pair.w > least);
    }
    return { frames: kept, auxiliaryWeight, innerRadius };
}

// R_in in Å.
function innerRadiusOf(pairs, { outerRadius, radiusWidth, beta, sin2Min, sin2Width }) {
    const used = [];
    let least = outerRadius;
    for (const { j, k, sin2 } of pairs) {
        const p =
            smoothStep(j.r, outerRadius, radiusWidth) *
            smoothStep(k.r, outerRadius, radiusWidth) *
            stepUp(sin2, sin2Min, sin2Width);
        if (p > 0) {
            const apart = j.r - k.r;
            const d = k.r + apart / (1 + Math.exp(-beta * apart)) + LAMBERT / beta;
            least = Math.min(least, d);
            used.push([p, d]);
        }
    }
    // exponentials relative to the largest, which nothing overflows and which cancels
    let total = Math.exp(-beta * (outerRadius - least)); // the entry d = R_out
    let mean = outerRadius * total;
    for (const [p, d] of used) {
        const e = 2 * p * Math.exp(-beta * (d - least)); // (j, j') and (j', j)
        total += e;
        mean += e * d;
    }
    return mean / total + radiusWidth;
}

function weightOf({ j, k, sin2 }, innerRadius, { radiusWidth, sin2Min, sin2Width }) {
    const start = sin2Min - sin2Width;
    if (!(sin2 > start) || j.r >= innerRadius || k.r >= innerRadius) {
        return 0;
    }
    return (
        ((stepUp(sin2, start, sin2Width) * (sin2 - start)) / sin2Width) *
        smoothStep(j.r, innerRadius, radiusWidth) *
        smoothStep(k.r, innerRadius, radiusWidth)
    );
}

// q: 0 for s ≤ start, 1 for s ≥ start + width, smooth.
function stepUp(s, start, width) {
    return smoothStep(-s, -start, width);
}

// (Σ w^64)^(1/64): 0 where there is none. In units of the plain maximum, which cancels.
function smoothMaximum(pairs) {
    const top = pairs.reduce((largest, pair) => Math.max(largest, pair.w), 0);
    if (top === 0) {
        return 0;
    }
    const total = pairs.reduce((sum, { w }) => sum + Math.max(w / top, 1e-4) ** NORM, 0);
    return top * total ** (1 / NORM);
}

// The axes of two unit vectors a and b, row by row [9]; hand: 1 for right-handed ones, -1 for left.
export function axesOf(a, b, hand) {
    let x = a[1] * b[2] - a[2] * b[1];
    let y = a[2] * b[0] - a[0] * b[2];
    let z = a[0] * b[1] - a[1] * b[0];
    const size = Math.sqrt(x * x + y * y + z * z);
    x /= size;
    y /= size;
    z /= size;
    const c = [a[1] * z - a[2] * y, a[2] * x - a[0] * z, a[0] * y - a[1] * x];
    return [a[0], hand * x, c[0], a[1], hand * y, c[1], a[2], hand * z, c[2]];
}

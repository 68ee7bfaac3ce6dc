// What a network was trained on, how well it does, and how far a structure is from what it knows:
// the largest distance, over its atoms, to the nearest of a few hundred atoms of its training set,
// in the network's own features, each channel in units of its spread.

import { decode } from "./checkpoint.js";
import { symbols } from "./elements.js";

const REACH = 5; // Å, the cutoff of the networks

export class Reference {
    /**
     * @param about what tools/live_data.py made for one network: `z`, `features` (int8, in units of
     * `step` spreads), `mean`, `spread`, `usual`, the distance below which 95 of 100 unseen
     * structures like those of its training are; `trained`, `error`, in words.
     */
    constructor(about) {
        this.z = about.z;
        this.usual = about.usual;
        this.trained = about.trained;
        this.error = about.error;
        this.mean = Float64Array.from(about.mean);
        this.spread = Float64Array.from(about.spread);
        const whole = new Int8Array(decode({ data: about.features }));
        this.features = Float32Array.from(whole, (x) => x * about.step);
    }

    /** The distance of the structure in units of what is usual, and the atom that is farthest. */
    distance(atoms, z) {
        const d = this.mean.length;
        const own = new Float64Array(d);
        let largest = -1;
        let farthest = 0;
        for (let i = 0; i < z.length; i++) {
            for (let k = 0; k < d; k++) {
                own[k] = (atoms[i * d + k] - this.mean[k]) / this.spread[k];
            }
            let nearest = Infinity;
            for (let r = 0; r < this.z.length; r++) {
                if (this.z[r] !== z[i]) {
                    continue;
                }
                let sum = 0;
                for (let k = 0; k < d && sum < nearest; k++) {
                    sum += (own[k] - this.features[r * d + k]) ** 2;
                }
                nearest = Math.min(nearest, sum);
            }
            if (nearest > largest) {
                largest = nearest;
                farthest = i;
            }
        }
        return { share: Math.sqrt(largest) / this.usual, atom: farthest };
    }
}

/** {text, color} for a structure, by its distance. */
export function verdict({ share, atom }, z) {
    const name = `${symbols[z[atom]]}${atom + 1}`;
    const number = Number.isFinite(share) ? share.toFixed(1) : "∞";
    if (share < 1.05) {
        return {
            color: "blue",
            text: `Like what it was trained on (distance ${number}; up to 1 is usual).`,
        };
    }
    if (share <= 2) {
        return {
            color: "orange",
            text: `At the edge of its training set: ${name} is ${number} times as far as is usual.`,
        };
    }
    return {
        color: "vermilion",
        text: `Far from its training set: ${name} is ${number} times as far as is usual. Do not trust the answer.`,
    };
}

/** {text, color} for a molecule with an atom that no other one reaches; null where there is none. */
export function alone({ z, pos, cell }) {
    if (cell !== null) {
        return null;
    }
    const apart = (i, j) => Math.hypot(...[0, 1, 2].map((k) => pos[3 * i + k] - pos[3 * j + k]));
    const all = Array.from(z, (_, i) => i);
    const atom = all.find((i) => all.every((j) => i === j || apart(i, j) > REACH));
    if (atom === undefined) {
        return null;
    }
    const name = `${symbols[z[atom]]}${atom + 1}`;
    const text = `${name} has no other atom within ${REACH} Å, unlike all that it was trained on.`;
    return { color: "vermilion", text: `${text} Do not trust the answer.` };
}

/** The sentence about elements that a network has not seen. */
export function unseenSentence(names, trained) {
    const list = names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0];
    const knows = trained.map((z) => symbols[z]).join(", ");
    return `This network has never seen ${list}, so it gives no answer here; it knows ${knows}.`;
}

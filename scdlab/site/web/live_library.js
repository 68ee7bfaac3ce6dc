// The structures that come with the page, and how they are named.

import { decode } from "./checkpoint.js";
import { symbols } from "./elements.js";

const SHOWN = 200; // molecules of QM9 in the list; the map has all

export class Library {
    /**
     * @param data what tools/live_data.py made: `qm9`, {size, z, pos, map, gap, far, farthest}, and
     * `frames`, by name lists of {z, pos, cell}; positions in units of `unit` Å, whole numbers in
     * base64.
     */
    constructor(data) {
        this.unit = data.unit;
        this.frames = data.frames;
        const size = new Uint8Array(decode({ data: data.qm9.size }));
        this.z = new Uint8Array(decode({ data: data.qm9.z }));
        this.pos = new Int16Array(decode({ data: data.qm9.pos }));
        this.start = new Int32Array(size.length + 1);
        size.forEach((n, k) => {
            this.start[k + 1] = this.start[k] + n;
        });
        this.size = size;
        this.gap = new Float32Array(decode({ data: data.qm9.gap })); // eV
        this.places = new Uint16Array(decode({ data: data.qm9.map })); // [n, 2]
        this.shares = new Uint16Array(decode({ data: data.qm9.far }));
        this.shareStep = data.qm9.far_step;
        this.farthest = new Uint8Array(decode({ data: data.qm9.farthest }));
    }

    /** How far a molecule of the map is from what its network has learned from; see Reference. */
    far(k) {
        return { share: this.shareStep * this.shares[k], atom: this.farthest[k] };
    }

    /** The structure of a name such as "qm9.17"; null where there is none. */
    get(from) {
        const [kind, text] = from.split(".");
        const k = Number(text);
        if (kind === "qm9") {
            if (!(k < this.size.length)) {
                return null;
            }
            const [a, b] = [this.start[k], this.start[k + 1]];
            const z = Int32Array.from(this.z.subarray(a, b));
            const pos = Float64Array.from(this.pos.subarray(3 * a, 3 * b), (x) => x * this.unit);
            return { z, pos, cell: null };
        }
        const frame = this.frames[kind]?.[k];
        if (frame === undefined) {
            return null;
        }
        return {
            z: Int32Array.from(frame.z),
            pos: Float64Array.from(frame.pos, (x) => x * this.unit),
            cell: frame.cell ? Float64Array.from(frame.cell) : null,
        };
    }

    /** Groups of a list to choose from: [{label, entries: [[name, text]]}]. */
    groups() {
        const frames = (kind, word) =>
            this.frames[kind].map((_, k) => [
                `${kind}.${k}`,
                kind === "ethanol" && k === 0 ? `${word} at rest` : `${word}, frame ${k + 1}`,
            ]);
        const crystals = this.frames.alloys.map(({ z }, k) => [`alloys.${k}`, formula(z)]);
        const isomers = this.frames.isomers.map((_, k) => [
            `isomers.${k}`,
            `C7H10O2, isomer ${k + 1}`,
        ]);
        const molecules = Array.from({ length: Math.min(SHOWN, this.size.length) }, (_, k) => [
            `qm9.${k}`,
            `${formula(this.get(`qm9.${k}`).z)}, molecule ${k + 1}`,
        ]);
        return [
            {
                label: "Frames at 500 K",
                entries: [
                    ...frames("ethanol", "ethanol"),
                    ...frames("aspirin", "aspirin"),
                    ...isomers,
                ],
            },
            { label: "Crystals", entries: crystals },
            { label: "Molecules of QM9", entries: molecules },
        ];
    }

    /** What a structure is called in a sentence. */
    title(from, z) {
        const [kind, k] = from.split(".");
        if (kind === "ethanol" || kind === "aspirin") {
            return from === "ethanol.0" ? "ethanol at rest" : `${kind} at 500 K`;
        }
        return kind === "qm9" ? `${formula(z)} (molecule ${Number(k) + 1} of QM9)` : formula(z);
    }
}

/** C, H, then the others by the alphabet, as chemists write it. */
export function formula(z) {
    const counts = new Map();
    for (const zi of z) {
        counts.set(symbols[zi], (counts.get(symbols[zi]) ?? 0) + 1);
    }
    const rank = (s) => (counts.has("C") ? { C: " ", H: "!" }[s] : undefined) ?? s;
    return [...counts.keys()]
        .sort((a, b) => (rank(a) < rank(b) ? -1 : 1))
        .map((s) => s + (counts.get(s) > 1 ? counts.get(s) : ""))
        .join("");
}

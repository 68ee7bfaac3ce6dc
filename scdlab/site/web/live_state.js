// What a scene is, so that a link gives it again, and what undo goes back to.
//
// Everything stands in the address after "#", as name=value: the stop, the structure, the atoms
// that were moved, the controls, the view. Only what differs from the start is written.

import { symbols } from "./elements.js";
import { parseXyz } from "./xyz.js";

const MAX_ATOMS = 200;
const PAST = 200; // steps that undo keeps

const number = (low, high, digits) => ({
    read: (text) => {
        const x = text.trim() === "" ? NaN : Number(text);
        return x >= low && x <= high ? x : undefined;
    },
    write: (x) => String(Number(x.toFixed(digits))),
});
const whole = (low, high) => ({
    read: (text) => {
        const x = /^-?\d+$/.test(text) ? Number(text) : NaN;
        return x >= low && x <= high ? x : undefined;
    },
    write: String,
});
const word = (pattern) => ({
    read: (text) => (pattern.test(text) ? text : undefined),
    write: String,
});

// Entries of an address: how each is read (undefined for what cannot be) and written.
const ENTRIES = {
    stop: whole(1, 9),
    from: word(/^(qm9|ethanol|aspirin|isomers|alloys|pasted)(\.\d{1,5})?$/),
    atom: whole(-1, MAX_ATOMS - 1),
    distance: number(0.5, 5, 2),
    temperature: number(50, 600, 0),
    time: number(0, 3000, 1),
    sigma: number(0, 0.3, 3),
    draw: whole(1, 9999),
    tolerance: number(-1, 1.2, 2),
    mix: number(0, 1, 2),
    other: word(/^(qm9|ethanol|aspirin|isomers|alloys)\.\d{1,5}$/),
    color: word(/^(size|gap)$/),
    angle: whole(0, 360),
    show: word(/^(forces|noise)$/),
    zoom: number(0.3, 6, 2),
    view: {
        read: (text) => {
            const q = text.split(",").map(Number);
            const size = Math.hypot(...q);
            return q.length === 4 && size > 0.5 && size < 2 ? q.map((x) => x / size) : undefined;
        },
        write: (q) => q.map((x) => Number(x.toFixed(3))).join(),
    },
    moved: {
        read: readMoved,
        write: (moved) =>
            Object.entries(moved)
                .map(([i, step]) => `${i}:${step.map((x) => Number(x.toFixed(3))).join()}`)
                .join("_"),
    },
    xyz: { read: readPasted, write: writePasted },
};

function readMoved(text) {
    const moved = {};
    for (const part of text === "" ? [] : text.split("_")) {
        const found = /^(\d{1,3}):([^:]+)$/.exec(part);
        const step = found ? found[2].split(",").map(Number) : [];
        if (step.length !== 3 || !step.every((x) => Math.abs(x) < 100)) {
            return undefined;
        }
        moved[Number(found[1])] = step;
    }
    return moved;
}

// A pasted structure in an address: "C,0,0,0;H,…", with the cell's nine numbers behind "!".
function readPasted(text) {
    const [atoms, cell] = text.split("!");
    const lines = atoms.replaceAll(";", "\n").replaceAll(",", " ");
    const head = cell === undefined ? "" : `Lattice="${cell.replaceAll(",", " ")}"`;
    try {
        return parseXyz(`${lines.split("\n").length}\n${head}\n${lines}`, { maxAtoms: MAX_ATOMS });
    } catch {
        return undefined;
    }
}

function writePasted({ z, pos, cell }) {
    const atoms = Array.from(z, (zi, i) =>
        [symbols[zi], ...[0, 1, 2].map((k) => Number(pos[3 * i + k].toFixed(3)))].join(),
    );
    return atoms.join(";") + (cell ? `!${Array.from(cell, (x) => Number(x.toFixed(4))).join()}` : "");
}

const VIEW = new Set(["view", "zoom"]); // what undo leaves alone

export class State {
    /**
     * @param start the values of a page that is opened without a link.
     */
    constructor(start) {
        this.start = start;
        this.values = { ...start };
        this.past = [];
        this.kept = this.snapshot();
    }

    snapshot() {
        const entries = Object.entries(this.values).filter(([name]) => !VIEW.has(name));
        return Object.fromEntries(entries);
    }

    set(changes) {
        Object.assign(this.values, changes);
    }

    /** What was set since the last time becomes one step of undo. */
    keep() {
        const now = this.snapshot();
        const changed = Object.keys({ ...now, ...this.kept }).some(
            (name) => now[name] !== this.kept[name],
        );
        if (changed) {
            this.past.push(this.kept);
            this.past.splice(0, this.past.length - PAST);
            this.kept = now;
        }
        return changed;
    }

    /** Nothing before this can be gone back to. */
    settle() {
        this.kept = this.snapshot();
        this.past = [];
    }

    get canUndo() {
        return this.past.length > 0;
    }

    undo() {
        if (this.past.length > 0) {
            this.kept = this.past.pop();
            const view = Object.entries(this.values).filter(([name]) => VIEW.has(name));
            this.values = { ...this.kept, ...Object.fromEntries(view) };
        }
    }

    /** The part of an address behind "#". */
    address() {
        const parts = [];
        for (const [name, entry] of Object.entries(ENTRIES)) {
            const value = this.values[name];
            if (value === undefined || value === null) {
                continue;
            }
            const text = entry.write(value);
            const atStart = this.start[name];
            const same = atStart !== undefined && atStart !== null && entry.write(atStart) === text;
            if (name === "stop" || !same) {
                parts.push(`${name}=${encodeURIComponent(text).replaceAll("%2C", ",")}`);
            }
        }
        return parts.join("&");
    }

    /**
     * Take the values of an address, the start's for those that it does not name.
     *
     * @returns names of entries that could not be read.
     */
    read(address) {
        const values = { ...this.start };
        const wrong = [];
        for (const part of address.replace(/^#/, "").split("&").filter(Boolean)) {
            const cut = part.indexOf("=");
            const name = part.slice(0, Math.max(cut, 0));
            let value;
            if (Object.hasOwn(ENTRIES, name)) {
                try {
                    value = ENTRIES[name].read(decodeURIComponent(part.slice(cut + 1)));
                } catch {
                    value = undefined;
                }
            }
            if (value === undefined) {
                wrong.push(name || part.slice(0, 20));
            } else {
                values[name] = value;
            }
        }
        if (values.from !== this.start.from && !/(^#?|&)moved=/.test(address)) {
            values.moved = {};
        }
        if (values.from === "pasted" && !values.xyz) {
            values.from = this.start.from;
            wrong.push("xyz");
        }
        this.values = values;
        return [...new Set(wrong)];
    }
}

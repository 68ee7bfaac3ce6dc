// Structures as text: xyz, and its extended form with a cell.
//
//     3                                        number of atoms
//     Lattice="10 0 0 0 10 0 0 0 10"           a comment; with Lattice, a periodic structure
//     O  0.00  0.00  0.12                      symbol or atomic number, x, y, z in Å
//     …
//
// Lines of atoms alone, without the first two, are read too, and so is one line with ";" between the
// atoms. Of several structures, the first is.

import { atomicNumber, symbols } from "./elements.js";

const COINCIDENT = 1e-6; // Å
const THINNEST = 1; // Å, of a cell
const FORM = "write one atom a line, such as C 0.0 0.0 1.2, with positions in Å";

// {z, pos, cell, comment} of a text.
//
// maxAtoms: structures of more atoms are refused.
export function parseXyz(text, { maxAtoms = 200 } = {}) {
    const breaks = /[\r\n]/.test(text.trim()) ? /\r\n|\r|\n/ : /;\s*(?=[A-Za-z])/;
    const lines = text.replace(/^\ufeff/, "").split(breaks);
    while (lines.length > 0 && lines[0].trim() === "") {
        lines.shift();
    }
    if (lines.length === 0) {
        throw new Error(`The text is empty; ${FORM}.`);
    }
    const first = lines[0].trim();
    const counted = /^\d+$/.test(first);
    const rows = counted ? lines.slice(2) : lines;
    const comment = counted && lines.length > 1 ? lines[1].trim() : "";
    const skipped = lines.length - rows.length;
    let count = Number(first);
    if (!counted) {
        count = rows.findIndex((line) => line.trim() === "");
        count = count < 0 ? rows.length : count;
    }
    if (count < 1) {
        throw new Error(`The first line says that there are no atoms; ${FORM}.`);
    }
    if (count > maxAtoms) {
        throw new Error(
            `The structure has ${count} atoms, and the page takes ${maxAtoms} at most; paste a ` +
                "smaller one.",
        );
    }
    const present = rows.filter((line) => line.trim() !== "").length;
    if (present < count) {
        throw new Error(
            `The first line says ${count} atoms, and ${present} lines of atoms follow; correct ` +
                "one of the two.",
        );
    }
    const z = new Int32Array(count);
    const pos = new Float64Array(3 * count);
    for (let i = 0; i < count; i++) {
        readAtom(rows[i], i + 1 + skipped, i, z, pos);
    }
    const cell = cellOf(comment);
    if (cell === null) {
        checkApart(pos, count);
    }
    return { z, pos, cell, comment };
}

// One atom from a line of text, whose number in the text is `number`.
function readAtom(line, number, i, z, pos) {
    const words = line.trim().split(/[\s,;]+/);
    const shown = line.trim().slice(0, 40);
    if (words.length < 4) {
        throw new Error(
            `Line ${number}, "${shown}", holds no atom with three coordinates; ${FORM}.`,
        );
    }
    z[i] = elementOf(words[0]);
    if (z[i] === 0) {
        throw new Error(
            `Line ${number} names the element "${words[0].slice(0, 20)}", which there is not; ` +
                `${FORM}.`,
        );
    }
    for (let k = 0; k < 3; k++) {
        const x = /^[-+.\d]/.test(words[k + 1]) ? Number(words[k + 1]) : NaN;
        if (!Number.isFinite(x)) {
            throw new Error(
                `Line ${number}, "${shown}", has "${words[k + 1].slice(0, 20)}" for a ` +
                    `coordinate, which is no number; ${FORM}.`,
            );
        }
        pos[3 * i + k] = x;
    }
}

// The atomic number of a symbol in any case, of a symbol with a label (C1), or of a number; else 0.
function elementOf(word) {
    if (/^\d+$/.test(word)) {
        return Number(word) < symbols.length ? Number(word) : 0;
    }
    const letters = word.replace(/\d+$/, "");
    return atomicNumber(letters.slice(0, 1).toUpperCase() + letters.slice(1).toLowerCase());
}

// The cell vectors [9] in Å of a comment of extended xyz, or null. `pbc="F F F"` means none.
function cellOf(comment) {
    const lattice = /\blattice\s*=\s*["'{]([^"'}]*)["'}]/i.exec(comment);
    const open = /\bpbc\s*=\s*["'{]?\s*(?:[f0]\w*[\s,]+){2}[f0]/i.test(comment);
    if (lattice === null || open) {
        return null;
    }
    const numbers = lattice[1].trim().split(/[\s,]+/).map(Number);
    if (numbers.length !== 9 || !numbers.every(Number.isFinite)) {
        throw new Error(
            `Lattice="${lattice[1].slice(0, 40)}" should hold nine numbers, three vectors in Å; ` +
                "correct it, or take it out.",
        );
    }
    if (!(thickness(numbers) >= THINNEST)) {
        throw new Error(
            `Lattice="${lattice[1].slice(0, 40)}" is a cell less than ${THINNEST} Å thick, so ` +
                "its atoms would lie in their own images; correct it, or take it out.",
        );
    }
    return Float64Array.from(numbers);
}

// The smallest distance between opposite faces of a cell [9]; 0 of vectors in one plane.
function thickness(cell) {
    const [a, b, c] = [0, 3, 6].map((k) => cell.slice(k, k + 3));
    const cross = (u, v) => [
        u[1] * v[2] - u[2] * v[1],
        u[2] * v[0] - u[0] * v[2],
        u[0] * v[1] - u[1] * v[0],
    ];
    const volume = Math.abs(cross(a, b).reduce((sum, x, k) => sum + x * c[k], 0));
    const faces = [cross(a, b), cross(b, c), cross(c, a)].map((face) => Math.hypot(...face));
    return volume > 0 ? volume / Math.max(...faces) : 0;
}

// Pairs of a periodic structure are checked with their images, where neighbors are found.
function checkApart(pos, n) {
    for (let i = 0; i < n; i++) {
        for (let j = i + 1; j < n; j++) {
            const distance = Math.hypot(
                pos[3 * j] - pos[3 * i],
                pos[3 * j + 1] - pos[3 * i + 1],
                pos[3 * j + 2] - pos[3 * i + 2],
            );
            if (distance < COINCIDENT) {
                throw new Error(
                    `Atoms ${i + 1} and ${j + 1} are in the same place; move one of them.`,
                );
            }
        }
    }
}

// The text of a structure, which `parseXyz` reads again without a change.
export function writeXyz({ z, pos, cell = null }, comment = "") {
    const plain = comment.replace(/[\r\n]+/g, " ").replace(/\b(lattice|pbc)\s*=/gi, "$1:");
    const lattice = cell ? `Lattice="${Array.from(cell).join(" ")}" pbc="T T T" ` : "";
    const lines = [String(z.length), (lattice + plain).trim()];
    for (let i = 0; i < z.length; i++) {
        const place = [0, 1, 2].map((k) => String(pos[3 * i + k]).padStart(22));
        lines.push(`${symbols[z[i]].padEnd(2)}${place.join("")}`);
    }
    return `${lines.join("\n")}\n`;
}

// Structures along a path: what an energy is plotted along.

// A structure rotated about the mean of its atoms, by an angle in radians about an axis.
export function rotated(structure, axis, angle) {
    const size = Math.hypot(...axis);
    const [x, y, z] = axis.map((a) => a / size);
    const c = Math.cos(angle);
    const s = Math.sin(angle);
    const rows = [
        c + x * x * (1 - c), x * y * (1 - c) - z * s, x * z * (1 - c) + y * s,
        y * x * (1 - c) + z * s, c + y * y * (1 - c), y * z * (1 - c) - x * s,
        z * x * (1 - c) - y * s, z * y * (1 - c) + x * s, c + z * z * (1 - c),
    ];
    const middle = meanPosition(structure.pos);
    const pos = turned(structure.pos, rows, middle);
    const cell = structure.cell ? turned(structure.cell, rows, [0, 0, 0]) : null;
    return { ...structure, pos, cell };
}

// The structure (1 - t) a + t b between two of the same atoms, in the same order.
export function between(a, b, t) {
    return { ...a, pos: Float64Array.from(a.pos, (x, k) => (1 - t) * x + t * b.pos[k]) };
}

// Energies in eV of a model at `count` structures at(t), t = 0 … 1.
export function energiesAlong(model, at, count) {
    const out = new Float64Array(count);
    for (let k = 0; k < count; k++) {
        out[k] = model.forward(at(k / (count - 1))).energy;
    }
    return out;
}

function meanPosition(pos) {
    const out = [0, 0, 0];
    for (let k = 0; k < pos.length; k++) {
        out[k % 3] += (3 * pos[k]) / pos.length;
    }
    return out;
}

// Points [3n] rotated by a matrix, row by row [9], about a point.
function turned(points, rows, about) {
    const out = new Float64Array(points.length);
    for (let i = 0; i < points.length; i += 3) {
        for (let k = 0; k < 3; k++) {
            out[i + k] = about[k];
            for (let m = 0; m < 3; m++) {
                out[i + k] += rows[3 * k + m] * (points[i + m] - about[m]);
            }
        }
    }
    return out;
}

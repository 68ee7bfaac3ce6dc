// Molecules on a plain canvas: balls, sticks and arrows, the far ones paler. No WebGL.

import { symbols } from "./elements.js";

const BOND = 1.25; // of the sum of the covalent radii: a bond; beyond, it fades
const BROKEN = 1.6;

/** Pairs of atoms that are near enough for a bond, [{i, j, strength}], strength from 1 to 0. */
export function bonds({ z, pos }, radii) {
    const found = [];
    for (let i = 0; i < z.length; i++) {
        for (let j = i + 1; j < z.length; j++) {
            const r = Math.hypot(
                pos[3 * i] - pos[3 * j],
                pos[3 * i + 1] - pos[3 * j + 1],
                pos[3 * i + 2] - pos[3 * j + 2],
            );
            const stretch = r / (radii[z[i]] + radii[z[j]]);
            if (stretch < BROKEN && (z[i] > 1 || z[j] > 1 || stretch < BOND)) {
                const strength = Math.min(1, (BROKEN - stretch) / (BROKEN - BOND));
                found.push({ i, j, strength });
            }
        }
    }
    return found;
}

/** The radius in Å of a ball, from the covalent one. */
export function ballRadius(covalent) {
    return 0.2 + 0.2 * covalent;
}

/** A color "#rrggbb" on its way to another, by a share from 0 to 1. */
export function blend(color, other, share) {
    const part = (text, k) => parseInt(text.slice(1 + 2 * k, 3 + 2 * k), 16);
    const mix = (k) => Math.round((1 - share) * part(color, k) + share * part(other, k));
    return `#${[0, 1, 2].map((k) => mix(k).toString(16).padStart(2, "0")).join("")}`;
}

// Paints what it was given, the farthest first.
export class Painter {
    constructor(context, camera, look) {
        this.context = context;
        this.camera = camera;
        this.look = look; // {paper, ink, selected, colors, radii}
        this.parts = [];
        camera.ready();
    }

    place(pos, i) {
        return this.camera.place(pos[3 * i], pos[3 * i + 1], pos[3 * i + 2]);
    }

    // How much of a color the air between takes.
    fog(depth) {
        return Math.min(Math.max(0.24 * (1 - depth / this.camera.reach), 0), 0.5);
    }

    add(depth, paint) {
        this.parts.push([depth, paint]);
    }

    radius(z) {
        return ballRadius(this.look.radii[z]) * this.camera.pixels;
    }

    /** Atoms and their bonds. alpha: of ghosts, which have no shading. */
    atoms(structure, { selected = -1, marked = null, bare = -1, alpha = 1, faint = false } = {}) {
        const { z, pos } = structure;
        const { look } = this;
        const places = Array.from(z, (_, i) => this.place(pos, i));
        for (const { i, j, strength } of bonds(structure, look.radii)) {
            const a = faint || i === bare ? places[i] : this.surface(structure, i, j);
            const b = faint || j === bare ? places[j] : this.surface(structure, j, i);
            this.bond(a, b, z[i], z[j], alpha * strength, faint);
        }
        if (faint) {
            return;
        }
        places.forEach((p, i) => {
            const dim = marked !== null && !marked.has(i);
            if (i !== bare) {
                this.add(p.depth, () => this.ball(p, z[i], i === selected, dim));
            }
        });
    }

    // Where the bond to another atom leaves the ball of an atom.
    surface({ z, pos }, i, j) {
        const step = [0, 1, 2].map((k) => pos[3 * j + k] - pos[3 * i + k]);
        const share = (0.9 * ballRadius(this.look.radii[z[i]])) / Math.hypot(...step);
        return this.camera.place(
            ...step.map((x, k) => pos[3 * i + k] + Math.min(share, 0.5) * x),
        );
    }

    bond(a, b, za, zb, alpha, faint) {
        const { context, look, camera } = this;
        const middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, depth: (a.depth + b.depth) / 2 };
        for (const [end, z] of [[a, za], [b, zb]]) {
            const depth = (end.depth + middle.depth) / 2;
            this.add(depth - 0.1, () => {
                context.globalAlpha = alpha;
                context.lineCap = "round";
                context.beginPath();
                context.moveTo(end.x, end.y);
                context.lineTo(middle.x, middle.y);
                if (!faint) {
                    context.lineWidth = 0.17 * camera.pixels * end.f + 2;
                    context.strokeStyle = blend(look.ink, look.paper, 0.35 + this.fog(depth));
                    context.stroke();
                }
                context.lineWidth = (faint ? 0.09 : 0.17) * camera.pixels * end.f;
                context.strokeStyle = faint
                    ? blend(look.colors[z], look.ink, 0.6) // pale atoms would not be seen on paper
                    : blend(look.colors[z], look.paper, this.fog(depth));
                context.stroke();
                context.globalAlpha = 1;
            });
        }
    }

    ball(p, z, selected, dim) {
        const { context, look } = this;
        const r = this.radius(z) * p.f;
        const fog = dim ? 0.65 : this.fog(p.depth);
        const color = blend(look.colors[z], look.paper, fog);
        const shade = context.createRadialGradient(
            p.x - 0.35 * r, p.y - 0.4 * r, 0.1 * r, p.x, p.y, r,
        );
        shade.addColorStop(0, blend(color, "#ffffff", 0.65));
        shade.addColorStop(0.6, color);
        shade.addColorStop(1, blend(color, "#000000", 0.3));
        context.beginPath();
        context.arc(p.x, p.y, r, 0, 2 * Math.PI);
        context.fillStyle = shade;
        context.fill();
        context.lineWidth = 1;
        context.strokeStyle = blend(look.ink, look.paper, 0.3 + fog);
        context.stroke();
        if (selected) {
            context.beginPath();
            context.arc(p.x, p.y, r + 5, 0, 2 * Math.PI);
            context.lineWidth = 3;
            context.strokeStyle = look.selected;
            context.stroke();
        }
        if (r > 9) {
            context.font = `600 ${Math.round(Math.min(r, 16))}px Helvetica, Arial, sans-serif`;
            context.textAlign = "center";
            context.textBaseline = "middle";
            context.fillStyle = isDark(color) ? "#ffffff" : "#1a1a1a";
            context.fillText(symbols[z], p.x, p.y + 0.5);
        }
    }

    /** An arrow from a point, along a vector, both in Å [3]; gap: where it begins, in Å. */
    arrow(from, vector, color, gap = 0, width = 0.09) {
        const size = Math.max(Math.hypot(...vector), 1e-9);
        const begin = from.map((x, k) => x + (gap / size) * vector[k]);
        const start = this.camera.place(...begin);
        const end = this.camera.place(...begin.map((x, k) => x + vector[k]));
        const length = Math.hypot(end.x - start.x, end.y - start.y);
        if (length < 2) {
            return;
        }
        this.add(Math.max(start.depth, end.depth) + 0.4, () => {
            const { context, look, camera } = this;
            const w = Math.max(width * camera.pixels, 2.5);
            const head = Math.min(3.2 * w, 0.6 * length);
            const ux = (end.x - start.x) / length;
            const uy = (end.y - start.y) / length;
            const neck = [end.x - head * ux, end.y - head * uy];
            for (const [stroke, more] of [[look.paper, 2.5], [color, 0]]) {
                context.strokeStyle = stroke;
                context.fillStyle = stroke;
                context.lineWidth = w + more;
                context.lineCap = "round";
                context.lineJoin = "round";
                context.beginPath();
                context.moveTo(start.x, start.y);
                context.lineTo(...neck);
                context.stroke();
                context.lineWidth = more;
                context.beginPath();
                context.moveTo(end.x, end.y);
                context.lineTo(neck[0] - 0.55 * head * uy, neck[1] + 0.55 * head * ux);
                context.lineTo(neck[0] + 0.55 * head * uy, neck[1] - 0.55 * head * ux);
                context.closePath();
                context.fill();
                if (more > 0) {
                    context.stroke();
                }
            }
        });
    }

    /** A dot at a point in Å, or a ring; front: whether nothing hides it. */
    dot(point, color, { size = 3, alpha = 1, front = false, ring = false } = {}) {
        const p = this.camera.place(...point);
        this.add(front ? Infinity : p.depth, () => {
            const { context } = this;
            context.globalAlpha = alpha;
            context.beginPath();
            context.arc(p.x, p.y, size, 0, 2 * Math.PI);
            if (ring) {
                context.lineWidth = 3;
                context.strokeStyle = color;
                context.stroke();
            } else {
                context.fillStyle = color;
                context.fill();
            }
            context.globalAlpha = 1;
        });
    }

    /** The outline of a sphere about a point, radius in Å. */
    sphere(point, radius, color) {
        const p = this.camera.place(...point);
        this.add(Infinity, () => {
            const { context } = this;
            context.beginPath();
            context.arc(p.x, p.y, radius * this.camera.pixels * p.f, 0, 2 * Math.PI);
            context.lineWidth = 2;
            context.setLineDash([7, 5]);
            context.strokeStyle = color;
            context.stroke();
            context.setLineDash([]);
        });
    }

    /** The edges of a cell [9] in Å, from the origin. */
    cell(rows) {
        const { context, look } = this;
        const corner = (a, b, c) =>
            this.camera.place(...[0, 1, 2].map((k) => a * rows[k] + b * rows[3 + k] + c * rows[6 + k]));
        const bits = [0, 1];
        const edges = bits.flatMap((a) =>
            bits.flatMap((b) => [
                [corner(0, a, b), corner(1, a, b)],
                [corner(a, 0, b), corner(a, 1, b)],
                [corner(a, b, 0), corner(a, b, 1)],
            ]),
        );
        this.add(-Infinity, () => {
            context.lineWidth = 1;
            context.strokeStyle = blend(look.ink, look.paper, 0.55);
            for (const [p, q] of edges) {
                context.beginPath();
                context.moveTo(p.x, p.y);
                context.lineTo(q.x, q.y);
                context.stroke();
            }
        });
    }

    paint() {
        this.parts.sort((a, b) => a[0] - b[0]);
        for (const [, paint] of this.parts) {
            paint();
        }
        this.parts = [];
    }
}

function isDark(color) {
    const part = (k) => parseInt(color.slice(1 + 2 * k, 3 + 2 * k), 16);
    return 0.3 * part(0) + 0.59 * part(1) + 0.11 * part(2) < 140;
}

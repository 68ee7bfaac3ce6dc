// How a scene is turned and laid on the screen. Rotations are unit quaternions [w, x, y, z].

export const UPRIGHT = [0.9537, 0.2113, 0.2113, 0.0468]; // a little from above and from the side

/** The rotation by an angle in radians about a unit axis. */
export function about(axis, angle) {
    const s = Math.sin(angle / 2);
    return [Math.cos(angle / 2), s * axis[0], s * axis[1], s * axis[2]];
}

/** First b, then a. */
export function after(a, b) {
    const out = [
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
        a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
    ];
    const size = Math.hypot(...out);
    return out.map((x) => x / size);
}

/** The matrix of a rotation, row by row [9]. */
export function matrix([w, x, y, z]) {
    return [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ];
}

export class Camera {
    constructor() {
        this.rotation = UPRIGHT;
        this.zoom = 1;
        this.center = [0, 0, 0]; // Å
        this.reach = 3; // Å from the center to the farthest atom
        this.width = 100;
        this.height = 100; // pixels
    }

    /** Look at these positions [3n]. */
    fit(pos) {
        const n = pos.length / 3;
        this.center = [0, 0, 0];
        pos.forEach((x, k) => {
            this.center[k % 3] += x / n;
        });
        this.reach = 1;
        for (let i = 0; i < n; i++) {
            const away = [0, 1, 2].map((k) => pos[3 * i + k] - this.center[k]);
            this.reach = Math.max(this.reach, Math.hypot(...away));
        }
    }

    /** Pixels that an Å has at the center. */
    get scale() {
        return (0.46 * this.zoom * Math.min(this.width, this.height)) / (this.reach + 0.8);
    }

    /** Set what `place` needs; to be called once before a picture. */
    ready() {
        this.rows = matrix(this.rotation);
        this.pixels = this.scale;
        this.distance = 5 * (this.reach + 1);
    }

    /** {x, y} in pixels of a point, its depth in Å towards the reader, and its magnification. */
    place(px, py, pz) {
        const a = px - this.center[0];
        const b = py - this.center[1];
        const c = pz - this.center[2];
        const r = this.rows;
        const depth = r[6] * a + r[7] * b + r[8] * c;
        const f = this.distance / Math.max(this.distance - depth, 0.2 * this.distance);
        const s = f * this.pixels;
        return {
            x: this.width / 2 + s * (r[0] * a + r[1] * b + r[2] * c),
            y: this.height / 2 - s * (r[3] * a + r[4] * b + r[5] * c),
            depth,
            f,
        };
    }

    /** The step in Å [3] that a step on the screen means: right, up and towards the reader, in Å. */
    step(right, up, near = 0) {
        const r = matrix(this.rotation);
        return [0, 1, 2].map((k) => r[k] * right + r[3 + k] * up + r[6 + k] * near);
    }

    /** Turn by angles in radians: to the right, and upwards. */
    turn(right, up) {
        const sideways = about([0, 1, 0], right);
        this.rotation = after(about([1, 0, 0], -up), after(sideways, this.rotation));
    }
}

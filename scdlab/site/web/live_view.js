// A canvas with a scene in it, that can be turned, and whose atoms can be pulled: by mouse, by
// touch and by keyboard.
//
// A scene is {z, pos, cell} and, where wanted, `selected`, an atom; `marked`, a set of atoms, the
// others pale; `bare`, an atom without a ball; `ghosts`, [{z, pos, alpha}]; `arrows`,
// [{at, vector, color, z}], of atoms of the element z; `dots`,
// [{at, color, size, alpha, ring}]; `spheres`, [{at, radius, color}]; lengths in Å.

import { Camera } from "./live_camera.js";
import { Painter, ballRadius } from "./live_draw.js";

const TURN = 0.01; // radians a pixel
const KEY_TURN = 0.15; // radians a key
const KEY_STEP = 0.05; // Å a key

export class MoleculeView {
    /**
     * @param canvas the element.
     * @param look colors and radii, as the Painter has them.
     * @param camera one that several views may share.
     */
    constructor(canvas, look, camera = new Camera()) {
        this.canvas = canvas;
        this.look = look;
        this.camera = camera;
        this.scene = null;
        this.canPull = false;
        this.onPull = () => {}; // (atom, step [3] in Å since the last call, finished)
        this.onSelect = () => {}; // (atom or -1)
        this.onTurn = () => {}; // (finished)
        this.pointers = new Map();
        this.held = -1;
        this.listen();
    }

    show(scene) {
        this.scene = scene;
        this.draw();
    }

    draw() {
        const { canvas, camera, look, scene } = this;
        const sharp = globalThis.devicePixelRatio || 1;
        const { clientWidth, clientHeight } = canvas;
        if (scene === null || clientWidth === 0) {
            return;
        }
        if (canvas.width !== Math.round(clientWidth * sharp)) {
            canvas.width = Math.round(clientWidth * sharp);
        }
        if (canvas.height !== Math.round(clientHeight * sharp)) {
            canvas.height = Math.round(clientHeight * sharp);
        }
        camera.width = clientWidth;
        camera.height = clientHeight;
        const context = canvas.getContext("2d");
        context.setTransform(sharp, 0, 0, sharp, 0, 0);
        context.fillStyle = look.paper;
        context.fillRect(0, 0, clientWidth, clientHeight);
        const painter = new Painter(context, camera, look);
        if (scene.cell) {
            painter.cell(scene.cell);
        }
        for (const ghost of scene.ghosts ?? []) {
            painter.atoms(ghost, { alpha: ghost.alpha, faint: true });
        }
        painter.atoms(scene, {
            selected: scene.selected ?? -1,
            marked: scene.marked ?? null,
            bare: scene.bare ?? -1,
        });
        for (const { at, vector, color, z } of scene.arrows ?? []) {
            painter.arrow(at, vector, color, ballRadius(look.radii[z]));
        }
        for (const { at, color, ...how } of scene.dots ?? []) {
            painter.dot(at, color, how);
        }
        for (const { at, radius, color } of scene.spheres ?? []) {
            painter.sphere(at, radius, color);
        }
        painter.paint();
    }

    /** The atom at a place of the canvas, or -1: the nearest to the reader. */
    atomAt(x, y, slack = 6) {
        const { z, pos } = this.scene;
        const painter = new Painter(null, this.camera, this.look);
        let best = -1;
        let nearest = -Infinity;
        for (let i = 0; i < z.length; i++) {
            const p = painter.place(pos, i);
            const within = painter.radius(z[i]) * p.f + slack;
            if (Math.hypot(p.x - x, p.y - y) < within && p.depth > nearest) {
                best = i;
                nearest = p.depth;
            }
        }
        return best;
    }

    listen() {
        const { canvas } = this;
        canvas.addEventListener("pointerdown", (event) => this.down(event));
        canvas.addEventListener("pointermove", (event) => this.move(event));
        for (const name of ["pointerup", "pointercancel"]) {
            canvas.addEventListener(name, (event) => this.up(event));
        }
        canvas.addEventListener("keydown", (event) => this.key(event));
        canvas.addEventListener(
            "wheel",
            (event) => {
                if (event.ctrlKey || document.activeElement === canvas) {
                    event.preventDefault();
                    this.zoomBy(Math.exp(-0.002 * event.deltaY));
                }
            },
            { passive: false },
        );
    }

    placeOf(event) {
        const box = this.canvas.getBoundingClientRect();
        return { x: event.clientX - box.left, y: event.clientY - box.top };
    }

    down(event) {
        if (this.scene === null) {
            return;
        }
        const p = this.placeOf(event);
        this.canvas.setPointerCapture(event.pointerId);
        this.pointers.set(event.pointerId, p);
        if (this.pointers.size > 1) {
            this.held = -1;
            return;
        }
        this.held = this.atomAt(p.x, p.y, event.pointerType === "touch" ? 14 : 6);
        this.moved = false;
        if (this.held >= 0) {
            this.select(this.held);
        }
    }

    move(event) {
        const p = this.placeOf(event);
        const before = this.pointers.get(event.pointerId);
        if (before === undefined) {
            if (this.scene !== null && event.pointerType === "mouse") {
                const over = this.canPull && this.atomAt(p.x, p.y) >= 0;
                this.canvas.style.cursor = over ? "grab" : "default";
            }
            return;
        }
        if (this.pointers.size === 2) {
            const [a, b] = [...this.pointers.keys()];
            const other = this.pointers.get(event.pointerId === a ? b : a);
            const was = Math.hypot(before.x - other.x, before.y - other.y);
            this.zoomBy(Math.hypot(p.x - other.x, p.y - other.y) / Math.max(was, 1));
        } else if (this.held >= 0 && this.canPull) {
            const { pos } = this.scene;
            const place = new Painter(null, this.camera, this.look).place(pos, this.held);
            const size = this.camera.scale * place.f;
            this.moved = true;
            const step = this.camera.step((p.x - before.x) / size, -(p.y - before.y) / size);
            this.onPull(this.held, step, false);
        } else {
            this.camera.turn(TURN * (p.x - before.x), -TURN * (p.y - before.y));
            this.draw();
            this.onTurn(false);
        }
        this.pointers.set(event.pointerId, p);
    }

    up(event) {
        if (!this.pointers.delete(event.pointerId)) {
            return;
        }
        if (this.held >= 0 && this.moved) {
            this.onPull(this.held, [0, 0, 0], true);
        } else {
            this.onTurn(true);
        }
        this.held = -1;
    }

    zoomBy(factor) {
        this.camera.zoom = Math.min(Math.max(this.camera.zoom * factor, 0.3), 6);
        this.draw();
        this.onTurn(true);
    }

    // The next key may come before the page has drawn anew: it must find what was chosen.
    select(atom) {
        this.scene = { ...this.scene, selected: atom };
        this.onSelect(atom);
    }

    key(event) {
        if (this.scene === null || event.ctrlKey || event.metaKey || event.altKey) {
            return;
        }
        const { key } = event;
        const n = this.scene.z.length;
        const selected = this.scene.selected ?? -1;
        const steps = {
            ArrowLeft: [-1, 0, 0],
            ArrowRight: [1, 0, 0],
            ArrowUp: [0, 1, 0],
            ArrowDown: [0, -1, 0],
            PageUp: [0, 0, 1],
            PageDown: [0, 0, -1],
        };
        if (key === "n" || key === "p") {
            const next = key === "n" ? selected + 1 : selected - 1;
            this.select((next + n) % n);
        } else if (key === "Escape") {
            this.onSelect(-1);
        } else if (key === "+" || key === "=" || key === "-") {
            this.zoomBy(key === "-" ? 1 / 1.15 : 1.15);
        } else if (key in steps && this.canPull && selected >= 0 && !event.shiftKey) {
            const step = this.camera.step(...steps[key].map((x) => x * KEY_STEP));
            this.onPull(selected, step, true);
        } else if (key in steps && !key.startsWith("Page")) {
            const [right, up] = steps[key];
            this.camera.turn(KEY_TURN * right, KEY_TURN * up);
            this.draw();
            this.onTurn(true);
        } else {
            return;
        }
        event.preventDefault();
    }
}

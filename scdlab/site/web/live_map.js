// Stop 7: a map of molecules, laid out by a network's descriptions of them.

import { element, make } from "./live_page.js";
import { fixed } from "./live_chart.js";
import { formula } from "./live_library.js";
import { verdict } from "./live_trust.js";

const SIDE = 420;
const EDGE = 12;
const RATIO = 1.6; // of width and height
const COLORS = ["#3b2f8f", "#3a6fb0", "#2f9e8f", "#8cbf3f", "#f0c429"]; // dark to bright

let dots = null;

export const map = {
    name: "A map of molecules",
    question: "Two thousand molecules the network never saw: what does it put side by side?",
    lead:
        "Each dot is a molecule, placed by the description that a denoiser made of it. Point at one " +
        "to see it; the button takes it to stop 1.",
    keys: "In the map: arrows go to the next molecule on that side, Enter takes it to stop 1.",
    source: (from) => (from.startsWith("qm9.") ? from : "qm9.0"),
    build(page) {
        const select = page.choice({
            name: "color",
            label: "Color by",
            options: [["size", "number of atoms"], ["gap", "HOMO–LUMO gap (DFT)"]],
        });
        select.addEventListener("change", () => paintMap(page));
        page.buttons({ "Pull at it, in stop 1": () => take(page) })[0].className = "main";
        dots = null;
    },
    show(page) {
        page.view.show(page.clean());
        page.caption(page.title());
        if (page.library === null) {
            return;
        }
        if (dots === null) {
            drawMap(page);
        }
        mark(page);
        write(page);
    },
};

function present(page) {
    return Number(page.from.split(".")[1]);
}

function xy(page, k) {
    const { places } = page.library;
    const inside = SIDE - 2 * EDGE;
    return [EDGE + (inside * places[2 * k]) / 65535, EDGE + (inside * places[2 * k + 1]) / 65535];
}

function drawMap(page) {
    dots = make("canvas", { id: "map", tabIndex: 0 });
    dots.style.height = "auto";
    dots.style.aspectRatio = String(RATIO);
    dots.setAttribute("role", "application");
    dots.setAttribute("aria-label", "Map of molecules; arrows go from one to the next.");
    element("chart").replaceChildren(dots);
    const pick = (event) => {
        const box = dots.getBoundingClientRect();
        const x = ((event.clientX - box.left) / box.width) * SIDE;
        const y = ((event.clientY - box.top) / box.height) * SIDE;
        choose(page, nearest(page, x, y));
    };
    dots.addEventListener("pointermove", (event) => {
        if (event.pointerType === "mouse") {
            pick(event);
        }
    });
    dots.addEventListener("click", (event) => {
        pick(event);
        page.keep();
    });
    dots.addEventListener("pointerleave", () => page.keep());
    dots.addEventListener("keydown", (event) => key(page, event));
    paintMap(page);
}

function choose(page, k) {
    if (k !== present(page)) {
        page.set({ from: `qm9.${k}`, moved: {}, atom: -1 });
    }
}

function nearest(page, x, y, fits = () => true) {
    let best = -1;
    let least = Infinity;
    for (let k = 0; k < page.library.size.length; k++) {
        const [a, b] = xy(page, k);
        const far = (a - x) ** 2 + (b - y) ** 2;
        if (far < least && fits(a, b)) {
            least = far;
            best = k;
        }
    }
    return best;
}

function key(page, event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Enter") {
        event.preventDefault();
        take(page);
    } else if (event.key in ways) {
        event.preventDefault();
        const [dx, dy] = ways[event.key];
        const [x, y] = xy(page, present(page));
        // what lies in that quarter of the plane
        const fits = (a, b) => {
            const along = dx * (a - x) + dy * (b - y);
            const across = Math.abs(dy * (a - x)) + Math.abs(dx * (b - y));
            return along > 0.5 && along >= across;
        };
        const next = nearest(page, x, y, fits);
        if (next >= 0) {
            choose(page, next);
            page.keep();
        }
    }
}

function take(page) {
    page.set({ from: page.from, moved: {}, atom: -1 });
    page.enter(1, true);
    page.keep();
}

// Numbers to color by, and their range without the outermost hundredth.
function scale(page) {
    const values = page.values.color === "gap" ? page.library.gap : page.library.size;
    const sorted = Float64Array.from(values).sort();
    const low = sorted[Math.floor(0.01 * sorted.length)];
    const high = sorted[Math.floor(0.99 * sorted.length)];
    return { values, low, high };
}

function paintMap(page) {
    const { values, low, high } = scale(page);
    const sharp = 2;
    dots.width = sharp * SIDE * RATIO;
    dots.height = sharp * SIDE;
    const context = dots.getContext("2d");
    for (let k = 0; k < values.length; k++) {
        const share = Math.min(Math.max((values[k] - low) / (high - low), 0), 1);
        const [x, y] = xy(page, k);
        context.beginPath();
        context.arc((x / SIDE) * dots.width, (y / SIDE) * dots.height, 5, 0, 2 * Math.PI);
        context.fillStyle = COLORS[Math.round(share * (COLORS.length - 1))];
        context.fill();
    }
    dots.picture = context.getImageData(0, 0, dots.width, dots.height);
}

function mark(page) {
    const context = dots.getContext("2d");
    context.putImageData(dots.picture, 0, 0);
    const [x, y] = xy(page, present(page));
    context.beginPath();
    context.arc((x / SIDE) * dots.width, (y / SIDE) * dots.height, 13, 0, 2 * Math.PI);
    context.lineWidth = 5;
    context.strokeStyle = page.color("vermilion");
    context.stroke();
}

function write(page) {
    const k = present(page);
    const { size, gap } = page.library;
    const { z } = page.clean();
    const [x, y] = xy(page, k);
    const near = Array.from(size, (_, m) => m)
        .map((m) => [(xy(page, m)[0] - x) ** 2 + (xy(page, m)[1] - y) ** 2, m])
        .sort((a, b) => a[0] - b[0])
        .slice(1, 11)
        .map(([, m]) => m);
    const mean = (values) => near.reduce((sum, m) => sum + values[m], 0) / near.length;
    page.numbers([
        ["Molecule", formula(z)],
        ["Atoms", `${size[k]}`, `(ten nearest: ${fixed(mean(size), 1)})`],
        ["Gap", fixed(gap[k], 2), `eV (ten nearest: ${fixed(mean(gap), 2)})`],
    ]);
    const { extensivity, smoothness } = page.data.qm9;
    const { low, high } = scale(page);
    const [unit, digits] = page.values.color === "gap" ? [" eV", 1] : [" atoms", 0];
    page.finding(
        `Dark is ${fixed(low, digits)}, bright ${fixed(high, digits)}${unit}. No label was used, yet ` +
            `a straight line reads the number of atoms off the description (R² ${fixed(extensivity, 2)}) ` +
            `and the ten nearest predict the gap with R² ${fixed(smoothness, 2)}.`,
    );
    page.trust("scd-ct", null, z, verdict(page.library.far(k), z));
}

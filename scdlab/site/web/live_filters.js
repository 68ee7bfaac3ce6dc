// Stop 2: what a distance does. The filters of a SchNet, W(r): what a neighbor's features are
// multiplied with before they arrive.

import { chart, rangeOf } from "./live_chart.js";
import { symbols } from "./elements.js";

const NETWORK = "schnet-molecules";
const FROM = 0.7; // Å: no two atoms of a molecule are nearer
const ROWS = 130;
const SHOWN = 12; // channels that are drawn
const NEAR = 0.12; // Å: "at this distance"
const STEP = 0.1; // Å that a neighbor moves, in the sentence

let curves = null;

export const filters = {
    name: "What a distance does",
    question: "What does the network make of a distance?",
    lead:
        "A neighbor at distance r sends its features, each multiplied by a filter W(r) that was " +
        "learned. Let the sphere around the chosen atom grow, and watch the filters that it reads.",
    keys: "Click an atom, or choose one with n and p; arrows turn the picture, + and − zoom.",
    build(page) {
        page.slider({
            name: "distance",
            label: "Distance r",
            low: 0.7,
            high: 5,
            step: 0.02,
            write: (r) => `${page.number(r, 2)} Å`,
        });
    },
    select(page, atom) {
        page.set({ atom });
        page.keep();
    },
    show(page) {
        const structure = page.clean();
        const model = page.model(NETWORK);
        const { z, pos } = structure;
        const center = page.values.atom >= 0 && page.values.atom < z.length ? page.values.atom : heavy(z);
        const r = page.values.distance;
        const at = (i) => [0, 1, 2].map((k) => pos[3 * i + k]);
        const reached = Array.from(z, (_, i) => i).filter(
            (i) => i !== center && Math.abs(distance(at(i), at(center)) - r) < NEAR,
        );
        page.view.show({
            ...structure,
            selected: center,
            marked: new Set([center, ...reached]),
            spheres: [{ at: at(center), radius: r, color: page.color("blue") }],
        });
        const name = `${symbols[z[center]]}${center + 1}`;
        page.caption(`${page.title()}. Dashed: ${page.number(r, 2)} Å around ${name}.`);
        if (model === null) {
            return;
        }
        curves ??= curvesOf(model);
        const row = Math.round(((r - FROM) / (curves.end - FROM)) * (ROWS - 1));
        const strength = curves.size[row];
        const top = Math.max(...curves.size);
        page.numbers([
            ["Strength of the filters", page.number((100 * strength) / top, 0), "% of the largest"],
            ["Change over 0.1 Å", page.number(100 * curves.change[row], 0), "%"],
            [`Atoms there, from ${name}`, String(reached.length)],
        ]);
        page.drawChart(drawn(r));
        page.finding(sentence(page, r, row, top));
        if (page.knows(NETWORK, z)) {
            page.trust(NETWORK, model.forward(structure).atoms, z);
        }
    },
};

// The filters of the first block: channels [rows][d], their size, and by which share of it a step
// of 0.1 Å changes them.
function curvesOf(model) {
    const end = model.cutoff;
    const d = model.hiddenChannels;
    const r = Float64Array.from({ length: ROWS }, (_, k) => FROM + (k / (ROWS - 1)) * (end - FROM));
    const w = model.filterCurves(0, r);
    const further = model.filterCurves(0, r.map((x) => Math.min(x + STEP, end)));
    const size = [];
    const change = [];
    for (let row = 0; row < ROWS; row++) {
        let sum = 0;
        let moved = 0;
        for (let k = row * d; k < (row + 1) * d; k++) {
            sum += w[k] ** 2;
            moved += (further[k] - w[k]) ** 2;
        }
        size.push(Math.sqrt(sum / d));
        change.push(sum > 0 ? Math.sqrt(moved / sum) : 0);
    }
    const spread = (k) => {
        const column = Array.from(r, (_, row) => w[row * d + k]);
        return Math.max(...column) - Math.min(...column);
    };
    const strongest = Array.from({ length: d }, (_, k) => k)
        .sort((a, b) => spread(b) - spread(a))
        .slice(0, SHOWN);
    const channels = strongest.map((k) => Array.from(r, (x, row) => [x, w[row * d + k]]));
    return { end, r, channels, size, change };
}

function drawn(r) {
    const values = curves.channels.flatMap((points) => points.map((p) => p[1]));
    return chart({
        title: `The ${SHOWN} filters of the first block that vary most, against the distance`,
        x: { label: "distance r (Å)", range: [FROM, curves.end] },
        y: { label: "filter W(r), per channel", range: rangeOf(values) },
        series: curves.channels.map((points, k) => ({
            points,
            color: ["blue", "green", "purple", "orange"][k % 4],
            width: 1.5,
            opacity: 0.8,
        })),
        marks: [{ x: r, color: "vermilion", label: "r" }],
    });
}

function sentence(page, r, row, top) {
    if (r > curves.end - 0.03) {
        return (
            `At ${page.number(curves.end, 0)} Å every filter is zero: a neighbor beyond sends ` +
            "nothing, and what it does reaches this atom only through others."
        );
    }
    const largest = curves.r[curves.size.indexOf(top)];
    const share = (100 * curves.size[row]) / top;
    return (
        `A neighbor at ${page.number(r, 2)} Å is heard with ${page.number(share, 0)}% of the strength ` +
        `that it would have at ${page.number(largest, 1)} Å. Move it by 0.1 Å, and its message changes ` +
        `by ${page.number(100 * curves.change[row], 0)}%.`
    );
}

// The heaviest of the atoms.
function heavy(z) {
    return z.indexOf(Math.max(...z));
}

function distance(a, b) {
    return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

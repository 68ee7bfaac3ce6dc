// Stop 5: off equilibrium, a shaken atom may have been in many places, and one force tells which.
// As in scdlab/analysis/candidates.py: of all places within reach of the noise, those stay at which
// the network's force agrees with the one that is known.

import { chart } from "./live_chart.js";
import { symbols } from "./elements.js";
import { Random } from "./random.js";

const NETWORK = "schnet-molecules";
const SIGMA = 0.2; // Å, of the noise
const REACH = 0.4; // Å around the place that is seen
const PLACES = 500;
const NO_FORCE = 1.2; // right end of the slider, log10 of eV/Å

const found = { key: null, places: [] };

export const clue = {
    name: "Many answers, one clue",
    question: "Off equilibrium, where was the atom before? Can one force tell?",
    lead:
        "Noise has put one atom elsewhere. In a molecule that moves, it may have been at any of the dots " +
        "before. Now somebody tells you the force that it felt there.",
    free: true,
    source: hot,
    frame: (page) => {
        const scene = page.clean();
        return { center: at(scene.pos, chosen(page, scene)), reach: 0.8 };
    },
    keys: "Click an atom, or choose one with n and p; arrows turn the picture, + and − zoom.",
    build(page) {
        page.slider({
            name: "tolerance",
            label: "The force is known to within",
            low: -1,
            high: NO_FORCE,
            step: 0.05,
            write: (x) => (x >= NO_FORCE ? "not at all" : `${page.number(10 ** x, 1)} eV/Å`),
        });
        page.buttons({
            "Shake anew": () => {
                page.set({ draw: page.values.draw + 1 });
                page.keep();
            },
        });
    },
    select(page, atom) {
        page.set({ atom });
        page.keep();
    },
    show(page) {
        const scene = page.clean();
        const model = page.model(NETWORK);
        const atom = chosen(page, scene);
        const truth = at(scene.pos, atom);
        const { seen, random } = shaken(truth, page.values.draw);
        const picture = { ...scene, pos: Float64Array.from(scene.pos), selected: atom, bare: atom };
        picture.pos.set(seen, 3 * atom);
        page.caption(`${page.title()}: ${symbols[scene.z[atom]]}${atom + 1} is seen off its place.`);
        if (model === null || !page.knows(NETWORK, scene.z)) {
            page.view.show(picture);
            return;
        }
        const key = `${scene.pos.join()} ${atom} ${page.values.draw}`;
        if (found.key !== key) {
            found.key = key;
            found.places = [];
            page.job(search(page, model, scene, atom, seen, random));
        }
        const tolerance = page.values.tolerance >= NO_FORCE ? Infinity : 10 ** page.values.tolerance;
        const kept = found.places.filter((place) => place.off < tolerance);
        picture.dots = found.places.map((place) => {
            const stays = place.off < tolerance;
            const color = page.color(stays ? "blue" : "gray");
            return { at: place.at, color, size: stays ? 3.2 : 1.4, alpha: stays ? 0.95 : 0.45 };
        });
        picture.dots.push({ at: truth, color: page.color("vermilion"), size: 6, front: true });
        picture.dots.push({ at: seen, color: page.color("ink"), size: 8, front: true, ring: true });
        page.view.show(picture);
        page.caption(
            `${symbols[scene.z[atom]]}${atom + 1} of ${page.title()} is seen at the ring and was at the ` +
                "large dot; small dots: where it may have been, blue where the force agrees.",
        );
        page.trust(NETWORK, found.atoms ?? null, scene.z);
        write(page, scene, atom, kept, tolerance);
    },
};

/** A frame at 500 K in place of the molecule at rest. */
export function hot(from) {
    return from === "ethanol.0" ? "ethanol.1" : from;
}

function chosen(page, { z }) {
    const { atom } = page.values;
    return atom >= 0 && atom < z.length ? atom : z.length - 1;
}

function at(pos, i) {
    return Array.from(pos.slice(3 * i, 3 * i + 3));
}

// Where noise has put the atom: within a reach of 0.3 Å, so that the truth is among the places.
function shaken(truth, draw) {
    const random = new Random(7 * draw);
    const noise = Array.from(random.normals(3), (x) => SIGMA * x);
    const size = Math.hypot(...noise);
    const cut = size > 0.3 ? 0.3 / size : 1;
    return { seen: truth.map((x, k) => x + cut * noise[k]), random };
}

// Places drawn evenly from the ball around the seen one, and by how much the force there differs
// from that at the true place.
function* search(page, model, scene, atom, seen, random) {
    const structure = { ...scene, pos: Float64Array.from(scene.pos) };
    const answer = model.forward(structure, { forces: true });
    const target = at(answer.forces, atom);
    found.atoms = Float32Array.from(answer.atoms.subarray(0, scene.z.length * model.hiddenChannels));
    const { places } = found;
    for (let k = 0; k < PLACES; k++) {
        let step;
        do {
            step = [0, 1, 2].map(() => REACH * (2 * random.uniform() - 1));
        } while (Math.hypot(...step) > REACH);
        const place = seen.map((x, m) => x + step[m]);
        structure.pos.set(place, 3 * atom);
        const force = at(model.forward(structure, { forces: true }).forces, atom);
        const off = Math.hypot(...force.map((f, m) => f - target[m]));
        places.push({ at: place, off });
        if (k % 50 === 49) {
            page.later();
        }
        yield;
    }
    page.later();
}

// How far the places reach along the bond to the nearest atom, and across: standard deviations.
function spreads(places, scene, atom) {
    const truth = at(scene.pos, atom);
    let bond = [1, 0, 0];
    let nearest = Infinity;
    for (let i = 0; i < scene.z.length; i++) {
        const away = at(scene.pos, i).map((x, k) => x - truth[k]);
        const r = Math.hypot(...away);
        if (i !== atom && r < nearest) {
            nearest = r;
            bond = away.map((x) => x / r);
        }
    }
    const n = Math.max(places.length, 1);
    const middle = [0, 1, 2].map((k) => places.reduce((sum, p) => sum + p.at[k], 0) / n);
    let along = 0;
    let all = 0;
    for (const place of places) {
        const step = place.at.map((x, k) => x - middle[k]);
        along += step.reduce((sum, x, k) => sum + x * bond[k], 0) ** 2 / n;
        all += step.reduce((sum, x) => sum + x * x, 0) / n;
    }
    return { along: Math.sqrt(along), across: Math.sqrt((all - along) / 2) };
}

function write(page, scene, atom, kept, tolerance) {
    const total = found.places.length;
    const { along, across } = spreads(kept, scene, atom);
    page.numbers([
        ["Places that stay", `${kept.length} of ${total}`],
        ["Spread along the bond", page.number(along, 2), "Å"],
        ["and across it", page.number(across, 2), "Å"],
    ]);
    const steps = Array.from({ length: 23 }, (_, k) => -1 + 0.1 * k);
    const share = (x) => found.places.filter((p) => p.off < 10 ** x).length / Math.max(total, 1);
    page.drawChart(
        chart({
            title: "Share of the places that stay against how well the force is known",
            x: { label: "force known to within (eV/Å)", range: [-1, NO_FORCE], log: true },
            y: { label: "share that stays", range: [0, 1.02] },
            series: [{ points: steps.map((x) => [x, share(x)]), color: "blue" }],
            marks: [{ x: page.values.tolerance, color: "vermilion", label: "now" }],
        }),
    );
    if (total < PLACES) {
        page.finding(`The network computes the force at ${PLACES} places, ${total} so far.`);
    } else if (tolerance === Infinity) {
        page.finding(
            `Without a force, all ${total} places are left: a network that must give one answer can ` +
                "give their middle alone. Move the slider to the left.",
        );
    } else {
        page.finding(
            `Known to within ${page.number(tolerance, 1)} eV/Å, the force leaves ${kept.length} of ` +
                `${total} places, ±${page.number(along, 2)} Å along the bond and ` +
                `±${page.number(across, 2)} Å across it` +
                (kept.length > 1 && along < 0.6 * across
                    ? ": stiff directions are found, soft ones are not."
                    : "."),
        );
    }
}

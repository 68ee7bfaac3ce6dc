// Stop 1: pull an atom, and the forces of a SchNet answer.

import { chart } from "./live_chart.js";
import { symbols } from "./elements.js";

const NETWORK = "schnet-molecules";
const ARROW = 0.3; // Å of an arrow for 1 eV/Å
const LONGEST = 2.2; // Å

const trace = { key: null, points: [], start: null };

export const pull = {
    name: "Pull an atom",
    question: "You pull an atom out of place. What does the network make of it?",
    lead:
        "A trained SchNet computes the energy of every structure that you make, and its slope: the " +
        "force on each atom.",
    keys:
        "Drag an atom to pull it, the background to turn. Keyboard: n and p choose an atom, arrows " +
        "and Page keys move it, Shift with arrows turns, + and − zoom, Escape lets go.",
    build(page) {
        page.say("Drag an atom in the picture. With the keyboard, n chooses one and the arrows move it.");
    },
    select(page, atom) {
        page.set({ atom });
    },
    pull: moveAtom,
    show(page) {
        const structure = page.structure();
        const atom = pulledAtom(page, structure);
        const scene = { ...structure, selected: atom };
        const answer = answerOf(page, structure);
        if (answer === null) {
            page.view.show(scene);
            page.caption(page.title());
            return;
        }
        scene.arrows = arrowsOf(structure, answer.forces, page.color("vermilion"), ARROW);
        page.view.show(scene);
        page.caption(`${page.title()}. Arrows: forces, ${ARROW} Å long for 1 eV/Å.`);
        page.numbers([
            ["Energy above the start", page.number(answer.energy - answer.start, 2), "eV"],
            ["Largest force", page.number(largest(answer.forces).size, 2), "eV/Å"],
            ["Atoms", String(structure.z.length)],
        ]);
        drawTrace(page, atom, answer);
        page.finding(sentence(page, structure, atom, answer));
        page.trust(NETWORK, answer.atoms, structure.z);
    },
};

// The atom that the reader chose, or else the one that is farthest from its place; -1 for none.
function pulledAtom(page, { z }) {
    const { atom, moved } = page.values;
    if (atom >= 0 && atom < z.length) {
        return atom;
    }
    const away = (i) => Math.hypot(...moved[i]);
    const all = Object.keys(moved).map(Number).filter((i) => i < z.length);
    return all.reduce((best, i) => (best < 0 || away(i) > away(best) ? i : best), -1);
}

/** Move an atom by a step in Å. */
export function moveAtom(page, atom, step) {
    const before = page.values.moved[atom] ?? [0, 0, 0];
    const moved = { ...page.values.moved, [atom]: before.map((x, k) => x + step[k]) };
    page.set({ moved, atom });
}

/** Energy, forces and features of a structure; null where no network answers. */
export function answerOf(page, structure) {
    const model = page.model(NETWORK);
    if (model === null) {
        return cached(page);
    }
    if (!page.knows(NETWORK, structure.z)) {
        return null;
    }
    const clean = page.clean();
    const key = `${page.from} ${clean.pos.length} ${clean.pos[0]}`;
    if (trace.key !== key) {
        trace.key = key;
        trace.points = [];
        trace.start = model.forward(clean).energy;
        trace.atom = null;
    }
    const { energy, forces, atoms } = model.forward(structure, { forces: true });
    if (!Number.isFinite(energy)) {
        throw new Error("The network's energy is no finite number here; undo the last step.");
    }
    return { energy, start: trace.start, forces: forces.slice(0, 3 * structure.z.length), atoms };
}

// What was computed before, while the weights are not there yet.
function cached(page) {
    const { first, values } = page;
    const same =
        values.from === first.values.from &&
        JSON.stringify(values.moved) === JSON.stringify(first.values.moved);
    return same ? { ...first.answer, atoms: null } : null;
}

/** Arrows of vectors [3n] at the atoms, `scale` Å for each unit, none longer than LONGEST. */
export function arrowsOf({ z, pos }, vectors, color, scale) {
    return Array.from(z, (zi, i) => {
        const vector = [0, 1, 2].map((k) => scale * vectors[3 * i + k]);
        const size = Math.hypot(...vector);
        const cut = size > LONGEST ? LONGEST / size : 1;
        const at = [0, 1, 2].map((k) => pos[3 * i + k]);
        return { at, vector: vector.map((x) => cut * x), color, z: zi };
    });
}

/** {size, atom} of the largest of the vectors [3n]. */
export function largest(vectors) {
    let size = -1;
    let atom = 0;
    for (let i = 0; 3 * i < vectors.length; i++) {
        const own = Math.hypot(vectors[3 * i], vectors[3 * i + 1], vectors[3 * i + 2]);
        if (own > size) {
            size = own;
            atom = i;
        }
    }
    return { size, atom };
}

// The energies of this pull, against how far the atom is from its place.
function drawTrace(page, atom, answer) {
    const { moved } = page.values;
    if (trace.atom !== atom) {
        trace.atom = atom;
        trace.points = [];
    }
    const step = moved[atom] ?? [0, 0, 0];
    const now = [Math.hypot(...step), answer.energy - answer.start];
    const last = trace.points.at(-1);
    if (last === undefined || last[0] !== now[0] || last[1] !== now[1]) {
        trace.points.push(now);
        trace.points.splice(0, trace.points.length - 300);
    }
    page.drawChart(
        chart({
            title: "Energy above the start against how far the atom was pulled",
            x: { label: "pulled by (Å)", range: [0, Math.max(1, ...trace.points.map((p) => p[0]))] },
            y: { label: "energy (eV)", range: energies(trace.points.map((p) => p[1])) },
            series: [
                { points: trace.points, color: "sky", kind: "dots", size: 2.5 },
                { points: [now], color: "vermilion", kind: "dots", size: 6 },
            ],
        }),
    );
}

function energies(values) {
    const low = Math.min(0, ...values);
    const high = Math.max(0.5, ...values);
    return [low - 0.05 * (high - low), high + 0.05 * (high - low)];
}

function sentence(page, structure, atom, answer) {
    const { moved } = page.values;
    const step = moved[atom];
    const pulled = step === undefined ? 0 : Math.hypot(...step);
    if (atom < 0 || pulled < 0.005) {
        const { size } = largest(answer.forces);
        return `Nothing is pulled yet; the largest force is ${page.number(size, 2)} eV/Å.`;
    }
    const force = Array.from(answer.forces.slice(3 * atom, 3 * atom + 3));
    const size = Math.hypot(...force);
    const along = force.reduce((sum, f, k) => sum - f * step[k], 0) / (size * pulled);
    const angle = (180 / Math.PI) * Math.acos(Math.min(Math.max(along, -1), 1));
    const way =
        angle < 15
            ? "straight back"
            : angle < 75
              ? "back, but not straight"
              : angle < 105
                ? "sideways"
                : "further away";
    const cost = answer.energy - answer.start;
    const energy = `${cost >= 0 ? "costs" : "gives"} ${page.number(Math.abs(cost), 2)} eV`;
    const name = `${symbols[structure.z[atom]]}${atom + 1}`;
    const place = `${page.number(pulled, 2)} Å out of place`;
    const n = Object.values(moved).filter((each) => Math.hypot(...each) >= 0.005).length;
    const what =
        n > 1
            ? `${n} atoms are out of place, which together ${energy}. ${name} is ${place}`
            : `${name} is ${place}, which ${energy}`;
    return (
        `${what}, and a force of ${page.number(size, 1)} eV/Å draws it ${way} ` +
        `(${page.number(angle, 0)}° off the way back).`
    );
}

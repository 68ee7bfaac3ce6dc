// Free play: any structure, and the network of your choice.

import { guessed } from "./live_noise.js";
import { answerOf, arrowsOf, largest, moveAtom, pull } from "./live_pull.js";
import { Random } from "./random.js";

const DENOISER = "coord-et";
const SHAKE = 0.08; // Å

export const free = {
    name: "Free play",
    question: "What would you like to try?",
    lead:
        "Choose a structure or paste your own, shake it, pull at it, and ask a network: forces, or " +
        "the way back to a structure like those it knows.",
    keys: pull.keys,
    build(page) {
        page.choice({
            name: "show",
            label: "Arrows:",
            options: [
                ["forces", "forces, by SchNet"],
                ["noise", "the way back, by a denoiser"],
            ],
        });
        page.buttons({
            "Shake all atoms": () => shake(page),
            "Follow the arrows a little": () => follow(page),
        });
    },
    select: pull.select,
    pull: moveAtom,
    show(page) {
        if (page.values.show === "forces") {
            pull.show(page);
            return;
        }
        const structure = page.structure();
        const scene = { ...structure, selected: page.values.atom };
        const back = wayBack(page, structure);
        page.caption(page.title());
        if (back !== null) {
            scene.arrows = arrowsOf(structure, back, page.color("blue"), 6);
            const { size } = largest(back);
            page.numbers([["Largest step back", page.number(size, 3), "Å"]]);
            page.drawChart("");
            page.finding(
                `The denoiser would move the atom that is farthest off by ${page.number(size, 3)} Å.`,
            );
            page.caption(`${page.title()}. Arrows: the way back, six times as long as it is.`);
            page.trust(DENOISER, page.model(DENOISER).forward(structure).atoms, structure.z);
        }
        page.view.show(scene);
    },
};

function wayBack(page, structure) {
    const model = page.model(DENOISER);
    if (model === null || !page.knows(DENOISER, structure.z)) {
        return null;
    }
    return guessed(model, structure).map((x) => -x);
}

// Move every atom, by [3n] in Å.
function moveAll(page, steps) {
    const moved = {};
    for (let i = 0; 3 * i < steps.length; i++) {
        const before = page.values.moved[i] ?? [0, 0, 0];
        moved[i] = before.map((x, k) => x + steps[3 * i + k]);
    }
    page.set({ moved });
    page.keep();
}

function shake(page) {
    const draw = page.values.draw + 1;
    const { z } = page.clean();
    page.set({ draw });
    moveAll(page, new Random(draw).normals(3 * z.length).map((x) => SHAKE * x));
}

// A step of the denoiser, or one down the energy that moves no atom by more than 0.05 Å.
function follow(page) {
    const structure = page.structure();
    if (page.values.show === "noise") {
        const back = wayBack(page, structure);
        if (back !== null) {
            moveAll(page, back);
        }
        return;
    }
    const answer = answerOf(page, structure);
    if (answer !== null) {
        const { size } = largest(answer.forces);
        const scale = Math.min(0.02, 0.05 / Math.max(size, 1e-9));
        moveAll(page, Float64Array.from(answer.forces, (f) => scale * f));
    }
}

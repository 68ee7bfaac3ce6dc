// Stop 4: noise on the atoms, and the denoiser's answer.

import { chart } from "./live_chart.js";
import { noiseLeft } from "./conditions.js";
import { arrowsOf } from "./live_pull.js";
import { Random } from "./random.js";

const NETWORK = "coord-et";
const SIGMA = 0.04; // Å, the noise that the denoiser has learned
const GHOSTS = 10; // other draws, drawn faintly
const MEAN_OF = 8; // draws behind the number
const SIGMAS = [0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.14, 0.2, 0.3];

const curve = { key: null, points: [], now: [0, NaN] };

/** Positions with noise of size sigma in Å, and the noise itself [3n]; a draw has its number. */
export function noisy({ z, pos, cell = null }, sigma, draw) {
    const noise = new Random(draw).normals(3 * z.length).map((x) => sigma * x);
    return { structure: { z, pos: pos.map((x, k) => x + noise[k]), cell }, noise };
}

/** The denoiser's guess of the noise in Å [3n]. */
export function guessed(model, structure, condition = null) {
    const options = condition === null ? {} : { condition };
    const { noise } = model.forward(structure, options);
    return Float64Array.from(noise.subarray(0, 3 * structure.z.length), (x) => SIGMA * x);
}

export const noise = {
    name: "Noise",
    question: "Somebody shook the atoms. Can a network that saw no label point back?",
    lead:
        "A denoiser learns from structures alone: move the atoms at random, guess the noise. The " +
        "faint bonds show how noise of this size blurs the molecule; the arrows are its guess, back.",
    keys: "Arrows turn the picture, + and − zoom.",
    build(page) {
        page.slider({
            name: "sigma",
            label: "Noise σ",
            low: 0,
            high: 0.3,
            step: 0.005,
            write: (s) => `${page.number(s, 3)} Å`,
        });
        page.buttons({
            "Shake anew": () => {
                page.set({ draw: page.values.draw + 1 });
                page.keep();
            },
        });
    },
    show(page) {
        const scene = page.clean();
        const { sigma, draw } = page.values;
        const shaken = noisy(scene, sigma, draw);
        const ghosts = Array.from({ length: sigma > 0 ? GHOSTS : 0 }, (_, k) => ({
            ...noisy(scene, sigma, draw + 1 + k).structure,
            alpha: 0.3,
        }));
        const model = page.model(NETWORK);
        const picture = { ...shaken.structure, ghosts };
        page.caption(page.title());
        if (model === null || !page.knows(NETWORK, scene.z)) {
            page.view.show(picture);
            return;
        }
        const answer = guessed(model, shaken.structure);
        const back = answer.map((x) => -x);
        picture.arrows = arrowsOf(shaken.structure, back, page.color("blue"), 6);
        page.view.show(picture);
        page.caption(`${page.title()}. Arrows: the way back, six times as long as it is.`);
        page.trust(NETWORK, model.forward(shaken.structure).atoms, scene.z);
        const left = sigma > 0 ? noiseLeft(answer, shaken.noise) : NaN;
        page.numbers([
            ["Noise of this draw", page.number(size(shaken.noise), 3), "Å an atom"],
            ["Guess", page.number(size(answer), 3), "Å an atom"],
            ["Left, of its square", Number.isFinite(left) ? page.number(100 * left, 0) : "–", "%"],
        ]);
        page.finding(sentence(page, left));
        whole(page, model, scene, [sigma, left]);
    },
};

// The share of the noise that is left against σ, a mean over draws: computed once for a structure.
// now: the point of the present draw.
function whole(page, model, scene, now) {
    const key = scene.pos.join();
    curve.now = now;
    if (curve.key !== key) {
        curve.key = key;
        curve.points = [];
        page.job(
            (function* () {
                for (const sigma of SIGMAS) {
                    let sum = 0;
                    for (let draw = 1; draw <= MEAN_OF; draw++) {
                        const one = noisy(scene, sigma, 1000 + draw);
                        sum += noiseLeft(guessed(model, one.structure), one.noise);
                        yield;
                    }
                    curve.points.push([sigma, sum / MEAN_OF]);
                    drawn(page);
                }
            })(),
        );
    }
    drawn(page);
}

function drawn(page) {
    const shown = curve.points.filter((p) => p[1] <= 1.5);
    page.drawChart(
        chart({
            title: `Share of the noise that is left against its size, means over ${MEAN_OF} draws`,
            x: { label: "noise σ (Å)", range: [0, 0.3] },
            y: { label: "share left", range: [0, 1.5] },
            series: [
                { points: [[0, 1], [0.3, 1]], color: "gray", dash: "2 3", width: 1.2 },
                { name: `mean of ${MEAN_OF} draws`, points: shown, color: "blue" },
                { points: shown, color: "blue", kind: "dots" },
                { name: "this draw", points: [curve.now], color: "vermilion", kind: "dots", size: 6 },
            ],
            marks: [
                { x: SIGMA, color: "green", label: "learned" },
                { x: page.values.sigma, color: "vermilion", label: "σ" },
            ],
        }),
    );
}

function size(vectors) {
    return Math.sqrt(vectors.reduce((sum, x) => sum + x * x, 0) / (vectors.length / 3));
}

function sentence(page, left) {
    const { sigma } = page.values;
    if (sigma === 0) {
        return "Without noise there is nothing to find; what the arrows show is the denoiser's error.";
    }
    const share = page.number(100 * left, 0);
    const learned = "It was trained on noise of 0.040 Å.";
    if (left < 1) {
        return (
            `Of this noise of ${page.number(sigma, 3)} Å the guess leaves ${share}% (a blind guess ` +
            `leaves 100%). ${learned}`
        );
    }
    return (
        `At ${page.number(sigma, 3)} Å the guess is worse than none: ${share}% is left, where a blind ` +
        `guess leaves 100%. ${learned}`
    );
}

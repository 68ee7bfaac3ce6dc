// Stop 6: tell the denoiser which molecule is meant. Self-conditioned denoising: the condition is
// the network's own embedding of the clean structure, none, another's, or a mix.

import { chart } from "./live_chart.js";
import { mixed, noiseLeft, selfEmbedding } from "./conditions.js";
import { hot } from "./live_clue.js";
import { guessed, noisy } from "./live_noise.js";
import { arrowsOf } from "./live_pull.js";

const NETWORK = "scd-ct-frames";
const SIGMA = 0.04; // Å, as in its training
const DRAWS = 12;
const OTHER = "aspirin.1"; // where a link names none that there is
const MIXES = [0, 0.25, 0.5, 0.75, 1];

const done = { key: null, none: NaN, points: [] };

export const condition = {
    name: "Tell it what it is",
    question: "You tell the denoiser what the molecule is. Does it listen?",
    lead:
        "This network denoises and describes: its description of the clean structure can be handed " +
        "back to it as a hint. Mix in the description of something else, and see what is lost.",
    free: true,
    source: hot,
    keys: "Arrows turn the picture, + and − zoom.",
    build(page) {
        page.slider({
            name: "mix",
            label: "Another's share of the hint",
            low: 0,
            high: 1,
            step: 0.05,
            write: (m) => `${page.number(100 * m, 0)}%`,
        });
        page.choice({
            name: "other",
            label: "The other:",
            options: [
                ["aspirin.1", "aspirin"],
                ["isomers.0", "an isomer of C7H10O2"],
                ["ethanol.3", "another frame of ethanol"],
                ["alloys.1", "a crystal"],
            ],
        });
    },
    show(page) {
        const scene = page.clean();
        const model = page.model(NETWORK);
        const { mix, draw } = page.values;
        const shaken = noisy(scene, SIGMA, draw);
        page.caption(page.title());
        if (model === null || !page.knows(NETWORK, scene.z)) {
            page.view.show(shaken.structure);
            return;
        }
        const other = page.named(page.values.other) ?? page.named(OTHER);
        const own = Float64Array.from(selfEmbedding(model, scene));
        const another = Float64Array.from(selfEmbedding(model, other));
        const hint = mixed(own, another, mix);
        const answer = guessed(model, shaken.structure, hint);
        const back = answer.map((x) => -x);
        page.view.show({
            ...shaken.structure,
            arrows: arrowsOf(shaken.structure, back, page.color("blue"), 8),
        });
        page.caption(`${page.title()}, noise of 0.04 Å. Arrows: the way back, eight times as long.`);
        page.trust(NETWORK, model.forward(scene, { condition: own }).atoms, scene.z);
        const key = `${scene.pos.join()} ${page.values.other}`;
        if (done.key !== key) {
            Object.assign(done, { key, none: NaN, points: [], now: null });
            page.job(all(page, model, scene, own, another));
        }
        const now = done.points.length === MIXES.length ? between(mix) : NaN;
        write(page, now);
    },
};

// The mean share of the noise that is left, over the same draws for every hint.
function* share(model, scene, hint) {
    let sum = 0;
    for (let draw = 1; draw <= DRAWS; draw++) {
        const one = noisy(scene, SIGMA, 2000 + draw);
        sum += noiseLeft(guessed(model, one.structure, hint), one.noise);
        yield;
    }
    return sum / DRAWS;
}

function* all(page, model, scene, own, another) {
    done.none = yield* share(model, scene, null);
    page.later();
    for (const mix of MIXES) {
        const left = yield* share(model, scene, mixed(own, another, mix));
        done.points.push([mix, left]);
        page.later();
    }
}

// Read off the line between the mixes that were computed.
function between(mix) {
    const k = Math.min(Math.floor(mix * (MIXES.length - 1)), MIXES.length - 2);
    const [[x0, y0], [x1, y1]] = [done.points[k], done.points[k + 1]];
    return y0 + ((y1 - y0) * (mix - x0)) / (x1 - x0);
}

function write(page, now) {
    const percent = (x) => (Number.isFinite(x) ? page.number(100 * x, 1) : "…");
    const own = done.points[0]?.[1] ?? NaN;
    const other = done.points.length === MIXES.length ? done.points.at(-1)[1] : NaN;
    page.numbers([
        ["Noise left, own hint", percent(own), "%"],
        ["no hint", percent(done.none), "%"],
        ["another's", percent(other), "%"],
        ["this mix", percent(now), "%"],
    ]);
    const flat = Number.isFinite(done.none) ? [[0, done.none], [1, done.none]] : [];
    page.drawChart(
        chart({
            title: `Share of the noise that is left against the mix of the hint, means over ${DRAWS} draws`,
            x: { label: "another's share of the hint", range: [0, 1] },
            y: { label: "share of the noise left" },
            series: [
                { name: "no hint", points: flat, color: "gray", dash: "3 3" },
                { name: "own … another's", points: done.points, color: "blue" },
                { points: done.points, color: "blue", kind: "dots" },
            ],
            marks: [{ x: page.values.mix, color: "vermilion", label: "mix" }],
        }),
    );
    page.finding(sentence(page, own, other));
}

function sentence(page, own, other) {
    if (!Number.isFinite(other)) {
        return `The network answers ${DRAWS} draws of the noise for every hint; this takes a moment.`;
    }
    const text = (x) => `${page.number(100 * x, 1)}%`;
    const gain = done.none - own;
    const loss = other - own;
    const heard =
        Math.max(Math.abs(gain), Math.abs(loss)) < 0.02
            ? "it hardly listens here"
            : loss > 0.02
              ? "a wrong hint costs"
              : "the other's hint serves as well";
    return (
        `With its own description ${text(own)} of the noise is left, without one ${text(done.none)}, ` +
        `with the other's ${text(other)}: ${heard}.`
    );
}

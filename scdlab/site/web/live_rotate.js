// Stop 8: rotate a network that knows nothing of rotations, and mend it with ECSE.

import { ECSE } from "./ecse.js";
import { chart, rangeOf } from "./live_chart.js";
import { rotated } from "./paths.js";

const NETWORK = "pet-ethanol";
const AXIS = [0.3, 1, 0.2];
const STEP = 15; // degrees between energies of the network as it is
const MENDED = 45; // and with frames, which take longer

const done = { key: null, plain: [], mended: [] };
let ecse = null;

export const rotate = {
    name: "Rotate it",
    question: "You turn the molecule. Does its energy change?",
    lead:
        "It must not. This transformer, PET, sees plain coordinates and has learned from turned copies; " +
        "ECSE evaluates it in frames that the molecule brings along.",
    keys: "Arrows turn the picture, which is not what the slider does: it turns the molecule.",
    source: (from) => (from.startsWith("ethanol.") ? from : "ethanol.0"),
    build(page) {
        page.slider({
            name: "angle",
            label: "Turn the molecule by",
            low: 0,
            high: 360,
            step: 1,
            write: (a) => `${a}°`,
        });
    },
    show(page) {
        const scene = page.clean();
        const { angle } = page.values;
        const turned = rotated(scene, AXIS, (Math.PI / 180) * angle);
        const model = page.model(NETWORK);
        page.view.show(turned);
        page.caption(`${page.title()}, turned by ${angle}°.`);
        if (model === null) {
            return;
        }
        ecse ??= new ECSE(model);
        const key = scene.pos.join();
        if (done.key !== key) {
            Object.assign(done, { key, plain: [], mended: [] });
            page.job(all(page, model, scene));
        }
        const { energy, atoms } = model.forward(turned);
        page.trust(NETWORK, atoms, scene.z);
        write(page, energy);
    },
};

function* all(page, model, scene) {
    const at = (angle) => rotated(scene, AXIS, (Math.PI / 180) * angle);
    for (let angle = 0; angle <= 360; angle += STEP) {
        done.plain.push([angle, model.forward(at(angle)).energy]);
        yield;
    }
    page.later();
    for (let angle = 0; angle <= 360; angle += MENDED) {
        done.mended.push([angle, ecse.forward(at(angle)).energy]);
        page.later();
        yield;
    }
}

// How far the energy with frames is from the mean of those without, in meV.
function apart() {
    const mean = done.plain.reduce((sum, p) => sum + p[1], 0) / done.plain.length;
    return 1e3 * Math.abs(done.mended[0][1] - mean);
}

// Largest minus smallest, in meV.
function range(points) {
    const energies = points.map((p) => p[1]);
    return 1e3 * (Math.max(...energies) - Math.min(...energies));
}

function write(page, energy) {
    if (done.plain.length === 0) {
        return;
    }
    const zero = done.plain[0][1];
    const relative = (points) => points.map(([angle, e]) => [angle, 1e3 * (e - zero)]);
    const whole = done.plain.length === 360 / STEP + 1;
    const mended = done.mended.length === 360 / MENDED + 1;
    const small = mended ? exact(range(done.mended)) : "…";
    page.numbers([
        ["Energy, turned", page.number(1e3 * (energy - zero), 1), "meV"],
        ["Range over the turn", whole ? page.number(range(done.plain), 1) : "…", "meV"],
        ["Range with ECSE", small, "meV"],
    ]);
    const shown = [...relative(done.plain), ...relative(done.mended)].map((p) => p[1]);
    page.drawChart(
        chart({
            title: "Energy of the network against the angle, as it is and with ECSE",
            x: { label: "turned by (degrees)", range: [0, 360] },
            y: { label: "energy (meV)", range: rangeOf(shown, 2) },
            series: [
                { name: "PET", points: relative(done.plain), color: "vermilion" },
                { name: "with ECSE", points: relative(done.mended), color: "blue", dash: "7 3" },
                { points: relative(done.mended), color: "blue", kind: "dots" },
            ],
            marks: [{ x: page.values.angle, color: "gray", label: "now" }],
        }),
    );
    page.finding(
        mended
            ? `Over a whole turn the network's energy changes by ${page.number(range(done.plain), 1)} ` +
                  `meV; in frames that turn with the molecule, by ${small} meV, the last digits of the ` +
                  `arithmetic. Exact is not more accurate: it is ${page.number(apart(), 0)} meV off the ` +
                  "mean of the others."
            : "The network with frames is computed at nine angles, in many frames each; this takes " +
                  "a moment.",
    );
}

// A small number, in full or as a power of ten.
function exact(x) {
    return x >= 0.01 ? x.toFixed(2) : x === 0 ? "0" : x.toExponential(0).replace("-", "−");
}

// Stop 3: dynamics at constant energy, with forces that are the slope of an energy and with forces
// that are predicted directly.

import { chart, rangeOf } from "./live_chart.js";
import { VelocityVerlet } from "./dynamics.js";
import { arrowsOf } from "./live_pull.js";
import { Random } from "./random.js";

const NETWORKS = ["schnet-ethanol", "schnet-ethanol-direct"];
const TIMESTEP = 0.5; // fs
const END = 3000; // fs
const SLICE = 10; // ms of dynamics between two pictures
const EVERY = 5; // fs between points of the chart
const HOTTEST = 10_000; // K: a trajectory that is hotter has come apart
const ARROW = 0.25; // Å for 1 eV/Å

let runs = null;
let going = false;
let button = null;

export const move = {
    name: "Let it move",
    question: "Let it move: does the energy stay what it was?",
    lead:
        "Two SchNets learned the same frames of ethanol. The left one's forces are the slope of its " +
        "energy, the right one predicts forces directly. Nature keeps the total energy.",
    keys: "Arrows turn both pictures, + and − zoom.",
    source: (from) => (from.startsWith("ethanol.") ? from : "ethanol.0"),
    build(page) {
        page.slider({
            name: "temperature",
            label: "Temperature at the start",
            low: 50,
            high: 600,
            step: 10,
            write: (t) => `${t} K`,
        }).addEventListener("input", () => {
            page.set({ time: 0 });
            begin(page);
        });
        [button] = page.buttons({
            "Let it move": () => (going ? halt(page) : go(page)),
            "100 fs further": () => {
                if (runs !== null) {
                    halt(page);
                    further(page, runs.time + 100);
                }
            },
            "From the start": () => {
                page.set({ time: 0 });
                begin(page);
                page.keep();
            },
        });
        button.className = "main";
        runs = null;
    },
    leave(page) {
        going = false;
        runs = null;
        page.caption("");
    },
    show(page) {
        if (page.model(NETWORKS[1]) === null) {
            page.view.show(page.clean());
            page.caption("forces as slope of the energy", "forces predicted directly");
            return;
        }
        if (runs === null) {
            begin(page);
        }
        draw(page);
    },
};

// Both from the frame, with the same velocities.
function begin(page) {
    going = false;
    page.running = null;
    const scene = page.clean();
    runs = { time: 0, from: page.from, temperature: page.values.temperature, arms: [], ended: "" };
    for (const name of NETWORKS) {
        const model = page.model(name);
        const dynamics = new VelocityVerlet(
            scene,
            (structure) => model.forward(structure, { forces: true }),
            TIMESTEP,
        );
        dynamics.thermalize(page.values.temperature, new Random(1));
        dynamics.update();
        runs.arms.push({ model, dynamics, start: dynamics.totalEnergy, points: [[0, 0]] });
    }
    label();
    if (page.values.time > 0) {
        further(page, page.values.time);
    } else {
        draw(page);
    }
}

function label() {
    if (button !== null) {
        button.textContent = going ? "Pause" : "Let it move";
    }
}

// One step of both.
function step(page) {
    const before = runs.time;
    for (const arm of runs.arms) {
        arm.dynamics.step();
    }
    runs.time = runs.arms[0].dynamics.time;
    if (Math.floor(runs.time / EVERY) > Math.floor(before / EVERY)) {
        for (const arm of runs.arms) {
            const n = arm.dynamics.masses.length;
            const change = (1e3 * (arm.dynamics.totalEnergy - arm.start)) / n;
            arm.points.push([runs.time, change]);
        }
    }
    const hottest = Math.max(...runs.arms.map((arm) => arm.dynamics.temperature));
    if (runs.time >= END) {
        runs.ended = "This is as far as the page goes; start again with another temperature.";
    } else if (hottest > HOTTEST) {
        runs.ended = "One of the two is hotter than 10,000 K: the molecule has come apart.";
    }
    if (runs.ended) {
        halt(page);
    }
}

function go(page) {
    if (runs === null || runs.ended) {
        return;
    }
    going = true;
    label();
    const own = runs;
    const frame = () => {
        if (!going || runs !== own) {
            return;
        }
        const end = performance.now() + SLICE;
        try {
            do {
                step(page);
            } while (going && performance.now() < end);
        } catch (error) {
            halt(page);
            page.problem(error.message);
        }
        page.later();
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}

function halt(page) {
    going = false;
    label();
    page.set({ time: runs.time });
    page.keep();
}

// So far without pictures between, for a link, a key or a reader who wants no motion.
function further(page, time) {
    page.job(
        (function* () {
            while (runs !== null && runs.time < Math.min(time, END) && !runs.ended) {
                step(page);
                yield;
            }
            page.set({ time: runs.time });
            page.keep();
        })(),
    );
}

function draw(page) {
    const [slope, direct] = runs.arms;
    const red = page.color("vermilion");
    const views = [page.view, page.beside];
    page.caption("Left: forces as slope of the energy.", "Right: forces predicted directly.");
    runs.arms.forEach(({ dynamics }, k) => {
        const { structure, forces } = dynamics;
        views[k].show({ ...structure, arrows: arrowsOf(structure, forces, red, ARROW) });
    });
    const [left, right] = runs.arms.map((arm) => {
        const n = arm.dynamics.masses.length;
        return (1e3 * (arm.dynamics.totalEnergy - arm.start)) / n;
    });
    page.numbers([
        ["Time", page.number(runs.time, 0), "fs"],
        ["Energy gained, slope", page.number(left, 2), "meV/atom"],
        ["Energy gained, direct", page.number(right, 2), "meV/atom"],
    ]);
    const values = [...slope.points, ...direct.points].map((p) => p[1]);
    page.drawChart(
        chart({
            title: "Change of the total energy against time, for both kinds of forces",
            x: { label: "time (fs)", range: [0, Math.max(200, runs.time)] },
            y: { label: "change (meV/atom)", range: rangeOf([...values, -1, 1]) },
            series: [
                { name: "slope of the energy", points: slope.points, color: "blue" },
                { name: "direct", points: direct.points, color: "vermilion", dash: "6 3" },
            ],
        }),
    );
    page.finding(sentence(page, left, right));
    if (!going) {
        const { structure } = direct.dynamics;
        page.trust(NETWORKS, direct.model.forward(structure).atoms, structure.z);
    }
}

function sentence(page, left, right) {
    if (runs.ended) {
        return runs.ended;
    }
    if (runs.time === 0) {
        return "Both start with the same velocities and the same energy. Let them move.";
    }
    return (
        `After ${page.number(runs.time, 0)} fs at ${runs.temperature} K the total energy has changed ` +
        `by ${page.number(left, 2)} meV per atom where forces are its slope, and by ` +
        `${page.number(right, 1)} where they are predicted directly.`
    );
}

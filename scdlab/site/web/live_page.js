// The page around the stops: its elements, what they share, and how a stop is entered and left.

import { fixed } from "./live_chart.js";
import { Library, formula } from "./live_library.js";
import { Reference, alone, unseenSentence, verdict } from "./live_trust.js";
import { State } from "./live_state.js";
import { MoleculeView } from "./live_view.js";
import { loadModel, unknownElements } from "./models.js";

const SLICE = 12; // ms that a long calculation takes before the page may answer
const CELLS = 512; // of filter tables

/** The element of an id. */
export function element(id) {
    return document.getElementById(id);
}

/** A new element with properties and children. */
export function make(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
}

export class Page {
    /**
     * @param first the scene that was computed before: {values, scene, answer, elements, home}.
     * @param stops in their order.
     */
    constructor(first, stops) {
        this.first = first;
        this.stops = stops;
        this.state = new State(first.values);
        this.library = null;
        this.models = new Map();
        this.references = {};
        this.stop = null;
        this.running = null;
        this.look = { paper: "", ink: "", selected: "", ...first.elements };
        this.view = new MoleculeView(element("view"), this.look);
        this.beside = new MoleculeView(element("view-beside"), this.look, this.view.camera);
        this.fitted = null;
    }

    get values() {
        return this.state.values;
    }

    /** Colors as the present style has them, for canvases. */
    readColors() {
        const style = getComputedStyle(document.documentElement);
        const color = (name) => style.getPropertyValue(`--${name}`).trim();
        Object.assign(this.look, {
            paper: color("paper"),
            ink: color("ink"),
            selected: color("orange"),
        });
        this.color = color;
    }

    // ------------------------------------------------------------------ structures and models

    /** The name of the present structure, or of one that the stop can use. */
    get from() {
        const { from } = this.values;
        return this.stop.source ? this.stop.source(from) : from;
    }

    /** The structure as it was opened, and null while it is not there yet. */
    clean() {
        return this.named(this.from);
    }

    named(from) {
        if (from === "pasted") {
            return this.values.xyz;
        }
        if (this.library === null) {
            return from === this.first.values.from ? this.first.scene : null;
        }
        return this.library.get(from);
    }

    /** The structure with the atoms that were moved. */
    structure() {
        const scene = this.clean();
        if (scene === null) {
            return null;
        }
        const pos = Float64Array.from(scene.pos);
        for (const [i, step] of Object.entries(this.values.moved)) {
            if (i < scene.z.length) {
                step.forEach((x, k) => {
                    pos[3 * i + k] += x;
                });
            }
        }
        return { z: scene.z, pos, cell: scene.cell ?? null };
    }

    title() {
        const { z } = this.clean();
        return this.library === null || this.from === "pasted"
            ? formula(z)
            : this.library.title(this.from, z);
    }

    /** A model; null while its weights are not there yet. */
    model(name) {
        if (!this.models.has(name)) {
            const stored = element(`weights-${name}`);
            if (stored === null || this.library === null) {
                return null;
            }
            const model = loadModel(JSON.parse(stored.textContent));
            if ("filterTableSize" in model) {
                model.filterTableSize = CELLS;
            }
            this.models.set(name, model);
        }
        return this.models.get(name);
    }

    /** Whether a model knows all elements; where it does not, the page says so. */
    knows(name, z) {
        const model = this.model(name);
        const unknown = unknownElements(model, z);
        if (unknown.length > 0) {
            const sentence = unseenSentence(unknown, model.about.trainedElements);
            this.numbers([]);
            this.drawChart("");
            this.finding(sentence);
            const text = "Outside its training set: elements that it never saw.";
            this.trust(name, null, z, { color: "vermilion", text });
        }
        return unknown.length === 0;
    }

    // ------------------------------------------------------------------ what a stop writes

    numbers(rows) {
        element("numbers").replaceChildren(
            ...rows.map(([name, value, unit = ""]) =>
                make(
                    "div",
                    {},
                    make("dt", { textContent: name }),
                    make("dd", {}, value, make("small", { textContent: unit ? ` ${unit}` : "" })),
                ),
            ),
        );
    }

    drawChart(svg) {
        element("chart").innerHTML = svg;
    }

    finding(text) {
        const box = element("finding");
        if (box.textContent !== text) {
            box.textContent = text;
        }
    }

    caption(text, beside = null) {
        element("caption").textContent = text.slice(0, 1).toUpperCase() + text.slice(1);
        element("caption-beside").textContent = beside ?? "";
        if (element("beside").hidden !== (beside === null)) {
            element("beside").hidden = beside === null;
        }
    }

    /**
     * What the networks of the stop know, and how far the structure is from the last of them: by
     * its features `atoms`, or as `judged`, {color, text}, has it.
     */
    trust(names, atoms, z, judged = null) {
        const known = [names].flat().map((name) => this.references[name]);
        const about = known.at(-1);
        if (about === undefined) {
            return;
        }
        if (judged === null && atoms !== null) {
            judged = alone(this.structure()) ?? verdict(about.distance(atoms, z), z);
        }
        const said = known.map(({ trained, error }) => `${trained} ${error}`.trim());
        element("trained").textContent = said.join(" ");
        element("verdict").textContent = judged?.text ?? "";
        element("verdict").style.setProperty("--verdict", `var(--${judged?.color})`);
    }

    /** One sentence on what is wrong, which stays until the reader closes it. */
    problem(text) {
        this.unanswered = false; // whether it says why there is no answer: the next one ends it
        element("problem-text").textContent = text;
        element("problem").hidden = text === "";
    }

    // ------------------------------------------------------------------ controls

    /** A slider for an entry of the state. */
    slider({ name, label, low, high, step, write, text = null }) {
        const output = make("output");
        const input = make("input", { type: "range", min: low, max: high, step, id: `of-${name}` });
        input.setAttribute("data-name", name);
        const put = () => {
            input.value = this.values[name];
            output.textContent = write(this.values[name]);
            input.setAttribute("aria-valuetext", (text ?? write)(this.values[name]));
        };
        input.addEventListener("input", () => {
            this.set({ [name]: Number(input.value) });
            put();
        });
        input.addEventListener("change", () => this.keep());
        put();
        const line = make("label", { htmlFor: input.id }, label, output);
        element("control").append(line, input);
        return input;
    }

    /** Buttons in a row, {text: what happens}. */
    buttons(entries) {
        const made = Object.entries(entries).map(([text, act]) =>
            make("button", { textContent: text, onclick: act }),
        );
        element("control").append(make("div", { className: "buttons" }, ...made));
        return made;
    }

    /** A list to choose an entry of the state from, [[value, text]]. */
    choice({ name, label, options }) {
        const select = make(
            "select",
            { id: `of-${name}` },
            ...options.map(([value, text]) => make("option", { value, textContent: text })),
        );
        select.value = this.values[name];
        select.addEventListener("change", () => {
            this.set({ [name]: select.value });
            this.keep();
        });
        const line = make("label", { htmlFor: select.id, className: "row" }, `${label} `, select);
        element("control").append(line);
        return select;
    }

    say(text) {
        element("control").append(make("p", { textContent: text }));
    }

    // ------------------------------------------------------------------ changes

    set(changes) {
        this.state.set(changes);
        this.later();
    }

    /** The change is complete: a step of undo, and the address names the scene. */
    keep() {
        this.state.keep();
        this.writeAddress();
    }

    writeAddress() {
        element("undo").disabled = !this.state.canUndo;
        this.values.view = this.view.camera.rotation;
        this.values.zoom = this.view.camera.zoom;
        const address = `#${this.state.address()}`;
        if (address !== location.hash) {
            this.written = address;
            history.replaceState(null, "", address);
        }
    }

    /** Show again, once in a frame at most. */
    later() {
        if (!this.waiting) {
            this.waiting = true;
            requestAnimationFrame(() => {
                this.waiting = false;
                this.show();
            });
        }
    }

    show() {
        const scene = this.clean();
        if (scene === null) {
            return;
        }
        const { frame } = this.stop;
        const looked = `${scene.pos.join()} ${frame ? frame(this).center : ""}`;
        if (this.fitted !== looked) {
            this.fitted = looked;
            this.view.camera.fit(scene.pos);
            Object.assign(this.view.camera, frame ? frame(this) : {});
        }
        try {
            this.stop.show(this);
            if (this.unanswered) {
                this.problem("");
            }
        } catch (error) {
            this.view.show({ ...this.structure(), selected: this.values.atom });
            this.problem(error.message);
            this.unanswered = true;
        }
        element("view").setAttribute(
            "aria-label",
            `${this.title()}. ${element("caption").textContent}`,
        );
    }

    /** A long calculation in slices; a generator, which another one or leaving the stop ends. */
    job(steps) {
        const own = {};
        this.running = own;
        const run = () => {
            if (this.running !== own) {
                return;
            }
            const end = performance.now() + SLICE;
            try {
                while (performance.now() < end) {
                    if (steps.next().done) {
                        this.running = null;
                        return;
                    }
                }
            } catch (error) {
                this.running = null;
                this.problem(error.message);
                return;
            }
            setTimeout(run, 0);
        };
        run();
    }

    /** Go to a stop, by its number from 1. */
    enter(number, focus = false) {
        this.stop?.leave?.(this);
        this.running = null;
        this.state.set({ stop: number });
        this.stop = this.stops[number - 1];
        this.build(number);
        if (focus) {
            element("question").focus({ preventScroll: true });
            globalThis.scrollTo(0, 0);
        }
        this.show();
        this.writeAddress();
    }

    build(number) {
        const { stop } = this;
        const tour = this.stops.length - 1;
        element("count").textContent =
            number <= tour ? `Stop ${number} of ${tour}: ${stop.name}` : stop.name;
        element("question").textContent = stop.question;
        element("lead").textContent = stop.lead;
        element("keys").textContent = stop.keys ?? "";
        const bound = Boolean(stop.source) && !stop.free;
        element("structure").hidden = bound;
        element("paste").hidden = bound;
        element("reset").hidden = !stop.pull;
        element("back").disabled = number === 1;
        element("next").hidden = number > tour;
        element("next").textContent = number === tour ? "Free play" : "Next stop";
        [...element("stops").querySelectorAll("button")].forEach((button, k) => {
            if (k + 1 === number) {
                button.setAttribute("aria-current", "step");
            } else {
                button.removeAttribute("aria-current");
            }
        });
        for (const id of ["control", "numbers", "chart", "verdict", "trained"]) {
            element(id).replaceChildren();
        }
        this.caption("");
        this.finding("");
        this.view.canPull = Boolean(stop.pull);
        this.offerPasted();
        element("structure").value = this.from;
        stop.build(this);
    }

    // A pasted structure is an entry of the list, to which a reader can come back.
    offerPasted() {
        const { xyz } = this.values;
        let entry = element("structure").querySelector("[value=pasted]");
        if (!xyz) {
            entry?.remove();
            return;
        }
        if (entry === null) {
            entry = new Option("", "pasted");
            element("structure").prepend(entry);
        }
        entry.textContent = `pasted, ${formula(xyz.z)}`;
    }

    rebuild() {
        this.enter(this.values.stop);
    }

    /** What came with the page below its first scene. */
    takeData(data) {
        this.library = new Library(data);
        this.data = data;
        for (const [name, about] of Object.entries(data.references)) {
            this.references[name] = about.features ? new Reference(about) : about;
        }
    }

    number(x, digits) {
        return fixed(x, digits);
    }
}

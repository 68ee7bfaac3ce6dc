// The live page. `start` draws the scene that was computed before, as soon as this script is read;
// `loaded` goes on with molecules and weights, which stand below it in the file.

import { clue } from "./live_clue.js";
import { condition } from "./live_condition.js";
import { filters } from "./live_filters.js";
import { free } from "./live_free.js";
import { map } from "./live_map.js";
import { move } from "./live_move.js";
import { noise } from "./live_noise.js";
import { Page, element, make } from "./live_page.js";
import { pull } from "./live_pull.js";
import { rotate } from "./live_rotate.js";
import { offerTools } from "./live_tools.js";

const STOPS = [pull, filters, move, noise, clue, condition, map, rotate, free];

let page = null;

/** Show the first scene, and answer to the reader from here on. */
export function start() {
    if (/[?&]panel\b/.test(location.search)) {
        beInside();
    }
    const first = JSON.parse(element("first").textContent);
    page = new Page(first, STOPS);
    globalThis.scdlabPage = page;
    if (first.home) {
        const link = make("a", { href: first.home, textContent: "Live lessons" });
        element("home").replaceChildren(link);
    }
    STOPS.forEach((stop, k) => {
        const name = make("span", { className: "name", textContent: ` ${stop.name}` });
        const button = make("button", { title: stop.question });
        button.append(k < STOPS.length - 1 ? String(k + 1) : "★", name);
        button.setAttribute("aria-label", `${k + 1}, ${stop.name}`);
        button.addEventListener("click", () => go(k + 1));
        element("stops").append(make("li", {}, button));
    });
    element("back").addEventListener("click", () => go(page.values.stop - 1));
    element("next").addEventListener("click", () => go(page.values.stop + 1));
    page.readColors();
    offerTools(page, () => {
        open(page.state.read(location.hash));
        page.keep();
    });
    open(page.state.read(location.hash));
    page.state.settle();
    performance.mark("scene"); // what benchmarks/web.py reads
    new ResizeObserver(() => page.later()).observe(element("views"));
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => {
        page.readColors();
        page.later();
    });
}

/** Take what stands below the first scene, and answer with the models. */
export function loaded() {
    setTimeout(() => {
        page.takeData(JSON.parse(element("data").textContent));
        for (const { label, entries } of page.library.groups()) {
            const group = make("optgroup", { label });
            group.append(...entries.map(([value, text]) => new Option(text, value)));
            element("structure").append(group);
        }
        open(page.wrong);
        page.state.settle();
        performance.mark("answer");
        document.body.dataset.ready = "yes";
    }, 0);
}

// A panel in another page, "live.html?panel#stop=4": the stop alone, which says how tall it is.
function beInside() {
    document.documentElement.classList.add("panel");
    const tell = () => {
        const height = Math.ceil(document.body.getBoundingClientRect().height);
        parent.postMessage({ scdlabHeight: height }, "*");
    };
    new ResizeObserver(tell).observe(document.body);
}

function go(number) {
    page.keep();
    page.enter(number, true);
    page.keep();
}

// Show the scene that was read. wrong: entries of its address that could not be.
function open(wrong) {
    const { values, library } = page;
    page.wrong = wrong;
    if (library !== null && values.from !== "pasted" && library.get(values.from) === null) {
        wrong.push("from");
        page.state.set({ from: page.first.values.from, moved: {} });
    }
    const scene = page.named(values.from);
    const there = Object.entries(values.moved).filter(([i]) => i < (scene?.z.length ?? Infinity));
    if (there.length < Object.keys(values.moved).length) {
        wrong.push("moved");
        page.state.set({ moved: Object.fromEntries(there) });
    }
    page.view.camera.rotation = values.view ?? page.view.camera.rotation;
    page.view.camera.zoom = values.zoom ?? 1;
    page.problem("");
    page.enter(values.stop);
    if (wrong.length > 0) {
        const parts = wrong.map((name) => `"${name}"`).join(", ");
        page.problem(
            `The link's ${parts} cannot be read, so the page shows its own scene there; ask for ` +
                "the link again.",
        );
    }
}

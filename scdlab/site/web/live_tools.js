// What stands below the picture: another structure, a pasted one, undo, links, and files to keep.

import { element, make } from "./live_page.js";
import { symbols } from "./elements.js";
import { parseXyz, writeXyz } from "./xyz.js";

const MAX_ATOMS = 200;

/**
 * Make the buttons work.
 *
 * @param openAddress shows the scene of the address.
 */
export function offerTools(page, openAddress) {
    const click = (id, act) => element(id).addEventListener("click", act);
    element("structure").addEventListener("change", (event) => {
        choose(page, event.target.value);
    });
    click("paste", () => {
        element("paste-problem").textContent = "";
        element("paste-dialog").showModal();
    });
    click("paste-take", () => takePasted(page));
    click("undo", () => undo(page));
    click("reset", () => {
        page.set({ moved: {}, atom: -1 });
        page.keep();
        page.rebuild();
    });
    click("link", () => copyLink(page));
    click("picture", () => savePicture(page));
    click("save-xyz", () => saveXyz(page));
    click("problem-close", () => page.problem(""));
    addEventListener("keydown", (event) => {
        const typing = event.target.matches?.("textarea, select");
        if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing) {
            event.preventDefault();
            undo(page);
        }
    });
    addEventListener("hashchange", () => {
        if (location.hash !== page.written) {
            openAddress();
        }
    });
    for (const view of [page.view, page.beside]) {
        view.onTurn = (finished) => {
            page.later();
            if (finished) {
                page.writeAddress();
            }
        };
        view.onSelect = (atom) => {
            if (page.stop.select) {
                page.stop.select(page, atom);
            }
        };
        view.onPull = (atom, step, finished) => {
            page.stop.pull(page, atom, step);
            if (finished) {
                page.keep();
            }
        };
    }
}

/** Show a structure that comes with the page. */
export function choose(page, from) {
    page.set({ from, moved: {}, atom: -1 });
    page.keep();
    page.rebuild();
}

function undo(page) {
    page.state.undo();
    page.problem("");
    page.enter(page.values.stop);
}

function takePasted(page) {
    let structure;
    try {
        structure = parseXyz(element("paste-text").value, { maxAtoms: MAX_ATOMS });
    } catch (error) {
        element("paste-problem").textContent = error.message;
        return;
    }
    const noRadius = [...structure.z].find((z) => page.look.radii[z] === undefined);
    if (noRadius !== undefined) {
        element("paste-problem").textContent =
            `The page cannot draw ${symbols[noRadius]}; leave it out.`;
        return;
    }
    element("paste-dialog").close();
    const { z, pos, cell } = structure;
    page.set({ from: "pasted", xyz: { z, pos, cell }, moved: {}, atom: -1 });
    page.keep();
    page.rebuild();
}

async function copyLink(page) {
    page.writeAddress();
    try {
        await navigator.clipboard.writeText(location.href);
        page.problem("The link is copied; it opens this very scene.");
    } catch {
        page.problem("The browser does not let a page copy; take the link from its address line.");
    }
}

/** Let the reader keep a file. */
function keepFile(name, blob) {
    const address = URL.createObjectURL(blob);
    make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// The canvases side by side on the paper of the page.
function savePicture(page) {
    const shown = [element("view"), element("view-beside")].filter((c) => c.clientWidth > 0);
    const whole = make("canvas", {
        width: shown.reduce((sum, c) => sum + c.width, 0),
        height: shown[0].height,
    });
    const context = whole.getContext("2d");
    let x = 0;
    for (const canvas of shown) {
        context.drawImage(canvas, x, 0);
        x += canvas.width;
    }
    whole.toBlob((blob) => keepFile(`scdlab-stop-${page.values.stop}.png`, blob));
}

function saveXyz(page) {
    const shown = page.view.scene;
    const comment = `${page.title()}, stop ${page.values.stop} of the live lessons`;
    const text = writeXyz(shown, comment);
    keepFile("scdlab-structure.xyz", new Blob([text], { type: "chemical/x-xyz" }));
}

// JupyterLab moves its cells by the arrow keys; in a widget's menu they are the menu's.
//
// One listener for the page: menus come and go, and JupyterLab reads the attribute at each key.

const SUPPRESS = "data-lm-suppress-shortcuts";

function keepKeys(event) {
    if (event.target.matches?.(".jupyter-widgets select")) {
        event.target.setAttribute(SUPPRESS, "true");
    }
}

function render() {
    if (!globalThis.scdlabMenus) {
        globalThis.scdlabMenus = true;
        document.addEventListener("focusin", keepKeys);
    }
}

export default { render };

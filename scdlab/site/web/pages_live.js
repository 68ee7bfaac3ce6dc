// Live panels: a stop of the live page in place of the still picture of a widget, when the reader asks for it.

const HEIGHT = 760; // px until the panel says how tall it is

export function offerPanels() {
  for (const button of document.querySelectorAll("[data-live]")) {
    const asked = button.textContent;
    let panel = null;
    button.hidden = false;
    button.addEventListener("click", () => {
      const place = button.closest("figure");
      if (panel) {
        panel.remove();
        panel = null;
      } else {
        panel = document.createElement("iframe");
        panel.className = "panel";
        panel.title = button.dataset.title;
        panel.style.height = `${HEIGHT}px`;
        panel.src = `live.html?panel#${button.dataset.live}`;
        button.closest(".try").before(panel);
      }
      place?.classList.toggle("live", panel !== null);
      button.textContent = panel ? "Back to the picture" : asked;
    });
  }
  addEventListener("message", ({ source, data }) => {
    const panel = [...document.querySelectorAll("iframe.panel")].find((each) => each.contentWindow === source);
    if (panel && data?.scdlabHeight > 0) panel.style.height = `${data.scdlabHeight}px`;
  });
}

// Reading: light or dark, where one is in the contents, wide things that scroll, and paper.

const NEXT = { auto: "dark", dark: "light", light: "auto" };
const WORDS = { auto: "Auto", dark: "Dark", light: "Light" };
const SIGNS = { auto: "◐", dark: "●", light: "○" };

export function remembered(name) { // null where the browser keeps nothing, as some do for files
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

export function remember(name, value) { // whether it was kept
  try {
    localStorage.setItem(name, value);
    return true;
  } catch {
    return false;
  }
}

export function switchTheme() {
  const button = document.querySelector("[data-theme-switch]");
  const root = document.documentElement;
  const show = () => {
    const theme = root.dataset.theme in NEXT ? root.dataset.theme : "auto";
    button.textContent = `${SIGNS[theme]} ${WORDS[theme]}`;
    button.setAttribute("aria-label", `Colors: ${WORDS[theme].toLowerCase()}; change to ${WORDS[NEXT[theme]].toLowerCase()}`);
    return theme;
  };
  button.addEventListener("click", () => {
    root.dataset.theme = NEXT[show()];
    remember("scdlab-theme", root.dataset.theme);
    show();
  });
  show();
}

export function followReading() { // the heading that is being read, in the contents
  const links = [...document.querySelectorAll(".contents a")];
  const narrow = matchMedia("(max-width: 1099px)");
  const box = document.querySelector(".contents details");
  if (!box) return;
  box.open = !narrow.matches;
  narrow.addEventListener("change", () => { box.open = !narrow.matches; });
  const headings = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  const mark = () => {
    let current = -1;
    headings.forEach((heading, k) => {
      if (heading && heading.getBoundingClientRect().top < 140) current = k;
    });
    links.forEach((link, k) => {
      if (k === current) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
    });
  };
  let waiting = 0;
  addEventListener("scroll", () => {
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      mark();
    });
  }, { passive: true });
  mark();
}

export function scrollByKeyboard() { // what is wider than its place can be reached, and then scrolled by arrow keys
  const look = () => {
    for (const each of document.querySelectorAll(".wide, .paper, .code pre, .output, .prose pre, .bar nav, math[display=block]")) {
      if (each.scrollWidth > each.clientWidth + 1) each.tabIndex = 0;
      else each.removeAttribute("tabindex");
    }
  };
  look();
  addEventListener("resize", look);
  addEventListener("load", look);
  document.addEventListener("toggle", look, true);
}

export function openForPrint() { // on paper nothing can be unfolded
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("main details:not([open])")];
    for (const each of opened) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of opened) each.open = false;
  });
}

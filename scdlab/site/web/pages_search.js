// Search in all pages: the index is one script beside them, loaded when somebody first searches.

const MOST = 30; // hits shown
const AROUND = 70; // characters beside a found word

export function words(text) {
  return plain(text).match(/[\p{L}\p{N}]+/gu) ?? [];
}

function plain(text) { // without capitals and accents
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

// Sections in which every word of the query begins some word, best first: a word of the title counts most.
export function find(index, query) {
  const wanted = words(query);
  if (!wanted.length) return [];
  const hits = [];
  for (const entry of index) {
    entry.titleWords ??= words(entry.title);
    entry.allWords ??= words(entry.text);
    let score = 0;
    for (const word of wanted) {
      const own = rank(entry.titleWords, word, 30) + rank(entry.allWords, word, 1);
      if (!own) {
        score = 0;
        break;
      }
      score += own;
    }
    if (score) hits.push({ entry, score: score + (entry.kind === "glossary" ? 10 : 0) });
  }
  return hits.sort((a, b) => b.score - a.score).map(({ entry }) => entry);
}

function rank(there, word, weight) { // a whole word counts twice as much as a beginning, many times little more than once
  let whole = 0, begun = 0;
  for (const each of there) {
    if (each === word) whole += 1;
    else if (each.startsWith(word)) begun += 1;
  }
  return weight * (2 * Math.log2(1 + whole) + Math.log2(1 + begun));
}

// The text around the first found word, in parts: [text, whether it is to be marked].
export function excerpt(text, query) {
  const wanted = words(query);
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(${wanted.join("|")})[\\p{L}\\p{N}]*`, "giu");
  const first = plainIndex(text, pattern);
  const from = Math.max(0, first - AROUND);
  const shown = text.slice(from, first + 2 * AROUND);
  const parts = [[from ? "…" : "", false]];
  let last = 0;
  for (const found of shown.matchAll(pattern)) {
    parts.push([shown.slice(last, found.index), false], [found[0], true]);
    last = found.index + found[0].length;
  }
  parts.push([shown.slice(last) + (first + 2 * AROUND < text.length ? "…" : ""), false]);
  return parts;
}

function plainIndex(text, pattern) {
  return Math.max(0, text.search(pattern));
}

export function openSearch() {
  const dialog = document.querySelector("dialog.search");
  const field = dialog.querySelector("input");
  const list = dialog.querySelector(".hits");
  const count = dialog.querySelector(".count");
  let ready;

  function load() {
    ready ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = "assets/search-index.js";
      script.onload = () => resolve(globalThis.scdlabIndex);
      script.onerror = () => reject(new Error("assets/search-index.js is missing beside this page"));
      document.head.append(script);
    });
    return ready;
  }

  function show() {
    if (!dialog.open) dialog.showModal();
    field.select();
    load().catch((error) => { count.textContent = `The search cannot start: ${error.message}.`; });
  }

  async function update() {
    const index = await load();
    const query = field.value;
    const hits = find(index, query);
    list.replaceChildren(...hits.slice(0, MOST).map((entry) => hit(entry, query)));
    if (!words(query).length) count.textContent = "";
    else if (!hits.length) count.textContent = "Nothing found: try fewer or shorter words.";
    else count.textContent = hits.length > MOST ? `The best ${MOST} of ${hits.length} places` : `${hits.length} ${hits.length === 1 ? "place" : "places"}`;
  }

  function step(by) { // between the field and the hits, by the arrow keys
    const stops = [field, ...list.querySelectorAll("a")];
    const next = stops[stops.indexOf(document.activeElement) + by];
    if (next) next.focus();
    return Boolean(next);
  }

  document.querySelector("[data-search]").addEventListener("click", show);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    event.preventDefault();
    show();
  });
  field.addEventListener("input", update);
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" && step(1)) event.preventDefault();
    else if (event.key === "ArrowUp" && step(-1)) event.preventDefault();
    else if (event.key === "Escape") { // at once, where a field for searches would only be emptied
      event.preventDefault();
      dialog.close();
    } else if (event.key === "Enter" && event.target === field) {
      event.preventDefault();
      list.querySelector("a")?.click();
    }
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest(".hits a")) dialog.close();
  });
}

function hit(entry, query) {
  const link = document.createElement("a");
  link.href = entry.address;
  const title = document.createElement("b");
  title.textContent = entry.title;
  const page = document.createElement("small");
  page.textContent = entry.page;
  const text = document.createElement("span");
  for (const [words, marked] of excerpt(entry.text, query)) {
    const part = document.createElement(marked ? "mark" : "span");
    part.textContent = words;
    text.append(part);
  }
  link.append(title, page, text);
  const item = document.createElement("li");
  item.append(link);
  return item;
}

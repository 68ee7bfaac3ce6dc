// Figures where there is little room: titles are broken into lines, and in a narrow window a legend
// goes below the plot and the names of bars under one another, so that nothing is cut off or
// squeezes the plot. The figure grows by the height that this takes.

const NARROW = 560; // px: figures below this width are laid out anew
const EM = 0.6; // of the size of a font: how wide one of its characters is, on the safe side
const LINE = 1.3; // of the size of a font, as plotly sets lines
const EDGE = 8; // px
const BESIDE = 90; // px that margins and numbers of an axis take from the width
const ABOVE = 110; // px that they take from the height
const ENTRY = 45; // px of a legend's entry besides its name
const ROW = 21; // px of a legend's row
const SMALLEST = 10; // px of a font
const MOST = 0.4; // of the width, for a legend beside the plot
const NOTE = 0.6; // of the width, for a note in the plot

/** The layout of a figure [data, layout] for a width in px; the height is in it. */
export function arranged(data, layout, width, height) {
  const made = { ...layout, height };
  const base = layout.template?.layout ?? {};
  const size = layout.font?.size ?? base.font?.size ?? 12;
  const narrow = width < NARROW;
  const titleSize = layout.title?.font?.size ?? base.title?.font?.size ?? size;
  const title = broken(layout.title?.text ?? "", width - (narrow ? 2 * EDGE : BESIDE), titleSize);
  if (title) {
    made.title = { ...layout.title, text: title };
    made.height += more(title, layout.title.text) * LINE * titleSize;
  }
  const names = entries(data, layout);
  const widest = Math.max(0, ...names.map((each) => ENTRY + wide(each, size)));
  const beside = layout.legend?.orientation !== "h" && layout.legend?.x === undefined; // plotly's own place
  const below = names.length > 0 && (narrow || (beside && widest > MOST * width));
  const legend = beside && !below ? widest : 0;
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
    const axis = { ...layout[name] };
    const [from, to] = axis.domain ?? [0, 1];
    const room = (to - from) * (name[0] === "x" ? width - BESIDE - legend : height - ABOVE);
    const before = axis.title?.text ?? "";
    const text = broken(before, room, axis.title?.font?.size ?? size);
    if (text) axis.title = { ...axis.title, text };
    if (name[0] === "x") {
      made.height += more(text, before) * LINE * size;
      if (narrow && axis.type === "log") Object.assign(axis, { dtick: undefined, nticks: 2 }); // numbers that have room
      if (narrow) made.height += underOneAnother(axis, data, name.replace("axis", ""), room, size);
    }
    made[name] = axis;
  }
  if (below) {
    const place = { orientation: "h", x: 0, xanchor: "left", xref: "container", y: 0, yanchor: "bottom", yref: "container" };
    made.legend = { ...layout.legend, ...place };
    made.height += ROW * Math.ceil(names.length / Math.max(1, Math.floor(width / widest)));
  }
  if (!narrow) return made;
  let over = 0; // px of notes between the title and the plot
  const above = 2 * EDGE + (title ? lines(title) * LINE * titleSize : 0);
  made.annotations = layout.annotations?.map((note) => {
    const own = note.font?.size ?? size;
    const text = broken(note.text ?? "", NOTE * width, own);
    if (note.yref === "paper" && note.y >= 1) over = Math.max(over, lines(text) * LINE * own);
    return { ...note, text };
  });
  made.sliders = layout.sliders?.map((slider) => ({ ...slider, x: 0.08, len: 0.84 })); // room for words at their ends
  const given = layout.margin?.t ?? base.margin?.t ?? 0;
  made.margin = { ...layout.margin, t: Math.max(given, above + over) };
  if (title) { // the first line's foot, from which plotly counts where there are several
    const foot = 1 - (EDGE + titleSize) / made.height;
    Object.assign(made.title, { x: EDGE / width, xref: "container", xanchor: "left", y: foot, yref: "container", yanchor: "bottom" });
  }
  return made;
}

// A text in lines, none longer than a width in px unless it is a single word.
function broken(text, room, size) {
  const all = text.split(/<br ?\/?>/).flatMap((line) => {
    const words = line.match(/(?:<[^>]*>|[^\s<])+/g) ?? [""];
    const made = [words[0]];
    for (const word of words.slice(1)) {
      const longer = `${made.at(-1)} ${word}`;
      if (wide(longer, size) <= room) made[made.length - 1] = longer;
      else made.push(word);
    }
    return made;
  });
  return all.join("<br>");
}

function wide(text, size) { // px, without its tags
  return EM * size * text.replace(/<[^>]*>/g, "").length;
}

function lines(text) {
  return text.split(/<br ?\/?>/).length;
}

function more(text, before) {
  return lines(text) - lines(before);
}

// Names of bars in lines, each as wide as its bar; the height that they need more than one line.
function underOneAnother(axis, data, id, room, size) {
  const bars = data.filter((trace) => trace.type === "bar" && (trace.xaxis ?? "x") === id && Array.isArray(trace.x));
  const names = [...new Set(bars.flatMap((trace) => trace.x))];
  if (!names.length || !names.every((name) => typeof name === "string") || axis.ticktext) return 0;
  const slot = room / names.length;
  const longest = Math.max(...names.flatMap((name) => name.split(/\s+/)).map((word) => wide(word, 1)));
  const font = Math.min(axis.tickfont?.size ?? size, slot / longest);
  if (font < SMALLEST) return 0; // plotly turns them
  const texts = names.map((name) => broken(name, slot, font));
  Object.assign(axis, { tickmode: "array", tickvals: names, ticktext: texts, tickangle: 0, tickfont: { ...axis.tickfont, size: font } });
  return (Math.max(...texts.map(lines)) - 1) * LINE * font;
}

function entries(data, layout) { // names in the legend
  const shown = data.filter((trace) => trace.showlegend !== false && trace.visible !== false && trace.name);
  if (!(layout.showlegend ?? (shown.length > 1 || shown.some((trace) => trace.showlegend)))) return [];
  const first = (trace, k) => !trace.legendgroup || shown.findIndex((each) => each.legendgroup === trace.legendgroup) === k;
  return shown.filter(first).map((trace) => trace.name);
}

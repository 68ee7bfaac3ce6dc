// Figures and 3-D views: drawn when the reader comes near, from data in the page, by one copy of each library.

import { arranged } from "./pages_narrow.js";

const NEAR = "800px";
const ALIVE = 6; // 3-D views at a time: a browser gives a page only a few contexts to draw in 3-D
const loaded = {};

function load(file) { // a script of the folder assets, once
  loaded[file] ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `assets/${file}`;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`assets/${file} is missing beside this page`));
    document.head.append(script);
  });
  return loaded[file];
}

function dataIn(place) {
  return JSON.parse(place.querySelector("script").textContent);
}

function failed(place, error) {
  const words = document.createElement("p");
  words.setAttribute("role", "alert");
  words.textContent = `This picture could not be drawn (${error.message ?? error}).`;
  place.append(words);
}

async function drawPlot(place) {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "started";
  try {
    const { data, layout, frames } = dataIn(place);
    const touch = matchMedia("(hover: none)").matches; // swiping goes on with the page, and no bar covers the plot
    if (touch && !place.hasAttribute("data-3d")) layout.dragmode = false;
    const tall = place.clientHeight;
    const fitted = () => {
      const made = { ...arranged(data, layout, place.clientWidth, tall), autosize: true };
      place.style.height = `${made.height}px`;
      return made;
    };
    await load("plotly.js");
    let shown = fitted();
    const config = { responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover" };
    await globalThis.Plotly.newPlot(place, { data, layout: shown, frames, config });
    addEventListener("resize", () => {
      const next = fitted();
      if (JSON.stringify(next) !== JSON.stringify(shown)) globalThis.Plotly.react(place, { data, layout: next, frames, config });
      shown = next;
    });
    place.dataset.drawn = "yes";
  } catch (error) {
    failed(place, error);
  }
}

const views = []; // those that are drawn, the oldest first

async function drawView(figure) {
  if (figure.dataset.drawn) return;
  figure.dataset.drawn = "started";
  const place = figure.querySelector(".stage-3d");
  const still = figure.querySelector(".still");
  try {
    const scene = dataIn(place);
    scene.size = fitted(scene.size, figure.clientWidth - 30);
    await load("3Dmol.js");
    await load("view.js");
    const state = { scene, picture: still.innerHTML, webgl: true, problem: "" };
    const model = {
      get: (name) => state[name],
      set: (name, value) => { state[name] = value; },
      on() {}, off() {}, save_changes() {},
    };
    const stage = place.appendChild(document.createElement("div"));
    const undo = await globalThis.scdlabView.draw(model, stage, async () => globalThis.$3Dmol);
    still.hidden = true;
    figure.dataset.drawn = "yes";
    views.push({ figure, still, stage, undo });
    if (views.length > ALIVE) fold(views.shift());
  } catch (error) {
    failed(place, error);
  }
}

function fold({ figure, still, stage, undo }) { // its picture takes the place of a view, until it comes near again
  undo();
  stage.remove();
  still.hidden = false;
  delete figure.dataset.drawn;
}

function fitted([width, height], room) {
  const scale = Math.min(1, room / width);
  return [Math.round(scale * width), Math.round(Math.max(scale, 0.75) * height)];
}

export function drawFigures() {
  const plots = [...document.querySelectorAll(".plot")];
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      if (target.matches(".plot")) drawPlot(target);
      else drawView(target);
    }
  }, { rootMargin: NEAR });
  for (const each of [...plots, ...document.querySelectorAll(".view")]) near.observe(each);
  const rest = plots.filter((each) => !each.hasAttribute("data-3d"));
  const idle = globalThis.requestIdleCallback ?? ((work) => setTimeout(work, 200));
  const next = async () => { // the others while nothing else is to be done, so that a printed page has them
    const plot = rest.shift();
    if (!plot) return;
    await drawPlot(plot);
    idle(next);
  };
  idle(next);
}

// The browser's half of scdlab's MoleculeView: draws the trait `scene` (see view.py) with 3Dmol.js.
// 3Dmol's file comes as a model of the notebook, once per page: nothing is fetched from anywhere.

const SIDE = [0.1917, 0.4629, 0.7996, -0.3312]; // quaternion: the side from which the still pictures are seen
const BOND = "#8C8C8C";
const HELP = "Turn: drag, or arrow keys. Zoom: click, then wheel, or + and −. Reset: Home.";
const TURN = { ArrowLeft: ["y", -10], ArrowRight: ["y", 10], ArrowUp: ["x", -10], ArrowDown: ["x", 10] };
const ZOOM = { "+": 1.15, "=": 1.15, "-": 1 / 1.15, _: 1 / 1.15 };

// ------------------------------------------------------------------------------------------------ loading 3Dmol, once

async function load3Dmol(model) {
  globalThis.scdlab3Dmol ??= library(model).catch((error) => {
    delete globalThis.scdlab3Dmol; // so that the next view tries again
    throw error;
  });
  return globalThis.scdlab3Dmol;
}

async function library(model) {
  const id = model.get("library").replace("IPY_MODEL_", "");
  const zipped = (await model.widget_manager.get_model(id)).get("text"); // a DataView
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  // The file asks which module system is there. It gets CommonJS from us, whatever require.js has put on the page.
  const module = { exports: {} };
  new Function("module", "exports", "define", text).call(globalThis, module, module.exports, undefined);
  return module.exports;
}

// -------------------------------------------------------------------------------------------------------------- arrows

// All arrows of one kind as one mesh: the profile, (distance behind the tip, radius), turned around each arrow's axis.
// start, step: flat [3k]. Returns flat vertices and normals, and the indices of the triangles.
export function arrowMesh(start, step, profile, sides = 12) {
  const vertices = [], normals = [], faces = [];
  for (let a = 0; a < step.length; a += 3) {
    const length = Math.hypot(step[a], step[a + 1], step[a + 2]);
    if (!(length > 0)) continue;
    const axis = [step[a] / length, step[a + 1] / length, step[a + 2] / length];
    const tip = [start[a] + step[a], start[a + 1] + step[a + 1], start[a + 2] + step[a + 2]];
    const [u, v] = across(axis);
    const fit = Math.min(1, length / (1.5 * profile.at(-1)[0])); // a short arrow has a small head
    const points = profile.map(([back, radius]) => [fit * back, fit * radius]);
    const shaft = points.at(-1)[1];
    points.push([length, shaft], [length, 0]);
    if (points[0][1] > 0) points.unshift([0, 0]); // a blunt head is closed
    for (let p = 0; p + 1 < points.length; p++) {
      const [[b0, r0], [b1, r1]] = [points[p], points[p + 1]];
      const slope = Math.hypot(b1 - b0, r1 - r0);
      if (!(slope > 0)) continue;
      const [out, forth] = [(b1 - b0) / slope, (r1 - r0) / slope]; // the band's normal: outwards, and towards the tip
      const first = vertices.length / 3;
      for (let s = 0; s < sides; s++) {
        const c = Math.cos((2 * Math.PI * s) / sides), d = Math.sin((2 * Math.PI * s) / sides);
        for (const [back, radius] of [[b0, r0], [b1, r1]]) {
          for (let k = 0; k < 3; k++) {
            vertices.push(tip[k] - back * axis[k] + radius * (c * u[k] + d * v[k]));
            normals.push(out * (c * u[k] + d * v[k]) + forth * axis[k]);
          }
        }
        const here = first + 2 * s, next = first + 2 * ((s + 1) % sides);
        faces.push(here, here + 1, next, next, here + 1, next + 1);
      }
    }
  }
  return { vertices, normals, faces };
}

function across([x, y, z]) { // two unit vectors that make a right angle with the axis and with each other
  const helper = Math.abs(x) < 0.9 ? [1, 0, 0] : [0, 1, 0];
  const u = [y * helper[2] - z * helper[1], z * helper[0] - x * helper[2], x * helper[1] - y * helper[0]];
  const norm = Math.hypot(...u);
  const [a, b, c] = u.map((e) => e / norm);
  return [[a, b, c], [y * c - z * b, z * a - x * c, x * b - y * a]];
}

function points(flat) {
  const list = [];
  for (let k = 0; k < flat.length; k += 3) list.push({ x: flat[k], y: flat[k + 1], z: flat[k + 2] });
  return list;
}

function vector(component) {
  return { x: component("x"), y: component("y"), z: component("z") };
}

// ----------------------------------------------------------------------------------------------------------- the scene

function drawAtoms(viewer, { frame, large }) {
  const looks = {};
  for (const [z, { color, radius }] of Object.entries(frame.elements)) {
    looks[z] = { sphere: { color, radius } };
    if (large) looks[z].line = { color: BOND };
    else looks[z].stick = { color: BOND, radius: 0.09 };
  }
  const atoms = points(frame.pos).map((place, k) => ({
    ...place, elem: frame.elements[frame.z[k]].symbol, serial: k, bonds: [], bondOrder: [], style: looks[frame.z[k]],
  }));
  for (let k = 0; k < frame.bonds.length; k += 2) {
    const [i, j] = [frame.bonds[k], frame.bonds[k + 1]];
    atoms[i].bonds.push(j), atoms[i].bondOrder.push(1);
    atoms[j].bonds.push(i), atoms[j].bondOrder.push(1);
  }
  viewer.removeAllModels();
  viewer.addModel().addAtoms(atoms);
}

function drawShapes(viewer, { frame, arrows, marked, labels, large }, labeled) {
  viewer.removeAllShapes();
  for (const kind of arrows) {
    const mesh = arrowMesh(kind.start, kind.step, kind.profile, large ? 6 : 12);
    if (!mesh.faces.length) continue;
    viewer.addCustom({
      vertexArr: points(mesh.vertices), normalArr: points(mesh.normals), faceArr: mesh.faces, color: kind.color,
    });
  }
  const places = points(frame.pos);
  for (const { color, wider, lines, atoms } of marked) {
    if (!atoms.length) continue;
    const shape = viewer.addShape({ color, wireframe: lines, opacity: lines ? 0.3 : 0.6 });
    for (const k of atoms) shape.addSphere({ center: places[k], radius: frame.elements[frame.z[k]].radius + wider });
  }
  if (frame.cell.length) {
    const [a, b, c] = points(frame.cell);
    const corner = (i, j, k) => vector((n) => i * a[n] + j * b[n] + k * c[n]);
    const box = viewer.addShape({ color: "#595959" });
    for (const [i, j] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      for (const ends of [[corner(0, i, j), corner(1, i, j)], [corner(i, 0, j), corner(i, 1, j)],
        [corner(i, j, 0), corner(i, j, 1)]]) box.addCylinder({ start: ends[0], end: ends[1], radius: 0.025 });
    }
  }
  if (labeled) viewer.removeAllLabels(); // draws, so not without need
  if (labels) {
    const look = { fontSize: 13, fontColor: "black", backgroundColor: "white", backgroundOpacity: 0.65, padding: 1,
      alignment: "center", inFront: true };
    places.forEach((position, k) =>
      viewer.addLabel(`${frame.elements[frame.z[k]].symbol}${k}`, { ...look, position }, undefined, true));
  }
}

// Atoms, and the corners of the cell.
function solidOf({ frame }) {
  const [a, b, c] = points(frame.cell);
  const corner = (m) => vector((n) => (m & 1) * a[n] + ((m >> 1) & 1) * b[n] + (m >> 2) * c[n]);
  return [...points(frame.pos), ...(a ? [0, 1, 2, 3, 4, 5, 6, 7].map(corner) : [])];
}

function middleOf(solid) {
  return vector((n) => {
    const along = solid.map((p) => p[n]);
    return (Math.min(...along) + Math.max(...along)) / 2;
  });
}

// The view, in 3Dmol's terms, that has atoms, arrows and cell in the picture however the molecule is turned.
function fitted(scene, turn) {
  const { arrows, size } = scene;
  const solid = solidOf(scene);
  const middle = middleOf(solid);
  const tips = arrows.flatMap((kind) => points(kind.start.map((s, k) => s + kind.step[k])));
  const from = (p) => Math.hypot(p.x - middle.x, p.y - middle.y, p.z - middle.z);
  const far = (list) => list.reduce((r, p) => Math.max(r, from(p)), 0);
  const reach = Math.max(1.6, far(solid) + 0.5, far(tips) + 0.1);
  const distance = reach / Math.sin(Math.PI / 18) / Math.min(1, size[0] / size[1]);
  // 3Dmol's camera stands at z = 150 and sees 20° in height.
  return { view: [-middle.x, -middle.y, -middle.z, 150 - distance, ...turn], reach };
}

// ------------------------------------------------------------------------------------------------ the view on the page

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function glyph(kind) { // the outline of this kind of arrow, lying
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const shaft = kind.profile.at(-1)[1];
  const [scale, right, y] = [1.8 / shaft, 38, 8];
  const outline = [...kind.profile, [34 / scale, shaft]];
  const side = (sign) => outline.map(([back, radius]) => `${right - scale * back},${y + sign * scale * radius}`);
  const polygon = document.createElementNS(svg.namespaceURI, "polygon");
  polygon.setAttribute("points", [...side(-1), ...side(1).reverse()].join(" "));
  polygon.setAttribute("fill", kind.color);
  for (const [name, value] of [["width", 40], ["height", 16], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
  svg.append(polygon);
  return svg;
}

function legend({ arrows, marked, frame }) {
  const rows = arrows.map((kind) => make("li", {}, glyph(kind), kind.legend));
  for (const kind of marked) {
    const ring = make("span", { className: "ring" });
    ring.style.border = kind.lines ? `2px dashed ${kind.color}` : `3px solid ${kind.color}`;
    rows.push(make("li", {}, ring, kind.legend));
  }
  for (const { symbol, color } of Object.values(frame.elements)) {
    const dot = make("span", { className: "dot" });
    dot.style.background = color;
    rows.push(make("li", {}, dot, symbol));
  }
  return rows;
}

// Build the view inside `el` and keep it like `model`; get3Dmol promises 3Dmol. Returns what undoes it.
export async function draw(model, el, get3Dmol) {
  const parts = {
    title: make("div", { className: "title" }),
    stage: make("div", { className: "stage", tabIndex: 0, role: "img" }),
    note: make("p", { className: "note" }),
    problem: make("p", { className: "problem", role: "alert" }),
    legend: make("ul", { ariaLabel: "Legend" }),
    hint: make("p", { className: "hint", textContent: HELP }),
  };
  const { stage } = parts;
  stage.dataset.lmSuppressShortcuts = "true"; // the arrow keys belong to the molecule, not to JupyterLab's cells
  el.append(make("div", { className: "scdlab-view" }, ...Object.values(parts)));
  let viewer, home, reach, shown, waiting, gone = false;

  function tell(problem) {
    parts.problem.textContent = problem && `This picture failed: ${problem}`;
    if (model.get("problem") === problem) return;
    model.set("problem", problem);
    model.save_changes();
  }

  function words(scene) {
    const [width, height] = scene.size;
    stage.style.width = `${width}px`;
    stage.style.height = viewer ? `${height}px` : "auto";
    parts.title.parentNode.style.width = `${width + 6}px`;
    parts.title.textContent = scene.title;
    parts.title.hidden = !scene.title;
    parts.note.textContent = scene.note;
    stage.setAttribute("aria-label", viewer ? `${scene.aria}. ${HELP}` : scene.aria);
    parts.legend.replaceChildren(...legend(scene));
  }

  function update() {
    waiting = undefined;
    if (gone) return;
    const scene = model.get("scene");
    try {
      words(scene);
      if (!viewer) return still();
      const same = shown && shown.frame.z.length === scene.frame.z.length
        && shown.frame.z.every((z, k) => z === scene.frame.z[k]);
      drawAtoms(viewer, scene);
      drawShapes(viewer, scene, shown?.labels);
      if (same) follow(scene);
      else fit(scene);
      viewer.render();
      shown = scene;
      tell("");
    } catch (error) {
      console.error(error);
      return tell(String(error.message ?? error));
    }
    moved();
    requestAnimationFrame(() => stage.dispatchEvent(new CustomEvent("drawn", { bubbles: true, detail: scene })));
  }

  function fit(scene) {
    const { view: all, reach: far } = fitted(scene, shown ? viewer.getView().slice(4, 8) : SIDE);
    viewer.setSlab(-Math.max(50, 4 * far), Math.max(50, 4 * far)); // beyond these planes nothing is drawn
    viewer.setView(all);
    home = [...all.slice(0, 4), ...SIDE, 0, 0];
    reach = far;
  }

  function follow(scene) { // frames of a trajectory drift: the camera goes along, but not with noise
    const { x, y, z } = middleOf(solidOf(scene));
    const step = [x, y, z].map((at, k) => -at - home[k]);
    if (Math.hypot(...step) <= reach / 8) return;
    const along = (view) => view.map((at, k) => (k < 3 ? at + step[k] : at));
    viewer.setView(along(viewer.getView()));
    home = along(home);
  }

  function moved() { // where the camera is: for tests and for the curious
    stage.dataset.camera = viewer.getView().map((v) => v.toFixed(4)).join(" ");
  }

  function still() { // no WebGL: the svg, which Python makes once it knows
    if (model.get("webgl")) {
      model.set("webgl", false);
      model.save_changes();
    }
    parts.note.textContent = "This browser cannot draw in 3-D (it has no WebGL): this is a still picture.";
    stage.innerHTML = model.get("picture");
    for (const part of ["title", "legend", "hint"]) parts[part].hidden = true; // the picture has its own
  }

  const later = () => { // several changes within one frame are drawn once
    waiting ??= requestAnimationFrame(update);
  };

  stage.addEventListener("keydown", (event) => {
    if (!viewer || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in TURN) viewer.rotate(TURN[event.key][1], TURN[event.key][0]);
    else if (event.key in ZOOM) viewer.zoom(ZOOM[event.key]);
    else if (event.key === "Home") viewer.setView(home);
    else return;
    event.preventDefault();
    event.stopPropagation();
    viewer.render();
    moved();
  });
  stage.addEventListener("pointerdown", () => stage.focus({ preventScroll: true }));
  stage.addEventListener("wheel", (event) => { // the wheel scrolls the page until the view has been clicked
    if (document.activeElement !== stage) event.stopPropagation();
  }, { capture: true });

  try {
    const library = await get3Dmol();
    const card = graphicsCard();
    if (!gone && card) {
      const antialias = !/swiftshader|llvmpipe|software/i.test(card); // costs much where no graphics card draws
      viewer = library.createViewer(stage, { backgroundColor: "white", disableFog: true, antialias });
      viewer?.setViewChangeCallback(moved);
    }
  } catch (error) {
    console.error(error);
    tell(`3Dmol could not be started (${error.message ?? error}).`);
  }
  for (const name of ["scene", "picture"]) model.on(`change:${name}`, later);
  update();
  return () => {
    gone = true;
    if (waiting) cancelAnimationFrame(waiting);
    for (const name of ["scene", "picture"]) model.off(`change:${name}`, later);
    viewer?.clear();
    el.replaceChildren();
  };
}

// The name of what draws in 3-D; empty where nothing does.
function graphicsCard() {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2") ?? canvas.getContext("webgl");
  if (!gl) return "";
  const about = gl.getExtension("WEBGL_debug_renderer_info");
  const name = gl.getParameter(about ? about.UNMASKED_RENDERER_WEBGL : gl.RENDERER) || "unknown";
  gl.getExtension("WEBGL_lose_context")?.loseContext(); // a page may hold only a few contexts
  return name;
}

export default { render: ({ model, el }) => draw(model, el, () => load3Dmol(model)) };

"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const [slider, axisChoice] = [byId("pixel"), byId("axis")];
const state = { layer: data.start[0], index: data.start[1], axis: 0 };
let strips = [];

function svg(name, attributes, parent) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.append(element);
  return element;
}

function element(name, text, parent, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

// A strip is as wide as the input: cell i of the input covers i ... i + 1.
function strip(className, height) {
  const box = { viewBox: `0 0 ${data.cells[state.axis]} ${height}`, preserveAspectRatio: "none", class: className };
  return svg("svg", { ...box, "aria-hidden": "true" }, byId("strips"));
}

// Where cell `at` of a layer stands above the input: [left, width].
function place(layer, at) {
  const [first, jump] = layer ? layer.places[state.axis] : [0, 1];
  const width = Math.max(jump * 0.86, 0.1);
  return [first + jump * at + 0.5 - width / 2, width];
}

function drawStrips() {
  byId("strips").replaceChildren();
  strips = [];
  for (let i = data.layers.length - 1; i >= 0; i--) {
    const layer = data.layers[i];
    const label = data.pixels[i].length ? element("button", "", byId("strips")) : element("span", "", byId("strips"), "plain");
    element("span", layer.name, label, "name");
    element("span", layer.size, label, "sees");
    label.setAttribute("title", `${layer.name}: size ${layer.size} by the formula`);
    if (data.pixels[i].length) label.addEventListener("click", () => choose(i, Math.floor(data.pixels[i].length / 2)));
    strips[i] = { label, cells: drawCells(layer, i, layer.count[state.axis]) };
  }
  const name = element("span", "input", byId("strips"), "plain");
  name.setAttribute("title", `the input, ${data.cells[state.axis]} cells`);
  strips.input = drawCells(null, -1, data.cells[state.axis]);
  element("span", "formula", byId("strips"), "plain");
  strips.theory = strip("span", 1);
  element("span", "|gradient|", byId("strips"), "plain");
  strips.bars = strip("bars", 1000);
}

function drawCells(layer, i, count) {
  const parent = strip("", 10);
  const choices = new Map(i < 0 ? [] : data.pixels[i].map((pixel, index) => [pixel.at[state.axis], index]));
  const cells = [];
  for (let at = 0; at < count; at++) {
    const [x, width] = place(layer, at);
    const cell = svg("rect", { x, width, y: 0, height: 10, class: choices.has(at) ? "cell choice" : "cell" }, parent);
    if (choices.has(at)) cell.addEventListener("pointerenter", () => choose(i, choices.get(at)));
    cells.push(cell);
  }
  return cells;
}

function light(cells, runs) {
  cells.forEach((cell) => cell.classList.remove("on", "chosen"));
  for (let k = 0; k < runs.length; k += 2) {
    for (let at = runs[k]; at < runs[k] + runs[k + 1]; at++) cells[at].classList.add("on");
  }
}

function show() {
  const pixel = data.pixels[state.layer][state.index];
  const { axis } = state;
  strips.forEach(({ label, cells }, i) => {
    light(cells, i < state.layer ? pixel.cone[i][axis] : []);
    if (label.tagName === "BUTTON") label.setAttribute("aria-pressed", String(i === state.layer));
  });
  strips[state.layer].cells[pixel.at[axis]].classList.add("chosen");
  light(strips.input, pixel.cone[pixel.cone.length - 1][axis]);
  strips.theory.replaceChildren();
  if (pixel.theory.length) {
    const [x, width] = pixel.theory[axis];
    svg("rect", { x, width, y: 0, height: 1, class: "theory-span" }, strips.theory);
  }
  strips.bars.replaceChildren();
  const first = pixel.cone[pixel.cone.length - 1][axis][0] || 0;
  pixel.effect[axis].forEach((height, k) => {
    svg("rect", { x: first + k + 0.07, width: 0.86, y: 1000 - height, height, class: "bar" }, strips.bars);
  });
  slider.max = data.pixels[state.layer].length - 1;
  slider.value = state.index;
  const place = pixel.at.join(", ");
  slider.setAttribute("aria-valuetext", `pixel ${place} of ${data.layers[state.layer].name}`);
  byId("where").textContent = place;
  byId("caption").textContent = pixel.caption;
}

function choose(layer, index) {
  state.layer = layer;
  state.index = index;
  show();
}

slider.addEventListener("input", () => choose(state.layer, Number(slider.value)));
if (axisChoice) {
  axisChoice.addEventListener("change", () => {
    state.axis = Number(axisChoice.value);
    drawStrips();
    show();
  });
}
drawStrips();
show();

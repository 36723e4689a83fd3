"use strict";
// Plays the backward pass: a position between 0 (start) and the number of steps; each box and panel is there already.
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const slider = element("slider");
const last = data.captions.length - 1;

// The gradient that a box shows after a step: the newest update; "…" while more will arrive.
function gradientAt(updates, step) {
  const arrived = updates.filter(([when]) => when <= step);
  if (!arrived.length) return "";
  return arrived[arrived.length - 1][1] + (arrived.length < updates.length ? " …" : "");
}

function showPanel(id) {
  for (const panel of document.querySelectorAll(".panel")) panel.hidden = panel.id !== id;
}

function markSelected(key) {
  for (const box of document.querySelectorAll(".playable .box")) {
    box.classList.toggle("selected", box.id === key);
    box.setAttribute("aria-pressed", String(box.id === key));
  }
}

function drawStep(step) {
  const flowing = new Set(data.edges[step]);
  const gone = new Set(data.edges.slice(1, step).flat());
  for (const edge of document.querySelectorAll(".playable .edge")) {
    edge.classList.toggle("flow", flowing.has(edge.id));
    edge.classList.toggle("gone", gone.has(edge.id) && !flowing.has(edge.id));
    const amount = element(edge.id + "-amount");
    if (amount) amount.classList.toggle("flow", flowing.has(edge.id));
  }
  for (const [key, box] of Object.entries(data.boxes)) {
    const group = element(key);
    const line = group.querySelector(".gradient");
    if (line) line.textContent = gradientAt(box.updates, step);
    group.classList.toggle("current", key === data.current[step]);
  }
}

// Scroll the graph, and only the graph, until the box is seen.
function reveal(key) {
  const map = element("map"), box = element(key).getBoundingClientRect(), frame = map.getBoundingClientRect();
  const away = (low, high, from, to) => (low < from || high > to ? (low + high) / 2 - (from + to) / 2 : 0);
  map.scrollTop += away(box.top - 60, box.bottom + 20, frame.top, frame.bottom);
  map.scrollLeft += away(box.left - 10, box.right + 10, frame.left, frame.right);
}

function clearPaths() {
  for (const lit of document.querySelectorAll(".onpath")) lit.classList.remove("onpath");
  for (const button of document.querySelectorAll(".path")) button.setAttribute("aria-pressed", "false");
}

function go(step) {
  step = Math.max(0, Math.min(last, step));
  slider.value = step;
  slider.setAttribute("aria-valuetext", data.captions[step]);
  element("caption").textContent = data.captions[step];
  element("first").disabled = element("previous").disabled = step === 0;
  element("next").disabled = element("last").disabled = step === last;
  clearPaths();
  drawStep(step);
  showPanel("step-" + step);
  markSelected(data.current[step]);
  reveal(data.current[step]);
}

// A box that is a step plays to it; another opens its panel and leaves the position as it is.
function open(key) {
  const box = data.boxes[key];
  if (box.step) return go(box.step);
  clearPaths();
  showPanel(box.panel);
  markSelected(key);
  reveal(key);
}

function togglePath(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  clearPaths();
  button.setAttribute("aria-pressed", String(on));
  if (on) for (const key of button.dataset.boxes.split(" ")) if (key) element(key).classList.add("onpath");
}

for (const box of document.querySelectorAll(".playable .box")) {
  box.addEventListener("click", () => open(box.id));
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    open(box.id);
  });
}
for (const button of document.querySelectorAll(".path")) button.addEventListener("click", () => togglePath(button));
for (const button of document.querySelectorAll(".to")) {
  button.addEventListener("click", () => {
    go(Number(button.dataset.step));
    document.querySelector(".panel:not([hidden]) h2").focus();
  });
}
for (const button of document.querySelectorAll(".open")) {
  button.addEventListener("click", () => {
    open(button.dataset.box);
    document.querySelector(".panel:not([hidden]) h2").focus();
  });
}
const keys = {
  ArrowRight: () => Number(slider.value) + 1, ArrowLeft: () => Number(slider.value) - 1, Home: () => 0, End: () => last,
};
const moves = { next: keys.ArrowRight, previous: keys.ArrowLeft, first: keys.Home, last: keys.End };
for (const [id, where] of Object.entries(moves)) element(id).addEventListener("click", () => go(where()));
slider.addEventListener("input", () => go(Number(slider.value)));
document.addEventListener("keydown", (event) => {
  const free = !event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey;
  const scrolls = event.target.matches(".scroll") && event.target.scrollWidth > event.target.clientWidth;
  if (!(event.key in keys) || !free || scrolls || event.target === slider) return;
  event.preventDefault();
  go(keys[event.key]());
});
const picture = element("map").querySelector("svg");
picture.style.minWidth = 0.8 * picture.viewBox.baseVal.width + "px"; // shrinks a little before it scrolls
go(0);

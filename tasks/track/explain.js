"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const view = document.getElementById("view");
const slider = document.getElementById("frame");
const number = document.getElementById("number");
const play = document.getElementById("play");
const rows = [...document.querySelectorAll("#tubes tr")];
let chosen = null; // the tube that is shown alone
let timer = null;

function element(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return view.appendChild(made);
}

function box([x1, y1, x2, y2], kind) {
  if (x2 > x1 && y2 > y1) element("rect", {x: x1, y: y1, width: x2 - x1, height: y2 - y1, class: kind});
}

function draw() {
  const t = Number(slider.value);
  number.value = t + 1;
  view.replaceChildren();
  element("image", {href: data.frames[t], width: data.width, height: data.height, class: "pixels"});
  if (chosen === null) for (const tube of data.truth) box(tube[t], "truth");
  data.found.forEach((tube, i) => {
    if (chosen !== null && chosen !== i) return;
    if (chosen === i) tube.forEach((at, s) => { if (s !== t) box(at, `tube faint colour${i % 6}`); });
    box(tube[t], `tube colour${i % 6}`);
  });
  rows.forEach((row, i) => row.classList.toggle("chosen", chosen === i));
}

function stop() {
  clearInterval(timer);
  timer = null;
  play.textContent = "Play";
}

play.addEventListener("click", () => {
  if (timer !== null) return stop();
  play.textContent = "Stop";
  timer = setInterval(() => {
    slider.value = (Number(slider.value) + 1) % data.frames.length;
    draw();
  }, 300);
});
slider.addEventListener("input", () => { stop(); draw(); });
document.getElementById("all").addEventListener("click", () => { chosen = null; draw(); });
rows.forEach((row, i) => {
  row.addEventListener("click", () => { chosen = chosen === i ? null : i; draw(); });
  row.addEventListener("keydown", (event) => { if (event.key === "Enter") row.click(); });
});
draw();

"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const caption = document.getElementById("caption");
const parts = [...document.querySelectorAll("[data-o], [data-i], [data-k]")];
const buttons = [...document.querySelectorAll("#outputs button")];

const numberOf = (element, name) => (element.hasAttribute(`data-${name}`) ? Number(element.getAttribute(`data-${name}`)) : null);
const where = new Map(parts.map((part) => [part, { o: numberOf(part, "o"), i: numberOf(part, "i"), k: numberOf(part, "k") }]));

// An output was chosen: all that belongs to it, and the cells of the input in its window.
function ofOutput(at, o) {
  if (at.o !== null) return at.o === o && (at.i === null || data.taps[o][at.i] >= 0);
  return at.i !== null && data.taps[o][at.i] >= 0;
}

// A cell of the input was chosen: its column of X, its row of the transpose, wherever it stands in im2col.
const ofCell = (at, i) => at.i === i;

// A tap of the kernel was chosen: wherever it stands.
const ofTap = (at, k) => at.k === k;

function belongs(at, chosen) {
  if (chosen.o !== null) return ofOutput(at, chosen.o);
  return chosen.i !== null ? ofCell(at, chosen.i) : ofTap(at, chosen.k);
}

// The entry itself, in X, in the transpose, in im2col, and its tap in the kernel.
function isEntry(at, { o, i, k }) {
  if (o === null || i === null || k === null) return false;
  if (at.o === null && at.i === null) return at.k === k;
  return at.o === o && at.i === i && at.k === k;
}

function choose(chosen) {
  for (const [part, at] of where) {
    part.classList.toggle("lit", belongs(at, chosen));
    part.classList.toggle("pin", isEntry(at, chosen));
    part.classList.toggle("line", chosen.o !== null && at.o === chosen.o && at.i !== null && at.k === null);
  }
  buttons.forEach((button, o) => {
    button.setAttribute("aria-pressed", String(o === chosen.o));
    if (chosen.o !== null) button.tabIndex = o === chosen.o ? 0 : -1;
  });
  if (chosen.o !== null) caption.textContent = data.captions[chosen.o];
  else if (chosen.i !== null) caption.textContent = data.spread[chosen.i];
  else caption.textContent = `Tap ${chosen.k} of the kernel: all its places, along a diagonal of X.`;
}

for (const [part, at] of where) {
  part.addEventListener("pointerenter", () => choose(at));
  part.addEventListener("focus", () => choose(at));
}

buttons.forEach((button, o) => {
  button.addEventListener("click", () => choose(where.get(button)));
  button.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    buttons[(o + step + buttons.length) % buttons.length].focus();
  });
});
choose(where.get(buttons[0]));

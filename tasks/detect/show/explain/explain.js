"use strict";
// Steps through the stages that Python has prepared. Nothing is computed here: all numbers come as text.
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg", SHAPES = new Set(["g", "rect", "circle", "image", "text", "path", "title"]);
const picture = find("picture"), whole = [0, 0, data.image.width, data.image.height];
const pressed = data.stages.map((stage) => new Set((stage.groups || []).filter((g) => g.shown).map((g) => g.key)));
const choice = data.stages.map((stage) => (stage.chosen < 0 ? null : { table: 0, row: stage.chosen }));
const zoomed = data.stages.map((stage) => Boolean(stage.zoom));
let at = 0, unit = 1, corner = [0, 0]; // unit: the longer side of what is seen; corner: its top left

function element(name, parent, attributes = {}, text = "") {
  const node = SHAPES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== "") node.textContent = text;
  parent.append(node);
  return node;
}

// --- what is shown

const stage = () => data.stages[at];
const shownTable = (table) => !table.group || pressed[at].has(table.group);
const shownRow = (row) => !row.groups || row.groups.some((key) => pressed[at].has(key));
const chosenRow = () => choice[at] && stage().tables[choice[at].table].rows[choice[at].row];
const lit = () => new Set((chosenRow() && chosenRow().lights) || []);

function eachRow(visit) {
  stage().tables.forEach((table, t) => (table.rows || []).forEach((row, r) => {
    if (shownTable(table) && shownRow(row)) visit(row, t, r);
  }));
}

// --- the picture

function box(b, kind, parent, title) {
  const group = element("g", parent, { class: `box ${kind}` });
  const [x, y, right, low] = b;
  const place = { x, y, width: Math.max(right - x, 0), height: Math.max(low - y, 0) };
  for (const part of ["halo", "edge"]) element("rect", group, { class: part, ...place });
  if (title) element("title", group, {}, title);
  return group;
}

function label(text, x, y, parent) {
  const node = element("text", parent, { class: "name", x, y }, text);
  node.style.fontSize = `${unit / 30}px`;
  return node;
}

function drawn() {
  picture.replaceChildren();
  frame();
  const { uri, width, height } = data.image;
  element("image", picture, { href: uri, width, height, class: "pixels" });
  if (stage().cells) grid(whole, stage().cells[1], stage().cells[0], 0, picture);
  for (const group of stage().groups || []) if (group.lattice && pressed[at].has(group.key)) lattice(...group.lattice);
  const chosen = chosenRow(), marked = lit();
  picture.classList.toggle("focused", Boolean(chosen));
  const truths = element("g", picture, { class: "truths" });
  for (const b of data.truth) if (b) box(b, "truth", truths);
  picture.classList.toggle("zoomed", unit < Math.max(data.image.width, data.image.height));
  const rows = [];
  eachRow((...each) => rows.unshift(each)); // the first rows on top
  for (const [row, t, r] of rows) {
    if (!row.box || row === chosen) continue;
    const group = box(row.box, row.kind, picture, row.cells.join(", "));
    group.dataset.row = `${t} ${r}`;
    group.classList.toggle("lit", t === (choice[at] || {}).table && marked.has(r));
  }
  if (chosen) focused(chosen);
}

// The whole picture, or the chosen box and what belongs to it with a margin.
function frame() {
  const row = zoomed[at] && chosenRow(), boxes = row ? [row.box, row.start, row.goal, row.predicted].filter(Boolean) : [];
  let [x, y, right, low] = whole;
  if (boxes.length) {
    const least = (k) => Math.min(...boxes.map((b) => b[k])), most = (k) => Math.max(...boxes.map((b) => b[k]));
    const side = 1.3 * Math.max(most(2) - least(0), most(3) - least(1), 1);
    x = (least(0) + most(2) - side) / 2;
    y = (least(1) + most(3) - side) / 2;
    [right, low] = [x + side, y + side];
  }
  unit = Math.max(right - x, low - y);
  corner = [x, y];
  picture.setAttribute("viewBox", `${x} ${y} ${right - x} ${low - y}`);
  find("zoom").setAttribute("aria-pressed", Boolean(boxes.length));
  find("zoom").disabled = !chosenRow() || !chosenRow().box;
}

function focused(row) {
  const top = element("g", picture, { class: "chosen" });
  for (const [, uri, b] of row.pictures || []) {
    if (b) element("image", top, { href: uri, x: b[0], y: b[1], width: b[2] - b[0], height: b[3] - b[1],
      preserveAspectRatio: "none", class: "pixels" });
  }
  if (row.goal) box(row.goal, "truth", top);
  if (row.start) box(row.start, "anchor", top);
  if (row.box) box(row.box, row.kind, top).dataset.row = `${choice[at].table} ${choice[at].row}`;
  if (row.predicted) box(row.predicted, "predicted", top);
  if (row.lattice) lattice(...row.lattice);
  if (row.grid) grid(row.grid[0], row.grid[1], row.grid[1], row.grid[2], top);
  for (const [name, x, y] of row.dots || []) {
    element("circle", top, { cx: x, cy: y, r: unit / 110, class: "dot" });
    label(name, x + unit / 80, y, top);
  }
  if (!row.box) return;
  const x = Math.max(row.box[0], corner[0] + unit / 100), y = Math.max(row.box[1] - unit / 120, corner[1] + unit / 30);
  label(row.cells[0], x, y, top);
}

function grid([x, y, right, low], across, down, samples, parent) {
  const lines = [], width = (right - x) / across, height = (low - y) / down;
  for (let i = 0; i <= across; i++) lines.push(`M${x + i * width} ${y}V${low}`);
  for (let i = 0; i <= down; i++) lines.push(`M${x} ${y + i * height}H${right}`);
  element("path", parent, { d: lines.join(""), class: "bins" });
  for (let i = 0; i < across * samples; i++) for (let j = 0; j < down * samples; j++) {
    element("circle", parent, { cx: x + ((i + 0.5) / samples) * width, cy: y + ((j + 0.5) / samples) * height,
      r: unit / 320, class: "sample" });
  }
}

function lattice(stride, rows, columns) {
  const points = [];
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) {
    points.push(`M${(j + 0.5) * stride} ${(i + 0.5) * stride}h0`);
  }
  element("path", picture, { d: points.join(""), class: "lattice" });
}

// --- tables

function sheet(head, rows, parent, caption) {
  const wrap = element("div", parent, { class: "scroll", tabindex: 0, role: "region", "aria-label": caption || "table" });
  const table = element("table", wrap);
  if (caption) element("caption", table, {}, caption);
  const line = element("tr", element("thead", table)), right = numeric(head, rows);
  head.forEach((name, i) => element("th", line, { scope: "col", class: right[i] ? "number" : "" }, name));
  const lines = element("tbody", table);
  for (const cells of rows) entries(element("tr", lines), cells, right);
  return table;
}

// Which columns hold nothing but numbers: they are aligned at the right.
function numeric(head, rows) {
  const number = /^(-?[\d.]+(e[+-]?\d+)?%?|-?inf|nan|)$/;
  return head.map((_, i) => rows.every((cells) => number.test(cells[i])) && rows.some((cells) => cells[i]));
}

function entries(line, cells, right) {
  cells.forEach((cell, i) => element("td", line, right[i] ? { class: "number" } : {}, cell));
}

function listed() {
  const tables = find("tables");
  tables.replaceChildren();
  stage().tables.forEach((table, t) => {
    if (!shownTable(table)) return;
    const rows = (table.rows || []).map((row) => row.cells).concat(table.foot || []);
    const right = [false, ...numeric(table.head, rows).slice(1)]; // the first cells are buttons
    const node = sheet(table.head, [], tables, table.caption || "");
    [...node.tHead.rows[0].cells].forEach((cell, i) => cell.classList.toggle("number", right[i]));
    node.dataset.table = t;
    (table.rows || []).forEach((row, r) => {
      if (!shownRow(row)) return;
      const line = element("tr", node.tBodies[0], { "data-row": `${t} ${r}` });
      const button = element("button", element("td", line), { type: "button", class: "pick" });
      swatch(row.kind, button);
      button.append(row.cells[0]);
      entries(line, row.cells.slice(1), right.slice(1));
    });
    const foot = element("tfoot", node);
    for (const cells of table.foot || []) entries(element("tr", foot), cells, right);
    if (!node.tBodies[0].rows.length && !table.foot) {
      element("td", element("tr", node.tBodies[0]), { colspan: table.head.length }, "nothing here");
    }
  });
}

function swatch(kind, parent) {
  element("span", parent, { class: `swatch ${kind}`, "aria-hidden": "true" });
}

function groups() {
  const bar = find("groups");
  bar.replaceChildren();
  for (const group of stage().groups || []) {
    const button = element("button", bar, { type: "button", "data-group": group.key });
    button.setAttribute("aria-pressed", pressed[at].has(group.key));
    swatch(group.kind, button);
    button.append(`${group.name}: ${group.count}`);
    button.addEventListener("click", () => toggle(group.key));
  }
}

// --- the choice

function marks() {
  const row = chosenRow(), marked = lit(), now = choice[at];
  for (const line of document.querySelectorAll("#tables tr[data-row]")) {
    const [t, r] = line.dataset.row.split(" ").map(Number);
    const chosen = Boolean(now) && now.table === t && now.row === r;
    line.classList.toggle("picked", chosen);
    line.classList.toggle("lit", Boolean(now) && now.table === t && marked.has(r));
    line.querySelector("button").setAttribute("aria-pressed", chosen);
  }
  find("caption").textContent = row ? row.sentence || rowText(stage().tables[now.table].head, row.cells) : "";
  const details = find("details");
  details.replaceChildren();
  if (!row) return;
  const shown = (row.pictures || []).filter(([, , b]) => !b);
  if (shown.length) {
    const pair = element("div", details, { class: "pair" });
    for (const [name, uri] of shown) {
      const figure = element("figure", pair);
      element("img", figure, { src: uri, alt: name });
      element("figcaption", figure, {}, name);
    }
  }
  const name = `${stage().tables[now.table].head[0]} ${row.cells[0]}`;
  for (const part of row.details || []) {
    sheet(part.head, part.rows, details, part.caption ? `${name}: ${part.caption}` : name);
  }
}

function rowText(head, cells) {
  return cells.map((cell, i) => cell && `${head[i]} ${cell}`.trim()).filter(Boolean).slice(0, 5).join(", ");
}

function choose(now) {
  const same = now && choice[at] && now.table === choice[at].table && now.row === choice[at].row;
  choice[at] = same ? null : now;
  marks();
  drawn();
}

function toggle(key) {
  if (!pressed[at].delete(key)) pressed[at].add(key);
  if (choice[at] && !(shownRow(chosenRow()) && shownTable(stage().tables[choice[at].table]))) choice[at] = null;
  groups();
  listed();
  marks();
  drawn();
  find("groups").querySelector(`[data-group="${CSS.escape(key)}"]`).focus();
}

// --- the steps

function go(step) {
  at = Math.min(Math.max(step, 0), data.stages.length - 1);
  find("slider").value = at;
  find("where").textContent = `${at + 1} of ${data.stages.length}: ${stage().title}`;
  find("back").disabled = at === 0;
  find("next").disabled = at === data.stages.length - 1;
  data.stages.forEach(({ key }, n) => (find(`words-${key}`).hidden = n !== at));
  for (const button of document.querySelectorAll("[data-step]")) {
    if (Number(button.dataset.step) === at) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  }
  legend();
  groups();
  listed();
  find("note").textContent = stage().note || "";
  find("summary").replaceChildren();
  if (stage().summary) sheet(stage().summary.head, stage().summary.rows, find("summary"), stage().summary.caption);
  marks();
  drawn();
}

function legend() {
  const line = find("legend");
  line.replaceChildren();
  for (const [kind, words] of stage().legend || []) {
    const entry = element("span", line);
    swatch(kind, entry);
    entry.append(words);
  }
}

function pick(line, focus) {
  const [table, row] = line.dataset.row.split(" ").map(Number);
  choose({ table, row });
  if (focus) line.querySelector("button").focus();
}

find("zoom").addEventListener("click", () => {
  zoomed[at] = !zoomed[at];
  drawn();
});
find("back").addEventListener("click", () => go(at - 1));
find("next").addEventListener("click", () => go(at + 1));
find("slider").addEventListener("input", (event) => go(Number(event.target.value)));
document.querySelector(".index").addEventListener("click", (event) => {
  const button = event.target.closest("[data-step]");
  if (button) go(Number(button.dataset.step));
});
find("tables").addEventListener("click", (event) => {
  const line = event.target.closest("tr[data-row]");
  if (line) pick(line, false);
});
find("tables").addEventListener("keydown", (event) => {
  const line = event.target.closest("tr[data-row]"), step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!line || !step) return;
  event.preventDefault();
  const lines = [...document.querySelectorAll("#tables tr[data-row]")], next = lines[lines.indexOf(line) + step];
  if (next) pick(next, true);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return choose(null);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, .scroll")) return;
  event.preventDefault();
  go(at + step);
});
picture.addEventListener("click", (event) => { // the smallest box under the pointer
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
  let best = null, least = Infinity;
  eachRow((row, table, r) => {
    if (!row.box) return;
    const [x, y, right, low] = row.box, area = (right - x) * (low - y);
    const inside = point.x >= x && point.x <= right && point.y >= y && point.y <= low;
    if (inside && area < least) [best, least] = [{ table, row: r }, area];
  });
  choose(best);
});
go(0);

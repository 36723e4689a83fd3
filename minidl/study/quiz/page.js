"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const marks = new Map();

// The number that a text is: 12, 1,470, 0.5, 1/3, 25 %; NaN if it is none.
function number(text) {
  text = text.trim().replaceAll(",", "");
  const share = text.endsWith("%");
  const parts = text.replace(/%$/, "").split("/");
  const values = parts.map((part) => (part.trim() ? Number(part) : NaN));
  const value = values.length === 1 ? values[0] : values.length === 2 && values[1] ? values[0] / values[1] : NaN;
  return share ? value / 100 : value;
}

const short = (value) => String(Number(value.toPrecision(6)));

// [right, comment]; null for what is no answer.
function mark(question, answer) {
  if (question.right) return answer ? [answer === question.right, `${answer === question.right ? "right:" : "not"} ${answer}`] : null;
  const value = number(answer);
  if (Number.isNaN(value)) return null;
  const is = ([, wanted]) => Math.abs(value - wanted) <= question.tolerance * Math.abs(wanted);
  const reading = question.readings.find(is);
  if (reading) return [true, `right: ${short(reading[1])}${question.readings.length > 1 ? `, as ${reading[0]}` : ""}`];
  const mistake = question.mistakes.find(is);
  return [false, mistake ? `not ${short(mistake[1])}: that is ${mistake[0]}` : `not ${short(value)}`];
}

for (const form of document.querySelectorAll(".question")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const said = form.querySelector("output");
    const result = mark(data[form.id], new FormData(form).get(form.id) || "");
    said.className = result ? (result[0] ? "good" : "bad") : "warn";
    said.textContent = result ? result[1] : data[form.id].right ? "choose one" : "that is not a number; write 12, 0.5, 1/3 or 25 %";
    if (!result) return;
    marks.set(form.id, result[0]);
    document.getElementById("answered").textContent = marks.size;
    document.getElementById("right").textContent = [...marks.values()].filter(Boolean).length;
  });
}

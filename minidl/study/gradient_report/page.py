"""The report as one HTML page: offline, light and dark, no script."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

import numpy as np

from ...check.report import Report
from ...check.sweep import Sweep
from ..page import Page, capital, heat_table, number, scroll, text_table

MAPS = 3  # inputs whose gradients are shown entry by entry
PICTURE = (  # the style of a curve that stands alone
    "<style>svg { background: #ffffff; } text { font: 12px sans-serif; } "
    ".curve { fill: none; stroke-width: 2.5; } .axis { stroke: #c3cad2; } "
    ".rules { stroke: #a40e26; fill: #a40e26; } .oracle { stroke: #0b57b0; fill: #0b57b0; } "
    "polyline.curve { fill: none; }</style>"
)
NOISE = 1e-6  # of the gradient: smaller errors get no strong colour
TOP = 12  # pixels above the curve
LEAST = 1e-17  # an error of 0 has no logarithm


def page(report: Report) -> Page:
    """The page; a notebook that shows no HTML gets the curve."""
    curve = _curve(report.sweep) if report.sweep and report.sweep.points else ""
    body = [*_outcome(report), *_findings(report), *_table(report), *_sweep(report.sweep, curve)]
    body += [*_worst(report), *_maps(report), *_notes(report)]
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    picture = curve.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace("\n", f"\n{PICTURE}\n", 1)
    return Page(report.title, "\n".join(body), style=style, picture=picture)


def _outcome(report: Report) -> list[str]:
    return [
        f'<p class="outcome"><span class="verdict {report.verdict}">{report.verdict}</span> '
        f"<span>{escape(report.advice)}</span></p>"
    ]


def _findings(report: Report) -> list[str]:
    lines = ["<h2>What is wrong</h2>"] if report.findings else []
    for f in report.findings:
        at = ""
        if f.index is not None:
            values = f"expected <code>{f.expected:.9g}</code>, got <code>{f.got:.9g}</code>"
            at = f" at <code>{list(f.index)}</code>: {values}"
        lines.append(
            f'<section class="finding"><p><strong>{escape(f.kind)}</strong>, {escape(f.where)}{at}</p>'
            f"<p>{escape(f.message)}. {escape(f.advice)}</p></section>"
        )
    return lines


def _worst(report: Report) -> list[str]:
    if not report.worst:
        return []
    rows = [(w.name, str(list(w.index)), number(w.expected), number(w.got), f"{w.error:.1e}") for w in report.worst]
    head = ("gradient of", "entry", "oracle", "rules", "relative error")
    return ["<h2>The worst entries</h2>", text_table(head, rows, "the worst entries", "numbers")]


def _maps(report: Report) -> list[str]:
    """The gradients of the inputs with the largest errors, as heat tables."""
    inputs = sorted(report.compared, key=lambda c: -_largest(c.entries.error))[:MAPS]
    lines = ["<h2>Entry by entry, under one cotangent</h2>"] if inputs else []
    size = max((_largest(c.entries.expected) for c in inputs), default=0.0)
    farthest = max((_largest(c.entries.got - c.entries.expected) for c in inputs), default=0.0)
    for c in inputs:
        e = c.entries
        largest = max(_largest(e.expected), _largest(e.got))
        lines += [
            f'<h3>{escape(c.name)}</h3><div class="maps">',
            heat_table(e.got - e.expected, "error: rules minus oracle", largest=max(farthest, NOISE * size)),
            heat_table(e.expected, "oracle", largest=largest),
            heat_table(e.got, "rules", largest=largest),
            "</div>",
        ]
    return lines


def _largest(values: np.ndarray) -> float:
    """Of the finite ones: where the oracle has no value, there is NaN."""
    return float(abs(values[np.isfinite(values)]).max(initial=0.0))


def _table(report: Report) -> list[str]:
    if not report.rows:
        return []
    return ["<h2>What was compared</h2>", text_table(report.columns, report.rows, "comparisons", "compared")]


def _notes(report: Report) -> list[str]:
    if not report.notes:
        return []
    return ["<h2>Notes</h2>", "<ul>", *(f"<li>{escape(note)}</li>" for note in report.notes), "</ul>"]


def _sweep(sweep: Sweep | None, curve: str) -> list[str]:
    if sweep is None:
        return []
    sentence = sweep.sentence()
    lines = ["<h2>Central differences</h2>", f"<p>{escape(capital(sentence))}.</p>"]
    if curve:
        lines += [
            scroll(curve, "error against step size"),
            '<p class="note legend"><span class="key"></span>distance from what the rules say'
            '<span class="key oracle"></span>distance from what the oracle says</p>',
        ]
    return lines


def _curve(sweep: Sweep, width: int = 640, height: int = 270, margin: int = 60) -> str:
    """Error against step, both on logarithmic axes."""
    xs = [math.log10(p.step) for p in sweep.points]
    curves = {
        "oracle": [math.log10(max(p.oracle, LEAST)) for p in sweep.points],
        "rules": [math.log10(max(p.rules, LEAST)) for p in sweep.points],
    }
    every = [y for ys in curves.values() for y in ys]
    left, right, low, high = min(xs), max(xs), math.floor(min(every)), math.ceil(max(every) + 0.2)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            margin + (x - left) / (right - left or 1) * (width - 2 * margin),
            height - margin - (y - low) / (high - low) * (height - margin - TOP),
        )

    marks = [
        f'<text x="{margin - 8}" y="{at(left, y)[1] + 4:.1f}" text-anchor="end">1e{y}</text>'
        f'<line class="axis" x1="{margin}" x2="{width - margin}" y1="{at(left, y)[1]:.1f}" y2="{at(left, y)[1]:.1f}"/>'
        for y in range(low, high + 1, max(1, math.ceil((high - low) / 5)))
    ] + [
        f'<text x="{at(x, low)[0]:.1f}" y="{height - margin + 18}" text-anchor="middle">1e{x}</text>'
        for x in range(math.ceil(left), math.floor(right) + 1, 2)
    ]
    lines = [
        f'<polyline class="curve {name}" points="{" ".join(f"{px:.1f},{py:.1f}" for px, py in map(at, xs, ys))}"/>'
        + "".join(f'<circle class="dot {name}" cx="{px:.1f}" cy="{py:.1f}" r="3"/>' for px, py in map(at, xs, ys))
        for name, ys in curves.items()
    ]
    return "\n".join([
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-labelledby="sweep-title">',
        f'<title id="sweep-title">Error against step size: {escape(sweep.sentence())}</title>',
        *marks, *lines,
        f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">step size</text>',
        f'<text class="across" x="12" y="{height / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {height / 2})">error</text>',
        "</svg>",
    ])  # fmt: skip

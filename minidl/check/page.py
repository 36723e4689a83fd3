"""The report as one HTML page: offline, light and dark, no scripts."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from .report import shape_of

if TYPE_CHECKING:
    from .report import Report

STYLE = """
.check { --ink: #1b1f24; --paper: #ffffff; --soft: #f3f5f7; --line: #d5dae0;
  --good: #116329; --bad: #a40e26; --warn: #7a4d00;
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 76rem; margin: 0 auto; padding: 1.5rem; }
@media (prefers-color-scheme: dark) {
  body { background: #14171a; }
  .check { --ink: #e7eaee; --paper: #14171a; --soft: #1e2328; --line: #3a424b;
    --good: #6fdd8b; --bad: #ff9492; --warn: #f0c060; } }
.check h1 { font-size: 1.4rem; display: flex; gap: .8rem; align-items: baseline; flex-wrap: wrap; }
.check h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
.check .verdict { border: 2px solid; border-radius: .4rem; padding: 0 .6rem; font-weight: 700; }
.check .PASS { color: var(--good); } .check .FAIL { color: var(--bad); }
.check .KINK, .check .INCONCLUSIVE, .check .NONDETERMINISTIC { color: var(--warn); }
.check .scroll { overflow-x: auto; }
.check table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
.check th, .check td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
.check .finding { background: var(--soft); border-left: 4px solid var(--bad); padding: .6rem 1rem; margin: .6rem 0; }
.check .finding p { margin: .2rem 0; }
.check code { font-family: ui-monospace, monospace; font-size: .92em; }
.check svg { max-width: 100%; height: auto; } .check svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
.check .curve { fill: none; stroke: var(--bad); stroke-width: 2; } .check .axis { stroke: var(--line); }
"""


def page(report: Report) -> str:
    """The whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(report.title)}: {report.verdict}</title>\n<style>body {{ margin: 0; }}</style>\n</head>\n"
        f"<body>\n{body(report)}\n</body>\n</html>\n"
    )


def body(report: Report) -> str:
    """What stands on the page: also what a notebook shows."""
    parts = [
        f"<style>{STYLE}</style>",
        '<main class="check">',
        f'<h1>{escape(report.title)} <span class="verdict {report.verdict}">{report.verdict}</span></h1>',
        *_findings(report),
        *_table(report),
        *_sweep(report.sweep),
        *_notes(report),
        "</main>",
    ]
    return "\n".join(parts)


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


def _table(report: Report) -> list[str]:
    if not report.rows:
        return []
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in report.columns)
    lines = ["<h2>What was compared</h2>", '<div class="scroll" tabindex="0" role="region" aria-label="comparisons">']
    lines.append(f"<table><thead><tr>{head}</tr></thead><tbody>")
    for row in report.rows:
        first, *rest = (escape(cell) for cell in row)
        cells = "".join(f'<td class="{cell}">{cell}</td>' if cell.isupper() else f"<td>{cell}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    return [*lines, "</tbody></table></div>"]


def _notes(report: Report) -> list[str]:
    if not report.notes:
        return []
    return ["<h2>Notes</h2>", "<ul>", *(f"<li>{escape(note)}</li>" for note in report.notes), "</ul>"]


def _sweep(sweep: list[tuple[float, float]], width: int = 560, height: int = 240, margin: int = 46) -> list[str]:
    """Error against step, both on logarithmic axes."""
    if not sweep:
        return []
    xs = [math.log10(h) for h, _ in sweep]
    ys = [math.log10(max(error, 1e-17)) for _, error in sweep]
    left, right, low, high = min(xs), max(xs), math.floor(min(ys)), math.ceil(max(ys)) + 1

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            margin + (x - left) / (right - left or 1) * (width - 2 * margin),
            height - margin - (y - low) / (high - low) * (height - 2 * margin),
        )

    points = " ".join(f"{px:.1f},{py:.1f}" for px, py in map(at, xs, ys))
    marks = [
        f'<text x="{margin - 8}" y="{at(left, y)[1] + 4:.1f}" text-anchor="end">1e{y}</text>'
        f'<line class="axis" x1="{margin}" x2="{width - margin}" y1="{at(left, y)[1]:.1f}" y2="{at(left, y)[1]:.1f}"/>'
        for y in range(low, high + 1, max(1, (high - low) // 5))
    ] + [
        f'<text x="{at(x, low)[0]:.1f}" y="{height - margin + 18}" text-anchor="middle">1e{x}</text>'
        for x in range(math.ceil(left), math.floor(right) + 1, 2)
    ]
    return [
        "<h2>Central differences</h2>",
        f"<p>{escape(shape_of(sweep).capitalize())}.</p>",
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-labelledby="sweep-title">',
        f'<title id="sweep-title">Error against step size: {escape(shape_of(sweep))}</title>',
        *marks,
        f'<polyline class="curve" points="{points}"/>',
        f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">step size</text>',
        "</svg>",
    ]

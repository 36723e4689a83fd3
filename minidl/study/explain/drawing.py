"""The graph as SVG: boxes in layers, inputs above, the loss below."""

from __future__ import annotations

from html import escape
from itertools import pairwise

from .diagram import Box, Diagram, Edge, amount, diagram, gradient_line
from .layout import Placement, layout
from .text import title
from .trace import BackwardPass

LETTER, LINE, PAD, MARGIN = 7.3, 17.0, 11.0, 14.0  # pixels; the width is that of a letter of the widest usual font
NARROWEST = 84.0

STYLE = """
.graph { color-scheme: light dark; background: var(--paper); --ink: #1b1f24; --paper: #ffffff; --soft: #f3f5f7;
  --line: #87919c; --strong: #0b57b0; --bad: #a40e26; --warn: #7a4d00; }
@media (prefers-color-scheme: dark) { .graph { --ink: #e7eaee; --paper: #14171a; --soft: #1e2328; --line: #77828d;
  --strong: #8cbcf5; --bad: #ff9492; --warn: #f0c060; } }
"""


def picture(trace: BackwardPass) -> str:
    """The graph with its final gradients as an SVG file of its own, light and dark."""
    from pathlib import Path

    graph = diagram(trace)
    style = STYLE + Path(__file__).with_name("graph.css").read_text(encoding="utf-8")
    return drawing(graph, f"Graph of {title(trace)}", style=style, note=graph.note)


def drawing(
    graph: Diagram, label: str, *, style: str = "", note: str = "", playable: bool = False
) -> str:
    """The boxes and edges as SVG.

    style: CSS for a file of its own. note: a line above. playable: each box is a button, boxes and edges have ids, and
    the gradients are left to the script.
    """
    boxes = {box: (box_width(box), _height(box)) for box in graph.boxes}
    place = layout(boxes, [(e.start, e.end) for e in graph.edges])
    top = MARGIN + (LINE if note else 0)
    width, height = place.width + 2 * MARGIN, place.height + top + MARGIN
    if note:
        width = max(width, len(note) * LETTER + 2 * MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" class="graph{" playable" if playable else ""}" '
        f'role="{"group" if playable else "img"}" aria-label="{escape(label)}">'
    ]
    parts += [f"<style>{style}</style>"] if style else []
    parts += [f"<title>{escape(label)}</title>"] if not playable else []
    parts += [f'<text class="caption" x="{MARGIN:.0f}" y="{MARGIN + 4:.0f}">{escape(note)}</text>'] if note else []
    parts.append(f'<g transform="translate({MARGIN:.0f} {top:.0f})">')
    parts += [_edge(edge, place, f' id="e{i}"' if playable else "") for i, edge in enumerate(graph.edges)]
    parts += [_box(box, place, boxes[box], playable) for box in graph.boxes]
    parts += [_amount(edge, place, f' id="e{i}-amount"' if playable else "") for i, edge in enumerate(graph.edges)]
    return "".join([*parts, "</g></svg>"])


def box_width(box: Box) -> float:
    """Wide enough for every line that may come to stand in the box."""
    final = gradient_line(box.shows.gradient)
    longest = max(len(line) for line in [*box.lines, final + " …"])
    return max(longest * LETTER + 2 * PAD, NARROWEST)


def _height(box: Box) -> float:
    lines = len(box.lines) + (box.shows.gradient is not None)
    return lines * LINE + 2 * PAD - 4


def _box(box: Box, place: Placement, size: tuple[float, float], playable: bool) -> str:
    (x, y), (width, height) = place.centres[box], size
    left, top = x - width / 2, y - height / 2
    classes = f"box {box.kind}" + (" wrong" if "not finite" in box.tags else "")
    label = ", ".join([box.title, *box.lines[1:]])
    button = f' id="{box.key}" tabindex="0" role="button" aria-label="{escape(label)}"' if playable else ""
    radius = {"leaf": height / 2, "constant": height / 2}.get(box.kind, 5)
    radius = min(radius, 18)
    outline = f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:.0f}"/>'
    if box.kind == "group" or "fused" in box.tags:  # a second line around it: there is more inside
        outline = (
            f'<rect class="outer" x="{left - 3:.1f}" y="{top - 3:.1f}" width="{width + 6:.1f}" '
            f'height="{height + 6:.1f}" rx="{radius + 3:.0f}"/>{outline}'
        )
    lines = []
    baseline = top + PAD + 10
    for i, line in enumerate(box.lines):
        kind = "name" if i == 0 else "value" if i == 1 else "tags"
        lines.append(f'<text class="{kind}" x="{x:.1f}" y="{baseline + i * LINE:.1f}">{escape(line)}</text>')
    if box.shows.gradient is not None:
        final = "" if playable else gradient_line(box.shows.gradient)
        y = baseline + len(box.lines) * LINE
        lines.append(f'<text class="gradient" x="{x:.1f}" y="{y:.1f}">{escape(final)}</text>')
    return f'<g class="{classes}"{button}><title>{escape(box.title)}</title>{outline}{"".join(lines)}</g>'


def _edge(edge: Edge, place: Placement, key: str) -> str:
    """A smooth line through the bends, an arrow to its end, and one to its start for the way back."""
    points = place.edges[edge.start, edge.end]
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        path.append(f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
    constant = "" if edge.contributions else " still"
    return (
        f'<g class="edge{constant}"{key}><path class="line" d="{"".join(path)}"/>'
        f"{_arrow(points[-1], -7, 'forward')}{_arrow(points[0], 7, 'back')}</g>"
    )


def _arrow(tip: tuple[float, float], length: float, kind: str) -> str:
    x, y = tip
    return f'<path class="{kind}" d="M{x:.1f} {y:.1f}l-4 {length}h8z"/>'


def _amount(edge: Edge, place: Placement, key: str) -> str:
    """The contribution to the gradient along the edge, next to its middle."""
    if not edge.contributions or any(c.value.size != 1 for _, c in edge.contributions):
        return ""
    points = place.edges[edge.start, edge.end]
    (x0, y0), (x1, y1) = points[(len(points) - 1) // 2], points[(len(points) - 1) // 2 + 1]
    text = " ".join(amount(c.value) for _, c in edge.contributions[:2])
    text += " …" if len(edge.contributions) > 2 else ""
    x, y = (x0 + x1) / 2 + 7, (y0 + y1) / 2 + 4
    return f'<text class="amount"{key} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'

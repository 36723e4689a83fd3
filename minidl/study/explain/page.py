"""The page of a trace: the graph at the left, the chosen step at the right, a slider that plays the pass."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from ..page import Page, capital, number, scroll
from .arrays import brief, is_short, shape_label, size
from .diagram import Box, Diagram, diagram, gradient_line
from .drawing import drawing, picture
from .panels import Panels
from .text import count, title
from .trace import BackwardPass, Step

ROWS = (6, 4, 3, 2)  # rows and columns of an array, as many as the size of a page allows
STEPS = 250  # that a page shows; more are in text and JSON
FEW_LEAVES = 5  # more scroll in their own frame
TARGET = 1_900_000  # bytes


def page(trace: BackwardPass) -> Page:
    """The page, with arrays as large as its size allows."""
    for most in ROWS:
        made = _page(trace, most)
        if len(made.body) + len(made.picture) < TARGET:
            break
    return made


def _page(trace: BackwardPass, most: int) -> Page:
    graph = diagram(trace)
    steps = [step for step in trace.steps if step.vertex in graph.of][:STEPS]
    panels = Panels(trace, graph, steps, most)
    notes = list(trace.notes)
    if graph.note:
        notes.append(graph.note)
    if len(steps) < len(trace.steps):
        notes.append(f"{len(steps)} of {len(trace.steps)} steps are on this page; text() and json() have them all")
    shown_panels = "".join([panels.start(), *map(panels.step, steps), _others(panels, graph, steps)])
    body = f"""<p class="lead">{_lead(trace)}</p>
{_notes(notes)}
{_gradients(trace, graph)}
{_player(len(steps))}
<div class="two">
<div class="left"><div class="scroll map" id="map" tabindex="0" role="region" aria-label="graph">{
        drawing(graph, f"Graph of {title(trace)}; each box is a button", playable=True)
    }</div><p class="note legend">{_legend(graph)}</p></div>
<div class="right" id="panels">{shown_panels}</div>
</div>"""
    here = Path(__file__)
    style = "".join(here.with_name(name).read_text(encoding="utf-8") for name in ("graph.css", "explain.css"))
    script = here.with_name("explain.js").read_text(encoding="utf-8")
    return Page(f"explain: {title(trace)}", body, script, style, _data(trace, graph, steps), picture(trace))


def _lead(trace: BackwardPass) -> str:
    what = "signal (not a gradient: rules are replaced)" if trace.overrides else "gradient"
    return (
        f"How the {what} of each leaf comes about, in {count(len(trace.steps), 'step')}. "
        "Play with the slider or the arrow keys; choose a box to see what is in it."
    )


def _notes(notes: list[str]) -> str:
    if not notes:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{escape(capital(n))}.</li>" for n in notes)}</ul>'


def _player(n: int) -> str:
    return f"""<div class="player" role="group" aria-label="Play the backward pass">
<button id="first" aria-label="To the start">⇤</button><button id="previous" aria-label="One step back">←</button>
<input type="range" id="slider" min="0" max="{n}" value="0" aria-label="Step">
<button id="next" aria-label="One step on">→</button><button id="last" aria-label="To the end">⇥</button>
<output id="caption" for="slider" aria-live="polite"></output></div>"""


def _legend(graph: Diagram) -> str:
    kinds = {box.kind for box in graph.boxes}
    words = ["round: a leaf", "dashed: a constant"] if "constant" in kinds else ["round: a leaf"]
    double = "group" in kinds or any("fused" in box.tags for box in graph.boxes)
    words += ["double line: there is more inside"] if double else []
    return "; ".join([*words, "values flow down, gradients up"])


def _others(panels: Panels, graph: Diagram, steps: list[Step]) -> str:
    """The panels of boxes that are no step."""
    stepped = {step.vertex for step in steps}
    html = []
    for box in graph.boxes:
        if box.kind == "group":
            html.append(panels.group(box))
        elif box.members[0] not in stepped:
            html.append(panels.value(box.members[0]))
    return "".join(html)


def _gradients(trace: BackwardPass, graph: Diagram) -> str:
    """The table of all leaves."""
    rows = []
    for leaf in trace.leaves:
        gradient = escape(size(leaf.gradient).strip("()"))
        value = brief(leaf.value) if is_short(leaf.value) else shape_label(leaf.value.shape)
        box = graph.of.get(leaf)
        name = escape(leaf.name)
        name = f'<button class="open" data-box="{box.key}">{name}</button>' if box else name
        rows.append(f"<tr><td>{name}</td><td>{value}</td><td>{gradient}</td>{_as_sum(trace, leaf.name)}</tr>")
    sums = "<th>as a sum over paths</th>" if trace.paths else ""
    head = f"<tr><th>leaf</th><th>value</th><th>gradient</th>{sums}</tr>"
    kind = "inner" if len(rows) > FEW_LEAVES else ""
    table = scroll(f'<table id="gradients">{head}{"".join(rows)}</table>', "gradients", kind)
    return f'<section class="answer"><h2>{"What arrives" if trace.overrides else "The gradients"}</h2>{table}</section>'


def _as_sum(trace: BackwardPass, leaf: str) -> str:
    """The products of the paths of a leaf, added up, in a graph of scalars."""
    paths = trace.paths.get(leaf)
    if paths is None:
        return ""
    if paths.sum is None:
        return f"<td>{paths.count} paths</td>"
    if paths.count == 1:
        return f"<td>{number(paths.sum)}, the only path</td>"
    terms = [number(path.product) for path in paths.listed]
    terms = [f"({t})" if t.startswith("-") and i else t for i, t in enumerate(terms)]
    return f"<td>{' + '.join(terms)} = {number(paths.sum)}</td>"


def _data(trace: BackwardPass, graph: Diagram, steps: list[Step]) -> dict[str, Any]:
    """What the script plays: the box and edges of each step, and what each box's gradient reads after which step."""
    place = {step: i for i, step in enumerate(steps, 1)}
    edges: list[list[str]] = [[] for _ in range(len(steps) + 1)]
    for i, edge in enumerate(graph.edges):
        for step in {step for step, _ in edge.contributions if step in place}:
            edges[place[step]].append(f"e{i}")
    lines = [f"Start: the gradient of {trace.output.name}"]
    lines += [
        f"Step {i} of {len(steps)}: {s.vertex.primitive.name}, from {s.vertex.name}"
        + (f" to {', '.join(dict.fromkeys(c.input.name for c in s.contributions))}" if s.contributions else "")
        for i, s in enumerate(steps, 1)
    ]
    boxes = {box.key: _box(box, trace, place) for box in graph.boxes}
    current = [graph.of[trace.output].key, *(graph.of[s.vertex].key for s in steps)]
    return {"captions": lines, "edges": edges, "current": current, "boxes": boxes}


def _box(box: Box, trace: BackwardPass, place: dict[Step, int]) -> dict[str, Any]:
    """The panel that a box opens, its step if that is one, and [step, text] of its gradient as it grows."""
    vertex = box.shows
    updates: list[list[Any]] = [[0, gradient_line(trace.seed)]] if vertex is trace.output else []
    for step, i in place.items():
        updates += [[i, gradient_line(c.after)] for c in step.contributions if c.input is vertex]
    last = dict(updates)
    own = next((i for step, i in place.items() if step.vertex is vertex), None) if box.kind != "group" else None
    panel = f"group-{box.key}" if box.kind == "group" else f"step-{own}" if own else f"value-{box.key}"
    return {"panel": panel, "step": own, "updates": [list(pair) for pair in last.items()]}

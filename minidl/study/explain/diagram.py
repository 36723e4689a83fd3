"""What is drawn of a trace: its values as boxes, or, of a large one, a box for each module."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..page import number
from .arrays import is_finite, shape_label, statistics
from .expression import expression, pretty
from .trace import BackwardPass, Contribution, Step, Vertex

MOST = 60  # boxes that are drawn
LONGEST = 30  # letters of a box's line


@dataclass(eq=False)
class Box:
    """One box of the picture: a value, or all values that one call of a module made."""

    key: str  # the id on the page: v3, g0
    kind: str  # "leaf", "constant", "operation", "group"
    title: str
    members: list[Vertex]  # oldest first
    tags: list[str]

    @property
    def shows(self) -> Vertex:
        """The value whose shape and gradient the box tells: its only one, or the last operation of a group."""
        return newest(self.members)

    @property
    def lines(self) -> list[str]:
        """The text of the box but for its gradient."""
        lines = [shortened(self.title), size_line(self.shows.value)]
        return lines + ([" · ".join(self.tags)] if self.tags else [])


@dataclass(eq=False)
class Edge:
    """An edge from an input to what uses it, and the contributions that run back along it."""

    start: Box
    end: Box
    contributions: list[tuple[Step, Contribution]]


@dataclass(eq=False)
class Diagram:
    """The boxes, in the order in which they were computed, the edges, the box of each value, and what is left out."""

    boxes: list[Box]
    edges: list[Edge]
    of: dict[Vertex, Box]
    note: str = ""


def diagram(trace: BackwardPass, most: int = MOST) -> Diagram:
    """Boxes for the values; for modules where any are known, as deep as `most` boxes allow; the newest `most` if there
    are more all the same."""
    depths = sorted({c.depth for v in trace.vertices for c in v.calls if c.depth}, reverse=True)
    groups = _groups(trace.vertices, depths[0] if depths else 0)
    for depth in depths[1:]:
        if len(groups) > most:
            groups = _groups(trace.vertices, depth)
    note = ""
    if len(groups) > most:
        note = f"the newest {most} of {len(groups)} boxes are drawn: "
        note += "the first steps back" if depths else "pass model= to see it by modules"
        groups = groups[-most:]
    steps = {step.vertex: step for step in trace.steps}
    boxes = [_box(i, title, members, steps) for i, (title, members) in enumerate(groups)]
    return _joined(boxes, steps, note)


def diagram_inside(trace: BackwardPass, members: list[Vertex]) -> Diagram:
    """Boxes for some values, and for what they use."""
    used = [x for v in members for x in v.inputs if isinstance(x, Vertex)]
    wanted = set(members) | set(used)
    steps = {step.vertex: step for step in trace.steps}
    vertices = [v for v in trace.vertices if v in wanted][-MOST:]
    boxes = [_box(i, "", [v], steps) for i, v in enumerate(vertices)]
    return _joined(boxes, {v: steps[v] for v in members if v in steps})


def _groups(vertices: Iterable[Vertex], depth: int) -> list[tuple[str, list[Vertex]]]:
    """(title, members) of each box: values of one call of a module at most `depth` names deep stay together."""
    groups: dict[object, tuple[str, list[Vertex]]] = {}
    for v in vertices:
        call = next((c for c in v.calls if 0 < c.depth <= depth), None)
        groups.setdefault(call or v, (call.title if call else "", []))[1].append(v)
    return sorted(groups.values(), key=lambda group: newest(group[1]).order)


def newest(members: list[Vertex]) -> Vertex:
    """The last operation among the values, or the last value if there is none."""
    return max(members, key=lambda v: (v.kind == "operation", v.order))


def _box(i: int, title: str, members: list[Vertex], steps: dict[Vertex, Step]) -> Box:
    tags = []
    if any(v in steps and steps[v].kink for v in members):
        tags.append("kink")
    if not all(is_finite(v.value) and (v.gradient is None or is_finite(v.gradient)) for v in members):
        tags.append("not finite")
    if title:
        return Box(f"b{i}", "group", title, members, tags)
    (vertex,) = members
    if vertex in steps and steps[vertex].fused:
        tags.insert(0, "fused")
    text = vertex.name if vertex.primitive is None else f"{vertex.name} = {pretty(expression(vertex))}"
    return Box(f"b{i}", vertex.kind, text, members, tags)


def _joined(boxes: list[Box], steps: dict[Vertex, Step], note: str = "") -> Diagram:
    """The edges between the boxes; constants have edges too, without contributions."""
    of = {v: box for box in boxes for v in box.members}
    edges: dict[tuple[Box, Box], Edge] = {}
    for vertex, step in steps.items():
        if vertex not in of:
            continue
        given = {c.position: c for c in step.contributions}
        for position, x in enumerate(vertex.inputs):
            if isinstance(x, Vertex) and x in of and of[x] is not of[vertex]:
                edge = edges.setdefault((of[x], of[vertex]), Edge(of[x], of[vertex], []))
                edge.contributions += [(step, given[position])] if position in given else []
    return Diagram(boxes, list(edges.values()), of, note)


def size_line(value: np.ndarray) -> str:
    """The number, or the shape."""
    return number(value.item()) if value.size == 1 else shape_label(value.shape)


def gradient_line(gradient: np.ndarray | None) -> str:
    """grad 0.36, or grad norm 0.36."""
    if gradient is None:
        return ""
    if gradient.size == 1:
        return f"grad {number(gradient.item())}"
    found = statistics(gradient)
    return f"grad norm {number(found['norm'] or 0)}" if not found["not_finite"] else "grad not finite"


def amount(value: np.ndarray) -> str:
    """A contribution of one number on an edge, to three digits: +0.36."""
    return f"{value.item():+.3g}".replace("-", "−")


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text, or its two ends."""
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[: longest - 1 - half]}…{text[-half:]}"

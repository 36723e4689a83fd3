"""A layered layout of a directed graph: inputs above, the loss below; the same picture for the same graph.

Four steps, after Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures", IEEE
Transactions on Systems, Man, and Cybernetics 11(2), 1981: layers by the longest way to the loss; long edges get a bend
in each layer that they pass; the order within layers by the mean position of neighbours, swept up and down, of which
the one with the fewest crossings stays; then positions, each layer by least squares (pool adjacent violators).
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

GAP_X, GAP_Y = 22.0, 40.0
SWEEPS, SETTLINGS = 8, 24
BEND = 10.0  # the width that a passing edge keeps free

Key = Hashable


@dataclass
class Placement:
    """The centre of each box, the points of each edge from above to below, and the size of the whole."""

    centres: dict[Key, tuple[float, float]]
    edges: dict[tuple[Key, Key], list[tuple[float, float]]]
    width: float
    height: float


@dataclass
class _Rows:
    """Boxes and bends in layers from above to below, with their neighbours in the next layer up and down."""

    rows: list[list[Any]]
    above: dict[Any, list[Any]] = field(default_factory=dict)
    below: dict[Any, list[Any]] = field(default_factory=dict)


def layout(sizes: dict[Key, tuple[float, float]], edges: Sequence[tuple[Key, Key]]) -> Placement:
    """Place boxes of the given (width, height), so that every edge (from, to) leads down.

    A cycle is drawn too: one of its edges then leads up. Equal inputs in equal order give equal layouts.
    """
    if not sizes:
        return Placement({}, {}, 0.0, 0.0)
    edges = list(dict.fromkeys((a, b) for a, b in edges if a != b))
    layers = _layers(sizes, edges)
    graph, bends = _with_bends(sizes, edges, layers)
    _order(graph)
    widths = {key: sizes[key][0] if key in sizes else BEND for row in graph.rows for key in row}
    x = _positions(graph, widths)
    left = min(x[key] - widths[key] / 2 for key in x)
    right = max(x[key] + widths[key] / 2 for key in x)
    y, heights, height = _heights(graph, sizes)
    centres = {key: (x[key] - left, y[key]) for key in sizes}
    points = {}
    for a, b in edges:
        top, bottom = (a, b) if layers[a] > layers[b] else (b, a)
        # straight past the boxes of a row
        way = [(x[n] - left, y[n] + end * heights[n] / 2) for n in bends[a, b] for end in (-1, 1)]
        start, end = centres[top], centres[bottom]
        way = [(start[0], start[1] + sizes[top][1] / 2), *way, (end[0], end[1] - sizes[bottom][1] / 2)]
        points[a, b] = way if top == a else way[::-1]
    return Placement(centres, points, right - left, height)


def _layers(sizes: dict, edges: list) -> dict[Key, int]:
    """The longest way from each box to one that leads nowhere; an edge that closes a cycle is left out of account."""
    below: dict[Key, list[Key]] = {key: [] for key in sizes}
    for a, b in edges:
        below[a].append(b)
    layers: dict[Key, int] = {}
    open_: set[Key] = set()
    for root in sizes:
        stack = [(root, False)]
        while stack:
            key, done = stack.pop()
            if done:
                layers[key] = max((layers[b] + 1 for b in below[key] if b in layers), default=0)
                open_.discard(key)
            elif key not in layers and key not in open_:
                open_.add(key)
                stack.append((key, True))
                stack += [(b, False) for b in reversed(below[key]) if b not in layers and b not in open_]
    return layers


def _with_bends(sizes: dict, edges: list, layers: dict) -> tuple[_Rows, dict]:
    """The layers, with a bend wherever an edge passes one; and the bends of each edge."""
    last = max(layers.values())
    rows: list[list[Any]] = [[] for _ in range(last + 1)]
    graph = _Rows(rows)
    for key in sizes:
        rows[last - layers[key]].append(key)
    bends: dict[tuple, list] = {}
    for a, b in edges:
        top, bottom = sorted((a, b), key=layers.__getitem__, reverse=True)
        between = [("bend", a, b, layer) for layer in range(layers[top] - 1, layers[bottom], -1)]
        bends[a, b] = between
        for bend in between:
            rows[last - bend[3]].append(bend)
        for upper, lower in zip([top, *between], [*between, bottom]):
            if upper != lower:
                graph.below.setdefault(upper, []).append(lower)
                graph.above.setdefault(lower, []).append(upper)
    return graph, bends


def _order(graph: _Rows) -> None:
    """Order each row by the mean position of its neighbours, up and down in turn; keep the best order met."""
    best, fewest = [list(row) for row in graph.rows], _crossings(graph)
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 1
        rows = graph.rows if downwards else graph.rows[::-1]
        near = graph.above if downwards else graph.below
        for fixed, row in itertools.pairwise(rows):
            place = {key: i for i, key in enumerate(fixed)}
            now = {key: i for i, key in enumerate(row)}
            means = {key: _mean([place[n] for n in near.get(key, ()) if n in place], now[key]) for key in row}
            row.sort(key=lambda key: (means[key], now[key]))
        if (crossings := _crossings(graph)) < fewest:
            best, fewest = [list(row) for row in graph.rows], crossings
    graph.rows[:] = best


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _crossings(graph: _Rows) -> int:
    """How many pairs of edges cross between neighbouring rows."""
    total = 0
    for upper, lower in zip(graph.rows, graph.rows[1:]):
        place = {key: i for i, key in enumerate(lower)}
        ends = [sorted(place[b] for b in graph.below.get(a, ()) if b in place) for a in upper]
        before: list[int] = []
        for row in ends:
            total += sum(1 for end in row for other in before if other > end)
            before += row
    return total


def _positions(graph: _Rows, widths: dict) -> dict[Any, float]:
    """The centres: each row as close as its order allows to the mean of its neighbours, rows up and down in turn."""
    x: dict[Any, float] = {}
    for row in graph.rows:
        x |= zip(row, _spread([0.0] * len(row), _separations(row, widths)))
    for sweep in range(SETTLINGS):
        rows, ahead = (graph.rows[::-1], graph.below) if sweep % 2 == 0 else (graph.rows, graph.above)
        _settle(rows, [ahead] if sweep < SWEEPS else [graph.above, graph.below], x, widths)
    _settle(graph.rows[::-1], [graph.below], x, widths)  # a chain stands straight above where it leads
    return x


def _settle(rows: list[list], sides: list[dict], x: dict, widths: dict) -> None:
    for row in rows:
        x |= zip(row, _spread([_pulled(key, x, sides) for key in row], _separations(row, widths)))


def _pulled(key: Any, x: dict, sides: list[dict]) -> float:
    """Where its neighbours draw a box or a bend; a long edge most of all, so that it stays straight."""
    near = [n for side in sides for n in side.get(key, ())]
    pulls = [8.0 if _is_bend(key) and _is_bend(n) else 1.0 for n in near]
    return sum(p * x[n] for p, n in zip(pulls, near)) / sum(pulls) if near else x[key]


def _is_bend(key: Any) -> bool:
    return isinstance(key, tuple) and key[:1] == ("bend",)


def _separations(row: list, widths: dict) -> list[float]:
    return [(widths[a] + widths[b]) / 2 + GAP_X for a, b in itertools.pairwise(row)]


def _spread(wanted: list[float], separations: list[float]) -> list[float]:
    """The positions nearest to those wanted (least squares) that keep the order and the separations."""
    offsets = [0.0]
    for gap in separations:
        offsets.append(offsets[-1] + gap)
    blocks: list[tuple[float, int]] = []  # (mean, how many): neighbours that touch move as one
    for want, offset in zip(wanted, offsets):
        mean, n = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, m = blocks.pop()
            mean, n = (mean * n + other * m) / (n + m), n + m
        blocks.append((mean, n))
    means = [mean for mean, n in blocks for _ in range(n)]
    return [mean + offset for mean, offset in zip(means, offsets)]


def _heights(graph: _Rows, sizes: dict) -> tuple[dict[Any, float], dict[Any, float], float]:
    """The vertical centre of what stands in each row, the height of its row, and the height of all."""
    y: dict[Any, float] = {}
    heights: dict[Any, float] = {}
    top = 0.0
    for row in graph.rows:
        height = max((sizes[key][1] for key in row if key in sizes), default=0.0)
        y |= dict.fromkeys(row, top + height / 2)
        heights |= dict.fromkeys(row, height)
        top += height + GAP_Y
    return y, heights, top - GAP_Y

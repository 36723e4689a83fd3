"""The chain rule written out: in a graph of scalars, the gradient is a sum over paths of products of derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .trace import Contribution, Trace, Vertex

MOST = 32  # paths that are listed for each leaf


@dataclass(frozen=True)
class Path:
    """One way from a leaf to the loss: the vertices on it, the local derivative of each step, and their product.

    The product starts with the gradient of the loss itself (`seed`, 1 by default), and takes the factors from the loss
    back to the leaf, as the backward pass does.
    """

    vertices: tuple[Vertex, ...]
    factors: tuple[float, ...]
    product: float
    seed: float


@dataclass(frozen=True)
class Paths:
    """The paths of one leaf: how many there are, those that are listed, and their sum if that is all of them."""

    leaf: Vertex
    count: int
    listed: tuple[Path, ...]

    @property
    def sum(self) -> float | None:
        return sum(p.product for p in self.listed) if self.count == len(self.listed) else None


def paths(trace: Trace) -> dict[str, Paths]:
    """By the name of the leaf; empty if a value has several elements or a rule is replaced."""
    if not trace.scalar or trace.overrides:
        return {}
    seed = trace.seed.item()
    below = {step.vertex: step.contributions for step in trace.steps}
    counts = _counts(trace)
    found = {}
    for leaf in trace.leaves:
        listed = []
        for path in _ways(trace.output, leaf, below, _leading_to(leaf, trace)):
            if len(listed) == MOST:
                break
            factors = tuple(c.local for c in reversed(path))
            product = seed
            for contribution in path:
                product = product * contribution.local
            vertices = (*(c.input for c in reversed(path)), trace.output)
            listed.append(Path(vertices, factors, product, seed))
        found[leaf.name] = Paths(leaf, counts[leaf], tuple(listed))
    return found


def _counts(trace: Trace) -> dict[Vertex, int]:
    """How many paths lead from each vertex to the loss."""
    counts = dict.fromkeys(trace.vertices, 0) | {trace.output: 1}
    for step in trace.steps:
        for contribution in step.contributions:
            counts[contribution.input] += counts[step.vertex]
    return counts


def _leading_to(leaf: Vertex, trace: Trace) -> set[Vertex]:
    """The vertices that the leaf has an effect on, itself included."""
    reached = {leaf}
    for step in reversed(trace.steps):  # inputs before consumers
        if any(c.input in reached for c in step.contributions):
            reached.add(step.vertex)
    return reached


def _ways(
    start: Vertex, leaf: Vertex, below: dict[Vertex, list[Contribution]], useful: set[Vertex]
) -> Iterator[tuple[Contribution, ...]]:
    """Every way down from the loss to the leaf, depth first; no recursion, so a deep graph is no problem."""
    stack: list[tuple[Vertex, tuple[Contribution, ...]]] = [(start, ())]
    while stack:
        vertex, way = stack.pop()
        if vertex is leaf:
            yield way
            continue
        stack += [(c.input, (*way, c)) for c in reversed(below.get(vertex, ())) if c.input in useful]

"""A backward pass as data: the values, the steps, and the paths from each leaf to the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from ...core.fused import Fused
from ...core.primitive import Primitive
from .arrays import is_finite
from .modules import Call

MOST = 32  # paths that are listed for each leaf


@dataclass(eq=False)
class Vertex:
    """A value of the graph: a leaf, a constant, or what a primitive gave.

    ``inputs`` are vertices, and numbers that stand in the expression; ``gradient`` is d loss / d value, None for a
    constant; ``calls`` are the modules in whose forward it was made, the innermost first.
    """

    name: str
    kind: str  # "leaf", "constant" or "operation"
    value: np.ndarray
    order: float = 0  # in time
    primitive: Primitive | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Any, ...] = ()
    gradient: np.ndarray | None = None
    calls: tuple[Call, ...] = ()


@dataclass(eq=False)
class Contribution:
    """What one rule gives to one input: ``after = before + value``."""

    argument: str
    position: int  # among the inputs
    input: Vertex
    formula: str
    replaced: bool  # another rule is active than the derivative
    value: np.ndarray
    before: np.ndarray | None  # None: nothing had arrived yet
    after: np.ndarray
    summed_over: tuple[int, ...] = ()  # axes along which the input was repeated
    unsummed: np.ndarray | None = None  # the value before that sum
    local: float | None = None  # d output / d input, in a graph of scalars


@dataclass(eq=False)
class Kink:
    """Entries of a step at which its primitive has no derivative: within `EPS`, or what was asked for."""

    count: int
    size: int  # entries examined
    first: tuple[int, ...]  # where the first one is
    distance: float  # the smallest


@dataclass(eq=False)
class Step:
    """One primitive's rules applied: the gradient of its value goes in, contributions to its inputs come out."""

    number: int
    vertex: Vertex
    gradient: np.ndarray
    contributions: list[Contribution] = field(default_factory=list)
    kink: Kink | None = None
    unfold: Callable[[Step], BackwardPass] | None = None  # follows the definition of a fused primitive

    @property
    def fused(self) -> bool:
        return isinstance(self.vertex.primitive, Fused)

    @cached_property
    def inside(self) -> BackwardPass | None:
        """The pass through the definition of a fused primitive, on the same inputs and gradient; else None."""
        return self.unfold(self) if self.fused else None


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


@dataclass(eq=False, repr=False)
class BackwardPass:
    """Every step of a backward pass, in the order of the engine's walk.

    ``steps``; ``vertices`` (the values, oldest first); ``output`` and ``seed``, the gradient that it started with;
    ``overrides``, the primitives whose rules were replaced; ``notes``, what a reader should know first; ``asked``, the
    output as an expression of what has a name of the caller's, "" if that is long.
    """

    output: Vertex
    seed: np.ndarray
    steps: list[Step]
    vertices: list[Vertex]
    overrides: list[str]
    notes: list[str]
    scalar: bool  # every value has one element
    asked: str = ""

    @property
    def leaves(self) -> list[Vertex]:
        return [v for v in self.vertices if v.kind == "leaf"]

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """The gradient of each leaf by its name: what `md.grad` gives, to the bit."""
        return {v.name: v.gradient for v in self.leaves}

    @cached_property
    def paths(self) -> dict[str, Paths]:
        """The chain rule written out: in a graph of scalars, the gradient of a leaf (by its name) is a sum over paths
        of products of derivatives. Empty if a value has several elements or a rule is replaced."""
        if not self.scalar or self.overrides:
            return {}
        below = {step.vertex: step.contributions for step in self.steps}
        counts = _counts(self)
        return {leaf.name: Paths(leaf, counts[leaf], _listed(self, leaf, below)) for leaf in self.leaves}


def first_not_finite(trace: BackwardPass) -> tuple[Vertex | None, Step | None]:
    """The operation (or leaf) that is the first to hold a NaN or an infinity, and the step whose rule made the first
    one out of finite numbers."""
    vertex = next((v for v in trace.vertices if not is_finite(v.value)), None)
    for step in trace.steps:
        if not is_finite(step.gradient):
            return vertex, None  # it came in with the seed
        if not all(is_finite(c.value) for c in step.contributions):
            return vertex, step
    return vertex, None

# --- paths


def _listed(trace: BackwardPass, leaf: Vertex, below: dict[Vertex, list[Contribution]]) -> tuple[Path, ...]:
    """The first MOST paths from a leaf to the loss."""
    seed, listed = trace.seed.item(), []
    for path in islice(_ways(trace.output, leaf, below, _leading_to(leaf, trace)), MOST):
        factors = tuple(c.local for c in reversed(path))
        product = seed
        for contribution in path:
            product = product * contribution.local
        vertices = (*(c.input for c in reversed(path)), trace.output)
        listed.append(Path(vertices, factors, product, seed))
    return tuple(listed)


def _counts(trace: BackwardPass) -> dict[Vertex, int]:
    """How many paths lead from each vertex to the loss."""
    counts = dict.fromkeys(trace.vertices, 0) | {trace.output: 1}
    for step in trace.steps:
        for contribution in step.contributions:
            counts[contribution.input] += counts[step.vertex]
    return counts


def _leading_to(leaf: Vertex, trace: BackwardPass) -> set[Vertex]:
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

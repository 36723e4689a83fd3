"""A function under test: arrays in, one array out, and what the rules say of its gradient."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.calculus import grad, vjp
from ..core.context import definitions
from ..core.tensor import Leaf, Node, Tensor
from ..device import to_device
from ..ops.indexing import concat

Arrays = Sequence[np.ndarray]

EPS = float(np.finfo(np.float64).eps)
NEARBY = 4  # places with other last bits
STEPS = (1e-10, 1e-8, 1e-6, 1e-4, 1e-2)  # relative steps that noise is looked for at,
POINTS = (-2, -1, 0, 1, 2)  # as fourth differences
BINOMIAL = (1, -4, 6, -4, 1)
GROWTH = 1e6  # of a fourth difference from one of these steps to the next; that of a smooth function grows by 1e8
MOVE = 1e-3  # a relative move that tells constants on the way from what depends on the inputs


def scale(x: np.ndarray) -> np.ndarray:
    """The length of a step of relative size 1 at each entry: its size, at least the root mean square of the array."""
    finite = x[np.isfinite(x)]
    usual = float(np.sqrt(np.mean((finite / (m := abs(finite).max() or 1.0)) ** 2)) * m) if finite.size else 0.0
    return np.maximum(np.where(np.isfinite(x), abs(x), 0.0), usual or 1.0)


def moved(xs: Arrays, by: float, seed: int) -> list[np.ndarray]:
    """The inputs, each entry up or down by this part of itself."""
    rng = np.random.default_rng(seed)
    return [x + by * np.where(np.isfinite(x), x, 0.0) * rng.choice([-1.0, 1.0], x.shape) for x in xs]


@dataclass
class Graph:
    """What a run met: its operations, the values on the way, how far every entry stood from a kink, the coarsest
    precision; and whether the output is finite."""

    nodes: list[Node] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    distances: np.ndarray = field(default_factory=lambda: np.zeros(0))
    precision: float = 0.0
    finite: bool = True

    @property
    def smooth(self) -> bool:
        return all(node.primitive.kind != "piecewise" for node in self.nodes)

    def __add__(self, other: Graph) -> Graph:
        return Graph(
            self.nodes + other.nodes,
            self.values + other.values,
            np.concatenate([self.distances, other.distances]),
            max(self.precision, other.precision),
            self.finite and other.finite,
        )


def graph_of(y: Tensor) -> Graph:
    """Walk the graph below `y`, from the oldest operation to the newest."""
    found, stack, tensors = {}, [y], [y]
    while stack:
        node = stack.pop().node
        if node is None or type(node) is Leaf or node in found:
            continue
        found[node] = True
        inputs = [x for x in node.inputs if isinstance(x, Tensor) and x.node is not None]
        stack += inputs
        tensors += inputs
    nodes = sorted(found, key=lambda node: node.order)
    distances = [
        np.ravel(node.primitive.kink(*(_array(x) for x in node.inputs), **node.parameters))
        for node in nodes
        if node.primitive.kink is not None
    ]
    values = [_array(x) for x in tensors]
    precision, finite = max(_precision(x) for x in tensors), bool(np.isfinite(values[0]).all())
    return Graph(nodes, values, np.concatenate([*distances, np.zeros(0)]), precision, finite)


def _array(x: Any) -> Any:
    return to_device(x.data, "cpu") if isinstance(x, Tensor) else x


def _precision(x: Tensor) -> float:
    return float(np.finfo(x.dtype).eps) if x.dtype.kind in "fc" else 0.0


def placed(inputs: Sequence[Any], slots: Sequence[int], chosen: Sequence[Any]) -> list[Any]:
    """All inputs, with the chosen ones at the slots."""
    every = list(inputs)
    for i, x in zip(slots, chosen, strict=True):
        every[i] = x
    return every


class Origin:
    """A problem at the place where it is checked: its value, what a run meets, and its rounding errors."""

    def __init__(self, problem: Problem, xs: Arrays):
        self.problem, self.xs = problem, list(xs)
        self.value, self.graph = problem.value(xs), problem.graph(xs)
        self.inside: dict[int, np.ndarray] = {}  # see kinks.inner

    @cached_property
    def largest(self) -> float:
        """The largest value, or number on the way that moves with the inputs.

        Its rounding reaches the output, unlike that of a constant such as the -1e9 of a mask.
        """
        here, there = self.graph.values, self.problem.graph(moved(self.xs, MOVE, 0)).values
        if len(here) != len(there):
            there = [np.full(a.shape, np.nan) for a in here]
        largest = float(abs(self.value[np.isfinite(self.value)]).max(initial=0.0))
        for a, b in zip(here, there, strict=True):
            moving = np.isfinite(a) & ((a != b) if a.shape == b.shape else True)
            largest = max(largest, float(abs(a[moving]).max(initial=0.0)))
        return largest

    @cached_property
    def nearby(self) -> list[list[np.ndarray]]:
        """The inputs with other last bits."""
        return [moved(self.xs, max(self.graph.precision, EPS), seed) for seed in range(NEARBY)]

    @cached_property
    def noise(self) -> np.ndarray:
        """What rounding and bad conditioning leave uncertain of each output, however it is computed.

        Fourth differences at a step so small that a smooth function has none: what is left is noise, 70^(1/2) fold
        (Moré and Wild, SIAM Journal on Scientific Computing 33, 2011). Cancelled digits of a large number on the way
        show only at a larger step; there they are told from a steep function by the size that they can have.
        """
        noise = max(EPS, self.graph.precision) * abs(self.value)
        changes, before = np.zeros(noise.shape), np.zeros(noise.shape)
        cancelled = abs(self.value) < 1e-3 * self.largest
        for seed, step in enumerate(STEPS):
            if step > STEPS[2] and ((changes > 2) & ~cancelled).all():
                break  # no output needs a larger step
            vs = [m - x for m, x in zip(moved(self.xs, step, seed), self.xs, strict=True)]
            ys = [self.problem.value_or_nan([x + j * v for x, v in zip(self.xs, vs, strict=True)]) for j in POINTS]
            if any(y.shape != noise.shape for y in ys):
                continue
            with np.errstate(all="ignore"):
                fourth = abs(sum(c * y for c, y in zip(BINOMIAL, ys, strict=True))) / 70**0.5
            possible = fourth if step == STEPS[0] else np.fmin(fourth, 4 * EPS * self.largest)
            rough = (changes <= 2) | (fourth <= GROWTH * before)  # noise does not grow with the step
            noise = np.fmax(noise, np.where((step <= STEPS[2]) | rough, possible, 0.0))
            changes = np.fmax(changes, sum(a != b for a, b in itertools.pairwise(ys)))
            before = fourth
        sized = self.value != 0
        if sized.any():  # an output may be lucky: at least what is usual, relatively
            noise = np.fmax(noise, abs(self.value) * np.median(noise[sized] / abs(self.value[sized])))
        return noise


class Problem:
    """A function `f` of Tensors, as a function of arrays."""

    held: Mapping[int, Any] = MappingProxyType({})  # what else f is given, by its place
    slots: Sequence[int] = ()  # the places of the inputs that move, if others are held

    def __init__(self, f: Callable[..., Tensor], device: str = "cpu"):
        self.f = f
        self.device = device
        self._origin: Origin | None = None

    def name(self, place: int) -> str:
        """Of the input at a place."""
        return f"input {place}"

    def origin(self, xs: Arrays) -> Origin:
        """The place `xs`, examined once as long as the same arrays are asked for."""
        known = self._origin
        if known is None or len(known.xs) != len(xs) or any(a is not b for a, b in zip(known.xs, xs, strict=True)):
            self._origin = known = Origin(self, xs)
        return known

    def run(self, xs: Arrays) -> tuple[list[Tensor], Tensor]:
        """The inputs as fresh leaves, and the output."""
        leaves = [Tensor(to_device(np.asarray(x), self.device), requires_grad=True) for x in xs]
        with np.errstate(all="ignore"):
            return leaves, self.f(*leaves)

    def value(self, xs: Arrays) -> np.ndarray:
        return self.run(xs)[1].numpy()

    def value_or_nan(self, xs: Arrays) -> np.ndarray:
        """The value, or one NaN where the function refuses its inputs: outside of its domain."""
        try:
            return self.value(xs)
        except (ValueError, ArithmeticError):
            return np.array(np.nan)

    def pullback(self, xs: Arrays) -> Callable[[np.ndarray], list[np.ndarray]]:
        """The rules' answer: cotangent of the output -> cotangent of each input. May be called many times."""
        leaves, y = self.run(xs)

        def pull(u: np.ndarray) -> list[np.ndarray]:
            u = Tensor(to_device(np.asarray(u), self.device))
            with np.errstate(all="ignore"):
                grads = grad(y, leaves, u, retain_graph=True, allow_unused=True)
            return [np.zeros_like(x) if g is None else g.numpy() for x, g in zip(xs, grads, strict=True)]

        return pull

    def variants(self) -> Iterator[tuple[str, Problem]]:
        """(words, the problem) with another value of something that f is given."""
        return iter(())

    def graph(self, xs: Arrays) -> Graph:
        """What a run meets when every fused primitive is taken apart; not finite where the function refuses."""
        try:
            with definitions():
                return graph_of(self.run(xs)[1])
        except (ValueError, ArithmeticError):
            return Graph(finite=False)


class Gradient(Problem):
    """The gradient of a problem, as a function of its inputs and of the cotangent, one long vector.

    Its first order is the problem's second, and so on.
    """

    def __init__(self, problem: Problem):
        super().__init__(self.gradient, problem.device)
        self.problem = problem

    def gradient(self, *inputs: Tensor) -> Tensor:
        *xs, u = inputs
        _, pull = vjp(self.problem.f, *xs)
        return concat([g.reshape(-1) for g in pull(u)], axis=0)

    def graph(self, xs: Arrays) -> Graph:
        return self.problem.graph(xs[:-1]) + super().graph(xs)

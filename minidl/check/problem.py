"""A function under test: arrays in, one array out, and what the rules say of its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.calculus import grad, vjp
from ..core.context import definitions
from ..core.tensor import Leaf, Node, Tensor
from ..device import to_device
from ..ops.indexing import concat

Arrays = Sequence[np.ndarray]


@dataclass
class Graph:
    """What a run met: its operations, how far every entry stood from a kink, the coarsest precision and the largest
    number on the way."""

    nodes: list[Node] = field(default_factory=list)
    distances: np.ndarray = field(default_factory=lambda: np.zeros(0))
    precision: float = 0.0
    largest: float = 0.0

    @property
    def smooth(self) -> bool:
        return all(node.primitive.kind != "piecewise" for node in self.nodes)

    def __add__(self, other: Graph) -> Graph:
        return Graph(
            self.nodes + other.nodes,
            np.concatenate([self.distances, other.distances]),
            max(self.precision, other.precision),
            max(self.largest, other.largest),
        )


def graph_of(y: Tensor) -> Graph:
    """Walk the graph below `y`, from the oldest operation to the newest."""
    found, stack = {}, [y]
    precision, largest = _precision(y), _largest(y)
    while stack:
        node = stack.pop().node
        if node is None or type(node) is Leaf or node in found:
            continue
        found[node] = True
        for x in node.inputs:
            if isinstance(x, Tensor) and x.node is not None:
                precision, largest = max(precision, _precision(x)), max(largest, _largest(x))
                stack.append(x)
    nodes = sorted(found, key=lambda node: node.order)
    distances = [
        np.ravel(node.primitive.kink(*(_array(x) for x in node.inputs), **node.parameters))
        for node in nodes
        if node.primitive.kink is not None
    ]
    return Graph(nodes, np.concatenate([*distances, np.zeros(0)]), precision, largest)


def _array(x: Any) -> Any:
    return to_device(x.data, "cpu") if isinstance(x, Tensor) else x


def _precision(x: Tensor) -> float:
    return float(np.finfo(x.dtype).eps) if x.dtype.kind in "fc" else 0.0


def _largest(x: Tensor) -> float:
    return float(abs(x.data).max()) if x.size else 0.0


def placed(inputs: Sequence[Any], slots: Sequence[int], chosen: Sequence[Any]) -> list[Any]:
    """All inputs, with the chosen ones at the slots."""
    every = list(inputs)
    for i, x in zip(slots, chosen, strict=True):
        every[i] = x
    return every


class Problem:
    """A function `f` of Tensors, as a function of arrays."""

    def __init__(self, f: Callable[..., Tensor], device: str = "cpu"):
        self.f = f
        self.device = device

    def run(self, xs: Arrays) -> tuple[list[Tensor], Tensor]:
        """The inputs as fresh leaves, and the output."""
        leaves = [Tensor(to_device(np.asarray(x), self.device), requires_grad=True) for x in xs]
        with np.errstate(all="ignore"):
            return leaves, self.f(*leaves)

    def value(self, xs: Arrays) -> np.ndarray:
        return self.run(xs)[1].numpy()

    def pullback(self, xs: Arrays) -> Callable[[np.ndarray], list[np.ndarray]]:
        """The rules' answer: cotangent of the output -> cotangent of each input. May be called many times."""
        leaves, y = self.run(xs)

        def pull(u: np.ndarray) -> list[np.ndarray]:
            u = Tensor(to_device(np.asarray(u), self.device))
            grads = grad(y, leaves, u, retain_graph=True, allow_unused=True)
            return [np.zeros_like(x) if g is None else g.numpy() for x, g in zip(xs, grads, strict=True)]

        return pull

    def graph(self, xs: Arrays) -> Graph:
        """What a run meets when every fused primitive is taken apart."""
        with definitions():
            return graph_of(self.run(xs)[1])


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

"""The engine's graph as a student's `walk` sees it: steps with inputs and a pullback."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ...core.backward import released
from ...core.tensor import Leaf, Node, Placeholder, Tensor
from .student import StudentError

Pulling = Callable[[], AbstractContextManager]


class Step:
    """A node of our graph in the place of a student's tensor."""

    def __init__(self, node: Node, release: bool, pulling: Pulling):
        self.node, self.release, self.pulling, self.inputs = node, release, pulling, ()

    def pullback(self, g: Any) -> tuple[np.ndarray, ...]:
        """The cotangents of the inputs, by our rules, for g, that of this step."""
        node = self.node
        if node.inputs is None:
            raise StudentError(f"walk calls the pullback of {node.primitive.name} twice; minidl build check says more")
        g = Tensor(np.asarray(g))
        y = Placeholder(g.data, node)
        if node.output is not None:
            y = object.__new__(Tensor)
            y.data, y.node = node.output, node
        with self.pulling():
            below = node.primitive.pullback(g, y, None)
        if self.release:
            node.inputs = node.parameters = node.output = None
        return tuple(gx.data for _, gx in below)


def as_steps(output: Node, release: bool, pulling: Pulling) -> Step:
    """The step of a node; those below it are reached by ``inputs``."""
    steps = {output: Step(output, release, pulling)}
    stack = [output]
    while stack:
        node = stack.pop()
        if type(node) is Leaf:
            continue
        if node.inputs is None:
            raise released(node)
        below = [x.node for x in node.inputs if isinstance(x, Tensor) and x.node is not None]
        for key in below:
            if key not in steps:
                steps[key] = Step(key, release, pulling)
                stack.append(key)
        steps[node].inputs = tuple(steps[key] for key in below)
    return steps[output]


def walked(
    walk: Callable[[Step, np.ndarray], Any], output: Tensor, g: Tensor, release: bool, pulling: Pulling
) -> dict[Node, Tensor]:
    """What `core.backward.walk` gives for all leaves, by a student's walk; each pullback runs inside ``pulling()``."""
    found = walk(as_steps(output.node, release, pulling), g.data)
    if not isinstance(found, dict) or not all(isinstance(step, Step) for step in found):
        raise StudentError("walk returned no dict {leaf: cotangent}; minidl build check says more")
    return {step.node: Tensor(np.asarray(value)) for step, value in found.items() if not step.inputs}

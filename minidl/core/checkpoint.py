"""checkpoint: what a function computes on the way is freed at once, and computed again when the backward pass needs it.

The backward pass meets one node, "checkpoint". Its pullback runs the function again, recorded this time, and hands the
cotangent on to the result: from there the pass walks through the operations as if they had been there all the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .backward import released
from .context import Context, current, setting
from .tensor import Node, Tensor, clock

States = dict[np.random.Generator, dict]  # of generators, each before it was first drawn from


def checkpoint(
    f: Callable[..., Tensor], *xs: Any, generators: Iterable[np.random.Generator] = (), **options: Any
) -> Tensor:
    """``f(*xs, **options)``, one Tensor, of which only the inputs are saved: the backward pass runs f again.

    A chain of n layers in segments of k has about n/k + k layers' values in memory at a time instead of n, for one more
    forward pass. All results have the same bits as those of f itself, gradients of any order included: what f reads
    without being given it (the parameters of a module) gets its gradient, dropout drops the same entries again, and
    batch normalisation counts a batch once. f may be a module, and may itself call checkpoint.

    generators: random generators that f draws from; those of F.dropout are found without it. Inside `definitions()` it
    is f itself.
    Raises RuntimeError in the backward pass if f gives other values when it runs again.
    Source: Chen et al., "Training deep nets with sublinear memory cost", 2016, section 4.

        >>> x = md.tensor([0.5, 1.0], requires_grad=True)
        >>> y = md.checkpoint(lambda x: F.tanh(F.exp(x)), x)
        >>> md.grad(y.sum(), x)[0].numpy().round(4)
        array([0.2268, 0.0469])
    """
    now, began = current(), next(clock)
    if now.trace is not None:
        now.trace.refuse("checkpoint runs a function twice")
    if not now.recording or now.definitions:
        return f(*xs, **options)
    states: States = {generator: generator.bit_generator.state for generator in generators}
    with setting(drawn=(*now.drawn, states)):
        y = f(*xs, **options)
    if not isinstance(y, Tensor):
        raise TypeError(f"checkpoint needs a function that gives one Tensor, this one gives {type(y).__name__}")
    if y.node is None or y.node.order < began:  # nothing was recorded
        return y
    read = {x.node: x for node in _made_since(began, y.node) for x in _inputs(node) if x.node.order < began}
    first = {"began": began, "f": lambda: f(*xs, **options), "states": states, "context": now}
    result = Tensor(y.data)
    result.node = Node(RECOMPUTED, tuple(read.values()), first, y.data)
    return result


class Recomputed:
    """What made the result of a checkpoint, as its node has it: not a primitive, but what becomes many of them."""

    name, formula, kind = "checkpoint", "f(x_0, x_1, ...), computed again by the backward pass", "piecewise"
    arguments, variadic, elementwise = ("inputs",), True, False
    kink = reach = support = None

    def pullback(self, g: Tensor, y: Tensor, useful: set[Node] | None) -> list[tuple[Tensor, Tensor]]:
        """The result of the second run, and its cotangent g."""
        first = y.node.parameters
        again = first["again"] if "again" in first else self.run_again(y.node)
        if current().recording:  # gradients will lead to the nodes of this run: a later pass must meet no others
            first["again"] = again
        if useful is not None:
            for node in sorted(_made_since(first["began"], again.node), key=_order):
                if any(x.node in useful for x in _inputs(node)):
                    useful.add(node)
        return [(again, g)]

    def run_again(self, node: Node) -> Tensor:
        """The result of a second run, whose nodes take places in time that those of the first had, from `began` to the
        node of the checkpoint: a pass visits all nodes, and adds up all cotangents, in the order of one without it."""
        start, began = next(clock), node.parameters["began"]
        again = _second_run(**node.parameters)
        if not _same_values(again.data, node.output) or again.node is None or again.node.order < start:
            raise RuntimeError(
                "checkpoint: the function gave other values when the backward pass ran it again: it draws random "
                "numbers (name their generators: checkpoint(f, x, generators=[rng])), or what it reads has changed"
            )
        made = sorted(_made_since(start, again.node), key=_order)
        step = (node.order - began) / (len(made) + 1)
        for i, new in enumerate(made):
            if new.primitive is self:
                new.parameters["began"] = began + i * step
            new.order = began + (i + 1) * step
        return again


RECOMPUTED = Recomputed()


def note_draw(generator: np.random.Generator) -> None:
    """To be called before drawing from a generator: whoever runs this again will draw the same numbers."""
    for states in current().drawn:
        if generator not in states:
            states[generator] = generator.bit_generator.state


def _second_run(f: Callable, states: States, context: Context, began: float) -> Tensor:
    """The value of f as it was, recorded; afterwards the generators are where they were before."""
    now = {generator: generator.bit_generator.state for generator in states}
    kept = {name: getattr(context, name) for name in ("definitions", "kernels", "algorithm")}
    try:
        for generator, state in states.items():
            generator.bit_generator.state = state
        with setting(recording=True, repeating=True, watchers=(), **kept):
            return f()
    finally:
        for generator, state in now.items():
            generator.bit_generator.state = state


def _order(node: Node) -> float:
    return node.order


def _made_since(began: int, root: Node) -> set[Node]:
    """The nodes below `root`, itself included, that are newer than that."""
    found, stack = {root}, [root]
    while stack:
        new = {x.node for x in _inputs(stack.pop()) if x.node.order > began} - found
        found |= new
        stack += new
    return found


def _inputs(node: Node) -> Iterator[Tensor]:
    """The inputs of a node that require a gradient."""
    if node.inputs is None:
        raise released(node)
    return (x for x in node.inputs if isinstance(x, Tensor) and x.node is not None)


def _same_values(a: Any, b: Any) -> bool:
    """The same bits, NaN included; arrays on a GPU, where sums have no fixed order, need the same form only."""
    if a.shape != b.shape or a.dtype != b.dtype or type(a) is not np.ndarray:
        return a.shape == b.shape and a.dtype == b.dtype
    return np.array_equal(a, b) or np.array_equal(a, b, equal_nan=True)

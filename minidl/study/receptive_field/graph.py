"""One recorded pass of a network, and questions put to it: what is the formula here, on which cells does this pixel
depend?

The second is answered by the engine's one backward pass, pulled differently: `dependence` puts in the place of every
derivative rule one that says which entries of an argument an entry of the result depends on. Values play no part: a
weight that is zero, a relu that is off and the cells that a pooling did not choose all count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ...core.backward import walk
from ...core.context import enable_grad, no_grad
from ...core.tensor import Leaf, Node, Tensor
from ...nn.module import Module, watch
from ...ops.reach import gathered, scattered
from .theory import Axes, Axis, is_pool, through

TOUCHED = 0.5  # a count above this is not 0,
ROUNDING = 1e-3  # as fast convolutions round, relative to the largest


class Recording:
    """A network's run on one input, recorded: its nodes in order, their values, what the formula says of each."""

    def __init__(self, network: Callable[[Tensor], Tensor], x: Tensor):
        self.x, self.owner = x, {}
        x.requires_grad = True
        with enable_grad(), watch(self._see):
            self.output = network(x)
        if not isinstance(self.output, Tensor) or self.output.node is None:
            raise ValueError("receptive_field: the output does not depend on the input, or is not one Tensor")
        self.values: dict[Node, Tensor] = {x.node: x, self.output.node: self.output}
        self.nodes = self._ordered()

    def _see(self, module: Module, inputs: tuple, output: Any) -> None:
        """Note which nodes a module without children made: those between its inputs and its output."""
        if any(module.children()) or not isinstance(output, Tensor) or output.node is None:
            return
        stop = {t.node for t in inputs if isinstance(t, Tensor)}
        stack = [output.node]
        while stack:
            node = stack.pop()
            if node not in stop and node not in self.owner and type(node) is not Leaf:
                self.owner[node] = module
                stack += [t.node for t in node.inputs if isinstance(t, Tensor) and t.node is not None]

    def _ordered(self) -> list[Node]:
        """The nodes on the way from the input to the output, oldest first."""
        stack, below = [self.output.node], {self.output.node}
        while stack:
            for t in stack.pop().inputs:
                if isinstance(t, Tensor) and t.node is not None and t.node not in below:
                    below.add(t.node)
                    self.values[t.node] = t
                    stack.append(t.node)
        found = {self.x.node}
        for node in sorted(below, key=lambda n: n.order):
            if any(isinstance(t, Tensor) and t.node in found for t in node.inputs):
                found.add(node)
        if self.output.node not in found:
            raise ValueError("receptive_field: the output does not depend on the input")
        return sorted(found - {self.x.node}, key=lambda n: n.order)

    def macs(self) -> int:
        """The multiply-adds of the convolutions and products on the way from the input to the output."""
        total = 0
        for node in self.nodes:
            name = node.primitive.name
            if name in ("conv", "conv_transpose"):
                x, w = node.inputs
                total += (self.values[node] if name == "conv" else x).size * math.prod(w.shape[1:])
            elif name == "matmul":
                total += self.values[node].size * node.inputs[0].shape[-1]
        return total

    def theory(self, decimate: bool = False) -> dict[Node, Axes]:
        """What the formula says of every node."""
        known: dict[Node, Axes] = {self.x.node: (Axis(),) * (self.x.ndim - 2)}
        for node in self.nodes:
            before = [(t, known[t.node]) for t in node.inputs if isinstance(t, Tensor) and t.node in known]
            known[node] = through(node, before, self.values[node].shape, decimate)
        return known

    @cached_property
    def rows(self) -> list[Node]:
        """The nodes worth a row: what changes the field, what joins two of them, and the output if it differs."""
        known, last = self.theory(), self.output.node
        rows = [node for node in self.nodes if self._changes(node, known)]
        same = rows and known[last] == known[rows[-1]] is not None
        return rows if same and spatial(self.output) == spatial(self.values[rows[-1]]) else [*rows, last]

    def _changes(self, node: Node, known: dict[Node, Axes]) -> bool:
        """Is it a convolution, does it change size or distance of fields (a crop does not), or join different ones?"""
        before = [known[t.node] for t in node.inputs if isinstance(t, Tensor) and t.node in known]
        weighted = node.primitive.reach in (gathered, scattered) and not is_pool(node)
        return weighted or _extent(known[node]) != _extent(before[0]) or len(set(before)) > 1


def _extent(axes: Axes) -> list[tuple[float, float]] | None:
    return axes and [(a.jump, a.size) for a in axes]


def below(node: Node) -> set[Tensor]:
    """The tensors that a node's value was made from."""
    found, stack, seen = set(), [node], {node}
    while stack:
        for t in stack.pop().inputs or ():
            if isinstance(t, Tensor):
                found.add(t)
                if t.node is not None and t.node not in seen:
                    seen.add(t.node)
                    stack.append(t.node)
    return found


def branches(run: Recording, node: Node) -> list[int]:
    """The inputs of a node, by number, that depend on the network's input."""
    on_the_way = {run.x.node, *run.nodes}
    return [i for i, t in enumerate(node.inputs) if isinstance(t, Tensor) and t.node in on_the_way]


def spatial(y: Tensor) -> tuple[int, ...]:
    """The spatial sizes of a value (N, C, *size); () for what has none."""
    return y.shape[2:]


def reaching(
    run: Recording, target: Node, pixels: Sequence[tuple[int, ...]], wanted: Sequence[Node], cotangent: Any = 1,
    pull: Callable | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """The cotangents that reach the `wanted` nodes from pixel b of `target`, in image b of the batch.

    cotangent: the value of every channel, or of each (C,). pull: how to walk, see `walk`; by the derivatives if None.
    Gives an array (B, C, *size) for each wanted node.
    """
    y = run.values[target]
    seed = np.zeros(y.shape, y.dtype)
    for b, pixel in enumerate(pixels):
        seed[(b, slice(None), *pixel)] = cotangent
    with no_grad():
        found = walk(y, Tensor(seed), set(wanted), release=False, pull=pull)
    return [found[n].numpy() if n in found else np.zeros(run.values[n].shape, bool) for n in wanted]


def dependence(merge: Node | None = None, branch: int = 0) -> Callable:
    """How to `walk` so that 0 and 1 are carried in place of gradients: which entries are depended on.

    For graphs in which no fused primitive stands for several operations. The node `merge` is
    passed through its input of number `branch` alone.
    """

    def pull(g: Tensor, y: Tensor, useful: set[Node]) -> list[tuple[Tensor, Tensor]]:
        node, mask = y.node, _mask(g)
        chosen = [
            (i, x) for i, x in enumerate(node.inputs)
            if isinstance(x, Tensor) and x.node in useful and (node is not merge or i == branch)
        ]  # fmt: skip
        return [(x, _depended_on(node, i, x, mask, y)) for i, x in chosen]

    return pull


def _depended_on(node: Node, i: int, x: Tensor, g: Tensor, y: Tensor) -> Tensor:
    """Which entries of input i the entries in g depend on, as counts: by what the primitive states, or by its rule with
    all values at 1, which counts the ways if no coefficient of it is another number."""
    primitive, parameters = node.primitive, node.parameters
    if primitive.elementwise:
        return g.sum_to(x.shape)
    if primitive.support is not None and i == 0:
        return primitive.support(g, x, **parameters)
    rule = primitive.rules.get(primitive.arguments[-1 if primitive.variadic else i])
    if rule is not None and primitive.kind != "piecewise":
        ones = [Tensor(np.ones(t.shape, t.dtype)) if isinstance(t, Tensor) else t for t in node.inputs]
        position = {"index": i} if primitive.variadic else {}
        counts = rule(g, Tensor(np.ones(y.shape, y.dtype)), *ones, **position, **parameters)
        rounding = ROUNDING * counts.data.max(initial=1)
        if counts.data.min(initial=0) > -rounding and abs(counts.data - np.rint(counts.data)).max(initial=0) < rounding:
            return counts
    raise TypeError(
        f"receptive_field: which entries {primitive.name!r} depends on is not known; "
        "ask for a layer before it, or use effective fields, which need gradients only"
    )


def _mask(g: Tensor) -> Tensor:
    """1 where g, a count, is not 0."""
    return Tensor((g.data > TOUCHED).astype(g.dtype))

"""The receptive field by formula, carried forward from the input, operation by operation.

Along one axis, output 0 of a layer sees the input cells `first` ... `last`, output o those `jump` * o further on.
With r = last - first + 1 a window of k taps, stride s, dilation d and padding p makes of it

    r += d (k - 1) j        first -= p j        centre += (d (k - 1) / 2 - p) j        j *= s

(Le and Borji, "What are the receptive, effective receptive, and projective fields of neurons in convolutional neural
networks?", 2017; Dumoulin and Visin, 2016). A transposed convolution goes the other way, j /= s, and its outputs see
up to floor(d (k - 1) / s) + 1 cells; which ones depends on the output's phase, so that there first and last are a mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...core.tensor import Node, Tensor
from ...ops.reach import Reach, channels, gathered, same


@dataclass(frozen=True)
class Axis:
    """What output 0 sees along one axis, and how far output 1 stands from it, in input cells."""

    jump: float = 1.0
    first: float = 0.0
    last: float = 0.0

    @property
    def size(self) -> float:
        return self.last - self.first + 1

    @property
    def centre(self) -> float:
        return (self.first + self.last) / 2

    def moved(self, cells: float) -> Axis:
        """Output 0 is now what output `cells` was."""
        return replace(self, first=self.first + cells * self.jump, last=self.last + cells * self.jump)

    def after(self, reach: Reach) -> Axis:
        """What output 0 of an operation on these cells sees."""
        return Axis(self.jump * reach.step, self.first + reach.first * self.jump, self.last + reach.last * self.jump)


Axes = tuple[Axis, ...] | None  # None: no formula holds any more, positions are mixed or rearranged


def through(node: Node, before: list[tuple[Tensor, Axes]], output: tuple[int, ...], decimate: bool = False) -> Axes:
    """What an operation makes of what its inputs see: ``before`` are those that depend on the network's input.

    output: the shape of its value. decimate: read every pooling as plain decimation, which takes one cell.
    """
    primitive, parameters = node.primitive, node.parameters
    if primitive.variadic and primitive.reach and parameters["axis"] >= 2:
        return _side_by_side(node, dict(before), parameters["axis"])
    several = primitive.elementwise or primitive.variadic
    found = [_moved(node, x, axes, output, decimate) for x, axes in (before if several else before[:1])]
    return None if any(axes is None for axes in [*found, *(axes for _, axes in before)]) else _union(found)


def _moved(node: Node, x: Tensor, axes: Axes, output: tuple[int, ...], decimate: bool) -> Axes:
    """What is seen through one input."""
    reach = node.primitive.reach or (same if node.primitive.elementwise else None)
    reaches = reach(x.shape, **node.parameters) if reach and axes is not None and len(output) == x.ndim else None
    if reaches is None or (reach in (same, channels) and x.shape[2:] != output[2:]):
        return None
    if decimate and is_pool(node):
        reaches = tuple(Reach(r.step, r.first, r.first) for r in reaches)
    return tuple(a.after(r) for a, r in zip(axes, reaches))


def is_pool(node: Node) -> bool:
    """Does it gather windows without a weight?"""
    return node.primitive.reach is gathered and len(node.primitive.arguments) == 1


def _side_by_side(node: Node, known: dict[Tensor, Axes], axis: int) -> Axes:
    """Pieces along a spatial axis, as a border that mirrors: those of the first piece that has a formula."""
    offset = 0
    for piece in node.inputs:
        axes = known.get(piece)
        if axes is not None:
            return tuple(a.moved(-offset) if k == axis - 2 else a for k, a in enumerate(axes))
        offset += piece.shape[axis]
    return None


def _union(several: list[tuple[Axis, ...]]) -> Axes:
    """The field through any of the branches."""
    found = []
    for along in zip(*several):
        if len({round(a.jump, 9) for a in along}) > 1:
            return None
        found.append(Axis(along[0].jump, min(a.first for a in along), max(a.last for a in along)))
    return tuple(found)

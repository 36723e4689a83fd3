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
from typing import Any

import numpy as np

from ...core.tensor import Node, Tensor

WINDOWED = ("conv", "max_pool", "window_sum")
POOLS = ("max_pool", "window_sum")


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

    def resampled(self, step: float, centre: float, extent: float) -> Axis:
        """Output 0 sees `extent` + 1 of the cells before, around cell `centre`; the next one stands `step` further."""
        middle, half = self.centre + centre * self.jump, (self.size - 1 + extent * self.jump) / 2
        return Axis(self.jump * step, middle - half, middle + half)


Axes = tuple[Axis, ...] | None  # None: no formula holds any more, positions are mixed or rearranged


def through(node: Node, before: list[tuple[Tensor, Axes]], output: tuple[int, ...], decimate: bool = False) -> Axes:
    """What an operation makes of what its inputs see: ``before`` are those that depend on the network's input.

    output: the shape of its value. decimate: read every pooling as plain decimation, which takes one cell.
    """
    name, parameters = node.primitive.name, node.parameters
    if name == "concat" and parameters["axis"] >= 2:
        return _side_by_side(node, dict(before), parameters["axis"])
    if any(axes is None for _, axes in before):
        return None
    x, axes = before[0]
    if name in WINDOWED:
        return _window(axes, parameters["window"], decimate and name in POOLS)
    if name == "conv_transpose":
        return _transposed(axes, parameters["window"])
    if name in ("matmul_along_axis", "take"):
        return _sampled(axes, parameters, x.shape)
    if name == "getitem":
        return _cut(axes, parameters["index"], x.shape, output)
    if name == "put":
        return _padded(axes, parameters["index"], x.shape, output)
    if node.primitive.elementwise or name in ("astype", "to", "concat") or _keeps_places(name, parameters):
        return _union([a for _, a in before]) if all(t.shape[2:] == output[2:] for t, _ in before) else None
    return None


def _keeps_places(name: str, parameters: dict) -> bool:
    """Does it work on the channels alone?"""
    if name in ("reshape", "broadcast_to"):
        return len(parameters["shape"]) >= 3  # the caller checks that the spatial sizes stay
    axis = parameters.get("axis", 2)
    return all(a < 2 for a in axis) if isinstance(axis, tuple) else axis < 2


def _window(axes: Axes, window: Any, decimate: bool) -> Axes:
    found = []
    for a, span, s, (low, _) in zip(axes, window.span, window.stride, window.padding):
        extent = 0 if decimate else span - 1
        found.append(Axis(a.jump * s, a.first - low * a.jump, a.last + (extent - low) * a.jump))
    return tuple(found)


def _transposed(axes: Axes, window: Any) -> Axes:
    """Output i takes from those o with s o + d k - p = i."""
    return tuple(
        a.resampled(1 / s, (low - (span - 1) / 2) / s, (span - 1) // s)
        for a, span, s, (low, _) in zip(axes, window.span, window.stride, window.padding)
    )


def _sampled(axes: Axes, parameters: dict, shape: tuple[int, ...]) -> Axes:
    """Resampling of one axis, by a matrix or by an index: positions are fitted by a line."""
    k = parameters["axis"] - 2
    if not 0 <= k < len(axes):
        return axes
    n = shape[parameters["axis"]]
    if "index" in parameters:
        low = high = np.asarray(parameters["index"])
    else:
        touched = np.asarray(parameters["matrix"]) != 0  # (outputs, cells)
        low, high = touched.argmax(axis=1), n - 1 - touched[:, ::-1].argmax(axis=1)
    step = n / len(low)
    centre = float((low + high).mean()) / 2 - step * (len(low) - 1) / 2
    return axes[:k] + (axes[k].resampled(step, centre, float((high - low).max())),) + axes[k + 1 :]


def _cut(axes: Axes, index: Any, shape: tuple[int, ...], output: tuple[int, ...]) -> Axes:
    if len(output) != len(shape):
        return None
    found = []
    for k, a in enumerate(axes):
        places = _places(k + 2, index, shape)
        step = places[1] - places[0] if len(places) > 1 else 1
        if (np.diff(places) != step).any():
            return None
        found.append(replace(a.moved(int(places[0])), jump=a.jump * int(step)))
    return tuple(found)


def _padded(axes: Axes, index: Any, shape: tuple[int, ...], output: tuple[int, ...]) -> Axes:
    if len(output) != len(shape):
        return None
    places = [_places(k + 2, index, output) for k in range(len(axes))]
    if any((np.diff(p) != 1).any() for p in places):
        return None
    return tuple(a.moved(-int(p[0])) for a, p in zip(axes, places))


def _places(axis: int, index: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Where the cells of ``x[index]`` along an axis stand in x."""
    line = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    chosen = np.broadcast_to(line, shape)[index]
    return chosen[tuple(slice(None) if a == axis else 0 for a in range(chosen.ndim))]


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

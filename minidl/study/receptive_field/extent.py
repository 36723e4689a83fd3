"""What is known of one layer and of one of its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..page import number

MASS = 0.95  # of the gradient, that lies within the effective radius


@dataclass(frozen=True)
class LayerField:
    """What the formula says of one layer. A tuple has one entry per axis; None where there is no window or no formula.

    jump: input cells between two outputs; size: input cells that an output sees; start: the first of them, of output 0,
    and centre: their middle. Negative starts lie in the padding.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    kernel: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    dilation: tuple[int, ...] | None
    padding: tuple[Any, ...] | None
    jump: tuple[float, ...] | None
    size: tuple[float, ...] | None
    start: tuple[float, ...] | None
    centre: tuple[float, ...] | None


@dataclass(frozen=True)
class Field:
    """The input cells that one output pixel depends on: exactly those where `mask` is True, of shape (*input)."""

    pixel: tuple[int, ...]
    mask: np.ndarray

    def along(self, axis: int) -> np.ndarray:
        """The cells along one axis that are touched anywhere across the others: True or False."""
        return self.mask.any(axis=tuple(a for a in range(self.mask.ndim) if a != axis))

    @cached_property
    def first(self) -> tuple[int, ...]:
        return tuple(int(np.argmax(self.along(a))) if self.taps else 0 for a in range(self.mask.ndim))

    @cached_property
    def size(self) -> tuple[int, ...]:
        """From the first cell touched to the last, along each axis."""
        ends = (np.flatnonzero(self.along(a)) for a in range(self.mask.ndim))
        return tuple(int(e[-1] - e[0] + 1) if e.size else 0 for e in ends)

    @cached_property
    def taps(self) -> int:
        """How many cells are touched."""
        return int(self.mask.sum())

    @property
    def density(self) -> float:
        """The share of the span that is touched; less than 1 where there are holes: gridding."""
        return self.taps / max(math.prod(self.size), 1)


@dataclass(frozen=True)
class Effective:
    """How much of the gradient lies where: `share` (*input) adds up to 1.

    radius: the smallest r such that the cells within r of the exact field's centre, along every axis, hold 95 %.
    Source: Luo et al., "Understanding the effective receptive field in deep convolutional neural networks", 2016.
    """

    pixel: tuple[int, ...]
    share: np.ndarray
    radius: float


def radius(share: np.ndarray, field: Field) -> float:
    """See `Effective`: half a cell is added on each side, so that one cell alone has radius 0.5."""
    centre = [f + (n - 1) / 2 for f, n in zip(field.first, field.size)]
    away = np.zeros(share.shape)
    for axis, c in enumerate(centre):
        line = abs(np.arange(share.shape[axis]) - c).reshape([-1 if a == axis else 1 for a in range(share.ndim)])
        away = np.maximum(away, line)
    order = np.argsort(away, axis=None, kind="stable")
    held = np.cumsum(share.ravel()[order])
    at = min(int(np.searchsorted(held, MASS * held[-1])), held.size - 1)
    return float(away.ravel()[order[at]]) + 0.5


def place(value: tuple[float, ...]) -> str:
    """A position: a number along one axis, (row, column) along two."""
    return number(value[0]) if len(value) == 1 else f"({', '.join(map(number, value))})"


def cells(value: tuple | None) -> str:
    """One number if all axes agree, else one per axis."""
    if not value:
        return "-"
    texts = [number(v) if not isinstance(v, tuple) else str(v) for v in value]
    return texts[0] if len(set(texts)) == 1 else " x ".join(texts)

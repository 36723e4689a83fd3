"""Which cells of its input an operation's output depends on, along each spatial axis: stated where it is defined.

``@primitive(reach=...)`` takes one of the functions below. It is called with the shape of the input (N, C, *size) and
the operation's parameters, and gives one `Reach` for each spatial axis, or None where no formula holds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Reach(NamedTuple):
    """Output o depends on the input cells ``step * o + first ... step * o + last``; fractions are means."""

    step: float = 1.0
    first: float = 0.0
    last: float = 0.0


Reaches = tuple[Reach, ...] | None


def same(shape: tuple[int, ...], /, **parameters: Any) -> Reaches:
    """Each output depends on the cell at its own place."""
    return (Reach(),) * (len(shape) - 2)


def gathered(shape: tuple[int, ...], /, *, window: Any, **parameters: Any) -> Reaches:
    """Each output gathers a window: ``i = s o + d k - p``."""
    axes = zip(window.stride, window.span, window.padding)
    return tuple(Reach(s, -low, span - 1 - low) for s, span, (low, _) in axes)


def scattered(shape: tuple[int, ...], /, *, window: Any, **parameters: Any) -> Reaches:
    """Each input is scattered over a window: output i takes from those o with ``s o + d k - p = i``."""
    found = []
    for s, span, (low, _) in zip(window.stride, window.span, window.padding):
        centre, half = (low - (span - 1) / 2) / s, (span - 1) // s / 2
        found.append(Reach(1 / s, centre - half, centre + half))
    return tuple(found)


def channels(shape: tuple[int, ...], /, *, axis: Any, **parameters: Any) -> Reaches:
    """It works along the batch or the channels alone; if not, no formula holds."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    return same(shape) if all(a < 2 for a in axes) else None


def resampled(shape: tuple[int, ...], /, *, axis: int, index: Any = None, matrix: Any = None) -> Reaches:
    """One axis resampled by an index or by a matrix (outputs, cells): a line through the positions."""
    n = shape[axis]
    if matrix is None:
        low = high = np.asarray(index)
    else:
        touched = np.asarray(matrix) != 0
        low, high = touched.argmax(axis=1), n - 1 - touched[:, ::-1].argmax(axis=1)
    step = n / len(low)
    centre = float((low + high).mean()) / 2 - step * (len(low) - 1) / 2
    half = float((high - low).max()) / 2
    line = Reach(step, centre - half, centre + half)
    return tuple(line if k == axis else Reach() for k in range(2, len(shape)))


def indexed(shape: tuple[int, ...], /, *, index: Any) -> Reaches:
    """``x[index]``, where it takes evenly spaced cells."""
    places = [_places(k, index, shape) for k in range(2, len(shape))]
    steps = [int(p[1] - p[0]) if len(p) > 1 else 1 for p in places]
    if any((np.diff(p) != step).any() for p, step in zip(places, steps)):
        return None
    return tuple(Reach(step, int(p[0]), int(p[0])) for p, step in zip(places, steps))


def placed(shape: tuple[int, ...], /, *, index: Any, **parameters: Any) -> Reaches:
    """``y[index] = x``, where neighbours stay neighbours."""
    places = [_places(k, index, parameters["shape"]) for k in range(2, len(shape))]
    if any((np.diff(p) != 1).any() for p in places):
        return None
    return tuple(Reach(1, -int(p[0]), -int(p[0])) for p in places)


def _places(axis: int, index: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Where the cells of ``x[index]`` along an axis stand in x."""
    line = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    chosen = np.broadcast_to(line, shape)[index]
    return chosen[tuple(slice(None) if a == axis else 0 for a in range(chosen.ndim))]

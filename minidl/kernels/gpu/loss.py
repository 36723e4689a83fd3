"""Softmax cross entropy of class numbers: see loss.cu."""

from __future__ import annotations

import math
import sys
from typing import Any

from .source import BLOCK, blocks, empty, launch, maps, strides, supported

SHORT = 32  # classes: a loop that one thread runs through as fast as a block meets
MANY = 1 << 12  # positions: enough threads to hide what memory takes to answer


def by_blocks(classes: int, cells: int, positions: int) -> bool:
    """Is a position worth a block? If it has many classes, and they lie side by side or positions are few."""
    return classes > SHORT and (cells == 1 or positions < MANY)


def cross_entropy(x: Any, *, target: Any, scale: Any) -> Any:
    """Logits (N, C, *size); target (class numbers), scale and the result are (N, *size)."""
    if not supported(x, scale) or not x.size:
        return NotImplemented
    cupy, x = sys.modules["cupy"], maps(x)
    y = cupy.empty(target.shape, x.dtype)
    _launch("forward", x, x, *_in_order(target, scale), y, *strides(x))
    return y


def cross_entropy_backward(g: Any, y: Any, x: Any, *, needed: list[bool], target: Any, scale: Any) -> Any:
    """The gradient with respect to x: channels outermost, or for logits (N, C) in C order, as a matrix product is."""
    if not supported(x, g, scale) or not x.size:
        return NotImplemented
    cupy, x = sys.modules["cupy"], maps(x)
    gx = empty(x.shape, x.dtype) if x.ndim > 2 else cupy.empty(x.shape, x.dtype)
    (g,) = _in_order(g)
    _launch("backward", x, g, x, *_in_order(target, scale), gx, *strides(x), *strides(gx))
    return (gx,)


def _in_order(*arrays: Any) -> list[Any]:
    return [sys.modules["cupy"].ascontiguousarray(a) for a in arrays]


def _launch(name: str, x: Any, *arguments: Any) -> None:
    classes, cells = x.shape[1], math.prod(x.shape[2:])
    positions = len(x) * cells
    constants = {"CELLS": cells}
    if by_blocks(classes, cells, positions):
        launch("loss", f"{name}_by_blocks", x.dtype, constants, (positions,), (BLOCK,), *arguments, classes)
    else:
        grid = (blocks(positions),)
        launch("loss", f"{name}_by_threads", x.dtype, constants, grid, (BLOCK,), *arguments, classes, positions)

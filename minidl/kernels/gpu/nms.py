"""Non-maximum suppression: see nms.cu."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .source import BLOCK, launch, supported

WORD = 64  # boxes


def unsuppressed(boxes: Any, classes: Any, *, threshold: float) -> Any:
    """The positions (K,) of the boxes (N, 4), best first, that no better one of their class suppresses."""
    if not supported(boxes):
        return NotImplemented
    cupy, count = sys.modules["cupy"], len(boxes)
    boxes, classes = cupy.ascontiguousarray(boxes), cupy.ascontiguousarray(classes)
    words = -(-count // WORD)
    mask, removed = (cupy.empty(shape, np.dtype("uint64")) for shape in ((count, words), (words,)))
    positions, found = (cupy.empty(n, np.dtype("int64")) for n in (count, 1))
    launch("nms", "suppressed", boxes.dtype, {}, (words, words), (WORD,), mask, boxes, classes, count, threshold)
    launch("nms", "scan", boxes.dtype, {}, (1,), (BLOCK,), positions, found, removed, mask, count)
    return positions[: int(found[0])]

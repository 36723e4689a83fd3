"""Non-maximum suppression, and who suppressed whom. On the host: arrays are NumPy's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl import functional as F

from ..losses.matching import overlap


class Suppression(NamedTuple):
    """What became of N boxes: kept (K,) positions, best first; by (N,) the position of the box that suppressed each, -1
    for none; iou (N,) with it."""

    kept: np.ndarray
    by: np.ndarray
    iou: np.ndarray


def keep(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, threshold: float) -> np.ndarray:
    """The positions (K,) of the boxes that survive among those of their class, best first."""
    return F.batched_nms(boxes, scores, classes, threshold).data


def suppression(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, threshold: float) -> Suppression:
    """`keep`, and which kept box (the best of those that would) suppressed each of the others."""
    kept = keep(boxes, scores, classes, threshold)
    by, iou = np.full(len(boxes), -1), np.zeros(len(boxes), np.float32)
    if kept.size:
        overlaps = overlap(boxes, boxes[kept])  # (N, K), best first
        hits = (overlaps > threshold) & (classes[:, None] == classes[kept])
        dropped = np.ones(len(boxes), bool)
        dropped[kept] = False
        first = hits[dropped].argmax(axis=1)
        by[dropped], iou[dropped] = kept[first], overlaps[dropped, first]
    return Suppression(kept, by, iou)

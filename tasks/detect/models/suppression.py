"""Which of many boxes stay: the best of each group, and non-maximum suppression. On the host: arrays are NumPy's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl import functional as F


class Candidates(NamedTuple):
    """N boxes of an image that compete with those of their group, and which of them stay.

    item (N,): the anchor, cell or region that each comes from; group (N,): its class or its level; boxes (N, 4);
    scores (N,); kept (K,): the positions of those that stay, best first.
    """

    item: np.ndarray
    group: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    kept: np.ndarray

    @classmethod
    def suppressed(
        cls, item: np.ndarray, group: np.ndarray, boxes: np.ndarray, scores: np.ndarray, threshold: float, limit: int
    ) -> Candidates:
        """Kept are the best `limit` of those that no better box of their group overlaps by an IoU above `threshold`."""
        kept = F.batched_nms(boxes, scores, group, threshold).data
        return cls(item, group, boxes, scores, kept[:limit])


def best_of_each(scores: np.ndarray, level: np.ndarray, count: int) -> np.ndarray:
    """The positions of the `count` highest scores of each level, a level after the other, best first."""
    picked = []
    for i in np.unique(level):
        of_level = np.flatnonzero(level == i)
        picked.append(of_level[np.argsort(-scores[of_level], kind="stable")[:count]])
    return np.concatenate(picked)

"""What the single-stage detectors share: boxes and class scores everywhere at once, and which of them to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minidl import Tensor
from minidl import functional as F

from ..data.records import Detections
from ..losses.matching import Match
from ..losses.steps import Steps
from ..losses.terms import Terms
from .anchors import AnchorOutputs
from .convention import OURS
from .detector import Detector, View, views_of
from .suppression import Candidates, best_of_each


@dataclass(frozen=True)
class AnchorPass:
    """A training pass of a detector with anchors: its outputs, what each image's anchors are matched to, the steps of
    the positive ones, the terms of its losses."""

    outputs: AnchorOutputs
    matches: list[Match]
    steps: Steps
    terms: dict[str, Terms]


class Scored(NamedTuple):
    """A detector's boxes in N images, on the host: boxes (N, A, 4), scores (N, A, C), and the level of each (A,)."""

    boxes: np.ndarray
    scores: np.ndarray
    level: np.ndarray


class OneStagePrediction(NamedTuple):
    """Every box, and of each image those that compete (by class) and those that are found."""

    scored: Scored
    candidates: list[Candidates]
    detections: list[Detections]


class SingleStage(Detector):
    """A detector that scores a fixed set of boxes. Its `settings` have `before`, too: so many boxes of each level, or
    of each class if `by_class`, go into the suppression."""

    convention = OURS
    by_class = False

    def scored(self, images: Tensor) -> Scored:
        """Every box with its class scores, images (N, 3, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} defines no scored(self, images)")

    def predict(
        self, images: Tensor, score: float | None = None, nms: float | None = None, limit: int | None = None,
        views: Sequence[View] | None = None,
    ) -> OneStagePrediction:  # fmt: skip
        """See `detect`."""
        thresholds, views = self.thresholds(score, nms, limit), views_of(images, views)
        with self.inference():
            scored = self.scored(images)
            boxes = [F.clip_boxes(each, view.size).data for each, view in zip(scored.boxes, views)]
        ranked = [self._candidates(*each, scored.level, *thresholds) for each in zip(boxes, scored.scores)]
        found = [
            Detections(view.outside(c.boxes[c.kept]), c.group[c.kept], c.scores[c.kept])
            for c, view in zip(ranked, views)
        ]
        return OneStagePrediction(scored, ranked, found)

    def _candidates(
        self, boxes: np.ndarray, scores: np.ndarray, level: np.ndarray, score: float, nms: float, limit: int
    ) -> Candidates:
        """Of boxes (A, 4) with scores (A, C)."""
        sound = np.isfinite(boxes) if self.convention.empty else boxes[:, 2:] > boxes[:, :2]
        item, label = ((scores > score) & sound.all(axis=1, keepdims=True)).nonzero()
        if item.size:
            group = label if self.by_class else level[item]
            best = best_of_each(scores[item, label], group, self.settings.before)
            item, label = item[best], label[best]
        return Candidates.suppressed(item, label, boxes[item], scores[item, label], nms, limit)

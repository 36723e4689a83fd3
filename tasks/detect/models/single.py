"""What the single-stage detectors share: boxes and class scores everywhere at once, and which of them to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor
from minidl import functional as F

from ..data.records import Detections
from ..losses.matching import Match
from ..losses.steps import Steps
from ..losses.terms import Terms
from .anchors import AnchorOutputs
from .detector import Detector
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
    """A detector that scores a fixed set of boxes. It has `settings` with score, nms and before."""

    settings: Any

    def scored(self, images: Tensor) -> Scored:
        """Every box with its class scores, images (N, 3, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} defines no scored(self, images)")

    def predict(
        self, images: Tensor, score: float | None = None, nms: float | None = None, limit: int = 100
    ) -> OneStagePrediction:
        """See `detect`; only the best `settings.before` of each level go into the suppression."""
        s = self.settings
        score, nms = s.score if score is None else score, s.nms if nms is None else nms
        with self.inference():
            scored = self.scored(images)
            boxes = F.clip_boxes(scored.boxes, images.shape[2:]).data
        ranked = [self._candidates(*each, scored.level, score, nms, limit) for each in zip(boxes, scored.scores)]
        return OneStagePrediction(
            scored, ranked, [Detections(c.boxes[c.kept], c.group[c.kept], c.scores[c.kept]) for c in ranked]
        )

    def _candidates(
        self, boxes: np.ndarray, scores: np.ndarray, level: np.ndarray, score: float, nms: float, limit: int
    ) -> Candidates:
        """Of boxes (A, 4) with scores (A, C)."""
        sound = (boxes[:, 2:] > boxes[:, :2]).all(axis=1, keepdims=True)
        item, label = ((scores > score) & sound).nonzero()
        if item.size:
            best = best_of_each(scores[item, label], level[item], self.settings.before)
            item, label = item[best], label[best]
        return Candidates.suppressed(item, label, boxes[item], scores[item, label], nms, limit)

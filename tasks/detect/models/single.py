"""What the single-stage detectors share: boxes and class scores everywhere at once, and which of them to keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F

from ..data.records import Detections, Target
from ..losses.ledger import Ledger
from ..losses.matching import Match, gathered
from .faster_rcnn import in_use
from .rpn import best_of_each
from .suppression import keep, suppression


class Scored(NamedTuple):
    """What a detector says of N images, on the host: boxes (N, A, 4), scores (N, A, C), and the level of each (A,)."""

    boxes: np.ndarray
    scores: np.ndarray
    level: np.ndarray


class SingleStage(nn.Module):
    """A detector that scores a fixed set of boxes. It has `num_classes` and `settings` with score, nms and before."""

    num_classes: int
    settings: Any

    def scored(self, images: Tensor, ledger: Ledger | None = None) -> Scored:
        """Every box with its class scores, images (N, 3, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} defines no scored(self, images, ledger)")

    def losses(
        self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None,
        ledger: Ledger | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The named losses, whose sum is trained. Nothing is drawn at random; `rng` is for detectors that sample."""
        raise NotImplementedError(f"{type(self).__name__} defines no losses(self, images, targets, rng, ledger)")

    def detect(
        self, images: Tensor, score: float | None = None, nms: float | None = None, limit: int = 100,
        ledger: Ledger | None = None,
    ) -> list[Detections]:  # fmt: skip
        """What is in each image, best first: of the boxes that score above `score` in some class the best
        `settings.before` of each level, suppressed class by class at an IoU above `nms`; the best `limit`.

        score, nms: the settings' own if left out. A box may stay under several classes.
        """
        s = self.settings
        score, nms = s.score if score is None else score, s.nms if nms is None else nms
        pages = None if ledger is None else ledger.setdefault("suppression", [])
        with in_use(self):
            boxes, scores, level = self.scored(images, ledger)
            boxes = F.clip_boxes(boxes, images.shape[2:]).data
        return [self._kept(*one, level, (score, nms, limit), pages) for one in zip(boxes, scores)]

    def _kept(
        self, boxes: np.ndarray, scores: np.ndarray, level: np.ndarray, limits: tuple[float, float, int],
        pages: list | None,
    ) -> Detections:  # fmt: skip
        score, nms, limit = limits
        sound = (boxes[:, 2:] > boxes[:, :2]).all(axis=1, keepdims=True)
        item, label = ((scores > score) & sound).nonzero()
        if item.size:
            best = best_of_each(scores[item, label], level[item], self.settings.before)
            item, label = item[best], label[best]
        ranked = boxes[item], scores[item, label], label, nms
        kept = keep(*ranked)[:limit]
        if pages is not None:
            pages.append(
                {"item": item, "label": label, "scores": ranked[1], "boxes": ranked[0], "kept": kept,
                 "nms": suppression(*ranked)}
            )  # fmt: skip
        return Detections(ranked[0][kept], label[kept], ranked[1][kept])

    def trace(self, image: Tensor, target: Target, rng: np.random.Generator | None = None, **options: Any) -> Ledger:
        """Every stage for one image (1, 3, H, W), in training and in use (`options`: those of `detect`); the model is
        as it was. The ledger has what `losses` writes; "losses", the numbers that its "terms" add up to; "use", what
        `detect` writes: "boxes", "scores" (of all) and "suppression"; and "detections", its result.
        """
        ledger: Ledger = {"use": {}}
        with in_use(self):
            losses = self.losses(image, [target], rng, ledger)
        ledger["losses"] = {name: loss.item() for name, loss in losses.items()}
        ledger["detections"] = self.detect(image, ledger=ledger["use"], **options)[0]
        return ledger


class Positives(NamedTuple):
    """The P boxes that answer for an object: their image and position, the object in the image's target, its box (P, 4)
    and its class."""

    image: np.ndarray
    item: np.ndarray
    truth: np.ndarray
    boxes: np.ndarray
    label: np.ndarray


def positives(chosen: np.ndarray, matches: Sequence[Match], targets: Sequence[Target]) -> Positives:
    """Those of A boxes in N images that are `chosen`, bool (N, A), with what they are matched to."""
    image, item = chosen.nonzero()
    truth = np.stack([m.truth for m in matches])[image, item]
    return Positives(
        image, item, truth,
        gathered([t.boxes for t in targets], image, truth), gathered([t.labels for t in targets], image, truth),
    )  # fmt: skip

"""YOLO, the first: the cell of a grid in which an object's centre lies answers for it.

Each of S x S cells gives B boxes with a confidence each, and C class probabilities: S * S * (5 B + C) numbers. A cell
has one set of probabilities, so it answers for one object. Of its boxes the one that overlaps the object most, as they
are now, is responsible for it. All losses are squared errors (equation 3), with x, y in parts of the cell and w, h in
parts of the picture:

    coord  (x - x*)^2 + (y - y*)^2      coord  (sqrt w - sqrt w*)^2 + (sqrt h - sqrt h*)^2     responsible boxes
    (confidence - IoU)^2                 responsible boxes
    noobj  (confidence - 0)^2            all other boxes
    sum over classes of (p - p*)^2       cells with an object

What differs from the paper: its outputs are linear and may leave their range; here x, y, sqrt w, sqrt h and the
confidence are sigmoids and the probabilities a softmax. Its two fully connected layers see the whole picture; here the
head is convolutional, so pictures may be of any size. There is batch norm.

Source: Redmon, Divvala, Girshick and Farhadi, "You only look once", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F
from tasks.models.initial import stream

from ..data.records import Target, require_targets
from ..losses.ledger import Ledger, total
from ..losses.matching import IGNORED, gathered, match, overlap
from .backbone import resnet_small_stages
from .single import Positives, Scored, SingleStage


@dataclass(frozen=True)
class YOLOSettings:
    """The paper's numbers."""

    boxes: int = 2  # B, of a cell
    coord: float = 5.0  # weight of the errors of place and size
    noobj: float = 0.5  # weight of the confidence where there is nothing
    score: float = 0.05  # in use: what scores less is left out
    before: int = 400  # into the suppression
    nms: float = 0.5


PAPER_YOLO = YOLOSettings()


class Found(NamedTuple):
    """What the network says of each of P cells in N images."""

    place: Tensor  # (N, P, B, 4): x, y within the cell, square roots of w, h in parts of the picture; all 0 to 1
    confidence: Tensor  # (N, P, B)
    classes: Tensor  # (N, P, C), probabilities
    cells: tuple[int, int]  # rows and columns; P is their product, row by row

    def boxes(self, size: Sequence[int]) -> np.ndarray:
        """The boxes in pixels of a picture (height, width): (N, P * B, 4), cell by cell; data."""
        place, (rows, columns), (height, width) = self.place.numpy(), self.cells, size
        row, column = (each.reshape(-1, 1) for each in np.indices(self.cells))  # (P, 1), beside B
        x, y = (column + place[..., 0]) * (width / columns), (row + place[..., 1]) * (height / rows)
        w, h = place[..., 2] ** 2 * width / 2, place[..., 3] ** 2 * height / 2
        boxes = np.stack([x - w, y - h, x + w, y + h], axis=-1).astype(np.float32)
        return boxes.reshape(len(boxes), -1, 4)


class YOLO(SingleStage):
    """The last map of a backbone is the grid; `hidden` 3x3 convolutions of `width` maps, then 1x1 to the outputs."""

    def __init__(
        self, backbone: nn.Module, num_classes: int, hidden: int = 2, width: int = 1024,
        settings: YOLOSettings = PAPER_YOLO, rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        self.backbone, self.num_classes, self.settings = backbone, num_classes, settings
        layers, inputs = [], backbone.channels[-1]
        for _ in range(hidden):
            conv = nn.Conv2d(inputs, width, 3, padding=1, bias=False, rng=rng)
            layers += [conv, nn.BatchNorm2d(width), nn.LeakyReLU(0.1)]
            inputs = width
        self.head = nn.Sequential(*layers, nn.Conv2d(inputs, 5 * settings.boxes + num_classes, 1, rng=rng))

    @classmethod
    def small(cls, num_classes: int, rng: Any = None, channels: int = 48, **options: Any) -> YOLO:
        """For pictures of about 96 pixels: cells of 8 pixels, a backbone that begins with `channels` maps."""
        rng = stream(rng)
        backbone = resnet_small_stages(channels, (1, 2), rng=rng)
        return cls(backbone, num_classes, **{"hidden": 2, "width": 96, "rng": rng} | options)

    def forward(self, images: Tensor) -> Found:
        x = self.head(self.backbone(images)[-1])
        n, outputs, *cells = x.shape
        x = x.transpose(0, 2, 3, 1).reshape(n, cells[0] * cells[1], outputs)  # (N, O, H, W) -> (N, H, W, O)
        each = 5 * self.settings.boxes
        boxes = F.sigmoid(x[..., :each].reshape(*x.shape[:2], self.settings.boxes, 5))
        return Found(boxes[..., :4], boxes[..., 4], F.softmax(x[..., each:], axis=2), tuple(cells))

    # --- training

    def losses(
        self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None,
        ledger: Ledger | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Equation 3 by the number of images: "place", "size", "object", "no_object" and "class". In the ledger, the
        item of a term is the box (cell * B + box), for "class" the cell.

        Of several objects with their centre in one cell the largest counts. Boxes half inside a crowd region are left
        out of "no_object".
        """
        require_targets(targets, images, self.num_classes)
        s, size, found = self.settings, images.shape[2:], self(images)
        boxes, shape = found.boxes(size), found.confidence.shape
        yes = answering(targets, found.cells, size)
        cell = yes.item
        box, iou = responsible(boxes.reshape(*shape, 4)[yes.image, cell], yes.boxes)
        at = yes.image, cell, box
        matches = [match(b, t, positive=1, negative=1) for b, t in zip(boxes, targets)]
        empty = np.stack([m.labels != IGNORED for m in matches]).reshape(shape)
        empty[at] = False
        nothing = empty.nonzero()
        place, wanted = found.place[at], placed(yes.boxes, found.cells, size)
        asked = np.eye(self.num_classes, dtype=np.float32)[yes.label]
        errors = F.mse_loss(place, wanted, reduction="none") * (s.coord / len(targets))
        object_ = F.mse_loss(found.confidence[at], iou, reduction="none") / len(targets)
        no_object = found.confidence[nothing] ** 2 * (s.noobj / len(targets))
        classes = F.mse_loss(found.classes[yes.image, cell], asked, reduction="none").sum(axis=1) / len(targets)
        if ledger is not None:
            ledger["matching"] = {
                "cells": found.cells, "boxes": boxes, "confidence": found.confidence.numpy(), "match": matches,
                "classes": found.classes.numpy(), "image": yes.image, "cell": cell, "box": box, "truth": yes.truth,
                "iou": iou, "wanted": wanted, "predicted": place.numpy(),
            }  # fmt: skip
        item = yes.image, cell * s.boxes + box
        return {
            "place": total("place", errors[:, :2].sum(axis=1), ledger, *item),
            "size": total("size", errors[:, 2:].sum(axis=1), ledger, *item),
            "object": total("object", object_, ledger, *item),
            "no_object": total("no_object", no_object, ledger, nothing[0], nothing[1] * s.boxes + nothing[2]),
            "class": total("class", classes, ledger, yes.image, cell),
        }

    # --- use

    def scored(self, images: Tensor, ledger: Ledger | None = None) -> Scored:
        found = self(images)
        boxes = found.boxes(images.shape[2:])
        scores = found.confidence.numpy()[..., None] * found.classes.numpy()[:, :, None]  # (N, P, B, C)
        scores = scores.reshape(*boxes.shape[:2], self.num_classes)
        if ledger is not None:
            ledger |= {"cells": found.cells, "boxes": boxes, "scores": scores}
        return Scored(boxes, scores, np.zeros(boxes.shape[1], np.int64))


def cell_of(boxes: np.ndarray, cells: tuple[int, int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the cells that the centres of boxes (K, 4) lie in; the nearest for those outside."""
    x, y = (boxes[:, :2] + boxes[:, 2:]).T / 2
    return tuple(
        np.floor(centre * count / side).clip(0, count - 1).astype(np.int64)
        for centre, count, side in zip((y, x), cells, size)
    )


def answering(targets: Sequence[Target], cells: tuple[int, int], size: Sequence[int]) -> Positives:
    """The objects that have a cell, their `item`. Of several in one cell the largest has it."""
    chosen, where = [], []
    for target in targets:
        row, column = cell_of(target.boxes, cells, size)
        sides = target.boxes[:, 2:] - target.boxes[:, :2]
        order = np.lexsort((-sides.prod(axis=1), target.crowd))  # crowds last, then by area, the largest first
        order = order[: np.count_nonzero(~target.crowd)]
        cell, first = np.unique((row * cells[1] + column)[order], return_index=True)
        chosen.append(order[first])
        where.append(cell)
    image, truth = np.repeat(np.arange(len(targets)), [len(c) for c in chosen]), np.concatenate(chosen)
    return Positives(
        image, np.concatenate(where), truth,
        gathered([t.boxes for t in targets], image, truth), gathered([t.labels for t in targets], image, truth),
    )  # fmt: skip


def responsible(boxes: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of B boxes (Q, B, 4) overlaps its object (Q, 4) most, and its IoU: (Q,) each."""
    q, b = boxes.shape[:2]
    iou = overlap(boxes.reshape(-1, 4), truth).reshape(q, b, q)[np.arange(q), :, np.arange(q)]  # (Q, B)
    box = iou.argmax(axis=1)
    return box, iou[np.arange(q), box]


def placed(boxes: np.ndarray, cells: tuple[int, int], size: Sequence[int]) -> np.ndarray:
    """What `Found.place` should be for boxes (Q, 4): float32 (Q, 4)."""
    row, column = cell_of(boxes, cells, size)
    (rows, columns), (height, width) = cells, size
    x1, y1, x2, y2 = boxes.T
    x, y = (x1 + x2) / 2 * columns / width - column, (y1 + y2) / 2 * rows / height - row
    w, h = (x2 - x1).clip(0) / width, (y2 - y1).clip(0) / height
    return np.stack([x.clip(0, 1), y.clip(0, 1), np.sqrt(w), np.sqrt(h)], axis=1).astype(np.float32)

"""YOLO, the first version: the cell of a grid in which an object's centre lies is to find it.

Each of S x S cells gives B boxes with a confidence each, and C class probabilities: S * S * (5 B + C) numbers. A cell
has one set of probabilities, so it is assigned one object. Of its boxes the one that overlaps the object most, as they
are predicted now, is responsible for it. All losses are squared errors (equation 3), with x, y in parts of the cell and
w, h in parts of the picture:

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

from ...models.initial import stream
from ..data.records import Target, require_targets
from ..losses.matching import IGNORED, Positives, match, overlap
from ..losses.terms import Terms
from .backbone import resnet_small_stages
from .single import Scored, SingleStage


@dataclass(frozen=True)
class YOLOSettings:
    """The paper's numbers."""

    boxes: int = 2  # B, of a cell
    coord: float = 5.0  # weight of the errors of place and size
    noobj: float = 0.5  # weight of the confidence where there is nothing
    score: float = 0.05  # in inference: what scores less is left out
    before: int = 400  # into the suppression
    nms: float = 0.5
    limit: int = 100  # detections of an image


PAPER_YOLO = YOLOSettings()


class CellOutputs(NamedTuple):
    """What the network predicts in each of P cells of N images."""

    place: Tensor  # (N, P, B, 4): x, y within the cell, square roots of w, h in parts of the picture; all 0 to 1
    confidence: Tensor  # (N, P, B)
    classes: Tensor  # (N, P, C), probabilities
    cells: tuple[int, int]  # rows and columns; P is their product, row by row

    def boxes(self, size: Sequence[int]) -> np.ndarray:
        """The boxes in pixels of a picture (height, width): (N, P * B, 4), cell by cell; data."""
        place, (rows, columns), (height, width) = self.place.numpy(), self.cells, size
        row, column = (each.reshape(-1, 1) for each in np.indices(self.cells))  # (P, 1), broadcast against (P, B)
        x, y = (column + place[..., 0]) * (width / columns), (row + place[..., 1]) * (height / rows)
        w, h = place[..., 2] ** 2 * width / 2, place[..., 3] ** 2 * height / 2
        boxes = np.stack([x - w, y - h, x + w, y + h], axis=-1).astype(np.float32)
        return boxes.reshape(len(boxes), -1, 4)


class YOLOPass(NamedTuple):
    """A training pass: the outputs, all boxes (N, P * B, 4), the cells with an object, and of each of these the box
    that is responsible, its IoU, and its place and size, target and predicted, (Q, 4); the terms of the losses."""

    outputs: CellOutputs
    boxes: np.ndarray
    positives: Positives
    box: np.ndarray
    iou: np.ndarray
    target: np.ndarray
    predicted: Tensor
    terms: dict[str, Terms]


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

    def forward(self, images: Tensor) -> CellOutputs:
        x = self.head(self.backbone(images)[-1])
        n, outputs, *cells = x.shape
        x = x.transpose(0, 2, 3, 1).reshape(n, cells[0] * cells[1], outputs)  # (N, O, H, W) -> (N, H, W, O)
        each = 5 * self.settings.boxes
        boxes = F.sigmoid(x[..., :each].reshape(*x.shape[:2], self.settings.boxes, 5))
        return CellOutputs(boxes[..., :4], boxes[..., 4], F.softmax(x[..., each:], axis=2), tuple(cells))

    def training_pass(
        self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None
    ) -> YOLOPass:
        """Equation 3 by the number of images: "place", "size", "object", "no_object" and "class". The item of a term is
        the box (cell * B + box), for "class" the cell.

        Of several objects with their centre in one cell the largest counts. Boxes half inside a crowd region are left
        out of "no_object".
        """
        targets = require_targets(targets, images, self.num_classes)
        s, size, found = self.settings, images.shape[2:], self(images)
        boxes, shape = found.boxes(size), found.confidence.shape
        yes = assigned(targets, found.cells, size)
        box, iou = responsible(boxes.reshape(*shape, 4)[yes.image, yes.item], yes.boxes)
        at = yes.image, yes.item, box
        matches = [match(b, t, positive=1, negative=1) for b, t in zip(boxes, targets)]
        empty = np.stack([m.labels != IGNORED for m in matches]).reshape(shape)
        empty[at] = False
        nothing = empty.nonzero()
        place, target = found.place[at], placed(yes.boxes, found.cells, size)
        classes = np.eye(self.num_classes, dtype=np.float32)[yes.label]
        places = F.mse_loss(place, target, reduction="none") * (s.coord / len(targets))
        object_ = F.mse_loss(found.confidence[at], iou, reduction="none") / len(targets)
        no_object = found.confidence[nothing] ** 2 * (s.noobj / len(targets))
        class_ = F.mse_loss(found.classes[at[:2]], classes, reduction="none").sum(axis=1) / len(targets)
        item = yes.image, yes.item * s.boxes + box
        terms = {
            "place": Terms(places[:, :2].sum(axis=1), *item),
            "size": Terms(places[:, 2:].sum(axis=1), *item),
            "object": Terms(object_, *item),
            "no_object": Terms(no_object, nothing[0], nothing[1] * s.boxes + nothing[2]),
            "class": Terms(class_, *at[:2]),
        }
        return YOLOPass(found, boxes, yes, box, iou, target, place, terms)

    def scored(self, images: Tensor) -> Scored:
        found = self(images)
        boxes = found.boxes(images.shape[2:])
        scores = found.confidence.numpy()[..., None] * found.classes.numpy()[:, :, None]  # (N, P, B, C)
        return Scored(boxes, scores.reshape(*boxes.shape[:2], self.num_classes), np.zeros(boxes.shape[1], np.int64))


def cell_of(boxes: np.ndarray, cells: tuple[int, int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the cells that the centres of boxes (K, 4) lie in; the nearest for those outside."""
    x, y = (boxes[:, :2] + boxes[:, 2:]).T / 2
    return tuple(
        np.floor(centre * count / side).clip(0, count - 1).astype(np.int64)
        for centre, count, side in zip((y, x), cells, size)
    )


def assigned(targets: Sequence[Target], cells: tuple[int, int], size: Sequence[int]) -> Positives:
    """The objects with the cell, their `item`, that each is assigned to; of several in one cell the largest."""
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
    return Positives.of(image, np.concatenate(where), truth, targets)


def responsible(boxes: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of B boxes (Q, B, 4) overlaps its object (Q, 4) most, and its IoU: (Q,) each."""
    q, b = boxes.shape[:2]
    iou = overlap(boxes.reshape(-1, 4), truth).reshape(q, b, q)[np.arange(q), :, np.arange(q)]  # (Q, B)
    box = iou.argmax(axis=1)
    return box, iou[np.arange(q), box]


def placed(boxes: np.ndarray, cells: tuple[int, int], size: Sequence[int]) -> np.ndarray:
    """What `CellOutputs.place` should be for boxes (Q, 4): float32 (Q, 4)."""
    row, column = cell_of(boxes, cells, size)
    (rows, columns), (height, width) = cells, size
    x1, y1, x2, y2 = boxes.T
    x, y = (x1 + x2) / 2 * columns / width - column, (y1 + y2) / 2 * rows / height - row
    w, h = (x2 - x1).clip(0) / width, (y2 - y1).clip(0) / height
    return np.stack([x.clip(0, 1), y.clip(0, 1), np.sqrt(w), np.sqrt(h)], axis=1).astype(np.float32)

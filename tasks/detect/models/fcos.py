"""FCOS: every cell of a pyramid says whether it lies in an object, how far the four sides are, and how central it is.

There are no anchors to match: a cell's box has its side s to reckon with, l, t, r and b times s are the distances to
the sides. What a cell near a border predicts is worse, so its score is the geometric mean of the class's probability
and of the centre-ness. Here for inference with weights that others trained.

Source: Tian, Shen, Chen and He, "FCOS: a simple and strong anchor-free object detector", TPAMI 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F

from ...models.initial import stream
from .anchors import AnchorOutputs, Anchors
from .convention import OURS, Convention
from .single import Scored, SingleStage


@dataclass(frozen=True)
class FCOSSettings:
    """The paper's numbers in inference, and torchvision's where it gives none."""

    score: float = 0.2  # what scores less is left out
    before: int = 1000  # of each level into the suppression
    nms: float = 0.6
    limit: int = 100  # detections of an image


class FCOSOutputs(NamedTuple):
    """Logits (N, A, C) and distances (N, A, 4) in sides of a cell, with the cells' squares; logits of the centre-ness
    (N, A)."""

    cells: AnchorOutputs
    centre: Tensor


class FCOS(SingleStage):
    """On each level the class branch, `depth` convolutions with group norm and relu and one to the logits, and the box
    branch, to the four distances and the centre-ness. Levels share their weights."""

    def __init__(
        self, backbone: nn.Module, num_classes: int, depth: int = 4, settings: FCOSSettings = FCOSSettings(),
        convention: Convention = OURS, rng: Any = None,
    ):  # fmt: skip
        rng, width = stream(rng), backbone.channels[0]
        self.backbone, self.num_classes, self.settings = backbone, num_classes, settings
        sides = [(stride,) for stride in backbone.strides]
        self.anchors, self.convention = Anchors.of(sides, backbone.strides, (1.0,), convention), convention
        last = {"cls_logits": num_classes}, {"bbox_reg": 4, "bbox_ctrness": 1}
        classes, boxes = (
            nn.ModuleDict({"conv": branch(width, depth, rng)}
                          | {name: nn.Conv2d(width, k, 3, padding=1, rng=rng) for name, k in outputs.items()})
            for outputs in last
        )  # fmt: skip
        self.head = nn.ModuleDict({"classification_head": classes, "regression_head": boxes})

    def forward(self, images: Tensor) -> FCOSOutputs:
        classes, boxes = self.head.values()
        logits, distances, centres = [], [], []
        for m in self.backbone(images):
            logits.append(classes["cls_logits"](classes["conv"](m)))
            m = boxes["conv"](m)
            distances.append(F.relu(boxes["bbox_reg"](m)))
            centres.append(boxes["bbox_ctrness"](m).reshape(len(m), -1))
        cells = self.anchors.outputs(logits, distances, self.num_classes, images.shape[2:])
        return FCOSOutputs(cells, F.concat(centres, axis=1))

    def scored(self, images: Tensor) -> Scored:
        found, centre = self(images)
        scores = F.sqrt(F.sigmoid(found.logits) * F.sigmoid(centre)[:, :, None])
        return Scored(reached(found.deltas.numpy(), found.anchors), scores.numpy(), found.level)


def branch(width: int, depth: int, rng: Any) -> nn.Sequential:
    """`depth` 3x3 convolutions that keep the width, each with group norm and relu."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, padding=1, rng=rng), nn.GroupNorm(32, width), nn.ReLU()]
    return nn.Sequential(*layers)


def reached(distances: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The boxes at distances l, t, r, b (N, A, 4), in sides of the cells' squares (A, 4), from their centres."""
    low, high = cells[:, :2], cells[:, 2:]
    centre, distances = (low + high) / 2, distances * np.tile(high - low, 2)
    return np.concatenate([centre - distances[..., :2], centre + distances[..., 2:]], axis=-1)

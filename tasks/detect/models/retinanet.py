"""RetinaNet: nine anchors at every cell of a pyramid, each asked about every class, trained with the focal loss.

Of the thousands of anchors of an image a few are positive. The focal loss ``-alpha_t (1 - p_t)^gamma log p_t`` turns
down what is answered well, so that the many easy negatives do not outweigh the rest, and all anchors are trained on.

Source: Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object detection", ICCV 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F
from minidl.core.context import mode
from minidl.device import to_device
from tasks.models.initial import redraw, stream

from ..data.records import Target, require_targets
from ..losses.ledger import Ledger, total
from ..losses.matching import IGNORED, POSITIVE, match
from .anchors import Anchors
from .backbone import resnet50_fpn, resnet_small_fpn
from .rpn import encoded, per_anchor
from .single import Positives, Scored, SingleStage, positives

OCTAVE = tuple(2 ** (i / 3) for i in range(3))  # section 4: three sizes to each level


@dataclass(frozen=True)
class RetinaNetSettings:
    """The paper's numbers, and Detectron's where it gives none: beta, best."""

    positive: float = 0.5  # IoU of a positive anchor
    negative: float = 0.4  # those between are ignored
    best: bool = True  # the best anchor for an object is positive whatever its IoU
    alpha: float = 0.25  # weight of the positive answers, 1 - alpha of the negative ones; below 0: no weights
    gamma: float = 2.0  # 0: cross entropy
    prior: float = 0.01  # probability of every class at the start
    beta: float = 1 / 9  # of the smooth L1 loss; 0: L1
    score: float = 0.05  # in use: what scores less is left out
    before: int = 1000  # of each level into the suppression
    nms: float = 0.5


PAPER_RETINANET = RetinaNetSettings()
SMALL_RETINANET = RetinaNetSettings(before=100)  # for pictures of about 96 pixels


class Found(NamedTuple):
    """What the network says of each of A anchors in N images, and the anchors."""

    logits: Tensor  # (N, A, C)
    deltas: Tensor  # (N, A, 4), steps as `F.encode_boxes` counts them
    anchors: np.ndarray  # (A, 4)
    level: np.ndarray  # (A,)


class RetinaNet(SingleStage):
    """A pyramid with two subnets on every level: `depth` 3x3 convolutions with relu, and one to the outputs.

    The class subnet has a logit for each class at each anchor, the box subnet four steps. Levels share their weights,
    the subnets do not. Section 4.1: weights N(0, 0.01^2), biases 0, but -log((1 - prior) / prior) for the class logits.
    Raises ValueError if levels differ in channels or in anchors per cell.
    """

    def __init__(
        self, backbone: nn.Module, anchors: Anchors, num_classes: int, depth: int = 4, std: float | None = 0.01,
        settings: RetinaNetSettings = PAPER_RETINANET, rng: Any = None,
    ):  # fmt: skip
        if len(set(backbone.channels)) > 1 or len(set(anchors.per_cell)) > 1:
            raise ValueError(
                "the subnets serve all levels: they need as many channels and as many anchors per cell, "
                f"got channels {backbone.channels} and anchors {anchors.per_cell}"
            )
        rng = stream(rng)
        width, each = backbone.channels[0], anchors.per_cell[0]
        self.backbone, self.anchors, self.num_classes, self.settings = backbone, anchors, num_classes, settings
        self.classes = subnet(width, depth, each * num_classes, std, rng)
        self.boxes = subnet(width, depth, each * 4, std, rng)
        if mode.drawing:
            self.classes[-1].bias.data[...] = -math.log((1 - settings.prior) / settings.prior)

    @classmethod
    def resnet50(cls, num_classes: int, rng: Any = None) -> RetinaNet:
        """The paper's, for pictures of 600 to 800 pixels: levels P3 to P7 of strides 8 to 128, sizes 32 to 813."""
        rng = stream(rng)
        backbone = resnet50_fpn(256, "convolutions", first=2, rng=rng)
        return cls(backbone, octaves(backbone.strides), num_classes, rng=rng)

    @classmethod
    def small(cls, num_classes: int, rng: Any = None, **options: Any) -> RetinaNet:
        """For pictures of about 96 pixels: strides 4, 8 and 16, sizes 10 to 63, two convolutions a subnet."""
        rng = stream(rng)
        backbone = resnet_small_fpn(rng=rng)
        options = {"depth": 2, "std": None, "settings": SMALL_RETINANET, "rng": rng} | options
        return cls(backbone, octaves(backbone.strides, 2.5), num_classes, **options)

    def forward(self, images: Tensor) -> Found:
        maps = self.backbone(images)
        logits = F.concat([per_anchor(self.classes(m), self.num_classes) for m in maps], axis=1)
        deltas = F.concat([per_anchor(self.boxes(m), 4) for m in maps], axis=1)
        return Found(logits, deltas, *self.anchors.boxes([m.shape[2:] for m in maps]))

    # --- training

    def losses(
        self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None,
        ledger: Ledger | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """By the number of positive anchors in all images (1 if there are none): "class", the focal losses of all
        anchors that are not ignored, over all classes; "box", the smooth L1 losses of the positive ones' steps."""
        require_targets(targets, images, self.num_classes)
        s, found = self.settings, self(images)
        matches = [match(found.anchors, t, positive=s.positive, negative=s.negative, best=s.best) for t in targets]
        labels = np.stack([m.labels for m in matches])  # (N, A)
        yes = positives(labels == POSITIVE, matches, targets)
        at = yes.image, yes.item
        wanted, predicted = encoded(yes.boxes, found.anchors[yes.item]), found.deltas[at]
        count = max(len(yes.item), 1)
        terms = self.class_terms(found.logits, labels, yes) / count
        steps = F.smooth_l1_loss(predicted, wanted, beta=s.beta, reduction="none").sum(axis=1) / count
        if ledger is not None:
            ledger["matching"] = {
                "anchors": found.anchors, "level": found.level, "match": matches, "logits": found.logits.numpy(),
                "deltas": found.deltas.numpy(), "image": yes.image, "anchor": yes.item, "truth": yes.truth,
                "wanted": wanted, "predicted": predicted.numpy(),
            }  # fmt: skip
        image, anchor = (each.ravel() for each in np.indices(labels.shape))
        return {
            "class": total("class", terms.reshape(labels.size), ledger, image, anchor),
            "box": total("box", steps, ledger, *at),
        }

    def class_terms(self, logits: Tensor, labels: np.ndarray, yes: Positives) -> Tensor:
        """The focal loss of each anchor (N, A), summed over the classes; 0 where it is ignored."""
        asked = np.zeros(logits.shape, np.float32)
        asked[yes.image, yes.item, yes.label] = 1
        s = self.settings
        focal = F.sigmoid_focal_loss(logits, asked, alpha=s.alpha, gamma=s.gamma, reduction="none")
        return F.where(to_device(labels == IGNORED, logits.device), 0.0, focal.sum(axis=2))

    # --- use

    def scored(self, images: Tensor, ledger: Ledger | None = None) -> Scored:
        found = self(images)
        boxes, scores = F.decode_boxes(found.deltas.numpy(), found.anchors).data, F.sigmoid(found.logits).numpy()
        if ledger is not None:
            ledger |= {"anchors": found.anchors, "level": found.level, "boxes": boxes, "scores": scores}
        return Scored(boxes, scores, found.level)


def subnet(width: int, depth: int, outputs: int, std: float | None, rng: Any) -> nn.Sequential:
    """`depth` 3x3 convolutions with relu that keep the width, then one to the outputs; biases 0.

    Weights N(0, std^2); without a std, the last's N(0, 0.01^2), the others' after He.
    """
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, padding=1, rng=rng), nn.ReLU()]
    layers.append(nn.Conv2d(width, outputs, 3, padding=1, rng=rng))
    net = nn.Sequential(*layers)
    draw = partial(nn.init.kaiming_normal, nonlinearity="relu") if std is None else partial(nn.init.normal, std=std)
    redraw(net, nn.Conv2d, draw, rng, bias=0)
    redraw(net[-1], nn.Conv2d, partial(nn.init.normal, std=std or 0.01), rng)
    return net


def octaves(strides: Sequence[int], size: float = 4.0) -> Anchors:
    """Nine anchors per cell: `size` times the stride, and a third and two thirds of an octave more, in three shapes."""
    return Anchors.of([[size * stride * step for step in OCTAVE] for stride in strides], strides)

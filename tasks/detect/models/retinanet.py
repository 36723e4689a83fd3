"""RetinaNet: nine anchors at every cell of a pyramid, each with a logit for every class, trained with the focal loss.

Of the thousands of anchors of an image a few are positive. The focal loss ``-alpha_t (1 - p_t)^gamma log p_t`` weighs
down what is classified well, so that the many easy negatives do not outweigh the rest, and all anchors are trained on.

Source: Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object detection", ICCV 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F
from minidl.core.context import current
from minidl.device import to_device

from ...models.blocks import conv_norm
from ...models.initial import redraw, stream
from ..data.records import Target, require_targets
from ..losses.matching import IGNORED, Positives, match
from ..losses.steps import Steps
from ..losses.terms import Terms
from .anchors import AnchorOutputs, Anchors
from .backbone import FPN, Norm, resnet50_fpn, resnet_small_fpn
from .convention import OURS, Convention
from .single import AnchorPass, Scored, SingleStage

OCTAVE = tuple(2 ** (i / 3) for i in range(3))  # section 4: three sizes to each level


@dataclass(frozen=True)
class RetinaNetSettings:
    """The paper's numbers, and Detectron's where it gives none: beta, best."""

    positive: float = 0.5  # IoU of a positive anchor
    negative: float = 0.4  # those between are ignored
    best: bool = True  # the best anchor for an object is positive whatever its IoU
    alpha: float = 0.25  # weight of the classes that are there, 1 - alpha of the others; below 0: no weights
    gamma: float = 2.0  # 0: cross entropy
    prior: float = 0.01  # probability of every class at the start
    beta: float = 1 / 9  # of the smooth L1 loss; 0: L1
    score: float = 0.05  # in inference: what scores less is left out
    before: int = 1000  # of each level into the suppression
    nms: float = 0.5
    limit: int = 100  # detections of an image


PAPER_RETINANET = RetinaNetSettings()
SMALL_RETINANET = RetinaNetSettings(before=100)  # for pictures of about 96 pixels


class RetinaNet(SingleStage):
    """A pyramid with two subnets on every level: `depth` 3x3 convolutions with relu, and one to the outputs.

    The class subnet has a logit for each class at each anchor, the box subnet four steps. Levels share their weights,
    the subnets do not. Section 4.1: weights N(0, 0.01^2), biases 0, but -log((1 - prior) / prior) for the class logits.
    Raises ValueError if levels differ in channels or in anchors per cell.
    """

    def __init__(
        self, backbone: nn.Module, anchors: Anchors, num_classes: int, depth: int = 4, std: float | None = 0.01,
        settings: RetinaNetSettings = PAPER_RETINANET, norm: Norm | None = None, convention: Convention = OURS,
        rng: Any = None,
    ):  # fmt: skip
        if len(set(backbone.channels)) > 1 or len(set(anchors.per_cell)) > 1:
            raise ValueError(
                "the subnets serve all levels: they need as many channels and as many anchors per cell, "
                f"got channels {backbone.channels} and anchors {anchors.per_cell}"
            )
        rng = stream(rng)
        width, each = backbone.channels[0], anchors.per_cell[0]
        self.backbone, self.anchors, self.num_classes, self.settings = backbone, anchors, num_classes, settings
        self.convention = convention
        classes = subnet(width, depth, "cls_logits", each * num_classes, std, norm, rng)
        boxes = subnet(width, depth, "bbox_reg", each * 4, std, norm, rng)
        self.head = nn.ModuleDict({"classification_head": classes, "regression_head": boxes})
        if current().drawing:
            classes.cls_logits.bias.data[...] = -math.log((1 - settings.prior) / settings.prior)

    @classmethod
    def resnet50(cls, num_classes: int, rng: Any = None) -> RetinaNet:
        """The paper's, for pictures of 600 to 800 pixels: levels P3 to P7 of strides 8 to 128, sizes 32 to 813."""
        rng = stream(rng)
        backbone = resnet50_fpn(256, "convolutions", first=2, rng=rng)
        return cls(backbone, octaves(backbone.strides), num_classes, rng=rng)

    @classmethod
    def small(cls, num_classes: int, rng: Any = None, body: nn.Module | None = None, **options: Any) -> RetinaNet:
        """For pictures of about 96 pixels: strides 4, 8 and 16, sizes 10 to 63, two convolutions a subnet. body: see
        small.py."""
        rng = stream(rng)
        backbone = FPN(body, 48, "none", rng=rng) if body else resnet_small_fpn(rng=rng)
        options = {"depth": 2, "std": None, "settings": SMALL_RETINANET, "rng": rng} | options
        return cls(backbone, octaves(backbone.strides, 2.5), num_classes, **options)

    def forward(self, images: Tensor) -> AnchorOutputs:
        maps = self.backbone(images)
        logits, deltas = ([subnet(m) for m in maps] for subnet in self.head.values())
        return self.anchors.outputs(logits, deltas, self.num_classes, images.shape[2:])

    def training_pass(
        self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None
    ) -> AnchorPass:
        """By the number of positive anchors in all images (1 if there are none): "class", the focal losses of all
        anchors that are not ignored, over all classes; "box", the smooth L1 losses of the positive ones' steps."""
        targets = require_targets(targets, images, self.num_classes)
        s, found = self.settings, self(images)
        matches = [match(found.anchors, t, positive=s.positive, negative=s.negative, best=s.best) for t in targets]
        yes = Positives.among(matches, targets)
        at, count = (yes.image, yes.item), max(len(yes.item), 1)
        labels = np.stack([m.labels for m in matches])  # (N, A)
        steps = Steps.of(yes, found.anchors[yes.item], found.deltas[at], s.beta)
        classes = self.class_terms(found.logits, labels, yes) / count
        every = (each.ravel() for each in np.indices(labels.shape))
        terms = {"class": Terms(classes.reshape(labels.size), *every), "box": Terms(steps.losses() / count, *at)}
        return AnchorPass(found, matches, steps, terms)

    def class_terms(self, logits: Tensor, labels: np.ndarray, yes: Positives) -> Tensor:
        """The focal loss of each anchor (N, A), summed over the classes; 0 where it is ignored."""
        s, wanted = self.settings, np.zeros(logits.shape, np.float32)
        wanted[yes.image, yes.item, yes.label] = 1
        focal = F.sigmoid_focal_loss(logits, wanted, alpha=s.alpha, gamma=s.gamma, reduction="none")
        return F.where(to_device(labels == IGNORED, logits.device), 0.0, focal.sum(axis=2))

    def scored(self, images: Tensor) -> Scored:
        found = self(images)
        boxes = F.decode_boxes(found.deltas.numpy(), found.anchors).data
        return Scored(boxes, F.sigmoid(found.logits).numpy(), found.level)


def subnet(
    width: int, depth: int, name: str, outputs: int, std: float | None, norm: Norm | None, rng: Any
) -> nn.Sequential:
    """"conv", `depth` 3x3 convolutions with relu that keep the width, then one of this name to the outputs; biases 0.

    Weights N(0, std^2); without a std, the last's N(0, 0.01^2), the others' after He.
    """
    layers = nn.Sequential(*(conv_norm(width, width, norm=norm, rng=rng) for _ in range(depth)))
    last = nn.Conv2d(width, outputs, 3, padding=1, rng=rng)
    net = nn.Sequential({"conv": layers, name: last})
    draw = partial(nn.init.kaiming_normal, nonlinearity="relu") if std is None else partial(nn.init.normal, std=std)
    redraw(net, nn.Conv2d, draw, rng, bias=0)
    redraw(last, nn.Conv2d, partial(nn.init.normal, std=std or 0.01), rng)
    return net


def octaves(strides: Sequence[int], size: float = 4.0) -> Anchors:
    """Nine anchors per cell: `size` times the stride, and a third and two thirds of an octave more, in three shapes."""
    return Anchors.of([[size * stride * step for step in OCTAVE] for stride in strides], strides)

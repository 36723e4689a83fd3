"""SSD: default boxes on several maps, each scored for every class and for background; hard negatives only.

Fine maps look for small objects, coarse ones for large. Each default box has C + 1 logits, the last the background's,
and four steps. Most boxes are background: of these only those with the largest loss are trained on, three for each box
that is matched to an object.

Source: Liu et al., "SSD: single shot multibox detector", ECCV 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F

from ...models.blocks import conv_norm
from ...models.initial import redraw, stream
from ..data.records import Target, require_targets
from ..losses.matching import POSITIVE, Positives, hard_negatives, match
from ..losses.steps import Steps
from ..losses.terms import Terms
from .anchors import AnchorOutputs, Anchors
from .backbone import Stages, resnet_small_stages
from .convention import OURS, Convention, background_last
from .single import AnchorPass, Scored, SingleStage


@dataclass(frozen=True)
class SSDSettings:
    """The paper's numbers."""

    positive: float = 0.5  # IoU of a default box with an object; the best for an object is positive in any case
    hard: float = 3.0  # negatives for each positive of an image
    beta: float = 1.0  # of the smooth L1 loss
    weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)  # that steps are multiplied by: 1 / variances
    score: float = 0.01  # in inference: what scores less is left out
    before: int = 400  # of each map into the suppression
    nms: float = 0.45
    limit: int = 100  # detections of an image
    by_class: bool = False  # `before` counts the boxes of each class, not of each map


PAPER_SSD = SSDSettings()
SMALL_SSD = SSDSettings(score=0.05, before=100)  # for pictures of about 96 pixels
CONVOLUTION = partial(nn.Conv2d, kernel_size=3, padding=1)  # of channels and outputs
FOUR, SIX = (1.0, 2.0, 1 / 2), (1.0, 2.0, 1 / 2, 3.0, 1 / 3)  # width / height


def default_boxes(
    size: float, strides: Sequence[int], smallest: float = 0.2, largest: float = 0.9,
    ratios: Sequence[Sequence[float]] | None = None,
) -> Anchors:  # fmt: skip
    """The default boxes for a picture of this side: on map k of m scale s_k in all ratios, and one square more.

    Section 2.2: ``s_k = smallest + (largest - smallest) (k - 1) / (m - 1)`` of the picture's side, widths s_k sqrt(a),
    heights s_k / sqrt(a) for ratios a; the other square is of scale sqrt(s_k s_(k+1)), s_(m+1) going on as the others.
    ratios: those of each map (SIX on all); with the square more FOUR gives four boxes a cell, SIX gives six.
    """
    ratios = [SIX] * len(strides) if ratios is None else ratios
    step = (largest - smallest) / max(len(strides) - 1, 1)
    scales = size * (smallest + step * np.arange(len(strides) + 1))
    shapes = []
    for scale, after, of_map in zip(scales[:-1], scales[1:], ratios, strict=True):
        root = np.sqrt(of_map)
        square = np.full((1, 2), math.sqrt(scale * after))
        shapes.append(np.concatenate([scale * np.stack([root, 1 / root], axis=1), square]))
    return Anchors(tuple(shapes), tuple(strides))


class Extended(nn.Module):
    """A backbone and more maps behind its last, each of half the size: 1x1 to half the width, 3x3 of stride 2."""

    def __init__(self, body: Stages, widths: Sequence[int], rng: Any = None):
        rng = stream(rng)
        self.body, self.extra, inputs = body, nn.ModuleList(), body.channels[-1]
        for width in widths:
            narrow = conv_norm(inputs, width // 2, 1, rng=rng)
            self.extra.append(nn.Sequential(narrow, conv_norm(width // 2, width, stride=2, rng=rng)))
            inputs = width
        self.channels = (*body.channels, *widths)
        self.strides = (*body.strides, *(body.strides[-1] * 2 ** (i + 1) for i in range(len(widths))))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.body(x)
        for step in self.extra:
            maps.append(step(maps[-1]))
        return maps


@dataclass(frozen=True)
class SSDPass(AnchorPass):
    """Also the cross entropy of every default box (N, A), and which are hard negatives, bool (N, A)."""

    entropy: np.ndarray
    hard: np.ndarray


class SSD(SingleStage):
    """Two 3x3 convolutions on each map, to the logits and to the steps of its default boxes.

    The paper's backbone is VGG-16, without batch norm; any will do that gives maps. predictor: what makes the layers on
    a map, of its channels and the outputs, in the place of the convolution. Raises ValueError unless there are default
    boxes for as many maps.
    """

    def __init__(
        self, backbone: nn.Module, anchors: Anchors, num_classes: int, settings: SSDSettings = PAPER_SSD,
        predictor: Callable[..., nn.Module] = CONVOLUTION,
        convention: Convention = OURS, rng: Any = None,
    ):  # fmt: skip
        if backbone.strides != anchors.strides:
            raise ValueError(f"SSD: maps of strides {backbone.strides}, default boxes for strides {anchors.strides}")
        rng = stream(rng)
        self.backbone, self.anchors, self.num_classes, self.settings = backbone, anchors, num_classes, settings
        self.convention, self.by_class = convention, settings.by_class
        self.head = nn.ModuleDict()
        for name, entries in (("classification_head", num_classes + 1), ("regression_head", 4)):
            pairs = zip(backbone.channels, anchors.per_cell)
            layers = nn.ModuleList(predictor(channels, each * entries, rng=rng) for channels, each in pairs)
            self.head[name] = nn.ModuleDict({"module_list": layers})
        for head in self.head.values():
            redraw(head, nn.Conv2d, nn.init.xavier_uniform, rng, bias=0)

    @classmethod
    def small(
        cls, num_classes: int, rng: Any = None, body: nn.Module | None = None, size: int = 96, **options: Any
    ) -> SSD:
        """For pictures of `size` pixels, about 96: maps of strides 4 to 32, scales 0.1 to 0.5. body: see small.py."""
        rng = stream(rng)
        backbone = Extended(body or resnet_small_stages(rng=rng), (64,), rng)
        anchors = default_boxes(size, backbone.strides, 0.1, 0.5)
        return cls(backbone, anchors, num_classes, **{"settings": SMALL_SSD, "rng": rng} | options)

    def forward(self, images: Tensor) -> AnchorOutputs:
        maps = self.backbone(images)
        each = (head["module_list"] for head in self.head.values())
        logits, deltas = ([conv(m) for conv, m in zip(convs, maps)] for convs in each)
        found = self.anchors.outputs(logits, deltas, self.num_classes + 1, images.shape[2:])
        return found._replace(logits=background_last(found.logits, self.convention))

    def training_pass(
        self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None
    ) -> SSDPass:
        """By the number of positive boxes in all images (1 if there are none): "class", the cross entropy of the
        positive ones and of the hard negatives; "box", the smooth L1 losses of the positive ones' steps.

        An image without objects has no positive boxes, hence no hard negatives: nothing is learned from it.
        """
        targets = require_targets(targets, images, self.num_classes)
        s, found = self.settings, self(images)
        limits = {"positive": s.positive, "negative": s.positive, "best": True, "claimed": True}
        matches = [match(found.anchors, t, **limits) for t in targets]
        yes = Positives.among(matches, targets)
        at, count = (yes.image, yes.item), max(len(yes.item), 1)
        labels = np.stack([m.labels for m in matches])  # (N, A)
        classes = np.full(labels.shape, self.num_classes)
        classes[at] = yes.label
        entropy = F.cross_entropy(found.logits.transpose(0, 2, 1), classes, reduction="none")  # (N, A)
        hard = hard_negatives(entropy.numpy(), labels, s.hard)
        trained = np.nonzero((labels == POSITIVE) | hard)
        steps = Steps.of(yes, found.anchors[yes.item], found.deltas[at], s.beta, s.weights)
        terms = {"class": Terms(entropy[trained] / count, *trained), "box": Terms(steps.losses() / count, *at)}
        return SSDPass(found, matches, steps, terms, entropy.numpy(), hard)

    def scored(self, images: Tensor) -> Scored:
        found = self(images)
        boxes = F.decode_boxes(found.deltas.numpy(), found.anchors, self.settings.weights).data
        return Scored(boxes, F.softmax(found.logits, axis=2).numpy()[:, :, :-1], found.level)

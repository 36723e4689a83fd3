"""Faster R-CNN and Mask R-CNN: regions are proposed, then each is classified and refined; both stages trained at once.

Sources: Ren, He, Girshick and Sun, "Faster R-CNN", NeurIPS 2015; Lin et al., "Feature pyramid networks", CVPR 2017;
He, Gkioxari, Dollar and Girshick, "Mask R-CNN", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F

from ...models.initial import stream
from ..data.records import Detections, Target, require_targets
from ..losses.terms import Terms
from .anchors import PYRAMID, SINGLE_MAP, SMALL_PYRAMID, SMALL_SINGLE_MAP, AnchorOutputs, Anchors
from .backbone import FPN, Norm, resnet50_fpn, resnet_small_fpn, vgg16_map, vgg_small_map
from .convention import OURS, Convention
from .detector import Detector, View, views_of
from .heads import (
    BOX_BINS,
    PAPER_HEAD,
    SMALL_HEAD,
    BoxLoss,
    Chosen,
    Crop,
    HeadSettings,
    box_head,
    box_loss,
    choose,
    with_image,
)  # fmt: skip
from .keypoints import KeypointLoss, grown, keypoint_head, keypoint_loss, keypoints_of
from .masks import MASK_BINS, MaskLoss, mask_head, mask_loss, paste
from .rpn import PAPER_RPN, RPN, SMALL_RPN, RPNLoss, RPNSettings
from .suppression import Candidates


class TwoStagePass(NamedTuple):
    """A training pass, stage by stage; without such a head, `mask` or `keypoint` is None."""

    maps: list[Tensor]
    outputs: AnchorOutputs
    first: RPNLoss
    proposals: list[Candidates]
    chosen: Chosen
    second: BoxLoss
    mask: MaskLoss | None
    keypoint: KeypointLoss | None

    @property
    def terms(self) -> dict[str, Terms]:
        """Those of all stages."""
        stages = (stage for stage in (self.first, self.second, self.mask, self.keypoint) if stage)
        return {name: terms for stage in stages for name, terms in stage.terms.items()}


class TwoStagePrediction(NamedTuple):
    """The proposals of each image; of all R regions boxes (R, 5), probabilities (R, C + 1) and refined boxes (R, C, 4);
    of each image the boxes that compete (by class) and those that are found."""

    proposals: list[Candidates]
    regions: np.ndarray
    probabilities: np.ndarray
    boxes: np.ndarray
    candidates: list[Candidates]
    detections: list[Detections]


class FasterRCNN(Detector):
    """Backbone, region proposal network, box head; with a mask head or a keypoint head it is Mask R-CNN.

    backbone: see backbone.py. sizes: of the anchors on each of its maps, see anchors.py. levels: how many maps regions
    are cropped from, the finest (all). canonical, method: see `heads.Crop`. rpn_depth: of its head. hidden: units of
    the box head, norm: makes its first layers convolutions, and follows these and those of the mask head. masks,
    num_keypoints: with these heads, `mask_width` and `keypoint_width` maps in each of their layers (mask_layers,
    keypoint_layers); keypoint_margin: regions for the keypoints are cut out larger on each side by this share of their
    sides, for points that lie on their borders; the paper has 0. Labels are 0 to num_classes - 1. In `roi_heads` are
    the modules of the second stage.
    """

    def __init__(
        self, backbone: nn.Module, num_classes: int, *, sizes: Sequence[Sequence[float]],
        rpn: RPNSettings = PAPER_RPN, head: HeadSettings = PAPER_HEAD, levels: int | None = None,
        canonical: float = 224, method: str = "align", rpn_depth: int = 1, hidden: int = 1024,
        norm: Norm | None = None, masks: bool = False, num_keypoints: int = 0, mask_width: int = 256,
        mask_layers: int = 4, keypoint_width: int = 512, keypoint_layers: int = 8, keypoint_margin: float = 0.0,
        convention: Convention = OURS, rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        channels = backbone.channels[0]
        self.num_classes, self.settings, self.convention = num_classes, head, convention
        self.backbone, self.keypoint_margin = backbone, keypoint_margin
        anchors = Anchors.of(sizes, backbone.strides, convention=convention)
        self.rpn = RPN(backbone.channels, anchors, rpn, rpn_depth, rng)
        self.crop = Crop(backbone.strides[:levels], canonical, method, aligned=convention.aligned)
        parts = self.box_parts(channels, hidden, norm, rng)
        if masks:
            parts |= mask_head(channels, num_classes, mask_width, mask_layers, norm, convention, rng)
        if num_keypoints:
            parts |= keypoint_head(channels, num_keypoints, keypoint_width, keypoint_layers, rng)
        self.masks, self.num_keypoints = masks, num_keypoints
        self.roi_heads = nn.ModuleDict(parts)

    def box_parts(self, channels: int, hidden: int, norm: Norm | None, rng: Any) -> dict[str, nn.Module]:
        """The modules of the second stage that classify a region and refine its box."""
        return box_head(channels, self.num_classes, hidden, norm=norm, convention=self.convention, rng=rng)

    def training_pass(
        self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None
    ) -> TwoStagePass:
        """Of images (N, 3, H, W): "objectness" and "rpn_box" of the first stage, "class" and "box" of the second,
        "mask" and "keypoint" if there are such heads.

        Approximate joint training (Ren et al., section 3.2): proposals are taken as data, no gradient flows through
        their boxes. Raises ValueError without `rng`, which draws the samples.
        """
        targets = require_targets(targets, images, self.num_classes)
        if rng is None:
            name = type(self).__name__
            raise ValueError(f"{name} trains on samples: losses(images, targets, rng) needs a numpy Generator")
        maps, size = self.backbone(images), images.shape[2:]
        found = self.rpn(maps, size)
        first = self.rpn.loss(found, targets, rng)
        proposals = self.rpn.proposals(found, [size] * len(images), True)
        boxes = [p.boxes[p.kept] for p in proposals]
        chosen = choose(boxes, targets, self.num_classes, self.crop, self.settings, rng)
        regions, mask, keypoint = chosen.regions, None, None
        second = box_loss(*self.box_outputs(maps, regions.boxes), regions, targets, self.settings)
        positive = regions.boxes[regions.positive]
        if self.masks:
            mask = mask_loss(self.mask_outputs(maps, positive), regions, targets)
        if self.num_keypoints:
            logits = self.keypoint_outputs(maps, grown(positive, self.keypoint_margin))
            keypoint = keypoint_loss(logits, regions, targets, self.keypoint_margin)
        return TwoStagePass(maps, found, first, proposals, chosen, second, mask, keypoint)

    def box_outputs(self, maps: Sequence[Tensor], regions: np.ndarray) -> tuple[Tensor, Tensor]:
        """The logits (R, C + 1), the background's last, and steps (R, C, 4) of regions (R, 5)."""
        return self.roi_heads["box_predictor"](self.roi_heads["box_head"](self.crop(maps, regions, BOX_BINS)))

    def mask_outputs(self, maps: Sequence[Tensor], regions: np.ndarray) -> Tensor:
        """The logits of the masks (R, C, 28, 28) of regions (R, 5)."""
        logits = self.roi_heads["mask_predictor"](self.roi_heads["mask_head"](self.crop(maps, regions, MASK_BINS)))
        return logits[:, 1:] if self.convention.background_first else logits

    def keypoint_outputs(self, maps: Sequence[Tensor], regions: np.ndarray) -> Tensor:
        """The logits of the keypoints (R, P, 56, 56) of regions (R, 5)."""
        features = self.crop(maps, regions, MASK_BINS)
        return self.roi_heads["keypoint_predictor"](self.roi_heads["keypoint_head"](features))

    def predict(
        self, images: Tensor, score: float | None = None, nms: float | None = None, limit: int | None = None,
        views: Sequence[View] | None = None,
    ) -> TwoStagePrediction:  # fmt: skip
        """See `detect`; the boxes are the proposals, each refined for each class."""
        s, score, nms, limit = self.settings, *self.thresholds(score, nms, limit)
        views = views_of(images, views)
        sizes = [view.size for view in views]
        with self.inference():
            maps = self.backbone(images)
            proposals = self.rpn.proposals(self.rpn(maps, images.shape[2:]), sizes, False)
            regions = with_image([p.boxes[p.kept] for p in proposals])
            regions = regions[np.argsort(self.crop.level(regions[:, 1:]), kind="stable")]
            logits, deltas = self.box_outputs(maps, regions)
            boxes = F.decode_boxes(Tensor(deltas.numpy()), regions[:, None, 1:], s.weights).data  # (R, C, 4)
            for n, size in enumerate(sizes):
                of_image = regions[:, 0] == n
                boxes[of_image] = F.clip_boxes(boxes[of_image], size).data
            probabilities = F.softmax(logits, axis=1).numpy()
            likely = (probabilities[:, :-1] > score) & np.isfinite(boxes).all(axis=-1)
            if s.smallest:
                likely &= (boxes[..., 2:] - boxes[..., :2] >= s.smallest).all(axis=-1)
            candidates = []
            for n in range(len(images)):
                region, label = (likely & (regions[:, :1] == n)).nonzero()
                best = boxes[region, label], probabilities[region, label]
                candidates.append(Candidates.suppressed(region, label, *best, nms, limit))
            found = [self._described(n, maps, *each) for n, each in enumerate(zip(candidates, views))]
        return TwoStagePrediction(proposals, regions, probabilities, boxes, candidates, found)

    def _described(self, n: int, maps: list[Tensor], candidates: Candidates, view: View) -> Detections:
        """What is kept in image n, with masks and keypoints where there are such heads."""
        kept = candidates.kept
        labels, regions = candidates.group[kept], np.insert(candidates.boxes[kept], 0, n, axis=1)
        boxes, masks, points = view.outside(candidates.boxes[kept]), None, None
        if self.masks:
            logits = self.mask_outputs(maps, regions).numpy()[np.arange(len(kept)), labels]
            masks = paste(1 / (1 + np.exp(-logits)), boxes, view.picture, convention=self.convention)
        if self.num_keypoints:
            regions = grown(regions, self.keypoint_margin)
            points = keypoints_of(self.keypoint_outputs(maps, regions).numpy(), regions[:, 1:], self.convention)
            points[..., :2] = view.outside(points[..., :2])
        return Detections(boxes, labels, candidates.scores[kept], masks, points)


# --- the papers' networks, and one for pictures of about 96 pixels


def faster_rcnn_vgg16(num_classes: int, *, rng: Any = None, **options: Any) -> FasterRCNN:
    """Ren et al. 2015: VGG-16, one map of stride 16, nine anchors a cell, RoI pooling, hidden layers of 4096."""
    rng = stream(rng)
    options = {"sizes": SINGLE_MAP, "method": "pool", "hidden": 4096, "rng": rng} | options
    return FasterRCNN(vgg16_map(rng), num_classes, **options)


def faster_rcnn_resnet50_fpn(num_classes: int, *, rng: Any = None, **options: Any) -> FasterRCNN:
    """Lin et al. 2017 and He et al. 2017: ResNet-50 with a pyramid, three anchors a cell on each of five levels."""
    rng = stream(rng)
    options = {"sizes": PYRAMID, "levels": 4, "rng": rng} | options
    return FasterRCNN(resnet50_fpn(rng=rng), num_classes, **options)


SMALL = {  # canonical: regions below 56 pixels come from the map of stride 4; borders and corners need the finest
    "rpn": SMALL_RPN, "head": SMALL_HEAD, "hidden": 192, "canonical": 112, "mask_width": 32, "keypoint_width": 32,
    "keypoint_layers": 4,
}  # fmt: skip


def faster_rcnn_small(
    num_classes: int, *, width: int = 48, pyramid: int = 48, body: nn.Module | None = None, rng: Any = None,
    **options: Any,
) -> FasterRCNN:  # fmt: skip
    """For pictures of about 96 pixels: a ResNet of three blocks, or the `body` (see small.py), with a pyramid of
    strides 4, 8 and 16."""
    rng = stream(rng)
    backbone = FPN(body, pyramid, "none", rng=rng) if body else resnet_small_fpn(width, pyramid, rng=rng)
    return FasterRCNN(backbone, num_classes, **SMALL | {"sizes": SMALL_PYRAMID, "rng": rng} | options)


def faster_rcnn_small_vgg(num_classes: int, *, width: int = 16, rng: Any = None, **options: Any) -> FasterRCNN:
    """For pictures of about 96 pixels: a VGG of four blocks, one map of stride 8."""
    rng = stream(rng)
    backbone = vgg_small_map(width, rng=rng)
    return FasterRCNN(backbone, num_classes, **SMALL | {"sizes": SMALL_SINGLE_MAP, "rng": rng} | options)

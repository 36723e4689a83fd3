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
from .backbone import resnet50_fpn, resnet_small_fpn, vgg16_map, vgg_small_map
from .detector import Detector
from .heads import PAPER_HEAD, SMALL_HEAD, BoxHead, BoxLoss, Chosen, Crop, HeadSettings, Regions, choose, with_image
from .keypoints import KeypointHead, KeypointLoss, grown, keypoints_of
from .masks import MaskHead, MaskLoss, paste
from .rpn import PAPER_RPN, RPN, SMALL_RPN, RPNLoss, RPNSettings
from .suppression import Candidates


class TwoStagePass(NamedTuple):
    """A training pass, stage by stage; without such a head, `mask` or `keypoint` is None."""

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
    are cropped from, the finest (all). canonical, method: see `heads.Crop`. hidden: units of the box head. masks,
    num_keypoints: with these heads, `mask_width` and `keypoint_width` maps in each of their layers (mask_layers,
    keypoint_layers); keypoint_margin: see `KeypointHead`. Labels are 0 to num_classes - 1.
    """

    def __init__(
        self, backbone: nn.Module, num_classes: int, *, sizes: Sequence[Sequence[float]],
        rpn: RPNSettings = PAPER_RPN, head: HeadSettings = PAPER_HEAD, levels: int | None = None,
        canonical: float = 224, method: str = "align", hidden: int = 1024, masks: bool = False, num_keypoints: int = 0,
        mask_width: int = 256, mask_layers: int = 4, keypoint_width: int = 512, keypoint_layers: int = 8,
        keypoint_margin: float = 0.0, rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        channels = backbone.channels[0]
        self.num_classes, self.backbone = num_classes, backbone
        self.rpn = RPN(backbone.channels, Anchors.of(sizes, backbone.strides), rpn, rng)
        self.crop = Crop(backbone.strides[:levels], canonical, method)
        self.head = BoxHead(channels, num_classes, head, hidden=hidden, rng=rng)
        self.mask = self.keypoint = None
        if masks:
            self.mask = MaskHead(channels, num_classes, width=mask_width, layers=mask_layers, rng=rng)
        if num_keypoints:
            options = {"width": keypoint_width, "layers": keypoint_layers, "margin": keypoint_margin}
            self.keypoint = KeypointHead(channels, num_keypoints, **options, rng=rng)

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
            raise ValueError("FasterRCNN trains on samples: losses(images, targets, rng) needs a numpy Generator")
        maps = self.backbone(images)
        found = self.rpn(maps)
        first = self.rpn.loss(found, targets, rng)
        proposals = self.rpn.proposals(found, images.shape[2:], True)
        boxes = [p.boxes[p.kept] for p in proposals]
        chosen = choose(boxes, targets, self.num_classes, self.crop, self.head.settings, rng)
        regions = chosen.regions
        second = self.head.loss(*self.head(self.crop(maps, regions.boxes, self.head.size)), regions, targets)
        more = (self._loss(head, maps, regions, targets) for head in (self.mask, self.keypoint))
        return TwoStagePass(found, first, proposals, chosen, second, *more)

    def _loss(
        self, head: MaskHead | KeypointHead | None, maps: list[Tensor], regions: Regions, targets: Sequence[Target]
    ) -> MaskLoss | KeypointLoss | None:
        if head is None:
            return None
        boxes = grown(regions.boxes[regions.positive], head.margin)
        return head.loss(head(self.crop(maps, boxes, head.size)), regions, targets)

    def predict(
        self, images: Tensor, score: float | None = None, nms: float | None = None, limit: int = 100
    ) -> TwoStagePrediction:
        """See `detect`; the boxes are the proposals, each refined for each class."""
        s = self.head.settings
        score, nms = s.score if score is None else score, s.nms if nms is None else nms
        with self.inference():
            maps, size = self.backbone(images), images.shape[2:]
            proposals = self.rpn.proposals(self.rpn(maps), size, False)
            regions = with_image([p.boxes[p.kept] for p in proposals])
            regions = regions[np.argsort(self.crop.level(regions[:, 1:]), kind="stable")]
            logits, deltas = self.head(self.crop(maps, regions, self.head.size))
            boxes = F.decode_boxes(Tensor(deltas.numpy()), regions[:, None, 1:], s.weights)  # (R, C, 4)
            probabilities, boxes = F.softmax(logits, axis=1).numpy(), F.clip_boxes(boxes, size).data
            likely = (probabilities[:, :-1] > score) & np.isfinite(boxes).all(axis=-1)
            candidates = []
            for n in range(len(images)):
                region, label = (likely & (regions[:, :1] == n)).nonzero()
                best = boxes[region, label], probabilities[region, label]
                candidates.append(Candidates.suppressed(region, label, *best, nms, limit))
            detections = [self._described(n, maps, one, size) for n, one in enumerate(candidates)]
        return TwoStagePrediction(proposals, regions, probabilities, boxes, candidates, detections)

    def _described(self, n: int, maps: list[Tensor], candidates: Candidates, size: Sequence[int]) -> Detections:
        """What is kept in image n, with masks and keypoints where there are such heads."""
        kept = candidates.kept
        boxes, labels = candidates.boxes[kept], candidates.group[kept]
        regions = np.insert(boxes, 0, n, axis=1)
        masks = points = None
        if self.mask is not None:
            logits = self.mask(self.crop(maps, regions, self.mask.size)).numpy()[np.arange(len(kept)), labels]
            masks = paste(1 / (1 + np.exp(-logits)), boxes, size)
        if self.keypoint is not None:
            regions = grown(regions, self.keypoint.margin)
            logits = self.keypoint(self.crop(maps, regions, self.keypoint.size)).numpy()
            points = keypoints_of(logits, regions[:, 1:])
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
    num_classes: int, *, width: int = 48, pyramid: int = 48, rng: Any = None, **options: Any
) -> FasterRCNN:
    """For pictures of about 96 pixels: a ResNet of three blocks with a pyramid of strides 4, 8 and 16."""
    rng = stream(rng)
    backbone = resnet_small_fpn(width, pyramid, rng=rng)
    return FasterRCNN(backbone, num_classes, **SMALL | {"sizes": SMALL_PYRAMID, "rng": rng} | options)


def faster_rcnn_small_vgg(num_classes: int, *, width: int = 16, rng: Any = None, **options: Any) -> FasterRCNN:
    """For pictures of about 96 pixels: a VGG of four blocks, one map of stride 8."""
    rng = stream(rng)
    backbone = vgg_small_map(width, rng=rng)
    return FasterRCNN(backbone, num_classes, **SMALL | {"sizes": SMALL_SINGLE_MAP, "rng": rng} | options)

"""The detectors that torchvision has released weights of, under its names: how each is built, what its weights take for
granted, and by which names its files are known.

Sources besides the papers': Li et al., "Benchmarking detection transfer learning with vision transformers", 2021 (v2:
batch norm everywhere, deeper heads); Zhang et al., "Bridging the gap between anchor-based and anchor-free detection",
CVPR 2020 (RetinaNet v2: group norm in the subnets).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from minidl import nn

from ..models.anchors import PYRAMID, Anchors
from ..models.backbone import mobilenet_fpn, resnet_fpn
from ..models.convention import TORCHVISION
from ..models.detector import Detector
from ..models.faster_rcnn import FasterRCNN
from ..models.fcos import FCOS
from ..models.heads import PAPER_HEAD
from ..models.retinanet import RetinaNet, RetinaNetSettings
from ..models.rpn import PAPER_RPN, RPNSettings
from ..models.ssd import SSD, SSDSettings
from ..models.ssd_maps import (
    LITE_RATIOS,
    LITE_SCALES,
    LITE_STRIDES,
    RATIOS,
    SCALES,
    STRIDES,
    MobileMaps,
    VGGMaps,
    lite_predictor,
    squares_second,
)
from .preparation import Preparation

NOTHING = 1e-30  # torchvision's 0, which adds as much to a variance in float32, and divides by it as well
PREPARED = Preparation()
HEAD = replace(PAPER_HEAD, smallest=1e-2)
MOBILE = replace(PAPER_RPN, score=0.05)
FAST = replace(MOBILE, before=(2000, 150), after=(2000, 150))
MANY = RetinaNetSettings(limit=300)
THIRDS = tuple(tuple(int(32 * 2 ** (level + k / 3)) for k in range(3)) for level in range(5))  # RetinaNet's anchors
groups = partial(nn.GroupNorm, 32)


def rcnn(num_classes: int, *, second: bool = False, depth: int = 50, **options: Any) -> FasterRCNN:
    """Faster, Mask or Keypoint R-CNN on a pyramid; `second`: as in v2."""
    norm = nn.BatchNorm2d if second else None
    more = {"sizes": PYRAMID, "levels": 4, "rpn_depth": 2 if second else 1, "head": HEAD, "norm": norm}
    return FasterRCNN(resnet_fpn(depth, norm=norm), num_classes, convention=TORCHVISION, **more | options)


def retinanet(num_classes: int, *, second: bool = False, depth: int = 50) -> RetinaNet:
    """P6 comes from P5, in v2 (`second`) from C5."""
    backbone = resnet_fpn(depth, extra="convolutions" if second else "convolutions of P5", first=2)
    anchors = Anchors.of(THIRDS, backbone.strides, convention=TORCHVISION)
    norm = groups if second else None
    return RetinaNet(backbone, anchors, num_classes, settings=MANY, norm=norm, convention=TORCHVISION)


def fcos(num_classes: int, *, depth: int = 50) -> FCOS:
    """Its cells are squares of the stride's side."""
    return FCOS(resnet_fpn(depth, extra="convolutions of P5", first=2), num_classes, convention=TORCHVISION)


def ssd300(num_classes: int) -> SSD:
    """Six maps of a picture of 300 x 300."""
    boxes = Anchors(squares_second(300, SCALES, RATIOS), STRIDES)
    return SSD(VGGMaps(), boxes, num_classes, SSDSettings(limit=200, by_class=True), convention=TORCHVISION)


def ssdlite(num_classes: int) -> SSD:
    """Six maps of a picture of 320 x 320."""
    boxes = Anchors(squares_second(320, LITE_SCALES, LITE_RATIOS), LITE_STRIDES)
    settings = SSDSettings(score=0.001, nms=0.55, before=300, limit=300, by_class=True)
    return SSD(MobileMaps(), boxes, num_classes, settings, lite_predictor, TORCHVISION)


def mobile(num_classes: int, rpn: RPNSettings = MOBILE) -> FasterRCNN:
    """On MobileNetV3, fifteen anchors a cell on each of three levels, and regions from the first map."""
    sizes = (tuple(side for (side,) in PYRAMID),) * 3
    options = {"sizes": sizes, "levels": 2, "rpn": rpn, "head": HEAD}
    return FasterRCNN(mobilenet_fpn(), num_classes, convention=TORCHVISION, **options)


# --- what is known of each


OLDER = (
    (r"(fpn\.\w+_blocks\.\d+)\.(weight|bias)", r"\1.0.\2"),
    (r"(rpn\.head\.conv)\.(weight|bias)", r"\1.0.0.\2"),
    (r"(roi_heads\.mask_head)\.mask_fcn(\d)\.(\w+)", lambda m: f"{m[1]}.{int(m[2]) - 1}.0.{m[3]}"),
)
SUBNETS = (r"(head\.\w+_head\.conv)\.(\d)\.(weight|bias)", lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}")


@dataclass(frozen=True)
class Network:
    """A released detector.

    build: from the number of classes, as our detectors count them. marks: names that its files have, and not those of
    networks further down. classes: the weight whose first axis counts them, for each of so many anchors of a cell.
    softmax: the background, number 0, is not one of our classes; else it is the first. older: rules for names in files
    from before torchvision 0.13. frozen_eps: in batch norm of files with frozen statistics.
    """

    build: Callable[..., Detector]
    marks: Sequence[str]
    classes: tuple[str, int] = ("roi_heads.box_predictor.cls_score.weight", 1)
    softmax: bool = True
    preparation: Preparation = PREPARED
    older: Sequence[tuple[str, Any]] = OLDER
    frozen_eps: float = 1e-5


SCORES = "head.classification_head.cls_logits.weight"
KEYPOINTS = "roi_heads.keypoint_predictor.kps_score_lowres.weight"
MASKS = "roi_heads.mask_predictor.mask_fcn_logits.weight"
BOXES, DEEP = "roi_heads.box_predictor.cls_score.weight", "roi_heads.box_head.0.0.weight"
SIXTEENTH = "backbone.body.16.0.weight"
LITE_SCORES = "head.classification_head.module_list.0.1.weight"
BYTES = Preparation(square=300, mean=(0.48235, 0.45882, 0.40784), std=(1 / 255,) * 3, multiple=1)

NETWORKS = {
    "keypointrcnn_resnet50_fpn": Network(rcnn, (KEYPOINTS,), frozen_eps=NOTHING),
    "maskrcnn_resnet50_fpn_v2": Network(partial(rcnn, second=True, masks=True), (MASKS, DEEP)),
    "maskrcnn_resnet50_fpn": Network(partial(rcnn, masks=True), (MASKS,), frozen_eps=NOTHING),
    "fasterrcnn_resnet50_fpn_v2": Network(partial(rcnn, second=True), (BOXES, DEEP)),
    "fasterrcnn_mobilenet_v3_large_fpn": Network(mobile, (BOXES, SIXTEENTH)),
    "fasterrcnn_mobilenet_v3_large_320_fpn": Network(
        partial(mobile, rpn=FAST), (BOXES, SIXTEENTH), preparation=Preparation(320, 640)
    ),
    "fasterrcnn_resnet50_fpn": Network(rcnn, (BOXES,), frozen_eps=NOTHING),
    "fcos_resnet50_fpn": Network(fcos, (SCORES, "head.regression_head.bbox_ctrness.weight"), (SCORES, 1), False),
    "retinanet_resnet50_fpn_v2": Network(
        partial(retinanet, second=True), (SCORES, "head.classification_head.conv.0.1.weight"), (SCORES, 9), False
    ),
    "retinanet_resnet50_fpn": Network(
        retinanet, (SCORES,), (SCORES, 9), False, older=(*OLDER, SUBNETS), frozen_eps=NOTHING
    ),
    "ssd300_vgg16": Network(
        ssd300, ("backbone.scale_weight",), ("head.classification_head.module_list.0.weight", 4), preparation=BYTES
    ),
    "ssdlite320_mobilenet_v3_large": Network(
        ssdlite, (LITE_SCORES,), (LITE_SCORES, 6),
        preparation=Preparation(square=320, mean=(0.5,) * 3, std=(0.5,) * 3, multiple=1),
    ),
}

"""Detect objects: their boxes, their masks, their keypoints."""

from __future__ import annotations

from .data.records import Detections, Target
from .models.anchors import Anchors
from .models.backbone import (
    FPN,
    Stages,
    resnet50_fpn,
    resnet_small_fpn,
    resnet_small_stages,
    resnet_stages,
    vgg16_map,
    vgg_small_map,
    vgg_stage,
)
from .models.faster_rcnn import (
    FasterRCNN,
    faster_rcnn_resnet50_fpn,
    faster_rcnn_small,
    faster_rcnn_small_vgg,
    faster_rcnn_vgg16,
)
from .models.heads import HeadSettings
from .models.rfcn import RFCN, rfcn_small
from .models.rpn import RPNSettings

__all__ = [
    "FPN", "RFCN", "Anchors", "Detections", "FasterRCNN", "HeadSettings", "RPNSettings", "Stages", "Target",
    "faster_rcnn_resnet50_fpn", "faster_rcnn_small", "faster_rcnn_small_vgg", "faster_rcnn_vgg16",
    "resnet50_fpn", "resnet_small_fpn", "resnet_small_stages", "resnet_stages", "rfcn_small", "vgg16_map",
    "vgg_small_map", "vgg_stage",
]  # fmt: skip

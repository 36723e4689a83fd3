"""What detectors use: features of boxes, and suppression."""

from __future__ import annotations

import numpy as np

from ... import functional as F
from .table import Plain, operator


@operator(
    "RoiAlign", since=16,
    only={"mode": ("avg",), "coordinate_transformation_mode": ("half_pixel", "output_half_pixel")},
)  # fmt: skip
def roi_align(
    x, boxes: Plain, images: Plain, *, mode="avg", output_height=1, output_width=1, sampling_ratio=0,
    spatial_scale=1.0, coordinate_transformation_mode="half_pixel",
):  # fmt: skip
    return F.roi_align(
        x, np.column_stack([images, boxes]), (output_height, output_width), spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio, aligned=coordinate_transformation_mode == "half_pixel",
    )  # fmt: skip


@operator("RoiAlign", since=10, only={"mode": ("avg",)})
def roi_align_10(x, boxes: Plain, images: Plain, **options):
    return roi_align(x, boxes, images, coordinate_transformation_mode="output_half_pixel", **options)


@operator("MaxRoiPool")
def max_roi_pool(x, boxes: Plain, *, pooled_shape, spatial_scale=1.0):
    return F.roi_pool(x, boxes, tuple(pooled_shape), spatial_scale=spatial_scale)


@operator("NonMaxSuppression")
def non_max_suppression(
    boxes: Plain, scores: Plain, most: Plain = None, iou: Plain = None, least: Plain = None, *, center_point_box=0
):
    """boxes (images, N, 4), scores (images, classes, N) give the kept ones, (K, 3): image, class, box."""
    one, other = boxes[..., :2], boxes[..., 2:]  # opposite corners, in whichever order
    if center_point_box:
        one, other = one - other / 2, one + other / 2
    corners = np.concatenate([np.minimum(one, other), np.maximum(one, other)], axis=-1)
    most, iou = 0 if most is None else most.item(), 0.0 if iou is None else iou.item()
    found = [np.zeros((0, 3), np.int64)]
    for image, of_classes in enumerate(scores):
        for number, s in enumerate(of_classes):
            candidates = np.arange(len(s)) if least is None else np.flatnonzero(s > least)
            kept = candidates[F.nms(corners[image][candidates], s[candidates], iou).numpy()[:most]]
            found.append(np.column_stack([np.full((len(kept), 2), [image, number]), kept]))
    return np.concatenate(found)

"""The operators that torchvision has compiled, as its own sources call them: the engine's."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core.tensor import Tensor as Value
from .tensor import lifted


def nms(dets: Value, scores: Value, iou_threshold: float) -> Value:
    return F.nms(dets, scores, iou_threshold)


def roi_align(
    input: Value, rois: Value, spatial_scale: float, height: int, width: int, sampling_ratio: int, aligned: bool
) -> Value:
    return F.roi_align(
        input, rois, (height, width), spatial_scale=spatial_scale, sampling_ratio=sampling_ratio, aligned=aligned
    )


def roi_pool(input: Value, rois: Value, spatial_scale: float, height: int, width: int) -> tuple[Value, Any]:
    return F.roi_pool(input, rois, (height, width), spatial_scale=spatial_scale), None


def ps_roi_align(
    input: Value, rois: Value, spatial_scale: float, height: int, width: int, sampling_ratio: int
) -> tuple[Value, Any]:
    return F.ps_roi_align(input, rois, (height, width), spatial_scale, sampling_ratio), None


def ps_roi_pool(input: Value, rois: Value, spatial_scale: float, height: int, width: int) -> tuple[Value, Any]:
    return F.ps_roi_pool(input, rois, (height, width), spatial_scale), None


COMPILED = {f.__name__: lifted(f) for f in (nms, roi_align, roi_pool, ps_roi_align, ps_roi_pool)}

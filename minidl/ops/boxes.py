"""Boxes x1, y1, x2, y2, in arrays of shape (..., 4): overlap, coding against anchors, and which of many to keep.
What is computed of boxes in half precision is in single."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.array_function import ArrayFunction
from ..core.tensor import Operand, Tensor, as_array, as_tensor
from ..device import namespace, to_device
from .arithmetic import maximum, minimum
from .elementwise import clip, exp, log
from .indexing import stack, where
from .shape import as_float, widened

LARGEST_STEP = math.log(1000 / 16)  # in the logarithm of a side; an untrained network would overflow exp without it

# --- overlap


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair: (N, 4) and (M, 4) -> (N, M), between 0 and 1.

    Definition: ``area(a & b) / (area(a) + area(b) - area(a & b))``, 0 for a box without area; a box whose x2 < x1 or
    y2 < y1 has none. Sides are x2 - x1 and y2 - y1, nothing is added to them. Differentiable in both.

        >>> F.box_iou(md.tensor([[0.0, 0, 2, 2]]), md.tensor([[1.0, 0, 3, 2], [5.0, 5, 6, 6]])).numpy().round(3)
        array([[0.333, 0.   ]])
    """
    shared, union, _, _ = _compared("box_iou", a, b)
    return _ratio(shared, union)


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """The IoU of every pair minus the share of the smallest box around both that neither covers: (N, M), -1 to 1.

    Definition: ``iou - (hull - union) / hull``. Unlike the IoU it tells how far apart two boxes are that do not meet.
    Source: Rezatofighi et al., "Generalized intersection over union", CVPR 2019, algorithm 1.
    """
    shared, union, a, b = _compared("generalized_box_iou", a, b)
    hull = _area(*(minimum(p, q) for p, q in zip(a[:2], b[:2])), *(maximum(p, q) for p, q in zip(a[2:], b[2:])))
    return _ratio(shared, union) - _ratio(hull - union, hull)


def _compared(name: str, a: Any, b: Any) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Of every pair the area of the intersection and of the union, (N, M); the sides as 4 x (N, 1) and 4 x (1, M)."""
    a, b = _floating(a), _floating(b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 4 or b.shape[1] != 4:
        raise ValueError(f"{name} needs boxes (N, 4) and (M, 4), x1, y1, x2, y2 each, got {a.shape} and {b.shape}")
    a, b = [a[:, k, None] for k in range(4)], [b[None, :, k] for k in range(4)]
    shared = _area(*(maximum(p, q) for p, q in zip(a[:2], b[:2])), *(minimum(p, q) for p, q in zip(a[2:], b[2:])))
    return shared, _area(*a) + _area(*b) - shared, a, b


def _area(x1: Tensor, y1: Tensor, x2: Tensor, y2: Tensor) -> Tensor:
    return clip(x2 - x1, 0) * clip(y2 - y1, 0)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, 0 where there is no whole; so is its gradient."""
    nothing = whole == 0
    return where(nothing, 0.0, part / where(nothing, 1.0, whole))


# --- coding


def encode_boxes(boxes: Tensor, anchors: Operand, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Boxes as steps from anchors, what a network learns to predict: (..., 4) and (..., 4) -> (..., 4).

    Definition, with centres x, y and sides w, h: ``(x - xa) / wa, (y - ya) / ha, log(w / wa), log(h / ha)``, times the
    weights. Boxes and anchors need positive sides, and broadcast. Source: Ren et al., "Faster R-CNN", 2015, equation 2.
    """
    _require_boxes("encode_boxes", boxes, anchors)
    x, y, w, h = _centres(_floating(boxes))
    xa, ya, wa, ha = _centres(_floating(anchors))
    steps = (x - xa) / wa, (y - ya) / ha, log(w / wa), log(h / ha)
    return stack([step * float(weight) for step, weight in zip(steps, weights, strict=True)], axis=-1)


def decode_boxes(deltas: Tensor, anchors: Operand, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """The boxes at these steps from the anchors, the inverse of `encode_boxes`: (..., 4) and (..., 4) -> (..., 4).

    A side grows to 1000 / 16 times that of its anchor at most: steps above log(1000 / 16) count as that, and have no
    gradient. Deltas and anchors broadcast: (N, K, 4) for K classes go with anchors (N, 1, 4).
    """
    _require_boxes("decode_boxes", deltas, anchors)
    deltas = _floating(deltas)
    dx, dy, dw, dh = (deltas[..., k] / float(weight) for k, weight in zip(range(4), weights, strict=True))
    xa, ya, wa, ha = _centres(_floating(anchors))
    x, y = xa + dx * wa, ya + dy * ha
    w, h = wa * exp(clip(dw, None, LARGEST_STEP)), ha * exp(clip(dh, None, LARGEST_STEP))
    return stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=-1)


def clip_boxes(boxes: Tensor, size: Sequence[float]) -> Tensor:
    """Boxes (..., 4) cut off at the border of an image of this size (height, width)."""
    _require_boxes("clip_boxes", boxes)
    boxes, (height, width) = as_tensor(boxes), size
    return stack([clip(boxes[..., k], 0, height if k % 2 else width) for k in range(4)], axis=-1)


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = (boxes[..., k] for k in range(4))
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def _require_boxes(name: str, *many: Any) -> None:
    for boxes in many:
        shape = as_array(boxes).shape
        if not shape or shape[-1] != 4:
            raise ValueError(f"{name} needs boxes of shape (..., 4), four numbers each, got {shape}")


def _floating(boxes: Any) -> Tensor:
    """In half precision the area of a box of 256 x 256 would be infinite."""
    return widened(as_float(boxes))


# --- non-maximum suppression


def nms(boxes: Operand, scores: Operand, threshold: float) -> Tensor:
    """Which boxes to keep, best first: (N, 4), (N,) -> int64 (K,).

    Definition: the box with the highest score is kept, and all whose IoU with it is larger than the threshold are
    dropped; so again with the rest, until none is left. Equal scores: the lower index first. No gradient.
    Raises ValueError if shapes do not fit, for a NaN, and for a threshold outside of 0 to 1.

        >>> F.nms([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]], [0.9, 0.8, 0.7], 0.5)
        tensor([0, 2], dtype=int64)
    """
    return _suppressed("nms", boxes, scores, None, threshold)


def batched_nms(boxes: Operand, scores: Operand, classes: Operand, threshold: float) -> Tensor:
    """`nms` among the boxes of each class (an int per box: classes, images, levels), all at once, best first."""
    return _suppressed("batched_nms", boxes, scores, classes, threshold)


def _suppressed(name: str, boxes: Any, scores: Any, classes: Any, threshold: float) -> Tensor:
    boxes, scores = as_array(boxes), as_array(scores)
    xp = namespace([boxes, scores])
    classes = xp.zeros(scores.shape, np.int64) if classes is None else as_array(classes)
    n = len(boxes) if boxes.ndim else 0
    if boxes.shape not in ((n, 4), (0,)) or scores.shape != (n,) or classes.shape != (n,):
        given = ", ".join(str(a.shape) for a in (boxes, scores, classes))
        raise ValueError(f"{name} needs boxes (N, 4), a score and a class for each, (N,), got {given}")
    if not 0 <= threshold <= 1:
        raise ValueError(f"{name}: threshold={threshold} must be an IoU, 0 to 1")
    if not n:
        return Tensor(xp.zeros(0, np.int64))
    boxes, scores = (_floating(a).data for a in (boxes, scores))
    wrong = xp.isnan(scores) | xp.isnan(boxes).any(axis=1)
    if bool(wrong.any()):
        at = int(wrong.argmax())
        box, score = boxes[at].tolist(), scores[at].item()
        raise ValueError(f"{name}: box {at} is {box} with score {score}; drop what is not a number")
    order = xp.argsort(-scores, kind="stable")
    classes = to_device(classes, "cpu" if xp is np else "gpu").astype(np.int64)
    return Tensor(order[unsuppressed(boxes[order], classes[order], threshold=float(threshold))])


BLOCK = 256  # boxes that are compared with all others at once


@ArrayFunction
def unsuppressed(xp: Any, boxes: Any, classes: Any, *, threshold: float) -> Any:
    """The positions (K,) of the boxes (N, 4) that no better one suppresses. Boxes come best first."""
    x1, y1, x2, y2 = boxes.T
    sides = xp.stack([x1, y1, x2, y2, (x2 - x1).clip(0, None) * (y2 - y1).clip(0, None)])  # (5, N)
    stays = xp.ones(len(boxes), bool)
    for start in range(0, len(boxes), BLOCK):
        some = start + stays[start : start + BLOCK].nonzero()[0]
        one, rest = sides[:, some, None], sides[:, start:]  # (5, B, 1), (5, M)
        meets = (rest[0] < one[2]) & (rest[2] > one[0]) & (rest[1] < one[3]) & (rest[3] > one[1])
        row, other = meets.nonzero()  # few: only these have an IoU to work out
        i, j = some[row], other + start
        later = (j > i) & (classes[i] == classes[j])
        row, i, j = row[later], i[later], j[later]
        near = _iou(xp, sides[:, i], sides[:, j]) > threshold
        row, j = row[near], j[near]
        ends = xp.searchsorted(row, xp.arange(len(some) + 1)).tolist()
        for k, best in enumerate(some.tolist()):
            if stays[best]:
                stays[j[ends[k] : ends[k + 1]]] = False
    return stays.nonzero()[0]


def _iou(xp: Any, a: Any, b: Any) -> Any:
    """The IoU of boxes that meet, x1, y1, x2, y2 and area each: (5, P), (5, P) -> (P,)."""
    width = xp.minimum(a[2], b[2]) - xp.maximum(a[0], b[0])
    height = xp.minimum(a[3], b[3]) - xp.maximum(a[1], b[1])
    shared = width.clip(0, None) * height.clip(0, None)
    union = a[4] + b[4] - shared
    return shared / xp.where(union == 0, 1, union)


"""How well detections fit objects, in [0, 1], for every pair: (D, ...) and (G, ...) -> float64 (D, G)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# How far people put a point from one another, in the square root of a person's area: nose, eyes, ears, shoulders,
# elbows, wrists, hips, knees, ankles. Source: cocodataset.org, keypoints evaluation.
PERSON = np.repeat([0.026, 0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089], [1] + [2] * 8)
OTHER = 0.05  # for points of anything else, about the middle of those


def box_overlap(found: np.ndarray, given: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """The IoU of boxes. With a crowd, the share of the found box that lies within it.

    Boxes end at x + (x2 - x): in the rounding, too, this is pycocotools, which knows corners and sides.
    """
    low = [boxes.astype(np.float64)[:, :2] for boxes in (found, given)]
    sides = [boxes.astype(np.float64)[:, 2:] - corner for boxes, corner in zip((found, given), low)]
    (a, b), (a_end, b_end) = low, (corner + side for corner, side in zip(low, sides))
    shared = np.minimum(a_end[:, None], b_end) - np.maximum(a[:, None], b)  # (D, G, 2)
    a_area, b_area = (side.prod(axis=1) for side in sides)
    return _shared_over_whole(shared.clip(0, None).prod(axis=2), a_area[:, None], b_area[None], crowd)


def mask_overlap(found: np.ndarray, given: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """The IoU of masks (D, H, W) and (G, H, W). With a crowd, the share of the found mask that lies within it."""
    if found.shape[1:] != given.shape[1:]:
        raise ValueError(f"masks of {found.shape[1:]} pixels were found in a picture of {given.shape[1:]}")
    a, b = (masks.reshape(len(masks), -1).astype(np.float32) for masks in (found, given))  # counts below 2^24: exact
    return _shared_over_whole((a @ b.T).astype(np.float64), a.sum(axis=1)[:, None], b.sum(axis=1)[None], crowd)


def _shared_over_whole(shared: np.ndarray, a: np.ndarray, b: np.ndarray, crowd: np.ndarray | None) -> np.ndarray:
    whole = a + b - shared
    if crowd is not None:
        whole = np.where(crowd, a, whole)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)


def keypoint_similarity(
    found: np.ndarray, given: np.ndarray, areas: np.ndarray, boxes: np.ndarray, sigmas: Sequence[float] | None = None
) -> np.ndarray:
    """COCO's object keypoint similarity of (D, P, 3) and (G, P, 3), objects of these areas (G,) and boxes (G, 4).

    The mean, over the points that are given (third number above 0), of exp(-d^2 / (2 area (2 sigma)^2)), d being the
    distance. Sigmas, one per point, are COCO's where there are 17 points, else 0.05. An object without points is
    compared by how far each point found lies outside of its box, made three times as wide and high.
    """
    count = given.shape[1]
    if found.shape[1] != count:
        raise ValueError(f"{found.shape[1]} keypoints were found of objects that have {count}")
    if sigmas is None:
        sigmas = PERSON if count == len(PERSON) else np.full(count, OTHER)
    variance = (2 * np.asarray(sigmas, np.float64)) ** 2
    if variance.shape != (count,):
        raise ValueError(f"sigmas need one number for each of {count} keypoints, got shape {variance.shape}")
    x, y = found.astype(np.float64)[:, None, :, :2], given.astype(np.float64)[None, :, :, :2]
    low, high = boxes[:, None, :2].astype(np.float64), boxes[:, None, 2:].astype(np.float64)
    known = given[..., 2] > 0  # (G, P)
    blank = ~known.any(axis=1)
    outside = np.maximum(low - (high - low) - x, 0) + np.maximum(x - (high + high - low), 0)  # (D, G, P, 2)
    apart = np.where(blank[:, None, None], outside, x - y)
    error = (apart**2).sum(axis=3) / variance / (areas.astype(np.float64)[:, None] + np.spacing(1)) / 2  # (D, G, P)
    counts = known | blank[:, None]
    return (np.exp(-error) * counts).sum(axis=2) / counts.sum(axis=1)

"""Pictures of any size in a square, as batches need them: the longer side made to fit, the rest filled with gray."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .records import Detections, Target

SIDE = 96  # of the square, as of the generated pictures


def framed(image: np.ndarray, side: int = SIDE) -> tuple[np.ndarray, float]:
    """A picture (3, H, W) with its longer side made `side`, at the top left of a gray square; by which factor."""
    factor = side / max(image.shape[1:])
    height, width = fitted(image.shape[1:], factor)
    pixels = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)  # (3, H, W) -> (H, W, 3)
    pixels = _resized(pixels, (height, width)).astype(np.float32) / 255
    frame = np.full((3, side, side), 0.5, np.float32)
    frame[:, :height, :width] = pixels.transpose(2, 0, 1)  # (h, w, 3) -> (3, h, w)
    return frame, factor


def framed_target(target: Target, factor: float, size: Sequence[int], side: int = SIDE) -> Target:
    """The objects of a picture (H, W) where `framed` puts them: at `factor` times their size, cut off at its border.

    A pixel belongs to a mask if at least half of it is covered.
    """
    height, width = size
    boxes = target.boxes.clip(0, [width, height, width, height])
    plain = Target(boxes, target.labels, None, target.keypoints, target.crowd, target.areas).scaled(factor)
    if target.masks is None:
        return plain
    masks, (h, w) = np.zeros((len(target), side, side), bool), fitted(size, factor)
    masks[:, :h, :w] = _resized_masks(target.masks, (h, w))
    return Target(plain.boxes, plain.labels, masks, plain.keypoints, plain.crowd, plain.areas)


def unframed(found: Detections, factor: float, size: Sequence[int]) -> Detections:
    """Detections in what `framed` gives, in pixels of the picture (H, W); those outside of it are left out."""
    height, width = size
    boxes = (found.boxes / factor).clip(0, [width, height, width, height])
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes, found = boxes[inside], found[inside]
    h, w = fitted(size, factor)
    masks = None if found.masks is None else _resized_masks(found.masks[:, :h, :w], size)
    points = None if found.keypoints is None else found.keypoints / np.float32([factor, factor, 1])
    return Detections(boxes, found.labels, found.scores, masks, points)


def fitted(size: Sequence[int], factor: float) -> tuple[int, int]:
    """Height and width of a picture (H, W) at `factor` times its size, in whole pixels, at least one."""
    height, width = (max(1, round(n * factor)) for n in size)
    return height, width


def _resized(pixels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Bytes (H, W) or (H, W, 3) at another height and width; each new pixel a mean of the old ones it covers."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _resized_masks(masks: np.ndarray, size: Sequence[int]) -> np.ndarray:
    small = [_resized(mask.astype(np.uint8) * 255, size) >= 128 for mask in masks]
    return np.array(small, bool).reshape(len(masks), *size)

"""Targets: which number of a network's output a map explains.

A target is any function ``target(output) -> Tensor (N,)``, one number for each image, where `output` is whatever the
network gives. Those below refuse what does not fit in one line. Where a number differs from image to image (a class, a
mask), ``target.take(images, of)`` is the target of the images at these positions of `of`; a plain function is the same
for all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl import Tensor
from minidl.device import to_device

Target = Callable[[Any], Tensor]


@dataclass(frozen=True)
class ClassScore:
    """The logit of a class: see `class_score`."""

    classes: np.ndarray  # (), or (N,)

    def take(self, images: np.ndarray, of: int) -> ClassScore:
        return ClassScore(_taken(self.classes, images, of, 0))

    def __call__(self, output: Tensor) -> Tensor:
        _require_logits("class_score", output, 2, "(N, classes)")
        _warn_of_probabilities(output)
        return output[np.arange(len(output)), _per_image("class_score", self.classes, output, 1)]


@dataclass(frozen=True)
class PixelScore:
    """The logits of a class over a region: see `pixel_score`."""

    classes: np.ndarray  # (), or (N,)
    mask: np.ndarray | None  # (H, W), or (N, H, W)
    reduction: str

    def take(self, images: np.ndarray, of: int) -> PixelScore:
        return PixelScore(_taken(self.classes, images, of, 0), _taken(self.mask, images, of, 2), self.reduction)

    def __call__(self, output: Tensor) -> Tensor:
        _require_logits("pixel_score", output, 4, "(N, classes, H, W)")
        _warn_of_probabilities(output)
        chosen = output[np.arange(len(output)), _per_image("pixel_score", self.classes, output, 1)]  # (N, H, W)
        inside = np.ones(chosen.shape, bool) if self.mask is None else self.mask
        if inside.shape not in (chosen.shape, chosen.shape[1:]):
            raise ValueError(f"pixel_score: the mask is {inside.shape}, the logits of a class are {chosen.shape}")
        inside = np.broadcast_to(inside, chosen.shape)
        if not inside.any(axis=(1, 2)).all():
            empty = np.flatnonzero(~inside.any(axis=(1, 2)))[0]
            raise ValueError(f"pixel_score: the mask of image {empty} has no pixel; give one with at least one")
        total = (chosen * to_device(inside.astype(chosen.dtype), chosen.device)).sum(axis=(1, 2))
        if self.reduction == "sum":
            return total
        return total / to_device(inside.sum(axis=(1, 2)).astype(chosen.dtype), chosen.device)


@dataclass(frozen=True)
class BoxScore:
    """The logit of a class at a box: see `box_score`."""

    boxes: np.ndarray  # (), or (N,)
    classes: np.ndarray  # (), or (N,)

    def take(self, images: np.ndarray, of: int) -> BoxScore:
        return BoxScore(_taken(self.boxes, images, of, 0), _taken(self.classes, images, of, 0))

    def __call__(self, output: Any) -> Tensor:
        logits = getattr(output, "logits", output)
        _require_logits("box_score", logits, 3, "(N, boxes, classes), or an output with such .logits")
        box = _per_image("box_score", self.boxes, logits, 1, "box", "boxes")
        return logits[np.arange(len(logits)), box, _per_image("box_score", self.classes, logits, 2)]


def class_score(c: int | Sequence[int]) -> ClassScore:
    """The logit of class `c` (one for all images, or one per image) of a classifier's output (N, classes).

    The score is the one before softmax: after it the gradient also says what speaks against the other classes, and
    Grad-CAM no longer is CAM. An output that looks like probabilities (0 to 1, adding up to 1) is warned of.
    """
    return ClassScore(_whole("class_score", c))


def pixel_score(c: int | Sequence[int], mask: Any = None, reduction: str = "mean") -> PixelScore:
    """The mean (or "sum") of the logits of class `c` over the pixels of a boolean mask, for maps (N, classes, H, W).

    mask: (H, W) for all images, (N, H, W), or None for all pixels; of the size of the output, not of the image.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f'pixel_score: reduction {reduction!r} is unknown: "mean" or "sum"')
    return PixelScore(_whole("pixel_score", c), None if mask is None else np.asarray(mask, bool), reduction)


def box_score(box: int | Sequence[int], c: int | Sequence[int]) -> BoxScore:
    """The logit of class `c` at the anchor numbered `box`, for detectors that give logits (N, anchors, classes).

    Takes the output of `tasks.detect`'s one-stage networks as it is; of others give a function that picks the score.
    """
    return BoxScore(_whole("box_score", box), _whole("box_score", c))


def rows(target: Target, images: np.ndarray, of: int) -> Target:
    """The target of the images at these positions, which may repeat, of so many in all."""
    take = getattr(target, "take", None)
    return target if take is None else take(images, of)


def scores(target: Target, output: Any, count: int) -> Tensor:
    """The target's numbers for `count` images. Raises ValueError unless they are a Tensor (count,) of finite ones."""
    found = target(output)
    if not isinstance(found, Tensor) or found.shape != (count,):
        got = f"shape {found.shape}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"a target gives a Tensor with one number per image, here ({count},); this one gave {got}")
    if not np.isfinite(found.numpy()).all():
        raise ValueError("the score to explain is not finite: the network gives NaN or infinity for these images")
    return found


def _whole(name: str, numbers: Any) -> np.ndarray:
    array = np.asarray(getattr(numbers, "data", numbers) if isinstance(numbers, Tensor) else numbers)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise ValueError(f"{name} needs a whole number, or one per image, got {numbers!r}")
    return array


def _taken(array: np.ndarray | None, images: np.ndarray, of: int, ndim: int) -> np.ndarray | None:
    """The rows of an array that has one for each of `of` images; an array of `ndim` axes is for all images."""
    if array is None or array.ndim == ndim:
        return array
    if len(array) != of:
        raise ValueError(f"the target is for {len(array)} images, there are {of}; give one for all, or one per image")
    return array[images]


def _per_image(
    name: str, numbers: np.ndarray, output: Tensor, axis: int, one: str = "class", many: str = "classes"
) -> np.ndarray:
    """One number for each row of the output, each a position of its axis."""
    if numbers.ndim and len(numbers) != len(output):
        raise ValueError(f"{name}: {len(numbers)} {many} for {len(output)} images; give one, or one per image")
    count = output.shape[axis]
    outside = numbers[(numbers < 0) | (numbers >= count)]
    if outside.size:
        raise ValueError(
            f"{name}: {one} {outside.flat[0]} is out of range: the output has {count} {many}, 0 to {count - 1}"
        )
    return np.broadcast_to(numbers, len(output))


def _require_logits(name: str, output: Any, ndim: int, wanted: str) -> None:
    if not isinstance(output, Tensor) or output.ndim != ndim:
        got = f"shape {output.shape}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"{name} needs logits {wanted}, the network gave {got}; give a target(output) of your own")


def _warn_of_probabilities(output: Tensor) -> None:
    values = output.numpy()
    inside = values.shape[1] > 1 and values.size and values.min() >= 0 and values.max() <= 1
    if inside and np.abs(values.sum(axis=1) - 1).max() < 1e-4:
        warnings.warn("the scores look like probabilities, after a softmax: explain the logits before it", stacklevel=4)

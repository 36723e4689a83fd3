"""Saliency by occlusion: how far does the score fall when a patch is covered?"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import nn

from . import layers
from .layers import Progress
from .maps import Map
from .targets import Target, rows


def positions(size: int, patch: int, stride: int) -> np.ndarray:
    """Where patches begin along an axis: every `stride` pixels, and flush with the end."""
    starts = np.arange(0, size - patch + 1, stride)
    return starts if starts[-1] == size - patch else np.append(starts, size - patch)


def occlusion(
    model: nn.Module, images: Any, target: Target, *, layer: Any = None, rng: Any = None,
    progress: Progress | None = None, batch_size: int = 32, patch: int | tuple[int, int] = 8,
    stride: int | tuple[int, int] | None = None, fill: Any = "mean",
) -> Map:  # fmt: skip
    """The fall of the score, score(x) - score(x with a patch covered), averaged over the patches that cover a pixel.

    Signed: where it is negative, covering helps. patch, stride: pixels, one number or (height, width); the stride is
    half of the patch unless given, at most the patch, so that every pixel is covered: a last patch lies flush with the
    border. fill: "mean" for the mean of each channel of the image, or a number, or one per channel. `coarse` has the
    fall of each patch. `batch_size` bounds the covered copies that exist at once. One forward pass for each patch.
    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2.
    """
    images = layers.require_images(images)
    (n, _), size = images.shape[:2], images.shape[2:]
    patch = _pair("patch", patch)
    stride = tuple(max(1, p // 2) for p in patch) if stride is None else _pair("stride", stride)
    if any(p > s for p, s in zip(patch, size)):
        raise ValueError(f"occlusion: a patch of {patch} does not fit an image of {size}; use a smaller one")
    if any(s > p for s, p in zip(stride, patch)):
        raise ValueError(f"occlusion: stride {stride} is larger than the patch {patch}: pixels would be left out")
    colour = _colour(images, fill)  # (N, C, 1, 1)
    tops, lefts = (positions(*axis) for axis in zip(size, patch, stride))
    corners = [(top, left) for top in tops for left in lefts]
    copies = 1 + len(corners)  # the first is the image itself
    found = np.empty(n * copies)
    with layers.observed(model):
        for batch in layers.batches(n * copies, batch_size, progress):
            image, copy = np.divmod(batch, copies)
            covered = images[image]  # a copy
            for x, i, j in zip(covered, image, copy):
                if j:
                    top, left = corners[j - 1]
                    x[:, top : top + patch[0], left : left + patch[1]] = colour[i]
            found[batch] = layers.score(model, covered, rows(target, image, n))
    found = found.reshape(n, copies)
    falls = found[:, :1] - found[:, 1:]
    values, covers = np.zeros((n, *size)), np.zeros(size)
    for fall, (top, left) in zip(falls.T, corners):
        at = slice(top, top + patch[0]), slice(left, left + patch[1])
        values[:, *at] += fall[:, None, None]
        covers[at] += 1
    coarse = falls.reshape(n, len(tops), len(lefts)).astype(images.dtype)
    values = (values / covers).astype(images.dtype)
    return Map("occlusion", values, True, found[:, 0].astype(images.dtype), coarse=coarse)


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(p, int | np.integer) and p >= 1 for p in pair):
        raise ValueError(f"occlusion: {name} must be a whole number of pixels from 1 on, or two, got {value!r}")
    return pair


def _colour(images: np.ndarray, fill: Any) -> np.ndarray:
    """What covers each image, per channel: (N, C, 1, 1)."""
    shape = (*images.shape[:2], 1, 1)
    if isinstance(fill, str):
        if fill != "mean":
            raise ValueError(f'occlusion: fill {fill!r} is unknown: "mean", a number, or one per channel')
        return images.mean(axis=(2, 3), keepdims=True)
    colour = np.asarray(fill, images.dtype)
    if colour.shape not in ((), images.shape[1:2]):
        raise ValueError(f"occlusion: fill has shape {colour.shape}; a number, or one per channel, {images.shape[1]}")
    return np.broadcast_to(colour.reshape(-1, 1, 1), shape)

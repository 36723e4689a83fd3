"""The mask head: which pixels of a region are the object's. Source: He et al., "Mask R-CNN", ICCV 2017, section 3."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn, no_grad
from minidl import functional as F

from ...models.blocks import conv_norm
from ...models.initial import redraw, stream
from ..data.records import Target
from ..losses.terms import Terms
from .backbone import Norm
from .convention import OURS, Convention
from .heads import Regions

MASK_BINS = 14  # along a side of a region's features, for masks and keypoints


class MaskLoss(NamedTuple):
    """Of the positive regions the masks, target and logits, (P, M, M) each; the loss's terms."""

    target: np.ndarray
    logits: Tensor
    terms: dict[str, Terms]


def mask_head(
    channels: int, num_classes: int, width: int = 256, layers: int = 4, norm: Norm | None = None,
    convention: Convention = OURS, rng: Any = None,
) -> dict[str, nn.Module]:  # fmt: skip
    """The "mask_head", `layers` 3x3 convolutions with relu, and the "mask_predictor" behind it, a 2x2 transposed one
    that doubles the size and a 1x1 one to a map of logits for each class (and, by the convention, the background).

    Features (R, channels, 14, 14) give (R, C, 28, 28). Weights start from He's initialisation (by fan-out), those of
    the last layer from N(0, 0.001^2), biases at 0.
    """
    rng = stream(rng)
    convs = (conv_norm(width if i else channels, width, norm=norm, rng=rng) for i in range(layers))
    head = nn.Sequential(*convs)
    predictor = nn.Sequential(
        {
            "conv5_mask": nn.ConvTranspose2d(width, width, 2, stride=2, rng=rng),
            "relu": nn.ReLU(),
            "mask_fcn_logits": nn.Conv2d(width, num_classes + convention.background_first, 1, rng=rng),
        }
    )
    kinds = nn.Conv2d | nn.ConvTranspose2d
    for part in (head, predictor):
        redraw(part, kinds, partial(nn.init.kaiming_normal, mode="fan_out", nonlinearity="relu"), rng, bias=0)
    redraw(predictor.mask_fcn_logits, nn.Conv2d, partial(nn.init.normal, std=0.001), rng)
    return {"mask_head": head, "mask_predictor": predictor}


def mask_loss(logits: Tensor, regions: Regions, targets: Sequence[Target]) -> MaskLoss:
    """The mean binary cross entropy over the pixels of the positive regions (logits: theirs alone), in the map of
    their own class; other classes' maps are not trained by them."""
    at = regions.positive
    image = regions.image[at]
    logits = logits[np.arange(len(at)), regions.label[at]]  # (P, 28, 28)
    target = mask_targets(targets, image, regions.truth[at], regions.boxes[at, 1:], logits.shape[-1])
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    value = entropy.mean(axis=(1, 2)) / max(len(at), 1)
    return MaskLoss(target, logits, {"mask": Terms(value, image, at)})


def mask_targets(
    targets: Sequence[Target], image: np.ndarray, truth: np.ndarray, boxes: np.ndarray, size: int
) -> np.ndarray:
    """The masks of the objects cut out by the boxes (P, 4) and resized by RoI align, 1 from a mean of 0.5 on:
    float32 (P, size, size).

    Raises ValueError for a target without masks.
    """
    for n, target in enumerate(targets):
        if target.masks is None and len(target):
            raise ValueError(f"the mask head needs masks, target {n} has {len(target)} boxes and masks=None")
    if not len(boxes):
        return np.zeros((0, size, size), np.float32)
    masks = [t.masks for t in targets if len(t)]
    first = np.cumsum([0, *map(len, targets)])[:-1]
    which = (first[image] + truth)[:, None]  # the object, counted through all images
    with no_grad():
        stacked = Tensor(np.concatenate(masks)[:, None].astype(np.float32))  # (K, 1, H, W)
        cut = F.roi_align(stacked, np.concatenate([which, boxes], axis=1), size).data[:, 0]
    return (cut >= 0.5).astype(np.float32)


def paste(
    masks: np.ndarray, boxes: np.ndarray, size: Sequence[int], threshold: float = 0.5, convention: Convention = OURS
) -> np.ndarray:
    """Probabilities (K, M, M) within boxes as masks of the picture: bool (K, height, width).

    The centre of each pixel in the box is sampled bilinearly, held to the outermost cells; outside is False. By the
    convention of whole pixels, a border of zeros is put around first, and the box is that of all pixels it touches.
    """
    if convention.whole_pixels:
        masks, boxes = bordered(masks, boxes)
    rows, columns = (_weights(boxes[:, k], boxes[:, k + 2], masks.shape[-1], size[1 - k]) for k in (1, 0))
    pasted = np.empty((len(masks), *size), bool)
    for mask, row, column, out in zip(masks, rows, columns, pasted):
        np.greater_equal(row @ mask @ column.T, threshold, out=out)  # (H, M) @ (M, M) @ (M, W)
    return pasted


def bordered(masks: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks with a cell of zeros around them, and their boxes, as much larger, from the pixel of x1, y1 to that of
    x2, y2, each rounded towards 0."""
    cells = masks.shape[-1]
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * np.float32((cells + 2) / cells)
    middle = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    corners = np.trunc(np.concatenate([middle - half, middle + half], axis=1))
    low = corners[:, :2]
    high = low + (corners[:, 2:] - low + 1).clip(1, None)
    return np.pad(masks, ((0, 0), (1, 1), (1, 1))), np.concatenate([low, high], axis=1)


def _weights(low: np.ndarray, high: np.ndarray, cells: int, pixels: int) -> np.ndarray:
    """How much of each cell the pixels take along one axis: (K, pixels, cells), 0 for pixels outside of the box."""
    centre = np.arange(pixels) + 0.5
    low, high = low[:, None], high[:, None]
    position = (centre - low) / np.maximum(high - low, 1e-6) * cells - 0.5  # (K, pixels)
    near = 1 - abs(position.clip(0, cells - 1)[..., None] - np.arange(cells))
    return near.clip(0) * ((centre >= low) & (centre < high))[..., None]

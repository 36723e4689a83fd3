"""The keypoint head: in which cell of a region each keypoint lies. Source: He et al., "Mask R-CNN", 2017, section 5."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn, no_grad
from minidl import functional as F

from ...models.initial import redraw, stream
from ..data.records import Target
from ..losses.matching import gathered
from ..losses.terms import Terms
from .convention import OURS, Convention
from .heads import Regions


class KeypointLoss(NamedTuple):
    """Of the V keypoints that are trained on: which of its object's each is (V,), its cell (V,), the logits of all its
    region's cells (V, M * M); the loss's terms, whose items are the regions."""

    point: np.ndarray
    cell: np.ndarray
    logits: Tensor
    terms: dict[str, Terms]


class KeypointPredictor(nn.Module):
    """A 4x4 transposed convolution that doubles the size, bilinear sampling that doubles it again."""

    def __init__(self, width: int, num_keypoints: int, rng: Any = None):
        self.kps_score_lowres = nn.ConvTranspose2d(width, num_keypoints, 4, stride=2, padding=1, rng=rng)

    def forward(self, features: Tensor) -> Tensor:
        return F.interpolate(self.kps_score_lowres(features), scale_factor=2, mode="linear")


def keypoint_head(
    channels: int, num_keypoints: int, width: int = 512, layers: int = 8, rng: Any = None
) -> dict[str, nn.Module]:
    """The "keypoint_head", `layers` 3x3 convolutions with relu, and the "keypoint_predictor" behind it.

    Features (R, channels, 14, 14) give logits (R, P, 56, 56) whatever the class. Weights start from He's
    initialisation (by fan-out), biases at 0.
    """
    rng, convs = stream(rng), []
    for i in range(layers):
        convs += [nn.Conv2d(width if i else channels, width, 3, padding=1, rng=rng), nn.ReLU()]
    head, predictor = nn.Sequential(*convs), KeypointPredictor(width, num_keypoints, rng)
    kinds = nn.Conv2d | nn.ConvTranspose2d
    for part in (head, predictor):
        redraw(part, kinds, partial(nn.init.kaiming_normal, mode="fan_out", nonlinearity="relu"), rng, bias=0)
    return {"keypoint_head": head, "keypoint_predictor": predictor}


def keypoint_loss(
    logits: Tensor, regions: Regions, targets: Sequence[Target], margin: float = 0.0
) -> KeypointLoss:
    """The mean cross entropy of a softmax over all cells, for each keypoint given that lies in its positive region
    (logits: of the positive regions alone). margin: as of `grown`, which the regions were cut out with."""
    at, cells = regions.positive, logits.shape[-1]
    image = regions.image[at]
    for n, target in enumerate(targets):
        if target.keypoints is None and len(target):
            raise ValueError(f"the keypoint head needs keypoints, target {n} has keypoints=None")
    known = [np.zeros((0, logits.shape[1], 3), np.float32) if t.keypoints is None else t.keypoints for t in targets]
    points = gathered(known, image, regions.truth[at])
    cell, inside = keypoint_cells(points, grown(regions.boxes[at], margin)[:, 1:], cells)
    region, point = inside.nonzero()
    cell, logits = cell[region, point], logits.reshape(*logits.shape[:2], cells**2)[region, point]  # (V, 56 * 56)
    value = F.cross_entropy(logits, cell, reduction="none") / max(len(region), 1)
    return KeypointLoss(point, cell, logits, {"keypoint": Terms(value, image[region], at[region])})


def grown(regions: np.ndarray, margin: float) -> np.ndarray:
    """Regions (R, 5), image, x1, y1, x2, y2 each, larger by a share of their sides on each side."""
    more = margin * (regions[:, 3:] - regions[:, 1:3])
    return regions + np.concatenate([np.zeros_like(more[:, :1]), -more, more], axis=1)


def keypoint_cells(points: np.ndarray, boxes: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The flat number of the cell that each keypoint (R, P, 3) falls into when its box (R, 4) is cut into cells^2, and
    whether it is given and in the box: (R, P) each. A point on the right or lower side belongs to the last cell."""
    low, side = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    share = (points[..., :2] - low) / np.maximum(side, 1e-6)
    inside = (points[..., 2] > 0) & ((share >= 0) & (share <= 1)).all(axis=-1)
    column, row = (np.floor(np.where(inside, share[..., k], 0) * cells).clip(0, cells - 1) for k in (0, 1))
    return (row * cells + column).astype(np.int64), inside


def keypoints_of(logits: np.ndarray, boxes: np.ndarray, convention: Convention = OURS) -> np.ndarray:
    """The centre of the likeliest cell of each keypoint and its probability: (R, P, M, M), (R, 4) -> (R, P, 3).

    By the convention of whole pixels, the logits are first brought to as many cells as the box has pixels, by cubic
    interpolation, and the third number is the highest logit.
    """
    if convention.whole_pixels:
        found = [_among_pixels(*each) for each in zip(logits, boxes)]
        return np.array(found, np.float32).reshape(*logits.shape[:2], 3)
    *_, cells = logits.shape
    flat = logits.reshape(*logits.shape[:2], cells**2)
    best = flat.argmax(axis=-1)
    chance = 1 / np.exp(flat - flat.max(axis=-1, keepdims=True)).sum(axis=-1)
    where = np.stack([best % cells + 0.5, best // cells + 0.5], axis=-1) / cells  # shares of the sides, x first
    places = boxes[:, None, :2] + where * (boxes[:, None, 2:] - boxes[:, None, :2])
    return np.concatenate([places, chance[..., None]], axis=-1).astype(np.float32)


def _among_pixels(logits: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The keypoints (P, 3) of one box, sought on its pixels: logits (P, M, M)."""
    sides = (box[2:] - box[:2]).clip(1, None)
    width, height = np.ceil(sides).astype(int).tolist()
    with no_grad():
        fine = F.interpolate(Tensor(logits[None]), size=(height, width), mode="cubic").data[0]  # (P, height, width)
    flat = fine.reshape(len(fine), height * width)
    best = flat.argmax(axis=1)
    places = box[:2] + (np.stack([best % width, best // width], axis=1) + 0.5) * (sides / (width, height))
    return np.concatenate([places, flat.max(axis=1, keepdims=True)], axis=1)

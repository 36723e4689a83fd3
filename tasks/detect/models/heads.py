"""The second stage: regions cut out of the maps, and a small network that classifies each and refines its box.

Sources: Girshick, "Fast R-CNN", ICCV 2015, section 2; the level of a region: Lin et al., "Feature pyramid networks",
CVPR 2017, equation 1. Boxes and labels are NumPy's, on the host.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F

from ...models.blocks import conv_norm
from ...models.initial import redraw, stream
from ..data.records import Target
from ..losses.matching import Drawn, Match, Positives, draw, gathered, match
from ..losses.steps import Steps
from ..losses.terms import Terms
from .backbone import Norm
from .convention import OURS, Convention, background_last

METHODS = ("align", "pool")
BOX_BINS = 7  # along a side of a region's features, for its class and box


@dataclass(frozen=True)
class HeadSettings:
    """The papers' numbers for the second stage."""

    positive: float = 0.5  # IoU with an object, at least, of a region that shows it; all others are background
    sample: int = 512  # regions of an image that are trained on
    share: float = 0.25  # of positive ones among them, at most
    hard: int = 0  # of an image's sampled regions so many are trained on, those with the largest losses; 0: all
    beta: float = 1 / 9  # of the smooth L1 loss
    weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)  # that steps are multiplied by
    score: float = 0.05  # in inference: what scores less is left out
    nms: float = 0.5
    limit: int = 100  # detections of an image
    smallest: float = 0.0  # side of a detection


PAPER_HEAD = HeadSettings()
SMALL_HEAD = HeadSettings(sample=64)  # for pictures of about 96 pixels
SMALL_OHEM = HeadSettings(sample=1000, share=1.0, hard=32)  # all regions are sampled


# --- cutting regions out


@dataclass(frozen=True)
class Crop:
    """Regions out of maps of these strides, each 2 times the one before or as large, as (R, C, size, size).

    A region of area `canonical`^2 comes from the map of stride 16, one of half that side from the map of stride 8, and
    so on, as far as there are maps. method: "align" (`F.roi_align`, sampling^2 samples a bin, and its `aligned`) or
    "pool" (`F.roi_pool`).
    """

    strides: tuple[int, ...]
    canonical: float = 224
    method: str = "align"
    sampling: int = 2
    aligned: bool = True

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"Crop: method {self.method!r} is unknown: one of {', '.join(METHODS)}")

    def level(self, boxes: np.ndarray) -> np.ndarray:
        """The map of each box (R, 4): floor(4 + log2(sqrt(w h) / canonical)), 4 being the level of stride 2^4 = 16.

        A millionth is added before rounding down, so that a side that is a power of 2 does not depend on its rounding.
        """
        sides = (boxes[:, 2:] - boxes[:, :2]).clip(0)
        side = np.sqrt(sides.prod(axis=1)).clip(1e-6)
        first, last = (round(math.log2(self.strides[i])) for i in (0, -1))
        level = np.floor(4 + np.log2(side / self.canonical) + 1e-6)
        return (level.clip(first, last) - first).astype(np.int64)

    def __call__(self, maps: Sequence[Tensor], regions: np.ndarray, size: int) -> Tensor:
        """The features of regions (R, 5), image, x1, y1, x2, y2 each, in their order; cheapest if sorted by level."""
        level = self.level(regions[:, 1:])
        parts = [self._cut(maps[i], i, regions[level == i], size) for i in np.unique(level)]
        if not parts:
            return self._cut(maps[0], 0, regions, size)
        features, order = F.concat(parts, axis=0), np.argsort(level, kind="stable")
        return features if (np.diff(level) >= 0).all() else features[np.argsort(order)]

    def _cut(self, x: Tensor, i: int, regions: np.ndarray, size: int) -> Tensor:
        scale = 1 / self.strides[i]
        if self.method == "pool":
            return F.roi_pool(x, regions, size, spatial_scale=scale)
        return F.roi_align(
            x, regions, size, spatial_scale=scale, sampling_ratio=self.sampling, aligned=self.aligned
        )


class Regions(NamedTuple):
    """Regions to train on: boxes (R, 5), image, x1, y1, x2, y2 each; the class of each, C for background; the object of
    the image's target that it is matched to; `positive` (P,), those that are not background."""

    boxes: np.ndarray
    label: np.ndarray
    truth: np.ndarray
    positive: np.ndarray

    @property
    def image(self) -> np.ndarray:
        return self.boxes[:, 0].astype(np.int64)


class Chosen(NamedTuple):
    """What the candidates of each image are matched to, which of them are drawn, and the regions that these are."""

    matches: list[Match]
    drawn: Drawn
    regions: Regions


def with_image(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Boxes (R, 5) that begin with the number of their image, out of the boxes (K, 4) of each image."""
    image = np.repeat(np.arange(len(boxes)), [len(b) for b in boxes])
    return np.concatenate([image[:, None], np.concatenate(boxes)], axis=1).astype(np.float32)


def choose(
    proposals: Sequence[np.ndarray], targets: Sequence[Target], background: int, crop: Crop, settings: HeadSettings,
    rng: np.random.Generator,
) -> Chosen:  # fmt: skip
    """A sample of the proposals and of the objects themselves, which make sure that there are positive regions.

    They come sorted by the level that `crop` takes them from. Candidates are the proposals (K, 4) of an image, then its
    objects but the crowds.
    """
    candidates = [np.concatenate([p, t.boxes[~t.crowd]]) for p, t in zip(proposals, targets)]
    limits = {"positive": settings.positive, "negative": settings.positive}
    matches = [match(boxes, target, **limits) for boxes, target in zip(candidates, targets)]
    drawn = draw(matches, settings.sample, settings.share, rng)
    boxes = gathered(candidates, drawn.image, drawn.box)
    order = np.argsort(crop.level(boxes), kind="stable")
    drawn = Drawn(*(part[order] for part in drawn))
    label = np.full(len(order), background)
    at = drawn.positive
    label[at] = gathered([t.labels for t in targets], drawn.image[at], drawn.truth[at])
    regions = np.concatenate([drawn.image[:, None], boxes[order]], axis=1).astype(np.float32)
    return Chosen(matches, drawn, Regions(regions, label, drawn.truth, np.flatnonzero(at)))


# --- class and box


class BoxLoss(NamedTuple):
    """The logits of all regions (R, C + 1), the steps of the positive ones, the losses' terms."""

    logits: Tensor
    steps: Steps
    terms: dict[str, Terms]


class TwoLayers(nn.Module):
    """Two hidden layers with relu: features (R, channels, size, size) -> (R, hidden)."""

    def __init__(self, channels: int, hidden: int, size: int, rng: Any = None):
        self.fc6 = nn.Linear(channels * size**2, hidden, rng=rng)
        self.fc7 = nn.Linear(hidden, hidden, rng=rng)

    def forward(self, features: Tensor) -> Tensor:
        x = features.reshape(len(features), self.fc6.in_features)
        return F.relu(self.fc7(F.relu(self.fc6(x))))


def convolutions_and_layer(
    channels: int, hidden: int, size: int, norm: Norm, depth: int = 4, rng: Any = None
) -> nn.Sequential:
    """`depth` 3x3 convolutions with normalisation and relu in the place of the first hidden layer of `TwoLayers`.

    Source: Wu and He, "Group normalization", ECCV 2018, section 4.2.
    """
    convs = [conv_norm(channels, channels, norm=norm, rng=rng) for _ in range(depth)]
    return nn.Sequential(*convs, nn.Flatten(), nn.Linear(channels * size**2, hidden, rng=rng), nn.ReLU())


class BoxPredictor(nn.Module):
    """A logit per class and one for the background, which is the last, and four steps per class.

    Hidden units (R, hidden) give logits (R, C + 1) and steps (R, C, 4).
    """

    def __init__(self, hidden: int, num_classes: int, convention: Convention = OURS, rng: Any = None):
        steps = num_classes + convention.background_first
        self.convention, self.steps = convention, steps
        self.cls_score = nn.Linear(hidden, num_classes + 1, rng=rng)
        self.bbox_pred = nn.Linear(hidden, 4 * steps, rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        deltas = self.bbox_pred(x).reshape(len(x), self.steps, 4)
        return background_last(self.cls_score(x), self.convention), deltas[:, int(self.convention.background_first) :]


def box_head(
    channels: int, num_classes: int, hidden: int = 1024, size: int = BOX_BINS, norm: Norm | None = None,
    convention: Convention = OURS, rng: Any = None,
) -> dict[str, nn.Module]:  # fmt: skip
    """The "box_head", hidden layers, and the "box_predictor" behind them, of regions (R, channels, size, size).

    The hidden layers start from He's initialisation, the last ones from N(0, 0.01^2) and N(0, 0.001^2) (Fast R-CNN,
    section 3), biases at 0. norm: with it the first are `convolutions_and_layer`.
    """
    rng = stream(rng)
    if norm:
        head = convolutions_and_layer(channels, hidden, size, norm, rng=rng)
    else:
        head = TwoLayers(channels, hidden, size, rng)
    predictor = BoxPredictor(hidden, num_classes, convention, rng)
    redraw(head, nn.Linear | nn.Conv2d, partial(nn.init.kaiming_normal, nonlinearity="relu"), rng, bias=0)
    for layer, std in ((predictor.cls_score, 0.01), (predictor.bbox_pred, 0.001)):
        redraw(layer, nn.Linear, partial(nn.init.normal, std=std), rng, bias=0)
    return {"box_head": head, "box_predictor": predictor}


def box_loss(
    logits: Tensor, deltas: Tensor, regions: Regions, targets: Sequence[Target], settings: HeadSettings
) -> BoxLoss:
    """Over the regions sampled in all images: "class", the mean cross entropy; "box", the smooth L1 losses of the
    positive ones' steps for their own class, summed, by the number of regions SAMPLED. With `settings.hard` both are
    over the hardest of these."""
    at, s = regions.positive, settings
    yes = Positives.of(regions.image[at], at, regions.truth[at], targets)
    steps = Steps.of(yes, regions.boxes[at, 1:], deltas[at, regions.label[at]], s.beta, s.weights)
    entropy, moved = F.cross_entropy(logits, regions.label, reduction="none"), steps.losses()
    terms = {"class": Terms(entropy, regions.image, np.arange(len(regions.label))), "box": Terms(moved, yes.image, at)}
    count = len(regions.label)
    if s.hard:
        trained = hardest(terms, regions.image, s.hard)
        terms = {name: part.among(trained) for name, part in terms.items()}
        count = int(trained.sum())
    terms = {name: part._replace(value=part.value / max(count, 1)) for name, part in terms.items()}
    return BoxLoss(logits, steps, terms)


def hardest(terms: Mapping[str, Terms], image: np.ndarray, count: int) -> np.ndarray:
    """Of the regions of each image (image (R,) says which) the `count` with the largest sums of their terms: bool (R,).

    Source: Shrivastava, Gupta and Girshick, "Training region-based object detectors with online hard example mining",
    CVPR 2016, section 4; here without suppressing regions that overlap.
    """
    loss, hard = np.zeros(len(image)), np.zeros(len(image), bool)
    for part in terms.values():
        loss[part.item] += part.value.numpy()
    for n in np.unique(image):
        of_image = np.flatnonzero(image == n)
        hard[of_image[np.argsort(-loss[of_image], kind="stable")[:count]]] = True
    return hard

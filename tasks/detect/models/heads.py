"""The second stage: regions cut out of the maps, and a small network that classifies each and refines its box.

Sources: Girshick, "Fast R-CNN", ICCV 2015, section 2; the level of a region: Lin et al., "Feature pyramid networks",
CVPR 2017, equation 1. Boxes and labels are NumPy's, on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F

from ...models.initial import redraw, stream
from ..data.records import Target
from ..losses.matching import Drawn, Match, Positives, draw, gathered, match
from ..losses.steps import Steps
from ..losses.terms import Terms

METHODS = ("align", "pool")


@dataclass(frozen=True)
class HeadSettings:
    """The papers' numbers for the second stage."""

    positive: float = 0.5  # IoU with an object, at least, of a region that shows it; all others are background
    sample: int = 512  # regions of an image that are trained on
    share: float = 0.25  # of positive ones among them, at most
    beta: float = 1 / 9  # of the smooth L1 loss
    weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)  # that steps are multiplied by
    score: float = 0.05  # in inference: what scores less is left out
    nms: float = 0.5


PAPER_HEAD = HeadSettings()
SMALL_HEAD = HeadSettings(sample=64)  # for pictures of about 96 pixels


# --- cutting regions out


@dataclass(frozen=True)
class Crop:
    """Regions out of maps of these strides, each 2 times the one before, as (R, C, size, size).

    A region of area `canonical`^2 comes from the map of stride 16, one of half that side from the map of stride 8, and
    so on, as far as there are maps. method: "align" (`F.roi_align`, sampling^2 samples a bin) or "pool" (`F.roi_pool`).
    """

    strides: tuple[int, ...]
    canonical: float = 224
    method: str = "align"
    sampling: int = 2

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"Crop: method {self.method!r} is unknown: one of {', '.join(METHODS)}")

    def level(self, boxes: np.ndarray) -> np.ndarray:
        """The map of each box (R, 4): floor(4 + log2(sqrt(w h) / canonical)), 4 being the level of stride 2^4 = 16."""
        sides = (boxes[:, 2:] - boxes[:, :2]).clip(0)
        side = np.sqrt(sides.prod(axis=1)).clip(1e-6)
        level = np.floor(4 + np.log2(side / self.canonical)) - np.log2(self.strides[0])
        return level.clip(0, len(self.strides) - 1).astype(np.int64)

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
        return F.roi_align(x, regions, size, spatial_scale=scale, sampling_ratio=self.sampling)


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


class BoxHead(nn.Module):
    """Two hidden layers, then a logit per class and one for the background (the last), and four steps per class.

    Features (R, channels, size, size) give logits (R, C + 1) and steps (R, C, 4). The hidden layers start
    from He's initialisation, the last ones from N(0, 0.01^2) and N(0, 0.001^2) (Fast R-CNN, section 3), biases at 0.
    """

    def __init__(
        self, channels: int, num_classes: int, settings: HeadSettings = PAPER_HEAD, *, hidden: int = 1024,
        size: int = 7, rng: Any = None,
    ):  # fmt: skip
        rng = stream(rng)
        self.num_classes, self.settings, self.size = num_classes, settings, size
        self.fc6 = nn.Linear(channels * size**2, hidden, rng=rng)
        self.fc7 = nn.Linear(hidden, hidden, rng=rng)
        self.classes = nn.Linear(hidden, num_classes + 1, rng=rng)
        self.deltas = nn.Linear(hidden, 4 * num_classes, rng=rng)
        for layer in (self.fc6, self.fc7):
            redraw(layer, nn.Linear, partial(nn.init.kaiming_normal, nonlinearity="relu"), rng, bias=0)
        for layer, std in ((self.classes, 0.01), (self.deltas, 0.001)):
            redraw(layer, nn.Linear, partial(nn.init.normal, std=std), rng, bias=0)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x = features.reshape(len(features), self.fc6.in_features)
        x = F.relu(self.fc7(F.relu(self.fc6(x))))
        return self.classes(x), self.deltas(x).reshape(len(x), self.num_classes, 4)

    def loss(self, logits: Tensor, deltas: Tensor, regions: Regions, targets: Sequence[Target]) -> BoxLoss:
        """Over the regions sampled in all images: "class", the mean cross entropy; "box", the smooth L1 losses of the
        positive ones' steps for their own class, summed, by the number of regions SAMPLED."""
        at, count, s = regions.positive, max(len(regions.label), 1), self.settings
        yes = Positives.of(regions.image[at], at, regions.truth[at], targets)
        steps = Steps.of(yes, regions.boxes[at, 1:], deltas[at, regions.label[at]], s.beta, s.weights)
        entropy = F.cross_entropy(logits, regions.label, reduction="none")
        terms = {
            "class": Terms(entropy / count, regions.image, np.arange(len(regions.label))),
            "box": Terms(steps.losses() / count, yes.image, at),
        }
        return BoxLoss(logits, steps, terms)

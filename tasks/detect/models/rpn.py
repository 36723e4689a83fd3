"""The region proposal network: at every anchor, is there an object, and which steps lead from the anchor to its box?

Source: Ren, He, Girshick and Sun, "Faster R-CNN: towards real-time object detection with region proposal networks",
NeurIPS 2015, section 3.1; on a pyramid Lin et al., "Feature pyramid networks", CVPR 2017, section 4.1.

The network's outputs stay on its device. What is decided from them (matching, sampling, ranking, suppression) is
decided on the host, in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn, no_grad
from minidl import functional as F

from ...models.blocks import conv_norm
from ...models.initial import redraw, stream
from ..data.records import Target
from ..losses.matching import Drawn, Match, Positives, draw, match
from ..losses.steps import Steps
from ..losses.terms import Terms
from .anchors import AnchorOutputs, Anchors
from .suppression import Candidates, best_of_each


@dataclass(frozen=True)
class RPNSettings:
    """The paper's numbers; pairs are those in training and in inference."""

    positive: float = 0.7  # IoU of a positive anchor
    negative: float = 0.3
    sample: int = 256  # anchors of an image that are trained on
    share: float = 0.5  # of positive ones among them, at most
    beta: float = 1 / 9  # of the smooth L1 loss
    before: tuple[int, int] = (2000, 1000)  # boxes of a level that go into the suppression
    after: tuple[int, int] = (2000, 1000)  # boxes of an image that are proposed
    nms: float = 0.7
    smallest: float = 1e-3  # side of a proposal
    score: float = 0.0  # probability of an object in a proposal, at least, in inference


PAPER_RPN = RPNSettings()
SMALL_RPN = RPNSettings(sample=64, before=(100, 60), after=(100, 50))  # for pictures of about 96 pixels


class RPNLoss(NamedTuple):
    """What each image's anchors are matched to, those sampled, the steps of the positive ones, the losses' terms."""

    matches: list[Match]
    drawn: Drawn
    steps: Steps
    terms: dict[str, Terms]


class RPNHead(nn.Module):
    """`depth` 3x3 convolutions with relu, and 1x1 convolutions to one logit and four steps per anchor."""

    def __init__(self, width: int, anchors: int, depth: int = 1, rng: Any = None):
        self.conv = nn.Sequential(*(conv_norm(width, width, norm=None, rng=rng) for _ in range(depth)))
        self.cls_logits = nn.Conv2d(width, anchors, 1, rng=rng)
        self.bbox_pred = nn.Conv2d(width, 4 * anchors, 1, rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(x)
        return self.cls_logits(x), self.bbox_pred(x)


class RPN(nn.Module):
    """The same head on all levels.

    Weights start from N(0, 0.01^2), biases at 0. Raises ValueError if levels differ in channels or anchors per cell.
    """

    def __init__(
        self, channels: Sequence[int], anchors: Anchors, settings: RPNSettings = PAPER_RPN, depth: int = 1,
        rng: Any = None,
    ):  # fmt: skip
        if len(set(channels)) > 1 or len(set(anchors.per_cell)) > 1:
            raise ValueError(
                "one RPN serves all levels: they need as many channels and as many anchors per cell, "
                f"got channels {tuple(channels)} and anchors {anchors.per_cell}"
            )
        rng = stream(rng)
        self.anchors, self.settings = anchors, settings
        self.head = RPNHead(channels[0], anchors.per_cell[0], depth, rng)
        redraw(self, nn.Conv2d, partial(nn.init.normal, std=0.01), rng, bias=0)

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> AnchorOutputs:
        """For images of `size` (height, width); with logits (N, A): there is one question for each anchor."""
        logits, deltas = zip(*(self.head(m) for m in maps))
        found = self.anchors.outputs(logits, deltas, 1, size)
        return found._replace(logits=found.logits[:, :, 0])

    def loss(self, found: AnchorOutputs, targets: Sequence[Target], rng: np.random.Generator) -> RPNLoss:
        """Over the anchors sampled in all images: "objectness", the mean binary cross entropy; "rpn_box", the smooth L1
        losses of the positive ones' steps, summed, by the number SAMPLED."""
        s = self.settings
        matches = [match(found.anchors, t, positive=s.positive, negative=s.negative, best=True) for t in targets]
        drawn = draw(matches, s.sample, s.share, rng)
        image, anchor, truth = (part[drawn.positive] for part in (drawn.image, drawn.box, drawn.truth))
        yes = Positives.of(image, anchor, truth, targets)
        logits, deltas = found.logits[drawn.image, drawn.box], found.deltas[image, anchor]
        entropy = F.binary_cross_entropy_with_logits(logits, drawn.positive.astype(np.float32), reduction="none")
        steps, count = Steps.of(yes, found.anchors[anchor], deltas, s.beta), max(len(drawn.box), 1)
        terms = {
            "objectness": Terms(entropy / count, drawn.image, drawn.box),
            "rpn_box": Terms(steps.losses() / count, image, anchor),
        }
        return RPNLoss(matches, drawn, steps, terms)

    def proposals(
        self, found: AnchorOutputs, sizes: Sequence[Sequence[int]], training: bool
    ) -> list[Candidates]:
        """The boxes of each image, level by level, that are kept for the second stage; they carry no gradient.

        The best anchors of each level are decoded, cut off at the border of the image (height, width), those without
        a side are dropped, and so are those that a better one of their level suppresses.
        """
        each = zip(found.logits.numpy(), found.deltas.numpy(), sizes, strict=True)
        return [self._proposed(*one, found, training) for one in each]

    def _proposed(
        self, scores: np.ndarray, deltas: np.ndarray, size: Sequence[int], found: AnchorOutputs, training: bool
    ) -> Candidates:
        s, use = self.settings, 0 if training else 1
        chosen = best_of_each(scores, found.level, s.before[use])
        with no_grad():
            boxes = F.clip_boxes(F.decode_boxes(deltas[chosen], found.anchors[chosen]), size).data
        sound = np.isfinite(scores[chosen]) & ((boxes[:, 2:] - boxes[:, :2]) >= s.smallest).all(axis=1)
        if s.score and not training:
            sound &= F.sigmoid(Tensor(scores[chosen])).data >= s.score
        chosen = chosen[sound]
        return Candidates.suppressed(chosen, found.level[chosen], boxes[sound], scores[chosen], s.nms, s.after[use])

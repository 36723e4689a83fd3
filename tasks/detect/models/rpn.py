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
from tasks.models.initial import redraw, stream

from ..data.records import Target
from ..losses.ledger import Ledger, total
from ..losses.matching import draw, gathered, match
from .anchors import Anchors
from .suppression import keep, suppression


@dataclass(frozen=True)
class RPNSettings:
    """The paper's numbers; those that differ in training and in use are pairs."""

    positive: float = 0.7  # IoU of a positive anchor
    negative: float = 0.3
    sample: int = 256  # anchors of an image that are trained on
    share: float = 0.5  # of positive ones among them, at most
    beta: float = 1 / 9  # of the smooth L1 loss
    before: tuple[int, int] = (2000, 1000)  # boxes of a level that go into the suppression
    after: tuple[int, int] = (2000, 1000)  # boxes of an image that are proposed
    nms: float = 0.7
    smallest: float = 1e-3  # side of a proposal


PAPER_RPN = RPNSettings()
SMALL_RPN = RPNSettings(sample=64, before=(100, 60), after=(100, 50))  # for pictures of about 96 pixels


class Found(NamedTuple):
    """What the network says of each of A anchors in N images, and the anchors."""

    objectness: Tensor  # (N, A), logits
    deltas: Tensor  # (N, A, 4), steps as `F.encode_boxes` counts them
    anchors: np.ndarray  # (A, 4)
    level: np.ndarray  # (A,)


class RPN(nn.Module):
    """A 3x3 convolution with relu, and 1x1 convolutions to one logit and four steps per anchor, shared by all levels.

    Weights start from N(0, 0.01^2), biases at 0. Raises ValueError if levels differ in channels or anchors per cell.
    """

    def __init__(
        self, channels: Sequence[int], anchors: Anchors, settings: RPNSettings = PAPER_RPN, rng: Any = None
    ):
        if len(set(channels)) > 1 or len(set(anchors.per_cell)) > 1:
            raise ValueError(
                "one RPN serves all levels: they need as many channels and as many anchors per cell, "
                f"got channels {tuple(channels)} and anchors {anchors.per_cell}"
            )
        rng = stream(rng)
        width, each = channels[0], anchors.per_cell[0]
        self.anchors, self.settings = anchors, settings
        self.conv = nn.Conv2d(width, width, 3, padding=1, rng=rng)
        self.objectness = nn.Conv2d(width, each, 1, rng=rng)
        self.deltas = nn.Conv2d(width, 4 * each, 1, rng=rng)
        redraw(self, nn.Conv2d, partial(nn.init.normal, std=0.01), rng, bias=0)

    def forward(self, maps: Sequence[Tensor]) -> Found:
        hidden = [F.relu(self.conv(m)) for m in maps]
        objectness = F.concat([per_anchor(self.objectness(h), 1) for h in hidden], axis=1)
        deltas = F.concat([per_anchor(self.deltas(h), 4) for h in hidden], axis=1)
        return Found(objectness[:, :, 0], deltas, *self.anchors.boxes([m.shape[2:] for m in maps]))

    # --- training

    def losses(
        self, found: Found, targets: Sequence[Target], rng: np.random.Generator, ledger: Ledger | None = None
    ) -> dict[str, Tensor]:
        """Over the anchors sampled in all images: "objectness", the mean binary cross entropy; "rpn_box", the smooth L1
        losses of the positive ones' steps, summed, by the number SAMPLED."""
        s = self.settings
        matches = [match(found.anchors, t, positive=s.positive, negative=s.negative, best=True) for t in targets]
        drawn = draw(matches, s.sample, s.share, rng)
        positive = np.flatnonzero(drawn.positive)
        image, anchor, truth = (part[positive] for part in (drawn.image, drawn.box, drawn.truth))
        wanted = encoded(gathered([t.boxes for t in targets], image, truth), found.anchors[anchor])
        asked, steps = found.objectness[drawn.image, drawn.box], found.deltas[image, anchor]
        yes_no = F.binary_cross_entropy_with_logits(asked, drawn.positive.astype(np.float32), reduction="none")
        misses = F.smooth_l1_loss(steps, wanted, beta=s.beta, reduction="none").sum(axis=1)
        count = max(len(drawn.box), 1)
        if ledger is not None:
            ledger["rpn"] = {
                "anchors": found.anchors, "level": found.level, "objectness": found.objectness.numpy(),
                "deltas": found.deltas.numpy(), "match": matches, "drawn": drawn, "positive": positive,
                "wanted": wanted, "steps": steps.numpy(),
            }  # fmt: skip
        return {
            "objectness": total("objectness", yes_no / count, ledger, drawn.image, drawn.box),
            "rpn_box": total("rpn_box", misses / count, ledger, image, anchor),
        }

    # --- proposals

    def proposals(
        self, found: Found, size: Sequence[int], training: bool, ledger: Ledger | None = None
    ) -> list[np.ndarray]:
        """The boxes (P, 4) of each image that are worth a second look, best first; they carry no gradient.

        The best anchors of each level are decoded, cut off at the border of the image (height, width), those that are
        left without a side are dropped, and so are those that a better one of their level suppresses.
        """
        scores, deltas = found.objectness.numpy(), found.deltas.numpy()
        pages = None if ledger is None else ledger.setdefault("proposals", [])
        return [self._proposed(*pair, found, size, 0 if training else 1, pages) for pair in zip(scores, deltas)]

    def _proposed(
        self, scores: np.ndarray, deltas: np.ndarray, found: Found, size: Sequence[int], use: int, pages: list | None
    ) -> np.ndarray:
        s = self.settings
        chosen = best_of_each(scores, found.level, s.before[use])
        with no_grad():
            boxes = F.clip_boxes(F.decode_boxes(deltas[chosen], found.anchors[chosen]), size).data
        sound = np.isfinite(scores[chosen]) & ((boxes[:, 2:] - boxes[:, :2]) >= s.smallest).all(axis=1)
        chosen, boxes = chosen[sound], boxes[sound]
        ranked = boxes, scores[chosen], found.level[chosen], s.nms
        kept = keep(*ranked)[: s.after[use]]
        if pages is not None:
            pages.append(
                {"anchor": chosen, "boxes": boxes, "scores": ranked[1], "kept": kept, "nms": suppression(*ranked)}
            )
        return boxes[kept]


def per_anchor(x: Tensor, entries: int) -> Tensor:
    """A map's K * entries channels as entries of each anchor, in the order of the anchors: (N, H * W * K, entries)."""
    n, channels, h, w = x.shape
    x = x.reshape(n, channels // entries, entries, h, w).transpose(0, 3, 4, 1, 2)  # (N, K, E, H, W) -> (N, H, W, K, E)
    return x.reshape(n, h * w * (channels // entries), entries)


def encoded(boxes: np.ndarray, anchors: np.ndarray, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> np.ndarray:
    """The steps from the anchors to the boxes, both (P, 4), as data."""
    with no_grad():
        return F.encode_boxes(Tensor(boxes), anchors, weights).data


def best_of_each(scores: np.ndarray, level: np.ndarray, count: int) -> np.ndarray:
    """The positions of the `count` highest scores of each level, a level after the other, best first."""
    picked = []
    for i in np.unique(level):
        of_level = np.flatnonzero(level == i)
        picked.append(of_level[np.argsort(-scores[of_level], kind="stable")[:count]])
    return np.concatenate(picked)

"""Which box is matched to which object, and which boxes are trained on. On the host: arrays are NumPy's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minidl import Tensor, no_grad
from minidl import functional as F

from ..data.records import Target

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
COVERED = 0.5  # share of a box inside a crowd region from which it is not known what it should find


class Match(NamedTuple):
    """What A boxes are matched to.

    iou (A,) with the object a box overlaps most, 0 if there is none; truth (A,) the number of the object in the target
    that it is matched to; labels (A,) POSITIVE, NEGATIVE or IGNORED; best_for (A,) the object that it is the best box
    for, -1 if for none.
    """

    iou: np.ndarray
    truth: np.ndarray
    labels: np.ndarray
    best_for: np.ndarray


def match(
    boxes: np.ndarray, target: Target, *, positive: float, negative: float, best: bool = False, claimed: bool = False
) -> Match:
    """Match boxes (A, 4) with the objects of a picture.

    A box is positive if its IoU with some object is at least `positive`, negative if it is below `negative` with all,
    else ignored. With `best`, the boxes with the highest IoU with an object are positive whatever that IoU, if it is
    not 0, so that every object has one; they stay matched to the object they overlap most themselves, or, with
    `claimed`, to the one they are best for (SSD). Crowd regions are no objects; boxes half covered by one are ignored
    where they would be negative. Source: Ren et al., "Faster R-CNN", 2015, section 3.1.2.
    """
    objects = np.flatnonzero(~target.crowd)
    iou = overlap(boxes, target.boxes[objects])  # (A, K)
    if not objects.size:
        highest, truth = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), np.int64)
        best_for = np.full(len(boxes), -1)
    else:
        highest, truth = iou.max(axis=1), objects[iou.argmax(axis=1)]
        best_for = _best_for(iou, objects)
    labels = np.where(highest >= positive, POSITIVE, np.where(highest < negative, NEGATIVE, IGNORED))
    if best:
        labels[best_for >= 0] = POSITIVE
        if claimed:
            truth = np.where(best_for >= 0, best_for, truth)
    labels[(labels == NEGATIVE) & (_share_inside(boxes, target.boxes[target.crowd]) > COVERED)] = IGNORED
    return Match(highest, truth, labels, best_for)


def sample(labels: np.ndarray, count: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` boxes to train on: the positions of the positive ones and of the negative ones, ascending.

    At most ``count * share`` are positive; negative ones fill up the rest, as far as there are any.
    """
    positive, negative = np.flatnonzero(labels == POSITIVE), np.flatnonzero(labels == NEGATIVE)
    positive = _drawn(positive, int(count * share), rng)
    return positive, _drawn(negative, count - len(positive), rng)


class Drawn(NamedTuple):
    """The boxes of all images that are trained on, (S,) each: the image, the box in it, is it positive?, the object in
    the image's target that it is matched to."""

    image: np.ndarray
    box: np.ndarray
    positive: np.ndarray
    truth: np.ndarray


def draw(matches: Sequence[Match], count: int, share: float, rng: np.random.Generator) -> Drawn:
    """A `sample` of each image, the positive ones of an image first."""
    parts = []
    for n, matched in enumerate(matches):
        positive, negative = sample(matched.labels, count, share, rng)
        box = np.concatenate([positive, negative])
        parts.append((np.full(len(box), n), box, np.arange(len(box)) < len(positive), matched.truth[box]))
    return Drawn(*map(np.concatenate, zip(*parts)))


def hard_negatives(losses: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Of each image the negative boxes with the largest losses (N, A), `share` for each positive one: bool (N, A)."""
    hard = np.zeros(labels.shape, bool)
    for chosen, loss, label in zip(hard, losses, labels):
        negative = np.flatnonzero(label == NEGATIVE)
        count = int(share * np.count_nonzero(label == POSITIVE))
        chosen[negative[np.argsort(-loss[negative], kind="stable")[:count]]] = True
    return hard


class Positives(NamedTuple):
    """The P boxes that are matched to an object: their image and their number in it, the number of the object in the
    image's target, its box (P, 4) and its class."""

    image: np.ndarray
    item: np.ndarray
    truth: np.ndarray
    boxes: np.ndarray
    label: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, item: np.ndarray, truth: np.ndarray, targets: Sequence[Target]) -> Positives:
        """With the boxes and the classes of the objects."""
        boxes, labels = (gathered([getattr(t, name) for t in targets], image, truth) for name in ("boxes", "labels"))
        return cls(image, item, truth, boxes, labels)

    @classmethod
    def among(cls, matches: Sequence[Match], targets: Sequence[Target]) -> Positives:
        """All that are positive."""
        image, item = np.nonzero(np.stack([m.labels for m in matches]) == POSITIVE)
        return cls.of(image, item, np.stack([m.truth for m in matches])[image, item], targets)


def gathered(parts: Sequence[np.ndarray], image: np.ndarray, index: np.ndarray) -> np.ndarray:
    """``parts[image[i]][index[i]]`` for every i: rows of arrays that each image has one of."""
    first = np.cumsum([0, *map(len, parts)])[:-1]
    return np.concatenate(parts)[first[image] + index]


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The IoU of every pair, (A, 4) and (B, 4) -> (A, B)."""
    with no_grad():
        return F.box_iou(Tensor(a), Tensor(b)).data


def _best_for(iou: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """For each row of iou (A, K) the object of whose column it has the largest entry (any of equals), or -1."""
    largest = iou.max(axis=0, initial=0)
    claims = (iou == largest) & (largest > 0)
    return np.where(claims.any(axis=1), objects[np.where(claims, iou, -1).argmax(axis=1)], -1)


def _share_inside(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """How much of each box (A, 4) lies in the region that covers most of it: (A,)."""
    if not len(regions):
        return np.zeros(len(boxes), np.float32)
    low = np.maximum(boxes[:, None, :2], regions[:, :2])
    high = np.minimum(boxes[:, None, 2:], regions[:, 2:])
    area = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    return (high - low).clip(0).prod(axis=2).max(axis=1) / np.where(area == 0, 1, area)


def _drawn(positions: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    if len(positions) <= count:
        return positions
    return np.sort(rng.choice(positions, count, replace=False))

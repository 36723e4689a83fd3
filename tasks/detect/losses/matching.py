"""Which anchor answers for which object, and which anchors are trained on. On the host: arrays are NumPy's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minidl import Tensor, no_grad
from minidl import functional as F

from ..data.records import Target

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
COVERED = 0.5  # of a box's area inside a crowd region: it is not known what it should find


class Match(NamedTuple):
    """Of each of A boxes: what it should say.

    iou (A,) with the object it overlaps most, 0 if there is none; truth (A,) the number of that object in the target;
    labels (A,) POSITIVE, NEGATIVE or IGNORED; best_for (A,) the object that it is the best box for, -1 if for none.
    """

    iou: np.ndarray
    truth: np.ndarray
    labels: np.ndarray
    best_for: np.ndarray


def match(
    boxes: np.ndarray, target: Target, *, positive: float, negative: float, best: bool = False, claimed: bool = False
) -> Match:
    """Compare boxes (A, 4) with the objects of a picture.

    A box is positive if its IoU with some object is at least `positive`, negative if it is below `negative` with all,
    else ignored. With `best`, the boxes that overlap an object more than all others do are positive whatever their IoU,
    if it is not 0, so that no object goes without; they still answer for the object they overlap most themselves, or,
    with `claimed`, for the one that claims them (SSD). Crowd regions are no objects; boxes half covered by one are
    ignored where they would be negative. Source: Ren et al., "Faster R-CNN", 2015, section 3.1.2.
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
    the image's target that it answers for."""

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

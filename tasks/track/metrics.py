"""Scores of tracking: MOTA, IDF1, HOTA, and the average precision of tubes.

A sequence is a list of frames, each a dict from the number of an object to its box (x1, y1, x2, y2); numbers of other
clips are others. Sources: Bernardin and Stiefelhagen, "Evaluating multiple object tracking performance", 2008 (MOTA);
Ristani et al., "Performance measures and a data set for multi-target, multi-camera tracking", 2016 (IDF1); Luiten et
al., "HOTA: a higher order metric for evaluating multi-object tracking", IJCV 129, 2021, eq. 11 to 16 and section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .tubes import box_overlap, tube_overlap

Frames = Sequence[dict[int, np.ndarray]]
THRESHOLDS = np.arange(0.05, 0.99, 0.05)  # of overlap, for HOTA
SAME = 0.5  # overlap from which on MOTA and IDF1 count a box as found


class Tracking(NamedTuple):
    """MOTA, IDF1, HOTA with its two parts, and the number of switches of identity."""

    mota: float
    idf1: float
    hota: float
    deta: float
    assa: float
    switches: int


def tracking(truth: Frames, found: Frames) -> Tracking:
    """The scores of a sequence. Raises ValueError if there is no object in it."""
    if not any(truth):
        raise ValueError("no object in any frame: nothing to score")
    overlaps = [box_overlap(boxes(t), boxes(f)) for t, f in zip(truth, found, strict=True)]
    objects, tracks = (numbered(frames) for frames in (truth, found))
    mota, switches = clear(truth, found, overlaps)
    deta, assa, hota = higher_order(truth, found, overlaps, objects, tracks)
    return Tracking(mota, identity_f1(truth, found, overlaps, objects, tracks), hota, deta, assa, switches)


def boxes(frame: dict[int, np.ndarray]) -> np.ndarray:
    return np.array(list(frame.values()), float).reshape(-1, 4)


def numbered(frames: Frames) -> dict[int, int]:
    """A row for each object."""
    return {number: row for row, number in enumerate(dict.fromkeys(n for frame in frames for n in frame))}


def assigned(worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs (rows, columns) of the largest total worth, without those that are worth nothing."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(worth, maximize=True)
    good = worth[rows, columns] > 0
    return rows[good], columns[good]


def clear(truth: Frames, found: Frames, overlaps: Sequence[np.ndarray]) -> tuple[float, int]:
    """MOTA = 1 - (missed + false + switches) / objects; pairs of the frame before are kept where they still overlap."""
    missed = false = switches = total = 0
    last: dict[int, int] = {}  # the track that each object was found by when it was last found
    before: dict[int, int] = {}  # in the frame before
    for objects, tracks, overlap in zip(truth, found, overlaps):
        ids, others = list(objects), list(tracks)
        kept = np.array([[before.get(i) == j for j in others] for i in ids], bool).reshape(len(ids), len(others))
        rows, columns = assigned(np.where(overlap >= SAME, overlap + 1000 * kept, 0))
        now = {ids[r]: others[c] for r, c in zip(rows, columns)}
        switches += sum(last.get(i, j) != j for i, j in now.items())
        missed, false, total = missed + len(ids) - len(now), false + len(others) - len(now), total + len(ids)
        last |= now
        before = now
    return 1 - (missed + false + switches) / total, switches


def identity_f1(
    truth: Frames, found: Frames, overlaps: Sequence[np.ndarray], objects: dict[int, int], tracks: dict[int, int]
) -> float:
    """2 * right / (boxes of objects + boxes of tracks), each object having the one track that makes `right` largest."""
    right = np.zeros((len(objects), len(tracks)))
    for frame, other, overlap in zip(truth, found, overlaps):
        rows, columns = np.nonzero(overlap >= SAME)
        ids, others = list(frame), list(other)
        np.add.at(right, ([objects[ids[r]] for r in rows], [tracks[others[c]] for c in columns]), 1)
    rows, columns = assigned(right)
    return float(2 * right[rows, columns].sum() / (sum(map(len, truth)) + sum(map(len, found))))


def higher_order(
    truth: Frames, found: Frames, overlaps: Sequence[np.ndarray], objects: dict[int, int], tracks: dict[int, int]
) -> tuple[float, float, float]:
    """(DetA, AssA, HOTA), means over the thresholds."""
    of_object, of_track = np.zeros(len(objects)), np.zeros(len(tracks))
    likely = np.zeros((len(objects), len(tracks)))  # how well each pair fits over the whole sequence
    places = []
    for frame, other, overlap in zip(truth, found, overlaps):
        rows, columns = [objects[i] for i in frame], [tracks[j] for j in other]
        places.append((rows, columns))
        of_object[rows] += 1
        of_track[columns] += 1
        union = overlap.sum(axis=0, keepdims=True) + overlap.sum(axis=1, keepdims=True) - overlap
        share = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 1e-12)
        likely[np.ix_(rows, columns)] += share
    likely /= of_object[:, None] + of_track - likely
    both = np.zeros((len(THRESHOLDS), *likely.shape))  # frames in which a pair is matched
    for (rows, columns), overlap in zip(places, overlaps):
        r, c = assigned(likely[np.ix_(rows, columns)] * overlap)
        high = overlap[r, c] >= THRESHOLDS[:, None] - 1e-12  # (thresholds, pairs)
        np.add.at(both, (slice(None), np.array(rows, int)[r], np.array(columns, int)[c]), high)
    right = both.sum(axis=(1, 2))
    detection = right / (of_object.sum() + of_track.sum() - right)
    pair = both / np.maximum(1, of_object[:, None] + of_track - both)
    association = (both * pair).sum(axis=(1, 2)) / np.maximum(1, right)
    return float(detection.mean()), float(association.mean()), float(np.sqrt(detection * association).mean())


def tube_precision(
    truth: Sequence[tuple[np.ndarray, np.ndarray]], found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    least: float = 0.5,
) -> float:  # fmt: skip
    """The mean over classes of the area under precision against recall, of tubes with an overlap of at least `least`.

    truth: of each clip tubes (K, T, 4) and classes (K,); found: tubes, classes and scores. Precision is made monotone.
    """
    classes = sorted({int(c) for _, labels in truth for c in labels})
    if not classes:
        raise ValueError("no tube in any clip: nothing to score")
    areas = []
    for c in classes:
        scored, right, total = [], [], 0
        for (tubes, labels), (others, guesses, scores) in zip(truth, found, strict=True):
            mine, total = tubes[labels == c], total + int((labels == c).sum())
            chosen = np.flatnonzero(guesses == c)[np.argsort(-scores[guesses == c], kind="stable")]
            overlap, taken = tube_overlap(others[chosen], mine), np.zeros(len(mine), bool)
            for row, i in zip(overlap, chosen):
                best = int(np.argmax(np.where(taken, -1, row))) if len(mine) else -1
                hit = best >= 0 and not taken[best] and row[best] >= least
                if hit:
                    taken[best] = True
                scored.append(scores[i])
                right.append(hit)
        order = np.argsort(-np.array(scored), kind="stable")
        hits = np.cumsum(np.array(right, float)[order]) if scored else np.zeros(0)
        precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
        areas.append(float((np.diff(hits / total, prepend=0) * precision).sum()))
    return float(np.mean(areas))

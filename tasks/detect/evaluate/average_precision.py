"""Average precision of detections, by COCO's rules and by PASCAL VOC's.

Detections of a class are gone through from the best score to the worst; each is right if it takes an object that no
better one has taken. Precision is the share of those so far that are right, recall the share of the objects that were
found. Average precision is the area below precision over recall, where precision is first made to fall: at each recall
the highest that is reached there or further on.

Sources: Lin et al., "Microsoft COCO", 2014, and the evaluation at cocodataset.org; Everingham et al., "The PASCAL
visual object classes challenge", 2010, section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..data.records import Detections, Target
from .overlap import box_overlap, keypoint_similarity, mask_overlap

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
LIMIT = {"boxes": 100, "masks": 100, "keypoints": 20}  # detections of a class in a picture that count
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
BLOCK = 256  # groups that are matched at a time


def coco_ap(
    truths: Sequence[Target],
    found: Sequence[Detections],
    classes: int,
    kind: str = "boxes",
    *,
    limit: int | None = None,
    sizes: tuple[float, float] = (32, 96),
    sigmas: Sequence[float] | None = None,
) -> dict:
    """COCO's average precision of what was found in pictures, in [0, 1]; NaN where there is nothing to find.

    AP is the mean over IoU .5, .55, ..., .95 and classes, precision being read at 101 recalls; AP50 and AP75 are at one
    IoU; APs, APm and APl count objects of less than sizes[0]^2 pixels, up to sizes[1]^2, and more. ``["classes"]`` is a
    list with these six for each class. Of a class, the `limit` best detections in a picture count: 100, or 20 for
    keypoints. Detections that match a crowd, or an object of another size, are neither right nor wrong.
    `kind` is "boxes", "masks" or "keypoints"; for the last, IoU is `keypoint_similarity` with these `sigmas`.
    Raises ValueError if the two do not belong together.
    """
    if kind not in LIMIT:
        raise ValueError(f"kind={kind!r} is none of {', '.join(LIMIT)}")
    _require(truths, found, classes, kind)
    small, large = (float(side) ** 2 for side in sizes)
    ranges = np.array([(0, 1e10), (0, small), (small, large), (large, 1e10)])
    limit = LIMIT[kind] if limit is None else limit
    groups = _groups(truths, found, kind, limit, lambda t, f: _compared(kind, t, f, sigmas))
    rows = []
    for c in range(classes):
        matches, total = _matches([group for group in groups if group.label == c], ranges)
        rows.append(_six([_areas_at_101(matches, r, total[r]) for r in range(len(ranges))]))
    return {name: _mean([row[name] for row in rows]) for name in NAMES} | {"classes": rows}


def voc_ap(
    truths: Sequence[Target],
    found: Sequence[Detections],
    classes: int,
    *,
    threshold: float = 0.5,
    eleven: bool = False,
) -> dict:
    """PASCAL VOC's average precision of boxes, in [0, 1], as {"AP": the mean, "classes": one each}; NaN if none exists.

    A detection belongs to the object with the highest IoU. It is right if that is at least `threshold` and no better
    one took the object, and does not count if the object is difficult (`crowd`). The area below the falling precision
    is exact, as of VOC 2010, or, with `eleven`, its mean at the recalls 0, 0.1, ..., 1, as in VOC 2007.
    """
    _require(truths, found, classes, "boxes")
    rights: list[list] = [[] for _ in range(classes)]
    scores: list[list] = [[] for _ in range(classes)]
    total = np.zeros(classes, int)
    for group in _groups(truths, found, "boxes", None, lambda t, f: box_overlap(f.boxes, t.boxes)):
        total[group.label] += np.count_nonzero(~group.crowd)
        taken = np.zeros(len(group.crowd), bool)
        for score, overlaps in zip(group.scores, group.overlaps):
            best = overlaps.argmax() if overlaps.size else None
            hit = best is not None and overlaps[best] >= threshold
            if hit and group.crowd[best]:
                continue
            scores[group.label].append(score)
            rights[group.label].append(hit and not taken[best])
            if hit:
                taken[best] = True
    per_class = []
    for c in range(classes):
        order = np.argsort(-np.array(scores[c]), kind="stable")
        per_class.append(_voc_area(np.array(rights[c], bool)[order], int(total[c]), eleven))
    return {"AP": _mean(per_class), "classes": per_class}


def _require(truths: Sequence[Target], found: Sequence[Detections], classes: int, kind: str) -> None:
    if len(truths) != len(found):
        raise ValueError(f"average precision needs the detections of each picture: {len(found)} of {len(truths)} came")
    for i, records in enumerate(zip(truths, found)):
        for what, record in zip(("target", "detections"), records):
            if len(record) and record.labels.max() >= classes:
                raise ValueError(f"{what} {i}: label {record.labels.max()}, but {classes} classes end at {classes - 1}")
            if len(record) and getattr(record, kind) is None:
                raise ValueError(f"{what} {i} has no {kind}; give them for every picture, or ask for another kind")


def _mean(values: Sequence[float]) -> float:
    """The mean of those that are not NaN."""
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


# --- detections and objects of one class in one picture


class Group(NamedTuple):
    """G objects and D detections, best first, of one class in one picture."""

    label: int
    picture: int
    scores: np.ndarray  # (D,)
    sizes: np.ndarray  # (D,), areas of what was found
    overlaps: np.ndarray  # (D, G)
    areas: np.ndarray  # (G,)
    crowd: np.ndarray  # bool (G,)
    left_out: np.ndarray  # bool (G,), objects that do not count: crowds, and those without a keypoint


def _groups(
    truths: Sequence[Target],
    found: Sequence[Detections],
    kind: str,
    limit: int | None,
    compare: Callable[[Target, Detections], np.ndarray],
) -> list[Group]:
    """What there is to match; classes of which a picture has neither objects nor detections are left out."""
    groups = []
    for i, (truth, guess) in enumerate(zip(truths, found)):
        for label in np.union1d(truth.labels, guess.labels):
            t, f = truth[truth.labels == label], guess[guess.labels == label][:limit]
            overlaps = compare(t, f) if len(t) and len(f) else np.zeros((len(f), len(t)))
            left_out = t.crowd
            if kind == "keypoints" and len(t):
                left_out = left_out | ~(t.keypoints[..., 2] > 0).any(axis=1)
            sizes = _sizes(kind, f) if len(f) else np.zeros(0)
            groups.append(Group(int(label), i, f.scores, sizes, overlaps, t.areas.astype(float), t.crowd, left_out))
    return groups


def _compared(kind: str, t: Target, f: Detections, sigmas: Sequence[float] | None) -> np.ndarray:
    if kind == "boxes":
        return box_overlap(f.boxes, t.boxes, t.crowd)
    if kind == "masks":
        return mask_overlap(f.masks, t.masks, t.crowd)
    return keypoint_similarity(f.keypoints, t.keypoints, t.areas, t.boxes, sigmas)


def _sizes(kind: str, f: Detections) -> np.ndarray:
    """The area of each detection: of its box, its mask, or the box around its keypoints."""
    if kind == "masks":
        return f.masks.sum(axis=(1, 2), dtype=np.float64)
    if kind == "boxes":
        low, high = f.boxes[:, :2], f.boxes[:, 2:]
    else:
        low, high = f.keypoints[..., :2].min(axis=1), f.keypoints[..., :2].max(axis=1)
    return (high.astype(np.float64) - low).prod(axis=1)


# --- COCO


class Matches(NamedTuple):
    """All detections of a class, best first, R ranges of sizes, T IoUs."""

    right: np.ndarray  # bool (D, R, T)
    counts: np.ndarray  # bool (D, R, T); those that do not are neither right nor wrong


def _matches(groups: list[Group], ranges: np.ndarray) -> tuple[Matches, np.ndarray]:
    """Every detection against the objects of its picture; and how many objects there are to find, int (R,)."""
    shape = (0, len(ranges), len(IOUS))
    scores, pictures = [np.zeros(0)], [np.zeros(0, int)]
    right, counts = [np.zeros(shape, bool)], [np.zeros(shape, bool)]
    total = np.zeros(len(ranges), int)
    groups = sorted(groups, key=lambda group: len(group.areas))  # like with like: less padding
    for start in range(0, len(groups), BLOCK):
        block = sorted(groups[start : start + BLOCK], key=lambda group: -len(group.scores))
        total += sum((~_ignored(group, ranges)).sum(axis=1) for group in block)
        for group, (r, c) in zip(block, _matched(block, ranges)):
            scores.append(group.scores)
            pictures.append(np.full(len(r), group.picture))
            right.append(r)
            counts.append(c)
    order = np.lexsort((np.concatenate(pictures), -np.concatenate(scores)))  # best first; of equals, as given
    return Matches(np.concatenate(right)[order], np.concatenate(counts)[order]), total


def _ignored(group: Group, ranges: np.ndarray) -> np.ndarray:
    """Objects that need not be found: bool (R, G)."""
    return group.left_out | _outside(group.areas, ranges)


def _outside(sizes: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Whether each of N sizes lies outside each range: bool (R, N)."""
    return (sizes < ranges[:, :1]) | (sizes > ranges[:, 1:])


def _matched(block: list[Group], ranges: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which detections are right and which count, (D, R, T) each, for groups that come with the most detections first.

    A detection takes, of the objects that no better one took and whose IoU with it is large enough, the one with the
    largest IoU (of equals the last); one that counts before one that does not. A crowd can be taken again and again.
    All groups take their d-th detection at once.
    """
    n, most = len(block), max(1, *(len(group.areas) for group in block))
    deep = len(block[0].scores)
    shape = (n, len(ranges), len(IOUS))
    overlaps, crowd = np.full((n, deep, most), -1.0), np.zeros((n, most), bool)
    ignored, free = np.ones((n, len(ranges), 1, most), bool), np.zeros((*shape, most), bool)
    small_or_large = np.zeros((n, len(ranges), deep), bool)
    for k, group in enumerate(block):
        d, g = group.overlaps.shape
        overlaps[k, :d, :g], crowd[k, :g], free[k, ..., :g] = group.overlaps, group.crowd, True
        ignored[k, :, 0, :g], small_or_large[k, :, :d] = _ignored(group, ranges), _outside(group.sizes, ranges)
    right, counts = np.zeros((deep, *shape), bool), np.zeros((deep, *shape), bool)
    for d in range(deep):
        n = sum(len(group.scores) > d for group in block)  # the first n groups have a d-th detection
        overlap = overlaps[:n, d, None, None]  # (n, 1, 1, G)
        fits = (free[:n] | crowd[:n, None, None]) & (overlap >= IOUS[:, None])  # (n, R, T, G)
        better = fits & ~ignored[:n]
        fits = np.where(better.any(axis=3, keepdims=True), better, fits)
        chosen = most - 1 - np.where(fits, overlap, -1)[..., ::-1].argmax(axis=3)[..., None]  # (n, R, T, 1)
        hit = np.take_along_axis(fits, chosen, axis=3)
        np.put_along_axis(free[:n], chosen, np.take_along_axis(free[:n], chosen, axis=3) & ~hit, axis=3)
        void = np.take_along_axis(np.broadcast_to(ignored[:n], fits.shape), chosen, axis=3)
        right[d, :n] = (hit & ~void)[..., 0]
        counts[d, :n] = ~np.where(hit, void, small_or_large[:n, :, None, d, None])[..., 0]
    return [(right[: len(group.scores), k], counts[: len(group.scores), k]) for k, group in enumerate(block)]


def _areas_at_101(matches: Matches, r: int, total: int) -> np.ndarray:
    """The mean of the falling precision at 101 recalls, for sizes of range r: float64 (T,); NaN if nothing is there."""
    if not total:
        return np.full(len(IOUS), np.nan)
    right, counts = matches.right[:, r], matches.counts[:, r]
    found, detected = np.cumsum(right, axis=0), np.cumsum(counts, axis=0)
    precision = found / np.maximum(detected, 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    falling = np.concatenate([falling, np.zeros((1, len(IOUS)))])  # where a recall is never reached
    at = [np.searchsorted(found[:, t] / total, RECALLS) for t in range(len(IOUS))]
    return np.array([falling[rows, t].mean() for t, rows in enumerate(at)])


def _six(areas: list[np.ndarray]) -> dict[str, float]:
    """From (T,) for all sizes, small, medium, large."""
    every, *by_size = areas
    values = every.mean(), every[0], every[5], *(part.mean() for part in by_size)
    return dict(zip(NAMES, map(float, values)))


# --- PASCAL VOC


def _voc_area(right: np.ndarray, total: int, eleven: bool) -> float:
    """The area below the falling precision of detections (D,), best first."""
    if not total:
        return float("nan")
    found = np.cumsum(right)
    precision, recall = found / np.arange(1, len(right) + 1), found / total
    falling = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
    if eleven:
        return float(falling[np.searchsorted(recall, np.arange(11) / 10)].mean())
    return float((falling[:-1] * np.diff(recall, prepend=0)).sum())

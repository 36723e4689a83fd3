"""The stages of inference: boxes that score, which suppresses which, what is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from minidl import functional as F

from ...losses.matching import overlap
from ...models.suppression import Candidates
from .anchors import TRUTH, decoding
from .stage import MOST, Case, Group, Row, Sheet, Stage, Table, cells, counted, left_out, shade, text

RANKED = 100  # boxes of a suppression that are listed
PART = "Inference"
LIMIT = 100  # detections
CLIPPED = "Boxes are cut off at the border of the picture."
SIDES = ("x1", "y1", "x2", "y2")


class Suppression(NamedTuple):
    """What became of N boxes: by (N,) the position of the box that suppressed each, -1 for none; iou (N,) with it."""

    by: np.ndarray
    iou: np.ndarray


def suppression(candidates: Candidates, threshold: float) -> Suppression:
    """Which kept box (the best of those that would) suppressed each of the others. Without a limit on what is kept."""
    _, group, boxes, scores, _ = candidates
    kept = F.batched_nms(boxes, scores, group, threshold).data
    by, iou = np.full(len(boxes), -1), np.zeros(len(boxes), np.float32)
    if kept.size:
        overlaps = overlap(boxes, boxes[kept])  # (N, K), best first
        hits = (overlaps > threshold) & (group[:, None] == group[kept])
        dropped = np.ones(len(boxes), bool)
        dropped[kept] = False
        first = hits[dropped].argmax(axis=1)
        by[dropped], iou[dropped] = kept[first], overlaps[dropped, first]
    return Suppression(by, iou)


@dataclass(frozen=True)
class Ranking:
    """Boxes that compete, the name of each one's group (class or level), the probability that is shown for it, and the
    threshold of the suppression."""

    candidates: Candidates
    group: Sequence[str]
    shown: np.ndarray
    threshold: float

    @cached_property
    def nms(self) -> Suppression:
        """What became of each."""
        return suppression(self.candidates, self.threshold)

    def order(self) -> np.ndarray:
        """The positions of the boxes, best first, as the suppression goes through them."""
        return np.argsort(-self.candidates.scores, kind="stable")


def refined(
    key: str, part: str, title: str, html: str, ranked: Ranking, start: np.ndarray, names: tuple[str, str]
) -> Stage:
    """The boxes that are predicted, best first. html: the text; start: the boxes (N, 4) that the steps begin at; names:
    of these, and of the groups."""
    item, boxes = ranked.candidates.item, ranked.candidates.boxes
    rows = [
        Row(cells(int(item[i]), ranked.group[i], ranked.shown[i], *boxes[i]), boxes[i], "predicted", start=start[i],
            details=[_way(start[i], boxes[i])])
        for i in ranked.order()[:MOST]
    ]  # fmt: skip
    table = Table([names[0], names[1], "score", *SIDES], rows)
    note = left_out(len(rows), len(boxes), "boxes (the best)")
    legend = [("anchor", f"the {names[0]} where it begins"), ("predicted", "the box that is predicted")]
    return Stage(key, part, title, html, [table], legend=legend, note=note, chosen=0 if rows else -1)


def _way(start: np.ndarray, end: np.ndarray) -> Sheet:
    """Centre and size of two boxes."""
    (a, b), (u, v) = ((box.astype(float)[:2], box.astype(float)[2:]) for box in (start, end))
    pairs = [*zip((a + b) / 2, (u + v) / 2), *zip(b - a, v - u)]
    lines = [cells(name, *pair) for name, pair in zip(("centre x", "centre y", "width", "height"), pairs)]
    return Sheet(["", "from", "to"], lines)


def suppressed(key: str, part: str, words: str, ranked: Ranking, group: str, limit: int) -> Stage:
    """The order of the suppression, who suppressed whom at which IoU. group: what boxes must share ("class")."""
    boxes, threshold = ranked.candidates.boxes, ranked.threshold
    order = ranked.order()[:RANKED]
    place = {int(i): n for n, i in enumerate(order)}
    kept = set(ranked.candidates.kept.tolist())
    rows = [_fate(int(i), n, ranked, place, kept) for n, i in enumerate(order)]
    dropped = int((ranked.nms.by >= 0).sum())
    beyond = len(boxes) - dropped - len(kept)
    groups = [
        Group("kept", "kept", len(kept), "kept"),
        Group("suppressed", "suppressed", dropped, "suppressed"),
        *([Group("beyond", f"beyond the best {limit}", beyond, "ignored", shown=False)] if beyond else []),
    ]
    words += (
        f" Non-maximum suppression goes through them best first. A box that is still there is kept, and suppresses all "
        f"that come after it, are of its {group} and overlap it with an IoU above {threshold:g}. Choose a kept box: "
        "those it suppressed light up."
    )
    most = max((len(row.lights) if row.kind == "kept" else 0 for row in rows), default=0)
    first = next((n for n, row in enumerate(rows) if row.kind == "kept" and len(row.lights) == most), -1)
    table = Table(["rank", "box", group, "score", "what became of it", "IoU"], rows)
    return Stage(key, part, "Suppression (NMS)", text(words, f"IoU(kept, box) > {threshold:g}"), [table], groups,
                 note=left_out(len(rows), len(boxes), "boxes (the best)"), chosen=first)  # fmt: skip


def _fate(i: int, n: int, ranked: Ranking, place: dict[int, int], kept: set[int]) -> Row:
    line, box = [n + 1, int(ranked.candidates.item[i]), ranked.group[i], ranked.shown[i]], ranked.candidates.boxes[i]
    by = int(ranked.nms.by[i])
    if by >= 0:
        fate = f"suppressed by {place[by] + 1}"
        sentence = f"{n + 1} is {fate}: their IoU is {cells(ranked.nms.iou[i])[0]}."
        return Row(cells(*line, fate, ranked.nms.iou[i]), box, "suppressed", ["suppressed"], [place[by]],
                   sentence=sentence)  # fmt: skip
    if i not in kept:
        return Row(cells(*line, "left out", ""), box, "ignored", ["beyond"])
    victims = [int(v) for v in np.flatnonzero(ranked.nms.by == i)]
    listed = sorted(place[v] for v in victims if v in place)
    sentence = f"{n + 1} is kept and suppresses {counted(len(victims), 'box')}"
    sentence += f": {', '.join(str(v + 1) for v in listed)}" if listed else ""
    sentence += f"; {len(victims) - len(listed)} of them are not listed." if len(listed) < len(victims) else "."
    fate = "kept" + (f", suppresses {len(victims)}" if victims else "")
    return Row(cells(*line, fate, ""), box, "kept", ["kept"], listed, sentence=sentence)


def found(case: Case) -> Stage:
    """The detections, each with the object that it overlaps most; with masks and keypoints where there are any."""
    there = case.prediction.detections[0]
    iou = overlap(there.boxes, case.target.boxes)
    rows = []
    for k in range(min(len(there), MOST)):
        best = int(iou[k].argmax()) if iou.shape[1] else -1
        meets = best >= 0 and iou[k, best] > 0
        line = cells(k + 1, case.label(there.labels[k]), there.scores[k], case.object(best) if meets else "none",
                     iou[k, best] if meets else 0, *there.boxes[k])  # fmt: skip
        points = None if there.keypoints is None else there.keypoints[k]
        masks = [] if there.masks is None else [["mask", shade(there.masks[k].astype(float)), [0, 0, *case.size[::-1]]]]
        rows.append(Row(line, there.boxes[k], "kept", goal=case.target.boxes[best] if meets else None, pictures=masks,
                        dots=dots(case, there.labels[k], points)))  # fmt: skip
    words = (
        f"What is left are the detections: {counted(len(there), 'detection')}, where there "
        f"{'is' if len(case.target) == 1 else 'are'} {counted(len(case.target), 'object')}. Measured with average "
        "precision, a detection is right if its class is, its IoU with an object that no better one has taken is at "
        "least 0.5, and it counts the more the fewer wrong ones score higher."
    )
    table = Table(["rank", "class", "score", "nearest object", "IoU", *SIDES], rows)
    return Stage("detections", PART, "Detections", text(words), [table], legend=[TRUTH, ("kept", "a detection")],
                 note=left_out(len(rows), len(there), "detections (the best)"), chosen=0 if rows else -1)  # fmt: skip


def dots(case: Case, label: int, points: np.ndarray | None) -> list:
    """Keypoints (P, 3) to draw: name, x, y."""
    if points is None:
        return []
    names = [case.point(label, p) for p in range(len(points))]
    return [[name, round(float(x), 2), round(float(y), 2)] for name, (x, y, v) in zip(names, points) if name and v > 0]


def single(case: Case, start: np.ndarray, name: str, way: str, formulas: Sequence[str]) -> list[Stage]:
    """Inference of a single-stage detector. start: for each of its A boxes the one it begins at, (A, 4), called `name`;
    way, formulas: how a box comes from there."""
    s, count = case.model.settings, len(case.prediction.candidates[0].boxes)
    words = (
        f"In inference there is no truth. Every box with every class that scores above {s.score:g} is a candidate, at "
        f"most the best {s.before} of a level: {count} here. {way}"
    )
    return _inference(case, text(f"{words} {CLIPPED}", *formulas), start, name, s.nms)


def two_stage(case: Case) -> list[Stage]:
    """Inference of Faster R-CNN."""
    s, predicted = case.model.settings, case.prediction
    first, count = predicted.proposals[0], len(predicted.candidates[0].boxes)
    words = (
        "In inference there is no truth and nothing is sampled. The first stage proposes "
        f"{len(first.kept)} regions out of {len(first.boxes)} decoded anchors; the second predicts how likely each "
        "class is in each and refines its box for that class. Candidates are those that score above "
        f"{s.score:g}: {count} boxes."
    )
    html = text(f"{words} {CLIPPED}", *decoding(s.weights))
    return _inference(case, html, predicted.regions[:, 1:], "region", s.nms)


def _inference(case: Case, html: str, start: np.ndarray, name: str, nms: float) -> list[Stage]:
    candidates = case.prediction.candidates[0]
    ranked = Ranking(candidates, [case.label(label) for label in candidates.group], candidates.scores, nms)
    again = f"{counted(len(candidates.boxes), 'box')}, ranked by score."
    return [
        refined("decoded", PART, "Boxes that score", html, ranked, start[candidates.item], (name, "class")),
        suppressed("nms", PART, again, ranked, "class", LIMIT),
        found(case),
    ]

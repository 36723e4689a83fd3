"""The stages of Mask R-CNN's two further heads."""

from __future__ import annotations

import numpy as np

from ...models.keypoints import grown
from .anchors import TRUTH
from .stage import MOST, Case, Row, Stage, Table, cells, gray, left_out, shade, sigmoid, text


def masks(case: Case, part: str) -> Stage:
    """The mask of each positive region: wanted, predicted, and its loss."""
    loss, regions, terms = case.training.mask, case.training.chosen.regions, case.terms["mask"]
    chance = sigmoid(loss.logits.numpy())
    side = chance.shape[-1]
    rows = []
    for n in np.argsort(-terms.value, kind="stable")[:MOST]:
        r, target = int(terms.item[n]), loss.target[n]
        box = regions.boxes[r, 1:]
        right = ((chance[n] >= 0.5) == (target > 0)).mean()
        line = cells(r, case.label(regions.label[r]), target.mean(), right, terms.value[n])
        pictures = [["predicted", shade(chance[n]), box], ["wanted", gray(target), None],
                    ["predicted", gray(chance[n]), None]]  # fmt: skip
        rows.append(Row(line, box, "positive", goal=case.target.boxes[regions.truth[r]], pictures=pictures))
    words = (
        f"In each positive region the mask head predicts of {side} x {side} cells how likely each belongs to the "
        "object, in a map of its own for every class; only the map of the right class is trained. <b>mask</b> is the "
        f"mean binary cross entropy over the cells of all {len(chance)} positive regions."
    )
    table = Table(["region", "class", "part that is object", "part that is right", "its share of mask"], rows)
    note = left_out(len(rows), len(chance), "positive regions (those with the largest loss)")
    return Stage("masks", part, "Masks", text(words, "L = -log(p) if inside else -log(1 - p)"), [table],
                 legend=[TRUTH, ("positive", "the region"), ("predicted", "how likely a cell is object")], note=note,
                 chosen=0 if rows else -1)  # fmt: skip


def keypoints(case: Case, part: str) -> Stage:
    """Each keypoint in its region: the cell wanted, the likeliest one, the loss."""
    loss, regions, terms = case.training.keypoint, case.training.chosen.regions, case.terms["keypoint"]
    count, logits = len(loss.cell), loss.logits.numpy().astype(float)
    side = int(np.sqrt(logits.shape[1])) if count else 0
    places = grown(regions.boxes, case.model.keypoint_margin)[:, 1:]
    rows = []
    for n in np.argsort(-terms.value, kind="stable")[:MOST]:
        r, point, cell = (int(each[n]) for each in (terms.item, loss.point, loss.cell))
        box = places[r]
        chance = np.exp(logits[n] - logits[n].max())
        chance /= chance.sum()
        best = int(chance.argmax())
        dots = [["wanted", *_place(box, cell, side)], ["likeliest", *_place(box, best, side)]]
        name, share = case.point(int(regions.label[r]), point), terms.value[n]
        line = cells(r, name, f"{cell // side}, {cell % side}", f"{best // side}, {best % side}", chance[cell], share)
        heat = (chance / chance.max()).reshape(side, side)
        rows.append(Row(line, box, "positive", pictures=[["probability", shade(heat), box]], dots=dots))
    words = (
        "For each keypoint that lies in its positive region the keypoint head gives a softmax over all cells: which "
        f"one is it in? <b>keypoint</b> is the mean cross entropy over the {count} keypoints. The colour is the "
        "probability of each cell, by the largest."
    )
    table = Table(
        ["region", "keypoint", "wanted row, column", "likeliest", "p of the wanted", "its share of keypoint"], rows
    )
    note = left_out(len(rows), count, "keypoints (those with the largest loss)")
    return Stage("keypoints", part, "Keypoints", text(words, "L = -log(p[cell])"), [table],
                 legend=[("positive", "the region")], note=note, chosen=0 if rows else -1)  # fmt: skip


def _place(box: np.ndarray, cell: int, side: int) -> list[float]:
    """The centre of a cell of a box that is cut into side^2."""
    share = (np.array([cell % side, cell // side]) + 0.5) / side
    return [round(float(v), 2) for v in box[:2] + share * (box[2:] - box[:2])]

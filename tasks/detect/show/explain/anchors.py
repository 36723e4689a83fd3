"""The stages of detectors with anchors: the anchors, their IoU with the truth, their labels, their steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minidl import Tensor, no_grad
from minidl import functional as F

from ...losses.matching import IGNORED, NEGATIVE, POSITIVE, Match, overlap
from ...losses.steps import Steps
from ...models.anchors import AnchorOutputs, Anchors
from .stage import MOST, STEPS, Case, Group, Row, Sheet, Stage, Table, cells, decoded, left_out, noted, plural, text

SHOWN_OF_OBJECT = 8  # anchors with the largest IoU
LABELS = {POSITIVE: "positive", NEGATIVE: "negative", IGNORED: "ignored"}
TRUTH = ("truth", "an object")
PLACES = ("x = (j + 1/2) * stride", "y = (i + 1/2) * stride")
IOU = "IoU = area(A and B) / area(A or B)"


class Matched(NamedTuple):
    """What all these stages read: anchors (A, 4), the level of each (A,), what each is matched to, the object that each
    overlaps most (A,), how they lie."""

    boxes: np.ndarray
    level: np.ndarray
    match: Match
    nearest: np.ndarray
    laid: Anchors

    def stride(self, i: int) -> str:
        """The level of anchor i, by its stride."""
        return str(self.laid.strides[self.level[i]])


def matched(case: Case, outputs: AnchorOutputs, matches: Sequence[Match], laid: Anchors) -> Matched:
    """What the anchors of the one picture are matched to."""
    objects = np.flatnonzero(~case.target.crowd)
    iou = overlap(outputs.anchors, case.target.boxes[objects])
    nearest = objects[iou.argmax(axis=1)] if objects.size else np.zeros(len(iou), int)
    return Matched(outputs.anchors, outputs.level, matches[0], nearest, laid)


def anchors(case: Case, part: str, known: Matched, name: str, formulas: Sequence[str]) -> Stage:
    """All anchors by level, and those of one cell of each: the cell nearest to the first object's centre."""
    centre = case.target.boxes[0].reshape(2, 2).mean(axis=0) if len(case.target) else np.array(case.size[::-1]) / 2
    groups, tables, lines = [], [], []
    for level, (stride, each) in enumerate(zip(known.laid.strides, known.laid.per_cell)):
        of_level = np.flatnonzero(known.level == level)
        middle = known.boxes[of_level].reshape(-1, each, 2, 2).mean(axis=(1, 2))  # one centre a cell
        columns = int((abs(middle[:, 1] - middle[0, 1]) < stride / 2).sum()) if len(middle) else 0
        rows = len(middle) // max(columns, 1)
        at = of_level.reshape(-1, each)[((middle - centre) ** 2).sum(axis=1).argmin()] if len(middle) else []
        key = f"level {level}"
        groups.append(Group(key, f"stride {stride}", len(of_level), lattice=[stride, rows, columns]))
        lines.append(cells(f"{stride}", f"{rows} x {columns}", each, len(of_level)))
        tables.append(Table(
            [name, "width", "height", "height / width"], [_shape(known.boxes[i], i, key) for i in at],
            caption=f"the {each} of one cell, stride {stride}", group=key,
        ))  # fmt: skip
    lines.append(cells("all", "", "", len(known.boxes)))
    words = (
        "At every cell of every map stand boxes of fixed sizes and shapes, the same for each picture: "
        f"{len(known.boxes)} {plural(name)} here. Dots are the centres of the cells; drawn are the {plural(name)} of "
        "one cell of each level. The next steps show which of them cover an object, and how far they are off."
    )
    summary = Sheet(["stride", "cells", f"{plural(name)} a cell", f"{plural(name)}"], lines)
    legend = [TRUTH, ("anchor", f"{plural(name)} of one cell")]
    note = left_out(sum(len(table.rows) for table in tables), len(known.boxes), plural(name))
    return Stage("anchors", part, plural(name).capitalize(), text(words, *PLACES, *formulas), tables, groups, legend,
                 summary, note)  # fmt: skip


def _shape(box: np.ndarray, i: int, group: str) -> Row:
    width, height = box[2:] - box[:2]
    return Row(cells(int(i), width, height, height / width), box, groups=[group])


def ious(case: Case, part: str, known: Matched, name: str) -> Stage:
    """Of each object the anchors that overlap it most, and how the best IoU of all anchors is distributed."""
    rows, groups, shown = [], [], 0
    for k in np.flatnonzero(~case.target.crowd):
        mine = np.flatnonzero((known.nearest == k) & (known.match.iou > 0))
        best = mine[np.argsort(-known.match.iou[mine], kind="stable")][:SHOWN_OF_OBJECT]
        shown += len(best)
        groups.append(Group(f"object {k}", f"object {case.object(k)}", len(mine)))
        rows += [_compared(case, known, int(i), k) for i in best]
    counts, _ = np.histogram(known.match.iou, np.linspace(0, 1, 11))
    spread = Sheet(
        ["best IoU from", *(f"{i / 10:g}" for i in range(10))], [[plural(name), *cells(*counts)]],
        f"how the best IoU of all {len(known.boxes)} {plural(name)} is spread",
    )  # fmt: skip
    words = (
        "Intersection over union measures how well two boxes agree: 1 if they are the same, 0 if they do not touch. "
        f"Each {name} is compared with every object; its largest IoU counts, and the object it is with."
    )
    table = Table([name, "stride", "object", "both", "either", "IoU"], rows)
    legend = [TRUTH, ("anchor", f"the {plural(name)} that overlap it most")]
    note = left_out(shown, int((known.match.iou > 0).sum()), f"{plural(name)} that touch an object")
    return Stage("iou", part, "IoU with the truth", text(words, IOU), [table], groups, legend, spread, note,
                 0 if rows else -1)  # fmt: skip


def _compared(case: Case, known: Matched, i: int, k: int) -> Row:
    box, goal = known.boxes[i].astype(float), case.target.boxes[k].astype(float)
    both = (np.minimum(box[2:], goal[2:]) - np.maximum(box[:2], goal[:2])).clip(0).prod()
    either = (box[2:] - box[:2]).prod() + (goal[2:] - goal[:2]).prod() - both
    line = cells(i, known.stride(i), case.object(k), both, either, known.match.iou[i])
    return Row(line, box, groups=[f"object {k}"], goal=goal)


def labels(case: Case, part: str, known: Matched, name: str, rule: str) -> Stage:
    """Which anchors are positive, which negative, which ignored; and the best for each object."""
    m, rows, groups, notes = known.match, [], [], []
    for label in (POSITIVE, IGNORED, NEGATIVE):
        mine = np.flatnonzero(m.labels == label)
        mine = mine[np.argsort(-m.iou[mine], kind="stable")]
        some = [i for n, i in enumerate(mine.tolist()) if n < MOST or m.best_for[i] >= 0]
        rows += [_labelled(case, known, i, LABELS[label]) for i in some]
        groups.append(Group(LABELS[label], LABELS[label], len(mine), LABELS[label], shown=label == POSITIVE))
        notes.append(left_out(len(some), len(mine), f"{LABELS[label]} ones (those with the largest IoU)"))
    groups.append(Group("best", "best for an object", int((m.best_for >= 0).sum()), "best"))
    table = Table([name, "label", "IoU", "nearest object", "best for"], rows)
    return Stage("labels", part, "Labels", text(rule), [table], groups, [TRUTH], note=noted(*notes))


def _labelled(case: Case, known: Matched, i: int, label: str) -> Row:
    iou, claim = known.match.iou[i], int(known.match.best_for[i])
    near, best = case.object(known.nearest[i]) if iou > 0 else "none", case.object(claim) if claim >= 0 else ""
    goal = case.target.boxes[known.match.truth[i]] if iou > 0 else None
    kind, groups = (f"{label} best", [label, "best"]) if best else (label, [label])
    return Row(cells(i, label, iou, near, best), known.boxes[i], kind, groups, goal=goal)


def rule(name: str, positive: float, negative: float, best: bool) -> str:
    """In words, when an anchor is positive, negative or ignored."""
    words = f"An {name}" if name[0] in "aeiou" else f"A {name}"
    words += f" is positive if its IoU with an object is at least {positive:g}"
    words += ", or if it is the best there is for an object, so that no object goes without. " if best else ". "
    words += f"It is negative if its IoU is below {negative:g} with all of them."
    words += " Those between are ignored: they are not trained on." if negative < positive else ""
    return words


def steps(case: Case, part: str, s: Steps, name: str, loss: str, divisor: str) -> Stage:
    """From each positive box to its object: the target steps, and those that the network predicts."""
    predicted, terms, yes = s.predicted.numpy(), case.terms[loss].value, s.positives
    reached = decoded(predicted, s.start, s.weights)
    rows = [
        Row(cells(int(yes.item[i]), case.object(yes.truth[i]), terms[i]), s.start[i], "positive", goal=yes.boxes[i],
            predicted=reached[i], details=[compared(s.target[i], predicted[i], s.beta)])
        for i in np.argsort(-terms, kind="stable")[:MOST]
    ]  # fmt: skip
    weights = f"; they are multiplied by {', '.join(f'{w:g}' for w in s.weights)}" if set(s.weights) != {1.0} else ""
    words = (
        f"A network does not predict a box, but the four steps that lead there from the {name}: parts of its width and "
        f"height for the centre, logarithms for the size{weights}. Smooth L1 is a square for small differences d, a "
        f"straight line above beta = {s.beta:.3g}. <b>{loss}</b> is the sum, divided by {divisor}. Only positive boxes "
        f"have steps to learn."
    )
    by_x, by_w = ("" if w == 1 else f"{w:g} * " for w in s.weights[::2])
    formulas = (f"t_x = {by_x}(x - x_a) / w_a", f"t_w = {by_w}log(w / w_a)",
                "L = d**2 / (2 * beta) if abs(d) < beta else abs(d) - beta / 2")  # fmt: skip
    table = Table([name, "object", f"its share of {loss}"], rows)
    legend = [TRUTH, ("positive", f"the {name}"), ("predicted", "where the predicted steps lead")]
    note = left_out(len(rows), len(terms), f"positive {plural(name)} (those with the largest loss)")
    return Stage("deltas", part, "Steps to the box", text(words, *formulas), [table], legend=legend, note=note,
                 chosen=0 if rows else -1)  # fmt: skip


def decoding(weights: Sequence[float]) -> tuple[str, str]:
    """The formulas of the box that steps times these weights lead to."""
    by_x, by_w = ("" if w == 1 else f" / {w:g}" for w in weights[::2])
    return f"x = x_a + w_a * t_x{by_x}", f"w = w_a * exp(t_w{by_w})"


def compared(wanted: np.ndarray, predicted: np.ndarray, beta: float) -> Sheet:
    """Four steps wanted and predicted, and the loss of each."""
    with no_grad():
        losses = F.smooth_l1_loss(Tensor(predicted), wanted, beta=beta, reduction="none").numpy()
    lines = [cells(f"t{c}", *four) for c, *four in zip(STEPS, wanted, predicted, predicted - wanted, losses)]
    lines.append(cells("sum", "", "", "", losses.sum()))
    return Sheet(["step", "wanted", "predicted", "difference d", "smooth L1"], lines)

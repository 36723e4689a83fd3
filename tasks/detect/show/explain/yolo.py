"""The stages of YOLO: cells instead of anchors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...losses.matching import overlap
from ...models.yolo import cell_of
from . import inference
from .anchors import IOU, TRUTH
from .stage import MOST, Case, Group, Row, Sheet, Stage, Table, cells, counted, left_out, text

PART = "Training"


def cell_boxes(case: Case) -> np.ndarray:
    """The squares of the grid, (P, 4), row by row."""
    (rows, columns), (height, width) = case.training.outputs.cells, case.size
    row, column = (each.ravel() for each in np.indices((rows, columns)))
    step = np.array([width / columns, height / rows] * 2)
    return np.stack([column, row, column + 1, row + 1], axis=1) * step


def stages(case: Case) -> list[Stage]:
    """All but the picture and the losses."""
    squares, each = cell_boxes(case), case.model.settings.boxes
    way = "A box is what its cell predicts; its score is its confidence times the probability of the class."
    formulas = ("x = (column + x_0) * width / columns", "w = s_w**2 * width", "score = confidence * p[c]")
    of_training = (
        grid(case, squares),
        responsible(case, squares),
        places(case, squares),
        confidence(case),
        classes(case, squares),
    )
    return [
        *(replace(stage, cells=list(case.training.outputs.cells)) for stage in of_training),
        *inference.single(case, squares.repeat(each, axis=0), "cell", way, formulas),
    ]


def grid(case: Case, squares: np.ndarray) -> Stage:
    """Which cell each object is assigned to."""
    grid_, assigned = case.training.outputs.cells, set(case.training.positives.truth.tolist())
    row, column = cell_of(case.target.boxes, grid_, case.size)
    rows = []
    for k in np.flatnonzero(~case.target.crowd):
        cell = int(row[k] * grid_[1] + column[k])
        box = case.target.boxes[k]
        fate = "assigned to it" if int(k) in assigned else "assigned to a larger one"
        kind = "best" if int(k) in assigned else "ignored"
        x, y = box.reshape(2, 2).mean(axis=0)
        line = cells(int(k), case.label(case.target.labels[k]), x, y, f"{row[k]}, {column[k]}", fate)
        rows.append(
            Row(line, squares[cell], kind, [kind], goal=box, dots=[["centre", round(float(x), 2), round(float(y), 2)]])
        )
    lost = len(rows) - len(assigned)
    words = (
        f"The picture is cut into {grid_[0]} x {grid_[1]} cells. An object is "
        f"assigned to the cell in which its centre lies. A cell has one object only: of several the largest "
        f"({counted(lost, 'object')} without a cell here)."
    )
    formulas = (f"row = floor(y * {grid_[0]} / height)", f"column = floor(x * {grid_[1]} / width)")
    groups = [Group("best", "cells with an object", len(assigned), "best")]
    groups += [Group("ignored", "taken by a larger object", lost, "ignored")] if lost else []
    table = Table(["object", "class", "centre x", "centre y", "row, column", "the cell"], rows)
    return Stage("cells", PART, "Responsible cells", text(words, *formulas), [table], groups, [TRUTH])  # fmt: skip


def responsible(case: Case, squares: np.ndarray) -> Stage:
    """Of the boxes of each such cell the one that is responsible."""
    computed, each = case.training, case.model.settings.boxes
    yes, rows = computed.positives, []
    for cell, chosen, k in zip(yes.item.tolist(), computed.box.tolist(), yes.truth.tolist()):
        boxes = computed.boxes[0][cell * each : (cell + 1) * each]
        for b, (box, iou) in enumerate(zip(boxes, overlap(boxes, case.target.boxes[k : k + 1])[:, 0])):
            kind = "best" if b == chosen else "negative"
            line = cells(cell * each + b, f"{cell}", case.object(k), iou, "responsible" if b == chosen else "")
            rows.append(Row(line, box, kind, [kind], start=squares[cell], goal=case.target.boxes[k]))
    words = (
        f"Each cell predicts {each} boxes. The one that overlaps its object most, as the boxes are now, is "
        "responsible: only this one is drawn towards the object and should be confident; the others learn a "
        "confidence of 0. So the boxes of a cell specialise."
    )
    groups = [
        Group("best", "responsible", len(case.training.box), "best"),
        Group("negative", "the other boxes of their cells", len(rows) - len(case.training.box), "negative"),
    ]
    table = Table(["box", "cell", "object", "IoU", ""], rows)
    return Stage("responsible", PART, "Responsible boxes", text(words, IOU), [table], groups,
                 [TRUTH, ("anchor", "the cell")], chosen=0 if rows else -1)  # fmt: skip


def places(case: Case, squares: np.ndarray) -> Stage:
    """Place and size of the responsible boxes, wanted and predicted, and their losses."""
    computed, s, terms = case.training, case.model.settings, case.terms
    predicted, yes, rows = computed.predicted.numpy(), computed.positives, []
    for n, item in enumerate(terms["place"].item.tolist()):
        line = cells(item, case.object(yes.truth[n]), terms["place"].value[n], terms["size"].value[n])
        rows.append(Row(line, computed.boxes[0][item], "predicted", start=squares[yes.item[n]], goal=yes.boxes[n],
                        details=[_errors(computed.target[n], predicted[n], s.coord)]))  # fmt: skip
    words = (
        f"A box has a centre x, y in parts of its cell, and square roots of width and height in parts of the picture: "
        f"with the root a small box pays more for the same error than a large one. <b>place</b> and <b>size</b> are "
        f"squared errors of the responsible boxes, times {s.coord:g}."
    )
    formulas = (f"L_place = {s.coord:g} * ((x - x_0)**2 + (y - y_0)**2)",
                f"L_size = {s.coord:g} * ((sqrt(w) - sqrt(w_0))**2 + (sqrt(h) - sqrt(h_0))**2)")  # fmt: skip
    table = Table(["box", "object", "share of place", "share of size"], rows)
    legend = [TRUTH, ("anchor", "the cell"), ("predicted", "the responsible box")]
    return Stage("deltas", PART, "Place and size", text(words, *formulas), [table], legend=legend,
                 chosen=0 if rows else -1)  # fmt: skip


def _errors(wanted: np.ndarray, predicted: np.ndarray, coord: float) -> Sheet:
    names = ("x", "y", "sqrt w", "sqrt h")
    lines = [cells(name, w, p, p - w, coord * (p - w) ** 2) for name, w, p in zip(names, wanted, predicted)]
    return Sheet(["", "wanted", "predicted", "difference", f"{coord:g} x its square"], lines)


def confidence(case: Case) -> Stage:
    """How confident boxes are, and how confident they should be."""
    s, terms, boxes = case.model.settings, case.terms, case.training.boxes[0]
    predicted, rows = case.training.outputs.confidence.numpy()[0].ravel(), []
    for item, iou, term in zip(terms["object"].item, case.training.iou, terms["object"].value):
        rows.append(Row(cells(int(item), "responsible", predicted[item], iou, term), boxes[item], "best", ["best"]))
    empty = terms["no_object"]
    for n in np.argsort(-empty.value, kind="stable")[:MOST]:
        item = int(empty.item[n])
        line = cells(item, "nothing", predicted[item], 0, empty.value[n])
        rows.append(Row(line, boxes[item], "negative", ["negative"]))
    words = (
        "A responsible box should be as confident as it is good: its IoU with the object, taken as a fixed number. "
        f"All others should have 0; there are many of them, so their errors count {s.noobj:g}. <b>object</b> and "
        "<b>no_object</b> are the sums of these squared errors."
    )
    formulas = ("L_object = (c - IoU)**2", f"L_no_object = {s.noobj:g} * c**2")
    groups = [
        Group("best", "responsible", len(case.training.box), "best"),
        Group("negative", "nothing to see", len(empty.value), "negative", shown=False),
    ]
    note = left_out(min(MOST, len(empty.value)), len(empty.value), "boxes with nothing to see (the most confident)")
    table = Table(["box", "part", "confidence", "should be", "its share"], rows)
    return Stage("confidence", PART, "Confidence", text(words, *formulas), [table], groups, [TRUTH],
                 note=note)  # fmt: skip


def classes(case: Case, squares: np.ndarray) -> Stage:
    """The class probabilities of the cells with an object."""
    yes, term, probabilities = case.training.positives, case.terms["class"].value, case.training.outputs.classes.numpy()
    rows = []
    for n, (cell, k) in enumerate(zip(yes.item.tolist(), yes.truth.tolist())):
        chances, label = probabilities[0, cell], int(yes.label[n])
        best = np.argsort(-chances, kind="stable")
        some = [*best[:5].tolist(), *([label] if label not in best[:5] else [])]
        lines = [cells(case.label(c), chances[c], int(c == label), (chances[c] - (c == label)) ** 2) for c in some]
        line = cells(cell, case.object(k), case.label(int(best[0])), chances[label], term[n])
        detail = Sheet(["class", "p", "should be", "squared error"], lines, "the likeliest classes")
        rows.append(Row(line, squares[cell], "best", goal=case.target.boxes[k], details=[detail]))
    words = (
        "A cell has one set of class probabilities for all its boxes. <b>class</b> is the sum over all classes of the "
        "squared errors, of the cells with an object."
    )
    table = Table(["cell", "object", "is called", "p of its class", "share of class"], rows)
    return Stage("classes", PART, "Classes", text(words, "L = (p[c] - 1)**2 if c == label else p[c]**2"), [table],
                 legend=[TRUTH, ("best", "the cell")], chosen=0 if rows else -1)  # fmt: skip

"""The last stage: each loss as the sum of its terms, to the number that is trained on."""

from __future__ import annotations

import math

import numpy as np

from ...losses.terms import Terms
from ...models.faster_rcnn import FasterRCNN
from ...models.ssd import SSD
from ...models.yolo import YOLO
from .stage import Case, Group, Row, Sheet, Stage, Table, cells, counted, text
from .yolo import cell_boxes

TOP = 10  # terms of a loss that are listed
WHAT = {
    "objectness": "cross entropy of the sampled anchors", "rpn_box": "steps of the positive anchors",
    "class": "names of objects", "box": "steps to the boxes", "mask": "pixels of the masks",
    "keypoint": "cells of the keypoints", "place": "centres of the boxes", "size": "sizes of the boxes",
    "object": "confidence where there is an object", "no_object": "confidence where there is none",
}  # fmt: skip


def losses(case: Case) -> Stage:
    """Each loss with its largest terms."""
    places = owners(case)
    numbers, terms = case.losses, case.terms
    total = math.fsum(numbers.values())
    lines = [cells(name, WHAT[name], len(terms[name].value), value) for name, value in numbers.items()]
    lines.append(cells("all", "what the gradient is taken of", sum(len(p.value) for p in terms.values()), total))
    tables = [_table(name, terms[name], numbers[name], *places[name]) for name in numbers]
    groups = [Group(name, name, len(terms[name].value), shown=n == 0) for n, name in enumerate(numbers)]
    words = (
        f"Training goes down one number, the sum of {len(numbers)} losses. Each is itself a sum, with a term for every "
        "anchor, box or region that had something to learn, divided already. The columns below add up to the loss, and "
        "nothing is left over: this is the whole of what this picture teaches the detector. In training the pictures "
        "of a batch share one sum and the statistics of batch norm; here they are the running ones."
    )
    summary = Sheet(["loss", "of what", "terms", "value"], lines)
    legend = [("truth", "an object"), ("anchor", "a box that a term belongs to")]
    return Stage("losses", "The losses", "Loss ledger", text(words, f"L = {' + '.join(f'L_{n}' for n in numbers)}"),
                 tables, groups, legend, summary)  # fmt: skip


def _table(name: str, terms: Terms, loss: float, item: str, boxes: np.ndarray) -> Table:
    """The largest terms, the rest in one line, their sum in the precision of training, and the loss."""
    order = np.argsort(-terms.value, kind="stable")
    share = [f"{value / loss:.1%}" if loss else "" for value in terms.value]
    rows = [Row(cells(int(terms.item[n]), share[n], terms.value[n]), boxes[terms.item[n]], groups=[name])
            for n in order[:TOP]]  # fmt: skip
    rest, added = terms.value[order[TOP:]].astype(float), terms.value.sum()
    foot = (
        [cells(f"{len(rest)} more", f"{math.fsum(rest) / loss:.1%}" if loss else "", math.fsum(rest))]
        if len(rest)
        else []
    )
    foot.append(cells(f"sum of {counted(len(order), 'term')}", "", added))
    foot.append(cells(f"{name}, as it is trained", "", loss))
    foot.append(cells("difference", "", float(added) - loss))
    return Table([item, "share", "term"], rows, f"{name}: {WHAT[name]}", foot, name)


def owners(case: Case) -> dict[str, tuple[str, np.ndarray]]:
    """What the terms of each loss belong to, and the boxes that their items count."""
    computed = case.training
    if isinstance(case.model, FasterRCNN):
        first, second = ("anchor", computed.outputs.anchors), ("region", computed.chosen.regions.boxes[:, 1:])
        return {name: first if name in computed.first.terms else second for name in case.terms}
    if isinstance(case.model, YOLO):
        cell = ("cell", cell_boxes(case))
        return {name: cell if name == "class" else ("box", computed.boxes[0]) for name in case.terms}
    item = "default box" if isinstance(case.model, SSD) else "anchor"
    return dict.fromkeys(case.terms, (item, computed.outputs.anchors))

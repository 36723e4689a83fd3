"""The first stage: the picture and what is in it."""

from __future__ import annotations

from .inference import dots
from .stage import Case, Row, Stage, Table, cells, counted, text


def picture(case: Case) -> Stage:
    """What is to be found."""
    rows = []
    for k, (box, label) in enumerate(zip(case.target.boxes, case.target.labels)):
        line = cells(k, case.label(label) + (" (a crowd)" if case.target.crowd[k] else ""), *(box[2:] - box[:2]), *box)
        points = None if case.target.keypoints is None else case.target.keypoints[k]
        rows.append(Row(line, box, "truth", dots=dots(case, label, points)))
    words = (
        f"A picture of {case.size[1]} x {case.size[0]} pixels with {counted(len(case.target), 'object')}: each has a "
        "class and a box x1, y1, x2, y2, in pixels from the top left corner. From the picture alone the detector must "
        "say which objects there are, and where. Go through the steps with the arrow keys; choose a line of a table, "
        "or a box in the picture, to see it alone."
    )
    head = ["object", "class", "width", "height", "x1", "y1", "x2", "y2"]
    return Stage("picture", "The picture", "Picture and truth", text(words), [Table(head, rows)],
                 legend=[("truth", "an object")])  # fmt: skip

#!/usr/bin/env bash
# pycocotools and faster-coco-eval mark a matched object by the id of its annotation, and take 0 for "not matched": a
# perfect detection of an object whose id is 0 counts as a miss and a false alarm. faster-coco-eval warns of it, pycocotools
# says nothing. Ids that start at 1 are right. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet numpy==2.4.6 pycocotools==2.0.11 faster-coco-eval==1.8.0
venv/bin/python - <<'PYTHON'
import contextlib
import io
from importlib.metadata import version

import faster_coco_eval
import pycocotools.coco
import pycocotools.cocoeval


def average_precision(COCO, Evaluation, first_id):
    """Of perfect detections of two objects, each in a picture of its own."""
    box = [2.0, 3.0, 20.0, 30.0]
    pictures = [{"id": i, "width": 64, "height": 64} for i in (1, 2)]
    objects = [
        {"id": first_id + i, "image_id": i + 1, "category_id": 1, "bbox": box, "area": 600.0, "iscrowd": 0} for i in (0, 1)
    ]
    found = [{"image_id": i, "category_id": 1, "bbox": box, "score": 0.9} for i in (1, 2)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": pictures, "annotations": objects, "categories": [{"id": 1, "name": "object"}]}
        truth.createIndex()
        evaluation = Evaluation(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


for name, COCO, Evaluation in (
    ("pycocotools", pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
    ("faster-coco-eval", faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
):
    zero, one = (average_precision(COCO, Evaluation, first) for first in (0, 1))
    print(name, version(name), f"AP with ids 0, 1: {zero:.3f}; with ids 1, 2: {one:.3f}")
    assert one > 0.999 and zero < 0.6, "the behaviour has changed"
PYTHON

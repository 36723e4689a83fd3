"""What the page about one picture says: its stages are what the ledger says."""

from functools import cache

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')

from minidl import Tensor, optim
from minidl import functional as F
from minidl.study.page import number
from tasks.detect import HeadSettings, Target, faster_rcnn_small, rfcn_small
from tasks.detect.losses.matching import IGNORED, NEGATIVE, POSITIVE, overlap
from tasks.detect.models.backbone import resnet_small_fpn, resnet_small_stages
from tasks.detect.models.retinanet import RetinaNet, octaves
from tasks.detect.models.ssd import SSD, Extended, default_boxes
from tasks.detect.models.yolo import YOLO
from tasks.detect.show import explain
from tasks.detect.show.explain.stage import MOST
from tasks.detect.train import centred

SIZE = 64
CLASSES = ("dark", "<b>bright</b> & bold")  # what a page must not take for HTML
POINTS = (("first", "last"),) * 2
FIRST = ["picture", "anchors", "iou", "labels", "sampled", "deltas", "proposals", "proposals-nms"]
USE = ["decoded", "nms", "detections", "losses"]
STAGES = {
    "faster_rcnn": [*FIRST, "regions", "crops", "classes", *USE],
    "mask_rcnn": [*FIRST, "regions", "crops", "classes", "masks", "keypoints", *USE],
    "rfcn": [*FIRST, "regions", "votes", "classes", *USE],
    "ssd": ["picture", "anchors", "iou", "labels", "hard", "deltas", *USE],
    "retinanet": ["picture", "anchors", "iou", "labels", "focal", "deltas", *USE],
    "yolo": ["picture", "cells", "responsible", "deltas", "confidence", "classes", *USE],
}
ANCHORED = [name for name in STAGES if name != "yolo"]


def scene(seed=0, count=4):
    """A picture in [0, 1] with bright and dark rectangles that overlap."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, SIZE - 24, (count, 2))
    boxes, labels = (
        np.concatenate([corner, corner + rng.integers(9, 24, (count, 2))], axis=1),
        rng.integers(0, 2, count),
    )
    image = rng.uniform(0.4, 0.6, (3, SIZE, SIZE)).astype(np.float32)
    masks = np.zeros((count, SIZE, SIZE), bool)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        masks[k, y1:y2, x1:x2] = True
        image[:, y1:y2, x1:x2] = labels[k]
    points = np.zeros((count, 2, 3), np.float32)
    points[:, 0, :2], points[:, 1, :2], points[..., 2] = boxes[:, :2] + 0.5, boxes[:, 2:] - 0.5, 2
    return image, Target(boxes, labels, masks, points)


def tiny(name):
    if name == "yolo":
        return YOLO(resnet_small_stages(8, (1, 1), rng=0), 2, hidden=1, width=16, rng=0)
    if name == "ssd":
        backbone = Extended(resnet_small_stages(8, rng=0), (16,), rng=0)
        return SSD(backbone, default_boxes(SIZE, backbone.strides, 0.15, 0.8), 2, rng=0)
    if name == "retinanet":
        backbone = resnet_small_fpn(8, 16, rng=0)
        return RetinaNet(backbone, octaves(backbone.strides, 2.5), 2, depth=1, std=None, rng=0)
    more = {"masks": True, "num_keypoints": 2, "keypoint_margin": 0.125} if name == "mask_rcnn" else {"method": "pool"}
    sizes, narrow = (
        ((12,), (24,), (48,)),
        {"mask_width": 4, "mask_layers": 1, "keypoint_width": 4, "keypoint_layers": 1},
    )
    if name == "rfcn":
        head = HeadSettings(sample=200, share=1.0, hard=24)
        return rfcn_small(2, width=6, pyramid=8, rng=0, sizes=sizes, hidden=16, bins=2, method="pool", head=head)
    return faster_rcnn_small(2, width=6, pyramid=8, rng=0, sizes=sizes, hidden=16, **narrow, **more)


@cache
def case(name):
    """What a detector that has learned for a few steps does with the picture it has seen."""
    model = tiny(name)
    image, target = scene()
    optimiser = optim.Adam(model.parameters(), 5e-3)
    for step in range(8):
        optimiser.zero_grad()
        sum(model.losses(Tensor(centred(image[None])), [target], np.random.default_rng(step)).values()).backward()
        optimiser.step()
    return explain.traced(model, image, target, CLASSES, np.random.default_rng(0), points=POINTS)


@cache
def stages(name):
    return {stage.key: stage for stage in explain.stages(case(name))}


def numbers(stage, table=0):
    """The rows of a table as dicts: head to cell."""
    return [dict(zip(stage.tables[table].head, row.cells)) for row in stage.tables[table].rows]


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_there_and_its_tables_are_tables(name):
    found = stages(name)
    assert list(found) == STAGES[name]
    for stage in found.values():
        assert stage.text.startswith("<p>") and stage.tables
        keys = {group.key for group in stage.groups}
        for table in stage.tables:
            assert all(len(row.cells) == len(table.head) for row in table.rows)
            assert all(len(line) == len(table.head) for line in table.foot)
            assert all(set(row.groups) <= keys for row in table.rows) and (not table.group or table.group in keys)
            assert all(0 <= light < len(table.rows) for row in table.rows for light in row.lights)
        for sheet in [stage.summary, *(d for table in stage.tables for row in table.rows for d in row.details)]:
            assert sheet is None or all(len(line) == len(sheet.head) for line in sheet.rows)
        assert -1 <= stage.chosen < max(len(stage.tables[0].rows), 1)


@pytest.mark.parametrize("name", STAGES)
def test_terms_add_up_to_the_losses_that_are_trained_on(name):
    it, stage = case(name), stages(name)["losses"]
    image, target = scene()
    it.model.eval()
    losses = it.model.losses(Tensor(centred(image[None])), [target], np.random.default_rng(0))
    assert [table.group for table in stage.tables] == list(losses)
    assert [line[3] for line in stage.summary.rows[:-1]] == [number(loss.item()) for loss in losses.values()]
    assert float(stage.summary.rows[-1][3]) == pytest.approx(sum(loss.item() for loss in losses.values()), rel=1e-5)
    for table, (key, loss) in zip(stage.tables, losses.items()):
        terms = it.terms[key]
        *more, added, trained, difference = [line[2] for line in table.foot]
        assert added == trained == number(loss.item()) and difference == "0"
        shown = [float(row.cells[2]) for row in table.rows]
        assert len(shown) + int(table.foot[0][0].split()[0] if more else 0) == len(terms.value)
        assert sum(shown) + sum(map(float, more)) == pytest.approx(loss.item(), rel=1e-5, abs=1e-12)
        assert shown == sorted(shown, reverse=True)
        by_item = dict(zip(terms.item.tolist(), terms.value))
        if len(by_item) == len(terms.item):  # several keypoints share a region
            assert all(row.cells[2] == number(by_item[int(row.cells[0])]) for row in table.rows)


@pytest.mark.parametrize("name", ANCHORED)
def test_anchors_and_their_labels(name):
    it, found = case(name), stages(name)
    matches = it.training.matches if name in ("ssd", "retinanet") else it.training.first.matches
    match, boxes, truth = matches[0], it.training.outputs.anchors, it.target.boxes
    groups = {group.key: group for group in found["anchors"].groups}
    assert sum(group.count for group in groups.values()) == len(boxes)
    for group, table in zip(groups.values(), found["anchors"].tables):
        stride, rows, columns = group.lattice
        assert (rows, columns) == (-(-SIZE // stride),) * 2 and group.count == rows * columns * len(table.rows)
        for row in table.rows:
            x, y = (row.box[:2] + row.box[2:]) / 2
            assert x / stride % 1 == pytest.approx(0.5, abs=1e-4) and y / stride % 1 == pytest.approx(0.5, abs=1e-4)
            assert (boxes[int(row.cells[0])] == row.box).all()
    labels = {group.key: group.count for group in found["labels"].groups}
    counted = {key: (match.labels == label).sum() for key, label in
               (("positive", POSITIVE), ("ignored", IGNORED), ("negative", NEGATIVE))}  # fmt: skip
    assert labels == counted | {"best": (match.best_for >= 0).sum()}
    iou = overlap(boxes, truth)
    for row in found["labels"].tables[0].rows:
        i = int(row.cells[0])
        assert row.cells[2] == number(iou[i].max()) and (boxes[i] == row.box).all()
        assert {"positive": POSITIVE, "ignored": IGNORED, "negative": NEGATIVE}[row.cells[1]] == match.labels[i]
        assert ("best" in row.groups) == (match.best_for[i] >= 0)
    listed = {int(row.cells[0]) for row in found["labels"].tables[0].rows}
    assert set(np.flatnonzero(match.best_for >= 0)) <= listed
    assert sum(int(n) for n in found["iou"].summary.rows[0][1:]) == len(boxes)
    for line in numbers(found["iou"]):
        anchor = next(cell for head, cell in line.items() if head in ("anchor", "default box"))
        assert float(line["both"]) / float(line["either"]) == pytest.approx(float(line["IoU"]), rel=1e-4)
        assert line["IoU"] == number(iou[int(anchor)].max())


@pytest.mark.parametrize("name", ANCHORED)
def test_steps_lead_to_the_truth_and_cost_what_is_trained(name):
    it, stage = case(name), stages(name)["deltas"]
    one = name in ("ssd", "retinanet")
    terms = it.terms["box" if one else "rpn_box"]
    divisor = len(terms.value) if one else len(it.training.first.drawn.box)
    weights = (10.0, 10.0, 5.0, 5.0) if name == "ssd" else (1.0,) * 4
    assert len(stage.tables[0].rows) == min(len(terms.value), MOST) > 0
    for row in stage.tables[0].rows:
        assert row.cells[2] == number(terms.value[terms.item.tolist().index(int(row.cells[0]))])
        *four, total = row.details[0].rows
        assert float(total[4]) / divisor == pytest.approx(float(row.cells[2]), rel=1e-4)
        wanted, predicted = (np.array([[float(line[k]) for line in four]]) for k in (1, 2))
        box = np.float64(row.box)[None]
        np.testing.assert_allclose(F.decode_boxes(Tensor(wanted), box, weights).data[0], row.goal, atol=2e-3)
        np.testing.assert_allclose(F.decode_boxes(Tensor(predicted), box, weights).data[0], row.predicted, atol=2e-3)


def suppressions(name):
    """Stage, the candidates, and the threshold."""
    it = case(name)
    two_stages = name in ("faster_rcnn", "mask_rcnn", "rfcn")
    yield "nms", it.prediction.candidates[0], 0.5 if two_stages else it.model.settings.nms
    if two_stages:
        candidates = it.training.proposals[0]
        assert (candidates.group == it.training.outputs.level[candidates.item]).all()
        yield "proposals-nms", candidates, it.model.rpn.settings.nms


@pytest.mark.parametrize("name", STAGES)
def test_who_suppressed_whom(name):
    seen = 0
    for key, (_, group, boxes, scores, kept), threshold in suppressions(name):
        stage = stages(name)[key]
        order = np.argsort(-scores, kind="stable")
        iou, fate = overlap(boxes, boxes), {}
        for n, i in enumerate(order):  # the definition, one after the other
            better = [j for j in order[:n] if fate[j] is None and group[j] == group[i] and iou[i, j] > threshold]
            fate[i] = better[0] if better else None
        rank = {i: n for n, i in enumerate(order)}
        rows = stage.tables[0].rows
        assert {g.key: g.count for g in stage.groups}["suppressed"] == sum(by is not None for by in fate.values())
        for i, row in zip(order, rows):
            assert row.cells[0] == str(rank[i] + 1) and (row.box == boxes[i]).all()
            if fate[i] is None:
                victims = sorted(rank[j] for j, by in fate.items() if by is not None and by == i)
                listed = [v for v in victims if v < len(rows)]
                assert row.kind in ("kept", "ignored") and (row.kind == "ignored" or row.lights == listed)
                assert (i in kept) == (row.kind == "kept")
                seen += len(listed)
            else:
                assert row.cells[4] == f"suppressed by {rank[fate[i]] + 1}" and row.lights == [rank[fate[i]]]
                assert row.cells[5] == number(iou[i, fate[i]])
    assert seen > 0


def test_sampled_anchors_and_regions_of_two_stages():
    it, found = case("mask_rcnn"), stages("mask_rcnn")
    drawn, terms = it.training.first.drawn, it.terms["objectness"]
    lines = numbers(found["sampled"])
    assert sorted(int(line["anchor"]) for line in lines) == sorted(drawn.box)
    for line in lines:
        p = float(line["p"])
        assert float(line["cross entropy"]) == pytest.approx(-np.log(p if line["label"] == "positive" else 1 - p), 1e-3)
        assert float(line["its share"]) == pytest.approx(float(line["cross entropy"]) / len(drawn.box), rel=1e-4)
        assert line["its share"] == number(terms.value[drawn.box.tolist().index(int(line["anchor"]))])
    regions = it.training.chosen.regions
    iou = overlap(regions.boxes[:, 1:], it.target.boxes).max(axis=1)
    for line in numbers(found["regions"]):
        r = int(line["region"])
        assert line["IoU"] == number(iou[r]) and line["should be"] == it.label(regions.label[r])
        assert (line["should be"] == "background") == (iou[r] < 0.5)
    shares = [float(line["share of class"]) for line in numbers(found["classes"])]
    assert sum(shares) == pytest.approx(it.losses["class"], rel=1e-4)
    shares = [float(line["share of box"]) for line in numbers(found["classes"]) if line["share of box"]]
    assert sum(shares) == pytest.approx(it.losses["box"], rel=1e-4)


@pytest.mark.parametrize("name", ["faster_rcnn", "mask_rcnn"])
def test_crops_name_their_map_and_lay_their_bins(name):
    it, stage = case(name), stages(name)["crops"]
    strides = it.model.crop.strides
    for row in stage.tables[0].rows:
        side = np.sqrt(np.prod(np.float64(row.box[2:] - row.box[:2])))
        exact = 4 + np.log2(side / it.model.crop.canonical)
        stride = 2 ** int(np.clip(np.floor(exact), np.log2(strides[0]), np.log2(strides[-1])))
        assert row.cells[3] == str(stride) and float(row.details[0].rows[0][1]) == pytest.approx(exact, rel=1e-4)
        box, bins, samples = row.grid
        assert bins == 7 and samples == (0 if name == "faster_rcnn" else 2)
        if name == "mask_rcnn":
            assert (box == row.box).all()
        else:  # whole cells, both ends included
            low, high = np.floor(row.box[:2] / stride + 0.5), np.floor(row.box[2:] / stride + 0.5)
            np.testing.assert_array_equal(box, np.concatenate([low, np.maximum(high, low) + 1]) * stride)


def test_masks_and_keypoints():
    it, found = case("mask_rcnn"), stages("mask_rcnn")
    shares = [float(line["its share of mask"]) for line in numbers(found["masks"])]
    assert sum(shares) == pytest.approx(it.losses["mask"], rel=1e-4)
    lines = numbers(found["keypoints"])
    assert lines and len(lines) == len(it.terms["keypoint"].value)
    for line in lines:
        share = -np.log(float(line["p of the wanted"])) / len(lines)
        assert float(line["its share of keypoint"]) == pytest.approx(share, rel=1e-3)
    for line, row in zip(lines, found["keypoints"].tables[0].rows):  # the centre of the wanted cell is near the point
        k = it.training.chosen.regions.truth[int(line["region"])]
        point = it.target.keypoints[k, POINTS[0].index(line["keypoint"]), :2]
        (_, x, y), _ = row.dots
        assert (abs(point - [x, y]) <= (row.box[2:] - row.box[:2]) / 56 / 2 + 0.01).all()
    assert all(len(row.pictures) == 1 and len(row.dots) == 2 for row in found["detections"].tables[0].rows)


def test_hard_negatives_are_the_worst_answered():
    it, stage = case("ssd"), stages("ssd")["hard"]
    count = {group.key: group.count for group in stage.groups}
    assert count["hard"] == 3 * count["positive"] > 0
    labels, surprise = it.training.matches[0].labels, it.training.entropy[0]
    least = np.sort(surprise[labels == NEGATIVE])[-count["hard"]]  # of those that are taken
    for line in numbers(stage):
        i = int(line["default box"])
        part = "positive" if labels[i] == POSITIVE else "hard negative" if surprise[i] >= least else "easy negative"
        assert line["part"] == part and line["cross entropy"] == number(surprise[i])
        assert line["share of class"] == ("" if part == "easy negative" else number(surprise[i] / count["positive"]))
    trained = surprise[(labels == POSITIVE) | ((labels == NEGATIVE) & (surprise >= least))]
    assert trained.sum() / count["positive"] == pytest.approx(it.losses["class"], rel=1e-5)


def test_focal_weights_make_of_the_cross_entropy_what_is_trained():
    it, stage = case("retinanet"), stages("retinanet")["focal"]
    terms, count = it.terms["class"].value, len(it.training.steps.start)
    for line in numbers(stage):
        right = float(line["p_t"])
        alpha = 0.25 if line["right answer"].endswith("yes") else 0.75
        assert float(line["weight"]) == pytest.approx(alpha * (1 - right) ** 2, rel=1e-3)
        assert float(line["cross entropy"]) == pytest.approx(-np.log(right), rel=1e-3, abs=1e-5)
        assert line["share of class"] == number(terms[int(line["anchor"])])
        cost = float(line["weight"]) * float(line["cross entropy"]) / count
        assert cost <= float(line["share of class"]) * (1 + 1e-3)  # the largest of the classes' parts
        assert 2 * cost >= float(line["share of class"]) * (1 - 1e-3)
    for column in (2, 3):
        assert sum(float(line[column][:-1]) for line in stage.summary.rows) == pytest.approx(100, abs=0.3)
    asked = it.training.matches[0].labels != IGNORED
    assert sum(int(line[1]) for line in stage.summary.rows) == asked.sum()


def test_cells_that_answer_in_yolo():
    it, found = case("yolo"), stages("yolo")
    answers = [row for row in found["cells"].tables[0].rows if row.kind == "best"]
    assert len(answers) == len(it.training.positives.item) > 0
    for row in found["cells"].tables[0].rows:
        x, y = (row.goal[:2] + row.goal[2:]) / 2
        assert row.box[0] <= x <= row.box[2] and row.box[1] <= y <= row.box[3]
    for row in found["responsible"].tables[0].rows:
        assert row.cells[3] == number(overlap(row.box[None], row.goal[None])[0, 0])
    by_cell = {}
    for line in numbers(found["responsible"]):
        by_cell.setdefault(line["cell"], []).append((float(line["IoU"]), line[""]))
    assert all(max(boxes)[1] == "responsible" for boxes in by_cell.values())
    for loss in ("place", "size"):
        shares = [float(line[f"share of {loss}"]) for line in numbers(found["deltas"])]
        assert sum(shares) == pytest.approx(it.losses[loss], rel=1e-4)
    for row in found["deltas"].tables[0].rows:
        x, y, w, h = (float(line[4]) for line in row.details[0].rows)
        assert [x + y, w + h] == pytest.approx([float(cell) for cell in row.cells[2:]], rel=1e-4, abs=1e-7)

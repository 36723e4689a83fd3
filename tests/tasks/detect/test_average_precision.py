"""Average precision: worked by hand, and against pycocotools on drawn pictures."""

import contextlib
import io

import numpy as np
import pytest

from tasks.detect.data.records import Detections, Target, around
from tasks.detect.evaluate.average_precision import IOUS, NAMES, coco_ap, voc_ap
from tasks.detect.evaluate.overlap import box_overlap, keypoint_similarity, mask_overlap

CLASSES = 3


# --- worked by hand


def boxes_at(*lefts):
    return np.float32([[x, 0, x + 10, 10] for x in lefts]).reshape(-1, 4)


TRUTH = [Target(boxes_at(0, 20, 40, 60), [0, 0, 0, 0])]
FOUND = [Detections(boxes_at(0, 100, 20, 1, 40), [0] * 5, [0.9, 0.8, 0.7, 0.6, 0.5])]
# right, wrong, right, wrong (the object is taken), right: precision 1, 1/2, 2/3, 2/4, 3/5 at recall 1/4, 1/4, 2/4, 2/4,
# 3/4. It falls as 1 up to 1/4, 2/3 up to 2/4, 3/5 up to 3/4, then 0.


def test_voc_ap_worked_by_hand():
    assert voc_ap(TRUTH, FOUND, 1)["AP"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)
    # recalls 0, .1, .2 read 1; .3, .4, .5 read 2/3; .6, .7 read 3/5; .8, .9, 1 read 0
    assert voc_ap(TRUTH, FOUND, 1, eleven=True)["AP"] == pytest.approx((3 * 1 + 3 * 2 / 3 + 2 * 3 / 5) / 11)


def test_coco_ap_worked_by_hand():
    # of 101 recalls 0 to .25 are 26, .26 to .50 are 25, .51 to .75 are 25
    by_hand = (26 * 1 + 25 * 2 / 3 + 25 * 3 / 5) / 101
    result = coco_ap(TRUTH, FOUND, 1)
    assert [result[name] for name in ("AP", "AP50", "AP75", "APs")] == pytest.approx([by_hand] * 4)
    assert np.isnan(result["APm"]) and np.isnan(result["APl"])
    assert result["classes"][0]["AP"] == pytest.approx(by_hand)


def test_ap50_and_ap75_part_where_the_iou_lies_between():
    found = [Detections([[0, 0, 10, 6]], [0], [0.5])]  # IoU 0.6 with the first of one object
    result = coco_ap([TRUTH[0][:1]], found, 1)
    assert (result["AP50"], result["AP75"]) == (1, 0)
    assert result["AP"] == pytest.approx(3 / 10)  # at .50, .55 and .60


def test_a_difficult_object_neither_helps_nor_harms_voc_ap():
    truth = [Target(boxes_at(0, 20), [0, 0], crowd=[False, True])]
    found = [Detections(boxes_at(20, 21, 0), [0] * 3, [0.9, 0.8, 0.7])]
    assert voc_ap(truth, found, 1)["AP"] == 1
    assert voc_ap([Target(boxes_at(0, 20), [0, 0])], found, 1)["AP"] == pytest.approx((1 + 2 / 3) / 2)


def test_nothing_there_and_nothing_found():
    none, nothing = Target([], []), Detections([], [], [])
    assert np.isnan(coco_ap([none], [nothing], 2)["AP"]) and np.isnan(voc_ap([none], [nothing], 2)["AP"])
    assert coco_ap(TRUTH, [nothing], 1)["AP"] == 0 and voc_ap(TRUTH, [nothing], 1)["AP"] == 0
    assert np.isnan(coco_ap([none], FOUND, 1)["AP"]) and np.isnan(voc_ap([none], FOUND, 1, eleven=True)["AP"])
    result = coco_ap(TRUTH, FOUND, 2)  # a class that is nowhere does not count in the mean
    assert np.isnan(result["classes"][1]["AP"]) and result["AP"] == result["classes"][0]["AP"]


def test_errors_name_what_does_not_fit():
    with pytest.raises(ValueError, match="target 0: label 3, but 2 classes end at 1"):
        coco_ap([Target([[0, 0, 1, 1]], [3])], [Detections([], [], [])], 2)
    with pytest.raises(ValueError, match="detections 0 has no masks"):
        coco_ap([Target([], [])], FOUND, 1, "masks")
    with pytest.raises(ValueError, match="1 of 2 came"):
        voc_ap(TRUTH * 2, FOUND, 1)
    with pytest.raises(ValueError, match="is none of boxes, masks, keypoints"):
        coco_ap(TRUTH, FOUND, 1, "box")
    with pytest.raises(ValueError, match="one number for each of 4"):
        keypoint_similarity(np.zeros((1, 4, 3)), np.zeros((1, 4, 3)), np.ones(1), np.zeros((1, 4)), [0.1])


# --- against pycocotools


def drawn(seed, kind):
    """Pictures full of hard cases: ties, crowds, objects of all sizes, duplicates, other classes, nothing at all."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(rng.integers(2, 9)):
        height, width = (int(n) for n in rng.integers(100, 140, 2))
        k = int(rng.integers(0, 7))
        centre, side = rng.uniform(10, 90, (k, 2)), np.exp(rng.uniform(1.5, 4.9, (k, 2)))
        boxes = np.concatenate([centre - side / 2, centre + side / 2], axis=1).clip(0, [width, height] * 2)
        boxes = np.rint(boxes) if rng.random() < 0.5 else boxes
        labels, crowd = rng.integers(0, CLASSES, k), rng.random(k) < 0.2
        points = boxes[:, None, :2] + rng.random((k, 5, 2)) * (boxes[:, 2:] - boxes[:, :2])[:, None]
        points = np.concatenate([points, rng.integers(0, 3, (k, 5, 1)) * (rng.random((k, 1, 1)) < 0.8)], axis=2)
        masks = _filled(boxes, height, width, rng)
        areas = rng.uniform(0.5, 1, k) * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) if rng.random() < 0.5 else None
        extra = {"masks": {"masks": masks}, "keypoints": {"keypoints": points}, "boxes": {}}[kind]
        truths.append(Target(boxes, labels, crowd=crowd, areas=areas, **extra))
        found.append(_detections(rng, boxes, labels, points, height, width, kind))
    return truths, found


def _detections(rng, boxes, labels, points, height, width, kind):
    which = rng.integers(0, len(boxes), rng.integers(0, 14)) if len(boxes) else np.zeros(0, int)
    noise = rng.choice([0, 1, 5]) * rng.standard_normal((len(which), 4))
    moved = boxes[which] + (np.rint(noise) if rng.random() < 0.5 else noise)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    moved = moved.clip(0, [width, height] * 2)
    predicted = np.where(rng.random(len(which)) < 0.8, labels[which], rng.integers(0, CLASSES, len(which)))
    scores = np.round(rng.random(len(which)), 1)  # ties
    points = points[which] + np.concatenate([noise[:, None, :2] * np.ones((1, 5, 1)), np.zeros((len(which), 5, 1))], 2)
    masks = _filled(moved, height, width, rng) if kind == "masks" else None
    return Detections.ranked(moved, predicted, scores, masks, points if kind == "keypoints" else None)


def _filled(boxes, height, width, rng):
    """A mask in each box: an ellipse or all of it."""
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    masks = []
    for x1, y1, x2, y2 in boxes:
        if rng.random() < 0.5:
            masks.append((x > x1) & (x < x2) & (y > y1) & (y < y2))
        else:
            rx, ry = max(x2 - x1, 1e-3) / 2, max(y2 - y1, 1e-3) / 2
            masks.append(((x - (x1 + x2) / 2) / rx) ** 2 + ((y - (y1 + y2) / 2) / ry) ** 2 < 1)
    return np.array(masks, bool).reshape(len(boxes), height, width)


def by_pycocotools(truths, found, kind, limit):
    coco = pytest.importorskip("pycocotools.coco", reason="compares with pycocotools: pip install pycocotools")
    from pycocotools import cocoeval, mask

    def as_rle(m):
        return mask.encode(np.asfortranarray(m.astype(np.uint8)))

    def plain(record, i, k):
        x1, y1, x2, y2 = record.boxes[k].astype(float)
        entry = {"image_id": i + 1, "category_id": int(record.labels[k]) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        if record.masks is not None:
            entry["segmentation"] = as_rle(record.masks[k])
        if record.keypoints is not None:
            entry["keypoints"] = record.keypoints[k].astype(float).ravel().tolist()
        return entry

    given, results = [], []
    for i, (truth, guess) in enumerate(zip(truths, found)):
        for k in range(len(truth)):
            entry = plain(truth, i, k)
            entry |= {"id": len(given) + 1, "area": float(truth.areas[k]), "iscrowd": int(truth.crowd[k])}
            if truth.keypoints is not None:
                entry["num_keypoints"] = int((truth.keypoints[k, :, 2] > 0).sum())
            given.append(entry)
        for k in range(len(guess)):
            entry = plain(guess, i, k) | {"score": float(guess.scores[k])}
            if kind != "boxes":
                del entry["bbox"]
            results.append(entry)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": i + 1, "height": 1, "width": 1} for i in range(len(truths))],
            "categories": [{"id": c + 1, "name": str(c)} for c in range(CLASSES)],
            "annotations": given,
        }
        truth.createIndex()
        names = {"boxes": "bbox", "masks": "segm", "keypoints": "keypoints"}
        run = cocoeval.COCOeval(truth, truth.loadRes(results), names[kind])
        run.params.areaRng = [[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]]
        run.params.areaRngLbl = ["all", "small", "medium", "large"]
        run.params.maxDets = [limit]
        run.params.kpt_oks_sigmas = np.full(5, 0.05)
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][..., 0]  # (T, 101, classes, sizes)
    precision = np.where(precision < 0, np.nan, precision)
    every = precision[..., 0]
    parts = [every, every[0], every[5], *(precision[..., r] for r in (1, 2, 3))]
    return [float(p[~np.isnan(p)].mean()) if (~np.isnan(p)).any() else np.nan for p in parts]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints"])
def test_coco_ap_is_that_of_pycocotools(kind):
    compared = []
    for seed in range(60):
        truths, found = drawn(seed, kind)
        if not any(map(len, found)):
            continue  # pycocotools cannot load an empty list
        limit = [100, 20, 2][seed % 3]
        ours = coco_ap(truths, found, CLASSES, kind, limit=limit)
        theirs = by_pycocotools(truths, found, kind, limit)
        np.testing.assert_allclose([ours[name] for name in NAMES], theirs, rtol=1e-9, err_msg=f"seed {seed}")
        compared.append(theirs)
    ap = np.array(compared)[:, 0]
    assert len(ap) > 50 and np.nanstd(ap) > 0.05  # cases differ


def test_boxes_whose_iou_is_a_threshold_are_those_of_pycocotools():
    """In float32 137 of 300 such boxes were judged otherwise."""
    rng, single = np.random.default_rng(0), 0
    truths, found = [], []
    for k in range(300):
        x, y = np.round(rng.uniform(0, 500, 2), 2)
        width, height = np.round(rng.uniform(5, 90, 2), 1)
        whole, part = [x, y, x + width, y + height], [x, y, x + width, y + height * IOUS[k % 10]]
        truths.append(Target([whole], [k % CLASSES]))
        found.append(Detections([part], [k % CLASSES], [0.5]))
        exact, rounded = (box_overlap(np.array([part], t), np.array([whole], t)) >= IOUS[k % 10] for t in ("f8", "f4"))
        single += (exact != rounded).item()
    assert single > 50
    ours = coco_ap(truths, found, CLASSES)
    theirs = by_pycocotools(truths, found, "boxes", 100)
    np.testing.assert_allclose([ours[name] for name in NAMES], theirs, rtol=1e-12)


def test_boxes_keep_their_numbers():
    x = 1000.1  # no number of float32
    whole, part = [x, 0, x + 10, 10], [x, 0, x + 10, 5.5]  # pycocotools 2.0.11: 0.55, which counts at 0.50 and 0.55
    assert coco_ap([Target([whole], [0])], [Detections([part], [0], [0.5])], 1)["AP"] == pytest.approx(0.2)
    truths = [Target([whole], [0], areas=[1e4])]  # the area is the annotation's: large
    result = coco_ap(truths, [Detections([whole], [0], [0.5])], 1)
    assert (result["APl"], result["AP"]) == (1, 1) and np.isnan(result["APs"])


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_overlaps_are_those_of_pycocotools(kind):
    mask = pytest.importorskip("pycocotools.mask", reason="compares with pycocotools: pip install pycocotools")
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 30, (2, 8, 2))
    a, b = np.concatenate([low, low + rng.uniform(0, 25, (2, 8, 2))], axis=2)
    crowd = rng.random(8) < 0.4
    if kind == "boxes":
        xywh = [np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], axis=1) for box in (a, b)]
        theirs, ours = mask.iou(*xywh, crowd.astype(np.uint8)), box_overlap(a, b, crowd)
    else:
        a, b = (_filled(box, 60, 60, rng) for box in (a, b))
        rle = [[mask.encode(np.asfortranarray(m.astype(np.uint8))) for m in many] for many in (a, b)]
        theirs, ours = mask.iou(*rle, crowd.astype(np.uint8)), mask_overlap(a, b, crowd)
    assert 0 < np.count_nonzero(theirs) < theirs.size
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_the_box_around_a_mask():
    mask = np.zeros((2, 6, 7), bool)
    mask[0, 2:4, 3:6] = True
    np.testing.assert_array_equal(around(mask), [[3, 2, 6, 4], [0, 0, 0, 0]])

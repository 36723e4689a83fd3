"""The two-stage detectors: anchors, matching, each loss worked by hand, what is found, and learning itself."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import Tensor, nn, optim
from tasks.detect import (
    FasterRCNN,
    RPNSettings,
    Target,
    faster_rcnn_small,
    faster_rcnn_small_vgg,
    faster_rcnn_vgg16,
    resnet50_fpn,
    resnet_small_fpn,
    resnet_small_stages,
    vgg16_map,
)
from tasks.detect.losses.matching import IGNORED, NEGATIVE, POSITIVE, Match, draw, gathered, match, sample
from tasks.detect.losses.terms import summed
from tasks.detect.models.anchors import (
    PYRAMID,
    RATIOS,
    SINGLE_MAP,
    AnchorOutputs,
    Anchors,
    grid,
    per_anchor,
    shapes,
)
from tasks.detect.models.heads import BoxHead, Crop, HeadSettings, Regions, choose, with_image
from tasks.detect.models.keypoints import KeypointHead, keypoint_cells, keypoints_of
from tasks.detect.models.masks import MaskHead, mask_targets, paste
from tasks.detect.models.rpn import RPN
from tasks.detect.models.suppression import Candidates, best_of_each
from tasks.detect.show.explain import traced
from tasks.detect.show.explain.use import suppression


def float32(*rows):
    return np.array(rows, np.float32).reshape(-1, len(rows[0]) if rows else 4)


def target(boxes, labels=None, **more):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Target(boxes, np.zeros(len(boxes), int) if labels is None else np.asarray(labels, int), **more)


# --- anchors


def test_shapes_have_the_area_of_their_size_and_the_ratio_height_by_width():
    found = shapes((10, 20))
    assert found.shape == (6, 2)
    for k, (w, h) in enumerate(found):
        assert w * h == pytest.approx((100, 400)[k // 3]) and h / w == pytest.approx(RATIOS[k % 3])


def test_anchors_are_centred_on_the_cells_in_the_order_of_the_maps():
    anchors = Anchors.of(((8,), (16, 32)), (4, 8), (1.0, 4.0))
    assert anchors.per_cell == (2, 4)
    boxes, level = anchors.boxes([(2, 3), (1, 2)])
    expected = []
    for (h, w), stride, sizes in (((2, 3), 4, (8,)), ((1, 2), 8, (16, 32))):
        for i in range(h):
            for j in range(w):
                for size in sizes:
                    for ratio in (1, 2):  # the root of 1 and 4
                        x, y, dx, dy = (j + 0.5) * stride, (i + 0.5) * stride, size / ratio / 2, size * ratio / 2
                        expected.append([x - dx, y - dy, x + dx, y + dy])
    np.testing.assert_array_equal(boxes, np.float32(expected))
    np.testing.assert_array_equal(level, [0] * 12 + [1] * 8)
    with pytest.raises(ValueError, match="1 levels, but 2 maps"):
        Anchors.of(((8,),), (4, 8))


def test_the_papers_anchors():
    single = Anchors.of(SINGLE_MAP, (16,))
    boxes, _ = single.boxes([(38, 63)])  # a picture of 600 x 1000: "about 20,000 anchors" (Ren et al., section 3.1.1)
    assert single.per_cell == (9,) and len(boxes) == 38 * 63 * 9
    pyramid = Anchors.of(PYRAMID, (4, 8, 16, 32, 64))
    assert pyramid.per_cell == (3,) * 5


def test_channels_of_a_map_become_entries_in_the_order_of_the_anchors():
    n, k, e, h, w = 2, 3, 4, 5, 6
    x = np.random.default_rng(0).standard_normal((n, k * e, h, w))
    found = per_anchor(Tensor(x), e).data
    for i, j, a in np.ndindex(h, w, k):
        np.testing.assert_array_equal(found[:, (i * w + j) * k + a], x[:, a * e : (a + 1) * e, i, j])
    assert len(grid((h, w), 4, shapes((8,)))) == h * w * k


# --- matching, against naive loops in exact arithmetic

COORDINATES = st.integers(0, 8)
BOX = st.tuples(COORDINATES, COORDINATES, st.integers(1, 6), st.integers(1, 6)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def exact_iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return Fraction(shared, sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - shared)


@settings(max_examples=150, deadline=None)
@given(st.lists(BOX, min_size=1, max_size=8), st.lists(st.tuples(BOX, st.booleans()), max_size=5), st.booleans())
def test_matching_agrees_with_loops(boxes, objects, claimed):
    there = target([b for b, _ in objects], crowd=[c for _, c in objects])
    low, high = Fraction(3, 10), Fraction(7, 10)
    found = match(np.float32(boxes), there, positive=0.7, negative=0.3, best=True, claimed=claimed)
    for a, box in enumerate(boxes):
        ious = {k: exact_iou(box, b) for k, (b, crowd) in enumerate(objects) if not crowd}
        highest = max(ious.values(), default=Fraction(0))
        claims = [k for k in ious if ious[k] > 0 and ious[k] == max(exact_iou(o, objects[k][0]) for o in boxes)]
        assert found.iou[a] == np.float32(float(highest))
        if claims:
            assert found.best_for[a] == max(claims, key=lambda k: (ious[k], -k))
        else:
            assert found.best_for[a] == -1
        if ious:
            own = max(ious, key=lambda k: (ious[k], -k))
            assert found.truth[a] == (found.best_for[a] if claimed and claims else own)
        area = (box[2] - box[0]) * (box[3] - box[1])
        covered = False
        for region in (b for b, crowd in objects if crowd):
            width, height = (min(box[k + 2], region[k + 2]) - max(box[k], region[k]) for k in (0, 1))
            covered |= 2 * max(width, 0) * max(height, 0) > area
        if highest >= high or claims:
            expected = POSITIVE
        elif highest < low and not covered:
            expected = NEGATIVE
        else:
            expected = IGNORED
        assert found.labels[a] == expected


def test_without_objects_every_box_is_negative():
    found = match(float32([0, 0, 4, 4], [2, 2, 9, 9]), target([]), positive=0.7, negative=0.3, best=True)
    assert (found.labels == NEGATIVE).all() and (found.iou == 0).all() and (found.best_for == -1).all()
    assert match(np.zeros((0, 4), np.float32), target([[0, 0, 1, 1]]), positive=0.5, negative=0.5).labels.size == 0


def test_an_object_that_no_box_meets_claims_none():
    found = match(float32([0, 0, 4, 4]), target([[50, 50, 60, 60]]), positive=0.7, negative=0.3, best=True)
    assert found.labels.tolist() == [NEGATIVE]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([POSITIVE, NEGATIVE, IGNORED]), max_size=40), st.integers(1, 20), st.integers(0, 9))
def test_samples_hold_what_there_is_up_to_the_share(labels, count, seed):
    labels = np.array(labels, int)
    positive, negative = sample(labels, count, 0.25, np.random.default_rng(seed))
    assert (labels[positive] == POSITIVE).all() and (labels[negative] == NEGATIVE).all()
    assert len(set(positive)) == len(positive) == min((labels == POSITIVE).sum(), int(count * 0.25))
    assert len(set(negative)) == len(negative) == min((labels == NEGATIVE).sum(), count - len(positive))
    again = sample(labels, count, 0.25, np.random.default_rng(seed))
    assert np.array_equal(positive, again[0]) and np.array_equal(negative, again[1])


def test_every_candidate_is_sampled_as_often():
    labels, rng = np.array([POSITIVE] * 6 + [NEGATIVE] * 12), np.random.default_rng(0)
    times = np.zeros(18)
    for _ in range(3000):
        for part in sample(labels, 8, 0.5, rng):
            times[part] += 1
    expected = np.repeat([4 / 6, 4 / 12], [6, 12])  # of 4 positive and 4 negative ones
    deviation = np.sqrt(expected * (1 - expected) / 3000)
    assert (abs(times / 3000 - expected) < 5 * deviation).all()


def test_a_draw_keeps_images_apart():
    matches = [
        Match(np.zeros(3), np.array([5, 6, 7]), np.array([0, 1, -1]), np.full(3, -1)),
        Match(np.zeros(2), np.array([8, 9]), np.array([1, 0]), np.full(2, -1)),
    ]
    drawn = draw(matches, 10, 0.5, np.random.default_rng(0))
    assert [part.tolist() for part in drawn] == [[0, 0, 1, 1], [1, 0, 0, 1], [True, False] * 2, [6, 5, 8, 9]]
    rows = gathered([np.array([[1], [2]]), np.zeros((0, 1)), np.array([[3]])], np.array([2, 0]), np.array([0, 1]))
    assert rows.tolist() == [[3], [2]]


# --- suppression


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(BOX, st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=12))
def test_who_suppressed_whom_agrees_with_loops(drawn):
    boxes, scores, classes = (np.array(part) for part in zip(*drawn))
    every = np.arange(len(boxes))
    candidates = Candidates.suppressed(every, classes, np.float32(boxes), np.float32(scores), 0.5, len(boxes))
    found = suppression(candidates, 0.5)
    by, kept = {}, []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if i not in by:
            kept.append(i)
            for j in range(len(boxes)):
                if j not in by and j not in kept and classes[j] == classes[i] and exact_iou(*boxes[[i, j]]) > 0.5:
                    by[j] = i
    assert candidates.kept.tolist() == kept
    assert found.by.tolist() == [by.get(i, -1) for i in range(len(boxes))]
    ious = [float(exact_iou(boxes[i], boxes[by[i]])) if i in by else 0 for i in range(len(boxes))]
    np.testing.assert_array_equal(found.iou, np.float32(ious))


def test_the_best_of_each_level():
    scores, level = np.array([1.0, 3, 2, 9, 8, 7]), np.array([0, 0, 0, 1, 1, 1])
    assert best_of_each(scores, level, 2).tolist() == [1, 2, 3, 4]


# --- the losses by hand

LOG2 = math.log(2)


def test_the_two_losses_of_the_first_stage_by_hand():
    anchors = float32([0, 0, 10, 10], [0, 0, 10, 20], [20, 20, 30, 30])
    there = target([[0, 0, 10, 10]])  # IoU 1: positive; 100 / 200: ignored; 0: negative
    found = AnchorOutputs(
        Tensor(np.array([[0.0, 5.0, math.log(3)]])),
        Tensor(np.array([[[0.05, 0.5, 0, 0], [9, 9, 9, 9], [9, 9, 9, 9]]])),
        anchors,
        np.zeros(3, int),
    )
    rpn = RPN((4,), Anchors.of(((8,),), (4,)))
    terms = rpn.loss(found, [there], np.random.default_rng(0)).terms
    losses = summed(terms)
    # yes at logit 0: log 2; no at logit log 3: -log(1 - 3/4) = 2 log 2; two anchors sampled
    assert losses["objectness"].item() == pytest.approx((LOG2 + 2 * LOG2) / 2)
    # wanted are steps of 0: 0.05 < 1/9 gives 0.05^2 / (2/9) = 0.01125; 0.5 gives 0.5 - 1/18; by the two SAMPLED
    assert losses["rpn_box"].item() == pytest.approx((0.01125 + 0.5 - 1 / 18) / 2)
    assert terms["objectness"].item.tolist() == [0, 2] and terms["rpn_box"].item.tolist() == [0]
    np.testing.assert_allclose(terms["objectness"].value.data, [LOG2 / 2, LOG2])


def test_the_two_losses_of_the_second_stage_by_hand():
    head = BoxHead(1, 2, hidden=3)
    regions = Regions(
        float32([0, 0, 0, 10, 20], [0, 50, 50, 60, 60], [1, 0, 0, 8, 8]),
        np.array([1, 2, 0]),  # class 1, background, class 0
        np.array([0, 0, 0]),
        np.array([0, 2]),
    )
    targets = [target([[1, 0, 11, 20]], [1]), target([[0, 0, 16, 8]], [0])]
    logits = np.log([[1.0, 2, 1], [1, 1, 6], [1, 2, 2]])  # softmax: 1/2, 3/4, 1/5 for the right class
    deltas = np.full((3, 2, 4), 7.0)  # steps of other classes count for nothing
    deltas[0, 1] = [1.2, 0, 0, 0]
    # region 0: x moves by 0.1 widths, times 10: 1; missed by 0.2: 0.2 - 1/18
    # region 2: x by 1/2 width, times 10: 5; width doubles: 5 log 2, missed by 1/18 < 1/9: (1/18)^2 / (2/9) = 1/72
    deltas[2, 0] = [5, 0, 5 * LOG2 - 1 / 18, 0]
    terms = head.loss(Tensor(logits), Tensor(deltas), regions, targets).terms
    losses = summed(terms)
    assert losses["class"].item() == pytest.approx((LOG2 + math.log(4 / 3) + math.log(5)) / 3)
    assert losses["box"].item() == pytest.approx((0.2 - 1 / 18 + 1 / 72) / 3, rel=1e-5)
    assert terms["box"].item.tolist() == [0, 2] and terms["box"].image.tolist() == [0, 1]


def test_the_mask_loss_by_hand():
    masks = np.zeros((1, 8, 8), bool)
    masks[0, :, :4] = True  # the left half of the region
    regions = Regions(float32([0, 0, 0, 8, 8], [0, 0, 0, 1, 1]), np.array([1, 2]), np.array([0, 0]), np.array([0]))
    logits = np.full((1, 2, 4, 4), 5.0)  # the map of class 0 counts for nothing
    logits[0, 1] = math.log(3)
    loss = MaskHead(1, 2, width=2).loss(Tensor(logits), regions, [target([[0, 0, 8, 8]], [1], masks=masks)])
    # sigmoid(log 3) = 3/4: log(4/3) on the object's eight cells, log 4 on the others
    assert summed(loss.terms)["mask"].item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_the_keypoint_loss_by_hand():
    points = np.float32([[[1, 1, 2], [7, 5, 1], [3, 3, 0]]])  # seen; hidden but known; not given
    regions = Regions(float32([0, 0, 0, 8, 8], [0, 0, 0, 6, 6]), np.array([0, 0]), np.array([0, 0]), np.array([0, 1]))
    logits = np.zeros((2, 3, 4, 4))  # cells of 2 x 2 pixels, then of 1.5 x 1.5
    logits[0, 0, 0, 0] = math.log(17)  # (1, 1) is in cell row 0, column 0: 17 / (17 + 15)
    logits[0, 1, 2, 3] = math.log(5)  # (7, 5) in row 2, column 3: 5 / (5 + 15)
    logits[1, 0, 0, 0] = math.log(15)  # 15 / (15 + 15); (7, 5) lies outside of the second region
    head = KeypointHead(1, 3, width=2, layers=1)
    loss = head.loss(Tensor(logits), regions, [target([[0, 0, 8, 8]], keypoints=points)])
    assert summed(loss.terms)["keypoint"].item() == pytest.approx((math.log(32 / 17) + math.log(4) + LOG2) / 3)


# --- regions


def test_the_level_of_a_region_is_equation_1():
    crop = Crop((4, 8, 16, 32))
    sides = np.array([1, 111, 112, 223, 224, 447, 448, 5000])
    boxes = np.stack([sides * 0, sides * 0, 2 * sides, sides / 2], axis=1)  # area = side^2
    assert crop.level(boxes).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert Crop((16,)).level(boxes).tolist() == [0] * 8
    assert Crop((4, 8), canonical=56).level(np.zeros((1, 4))).tolist() == [0]
    with pytest.raises(ValueError, match="align, pool"):
        Crop((4,), method="warp")


@pytest.mark.parametrize("method", ["align", "pool"])
def test_crops_come_in_the_order_of_the_regions(method):
    rng = np.random.default_rng(0)
    maps = [Tensor(rng.standard_normal((2, 3, n, n))) for n in (16, 8)]
    crop = Crop((4, 8), canonical=56, method=method)
    regions = float32([1, 0, 0, 40, 40], [0, 5, 5, 15, 20], [1, 3, 3, 9, 9], [0, 0, 0, 60, 60])
    assert crop.level(regions[:, 1:]).tolist() == [1, 0, 0, 1]
    together = crop(maps, regions, 7).data
    for i in range(4):
        np.testing.assert_array_equal(together[i], crop(maps, regions[i : i + 1], 7).data[0])
    assert crop(maps, regions[:0], 7).shape == (0, 3, 7, 7)


def test_chosen_regions_include_the_objects_and_are_sorted_by_level():
    crop, settings_ = Crop((4, 8), canonical=56), HeadSettings(sample=8)
    boxes = [[0, 0, 40, 40], [10, 10, 20, 20], [0, 0, 90, 90]]
    there = [target(boxes, [1, 2, 0], crowd=[False, False, True]), target([])]
    proposals = [float32([60, 60, 70, 70], [11, 10, 20, 20]), float32([5, 5, 50, 50])]
    regions = choose(proposals, there, 3, crop, settings_, np.random.default_rng(0)).regions
    assert np.array_equal(np.sort(crop.level(regions.boxes[:, 1:])), crop.level(regions.boxes[:, 1:]))
    names = {0: [0, 0, 40, 40], 1: [10, 10, 20, 20]}
    for i, (region, label) in enumerate(zip(regions.boxes, regions.label)):
        ious = {k: exact_iou(region[1:].astype(int).tolist(), box) for k, box in names.items() if region[0] == 0}
        best = max(ious, key=ious.get) if ious else None
        if ious and ious[best] >= 0.5:
            assert label == [1, 2][best] and regions.truth[i] == best and i in regions.positive
        else:
            assert label == 3 and i not in regions.positive
    assert len(regions.positive) == 2  # a quarter of 8, of the three there are
    np.testing.assert_array_equal(with_image(proposals)[:, 0], [0, 0, 1])
    np.testing.assert_array_equal(with_image(proposals)[:, 1:], np.concatenate(proposals))


def test_masks_are_cut_and_pasted_back():
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 40, 48), bool)
    masks[0, 10:30, 8:20], masks[1, 4:36, 20:44] = True, True
    y, x = np.mgrid[:40, :48]
    masks[1] &= (y - 20) ** 2 + (x - 32) ** 2 < 150
    boxes = np.float32([[4, 6, 24, 34], [18, 2, 46, 38]])
    there = [target([]), target(boxes, masks=masks)]
    cut = mask_targets(there, np.array([1, 1]), np.array([0, 1]), boxes, 28)
    assert cut.shape == (2, 28, 28) and set(np.unique(cut)) == {0, 1}
    back = paste(cut, boxes, (40, 48))
    for one, other in zip(back, masks):
        assert (one & other).sum() / (one | other).sum() > 0.9
    assert not paste(np.ones((1, 4, 4)), float32([60, 3, 70, 9]), (40, 48)).any()
    whole = paste(np.ones((1, 4, 4)), float32([2.6, 3, 9.4, 8]), (40, 48))
    assert np.argwhere(whole[0]).min(0).tolist() == [3, 3] and np.argwhere(whole[0]).max(0).tolist() == [7, 8]
    probability = rng.random((1, 3, 3))
    fine = paste(probability, float32([0, 0, 48, 40]), (40, 48), threshold=0.4)[0]
    for i, j in np.ndindex(40, 48):
        u, v = (np.clip((k + 0.5) / n * 3 - 0.5, 0, 2) for k, n in ((i, 40), (j, 48)))
        (a, b), (p, q) = (min(int(u), 1), min(int(v), 1)), (u - min(int(u), 1), v - min(int(v), 1))
        weights = np.outer([1 - p, p], [1 - q, q])
        assert fine[i, j] == ((weights * probability[0, a : a + 2, b : b + 2]).sum() >= 0.4)
    with pytest.raises(ValueError, match="masks=None"):
        mask_targets([target([[0, 0, 1, 1]])], np.zeros(1, int), np.zeros(1, int), boxes[:1], 28)


def test_keypoints_come_back_from_their_cells():
    rng = np.random.default_rng(0)
    boxes = np.float32([[2, 3, 30, 17], [5.5, 0, 9, 40]])
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    points = np.concatenate([low + rng.random((2, 5, 2)) * (high - low), np.full((2, 5, 1), 2)], axis=2)
    points[0, 0, :2] = boxes[0, 2:]  # on the corner: the last cell
    cell, inside = keypoint_cells(points, boxes, 56)
    assert inside.all() and cell[0, 0] == 56**2 - 1
    logits = np.zeros((2, 5, 56 * 56))
    logits[np.arange(2)[:, None], np.arange(5), cell] = 20
    found = keypoints_of(logits.reshape(2, 5, 56, 56), boxes)
    assert (abs(found[..., :2] - points[..., :2]) <= (high - low) / 56 / 2 + 1e-5).all()
    np.testing.assert_allclose(found[..., 2], np.exp(20) / (np.exp(20) + 56**2 - 1), rtol=1e-6)
    outside = np.float32([[[31, 5, 2], [20, 10, 0]]])
    assert not keypoint_cells(outside, boxes[:1], 56)[1].any()


# --- backbones


def test_backbones_say_what_they_give():
    x = Tensor(np.zeros((1, 3, 32, 48), np.float32))
    with nn.init.undrawn(), md.no_grad():
        for backbone, strides in (
            (resnet_small_fpn(4, 6), (4, 8, 16)),
            (resnet_small_fpn(4, 6, extra="pool"), (4, 8, 16, 32)),
            (resnet_small_stages(4), (4, 8, 16)),
            (resnet50_fpn(8), (4, 8, 16, 32, 64)),
            (resnet50_fpn(8, "convolutions", first=2), (8, 16, 32, 64, 128)),
            (vgg16_map(), (16,)),
            (faster_rcnn_small_vgg(2).backbone, (8,)),
        ):
            maps = backbone(x)
            assert backbone.strides == strides
            assert [m.shape for m in maps] == [
                (1, c, math.ceil(32 / s), math.ceil(48 / s)) for c, s in zip(backbone.channels, strides)
            ]
    assert vgg16_map().channels == (512,)
    with pytest.raises(ValueError, match="pool"):
        resnet_small_fpn(extra="other")


def test_a_pyramid_adds_what_coarser_maps_know():
    rng = np.random.default_rng(0)
    net = resnet_small_fpn(2, 3, extra="pool", rng=0).eval()
    x = Tensor(rng.standard_normal((1, 3, 40, 40), dtype=np.float32))  # maps of 10, 5 and 3 cells
    fine, middle, coarse, last = (m.data[0] for m in net(x))
    sides = [conv(m).data[0] for conv, m in zip(net.inner, net.bottom(x))]
    for k in (1, 0):
        size = sides[k].shape[1]
        index = np.minimum((np.arange(size) * sides[k + 1].shape[1] / size).astype(int), 4)
        sides[k] = sides[k] + sides[k + 1][:, index][:, :, index]
    for conv, side, found in zip(net.layer, sides, (fine, middle, coarse)):
        np.testing.assert_allclose(conv(Tensor(side[None])).data[0], found, atol=1e-5)
    np.testing.assert_array_equal(last, coarse[:, ::2, ::2])


def test_the_papers_networks_have_their_sizes():
    with nn.init.undrawn():
        model = faster_rcnn_vgg16(20)
    assert model.rpn.anchors.per_cell == (9,) and model.crop.method == "pool" and model.head.fc6.in_features == 25088
    assert model.rpn.settings == RPNSettings() and model.head.settings == HeadSettings()
    with pytest.raises(ValueError, match="as many anchors"):
        RPN((4, 4), Anchors.of(((8,), (8, 16)), (4, 8)))


# --- the whole


def scene(kind, seed=0, size=64, count=3):
    """A picture with bright and dark rectangles, and what is in it: as many objects as `kind` says."""
    rng = np.random.default_rng(seed)
    count = {"none": 0, "pixels": 4, "many": 200}.get(kind, count)
    corner = rng.integers(0, size - 24, (count, 2))
    side = np.ones((count, 2), int) if kind == "pixels" else rng.integers(9, 24, (count, 2))
    boxes, labels = np.concatenate([corner, corner + side], axis=1), rng.integers(0, 2, count)
    image = rng.normal(0, 0.1, (3, size, size)).astype(np.float32)
    masks = np.zeros((count, size, size), bool)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        masks[k, y1:y2, x1:x2] = True
        image[:, y1:y2, x1:x2] += 1 if labels[k] else -1
    points = np.zeros((count, 2, 3), np.float32)
    points[:, 0, :2], points[:, 1, :2], points[..., 2] = boxes[:, :2] + 0.5, boxes[:, 2:] - 0.5, 2
    return image, target(boxes, labels, masks=masks, keypoints=points)


TINY = {"sizes": ((12,), (24,), (48,)), "hidden": 16, "mask_width": 4, "mask_layers": 1, "keypoint_width": 4,
        "keypoint_layers": 1}  # fmt: skip


def tiny(**options):
    return faster_rcnn_small(2, **{"width": 6, "pyramid": 8, "rng": 0} | TINY | options)


def batch(*kinds):
    images, targets = zip(*(scene(kind, seed=i) for i, kind in enumerate(kinds)))
    return Tensor(np.stack(images)), list(targets)


NAMES = ["objectness", "rpn_box", "class", "box", "mask", "keypoint"]


@pytest.mark.parametrize("kinds", [("none",), ("pixels",), ("many",), ("some", "none", "pixels"), ("some", "some")])
def test_losses_and_gradients_are_finite_and_their_terms_add_up_exactly(kinds):
    model = tiny(masks=True, num_keypoints=2)
    images, targets = batch(*kinds)
    computed = model.training_pass(images, targets, np.random.default_rng(0))
    losses = model.losses(images, targets, np.random.default_rng(0))
    assert list(losses) == list(computed.terms) == NAMES
    for name, loss in losses.items():
        terms = computed.terms[name]
        assert loss.shape == () and math.isfinite(loss.item())
        assert terms.value.dtype == np.float32 and terms.value.data.sum() == loss.data  # to the last bit
        assert terms.image.shape == terms.item.shape == terms.value.shape
    sum(losses.values()).backward()
    assert all(np.isfinite(p.grad.data).all() for p in model.parameters())
    if kinds == ("none",):
        assert all(losses[name].item() == 0 for name in NAMES if name not in ("objectness", "class"))


def test_a_gradient_reaches_every_parameter():
    single = faster_rcnn_small_vgg(2, width=4, rng=0, hidden=16, method="pool")
    for model in (tiny(masks=True, num_keypoints=2), single):
        images, targets = batch("some", "some")
        sum(model.losses(images, targets, np.random.default_rng(0)).values()).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.data.any()] == []


def test_the_same_seed_gives_the_same_bits():
    images, targets = batch("some", "many")

    def run(seed):
        model = tiny(masks=True, num_keypoints=2)
        losses = model.losses(images, targets, np.random.default_rng(seed))
        sum(losses.values()).backward()
        return [loss.item() for loss in losses.values()] + [p.grad.data.tobytes() for p in model.parameters()]

    assert run(1) == run(1) and run(1) != run(2)


def test_proposals_carry_no_gradient_and_lie_in_the_picture():
    model = tiny()
    images, _ = batch("some", "some")
    found = model.rpn(model.backbone(images))
    for proposed in model.rpn.proposals(found, (64, 64), True):
        boxes = proposed.boxes[proposed.kept]
        assert isinstance(boxes, np.ndarray) and 0 < len(boxes) <= model.rpn.settings.after[0]
        assert (boxes >= 0).all() and (boxes <= 64).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        by = suppression(proposed, model.rpn.settings.nms).by
        assert (by[proposed.kept] == -1).all() and (np.diff(proposed.scores[proposed.kept]) <= 0).all()
    broken = found._replace(logits=found.logits * np.nan)
    assert [len(proposed.kept) for proposed in model.rpn.proposals(broken, (64, 64), True)] == [0, 0]


def test_detections_agree_with_loops_over_what_the_network_predicts():
    model = tiny(masks=True, num_keypoints=2)
    images, _ = batch("some", "none")
    model.head.classes.weight.data = model.head.classes.weight.data * 300  # so that classes differ
    model.train()
    predicted = model.predict(images, score=0.2, nms=0.4, limit=7)
    found = predicted.detections
    assert all(module.training for module in model.modules())
    assert len(found) == 2 and sum(map(len, found)) > 0
    for n, detections in enumerate(found):
        expected = []
        for label in range(2):
            mine = [
                (predicted.probabilities[r, label], r, predicted.boxes[r, label])
                for r in np.flatnonzero(predicted.regions[:, 0] == n)
                if predicted.probabilities[r, label] > 0.2
            ]
            kept = []
            for chance, r, box in sorted(mine, key=lambda item: (-item[0], item[1])):
                if all(md.functional.box_iou(box[None], other[None]).item() <= 0.4 for _, _, other, _ in kept):
                    kept.append((chance, r, box, label))
            expected += kept
        expected = sorted(expected, key=lambda item: (-item[0], item[1], item[3]))[:7]
        np.testing.assert_array_equal(detections.scores, [e[0] for e in expected])
        np.testing.assert_array_equal(detections.boxes, np.reshape([e[2] for e in expected], (-1, 4)))
        assert detections.labels.tolist() == [e[3] for e in expected]
        assert detections.masks.shape == (len(expected), 64, 64) and detections.masks.dtype == bool
        assert detections.keypoints.shape == (len(expected), 2, 3)


def test_every_stage_is_returned_and_the_model_is_as_it_was():
    model = tiny(masks=True, num_keypoints=2)
    images, targets = batch("some")
    before = {name: np.copy(value) for name, value in model.state_dict().items()}
    case = traced(model, images.data[0], targets[0], ("dark", "bright"), np.random.default_rng(0))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert model.training and all(p.grad is None for p in model.parameters())
    for name, loss in case.losses.items():
        assert case.terms[name].value.sum() == loss
    computed, steps = case.training, case.training.first.steps
    anchors, _, labels, _ = computed.first.matches[0]
    assert len(anchors) == len(labels) == len(computed.outputs.anchors) == len(computed.outputs.level)
    assert computed.outputs.logits.shape == (1, len(labels))
    assert len(steps.start) == len(steps.target) == len(steps.predicted) == computed.first.drawn.positive.sum()
    regions, steps = computed.chosen.regions, computed.second.steps
    assert len(regions.boxes) == len(regions.label) == len(computed.chosen.drawn.box) == len(computed.second.logits)
    assert steps.target.shape == steps.predicted.shape == (len(regions.positive), 4)
    predicted = case.prediction
    assert len(computed.proposals) == len(predicted.proposals) == len(predicted.candidates) == 1
    assert len(predicted.detections[0]) == len(predicted.candidates[0].kept)


def test_samples_need_a_stream():
    images, targets = batch("some")
    with pytest.raises(ValueError, match="needs a numpy Generator"):
        tiny().losses(images, targets)


def test_wrong_targets_are_named():
    model = tiny()
    images, targets = batch("some")
    with pytest.raises(ValueError, match="N targets"):
        model.losses(images, [*targets, *targets], np.random.default_rng(0))
    with pytest.raises(ValueError, match="target 0 has label 5, the classes are 0 to 1"):
        model.losses(images, [target([[0, 0, 9, 9]], [5])], np.random.default_rng(0))
    with pytest.raises(ValueError, match="keypoints=None"):
        tiny(num_keypoints=2).losses(images, [target([[0, 0, 9, 9]])], np.random.default_rng(0))


def test_a_small_model_learns_one_scene_by_heart():
    model = tiny(width=8, pyramid=16, hidden=64, masks=True, num_keypoints=2, mask_width=16, keypoint_width=16)
    image, there = scene("some", seed=3)  # no two rectangles overlap
    images, targets = Tensor(np.stack([image] * 2)), [there] * 2
    optimiser = optim.Adam(model.parameters(), lr=4e-3)
    for step in range(150):
        losses = model.losses(images, targets, np.random.default_rng(step))
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optim.clip_grad_norm(model.parameters(), 5.0)
        optimiser.lr = 4e-3 * (1 - step / 150)
        optimiser.step()
    assert losses["objectness"].item() < 0.05 and losses["class"].item() < 0.1
    found = model.detect(images[:1], score=0.5)[0]
    assert sorted(found.labels) == sorted(there.labels)
    ious = md.functional.box_iou(Tensor(there.boxes), Tensor(found.boxes)).data
    best = ious.argmax(axis=1)
    assert (ious.max(axis=1) > 0.85).all() and (found.labels[best] == there.labels).all()
    for mask, known, points, k in zip(there.masks, found.masks[best], there.keypoints, best):
        assert (mask & known).sum() / (mask | known).sum() > 0.9
        assert (abs(found.keypoints[k, :, :2] - points[:, :2]) < 2).all()


def test_a_model_is_a_module():
    assert isinstance(tiny(), FasterRCNN) and tiny().mask is None and tiny().keypoint is None

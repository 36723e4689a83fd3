"""The parts of the two-stage detectors: each loss worked by hand, regions, masks, keypoints, backbones."""

import math
from fractions import Fraction

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, nn
from tasks.detect import (
    RPNSettings,
    Target,
    faster_rcnn_small_vgg,
    faster_rcnn_vgg16,
    resnet50_fpn,
    resnet_small_fpn,
    resnet_small_stages,
    vgg16_map,
)
from tasks.detect.losses.terms import summed
from tasks.detect.models.anchors import (
    AnchorOutputs,
    Anchors,
)
from tasks.detect.models.heads import Crop, HeadSettings, Regions, box_loss, choose, with_image
from tasks.detect.models.keypoints import keypoint_cells, keypoint_loss, keypoints_of
from tasks.detect.models.masks import mask_loss, mask_targets, paste
from tasks.detect.models.rpn import RPN


def float32(*rows):
    return np.array(rows, np.float32).reshape(-1, len(rows[0]) if rows else 4)


def target(boxes, labels=None, **more):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Target(boxes, np.zeros(len(boxes), int) if labels is None else np.asarray(labels, int), **more)


def exact_iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return Fraction(shared, sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - shared)


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
    terms = box_loss(Tensor(logits), Tensor(deltas), regions, targets, HeadSettings()).terms
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
    loss = mask_loss(Tensor(logits), regions, [target([[0, 0, 8, 8]], [1], masks=masks)])
    # sigmoid(log 3) = 3/4: log(4/3) on the object's eight cells, log 4 on the others
    assert summed(loss.terms)["mask"].item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_the_keypoint_loss_by_hand():
    points = np.float32([[[1, 1, 2], [7, 5, 1], [3, 3, 0]]])  # seen; hidden but known; not given
    regions = Regions(float32([0, 0, 0, 8, 8], [0, 0, 0, 6, 6]), np.array([0, 0]), np.array([0, 0]), np.array([0, 1]))
    logits = np.zeros((2, 3, 4, 4))  # cells of 2 x 2 pixels, then of 1.5 x 1.5
    logits[0, 0, 0, 0] = math.log(17)  # (1, 1) is in cell row 0, column 0: 17 / (17 + 15)
    logits[0, 1, 2, 3] = math.log(5)  # (7, 5) in row 2, column 3: 5 / (5 + 15)
    logits[1, 0, 0, 0] = math.log(15)  # 15 / (15 + 15); (7, 5) lies outside of the second region
    loss = keypoint_loss(Tensor(logits), regions, [target([[0, 0, 8, 8]], keypoints=points)])
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
    sides = [conv(m).data[0] for conv, m in zip(net.fpn.inner_blocks, net.body(x))]
    for k in (1, 0):
        size = sides[k].shape[1]
        index = np.minimum((np.arange(size) * sides[k + 1].shape[1] / size).astype(int), 4)
        sides[k] = sides[k] + sides[k + 1][:, index][:, :, index]
    for conv, side, found in zip(net.fpn.layer_blocks, sides, (fine, middle, coarse)):
        np.testing.assert_allclose(conv(Tensor(side[None])).data[0], found, atol=1e-5)
    np.testing.assert_array_equal(last, coarse[:, ::2, ::2])


def test_the_papers_networks_have_their_sizes():
    with nn.init.undrawn():
        model = faster_rcnn_vgg16(20)
    assert model.rpn.anchors.per_cell == (9,) and model.crop.method == "pool"
    assert model.roi_heads["box_head"].fc6.in_features == 25088
    assert model.rpn.settings == RPNSettings() and model.settings == HeadSettings()
    with pytest.raises(ValueError, match="as many anchors"):
        RPN((4, 4), Anchors.of(((8,), (8, 16)), (4, 8)))

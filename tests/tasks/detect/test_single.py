"""The single-stage detectors: losses by hand, odd pictures, terms that add up, gradients, and a tiny overfit."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')

import minidl as md
from minidl import nn, optim
from tasks.detect.data.records import Target
from tasks.detect.losses.matching import hard_negatives, overlap
from tasks.detect.losses.terms import summed
from tasks.detect.models.anchors import AnchorOutputs, Anchors
from tasks.detect.models.backbone import resnet_small_fpn, resnet_small_stages
from tasks.detect.models.retinanet import RetinaNet, octaves
from tasks.detect.models.ssd import FOUR, SIX, SSD, Extended, default_boxes
from tasks.detect.models.yolo import YOLO, CellOutputs, assigned, placed, responsible
from tasks.detect.show.explain.inference import suppression

LN2, LN3 = np.log(2), np.log(3)
LOSSES = {
    "yolo": ["place", "size", "object", "no_object", "class"],
    "ssd": ["class", "box"],
    "retinanet": ["class", "box"],
}


def tiny(name, classes=3, rng=0):
    """The small detectors with fewer maps."""
    if name == "yolo":
        return YOLO(resnet_small_stages(8, (1, 1), rng=rng), classes, hidden=1, width=16, rng=rng)
    if name == "ssd":
        backbone = Extended(resnet_small_stages(8, rng=rng), (16,), rng=rng)
        return SSD(backbone, default_boxes(64, backbone.strides, 0.15, 0.8), classes, rng=rng)
    backbone = resnet_small_fpn(8, 16, rng=rng)
    return RetinaNet(backbone, octaves(backbone.strides), classes, depth=1, std=None, rng=rng)


def predicting(model, found):
    """The model, but what its network predicts is given."""
    model.forward = lambda images: found
    return model


def tensor(values):
    return md.Tensor(np.asarray(values, np.float32), requires_grad=True)


def pictures(n=2, size=64, seed=0):
    return md.Tensor(np.random.default_rng(seed).random((n, 3, size, size), dtype=np.float32))


def boxes_of(n, seed=0, size=64, smallest=1.0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, size - smallest, (n, 2))
    side = rng.uniform(smallest, np.maximum(size - corner, smallest))
    return Target(np.concatenate([corner, corner + side], axis=1), rng.integers(0, 3, n))


NOTHING = Target(np.zeros((0, 4)), np.zeros(0, int))
ONE_PIXEL = Target([[0, 0, 1, 1], [63, 63, 64, 64], [30, 31, 31, 32]], [0, 1, 2])
CROWDED = Target([[8, 8, 24, 30], [0, 32, 64, 64]], [1, 2], crowd=[False, True])


# --- by hand


def test_the_losses_of_retinanet_by_hand():
    # The object is (1, 0, 11, 10), of class 1 of 2. Overlap of the anchors with it:
    #   0: 9 * 10 / (100 + 100 - 90) = 0.82, positive     1: 9 * 5 / (50 + 100 - 45) = 0.43, ignored     2: 0, negative
    anchors = np.float32([[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]])
    target = Target([[1, 0, 11, 10]], [1])
    # Where the logit is 0, p = 1 - p = 1/2 and the cross entropy is ln 2. The focal factor is (1/2)^2; alpha is 1/4 for
    # the one right class, 3/4 for every other question:   anchor 0: (1/16 + 3/16) ln 2;   anchor 2: 2 * 3/16 ln 2.
    logits = tensor([[[0, 0], [7, -7], [0, 0]]])
    # Anchor 0 wants the steps ((6 - 5) / 10, 0, 0, 0) and says (0, 0, 0, 1/2). With beta = 1/9, 1/10 is small:
    # (1/10)^2 / (2/9) = 0.045; 1/2 is not: 1/2 - 1/18 = 4/9.
    deltas = tensor([[[0, 0, 0, 0.5], [9, 9, 9, 9], [9, 9, 9, 9]]])
    model = predicting(tiny("retinanet", 2), AnchorOutputs(logits, deltas, anchors, np.zeros(3, int)))
    computed = model.training_pass(pictures(1), [target])
    losses = summed(computed.terms)
    assert np.isclose(losses["class"].item(), 10 / 16 * LN2, rtol=1e-6)
    assert np.isclose(losses["box"].item(), 0.045 + 4 / 9, rtol=1e-6)
    np.testing.assert_allclose(computed.terms["class"].value.data, np.array([4, 0, 6]) / 16 * LN2, rtol=1e-6)
    assert computed.matches[0].labels.tolist() == [1, -1, 0]
    # an ignored anchor and the steps of a negative one are not trained on
    g_logits, g_deltas = md.grad(losses["class"] + losses["box"], [logits, deltas])
    assert not g_logits.data[0, 1].any() and not g_deltas.data[0, 1:].any()
    # smooth L1 by p - p*: -0.1 / beta = -0.9 at the first step, 1 at the last
    np.testing.assert_allclose(g_deltas.data[0, 0], [-0.9, 0, 0, 1], rtol=1e-5)


def test_the_focal_factor_and_the_count_of_positives():
    # Two objects on two of three anchors, so all is divided by 2. Logits are +-ln 3, p = 3/4 for yes or 1/4:
    #   anchor 0, class 0 asked, p = 3/4: 1/4 (1/4)^2 ln(4/3);  anchor 1, p = 1/4: 1/4 (3/4)^2 ln 4
    #   anchor 2, nothing asked, p = 1/4: 3/4 (1/4)^2 ln(4/3)
    anchors = np.float32([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    logits = tensor([[[LN3], [-LN3], [-LN3]]])
    found = AnchorOutputs(logits, tensor(np.zeros((1, 3, 4))), anchors, np.zeros(3, int))
    model = predicting(tiny("retinanet", 1), found)
    losses = model.losses(pictures(1), [Target(anchors[:2], [0, 0])])
    expected = [1 / 64 * np.log(4 / 3), 9 / 64 * np.log(4), 3 / 64 * np.log(4 / 3)]
    assert np.isclose(losses["class"].item(), sum(expected) / 2, rtol=1e-6)
    assert losses["box"].item() == 0


def test_the_losses_of_ssd_by_hand():
    # Box 0 overlaps the object by 0.82 and is positive; the other five see nothing. Logits are 0 but the background's,
    # ln k: the loss of a negative is ln((2 + k) / k). For k = 8, 1, 4, 2, 6 the hardest three are k = 1, 2, 4, with
    # ln 3, ln 2 and ln 3/2. The positive one has ln 3: in all ln 27, by one positive.
    far = [[40 + 2 * i, 40, 50 + 2 * i, 50] for i in range(5)]
    anchors = np.float32([[0, 0, 10, 10], *far])
    k = np.array([1, 8, 1, 4, 2, 6])
    logits = np.zeros((1, 6, 3))
    logits[0, :, 2] = np.log(k)
    # It wants 10 * (6 - 5) / 10 = 1 as its first step and 0 else, and says 0, 0, 0, 3. Smooth L1 with beta = 1:
    # 1/2 for 1, 3 - 1/2 for 3.
    deltas = np.full((1, 6, 4), 9.0)
    deltas[0, 0] = 0, 0, 0, 3
    found = AnchorOutputs(tensor(logits), tensor(deltas), anchors, np.zeros(6, int))
    computed = predicting(tiny("ssd", 2), found).training_pass(pictures(1), [Target([[1, 0, 11, 10]], [1])])
    losses = summed(computed.terms)
    assert np.isclose(losses["class"].item(), 3 * LN3, rtol=1e-6)
    assert np.isclose(losses["box"].item(), 3, rtol=1e-6)
    assert computed.hard[0].tolist() == [False, False, True, True, True, False]
    assert computed.terms["class"].item.tolist() == [0, 2, 3, 4]


def test_the_losses_of_yolo_by_hand():
    # A picture of 40 x 40 in 2 x 2 cells of 20; two boxes a cell, two classes. The object (5, 5, 15, 15), of class 0,
    # has its centre in the middle of cell 0; its sides are 1/4 of the picture's, their roots 1/2.
    place = np.full((1, 4, 2, 4), 0.01)
    # Box 0 covers the picture's 40 x 40 around that centre: IoU 100 / 1600.
    place[0, 0, 0] = 0.5, 0.5, 1, 1
    # Box 1 is 10 wide and 40 high around (14, 10): 6 * 10 / (400 + 100 - 60) = 60 / 440. It is responsible.
    place[0, 0, 1] = 0.7, 0.5, 0.5, 1
    confidence = np.full((1, 4, 2), 0.2)
    confidence[0, 0, 1] = 0.5
    classes = np.full((1, 4, 2), 0.5)
    classes[0, 0] = 0.3, 0.7
    found = CellOutputs(tensor(place), tensor(confidence), tensor(classes), (2, 2))
    computed = predicting(tiny("yolo", 2), found).training_pass(pictures(1, 40), [Target([[5, 5, 15, 15]], [0])])
    losses = summed(computed.terms)
    expected = {
        "place": 5 * 0.2**2,
        "size": 5 * 0.5**2,
        "object": (0.5 - 60 / 440) ** 2,
        "no_object": 0.5 * 7 * 0.2**2,  # the other box of the cell among them
        "class": 0.7**2 + 0.7**2,
    }
    assert {name: round(loss.item(), 6) for name, loss in losses.items()} == {
        name: round(value, 6) for name, value in expected.items()
    }
    assert computed.box.tolist() == [1] and computed.terms["place"].item.tolist() == [1]
    assert computed.terms["no_object"].item.tolist() == [0, 2, 3, 4, 5, 6, 7]


def test_a_cell_of_yolo_is_assigned_the_largest_object():
    # cells of 16 pixels: the first two share cell (0, 0); the third's centre is the far corner; the crowd has none
    target = Target(
        [[4, 4, 8, 8], [2, 2, 12, 12], [60, 60, 68, 68], [20, 20, 30, 30]], [0, 1, 2, 0],
        crowd=[False, False, False, True],
    )  # fmt: skip
    yes = assigned([NOTHING, target], (4, 4), (64, 64))
    assert yes.image.tolist() == [1, 1] and yes.truth.tolist() == [1, 2] and yes.item.tolist() == [0, 15]
    assert yes.label.tolist() == [1, 2]
    np.testing.assert_allclose(placed(yes.boxes, (4, 4), (64, 64))[1], [1, 1, np.sqrt(1 / 8), np.sqrt(1 / 8)])


def test_what_yolo_should_say_gives_the_box_back():
    target = boxes_of(9, seed=3)
    yes = assigned([target], (8, 8), (64, 64))
    place = np.zeros((1, 64, 1, 4), np.float32)
    place[0, yes.item, 0] = placed(yes.boxes, (8, 8), (64, 64))
    found = CellOutputs(md.Tensor(place), None, None, (8, 8))
    np.testing.assert_allclose(found.boxes((64, 64))[0, yes.item], yes.boxes, atol=1e-4)


def test_the_responsible_box_is_the_one_that_overlaps_most():
    boxes = np.float32([[[0, 0, 4, 4], [0, 0, 10, 10]], [[0, 0, 10, 10], [9, 9, 12, 12]]])
    box, iou = responsible(boxes, np.float32([[0, 0, 10, 8], [0, 0, 10, 5]]))
    assert box.tolist() == [1, 0]
    np.testing.assert_allclose(iou, [0.8, 0.5])


def test_hard_negatives_are_counted_by_image():
    labels = np.array([[1, 0, 0, 0, -1], [0, 0, 0, 0, 0]])
    surprise = np.array([[9.0, 1, 3, 2, 9], [1, 2, 3, 4, 5]])
    hard = hard_negatives(surprise, labels, 2)
    assert hard.astype(int).tolist() == [[0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]


# --- anchors of the papers


def test_the_default_boxes_of_ssd_300():
    strides, maps = (8, 16, 32, 64, 100, 300), [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    anchors = default_boxes(300, strides, ratios=(FOUR, SIX, SIX, SIX, FOUR, FOUR))
    assert len(anchors.boxes(maps, (300, 300))[0]) == 8732  # section 3.1 and the usual name of the network's output
    # s_k = 0.2, 0.34, ... 0.9: map 1 has squares of 60 and of sqrt(60 * 102); its wide box is twice as wide as high
    np.testing.assert_allclose(anchors.shapes[0][0], [60, 60])
    np.testing.assert_allclose(anchors.shapes[0][1], [60 * np.sqrt(2), 60 / np.sqrt(2)])
    np.testing.assert_allclose(anchors.shapes[0][-1], np.sqrt([60 * 102] * 2))
    np.testing.assert_allclose(anchors.shapes[5][0], [270, 270])


def test_the_paper_s_retinanet():
    with nn.init.undrawn():
        model = RetinaNet.resnet50(80)
    assert model.backbone.strides == (8, 16, 32, 64, 128)
    assert set(model.anchors.per_cell) == {9}
    sides = np.sqrt(np.concatenate(model.anchors.shapes).prod(axis=1))
    assert np.isclose(sides.min(), 32) and np.isclose(sides.max(), 512 * 2 ** (2 / 3))
    # section 4.1: four 3x3 convolutions of 256 maps, then 9 * 80 and 9 * 4 outputs
    weights = [p.shape for name, p in model.head["classification_head"].named_parameters() if name.endswith("weight")]
    assert weights == [(256, 256, 3, 3)] * 4 + [(720, 256, 3, 3)]
    assert model.head["regression_head"].bbox_reg.weight.shape == (36, 256, 3, 3)


def test_the_prior_is_what_retinanet_says_at_first():
    model = tiny("retinanet").eval()
    p = md.functional.sigmoid(model(pictures()).logits).data
    assert abs(p.mean() - 0.01) < 0.002


def test_levels_that_do_not_fit():
    backbone = resnet_small_fpn(8, 8, rng=0)
    with pytest.raises(ValueError, match="as many"):
        RetinaNet(backbone, Anchors.of([[8], [16, 32], [64]], backbone.strides), 3)
    with pytest.raises(ValueError, match="strides"):
        SSD(backbone, default_boxes(64, (8, 16)), 3)


# --- odd pictures


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_finite_and_their_terms_add_up_to_the_last_bit(name):
    model = tiny(name)
    targets = [NOTHING, ONE_PIXEL, boxes_of(200, smallest=1.5), CROWDED]
    computed = model.training_pass(pictures(4), targets, np.random.default_rng(0))
    losses = model.losses(pictures(4), targets, np.random.default_rng(0))
    assert list(losses) == LOSSES[name] == list(computed.terms)
    for key, loss in losses.items():
        terms = computed.terms[key]
        assert loss.shape == () and np.isfinite(loss.item()) and loss.item() > 0
        assert terms.value.data.sum() == loss.item()
        assert terms.image.shape == terms.item.shape == terms.value.shape
    total = sum(losses.values(), start=md.Tensor(np.float32(0)))
    total.backward()
    for parameter in model.parameters():
        assert np.isfinite(parameter.grad.data).all() and parameter.grad.data.any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("target", [NOTHING, ONE_PIXEL, boxes_of(200)], ids=["none", "one pixel", "200"])
def test_a_step_with_only_such_pictures(name, target):
    model = tiny(name)
    optimiser = optim.Adam(model.parameters(), 1e-3)
    losses = model.losses(pictures(2), [target] * 2)
    assert all(np.isfinite(loss.item()) for loss in losses.values())
    sum(losses.values(), start=md.Tensor(np.float32(0))).backward()
    optimiser.step()
    assert all(np.isfinite(p.data).all() for p in model.parameters())
    if not len(target):  # what is there to find has no loss; that nothing is there has, but in SSD
        zero = {"yolo": ["place", "size", "object", "class"], "ssd": ["class", "box"], "retinanet": ["box"]}[name]
        assert [key for key, loss in losses.items() if loss.item() == 0] == zero


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_pictures_and_objects_does_not_matter(name):
    model, x = tiny(name).eval(), pictures(2)
    first, second = boxes_of(5, seed=1, smallest=4), boxes_of(3, seed=2, smallest=4)
    there = model.losses(x, [first, second])
    back = model.losses(x[::-1], [second[np.array([2, 0, 1])], first[np.arange(5)[::-1]]])
    for key in there:
        assert np.isclose(there[key].item(), back[key].item(), rtol=1e-5)


def test_wrong_targets_are_reported():
    for name in LOSSES:
        with pytest.raises(ValueError, match="label"):
            tiny(name).losses(pictures(1), [Target([[0, 0, 9, 9]], [3])])
        with pytest.raises(ValueError, match="targets"):
            tiny(name).losses(pictures(2), [NOTHING])


# --- inference


@pytest.mark.parametrize("name", LOSSES)
def test_detections_and_what_led_to_them(name):
    model, x = tiny(name), pictures(2)
    before = {key: value.copy() for key, value in model.state_dict().items()}
    for found in model.detect(x, score=0.0, nms=0.4, limit=7):
        assert len(found) == 7 and (np.diff(found.scores) <= 0).all()
        assert (found.boxes >= 0).all() and (found.boxes <= 64).all()
    assert model.training and all(module.training for module in model.modules())
    assert model.detect(x, score=1.0)[0].boxes.shape == (0, 4)
    predicted = model.predict(x[:1], score=0.0, limit=10**6)
    (candidates,), (found,) = predicted.candidates, predicted.detections
    by = suppression(candidates, model.settings.nms).by
    assert (by[candidates.kept] == -1).all() and (np.delete(by, candidates.kept) >= 0).all()
    np.testing.assert_array_equal(found.boxes, candidates.boxes[candidates.kept])
    everything = predicted.scored.scores[0, candidates.item, candidates.group]
    np.testing.assert_array_equal(everything, candidates.scores)
    assert all(np.array_equal(before[key], value) for key, value in model.state_dict().items())


def test_detect_decodes_scores_and_suppresses():
    # two anchors almost alike and one apart; the better of the first two survives, of the third only class 1
    anchors = np.float32([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]])
    logits = tensor([[[LN3, -9], [0, -9], [-9, 2 * LN3]]])  # probabilities 3/4, 1/2, 9/10
    deltas = tensor([[[0, 0, 0, 0], [0, 0, 0, 0], [0.1, 0, 0, 0]]])
    model = predicting(tiny("retinanet", 2), AnchorOutputs(logits, deltas, anchors, np.zeros(3, int)))
    (found,) = model.detect(pictures(1), score=0.2, nms=0.5)
    np.testing.assert_allclose(found.boxes, [[31, 30, 41, 40], [0, 0, 10, 10]], atol=1e-5)
    np.testing.assert_allclose(found.scores, [0.9, 0.75], rtol=1e-6)
    assert found.labels.tolist() == [1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_two_pictures_are_learned_by_heart(name):
    rng = np.random.default_rng(1)
    images = rng.normal(0, 0.1, (2, 3, 64, 64)).astype(np.float32)
    targets = [Target([[4, 6, 24, 28], [34, 34, 58, 56]], [0, 2]), Target([[30, 8, 52, 34]], [1])]
    for image, target in zip(images, targets):
        for (x1, y1, x2, y2), label in zip(target.boxes.astype(int), target.labels):
            image[label, y1:y2, x1:x2] += 1
    model = tiny(name, rng=2)
    optimiser = optim.Adam(model.parameters(), 5e-3)
    for _ in range(60):
        optimiser.zero_grad()
        sum(model.losses(md.Tensor(images), targets).values(), start=md.Tensor(np.float32(0))).backward()
        optimiser.step()
    for target, found in zip(targets, model.detect(md.Tensor(images), nms=0.3)):
        best = found[: len(target)]
        assert sorted(best.labels) == sorted(target.labels)
        for box, label in zip(target.boxes, target.labels):
            assert overlap(box[None], best.boxes[best.labels == label]).max() > 0.6

"""The two-stage detectors as a whole: ledgers that add up, what is found, traces, and learning itself."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, optim
from tasks.detect import (
    FasterRCNN,
    faster_rcnn_small,
    faster_rcnn_small_vgg,
)
from tasks.detect.show.explain import traced
from tasks.detect.show.explain.inference import suppression
from tests.tasks.detect.test_models import target


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
    found = model.rpn(model.backbone(images), (64, 64))
    for proposed in model.rpn.proposals(found, [(64, 64)] * 2, True):
        boxes = proposed.boxes[proposed.kept]
        assert isinstance(boxes, np.ndarray) and 0 < len(boxes) <= model.rpn.settings.after[0]
        assert (boxes >= 0).all() and (boxes <= 64).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        by = suppression(proposed, model.rpn.settings.nms).by
        assert (by[proposed.kept] == -1).all() and (np.diff(proposed.scores[proposed.kept]) <= 0).all()
    broken = found._replace(logits=found.logits * np.nan)
    assert [len(proposed.kept) for proposed in model.rpn.proposals(broken, [(64, 64)] * 2, True)] == [0, 0]


def test_detections_agree_with_loops_over_what_the_network_predicts():
    model = tiny(masks=True, num_keypoints=2)
    images, _ = batch("some", "none")
    scores = model.roi_heads["box_predictor"].cls_score
    scores.weight.data = scores.weight.data * 300  # so that classes differ
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


@pytest.mark.slow
def test_a_small_model_learns_one_scene_by_heart():
    model = tiny(width=8, pyramid=16, hidden=64, masks=True, num_keypoints=2, mask_width=16, keypoint_width=16)
    image, there = scene("some", seed=3)  # no two rectangles overlap
    images, targets = Tensor(image[None]), [there]
    optimiser = optim.Adam(model.parameters(), lr=2e-3)
    for step in range(120):
        losses = model.losses(images, targets, np.random.default_rng(step))
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optim.clip_grad_norm(model.parameters(), 5.0)
        optimiser.lr = 2e-3 * (1 - step / 120)
        optimiser.step()
    assert losses["objectness"].item() < 0.05 and losses["class"].item() < 0.1
    found = model.detect(images, score=0.5)[0]
    assert sorted(found.labels) == sorted(there.labels)
    ious = md.functional.box_iou(Tensor(there.boxes), Tensor(found.boxes)).data
    best = ious.argmax(axis=1)
    assert (ious.max(axis=1) > 0.85).all() and (found.labels[best] == there.labels).all()
    for mask, known, points, k in zip(there.masks, found.masks[best], there.keypoints, best):
        assert (mask & known).sum() / (mask | known).sum() > 0.9
        assert (abs(found.keypoints[k, :, :2] - points[:, :2]) < 2).all()


def test_a_model_is_a_module():
    assert isinstance(tiny(), FasterRCNN) and list(tiny().roi_heads) == ["box_head", "box_predictor"]

"""Detectors of torchvision's: what its convention changes, worked by hand; which network a file is of; the command."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')

from PIL import Image

import tasks.__main__ as frame
from minidl import Tensor, nn
from tasks.detect import released
from tasks.detect.data.outlines import as_runs
from tasks.detect.models.anchors import Anchors, shapes
from tasks.detect.models.backbone import resnet_small_fpn
from tasks.detect.models.convention import OURS, TORCHVISION
from tasks.detect.models.detector import View
from tasks.detect.models.faster_rcnn import FasterRCNN
from tasks.detect.models.fcos import reached
from tasks.detect.models.heads import BoxPredictor, Crop
from tasks.detect.models.keypoints import keypoints_of
from tasks.detect.models.masks import paste
from tasks.detect.models.ssd_maps import RATIOS, SCALES, squares_second
from tasks.detect.released.coco import CATEGORIES
from tasks.detect.released.networks import NETWORKS, OLDER, THIRDS, rcnn
from tasks.detect.released.preparation import Preparation

# --- the convention


def test_anchors_are_whole_pixels_around_the_corners_of_cells():
    assert shapes((32,), convention=TORCHVISION).tolist() == [[46, 22], [32, 32], [22, 46]]  # 45.25 x 22.63 rounded
    assert shapes((32, 40), (0.5, 1), TORCHVISION).tolist() == [[46, 22], [56, 28], [32, 32], [40, 40]]
    assert shapes((32, 40), (0.5, 1)).round(1).tolist() == [[45.3, 22.6], [32, 32], [56.6, 28.3], [40, 40]]
    boxes, _ = Anchors.of(((32,),), (64,), (1.0,), TORCHVISION).boxes([(3, 2)], (160, 130))
    assert boxes[0].tolist() == [-16, -16, 16, 16]
    assert boxes[3].tolist() == [65 - 16, 53 - 16, 65 + 16, 53 + 16]  # 160 // 3 and 130 // 2 apart, not 64
    boxes, _ = Anchors.of(((32,),), (64,), (1.0,), OURS).boxes([(3, 2)], (160, 130))
    assert boxes[3].tolist() == [80, 80, 112, 112]
    assert THIRDS[:2] == ((32, 40, 50), (64, 80, 101))
    first = squares_second(300, SCALES, RATIOS)[0]
    np.testing.assert_allclose(first, [[21, 21], [30.74, 30.74], [29.7, 14.85], [14.85, 29.7]], atol=0.005)


def test_the_background_is_number_0_and_has_steps_of_its_own():
    predictor = BoxPredictor(2, 2, TORCHVISION)
    predictor.cls_score.bias.data[...] = [7, 1, 2]
    predictor.bbox_pred.bias.data[...] = np.repeat([9, 3, 4], 4)
    logits, deltas = predictor(Tensor(np.zeros((1, 2), np.float32)))
    assert logits.data.tolist() == [[1, 2, 7]] and deltas.data[0, :, 0].tolist() == [3, 4]


def test_levels_of_regions_end_at_the_coarsest_stride():
    sides = np.float32([10, 223.9999, 448, 2000])
    boxes = np.stack([sides * 0, sides * 0, sides, sides], axis=1)
    assert Crop((4, 8, 16, 32)).level(boxes).tolist() == [0, 2, 3, 3]  # a millionth below 224 counts as 224
    assert Crop((32, 32)).level(boxes).tolist() == [0] * 4  # MobileNet's two maps of one size: the first


def test_distances_lead_from_a_cells_centre_to_the_sides():
    assert reached(np.float32([[[1, 2, 3, 0.5]]]), np.float32([[4, 4, 12, 12]])).tolist() == [[[0, -8, 32, 12]]]


def test_masks_are_pasted_on_whole_pixels_with_a_border_of_zeros():
    masks, boxes = np.ones((1, 2, 2)), np.float32([[2, 2, 6, 6]])
    # as large as 4 / 2 of the box: from 0 to 8, and as that is the last pixel, 9 pixels for 4 cells: 0, 1, 1, 0
    share = np.clip((np.arange(9) + 0.5) * 4 / 9 - 0.5, 0, 3)
    line = np.interp(share, range(4), [0, 1, 1, 0])
    np.testing.assert_array_equal(
        paste(masks, boxes, (12, 10), convention=TORCHVISION)[0],
        np.pad(np.outer(line, line) >= 0.5, ((0, 3), (0, 1))),
    )


def test_keypoints_are_sought_among_pixels():
    logits = np.zeros((1, 1, 56, 56), np.float32)
    logits[0, 0, 28, 14] = 5
    (x, y, best), *_ = keypoints_of(logits, np.float32([[10, 20, 122, 132.0]]), TORCHVISION)[0]
    kernel = 1.25 / 64 - 2.25 / 16 + 1  # of Keys, a quarter of a cell from its centre
    assert (x, y) == (10 + 2 * 14.5 - 0.5, 20 + 2 * 28.5 - 0.5) and best == pytest.approx(5 * kernel**2)
    (point,) = keypoints_of(logits[..., ::7, ::7], np.float32([[10, 20, 10.2, 20.1]]), TORCHVISION)[0]
    assert point[:2].tolist() == pytest.approx([10.5, 20.5])  # a box below a pixel is a pixel


def test_pictures_are_resized_by_their_sides():
    small = Preparation()
    assert small.size((480, 640)) == (800, 1066) and small.size((427, 640)) == (800, 1199)
    assert small.size((500, 1000)) == (666, 1333) and small.size((300, 300)) == (800, 800)
    pictures = [np.full((3, 20, 31), value, np.float32) for value in (0.485, 1.0)]
    batch, views = Preparation(shortest=40, longest=60)([pictures[0], pictures[1][:, :, :10]])
    assert batch.shape == (2, 3, 64, 64) and views == [View((38, 60), (20, 31)), View((60, 30), (20, 10))]
    np.testing.assert_allclose(batch.data[0, 0, :38, :60], 0, atol=1e-6)  # its mean
    assert not batch.data[0, :, 38:].any() and not batch.data[1, :, :, 30:].any()
    white = [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]
    np.testing.assert_allclose(batch.data[1, :, :60, :30].mean((1, 2)), white, 1e-5)
    assert views[0].outside(np.float32([[6, 19, 60, 38]])).tolist() == [pytest.approx([3.1, 10, 31, 20])]


# --- files


@pytest.mark.parametrize(
    "older, name",
    [
        ("backbone.fpn.inner_blocks.3.weight", "backbone.fpn.inner_blocks.3.0.weight"),
        ("backbone.fpn.layer_blocks.0.bias", "backbone.fpn.layer_blocks.0.0.bias"),
        ("rpn.head.conv.bias", "rpn.head.conv.0.0.bias"),
        ("roi_heads.mask_head.mask_fcn4.weight", "roi_heads.mask_head.3.0.weight"),
        ("head.regression_head.conv.6.weight", "head.regression_head.conv.3.0.weight"),
    ],
)
def test_older_names_are_understood_and_todays_stay(older, name):
    rules = NETWORKS["retinanet_resnet50_fpn"].older
    assert released.renamed({older: 1, name + "s": 2}, rules) == {name: 1, name + "s": 2}
    assert released.renamed({name: 1}, rules) == {name: 1}
    assert list(released.renamed({"head.regression_head.conv.3.weight": 0}, OLDER)) == [
        "head.regression_head.conv.3.weight"  # FCOS has them so
    ]


@pytest.fixture(scope="module")
def weights():
    """Weights of Faster R-CNN, all 0, with a small ResNet and two classes, as they lie in a training checkpoint."""
    with nn.init.undrawn():
        shapes = {name: np.shape(value) for name, value in rcnn(2, depth=18).state_dict().items()}
    none = np.zeros((), np.float32)
    return {f"model.{name}": np.broadcast_to(none, shape) for name, shape in shapes.items() if "num_b" not in name}


def test_a_file_tells_which_network_it_is_of(weights):
    found = released.with_state({"epoch": np.array(3), **weights}, names=("cat", "dog"))
    assert found.network == "fasterrcnn_resnet50_fpn" and found.model.num_classes == 2
    assert list(found.names) == ["cat", "dog"] and list(found.numbers) == [1, 2]
    norms = [m for m in found.model.backbone.body.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.eps for m in norms} == {NETWORKS[found.network].frozen_eps} and max(m.eps for m in norms) < 1e-20
    for options, message in (
        ({"network": "fcos_resnet50_fpn"}, "use --model fasterrcnn_resnet50_fpn"),
        ({"network": "resnet50"}, "is unknown: one of"),
        ({"names": ["cat"]}, "it has 2 classes, 1 names"),
    ):
        with pytest.raises(ValueError, match=message):
            released.with_state(weights, **options)
    with pytest.raises(ValueError, match="does not hold the weights of one of torchvision's detectors"):
        released.with_state({"conv1.weight": np.zeros(3)})
    with pytest.raises(ValueError, match="does not fit FasterRCNN"):
        released.with_state({name: value for name, value in weights.items() if "fc7" not in name})


def test_names_are_cocos_by_their_numbers():
    assert len(CATEGORIES) == 91 and len(set(CATEGORIES) - {"background", "N/A"}) == 80
    assert (CATEGORIES[1], CATEGORIES[13], CATEGORIES[62], CATEGORIES[90]) == (
        "person", "stop sign", "chair", "toothbrush",
    )  # fmt: skip
    assert released.default_names(2) == ("person",) and released.default_names(3) == ["class 1", "class 2"]


# --- the command


@pytest.fixture
def tiny(monkeypatch):
    """A detector that is quick, in the place of those that are read."""
    options = {"sizes": ((8,), (16,), (32,)), "hidden": 8, "masks": True, "mask_width": 4, "mask_layers": 1}
    model = FasterRCNN(resnet_small_fpn(8, 8, rng=0), 3, convention=TORCHVISION, rng=0, **options)
    for layer in (model.rpn.head.bbox_pred, model.roi_heads["box_predictor"].cls_score):
        layer.weight.data *= 30
    model.rpn.settings = replace(model.rpn.settings, after=(10, 10))
    detector = released.Released("tiny", model, Preparation(48, 96), ("a", "b", "c"), range(1, 4))
    asked = []
    monkeypatch.setattr(released, "load", lambda *how: asked.append(how) or detector)
    return detector, asked


def test_the_command_prints_draws_and_writes_what_is_found(tiny, tmp_path, capsys):
    detector, asked = tiny
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "street.png")
    file, out = tmp_path / "street.png", tmp_path / "out"
    argv = ["detect", "--weights", "w.pth", "--image", file, "--score", 0.2, "--json", tmp_path / "j", "--out", out]
    assert frame.main([*map(str, argv), "--classes", "a", "b", "c", "--quiet"]) == 0
    assert asked == [("w.pth", None, ("a", "b", "c"), None)]
    (record,) = json.loads((tmp_path / "j").read_text())
    (found,) = detector.find([pixels.transpose(2, 0, 1) / np.float32(255)], 0.2)
    assert (record["width"], record["height"]) == (60, 40) and len(found) == len(record["detections"]) > 0
    for one, box, label, score, mask in zip(
        record["detections"], found.boxes, found.labels, found.scores, found.masks, strict=True
    ):
        assert [*one["box"], one["score"]] == pytest.approx([*box, score], abs=1e-4) and one["class"] == "abc"[label]
        assert one["category_id"] == label + 1 and sum(one["mask"]["counts"][1::2]) == mask.sum()
    assert (out / "street-detections.png").exists()
    assert f"{len(found)} found with a score of at least 0.2" in capsys.readouterr().out


def test_runs_go_down_the_columns():
    assert as_runs(np.array([[0, 1], [1, 1], [0, 0]], bool))["counts"] == [1, 1, 1, 2, 1]
    assert as_runs(np.ones((2, 2), bool))["counts"] == [0, 4] and as_runs(np.zeros((2, 2), bool))["counts"] == [4]


@pytest.mark.parametrize(
    "argv, message",
    [
        (("--weights", "w.pth"), "name an --image"),
        (("--weights", "w.pth", "--image", "i.png", "--steps", "3"), "leave out --steps"),
        (("--weights", "w.pth", "--image", "i.png", "--resume"), "give one"),
        (("--frozen-eps", "1e-5"), "name its --weights"),
        (("--model", "fcos_resnet50_fpn"), "name its --weights"),
    ],
)
def test_what_does_not_go_together_is_said(argv, message, capsys):
    assert frame.main(["detect", *argv]) == 2
    assert message in capsys.readouterr().err

"""The task instances: settings, keypoints near borders, the tables, the figure, and the command from end to end."""

import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

from PIL import Image

import tasks.__main__ as frame
from minidl import Tensor
from tasks.detect.data.records import Detections, Target
from tasks.detect.data.shapes import Shapes
from tasks.detect.evaluate.average_precision import coco_ap
from tasks.detect.instances import cli
from tasks.detect.instances.settings import Settings
from tasks.detect.losses.terms import summed
from tasks.detect.models.heads import Regions
from tasks.detect.models.keypoints import grown, keypoint_loss
from tasks.detect.show import figure, report
from tasks.run import read_state
from tests.support.annotations import changed, coco, voc

TINY = ("--size", 48, "--batch", 1, "--quiet", "--steps", 2)


def run(*argv):
    return frame.main(["instances", *map(str, argv)])


# --- settings


def test_the_options_that_are_settings_are_those_of_the_settings():
    options = {action.dest for action in cli.Instances().parser()._actions}
    filled_in = {"heads", "points"}
    assert {field.name for field in fields(Settings)} - filled_in <= options and not filled_in & options


def test_settings_are_filled_in_and_come_back_from_a_file():
    ours = Settings.of({"steps": 5}, {"steps": 7, "batch": 3}).completed()
    assert (ours.steps, ours.batch, ours.heads, ours.points) == (5, 3, ("masks", "keypoints"), (4, 4, 3))
    assert ours.kinds == ("boxes", "masks", "keypoints") and ours.names == Shapes.classes
    again = Settings(**json.loads(json.dumps(vars(ours))))
    assert again == ours and again.completed() is again


def test_the_network_has_the_heads_that_the_data_has_and_the_same_weights_again():
    model, again = (Settings(seed=3).completed().build() for _ in range(2))
    assert all(np.array_equal(array, again.state_dict()[key]) for key, array in model.state_dict().items())
    assert model.masks and model.num_keypoints == 4
    only = Settings(heads=("keypoints",), points=(2, 2, 2)).build()
    assert only.num_keypoints == 2 and list(only.roi_heads)[2:] == ["keypoint_head", "keypoint_predictor"]


def test_shapes_to_train_on_are_those_of_the_seed_and_one_set_is_tested_on():
    one, other = (Settings(seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(one.pictures("test")(5)[0], other.pictures("test")(5)[0])
    assert not np.array_equal(one.pictures("train")(5)[0], other.pictures("train")(5)[0])


# --- keypoints near the borders of their regions


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.5), st.integers(0, 5))
def test_regions_grow_about_their_centres(margin, count):
    rng = np.random.default_rng(count)
    corner, side = rng.uniform(0, 50, (count, 2)), rng.uniform(1, 40, (count, 2))
    regions = np.concatenate([np.full((count, 1), 3), corner, corner + side], axis=1)
    found = grown(regions, margin)
    np.testing.assert_array_equal(found[:, 0], regions[:, 0])
    np.testing.assert_allclose(found[:, 1:3] + found[:, 3:], 2 * corner + side)
    np.testing.assert_allclose(found[:, 3:] - found[:, 1:3], (1 + 2 * margin) * side)


@pytest.mark.parametrize("margin, cell, trained", [(0.0, None, 0), (0.125, (0, 28), 1), (0.5, (12, 28), 1)])
def test_a_point_outside_its_box_is_learnt_where_regions_are_cut_larger(margin, cell, trained):
    """The box is 20 wide and high; the point one pixel above the middle of its upper side."""
    target = Target([[10, 10, 30, 30]], [0], keypoints=[[[20, 9, 2]]])
    regions = Regions(np.float32([[0, 10, 10, 30, 30]]), np.array([0]), np.array([0]), np.array([0]))
    logits = np.random.default_rng(0).normal(size=(1, 1, 56, 56))
    computed = keypoint_loss(Tensor(logits), regions, [target], margin)
    loss = summed(computed.terms)["keypoint"].item()
    assert len(computed.cell) == trained
    if not trained:
        assert loss == 0
        return
    # margin 1/8: rows of 25 / 56 from 7.5 on: (9 - 7.5) / 25 * 56 = 3.36; margin 1/2: 40 / 56 from 0 on: 12.6
    row = {0.125: 3, 0.5: 12}[margin]
    surprise = np.log(np.exp(logits).sum()) - logits[0, 0, row, cell[1]]
    assert computed.cell.tolist() == [row * 56 + cell[1]]
    assert loss == pytest.approx(surprise, rel=1e-5)


def test_what_the_head_sees_in_inference_is_what_it_was_trained_on():
    model = Settings().completed().build().eval()
    seen = []
    crop = model.crop

    class Watched:
        level = crop.level

        def __call__(self, maps, regions, size):
            seen.append((size, regions))
            return crop(maps, regions, size)

    model.crop = Watched()
    found = model.detect(Tensor(np.random.default_rng(0).normal(size=(1, 3, 96, 96)).astype(np.float32)), score=0.0)[0]
    (_, proposals), (_, masks), (_, points) = seen
    assert len(found) and len(proposals)
    np.testing.assert_allclose(masks[:, 1:], found.boxes)
    side = found.boxes[:, 2:] - found.boxes[:, :2]
    np.testing.assert_allclose(points[:, 1:3], found.boxes[:, :2] - side / 8, atol=1e-4)
    low, high = points[:, None, 1:3], points[:, None, 3:]
    assert ((found.keypoints[..., :2] >= low) & (found.keypoints[..., :2] <= high)).all()


# --- what is reported


def perfect(truths, by=0.0):
    """Detections that are the truths; their keypoints moved."""
    step = np.float32([by, 0, 0])
    return [Detections(t.boxes, t.labels, np.linspace(0.9, 0.5, len(t)), t.masks, t.keypoints + step) for t in truths]


def test_there_is_a_table_for_boxes_masks_and_keypoints():
    _, truths = Shapes(0, "test").batch(0, 12)
    found = perfect(truths, 4.0)
    settings = Settings().completed()
    scores = {kind: report.averages(truths, found, settings.names, Shapes.sizes, kind) for kind in settings.kinds}
    text = report.tables(scores).split("\n\n")
    assert len(text) == 3
    for kind, block in zip(("boxes", "masks", "keypoints"), text):
        head, *rows = (line.split() for line in block.splitlines())
        assert head == [kind, "AP", "AP50", "AP75", "small", "medium", "large", *(["VOC"] if kind == "boxes" else [])]
        assert [row[0] for row in rows] == ["all", *Shapes.classes]
        coco = coco_ap(truths, found, 3, kind, sizes=Shapes.sizes)
        for row, values in zip(rows, [coco, *coco["classes"]]):
            wanted = [values[key] for key in ("AP", "AP50", "AP75", "APs", "APm", "APl")]
            assert row[1:7] == ["-" if np.isnan(v) else f"{100 * v:.1f}" for v in wanted]
        assert (rows[0][1] == "100.0") is (kind != "keypoints")


def test_thirds_part_the_objects():
    truths = [Target([[0, 0, side, side]], [0]) for side in range(1, 31)]
    small, large = report.thirds(truths)
    assert sum(t.areas[0] < small**2 for t in truths) == 10 and sum(t.areas[0] > large**2 for t in truths) == 10
    assert report.thirds([]) == (0, 0)


def test_truth_and_what_was_found_stand_side_by_side():
    image, truth = np.zeros((3, 96, 96), np.float32), Shapes(0)(0)[1]
    found = perfect([truth])[0]
    found.labels[0] = (found.labels[0] + 1) % 3
    left, right = figure.pyplot().figure().subplots(1, 2)
    figure.given(left, image, truth, Shapes.classes)
    figure.guessed(right, image, truth, found, Shapes.classes, (4, 4, 3))
    known = int((truth.keypoints[..., 2] > 0).sum())
    assert len(left.patches) == len(right.patches) == len(truth)
    assert len(left.lines) == known and len(right.lines) == sum((4, 4, 3)[label] for label in found.labels)
    colours = [figure.pyplot().matplotlib.colors.to_hex(patch.get_edgecolor()).upper() for patch in right.patches]
    assert colours == [figure.ORANGE] + [figure.GREEN] * (len(truth) - 1)
    shown = np.asarray(left.images[0].get_array())  # (H, W, 3)
    assert (shown[truth.masks.any(axis=0)] > 0).any(axis=1).all() and not shown[~truth.masks.any(axis=0)].any()
    assert right.get_xlabel() == f"{len(truth) - 1} of {len(truth)} found, 1 wrong"
    figure.pyplot().close("all")


# --- the command, from end to end


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert run("--steps", 3, "--batch", 2, "--test", 3, "--quiet", "--out", out) == 0
    return out


@pytest.mark.slow
def test_a_run_leaves_everything(finished):
    for name in ("checkpoint.npz", "log.jsonl", "settings.json", "table.txt", "figure.png"):
        assert (finished / name).stat().st_size > 0, name
    losses = set(json.loads((finished / "log.jsonl").read_text().splitlines()[0]))
    assert {"objectness", "rpn_box", "class", "box", "mask", "keypoint"} <= losses
    _, truths = Shapes(0, "test").batch(0, 3)
    title, *_ = (finished / "table.txt").read_text().splitlines()
    shapes = sum(map(len, truths))
    assert title == f"Mask R-CNN, 3 steps of 2; tested on 3 pictures never trained on, {shapes} shapes"


def test_a_checkpoint_is_tested_again_and_finds_in_a_picture(finished, tmp_path, capsys, monkeypatch):
    checkpoint = finished / "checkpoint.npz"
    assert run("--checkpoint", checkpoint, "--test", 3, "--out", tmp_path, "--quiet") == 0
    assert (tmp_path / "table.txt").read_bytes() == (finished / "table.txt").read_bytes()
    _, truth = Shapes(0, "test")(1)
    found = perfect([truth])[0]
    monkeypatch.setattr("tasks.detect.models.faster_rcnn.FasterRCNN.detect", lambda self, images: [found] * len(images))
    Image.fromarray(np.zeros((192, 192, 3), np.uint8)).save(tmp_path / "mine.png")
    capsys.readouterr()
    assert run("--checkpoint", checkpoint, "--image", tmp_path / "mine.png", "--out", tmp_path / "out") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for i, (label, box) in enumerate(zip(truth.labels, truth.boxes)):
        name, mask, points = lines[1 + 3 * i : 4 + 3 * i]
        assert name[0] == Shapes.classes[label]
        assert [float(word.strip(",").split("=")[1]) for word in name[2:]] == [round(2 * v) for v in box]
        assert abs(int(mask[2]) / (4 * truth.areas[i]) - 1) < 0.05  # twice as wide, twice as high
        assert sum(word.startswith("x=") for word in points) == (4, 4, 3)[label]


@pytest.mark.slow
@pytest.mark.parametrize("outlines, points", [(True, True), (True, False), (False, True)])
def test_own_data_decide_the_heads(tmp_path, outlines, points):
    file, out = coco(tmp_path / "mine", 4, outlines, points), tmp_path / "out"
    argv = ("--data", file, "--images", file.parent / "pictures", *TINY, "--out", out)
    assert run(*argv) == 0
    kept, parameters = json.loads((out / "settings.json").read_text()), read_state(out / "checkpoint.npz")
    heads = [name for name, there in (("masks", outlines), ("keypoints", points)) if there]
    assert kept["heads"] == heads and kept["points"] == ([2, 2] if points else [])
    assert any(key.startswith("roi_heads.mask_") for key in parameters) is outlines
    assert any(key.startswith("roi_heads.keypoint_") for key in parameters) is points
    tables = (out / "table.txt").read_text().split("\n\n")
    assert len(tables) == 1 + len(heads)
    assert run("--resume", "--out", out, "--steps", 3, "--quiet") == 0
    assert len((out / "log.jsonl").read_text().splitlines()) == 3


def test_data_without_outlines_or_with_some_missing_are_refused(tmp_path, capsys):
    assert run("--data", voc(tmp_path / "voc", 3), "--check") == 1
    assert "voc has no outlines and no keypoints; python -m tasks detect" in capsys.readouterr().out
    file = coco(tmp_path / "mine", 3, points=False)
    changed(file, lambda content: content["annotations"][2].pop("segmentation"))
    assert run("--data", file, "--images", file.parent / "pictures", *TINY, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "error: things.json, annotations[2] (id 11): no outline, but 5 others have one" in error
    assert not (tmp_path / "out").exists()

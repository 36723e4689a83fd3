"""A user's own pictures: fitted into squares, split, mirrored, checked before training, trained on from end to end."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')

from PIL import Image

import tasks.__main__ as frame
from minidl import Tensor, no_grad
from tasks import run as run_of
from tasks.command import UsageError
from tasks.detect import train
from tasks.detect.data import own
from tasks.detect.data.letterbox import fitted, framed, framed_target, unframed
from tasks.detect.data.own import Own, Source, anchors_of, mirrored
from tasks.detect.data.records import Detections, Target
from tasks.run import read_state
from tests.support.annotations import changed, coco, voc

TINY = ("--batch", 2, "--quiet")


def run(*argv):
    return frame.main(["detect", *map(str, argv)])


# --- pictures in squares


def scene(size, box):
    """A dark picture (3, H, W) with a white rectangle, and the target that says so."""
    image, mask = np.zeros((3, *size), np.float32), np.zeros((1, *size), bool)
    x1, y1, x2, y2 = box
    image[:, y1:y2, x1:x2], mask[:, y1:y2, x1:x2] = 1, True
    return image, Target([box], [0], mask, [[[x1, y1, 2], [x2, y2, 1], [0, 0, 0]]])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_objects_are_where_the_square_shows_them(data):
    height, width = (data.draw(st.integers(24, 200)) for _ in range(2))
    x1, y1 = data.draw(st.integers(0, width - 12)), data.draw(st.integers(0, height - 12))
    x2, y2 = data.draw(st.integers(x1 + 12, width)), data.draw(st.integers(y1 + 12, height))
    image, target = scene((height, width), (x1, y1, x2, y2))
    small, factor = framed(image, 64)
    t = framed_target(target, factor, (height, width), 64)
    h, w = fitted((height, width), factor)
    assert factor == 64 / max(height, width) and max(h, w) == 64
    np.testing.assert_array_equal(t.masks[0, :h, :w], small[0, :h, :w] >= 0.5)  # what is white
    assert not t.masks[0, h:].any() and not t.masks[0, :, w:].any()
    np.testing.assert_allclose(t.boxes[0], np.multiply((x1, y1, x2, y2), factor), rtol=1e-5)
    np.testing.assert_allclose(t.keypoints[0, :2, :2].ravel(), t.boxes[0], rtol=1e-5)
    assert t.keypoints[0, :, 2].tolist() == [2, 1, 0] and not t.keypoints[0, 2].any()
    rows, columns = (t.masks[0].any(axis=k).nonzero()[0] for k in (1, 0))
    tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert abs(tight - t.boxes[0]).max() <= 1.01
    assert t.areas[0] == pytest.approx((x2 - x1) * (y2 - y1) * factor**2, rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(30, 150), st.integers(30, 150))
def test_what_is_found_in_the_square_goes_back_to_the_picture(height, width):
    box = (width // 4, height // 5, width // 4 + 13, height // 5 + 11)
    _, target = scene((height, width), box)
    factor = 96 / max(height, width)
    t = framed_target(target, factor, (height, width))
    found = unframed(Detections(t.boxes, t.labels, [0.5], t.masks, t.keypoints), factor, (height, width))
    np.testing.assert_allclose(found.boxes, [box], atol=1e-3)
    np.testing.assert_allclose(found.keypoints[0, :2, :2].ravel(), box, atol=1e-3)
    shared, whole = (found.masks & target.masks).sum(), (found.masks | target.masks).sum()
    assert found.masks.shape == target.masks.shape and shared / whole > (0.7 if factor < 1 else 0.85)


def test_a_box_that_leaves_its_picture_is_cut_off_there():
    t = framed_target(Target([[-5, 10, 300, 60]], [0]), 0.5, (100, 200), 100)
    np.testing.assert_array_equal(t.boxes, [[0, 5, 100, 30]])


# --- parts of the data


@pytest.fixture
def file(tmp_path):
    return coco(tmp_path / "mine")


def source(file, **options):
    return Source(str(file), str(file.parent / "pictures"), size=48, **options).completed()


def test_both_formats_give_the_same_boxes(tmp_path, file):
    ours, theirs = source(file), Source(str(voc(tmp_path / "voc")), size=48).completed()
    assert ours.classes == ("lamp", "hole") and theirs.classes == ("hole", "lamp")  # as listed; by the alphabet
    for part in ("train", "test"):
        for t, u in zip(Own(ours, 3, part).batch(0, 8)[1], Own(theirs, 3, part).batch(0, 8)[1]):
            np.testing.assert_allclose(t.boxes, u.boxes, atol=1e-4)
            np.testing.assert_array_equal(t.labels, 1 - u.labels)
            assert u.masks is None and u.keypoints is None and t.masks.shape == (2, 48, 48)


def test_an_epoch_shows_every_picture_once_some_mirrored_and_never_those_tested_on(file):
    ours = source(file, split=0.25)
    parts = {part: Own(ours, 0, part) for part in ("train", "test")}
    assert [len(parts[part]) for part in parts] == [6, 2]
    files = {part: {p.path for p in own_.pictures.pictures} for part, own_ in parts.items()}
    assert not files["train"] & files["test"] and len(files["train"] | files["test"]) == 8
    plain = {i: parts["train"]._read(i) for i in range(6)}
    for epoch in range(3):
        seen, mirrored_ones = [], 0
        for step in range(2 * epoch, 2 * epoch + 2):
            images, targets = parts["train"].batch(step, 3)
            again, _ = Own(ours, 0, "train").batch(step, 3)
            np.testing.assert_array_equal(images, again)
            for image, target in zip(images, targets):
                both = [(i, turn, p[..., ::turn]) for i, (p, _) in plain.items() for turn in (1, -1)]
                ((i, turn),) = [(i, turn) for i, turn, p in both if np.array_equal(image, p)]
                mirror = turn == -1
                seen.append(i)
                mirrored_ones += mirror
                wanted = plain[i][1].flipped(48, [1, 0]) if mirror else plain[i][1]
                for name in ("boxes", "masks", "keypoints", "labels"):
                    np.testing.assert_array_equal(getattr(target, name), getattr(wanted, name))
        assert sorted(seen) == list(range(6))
    images, _ = parts["test"].batch(0, 5)
    assert len(images) == 2 and 0 < mirrored_ones < 6
    np.testing.assert_array_equal(images[1], parts["test"]._read(1)[0])


def test_other_seeds_split_otherwise(file):
    ours = source(file)
    splits = {tuple(p.path.name for p in Own(ours, seed, "test").pictures.pictures) for seed in range(6)}
    assert len(splits) > 1


def test_keypoints_change_sides_in_a_mirror():
    assert mirrored(("nose", "left_eye", "right_eye", "Left")) == [0, 2, 1, 3]
    assert mirrored(("left", "tip")) == [0, 1] and mirrored(()) is None


@pytest.mark.parametrize("count, share", [(8, 0.01), (8, 0.99), (1, 0.5)])
def test_each_part_needs_a_picture(tmp_path, count, share):
    with pytest.raises(ValueError, match=rf"--split {share:g} of {count} pictures leaves \d to train on and \d"):
        Own(source(coco(tmp_path / "few", count), split=share), 0, "train")


@pytest.mark.parametrize("name", ["faster_rcnn", "ssd", "retinanet"])
def test_anchors_are_those_that_the_detector_uses_in_pixels_of_the_picture(name):
    model = train.Settings(model=name).build().eval()
    with no_grad():
        images = Tensor(np.zeros((1, 3, 96, 96), np.float32))
        found = model.rpn(model.backbone(images), images.shape[2:]) if name == "faster_rcnn" else model(images)
    anchors = anchors_of(model, 96)
    np.testing.assert_array_equal(anchors((96, 50)), found.anchors)
    np.testing.assert_allclose(anchors((48, 192)), 2 * found.anchors, rtol=1e-6)


def test_yolo_has_no_anchors():
    assert anchors_of(train.Settings(model="yolo").build(), 96) is None


@pytest.mark.parametrize("options, message", [
    ({"size": 50}, "--size 50: must be a multiple of 16"),
    ({"size": 32}, "at least 48"),
    ({"split": 1.0}, "--split 1: must be a share between 0 and 1"),
    ({"images": "pictures"}, "name them with --data"),
    ({"classes": ["a"]}, "name them with --data"),
])  # fmt: skip
def test_settings_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Source(**options)


# --- the check


def test_sound_data_are_counted_and_their_anchors_shown(file, capsys):
    argv = ("--data", file, "--images", file.parent / "pictures", "--check")
    assert run(*argv) == 0
    title, *bins, last = capsys.readouterr().out.splitlines()
    assert title.startswith("how well anchors cover the objects")
    counts = [int(re.fullmatch(r"best IoU 0\.\d to \d\.\d +(\d+)( +#+)?", line)[1]) for line in bins]
    assert len(counts) == 10 and sum(counts) == 16
    assert last == f"{file}: 8 pictures, 16 objects (lamp 8, hole 8), 0 errors, 0 warnings"
    assert run(*argv, "--model", "yolo") == 0
    assert capsys.readouterr().out.splitlines() == [last]


def test_objects_that_anchors_miss_are_reported_and_what_helps(file, capsys):
    changed(file, lambda content: content["annotations"][0].update(bbox=[5, 5, 2, 3]))
    assert run("--data", file, "--images", file.parent / "pictures", "--check") == 0
    warning, *_, advice, summary = capsys.readouterr().out.splitlines()
    assert warning.startswith("warning: things.json, annotations[0] (id 1): no anchor has an IoU above 0.")
    assert advice.startswith("anchors have sides of 12 to 68 pixels in squares of 96") and "1 warning" in summary


def degenerate(content):
    content["annotations"][3]["bbox"][2] = 0


def twice(content):
    content["annotations"].append(dict(content["annotations"][0], id=77))


def test_what_is_wrong_is_named_and_nothing_is_trained(file, tmp_path, capsys):
    changed(file, degenerate)
    changed(file, twice)
    out, argv = tmp_path / "out", ("--data", file, "--images", file.parent / "pictures")
    assert run(*argv, "--check") == 1
    printed = capsys.readouterr()
    error, warning, summary = printed.out.splitlines()
    assert error.startswith("error: things.json, annotations[3] (id 12): box") and "has no area" in error
    assert warning.startswith("warning: things.json, annotations[16] (id 77): same class and box as")
    assert summary.endswith("1 error, 1 warning")
    assert printed.err.startswith("minidl: error: the annotations have 1 errors") and printed.err.count("\n") == 1
    assert run(*argv, *TINY, "--out", out) == 1
    printed = capsys.readouterr()
    assert not out.exists() and not printed.out and error in printed.err and warning not in printed.err


def test_warnings_are_reported_and_do_not_stop(file, tmp_path, capsys):
    changed(file, twice)
    argv = ("--data", file, "--images", file.parent / "pictures", "--model", "yolo", "--steps", 1, "--batch", 1)
    assert run(*argv, "--out", tmp_path / "out") == 0
    assert "same class and box as" in capsys.readouterr().err
    assert (tmp_path / "out" / "checkpoint.npz").exists()


def test_classes_that_were_not_asked_for_are_errors(tmp_path, capsys):
    assert run("--data", voc(tmp_path / "voc"), "--classes", "lamp", "hat", "--check") == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum("class 'hole' is none of lamp, hat" in line for line in lines) == 8
    assert any("class 'hat' has no objects" in line for line in lines)


@pytest.mark.parametrize("argv, code, message", [
    (("--check",), 2, "--check looks at data of your own: name it with --data"),
    (("--data", "nowhere"), 1, "nowhere: no such file or folder"),
    (("--data", "."), 1, "not annotations in COCO's format"),
    (("--data", "empty"), 1, "empty: it holds no files; what can be read is a json of COCO, a folder of PASCAL VOC"),
    (("--data", "voc"), 1, "lists no pictures; looked for Annotations/*.xml"),
    (("--data", "voc", "--images", "."), 2, "leave --images out"),
    (("--data", "text.json"), 1, "not annotations in COCO's format"),
])  # fmt: skip
def test_data_that_cannot_be_read_are_one_line(argv, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "voc" / "Annotations").mkdir(parents=True)
    assert run(*argv) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"text.json", "empty", "voc"}


def test_pictures_without_objects_are_refused(file, capsys):
    changed(file, lambda content: content["annotations"].clear())
    assert run("--data", file, "--images", file.parent / "pictures", "--check") == 1
    assert f"error: {file} has no objects" in capsys.readouterr().out


# --- from end to end


def states(out):
    return read_state(out / "checkpoint.npz")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A detector trained on COCO annotations of one's own; its folder and its data."""
    root = tmp_path_factory.mktemp("own")
    file, out = coco(root / "mine"), root / "run"
    argv = ("--data", file, "--images", file.parent / "pictures", "--size", 48, "--split", 0.25, "--steps", 30)
    assert run(*argv, "--model", "yolo", "--batch", 4, "--lr", 0.004, "--quiet", "--out", out) == 0
    return out, file


@pytest.mark.slow
def test_a_run_knows_its_data_and_learns(finished):
    out, file = finished
    kept = json.loads((out / "settings.json").read_text())
    assert kept["classes"] == ["lamp", "hole"] and kept["data"] == str(file) and kept["size"] == 48
    title, sizes, _, *rows = (out / "table.txt").read_text().splitlines()
    assert title == "yolo, 30 steps of 4; tested on 2 pictures never trained on, 4 objects"
    _, targets = Own(source(file, split=0.25), 0, "test").batch(0, 2)
    small, large = np.rint(np.quantile(np.sqrt(np.concatenate([t.areas for t in targets])), (1 / 3, 2 / 3)))
    assert f"small: below {small:g}^2 pixels, large: above {large:g}^2" in sizes
    assert [row.split()[0] for row in rows] == ["all", "lamp", "hole"]
    lines = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert np.mean(lines[-5:]) < 0.5 * np.mean(lines[:5])


def test_a_checkpoint_is_tested_again_and_goes_on(finished, tmp_path, capsys):
    out, _ = finished
    checkpoint = out / "checkpoint.npz"
    assert run("--checkpoint", checkpoint, "--out", tmp_path, "--quiet") == 0
    assert (tmp_path / "table.txt").read_bytes() == (out / "table.txt").read_bytes()
    assert run("--resume", "--out", out, "--size", 64) == 2
    assert "size is 48, not 64: only --steps and --lr may change" in capsys.readouterr().err


def test_detections_are_in_pixels_of_the_picture_and_need_no_data(finished, tmp_path, capsys, monkeypatch):
    out, file = finished
    big = np.asarray(Image.open(file.parent / "pictures" / "3.png")).repeat(5, axis=0).repeat(5, axis=1)
    Image.fromarray(big).save(tmp_path / "big.png")
    monkeypatch.setattr(own, "read_annotations", None)
    boxes = np.float32([[6, 12, 30, 24], [0, 40, 48, 48]])  # the second lies in the gray below the picture

    def detect(self, images, **_):
        assert images.shape == (1, 3, 48, 48)
        return [Detections(boxes, [1, 0], [0.9, 0.8])]

    monkeypatch.setattr(train.YOLO, "detect", detect)
    argv = ("--checkpoint", out / "checkpoint.npz", "--image", tmp_path / "big.png", "--out", tmp_path / "out")
    assert run(*argv) == 0
    title, row, _ = capsys.readouterr().out.splitlines()
    assert "big.png: 1 found" in title  # 200 x 400 pixels
    assert row.split() == ["hole", "0.90", "x1=50,", "y1=100,", "x2=250,", "y2=200"]


@pytest.mark.slow
def test_a_stopped_run_on_own_data_is_resumed_to_the_same_bits(tmp_path):
    root = voc(tmp_path / "voc", 4)
    argv = ("--data", root, "--model", "faster_rcnn", "--size", 48, "--batch", 1, "--quiet", "--test", 1)
    assert run(*argv, "--steps", 4, "--lr", 1e-3, "--out", tmp_path / "straight") == 0
    whole = states(tmp_path / "straight")
    assert whole["roi_heads.box_predictor.cls_score.weight"].shape[0] == 3  # two classes and the background
    assert math.isfinite(sum(float(abs(array).sum()) for array in whole.values()))
    fit, out = run_of.fit, tmp_path / "stopped"

    def stopped(*args, **options):
        steps = list(args)
        steps[4] = 2  # of the four
        return fit(*steps, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_of, "fit", stopped)
        assert run(*argv, "--steps", 4, "--lr", 1e-3, "--out", out) == 0
    assert run("--resume", "--out", out, "--test", 1, "--quiet") == 0
    again = states(out)
    assert all(np.array_equal(array, again[key]) for key, array in whole.items())
    assert (out / "table.txt").read_bytes() == (tmp_path / "straight" / "table.txt").read_bytes()

"""The task detect: settings, the table, the figure, a user's picture, and the command from end to end."""

import json
from dataclasses import fields

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='the tasks need pip install -e ".[tasks]"')

from PIL import Image

import minidl as md
import tasks.__main__ as frame
from tasks.detect import cli, train
from tasks.detect.data.records import Detections, Target
from tasks.detect.data.scenes import Scenes
from tasks.detect.evaluate.average_precision import coco_ap, voc_ap
from tasks.detect.show import figure, report
from tasks.detect.show.found import Found
from tasks.detect.train import MODELS, Settings
from tasks.run import read_state

TINY = ("--model", "yolo", "--batch", 2, "--test", 3)


def run(*argv):
    return frame.main(["detect", *map(str, argv)])


def states(out):
    return read_state(out / "checkpoint.npz")


# --- settings and models


def test_the_options_that_are_settings_are_those_of_the_settings():
    options = {action.dest for action in cli.Detect().parser()._actions}
    assert {field.name for field in fields(Settings)} <= options


def test_settings_are_what_is_given_then_what_is_known_then_the_models_own():
    assert set(Settings.own) == set(MODELS)
    assert Settings.of({}) == Settings()
    assert Settings.of({"model": "ssd"}).steps == Settings.own["ssd"]["steps"] != Settings.steps
    known = {"model": "ssd", "steps": 7, "lr": 1.0}
    wanted = Settings(model="ssd", steps=9, lr=1.0, batch=Settings.own["ssd"]["batch"])
    assert Settings.of({"steps": 9}, known) == wanted
    assert Settings.of({"model": "yolo"}).lr == Settings.lr


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_on_the_scenes_and_detects_in_them(name):
    settings = Settings(model=name, batch=2, seed=3)
    model = settings.build()
    again = settings.build().state_dict()
    assert all(np.array_equal(array, again[key]) for key, array in model.state_dict().items())
    batches = train.TargetBatches(settings)
    assert batches(1)[0].shape == (2, 3, report.SIDE, report.SIDE)
    losses, same = (train.losses(model, *batches(1), "cpu") for _ in range(2))
    assert {k: v.item() for k, v in losses.items()} == {k: v.item() for k, v in same.items()}
    sum(losses.values()).backward()
    assert any(p.grad is not None and p.grad.data.any() for p in model.parameters())
    found = report.detections(model, Scenes(0, "test").batch(0, 2)[0], "cpu")
    assert [type(one) for one in found] == [Detections] * 2


def test_batches_are_standardised_scenes_of_the_training_part_and_of_the_step():
    batches = train.TargetBatches(Settings(batch=2, seed=5))
    images, targets, _ = batches(2)
    scenes = Scenes(5, "train")
    for i in range(2):
        image, target = scenes(4 + i)
        np.testing.assert_allclose(images[i], (image - 0.5) * 4, atol=1e-6)
        assert np.array_equal(target.boxes, targets[i].boxes)
    assert images.dtype == np.float32


# --- what is reported


def moved(truths, by=0.0):
    """Detections that are the truths, moved to the right."""
    step = np.float32([by, 0, by, 0])
    return [Detections(t.boxes + step, t.labels, np.linspace(0.9, 0.5, len(t))) for t in truths]


def test_the_table_has_the_six_of_coco_and_vocs_for_all_and_for_each_class():
    _, truths = Scenes(0, "test").batch(0, 12)
    found = moved(truths, 4.0)
    coco, voc = coco_ap(truths, found, 10, sizes=Scenes.sizes), voc_ap(truths, found, 10)
    head, *rows = (line.split() for line in report.table(report.averages(truths, found)).splitlines())
    assert head == ["class", "AP", "AP50", "AP75", "small", "medium", "large", "VOC"]
    assert [row[0] for row in rows] == ["all", *Scenes.classes]
    keys = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    wanted = [[*(of[k] for k in keys), v] for of, v in zip([coco, *coco["classes"]], [voc["AP"], *voc["classes"]])]
    for row, values in zip(rows, wanted):
        assert row[1:] == ["-" if np.isnan(v) else f"{100 * v:.1f}" for v in values]
    assert 0 < coco["AP"] < coco["AP50"] < 1


def test_truths_that_are_all_found_score_a_hundred():
    _, truths = Scenes(0, "test").batch(0, 6)
    everything = report.table(report.averages(truths, moved(truths))).splitlines()[1].split()
    assert everything == ["all"] + ["100.0"] * 7
    nothing = [Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))] * 6
    assert report.table(report.averages(truths, nothing)).splitlines()[1].split() == ["all"] + ["0.0"] * 7


def test_a_detection_is_right_once_for_its_class_and_place():
    truth = Target([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [1, 2, 3], crowd=[False, False, True])
    boxes = [[0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 10], [24, 0, 34, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    found = Detections(boxes, [1, 1, 1, 2, 2, 3], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert figure.hits(truth, found).tolist() == [True, False, False, False, True, False]
    assert figure.hits(truth, found, 0.4).tolist() == [True, False, False, True, False, False]
    assert figure.hits(truth[:0], found).tolist() == [False] * 6
    assert figure.hits(truth, found[:0]).tolist() == []


@pytest.mark.parametrize("size", [(96, 96), (48, 192), (301, 17), (1, 500), (33, 20)])
def test_boxes_in_a_framed_picture_are_those_of_the_picture(size):
    image = np.zeros((3, *size), np.float32)
    small, factor = report.framed(image)
    assert small.shape == (3, 96, 96) and factor * max(size) == pytest.approx(96)
    dark = (small == 0).all(axis=0)  # the picture; the frame is gray
    height, width = (max(1, round(n * factor)) for n in size)
    assert dark[:height, :width].all() and dark.sum() == height * width and (small[:, ~dark] == 0.5).all()
    h, w = size
    inside = np.float32([[0, 0, w / 2, h], [w / 4, h / 4, w, h / 2]])
    beside = np.float32([[0, h + 1, w, h + 2], [w + 1, 0, w + 3, h]])
    boxes = np.concatenate([inside, beside]) * np.float32(factor)
    found = report.unframed(Detections(boxes, [0, 1, 2, 3], [0.9, 0.8, 0.7, 0.6]), factor, size)
    assert found.labels.tolist() == [0, 1]
    np.testing.assert_allclose(found.boxes, inside, rtol=1e-5, atol=1e-4)


def test_a_framed_picture_is_a_smaller_picture():
    image, _ = Scenes(0, "test")(0)
    twice = image.repeat(2, axis=1).repeat(2, axis=2)
    small, factor = report.framed(twice)
    assert factor == 0.5
    assert np.abs(small - image).mean() < 0.03
    same, factor = report.framed(image)
    assert factor == 1 and np.abs(same - image).max() <= 0.51 / 255


class Knowing(md.nn.Module):
    """Finds one 7 in the middle of the upper half of whatever it sees, and something it is not sure of."""

    def detect(self, images):
        return [Detections([[24, 0, 72, 48], [0, 0, 9, 9]], [7, 1], [0.75, 0.1]) for _ in range(len(images))]


@pytest.mark.usefixtures("figures")
def test_what_is_found_in_a_users_picture_is_given_in_its_own_pixels(tmp_path, capsys):
    image = np.full((3, 200, 400), 0.25, np.float32)
    found = report.detect_picture(Knowing(), image, "cpu")
    Found(tmp_path, Scenes.classes, range(10)).tell(found, image, "some/where/mine.jpg")
    title, row, drawn = capsys.readouterr().out.splitlines()
    assert title == "some/where/mine.jpg: 1 found with a score of at least 0.3"
    assert row.split() == ["7", "0.75", "x1=100,", "y1=0,", "x2=300,", "y2=200"]
    assert drawn == f"drawn: {tmp_path / 'mine-detections.png'}"
    with Image.open(tmp_path / "mine-detections.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    orange = [int(figure.ORANGE[i : i + 2], 16) for i in (1, 3, 5)]
    assert (pixels == orange).all(axis=1).sum() > 300


def test_a_scene_shows_truths_and_what_is_right_and_wrong():
    truth = Target([[10, 10, 30, 40], [50, 50, 70, 90]], [3, 4])
    found = Detections([[11, 10, 30, 40], [51, 50, 70, 90], [0, 0, 5, 5]], [3, 5, 4], [0.9, 0.8, 0.2])
    axes = figure.pyplot().figure().add_subplot()
    figure.scene(axes, np.zeros((3, 96, 96), np.float32), truth, found, Scenes.classes)
    edges = [figure.pyplot().matplotlib.colors.to_hex(patch.get_edgecolor()).upper() for patch in axes.patches]
    assert edges == [figure.BLUE] * 2 + [figure.GREEN, figure.ORANGE]
    assert [patch.get_xy() for patch in axes.patches[:2]] == [(9.5, 9.5), (49.5, 49.5)]
    assert [text.get_text() for text in axes.texts] == ["3", "4", "3 0.90", "5 0.80"]
    assert axes.get_xlabel() == "1 of 2 found, 1 wrong"
    figure.pyplot().close("all")


# --- the command, from end to end


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert run(*TINY, "--steps", 12, "--out", out, "--quiet") == 0
    return out


@pytest.mark.slow
def test_a_run_learns_and_leaves_everything(finished):
    for name in ("checkpoint.npz", "log.jsonl", "settings.json", "table.txt", "figure.png"):
        assert (finished / name).stat().st_size > 0, name
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 12 and {"place", "size", "object", "no_object", "class", "lr"} <= set(lines[0])
    assert np.mean([line["loss"] for line in lines[-3:]]) < 0.7 * np.mean([line["loss"] for line in lines[:3]])
    _, truths = Scenes(0, "test").batch(0, 3)
    title, *_ = (finished / "table.txt").read_text().splitlines()
    digits = sum(len(truth) for truth in truths)
    assert title == f"yolo, 12 steps of 2; tested on 3 scenes never trained on, {digits} digits"
    with Image.open(finished / "figure.png") as picture:
        assert len(np.unique(np.asarray(picture))) > 50


def test_a_checkpoint_is_tested_again_without_training(finished, tmp_path, capsys):
    checkpoint = finished / "checkpoint.npz"
    assert run("--checkpoint", checkpoint, "--test", 3, "--out", tmp_path, "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert (tmp_path / "table.txt").read_bytes() == (finished / "table.txt").read_bytes()
    assert not (tmp_path / "checkpoint.npz").exists()


def test_settings_are_chosen_on_validation_scenes(finished, tmp_path, capsys):
    checkpoint = finished / "checkpoint.npz"
    assert run("--checkpoint", checkpoint, "--validation", "--test", 3, "--out", tmp_path, "--quiet") == 0
    _, truths = Scenes(0, "validation").batch(0, 3)
    told = f"tested on 3 validation scenes never trained on, {sum(map(len, truths))} digits"
    assert told in capsys.readouterr().out
    assert frame.main(["instances", "--validation", "--out", str(tmp_path / "none")]) == 2
    assert "two parts, training and test; leave it out" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_a_users_picture_is_detected_in_with_a_checkpoint_and_nothing_else(finished, tmp_path, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 80), dtype=np.uint8)).save(tmp_path / "gray.png")
    argv = ("--checkpoint", finished / "checkpoint.npz", "--image", tmp_path / "gray.png", "--out", tmp_path / "out")
    assert run(*argv, "--quiet") == 0
    assert "gray.png: 0 found" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gray-detections.png"]


@pytest.mark.slow
def test_a_stopped_run_is_resumed_to_the_same_bits(ctrl_c, tmp_path, monkeypatch, capsys):
    """Faster R-CNN, because it draws samples."""
    argv = ["--batch", 1, "--test", 2, "--steps", 4, "--quiet"]
    assert run(*argv, "--out", tmp_path / "straight") == 0
    whole, trained = train.losses, []

    def interrupted(model, images, targets, rng, device):
        _, step = rng.bit_generator.seed_seq.spawn_key  # of (purpose, step)
        trained.append(step)
        if trained == [0, 1]:
            ctrl_c()
        return whole(model, images, targets, rng, device)

    out = tmp_path / "stopped"
    monkeypatch.setattr(train, "losses", interrupted)
    assert run(*argv, "--out", out) == 130
    error = capsys.readouterr().err
    assert "stopped after step 1" in error and f"python -m tasks detect --resume --out {out}" in error
    assert len((out / "log.jsonl").read_text().splitlines()) == 2
    assert run("--resume", "--out", out, "--test", 2, "--quiet") == 0
    assert trained == [0, 1, 2, 3]  # none twice
    for name in ("log.jsonl", "table.txt", "settings.json"):
        assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    straight = states(tmp_path / "straight")
    assert all(np.array_equal(array, straight[key]) for key, array in states(out).items())


@pytest.mark.parametrize("argv, code, message", [
    (["--model", "yollo"], 2, "did you mean yolo?"),
    (["--steps", "0"], 2, "must be a whole number of at least 1, got '0'"),
    (["--test", "0"], 2, "must be a whole number of at least 1, got '0'"),
    (["--lr", "-1"], 2, "must be a number above 0, got '-1'"),
    (["--bacth", "2"], 2, "did you mean --batch?"),
    (["--resume"], 2, "there is no run in"),
    (["--checkpoint", "none.npz"], 1, "none.npz: no such checkpoint"),
    (["--checkpoint", "none.npz", "--resume"], 2, "give one of them"),
    (["--validation", "--weights", "w.pth", "--image", "a.png"], 2, "leave it or --weights out"),
    (["--image", "none.png"], 1, "none.png: No such file"),
])  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(argv, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(*argv) == code
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: ") and error.count("\n") == 1 and message in error
    assert not list(tmp_path.iterdir())


def test_a_picture_that_is_none_is_said_before_training(tmp_path, capsys):
    (tmp_path / "text.png").write_text("not a picture")
    assert run("--image", tmp_path / "text.png", "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "text.png: not a readable image" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_settings_that_contradict_the_run_are_refused_and_so_is_another_model(finished, tmp_path, capsys):
    assert run("--resume", "--out", finished, "--model", "ssd", "--batch", 1) == 2
    error = capsys.readouterr().err
    assert "model is yolo, not ssd, batch is 2, not 1: only --steps and --lr may change" in error
    assert run("--checkpoint", finished / "checkpoint.npz", "--model", "ssd", "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "checkpoint.npz is of another model" in error and error.endswith("name its --model\n")
    assert not (tmp_path / "out").exists()

"""The classification command from end to end, and what goes wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

from PIL import Image

import minidl as md
import tasks.__main__ as frame
from tasks.classify import cli, data, evaluate, train
from tasks.models import SMALL
from tasks.run import read_state
from tests.tasks.classify.test_classify import run
from tests.tasks.classify.test_data import photographs

# --- the command, from end to end

TINY = ("--depth", 8, "--width", 8, "--batch", 32)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert run(*TINY, "--steps", 160, "--out", out, "--quiet") == 0
    return out


@pytest.fixture
def few(monkeypatch):
    """A tenth of the digits to test on, where the claim is not how many are right."""
    whole = data.digits

    def digits(side=None):
        known = whole(side)
        return replace(known, test=data.Part(known.test.images[::10], known.test.labels[::10]))

    monkeypatch.setattr(data, "digits", digits)


@pytest.mark.slow
def test_a_run_learns_and_leaves_everything(finished):
    for name in ("checkpoint.npz", "log.jsonl", "settings.json", "table.txt", "figure.png", "classes.txt"):
        assert (finished / name).stat().st_size > 0, name
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 160 and sum("test_accuracy" in line for line in lines) == 20
    assert lines[-1]["test_accuracy"] > 0.9
    accuracy = f"accuracy {lines[-1]['test_accuracy']:.2%} on test images"
    assert accuracy in (finished / "table.txt").read_text()


def test_a_checkpoint_is_tested_again_without_training(finished, tmp_path, capsys):
    assert run("--checkpoint", finished / "checkpoint.npz", "--out", tmp_path, "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert (tmp_path / "table.txt").read_bytes() == (finished / "table.txt").read_bytes()
    assert not (tmp_path / "checkpoint.npz").exists()


def test_a_users_digit_is_classified(finished, tmp_path, capsys):
    digits = data.digits()
    model = train.load(train.Settings(depth=8, width=8), finished / "checkpoint.npz")
    image = digits.test.images[:1]
    Image.fromarray(image[0, 0].repeat(4, axis=0).repeat(4, axis=1)).save(tmp_path / "mine.png")
    assert run("--checkpoint", finished / "checkpoint.npz", "--image", tmp_path / "mine.png", "--quiet") == 0
    title, best, *_ = capsys.readouterr().out.splitlines()
    again = data.pictures([tmp_path / "mine.png"], 1, 8, 8)
    wanted = evaluate.predict(model, again)[0]
    p, number, name = best.split()
    assert title.endswith("mine.png") and int(number) == int(name) == wanted.argmax()
    assert float(p.rstrip("%")) == pytest.approx(100 * wanted.max(), abs=0.011)


def test_a_checkpoint_is_written_as_onnx(finished, tmp_path, capsys):
    pytest.importorskip("onnx")
    path, x = tmp_path / "digits.onnx", np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)
    assert run("--checkpoint", finished / "checkpoint.npz", "--save-onnx", path, "--out", tmp_path, "--quiet") == 0
    assert capsys.readouterr().out == f"written: {path}, for any number of inputs 1 x 8 x 8\n"
    model = train.load(train.Settings(depth=8, width=8), finished / "checkpoint.npz")
    with model.inference():
        assert np.abs(md.load_onnx(path)(md.Tensor(x)).data - model(md.Tensor(x)).data).max() < 1e-5
    assert run("--chart", tmp_path / "chart.png", "--save-onnx", path, "--quiet") == 2
    assert "leave out --chart" in capsys.readouterr().err and not (tmp_path / "chart.png").exists()


@pytest.mark.slow
def test_a_stopped_run_is_resumed_to_the_same_bits(ctrl_c, few, tmp_path, monkeypatch, capsys):
    argv = [*TINY, "--steps", 6, "--quiet"]
    assert run(*argv, "--out", tmp_path / "straight") == 0
    whole = data.PictureBatches.__call__

    def interrupted(self, step):
        if step == 3:
            ctrl_c()
        return whole(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(data.PictureBatches, "__call__", interrupted)
        assert run(*argv, "--out", tmp_path / "run") == 130
    assert f"go on with: python -m tasks classify --resume --out {tmp_path}/run" in capsys.readouterr().err
    assert run("--resume", "--out", tmp_path / "run", "--quiet") == 0
    for name in ("checkpoint.npz", "log.jsonl", "table.txt", "settings.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, "googlenet"])
def test_each_family_trains(name, few, tmp_path):
    size = ("--size", 32) if name == "googlenet" else ()
    assert run("--model", name, "--steps", 2, "--batch", 4, *size, "--out", tmp_path, "--quiet") == 0
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    heads = 1.6 if name == "googlenet" else 1
    assert len(losses) == 2 and abs(losses[0] / heads - np.log(10)) < 2  # near chance, before anything is learnt
    assert next(iter(read_state(tmp_path / "checkpoint.npz").values())).ndim == 4


@pytest.mark.slow
def test_own_photographs_are_learnt_and_classified(tmp_path, capsys):
    folder = photographs(tmp_path / "mine", {"blue": 16, "red": 16})
    argv = ["--data", folder, "--size", 12, "--mirror", "--batch", 8, "--steps", 30, "--depth", 8, "--width", 4]
    shown = [folder / "red" / "0.png", folder / "blue" / "0.png"]
    assert run(*argv, "--out", tmp_path / "run", "--quiet", "--image", *shown) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("accuracy 100.00% on test images: 8 of 8") for line in lines)
    assert [lines[lines.index(str(file)) + 1].split()[2] for file in shown] == ["red", "blue"]


def test_summary_of_a_network_on_its_data(capsys):
    assert run("--summary", "--model", "densenet121", "--quiet") == 0
    assert "7,978,856 parameters" in capsys.readouterr().out
    assert run("--summary", *TINY) == 0
    first, *_, last, _, _, _ = capsys.readouterr().out.splitlines()
    assert first == "ResNet on (1, 1, 8, 8)" and last.split()[:4] == ["fc", "Linear", "(1,", "10)"]


# --- what goes wrong


def bad(name, argv, code, message):
    return pytest.param(argv, code, message, id=name)


@pytest.mark.parametrize("argv, code, message", [
    bad("unknown model", ["--model", "unet"], 2, "invalid choice: 'unet'"),
    bad("no steps", ["--steps", "0"], 2, "must be a whole number of at least 1"),
    bad("depth of a vgg", ["--model", "vgg_small", "--depth", "9"], 2, "--depth is for resnet_small, densenet_small"),
    bad("width of a resnet50", ["--model", "resnet50", "--width", "9"], 2, "--width is for"),
    bad("impossible depth", ["--depth", "9"], 1, "the nearest is 8"),
    bad("two sources", ["--checkpoint", "a.npz", "--resume"], 2, "give one of them"),
    bad("nothing to resume", ["--resume"], 2, "there is no run in"),
    bad("no checkpoint", ["--checkpoint", "{tmp}/none.npz"], 1, "no such checkpoint"),
    bad("not a checkpoint", ["--checkpoint", "{tmp}/text.png"], 1, "neither .npz"),
    bad("no folder", ["--data", "{tmp}/nowhere"], 1, "nowhere: no such folder"),
    bad("no classes", ["--data", "{tmp}/empty"], 1, "one per class is needed"),
    bad("a class without images", ["--data", "{tmp}"], 1, "no images in"),
    bad("broken picture", ["--data", "{tmp}/broken"], 1, "a.png: not a readable image (cannot identify image file)"),
    bad("one picture", ["--data", "{tmp}/single"], 1, "class 0 has 1 pictures"),
    bad("no image", ["--image", "{tmp}/none.png"], 1, "none.png: No such file"),
    bad("not an image", ["--image", "{tmp}/text.png"], 1, "not a readable image"),
    bad("names of nothing", ["--classes", "{tmp}/text.png"], 2, "name an image"),
    bad("out is a file", ["--out", "{tmp}/text.png"], 1, "text.png: File exists"),
    bad("weights of nothing", ["--weights", "a.pth"], 2, "--weights needs --model"),
    bad("weights to train", ["--weights", "a", "--model", "vgg16", "--image", "b", "--steps", "9"], 2, "out --steps"),
    bad("weights and a run", ["--weights", "a", "--model", "vgg16", "--image", "b", "--resume"], 2, "give one"),
    bad("no weights", ["--weights", "{tmp}/none.pth", "--model", "vgg16", "--image", "{tmp}/fine.png"], 1,
        "none.pth: No such file"),
    bad("broken weights", ["--weights", "{tmp}/text.png", "--model", "vgg16", "--image", "{tmp}/fine.png"], 1,
        "neither .npz"),
    bad("no photograph", ["--weights", "{tmp}/text.png", "--model", "vgg16", "--image", "{tmp}/none.png"], 1,
        "none.png: No such file"),
])  # fmt: skip
def test_bad_input_is_one_line_and_an_exit_code(argv, code, message, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("this is no image")
    Image.new("RGB", (30, 20)).save(tmp_path / "fine.png")
    for folder, files in {"broken": ["text.png"], "single": ["fine.png"]}.items():
        (tmp_path / folder / "c").mkdir(parents=True)
        for file in files:
            (tmp_path / folder / "c" / "a.png").write_bytes((tmp_path / file).read_bytes())
    argv = ["classify", "--quiet", "--out", str(tmp_path / "out"), *(a.format(tmp=tmp_path) for a in argv)]
    assert frame.main(argv) == code
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: ") and error.count("\n") == 1 and message in error


def test_a_checkpoint_of_another_width_is_shown_as_a_table(finished, capsys):
    assert run("--checkpoint", finished / "checkpoint.npz", "--width", 6, "--quiet") == 1
    error = capsys.readouterr().err
    assert "is of another model" in error and "conv1.weight" in error and "name its --model" in error


def test_a_checkpoint_and_data_that_do_not_fit_are_one_line(finished, tmp_path, capsys):
    folder = photographs(tmp_path / "mine", {"blue": 2, "red": 2})
    assert run("--checkpoint", finished / "checkpoint.npz", "--data", folder, "--out", tmp_path, "--quiet") == 1
    error = capsys.readouterr().err
    assert "is for 10 classes and 1 channels, mine has 2 classes and 3 channels" in error


def test_a_resumed_run_takes_another_rate_and_no_other_settings(finished, capsys):
    task = cli.Classify()
    asked = task.parser().parse_args(["--resume", "--out", str(finished), "--lr", "0.05", "--steps", "200"])
    known = train.Settings(**json.loads((finished / "settings.json").read_text()))
    assert task.chosen(asked) == replace(known, lr=0.05, steps=200)
    assert run("--resume", "--out", finished, "--batch", 5, "--quiet") == 2
    assert "not 5: only --steps and --lr may change" in capsys.readouterr().err


def test_settings_come_from_what_is_given_then_the_run_then_the_model():
    assert train.Settings.of({}).depth == 14 and train.Settings.of({"depth": 8}).depth == 8
    assert train.Settings.of({"model": "vgg16"}).lr == 0.01
    assert train.Settings.of({"model": "vgg16_bn"}).lr == 0.1
    assert train.Settings.of({"model": "vgg16"}, {"lr": 0.5}).lr == 0.5
    assert train.Settings.of({"model": "densenet_small", "width": 5}).options() == {"growth": 5}
    assert cli.Classify().parser().parse_args([]).chart is None

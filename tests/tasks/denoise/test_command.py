"""The denoising command from end to end, and what goes wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

import minidl as md
import tasks.__main__ as frame
from tasks.denoise import DnCNN, baselines, cli, data, figure, train
from tasks.denoise.picture import Picture
from tests.tasks.denoise.test_denoise import randomised

# --- the command, from end to end


@pytest.fixture
def quick(monkeypatch):
    """One test image and one setting per filter, for the runs within this process."""
    monkeypatch.setattr(cli, "TEST", ("coins",))
    monkeypatch.setattr(baselines, "FILTERS", {name: (f, s[:1]) for name, (f, s) in baselines.FILTERS.items()})


def run(*argv):
    """The command, in this process."""
    return frame.main(["denoise", *map(str, argv)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three small photographs."""
    path = tmp_path_factory.mktemp("photographs")
    whole = data.photograph("coffee")
    for i in range(3):
        Picture(whole[None, 50 : 120 + 5 * i, 100 * i : 100 * i + 90], None, 8).write(path / f"{i}.png")
    return path


TINY = ("--width", 8, "--batch", 4, "--patch", 24)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """A run of six steps in a process of its own, as a user has it, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "six"
    argv = [sys.executable, "-m", "tasks", "denoise", *TINY, "--steps", 6, "--data", folder, "--out", out]
    root = Path(frame.__file__).parents[1]
    return out, subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=300, cwd=root)


def weights(out):
    return {k: v for k, v in md.load_weights(out / "checkpoint.npz").items() if k.startswith("model.")}


def test_a_run_leaves_everything(finished):
    out, done = finished
    assert done.returncode == 0, done.stderr
    for name in ("checkpoint.npz", "log.jsonl", "settings.json", "table.txt", "scores.json", "figure.png", "curve.png"):
        assert (out / name).stat().st_size > 0, name
    assert len((out / "log.jsonl").read_text().splitlines()) == 6
    assert done.stdout.startswith((out / "table.txt").read_text())
    scores = json.loads((out / "scores.json").read_text())
    assert set(scores) == set(data.TEST)
    for row in scores.values():
        assert set(row) == {"noisy", *baselines.FILTERS, "ours"}
        assert 20 < row["noisy"]["psnr"] < 21 and row["total variation"]["psnr"] > 27


def test_a_checkpoint_is_written_as_onnx(finished, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr(cli, "EXPORTED", 16)
    path = tmp_path / "denoiser.onnx"
    assert run("--checkpoint", finished[0] / "checkpoint.npz", "--save-onnx", path, "--out", tmp_path, "--quiet") == 0
    assert md.load_onnx(path).inputs[0].shape == ("N", 1, 16, 16)


def test_a_checkpoint_is_used_without_training(finished, tmp_path, quick, capsys):
    out, _ = finished
    assert run("--checkpoint", out / "checkpoint.npz", "--out", tmp_path, "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.err == "" and "ours beats" in captured.out
    assert not (tmp_path / "checkpoint.npz").exists()
    again, before = (json.loads((folder / "scores.json").read_text())["coins"]["ours"] for folder in (tmp_path, out))
    assert abs(again["psnr"] - before["psnr"]) > 0  # coins is the first image here: it gets other noise
    assert abs(again["psnr"] - before["psnr"]) < 0.1


@pytest.mark.parametrize("extra", [(), ("--add-noise",)], ids=["as it is", "with noise"])
@pytest.mark.usefixtures("figures")
def test_a_users_picture_is_denoised(extra, finished, tmp_path, capsys):
    out, _ = finished
    rng = np.random.default_rng(0)
    alpha = np.rint(rng.random((60, 50)) * 255).astype(np.float32) / 255
    Picture(rng.random((3, 60, 50), dtype=np.float32), alpha, 8).write(tmp_path / "me.png")
    argv = ["--checkpoint", out / "checkpoint.npz", "--image", tmp_path / "me.png", "--out", tmp_path, *extra]
    assert run(*argv) == 0
    output = capsys.readouterr().out
    result = Picture.read(tmp_path / "me-denoised.png")
    assert result.channels.shape == (3, 60, 50) and np.array_equal(result.alpha, alpha)
    assert (tmp_path / "me-figure.png").exists()
    assert ("was added artificially" in output) == bool(extra) == (tmp_path / "me-noisy.png").exists()
    assert ("no noise was added" in output) != bool(extra)


@pytest.mark.slow
def test_a_stopped_run_is_resumed_to_the_same_bits(ctrl_c, folder, tmp_path, monkeypatch, capsys, quick):
    argv = [*TINY, "--steps", 6, "--data", folder, "--quiet"]
    assert run(*argv, "--out", tmp_path / "straight") == 0
    before = data.Patches.__call__

    def interrupted(self, step):
        if step == 3:
            ctrl_c()
        return before(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(data.Patches, "__call__", interrupted)
        assert run(*argv, "--out", tmp_path / "run") == 130
    error = capsys.readouterr().err
    assert "after 4 steps" in error and f"go on with: python -m tasks denoise --resume --out {tmp_path}/run" in error
    assert run("--resume", "--out", tmp_path / "run", "--quiet") == 0
    for name in ("checkpoint.npz", "log.jsonl", "scores.json", "table.txt"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name


# --- what goes wrong


def bad(name, argv, code, message):
    return pytest.param(argv, code, message, id=name)


@pytest.mark.parametrize(
    "argv, code, message",
    [
        bad("negative sigma", ["--sigma", "-1"], 2, "--sigma: must be a number above 0"),
        bad("no steps", ["--steps", "0"], 2, "--steps: must be a whole number of at least 1"),
        bad("unknown model", ["--model", "unet"], 2, "invalid choice: 'unet'"),
        bad("depth of the lecture's", ["--depth", "5"], 2, "--depth is for --model dncnn"),
        bad("noise on nothing", ["--add-noise"], 2, "--image"),
        bad("two sources", ["--checkpoint", "a.npz", "--resume"], 2, "give one of them"),
        bad("nothing to resume", ["--resume"], 2, "there is no run in"),
        bad("no checkpoint", ["--checkpoint", "{tmp}/none.npz"], 1, "no such checkpoint"),
        bad("not a checkpoint", ["--checkpoint", "{tmp}/text.png"], 1, "neither .npz"),
        bad("no image", ["--image", "{tmp}/none.png"], 1, "none.png: No such file"),
        bad("not an image", ["--image", "{tmp}/text.png"], 1, "not a readable image"),
        bad("a folder for an image", ["--image", "{tmp}"], 1, "Is a directory"),
        bad("empty folder", ["--data", "{tmp}/empty"], 1, "no images in"),
        bad("no folder", ["--data", "{tmp}/nowhere"], 1, "no images in"),
        bad("broken folder", ["--data", "{tmp}"], 1, "text.png: not a readable image"),
        bad("large patches", ["--patch", "500"], 1, "patches of 500x500 do not fit into coffee"),
        bad("out is a file", ["--out", "{tmp}/text.png"], 1, "text.png: File exists"),
        bad("out below a file", ["--out", "{tmp}/text.png/run"], 1, "Not a directory"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(argv, code, message, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("this is no image")
    argv = ["denoise", "--quiet", "--out", str(tmp_path / "out"), *(a.format(tmp=tmp_path) for a in argv)]
    assert frame.main(argv) == code
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: ") and error.count("\n") == 1 and message in error


def test_a_checkpoint_of_another_model_is_shown_as_a_table_of_shapes(finished, tmp_path, capsys):
    out, _ = finished
    argv = ["denoise", "--checkpoint", str(out / "checkpoint.npz"), "--width", "16", "--out", str(tmp_path)]
    assert frame.main(argv) == 1
    error = capsys.readouterr().err
    assert "is of another model" in error
    assert "main.3.weight" in error and "(8, 8, 3, 3), the model has (16, 16, 3, 3)" in error


def test_a_resumed_run_cannot_change_its_settings(finished, capsys):
    out, _ = finished
    assert frame.main(["denoise", "--resume", "--out", str(out), "--sigma", "50"]) == 2
    assert "sigma is 25.0, not 50.0" in capsys.readouterr().err


def test_weights_without_a_run_are_taken_too(tmp_path):
    model = randomised(DnCNN(depth=3, width=4), np.random.default_rng(0))
    md.save_weights(tmp_path / "weights.npz", model.state_dict())
    settings = train.Settings.of({"model": "dncnn", "depth": 3, "width": 4})
    loaded = train.load(settings, tmp_path / "weights.npz").state_dict()
    assert all(np.array_equal(loaded[name], array) for name, array in model.state_dict().items())


def test_crops_of_the_figure_lie_inside_the_images():
    for name, (top, left) in figure.CORNERS.items():
        height, width = data.photograph(name).shape
        assert top + figure.CROP <= height and left + figure.CROP <= width

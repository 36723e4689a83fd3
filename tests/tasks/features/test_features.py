"""The autoencoder, the judge, and the command from end to end."""

import json

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

import tasks.__main__ as frame
from minidl import Tensor
from tasks.classify.data import Dataset, Part
from tasks.features import Autoencoder, cli, judge, train
from tasks.features.report import flat, principal


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_comes_back_in_its_size(channels):
    net = Autoencoder(channels, 12, 2, 5, rng=0)
    x = Tensor(np.random.default_rng(0).random((3, channels, 12, 12), np.float32))
    assert net.encoder(x).shape == (3, 5) and net(x).shape == x.shape
    with pytest.raises(ValueError, match="multiple of 4"):
        Autoencoder(1, 10)


def test_only_a_denoising_autoencoder_is_given_noise():
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8)).astype(np.uint8)
    given, clean = train.Pictures(images, 8, 0.0, 0)(3)
    assert (given == clean).all() and clean.max() <= 1
    given, again = train.Pictures(images, 8, 0.5, 0)(3)
    assert (again == clean).all() and np.std(given - clean) == pytest.approx(0.5, rel=0.1)


def clusters(count):
    """Pictures of two classes that differ in one direction, and noise in all others."""
    rng = np.random.default_rng(count)
    labels = np.arange(count) % 2
    images = rng.integers(100, 156, (count, 1, 4, 4))
    images[:, 0, 0] += np.where(labels, 60, -60)[:, None]
    return Part(images.clip(0, 255).astype(np.uint8), labels)


@pytest.mark.slow
def test_features_that_tell_classes_apart_are_judged_better():
    dataset = Dataset("clusters", ["a", "b"], clusters(80), clusters(60))
    methods = {
        "good": lambda seed: principal(dataset.train.images, 1),
        "useless": lambda seed: lambda images: flat(images)[:, 4:],
    }
    shown = []
    found = judge.judge(methods, dataset, (1, 5), range(2), lambda: shown.append(1))
    assert len(shown) == 4 and found["good"] == {1: [1.0] * 2, 5: [1.0] * 2}
    assert np.mean(found["useless"][5]) < 0.8


def run(out, *argv):
    return frame.main(["features", "--quiet", "--out", str(out), *map(str, argv)])


def stopped(*_):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_the_command_from_end_to_end_and_resumed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(judge, "STRENGTHS", (1.0,))
    tiny = ("--side", 8, "--width", 2, "--code", 3, "--steps", 3, "--batch", 8, "--seeds", 2, "--labels", 1)
    assert run(tmp_path, *tiny) == 0
    first = capsys.readouterr().out
    assert "raw pixels" in first and "denoising autoencoder" in first and (tmp_path / "figure.png").exists()
    found = json.loads((tmp_path / "accuracies.json").read_text())
    assert len(found) == 4 and all(len(runs) == 2 for row in found.values() for runs in row.values())
    monkeypatch.setattr(cli, "compare", lambda networks, dataset, job: print(*networks))
    assert run(tmp_path, "--resume") == 0
    assert capsys.readouterr().out == "undercomplete denoising\n"
    monkeypatch.setattr(cli, "train", stopped)
    assert run(tmp_path, *tiny, "--overwrite") == 130
    assert not list(tmp_path.glob("*.npz"))  # or resuming what was stopped would take those of the run before
    for argv, said in ((("--side", 10), "say --side N"), (("--labels", 500), "ask for"), (("--code", 300), "shorter")):
        assert run(tmp_path / "other", *argv) == 2
        assert said in capsys.readouterr().err

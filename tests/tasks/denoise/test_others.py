"""Denoisers that others trained, by their files."""

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

from PIL import Image

import minidl as md
import tasks.__main__ as frame
from minidl import nn
from tasks.denoise import others
from tasks.denoise.inference import denoise
from tasks.denoise.model import DnCNN


def layers(*maps):
    made = []
    for inputs, outputs in pairwise(maps):
        made += [nn.Conv2d(inputs, outputs, 3, padding=1, rng=inputs), nn.ReLU()]
    return made[:-1]


def run(*argv):
    return frame.main(["denoise", *map(str, argv), "--quiet"])


def test_the_networks_of_this_task_are_the_authors_dncnn(tmp_path):
    model = DnCNN(depth=5, width=8, rng=0)
    for p in model.parameters():
        p.data[...] = np.random.default_rng(p.size).normal(size=p.shape) / 9
    md.save_weights(tmp_path / "net.npz", model.state_dict())
    x = np.random.default_rng(0).random((2, 20, 23), dtype=np.float32)
    np.testing.assert_array_equal(denoise(others.load(tmp_path / "net.npz"), x), denoise(model, x))


def test_an_ffdnet_sees_the_noise_level_and_is_the_same_in_tiles(tmp_path):
    model = others.FFDNet(layers(13, 8, 8, 12))
    x = np.random.default_rng(0).random((3, 29, 34), dtype=np.float32)
    model.sigma = 0.1
    whole = denoise(model, x)
    np.testing.assert_allclose(denoise(model, x, tile=10), whole, atol=1e-6)
    model.sigma = 0.2
    assert np.abs(denoise(model, x) - whole).max() > 1e-3
    with pytest.raises(ValueError, match="for pictures of 3 channels, this one has 1"):
        denoise(model, x[:1])


def test_the_command_denoises_with_weights_of_others(tmp_path, capsys):
    md.save_weights(tmp_path / "net.npz", others.FFDNet(layers(5, 8, 4)).state_dict())
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    argv = ["--weights", tmp_path / "net.npz", "--image", tmp_path / "a.png", "--out", tmp_path, "--sigma", 15]
    assert run(*argv, "--add-noise") == 0
    assert "noise of sigma 15 was added" in capsys.readouterr().out
    assert Image.open(tmp_path / "a-denoised.png").size == (30, 21)


@pytest.mark.parametrize("state, extra, message", [
    ({"a.weight": np.ones(3)}, (), "is no stack of convolutions with names dncnn.0.weight"),
    ({"model.0.weight": np.ones((2, 5, 3, 3))}, (), "takes 5 channels and gives 2: it is neither"),
    ({"model.0.weight": np.ones((1, 1, 3, 3))}, ("--depth", 3), "leave out --depth"),
    ({"model.0.weight": np.ones((1, 1, 3, 3))}, ("--checkpoint", "x"), "goes without --checkpoint"),
])  # fmt: skip
def test_what_does_not_fit_is_said_in_one_line(state, extra, message, tmp_path, capsys):
    md.save_weights(tmp_path / "net.npz", state)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    assert run("--weights", tmp_path / "net.npz", "--image", tmp_path / "a.png", "--out", tmp_path, *extra) in (1, 2)
    assert message in capsys.readouterr().err

"""Networks of unknown origin: what a graph takes and gives, scores, maps and text, from the command line."""

import argparse

import numpy as np
import pytest

pytest.importorskip("onnx", reason='ONNX needs pip install -e ".[onnx]"')
pytest.importorskip("PIL")
pytest.importorskip("matplotlib")

from PIL import Image

import minidl as md
import tasks.__main__ as frame
from minidl import functional as F
from minidl import nn
from tasks.command import UsageError
from tasks.interpret import letters
from tasks.interpret.graph import Form, GraphNetwork, prepared, probabilities
from tasks.interpret.methods import applicable, grad_cam, gradient
from tasks.interpret.targets import class_score
from tasks.interpret.unknown import chosen, size_of, sized

BODY = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
HEAD, MAPS = nn.Linear(4, 5, rng=1), nn.ConvTranspose2d(4, 2, 2, stride=2, rng=2)


class Net(nn.Module):
    """A classifier with a softmax, maps with a sigmoid, or a line of text as (T, N, classes)."""

    def __init__(self, kind):
        self.body, self.head, self.maps, self.kind = BODY, HEAD, MAPS, kind

    def forward(self, image):
        if self.kind == "nhwc":
            image = image.transpose(0, 3, 1, 2)
        x = self.body(image)
        if self.kind == "maps":
            return F.sigmoid(self.maps(x))
        if self.kind == "text":
            return F.softmax(self.head(x.mean(2).transpose(2, 0, 1)), axis=-1)
        return F.softmax(self.head(F.global_avg_pool(x)), axis=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The networks as files, and a picture."""
    folder = tmp_path_factory.mktemp("unknown")
    for kind in ("classes", "maps", "text", "nhwc"):
        shape = (1, 8, 16, 3) if kind == "nhwc" else (1, 3, 8, 16)
        md.save_onnx(Net(kind), np.zeros(shape, np.float32), folder / f"{kind}.onnx", dynamic_batch=kind != "maps")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)).save(folder / "picture.png")
    return folder


def run(files, kind, *argv, out="out"):
    given = ["--onnx", files / f"{kind}.onnx", "--image", files / "picture.png", "--out", files / out, "--quiet"]
    return frame.main(["interpret", *map(str, given), *map(str, argv)])


def network(files, kind, **options):
    model = md.load_onnx(files / f"{kind}.onnx")
    return GraphNetwork(model, Form.of(model).layout, **options)


X = np.random.default_rng(1).normal(size=(2, 3, 8, 16)).astype(np.float32)


def test_explained_is_what_the_softmax_reads_and_the_maps_are_those_of_the_module(files):
    ours, theirs = nn.Sequential(BODY, nn.GlobalAvgPool(), HEAD), network(files, "classes")
    assert theirs.ending == "Softmax"
    for method, layer in ((gradient, None), (grad_cam, "0.0")):
        a = method(ours, X, class_score(3), layer=layer)
        b = method(theirs, X, class_score(3), layer=None if layer is None else "body.0/Conv")
        np.testing.assert_allclose(a.values, b.values, atol=1e-6)
        np.testing.assert_allclose(a.score, b.score, atol=1e-6)
    assert theirs.last_maps(X) == "body.0/Conv"
    assert applicable("guided_backprop", theirs, X) is None and applicable("cam", theirs, X) is None


def test_channels_last_and_a_batch_on_the_second_axis_are_turned_around(files):
    np.testing.assert_allclose(
        network(files, "nhwc")(md.Tensor(X)).data, network(files, "classes")(md.Tensor(X)).data, atol=1e-6
    )
    assert network(files, "text")(md.Tensor(X)).shape == (2, 8, 5)


def test_what_a_graph_takes(files):
    assert Form.of(md.load_onnx(files / "classes.onnx")) == Form("nchw", 3, None, (8, 16))
    assert Form.of(md.load_onnx(files / "nhwc.onnx")) == Form("nhwc", 3, None, (8, 16))
    assert Form.of(md.load_onnx(files / "maps.onnx")).batch == 1
    with pytest.raises(UsageError, match="is it another --layout"):
        Form.of(md.load_onnx(files / "classes.onnx"), "nhwc")
    with pytest.raises(UsageError, match="the outputs are output"):
        network(files, "classes", output="logits")
    with pytest.raises(ValueError, match=r"is no value of this graph; did you mean body\.0/Conv\?"):
        network(files, "classes").with_value(md.Tensor(X), "body.0/Con")


@pytest.mark.parametrize(
    ("text", "fixed", "size", "shape"),
    [
        (None, (8, 16), (8, 16), (8, 16)),
        (None, (None, None), (None, None), (20, 30)),
        ("224", (None, None), (224, 224), (224, 224)),
        ("10x", (None, None), (10, None), (10, 15)),
        ("x60", (None, None), (None, 60), (40, 60)),
        ("10x", (None, 7), (10, 7), (10, 7)),
    ],
)
def test_sizes(text, fixed, size, shape):
    assert size_of(text, fixed) == size
    assert sized(np.zeros((3, 20, 30)), size).shape == (3, *shape)


def test_pixels_are_prepared_as_the_options_say():
    pixels = np.array([[[[255]], [[0]], [[51]]]], np.uint8)  # red, green, blue
    assert prepared(pixels, [0.5], [0.25]).ravel().tolist() == pytest.approx([2, -2, -1.2])
    assert prepared(pixels, [100, 20, 50], [1], 255, bgr=True).ravel().tolist() == pytest.approx([-49, -20, 205])


def test_probabilities():
    logits = np.array([[0.0, np.log(3)]])
    np.testing.assert_allclose(probabilities(logits, "Softmax"), [[0.25, 0.75]])
    np.testing.assert_allclose(probabilities(logits, "Sigmoid"), [[0.5, 0.75]])
    np.testing.assert_allclose(probabilities(np.array([[0.25, 0.75]]), None), [[0.25, 0.75]])


def test_letters_are_those_of_the_best_path():
    steps = np.eye(4)[[0, 2, 2, 0, 2, 3, 3, 0]] * np.array([1, 0.6, 0.9, 1, 0.5, 0.7, 0.8, 1])[:, None]
    assert letters.decoded(steps) == [(2, 2, 0.9), (4, 2, 0.5), (6, 3, 0.8)]
    assert letters.alphabet("ab", 4) == ["", "a", "b", " "] and letters.alphabet("abc", 4, 3) == ["a", "b", "c", ""]
    with pytest.raises(ValueError, match="9 characters for 4 classes"):
        letters.alphabet("abcdefghi", 4)


def test_targets_of_maps_are_the_pixels_of_the_largest_class():
    options = argparse.Namespace(at=None, classes=None, **{"class": None})
    output = np.zeros((3, 2, 4))
    output[2, :, :3] = 1
    target, label = chosen(output, "Softmax", options)
    assert label == "class 2 (75.0% of all pixels)"
    assert target(md.Tensor(output[None])).tolist() == [1.0]


def test_from_the_command_line(files, capsys):
    assert run(files, "classes", "--method", "grad_cam", "--class", 2) == 0
    text = capsys.readouterr().out
    assert text.startswith("input: 8x16, RGB, nchw, 0 to 1, less 0.485 0.456 0.406, over 0.229 0.224 0.225; ")
    assert "explained: output, before its Softmax" in text and (files / "out" / "picture-maps.png").exists()
    assert run(files, "maps", "--mean", 0.5, "--std", 0.5, "--method", "gradient", "--at", "1,3,4") == 0
    assert run(files, "maps", "--features", "body.0/Conv") == 0 and (files / "out" / "picture-features.png").exists()


def test_a_line_of_text_lights_up(files, capsys, figures):
    (files / "characters.txt").write_text("a\nb\nc\nd")
    assert run(files, "text", "--classes", files / "characters.txt", "--blank", 4, out="text") == 0
    text = capsys.readouterr().out
    assert "read: " in text and "at step" in text and "of 8" in text
    assert Image.open(files / "text" / "picture-letters.png").size[0] > 500


@pytest.mark.parametrize(
    ("kind", "argv", "message"),
    [
        ("classes", ["--size", "4x4"], "--size 4x4: the graph takes 8 x 16"),
        ("classes", ["--size", "small"], "--size small: height and width are needed"),
        ("classes", ["--mean", "1", "2"], "1 or 3 numbers are needed"),
        ("classes", ["--std", "0"], "pixels are divided by it"),
        ("classes", ["--class", "5"], "--class 5 is out of range: the output has 5 classes"),
        ("classes", ["--filters"], "--filters is for --weights"),
        ("classes", ["--weights", "x.pth"], "give one of them"),
        ("maps", ["--at", "1,2", "--method", "gradient"], "the output of an image has the shape (2, 8, 16)"),
        ("maps", ["--at", "one"], "whole numbers are needed"),
    ],
)
def test_what_does_not_fit_is_one_line(files, capsys, kind, argv, message):
    assert run(files, kind, *argv) != 0
    text = capsys.readouterr().err
    assert message in text and text.count("\n") == 1, text


def test_options_of_graphs_need_one(capsys):
    assert frame.main(["interpret", "--bgr"]) != 0
    assert "--bgr is for --onnx FILE" in capsys.readouterr().err

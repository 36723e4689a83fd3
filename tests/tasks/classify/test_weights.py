"""Weights that others trained, in each format, and names of classes."""

import json

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')
pytest.importorskip("sklearn")

from PIL import Image

import minidl as md
from minidl import nn
from tasks.classify import MODELS, data
from tasks.models import SMALL, pretrained
from tests.tasks.classify.test_classify import run


def randomised(model, seed=0):
    """The model with statistics and biases that make its logits differ from class to class."""
    rng = np.random.default_rng(seed)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer[...] = rng.uniform(0.5, 1.5, buffer.shape)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            p.data[...] = rng.uniform(-0.5, 0.5, p.shape)
    return model.eval()


def test_undrawn_weights_are_zero_and_cost_no_random_numbers():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with nn.init.undrawn():
        models = [MODELS[name](rng=rng) for name in SMALL] + [MODELS["vgg11"](num_classes=3, rng=rng)]
        orthogonal = nn.init.orthogonal((3, 4), rng)
    assert rng.bit_generator.state == before and not orthogonal.any()
    for model in models:
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                assert not layer.weight.data.any() and (layer.bias is None or not layer.bias.data.any())
            elif isinstance(layer, nn.BatchNorm2d):
                assert (layer.weight.data == 1).all() and (layer.running_var == 1).all()
    assert nn.Linear(3, 4, rng=rng).weight.data.all() and MODELS["resnet_small"](8, 4).conv1.weight.data.any()


@pytest.mark.parametrize("name, suffix, options", [
    ("resnet18", "safetensors", {}),
    ("densenet121", "npz", {}),
    ("googlenet", "npz", {"transform_input": True}),
    ("googlenet", "safetensors", {"transform_input": True, "aux_logits": False}),
])  # fmt: skip
@pytest.mark.slow
def test_weights_from_a_file_rank_a_photograph_as_the_network_they_came_from(name, suffix, options, tmp_path, capsys):
    model = randomised(MODELS[name](7, rng=1, **options))
    path = tmp_path / f"net.{suffix}"
    md.save_weights(path, model.state_dict())
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    names = ["ant", "bee", "cow", "dog", "eel", "fox", "gnu"]
    (tmp_path / "names.json").write_text(json.dumps({str(i): [f"n{i}", n] for i, n in enumerate(names)}))
    argv = ["--model", name, "--weights", path, "--image", tmp_path / "a.png", "--quiet"]
    assert run(*argv, "--classes", tmp_path / "names.json") == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == str(tmp_path / "a.png") and len(lines) == 5

    x = data.like_imagenet(data.pictures([tmp_path / "a.png"], 3, 256, 224))
    logits = model(md.Tensor(x)).data[0].astype(float)
    wanted = np.exp(logits) / np.exp(logits).sum()
    assert wanted.max() > 1.3 * wanted.min()
    for line, c in zip(lines, np.argsort(-wanted)):
        p, number, name = line.split()
        assert (int(number), name) == (c, names[c])
        assert float(p.rstrip("%")) == pytest.approx(100 * wanted[c], abs=0.011)


def test_a_photograph_is_listed_without_names_too(tmp_path, capsys):
    ranking = pretrained.ranking("x.jpg", np.array([0.1, 0.7, 0.2]), None, 2)
    assert [line.split() for line in ranking.splitlines()] == [["x.jpg"], ["70.00%", "1"], ["20.00%", "2"]]


def test_weights_of_another_network_are_named_in_one_line(tmp_path):
    md.save_weights(tmp_path / "a.safetensors", MODELS["resnet18"](5).state_dict())
    with pytest.raises(ValueError, match=r"holds the weights of resnet18, not of resnet34: use --model resnet18$"):
        pretrained.load("resnet34", tmp_path / "a.safetensors")


def test_weights_with_something_before_their_names_are_found(tmp_path):
    with nn.init.undrawn():
        state = MODELS["alexnet_small"](num_classes=5).state_dict()
    path = tmp_path / "a.npz"
    for names, options in (("module.{}", {"key": "module"}), ("model.module.{}", {"key": "model", "strip": "module"})):
        md.save_weights(path, {names.format(name): array for name, array in state.items()} | {"other.epoch": 3})
        for given in ({}, options):
            assert pretrained.dimensions_of(pretrained.load("alexnet_small", path, **given))["num_classes"] == 5


def test_weights_that_are_there_twice_say_what_to_add(tmp_path):
    with nn.init.undrawn():
        state = MODELS["alexnet_small"](num_classes=5).state_dict()
    path = tmp_path / "a.npz"
    md.save_weights(path, {f"{part}.{name}": array for part in ("ema", "net") for name, array in state.items()})
    with pytest.raises(ValueError, match=r"'ema': add --weights-key ema and under 'net': add --weights-key net$") as e:
        pretrained.load("alexnet_small", path)
    assert "\n" not in str(e.value)
    assert pretrained.load("alexnet_small", path, "ema")


@pytest.mark.slow
def test_weights_of_no_known_network_are_shown_as_a_table(tmp_path):
    with nn.init.undrawn():
        state = MODELS["resnet18"](5).state_dict()
    state["layer9.weight"] = state.pop("layer1.0.bn1.weight")
    md.save_weights(tmp_path / "a.npz", state)
    with pytest.raises(ValueError) as caught:
        pretrained.load("resnet18", tmp_path / "a.npz")
    text = str(caught.value)
    assert "missing" in text and "layer1.0.bn1.weight" in text and "unexpected" in text and "layer9.weight" in text


@pytest.mark.parametrize("content, message", [
    ("tench\n", "has 1 names, the network 3 classes"),
    ('{"0": ["n1", "tench"]}', "has 1 names, the network 3 classes"),
    ('{"1": ["n1", "tench"]}', "not a list of class names (KeyError '0')"),
    ('["a", "b", 7]', "not a list of class names (TypeError"),
    ("{nonsense", "not a list of class names"),
])  # fmt: skip
def test_a_wrong_list_of_classes_is_one_line(content, message, tmp_path):
    (tmp_path / "names").write_text(content)
    with pytest.raises(ValueError) as caught:
        pretrained.class_names(tmp_path / "names", 3)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_names_of_classes_in_each_format(tmp_path):
    names = ["great white shark", "cock", "hen"]
    contents = ["\n".join(names), json.dumps(names), json.dumps({str(i): ["n", n] for i, n in enumerate(names)})]
    for content in contents:
        (tmp_path / "names").write_text(content)
        assert pretrained.class_names(tmp_path / "names", 3) == names

"""Networks for segmentation that others trained, by their files."""

import numpy as np
import pytest

pytest.importorskip("skimage", reason='the tasks need pip install -e ".[tasks]"')

from PIL import Image

import minidl as md
import tasks.__main__ as frame
from minidl import nn
from tasks.models.milesial import MilesialUNet
from tasks.models.segmentation import SEGMENTERS
from tasks.segment import others

PARAMETERS = {  # with 21 classes and, but for LR-ASPP, the auxiliary head: torchvision's documentation
    "fcn_resnet50": 35_322_218,
    "fcn_resnet101": 54_314_346,
    "deeplabv3_resnet50": 42_004_074,
    "deeplabv3_resnet101": 60_996_202,
    "deeplabv3_mobilenet_v3_large": 11_029_328,
    "lraspp_mobilenet_v3_large": 3_221_538,
}


def run(*argv):
    return frame.main(["segment", *map(str, argv), "--quiet"])


@pytest.mark.parametrize("name", SEGMENTERS)
def test_parameters_are_the_published_ones(name):
    with nn.init.undrawn():
        model = SEGMENTERS[name](**({} if name.startswith("lraspp") else {"aux_loss": True}))
    assert sum(p.size for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("options, millions", [({}, 31.04), ({"bilinear": True}, 17.26)])
def test_milesials_unet_has_the_known_number_of_parameters(options, millions):
    with nn.init.undrawn():
        model = MilesialUNet(**options)
    assert round(sum(p.size for p in model.parameters()) / 1e6, 2) == millions


def test_the_command_segments_with_weights_of_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(others, "SHORT", 40)
    model = SEGMENTERS["lraspp_mobilenet_v3_large"](rng=0)
    md.save_weights(tmp_path / "net.npz", {f"model.{name}": array for name, array in model.state_dict().items()})
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    argv = ["--weights", tmp_path / "net.npz", "--image", tmp_path / "a.png", "--out", tmp_path]
    assert run(*argv, "--weights-key", "model") == 0
    printed = capsys.readouterr().out
    assert "the weights of lraspp_mobilenet_v3_large" in printed and "% of the pixels" in printed
    mask = np.asarray(Image.open(tmp_path / "a-mask.png"))
    image = np.asarray(Image.open(tmp_path / "a.png")).transpose(2, 0, 1) / 255
    wanted = others.probabilities("lraspp_mobilenet_v3_large", model.eval(), image)
    assert mask.shape == (30, 50) and np.array_equal(mask, wanted.argmax(axis=0))
    assert run(*argv[:2], "--out", tmp_path) == 2 and "--weights is for --image FILE" in capsys.readouterr().err


def test_a_file_of_another_network_is_said_in_one_line(tmp_path):
    md.save_weights(tmp_path / "a.npz", {"classifier.4.weight": np.ones((3, 2, 1, 1)), "x.weight": np.ones(2)})
    with pytest.raises(ValueError, match="holds the weights of none of unet, fcn_resnet50") as caught:
        others.load(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)

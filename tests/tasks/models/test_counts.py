"""The numbers of parameters: torchvision's networks from its documentation, others from papers and their owners."""

import re
from pathlib import Path

import numpy as np
import pytest

from minidl import nn
from tasks.models import MODELS, SMALL, pretrained
from tests.tasks.models.test_models import PUBLISHED

PARAMETERS = {  # of those that test_models.py does not count
    "convnext_base": 88_591_464,
    "convnext_large": 197_767_336,
    "convnext_small": 50_223_688,
    "convnext_tiny": 28_589_128,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnet_v2_l": 118_515_272,
    "efficientnet_v2_m": 54_139_356,
    "efficientnet_v2_s": 21_458_488,
    "inception_resnet_v2": 55_843_464,
    "inception_v2": 11_194_984,
    "inception_v3": 27_161_264,
    "mnasnet0_5": 2_218_512,
    "mnasnet0_75": 3_170_208,
    "mnasnet1_0": 4_383_312,
    "mnasnet1_3": 6_282_256,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "regnet_x_1_6gf": 9_190_136,
    "regnet_x_3_2gf": 15_296_552,
    "regnet_x_8gf": 39_572_648,
    "regnet_x_16gf": 54_278_536,
    "regnet_x_32gf": 107_811_560,
    "regnet_x_400mf": 5_495_976,
    "regnet_x_800mf": 7_259_656,
    "regnet_y_1_6gf": 11_202_430,
    "regnet_y_3_2gf": 19_436_338,
    "regnet_y_8gf": 39_381_472,
    "regnet_y_16gf": 83_590_140,
    "regnet_y_32gf": 145_046_770,
    "regnet_y_128gf": 644_812_894,
    "regnet_y_400mf": 4_344_144,
    "regnet_y_800mf": 6_432_512,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "shufflenet_v2_x0_5": 1_366_792,
    "shufflenet_v2_x1_0": 2_278_604,
    "shufflenet_v2_x1_5": 3_503_624,
    "shufflenet_v2_x2_0": 7_393_996,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "vit_b_16": 86_567_656,
    "vit_b_32": 88_224_232,
    "vit_l_16": 304_326_632,
    "vit_l_32": 306_535_400,
    "vit_h_14": 632_045_800,
    "swin_t": 28_288_354,
    "swin_s": 49_606_258,
    "swin_b": 87_768_224,
    "swin_v2_t": 28_351_570,
    "swin_v2_s": 49_737_442,
    "swin_v2_b": 87_930_848,
    "maxvit_t": 30_919_624,
}


@pytest.fixture
def shapes_only(monkeypatch):
    """Weights of which nothing but the shape is there."""
    for name in ("uniform", "normal", "zeros", "constant"):
        monkeypatch.setattr(nn.init, name, lambda shape, *args, **options: np.broadcast_to(np.float32(0), shape))
    monkeypatch.setattr(nn.conv, "laid_out", lambda x: x)
    with nn.init.undrawn():
        yield


@pytest.mark.usefixtures("shapes_only")
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_torchvisions_or_their_owners(name):
    parameters = dict(MODELS[name]().named_parameters())
    assert sum(p.size for p in parameters.values()) == PARAMETERS[name]
    assert pretrained.ends(name) == (next(iter(parameters)), next(reversed(parameters)))


@pytest.mark.usefixtures("shapes_only")
@pytest.mark.parametrize(("name", "options", "published", "counted"), [
    ("mobilenet_v1", {}, 3_191_072, lambda bn: 5_984 - 2 * bn),  # a bias for each map, none behind depthwise layers
    ("inception_v2", {}, 10_173_112, lambda bn: bn - 128 + 2_712 - 9_408),  # the first kernel taken apart, with a bias
    ("inception_v3", {"aux_logits": False}, 21_802_784, lambda bn: bn),
    ("inception_resnet_v2", {}, 54_336_736, lambda bn: bn),
    ("resnet101", {}, 42_605_504, lambda bn: 2 * bn),
])  # fmt: skip
def test_without_the_last_layer_parameters_are_those_of_table_2(name, options, published, counted):
    """Huang et al. 2017. Their batch norm has a bias and two statistics for each map, in ResNet-101 a weight, too; ours
    a weight and a bias."""
    model = MODELS[name](**options)
    maps = sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    *_, last = (m for m in model.modules() if isinstance(m, nn.Linear))
    ours = sum(p.size for p in model.parameters()) - last.weight.size - last.bias.size
    assert ours + counted(maps) == published


@pytest.mark.usefixtures("shapes_only")
@pytest.mark.parametrize(("name", "width", "parameters"), [
    ("mobilenet_v1", 0.75, 2_585_560), ("mobilenet_v1", 0.5, 1_331_592), ("mobilenet_v1", 0.25, 470_072),
    ("mobilenet_v2", 1.4, 6_108_776), ("mobilenet_v2", 0.5, 1_968_680),
])  # fmt: skip
def test_narrower_and_wider_ones_are_those_of_keras_and_timm(name, width, parameters):
    assert sum(p.size for p in MODELS[name](width_mult=width).parameters()) == parameters


def test_every_network_is_counted():
    assert set(MODELS) == {*PUBLISHED, *PARAMETERS, *SMALL}


def test_the_page_has_every_network_and_its_parameters():
    text = (Path(__file__).parents[3] / "docs/networks.md").read_text(encoding="utf-8")
    shown = {name: int(count.replace(",", "")) for name, count in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", text, re.M)}
    known = {**PARAMETERS, **{name: count for name, (count, _) in PUBLISHED.items()}}
    known["vit_h_14"] += (37**2 - 16**2) * 1280  # there of 518x518, as its first weights: more positions
    assert shown == known


def test_networks_of_a_table_are_imported_by_name():
    from tasks.models import efficientnet_b0, resnet18

    assert efficientnet_b0 is MODELS["efficientnet_b0"] and resnet18 is MODELS["resnet18"]
    with pytest.raises(ImportError, match="efficientnet_b8"):
        from tasks.models import efficientnet_b8  # noqa: F401

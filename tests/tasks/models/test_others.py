"""Networks that torchvision has not: sizes from the papers, names of layers and colours of those whose weights load.

With random weights of timm 1.0.31 (mobilenetv1_100, inception_resnet_v2) and of pretrainedmodels 0.7.4 (bninception,
inceptionresnetv2) their outputs equal their owners' to 1e-6.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tasks.models import MODELS, pretrained
from tasks.models.googlenet import MEAN, STD
from tasks.models.inception_v2 import FIGURE_5, caffes_colours

NAMES = {  # some of each owner's, and their shapes
    "mobilenet_v1": {
        "conv_stem.weight": (32, 3, 3, 3), "bn1.running_mean": (32,), "blocks.0.0.conv_dw.weight": (32, 1, 3, 3),
        "blocks.3.5.conv_pw.weight": (512, 512, 1, 1), "blocks.4.1.bn2.bias": (1024,),
        "classifier.weight": (1000, 1024),
    },
    "inception_v2": {
        "conv1_7x7_s2.weight": (64, 3, 7, 7), "conv1_7x7_s2.bias": (64,), "conv2_3x3_reduce_bn.running_var": (64,),
        "inception_3c_double_3x3_2.weight": (96, 96, 3, 3), "inception_4d_pool_proj.weight": (128, 608, 1, 1),
        "inception_5b_1x1_bn.weight": (352,), "last_linear.weight": (1000, 1024),
    },
    "inception_resnet_v2": {
        "conv2d_1a.conv.weight": (32, 3, 3, 3), "mixed_5b.branch3.1.conv.weight": (64, 192, 1, 1),
        "repeat.9.branch2.1.bn.running_mean": (48,), "mixed_6a.branch0.conv.weight": (384, 320, 3, 3),
        "repeat_1.19.conv2d.bias": (1088,), "mixed_7a.branch2.2.conv.weight": (320, 288, 3, 3),
        "repeat_2.8.branch1.1.conv.weight": (224, 192, 1, 3), "block8.conv2d.weight": (2080, 448, 1, 1),
        "conv2d_7b.bn.bias": (1536,), "last_linear.bias": (1000,),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_layers_have_their_owners_names(name):
    with nn.init.undrawn():
        state = MODELS[name](**({"caffe": True} if name == "inception_v2" else {})).state_dict()
    assert {key: state[key].shape for key in NAMES[name]} == NAMES[name]


def test_what_weights_of_others_need_is_known():
    assert pretrained.options("inception_v2", {"conv1_7x7_s2.bias": 0}) == {"caffe": True, "transform_input": True}
    assert pretrained.options("inception_v2", {}) == {"caffe": False, "transform_input": True}
    assert pretrained.options("inception_resnet_v2", {}) == {"transform_input": True}
    assert list(pretrained.older_names({"classif.weight": 0, "classifier.weight": 1})) == [
        "last_linear.weight", "classifier.weight",
    ]  # fmt: skip
    assert pretrained.preparation("inception_resnet_v2") == {"short": 333, "side": 299, "bicubic": False}


def test_caffes_colours_are_blue_green_and_red_from_0_to_255():
    colours = np.random.default_rng(0).random((1, 3, 4, 4))
    seen = caffes_colours(md.Tensor((colours - MEAN.reshape(3, 1, 1)) / STD.reshape(3, 1, 1)))
    np.testing.assert_allclose(seen.data, 255 * colours[:, ::-1] - np.array([104, 117, 128]).reshape(3, 1, 1))
    with pytest.raises(ValueError, match="red, green and blue, got in_channels=1"):
        MODELS["inception_v2"](in_channels=1, transform_input=True)


def test_modules_have_the_sizes_of_the_papers():
    net = MODELS["inception_v2"](4, width_mult=0.125, rng=0).eval()
    found = dict(net.outputs(md.Tensor(np.zeros((1, 3, 224, 224), np.float32))))
    assert [found[name].shape[2] for name in FIGURE_5] == [28, 28, 14, 14, 14, 14, 14, 7, 7, 7]
    assert net.widths == {name: y.shape[1] for name, y in found.items()}
    assert net(md.Tensor(np.zeros((1, 3, 75, 83), np.float32))).shape == (1, 4)  # odd on the way
    with nn.init.undrawn():
        full = MODELS["inception_v2"]()
    assert list(full.widths.values()) == [192, 256, 320, 576, 576, 576, 576, 576, 1024, 1024, 1024]


@pytest.mark.parametrize(("same", "side", "sizes"), [(False, 299, [35, 17, 8]), (True, 96, [12, 6, 3])])
def test_inception_resnets_stages_have_the_sizes_of_figure_15(same, side, sizes):
    net = MODELS["inception_resnet_v2"](4, width_mult=0.125, counts=(1, 1, 1), same=same, rng=0).eval()
    x, found = md.Tensor(np.zeros((1, 3, side, side), np.float32)), []
    for name, layer in net.named_children():
        x = layer(x)
        if name.startswith("repeat"):
            found.append(x.shape[2])
    assert found == sizes and x.shape == (1, 4)
    with nn.init.undrawn():
        full = MODELS["inception_resnet_v2"](counts=(1, 1, 1))
    assert [full.mixed_5b.out_channels, full.mixed_6a.out_channels, full.mixed_7a.out_channels] == [320, 1088, 2080]

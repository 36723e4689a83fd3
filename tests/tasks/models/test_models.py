"""The classification networks: published numbers, shapes from the papers' tables, first weights, one step of learning.

That loaded weights give torch's logits is shown in tests/reference.
"""

import subprocess
import sys

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from tasks.models import MODELS, SMALL, pretrained
from tasks.models.resnet import Bottleneck, ParameterFreeBlock, PlainBlock


@pytest.fixture
def undrawn(monkeypatch):
    """Weights of zero, where it is shapes that count."""
    for name in ("uniform", "normal"):
        monkeypatch.setattr(nn.init, name, lambda shape, rng, *args, **options: np.zeros(tuple(shape), np.float32))


def images(*shape, seed=0):
    return md.Tensor(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


# --- published numbers

PUBLISHED = {  # parameters and billions of MACs at 224x224, as torchvision's documentation has them
    "alexnet": (61_100_840, 0.71),
    "vgg11": (132_863_336, 7.61),
    "vgg11_bn": (132_868_840, 7.61),
    "vgg13": (133_047_848, 11.31),
    "vgg13_bn": (133_053_736, 11.31),
    "vgg16": (138_357_544, 15.47),
    "vgg16_bn": (138_365_992, 15.47),
    "vgg19": (143_667_240, 19.63),
    "vgg19_bn": (143_678_248, 19.63),
    "googlenet": (13_004_888, 1.50),
    "resnet18": (11_689_512, 1.81),
    "resnet34": (21_797_672, 3.66),
    "resnet50": (25_557_032, 4.09),
    "resnet101": (44_549_160, 7.80),
    "resnet152": (60_192_808, 11.51),
    "densenet121": (7_978_856, 2.83),
    "densenet161": (28_681_000, 7.73),
    "densenet169": (14_149_480, 3.36),
    "densenet201": (20_013_928, 4.29),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_operations_are_the_published_ones(name, undrawn):
    model = MODELS[name]()
    parameters = [path for path, _ in model.named_parameters()]
    assert pretrained.ends(name) == (parameters[0], parameters[-1])
    s = md.summary(model, (1, 3, 224, 224))
    assert (s.parameters, round(s.macs / 1e9, 2)) == PUBLISHED[name]
    assert s.rows[-1].output_shape == (1, 1000)


@pytest.mark.parametrize("name, options, parameters", [
    ("alexnet", {"two_groups": True}, 60_965_224),
    ("googlenet", {"aux_logits": False}, 6_624_904),
    ("googlenet", {"faithful": True}, 13_378_280),
    ("googlenet", {"faithful": True, "aux_logits": False}, 6_998_552),
    ("resnet50", {"version": "v1"}, 25_557_032),
])  # fmt: skip
def test_parameters_of_other_forms(name, options, parameters, undrawn):
    assert sum(p.size for p in MODELS[name](**options).parameters()) == parameters


@pytest.mark.parametrize("depth, billions", [(50, 3.8), (101, 7.6), (152, 11.3)])
def test_operations_of_the_papers_resnets_are_those_of_its_table_1(depth, billions, undrawn):
    macs = md.summary(MODELS[f"resnet{depth}"](version="v1"), (1, 3, 224, 224)).macs
    assert abs(macs / 1e9 - billions) < 0.06


@pytest.mark.parametrize("depth, millions", [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_small_resnets_are_those_of_table_6(depth, millions, undrawn):
    net = MODELS["resnet_small"](depth)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth
    assert abs(sum(p.size for p in net.parameters()) / 1e6 - millions) < (0.006 if millions < 1 else 0.06)


@pytest.mark.parametrize("depth, growth, millions", [(40, 12, 1.0), (100, 12, 7.0), (100, 24, 27.2)])
def test_small_densenets_are_those_of_table_2(depth, growth, millions, undrawn):
    net = MODELS["densenet_small"](depth, growth)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == depth
    assert abs(sum(p.size for p in net.parameters()) / 1e6 - millions) < 0.06


# --- the papers' tables


def outputs(net, shape):
    """The output shape of every module that is called, the batch left out, by name."""
    names, shapes = {module: name for name, module in net.named_modules()}, {}
    with nn.watch(lambda module, inputs, output: shapes.update({names[module]: output.shape[1:]})), md.no_grad():
        net.eval()(md.Tensor(np.zeros(shape, np.float32)))
    return shapes


@pytest.mark.parametrize("size, first", [(224, 55), (227, 56)])
def test_alexnet_of_the_paper_has_its_figure_2(size, first, undrawn):
    net = MODELS["alexnet"](two_groups=True)
    shapes = outputs(net, (1, 3, size, size))
    convolutions = [(m, shapes[name]) for name, m in net.named_modules() if isinstance(m, nn.Conv2d)]
    assert [shape for _, shape in convolutions] == [
        (96, first, first), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13),
    ]  # fmt: skip
    assert [conv.groups for conv, _ in convolutions] == [1, 2, 1, 2, 2]
    assert [conv.weight.shape[1:] for conv, _ in convolutions] == [
        (3, 11, 11), (48, 5, 5), (256, 3, 3), (192, 3, 3), (192, 3, 3),
    ]  # fmt: skip
    kinds = [type(m).__name__ for m in net.features]
    assert kinds[:8] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"] * 2
    assert kinds[8:] == ["Conv2d", "ReLU"] * 3 + ["MaxPool2d"]
    assert shapes["features"] == (256, 6, 6)


def test_response_normalisation_is_that_of_the_paper(undrawn):
    """Section 3.3: ``b = a / (k + alpha * sum of a^2 over n maps)^beta``, k = 2, n = 5, alpha = 1e-4, beta = 0.75."""
    layer = MODELS["alexnet"](two_groups=True).features[2]
    a = 100 * np.random.default_rng(0).standard_normal((1, 9, 1, 1))
    near = [sum(a[0, j, 0, 0] ** 2 for j in range(max(0, i - 2), min(9, i + 3))) for i in range(9)]
    np.testing.assert_allclose(layer(md.Tensor(a)).data.ravel(), a.ravel() / (2 + 1e-4 * np.array(near)) ** 0.75)


@pytest.mark.parametrize("faithful", [False, True])
def test_googlenet_has_the_output_sizes_of_table_1(faithful, undrawn):
    net = MODELS["googlenet"](faithful=faithful)
    shapes = outputs(net, (1, 3, 224, 224))
    table = {
        "conv1": (64, 112, 112), "maxpool1": (64, 56, 56), "conv3": (192, 56, 56), "maxpool2": (192, 28, 28),
        "inception3a": (256, 28, 28), "inception3b": (480, 28, 28), "maxpool3": (480, 14, 14),
        "inception4a": (512, 14, 14), "inception4b": (512, 14, 14), "inception4c": (512, 14, 14),
        "inception4d": (528, 14, 14), "inception4e": (832, 14, 14), "maxpool4": (832, 7, 7),
        "inception5a": (832, 7, 7), "inception5b": (1024, 7, 7), "avgpool": (1024, 1, 1), "fc": (1000,),
    }  # fmt: skip
    assert {name: shapes[name] for name in table} == table
    kernels = {net.inception3a.branch3[1].conv.kernel_size, net.inception5b.branch3[1].conv.kernel_size}
    assert kernels == {(5, 5) if faithful else (3, 3)}
    kinds = {type(m).__name__ for m in net.modules()}
    assert ("BatchNorm2d" in kinds, "LocalResponseNorm" in kinds) == (not faithful, faithful)
    assert (net.conv1.conv.bias is None) == (not faithful) and net.dropout.p == (0.4 if faithful else 0.2)


@pytest.mark.parametrize("faithful", [False, True])
def test_googlenet_in_training_gives_three_logits(faithful):
    net = MODELS["googlenet"](7, faithful=faithful, rng=0)
    size = 224 if faithful else 64
    logits, second, first = out = net(images(2, 3, size, size))
    assert [t.shape for t in out] == [(2, 7)] * 3
    assert (out.logits, out.aux_logits2, out.aux_logits1) == (logits, second, first)
    first.sum().backward()
    reached = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert "aux1" in reached and "inception4a" in reached and not reached & {"aux2", "inception4b", "fc"}
    assert net.eval()(images(2, 3, size, size)).shape == (2, 7)


def test_googlenet_without_heads_gives_logits_in_training():
    net = MODELS["googlenet"](7, 1, aux_logits=False, rng=0)
    assert net(images(2, 1, 32, 32)).shape == (2, 7)
    with pytest.raises(ValueError, match="red, green and blue, got in_channels=1"):
        MODELS["googlenet"](7, 1, transform_input=True)


@pytest.mark.parametrize("version, strides", [("v1", [2, 1]), ("v1.5", [1, 2])])
def test_where_a_bottleneck_has_its_stride(version, strides, undrawn):
    net = MODELS["resnet50"](version=version)
    for stage in (net.layer2, net.layer3, net.layer4):
        assert [stage[0].conv1.stride[0], stage[0].conv2.stride[0]] == strides
    blocks = [m for m in net.modules() if isinstance(m, Bottleneck)]
    assert sum(b.conv1.stride[0] * b.conv2.stride[0] == 2 for b in blocks) == 3 and len(blocks) == 16


@pytest.mark.parametrize("call, message", [
    (lambda: MODELS["resnet50"](version="v2"), "'v2' is unknown: one of v1, v1.5"),
    (lambda: MODELS["resnet_small"](depth=21), "6n \\+ 2 layers, n from 1, got depth=21; the nearest is 20"),
    (lambda: MODELS["resnet_small"](depth=2), "nearest is 8"),
    (lambda: MODELS["densenet_small"](depth=41), "3n \\+ 4 layers, n from 1, got depth=41; the nearest is 40"),
])  # fmt: skip
def test_what_there_is_not_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


NAMES = {  # of torchvision's files
    "alexnet": ["features.0.weight", "features.10.bias", "classifier.1.weight", "classifier.6.bias"],
    "vgg16": ["features.0.weight", "features.28.bias", "classifier.0.weight", "classifier.6.weight"],
    "vgg11_bn": ["features.1.running_mean", "features.25.weight"],
    "googlenet": ["conv1.conv.weight", "conv1.bn.weight", "inception3a.branch1.conv.weight",
                  "inception3a.branch2.0.conv.weight", "inception5b.branch4.1.bn.running_var", "aux1.conv.conv.weight",
                  "aux1.fc1.weight", "aux2.fc2.bias", "fc.weight"],
    "resnet18": ["conv1.weight", "bn1.num_batches_tracked", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight",
                 "layer4.1.bn2.bias", "fc.bias"],
    "resnet50": ["layer1.0.downsample.0.weight", "layer1.0.downsample.1.running_var", "layer3.5.conv3.weight"],
    "densenet121": ["features.conv0.weight", "features.norm0.weight", "features.denseblock1.denselayer1.norm1.weight",
                    "features.denseblock4.denselayer16.conv2.weight", "features.transition3.conv.weight",
                    "features.norm5.bias", "classifier.weight"],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_are_torchvisions(name, undrawn):
    state = MODELS[name](10).state_dict()
    assert [n for n in NAMES[name] if n in state] == NAMES[name]


def test_old_names_of_densenets_layers_are_understood():
    net, other = (MODELS["densenet_small"](10, 2, rng=seed) for seed in (0, 1))
    state = other.state_dict()
    old = {name.replace("norm1", "norm.1").replace("conv1", "conv.1"): array for name, array in state.items()}
    assert "features.denseblock3.denselayer2.conv.1.weight" in old
    net.load_state_dict(old)
    assert all(np.array_equal(array, state[name]) for name, array in net.state_dict().items())
    with pytest.raises(ValueError, match="unexpected  extra"):
        net.load_state_dict({**old, "extra": np.zeros(1)})


# --- first weights


@pytest.mark.parametrize("name", [*SMALL, "resnet18", "densenet121", "googlenet"])
def test_a_seed_decides_the_weights_and_leaves_the_default_generator_alone(name):
    nn.init.manual_seed(5)
    first, again, other = (MODELS[name](num_classes=4, rng=seed).state_dict() for seed in (1, 1, 2))
    assert nn.init.generator().random() == np.random.default_rng(5).random()
    assert all(np.array_equal(first[n], again[n]) for n in first)
    differ = [n for n, array in first.items() if array.ndim > 1]
    assert len(differ) > 5 and not any(np.array_equal(first[n], other[n]) for n in differ)
    weights = {first[n].tobytes() for n in differ}
    assert len(weights) == len(differ), "two layers start equal"


def test_resnet_and_densenet_start_from_hes_initialisation():
    resnet, densenet = MODELS["resnet18"](rng=0), MODELS["densenet121"](rng=0)
    for weight, fan in ((resnet.layer4[1].conv1.weight, 512 * 9), (resnet.conv1.weight, 64 * 49),
                        (densenet.features.conv0.weight, 3 * 49), (densenet.features.transition3.conv.weight, 1024)):
        deviation = (2 / fan) ** 0.5  # fan-out of ResNet's, fan-in of DenseNet's
        assert abs(weight.data.std() / deviation - 1) < 5 / (2 * weight.size) ** 0.5  # five standard errors
    assert not densenet.classifier.bias.data.any()


def test_vgg_starts_as_torchvisions():
    net = MODELS["vgg_small"](rng=0)
    assert abs(net.features[3].weight.data.std() / (2 / (32 * 9)) ** 0.5 - 1) < 5 / (2 * 32 * 32 * 9) ** 0.5
    assert abs(net.classifier[0].weight.data.std() / 0.01 - 1) < 5 / (2 * 128 * 128) ** 0.5
    assert not any(p.data.any() for name, p in net.named_parameters() if name.endswith("0.bias"))


def test_alexnet_of_the_paper_starts_with_biases_of_one_where_it_says(undrawn):
    layers = [m for m in MODELS["alexnet"](two_groups=True).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [set(layer.bias.data) for layer in layers] == [{0}, {1}, {0}, {1}, {1}, {1}, {1}, {0}]


# --- small networks


@pytest.mark.parametrize("size", [8, 32, 64])
@pytest.mark.parametrize("name", SMALL)
def test_a_small_step_down_the_gradient_gains_what_the_gradient_says(name, size):
    depth = {"densenet_small": {"depth": 13}, "resnet_small": {"depth": 14}}.get(name, {})
    net = MODELS[name](num_classes=5, in_channels=2, rng=0, **depth).to("float64")
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    x, labels = images(2, 2, size, size).astype("float64"), np.array([0, 3])
    before = F.cross_entropy(net(x), labels)
    before.backward()
    squares = 0.0
    for p in net.parameters():
        squares += float((p.grad.data**2).sum())
    step = 1e-7 / squares  # the loss should fall by 1e-7
    md.optim.SGD(net.parameters(), lr=step).step()
    gain = before.item() - F.cross_entropy(net(x), labels).item()
    assert abs(gain / 1e-7 - 1) < 0.02
    assert net.eval()(images(3, 2, size, size).astype("float64")).shape == (3, 5)


@pytest.mark.parametrize("stride, width", [(1, 3), (2, 5)])
def test_a_block_that_has_learnt_nothing_passes_its_input_on(stride, width):
    """Option A: every stride-th pixel, then maps of zero. The plain block passes nothing on."""
    x = np.random.default_rng(0).random((2, 3, 6, 6), dtype=np.float32)
    for kind in (ParameterFreeBlock, PlainBlock):
        block = kind(3, width, stride, rng=0).eval()
        block.bn2.weight.data[...] = 0
        y = block(md.Tensor(x)).data
        wanted = np.zeros((2, width, 6 // stride, 6 // stride), np.float32)
        if kind is ParameterFreeBlock:
            wanted[:, :3] = x[:, :, ::stride, ::stride]
        np.testing.assert_array_equal(y, wanted)


def test_the_plain_net_differs_by_its_shortcuts_alone():
    plain, residual = (MODELS["resnet_small"](14, 4, rng=0, shortcut=s) for s in (False, True))
    states = plain.state_dict(), residual.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    x = images(2, 3, 16, 16)
    assert not np.allclose(plain(x).data, residual(x).data)


def test_importing_the_task_loads_nothing_but_the_engine():
    code = (
        "import sys; from minidl import data, nn, optim, train; before = set(sys.modules); "
        "import tasks.classify; print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tasks.models" in loaded
    assert {name.partition(".")[0] for name in loaded} <= {"tasks", "minidl"}

"""The rules by which names and axes of MatConvNet, Darknet and Keras become PyTorch's: layers compute the same."""

import json

import numpy as np
import pytest
from scipy.signal import correlate

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.files.weights import darknet as darknet_file
from minidl.files.weights import examine, keras
from minidl.files.weights.keras_graph import Graph, snake
from tests.support.weight_files import cell, darknet, hdf5, matlab

RNG = np.random.default_rng(0)


def drawn(*shape):
    return RNG.normal(size=shape).astype("f4")


# --- MATLAB

VALUES = [np.arange(6, dtype=d).reshape(1, 2, 3) for d in ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")]
VALUES += [np.array([[True, False]]), np.array([[2**62, -5]]), drawn(2, 3) + 1j * drawn(2, 3), np.zeros((0, 3))]
VALUES += [np.array([[2.5]])]


@pytest.mark.parametrize("compressed", [False, True])
def test_every_class_of_numbers_is_read(tmp_path, compressed):
    """What scipy wrote; scipy itself gives them in the dtype in which they lie, or without imaginary parts."""
    tree = {"cells": cell(*VALUES), "s": {"name_that_is_long": VALUES[-1], "text": "abc", "in": {"a": VALUES[0]}},
            "structs": np.array([(1.0, "x"), (2.0, "y")], [("n", object), ("t", object)])}  # fmt: skip
    (tmp_path / "w.mat").write_bytes(matlab(tree, compressed))
    loaded = md.load_weights(tmp_path / "w.mat")
    wanted = {f"cells.{i}": value for i, value in enumerate(VALUES)}
    wanted |= {"s.name_that_is_long": VALUES[-1], "s.in.a": VALUES[0]}
    wanted |= {"structs.0.n": np.array([[1.0]]), "structs.1.n": np.array([[2.0]])}
    assert set(loaded) == set(wanted)
    for name, value in wanted.items():
        assert np.array_equal(loaded[name], value) and loaded[name].dtype == value.dtype, name
        assert loaded[name].shape == value.shape
    assert ("s.text", "'abc'") in examine(tmp_path / "w.mat").others


# --- MatConvNet


def correlated(x, kernel, bias):
    """vl_nnconv: x (rows, columns, inputs), kernel (rows, columns, inputs, outputs)."""
    maps = [sum(correlate(x[..., c], kernel[..., c, f], "valid") for c in range(x.shape[2])) for f in range(len(bias))]
    return np.stack(maps, axis=2) + bias


def test_the_axis_that_matlab_drops_of_one_filter_is_put_back(tmp_path):
    """A DnCNN in small: layers without names are numbers, as in a Sequential; the last kernel is (3, 3, 4) for 1."""
    first, last = drawn(3, 3, 1, 4), drawn(3, 3, 4, 1)
    biases = drawn(4), drawn(1)
    layers = cell({"type": "conv", "weights": cell(first, biases[0])}, {"type": "relu"},
                  {"type": "conv", "weights": cell(last[..., 0], biases[1])}, {"type": "loss"})  # fmt: skip
    (tmp_path / "w.mat").write_bytes(matlab({"net": {"layers": layers}, "sigma": 25.0}))
    state = md.load_weights(tmp_path / "w.mat")
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias", "sigma"]
    net = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.Conv2d(4, 1, 3, rng=0))
    net.load_state_dict({name: a for name, a in state.items() if name != "sigma"})
    x = drawn(7, 8, 1)
    theirs = correlated(np.maximum(correlated(x, first, biases[0]), 0), last, biases[1])
    np.testing.assert_allclose(net(md.tensor(x.transpose(2, 0, 1)[None])).data[0, 0], theirs[..., 0], atol=1e-4)


@pytest.mark.parametrize("epsilon", [None, 1e-5, 1e-3])
@pytest.mark.parametrize("dag", [False, True])
def test_a_norm_of_matconvnet_computes_the_same_whatever_its_epsilon(tmp_path, epsilon, dag):
    """Its moments are mean and sqrt(variance + epsilon); a variance of 0 among them."""
    gamma, beta, mean = drawn(3), drawn(3), drawn(3)
    deviation = np.sqrt(np.array([0.0, 0.5, 2.0]) + (epsilon or 1e-5)).astype("f4")
    values = [gamma, beta, np.stack([mean, deviation], axis=1)]
    own = {} if epsilon is None else {"epsilon": epsilon}
    if dag:
        params = np.array([(f"p{i}", v) for i, v in enumerate(values)], [("name", object), ("value", object)])
        one = {"name": "n", "type": "dagnn.BatchNorm", "params": cell("p0", "p1", "p2"), "block": {"n": 3, **own}}
        net = {"layers": one, "params": params}
    else:
        net = {"layers": cell({"type": "bnorm", "name": "n", "weights": cell(*values), **own})}
    (tmp_path / "w.mat").write_bytes(matlab({"net": net}))
    norm = nn.BatchNorm2d(3)
    norm.load_state_dict(md.load_weights(tmp_path / "w.mat", "n"))
    x = drawn(2, 3, 4, 4)
    wanted = (x - mean[:, None, None]) / deviation[:, None, None] * gamma[:, None, None] + beta[:, None, None]
    np.testing.assert_allclose(norm.eval()(md.tensor(x)).data, wanted, rtol=2e-4, atol=1e-4)


def test_a_transposed_convolution_of_matconvnet(tmp_path):
    """vl_nnconvt is the transpose of vl_nnconv; its kernel is (rows, columns, outputs, inputs)."""
    kernel, bias, x = drawn(2, 3, 4, 2), np.zeros(4, "f4"), drawn(3, 4, 2)
    up = {"type": "convt", "name": "up", "weights": cell(kernel, bias)}
    layers = cell(up, {"type": "custom", "weights": cell(bias)})
    (tmp_path / "w.mat").write_bytes(matlab({"layers": layers}))
    state = md.load_weights(tmp_path / "w.mat")
    assert list(state) == ["up.weight", "up.bias", "1.0"]
    assert examine(tmp_path / "w.mat").notes == ["1: a layer of type custom, its arrays as they are"]
    y = F.conv_transpose(md.tensor(x.transpose(2, 0, 1)[None]), state["up.weight"]).data[0].transpose(1, 2, 0)
    u = drawn(*y.shape)
    assert np.sum(y * u) == pytest.approx(np.sum(x * correlated(u, kernel, np.zeros(2))), rel=1e-4)


# --- Darknet

NET = "[net]\nwidth=8\nheight=6\nchannels=3\n"
TINY = f"""# a comment
{NET}
[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters = 4
size = 1
[shortcut]
from=-2
[route]
layers = -1, 1
[upsample]
stride=2
[route]
layers=-1
groups=2
group_id=1
[reorg]
stride=2
[convolutional]
filters=2
groups=2
size=1
[avgpool]
[connected]
output=5
[connected]
batch_normalize=1
output=2
[yolo]
classes=2
"""
SIZES = {
    "0.bn.bias": (4,), "0.bn.weight": (4,), "0.bn.running_mean": (4,), "0.bn.running_var": (4,),
    "0.conv.weight": (4, 3, 3, 3), "2.conv.bias": (4,), "2.conv.weight": (4, 4, 1, 1),
    "8.conv.bias": (2,), "8.conv.weight": (2, 8, 1, 1), "10.fc.bias": (5,), "10.fc.weight": (5, 2),
    "11.bn.bias": (2,), "11.fc.weight": (2, 5), "11.bn.weight": (2,), "11.bn.running_mean": (2,),
    "11.bn.running_var": (2,),
}  # fmt: skip


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5)])
def test_darknets_order_is_norm_or_bias_then_kernel(tmp_path, version):
    numbers = np.arange(1, 1 + sum(map(np.prod, SIZES.values())), dtype="f4")
    (tmp_path / "t.weights").write_bytes(darknet(numbers, version))
    (tmp_path / "t.cfg").write_text(TINY)
    loaded, place = md.load_weights(tmp_path / "t.weights"), 0
    assert list(loaded) == list(SIZES)
    for name, shape in SIZES.items():
        wanted = numbers[place : place + np.prod(shape)].reshape(shape)
        place += wanted.size
        assert loaded[name].shape == shape
        if not name.endswith("bn.weight"):
            assert np.array_equal(loaded[name], wanted), name


def test_a_connected_layer_of_a_newer_darknet_is_transposed(tmp_path):
    cfg = darknet_file._sections(f"{NET}[connected]\noutput=2\n")
    (path, shapes), = darknet_file._arrays(cfg, transposed=True)
    entries = dict(darknet_file._entries(path, shapes, np.arange(2 + 288, dtype="f4")))
    assert np.array_equal(entries["0.fc.weight"].read(), np.arange(2, 290, dtype="f4").reshape(144, 2).T)


def test_darknets_eps_outside_the_root_gives_its_values(tmp_path):
    """(x - mean) / (sqrt(variance) + 1e-6), also of channels that are dead."""
    bias, weight, mean, x = drawn(4), drawn(4), drawn(4), drawn(2, 4, 3, 3)
    variance, kernel = np.array([0, 1e-9, 1e-4, 2.0], "f4"), drawn(4, 3, 1, 1)
    (tmp_path / "t.cfg").write_text(f"{NET}[convolutional]\nbatch_normalize=1\nfilters=4\n")
    numbers = np.concatenate([bias, weight, mean, variance, kernel.ravel()])
    (tmp_path / "w").write_bytes(darknet(numbers))
    norm = nn.BatchNorm2d(4)
    norm.load_state_dict(md.load_weights(tmp_path / "w", "0.bn", config=tmp_path / "t.cfg"))
    wide = [a.astype("f8")[:, None, None] for a in (mean, variance, weight, bias)]
    wanted = (x - wide[0]) / (np.sqrt(wide[1]) + 1e-6) * wide[2] + wide[3]
    np.testing.assert_allclose(norm.eval()(md.tensor(x)).data, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cfg, count, match", [
    (f"{NET}[convolutional]\nfilters=2\n", 9, "t.cfg has 8 numbers, the file 9: the .cfg is of another network"),
    (f"{NET}[convolutional]\nfilters=2\n", 7, "layer 0 of t.cfg needs 8 numbers, 7 are left of 7"),
    (f"{NET}[lstm]\noutput=2\n", 7, r"layer \[lstm\], which is not known"),
    ("[convolutional]\n", 7, r"does not begin with \[net\]"),
])  # fmt: skip
def test_a_cfg_that_does_not_fit_says_so(tmp_path, cfg, count, match):
    (tmp_path / "t.cfg").write_text(cfg)
    (tmp_path / "t.weights").write_bytes(darknet(np.zeros(count)))
    with pytest.raises(md.WeightsError, match=match):
        md.load_weights(tmp_path / "t.weights")


def test_a_part_of_a_darknet_is_read_and_noted(tmp_path):
    """Such as darknet53.conv.74, from which training starts."""
    (tmp_path / "t.cfg").write_text(TINY)
    (tmp_path / "t.weights").write_bytes(darknet(np.zeros(16 + 108 + 20)))
    assert len(md.load_weights(tmp_path / "t.weights")) == 7
    assert examine(tmp_path / "t.weights").notes == ["the file ends before layer 8: a part of the network"]


# --- Keras; tests/reference compares with Keras itself


def layer(kind, name, *inbound, **config):
    """A layer of a config, of Keras 2."""
    nodes = [[[source, 0, 0, {}] for source in inbound]] if inbound else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def model(kind, name, *layers, outputs=(), inbound=()):
    made = layer(kind, name, *inbound)
    made["config"].update(layers=list(layers), output_layers=[[output, 0, 0] for output in outputs])
    return made


def test_the_order_of_a_flattened_map_is_followed_through_the_graph():
    base = model("Functional", "base", layer("InputLayer", "i", batch_input_shape=[None, 4, 4, 3]),
                 layer("Conv2D", "a", "i", filters=5), layer("DepthwiseConv2D", "d", "a", depth_multiplier=2),
                 layer("Concatenate", "c", "a", "d", axis=-1), layer("MaxPooling2D", "p", "c"), outputs=["p"],
                 inbound=["x"])  # fmt: skip
    head = model("Sequential", "head", layer("Dense", "f1", units=7), layer("Dense", "f2", units=2), inbound=["bn"])
    graph = Graph(model("Functional", "m", layer("InputLayer", "x", batch_input_shape=[None, 4, 4, 3]), base,
                        layer("Flatten", "f", "base"), layer("BatchNormalization", "bn", "f"), head,
                        layer("Lambda", "l", "f"), layer("Dense", "g", "l"), layer("Flatten", "h", "x"),
                        layer("Dense", "k", "h"), outputs=["head"]))  # fmt: skip
    inner = graph.models["head"]
    assert graph.flattened("bn") == inner.flattened("f1") == 15 and inner.flattened("f2") == 1
    assert graph.flattened("g") is None and graph.flattened("k") == 3
    assert graph.groups()["flatten_1"] == "h" and list(graph.order())[:3] == [("x",), ("base",), ("base", "i")]


def test_classes_in_snake_case_are_keras_groups():
    names = {"Conv2DTranspose": "conv2d_transpose", "PReLU": "p_re_lu", "BatchNormalization": "batch_normalization",
             "SeparableConv2D": "separable_conv2d", "Dense": "dense", "GRU": "gru"}  # fmt: skip
    assert {name: snake(name) for name in names} == names


@pytest.mark.parametrize("flags, names", [
    ({}, "weight bias running_mean running_var"), ({"scale": False}, "bias running_mean running_var"),
    ({"center": False}, "weight running_mean running_var"),
    ({"scale": False, "center": False}, "running_mean running_var"),
])  # fmt: skip
def test_a_norm_without_scale_or_shift_shifts_the_numbers(tmp_path, flags, names):
    pytest.importorskip("h5py", reason='reads HDF5: pip install "minidl[weights]"')
    arrays = [drawn(3) for _ in names.split()]
    groups = {"layers/batch_normalization/vars": {"name": "bn"}}
    hdf5(path := tmp_path / "w.h5", groups | {f"layers/batch_normalization/vars/{i}": a for i, a in enumerate(arrays)})
    (tmp_path / "m.json").write_text(json.dumps(model("Sequential", "m", layer("BatchNormalization", "bn", **flags))))
    loaded = md.load_weights(path, config=tmp_path / "m.json")
    assert list(loaded) == [f"bn.{name}" for name in names.split()]
    assert all(np.array_equal(a, b) for a, b in zip(loaded.values(), arrays))
    if len(arrays) == 3:
        with pytest.raises(md.WeightsError, match=rf"'bn' has 3 variables.*{keras.CONFIG[:20]}"):
            md.load_weights(path)


def test_what_is_in_another_file_is_not_opened(tmp_path):
    h5py = pytest.importorskip("h5py", reason='reads HDF5: pip install "minidl[weights]"')
    (tmp_path / "secret").write_bytes(bytes(8))
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["w"] = h5py.ExternalLink("other.h5", "/w")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("w", (2,), "f4", external=str(tmp_path / "secret"))
    for name in ("link.h5", "raw.h5"):
        with pytest.raises(md.WeightsError, match="in another file, which is not opened"):
            md.load_weights(tmp_path / name)

"""Modules: the tree, the state, the modes, the layers' own behaviour."""

import copy
import json
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn


class Net(nn.Module):
    def __init__(self, rng=0):
        rng = np.random.default_rng(rng)
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1, rng=rng)
        self.norm = nn.BatchNorm2d(3)
        self.blocks = nn.ModuleList([nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 1, rng=rng)) for _ in range(2)])
        self.drop = nn.Dropout(0.5, rng=rng)
        self.fc = nn.Linear(3, 4, rng=rng)

    def forward(self, x):
        x = self.norm(self.conv1(x))
        for block in self.blocks:
            x = x + block(x)
        return self.fc(self.drop(F.global_avg_pool(x)))


NAMES = [
    "conv1.weight", "conv1.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
    "norm.num_batches_tracked", "blocks.0.1.weight", "blocks.0.1.bias", "blocks.1.1.weight", "blocks.1.1.bias",
    "fc.weight", "fc.bias",
]  # fmt: skip


def images(seed=0, n=2):
    return md.Tensor(np.random.default_rng(seed).standard_normal((n, 2, 5, 5), dtype=np.float32))


def assert_same_arrays(a, b):
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
        assert a[name].dtype == b[name].dtype


# --- the tree


def test_state_is_named_by_paths():
    net = Net()
    state = net.state_dict()
    assert list(state) == NAMES
    assert [n for n, _ in net.named_parameters()] == [n for n in NAMES if "running" not in n and "tracked" not in n]
    assert [n for n, _ in net.named_buffers()] == NAMES[4:7]
    assert len(list(net.parameters(recurse=False))) == 0
    assert [type(m).__name__ for m in net.children()] == ["Conv2d", "BatchNorm2d", "ModuleList", "Dropout", "Linear"]


def test_engine_errors_name_the_parameter_by_its_path():
    net = Net()
    list(net.parameters())
    list(net.conv1.parameters())  # a shorter path later does not take the name away
    loss = net(images()).sum()
    net.conv1.weight.data = net.conv1.weight.data * 2
    with pytest.raises(RuntimeError, match=r"^conv1\.weight was updated after the forward pass"):
        loss.backward()


def test_a_shared_parameter_is_one_parameter_with_two_names():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    state = net.state_dict()
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert copy.deepcopy(net)[0].weight is not net[0].weight
    twin = copy.deepcopy(net)
    assert twin[0].weight is twin[1].weight


def test_a_shared_module_is_visited_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert len(list(net.modules())) == 3
    assert len(list(net.parameters())) == 2
    assert len(net.state_dict()) == 4


def test_order_is_that_of_becoming_a_part():
    class Late(nn.Module):
        def __init__(self):
            self.a = None
            self.b = nn.Linear(1, 1)
            self.a = nn.Linear(1, 1, bias=False)

    late = Late()
    assert list(late.state_dict()) == ["b.weight", "b.bias", "a.weight"]
    late.b = nn.Linear(1, 1, bias=False)  # a replaced part keeps its place
    assert list(late.state_dict()) == ["b.weight", "a.weight"]


def test_a_parameter_is_not_replaced_by_an_array_in_silence():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"assign weight\.data"):
        layer.weight = np.zeros((2, 2))
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    assert layer(md.Tensor(np.ones((1, 2), np.float32))).shape == (1, 2)


@pytest.mark.parametrize("name", ["forward", "a.b", "", "training"])
def test_add_module_refuses_names_that_cannot_be(name):
    with pytest.raises(ValueError, match="cannot name a child"):
        nn.Module().add_module(name, nn.ReLU())


def test_add_module_refuses_what_is_no_module():
    with pytest.raises(TypeError, match="a Module is needed, got function"):
        nn.Sequential(F.max_pool)


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module defines no forward"):
        nn.Module()(1)


def test_buffers_are_plain_arrays_in_the_state():
    module = nn.Module()
    module.register_buffer("scale", md.Tensor(np.ones(2)))
    module.register_buffer("empty", None)
    assert type(module.scale) is np.ndarray
    assert list(module.state_dict()) == ["scale"]
    module.empty = [1.0, 2.0]
    assert list(module.state_dict()) == ["scale", "empty"]
    assert list(nn.Module().buffers()) == []


def test_apply_goes_through_children_first():
    seen = []
    net = Net()
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == [
        "Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "Sequential", "ReLU", "Conv2d", "Sequential", "ModuleList",
        "Dropout", "Linear", "Net",
    ]  # fmt: skip


def test_inference_is_eval_mode_without_recording_and_puts_each_mode_back_also_on_an_error():
    net = Net()
    next(net.children()).eval()  # one module in another mode: it must be so again
    before = [module.training for module in net.modules()]
    assert len(set(before)) == 2
    with pytest.raises(ZeroDivisionError), net.inference() as same:
        assert same is net and not any(module.training for module in net.modules())
        with net.inference():
            assert not md.tensor([1.0], requires_grad=True).exp().requires_grad
        assert not any(module.training for module in net.modules())
        assert not md.tensor([1.0], requires_grad=True).exp().requires_grad
        raise ZeroDivisionError
    assert [module.training for module in net.modules()] == before
    assert md.tensor([1.0], requires_grad=True).exp().requires_grad


def test_repr_is_a_tree():
    assert repr(nn.Sequential(nn.Linear(2, 3, bias=False), nn.Sequential(nn.ReLU()))) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=False)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "  )\n"
        ")"
    )


def test_watch_sees_every_call_inside_out_and_only_in_the_block():
    net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh()))
    seen = []
    x = md.Tensor(np.ones(2))
    with nn.watch(lambda module, inputs, output: seen.append((module, inputs[0], output))):
        y = net(x)
    net(x)
    assert [m for m, _, _ in seen] == [net[0], net[1][0], net[1], net]
    assert seen[0][1] is x and seen[-1][2] is y
    with pytest.raises(TypeError), nn.watch(lambda *call: seen.append(call)):
        net(None)
    net(x)  # the block is over, also after an error
    assert len(seen) == 4


# --- containers


def test_sequential_indexing():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    net = nn.Sequential(a, b, c)
    assert len(net) == 3 and list(net) == [a, b, c]
    assert net[0] is a and net[-1] is c
    tail = net[1:]
    assert isinstance(tail, nn.Sequential) and list(tail) == [b, c]
    assert [n for n, _ in tail.named_children()] == ["1", "2"]  # as torch: a slice keeps the names
    net[-1] = a
    assert net[2] is a
    assert list(net.append(c)) == [a, b, a, c]
    for index in (4, -5):
        with pytest.raises(IndexError, match=f"has 4 modules, no index {index}"):
            net[index]


def test_sequential_composes():
    x = md.Tensor(np.linspace(-2, 2, 6))
    net = nn.Sequential(OrderedDict(first=nn.Tanh(), second=nn.LeakyReLU(0.5)))
    assert [n for n, _ in net.named_children()] == ["first", "second"]
    np.testing.assert_array_equal(net(x).data, F.leaky_relu(F.tanh(x), 0.5).data)
    assert nn.Sequential()(x) is x


def test_module_list_and_dict():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    modules = nn.ModuleList([a]).append(b).extend([c])
    assert list(modules) == [a, b, c]
    assert [n for n, _ in modules[1:].named_children()] == ["0", "1"]
    named = nn.ModuleDict({"x": a, "y": b})
    named["z"] = c
    assert list(named) == named.keys() == ["x", "y", "z"]
    assert named.values() == [a, b, c] and named.items()[2] == ("z", c)
    assert named["y"] is b and "y" in named and "w" not in named and len(named) == 3
    with pytest.raises(KeyError):
        named["w"]
    assert "keys" not in named
    with pytest.raises(ValueError, match="cannot name a child"):
        named["keys"] = a


# --- state


def test_state_dict_is_a_copy():
    net = Net()
    state = net.state_dict()
    for array in state.values():
        array[...] = 7
    assert not any((array == 7).all() for array in net.state_dict().values())


@pytest.mark.parametrize("wrap", [lambda a: a, md.Tensor, lambda a: a.astype(np.float64), lambda a: a.tolist()])
def test_load_state_dict_brings_the_outputs_back(wrap):
    net, other = Net(0), Net(1)
    net(images(1))  # moves the running averages
    other.load_state_dict({name: wrap(array) for name, array in net.state_dict().items()})
    assert_same_arrays(net.state_dict(), other.state_dict())
    x = images(2)
    np.testing.assert_array_equal(net.eval()(x).data, other.eval()(x).data)


def test_loaded_arrays_are_copied():
    net = Net()
    state = net.state_dict()
    net.load_state_dict(state)
    state["norm.running_mean"] += 1
    state["fc.weight"] += 1
    assert (net.norm.running_mean == 0).all()
    assert not np.array_equal(net.fc.weight.data, state["fc.weight"])


def test_load_state_dict_shows_one_table_and_changes_nothing():
    net = Net()
    before, state = net.state_dict(), Net(1).state_dict()
    state["head.weight"] = np.zeros((10, 3))
    state["conv1.weight"] = np.zeros((3, 1, 3, 3))
    del state["fc.bias"], state["blocks.1.1.weight"]
    with pytest.raises(ValueError) as error:
        net.load_state_dict(state)
    assert str(error.value).splitlines() == [
        "the state does not fit Net:",
        "  missing     blocks.1.1.weight  (3, 3, 1, 1)",
        "  missing     fc.bias            (4,)",
        "  unexpected  head.weight        (10, 3)",
        "  mis-shaped  conv1.weight       (3, 1, 3, 3), the model has (3, 2, 3, 3)",
    ]
    assert_same_arrays(net.state_dict(), before)
    with pytest.raises(ValueError, match="mis-shaped"):
        net.load_state_dict(state, strict=False)
    assert_same_arrays(net.state_dict(), before)
    del state["conv1.weight"]
    result = net.load_state_dict(state, strict=False)
    assert result.missing == ["conv1.weight", "blocks.1.1.weight", "fc.bias"]
    assert result.unexpected == ["head.weight"]
    np.testing.assert_array_equal(net.fc.weight.data, state["fc.weight"])


def test_states_from_before_num_batches_tracked_load():
    net = Net()
    state = {name: array for name, array in net.state_dict().items() if "num_batches" not in name}
    assert net.load_state_dict(state).missing == []


def test_state_survives_npz_pickle_and_deepcopy(tmp_path):
    net = Net()
    net(images())
    np.savez(tmp_path / "state.npz", **net.state_dict())
    other = Net(5)
    other.load_state_dict(np.load(tmp_path / "state.npz"))
    for twin in (other, pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert_same_arrays(twin.state_dict(), net.state_dict())
        assert [p.name for p in twin.parameters()] == [p.name for p in net.parameters()]
        assert all(p.requires_grad for p in twin.parameters())


@st.composite
def trees(draw, depth=3):
    """A nested Sequential of small layers, and the names its state should have."""
    kinds = ["linear", "plain", "norm"] + (["tree"] if depth else [])
    parts, names = [], []
    for i, kind in enumerate(draw(st.lists(st.sampled_from(kinds), max_size=4))):
        if kind == "tree":
            part, inner = draw(trees(depth=depth - 1))
        elif kind == "linear":
            bias = draw(st.booleans())
            part, inner = nn.Linear(2, 2, bias=bias), ["weight", "bias"][: 1 + bias]
        elif kind == "norm":
            part = nn.BatchNorm1d(2)
            inner = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
        else:
            part, inner = nn.Tanh(), []
        parts.append(part)
        names += [f"{i}.{name}" for name in inner]
    return nn.Sequential(*parts), names


@given(trees(), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_any_tree_saves_and_loads(tree, seed):
    net, names = tree
    state = net.state_dict()
    assert list(state) == names
    rng = np.random.default_rng(seed)
    changed = {name: (9 * rng.random(array.shape)).astype(array.dtype) for name, array in state.items()}
    net.load_state_dict(changed)
    assert_same_arrays(net.state_dict(), changed)
    x = md.Tensor(rng.random((3, 2), dtype=np.float32))
    y = net.eval()(x)
    assert y.dtype == np.float32
    net.to("float64")
    np.testing.assert_allclose(net(x.astype("float64")).data, y.data, rtol=1e-3, atol=1e-4)


# --- modes


def test_train_and_eval_reach_every_module():
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.norm.train()
    assert [m.training for m in net.children()] == [False, True, False, False, False]
    assert net.train().training


def test_to_casts_floats_and_gradients_only():
    net = Net()
    net(images()).sum().backward()
    assert net.to(np.float64) is net
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    assert net.fc.weight.grad.dtype == np.float64
    assert net.norm.running_mean.dtype == np.float64
    assert net.norm.num_batches_tracked.dtype == np.int64
    weight = net.fc.weight.data
    assert net.to("cpu", "float64").fc.weight.data is weight
    with pytest.raises(TypeError, match="floating-point dtype"):
        net.to("int32")


def test_requires_grad_and_zero_grad():
    net = Net()
    net.conv1.requires_grad_(False)
    net(images()).sum().backward()
    assert net.conv1.weight.grad is None and net.fc.weight.grad is not None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert net.requires_grad_().conv1.weight.requires_grad


# --- random numbers


def test_manual_seed_repeats_initial_values():
    md.manual_seed(3)
    a, b = nn.Linear(4, 4).state_dict(), nn.Linear(4, 4).state_dict()
    md.manual_seed(3)
    assert_same_arrays(nn.Linear(4, 4).state_dict(), a)
    assert not np.array_equal(a["weight"], b["weight"])
    md.manual_seed(4)
    assert not np.array_equal(nn.Linear(4, 4).weight.data, a["weight"])
    twin = nn.Conv2d(2, 3, 3, rng=np.random.default_rng(5))
    assert_same_arrays(nn.Conv2d(2, 3, 3, rng=5).state_dict(), twin.state_dict())


def test_a_seed_gives_a_block_different_layers():
    block = nn.DenseBlock(4, 4, 2, bottleneck=None, rng=1)
    a, b = block.denselayer1.conv1.weight.data, block.denselayer2.conv1.weight.data
    assert not np.array_equal(a, b[:, :4])
    assert_same_arrays(block.state_dict(), nn.DenseBlock(4, 4, 2, bottleneck=None, rng=1).state_dict())


def test_dropout_layers_draw_from_independent_streams():
    md.manual_seed(0)
    a, b = nn.Dropout(0.5), nn.Dropout(0.5)
    x = md.Tensor(np.ones(400))
    first = a(x).data
    assert not np.array_equal(first, b(x).data)
    assert not np.array_equal(first, a(x).data)
    md.manual_seed(0)
    nn.Linear(2, 2)  # what others draw does not matter
    np.testing.assert_array_equal(nn.Dropout(0.5)(x).data, first)
    assert set(first) == {0.0, 2.0}
    np.testing.assert_array_equal(a.eval()(x).data, x.data)


def test_random_state_lets_training_go_on():
    net, x = nn.Sequential(nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.6))), md.Tensor(np.ones((5, 7)))
    net(x)
    saved = json.loads(json.dumps(net.random_state()))
    assert list(saved) == ["0.rng", "1.0.rng"]
    expected = [net(x).data for _ in range(3)]
    other = nn.Sequential(nn.Dropout(0.3, rng=8), nn.Sequential(nn.Dropout(0.6, rng=9)))
    other.load_random_state(saved)
    np.testing.assert_array_equal([other(x).data for _ in range(3)], expected)
    with pytest.raises(ValueError, match=r"the random state is for \['0\.rng', '1\.0\.rng'\]"):
        nn.Dropout().load_random_state(saved)


# --- initial values


@given(st.integers(1, 6), st.integers(1, 6), st.lists(st.integers(1, 4), max_size=3), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_uniform_initialisers_stay_in_their_bounds(outputs, inputs, kernel, seed):
    shape, rng = (outputs, inputs, *kernel), np.random.default_rng(seed)
    taps = int(np.prod(kernel))
    bounds = {
        np.sqrt(6 / (inputs * taps)): nn.init.kaiming_uniform(shape, rng),
        np.sqrt(3 / (outputs * taps)): nn.init.kaiming_uniform(shape, rng, mode="fan_out", nonlinearity="linear"),
        np.sqrt(6 / ((inputs + outputs) * taps)): nn.init.xavier_uniform(shape, rng),
        1 / np.sqrt(inputs * taps): nn.init.default_weight(shape, rng),
    }
    for bound, weight in bounds.items():
        assert weight.shape == shape and weight.dtype == np.float32
        assert np.abs(weight).max() <= bound * (1 + 1e-6)


@given(st.integers(1, 7), st.integers(1, 7), st.floats(0.5, 2), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_orthogonal_rows_or_columns(rows, columns, gain, seed):
    weight = nn.init.orthogonal((rows, columns), np.random.default_rng(seed), gain=gain, dtype=np.float64)
    gram = weight @ weight.T if rows <= columns else weight.T @ weight
    np.testing.assert_allclose(gram, gain**2 * np.eye(min(rows, columns)), atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_is_the_identity(groups):
    conv = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=groups, bias=False)
    conv.weight.data = nn.init.dirac(conv.weight.shape, groups)
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 6), dtype=np.float32)
    np.testing.assert_array_equal(conv(md.Tensor(x)).data, x)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: nn.init.fans((3,)), r"at least two axes .* got shape \(3,\)"),
        (lambda: nn.init.gain("selu"), "gain of 'selu' is unknown"),
        (lambda: nn.init.kaiming_normal((2, 2), np.random.default_rng(0), mode="fan"), "mode 'fan' is unknown"),
        (lambda: nn.init.dirac((2, 2)), r"\(out, in, \*kernel\)"),
        (lambda: nn.init.dirac((3, 2, 3), groups=2), "divided by 2 groups"),
    ],
)
def test_initialisers_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- layers


@given(
    st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    st.sampled_from([0, 1, (2, 1), ((0, 2), (1, 0)), "same"]),
    st.integers(1, 2),
    st.integers(1, 2),
)
@settings(max_examples=40, deadline=None)
def test_padding_modes_are_those_of_numpy(mode, padding, stride, dilation):
    conv = nn.Conv2d(1, 2, (3, 2), stride, padding, dilation, padding_mode=mode, rng=0).to("float64")
    x = np.random.default_rng(0).standard_normal((2, 1, 7, 8))
    if padding == "same":
        reach = [2 * dilation, dilation]
        totals = [max((-(-n // stride) - 1) * stride + r + 1 - n, 0) for n, r in zip((7, 8), reach)]
        pairs = [(t // 2, t - t // 2) for t in totals]
    else:
        each = padding if isinstance(padding, tuple) else (padding, padding)
        pairs = [p if isinstance(p, tuple) else (p, p) for p in each]
    name = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    padded = md.Tensor(np.pad(x, [(0, 0), (0, 0), *pairs], mode=name))
    y = conv(md.Tensor(x))
    expected = F.conv(padded, conv.weight, conv.bias, stride=stride, dilation=dilation)
    np.testing.assert_allclose(y.data, expected.data, rtol=1e-12, atol=1e-12)
    if padding == "same":
        assert y.shape[2:] == (-(-7 // stride), -(-8 // stride))


def test_causal_convolution_sees_no_later_input():
    conv = nn.Conv1d(1, 1, 3, padding="causal", dilation=2, padding_mode="replicate", rng=0)
    x = np.random.default_rng(0).standard_normal((1, 1, 12), dtype=np.float32)
    changed = x.copy()
    changed[..., 7:] += 1
    y, z = conv(md.Tensor(x)).data, conv(md.Tensor(changed)).data
    np.testing.assert_array_equal(y[..., :7], z[..., :7])
    assert (y[..., 7:] != z[..., 7:]).all()


@pytest.mark.parametrize("size", [(7, 9), (8, 9), (8, 10), (1, 3, 8, 10)])
def test_conv_transpose_makes_the_size_asked_for(size):
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    x = md.Tensor(np.ones((1, 2, 4, 5), np.float32))
    assert layer(x, output_size=size).shape == (1, 3, *size[-2:])
    with pytest.raises(ValueError, match=r"gives outputs from \(7, 9\) to \(8, 10\), not \(9, 9\)"):
        layer(x, output_size=(9, 9))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "3 input and 4 output channels do not both divide into 2 groups"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "kernel"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "'mirror' is unknown"),
        (lambda: nn.ConvTranspose1d(3, 4, 3, padding_mode="reflect"), 'must be "zeros"'),
        (lambda: nn.MaxPool2d((2, 2, 2)), "kernel_size"),
        (lambda: nn.GroupNorm(3, 4), "do not divide into 3 groups"),
        (lambda: nn.Dropout(1.5), "p is a probability"),
        (lambda: nn.Upsample(), "one of size and scale_factor"),
        (lambda: nn.Upsample(2, mode="cubic"), "'cubic' is unknown"),
        (lambda: nn.MSELoss("average"), "'average' is unknown"),
    ],
)
def test_constructors_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "layer, shape",
    [
        (nn.BatchNorm2d(3), (2, 4, 5, 5)),
        (nn.BatchNorm2d(3), (2, 3, 5)),
        (nn.BatchNorm1d(3), (2, 3, 5, 5)),
        (nn.MaxPool2d(2), (2, 3, 8)),
        (nn.AdaptiveAvgPool1d(2), (2, 3, 8, 8)),
        (nn.Flatten(3), (2, 3, 4)),
        (nn.Flatten(2, 1), (2, 3, 4)),
    ],
)
def test_layers_refuse_inputs_of_other_ranks(layer, shape):
    with pytest.raises(ValueError, match=str(shape)[1:-1]):
        layer(md.Tensor(np.zeros(shape)))


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(2, 3, 3), nn.ConvTranspose2d(2, 3, 2), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2),
     nn.BatchNorm2d(2).eval(), nn.GroupNorm(1, 2), nn.Flatten(), nn.ReLU(), nn.GlobalAvgPool(), nn.PReLU(2),
     nn.Softplus(), nn.Upsample(scale_factor=2), nn.LocalResponseNorm(3), nn.Softmax(1), nn.Dropout()],
    ids=repr,
)  # fmt: skip
def test_layers_take_empty_batches_and_keep_float32(layer):
    full, empty = (layer(md.Tensor(np.ones((n, 2, 6, 6), np.float32))) for n in (2, 0))
    assert full.dtype == empty.dtype == np.float32
    assert empty.shape == (0, *full.shape[1:])


@pytest.mark.parametrize("seed", range(3))
def test_batch_norm_tracks_plain_averages_without_a_momentum(seed):
    layer, rng = nn.BatchNorm1d(2, momentum=None), np.random.default_rng(seed)
    batches = [rng.standard_normal((5, 2)).astype(np.float32) for _ in range(4)]
    for x in batches:
        layer(md.Tensor(x))
    assert layer.num_batches_tracked == 4
    np.testing.assert_allclose(layer.running_mean, np.mean([x.mean(0) for x in batches], 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.running_var, np.mean([x.var(0, ddof=1) for x in batches], 0), rtol=1e-5)
    before = layer.state_dict()
    layer.eval()(md.Tensor(batches[0]))
    assert_same_arrays(layer.state_dict(), before)


def test_softplus_does_not_overflow():
    x = md.Tensor(np.array([-800.0, 0.0, 800.0]), requires_grad=True)
    y = nn.Softplus(beta=3.0)(x)
    np.testing.assert_allclose(y.data, [0, np.log(2) / 3, 800], rtol=1e-12)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.data, [0, 0.5, 1], rtol=1e-12)


# --- blocks


def test_residual_adds_the_shortcut_before_the_activation():
    rng = np.random.default_rng(0)
    x = md.Tensor(rng.standard_normal((4, 3)))
    body, shortcut = nn.Linear(3, 2).to("float64"), nn.Linear(3, 2).to("float64")
    y = nn.Residual(body, shortcut, nn.ReLU())(x)
    np.testing.assert_array_equal(y.data, np.maximum(body(x).data + shortcut(x).data, 0))
    np.testing.assert_array_equal(nn.Residual(nn.Tanh())(x).data, np.tanh(x.data) + x.data)
    with pytest.raises(ValueError, match=r"body\(x\) has shape \(4, 2\), the shortcut \(4, 3\)"):
        nn.Residual(body)(x)
    assert list(nn.Residual(body, shortcut).state_dict())[::2] == ["body.weight", "shortcut.weight"]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_dense_block_keeps_its_input_and_adds_maps(rank):
    block = nn.DenseBlock(3, 2, 4, rank=rank, dropout=0.2, rng=0).eval()
    x = np.random.default_rng(rank).standard_normal((2, 3) + (4,) * rank).astype(np.float32)
    y = block(md.Tensor(x))
    assert y.shape == (2, block.out_channels) + (4,) * rank == (2, 11) + (4,) * rank
    np.testing.assert_array_equal(y.data[:, :3], x)
    assert [n for n, _ in block.named_children()] == [f"denselayer{i}" for i in (1, 2, 3, 4)]
    assert len(block.random_state()) == 4


def test_dense_block_of_other_layers():
    block = nn.DenseBlock(3, 2, 2, layer=lambda channels: nn.Conv1d(channels, 2, 3, padding=1))
    assert [m.in_channels for m in block.children()] == [3, 5]
    assert block(md.Tensor(np.ones((1, 3, 6), np.float32))).shape == (1, 7, 6)


def test_a_module_refuses_a_device_that_it_does_not_know():
    with pytest.raises(ValueError, match='\'cuda\' is neither a device, "cpu" or "gpu", nor a dtype'):
        nn.Linear(1, 1).to("cuda")


def test_a_state_is_a_mapping():
    with pytest.raises(TypeError, match=r"got str; md\.load_weights\(path\)"):
        nn.Linear(1, 1).load_state_dict("net.npz")

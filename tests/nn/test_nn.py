"""Modules: the tree of names, containers."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

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

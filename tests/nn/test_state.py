"""The state of modules: saved, loaded, copied; random numbers that go on."""

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import nn
from tests.nn.test_nn import Net, assert_same_arrays, images

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


def test_many_differences_are_twenty_lines():
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(40)))
    state = {f"other.{i}": np.zeros(i) for i in range(50)} | {"0.weight": np.zeros((3, 2))}
    with pytest.raises(ValueError, match="the state does not fit Sequential") as error:
        net.load_state_dict(state)
    lines = str(error.value).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == 6 * ["missing"] + 6 * ["unexpected"] + ["mis-shaped"]
    assert lines[-1] == "  and 73 missing, 44 unexpected more"
    with pytest.raises(ValueError) as error:
        net.load_state_dict({})
    assert len(str(error.value).splitlines()) == 20


@pytest.mark.parametrize("wrap, message", [
    (lambda s: {f"module.{n}": a for n, a in s.items()}, r"under 'module'; md\.load_weights\(path, key='module'\)"),
    (lambda s: {f"model.net.{n}": a for n, a in s.items()} | {"loss.weight": 1}, "key='model.net'"),
    (lambda s: {"params": s, "params_ema": s}, "under 'params' and under 'params_ema'; .*key='params'"),
    (lambda s: {"model": {f"module.{n}": a for n, a in s.items()}, "epoch": 3}, "key='model.module'"),
    (lambda s: {n.replace("blocks.", "blocks._orig_mod."): a for n, a in s.items()}, "strip='_orig_mod'"),
    (lambda s: {f"module.{n}".replace("blocks.", "blocks._orig_mod."): a for n, a in s.items()},
     "key='module', strip='_orig_mod'"),
])  # fmt: skip
def test_names_with_something_before_them_are_one_line(wrap, message):
    state = wrap(Net().state_dict())
    for strict in (True, False):  # not a single name is the model's
        if strict or not any(name in Net().state_dict() for name in state):
            with pytest.raises(ValueError, match=message) as error:
                Net().load_state_dict(state, strict=strict)
            assert "\n" not in str(error.value)


def test_a_count_of_shape_1_is_a_count():
    norm = nn.BatchNorm1d(2)
    norm.load_state_dict({**norm.state_dict(), "num_batches_tracked": np.array([3])})
    assert norm.num_batches_tracked == 3 and norm.num_batches_tracked.shape == ()
    with pytest.raises(ValueError, match="mis-shaped"):
        norm.load_state_dict({**norm.state_dict(), "num_batches_tracked": np.zeros((1, 1))})


def test_a_state_is_in_c_order_whatever_the_memory():
    """Other libraries save the memory as it lies: safetensors.numpy 0.8, buffers of MPI."""
    conv = nn.Conv2d(3, 4, 3)
    conv.weight.data = np.ascontiguousarray(conv.weight.data.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not conv.weight.data.flags.c_contiguous
    state = conv.state_dict()
    assert state["weight"].flags.c_contiguous and np.array_equal(state["weight"], conv.weight.data)


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


# --- blocks


def test_a_state_is_a_mapping():
    with pytest.raises(TypeError, match=r"got str; md\.load_weights\(path\)"):
        nn.Linear(1, 1).load_state_dict("net.npz")

"""Initial values, layers and blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl import nn
from tests.nn.test_nn import assert_same_arrays

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
        (lambda: nn.Upsample(2, mode="lanczos"), "'lanczos' is unknown"),
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
        (nn.MaxPool2d(2), (3, 8)),
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

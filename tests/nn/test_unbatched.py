"""Layers of x without a batch axis, borders of any sign, dropout of channels; beside NumPy."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn

X = np.random.default_rng(0).normal(size=(3, 6, 5)).astype("float32")
LAYERS = [
    nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular", rng=0),
    nn.Conv2d(3, 4, 3, padding="same", rng=0),
    nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1, rng=0),
    nn.MaxPool2d(2, return_indices=True),
    nn.AvgPool2d(2, divisor_override=3),
    nn.AdaptiveAvgPool2d(2),
    nn.AdaptiveMaxPool2d((None, 2)),
    nn.Unfold((2, 3), padding=1),
    nn.ReflectionPad2d((1, 2, 3, 0)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_without_a_batch_it_is_a_batch_of_one(layer):
    one, batch = layer(md.Tensor(X)), layer(md.Tensor(X[None]))
    for y, z in zip(one, batch, strict=True) if isinstance(one, tuple) else [(one, batch)]:
        np.testing.assert_array_equal(y.data, z.data[0])


def test_what_was_pooled_or_unfolded_without_a_batch_goes_back():
    y, indices = LAYERS[3](md.Tensor(X))
    back = nn.MaxUnpool2d(2)(y, indices, output_size=(6, 5))
    assert back.shape == X.shape and back.data.sum() == pytest.approx(y.data.sum(), rel=1e-6)
    folded = nn.Fold((6, 5), 1)(nn.Unfold(1)(md.Tensor(X)))
    np.testing.assert_array_equal(folded.data, X)
    with pytest.raises(ValueError, match=r"MaxPool2d takes \(N, C\) and 2 spatial axes, got \(6, 5\)"):
        LAYERS[3](md.Tensor(X[0]))
    with pytest.raises(ValueError, match=r"Unfold takes \(N, C, H, W\) or \(C, H, W\)"):
        nn.Unfold(1)(md.Tensor(X[0]))


MODES = [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]


@pytest.mark.parametrize("mode, numpys", MODES)
def test_a_negative_width_takes_entries_away(mode, numpys):
    x = np.random.default_rng(0).normal(size=(1, 2, 5, 4))
    pairs = [(-1, 2), (1, -2)]
    kept = x[..., 1:, :-2] if mode in ("constant", "circular") else x
    expected = np.pad(kept, [(0, 0), (0, 0), (0, 2), (1, 0)], numpys)
    expected = expected if kept is not x else expected[..., 1:, :-2]
    y = F.pad(md.Tensor(x), pairs, mode=mode)
    np.testing.assert_array_equal(y.data, expected)
    assert md.gradcheck(lambda x: F.pad(x, pairs, mode=mode) ** 2, x, order=2)
    with pytest.raises(ValueError, match="take away more entries than x"):
        F.pad(md.Tensor(x), [(-3, -3), (0, 0)], mode=mode)


FLAT = [
    ((2, 0), [(0, 0), (2, 0)]), ((1, 0, 2, 3), [(2, 3), (1, 0)]), ((-1, 1), [(0, 0), (-1, 1)]),
    (np.array([0, 1]), [(0, 0), (0, 1)]),
]  # fmt: skip


@pytest.mark.parametrize("flat, pairs", FLAT)
def test_flat_widths_begin_at_the_last_axis(flat, pairs):
    x = md.Tensor(X[None])
    np.testing.assert_array_equal(F.pad(x, flat).data, F.pad(x, pairs).data)


@pytest.mark.parametrize("mode, numpys", MODES)
def test_no_width_of_an_array_is_a_tensor_too(mode, numpys):
    assert isinstance(F.pad(X[None], 0, mode=mode), md.Tensor)


def test_flat_widths_that_fit_no_axes_are_refused():
    for flat in ((1, 2, 3), (1,) * 10):
        with pytest.raises(ValueError, match=f"has {len(flat)} numbers"):
            F.pad(md.Tensor(X), flat)


def test_border_layers():
    x = np.arange(1.0, 5).reshape(1, 1, 4)
    for layer, expected in (
        (nn.ZeroPad1d(1), [0, 1, 2, 3, 4, 0]),
        (nn.ConstantPad1d((2, -1), 9.0), [9, 9, 1, 2, 3]),
        (nn.ReflectionPad1d((2, 1)), [3, 2, 1, 2, 3, 4, 3]),
        (nn.ReplicationPad1d((0, 2)), [1, 2, 3, 4, 4, 4]),
        (nn.CircularPad1d((1, 2)), [4, 1, 2, 3, 4, 1, 2]),
    ):
        assert layer(md.Tensor(x)).data[0, 0].tolist() == layer(md.Tensor(x[0])).data[0].tolist() == expected
    assert nn.ZeroPad2d((1, 2, 3, 4))(md.Tensor(X)).shape == (3, 13, 8)
    with pytest.raises(ValueError, match="padding is one int or 4, two per axis"):
        nn.ZeroPad2d((1, 1))
    with pytest.raises(ValueError, match=r"ZeroPad2d takes \(N, C\)"):
        nn.ZeroPad2d(1)(md.Tensor(X[0]))


def test_unflatten_and_upsampling():
    x = md.Tensor(np.arange(12.0).reshape(1, 12))
    assert nn.Unflatten(1, (2, -1, 3))(x).shape == nn.Unflatten(-1, (2, 2, 3))(x).shape == (1, 2, 2, 3)
    with pytest.raises(ValueError, match=r"axis 1 of x \(1, 12\) does not split into \(5, -1\)"):
        nn.Unflatten(1, (5, -1))(x)
    image = md.Tensor(X[None])
    np.testing.assert_array_equal(
        nn.UpsamplingBilinear2d(scale_factor=2)(image).data,
        F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=True).data,
    )
    assert nn.UpsamplingNearest2d(size=3)(image).shape == (1, 3, 3, 3)


@pytest.mark.parametrize(
    "layer, shape, lead",
    [
        (nn.Dropout1d, (40, 30, 4), 2), (nn.Dropout1d, (900, 4), 1), (nn.Dropout2d, (40, 30, 2, 3), 2),
        (nn.Dropout2d, (40, 30, 3), 2), (nn.Dropout3d, (40, 30, 2, 1, 2), 2), (nn.Dropout3d, (900, 2, 1, 2), 1),
    ],
)  # fmt: skip
def test_channels_are_dropped_whole(layer, shape, lead):
    dropout, x = layer(0.25, rng=0), md.Tensor(np.ones(shape, np.float32), requires_grad=True)
    y = dropout(x)
    channels = y.data.reshape(*shape[:lead], -1)
    assert (channels == channels[..., :1]).all() and set(np.unique(channels)) == {0, np.float32(4 / 3)}
    assert 0.2 < (channels[..., 0] == 0).mean() < 0.3
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, y.data)
    assert dropout.eval()(x) is x
    with pytest.raises(ValueError, match=r"takes x with .* axes"):
        dropout.train()(md.Tensor(np.ones(6)))

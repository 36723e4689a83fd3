"""Blocks that networks share, and a vision transformer small enough to look at."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tasks.models import pretrained, swin, vit
from tasks.models.blocks import SqueezeExcitation, StochasticDepth, conv_norm, multiple
from tasks.models.regnet import DESIGNS, stages
from tasks.models.windows import distances, together, windows


def test_stochastic_depth_drops_whole_examples_and_keeps_the_mean():
    layer, x = StochasticDepth(0.25, rng=0), md.Tensor(np.ones((4000, 2, 1, 3), np.float32))
    y = layer(x).data.reshape(4000, 6)
    assert set(np.unique(y)) == {0, np.float32(4 / 3)} and (y == y[:, :1]).all()
    assert abs(y.mean() - 1) < 5 * (1 / 3 / 4000) ** 0.5  # five standard errors
    assert np.array_equal(layer.eval()(x).data, x.data)


def test_squeeze_and_excitation_multiplies_maps_by_what_their_means_decide():
    layer = SqueezeExcitation(6, 2, rng=0).to("float64")
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 5))
    one, two = (conv.weight.data[:, :, 0, 0] for conv in (layer.fc1, layer.fc2))
    hidden = np.maximum(x.mean((2, 3)) @ one.T + layer.fc1.bias.data, 0)
    gate = 1 / (1 + np.exp(-(hidden @ two.T + layer.fc2.bias.data)))
    np.testing.assert_allclose(layer(md.Tensor(x)).data, x * gate[..., None, None], rtol=1e-12)


@pytest.mark.parametrize("kernel, stride, dilation", [(1, 1, 1), (3, 2, 1), (5, 1, 2), (7, 1, 1)])
def test_a_convolution_with_norm_divides_the_size_by_its_stride(kernel, stride, dilation):
    layer = conv_norm(3, 4, kernel, stride, dilation=dilation, activation=None)
    assert layer(md.Tensor(np.ones((1, 3, 13, 14), np.float32))).shape[2:] == (-(-13 // stride), -(-14 // stride))
    assert [type(m).__name__ for m in layer] == ["Conv2d", "BatchNorm2d"] and layer[0].bias is None


@pytest.mark.parametrize("asked, given", [(32, 32), (83, 80), (84, 88), (1, 8), (35.2, 32), (11.9, 16)])
def test_channels_are_multiples_of_8_and_at_least_nine_tenths_of_what_is_asked(asked, given):
    assert multiple(asked) == given


@pytest.mark.parametrize("design, counts, maps", [  # the paper's Figures 16 and 17
    ("x_400mf", (1, 2, 7, 12), (32, 64, 160, 400)),
    ("y_1_6gf", (2, 6, 17, 2), (48, 120, 336, 888)),
    ("y_16gf", (2, 4, 11, 1), (224, 448, 1232, 3024)),
])  # fmt: skip
def test_four_numbers_make_the_stages_of_a_regnet(design, counts, maps):
    found = stages(*DESIGNS[design])
    assert ([row[0] for row in found], [row[1] for row in found]) == (list(counts), list(maps))


# --- attention


def test_windows_are_put_together_again():
    x = md.Tensor(np.arange(2 * 6 * 9 * 2.0).reshape(2, 6, 9, 2))
    parts = windows(x, 3)
    assert parts.shape == (2, 6, 9, 2) and np.array_equal(parts.data[0, 1].reshape(3, 3, 2), x.data[0, :3, 3:6])
    assert np.array_equal(together(parts, 3, 6, 9).data, x.data)


def test_pairs_at_one_distance_have_one_number():
    index, places = distances(3), np.array([(y, x) for y in range(3) for x in range(3)])
    numbers = {}
    for i, j in np.ndindex(9, 9):
        numbers.setdefault(tuple(places[i] - places[j]), set()).add(int(index[i, j]))
    assert sorted(next(iter(found)) for found in numbers.values() if len(found) == 1) == list(range(25))


def test_shifted_windows_do_not_look_across_the_border_of_the_image():
    layer = swin.WindowAttention(4, 2, True, 0).to("float64")
    x = np.random.default_rng(0).normal(size=(1, 14, 14, 4))
    other = x.copy()
    other[:, :3] += 1  # the rows that the shift brings to the end
    changed = np.abs(layer(md.Tensor(x)).data - layer(md.Tensor(other)).data).max(axis=(0, 2, 3)) > 1e-12
    assert changed.tolist() == [True] * 3 + [False] * 11


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", (4, 2, 8, 16, 2))
    return lambda **options: vit.VisionTransformer("tiny", 3, rng=0, **options).eval()


def test_a_vision_transformer_takes_the_size_that_its_positions_are_for(tiny):
    model = tiny(image_size=12)
    assert model(md.Tensor(np.ones((2, 3, 12, 12), np.float32))).shape == (2, 3)
    with pytest.raises(ValueError, match=r"takes images of 12x12, got \(16, 12\)"):
        model(md.Tensor(np.ones((2, 3, 16, 12), np.float32)))
    with pytest.raises(ValueError, match="multiple of the patch's 4, got 13"):
        tiny(image_size=13)
    assert pretrained.options("vit_tiny", model.state_dict()) == {"image_size": 12}
    assert pretrained.preparation("vit_b_16", model) == {"short": 12, "side": 12, "bicubic": True}


def test_old_names_of_vision_transformers_layers_are_understood(tiny):
    model, other = tiny(image_size=8), tiny(image_size=8)
    for p in other.parameters():
        p.data[...] = np.random.default_rng(p.size).normal(size=p.shape)
    state = other.state_dict()
    names = {name: name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2") for name in state}
    model.load_state_dict({names[name]: array for name, array in state.items()})
    assert all(np.array_equal(array, state[name]) for name, array in model.state_dict().items())
    assert isinstance(model, nn.Module) and "encoder.layers.encoder_layer_0.mlp.linear_1.weight" in names.values()

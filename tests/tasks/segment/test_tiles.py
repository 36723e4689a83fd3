"""Tiles of any network equal the whole image."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import nn
from tasks import tiles
from tasks.segment import FCN, SimpleNet, UNet, predict
from tasks.segment.unet import context
from tests.tasks.segment.test_models import UPS, VARIANTS, picture


def whole_numbers(net, seed=0):
    """Weights 1 and -1, two for each output map, and what else is learnt 0, in float64: sums of whole numbers are
    exact in any order, so that nothing but the geometry can tell two ways of computing them apart."""
    rng, net = np.random.default_rng(seed), net.to("float64").eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.requires_grad:
            weight = np.zeros(module.weight.shape)
            taps = weight.swapaxes(0, 1) if isinstance(module, nn.ConvTranspose2d) else weight  # outputs first
            for one in taps:
                for value in (1, 1, -1):
                    one[tuple(rng.integers(n) for n in one.shape)] += value
            module.weight.data = weight
    return net


def whole_picture(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float64)


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 30)), tile=st.integers(1, 60), depth=st.integers(1, 2),
    up=st.sampled_from(UPS), seed=st.integers(0, 5),
)  # fmt: skip
def test_tiles_of_the_papers_form_equal_the_whole_image_exactly(size, tile, depth, up, seed):
    net = whole_numbers(UNet(2, 2, base=2, depth=depth, up=up, rng=0), seed)
    image = whole_picture(2, *size, seed=seed)
    whole = predict(net, image, tile=None)
    np.testing.assert_array_equal(predict(net, image, tile=tile), whole)
    mirrored = tiles.mirrored(net, image)
    np.testing.assert_array_equal(net(md.Tensor(mirrored[None])).data[0, :, : size[0], : size[1]], whole)


def test_tiles_of_the_papers_depth_equal_the_whole_image_exactly():
    net = whole_numbers(UNet(1, 2, base=2, rng=0), 3)
    image = whole_picture(1, 173, 90)
    whole, shown = predict(net, image, tile=None), []
    assert whole.shape == (2, 173, 90) and len(np.unique(whole)) > 1000
    np.testing.assert_array_equal(predict(net, image, tile=50, show=lambda: shown.append(1)), whole)
    assert len(shown) == tiles.count(net, (173, 90), 50) == 4 * 2  # of 52 logits, 48 apart
    assert tiles.count(net, (388, 1), 388) == 1 and tiles.count(net, (389, 776), 388) == 2 * 3


def test_the_first_logit_belongs_to_the_first_pixel_and_borders_are_mirrored():
    """With all weights at the centre tap the network shows, for each pixel, the image at or near that pixel."""
    net = UNet(1, 1, base=1, depth=2).to("float64")
    for p in net.parameters():
        p.data = np.zeros(p.shape)
    for block in (net.encoder[0], net.decoder[-1]):
        block.conv1.weight.data[0, 0, 1, 1] = block.conv2.weight.data[0, 0, 1, 1] = 1
    net.head.weight.data[...] = 1
    image = whole_picture(1, 7, 9)
    np.testing.assert_array_equal(predict(net, image), image)  # the top skip is the image itself
    mirrored, low = tiles.mirrored(net, image)[0], context(2) // 2
    for m, n in np.ndindex(mirrored.shape):  # a row of tiles of the image and its mirror image, 2 (size - 1) long
        i, j = (m - low) % 12, (n - low) % 16
        assert mirrored[m, n] == image[0, min(i, 12 - i), min(j, 16 - j)]


def test_a_network_moves_with_its_image_by_whole_periods_only():
    """Why tiles of 388 logits are stepped by 384."""
    net = whole_numbers(UNet(1, 2, base=2, rng=0), 3)
    image = whole_picture(1, 1, 260, 204)
    there = {move: net(md.Tensor(image[:, :, move : move + 204])).data for move in (0, 8, 15, 16, 32)}
    for move in (8, 15):
        assert not np.array_equal(there[0][:, :, move:], there[move][:, :, :-move])
    np.testing.assert_array_equal(there[0][:, :, 16:], there[16][:, :, :-16])
    np.testing.assert_array_equal(there[16][:, :, 16:], there[32][:, :, :-16])


PADDED = {
    "unet": lambda: UNet(2, 2, base=2, depth=2, padded=True, batch_norm=False, rng=0),
    "nearest": lambda: UNet(2, 2, base=2, depth=2, padded=True, batch_norm=False, up="nearest", skips=False, rng=0),
    "simple": lambda: SimpleNet(2, 3, kernel_size=5, rng=0),
}


@settings(max_examples=8, deadline=None)
@given(size=st.tuples(st.integers(1, 120), st.integers(1, 20)), tile=st.integers(1, 50), seed=st.integers(0, 5))
@pytest.mark.parametrize("name", PADDED)
def test_tiles_of_padded_networks_equal_the_whole_image_exactly(name, size, tile, seed):
    net = whole_numbers(PADDED[name](), seed)
    image = whole_picture(2, *size, seed=seed)
    whole = predict(net, image, tile=None)
    np.testing.assert_array_equal(whole, net(md.Tensor(image[None])).data[0])
    np.testing.assert_array_equal(predict(net, image, tile=tile), whole)


@pytest.mark.parametrize("variant", VARIANTS)
def test_tiles_of_an_fcn_equal_the_whole_image_exactly(variant):
    """Weights of bilinear interpolation are multiples of 1/4096: their sums are exact too."""
    net = whole_numbers(FCN(2, 1, variant, 1, rng=0), 2)
    image = whole_picture(1, 800, 20)
    whole = predict(net, image, tile=None)
    assert len(np.unique(whole)) > 100
    np.testing.assert_array_equal(predict(net, image, tile=100), whole)


def test_a_margin_that_is_too_narrow_shows():
    """That a tile is given what it depends on is what makes it equal."""
    net = SimpleNet(1, 3, rng=0).to("float64")
    image = picture(1, 30, 8, dtype=np.float64)
    whole = predict(net, image, tile=None)
    net.radius = 1
    assert not np.allclose(predict(net, image, tile=10), whole)


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-13), (np.float32, 5e-5)])
@pytest.mark.parametrize("padded", [False, True])
def test_tiles_of_ordinary_weights_equal_the_whole_image_up_to_rounding(padded, dtype, tolerance):
    """Products of matrices of other shapes add in another order; in float32 Winograd's tiles lie otherwise too."""
    net = UNet(1, 2, base=16, depth=2, padded=padded, rng=0)
    rng = np.random.default_rng(0)
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer[...] = rng.uniform(0, 0.1, buffer.shape) + ("var" in name)
    net = net.to(dtype)
    image = picture(1, 90, 70, dtype=dtype)
    whole = predict(net, image, tile=None)
    assert whole.dtype == dtype and whole.std() > 0.01 and net.training  # the mode is restored
    np.testing.assert_allclose(predict(net, image, tile=40), whole, rtol=0, atol=tolerance * np.abs(whole).max())


def test_images_and_tiles_that_predict_refuses():
    net = SimpleNet(rng=0)
    with pytest.raises(ValueError, match="shape \\(C, H, W\\), got \\(4, 4\\)"):
        predict(net, np.zeros((4, 4)))
    with pytest.raises(ValueError, match="at least 1, got 4 and 0"):
        predict(net, np.zeros((1, 4, 4)), tile=0)
    with pytest.raises(ValueError, match="at least 1x1 and a tile of at least 1, got 0"):
        predict(net, np.zeros((1, 4, 0)))


def test_importing_the_task_loads_nothing_but_the_engine():
    code = (
        "import sys; from minidl import data, nn, optim, train; before = set(sys.modules); "
        "import tasks.segment; print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tasks.segment.unet" in loaded
    assert {name.partition(".")[0] for name in loaded} <= {"tasks", "minidl"}
    assert "tasks.segment.cli" not in loaded and "scipy.ndimage" not in loaded

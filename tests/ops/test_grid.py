"""Sampling beside SciPy, Pillow and loops: other modes of interpolate, grid_sample, affine_grid, adaptive_max_pool."""

import itertools

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

import minidl as md
from minidl import functional as F

SIZES = [((5, 7), (9, 3)), ((4, 6), (2, 13)), ((3, 3), (3, 8))]


@pytest.mark.parametrize("mode, pillow", [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC")])
@pytest.mark.parametrize("size, target", SIZES)
def test_without_aliasing_is_as_pillow_resizes(mode, pillow, size, target):
    x = np.random.default_rng(0).normal(size=size).astype("float32")
    expected = Image.fromarray(x).resize(target[::-1], getattr(Image.Resampling, pillow))
    y = F.interpolate(x[None, None], size=target, mode=mode, antialias=True)
    np.testing.assert_allclose(y.data[0, 0], expected, atol=2e-6)


@pytest.mark.parametrize("size, target", SIZES)
def test_the_nearest_entry_is_pillows_and_areas_are_means(size, target):
    x = np.random.default_rng(0).normal(size=size)
    y = F.interpolate(x[None, None], size=target, mode="nearest-exact")
    expected = Image.fromarray(x.astype("f")).resize(target[::-1], Image.Resampling.NEAREST)
    np.testing.assert_array_equal(y.data[0, 0].astype("f"), expected)
    area = F.interpolate(x[None, None], size=target, mode="area").data[0, 0]
    for at in np.ndindex(*target):
        box = tuple(slice(o * n // m, -(-(o + 1) * n // m)) for o, n, m in zip(at, size, target, strict=True))
        assert area[at] == pytest.approx(x[box].mean())


def test_cubic_is_keys_kernel_and_goes_through_the_entries():
    x = np.linspace(0, 1, 9) ** 2
    y = F.interpolate(x[None, None], size=17, mode="cubic", align_corners=True).data[0, 0]
    np.testing.assert_allclose(y[::2], x, atol=1e-15)

    def kernel(t, a=-0.75):  # Keys, eq. 4
        t = abs(t)
        return (a + 2) * t**3 - (a + 3) * t**2 + 1 if t < 1 else a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0

    y = F.interpolate(x[None, None], scale_factor=1.7, mode="cubic").data[0, 0]
    for o, value in enumerate(y):
        at = (o + 0.5) / 1.7 - 0.5
        expected = sum(kernel(at - i) * x[min(max(i, 0), 8)] for i in range(-3, 13))
        assert value == pytest.approx(expected, abs=1e-12)


SCIPYS = {"zeros": "grid-constant", "border": "nearest", "reflection": "reflect"}


@pytest.mark.parametrize("padding", SCIPYS)
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_grid_sample_is_scipys_interpolation(rank, aligned, padding):
    rng, size = np.random.default_rng(rank), (4, 5, 3)[:rank]
    x, grid = rng.normal(size=(2, 2, *size)), rng.uniform(-1.9, 1.9, (2, 3, 4, 2)[: rank + 1] + (rank,))
    n = np.array(size)[::-1]
    points = (grid + 1) / 2 * (n - 1) if aligned else ((grid + 1) * n - 1) / 2
    mode = "mirror" if (padding, aligned) == ("reflection", True) else SCIPYS[padding]
    y = F.grid_sample(x, grid, padding_mode=padding, align_corners=aligned).data
    for b, c in np.ndindex(2, 2):
        expected = map_coordinates(x[b, c], np.moveaxis(points[b], -1, 0)[::-1], order=1, mode=mode)
        np.testing.assert_allclose(y[b, c], expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("mode, padding", [*itertools.product(["bilinear", "bicubic"], SCIPYS)])
def test_grid_sample_has_right_derivatives_of_both_orders(mode, padding):
    rng = np.random.default_rng(0)
    x, grid = rng.normal(size=(1, 1, 2, 3)), rng.uniform(-1.7, 1.7, (1, 1, 2, 2))
    report = md.gradcheck(lambda x, grid: F.grid_sample(x, grid, mode, padding) ** 2, [x, grid], order=2)
    assert report, report.text()


def test_the_grid_of_the_identity_gives_x_back_and_that_of_a_turn_turns():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4))
    for aligned in (False, True):
        for theta, expected in (([[1, 0, 0], [0, 1, 0]], x), ([[0, -1, 0], [1, 0, 0]], np.rot90(x, 1, (2, 3)))):
            grid = F.affine_grid(np.array([theta] * 2, float), x.shape, align_corners=aligned)
            np.testing.assert_allclose(F.grid_sample(x, grid, align_corners=aligned).data, expected, atol=1e-12)
    single = F.affine_grid(np.zeros((1, 2, 3), "f"), (1, 1, 2, 2))
    assert single.dtype == np.float32 and F.grid_sample(np.zeros((1, 1, 3, 3), "f"), single).dtype == np.float32


def test_a_pixel_that_no_sample_sees_does_not_count():
    x = np.zeros((1, 1, 2, 2))
    x[0, 0, 0, 0] = np.nan
    assert F.grid_sample(x, np.full((1, 1, 1, 2), 3.0)).data.item() == 0


def test_what_grid_sample_and_affine_grid_refuse():
    x, grid = np.zeros((2, 1, 3, 3)), np.zeros((2, 4, 4, 2))
    for call, message in (
        (lambda: F.grid_sample(x, grid[:1]), r"the grid needs shape \(2, \*output, 2\)"),
        (lambda: F.grid_sample(x, grid, mode="linear"), "mode 'linear'.* the modes are nearest"),
        (lambda: F.grid_sample(x, grid, padding_mode="wrap"), "padding_mode 'wrap'"),
        (lambda: F.grid_sample(x, grid / 0), "NaN or infinite"),
        (lambda: F.affine_grid(np.zeros((1, 2, 2)), (1, 1, 3, 3)), r"takes theta \(1, 2, 3\), got \(1, 2, 2\)"),
    ):
        with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
            call()


@pytest.mark.parametrize("size, out", [((7,), (3,)), ((5, 4), (3, 6)), ((6, 4), (3, 2)), ((2, 5, 3), (1, 2, None))])
def test_adaptive_max_pool_is_a_loop_over_its_windows(size, out):
    x = np.random.default_rng(0).integers(0, 4, (2, 2, *size)).astype(float)
    y, at = F.adaptive_max_pool(x, out, return_indices=True)
    for o in np.ndindex(*y.shape[2:]):
        box = [slice(i * n // m, -(-(i + 1) * n // m)) for i, n, m in zip(o, size, y.shape[2:], strict=True)]
        for b, c in np.ndindex(2, 2):
            cells = np.arange(x[0, 0].size).reshape(size)[tuple(box)].ravel()
            best = cells[x[b, c].ravel()[cells].argmax()]
            assert (y.data[b, c, *o], at.data[b, c, *o]) == (x[b, c].flat[best], best)
    with pytest.raises(ValueError, match="adaptive_max_pool: cannot share"):
        F.adaptive_max_pool(x, 0)


def test_a_divisor_takes_the_place_of_the_counts():
    x = np.arange(1.0, 5).reshape(1, 1, 4)
    assert F.avg_pool(x, 3, stride=2, padding=1, divisor_override=2).data.tolist() == [[[1.5, 4.5]]]
    with pytest.raises(ValueError, match="must not be 0"):
        F.avg_pool(x, 2, divisor_override=0)

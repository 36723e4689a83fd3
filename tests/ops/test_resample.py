"""Interpolation: sampling points, adjoints, order 2, traps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

import minidl as md
from minidl import functional as F

drawn = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def problems(draw):
    """x of 1 to 3 spatial axes, and a size for each."""
    spatial = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    size = [draw(st.integers(1, 9)) for _ in spatial]
    rng = np.random.default_rng(draw(seeds))
    return rng.normal(size=(draw(st.integers(0, 2)), draw(st.integers(1, 2)), *spatial)), tuple(size)


modes = st.sampled_from([("nearest", False), ("linear", False), ("linear", True)])


def sampling_points(n, m, align_corners):
    """Where the m samples of an axis of length n lie, in entries."""
    if align_corners:
        return np.linspace(0, n - 1, m) if m > 1 else np.zeros(1)
    return ((np.arange(m) + 0.5) * n / m - 0.5).clip(0, n - 1)


@drawn
@given(problems(), st.booleans())
def test_linear_is_scipys_interpolation_at_the_sampling_points(problem, align_corners):
    x, size = problem
    actual = F.interpolate(md.Tensor(x), size=size, mode="linear", align_corners=align_corners).numpy()
    assert actual.shape == x.shape[:2] + size
    doubled = x
    for axis in range(2, x.ndim):  # scipy needs two points on every axis: repeat the last
        doubled = np.concatenate([doubled, doubled.take([-1], axis)], axis)
    grid = [np.arange(n) for n in doubled.shape[2:]]
    axes = [sampling_points(n, m, align_corners) for n, m in zip(x.shape[2:], size, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    for i in np.ndindex(x.shape[:2]):
        np.testing.assert_allclose(actual[i], RegularGridInterpolator(grid, doubled[i])(points), atol=1e-12)


@drawn
@given(problems())
def test_nearest_takes_the_entry_at_or_before_the_point(problem):
    x, size = problem
    expected = x
    for axis, m in enumerate(size, 2):
        expected = expected.take([o * x.shape[axis] // m for o in range(m)], axis)
    assert (F.interpolate(md.Tensor(x), size=size).numpy() == expected).all()


@drawn
@given(problems(), modes, seeds)
def test_gradient_is_the_adjoint_and_so_is_its_gradient(problem, mode, seed):
    x, size = problem
    rng = np.random.default_rng(seed)

    def f(x):
        return F.interpolate(x, size=size, mode=mode[0], align_corners=mode[1])

    y, pullback = md.vjp(f, x)
    u = rng.normal(size=y.shape)
    (gx,) = pullback(u)
    scale = abs(y.numpy() * u).sum() + 1
    assert abs((y.numpy() * u).sum() - (x * gx.numpy()).sum()) < 1e-12 * scale
    _, tangent = md.jvp(f, x_tensor := md.Tensor(x), md.Tensor(x))  # f is linear: f'(x) x = f(x)
    np.testing.assert_allclose(tangent.numpy(), f(x_tensor).numpy(), atol=1e-12)


def test_hessian_of_a_square_is_the_gram_matrix():
    x = np.random.default_rng(0).normal(size=(1, 1, 3))
    for mode, align_corners in (("nearest", False), ("linear", False), ("linear", True)):
        def f(x, mode=mode, align_corners=align_corners):
            return F.interpolate(x, size=5, mode=mode, align_corners=align_corners)

        matrix = md.jacobian(f, x).numpy().reshape(5, 3)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-14)
        hessian = md.hessian(lambda x, f=f: (f(x) ** 2).sum(), x).numpy().reshape(3, 3)
        np.testing.assert_allclose(hessian, 2 * matrix.T @ matrix, atol=1e-13)


@drawn
@given(st.integers(1, 30), st.floats(0.2, 4))
def test_a_scale_factor_is_used_as_given_not_as_the_ratio_of_lengths(n, scale):
    m = int(np.floor(n * scale))
    x = md.Tensor(np.arange(n, dtype=float)[None, None])
    if m < 1:
        with pytest.raises(ValueError, match="1 or more"):
            F.interpolate(x, scale_factor=scale, mode="linear")
        return
    y = F.interpolate(x, scale_factor=scale, mode="linear").numpy()[0, 0]
    points = ((np.arange(m) + 0.5) / scale - 0.5).clip(0, n - 1) if m != n else np.arange(n)
    np.testing.assert_allclose(y, points, atol=1e-12)  # a ramp reads off its own coordinates


def test_cubic_samples_as_far_apart_as_the_factor_says_where_the_length_stays():
    def f(x):
        return F.interpolate(x, scale_factor=9 / 8, mode="cubic")

    n, a = 6, -3 / 4  # Keys, eq. 4
    positions = (np.arange(n) + 0.5) * 8 / 9 - 0.5
    wanted = np.zeros((n, n))
    for o, p in enumerate(positions):
        for entry in range(int(np.floor(p)) - 1, int(np.floor(p)) + 3):
            t = abs(p - entry)
            weight = (a + 2) * t**3 - (a + 3) * t**2 + 1 if t <= 1 else a * (t - 1) * (t - 2) ** 2
            wanted[o, np.clip(entry, 0, n - 1)] += weight
    x = np.random.default_rng(0).normal(size=(1, 1, n))
    np.testing.assert_allclose(f(md.Tensor(x)).numpy()[0, 0], wanted @ x[0, 0], atol=1e-12)
    np.testing.assert_allclose(md.jacobian(f, x).numpy().reshape(n, n), wanted, atol=1e-12)


def test_both_are_exact_where_they_should_be():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    for mode in ("nearest", "linear"):
        assert (F.interpolate(md.Tensor(x), size=(4, 5), mode=mode).numpy() == x).all()
    doubled = F.interpolate(md.Tensor(x), scale_factor=2).numpy()
    assert (doubled == x.repeat(2, axis=2).repeat(2, axis=3)).all()
    corners = F.interpolate(md.Tensor(x), size=(9, 11), mode="linear", align_corners=True).numpy()
    np.testing.assert_allclose(corners[..., ::8, ::10], x[..., ::3, ::4], atol=1e-15)


def test_dtypes():
    x = np.arange(6).reshape(1, 1, 6)
    single = md.tensor(x, dtype=np.float32, requires_grad=True)
    for mode in ("nearest", "linear"):
        y = F.interpolate(single, size=4, mode=mode)
        assert y.dtype == md.grad(y.sum(), single)[0].dtype == np.float32
    labels = F.interpolate(md.Tensor(x), size=3)
    assert labels.dtype == x.dtype and labels.tolist() == [[[0, 2, 4]]]
    with pytest.raises(TypeError, match="float"):
        F.interpolate(md.Tensor(x), size=3, mode="linear")


def test_errors():
    x = md.Tensor(np.zeros((1, 2, 3, 4)))
    for options, message in (
        ({}, "either size or scale_factor"),
        ({"size": 2, "scale_factor": 2}, "either size or scale_factor"),
        ({"size": (2, 2, 2)}, "3 entries for 2 spatial axes"),
        ({"size": 0}, "at least 1"),
        ({"scale_factor": -1.0}, "scale_factor must be a number above 0"),
        ({"size": 2, "mode": "lanczos"}, "mode 'lanczos' is unknown"),
        ({"size": 2, "mode": "trilinear"}, r"mode 'trilinear' needs 3 spatial axes, x has shape \(1, 2, 3, 4\)"),
        ({"size": 2, "align_corners": True}, "linear"),
        ({"size": 2, "mode": "area", "antialias": True}, "linear and cubic modes, not 'area'"),
    ):
        with pytest.raises(ValueError, match=message):
            F.interpolate(x, **options)
    with pytest.raises(ValueError, match=r"\(N, C, \*spatial\)"):
        F.interpolate(md.Tensor(np.zeros((2, 3))), size=2)

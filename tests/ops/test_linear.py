"""Matrix products and sums on the CPU: kernels against NumPy's plain operations, in every layout."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.kernels.cpu import product as kernel
from minidl.kernels.cpu import reduce, workers

drawn = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**32 - 1)
sides = st.sampled_from([1, 2, 7, 8, 9, 30])


def laid(x, how):
    """x in another place of memory."""
    if how == "transposed":
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    if how == "gaps":
        return np.repeat(np.repeat(x, 2, axis=-1), 3, axis=-2)[..., ::3, ::2]
    if how == "reversed":
        return np.ascontiguousarray(x[..., ::-1, ::-1])[..., ::-1, ::-1]
    if how == "repeated":
        return np.broadcast_to(x[..., :1, :1], x.shape)
    return x


layouts = st.sampled_from(["C", "transposed", "gaps", "reversed", "repeated"])


@drawn
@given(
    st.lists(st.integers(0, 9), max_size=2), sides, sides, sides, layouts, layouts,
    st.sampled_from(["ff", "dd", "fd", "DD", "ii"]), seeds,
)  # fmt: skip
def test_a_product_in_parts_is_the_product(lead, i, k, j, of_a, of_b, dtypes, seed):
    rng = np.random.default_rng(seed)
    a = laid((rng.normal(size=(*lead, i, k)) * 8).astype(dtypes[0]), of_a)
    b = laid((rng.normal(size=(*lead, k, j)) * 8).astype(dtypes[1]), of_b)
    expected = np.einsum("...ik,...kj->...ij", a.astype("D"), b.astype("D"))
    for limits in ((0, 0), (0, 1 << 40), (1 << 40, 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "ONE_THREAD", limits[0])
            patch.setattr(kernel, "ONE_THREAD_VECTOR", limits[0])
            patch.setattr(kernel, "SHARED", limits[1])
            y = kernel.product(a, b)
        assert y.dtype == np.matmul(a, b).dtype
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-3 if "f" in dtypes else 1e-10)


@pytest.mark.parametrize("shapes", [((1, 5000), (5000, 4000)), ((300, 300), (300, 300)), ((9, 130, 130), (9, 130, 130)),
                                    ((2, 260, 200), (2, 200, 270))])  # fmt: skip
def test_a_product_has_the_same_bits_on_any_number_of_threads(monkeypatch, shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype("f") for shape in shapes)
    assert a.size * b.shape[-1] > kernel.SHARED
    results = set()
    for n in (1, 2, 3):
        monkeypatch.setattr(workers, "thread_count", lambda n=n: n)
        monkeypatch.setattr(workers, "_workers", None)
        results.add(kernel.product(a, b).tobytes())
    assert len(results) == 1


def test_gradients_of_a_linear_layer_lie_as_its_weight():
    rng = np.random.default_rng(0)
    x, w = (md.tensor(rng.normal(size=shape), requires_grad=True) for shape in ((5, 3), (4, 3)))
    g = rng.normal(size=(5, 4))
    gx, gw = md.grad(F.linear(x, w), [x, w], g)
    np.testing.assert_allclose(gx.numpy(), g @ w.numpy(), atol=1e-14)
    np.testing.assert_allclose(gw.numpy(), g.T @ x.numpy(), atol=1e-14)
    assert gw.data.flags.c_contiguous


@drawn
@given(
    st.tuples(st.integers(0, 4), st.integers(0, 40), st.integers(0, 20), st.integers(0, 20)), st.integers(1, 4),
    st.sampled_from(["C", "channels last"]), st.sampled_from("fdDib"), st.data(), st.booleans(), seeds,
)  # fmt: skip
def test_a_sum_is_the_sum_in_any_layout(shape, ndim, layout, dtype, data, keepdims, seed):
    shape = shape[:ndim]
    x = (np.random.default_rng(seed).normal(size=shape) * 9).astype(dtype)
    if layout == "channels last" and ndim > 1:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    axes = tuple(range(ndim))
    axis = data.draw(st.sampled_from([axes[2:], (0, *axes[2:]), axes, axes[1:], axes[:1]]))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("FEW", 2), ("GROUP", 2), ("SMALL", 8)):  # small arrays go the way of large ones
            patch.setattr(reduce, name, value)
        patch.setattr(reduce, "WIDE", data.draw(st.sampled_from([16, 64, 512])))
        y = reduce.summed(x, axis=axis, keepdims=keepdims)
    plain = x.sum(axis=axis, keepdims=keepdims)
    assert y.dtype == plain.dtype and y.shape == plain.shape
    error = abs(y - x.astype("D").sum(axis=axis, keepdims=keepdims))
    assert (error <= (1e-6 if dtype == "f" else 1e-14) * abs(x.astype("D")).sum(axis=axis, keepdims=keepdims)).all()

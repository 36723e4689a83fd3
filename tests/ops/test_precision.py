"""Digits: sums over any axis in any layout, half precision, small integers, NumPy's scalars, targets out of range."""

import math

import numpy as np
import pytest
import scipy.special

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.core.tensor import Parameter
from minidl.kernels.cpu.reduce import summed

rng = np.random.default_rng(0)

# --- sums

LAYOUTS = {
    "C": lambda a: a,
    "Fortran": np.asfortranarray,
    "channels last": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1),
    "reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "every second": lambda a: np.repeat(np.repeat(a, 2, 0), 2, -1)[::2, ..., ::2],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(40000, 2), (9000, 5), (700, 300), (300, 3, 7, 9), (2, 1000, 31)])
def test_a_sum_is_right_to_a_few_eps_over_any_axes_in_any_layout(shape, layout, dtype):
    """Of equal entries, whose rounding errors all go one way: NumPy is off by a thousand times that."""
    x = LAYOUTS[layout](np.full(shape, 0.1, dtype))
    exact = int(np.float64(dtype(0.1).real) * 2**60)  # an integer
    for axis in {(0,), (1,), tuple(range(x.ndim)), (0, *range(2, x.ndim)), tuple(range(1, x.ndim))}:
        n = math.prod(shape[a] for a in axis)
        y = summed(x, axis=axis, keepdims=False)
        assert y.dtype == dtype and y.shape == x.sum(axis=axis).shape
        error = max(abs(int(v * 2**60) - n * exact) for v in (y.real.min().astype(float), y.real.max().astype(float)))
        assert error <= (2 + np.log2(n)) * np.finfo(dtype).eps * n * exact


def test_a_repeated_axis_is_a_product():
    x = np.broadcast_to(rng.random((1, 5, 1), dtype=np.float32), (10000, 5, 7))
    for axis in ((0,), (2,), (0, 2)):
        y = summed(x, axis=axis, keepdims=True)
        n = math.prod(x.shape[a] for a in axis)
        np.testing.assert_allclose(y, x[:1, :, :1].astype(float) * n * np.ones_like(y), 1e-7)


def test_gradients_of_biases_means_and_softmax_of_many_rows():
    n, g = 50000, np.full((50000, 3), 0.1, np.float32)
    layer = nn.Linear(2, 3, rng=0)
    layer(md.tensor(np.zeros((n, 2)), dtype="float32")).backward(g)
    np.testing.assert_allclose(layer.bias.grad.data, n * float(g[0, 0]), 1e-6)
    x = md.Tensor(g)
    np.testing.assert_allclose(x.mean(0).data, float(g[0, 0]), 1e-6)
    np.testing.assert_allclose(F.softmax(x, 0).data, 1 / n, 1e-6)
    np.testing.assert_allclose(F.log_softmax(x, 0).data, -np.log(n), 1e-6)
    np.testing.assert_allclose(F.cross_entropy(x.T.reshape(1, 3, n).swapaxes(1, 2), [[0, 1, 2]]).data, np.log(n), 1e-6)


# --- half precision


def test_half_precision_adds_up_in_single():
    ones, big = np.ones((300, 300), np.float16), md.Tensor(np.full((2, 4, 16, 16), 300, np.float16))
    many = md.Tensor(np.zeros(100_000, np.float16))
    found = {
        "mean": (md.Tensor(ones).mean(), 1),
        "softmax": (F.softmax(md.Tensor(ones.reshape(-1)), 0).max(), np.float16(1 / 90000)),
        "log_softmax": (F.log_softmax(many, 0).max(), np.float16(-np.log(100_000))),
        "logsumexp": (many.logsumexp(), np.float16(np.log(100_000))),
        "std": ((big * F.stack([many[0] + 1, many[0] - 1])[:, None, None, None]).std(), 300),
        "avg_pool": (F.avg_pool(big, 16).max(), 300),
        "global_avg_pool": (F.global_avg_pool(big).max(), 300),
        "group_norm": (F.group_norm(big, 2).max(), 0),
        "local_response_norm": (F.local_response_norm(big, 4, alpha=1.0, beta=0.5).min(), 1),
    }
    losses = {
        "cross_entropy": (F.cross_entropy(many.reshape(-1, 2), np.zeros(50_000, int)), np.log(2)),
        "bce": (F.binary_cross_entropy_with_logits(many, many.data, reduction="sum"), 100_000 * np.log(2)),
        "mse": (F.mse_loss(big, -big), 360_000),
        "l1": (F.l1_loss(big, -big, reduction="sum"), 2048 * 600),
        "dice": (F.soft_dice_loss(big / 300, big.data / 300), -1),
    }
    for dtype, results in ((np.float16, found), (np.float32, losses)):
        for name, (y, right) in results.items():
            assert y.dtype == dtype, name
            np.testing.assert_allclose(float(y), float(right), 1e-3, 1e-6, err_msg=name)


def test_gradients_come_back_in_half_precision():
    x = md.tensor(np.full((300, 300), 2), requires_grad=True, dtype=np.float16)
    F.mse_loss(x, 0 * x.data, reduction="sum").backward()
    assert x.grad.dtype == np.float16 and (x.grad.data == 4).all()
    x.grad = None
    (x.mean() * 9000).backward()
    np.testing.assert_allclose(x.grad.data.astype(float), 0.1, 1e-3)


def test_batch_norm_of_half_precision():
    x = rng.standard_normal((64, 4, 20, 20)).astype(np.float16) * 20
    g = rng.standard_normal(x.shape).astype(np.float16)
    grads = []
    for dtype in (np.float16, np.float64):
        leaves = [md.tensor(v, requires_grad=True, dtype=dtype) for v in (x, np.ones(4), np.zeros(4))]
        y = F.batch_norm(leaves[0], None, None, *leaves[1:], training=True)
        grads.append([v.data for v in md.grad(y, leaves, g.astype(dtype))])
    for half, right in zip(*grads, strict=True):
        assert half.dtype == np.float16
        np.testing.assert_allclose(half.astype(float), right, 2e-3, 2e-4)


def test_boxes_and_clipping_in_half_precision():
    boxes = np.array([[0, 0, 500, 500], [1, 1, 501, 501], [0, 0, 499, 499]])
    assert F.nms(boxes.astype(np.float16), [0.9, 0.8, 0.7], 0.5).tolist() == [0]
    for iou in (F.box_iou, F.generalized_box_iou):
        np.testing.assert_allclose(iou(*[boxes.astype(np.float16)] * 2).data, iou(boxes, boxes).data, 1e-6)
    w = Parameter(np.ones((100, 100), np.float16))
    (w * 300).backward(np.ones((100, 100)))
    assert optim.clip_grad_norm([w], 1.0) == pytest.approx(30_000)
    np.testing.assert_allclose(w.grad.data.astype(float), 0.01, 1e-2)


# --- small integers


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, bool])
def test_small_integers_count_as_doubles(dtype):
    x = np.array([[1, 2, 12], [100, 0, 3]]).astype(dtype)
    d = x.astype(float)
    plain = [F.exp, F.sqrt, F.sin, F.cos, F.tanh, F.sigmoid, F.softplus, F.elu, F.erf, F.expm1, F.log1p, F.gelu, F.silu]
    for f in [*plain, *(lambda v, f=f: f(v, 1) for f in (F.softmax, F.log_softmax))]:
        found = f(md.Tensor(x)).data
        assert found.dtype == np.float64 and np.array_equal(found, f(md.Tensor(d)).data)
    np.testing.assert_allclose(F.softmax(md.Tensor(x), 1).data, scipy.special.softmax(d, 1), 1e-14)
    np.testing.assert_allclose(md.Tensor(x).logsumexp().data, scipy.special.logsumexp(d), 1e-14)


def test_reductions_and_pools_of_small_integers():
    assert md.Tensor(np.array([-128, 5], np.int8)).min().data == -128
    assert md.Tensor(np.array([[200, 200], [3, 5]], np.uint8)).prod(axis=1).tolist() == [40_000, 15]
    photo = md.Tensor(np.full((1, 3, 4, 4), 200, np.uint8))
    for y in (F.avg_pool(photo, 2), F.adaptive_avg_pool(photo, 2), F.adaptive_avg_pool(photo, 3), photo.mean()):
        assert (y.data == 200).all()
    assert F.avg_pool(photo, 2, divisor_override=1).data.max() == 800


# --- scalars of NumPy


@pytest.mark.parametrize("value", [np.sqrt(2), np.int64(3), np.asarray(0.5), np.float32(1.5)])
@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("recording", [True, False])
def test_scalars_of_numpy_are_weak(value, requires_grad, recording):
    x = md.tensor(np.ones((2, 4, 3)), requires_grad=requires_grad, dtype=np.float32)
    with md.enable_grad() if recording else md.no_grad():
        results = [x * value, value * x, x / value, value - x, x**value, value**x, F.where(x > 0, x, value)]
        results += [F.maximum(x, value), F.minimum(value, x), x.clip(value), x.clip(None, value), F.elu(x, value)]
        results += [F.leaky_relu(x, value), F.hardtanh(x, -value, value), F.prelu(x, value), F.pad(x, 1, value=value)]
        results += [F.smooth_l1_loss(x, x.data, beta=value), F.local_response_norm(x, 3, alpha=value)]
        results += [nn.Conv1d(4, 2, 3, rng=0)(x * value), x.sum() * value]
    assert {y.dtype for y in results} == {np.dtype(np.float32)}
    assert (md.tensor([0.1], dtype=np.float32) == np.float64(0.1)).tolist() == [True]  # as of Python's 0.1


# --- targets


@pytest.mark.parametrize(
    "loss",
    [F.soft_dice_loss, F.binary_cross_entropy_with_logits, F.binary_cross_entropy, F.sigmoid_focal_loss,
     F.cross_entropy],
)  # fmt: skip
def test_targets_that_are_no_probabilities_are_refused(loss):
    p, mask = md.Tensor(np.full((1, 2, 4, 4), 0.5)), np.zeros((1, 2, 4, 4))
    mask[..., :2] = 1
    assert np.isfinite(loss(p, mask).data)
    hint = "; divide a mask of 0 and 255 by 255"
    for wrong, message in ((255 * mask, "got 0.0 to 255.0" + hint), (mask - 0.5, "got -0.5 to 0.5")):
        with pytest.raises(ValueError, match=f"{loss.__name__}: targets must lie between 0 and 1, {message}"):
            loss(p, wrong)
    assert np.isfinite(loss(p.astype("float32"), mask.astype("float32") * np.float32(1 + 1e-6)).data)  # rounding
    with pytest.raises(ValueError, match="between 0 and 1, got nan"):
        loss(p, np.where(mask, np.nan, 0))

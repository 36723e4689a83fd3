"""Layer, instance and root mean square normalisation: formulas, running averages, empty and half, refusals."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn

RNG = np.random.default_rng(0)
X, W, B = RNG.normal(3, 2, size=(4, 3, 2, 5)), RNG.normal(size=(2, 5)), RNG.normal(size=(2, 5))


def standardised(x, axes, eps):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def close(ours, expected, rtol=1e-12):
    np.testing.assert_allclose(np.asarray(ours), expected, rtol=rtol, atol=rtol)


def test_formulas():
    x = md.Tensor(X)
    close(F.layer_norm(x, (2, 5), W, B, eps=0.1), standardised(X, (2, 3), 0.1) * W + B)
    close(F.layer_norm(x, 5), standardised(X, 3, 1e-5))
    close(F.instance_norm(x, eps=0.1), standardised(X, (2, 3), 0.1))
    close(F.instance_norm(x, None, None, W[0, :3], B[0, :3]),
          standardised(X, (2, 3), 1e-5) * W[0, :3, None, None] + B[0, :3, None, None])  # fmt: skip
    close(F.rms_norm(x, (2, 5), W, eps=0.1), X / np.sqrt((X**2).mean((2, 3), keepdims=True) + 0.1) * W)
    for f in (lambda x: F.layer_norm(x, 3), F.instance_norm, lambda x: F.rms_norm(x, (2, 3))):
        assert md.gradcheck(lambda x: (f(x) ** 3).sum(), X[:1, :2, :, :3])  # noqa: B023


def test_running_averages_of_instances():
    layer = nn.InstanceNorm2d(3, momentum=0.3, track_running_stats=True).to(float)
    layer(md.Tensor(X))
    close(layer.running_mean, 0.3 * X.mean((0, 2, 3)))
    close(layer.running_var, 0.7 + 0.3 * X.var((2, 3), ddof=1).mean(0))
    mean, var = layer.running_mean, layer.running_var
    layer.eval()
    close(layer(md.Tensor(X)), (X - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5))
    close(layer(md.Tensor(X[1])), layer(md.Tensor(X)).numpy()[1])  # one image without the axis of the batch


def test_empty_and_half_precision():
    assert F.layer_norm(md.Tensor(X[:0]), 5).shape == F.rms_norm(md.Tensor(X[:0]), 5).shape == (0, 3, 2, 5)
    assert F.instance_norm(md.Tensor(X[:0])).shape == (0, 3, 2, 5)
    large = np.full((2, 300), 300, np.float16)  # whose squares are infinite
    for y in (F.rms_norm(md.Tensor(large), 300), F.layer_norm(md.Tensor(large * [[1], [-1]]).astype(np.float16), 300)):
        assert y.dtype == np.float16 and np.isfinite(y.numpy()).all()
    assert (F.rms_norm(md.Tensor(large), 300).numpy() == 1).all()


def test_refusals():
    x = md.Tensor(X)
    with pytest.raises(ValueError, match=r"normalized_shape is \(3,\), the last axes of x \(4, 3, 2, 5\)"):
        F.layer_norm(x, 3)
    with pytest.raises(ValueError, match=r"rms_norm: weight has shape \(4,\), it must be normalized_shape, \(5,\)"):
        F.rms_norm(x, 5, np.ones(4))
    with pytest.raises(TypeError, match="layer_norm needs a float x, got int64"):
        F.layer_norm(md.tensor([1, 2]), 2)
    with pytest.raises(ValueError, match="maps of more than one pixel"):
        F.instance_norm(x[..., :1, :1])
    with pytest.raises(ValueError, match=r"InstanceNorm2d\(2\) takes \(N, 2\) and 2 spatial axes"):
        nn.InstanceNorm2d(2)(x)

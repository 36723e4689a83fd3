"""Activations made of others, functions of SciPy, roundings: formulas, modules, dtypes, large numbers."""

import math

import numpy as np
import pytest
from scipy.special import expit, log1p, ndtr

import minidl as md
from minidl import functional as F
from minidl import nn

ACTIVATIONS = {  # function, module, formula
    "gelu": (F.gelu, nn.GELU(), lambda x: x * ndtr(x)),
    "gelu tanh": (
        lambda x: F.gelu(x, "tanh"),
        nn.GELU("tanh"),
        lambda x: x * expit(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
    ),
    "silu": (F.silu, nn.SiLU(), lambda x: x * expit(x)),
    "mish": (F.mish, nn.Mish(), lambda x: x * np.tanh(log1p(np.exp(x)))),
    "selu": (F.selu, nn.SELU(), lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    "relu6": (F.relu6, nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    "hardtanh": (lambda x: F.hardtanh(x, -2, 0.5), nn.Hardtanh(-2, 0.5), lambda x: np.clip(x, -2, 0.5)),
    "hardsigmoid": (F.hardsigmoid, nn.Hardsigmoid(), lambda x: np.clip(x + 3, 0, 6) / 6),
    "hardswish": (F.hardswish, nn.Hardswish(), lambda x: x * np.clip(x + 3, 0, 6) / 6),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_their_formulas(name):
    f, module, formula = ACTIVATIONS[name]
    x = np.linspace(-7, 7, 15) + 0.1
    np.testing.assert_allclose(f(md.Tensor(x)).numpy(), formula(x), rtol=1e-12, atol=1e-15)
    assert (module(md.Tensor(x)).numpy() == f(md.Tensor(x)).numpy()).all()
    assert f(md.Tensor(x.astype("f"))).dtype == np.float32
    np.testing.assert_allclose(f(md.Tensor(np.array([0, 1, 200], np.uint8))).numpy(), formula(np.array([0.0, 1, 200])))
    assert md.gradcheck(lambda x: f(x).sum(), x[::4], order=2)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_large_numbers_are_finite(name):
    x = md.tensor([-1e4, -100.0, 100.0, 1e4], requires_grad=True, dtype="f")
    y = ACTIVATIONS[name][0](x)
    (g,) = md.grad(y.sum(), x, create_graph=True)
    assert np.isfinite(y.numpy()).all() and np.isfinite(g.numpy()).all()


def test_gelu_is_accurate_far_below_zero():
    x = np.array([-8.0, -20.0, -37.0])
    np.testing.assert_allclose(F.gelu(md.Tensor(x)).numpy(), x * ndtr(x), rtol=1e-11)


def test_corners_have_the_derivative_of_the_flat_side():
    x = md.tensor([0.0, 6.0], requires_grad=True)
    assert md.grad(F.relu6(x).sum(), x)[0].tolist() == [0, 0]
    assert md.grad(F.clip(x, 0, 6).sum(), x)[0].tolist() == [1, 1]


@pytest.mark.parametrize("f", [F.erf, F.erfc])
def test_error_functions_keep_the_dtype(f):
    for dtype in (np.float16, np.float32, np.float64):
        assert f(md.Tensor(np.ones(3, dtype))).dtype == dtype
    assert f(1.0).item() == f(md.tensor([1])).numpy()[0]
    np.testing.assert_allclose(f(1.0).item(), getattr(math, f.__name__)(1), rtol=1e-15)


def test_roundings_are_flat_and_may_be_made_straight_through():
    x = md.tensor([-1.5, -0.5, 0.2, 2.5], requires_grad=True)
    assert F.round(x).tolist() == [-2, 0, 0, 2]  # halves to the even neighbour
    assert x.round(1).tolist() == [-1.5, -0.5, 0.2, 2.5] and F.round(md.tensor([151, 160]), -1).tolist() == [150, 160]
    y = F.round(x)
    with md.override(F.round, x=lambda g, y, x: g):
        assert md.grad(y.sum(), x, retain_graph=True)[0].tolist() == [1, 1, 1, 1]
    assert md.grad(y.sum(), x)[0].tolist() == [0, 0, 0, 0]
    for f in (x.sign, x.floor, x.ceil, x.trunc):
        assert (f().numpy() == getattr(np, f.__name__)(x.numpy())).all()


def test_refusals():
    x = md.tensor([1.0])
    with pytest.raises(ValueError, match="approximate 'fast' is unknown"):
        F.gelu(x, "fast")
    with pytest.raises(ValueError, match="hardtanh needs min_val < max_val, got 1 and -1"):
        F.hardtanh(x, 1, -1)

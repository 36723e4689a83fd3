"""NumPy's functions of a Tensor: computed on its array, and refused where a gradient would be lost."""

import operator

import numpy as np
import pytest

import minidl as md

LOSING = {
    "np.where": (lambda x: np.where(x > 0, x * x, 0), "F.where"),
    "np.stack": (lambda x: np.stack([x, x]), "F.stack"),
    "np.concatenate": (lambda x: np.concatenate((np.ones((1, 2)), x)), "F.concat"),
    "np.dot": (lambda x: np.dot(x, x), "@"),
    "np.einsum": (lambda x: np.einsum("ij,ij->", x, x), "F.einsum"),
    "np.linalg.norm": (np.linalg.norm, "F.norm"),
    "np.linalg.svd": (np.linalg.svd, "minidl's own functions"),
    "np.mean": (lambda x: np.mean(x, axis=0), "tensor.mean()"),
    "np.reshape": (lambda x: np.reshape(x, 4), "tensor.reshape()"),
    "np.exp": (np.exp, "F.exp"),
    "np.maximum": (lambda x: np.maximum(0, x), "F.maximum"),
    "np.add.reduce": (np.add.reduce, "minidl's own functions"),
    "np.fft.fft": (np.fft.fft, "minidl's own functions"),
    "np.sum": (lambda x: np.sum(x, where=x > 0), "tensor.sum()"),
}


def matrix(requires_grad=True, dtype=None):
    return md.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad, dtype)


@pytest.mark.parametrize("name", LOSING)
def test_a_lost_gradient_is_an_error_that_says_what_to_use(name):
    function, ours = LOSING[name]
    with pytest.raises(TypeError) as error:
        function(matrix())
    text = f"{name} of a tensor that requires a gradient would lose it; use {ours}, or .detach() for the value alone"
    assert str(error.value) == text
    expected = function(matrix().numpy())
    with md.no_grad():
        free = function(matrix())
    for value in (function(matrix(requires_grad=False)), function(matrix().detach()), free):
        for a, b in zip(value, expected, strict=True) if isinstance(value, tuple) else [(value, expected)]:
            np.testing.assert_array_equal(a, b)


def test_values_without_a_gradient_are_given():
    x = matrix()
    assert np.shape(x) == (2, 2)
    assert np.argmax(x) == 3
    assert np.allclose(x, x.numpy())
    assert np.isfinite(x).all()
    assert not np.zeros_like(x).any()
    np.testing.assert_array_equal(np.array([x, x])[0], np.asarray(x))


def test_functions_made_of_methods_record():
    x = matrix()
    y = np.flip(np.swapaxes(np.squeeze(x[None]), 0, 1), 0)
    assert md.grad((y * np.arange(4.0).reshape(2, 2)).sum(), x)[0].tolist() == [[2, 0], [3, 1]]


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow", "matmul", "lt", "ge", "eq", "ne"])
@pytest.mark.parametrize("left", [np.array([[2.0, 1.0], [4.0, 5.0]]), np.float64(2), np.array(2.0)])
def test_operators_with_an_array_on_the_left_are_the_tensors(name, left):
    if name == "matmul" and left.ndim == 0:
        return
    for dtype in (np.float64, np.float32):
        x, operate = matrix(dtype=dtype), getattr(operator, name)
        y = operate(left, x)
        expected = operate(left.astype(dtype), x.numpy())
        np.testing.assert_allclose(y, expected, rtol=1e-6)
        assert y.requires_grad == (y.dtype.kind == "f")
        assert y.dtype == np.result_type(expected, np.float64 if left.ndim and y.requires_grad else expected)


def test_an_array_is_never_changed_before_the_refusal():
    total, x = np.ones((2, 2)), matrix()
    with pytest.raises(TypeError, match="detach"):
        total += x
    with pytest.raises(TypeError, match="detach"):
        np.sum(x, axis=0, out=total[0])
    assert (total == 1).all()
    total += x.detach()
    np.testing.assert_array_equal(total, 1 + x.numpy())


def test_cupy_is_made_to_leave_operators_to_the_tensor():
    assert matrix().__array_ufunc__ is None  # it asks the tensor, NumPy the type

"""Tensors as values: immutable, copied, printed, of a dtype; what is refused."""

import copy
import math
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.core.tensor import Parameter, Tensor

rng = np.random.default_rng(0)


def leaf(*shape, dtype=np.float64):
    return md.tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype)


# --- parameters


def test_parameters_can_be_pickled():
    w = Parameter(np.arange(3.0), name="w")
    v = pickle.loads(pickle.dumps(w))
    assert (type(v), v.name, v.requires_grad, v.tolist()) == (Parameter, "w", True, [0.0, 1.0, 2.0])


# --- immutability and conversions


def test_tensors_are_immutable():
    x = leaf(3)
    with pytest.raises(TypeError, match="immutable"):
        x[0] = 1.0
    y = x
    y += 1
    assert y is not x
    y = x
    y *= 2
    assert y is not x


def test_tensor_copies_and_wrapping_does_not():
    a = np.ones(3)
    copied, wrapped = md.tensor(a), Tensor(a)
    a[0] = 5
    assert copied.tolist() == [1.0, 1.0, 1.0]
    assert wrapped.data is a
    assert md.tensor([1.0, 2.0]).dtype == np.float64
    assert md.tensor([1, 2]).dtype.kind == "i"
    assert md.tensor([1, 2], dtype=np.float32).dtype == np.float32
    with pytest.raises(TypeError):
        md.tensor("text")
    with pytest.raises(TypeError, match="cannot require a gradient"):
        md.tensor([1, 2], requires_grad=True)


def test_as_an_array():
    x = leaf(2, 3)
    np.testing.assert_array_equal(np.asarray(x), x.data)
    assert np.asarray(x) is x.data
    assert np.asarray(x, np.float32).dtype == np.float32
    assert np.array(x) is not x.data
    assert np.tanh(np.asarray(x)).shape == (2, 3)


def test_array_on_the_left():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    y = np.array([10.0, 20.0]) * x - np.ones(2)
    assert isinstance(y, Tensor)
    y.sum().backward()
    assert x.grad.tolist() == [10.0, 20.0]
    assert (np.float64(3) * x).tolist() == [3.0, 6.0]


def test_numbers():
    x = md.tensor([[2.5]])
    assert float(x) == x.item() == 2.5
    assert int(md.tensor(3)) == 3
    assert [10, 20, 30][md.tensor(1)] == 20
    assert bool(md.tensor(0.0)) is False
    assert len(md.tensor([1.0, 2.0])) == 2
    assert [t.item() for t in md.tensor([1.0, 2.0])] == [1.0, 2.0]
    assert f"{md.tensor(2.0):.1f}" == "2.0"
    for make, error in [
        (lambda: leaf(2).item(), ValueError),
        (lambda: bool(leaf(2)), ValueError),
        (lambda: len(md.tensor(1.0)), TypeError),
        (lambda: [0][md.tensor(0.0)], TypeError),
    ]:
        with pytest.raises(error):
            make()


def test_comparisons_are_constants():
    x, y = md.tensor([1.0, 2.0, 3.0], requires_grad=True), md.tensor([3.0, 2.0, 1.0])
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        result = getattr(x, f"__{name}__")(y)
        assert result.dtype == bool
        assert not result.requires_grad
        assert result.tolist() == getattr(x.numpy(), f"__{name}__")(y.numpy()).tolist()
    assert (x > 2).tolist() == (x.numpy() > 2).tolist() == [False, False, True]
    assert 2.0 in x
    assert len({x, y}) == 2  # tensors are keys by identity


def test_repr_says_what_it_is():
    x = md.tensor([1.0], requires_grad=True)
    assert "requires_grad=True" in repr(x)
    assert "from=exp" in repr(x.exp())
    assert "dtype=float32" in repr(x.astype(np.float32))


# --- dtypes


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_python_scalars_are_weak(dtype):
    x = leaf(3, dtype=dtype)
    results = [x + 1, 2.5 * x, 1 / (x * x + 1.0), x**2, x - True, F.where(x > 0, x, 0.0), x.mean(), F.softplus(x)]
    assert {y.dtype for y in results} == {np.dtype(dtype)}
    sum((y.sum() for y in results), 0.0).backward()
    assert x.grad.dtype == dtype


def test_promotion_is_undone_on_the_way_back():
    a, b = leaf(3, dtype=np.float32), leaf(3, dtype=np.float64)
    y = a * b
    assert y.dtype == np.float64
    y.sum().backward()
    assert a.grad.dtype == np.float32
    assert b.grad.dtype == np.float64


def test_a_cast_carries_gradients_back_in_the_old_dtype():
    x = leaf(3)
    (x.astype(np.float32) * 2).sum().backward()
    assert x.grad.dtype == np.float64
    assert x.grad.tolist() == [2.0] * 3
    assert not x.astype(int).requires_grad
    assert x.to(np.float32).dtype == np.float32
    assert x.to("cpu") is x


def test_a_cotangent_takes_the_dtype_of_the_output():
    x = leaf(2, dtype=np.float32)
    (x * 2).backward(np.ones(2))
    assert x.grad.dtype == np.float32


# --- what users type


@pytest.mark.parametrize("again", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copy_of_a_leaf_is_another_leaf(again):
    a = md.tensor([1.0, 2.0], requires_grad=True)
    b = again(a)
    (a * b * 3).sum().backward()
    assert a.grad.tolist() == b.grad.tolist() == [3, 6]
    assert not again(md.tensor([1])).requires_grad
    with pytest.raises(TypeError, match=r"detach\(\)"):
        again(a * 2)


def test_no_axes_at_all():
    x = md.tensor(2.0, requires_grad=True)
    for name in ("sum", "mean", "max", "min", "prod", "logsumexp"):
        y = getattr(x, name)()
        assert (y.item(), md.grad(y, x)[0].item()) == (2.0, 1.0), name
    assert F.logsumexp([0.0, 0.0]).item() == pytest.approx(math.log(2))


def test_the_smallest_of_numbers_without_a_sign():
    assert md.tensor([3, 0, 5], dtype="uint8").min().item() == 0
    assert md.tensor([[True, False], [True, True]]).min(axis=1).tolist() == [False, True]
    with pytest.raises(ValueError, match="min over nothing"):
        md.Tensor(np.ones((0, 3))).min(axis=0)


def test_axes_out_of_range_are_refused():
    x = md.Tensor(np.ones((2, 3)))
    for wrong in (lambda: x.transpose(0, 5), lambda: x.transpose(-3, 1), lambda: x.swapaxes(0, 2)):
        with pytest.raises(IndexError, match="out of range for a tensor with 2 axes"):
            wrong()
    with pytest.raises(ValueError, match="broadcast"):
        md.Tensor(np.ones((1, 3))).broadcast_to(3)


def test_masks_combine():
    x = md.tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert x[(x > 1) & (x < 3)].tolist() == [2]
    assert ((x < 2) | (x > 2)).tolist() == (~(x == 2)).tolist() == [True, False, True]
    assert (np.array([True, True, False]) ^ (x < 2)).tolist() == [False, True, False]
    assert md.grad((+x).sum(), x)[0].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="shape \\(3,\\) is neither true nor false"):
        bool(x == x)


def test_a_parameter_takes_arrays_of_numbers_with_a_gradient_only():
    w = md.Parameter(np.ones(3, np.float32))
    w.data = [1.0, 2.0, 3.0]
    assert isinstance(w.data, np.ndarray)
    w.data = md.tensor([4.0, 5.0, 6.0])
    assert (w * 2).tolist() == [8, 10, 12]
    with pytest.raises(TypeError, match="int64 cannot require a gradient"):
        w.data = np.arange(3)
    assert w.dtype == np.float64
    assert md.Parameter(np.arange(3), requires_grad=False).tolist() == [0, 1, 2]


def test_a_device_that_is_not_known_is_named_with_those_that_are():
    with pytest.raises(ValueError, match='\'cuda\' is neither a device, "cpu" or "gpu", nor a dtype'):
        md.tensor([1.0]).to("cuda")


def test_grad_of_a_number_is_refused():
    with pytest.raises(TypeError, match="needs a Tensor as its output, got float"):
        md.grad(3.0, md.tensor([1.0], requires_grad=True))


def test_stacks_of_matrices_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"matmul: \(2, 3, 4\) @ \(5, 4, 2\)"):
        md.Tensor(np.ones((2, 3, 4))) @ md.Tensor(np.ones((5, 4, 2)))


@pytest.mark.parametrize("operator", [lambda a, b: a / b, lambda a, b: a * b, lambda a, b: a**b, lambda a, b: a - b])
def test_operators_of_tensors_without_axes_give_arrays_to_their_rules(operator):
    """NumPy gives a scalar where it is asked for an array without axes: no rule may get one, at any order."""
    a, b = md.tensor(2.0, requires_grad=True), md.tensor(3.0, requires_grad=True)
    y = operator(a, b)
    assert type(y.node.output) is np.ndarray
    ga, gb = md.grad(y, [a, b], create_graph=True)
    for second in md.grad(ga + gb * gb, [a, b], allow_unused=True):
        assert second is None or (type(second.data) is np.ndarray and second.shape == ())

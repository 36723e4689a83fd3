"""grad, vjp, jvp, hvp, jacobian, hessian: definitions and identities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import functional as F
from minidl.core.tensor import Tensor

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=25, deadline=None)


def matrices(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def net(x, w):
    return F.softmax((x @ w).tanh(), axis=1) * 3


# --- grad


def test_grad_gives_a_list_and_touches_no_grad():
    x, w = (md.tensor(a, requires_grad=True) for a in matrices(0, (3, 4), (4, 2)))
    grads = md.grad((x @ w).sum(), [x, w])
    assert isinstance(grads, list)
    np.testing.assert_allclose(grads[0], np.ones((3, 2)) @ w.numpy().T)
    np.testing.assert_allclose(grads[1], x.numpy().T @ np.ones((3, 2)))
    assert x.grad is None
    assert w.grad is None
    (single,) = md.grad((x * x).sum(), x)
    np.testing.assert_allclose(single, 2 * x.numpy())


def test_grad_of_inner_nodes():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    h = x.exp()
    k = h * h
    y = (k * x).sum()
    gh, gk, gx = md.grad(y, [h, k, x])
    np.testing.assert_allclose(gk, x.numpy())
    np.testing.assert_allclose(gh, 2 * h.numpy() * x.numpy())
    np.testing.assert_allclose(gx, k.numpy() + gh.numpy() * h.numpy())


def test_grad_with_respect_to_the_output_itself():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    assert md.grad(y, y, np.array([3.0, 4.0]))[0].tolist() == [3.0, 4.0]
    assert md.grad(x, x, np.array([3.0, 4.0]))[0].tolist() == [3.0, 4.0]


def test_the_same_input_twice():
    x = md.tensor([3.0], requires_grad=True)
    a, b = md.grad(x * x, [x, x])
    assert a.tolist() == b.tolist() == [6.0]


def test_an_unused_input_is_an_error_or_none():
    x, z = md.tensor([1.0], requires_grad=True), md.tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"does not depend on input 1.*allow_unused=True"):
        md.grad(x * 2, [x, z])
    g, none = md.grad(x * 2, [x, z], allow_unused=True)
    assert g.tolist() == [2.0]
    assert none is None
    assert md.grad(md.tensor([1.0]), [z], allow_unused=True) == [None]
    with pytest.raises(RuntimeError, match="requires no gradient"):
        md.grad(md.tensor([1.0]), z)
    with pytest.raises(ValueError, match="input 0 of grad does not require a gradient"):
        md.grad(x * 2, [md.tensor([1.0])])


def test_grad_output_may_require_a_gradient():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    u = md.tensor([3.0, 5.0], requires_grad=True)
    (g,) = md.grad(x * x, x, u, create_graph=True)  # 2 x u
    g.sum().backward()
    assert u.grad.tolist() == [2.0, 4.0]  # 2 x
    assert x.grad.tolist() == [6.0, 10.0]  # 2 u


def test_grad_releases_unless_told():
    x = md.tensor([1.0], requires_grad=True)
    y = x.exp()
    md.grad(y, x, retain_graph=True)
    md.grad(y, x)
    with pytest.raises(RuntimeError, match="released"):
        md.grad(y, x)


@given(seeds)
@quick
def test_a_gradient_penalty(seed):
    """d/dw of |d loss/dx|^2, against differences of the inner gradient in closed form."""
    (a, b) = matrices(seed, (3,), (3,))
    x, w = md.tensor(a, requires_grad=True), md.tensor(b, requires_grad=True)
    (g,) = md.grad((w * x * x).sum(), x, create_graph=True)  # 2 w x
    (g * g).sum().backward()  # 4 w^2 x^2
    np.testing.assert_allclose(w.grad, 8 * b * a**2, rtol=1e-12)
    np.testing.assert_allclose(x.grad, 8 * b**2 * a, rtol=1e-12)


# --- vjp, jvp


@given(seeds)
@quick
def test_vjp_and_jvp_are_adjoint(seed):
    x, w, v, dw, u = matrices(seed, (3, 4), (4, 2), (3, 4), (4, 2), (3, 2))
    y, pullback = md.vjp(net, x, w)
    same, tangent = md.jvp(net, [Tensor(x), Tensor(w)], [v, dw])
    np.testing.assert_array_equal(y, same)
    gx, gw = pullback(u)
    left = (gx.numpy() * v).sum() + (gw.numpy() * dw).sum()
    np.testing.assert_allclose(left, (u * tangent.numpy()).sum(), rtol=1e-10, atol=1e-12)


@given(seeds)
@quick
def test_jvp_is_the_directional_derivative(seed):
    x, w, v = matrices(seed, (3, 4), (4, 2), (3, 4))
    _, tangent = md.jvp(lambda x: net(x, w), x, v)
    truth = net(Tensor(x + 1e-20j * v), Tensor(w)).numpy().imag / 1e-20
    np.testing.assert_allclose(tangent, truth, rtol=1e-10, atol=1e-13)


@given(seeds, st.floats(-3, 3), st.floats(-3, 3))
@quick
def test_both_are_linear(seed, a, b):
    x, w, v, r, u, s = matrices(seed, (3, 4), (4, 2), (3, 4), (3, 4), (3, 2), (3, 2))

    def push(v):
        return md.jvp(lambda x: net(x, w), x, v)[1].numpy()

    def pull(u):
        return md.vjp(lambda x: net(x, w), x)[1](u)[0].numpy()

    np.testing.assert_allclose(push(a * v + b * r), a * push(v) + b * push(r), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(pull(a * u + b * s), a * pull(u) + b * pull(s), rtol=1e-9, atol=1e-11)


def test_vjp_of_a_function_that_ignores_its_input():
    _, pullback = md.vjp(lambda x, z: z * 2, np.ones(3), np.ones(2))
    gx, gz = pullback(np.ones(2))
    assert gx.tolist() == [0.0, 0.0, 0.0]
    assert gz.tolist() == [2.0, 2.0]
    assert md.vjp(lambda x: Tensor(np.ones(2)), np.ones(3))[1](np.ones(2))[0].tolist() == [0.0, 0.0, 0.0]
    ones = [np.ones(3), np.ones(2)]
    assert md.jvp(lambda x, z: z * 2, ones, ones)[1].tolist() == [2.0, 2.0]


def test_the_pullback_may_be_called_again_and_differentiated():
    x = np.array([1.0, 2.0])
    _, pullback = md.vjp(lambda x: x.exp(), x)
    np.testing.assert_array_equal(pullback(np.ones(2))[0], pullback(np.ones(2))[0])
    u = md.tensor([1.0, 1.0], requires_grad=True)
    pullback(u)[0].sum().backward()
    np.testing.assert_allclose(u.grad, np.exp(x))


def test_errors_of_vjp_and_jvp():
    with pytest.raises(TypeError, match="must return one Tensor, got tuple"):
        md.vjp(lambda x: (x, x), np.ones(2))
    with pytest.raises(ValueError, match="2 inputs and 1 tangents"):
        md.jvp(lambda a, b: a + b, [Tensor(np.ones(2)), Tensor(np.ones(2))], [np.ones(2)])
    with pytest.raises(ValueError, match=r"tangent has shape \(3,\), its input \(2,\)"):
        md.jvp(lambda a: a, [Tensor(np.ones(2))], [np.ones(3)])


# --- jacobian, hessian, hvp


@given(seeds)
@quick
def test_jacobian_contracts_to_vjp_and_jvp(seed):
    x, w, v, u = matrices(seed, (3, 4), (4, 2), (3, 4), (3, 2))

    def f(x):
        return net(x, w)

    J = md.jacobian(f, x).numpy()
    assert J.shape == (3, 2, 3, 4)
    np.testing.assert_allclose(np.tensordot(J, v, 2), md.jvp(f, x, v)[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.tensordot(u, J, 2), md.vjp(f, x)[1](u)[0], rtol=1e-9, atol=1e-12)


def test_jacobian_of_a_linear_map_is_its_matrix():
    (A,) = matrices(1, (3, 4))
    np.testing.assert_array_equal(md.jacobian(lambda x: Tensor(A) @ x, np.ones(4)), A)
    assert md.jacobian(lambda x: x.sum(), np.ones((2, 3))).shape == (2, 3)
    assert md.jacobian(lambda x: x[:0], np.ones(3)).shape == (0, 3)
    assert md.jacobian(lambda x: x * 2, np.float64(3.0)).item() == 2.0


@given(seeds)
@quick
def test_hessian_is_symmetric_and_contracts_to_hvp(seed):
    x, w, v = matrices(seed, (2, 3), (3, 2), (2, 3))

    def f(x):
        return (net(x, w) ** 2).sum() + x.exp().prod()

    H = md.hessian(f, x).numpy()
    assert H.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(H, H.transpose(2, 3, 0, 1), rtol=1e-9, atol=1e-11)
    y, Hv = md.hvp(f, x, v)
    np.testing.assert_allclose(y, f(Tensor(x)), rtol=1e-15)
    np.testing.assert_allclose(np.tensordot(H, v, 2), Hv, rtol=1e-9, atol=1e-10)


def test_hessian_of_a_quadratic_form_is_its_matrix():
    (A,) = matrices(2, (4, 4))
    H = md.hessian(lambda x: x @ Tensor(A) @ x, np.arange(4.0))
    np.testing.assert_allclose(H, A + A.T, rtol=1e-14)
    assert not md.hessian(lambda x: x.sum(), np.ones(3)).numpy().any()


def test_hvp_needs_a_scalar_and_a_matching_vector():
    with pytest.raises(ValueError, match=r"hvp needs a function with one output element, this one gives shape \(2,\)"):
        md.hvp(lambda x: x * 2, np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="hessian needs"):
        md.hessian(lambda x: x * 2, np.ones(2))
    with pytest.raises(ValueError, match=r"v has shape \(3,\), x \(2,\)"):
        md.hvp(lambda x: (x * x).sum(), np.ones(2), np.ones(3))


def test_they_nest():
    def inner(x):
        return md.vjp(lambda z: (z**3).sum(), x)[1]()[0].sum()  # sum of 3 x^2

    np.testing.assert_allclose(md.vjp(inner, np.array([1.0, 2.0]))[1]()[0], [6.0, 12.0])
    np.testing.assert_allclose(np.diag(md.hessian(inner, np.array([1.0, 2.0])).numpy()), [6.0, 6.0])


def test_they_leave_the_inputs_alone():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    md.jacobian(lambda x: x * x, x)
    md.hessian(lambda x: (x * x).sum(), x)
    md.jvp(lambda x: x * x, x, np.ones(2))
    assert x.grad is None


def test_an_outer_gradient_goes_through():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    _, tangent = md.jvp(lambda z: z**3, x, np.ones(2))  # 3 x^2
    tangent.sum().backward()
    np.testing.assert_allclose(x.grad, [6.0, 12.0])


@pytest.mark.parametrize("f", [lambda x: x.exp(), lambda x: x.tanh(), lambda x: x**3, lambda x: x.sigmoid()])
def test_order_three_by_composition(f):
    x = np.array([0.3, -0.7, 1.1])

    def derivative(g):
        return lambda x: md.vjp(lambda z: g(z).sum(), x)[1]()[0]

    third = derivative(derivative(derivative(f)))(Tensor(x))
    second = derivative(derivative(f))
    np.testing.assert_allclose(third, second(Tensor(x + 1e-20j)).numpy().imag / 1e-20, rtol=1e-12)

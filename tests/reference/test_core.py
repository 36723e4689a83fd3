"""The core against PyTorch: values, gradients and second derivatives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

torch = pytest.importorskip("torch", reason="compares with PyTorch")

import minidl as md  # noqa: E402
from minidl import functional as F  # noqa: E402

pytestmark = pytest.mark.reference
quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def agree(ours, theirs, arrays, orders=2, rtol=1e-9, atol=1e-10):
    """Value, gradient, and gradient of a projection of the gradient: the same from both."""
    xs = [md.tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = ours(*xs), theirs(*ts)
    assert y.shape == tuple(t.shape)
    np.testing.assert_allclose(y, t.detach().numpy(), rtol=rtol, atol=atol)
    rng = np.random.default_rng(y.size)
    for order in range(1, orders + 1):
        if not t.requires_grad:
            return
        u = rng.standard_normal(y.shape)
        grads = md.grad(y, xs, u, create_graph=order < orders, allow_unused=True)
        truths = torch.autograd.grad(t, ts, torch.tensor(u), create_graph=order < orders, allow_unused=True)
        for g, truth, x in zip(grads, truths, arrays, strict=True):
            truth = np.zeros(x.shape) if truth is None else truth.numpy(force=True)
            g = np.zeros(x.shape) if g is None else g.numpy()
            np.testing.assert_allclose(g, truth, rtol=rtol, atol=atol)
        if order < orders:
            vs = [rng.standard_normal(x.shape) for x in arrays]
            y = sum((g * v).sum() for g, v in zip(grads, vs, strict=True) if g is not None)
            t = sum((g * torch.tensor(v)).sum() for g, v in zip(truths, vs, strict=True) if g is not None)
            if not isinstance(y, md.Tensor) or not y.requires_grad:
                assert not torch.is_tensor(t) or not t.requires_grad or _no_dependence(t, ts)
                return


def _no_dependence(t, ts):
    return all(g is None or not g.any() for g in torch.autograd.grad(t, ts, allow_unused=True))


def arrays_of(*shapes, low=None):
    """Arrays of these shapes, from a drawn seed; above `low` if given."""

    def make(seed):
        rng = np.random.default_rng(seed)
        return [rng.standard_normal(s) if low is None else low + rng.exponential(size=s) for s in shapes]

    return st.builds(make, seeds)


# --- arithmetic


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow", "maximum", "minimum"])
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), seeds)
@quick
def test_arithmetic(name, shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.uniform(0.3, 2.0, s) for s in shapes.input_shapes)
    functions = {
        "add": (lambda a, b: a + b,) * 2,
        "sub": (lambda a, b: a - b,) * 2,
        "mul": (lambda a, b: a * b,) * 2,
        "truediv": (lambda a, b: a / b,) * 2,
        "pow": (lambda a, b: a**b,) * 2,
        "maximum": (F.maximum, torch.maximum),
        "minimum": (F.minimum, torch.minimum),
    }
    agree(*functions[name], [a, b])


@pytest.mark.parametrize("exponent", [-2, -1, -0.5, 0, 0.5, 1, 2, 3])
def test_powers_of_a_number(exponent):
    x = np.array([0.5, 1.0, 2.5])
    agree(lambda x: x**exponent, lambda x: x**exponent, [x])
    agree(lambda x: 1.7**x + 2 / x - (3 - x), lambda x: 1.7**x + 2 / x - (3 - x), [x])
    if exponent == int(exponent) and exponent > 0:
        x = np.array([-0.5, 0.0, 2.5])
        agree(lambda x: x**exponent, lambda x: x**exponent, [x])


def test_powers_at_zero():
    a, b = np.array([0.0, 0.0, 2.0]), np.array([2.0, 1.0, 0.0])
    agree(lambda a, b: a**b, lambda a, b: a**b, [a, b], orders=1)


def test_equal_entries_of_maximum_share_as_in_torch():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 3.0])
    agree(F.maximum, torch.maximum, [a, b], orders=1)
    agree(F.minimum, torch.minimum, [a, b], orders=1)


# --- functions of one tensor


ELEMENTWISE = {
    "exp": (F.exp, torch.exp),
    "log": (lambda x: F.log(x * x + 0.1), lambda x: torch.log(x * x + 0.1)),
    "sqrt": (lambda x: F.sqrt(x * x + 0.1), lambda x: torch.sqrt(x * x + 0.1)),
    "abs": (abs, torch.abs),
    "tanh": (F.tanh, torch.tanh),
    "sigmoid": (F.sigmoid, torch.sigmoid),
    "softplus": (F.softplus, lambda x: torch.logaddexp(x, torch.zeros_like(x))),
    "relu": (F.relu, torch.relu),
    "leaky_relu": (F.leaky_relu, torch.nn.functional.leaky_relu),
    "leaky_relu with a slope": (lambda x: F.leaky_relu(x, 0.3), lambda x: torch.nn.functional.leaky_relu(x, 0.3)),
    "elu": (F.elu, torch.nn.functional.elu),
    "elu with alpha": (lambda x: F.elu(x, 0.5), lambda x: torch.nn.functional.elu(x, 0.5)),
    "clip": (lambda x: F.clip(x, -0.5, 0.7), lambda x: torch.clamp(x, -0.5, 0.7)),
    "clip below": (lambda x: x.clip(low=-0.5), lambda x: torch.clamp(x, min=-0.5)),
    "neg": (lambda x: -x, lambda x: -x),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@given(arrays_of((3, 4)))
@quick
def test_elementwise(name, arrays):
    agree(*ELEMENTWISE[name], arrays)


@pytest.mark.parametrize("name", ["abs", "relu", "leaky_relu", "clip", "softplus", "sigmoid", "tanh", "elu"])
def test_special_points(name):
    x = np.array([0.0, -0.0, -0.5, 0.7, 1e-300, 50.0, -50.0, 800.0, -800.0])
    agree(*ELEMENTWISE[name], [x], orders=1)


@pytest.mark.parametrize("weights", [1, 3])
@given(seeds)
@quick
def test_prelu(weights, seed):
    rng = np.random.default_rng(seed)
    agree(F.prelu, torch.nn.functional.prelu, [rng.standard_normal((2, 3, 4)), rng.standard_normal(weights)])


# --- reductions


@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min", "logsumexp", "prod"])
@given(st.data())
@quick
def test_reductions(name, data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=3))
    axis = data.draw(st.one_of(st.integers(-len(shape), len(shape) - 1), hnp.valid_tuple_axes(len(shape), min_size=1)))
    keepdims = data.draw(st.booleans())
    x = data.draw(arrays_of(shape))
    axes = (axis,) if isinstance(axis, int) else axis

    def theirs(t):
        if name == "prod":
            for a in sorted((a % len(shape) for a in axes), reverse=True):
                t = t.prod(dim=a, keepdim=keepdims)
            return t
        if name == "var":
            return t.var(dim=axes, keepdim=keepdims, correction=0)
        function = {"max": "amax", "min": "amin"}.get(name, name)
        return getattr(t, function)(dim=axes, keepdim=keepdims)

    agree(lambda x: getattr(x, name)(axis, keepdims), theirs, x)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min", "prod"])
def test_reductions_over_everything(name):
    def theirs(t):
        return t.var(correction=0) if name == "var" else getattr(t, {"max": "amax", "min": "amin"}.get(name, name))()

    agree(lambda x: getattr(x, name)(), theirs, [np.random.default_rng(0).standard_normal((3, 4))])


def test_equal_largest_entries_share_as_in_torch():
    x = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0], [0.0, 3.0, 1.0]])
    agree(lambda x: x.max(axis=1), lambda x: x.amax(dim=1), [x], orders=1)
    agree(lambda x: x.min(axis=0), lambda x: x.amin(dim=0), [x], orders=1)


def test_a_product_with_zeros():
    for x in (np.array([2.0, 0.0, 3.0]), np.array([0.0, 0.0, 3.0])):
        agree(lambda x: x.prod(), lambda x: x.prod(), [x])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@given(st.data())
@quick
def test_softmax(name, data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=3))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    (x,) = data.draw(arrays_of(shape))
    ours, theirs = getattr(F, name), getattr(torch, name)
    agree(lambda x: ours(3 * x, axis), lambda x: theirs(3 * x, axis), [x])


def test_softmax_of_large_numbers():
    x = np.array([[1000.0, 999.0, -1000.0], [-1000.0, -1000.0, -1000.0]])
    agree(lambda x: F.log_softmax(x, 1), lambda x: torch.log_softmax(x, 1), [x])
    agree(lambda x: F.softmax(x, 1), lambda x: torch.softmax(x, 1), [x])
    agree(lambda x: x.logsumexp(1), lambda x: torch.logsumexp(x, 1), [x])


# --- shape


SHAPES = {
    "reshape": (lambda x: x.reshape(4, -1), lambda x: x.reshape(4, -1)),
    "transpose": (lambda x: x.transpose(2, 0, 1), lambda x: x.permute(2, 0, 1)),
    "T": (lambda x: x.T, lambda x: x.permute(2, 1, 0)),
    "swapaxes": (lambda x: x.swapaxes(0, -1), lambda x: x.swapaxes(0, -1)),
    "expand_dims": (lambda x: x.expand_dims(-2), lambda x: x.unsqueeze(-2)),
    "squeeze": (lambda x: x[:, :1].squeeze(1), lambda x: x[:, :1].squeeze(1)),
    "broadcast_to": (lambda x: x[:1].broadcast_to(5, 3, 4), lambda x: x[:1].expand(5, 3, 4)),
    "flip": (lambda x: F.flip(x, (0, 2)), lambda x: torch.flip(x, (0, 2))),
    "concat": (lambda x: F.concat([x, x * 2, x[:, :1]]), lambda x: torch.cat([x, x * 2, x[:, :1]], 1)),
    "stack": (lambda x: F.stack([x, x * 2], axis=-1), lambda x: torch.stack([x, x * 2], -1)),
    "where": (lambda x: F.where(x > 0, x, x * x), lambda x: torch.where(x > 0, x, x * x)),
    "index": (lambda x: x[1, ..., None, ::2], lambda x: x[1, ..., None, ::2]),
    "gather": (lambda x: x[[0, 1, 1], :, [2, 2, 0]], lambda x: x[[0, 1, 1], :, [2, 2, 0]]),
    "mask": (lambda x: x[x > 0], lambda x: x[x > 0]),
}


@pytest.mark.parametrize("name", SHAPES)
@given(arrays_of((2, 3, 4)))
@quick
def test_shape(name, arrays):
    ours, theirs = SHAPES[name]
    agree(lambda x: ours(x) ** 2, lambda x: theirs(x) ** 2, arrays)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@given(st.data())
@quick
def test_pad(mode, data):
    spatial = data.draw(st.integers(1, 3))
    size = data.draw(st.tuples(*[st.integers(2, 4)] * spatial))
    most = {"reflect": min(size) - 1, "circular": min(size)}.get(mode, 3)
    pairs = data.draw(st.tuples(*[st.tuples(st.integers(0, most), st.integers(0, most))] * spatial))
    (x,) = data.draw(arrays_of((2, 2, *size)))
    flat = [q for pair in reversed(pairs) for q in pair]
    value = {"value": 1.5} if mode == "constant" else {}
    agree(
        lambda x: F.pad(x, pairs, mode=mode, **value) ** 2,
        lambda t: torch.nn.functional.pad(t, flat, mode=mode, **value) ** 2,
        [x],
    )
    ours = [F.pad(x, widths, mode=mode, **value).numpy() for widths in (flat, pairs)]
    np.testing.assert_array_equal(*ours)


# --- matrix products


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_matmul_of_any_rank(data):
    i, k, j = (data.draw(st.integers(1, 3)) for _ in range(3))
    lead = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3)).input_shapes
    left = data.draw(st.sampled_from([(k,), (i, k), (*lead[0], i, k)]))
    right = data.draw(st.sampled_from([(k,), (k, j), (*lead[1], k, j)]))
    agree(lambda a, b: a @ b, lambda a, b: a @ b, data.draw(arrays_of(left, right)))


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@given(seeds)
@quick
def test_linear(shape, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(s) for s in (shape, (5, 4), (5,))]
    agree(F.linear, torch.nn.functional.linear, arrays)
    agree(F.linear, torch.nn.functional.linear, arrays[:2])


# --- whole expressions


@given(seeds)
@quick
def test_a_network_to_second_order(seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(s) for s in ((5, 4), (4, 6), (6,), (6, 3))]

    def ours(x, w, b, v):
        return F.log_softmax(((x @ w + b).tanh() @ v) / 2, 1)[:, 0].mean()

    def theirs(x, w, b, v):
        return torch.log_softmax(((x @ w + b).tanh() @ v) / 2, 1)[:, 0].mean()

    agree(ours, theirs, arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_are_those_of_torch(dtype):
    x = np.array([0.5, -1.0, 2.0], dtype)
    t = torch.tensor(x, requires_grad=True)
    p = md.tensor(x, requires_grad=True)
    theirs, ours = torch.softmax(t * 2 + 1, 0) ** 2, F.softmax(p * 2 + 1, 0) ** 2
    theirs.sum().backward()
    ours.sum().backward()
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    assert str(p.grad.dtype) == str(t.grad.dtype).removeprefix("torch.")
    np.testing.assert_allclose(p.grad, t.grad.numpy(), rtol=1e-5)

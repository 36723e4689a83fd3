"""A gate selects: where it is closed the derivative is 0, however large what comes back to it."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.ops.elementwise import gated

rng = np.random.default_rng(0)


class Drawn(np.random.Generator):
    """Draws what keeps these entries."""

    def __init__(self, kept):
        super().__init__(np.random.PCG64(0))
        self.kept = kept

    def random(self, *args, **kwargs):
        return np.where(self.kept, 0.9, 0.1)


GATES = {
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.0),
    "clip": lambda x: x.clip(0, None),
    "clip above": lambda x: 1 - (1 - x).clip(None, 1),
    "maximum": lambda x: F.maximum(x, 0.0),
    "minimum": lambda x: -F.minimum(-x, np.zeros(x.shape)),
    "dropout": lambda x: F.dropout(x, 0.5, rng=Drawn(x.data > 0)) / 2,
    "where": lambda x: F.where(x > 0, x, 0.0),
    "max": lambda x: F.stack([x, md.Tensor(np.zeros(x.shape))]).max(axis=0),
}
STEEP = {
    "sqrt": (F.sqrt, lambda x: 0.5 / np.sqrt(x), lambda x: -0.25 * x**-1.5),
    "log": (F.log, lambda x: 1 / x, lambda x: -1 / x**2),
    "1 / x": (lambda x: 1 / x, lambda x: -1 / x**2, lambda x: 2 / x**3),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("steep", STEEP)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("size", [4, 1 << 13])  # kernels take larger arrays
def test_a_closed_gate_has_derivative_0_at_orders_1_and_2(gate, steep, size):
    f, first, second = STEEP[steep]
    x = md.tensor(rng.uniform(0.1, 1, size) * rng.choice([-1, 1], size), requires_grad=True)
    y = f(GATES[gate](x)).data
    (g,) = md.grad(f(GATES[gate](x)), [x], np.ones(size), create_graph=True)
    (h,) = md.grad(g, [x], np.ones(size))
    open_ = x.data > 0
    assert not np.isfinite(y[~open_]).any() or steep == "sqrt"
    for found, right in ((g, first), (h, second)):
        np.testing.assert_allclose(found.data, np.where(open_, right(abs(x.data)), 0), 1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(8, 2), (64, 8, 16), (16, 8, 5, 15)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_relu_of_a_batch_norm_selects(training, shape, dtype):
    x = rng.standard_normal(shape).astype(dtype)
    running = np.zeros(shape[1], dtype), np.ones(shape[1], dtype)
    grads = []
    for relu in (True, False):
        leaf = md.tensor(x, requires_grad=True)
        weight = md.tensor(np.ones(shape[1]), requires_grad=True, dtype=dtype)
        y = F.batch_norm(leaf, *running, weight, weight * 0, training=training, relu=relu)
        g = np.where(y.data > 0, 1, np.inf if relu else 0).astype(dtype)
        grads.append([v.data for v in md.grad(y, [leaf, weight], g)])
    for with_relu, without in zip(*grads, strict=True):
        np.testing.assert_allclose(with_relu, without, 1e-4, 1e-5)


@pytest.mark.parametrize("shape", [(), (5,), (3, 1 << 13)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("slope", [0, 0.25])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of complex infinities
def test_the_kernel_of_gated_is_its_definition_to_the_bit(shape, dtype, slope):
    values = np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan], dtype)
    x, gate = rng.choice(values, shape), rng.choice(values.real, shape)
    gates = [gate, gate > 0, np.asarray(gate)[..., None].repeat(2, -1)[..., 0]]  # of another dtype, with gaps
    for gate in gates:
        y = gated(md.Tensor(x), gate=np.asarray(gate), slope=slope).data
        with md.definitions():
            right = gated(md.Tensor(x), gate=np.asarray(gate), slope=slope).data
        assert y.dtype == right.dtype == dtype and y.tobytes() == right.tobytes()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_max_selects_and_points_at_a_nan():
    x = md.tensor([[3.0, 5.0, 5.0], [1.0, np.nan, 2.0], [0.0, -1.0, -4.0]], requires_grad=True)
    (g,) = md.grad(x.max(axis=1), [x], np.array([2.0, 3.0, np.inf]))
    assert g.tolist() == [[0, 1, 1], [0, 3, 0], [np.inf, 0, 0]]


def test_powers_at_exponent_0():
    """d2(a**b) = [[b(b-1) a**(b-2), a**(b-1) (1 + b log a)], [same, a**b log(a)**2]]."""
    for a in (2.0, 0.3):
        h = md.hessian(lambda v: v[0] ** v[1], md.tensor([a, 0.0])).data
        np.testing.assert_allclose(h, [[0, 1 / a], [1 / a, np.log(a) ** 2]], 1e-14)
    for b, right in ((0.0, [0, 0]), (1.0, [1, 0]), (2.0, [0, 0])):  # at a = 0
        v = md.tensor([0.0, b], requires_grad=True)
        (v[0] ** v[1]).backward()
        assert v.grad.tolist() == right
    x = md.tensor([2.0], requires_grad=True)
    assert md.grad(x**0, [x], [np.inf])[0].tolist() == [0]

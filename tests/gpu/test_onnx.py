"""A network that was read from ONNX, on the interface of CuPy: it gives what the CPU gives."""

import numpy as np
import pytest

import minidl as md

pytest.importorskip("onnx")

from tests.onnx.graphs import load, network


def both(net, x):
    """The outputs and the gradients of x, on the CPU and then on the device."""
    for device in ("cpu", "gpu"):
        given = md.tensor(x, requires_grad=True, device=device)
        y = net.to(device)(given)
        yield y.numpy(), md.grad((y * y).sum(), [given])[0].numpy()


def test_outputs_and_gradients(gpu):
    x = np.random.default_rng(0).normal(size=(2, 2, 4, 4)).astype("f4")
    for nodes, constants in (
        (None, {}),
        ([("Mul", "x table", "a"), ("Trilu", "a", "b"), ("Resize", "b _ scales", "y", {"mode": "linear"})],
         {"table": np.arange(4, dtype="f4"), "scales": np.array([1, 1, 2, 2], "f4")}),
        ([("MaxPool", "x", "a i", {"kernel_shape": [2, 2]}), ("HardSwish", "a", "y")], {}),
    ):  # fmt: skip
        net = md.load_onnx(network()) if nodes is None else load(nodes, {"x": ["n", 2, 4, 4]}, **constants)
        (y, gradient), (y_gpu, gradient_gpu) = both(net, x)
        np.testing.assert_allclose(y_gpu, y, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(gradient_gpu, gradient, rtol=1e-3, atol=1e-4)

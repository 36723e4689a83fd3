"""The convolution on tensor cores: the product of TF32 numbers, summed in float32, over windows of every rank."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.kernels.gpu import tensor_cores
from minidl.ops.conv import conv_p
from minidl.ops.window import Window

from .planted import is_caught

WINDOWS = {
    "1-D stride 2": Window.of((37,), 5, stride=2, padding=2),
    "2-D 3x3": Window.of((9, 11), 3, padding=1),
    "2-D 1x1": Window.of((5, 7), 1),
    "2-D dilated, stride 2": Window.of((14, 13), 3, stride=2, dilation=2, padding=[(2, 1), (0, 3)]),
    "3-D": Window.of((4, 5, 6), (3, 1, 2), padding=(1, 0, 1)),
}


def rounded(x: np.ndarray) -> np.ndarray:
    """float32 with 10 bits of mantissa, to nearest."""
    bits = x.view(np.uint32).astype(np.int64)
    return ((bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF).astype(np.uint32).view(np.float32)


def draw(window: Window, n: int, c: int, f: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, w, and the convolution of x and w rounded to TF32, in double precision."""
    rng = np.random.default_rng(n * c + f)
    x = rng.normal(size=(n, c, *window.size)).astype(np.float32)
    w = rng.normal(size=(f, c, *window.kernel)).astype(np.float32)
    y = conv_p.forward(np, rounded(x).astype(float), rounded(w).astype(float), window=window, groups=1)
    return x, w, y


def difference(gpu, window, n, c, f) -> float:
    """How far the kernel is off, as a part of the largest output."""
    x, w, y = draw(window, n, c, f)
    found = tensor_cores.convolve(gpu.asarray(x), gpu.asarray(w), window).get()
    assert found.shape == y.shape and found.dtype == np.float32
    return float(abs(found - y).max() / abs(y).max())


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("n, c, f", [(2, 8, 9), (3, 19, 70), (1, 33, 64)])
def test_it_is_the_convolution_of_the_rounded_numbers(gpu, name, n, c, f):
    assert difference(gpu, WINDOWS[name], n, c, f) < 2e-6


FAULTS = {
    "the tiles are not waited for": ("__syncthreads(); // the tiles are there", "", "cu"),
    "tiles are overwritten while others read": ("__syncthreads(); // nobody reads the tiles any more", "", "cu"),
    "the last channels are left out": ("(C + DEPTH - 1) / DEPTH", "C / DEPTH", "cu"),
    "a bound is off by one": ("f < F && c < C", "f <= F && c <= C", "cu"),
    "the dilation is dropped": ("DILATION[2] *", "1 *", "cuh"),
    "a tap is left out": ("TAPS * slices", "(TAPS - 1) * slices", "cu"),
    "rows beyond the last are written": ("row < ROWS && first_f + row < F", "row < ROWS", "cu"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.skipif(not shutil.which("g++"), reason="g++ is not installed: planted faults run on the stand-in")
def test_a_planted_fault_is_caught_in_some_order_of_threads(fault):
    def check(gpu):
        assert difference(gpu, WINDOWS["2-D dilated, stride 2"], 2, 19, 70) < 2e-6

    right, wrong, suffix = FAULTS[fault]
    assert is_caught(check, "window" if suffix == "cuh" else "tensor_cores", right, wrong, suffix=suffix)


def test_it_runs_where_it_is_asked_for_and_nowhere_else(gpu, monkeypatch):
    calls = []
    real = tensor_cores.convolve
    monkeypatch.setattr(tensor_cores, "convolve", lambda *a: calls.append(1) or real(*a))
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((2, 8, 6, 6), (8, 8, 3, 3)))
    tensors = [md.tensor(a).to("gpu").detach() for a in (x, w)]
    for t in tensors:
        t.requires_grad = True
    F.conv(*tensors, padding=1)
    assert not calls
    with md.algorithm("tensor_cores"):
        y = F.conv(*tensors, padding=1)
        assert len(calls) == 1
        (y * y).sum().backward()
    assert len(calls) == 2  # the gradient of x is a convolution too
    a, b = md.tensor(x, requires_grad=True), md.tensor(w, requires_grad=True)
    z = F.conv(a, b, padding=1)
    (z * z).sum().backward()
    for ours, exact in ((tensors[0], a), (tensors[1], b)):
        scale = abs(exact.grad.numpy()).max()
        assert 0 < abs(ours.grad.numpy() - exact.grad.numpy()).max() < 5e-3 * scale

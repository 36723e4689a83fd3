"""Cross entropy on the device beside its array functions on NumPy, in double precision."""

from __future__ import annotations

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.kernels.gpu import loss as kernels
from minidl.ops.cross_entropy import cross_entropy_p

from . import planted
from .test_norm import DTYPES, assert_close, moved

# (N, C, *size): more classes than a block has threads, and few; maps of one entry and of 15
BY_BLOCKS = [(3, 300), (2, 33, 15), (5, 257)]
BY_THREADS = [(3, 5), (4, 3, 3, 5), (2, 32, 15), (300, 1)]


def launched(monkeypatch):
    seen = []
    launch = kernels.launch
    monkeypatch.setattr(kernels, "launch", lambda *a: (seen.append(a[1]), launch(*a)))
    return seen


def assert_as_on_numpy(gpu, shape, dtype, how="C order", how_g="C order", scale=None, spread=2.0):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=shape) * spread).astype(dtype)
    n, classes, *size = shape
    x[:, rng.integers(classes)] += 3  # the largest is not the first
    target = rng.integers(0, classes, (n, *size))
    target.reshape(-1)[:2] = 0, classes - 1
    scale = (rng.integers(0, 3, target.shape) * 0.75).astype(dtype) if scale is None else scale
    g = rng.normal(size=target.shape).astype(dtype)
    if how == "broadcast":
        x = np.broadcast_to(x[:1], shape)
    if how_g == "broadcast":
        g = np.broadcast_to(g[:1], g.shape)
    parameters = {"target": target, "scale": scale}
    there = {name: gpu.asarray(v) for name, v in parameters.items()}
    wide = {"target": target, "scale": scale.astype("float64")}
    expected = cross_entropy_p.forward(np, x.astype("float64"), **wide)
    (gradient,) = cross_entropy_p.reverse.forward(
        np, g.astype("float64"), expected, x.astype("float64"), needed=[True], **wide
    )
    logits, cotangent = moved(gpu, x, how), moved(gpu, np.ascontiguousarray(g), how_g)
    y = cross_entropy_p.gpu(logits, **there)
    assert_close(y, expected, dtype)
    (gx,) = cross_entropy_p.reverse.gpu(cotangent, y, logits, needed=[True], **there)
    assert_close(gx, gradient, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BY_BLOCKS + BY_THREADS)
def test_kernels_are_the_array_functions(gpu, monkeypatch, shape, dtype):
    seen = launched(monkeypatch)
    for how in ("C order", "channels outermost", "Fortran order", "broadcast"):
        for how_g in ("C order", "broadcast"):
            assert_as_on_numpy(gpu, shape, dtype, how, how_g)
    way = "blocks" if shape in BY_BLOCKS else "threads"
    assert set(seen) == {f"forward_by_{way}", f"backward_by_{way}"}


@pytest.mark.parametrize("shape, blocks", [
    ((32, 1000), True), ((100_000, 1000), True), ((128, 10), False), ((2, 21, 512, 512), False),
    ((2, 150, 512, 512), False), ((2, 1000, 7, 7), True),
])  # fmt: skip
def test_the_shape_decides_how_the_work_is_shared(shape, blocks):
    cells = int(np.prod(shape[2:]))
    assert kernels.by_blocks(shape[1], cells, shape[0] * cells) == blocks


@pytest.mark.parametrize("shape", [(3, 300), (4, 3, 3, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_do_not_overflow(gpu, shape, dtype):
    assert_as_on_numpy(gpu, shape, dtype, spread=3e4)


@pytest.mark.parametrize("shape", [(3, 300), (4, 3, 3, 5)])
def test_a_scale_of_0_gives_0_whatever_the_logits(gpu, shape):
    x = gpu.full(shape, np.inf, "float64")
    target = gpu.zeros((shape[0], *shape[2:]), "int64")
    y = cross_entropy_p.gpu(x, target=target, scale=gpu.zeros(target.shape))
    assert (y.get() == 0).all()


def test_other_arrays_are_left_to_the_array_functions(gpu):
    for n, dtype, of_scale in ((2, "float64", "float32"), (0, "float64", "float64"), (2, "float16", "float16")):
        x, target, scale = gpu.zeros((n, 3), dtype), gpu.zeros(n, "int64"), gpu.ones(n, of_scale)
        assert cross_entropy_p.gpu(x, target=target, scale=scale) is NotImplemented


@pytest.mark.parametrize("shape", [(3, 300), (4, 3, 3, 5)])
def test_the_loss_and_its_gradient_are_those_of_the_cpu(gpu, shape):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=shape), rng.integers(0, shape[1], (shape[0], *shape[2:]))
    weight = rng.uniform(0.5, 2, shape[1])
    results = []
    for device in ("cpu", "gpu"):
        x = md.tensor(logits, requires_grad=True, device=device)
        y = F.cross_entropy(x, target, weight=weight, ignore_index=1)
        y.backward()
        results.append((y.numpy(), x.grad.numpy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-15)


# --- planted faults


def whole(gpu):
    for shape in (BY_BLOCKS[0], BY_THREADS[1]):
        assert_as_on_numpy(gpu, shape, "float64")
        assert_as_on_numpy(gpu, shape, "float64", spread=3e4)


BARRIERS = {f"barrier {i}": ("__syncthreads();", "", i) for i in range(4)}
FAULTS = BARRIERS | {
    "a class too few in the sum": ("c = 0; c < classes; c++) sum", "c = 0; c < classes - 1; c++) sum", 0),
    "a class too many in the sum": ("c = 0; c < classes; c++) sum", "c = 0; c <= classes; c++) sum", 0),
    "a class too few in the gradient": ("c = 0; c < classes; c++)\n", "c = 0; c < classes - 1; c++)\n", 0),
    "a class too many in the gradient": ("c = 0; c < classes; c++)\n", "c = 0; c <= classes; c++)\n", 0),
    "a class too few in a block's sum": ("c < classes; c += THREADS) sum", "c < classes - 1; c += THREADS) sum", 0),
    "a class too many in a block's gradient": ("c < classes; c += THREADS)\n", "c <= classes; c += THREADS)\n", 0),
    "a position too many": ("if (i >= positions) return;", "if (i > positions) return;", 1),
    "no maximum": ("m = max(m, x[c * step]);", "m = 0;", 0),
    "no maximum in a block": ("m = max(m, x[c * step]);", "m = 0;", 1),
    "half of the maximum's tree": ("half > 0", "half > 1", 0),
    "half of the sum's tree": ("half > 0", "half > 1", 1),
    "the target's class": ("c == target[i]", "c == target[i] + 1", 0),
    "scale": ("s == 0 ? (T)0 : s *", "", 0),
}


def test_the_check_for_faults_passes_without_one():
    assert planted.passes(whole, "loss")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault):
    assert planted.is_caught(whole, "loss", *FAULTS[fault])


def test_all_barriers_are_among_the_faults():
    from minidl.kernels.gpu import source

    assert source._read("loss").count("__syncthreads();") == len(BARRIERS)

"""Sums and relus of maps equal NumPy's, in every layout; what comes out lies with its channels outermost."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minidl.kernels.gpu import entries

from .planted import is_caught
from .windows import DTYPES, LAYOUTS, on

SIZES = ((7,), (3, 5), (2, 3, 4))
drawn = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def special(rng, shape, dtype):
    """Numbers among which there are zeros, an infinity and a NaN."""
    x = rng.normal(size=shape).astype(dtype)
    x.reshape(-1)[rng.integers(x.size, size=6)] = [0, -0.0, np.inf, -np.inf, np.nan, 0]
    return x


def pairs(x, z, b, slope):
    """name: (kernel on arrays, the same in NumPy)"""
    with np.errstate(invalid="ignore"):
        passed = np.where(z > 0, x, x.dtype.type(slope) * x)
        return {
            "added": (lambda x, z, b: entries.add(x, z), x + z),
            "shifted": (lambda x, z, b: entries.add(x, b), x + b),
            "rectified": (lambda x, z, b: entries.relu(x), np.maximum(x, 0)),
            "gated": (lambda x, z, b: entries.gated(x, gate=z, slope=slope), passed),
        }


def check(gpu, size, n, c, dtype, layouts, slope, seed):
    rng = np.random.default_rng(seed)
    x, z = (special(rng, (n, c, *size), dtype) for _ in range(2))
    b = rng.normal(size=(1, c, *[1] * len(size))).astype(dtype)
    there = on(gpu, x, layouts[0]), on(gpu, z, layouts[1]), gpu.asarray(b)
    for kernel, expected in pairs(x, z, b, slope).values():
        found = kernel(*there)
        assert found.dtype == dtype and found.swapaxes(0, 1).flags.c_contiguous
        np.testing.assert_array_equal(found.get(), expected)


@drawn
@given(
    size=st.sampled_from(SIZES), n=st.integers(1, 3), c=st.integers(1, 4), dtype=st.sampled_from(DTYPES),
    layouts=st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)), slope=st.sampled_from([0, 0.25, -1]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_they_equal_numpy(gpu, size, n, c, dtype, layouts, slope, seed):
    check(gpu, size, n, c, dtype, layouts, slope, seed)


def test_what_they_do_not_take_is_left_to_cupy(gpu):
    x, ints = gpu.asarray(np.ones((2, 3, 4))), gpu.asarray(np.ones((2, 3, 4), int))
    narrow = x.astype("float32")
    left = [
        entries.add(x, 1.0), entries.add(1.0, x), entries.add(x, narrow), entries.add(ints, ints), entries.relu(ints),
        entries.add(x, x[:1]), entries.add(x[:, :, 0], x[:, :, 0]), entries.gated(x, gate=narrow), entries.relu(2.0),
    ]  # fmt: skip
    assert all(y is NotImplemented for y in left)
    assert entries.relu(x[:0]).shape == (0, 3, 4)


FAULTS = {
    "a position too many": ("i < samples * CELLS", "i <= samples * CELLS"),
    "a channel too many": ("c < channels", "c <= channels"),
    "the steps of the other array": ("b[at.n * bn + c * bc", "b[at.n * an + c * ac"),
    "zero passes": ("> 0 ? value", ">= 0 ? value"),
    "a NaN becomes zero": ("value < 0 ? (T)0 : value;", "value > 0 ? value : (T)0;"),
    "a vector of step one": ("b[c * b_step]", "b[c]"),
}


@pytest.mark.skipif(not shutil.which("g++"), reason="g++ is not installed: planted faults run on the stand-in")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault):
    def plain(gpu):
        check(gpu, (3, 5), 3, 4, "float32", ("channels outermost", "C order"), 0.25, 1)
        wide = gpu.asarray(np.arange(8.0).reshape(1, 4, 2, 1))[:, :, :1]  # a step of two
        x = np.zeros((2, 4, 3, 5))
        np.testing.assert_array_equal(entries.add(gpu.asarray(x), wide).get(), x + wide.get())

    assert is_caught(plain, "entries", *FAULTS[fault])

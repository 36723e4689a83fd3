"""Arithmetic in blocks is NumPy's, in any layout."""

import numpy as np
import pytest

from minidl.kernels.cpu import arithmetic


def arrays(dtype):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 9, 40, 41)).astype(dtype)
    last = np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    one = np.broadcast_to(np.asarray(2.5, dtype), a.shape)
    row = np.broadcast_to(a[:, :, :1], a.shape)
    return {"C": a, "last": last, "one": one, "row": row, "odd": np.repeat(a, 2, axis=3)[..., ::2]}


@pytest.mark.parametrize("name", ["add", "subtract", "multiply"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_blocks_of_any_layout(name, dtype):
    function, taken = getattr(np, name), 0
    for a in arrays(dtype).values():
        for b in arrays(dtype).values():
            y, expected = getattr(arithmetic, name)(a, b), function(a, b)
            if y is not NotImplemented:
                taken += 1
                assert y.dtype == dtype and np.array_equal(y, expected) and y.strides == expected.strides
    assert taken == 6  # C, channels last, each with a number, on either side


def test_what_has_no_blocks_is_left_to_the_definition():
    a = np.ones((100, 100), "f")
    for other in (2.0, a[:1], a.astype(float), a.astype(int)):
        assert arithmetic.add(a, other) is NotImplemented
    assert arithmetic.add(a[:2], a[:2]) is NotImplemented


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sum_of_squares_is_added_in_blocks(dtype):
    from minidl.kernels.cpu.reduce import sum_of_squares

    for x in (*arrays(dtype).values(), np.ones(5, dtype), np.full((3, 4096), 1e3, dtype)):
        exact = float((x.astype(np.longdouble) ** 2).sum())
        assert sum_of_squares(x) == pytest.approx(exact, rel=1e-6 if dtype == "float32" else 1e-14)
    assert sum_of_squares(np.ones(3, complex)) is NotImplemented

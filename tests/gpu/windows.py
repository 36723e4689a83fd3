"""Windows of every rank, and arrays that lie in memory in every order that a kernel may meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from minidl.ops.window import Window

WINDOWS = {
    "1-D": Window.of((9,), 3, padding=1),
    "1-D causal, dilated": Window.of((7,), 2, dilation=3, padding="causal"),
    "1-D cropped": Window((9,), (2,), (2,), (1,), ((-2, -1),)),
    "1-D stride > kernel": Window.of((11,), 2, stride=3, padding=[(1, 0)]),
    "1-D outer taps on padding": Window.of((2,), 3, dilation=3, padding=3),
    "2-D": Window.of((5, 6), 3, padding=1),
    "2-D pointwise": Window.of((4, 3), 1),
    "2-D whole": Window.of((3, 4), (3, 4)),
    "2-D asymmetric": Window.of((5, 7), (3, 2), stride=(2, 1), dilation=(1, 2), padding=((2, 0), (0, 1))),
    "2-D cropped": Window((6, 5), (2, 3), (1, 2), (2, 1), ((-1, 2), (1, -1))),
    "2-D 9x8": Window.of((10, 9), (9, 8), padding=((4, 3), (1, 2))),
    "3-D": Window.of((3, 4, 3), (2, 3, 2), stride=(1, 2, 1), dilation=(2, 1, 1), padding=((1, 0), (1, 1), (0, 1))),
    "3-D cropped": Window((4, 3, 5), (2, 2, 2), (2, 1, 2), (1, 1, 2), ((0, -1), (1, 0), (-1, 1))),
}
LAYOUTS = ("C order", "channels outermost", "channels last", "sliced", "reversed")
DTYPES = ("float32", "float64")

drawn = settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
each_window = pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
batches, channels = st.integers(1, 3), st.integers(1, 4)
dtypes, layouts = st.sampled_from(DTYPES), st.sampled_from(LAYOUTS)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def on(gpu: Any, x: np.ndarray, layout: str = "C order") -> Any:
    """x (N, C, ...) on the device, in memory as asked for; what lies between its entries is NaN."""
    if layout == "channels outermost":
        return gpu.asarray(np.ascontiguousarray(x.swapaxes(0, 1))).swapaxes(0, 1)
    if layout == "channels last":
        return gpu.moveaxis(gpu.asarray(np.ascontiguousarray(np.moveaxis(x, 1, -1))), -1, 1)
    if layout == "sliced":
        n, c, *size, last = x.shape
        wide = np.full((n + 1, 2 * c, *size, last + 1), np.nan, x.dtype)
        wide[1:, ::2, ..., :-1] = x
        return gpu.asarray(wide)[1:, ::2, ..., :-1]
    if layout == "reversed":
        return gpu.asarray(np.ascontiguousarray(x[::-1, ::-1]))[::-1, ::-1]
    return gpu.asarray(np.ascontiguousarray(x))

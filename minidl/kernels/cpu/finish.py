"""What comes after a convolution, done to each block of its output while that is in the cache: a bias, the shortcut of
a residual block, a relu. The operations and their order are those of three passes over the whole output, so the bits
are the same; main memory is read and written once instead of four times."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .activation import BLOCK, constant
from .blocks import joined
from .layout import channels_last

ROW = 1 << 8  # numbers of a row that a bias is added to, at least


class Finish:
    """``relu(y + bias + residual)``, in place, of blocks of y; each of the three may be missing.

    bias (F,), residual (N, F, *output), both of the dtype of y.
    """

    def __init__(self, bias: np.ndarray | None = None, residual: np.ndarray | None = None, relu: bool = False):
        self.bias, self.relu = bias, relu
        self.residual = None if residual is None else channels_last(residual)

    def __call__(self, block: np.ndarray, samples: slice, rows: slice, channels: slice = slice(None)) -> None:
        """block: ``y[samples, channels, rows]`` with the channels last, (n, rows, ..., F)."""
        flat = block.reshape(-1) if block.flags.c_contiguous else None
        if self.bias is not None:
            bias, width = self.bias[channels], block.shape[-2]
            if flat is None:
                block += bias
            else:  # several pixels at a time: NumPy starts each row anew
                cells = joined(width, len(bias), ROW)
                lines = flat.reshape(-1, cells * len(bias))
                lines += np.concatenate([bias] * cells)
        if self.residual is not None:
            block += self.residual[samples, rows][..., channels]
        if self.relu and flat is not None:
            for start in range(0, math.prod(block.shape), BLOCK):
                part = flat[start : start + BLOCK]
                np.maximum(part, constant(0.0, part), out=part)
        elif self.relu:
            np.maximum(block, constant(0.0, block) if block.size <= BLOCK else 0, out=block)


def nothing(*block: Any) -> None:
    """When there is nothing to finish."""

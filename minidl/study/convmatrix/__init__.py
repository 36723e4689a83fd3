"""A convolution as a matrix, with letters or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..page import Shown
from . import page, report
from .matrix import Matrix, read

__all__ = ["ConvMatrix", "convmatrix"]


class ConvMatrix(Matrix, Shown):
    """A convolution's matrices to print, to write as JSON, and on a page that lights rows, windows and columns."""

    text, content, page = report.text, report.content, page.page


def convmatrix(
    kernel: str | Sequence[Any] | np.ndarray, size: int | Sequence[int], *, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1,
) -> ConvMatrix:  # fmt: skip
    """The convolution of an input of `size` with a kernel, as a matrix, with all that follows from it.

        >>> md.convmatrix("xyz", 4, stride=2, padding=1)
        convolution of 4 cells with a kernel of 3, stride 2, padding 1
        output = (4 + 1 + 1 - 1 * (3 - 1) - 1) // 2 + 1 = 2
        ...
        X, columns are the padded input ã:
             0 a b c d 0
          y0 x y z . . .
          y1 . . x y z .
        ...

    kernel: letters, one for each tap ("xyz"; rows parted by "/", "ab/cd"), or numbers of one or two axes. size: cells
    along each axis, or one number for all. stride, padding, dilation: as in `F.conv`.

    Raises ValueError for a kernel that is neither, for a geometry that does not fit, and for an X of more than 4096
    entries.
    """
    return ConvMatrix(**vars(read(kernel, size, stride, padding, dilation)))

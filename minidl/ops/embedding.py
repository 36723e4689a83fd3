"""Rows of a table by their numbers."""

from __future__ import annotations

from typing import Any

from ..core.array_function import ArrayFunction
from ..core.tensor import Operand, Tensor, as_array, as_tensor
from .indexing import getitem_p, where
from .shape import expand_dims


def embedding(index: Operand, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Row ``index[i]`` of the weight (count, width) for each i: any shape of integers gives that shape and width.

    The row `padding_idx` gets no gradient. Raises IndexError for a number that is no row.
    """
    rows, index, weight = as_tensor(index), as_array(index), as_tensor(weight)
    if index.dtype.kind not in "iu":
        raise TypeError(f"embedding: rows are numbered by integers, got {index.dtype}")
    require_rows(index, count=len(weight))
    y = getitem_p(weight, index=(index,))
    if padding_idx is None:
        return y
    return where(expand_dims(rows, -1) == padding_idx % len(weight), y.detach(), y)


@ArrayFunction
def require_rows(xp: Any, index: Any, *, count: int) -> None:
    if index.size and (index.min() < 0 or index.max() >= count):
        raise IndexError(f"embedding: rows 0 to {count - 1} are there, asked for {index.min()} to {index.max()}")

"""Reductions, running sums, order."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import writer


def _reduction(operator: str, wide: bool = False) -> Any:
    """wide: integers add up in the dtype of the result."""

    def write(g: Any, x: Any, *, axis: Any, keepdims: bool) -> Any:
        if not axis:
            return g.Identity(g.cast(x, g.out.dtype))
        x = g.cast(x, g.out.dtype) if wide else x
        if x.dtype == bool:
            x = g.cast(x, np.int32)
        return g.node(operator, x, g.ints([int(a) for a in axis]), keepdims=int(keepdims))

    return write


writer("sum")(_reduction("ReduceSum", wide=True))
writer("mean")(_reduction("ReduceMean", wide=True))
writer("product_of")(_reduction("ReduceProd", wide=True))
writer("max")(_reduction("ReduceMax"))
writer("smallest")(_reduction("ReduceMin"))


def _quantifier(operator: str) -> Any:
    reduced = _reduction(operator)

    def write(g: Any, x: Any, *, axis: Any, keepdims: bool) -> Any:
        return g.cast(reduced(g, g.cast(x, bool), axis=axis, keepdims=keepdims), bool)

    return write


writer("any_along")(_quantifier("ReduceMax"))
writer("all_along")(_quantifier("ReduceMin"))


@writer("finite_largest")
def finite_largest(g: Any, x: Any, *, axis: Any) -> Any:
    largest = g.ReduceMax(x, g.ints([int(a) for a in axis]), keepdims=1)
    return g.Where(g.IsInf(largest), g.value(0, x.dtype), largest)


@writer("cumsum")
def cumsum(g: Any, x: Any, *, axis: int) -> Any:
    return g.CumSum(g.cast(x, g.out.dtype), np.array(axis))


@writer("softmax")
def softmax(g: Any, x: Any, *, axis: int) -> Any:
    return g.Softmax(x, axis=axis)


@writer("log_softmax")
def log_softmax(g: Any, x: Any, *, axis: int) -> Any:
    return g.LogSoftmax(x, axis=axis)


@writer("place_of")
def place_of(g: Any, x: Any, *, extreme: str, axis: int | None, keepdims: bool) -> Any:
    operator = {"argmax": "ArgMax", "argmin": "ArgMin"}[extreme]
    x = g.cast(x, np.int32) if x.dtype == bool else x
    if axis is not None:
        return g.node(operator, x, axis=axis, keepdims=int(keepdims))
    y = g.node(operator, g.Reshape(x, np.array([-1])), axis=0, keepdims=0)
    return g.Reshape(y, g.ints([1] * len(x.shape))) if keepdims else y


@writer("order_of")
def order_of(g: Any, x: Any, *, axis: int, descending: bool) -> Any:
    """TopK of all entries; of equal ones it has the lower position first."""
    return g.TopK(x, g.ints([x.shape[axis]]), axis=axis, largest=int(descending), outputs=2)[1]

"""Functions along dimensions, by torch's names, of the engine's values: sums, extremes, order, norms."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor as Value
from ..ops import reduce
from ..ops.ordering import along
from . import pointwise
from .dtypes import as_numpy, to_float


class Pair(NamedTuple):
    """What torch gives for an extreme along a dimension."""

    values: Any
    indices: Any


class Extremes(NamedTuple):
    """What `aminmax` gives."""

    min: Any
    max: Any


def _axis(dim: Any) -> Any:
    return None if dim is None or (isinstance(dim, tuple | list) and not dim) else dim


def sum(input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    kind = as_numpy(dtype) or (np.dtype("int64") if input.dtype.kind in "iub" else input.dtype)
    return F_sum(input if kind == input.dtype else input.astype(kind), _axis(dim), keepdim)


F_sum = reduce.sum


def mean(input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    input = input if dtype is None else input.astype(as_numpy(dtype))
    if input.dtype.kind not in "fc":
        raise RuntimeError(f"mean(): the input is {input.dtype}; write x.float().mean()")
    return reduce.mean(input, _axis(dim), keepdim)


def prod(input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    kind = as_numpy(dtype) or (np.dtype("int64") if input.dtype.kind in "iub" else input.dtype)
    return reduce.prod(input.astype(kind) if kind != input.dtype else input, _axis(dim), keepdim)


def _ddof(unbiased: Any, correction: Any) -> int:
    return int(unbiased) if correction is None else int(correction)


def _spread(function: Callable) -> Callable:
    def of_input(
        input: Value, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None
    ) -> Value:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        return function(input, _axis(dim), keepdim, _ddof(unbiased, correction))

    return of_input


var, std = _spread(reduce.var), _spread(reduce.std)


def var_mean(input: Value, dim: Any = None, unbiased: bool = True, keepdim: bool = False, **options: Any) -> tuple:
    return var(input, dim, unbiased, keepdim, **options), mean(input, dim, keepdim)


def std_mean(input: Value, dim: Any = None, unbiased: bool = True, keepdim: bool = False, **options: Any) -> tuple:
    return std(input, dim, unbiased, keepdim, **options), mean(input, dim, keepdim)


def _taken(input: Value, places: Value, dim: int, keepdim: bool) -> Pair:
    """The entries at these places along dim, which has length 1 in them."""
    if not input.ndim:
        return Pair(input, places)
    values = F.gather(input, dim, places)
    return Pair(*(v if keepdim else v.squeeze(dim) for v in (values, places)))


def max(input: Value, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest entry; along `dim` also where it is (the first of equal ones); of a second tensor, entry by entry."""
    if isinstance(dim, Value):
        return pointwise.maximum(input, dim)
    return reduce.max(input) if dim is None else _taken(input, F.argmax(input, dim, True), dim, keepdim)


def min(input: Value, dim: Any = None, keepdim: bool = False) -> Any:
    """As max."""
    if isinstance(dim, Value):
        return pointwise.minimum(input, dim)
    return reduce.min(input) if dim is None else _taken(input, F.argmin(input, dim, True), dim, keepdim)


def amax(input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return reduce.max(input, _axis(dim), keepdim)


def amin(input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return reduce.min(input, _axis(dim), keepdim)


def aminmax(input: Value, *, dim: Any = None, keepdim: bool = False) -> tuple:
    return Extremes(amin(input, dim, keepdim), amax(input, dim, keepdim))


def argmax(input: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    return F.argmax(input, dim, keepdim)


def argmin(input: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    return F.argmin(input, dim, keepdim)


def any(input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return reduce.any(input, _axis(dim), keepdim)


def all(input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return reduce.all(input, _axis(dim), keepdim)


def logsumexp(input: Value, dim: Any, keepdim: bool = False) -> Value:
    return reduce.logsumexp(to_float(input), dim, keepdim)


def softmax(input: Value, dim: int, dtype: Any = None) -> Value:
    return F.softmax(input if dtype is None else input.astype(as_numpy(dtype)), dim)


def log_softmax(input: Value, dim: int, dtype: Any = None) -> Value:
    return F.log_softmax(input if dtype is None else input.astype(as_numpy(dtype)), dim)


def cumsum(input: Value, dim: int, *, dtype: Any = None) -> Value:
    kind = as_numpy(dtype) or (np.dtype("int64") if input.dtype.kind in "iub" else input.dtype)
    return F.cumsum(input if kind == input.dtype else input.astype(kind), dim)


def logcumsumexp(input: Value, dim: int) -> Value:
    x = to_float(input)
    return F.stack([logsumexp(x[(slice(None),) * (dim % x.ndim) + (slice(n + 1),)], dim) for n in range(x.shape[dim])],
                   dim % x.ndim)  # fmt: skip


def cumprod(input: Value, dim: int) -> Value:
    parts = [input[(slice(None),) * (dim % input.ndim) + (i,)] for i in range(input.shape[dim])]
    for i in range(1, len(parts)):
        parts[i] = parts[i - 1] * parts[i]
    return F.stack(parts, dim % input.ndim)


def _running(input: Value, dim: int, accumulate: Any, better: Any) -> Pair:
    x = np.moveaxis(input.data, dim, 0)
    places, best = np.zeros(x.shape, np.int64), 0 * x[:1].astype(np.int64)[0]
    for i in range(len(x)):
        best = np.where(better(x[i], np.take_along_axis(x, best[None], 0)[0]), i, best)
        places[i] = best
    places = Value(np.moveaxis(places, 0, dim))
    return Pair(F.gather(input, dim, places), places)


def cummax(input: Value, dim: int) -> Pair:
    return _running(input, dim, np.maximum, np.greater_equal)


def cummin(input: Value, dim: int) -> Pair:
    return _running(input, dim, np.minimum, np.less_equal)


def sort(input: Value, dim: int = -1, descending: bool = False, stable: bool = False) -> Pair:
    return Pair(*F.sort(input, dim, descending))


def argsort(input: Value, dim: int = -1, descending: bool = False, stable: bool = False) -> Value:
    return F.argsort(input, dim, descending)


def topk(input: Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Pair:
    return Pair(*F.topk(input, k, dim, largest))


def kthvalue(input: Value, k: int, dim: int = -1, keepdim: bool = False) -> Pair:
    order = F.argsort(input, dim)
    return _taken(input, order[(slice(None),) * (dim % input.ndim) + (slice(k - 1, k),)], dim, keepdim)


def median(input: Value, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle entry, the lower one of two; along `dim` also where it is."""
    if dim is None:
        return kthvalue(input.reshape(-1), (input.size + 1) // 2, 0).values
    return kthvalue(input, (input.shape[dim] + 1) // 2, dim, keepdim)


def mode(input: Value, dim: int = -1, keepdim: bool = False) -> Pair:
    """The most frequent entry, the smallest of equally frequent ones, and its last place."""

    def place(row: np.ndarray) -> int:
        values, counts = np.unique(row, return_counts=True)
        return int(np.nonzero(row == values[counts.argmax()])[0][-1])

    places = np.apply_along_axis(place, dim, input.data)
    return _taken(input, Value(np.expand_dims(places, dim)), dim, keepdim)


def quantile(
    input: Value, q: Any, dim: int | None = None, keepdim: bool = False, interpolation: str = "linear"
) -> Value:
    if input.node is None:
        q = q.data if isinstance(q, Value) else q
        return Value(np.asarray(np.quantile(input.data, q, dim, keepdims=keepdim, method=interpolation), input.dtype))
    axis = 0 if dim is None else dim % input.ndim
    ordered = F.sort(input.reshape(-1) if dim is None else input, axis).values
    at, before = float(q) * (ordered.shape[axis] - 1), (slice(None),) * axis
    low = int(at)
    y = ordered[(*before, low)]
    return y if at == low else y + (at - low) * (ordered[(*before, low + 1)] - y)


def norm(input: Value, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
    p = 2.0 if p in ("fro", None) else float(p)
    return F.norm(input, p, _axis(dim), keepdim)


def count_nonzero(input: Value, dim: Any = None) -> Value:
    return Value(np.asarray(np.count_nonzero(input.data, axis=_axis(dim))))


def dist(input: Value, other: Value, p: float = 2) -> Value:
    return F.norm(input - other, p)


def allclose(input: Value, other: Value, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    return bool(np.allclose(input.data, other.data, rtol, atol, equal_nan))


def equal(input: Value, other: Value) -> bool:
    return bool(np.array_equal(input.data, other.data))


def unique(
    input: Value, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    found = np.unique(input.data, return_inverse=True, return_counts=True, axis=dim)
    values, inverse, counts = (Value(np.asarray(a)) for a in found)
    rest = [inverse.reshape(input.shape) if dim is None else inverse] * return_inverse + [counts] * return_counts
    return (values, *rest) if rest else values


def unique_consecutive(input: Value, return_inverse: bool = False, return_counts: bool = False) -> Any:
    x = input.data.reshape(-1)
    starts = np.concatenate([[True], x[1:] != x[:-1]]) if len(x) else np.zeros(0, bool)
    inverse = Value(np.cumsum(starts) - 1)
    counts = Value(np.bincount(inverse.data)) if len(x) else Value(np.zeros(0, int))
    rest = [inverse] * return_inverse + [counts] * return_counts
    return (Value(x[starts]), *rest) if rest else Value(x[starts])


def bincount(input: Value, weights: Any = None, minlength: int = 0) -> Value:
    return Value(np.bincount(input.data, None if weights is None else weights.data, minlength))


def histc(input: Value, bins: int = 100, min: float = 0, max: float = 0) -> Value:
    low, high = (min, max) if (min, max) != (0, 0) else (input.data.min(), input.data.max())
    return Value(np.histogram(input.data, bins, (low, high))[0].astype(input.dtype))


def searchsorted(sorted_sequence: Value, input: Any, *, right: bool = False, side: str | None = None) -> Value:
    side = side or ("right" if right else "left")
    return Value(np.asarray(np.searchsorted(sorted_sequence.data, getattr(input, "data", input), side)))


def bucketize(input: Any, boundaries: Value, *, right: bool = False) -> Value:
    return searchsorted(boundaries, input, right=right)


def nanmean(input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    there = ~np.isnan(input.data)
    total = reduce.sum(F.where(there, input, 0.0), _axis(dim), keepdim)
    return total / Value(np.asarray(there.sum(axis=_axis(dim), keepdims=keepdim), input.dtype))


def cov(input: Value, *, correction: int = 1) -> Value:
    """The covariances of the rows, variables observed in each column."""
    x = input if input.ndim == 2 else input.reshape(1, -1)
    centred = x - reduce.mean(x, -1, True)
    found = F.matmul(centred, centred.swapaxes(0, 1)) / (x.shape[1] - correction)
    return found if input.ndim == 2 else found.reshape(())


def corrcoef(input: Value) -> Value:
    if input.ndim < 2:
        return input.reshape(-1)[0] * 0 + 1
    found = cov(input)
    spread = F.sqrt(F.stack([found[i, i] for i in range(len(found))]))
    return found / (spread.reshape(-1, 1) * spread)


def trapezoid(y: Value, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Value:
    before = (slice(None),) * (dim % y.ndim)
    heights = (y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]) / 2
    return reduce.sum(heights * (dx if x is None else diff(x, dim=dim)), dim)


def isin(elements: Any, test_elements: Any, *, invert: bool = False) -> Value:
    a, b = (getattr(x, "data", x) for x in (elements, test_elements))
    return Value(np.asarray(np.isin(a, b, invert=invert)))


def nansum(input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return reduce.sum(F.where(np.isnan(input.data), 0.0, input), _axis(dim), keepdim)


def diff(input: Value, n: int = 1, dim: int = -1) -> Value:
    before = (slice(None),) * (dim % input.ndim)
    for _ in range(n):
        input = input[(*before, slice(1, None))] - input[(*before, slice(None, -1))]
    return input


METHODS: tuple[Callable, ...] = (
    sum, mean, prod, max, min, amax, amin, aminmax, argmax, argmin, any, all, logsumexp, softmax, log_softmax, cumsum,
    logcumsumexp, cumprod, cummax, cummin, sort, argsort, topk, kthvalue, median, mode, quantile, norm, count_nonzero,
    dist, allclose, equal, unique, unique_consecutive, bincount, histc, nanmean, nansum, diff, cov, corrcoef,
)  # fmt: skip
TABLE: dict[str, Callable] = {
    **{f.__name__: f for f in METHODS}, "var": var, "std": std, "msort": lambda input: F.sort(input, 0).values,
}  # fmt: skip
FUNCTIONS: dict[str, Callable] = {
    "searchsorted": searchsorted, "bucketize": bucketize, "trapezoid": trapezoid, "trapz": trapezoid, "isin": isin,
    "var_mean": var_mean, "std_mean": std_mean,
}  # fmt: skip
__all__ = ["FUNCTIONS", "TABLE", "along", "builtins"]

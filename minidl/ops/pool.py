"""Pooling: the largest or the mean of each window, over 1 to 3 spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, overload

import numpy as np

from ..core.array_function import ArrayFunction
from ..core.primitive import primitive
from ..core.tensor import Operand, Tensor, as_array, as_tensor
from ..device import namespace, to_device
from . import reach
from .reduce import mean
from .resample import area_bounds, area_matrix, matmul_along_axis, take
from .shape import as_float, narrowed, widened
from .window import Padding, Sizes, Window, as_int, errors_of, padding_pairs, per_axis, require_spatial

Cells = int | Sequence[int | None] | None  # of an output; None keeps an axis as it is

# --- the largest of each window


def _gap_to_largest(x, *, window):
    """How far the largest entry of each window stands from the next one."""
    cells = np.full(x.shape[:2] + window.output + window.kernel, -np.inf)
    for tap, outputs, inputs in window.shifts():
        cells[(..., *outputs, *tap)] = x[(..., *inputs)]
    cells = np.sort(cells.reshape(x.shape[:2] + window.output + (window.taps,)), axis=-1)
    return cells[..., -1] - cells[..., -2] if window.taps > 1 else np.full(cells.shape[:-1], np.inf)


@primitive(
    formula="y[n,c,o] = max over k of x[n,c, s*o + d*k - p]",
    kind="piecewise",
    kink=_gap_to_largest,
    saves=("x", "y"),
    reach=reach.gathered,
    support=lambda n, x, *, window: window_spread(n, window=window),  # any cell of a window may be the largest
)
def max_pool_p(xp, x, *, window):
    """The largest entry of each window, padding left out: (N, C, *size) -> (N, C, *output)."""
    for axis in range(window.rank):  # the maximum over a box is taken axis by axis
        x = _reduce_axis(xp, x, window, axis, xp.maximum, lowest(x.dtype))
    return x


@max_pool_p.rule("x", formula="g added up at the position of each maximum, the first among equals")
def max_pool_x(g, y, x, *, window):
    return to_largest(g, among=x.data, largest=y.data, window=window)


@primitive(formula="y[n,c,argmax[n,c,o]] += x[n,c,o], from zeros", kind="linear")
def to_largest(xp, x, *, among, largest, window):
    """Each entry added where its window of `among` has its largest entry: (N, C, *output) -> (N, C, *size).

    `largest` is the maximum of each window of `among`, which is (N, C, *size); argmax its first position.
    """
    indices = window_argmax(among, largest, window=window)
    return scatter_cells.forward(xp, x, indices=indices, size=window.size, repeats=True)


@primitive(formula="y[n,c,o] = x[n,c,argmax[n,c,o]]", kind="linear")
def from_largest(xp, x, *, among, largest, window):
    """The entry where each window of `among` has its largest: (N, C, *size) -> (N, C, *output)."""
    return gather_cells.forward(xp, x, indices=window_argmax(among, largest, window=window), repeats=True)


@to_largest.rule("x", formula="g[n,c,argmax[n,c,o]]")
def to_largest_x(g, y, x, **parameters):
    return from_largest(g, **parameters)


@from_largest.rule("x", formula="g added up at argmax, 0 elsewhere")
def from_largest_x(g, y, x, **parameters):
    return to_largest(g, **parameters)


@primitive(formula="y[n,c,indices[n,c,o]] += x[n,c,o], from zeros", kind="linear")
def scatter_cells(xp, x, *, indices, size, repeats):
    """Each entry added at its flat position in its map: (N, C, *output) -> (N, C, *size).

    `repeats` says whether a position may occur twice in a map.
    """
    y = xp.zeros(x.shape[:2] + tuple(size), x.dtype)
    flat, at = y.reshape(-1), _across_maps(xp, indices, math.prod(size))
    if repeats:
        xp.add.at(flat, at, x.reshape(-1))
    else:
        flat[at] = x.reshape(-1)
    return y


@primitive(formula="y[n,c,o] = x[n,c,indices[n,c,o]]", kind="linear")
def gather_cells(xp, x, *, indices, repeats):
    """The entries at flat positions of each map: (N, C, *size) -> (N, C, *output)."""
    return x.reshape(-1)[_across_maps(xp, indices, math.prod(x.shape[2:]))].reshape(indices.shape)


@scatter_cells.rule("x", formula="g[n,c,indices[n,c,o]]")
def scatter_cells_x(g, y, x, *, indices, size, repeats):
    return gather_cells(g, indices=indices, repeats=repeats)


@gather_cells.rule("x", formula="g added up at indices, 0 elsewhere")
def gather_cells_x(g, y, x, *, indices, repeats):
    return scatter_cells(g, indices=indices, size=x.shape[2:], repeats=repeats)


def _across_maps(xp: Any, indices: Any, cells: int) -> Any:
    """Positions in each map of so many cells, as positions in all maps laid end to end: (N, C, *output) -> flat."""
    first = cells * xp.arange(math.prod(indices.shape[:2]))  # (N * C,)
    return (indices + first.reshape(indices.shape[:2] + (1,) * (indices.ndim - 2))).reshape(-1)


def _reduce_axis(xp: Any, x: Any, window: Window, axis: int, combine: Any, neutral: Any) -> Any:
    """Combine the taps along one spatial axis: one pass over shifted slices per tap."""
    at = (slice(None),) * (2 + axis)
    shape = x.shape[: 2 + axis] + (window.output[axis],) + x.shape[3 + axis :]
    shifts = sorted(window.axis_shifts(axis), key=lambda s: s[1].start - s[1].stop)  # the widest first
    if shifts and shifts[0][1] == slice(0, window.output[axis]):
        y = x[(*at, shifts.pop(0)[2])].copy()
    else:
        y = xp.full(shape, neutral, x.dtype)
    for _, outputs, cells in shifts:
        combine(y[(*at, outputs)], x[(*at, cells)], out=y[(*at, outputs)])
    return y


def lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind in "fc" else (np.iinfo(dtype).min if dtype.kind in "iu" else False)


@ArrayFunction
def window_argmax(xp: Any, x: Any, y: Any, *, window: Window) -> Any:
    """The flat position in its map of each window's maximum y, the first among equals; of a NaN if there is one."""
    flat = xp.arange(math.prod(window.size)).reshape(window.size)
    indices = xp.zeros(y.shape, xp.int64)
    for _, outputs, cells in reversed(list(window.shifts())):
        cell = x[(..., *cells)]
        missed = ~(cell >= y[(..., *outputs)]) & (cell == cell)  # where y is a NaN, by all cells that are none
        at = indices[(..., *outputs)]
        indices[(..., *outputs)] = xp.where(missed, at, flat[cells])
    return indices


@overload
def max_pool(
    x: Tensor, kernel_size: Sizes, *, stride: Sizes | None = None, padding: Padding = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: Literal[False] = False,
) -> Tensor: ...
@overload
def max_pool(
    x: Tensor, kernel_size: Sizes, *, stride: Sizes | None = None, padding: Padding = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool,
) -> tuple[Tensor, Tensor]: ...
def max_pool(
    x: Tensor, kernel_size: Sizes, *, stride: Sizes | None = None, padding: Padding = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest entry of each window: (N, C, *size) -> (N, C, *output).

    Definition: ``y[n,c,o] = max over k of x[n,c, stride*o + dilation*k - padding]``, padding counting as minus
    infinity; the stride is the kernel size unless given. The gradient goes to the maximum, the first in C order
    among equals; a NaN is larger than anything. With `ceil_mode` a last window may stick out at the end, if it starts
    inside of the input or of the padding before it. With `return_indices` also the flat position of each maximum in its
    map, for `max_unpool`.
    Raises ValueError as `Window.of`, and if a window covers padding only.

        >>> F.max_pool(md.tensor([[[1.0, 5.0, 3.0, 2.0]]]), 2)
        tensor([[[5., 3.]]])
    """
    x = as_tensor(x)
    require_spatial("max_pool", x)
    stride = kernel_size if stride is None else stride
    sizes = {"stride": stride, "padding": padding, "dilation": dilation}
    window = Window.of(x.shape[2:], kernel_size, **sizes, ceil_mode=ceil_mode, function="max_pool")
    _require_cells("max_pool", window)
    y = max_pool_p(x, window=window)
    return (y, Tensor(window_argmax(x.data, y.data, window=window))) if return_indices else y


max_pool.primitive = max_pool_p


def max_unpool(
    x: Tensor, indices: Operand, kernel_size: Sizes, *, stride: Sizes | None = None, padding: Padding = 0,
    output_size: Sizes | None = None,
) -> Tensor:  # fmt: skip
    """Each entry put back at the position where `max_pool` found it, zeros elsewhere.

    Definition: ``y[n,c,indices[n,c,o]] = x[n,c,o]``; the last in C order counts if a position occurs twice. The
    spatial size is `output_size` (which may include N and C), or ``(output - 1) * stride - low - high + kernel``.
    Raises ValueError if indices and x differ in shape or an index lies outside of the map.
    """
    x, indices = as_tensor(x), as_array(indices)
    require_spatial("max_unpool", x)
    with errors_of("max_unpool"):
        size = _unpooled_size(x.shape[2:], kernel_size, stride, padding)
    if output_size is not None:
        whole = isinstance(output_size, Sequence) and len(output_size) == x.ndim
        size = per_axis("max_unpool: output_size", output_size[2:] if whole else output_size, x.ndim - 2, 1)
    if indices.shape != x.shape or indices.dtype.kind not in "iu":
        raise ValueError(
            f"max_unpool: indices must be ints of x's shape {x.shape}, got {indices.dtype} {indices.shape}"
        )
    cells = math.prod(size)
    if indices.size and not (indices.min() >= 0 and indices.max() < cells):
        raise ValueError(
            f"max_unpool: indices run from {indices.min()} to {indices.max()}, a map of {size} has positions 0 to "
            f"{cells - 1}; give output_size= as it was before pooling"
        )
    indices = indices.astype("int64", copy=False)
    last = _is_last(namespace([x.data]), indices, cells)
    if not last.all():
        x = x * Tensor(last.astype(x.dtype))
    return scatter_cells(x, indices=indices, size=size, repeats=not last.all())


def _unpooled_size(output: tuple[int, ...], kernel_size: Any, stride: Any, padding: Any) -> tuple[int, ...]:
    rank = len(output)
    kernel, pairs = per_axis("kernel_size", kernel_size, rank, 1), padding_pairs(padding, rank)
    strides = kernel if stride is None else per_axis("stride", stride, rank, 1)
    return tuple((o - 1) * s - low - high + k for o, s, k, (low, high) in zip(output, strides, kernel, pairs))


def _is_last(xp: Any, indices: Any, cells: int) -> Any:
    """True where no later entry of the same map has the same index."""
    at = _across_maps(xp, indices, cells)
    order = xp.arange(at.size)
    last = xp.zeros(math.prod(indices.shape[:2]) * cells, order.dtype)
    xp.maximum.at(last, at, order)
    return (last[at] == order).reshape(indices.shape)


# --- the sum and the mean of each window


@primitive(
    name="window_sum", formula="y[n,c,o] = sum over k of x[n,c, s*o + d*k - p]", kind="linear", saves=(),
    reach=reach.gathered,
)  # fmt: skip
def window_sum(xp, x, *, window):
    """The sum over each window, padding counting as zero: (N, C, *size) -> (N, C, *output)."""
    for axis in range(window.rank):  # the sum over a box is taken axis by axis
        x = _reduce_axis(xp, x, window, axis, xp.add, 0)
    return x


@primitive(formula="y[n,c,i] = sum over (k,o) with s*o + d*k - p = i of x[n,c,o]", kind="linear")
def window_spread(xp, x, *, window):
    """Each entry added to every cell of its window: (N, C, *output) -> (N, C, *size)."""
    for axis in reversed(range(window.rank)):
        at = (slice(None),) * (2 + axis)
        y = xp.zeros(x.shape[: 2 + axis] + (window.size[axis],) + x.shape[3 + axis :], x.dtype)
        for _, outputs, cells in window.axis_shifts(axis):
            y[(*at, cells)] += x[(*at, outputs)]
        x = y
    return x


@window_sum.rule("x", formula="window_spread(g)")
def window_sum_x(g, y, x, *, window):
    return window_spread(g, window=window)


@window_spread.rule("x", formula="window_sum(g)")
def window_spread_x(g, y, x, *, window):
    return window_sum(g, window=window)


def avg_pool(
    x: Tensor, kernel_size: Sizes, *, stride: Sizes | None = None, padding: Padding = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: float | None = None,
) -> Tensor:
    """The mean of each window: (N, C, *size) -> (N, C, *output); the stride is the kernel size unless given.

    Definition: ``y[n,c,o] = (sum over k of x[n,c, stride*o + dilation*k - padding]) / count``, zero outside of x.
    `count` is the number of taps on the padded input, or on the input alone without `count_include_pad`; what a window
    of `ceil_mode` covers beyond the padding never counts. `divisor_override` takes the place of every count.
    Raises ValueError as `Window.of`, and if a window covers padding only.

        >>> F.avg_pool(md.tensor([[[1.0, 5.0, 3.0, 2.0]]]), 2)
        tensor([[[3. , 2.5]]])
    """
    given = as_float(x)
    x = widened(given)
    require_spatial("avg_pool", x)
    stride = kernel_size if stride is None else stride
    sizes = {"stride": stride, "padding": padding, "dilation": dilation}
    window = Window.of(x.shape[2:], kernel_size, **sizes, ceil_mode=ceil_mode, function="avg_pool")
    if divisor_override is not None:
        if not divisor_override:
            raise ValueError("avg_pool: divisor_override must not be 0")
        return narrowed(window_sum(x, window=window) / divisor_override, given)
    counted = window
    if count_include_pad:  # the padding asked for counts as input, what ceil_mode added does not
        asked = Window.read(x.shape[2:], kernel_size, stride, padding, dilation)
        beyond = tuple((0, high - given) for (_, high), (_, given) in zip(window.padding, asked.padding))
        counted = Window(asked.padded, window.kernel, window.stride, window.dilation, beyond)
    _require_cells("avg_pool", window)
    return narrowed(window_sum(x, window=window) / _counts(x, counted), given)


def _counts(x: Tensor, window: Window) -> Any:
    """How many taps of each window lie inside: a number if all agree, else a tensor of shape (1, 1, *output)."""
    counts = _taps_inside(window, x.form.real.dtype)
    return counts if isinstance(counts, float) else Tensor(to_device(counts, x.device))


@lru_cache(maxsize=64)
def _taps_inside(window: Window, dtype: Any) -> Any:
    counts = window_sum.forward(np, np.ones((1, 1, *window.size), dtype), window=window)
    if (counts == counts.flat[0]).all():
        return float(counts.flat[0])
    counts.flags.writeable = False
    return counts


def adaptive_avg_pool(x: Tensor, output_size: Cells) -> Tensor:
    """The mean over windows that share each axis out evenly: (N, C, *size) -> (N, C, *output_size).

    Definition: output o of O covers the cells from ``floor(o * size / O)`` up to ``ceil((o + 1) * size / O)``.
    `output_size`: an int, or one int per axis; None keeps that axis. Raises ValueError for other lengths.
    Source: He et al., "Spatial pyramid pooling", ECCV 2014, section 2.3.
    """
    x = as_tensor(x)
    require_spatial("adaptive_avg_pool", x)
    output = _adaptive_output("adaptive_avg_pool", x, output_size)
    if all(n % out == 0 for n, out in zip(x.shape[2:], output)):
        share = tuple(n // out for n, out in zip(x.shape[2:], output))
        return avg_pool(x, share) if set(output) != {1} else mean(x, tuple(range(2, x.ndim)), keepdims=True)
    x = as_float(x)
    for axis, (n, out) in enumerate(zip(x.shape[2:], output), start=2):
        if n != out:
            x = matmul_along_axis(x, axis=axis, matrix=to_device(area_matrix(n, out), x.device))
    return x


@overload
def adaptive_max_pool(x: Tensor, output_size: Cells, *, return_indices: Literal[False] = False) -> Tensor: ...
@overload
def adaptive_max_pool(x: Tensor, output_size: Cells, *, return_indices: bool) -> tuple[Tensor, Tensor]: ...
def adaptive_max_pool(
    x: Tensor, output_size: Cells, *, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest entry of windows that share each axis out evenly: (N, C, *size) -> (N, C, *output_size).

    The windows are those of `adaptive_avg_pool`; indices and ties are as in `max_pool`. It is `max_pool` of x with the
    last cell of the shorter windows repeated.
    """
    x = as_tensor(x)
    require_spatial("adaptive_max_pool", x)
    output = _adaptive_output("adaptive_max_pool", x, output_size)
    spread, kernel, cells = x, [], []
    for axis, (n, out) in enumerate(zip(x.shape[2:], output), start=2):
        bounds = area_bounds(n, out)
        kernel.append(max(stop - start for start, stop in bounds))
        lines = [np.arange(start, start + kernel[-1]).clip(max=stop - 1) for start, stop in bounds]
        cells.append(np.concatenate(lines))
        if kernel[-1] * out != n:
            spread = take(spread, axis=axis, index=to_device(cells[-1], x.device))
    window = Window.of(spread.shape[2:], tuple(kernel), stride=tuple(kernel))
    y = max_pool_p(spread, window=window)
    if not return_indices:
        return y
    xp, indices = namespace([x.data]), window_argmax(spread.data, y.data, window=window)
    places = np.ravel_multi_index(np.meshgrid(*cells, indexing="ij"), x.shape[2:]).reshape(-1)
    return y, Tensor(xp.asarray(places)[indices])


def _adaptive_output(name: str, x: Tensor, output_size: Any) -> tuple[int, ...]:
    """The spatial output size of an adaptive pooling."""
    entries = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * (x.ndim - 2)
    if len(entries) != x.ndim - 2:
        raise ValueError(f"{name}: output_size={output_size} has {len(entries)} entries for {x.ndim - 2} spatial axes")
    output = tuple(n if out is None else as_int("output_size", out) for n, out in zip(x.shape[2:], entries))
    if any(out < 1 for out in output) or 0 in x.shape[2:]:
        raise ValueError(f"{name}: cannot share {x.shape[2:]} out to {output}: lengths must be at least 1")
    return output


def global_avg_pool(x: Tensor) -> Tensor:
    """The mean over all spatial axes: (N, C, *size) -> (N, C). Source: Lin et al., "Network in network", 2013.

        >>> F.global_avg_pool(md.tensor([[[1.0, 5.0, 3.0], [0.0, 0.0, 3.0]]]))
        tensor([[3., 1.]])
    """
    x = as_tensor(x)
    require_spatial("global_avg_pool", x)
    return mean(x, axis=tuple(range(2, x.ndim)))


def _require_cells(name: str, window: Window) -> None:
    for axis, position in window.empty_positions():
        raise ValueError(
            f"{name}: the window at position {position} of spatial axis {axis} covers padding only: size "
            f"{window.size[axis]}, kernel {window.kernel[axis]}, padding {window.padding[axis]}; use less padding"
        )

"""Convolution: one trilinear form and its three partial derivatives.

    T(x, w, u) = sum over n, f, c, o, k of  u[n,f,o] * w[f,c,k] * x[n,c, s*o + d*k - p]

T is linear in each of its arguments, so its derivative with respect to one of them is a bilinear map of the
other two, and there are three of those:

    conv            y = dT/du (x, w)      what a layer computes
    conv_transpose  x = dT/dx (u, w)      what carries a cotangent back to the input
    conv_weight     w = dT/dw (x, u)      what carries a cotangent back to the weight

Contract any of the three with a cotangent and T stands there again, so the rules of each are the other two: the
family is closed under differentiation. Rank, stride, dilation, padding are in the Window; with G groups, f and c
run over the channels of one group at a time and the weight has shape (F, C/G, *kernel).
"""

from __future__ import annotations

import math
from typing import Any

from ..kernels.cpu import winograd
from ..kernels.cpu.workers import scratch, share
from ..primitive import primitive
from ..tensor import Tensor, as_tensor
from .shape import pad
from .window import Window, add_patches, as_int, padding_pairs, patches, per_axis, require_spatial

# --- the form


@primitive(name="conv", formula="y[n,f,o] = sum over c,k of w[f,c,k] * x[n,c, s*o + d*k - p]", kind="linear")
def dT_du(xp, x, w, *, window, groups):
    """Convolution, without flipping the kernel: x (N, C, *size), w (F, C/G, *kernel) give (N, F, *output)."""
    if winograd.suits(x, w, len(w), window, groups):
        return winograd.convolve(x, w, window)
    if _is_small(x, window):
        y = dT_du.forward(xp, _as_map(x), _as_map_weight(w), window=window.over(len(x)), groups=groups)
        return _as_batch(xp, y)
    if _has_few_outputs(x.shape[1], w.shape[0], window):
        return _scatter(xp, x, _mirrored(w, groups), window.mirrored(), groups)
    return _gather(xp, x, w, window, groups)


@primitive(
    name="conv_transpose",
    formula="x[n,c,i] = sum over f and (k,o) with s*o + d*k - p = i of w[f,c,k] * u[n,f,o]",
    kind="linear",
)
def dT_dx(xp, u, w, *, window, groups):
    """Transposed convolution: u (N, F, *output), w (F, C/G, *kernel) give (N, C, *size)."""
    if _has_unit_stride(window):
        return dT_du.forward(xp, u, _mirrored(w, groups), window=window.mirrored(), groups=groups)
    if _is_small(u, window):
        x = dT_dx.forward(xp, _as_map(u), _as_map_weight(w), window=window.over(len(u)), groups=groups)
        return _as_batch(xp, x)
    return _scatter(xp, u, w, window, groups)


@primitive(name="conv_weight", formula="w[f,c,k] = sum over n,o of u[n,f,o] * x[n,c, s*o + d*k - p]", kind="linear")
def dT_dw(xp, x, u, *, window, groups):
    """The correlation of x (N, C, *size) with u (N, F, *output) at each tap: (F, C/G, *kernel)."""
    if winograd.suits(x, u, u.shape[1], window, groups):
        return winograd.pair(x, u, window)
    if _is_small(x, window):
        w = dT_dw.forward(xp, _as_map(x), _as_map(u), window=window.over(len(x)), groups=groups)
        return w.reshape(w.shape[:2] + window.kernel)
    if _has_few_outputs(x.shape[1], u.shape[1], window):
        return xp.ascontiguousarray(_mirrored(_pair(xp, u, x, window.mirrored(), groups), groups))
    return _pair(xp, x, u, window, groups)


@dT_du.rule("x", formula="conv_transpose(g, w)")
def _(g, y, x, w, **geometry):
    return dT_dx(g, w, **geometry)


@dT_du.rule("w", formula="conv_weight(x, g)")
def _(g, y, x, w, **geometry):
    return dT_dw(x, g, **geometry)


@dT_dx.rule("u", formula="conv(g, w)")
def _(g, y, u, w, **geometry):
    return dT_du(g, w, **geometry)


@dT_dx.rule("w", formula="conv_weight(g, u)")
def _(g, y, u, w, **geometry):
    return dT_dw(g, u, **geometry)


@dT_dw.rule("x", formula="conv_transpose(u, g)")
def _(g, y, x, u, **geometry):
    return dT_dx(u, g, **geometry)


@dT_dw.rule("u", formula="conv(x, g)")
def _(g, y, x, u, **geometry):
    return dT_du(x, g, **geometry)


# --- which way to compute it: decided by shape alone, so equal inputs give equal bits

BLOCK = 1 << 18  # elements of columns made at a time: they should stay in the second-level cache
ENOUGH = 128  # positions that a block has at least, if there are so many: a thin matrix product is a slow one
PARTS = 4  # sums of weight gradients that are made apart and then added, whatever the number of threads
SMALL = 64  # positions of one sample below which samples share a matrix product


def _has_unit_stride(window: Window) -> bool:
    return all(s == 1 for s in window.stride)


def _has_few_outputs(inputs: int, outputs: int, window: Window) -> bool:
    """Is it less work to scatter products to the outputs than to gather columns of the inputs?"""
    return _has_unit_stride(window) and not window.is_pointwise and 4 * outputs <= inputs


def _is_small(x: Any, window: Window) -> bool:
    return len(x) > 1 and window.positions < SMALL


def _mirrored(w: Any, groups: int) -> Any:
    """The kernel of the mirrored window, a view: (F, C/G, *kernel) -> (C, F/G, *kernel), each axis reversed.

    With stride 1, T(x, w, u) over a window is T(u, mirrored w, x) over the mirrored one.
    """
    f, c, *kernel = w.shape
    w = w.reshape(groups, f // groups, c, *kernel).swapaxes(1, 2)  # (G, C/G, F/G, *kernel)
    return w.reshape(groups * c, f // groups, *kernel)[(..., *(slice(None, None, -1) for _ in kernel))]


def _as_map(x: Any) -> Any:
    """A batch as one sample whose first spatial axis is the batch: (N, C, *size) -> (1, C, N, *size)."""
    return x.swapaxes(0, 1)[None]


def _as_map_weight(w: Any) -> Any:
    return w[:, :, None]  # (F, C/G, 1, *kernel)


def _as_batch(xp: Any, y: Any) -> Any:
    return xp.ascontiguousarray(y[0].swapaxes(0, 1))  # (1, F, N, *output) -> (N, F, *output)


# --- two ways: gather columns and multiply, or multiply and scatter; blocks of a sample are shared among threads


def _blocks(window: Window, channels: int) -> list[tuple[slice, Window]]:
    """(positions, window) for ranges of rows (along the first axis) whose columns have about BLOCK elements."""
    row = math.prod(window.output[1:])
    rows = max(BLOCK // max(channels * window.taps * row, 1), ENOUGH // row, 1)
    starts = range(0, window.output[0], rows)
    ranges = [(start, min(start + rows, window.output[0])) for start in starts]
    return [(slice(start * row, stop * row), window.rows(start, stop)) for start, stop in ranges]


def _columns(xp: Any, sample: Any, part: Window, groups: int) -> Any:
    """The columns of one block of one sample, in memory that the next block uses again.

    (C, *size) -> (G, C/G * taps, positions).
    """
    c = len(sample)
    inside, cells = part.inner()
    padded = sample[(slice(None), *cells)]
    if padded.shape[1:] != part.padded:
        padded = scratch("padded", (c, *part.padded), sample)
        padded[...] = 0
        padded[(slice(None), *inside)] = sample[(slice(None), *cells)]
    view = patches(xp, padded, part)  # (C, *kernel, *output)
    if part.taps == 1:  # the cells are the columns
        return view.reshape(groups, c // groups, part.positions)
    columns = scratch("columns", view.shape, sample)
    columns[...] = view
    return columns.reshape(groups, c // groups * part.taps, part.positions)


def _gather(xp: Any, x: Any, w: Any, window: Window, groups: int) -> Any:
    """dT/du as w @ columns of x, one matrix product per block."""
    n, f = x.shape[0], w.shape[0]
    y = xp.empty((n, groups, f // groups, window.positions), xp.result_type(x, w))
    matrix = w.reshape(groups, f // groups, w.shape[1] * window.taps)  # (G, F/G, C/G * taps)

    def work(i: int, at: slice, part: Window) -> None:
        xp.matmul(matrix, _columns(xp, x[i], part, groups), out=y[i][..., at])

    items = [(i, at, part) for i in range(n) for at, part in _blocks(window, x.shape[1])]
    share(work, items, cost=y.size * matrix.shape[2])
    return y.reshape(n, f, *window.output)


def _pair(xp: Any, x: Any, u: Any, window: Window, groups: int) -> Any:
    """dT/dw as u @ (columns of x)^T, added up over the blocks: in PARTS parts first, which threads share."""
    n, f = u.shape[:2]
    c = x.shape[1] // groups
    u = u.reshape(n, groups, f // groups, window.positions)
    items = [(i, at, part) for i in range(n) for at, part in _blocks(window, x.shape[1])]
    parts = xp.zeros((max(min(PARTS, len(items)), 1), groups, f // groups, c * window.taps), xp.result_type(x, u))

    def work(k: int) -> None:
        for i, at, part in items[k :: len(parts)]:
            product = scratch("product", parts[k].shape, parts)
            xp.matmul(u[i][..., at], _columns(xp, x[i], part, groups).swapaxes(1, 2), out=product)
            parts[k] += product

    share(work, [(k,) for k in range(len(parts))], cost=u.size * parts.shape[3])
    w = parts[0]
    for part in parts[1:]:
        w += part
    return w.reshape(f, c, *window.kernel)


def _scatter(xp: Any, u: Any, w: Any, window: Window, groups: int) -> Any:
    """dT/dx as columns = w^T @ u, each added to the cell that it came from."""
    n, f = u.shape[:2]
    c = w.shape[1]
    x = xp.zeros((n, groups, c, *window.size), xp.result_type(u, w))
    matrix = w.reshape(groups, f // groups, c * window.taps).swapaxes(1, 2)  # (G, C/G * taps, F/G)
    u = u.reshape(n, groups, f // groups, window.positions)
    blocks = _blocks(window, groups * c)

    def work(i: int) -> None:
        for at, part in blocks:
            columns = scratch("columns", (groups, c * window.taps, part.positions), x)
            xp.matmul(matrix, u[i][..., at], out=columns)
            add_patches(x[i], columns.reshape(groups, c, *part.kernel, *part.output), part)

    share(work, [(i,) for i in range(n)], cost=u.size * matrix.shape[1])
    return x.reshape(n, groups * c, *window.size)


# --- public functions


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:
    """Convolution over 1, 2 or 3 spatial axes (as everywhere in the field, the kernel is not flipped).

    Definition: ``y[n,f,o] = bias[f] + sum over c,k of weight[f,c,k] * x[n,c, stride*o + dilation*k - padding]``,
    x being zero outside. Shapes: x (N, C, *size), weight (F, C/groups, *kernel), bias (F,) give (N, F, *output)
    with ``output = (size + low + high - dilation * (kernel - 1) - 1) // stride + 1``; output channel f of group j
    sees the input channels of group j only.

    `padding`: an int; one int or one (low, high) pair per axis; "same" (output = ceil(size / stride), the odd cell
    after); "causal" (1-D: all before). Raises ValueError if the channels, groups or sizes do not fit.
    """
    x, weight = as_tensor(x), as_tensor(weight)
    _require_ranks("conv", x, weight)
    groups = _require_groups("conv", weight, groups)
    if x.shape[1] != weight.shape[1] * groups:
        raise ValueError(
            f"conv: x {x.shape} has {x.shape[1]} channels, the weight {weight.shape} takes weight.shape[1] * groups = "
            f"{weight.shape[1]} * {groups} = {weight.shape[1] * groups}; change the weight's second axis or groups"
        )
    window = Window.of(x.shape[2:], weight.shape[2:], stride=stride, padding=padding, dilation=dilation)
    return _with_bias("conv", dT_du(x, weight, window=window, groups=groups), bias)


def conv_transpose(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:
    """The transpose of `conv` as a linear map of its input: upsampling that is learned.

    Definition: ``y[n,c,i] = bias[c] + sum over f and (k,o) with stride*o + dilation*k - padding = i of
    weight[f,c,k] * x[n,f,o]``. Shapes: x (N, F, *size), weight (F, C/groups, *kernel) as in the conv that it
    transposes, bias (C,) give (N, C, *output) with
    ``output = (size - 1) * stride - low - high + dilation * (kernel - 1) + output_padding + 1``.

    `padding`: an int, or one int or one (low, high) pair per axis: it crops the output. `output_padding` adds
    cells at the end; it must be smaller than the stride or the dilation. Raises ValueError if shapes do not fit.
    Source: Zeiler et al., "Deconvolutional networks", 2010; Dumoulin and Visin 2016, section 4.
    """
    x, weight = as_tensor(x), as_tensor(weight)
    _require_ranks("conv_transpose", x, weight)
    groups = _require_groups("conv_transpose", weight, groups)
    if x.shape[1] != weight.shape[0]:
        raise ValueError(
            f"conv_transpose: x {x.shape} has {x.shape[1]} channels, the weight {weight.shape} takes weight.shape[0] = "
            f"{weight.shape[0]}; the weight is laid out as (channels of x, channels of y / groups, *kernel)"
        )
    window = _transposed_window(x.shape[2:], weight.shape[2:], stride, padding, output_padding, dilation)
    surplus = [(0, out - n) for out, n in zip(window.output, x.shape[2:])]
    if any(after for _, after in surplus):  # stride <= output_padding < dilation: positions that hold nothing
        x = pad(x, surplus)
    return _with_bias("conv_transpose", dT_dx(x, weight, window=window, groups=groups), bias)


conv.primitive, conv_transpose.primitive = dT_du, dT_dx


def _transposed_window(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: Any, padding: Any, output_padding: Any, dilation: Any
) -> Window:
    """The window of the convolution that takes the result of a transposed one back to `size`."""
    rank = len(size)
    if isinstance(padding, str):
        raise ValueError(f"conv_transpose: padding {padding!r} does not fix the output size; give an int, or pairs")
    strides, dilations = per_axis("stride", stride, rank, 1), per_axis("dilation", dilation, rank, 1)
    pairs, extras = padding_pairs(padding, rank), per_axis("output_padding", output_padding, rank, 0)
    kernel = per_axis("kernel", kernel, rank, 1)
    output = []
    for axis, (n, k, s, d, (low, high), extra) in enumerate(zip(size, kernel, strides, dilations, pairs, extras)):
        out = (n - 1) * s - low - high + d * (k - 1) + extra + 1
        if extra >= max(s, d):
            raise ValueError(
                f"conv_transpose: output_padding={extra} on spatial axis {axis} must be smaller than the stride ({s}) "
                f"or the dilation ({d})"
            )
        if n < 1 or out < 1:
            raise ValueError(
                f"conv_transpose: spatial axis {axis}: output = (size - 1) * stride - low - high "
                "+ dilation * (kernel - 1) + output_padding + 1 = "
                f"({n} - 1) * {s} - {low} - {high} + {d} * ({k} - 1) + {extra} + 1 = {out}; "
                "use less padding or a larger input"
            )
        output.append(out)
    return Window(tuple(output), kernel, strides, dilations, pairs)


def _require_ranks(name: str, x: Tensor, weight: Tensor) -> None:
    require_spatial(name, x)
    if weight.ndim != x.ndim:
        raise ValueError(
            f"{name}: x {x.shape} has {x.ndim - 2} spatial axes, the weight {weight.shape} has {weight.ndim - 2}; "
            "both need N or F, channels, then the same spatial axes"
        )


def _require_groups(name: str, weight: Tensor, groups: Any) -> int:
    groups = as_int("groups", groups)
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(
            f"{name}: groups={groups} must be at least 1 and divide weight.shape[0] = {weight.shape[0]} "
            f"(the weight has shape {weight.shape})"
        )
    return groups


def _with_bias(name: str, y: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return y
    bias = as_tensor(bias)
    if bias.shape != y.shape[1:2]:
        raise ValueError(f"{name}: the bias has shape {bias.shape}, one entry per output channel is {y.shape[1:2]}")
    return y + bias.reshape((1, -1) + (1,) * (y.ndim - 2))  # (F,) -> (1, F, 1, ...)

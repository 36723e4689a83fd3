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

import numpy as np

from ..core.primitive import primitive
from ..core.tensor import Tensor, as_tensor
from . import reach
from .indexing import pad
from .linear import checked_bias
from .shape import total
from .window import (
    Padding,
    Sizes,
    Window,
    add_patches,
    as_int,
    errors_of,
    interned,
    pad_array,
    padding_pairs,
    patches,
    per_axis,
    require_spatial,
)

# --- the form


def _reached_by_conv(n, x, *, window, groups):
    """Any channel of x, of the same group, that lies under a window: (N, F, *output) -> (N, C, *size)."""
    return _by_group(conv_transpose_p, n, x, window, groups)


def _reached_by_transposed(n, u, *, window, groups):
    """Any channel of u, of the same group, whose window is scattered there: (N, C, *size) -> (N, F, *output)."""
    return _by_group(conv_p, n, u, window, groups)


def _by_group(back, n, like, window, groups):
    """`back` of the counts n with one channel for each group, whose weights are 1, then given to every channel."""
    each = n.reshape(len(n), groups, n.shape[1] // groups, *n.shape[2:]).sum(2)  # (N, G, *size of n)
    ones = Tensor(np.ones((groups, 1, *window.kernel), n.dtype))
    found = back(each, ones, window=window, groups=groups)  # (N, G, *size of x)
    size, channels = found.shape[2:], like.shape[1] // groups
    return found.reshape(len(n), groups, 1, *size).broadcast_to(len(n), groups, channels, *size).reshape(like.shape)


@primitive(
    formula="y[n,f,o] = sum over c,k of w[f,c,k] * x[n,c, s*o + d*k - p]",
    kind="linear",
    saves=("x", "w"),
    reach=reach.gathered,
    support=_reached_by_conv,
)
def conv_p(xp, x, w, *, window, groups):
    """Convolution, without flipping the kernel: x (N, C, *size), w (F, C/G, *kernel) give (N, F, *output)."""
    y = _kernels(w, groups) @ _columns(xp, x, window, groups)  # (N, G, F/G, positions)
    return y.reshape(len(x), len(w), *window.output)


@primitive(
    formula="x[n,c,i] = sum over f and (k,o) with s*o + d*k - p = i of w[f,c,k] * u[n,f,o]",
    kind="linear",
    saves=("u", "w"),
    reach=reach.scattered,
    support=_reached_by_transposed,
)
def conv_transpose_p(xp, u, w, *, window, groups):
    """Transposed convolution: u (N, F, *output), w (F, C/G, *kernel) give (N, C, *size)."""
    n, c = len(u), w.shape[1] * groups
    columns = _kernels(w, groups).swapaxes(1, 2) @ _grouped(u, groups)  # (N, G, C/G * taps, positions)
    x = xp.zeros((n, c, *window.size), columns.dtype)
    add_patches(x, columns.reshape(n, c, *window.kernel, *window.output), window)
    return x


@primitive(formula="w[f,c,k] = sum over n,o of u[n,f,o] * x[n,c, s*o + d*k - p]", kind="linear")
def conv_weight(xp, x, u, *, window, groups):
    """The correlation of x (N, C, *size) with u (N, F, *output) at each tap: (F, C/G, *kernel)."""
    w = _grouped(u, groups) @ _columns(xp, x, window, groups).swapaxes(2, 3)  # (N, G, F/G, C/G * taps)
    return total(w, (0,)).reshape(u.shape[1], x.shape[1] // groups, *window.kernel)


def _kernels(w: Any, groups: int) -> Any:
    """(F, C/G, *kernel) -> (G, F/G, C/G * taps)"""
    return w.reshape(groups, len(w) // groups, math.prod(w.shape[1:]))


def _columns(xp: Any, x: Any, window: Window, groups: int) -> Any:
    """The patches under the window: (N, C, *size) -> (N, G, C/G * taps, positions)."""
    n, c = x.shape[:2]
    view = patches(xp, pad_array(xp, x, window), window)  # (N, C, *kernel, *output)
    return view.reshape(n, groups, c // groups * window.taps, window.positions)


def _grouped(u: Any, groups: int) -> Any:
    """(N, F, *output) -> (N, G, F/G, positions)"""
    return u.reshape(len(u), groups, u.shape[1] // groups, math.prod(u.shape[2:]))


@conv_p.rule("x", formula="conv_transpose(g, w)")
def conv_x(g, y, x, w, **geometry):
    return conv_transpose_p(g, w, **geometry)


@conv_p.rule("w", formula="conv_weight(x, g)")
def conv_w(g, y, x, w, **geometry):
    return conv_weight(x, g, **geometry)


@conv_transpose_p.rule("u", formula="conv(g, w)")
def conv_transpose_u(g, y, u, w, **geometry):
    return conv_p(g, w, **geometry)


@conv_transpose_p.rule("w", formula="conv_weight(g, u)")
def conv_transpose_w(g, y, u, w, **geometry):
    return conv_weight(g, u, **geometry)


@conv_weight.rule("x", formula="conv_transpose(u, g)")
def conv_weight_x(g, y, x, u, **geometry):
    return conv_transpose_p(u, g, **geometry)


@conv_weight.rule("u", formula="conv(x, g)")
def conv_weight_u(g, y, x, u, **geometry):
    return conv_p(x, g, **geometry)


# --- public functions


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *,
    stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:
    """Convolution over 1, 2 or 3 spatial axes (as everywhere in the field, the kernel is not flipped).

    Definition: ``y[n,f,o] = bias[f] + sum over c,k of weight[f,c,k] * x[n,c, stride*o + dilation*k - padding]``,
    x being zero outside. Shapes: x (N, C, *size), weight (F, C/groups, *kernel), bias (F,) give (N, F, *output)
    with ``output = (size + low + high - dilation * (kernel - 1) - 1) // stride + 1``; output channel f of group j
    sees the input channels of group j only. An x without N is a batch of one, and so is y.

    `padding`: an int; one int or one (low, high) pair per axis; "same" (output = ceil(size / stride), the odd cell
    after); "causal" (1-D: all before). Raises ValueError if the channels, groups or sizes do not fit.

        >>> x = md.tensor([[[1.0, 2.0, 3.0, 4.0]]])
        >>> F.conv(x, md.tensor([[[1.0, 0.0, -1.0]]]), padding=1)
        tensor([[[-2., -2., -2.,  3.]]])
        >>> F.conv(np.zeros((2, 3, 32, 32)), np.zeros((8, 3, 3, 3)), stride=2, padding=1).shape
        (2, 8, 16, 16)
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if x.ndim == weight.ndim - 1:  # a batch of one
        return conv(x[None], weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)[0]
    _require_ranks("conv", x, weight)
    groups = _require_groups("conv", weight, groups)
    if x.shape[1] != weight.shape[1] * groups:
        raise ValueError(
            f"conv: x {x.shape} has {x.shape[1]} channels, the weight {weight.shape} takes weight.shape[1] * groups = "
            f"{weight.shape[1]} * {groups} = {weight.shape[1] * groups}; change the weight's second axis or groups"
        )
    window = Window.of(
        x.shape[2:], weight.shape[2:], stride=stride, padding=padding, dilation=dilation, function="conv"
    )
    return _with_bias("conv", conv_p(x, weight, window=window, groups=groups), bias)


def conv_transpose(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *,
    stride: Sizes = 1, padding: Padding = 0, output_padding: Sizes = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:
    """The transpose of `conv` as a linear map of its input: upsampling that is learned.

    Definition: ``y[n,c,i] = bias[c] + sum over f and (k,o) with stride*o + dilation*k - padding = i of
    weight[f,c,k] * x[n,f,o]``. Shapes: x (N, F, *size), weight (F, C/groups, *kernel) as in the conv that it
    transposes, bias (C,) give (N, C, *output) with
    ``output = (size - 1) * stride - low - high + dilation * (kernel - 1) + output_padding + 1``. An x without N is a
    batch of one, and so is y.

    `padding`: an int, or one int or one (low, high) pair per axis: it crops the output. `output_padding` adds
    cells at the end; it must be smaller than the stride or the dilation. Raises ValueError if shapes do not fit.
    Source: Zeiler et al., "Deconvolutional networks", 2010; Dumoulin and Visin 2016, section 4.

        >>> F.conv_transpose(md.tensor([[[1.0, 2.0]]]), md.tensor([[[1.0, 10.0, 100.0]]]), stride=2)
        tensor([[[  1.,  10., 102.,  20., 200.]]])
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if x.ndim == weight.ndim - 1:  # a batch of one
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return conv_transpose(x[None], weight, bias, output_padding=output_padding, **options)[0]
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
    return _with_bias("conv_transpose", conv_transpose_p(x, weight, window=window, groups=groups), bias)


conv.primitive, conv_transpose.primitive = conv_p, conv_transpose_p


def _transposed_window(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: Any, padding: Any, output_padding: Any, dilation: Any
) -> Window:
    """The window of the convolution that takes the result of a transposed one back to `size`."""
    rank = len(size)
    if isinstance(padding, str):
        raise ValueError(f"conv_transpose: padding {padding!r} does not fix the output size; give an int, or pairs")
    with errors_of("conv_transpose"):
        strides, dilations = per_axis("stride", stride, rank, 1), per_axis("dilation", dilation, rank, 1)
        pairs, extras = padding_pairs(padding, rank), per_axis("output_padding", output_padding, rank, 0)
        kernel = per_axis("kernel_size", kernel, rank, 1)
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
    return interned(Window(tuple(output), kernel, strides, dilations, pairs))


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
    bias = checked_bias(name, bias, y, y.shape[1])
    return y + bias.reshape((1, -1) + (1,) * (y.ndim - 2))  # (F,) -> (1, F, 1, ...)

"""Where the engine takes a student's functions: each adapter does what one of our kernels does, by calling them.

An adapter is called as the kernel is, after ``call(name, *arguments)``, which runs the student's function of that name.
It raises Elsewhere for a call that the student's function is not for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.context import current
from ...ops import norm
from .student import StudentError


class Elsewhere(Exception):
    """A call that goes to our kernel; the message says why."""


Call = Callable[..., Any]


def shaped(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """What a student's function returned, as an array of this shape and dtype. Raises StudentError."""
    array = np.asarray(value)
    if array.shape != tuple(shape) or array.dtype.kind not in "fiu":
        got = "nothing" if value is None else f"{array.dtype} {array.shape}"
        wanted = f"an array of shape {tuple(shape)} is needed"
        raise StudentError(f"{name} returned {got}, {wanted}; minidl build check says more")
    return array.astype(dtype, copy=False)


def several(name: str, value: Any, *shapes: tuple[int, ...], dtype: Any) -> list[np.ndarray]:
    """The same for a tuple of arrays."""
    if not isinstance(value, (tuple, list)) or len(value) != len(shapes):
        raise StudentError(f"{name} returned no tuple of {len(shapes)} arrays; minidl build check says more")
    return [shaped(name, v, shape, dtype) for v, shape in zip(value, shapes)]


# --- windows


def square(window: Any, groups: int = 1) -> tuple[int, int]:
    """The stride and the padding of a window, if one number each says it."""
    if window.rank != 2:
        raise Elsewhere(f"{window.rank} spatial axes")
    if groups != 1:
        raise Elsewhere(f"{groups} groups")
    if set(window.dilation) != {1}:
        raise Elsewhere("dilation")
    if len(set(window.stride)) > 1 or len({n for pair in window.padding for n in pair}) > 1:
        raise Elsewhere("stride or padding that differs by axis")
    if window.padding[0][0] < 0:
        raise Elsewhere("negative padding")
    return window.stride[0], window.padding[0][0]


def conv(call: Call, x: Any, w: Any, *, window: Any, groups: int) -> Any:
    y = call("conv", x, w, *square(window, groups))
    return shaped("conv", y, (len(x), len(w), *window.output), x.dtype)


def conv_transpose(call: Call, u: Any, w: Any, *, window: Any, groups: int) -> Any:
    stride, padding = square(window, groups)
    shape = (len(u), w.shape[1], *window.size)
    exact = all((n - window.kernel[a] + 2 * padding) % stride == 0 for a, n in enumerate(window.size))
    if current().recording and exact and call.has("conv_transpose"):  # a layer's forward, no backward pass
        return shaped("conv_transpose", call("conv_transpose", u, w, stride, padding), shape, u.dtype)
    name = "conv_backward_input"
    return shaped(name, call(name, u, w, shape, stride, padding), shape, u.dtype)


def conv_weight(call: Call, x: Any, u: Any, *, window: Any, groups: int) -> Any:
    shape, name = (u.shape[1], x.shape[1], *window.kernel), "conv_backward_weight"
    return shaped(name, call(name, u, x, shape, *square(window, groups)), shape, u.dtype)


def pooled(window: Any) -> tuple[int, int]:
    """The size and the stride of a pooling window."""
    stride, padding = square(window)
    if padding or len(set(window.kernel)) > 1:
        raise Elsewhere("padding" if padding else "a window that is not square")
    return window.kernel[0], stride


def max_pool(call: Call, x: Any, *, window: Any) -> Any:
    return shaped("max_pool", call("max_pool", x, *pooled(window)), (*x.shape[:2], *window.output), x.dtype)


def to_largest(call: Call, g: Any, *, among: Any, largest: Any, window: Any) -> Any:
    gx = call("max_pool_backward", g, among, *pooled(window))
    return shaped("max_pool_backward", gx, among.shape, g.dtype)


# --- batch norm


def four_axes(x: Any) -> Any:
    """(N, C, *size) -> (N, C, H, W)"""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:-1]), x.shape[-1] if x.ndim > 2 else 1)


def moments(call: Call, x: Any) -> Any:
    shape = x.shape[1:2]
    return tuple(several("moments", call("moments", four_axes(x)), shape, shape, dtype=np.float64))


def _affine(x: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
    ones = np.ones(x.shape[1], x.dtype)
    return ones if weight is None else weight, 0 * ones if bias is None else bias


def _normal(call: Call, x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float, relu: bool) -> Any:
    mean, var = mean.astype(x.dtype), var.astype(x.dtype)
    y = call("batch_norm", four_axes(x), mean, var, *_affine(x, weight, bias), eps)
    y = shaped("batch_norm", y, four_axes(x).shape, x.dtype).reshape(x.shape)
    return np.maximum(y, 0) if relu else y


def batch_norm(
    call: Call, x: Any, weight: Any, bias: Any, *, eps: float, statistics: Any = None, relu: bool = False
) -> Any:
    return _normal(call, x, weight, bias, *(statistics or norm.moments(x)), eps, relu)


def batch_norm_eval(
    call: Call, x: Any, weight: Any, bias: Any, *, mean: Any, var: Any, eps: float, relu: bool = False
) -> Any:
    return _normal(call, x, weight, bias, mean, var, eps, relu)


def batch_norm_backward(
    call: Call, g: Any, y: Any, x: Any, weight: Any, bias: Any, *,
    needed: list[bool], eps: float, statistics: Any = None, relu: bool = False, whole: Any = None,
) -> Any:  # fmt: skip
    if whole is not None:
        raise Elsewhere("statistics of several parts")
    if relu:
        g = np.where(_normal(call, x, weight, bias, *(statistics or norm.moments(x)), eps, True) > 0, g, 0)
    name, channels = "batch_norm_backward", x.shape[1:2]
    found = call(name, four_axes(g), four_axes(x), _affine(x, weight, bias)[0], eps)
    gx, *others = several(name, found, four_axes(x).shape, channels, channels, dtype=x.dtype)
    return tuple(v if need else None for v, need in zip((gx.reshape(x.shape), *others), needed))


# --- matrix product, loss


def matmul(call: Call, a: Any, b: Any) -> Any:
    if a.ndim != 2:
        raise Elsewhere("stacks of matrices")
    return shaped("matmul", call("matmul", a, b), (len(a), b.shape[1]), np.result_type(a, b))


def _rows(x: Any) -> Any:
    """(N, C, *S) -> (N * S, C)"""
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def cross_entropy(call: Call, x: Any, *, target: Any, scale: Any) -> Any:
    losses = call("cross_entropy", _rows(x), target.reshape(-1))
    y = shaped("cross_entropy", losses, (target.size,), x.dtype).reshape(target.shape)
    return scale * np.where(scale != 0, y, 0)


def cross_entropy_backward(call: Call, g: Any, y: Any, x: Any, *, needed: Any, target: Any, scale: Any) -> Any:
    name = "cross_entropy_backward"
    rows = _rows(x)
    gx = shaped(name, call(name, (g * scale).reshape(-1), rows, target.reshape(-1)), rows.shape, x.dtype)
    return (np.moveaxis(gx.reshape(len(x), *x.shape[2:], x.shape[1]), -1, 1),)


# --- updates


def sgd(
    call: Call, params: Any, states: Any, cache: dict, *,
    lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: bool,
) -> None:  # fmt: skip
    if nesterov or dampening:
        raise Elsewhere("nesterov" if nesterov else "dampening")
    for p, state in zip(params, states):
        if p.grad is not None:
            w, g = p.data, p.grad.data + weight_decay * p.data if weight_decay else p.grad.data
            v = state.get("momentum_buffer", np.zeros_like(w))
            p.data, v = several("sgd", call("sgd", w, g, v, lr, momentum), w.shape, w.shape, dtype=w.dtype)
            if momentum:
                state["momentum_buffer"] = v


def adam(
    call: Call, params: Any, states: Any, cache: dict, *,
    lr: float, betas: tuple[float, float], eps: float, weight_decay: float, amsgrad: bool,
) -> None:  # fmt: skip
    if amsgrad:
        raise Elsewhere("amsgrad")
    for p, state in zip(params, states):
        if p.grad is not None:
            w, g = p.data, p.grad.data + weight_decay * p.data if weight_decay else p.grad.data
            m, v = (state.get(name, np.zeros_like(w)) for name in ("exp_avg", "exp_avg_sq"))
            found = call("adam", w, g, m, v, state["step"], lr, *betas, eps)
            p.data, state["exp_avg"], state["exp_avg_sq"] = several("adam", found, *[w.shape] * 3, dtype=w.dtype)


# by the name of the operation: the adapter, and the functions that it cannot do without
KERNELS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "conv": (conv, ("conv",)),
    "conv_transpose": (conv_transpose, ("conv_backward_input",)),
    "conv_weight": (conv_weight, ("conv_backward_weight",)),
    "max_pool": (max_pool, ("max_pool",)),
    "to_largest": (to_largest, ("max_pool_backward",)),
    "moments": (moments, ("moments",)),
    "batch_norm": (batch_norm, ("batch_norm",)),
    "batch_norm_eval": (batch_norm_eval, ("batch_norm",)),
    "batch_norm.backward": (batch_norm_backward, ("batch_norm_backward", "batch_norm")),
    "matmul": (matmul, ("matmul",)),
    "cross_entropy": (cross_entropy, ("cross_entropy",)),
    "cross_entropy.backward": (cross_entropy_backward, ("cross_entropy_backward",)),
    "sgd": (sgd, ("sgd",)),
    "adam": (adam, ("adam",)),
}

"""Normalisation: batch, group and local response; and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import device
from ..core.array_function import ArrayFunction
from ..core.checkpoint import note_draw
from ..core.context import current
from ..core.fused import fused
from ..core.tensor import Operand, Tensor, as_array, as_tensor
from . import elementwise
from .elementwise import sqrt
from .linear import matmul
from .shape import cast, narrowed, reshape, total, widened

# --- statistics per channel, on arrays of shape (N, C, ...)


@ArrayFunction
def moments(xp: Any, x: Any) -> tuple[Any, Any]:
    """The mean and the (biased) variance of each channel of x, both (C,) in double precision."""
    axes, wide = others(x), np.result_type(x.dtype, np.float64)
    mean = x.mean(axes, dtype=wide)
    return mean, ((x - spread_over(mean, x)) ** 2).mean(axes, dtype=wide)


@ArrayFunction
def blend(xp: Any, running: Any, batch: Any, *, momentum: float, factor: float = 1) -> None:
    """``running = (1 - momentum) * running + momentum * factor * batch`` in place, both (C,)."""
    running[...] = (1 - momentum) * running + momentum * (factor * batch)


@ArrayFunction
def count_batch(xp: Any, counter: Any) -> None:
    """One more, in place."""
    counter += 1


def others(x: Any) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return (0, *range(2, x.ndim))


def spread_over(v: Any, x: Any) -> Any:
    """(C,) -> (C, 1, ...), which broadcasts against x (N, C, ...)"""
    return v.reshape(-1, *[1] * (x.ndim - 2))


# --- batch normalisation


def per_channel(v: Tensor, ndim: int) -> Tensor:
    """(C,) -> (1, C, 1, ...)"""
    return reshape(v, (1, -1) + (1,) * (ndim - 2))


def scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None, relu: bool = False) -> Tensor:
    """``x * weight + bias``, one weight and bias per channel; with `relu` the positive part of it."""
    if weight is not None:
        x = x * per_channel(weight, x.ndim)
    if bias is not None:
        x = x + per_channel(bias, x.ndim)
    return elementwise.relu(x) if relu else x


@fused(
    formula="y = (x - m) / sqrt(v + eps) * weight + bias; per channel c: m = mean of x, v = mean of (x - m)^2",
    saves=("x", "weight", "bias"),
)
def batch_norm_p(x, weight, bias, *, eps, statistics=None, relu=False):
    """Each channel of x (N, C, ...) with its own mean removed and its own deviation divided out, then scaled.

    `statistics` are the mean and the variance of x, if they have been computed already. With `relu` negative entries of
    the result are 0; the backward pass finds them again from x, which it reads anyway.
    """
    centred = x - x.mean(others(x), keepdims=True)
    variance = (centred * centred).mean(others(x), keepdims=True)
    return scaled(centred / sqrt(variance + eps), weight, bias, relu)


@batch_norm_p.array_forward
def batch_norm_forward(xp, x, weight, bias, *, eps, statistics=None, relu=False):
    return standardise(xp, x, weight, bias, *(statistics or moments(x)), eps, relu)


@batch_norm_p.array_backward(
    formula="k * (g - mean of g - h * mean of g * h), k = weight / sqrt(v + eps), h = (x - m) / sqrt(v + eps)"
)
def batch_norm_backward(xp, g, y, x, weight, bias, *, needed, eps, statistics=None, relu=False, whole=None):
    mean, var = statistics or moments(x)
    if relu:
        g = xp.where(standardise(xp, x, weight, bias, mean, var, eps) > 0, g, 0)
    inverse = 1 / xp.sqrt(var + eps)
    h = ((x - spread_over(mean, x)) * spread_over(inverse, x)).astype(y.dtype)
    sum_g, sum_gh = total(g, others(x)), total(g * h, others(x))
    gx = None
    if needed[0]:
        n, all_g, all_gh = (whole or whole_batch)(x, sum_g, sum_gh)
        gx = g - spread_over(all_g / n, x) - h * spread_over(all_gh / n, x)
        gx *= spread_over((inverse if weight is None else inverse * weight).astype(y.dtype), x)
    return gx, *affine_gradients(y, sum_gh, sum_g, needed)


def whole_batch(x: Any, *sums: Any) -> Any:
    """How many values of a channel have the same mean and variance, and sums over all of them, out of those over x.

    That of `sync_norm`, for the parts of a batch that is cut, takes its place as `whole`.
    """
    return x.size // x.shape[1], *sums


@fused(
    formula="y = (x - mean) / sqrt(var + eps) * weight + bias; mean, var, weight and bias of channel c",
    saves=("x", "weight", "bias"),
)
def batch_norm_eval(x, weight, bias, *, mean, var, eps, relu=False):
    """Each channel of x (N, C, ...) with a given mean removed and a given deviation divided out, then scaled.

    With `relu` negative entries of the result are 0.
    """
    mean, deviation = Tensor(mean.astype(x.dtype)), Tensor(((var + eps) ** 0.5).astype(x.dtype))
    return scaled((x - per_channel(mean, x.ndim)) / per_channel(deviation, x.ndim), weight, bias, relu)


@batch_norm_eval.array_forward
def batch_norm_eval_forward(xp, x, weight, bias, *, mean, var, eps, relu=False):
    return standardise(xp, x, weight, bias, mean, var, eps, relu)


@batch_norm_eval.array_backward(formula="g * weight / sqrt(var + eps)")
def batch_norm_eval_backward(xp, g, y, x, weight, bias, *, needed, mean, var, eps, relu=False):
    if relu:
        g = xp.where(standardise(xp, x, weight, bias, mean, var, eps) > 0, g, 0)
    inverse = 1 / xp.sqrt(var + eps)
    k = inverse if weight is None else inverse * weight
    gx = g * spread_over(k.astype(y.dtype), x) if needed[0] else None
    sum_gh = total(g * (x - spread_over(mean, x)) * spread_over(inverse, x), others(x)) if needed[1] else None
    return gx, *affine_gradients(y, sum_gh, total(g, others(x)), needed)


def standardise(
    xp: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float, relu: bool = False
) -> Any:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` of an array (N, C, ...), per channel; its positive part."""
    slope = 1 / xp.sqrt(var + eps) * (1 if weight is None else weight)
    y = (x - spread_over(mean, x)) * spread_over(slope, x) + (0 if bias is None else spread_over(bias, x))
    y = y.astype(common_dtype(x, weight, bias))
    return xp.maximum(y, 0) if relu else y


def common_dtype(*arrays: Any) -> Any:
    return np.result_type(*(a.dtype for a in arrays if a is not None))


def affine_gradients(y: Any, of_weight: Any, of_bias: Any, needed: list[bool]) -> tuple[Any, Any]:
    """The gradients of weight and bias in the dtype of the output, None where not needed."""
    return tuple(
        v.astype(y.dtype) if need else None for v, need in zip((of_weight, of_bias), needed[1:], strict=True)
    )


def batch_norm(
    x: Tensor,
    running_mean: Operand | None,
    running_var: Operand | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    relu: bool = False,
) -> Tensor:
    """Batch normalisation: ``y = (x - mean) / sqrt(var + eps) * weight + bias``, per channel; `relu` of it, if asked.

    x is (N, C) or (N, C, *spatial); weight, bias and the running arrays are (C,), weight and bias may be None.
    In training, mean and (biased) var are those of the batch, through which the gradient flows; the running arrays,
    unless None, become ``(1 - momentum) * running + momentum * batch`` in place, with the unbiased variance. An empty
    batch leaves them alone. Otherwise mean and var are the running arrays, and y is an affine function of x.

    Raises ValueError for a shape that does not fit, for an eps that is not above 0, for one value per channel in
    training (its variance is 0 and y would not depend on x), and for missing running arrays otherwise.
    Source: Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithms 1 and 2.

        >>> y = F.batch_norm(md.tensor([[1.0], [3.0]]), None, None, training=True)
        >>> y.numpy().round(3)
        array([[-1.],
               [ 1.]])
    """
    x = as_tensor(x)
    arrays = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check_channels("batch_norm", x, **arrays)
    check_eps("batch_norm", eps)
    weight, bias = (None if v is None else as_tensor(v) for v in (weight, bias))
    xp = device.namespace([x.data])
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm needs running_mean and running_var; pass training=True to use the batch's own")
        mean, var = (cast(as_array(v), dtype=np.float64) for v in (running_mean, running_var))  # copies: these change
        return batch_norm_eval(x, weight, bias, mean=mean, var=var, eps=eps, relu=relu)
    if not x.size:  # nothing to take a mean of
        none, one = xp.zeros(x.shape[1]), xp.ones(x.shape[1])
        return batch_norm_eval(x, weight, bias, mean=none, var=one, eps=eps, relu=relu)
    n = x.size // x.shape[1]
    if n == 1:
        raise ValueError(
            f"batch_norm in training needs more than one value per channel, x {x.shape} has "
            f"{' * '.join(str(m) for m in (x.shape[0], *x.shape[2:]))} = 1; use a larger batch or training=False"
        )
    mean, var = moments(x.data)
    for running, batch, factor in ((running_mean, mean, 1), (running_var, var, n / (n - 1))):
        if running is not None and not current().repeating:  # this batch has been counted
            if not hasattr(running, "dtype"):
                raise TypeError(f"batch_norm updates running arrays in place: a {type(running).__name__} will not do")
            blend(as_array(running), batch, momentum=momentum, factor=factor)
    return batch_norm_p(x, weight, bias, eps=eps, statistics=(mean, var), relu=relu)


def check_channels(name: str, x: Tensor, **arrays: Any) -> None:
    """Refuse an x without a channel axis, and arrays that are not one value per channel."""
    if x.ndim < 2:
        raise ValueError(f"{name} needs x of shape (N, C, ...), got {x.shape}")
    if x.dtype.kind not in "fc":
        raise TypeError(f"{name} needs a float x, got {x.dtype}; use .astype(float) first")
    for label, v in arrays.items():
        if v is not None and as_array(v).shape != x.shape[1:2]:
            raise ValueError(
                f"{name}: {label} has shape {as_array(v).shape}, x {x.shape} has {x.shape[1]} channels; "
                f"it must be ({x.shape[1]},)"
            )


def check_eps(name: str, eps: float) -> None:
    """Refuse an eps that leaves 1 / sqrt(var + eps) infinite or NaN where the variance is 0."""
    if not (isinstance(eps, (int, float, np.number)) and 0 < eps < math.inf):
        raise ValueError(f"{name}: eps must be a number above 0, got {eps!r}; try 1e-5")


# --- other normalisations, and dropout


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float = 1e-5
) -> Tensor:
    """Group normalisation: each image's channels in `num_groups` groups, each with its own mean and variance.

    x is (N, C, ...), C a multiple of num_groups; weight and bias are (C,) or None. It is batch normalisation of one
    image whose channels are the N * num_groups groups, and a scale per channel after it.
    Source: Wu and He, "Group normalization", ECCV 2018, eq. 1 to 7.
    """
    x = as_tensor(x)
    check_channels("group_norm", x, weight=weight, bias=bias)
    check_eps("group_norm", eps)
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: {x.shape[1]} channels do not split into {num_groups} equal groups; "
            f"num_groups must divide {x.shape[1]}"
        )
    y = x
    if x.size:
        groups = x.shape[0] * num_groups
        y = reshape(x, (1, groups, x.size // groups))  # (N, C, ...) -> (1, N * groups, C / groups * P)
        y = reshape(batch_norm_p(y, None, None, eps=eps), x.shape)
    weight, bias = (None if v is None else as_tensor(v) for v in (weight, bias))
    return scaled(y, weight, bias)


def local_response_norm(x: Tensor, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Local response normalisation across channels: ``y_c = x_c / (k + alpha / size * sum over j of x_j^2)^beta``.

    j runs from c - size // 2 to c + (size - 1) // 2, as far as there are channels; x is (N, C, ...). The paper has
    alpha where torch, and this function, have alpha / size.
    Source: Krizhevsky, Sutskever and Hinton, NIPS 2012, section 3.3.
    """
    x = as_tensor(x)
    check_channels("local_response_norm", x)
    if size < 1:
        raise ValueError(f"local_response_norm: size must be 1 or more, got {size}")
    band = Tensor(device.to_device(nearest_channels(channels=x.shape[1], size=size, dtype=widened(x).dtype), x.device))
    wide = widened(x)
    squares = reshape(wide * wide, (*x.shape[:2], math.prod(x.shape[2:])))  # (N, C, P)
    near = reshape(matmul(band, squares), x.shape)  # (C, C) @ (N, C, P)
    return narrowed(wide / (k + alpha / size * near) ** beta, x)


@ArrayFunction
def nearest_channels(xp: Any, *, channels: int, size: int, dtype: Any) -> Any:
    """(C, C): 1 where channel j, along axis 1, is among the `size` nearest to channel c, else 0."""
    distance = np.arange(channels) - np.arange(channels)[:, None]  # of channel j from channel c
    return ((-(size // 2) <= distance) & (distance <= (size - 1) // 2)).astype(dtype)


def dropout(x: Tensor, p: float, *, rng: np.random.Generator, training: bool = True) -> Tensor:
    """Each entry becomes 0 with probability `p`, else ``x / (1 - p)``: the expectation is x.

    The mask is drawn from `rng`, one number per entry, in C order, whatever the dtype or device of x. With p = 0 or
    outside training the result is x and nothing is drawn.
    Source: Srivastava et al., JMLR 15, 2014 (there the scale is applied in testing, here in training).

        >>> F.dropout(md.tensor([1.0, 1.0, 1.0, 1.0]), 0.5, rng=np.random.default_rng(0))
        tensor([2., 2., 2., 0.])
    """
    x = as_tensor(x)
    return dropped(x, p, x.shape, rng, training)


def dropped(x: Tensor, p: float, shape: tuple[int, ...], rng: np.random.Generator, training: bool) -> Tensor:
    """`dropout` with one number per entry of `shape`, which broadcasts against x."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is a probability, between 0 and 1, got {p}")
    if not training or p == 0:
        return x
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"dropout needs a numpy Generator, got {type(rng).__name__}; try np.random.default_rng(0)")
    scale = 1 / (1 - p) if p < 1 else 0.0
    note_draw(rng)
    mask = drawn_mask(rng=rng, p=p, shape=shape, over=x.shape)
    return elementwise.gated(x * scale, gate=device.to_device(mask, x.device))


@ArrayFunction
def drawn_mask(xp: Any, *, rng: np.random.Generator, p: float, shape: tuple[int, ...], over: tuple[int, ...]) -> Any:
    """False with probability p: one number is drawn per entry of `shape`, and broadcast to the shape `over`."""
    return np.broadcast_to(np.asarray(rng.random(shape, dtype=np.float32) >= p), over)


def dropout1d(x: Tensor, p: float = 0.5, *, rng: np.random.Generator, training: bool = True) -> Tensor:
    """`dropout` of whole channels of x, (N, C, L) or (C, L): one number per channel is drawn.

    Source: Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015, section 3.2.
    """
    return _without_channels("dropout1d", x, p, rng, training, {3: 2, 2: 1})


def dropout2d(x: Tensor, p: float = 0.5, *, rng: np.random.Generator, training: bool = True) -> Tensor:
    """`dropout` of whole channels of x, (N, C, H, W), or (N, C, L) as in torch: see `dropout1d`."""
    return _without_channels("dropout2d", x, p, rng, training, {4: 2, 3: 2})


def dropout3d(x: Tensor, p: float = 0.5, *, rng: np.random.Generator, training: bool = True) -> Tensor:
    """`dropout` of whole channels of x, (N, C, D, H, W) or (C, D, H, W): see `dropout1d`."""
    return _without_channels("dropout3d", x, p, rng, training, {5: 2, 4: 1})


def _without_channels(
    name: str, x: Tensor, p: float, rng: np.random.Generator, training: bool, axes: dict[int, int]
) -> Tensor:
    """`axes`: how many axes there are before the spatial ones, by the number of all axes."""
    x = as_tensor(x)
    if x.ndim not in axes:
        raise ValueError(f"{name} takes x with {' or '.join(map(str, sorted(axes)))} axes, got {x.shape}")
    lead = axes[x.ndim]
    return dropped(x, p, x.shape[:lead] + (1,) * (x.ndim - lead), rng, training)

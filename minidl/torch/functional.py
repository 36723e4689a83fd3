"""torch.nn.functional: its order of arguments and its defaults, over the engine's functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor as Value
from ..core.tensor import as_array
from ..nn import init
from . import losses, reductions

# --- convolution and pooling


def _conv(rank: int) -> Callable:
    def function(
        input: Value, weight: Value, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Value:  # fmt: skip
        padding = 0 if padding == "valid" else padding
        return F.conv(input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)

    return function


def _conv_transpose(rank: int) -> Callable:
    def function(
        input: Value, weight: Value, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> Value:  # fmt: skip
        return F.conv_transpose(
            input, weight, bias, stride=stride, padding=padding, output_padding=output_padding, groups=groups,
            dilation=dilation,
        )  # fmt: skip

    return function


def _with_batch(function: Callable, rank: int) -> Callable:
    """Also of an input without a batch axis."""

    def of_any(input: Value, *arguments: Any, **options: Any) -> Any:
        if input.ndim != rank + 1:
            return function(input, *arguments, **options)
        y = function(input.expand_dims(0), *arguments, **options)
        return tuple([part[0] for part in y]) if isinstance(y, tuple) else y[0]

    return of_any


def _max_pool(
    input: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    return F.max_pool(
        input, kernel_size, stride=stride or None, padding=padding, dilation=dilation, ceil_mode=ceil_mode,
        return_indices=return_indices,
    )  # fmt: skip


def _avg_pool(
    input: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Value:  # fmt: skip
    return F.avg_pool(
        input, kernel_size, stride=stride or None, padding=padding, ceil_mode=ceil_mode,
        count_include_pad=count_include_pad, divisor_override=divisor_override,
    )  # fmt: skip


def _max_unpool(
    input: Value, indices: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Value:
    return F.max_unpool(input, indices, kernel_size, stride=stride, padding=padding, output_size=output_size)


def _lp_pool(input: Value, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Value:
    taps = np.prod(np.broadcast_to(kernel_size, (input.ndim - 2,)))
    mean = F.avg_pool(abs(input) ** norm_type, kernel_size, stride=stride, ceil_mode=ceil_mode)
    return (mean * float(taps)) ** (1 / norm_type)


def unfold(input: Value, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Value:
    return F.unfold(input, kernel_size, dilation=dilation, padding=padding, stride=stride)


def fold(
    input: Value, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Value:
    return F.fold(input, output_size, kernel_size, dilation=dilation, padding=padding, stride=stride)


def pad(input: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    return F.pad(input, tuple(pad), mode=mode, value=value or 0.0)


def interpolate(
    input: Value, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Value:  # fmt: skip
    return F.interpolate(
        input, size=size, scale_factor=scale_factor, mode=mode, align_corners=bool(align_corners),
        recompute_scale_factor=recompute_scale_factor, antialias=antialias,
    )  # fmt: skip


def grid_sample(
    input: Value, grid: Value, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Value:
    return F.grid_sample(input, grid, mode=mode, padding_mode=padding_mode, align_corners=bool(align_corners))


def affine_grid(theta: Value, size: Any, align_corners: bool | None = None) -> Value:
    return F.affine_grid(theta, size, align_corners=bool(align_corners))


# --- norms and dropout


def batch_norm(
    input: Value, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Value:  # fmt: skip
    mean, var = (None if x is None else as_array(x) for x in (running_mean, running_var))
    return F.batch_norm(input, mean, var, weight, bias, training=training, momentum=momentum, eps=eps)


def instance_norm(
    input: Value, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Value:  # fmt: skip
    mean, var = (None if x is None else as_array(x) for x in (running_mean, running_var))
    return F.instance_norm(input, mean, var, weight, bias, use_input_stats=use_input_stats, momentum=momentum, eps=eps)


def layer_norm(input: Value, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Value:
    return F.layer_norm(input, tuple(normalized_shape), weight, bias, eps=eps)


def rms_norm(input: Value, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Value:
    return F.rms_norm(input, tuple(normalized_shape), weight, eps=eps)


def group_norm(input: Value, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Value:
    return F.group_norm(input, num_groups, weight, bias, eps=eps)


def local_response_norm(input: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Value:
    return F.local_response_norm(input, size, alpha=alpha, beta=beta, k=k)


def normalize(input: Value, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Value:
    return F.normalize(input, p, dim, eps)


def _dropout(function: Callable) -> Callable:
    def of_input(input: Value, p: float = 0.5, training: bool = True) -> Value:
        return function(input, p, rng=init.generator(), training=training)

    return of_input


def alpha_dropout(input: Value, p: float = 0.5, training: bool = False) -> Value:
    """Dropout to the value at which a SELU saturates, then scaled to mean 0 and variance 1 (Klambauer et al. 2017)."""
    if not training or not p:
        return input
    low = -1.7580993408473766
    a = ((1 - p) * (1 + p * low**2)) ** -0.5
    return F.where(init.generator().random(input.shape) < p, low, input) * a - a * low * p


# --- activations


def softmax(input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Value:
    return reductions.softmax(input, _usual(input) if dim is None else dim, dtype)


def log_softmax(input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Value:
    return reductions.log_softmax(input, _usual(input) if dim is None else dim, dtype)


def _usual(input: Value) -> int:
    return 0 if input.ndim in (0, 1, 3) else 1


def softmin(input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Value:
    return softmax(-input, dim, dtype=dtype)


def gelu(input: Value, approximate: str = "none") -> Value:
    return F.gelu(input, approximate)


def elu(input: Value, alpha: float = 1.0) -> Value:
    return F.elu(input, alpha)


def celu(input: Value, alpha: float = 1.0) -> Value:
    return alpha * F.elu(input / alpha)


def leaky_relu(input: Value, negative_slope: float = 0.01) -> Value:
    return F.leaky_relu(input, negative_slope)


def rrelu(input: Value, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Value:
    slope = init.generator().uniform(lower, upper, input.shape) if training else (lower + upper) / 2
    return F.where(input >= 0, input, input * (slope if not training else slope.astype(input.dtype)))


def prelu(input: Value, weight: Value) -> Value:
    return F.prelu(input, weight)


def hardtanh(input: Value, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    return F.hardtanh(input, min_val, max_val)


def softplus(input: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    return F.softplus(input) if beta == 1 else F.softplus(beta * input) / beta


def logsigmoid(input: Value) -> Value:
    return -F.softplus(-input)


def softsign(input: Value) -> Value:
    return input / (1 + abs(input))


def tanhshrink(input: Value) -> Value:
    return input - F.tanh(input)


def hardshrink(input: Value, lambd: float = 0.5) -> Value:
    return F.where(abs(input) > lambd, input, 0.0)


def softshrink(input: Value, lambd: float = 0.5) -> Value:
    return F.where(abs(input) > lambd, input - F.sign(input) * lambd, 0.0)


def threshold(input: Value, threshold: float, value: float) -> Value:
    return F.where(input > threshold, input, float(value))


def glu(input: Value, dim: int = -1) -> Value:
    a, b = F.chunk(input, 2, dim)
    return a * F.sigmoid(b)


def gumbel_softmax(logits: Value, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Value:
    noise = -np.log(init.generator().exponential(size=logits.shape)).astype(logits.dtype)
    y = F.softmax((logits + noise) / tau, dim)
    if not hard:
        return y
    largest = F.scatter(y.zeros_like(), dim, F.argmax(y, dim, True), np.ones_like(F.argmax(y, dim, True).data, y.dtype))
    return largest - y.detach() + y


# --- linear, distances


def linear(input: Value, weight: Value, bias: Any = None) -> Value:
    return F.linear(input, weight, bias)


def bilinear(input1: Value, input2: Value, weight: Value, bias: Any = None) -> Value:
    y = F.einsum("...i,oij,...j->...o", input1, weight, input2)
    return y if bias is None else y + bias


def embedding(
    input: Value, weight: Value, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Value:  # fmt: skip
    return F.embedding(input, weight, padding_idx)


def one_hot(tensor: Value, num_classes: int = -1) -> Value:
    return F.one_hot(tensor, num_classes).astype(np.int64)


def cosine_similarity(x1: Value, x2: Value, dim: int = 1, eps: float = 1e-8) -> Value:
    return F.cosine_similarity(x1, x2, dim, eps)


def pairwise_distance(x1: Value, x2: Value, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Value:
    return F.pairwise_distance(x1, x2, p, eps, keepdim)


def scaled_dot_product_attention(
    query: Value, key: Value, value: Value, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Value:  # fmt: skip
    return F.scaled_dot_product_attention(
        query, key, value, mask=attn_mask, causal=is_causal, scale=scale, dropout=dropout_p, rng=init.generator()
    )


SAME_NAMES = (
    "relu", "relu6", "sigmoid", "tanh", "silu", "mish", "selu", "hardsigmoid", "hardswish", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle",
)  # fmt: skip
INPLACE = {  # how many arguments stand before `inplace`
    "relu": 0, "relu6": 0, "selu": 0, "hardswish": 0, "hardsigmoid": 0, "silu": 0, "mish": 0, "elu": 1, "celu": 1,
    "leaky_relu": 1, "hardtanh": 2, "threshold": 2, "dropout": 2, "dropout1d": 2, "dropout2d": 2, "dropout3d": 2,
    "alpha_dropout": 2, "rrelu": 3,
}  # fmt: skip
VALUES: dict[str, Callable] = {
    **losses.VALUES,
    **{f.__name__: f for f in (
        unfold, fold, pad, interpolate, grid_sample, affine_grid, batch_norm, instance_norm, layer_norm, rms_norm,
        group_norm, local_response_norm, normalize, alpha_dropout, softmax, log_softmax, softmin, gelu, elu, celu,
        leaky_relu, rrelu, prelu, hardtanh, softplus, logsigmoid, softsign, tanhshrink, hardshrink, softshrink,
        threshold,
        glu, gumbel_softmax, linear, bilinear, embedding, one_hot, cosine_similarity, pairwise_distance,
        scaled_dot_product_attention,
    )},
    **{name: getattr(F, name) for name in SAME_NAMES},
    **{f"dropout{d}": _dropout(getattr(F, f"dropout{d}")) for d in ("", "1d", "2d", "3d")},
    "feature_dropout": _dropout(F.dropout2d), "upsample": interpolate,
    **{f"conv{r}d": _conv(r) for r in (1, 2, 3)},
    **{f"conv_transpose{r}d": _with_batch(_conv_transpose(r), r) for r in (1, 2, 3)},
    **{f"max_pool{r}d": _with_batch(_max_pool, r) for r in (1, 2, 3)},
    **{f"avg_pool{r}d": _with_batch(_avg_pool, r) for r in (1, 2, 3)},
    **{f"lp_pool{r}d": _with_batch(_lp_pool, r) for r in (1, 2, 3)},
    **{f"max_unpool{r}d": _with_batch(_max_unpool, r) for r in (1, 2, 3)},
    **{f"adaptive_avg_pool{r}d": _with_batch(lambda input, output_size: F.adaptive_avg_pool(input, output_size), r)
       for r in (1, 2, 3)},
    **{f"adaptive_max_pool{r}d": _with_batch(lambda input, output_size, return_indices=False: F.adaptive_max_pool(
        input, output_size, return_indices=return_indices), r) for r in (1, 2, 3)},
}  # fmt: skip

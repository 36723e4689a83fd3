"""Batch normalisation over all shards of a batch: see minidl.ranks."""

from __future__ import annotations

from typing import Any

from ..core.context import current
from ..core.fused import fused
from ..core.primitive import primitive
from ..core.tensor import Operand, Tensor, as_array, as_tensor
from ..device import namespace
from ..ranks.tree import additions
from .elementwise import sqrt
from .norm import (
    batch_norm,
    batch_norm_p,
    blend,
    check_channels,
    check_eps,
    moments,
    others,
    scaled,
)


@primitive(formula="sum of x over the shards of the batch", kind="linear", saves=())
def shard_sum(xp, x):
    """The sum of the values that all shards have for x; x itself where no shards meet.

    If s is the sum on every shard, and the loss of the batch is the sum over shards t of w_t L_t, then the cotangent of
    x on shard s is the sum over t of w_t g_t, divided by w_s: each shard's cotangents are those of its own loss.
    """
    return summed([x])[0]


@shard_sum.rule("x", formula="shard_sum(w * g) / w, w being the weight of the shard's loss")
def shard_sum_x(g, y, x):
    w = weight_of_loss()
    return shard_sum(g * w) / w


def summed(arrays: list[Any]) -> list[Any]:
    shard = current().shard
    return arrays if shard is None else shard.sum(arrays)


def weight_of_loss() -> float:
    """Of this shard in the loss of the batch, if the loss that is differentiated is without it."""
    shard = current().shard
    return 1.0 if shard is None else shard.weight


@fused(
    formula="y = (x - m) / sqrt(v + eps) * weight + bias; per channel: m, v = mean of x, (x - m)^2 over all shards",
    saves=("x", "weight", "bias"),
)
def sync_batch_norm_p(x, weight, bias, *, eps, statistics=None, relu=False):
    """`batch_norm` of this shard's x with mean and variance of all shards.

    `statistics` are the number of values per channel, their mean and their variance, if they have been computed.
    """
    n = (statistics or shared_moments(x.data))[0]
    centred = x - shard_sum(x.sum(others(x), keepdims=True)) / n
    variance = shard_sum((centred * centred).sum(others(x), keepdims=True)) / n
    return scaled(centred / sqrt(variance + eps), weight, bias, relu)


@sync_batch_norm_p.array_forward
def sync_batch_norm_forward(xp, x, weight, bias, *, eps, statistics=None, relu=False):
    _, mean, var = statistics or shared_moments(x)
    return batch_norm_p.run(xp, [x, weight, bias], {"eps": eps, "statistics": (mean, var), "relu": relu})


@sync_batch_norm_p.array_backward(
    formula="k * (g - mean of g - h * mean of g * h), k = weight / sqrt(v + eps), h = (x - m) / sqrt(v + eps)"
)
def sync_batch_norm_backward(xp, g, y, x, weight, bias, *, needed, eps, statistics=None, relu=False):
    """The gradients of weight and bias are those of this shard, like all gradients of parameters."""
    n, mean, var = statistics or shared_moments(x)

    def whole(x, *sums):
        w = weight_of_loss()
        return w * n, *summed([w * each for each in sums])

    options = {"needed": needed, "eps": eps, "statistics": (mean, var), "relu": relu, "whole": whole}
    return batch_norm_p.reverse.run(xp, [g, y, x, weight, bias], options)


def shared_moments(x: Any) -> tuple[float, Any, Any]:
    """Of each channel of x (N, C, ...) over all shards: how many values, their mean and their (biased) variance."""
    channels, n = x.shape[1], x.size // max(x.shape[1], 1)
    mean, var = moments(x) if n else (namespace([x]).zeros(channels),) * 2
    if (shard := current().shard) is None:
        return n, mean, var
    xp = namespace([x])
    row = xp.concatenate([xp.full(1, n, mean.dtype), mean, n * var])
    rows = shard.gather(row, f"the statistics of {channels} channels")
    n, mean, squares = rows[:, 0].real.copy(), rows[:, 1 : channels + 1], rows[:, channels + 1 :]
    for low, middle in additions(0, len(rows)):
        join_moments(n, mean, squares, low, middle)
    return float(n[0]), mean[0].copy(), squares[0] / max(float(n[0]), 1)


def join_moments(n: Any, mean: Any, squares: Any, low: int, middle: int) -> None:
    """Put into row `low` what holds of the values of both rows together: their number, mean, and the sum of the squares
    of their distances to the mean.

    Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983, eq. 1.5.
    """
    if not (both := n[low] + n[middle]):
        return
    distance, share = mean[middle] - mean[low], n[middle] / both
    mean[low] += distance * share
    squares[low] += squares[middle] + distance * distance * (n[low] * share)
    n[low] = both


def sync_batch_norm(
    x: Tensor, running_mean: Operand | None, running_var: Operand | None, weight: Tensor | None = None,
    bias: Tensor | None = None, *, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    relu: bool = False,
) -> Tensor:  # fmt: skip
    """`batch_norm`, in training with mean and variance of the whole batch where it is trained on in shards.

    The running variance is the unbiased one of the whole batch. Where no shards meet, it is `batch_norm` itself.
    Raises ValueError as that does.
    """
    if current().shard is None or not training:
        return batch_norm(
            x, running_mean, running_var, weight, bias, training=training, momentum=momentum, eps=eps, relu=relu
        )
    x = as_tensor(x)
    check_channels("batch_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_eps("batch_norm", eps)
    n, mean, var = shared_moments(x.data)
    if n == 1:
        raise ValueError(
            f"batch_norm in training needs more than one value per channel, all shards of x {x.shape} together have "
            "one; use a larger batch or training=False"
        )
    for running, batch, factor in ((running_mean, mean, 1), (running_var, var, n / (n - 1))):
        if running is not None and n and not current().repeating:
            blend(as_array(running), batch, momentum=momentum, factor=factor)
    weight, bias = (None if v is None else as_tensor(v) for v in (weight, bias))
    return sync_batch_norm_p(x, weight, bias, eps=eps, statistics=(n, mean, var), relu=relu)

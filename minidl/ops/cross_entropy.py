"""Classes: cross entropy from logits, and the negative log likelihood from log probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import device
from ..core.array_function import ArrayFunction
from ..core.fused import fused
from ..core.tensor import Operand, Tensor, as_array, as_tensor
from .indexing import getitem, where
from .loss import check_reduction, check_shares, on_device_of, pair, reduced
from .norm import per_channel
from .reduce import log_softmax
from .shape import as_float, cast, total, widened


@fused(
    formula="y[n, s] = scale[n, s] * (log(sum over c of exp(x[n, c, s])) - x[n, target[n, s], s])",
    saves=("logits",),
)
def cross_entropy_p(logits, *, target, scale):
    """Minus the log probability of the target class, times a scale; 0 where the scale is 0, whatever the logits."""
    picked = getitem(log_softmax(logits, axis=1), at(target))
    return Tensor(scale) * where(scale != 0, -picked, 0.0)


@cross_entropy_p.array_forward
def cross_entropy_forward(xp, x, *, target, scale):
    x = x - x.max(axis=1, keepdims=True)
    y = xp.log(total(xp.exp(x), (1,))) - x[at(target)]
    return scale * xp.where(scale != 0, y, 0)


@cross_entropy_p.array_backward(formula="g[n, s] * scale[n, s] * (softmax(x)[n, c, s] - [c = target[n, s]])")
def cross_entropy_backward(xp, g, y, x, *, needed, target, scale):
    p = xp.exp(x - x.max(axis=1, keepdims=True))
    p *= (g * scale / total(p, (1,)))[:, None]  # (N, *S) -> (N, 1, *S)
    p[at(target)] -= g * scale
    return (p,)


@ArrayFunction
def at(xp: Any, target: Any) -> tuple:
    """The index of the entries ``x[n, target[n, s...], s...]`` of x (N, C, *S): one array per axis of x."""
    grid = xp.ix_(*(xp.arange(n) for n in target.shape))
    return grid[0], target, *grid[1:]


@fused(
    formula="y[n, s] = -sum over c of weight[c] * target[n, c, s] * log(softmax(x)[n, c, s])",
)
def soft_cross_entropy(logits, target, *, weight=None):
    """Minus the log probabilities of the classes, averaged by the target's probabilities; weight is (1, C, 1, ...)."""
    share = target if weight is None else target * Tensor(weight)
    return -(share * log_softmax(logits, axis=1)).sum(axis=1)


@soft_cross_entropy.array_forward
def soft_cross_entropy_forward(xp, x, target, *, weight=None):
    x = x - x.max(axis=1, keepdims=True)
    x -= xp.log(total(xp.exp(x), (1,), True))
    x *= -target if weight is None else -target * weight
    return total(x, (1,))


@soft_cross_entropy.array_backward(formula="g * (softmax(x) * sum over c of weight * target - weight * target)")
def soft_cross_entropy_backward(xp, g, y, x, target, *, needed, weight=None):
    share = target if weight is None else target * weight
    g = g[:, None]  # (N, *S) -> (N, 1, *S)
    x = x - x.max(axis=1, keepdims=True)
    x -= xp.log(total(xp.exp(x), (1,), True))  # log softmax
    gx = g * (xp.exp(x) * total(share, (1,), True) - share) if needed[0] else None
    gt = -g * x * (1 if weight is None else weight) if needed[1] else None
    return gx, gt


def cross_entropy(
    logits: Tensor, target: Operand, *, weight: Operand | None = None, ignore_index: int | None = None,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Minus the log of the softmax probability that the target class gets; classes along axis 1.

    logits (N, C, *S). `target` is either (N, *S) class numbers in [0, C), or (N, C, *S) probabilities (floats), and
    then y = -sum over c of target * log softmax. `weight` (C,) multiplies each class's terms. Positions whose class is
    `ignore_index` (any int; 0 or more only where targets are classes) count for nothing. "none" gives (N, *S); "mean"
    divides the sum by the summed weights of the target classes, or for probabilities by the number of positions; where
    every class is ignored it is 0. With `label_smoothing` s in [0, 1] the target is ``(1 - s) * target + s / C``, a
    class standing for its one-hot vector (Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, sec. 7).

    Raises ValueError for shapes that do not fit and for a mean over nothing, TypeError for float class numbers, and
    IndexError for a class out of range.

        >>> logits = md.tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
        >>> loss = F.cross_entropy(logits, [0, 1])
        >>> round(loss.item(), 4)
        0.41
        >>> md.grad(loss, logits)[0].numpy().round(3)
        array([[-0.06,  0.06],
               [ 0.25, -0.25]])
    """
    check_reduction("cross_entropy", reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    logits = widened(as_float(logits))
    if logits.ndim == 1 and as_array(target).shape in ((), logits.shape):  # one position, without a batch
        options = {"weight": weight, "ignore_index": ignore_index, "label_smoothing": label_smoothing}
        y = cross_entropy(logits[None], as_tensor(target)[None], reduction=reduction, **options)
        return y[0] if reduction == "none" else y
    weight = class_weight("cross_entropy", logits, weight)
    if as_array(target).shape == logits.shape:
        if ignore_index is not None and ignore_index >= 0:  # less than 0 is no class: there is nothing to ignore
            raise ValueError("cross_entropy: ignore_index needs class numbers as target, these are probabilities")
        return reduced(_of_probabilities(logits, target, weight, label_smoothing), reduction)
    target, counted = class_numbers("cross_entropy", logits, as_array(target), ignore_index)
    scale = scale_of(counted, target, weight, dtype=logits.dtype)
    if label_smoothing:
        one_hot = one_hot_like(target, shape=logits.shape, dtype=logits.dtype)
        y = where(counted, _of_probabilities(logits, one_hot, weight, label_smoothing), 0.0)
    else:
        y = cross_entropy_p(logits, target=target, scale=scale)
    return reduced_by_weight("cross_entropy", y, scale, reduction)


def class_weight(name: str, x: Tensor, weight: Any) -> Any:
    """The weights of the classes as an array on the device of x (N, C, ...), or None. Refuses an x without classes."""
    if x.ndim < 2 or not x.shape[1]:
        raise ValueError(f"{name} needs an input of shape (N, C, ...) with C > 0, got {x.shape}")
    if weight is None:
        return None
    weight = cast(on_device_of(x, weight), dtype=x.dtype)
    if weight.shape != x.shape[1:2]:
        raise ValueError(f"{name}: weight has shape {weight.shape}, one per class is {x.shape[1:2]}")
    return weight


def reduced_by_weight(name: str, y: Tensor, scale: Any, reduction: str) -> Tensor:
    """`reduced`, where the mean divides by the sum of the weights; 0 where that is 0."""
    if reduction != "mean":
        return reduced(y, reduction)
    if not y.size:
        raise ValueError(f"{name}: a mean over nothing, there are {y.shape} positions")
    return y.sum() / Tensor(sum_of_weights(scale))


@ArrayFunction
def scale_of(xp: Any, counted: Any, target: Any, weight: Any, *, dtype: Any) -> Any:
    """What each position counts: the weight (C,) of its class, or 1; 0 where `counted` is False."""
    return counted.astype(dtype) if weight is None else counted * weight[target]


@ArrayFunction
def sum_of_weights(xp: Any, scale: Any) -> Any:
    """What a mean divides by: 1 if all positions are ignored, whose sum is 0."""
    weights = scale.sum()
    return weights + (weights == 0)


@ArrayFunction
def one_hot_like(xp: Any, target: Any, *, shape: tuple[int, ...], dtype: Any) -> Any:
    """Of that shape (N, C, *S): 1 at the target class of each position, else 0."""
    y = xp.zeros(shape, dtype)
    y[at(target)] = 1
    return y


def _of_probabilities(logits: Tensor, target: Any, weight: Any, label_smoothing: float) -> Tensor:
    """The cross entropy at each position, for a distribution over the classes as target."""
    if as_array(target).dtype.kind not in "fc":
        raise TypeError(
            f"cross_entropy: a target shaped as the logits {logits.shape} is probabilities and must be floats, "
            f"got {as_array(target).dtype}"
        )
    if weight is not None:
        weight = per_channel(Tensor(weight), logits.ndim).data
    logits, target = pair("cross_entropy", logits, target)
    check_shares("cross_entropy", target)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / logits.shape[1]
    return soft_cross_entropy(logits, target, weight=weight)


def class_numbers(name: str, x: Tensor, target: Any, ignore_index: int | None) -> tuple[Any, Any]:
    """The class at each position (0 where ignored), and whether it counts (False where ignored)."""
    classes, positions = x.shape[1], x.shape[:1] + x.shape[2:]
    if target.shape != positions:
        raise ValueError(
            f"{name}: the target has shape {target.shape}; an input {x.shape} needs class numbers of shape {positions}"
            + (f" or probabilities of shape {x.shape}" if name == "cross_entropy" else "")
        )
    if target.dtype.kind not in "iu" and target.size:
        raise TypeError(f"{name}: class numbers must be integers, got {target.dtype}")
    target, counted = counted_classes(target, name=name, classes=classes, ignore_index=ignore_index)
    return on_device_of(x, target), on_device_of(x, counted)


@ArrayFunction
def counted_classes(xp: Any, target: Any, *, name: str, classes: int, ignore_index: int | None) -> tuple[Any, Any]:
    """What `class_numbers` gives. Raises IndexError for a class out of range."""
    target = target.astype(np.int64)
    counted = xp.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    target *= counted
    low, high = device.numbers([target.min(), target.max()]) if target.size else (0, 0)  # a GPU waits for this
    if not 0 <= low <= high < classes:
        position = tuple(int(i[0]) for i in ((target < 0) | (target >= classes)).nonzero())
        raise IndexError(
            f"{name}: target {int(target[position])} at position {position} is not one of the "
            f"{classes} classes, 0 to {classes - 1}; ignore_index is {ignore_index}"
        )
    return target, counted


def nll_loss(
    log_p: Tensor, target: Operand, *, weight: Operand | None = None, ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Minus the log probability of the target class: cross entropy whose input is log probabilities already.

    log_p (N, C, *S), `target` (N, *S) class numbers; the rest, and what is raised, is as in `cross_entropy`.
    """
    check_reduction("nll_loss", reduction)
    log_p = widened(as_float(log_p))
    if log_p.ndim == 1 and as_array(target).shape == ():  # one position, without a batch
        y = nll_loss(log_p[None], as_array(target)[None], weight=weight, ignore_index=ignore_index, reduction=reduction)
        return y[0] if reduction == "none" else y
    weight = class_weight("nll_loss", log_p, weight)
    target, counted = class_numbers("nll_loss", log_p, as_array(target), ignore_index)
    scale = scale_of(counted, target, weight, dtype=log_p.dtype)
    y = where(Tensor(scale) != 0, -Tensor(scale) * getitem(log_p, at(target)), 0.0)
    return reduced_by_weight("nll_loss", y, scale, reduction)

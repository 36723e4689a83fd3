"""Losses. Each takes ``reduction``: "none" (entry by entry), "sum", or "mean" (an error where there is nothing)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import device
from ..core.fused import fused
from ..core.tensor import Tensor, as_array, as_tensor
from .elementwise import absolute, clip, exp, softplus
from .indexing import getitem, stack, where
from .reduce import log_softmax, logsumexp
from .shape import as_float, reshape


def reduced(values: Tensor, reduction: str) -> Tensor:
    """The values themselves, their sum or their mean."""
    if reduction == "none":
        return values
    return values.mean() if reduction == "mean" else values.sum()


def check_reduction(name: str, reduction: str, *others: str) -> None:
    known = ("none", "mean", "sum", *others)
    if reduction not in known:
        raise ValueError(f"{name}: reduction {reduction!r} is unknown: one of {', '.join(map(repr, known))}")


def on_device_of(x: Tensor, data: Any) -> Any:
    """Data that is not differentiated, as an array on the device of x."""
    return device.to_device(as_array(data), x.device)


def pair(name: str, x: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Input and target as float tensors of one shape; a target that is data takes the dtype of the input."""
    x = as_float(x)
    if not isinstance(target, Tensor):
        target = Tensor(on_device_of(x, target))
    if target.shape != x.shape:
        raise ValueError(
            f"{name}: the target has shape {target.shape}, the input {x.shape}; they must be equal, "
            "nothing is broadcast: reshape the target"
        )
    if target.dtype != x.dtype and target.dtype.kind != "c":
        target = target.astype(x.dtype)
    return x, target


# --- distances


def mse_loss(x: Tensor, t: Any, *, reduction: str = "mean") -> Tensor:
    """The squared error ``(x - t)^2``; x and t of one shape."""
    check_reduction("mse_loss", reduction)
    x, t = pair("mse_loss", x, t)
    d = x - t
    return reduced(d * d, reduction)


def l1_loss(x: Tensor, t: Any, *, reduction: str = "mean") -> Tensor:
    """The absolute error ``|x - t|``; x and t of one shape. Its derivative where they are equal is taken as 0."""
    check_reduction("l1_loss", reduction)
    x, t = pair("l1_loss", x, t)
    return reduced(absolute(x - t), reduction)


def smooth_l1_loss(x: Tensor, t: Any, *, beta: float = 1.0, reduction: str = "mean") -> Tensor:
    """With d = x - t: ``d^2 / (2 beta)`` where |d| < beta, ``|d| - beta / 2`` elsewhere; beta = 0 is the l1 loss.

    Both are ``c (d - c / 2) / beta`` for c = d held between -beta and beta. x and t have one shape; a negative beta
    raises ValueError. Source: Girshick, "Fast R-CNN", ICCV 2015, eq. 3 (beta = 1).
    """
    check_reduction("smooth_l1_loss", reduction)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must be 0 or more, got {beta}")
    if beta == 0:
        return l1_loss(x, t, reduction=reduction)
    x, t = pair("smooth_l1_loss", x, t)
    d = x - t
    c = clip(d, -beta, beta)
    return reduced(c * (d - c / 2) / beta, reduction)


# --- classes: cross entropy


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
    y = xp.log(xp.exp(x).sum(axis=1)) - x[at(target)]
    return scale * xp.where(scale != 0, y, 0)


@cross_entropy_p.array_backward(formula="g[n, s] * scale[n, s] * (softmax(x)[n, c, s] - [c = target[n, s]])")
def cross_entropy_backward(xp, g, y, x, *, needed, target, scale):
    p = xp.exp(x - x.max(axis=1, keepdims=True))
    p *= (g * scale / p.sum(axis=1))[:, None]  # (N, *S) -> (N, 1, *S)
    p[at(target)] -= g * scale
    return (p,)


def at(target: Any) -> tuple:
    """The index of the entries ``x[n, target[n, s...], s...]`` of x (N, C, *S): one array per axis of x."""
    xp = device.namespace([target])
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
    x -= xp.log(xp.exp(x).sum(axis=1, keepdims=True))
    x *= -target if weight is None else -target * weight
    return x.sum(axis=1)


@soft_cross_entropy.array_backward(formula="g * (softmax(x) * sum over c of weight * target - weight * target)")
def soft_cross_entropy_backward(xp, g, y, x, target, *, needed, weight=None):
    share = target if weight is None else target * weight
    g = g[:, None]  # (N, *S) -> (N, 1, *S)
    x = x - x.max(axis=1, keepdims=True)
    x -= xp.log(xp.exp(x).sum(axis=1, keepdims=True))  # log softmax
    gx = g * (xp.exp(x) * share.sum(axis=1, keepdims=True) - share) if needed[0] else None
    gt = -g * x * (1 if weight is None else weight) if needed[1] else None
    return gx, gt


def cross_entropy(
    logits: Tensor, target: Any, *, weight: Any = None, ignore_index: int | None = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
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
    """
    check_reduction("cross_entropy", reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    logits = as_float(logits)
    if logits.ndim == 1 and as_array(target).shape in ((), logits.shape):  # one position, without a batch
        options = {"weight": weight, "ignore_index": ignore_index, "label_smoothing": label_smoothing}
        y = cross_entropy(logits[None], as_tensor(target)[None], reduction=reduction, **options)
        return y[0] if reduction == "none" else y
    if logits.ndim < 2 or not logits.shape[1]:
        raise ValueError(f"cross_entropy needs logits of shape (N, C, ...) with C > 0, got {logits.shape}")
    if weight is not None:
        weight = on_device_of(logits, weight).astype(logits.dtype)
        if weight.shape != logits.shape[1:2]:
            raise ValueError(f"cross_entropy: weight has shape {weight.shape}, one per class is {logits.shape[1:2]}")
    if (shape := as_array(target).shape) == logits.shape:
        if ignore_index is not None and ignore_index >= 0:  # less than 0 is no class: there is nothing to ignore
            raise ValueError("cross_entropy: ignore_index needs class numbers as target, these are probabilities")
        return reduced(_of_probabilities(logits, target, weight, label_smoothing), reduction)
    if shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"cross_entropy: the target has shape {shape}; logits {logits.shape} need class numbers of shape "
            f"{logits.shape[:1] + logits.shape[2:]} or probabilities of shape {logits.shape}"
        )
    target, counted = _classes(logits, as_array(target), ignore_index)
    scale = counted.astype(logits.dtype) if weight is None else counted * weight[target]
    if label_smoothing:
        y = where(counted, _of_probabilities(logits, _one_hot(target, logits), weight, label_smoothing), 0.0)
    else:
        y = cross_entropy_p(logits, target=target, scale=scale)
    if reduction != "mean":
        return reduced(y, reduction)
    if not y.size:
        raise ValueError(f"cross_entropy: a mean over nothing, the logits have shape {logits.shape}")
    total = scale.sum()
    return y.sum() / Tensor(total + (total == 0))  # all ignored: 0 / 1


def _one_hot(target: Any, logits: Tensor) -> Any:
    """Of the shape and dtype of the logits: 1 at the target class of each position, else 0."""
    y = device.namespace([target]).zeros_like(logits.data)
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
        weight = weight.reshape((1, -1) + (1,) * (logits.ndim - 2))  # (C,) -> (1, C, 1, ...)
    logits, target = pair("cross_entropy", logits, target)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / logits.shape[1]
    return soft_cross_entropy(logits, target, weight=weight)


def _classes(logits: Tensor, target: Any, ignore_index: int | None) -> tuple[Any, Any]:
    """The class at each position (0 where ignored), and whether it counts (False where ignored)."""
    classes = logits.shape[1]
    if target.dtype.kind not in "iu" and target.size:
        raise TypeError(f"cross_entropy: class numbers must be integers, got {target.dtype}")
    target = target.astype(np.int64)
    counted = device.namespace([target]).ones(target.shape, bool) if ignore_index is None else target != ignore_index
    target *= counted
    low, high = device.numbers([target.min(), target.max()]) if target.size else (0, 0)  # a GPU waits for this
    if not 0 <= low <= high < classes:
        position = tuple(int(i[0]) for i in ((target < 0) | (target >= classes)).nonzero())
        raise IndexError(
            f"cross_entropy: target {int(target[position])} at position {position} is not one of the "
            f"{classes} classes, 0 to {classes - 1}; ignore_index is {ignore_index}"
        )
    return on_device_of(logits, target), on_device_of(logits, counted)


# --- independent yes-or-no questions


@fused(
    formula="y = pos_weight * t * log(1 + exp(-x)) + (1 - t) * log(1 + exp(x))",
)
def binary_cross_entropy_with_logits_p(x, t, *, pos_weight=1.0):
    """Minus the log probability of the answers t when yes has probability sigmoid(x)."""
    return t * pos_weight * softplus(-x) + (1 - t) * softplus(x)


@binary_cross_entropy_with_logits_p.array_forward
def binary_cross_entropy_with_logits_forward(xp, x, t, *, pos_weight=1.0):
    negative = xp.minimum(x, 0)
    rest = xp.log1p(xp.exp(negative + negative - x))  # log(1 + exp(-|x|)): softplus(x) is this + max(x, 0)
    return t * pos_weight * (rest - negative) + (1 - t) * (rest + (x - negative))


@binary_cross_entropy_with_logits_p.array_backward(formula="g * ((1 - t) * sigmoid(x) - pos_weight * t * sigmoid(-x))")
def binary_cross_entropy_with_logits_backward(xp, g, y, x, t, *, needed, pos_weight=1.0):
    negative = xp.minimum(x, 0)
    e = xp.exp(negative + negative - x)  # exp(-|x|)
    gx = gt = None
    if needed[0]:
        yes, no = xp.exp(negative), xp.exp(negative - x)  # over 1 + e: sigmoid(x), sigmoid(-x)
        gx = g * ((1 - t) * yes - t * pos_weight * no) / (1 + e)
    if needed[1]:
        rest = xp.log1p(e)
        gt = g * (pos_weight * (rest - negative) - (rest + (x - negative)))
    return gx, gt


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Any, *, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """``-(pos_weight * t * log p + (1 - t) * log(1 - p))``, p = sigmoid(logits), accurate however large the logits.

    The target t, in [0, 1], has the shape of the logits. `weight` multiplies each term, `pos_weight` those of the
    positive answers; both broadcast to the shape of the logits. "mean" divides by the number of terms.
    """
    name = "binary_cross_entropy_with_logits"
    check_reduction(name, reduction)
    logits, target = pair(name, logits, target)
    weight, pos_weight = (
        None if v is None else _broadcasting(name, logits, label, v)
        for label, v in (("weight", weight), ("pos_weight", pos_weight))
    )
    y = binary_cross_entropy_with_logits_p(logits, target, pos_weight=1.0 if pos_weight is None else pos_weight)
    return reduced(y if weight is None else y * Tensor(weight), reduction)


binary_cross_entropy_with_logits.primitive = binary_cross_entropy_with_logits_p


def _broadcasting(name: str, x: Tensor, label: str, v: Any) -> Any:
    """`v` as an array that broadcasts to the shape of x."""
    v = on_device_of(x, v).astype(x.dtype)
    try:
        fits = np.broadcast_shapes(v.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: {label} of shape {v.shape} does not broadcast to the logits' {x.shape}")
    return v


def sigmoid_focal_loss(
    logits: Tensor, target: Any, *, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "mean"
) -> Tensor:
    """The focal loss ``-alpha_t (1 - p_t)^gamma log p_t``: cross entropy with easy answers turned down.

    With p = sigmoid(logits), t the target in [0, 1]: p_t = p t + (1 - p)(1 - t), and log p_t is the cross entropy
    t log p + (1 - t) log(1 - p); alpha_t = alpha t + (1 - alpha)(1 - t), or 1 if alpha < 0. 1 - p_t enters by its
    logarithm, so that value and derivatives of any order are finite however large the logits. t is data: no gradient.
    Raises ValueError for alpha > 1, gamma < 0, or targets out of [0, 1].
    Source: Lin et al., "Focal loss for dense object detection", ICCV 2017, eq. 5.
    """
    name = "sigmoid_focal_loss"
    check_reduction(name, reduction)
    if alpha > 1 or gamma < 0:
        raise ValueError(f"{name} needs alpha of at most 1 and gamma of at least 0, got alpha={alpha}, gamma={gamma}")
    x, t = pair(name, logits, target)
    t = t.detach()
    if ((t.data < 0) | (t.data > 1)).any():
        raise ValueError(f"{name}: targets must lie between 0 and 1, got {t.data.min()} to {t.data.max()}")
    minus_log_yes, minus_log_no = softplus(-x), softplus(x)  # of sigmoid(x), of 1 - sigmoid(x)
    y = t * minus_log_yes + (1 - t) * minus_log_no
    if gamma:  # 1 - p_t = p (1 - t) + (1 - p) t
        xp = device.namespace([t.data])
        with np.errstate(divide="ignore"):  # log 0 = -inf: no share of that answer
            log_no, log_yes = xp.log(1 - t.data), xp.log(t.data)
        log_miss = logsumexp(stack([log_no - minus_log_yes, log_yes - minus_log_no]), axis=0)
        y = y * exp(gamma * log_miss)
    if alpha >= 0:
        y = y * (alpha * t + (1 - alpha) * (1 - t))
    return reduced(y, reduction)


# --- overlap


def soft_dice_loss(
    p: Tensor, g: Any, *, eps: float = 0.0, reduction: str = "mean", denominator: str = "squared"
) -> Tensor:
    """Minus the soft Dice overlap ``D = (2 S + eps) / (Q + eps)`` of probabilities p with a mask g.

    p and g are (N, C, *spatial). Over the spatial axes S = sum of p g and Q = sum of p^2 + sum of g^2 ("squared") or
    sum of p + sum of g ("linear"); D is 1 where Q + eps = 0, nothing being found where there is nothing. "none" gives
    -D, (N, C); "mean" and "sum" run over images and channels; "pooled" adds S and Q over the images before
    dividing and averages the channels. The derivative is dD/dp = 2 (g - D p) / Q for eps = 0, squared.
    Source: Milletari et al., "V-Net", 3DV 2016, section 3 (squared, per volume).
    """
    check_reduction("soft_dice_loss", reduction, "pooled")
    if denominator not in ("squared", "linear"):
        raise ValueError(f'soft_dice_loss: denominator {denominator!r} is unknown: "squared" or "linear"')
    p, g = pair("soft_dice_loss", p, g)
    if p.ndim < 3:
        raise ValueError(f"soft_dice_loss needs p of shape (N, C, *spatial), got {p.shape}; one image is p[None, None]")
    p, g = (reshape(v, (*v.shape[:2], int(np.prod(v.shape[2:])))) for v in (p, g))  # (N, C, P)
    axes = (0, 2) if reduction == "pooled" else 2
    overlap = (p * g).sum(axes)
    total = (p * p + g * g if denominator == "squared" else p + g).sum(axes) + eps
    empty = total.data == 0
    dice = where(empty, 1.0, (2 * overlap + eps) / where(empty, 1.0, total))
    return reduced(-dice, "mean" if reduction == "pooled" else reduction)

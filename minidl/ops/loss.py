"""Losses. Each takes ``reduction``: "none" (entry by entry), "sum", or "mean" (an error where there is nothing)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import device
from ..core.array_function import ArrayFunction
from ..core.fused import fused
from ..core.tensor import Operand, Tensor, as_array
from .elementwise import absolute, clip, exp, softplus
from .indexing import stack, where
from .reduce import logsumexp
from .shape import as_float, broadcasts, cast, reshape, widened

ROUNDING = 100  # eps by which a share may leave [0, 1], as averages and interpolations of ones do


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
    """Input and target as float tensors of one shape; a target that is data takes the dtype of the input.

    Half precision becomes single, for losses are sums and squares.
    """
    x = widened(as_float(x))
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


def check_shares(name: str, target: Tensor) -> None:
    """Refuse targets that are no probabilities, rounding aside: no other sign of them is sure."""
    require_shares(target.data, name=name)


@ArrayFunction
def require_shares(xp: Any, t: Any, *, name: str) -> None:
    t = t.real
    low, high = device.numbers([t.min(), t.max()]) if t.size else (0, 1)  # a GPU waits for this
    slack = ROUNDING * float(np.finfo(t.dtype).eps)
    if not -slack <= low <= high <= 1 + slack:
        hint = "; divide a mask of 0 and 255 by 255" if high == 255 else ""
        raise ValueError(f"{name}: targets must lie between 0 and 1, got {low} to {high}{hint}")


# --- distances


def mse_loss(x: Tensor, t: Operand, *, reduction: str = "mean") -> Tensor:
    """The squared error ``(x - t)^2``; x and t of one shape.

        >>> F.mse_loss(md.tensor([1.0, 2.0]), [1.0, 4.0])
        tensor(2.)
    """
    check_reduction("mse_loss", reduction)
    x, t = pair("mse_loss", x, t)
    d = x - t
    return reduced(d * d, reduction)


def l1_loss(x: Tensor, t: Operand, *, reduction: str = "mean") -> Tensor:
    """The absolute error ``|x - t|``; x and t of one shape. Its derivative where they are equal is taken as 0."""
    check_reduction("l1_loss", reduction)
    x, t = pair("l1_loss", x, t)
    return reduced(absolute(x - t), reduction)


def smooth_l1_loss(x: Tensor, t: Operand, *, beta: float = 1.0, reduction: str = "mean") -> Tensor:
    """With d = x - t: ``d^2 / (2 beta)`` where |d| < beta, ``|d| - beta / 2`` elsewhere; beta = 0 is the l1 loss.

    Elsewhere than at 0 it is the Huber loss over beta. x and t have one shape; a negative beta raises ValueError.
    Source: Girshick, "Fast R-CNN", ICCV 2015, eq. 3 (beta = 1).
    """
    check_reduction("smooth_l1_loss", reduction)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must be 0 or more, got {beta}")
    if beta == 0:
        return l1_loss(x, t, reduction=reduction)
    return reduced(_huber(*pair("smooth_l1_loss", x, t), beta) / beta, reduction)


def huber_loss(x: Tensor, t: Operand, *, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """With d = x - t: ``d^2 / 2`` where |d| < delta, ``delta (|d| - delta / 2)`` elsewhere; x and t of one shape.

    It is delta times the smooth l1 loss with beta = delta. Raises ValueError unless delta > 0.
    Source: Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
    """
    check_reduction("huber_loss", reduction)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be above 0, got {delta}")
    return reduced(_huber(*pair("huber_loss", x, t), delta), reduction)


def _huber(x: Tensor, t: Tensor, delta: float) -> Tensor:
    """``c (d - c / 2)`` for d = x - t, and c = d held between -delta and delta."""
    d = x - t
    c = clip(d, -delta, delta)
    return c * (d - c / 2)


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
    logits: Tensor, target: Operand, *, weight: Operand | None = None, pos_weight: Operand | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``-(pos_weight * t * log p + (1 - t) * log(1 - p))``, p = sigmoid(logits), accurate however large the logits.

    The target t, in [0, 1], has the shape of the logits. `weight` multiplies each term, `pos_weight` those of the
    positive answers; both broadcast to the shape of the logits. "mean" divides by the number of terms.

        >>> round(F.binary_cross_entropy_with_logits(md.tensor([0.0, 0.0]), [1.0, 0.0]).item(), 4)
        0.6931
    """
    name = "binary_cross_entropy_with_logits"
    check_reduction(name, reduction)
    logits, target = pair(name, logits, target)
    check_shares(name, target)
    weight, pos_weight = (
        None if v is None else broadcasting(name, logits, label, v)
        for label, v in (("weight", weight), ("pos_weight", pos_weight))
    )
    y = binary_cross_entropy_with_logits_p(logits, target, pos_weight=1.0 if pos_weight is None else pos_weight)
    return reduced(y if weight is None else y * Tensor(weight), reduction)


binary_cross_entropy_with_logits.primitive = binary_cross_entropy_with_logits_p


def broadcasting(name: str, x: Tensor, label: str, v: Any) -> Any:
    """`v` as an array that broadcasts to the shape of x."""
    v = cast(on_device_of(x, v), dtype=x.dtype)
    if not broadcasts(v.shape, x.shape):
        raise ValueError(f"{name}: {label} of shape {v.shape} does not broadcast to the input's {x.shape}")
    return v


def sigmoid_focal_loss(
    logits: Tensor, target: Operand, *, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "mean"
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
    check_shares(name, t)
    t = clip(t.detach(), 0.0, 1.0)  # rounding may have left it a little outside, where a power below would be NaN
    minus_log_yes, minus_log_no = softplus(-x), softplus(x)  # of sigmoid(x), of 1 - sigmoid(x)
    y = t * minus_log_yes + (1 - t) * minus_log_no
    if gamma:  # 1 - p_t = p (1 - t) + (1 - p) t
        log_no, log_yes = map(Tensor, log_shares(t.data))
        log_miss = logsumexp(stack([log_no - minus_log_yes, log_yes - minus_log_no]), axis=0)
        y = y * exp(gamma * log_miss)
    if alpha >= 0:
        y = y * (alpha * t + (1 - alpha) * (1 - t))
    return reduced(y, reduction)


@ArrayFunction
def log_shares(xp: Any, t: Any) -> tuple[Any, Any]:
    """The logarithms of 1 - t and of t."""
    with np.errstate(divide="ignore"):  # log 0 = -inf: no share of that answer
        return xp.log(1 - t), xp.log(t)


# --- overlap


def soft_dice_loss(
    p: Tensor, g: Operand, *, eps: float = 0.0, reduction: str = "mean", denominator: str = "squared"
) -> Tensor:
    """Minus the soft Dice overlap ``D = (2 S + eps) / (Q + eps)`` of probabilities p with a mask g.

    p and g are (N, C, *spatial). Over the spatial axes S = sum of p g and Q = sum of p^2 + sum of g^2 ("squared") or
    sum of p + sum of g ("linear"); D is 1 where Q + eps = 0, nothing being found where there is nothing. "none" gives
    -D, (N, C); "mean" and "sum" run over images and channels; "pooled" adds S and Q over the images before
    dividing and averages the channels. The derivative is dD/dp = 2 (g - D p) / Q for eps = 0, squared.
    Source: Milletari et al., "V-Net", 3DV 2016, section 3 (squared, per volume).

        >>> p, g = md.tensor([[[0.8, 0.4, 0.2, 0.1]]]), [[[1.0, 1.0, 0.0, 0.0]]]
        >>> round(F.soft_dice_loss(p, g).item(), 4)
        -0.8421
    """
    check_reduction("soft_dice_loss", reduction, "pooled")
    if denominator not in ("squared", "linear"):
        raise ValueError(f'soft_dice_loss: denominator {denominator!r} is unknown: "squared" or "linear"')
    p, g = pair("soft_dice_loss", p, g)
    check_shares("soft_dice_loss", g)
    if p.ndim < 3:
        raise ValueError(f"soft_dice_loss needs p of shape (N, C, *spatial), got {p.shape}; one image is p[None, None]")
    p, g = (reshape(v, (*v.shape[:2], int(np.prod(v.shape[2:])))) for v in (p, g))  # (N, C, P)
    axes = (0, 2) if reduction == "pooled" else 2
    overlap = (p * g).sum(axes)
    total = (p * p + g * g if denominator == "squared" else p + g).sum(axes) + eps
    empty = total == 0
    dice = where(empty, 1.0, (2 * overlap + eps) / where(empty, 1.0, total))
    return reduced(-dice, "mean" if reduction == "pooled" else reduction)

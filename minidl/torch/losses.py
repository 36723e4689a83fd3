"""The losses of torch.nn.functional, and as modules: its order of arguments and its defaults."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor as Value
from ..ops.loss import reduced


def _reduction(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    """torch's first names of it."""
    if size_average is None and reduce is None:
        return reduction
    return "none" if reduce is False else "sum" if size_average is False else "mean"


def _loss(function: Callable, *, real: bool = False) -> Callable:
    """A loss that also takes torch's first names of `reduction`. real: whole numbers count as real ones of the input's
    dtype."""

    def loss(
        *inputs: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", **options: Any
    ) -> Any:
        if real:
            whole = [isinstance(x, Value) and x.dtype.kind in "biu" for x in (*inputs, *options.values())]
            kind = next((x.dtype for x in inputs if isinstance(x, Value) and x.dtype.kind == "f"), None)
            if kind is not None and any(whole):
                inputs = tuple([_real(x, kind) for x in inputs])
                options = {name: _real(x, kind) for name, x in options.items()}
        return function(*inputs, reduction=_reduction(reduction, size_average, reduce), **options)

    loss.__name__, loss.__doc__ = function.__name__, function.__doc__
    return loss


def _real(x: Any, kind: np.dtype) -> Any:
    return x.astype(kind) if isinstance(x, Value) and x.dtype.kind in "biu" else x


real_loss = partial(_loss, real=True)


@_loss
def cross_entropy(
    input: Value, target: Value, weight: Any = None, *, ignore_index: int = -100, reduction: str,
    label_smoothing: float = 0.0,
) -> Value:  # fmt: skip
    return F.cross_entropy(
        input, target, weight=weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )


@_loss
def nll_loss(input: Value, target: Value, weight: Any = None, *, ignore_index: int = -100, reduction: str) -> Value:
    if input.ndim == 1:
        y = F.nll_loss(input[None], target[None], weight=weight, ignore_index=ignore_index, reduction=reduction)
        return y[0] if reduction == "none" else y
    return F.nll_loss(input, target, weight=weight, ignore_index=ignore_index, reduction=reduction)


@real_loss
def binary_cross_entropy(input: Value, target: Value, weight: Any = None, *, reduction: str) -> Value:
    return F.binary_cross_entropy(input, target, weight=weight, reduction=reduction)


@real_loss
def binary_cross_entropy_with_logits(
    input: Value, target: Value, weight: Any = None, *, reduction: str, pos_weight: Any = None
) -> Value:
    return F.binary_cross_entropy_with_logits(input, target, weight=weight, pos_weight=pos_weight, reduction=reduction)


def _fitted(input: Value, target: Value) -> tuple[Value, Value]:
    """Both in one shape: torch broadcasts them, with a warning."""
    if input.shape == target.shape:
        return input, target
    shape = np.broadcast_shapes(input.shape, target.shape)
    return input.broadcast_to(shape), target.broadcast_to(shape)


def _weighted(loss: Callable, input: Value, target: Value, weight: Any, reduction: str) -> Value:
    """The weighted mean is over the sum of the weights."""
    if weight is None:
        return loss(*_fitted(input, target), reduction=reduction)
    y = weight * loss(*_fitted(input, target), reduction="none")
    return y.sum() / weight.broadcast_to(y.shape).sum() if reduction == "mean" else reduced(y, reduction)


@real_loss
def mse_loss(input: Value, target: Value, *, reduction: str, weight: Any = None) -> Value:
    return _weighted(F.mse_loss, input, target, weight, reduction)


@real_loss
def l1_loss(input: Value, target: Value, *, reduction: str, weight: Any = None) -> Value:
    return _weighted(F.l1_loss, input, target, weight, reduction)


@real_loss
def smooth_l1_loss(input: Value, target: Value, *, reduction: str, beta: float = 1.0) -> Value:
    return F.smooth_l1_loss(*_fitted(input, target), beta=beta, reduction=reduction)


@real_loss
def huber_loss(input: Value, target: Value, *, reduction: str, delta: float = 1.0) -> Value:
    return F.huber_loss(*_fitted(input, target), delta=delta, reduction=reduction)


@real_loss
def kl_div(input: Value, target: Value, *, reduction: str, log_target: bool = False) -> Value:
    return F.kl_div(input, target, reduction=reduction, log_target=log_target)


@real_loss
def cosine_embedding_loss(input1: Value, input2: Value, target: Value, margin: float = 0.0, *, reduction: str) -> Value:
    return F.cosine_embedding_loss(input1, input2, target, margin=margin, reduction=reduction)


@_loss
def triplet_margin_loss(
    anchor: Value, positive: Value, negative: Value, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, *, reduction: str,
) -> Value:  # fmt: skip
    return F.triplet_margin_loss(
        anchor, positive, negative, margin=margin, p=p, eps=eps, swap=swap, reduction=reduction
    )


@real_loss
def margin_ranking_loss(input1: Value, input2: Value, target: Value, margin: float = 0.0, *, reduction: str) -> Value:
    return reduced(F.relu(margin - target * (input1 - input2)), reduction)


@real_loss
def hinge_embedding_loss(input: Value, target: Value, margin: float = 1.0, *, reduction: str) -> Value:
    return reduced(F.where(target == 1, input, F.relu(margin - input)), reduction)


@real_loss
def soft_margin_loss(input: Value, target: Value, *, reduction: str) -> Value:
    return reduced(F.softplus(-target * input), reduction)


@real_loss
def multilabel_soft_margin_loss(input: Value, target: Value, weight: Any = None, *, reduction: str) -> Value:
    y = F.binary_cross_entropy_with_logits(input, target, weight=weight, reduction="none")
    return reduced(y.mean(axis=-1), reduction)


@_loss
def multi_margin_loss(
    input: Value, target: Value, p: int = 1, margin: float = 1.0, weight: Any = None, *, reduction: str
) -> Value:
    right = F.gather(input, 1, target.reshape(-1, 1))
    gap = F.relu(margin - right + input)
    y = gap if p == 1 else gap * gap
    y = y if weight is None else y * weight.data[target.data][:, None]
    own = np.arange(input.shape[1]) == target.data[:, None]
    return reduced(F.where(own, 0.0, y).sum(axis=1) / input.shape[1], reduction)


@real_loss
def gaussian_nll_loss(
    input: Value, target: Value, var: Any, full: bool = False, eps: float = 1e-6, *, reduction: str
) -> Value:
    var = F.maximum(var, eps)
    y = 0.5 * (F.log(var) + (input - target) ** 2 / var)
    return reduced(y + 0.5 * math.log(2 * math.pi) if full else y, reduction)


@real_loss
def poisson_nll_loss(
    input: Value, target: Value, log_input: bool = True, full: bool = False, *, eps: float = 1e-8, reduction: str
) -> Value:
    y = F.exp(input) - target * input if log_input else input - target * F.log(input + eps)
    if full:
        t = target.data
        with np.errstate(all="ignore"):
            stirling = t * np.log(t) - t + 0.5 * np.log(2 * np.pi * t)
        y = y + Value(np.where(t > 1, stirling, 0).astype(y.dtype))
    return reduced(y, reduction)


LOSSES = (
    cross_entropy, nll_loss, binary_cross_entropy, binary_cross_entropy_with_logits, mse_loss, l1_loss, smooth_l1_loss,
    huber_loss, kl_div, cosine_embedding_loss, triplet_margin_loss, margin_ranking_loss, hinge_embedding_loss,
    soft_margin_loss, multilabel_soft_margin_loss, multi_margin_loss, gaussian_nll_loss, poisson_nll_loss,
)  # fmt: skip
VALUES: dict[str, Callable] = {f.__name__: f for f in LOSSES}
MODULES = {  # class -> (its function, the names of its options in the order of the constructor)
    "CrossEntropyLoss": (cross_entropy, ("weight", "size_average", "ignore_index", "reduce", "reduction",
                                         "label_smoothing")),
    "NLLLoss": (nll_loss, ("weight", "size_average", "ignore_index", "reduce", "reduction")),
    "NLLLoss2d": (nll_loss, ("weight", "size_average", "ignore_index", "reduce", "reduction")),
    "BCELoss": (binary_cross_entropy, ("weight", "size_average", "reduce", "reduction")),
    "BCEWithLogitsLoss": (binary_cross_entropy_with_logits, ("weight", "size_average", "reduce", "reduction",
                                                             "pos_weight")),
    "MSELoss": (mse_loss, ("size_average", "reduce", "reduction")),
    "L1Loss": (l1_loss, ("size_average", "reduce", "reduction")),
    "SmoothL1Loss": (smooth_l1_loss, ("size_average", "reduce", "reduction", "beta")),
    "HuberLoss": (huber_loss, ("reduction", "delta")),
    "KLDivLoss": (kl_div, ("size_average", "reduce", "reduction", "log_target")),
    "CosineEmbeddingLoss": (cosine_embedding_loss, ("margin", "size_average", "reduce", "reduction")),
    "TripletMarginLoss": (triplet_margin_loss, ("margin", "p", "eps", "swap", "size_average", "reduce", "reduction")),
    "MarginRankingLoss": (margin_ranking_loss, ("margin", "size_average", "reduce", "reduction")),
    "HingeEmbeddingLoss": (hinge_embedding_loss, ("margin", "size_average", "reduce", "reduction")),
    "SoftMarginLoss": (soft_margin_loss, ("size_average", "reduce", "reduction")),
    "MultiLabelSoftMarginLoss": (multilabel_soft_margin_loss, ("weight", "size_average", "reduce", "reduction")),
    "MultiMarginLoss": (multi_margin_loss, ("p", "margin", "weight", "size_average", "reduce", "reduction")),
    "GaussianNLLLoss": (gaussian_nll_loss, ("full", "eps", "reduction")),
    "PoissonNLLLoss": (poisson_nll_loss, ("log_input", "full", "size_average", "eps", "reduce", "reduction")),
}  # fmt: skip
BUFFERS = ("weight", "pos_weight")

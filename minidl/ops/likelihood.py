"""Losses of probabilities themselves. Those of logits, in loss.py and cross_entropy.py, are the more accurate."""

from __future__ import annotations

import math
from typing import Any

from ..core.array_function import ArrayFunction
from ..core.tensor import Operand, Tensor
from .elementwise import exp, log
from .indexing import where
from .loss import broadcasting, check_reduction, check_shares, pair, reduced


def binary_cross_entropy(
    p: Tensor, target: Operand, *, weight: Operand | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``-(t log p + (1 - t) log(1 - p))`` of probabilities p, each logarithm held at -100 or more, t the target.

    Where a logarithm is held its derivative is 0. p and t have one shape; `weight`, which broadcasts to it, multiplies
    each term; "mean" divides by the number of terms. Raises ValueError for a p out of [0, 1]. Prefer
    `binary_cross_entropy_with_logits` where there are logits.
    """
    name = "binary_cross_entropy"
    check_reduction(name, reduction)
    p, t = pair(name, p, target)
    check_shares(name, t)
    require_probabilities(p.data, name=name)
    y = -(t * _log(p) + (1 - t) * _log(1 - p))
    return reduced(y if weight is None else y * Tensor(broadcasting(name, p, "weight", weight)), reduction)


@ArrayFunction
def require_probabilities(xp: Any, p: Any, *, name: str) -> None:
    if ((p < 0) | (p > 1)).any():
        raise ValueError(
            f"{name}: probabilities must lie between 0 and 1, got {p.min()} to {p.max()}; "
            "binary_cross_entropy_with_logits takes logits"
        )


def _log(p: Tensor) -> Tensor:
    """log p, or -100 where it is less."""
    held = p <= math.exp(-100)
    return where(held, -100.0, log(where(held, 1.0, p)))


def kl_div(log_p: Tensor, target: Operand, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """The terms of the Kullback-Leibler divergence of target from p: ``t (log t - log p)``, 0 where t is 0.

    log_p, of the shape of the target, is the logarithm of p; with `log_target` the target is log t. "batchmean" divides
    the sum by the length of axis 0, which is the divergence per example; "mean" divides by the number of terms.
    Source: Kullback and Leibler, "On information and sufficiency", 1951.
    """
    check_reduction("kl_div", reduction, "batchmean")
    log_p, t = pair("kl_div", log_p, target)
    if log_target:
        y = exp(t) * (t - log_p)
    else:
        y = t * log(where(t == 0, 1.0, t)) - t * log_p
    return reduced(y, "sum") / len(log_p) if reduction == "batchmean" else reduced(y, reduction)

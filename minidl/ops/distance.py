"""Lengths, distances and angles of vectors, and the losses that compare them."""

from __future__ import annotations

import math
from typing import Any

from ..core.array_function import ArrayFunction
from ..core.tensor import Operand, Tensor, as_array
from .arithmetic import minimum
from .elementwise import absolute, clip, sqrt
from .indexing import where
from .loss import check_reduction, on_device_of, reduced
from .reduce import Axis, max, power_at_least_0, sum
from .shape import as_float, narrowed, widened


def norm(x: Tensor, p: float = 2.0, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The p-norm ``(sum over axis of |x|^p)^(1/p)`` of the vectors along `axis`, of all entries if it is None.

    p is 0 (how many entries are not 0) or more; infinity gives the largest magnitude. The derivative at 0, where there
    is none, is taken as 0. Half precision adds up in single. Raises ValueError for a p below 0.
    """
    x = as_float(x)
    if not p >= 0:
        raise ValueError(f"norm: p must be 0 or more, got {p}")
    wide = widened(x)
    if p == 0:
        y = (wide != 0).astype(wide.dtype).sum(axis, keepdims)
    elif p == 1:
        y = sum(absolute(wide), axis, keepdims)
    elif p == math.inf:
        y = max(absolute(wide), axis, keepdims)
    elif p == 2:
        y = power_at_least_0(sum(wide * wide, axis, keepdims), 0.5)
    else:
        y = power_at_least_0(sum(power_at_least_0(absolute(wide), p), axis, keepdims), 1 / p)
    return narrowed(y, x)


def normalize(x: Tensor, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """``x / max(norm of x along axis, eps)``: vectors of length 1, but for those shorter than eps."""
    x = as_float(x)
    return x / clip(norm(x, p, axis, keepdims=True), eps)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last axis: the distances of the vectors (..., D), eps aside."""
    return norm(as_float(x1) - as_float(x2) + eps, p, -1, keepdims)


def cosine_similarity(x1: Tensor, x2: Tensor, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between the vectors along `axis`: ``sum of x1 x2 / (max(|x1|, eps) max(|x2|, eps))``."""
    return sum(normalize(x1, 2, axis, eps) * normalize(x2, 2, axis, eps), axis)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``max(d(anchor, positive) - d(anchor, negative) + margin, 0)``, d the `pairwise_distance` of vectors (..., D).

    With `swap` the negative's distance is that to the anchor or to the positive, whichever is less. All three have one
    shape; another, or a margin that is not above 0, raises ValueError.
    Source: Schroff, Kalenichenko and Philbin, "FaceNet", CVPR 2015, eq. 3; Balntas et al., BMVC 2016, section 3.3
    (swap).
    """
    name = "triplet_margin_loss"
    check_reduction(name, reduction)
    if not margin > 0:
        raise ValueError(f"{name}: margin must be above 0, got {margin}")
    anchor, positive, negative = _of_one_shape(name, anchor=anchor, positive=positive, negative=negative)
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced(clip(near - far + margin, 0.0), reduction)


@ArrayFunction
def require_signs(xp: Any, target: Any, *, name: str) -> None:
    if ((target != 1) & (target != -1)).any():
        raise ValueError(f"{name}: targets must be 1 (alike) or -1 (not alike), got {target.min()} to {target.max()}")


def cosine_embedding_loss(
    x1: Tensor, x2: Tensor, target: Operand, *, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """With c the cosine of x1 and x2: ``1 - c`` where target is 1, ``max(c - margin, 0)`` where it is -1.

    x1 and x2 are (N, D) with targets (N,), or (D,) with one target. The cosine is
    ``sum of x1 x2 / sqrt((|x1|^2 + e) (|x2|^2 + e))``, e = 1e-12. Raises ValueError for other targets and shapes.
    """
    name = "cosine_embedding_loss"
    check_reduction(name, reduction)
    x1, x2 = _of_one_shape(name, x1=x1, x2=x2)
    target = on_device_of(x1, as_array(target))
    if x1.ndim not in (1, 2) or target.shape != x1.shape[:-1]:
        raise ValueError(
            f"{name} needs vectors (N, D) and targets (N,), or (D,) and (), got {x1.shape}, {target.shape}"
        )
    require_signs(target, name=name)
    e = 1e-12
    c = sum(x1 * x2, -1) / sqrt((sum(x1 * x1, -1) + e) * (sum(x2 * x2, -1) + e))
    return reduced(where(Tensor(target) == 1, 1 - c, clip(c - margin, 0.0)), reduction)


def _of_one_shape(name: str, **tensors: Any) -> list[Tensor]:
    found = {label: widened(as_float(x)) for label, x in tensors.items()}
    if len({x.shape for x in found.values()}) > 1:
        shapes = ", ".join(f"{label} {x.shape}" for label, x in found.items())
        raise ValueError(f"{name}: all must have one shape, nothing is broadcast; got {shapes}")
    return list(found.values())

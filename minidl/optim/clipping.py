"""Clipping of gradients by their joint norm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..core.array_function import ArrayFunction
from ..core.context import current
from ..core.tensor import Parameter, Tensor
from ..device import numbers
from ..ops.shape import widened


def clip_grad_norm(params: Iterable[Parameter], max_norm: float, norm_type: float = 2.0) -> float:
    """Scale all gradients by one factor so that their joint norm is at most `max_norm`; returns the norm before.

    A parameter that is given several times, as one that two parts share, counts once.
    Source: Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013, algorithm 1.

        >>> w = md.Parameter(np.zeros(2))
        >>> (w * np.array([3.0, 4.0])).sum().backward()
        >>> float(optim.clip_grad_norm([w], 1.0))
        5.0
        >>> w.grad.numpy().round(3)
        array([0.6, 0.8])
    """
    params = [params] if isinstance(params, Tensor) else list(params)
    if (shard := current().shard) is not None:
        shard.mean_gradients(params)
    total = joint_norm(numbers(norm_parts(params, norm_type)), norm_type)
    scale_gradients(params, total, max_norm)
    return total


def norm_parts(params: Iterable[Parameter], norm_type: float = 2.0) -> list[Any]:
    """What each gradient adds to the joint norm: the sum of its powers, or its largest entry. On its device still."""
    gradients = [widened(p.grad.data) for p in dict.fromkeys(params) if p.grad is not None and p.size]
    if norm_type == math.inf:
        return [abs(g).max() for g in gradients]
    if norm_type == 2:
        return [sum_of_squares(g) for g in gradients]
    return [(abs(g) ** norm_type).sum(dtype="float64") for g in gradients]


@ArrayFunction
def sum_of_squares(xp: Any, x: Any) -> Any:
    """Of the magnitudes of all entries, in double precision."""
    return (abs(x) ** 2).sum(dtype="float64")


def joint_norm(parts: list[float], norm_type: float = 2.0) -> float:
    """The norm of all gradients together, out of their `norm_parts` as numbers."""
    return max(parts, default=0.0) if norm_type == math.inf else sum(parts) ** (1 / norm_type)


def scale_gradients(params: Iterable[Parameter], norm: float, max_norm: float) -> None:
    """Multiply all gradients by the factor that takes their joint norm down to `max_norm`, if it is larger."""
    factor = float(max_norm / (norm + 1e-6))
    if factor < 1:
        for p in dict.fromkeys(params):
            if p.grad is not None:
                p.grad = p.grad.data * factor

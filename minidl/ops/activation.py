"""Activations that are made of other functions: smooth ones (gelu, silu, mish, selu) and lines with corners."""

from __future__ import annotations

import math

from ..core.array_function import ArrayFunction
from ..core.tensor import Tensor, weak
from .elementwise import elu, sigmoid, softplus, tanh
from .indexing import where
from .shape import as_float
from .special import erfc


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """The Gaussian error linear unit: x times the probability that a standard normal variable is below x.

    "none": ``x * erfc(-x / sqrt(2)) / 2``; "tanh": ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))``, which
    differs by at most 5e-4. Raises ValueError for another `approximate`.
    Source: Hendrycks and Gimpel, "Gaussian error linear units", arXiv:1606.08415, section 2.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate {approximate!r} is unknown: "none" or "tanh"')
    x = as_float(x)
    if approximate == "none":
        return x * (0.5 * erfc(x * -math.sqrt(0.5)))
    return x * (0.5 * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x)))))


def silu(x: Tensor) -> Tensor:
    """``x * sigmoid(x)``, also called swish (Elfwing et al., arXiv:1702.03118; Ramachandran et al. 1710.05941)."""
    x = as_float(x)
    return x * sigmoid(x)


def mish(x: Tensor) -> Tensor:
    """``x * tanh(softplus(x))`` (Misra, "Mish", BMVC 2020, eq. 1)."""
    x = as_float(x)
    return x * tanh(softplus(x))


def selu(x: Tensor) -> Tensor:
    """``1.0507 * x`` where x is positive, ``1.0507 * 1.6733 * (exp(x) - 1)`` elsewhere.

    The two numbers make mean 0 and variance 1 a fixed point of wide layers.
    Source: Klambauer et al., "Self-normalizing neural networks", NIPS 2017, eq. 2.
    """
    return 1.0507009873554804934193349852946 * elu(as_float(x), 1.6732632423543772848170429916717)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x held between `min_val` and `max_val`, with derivative 0 at both, where `clip` has 1.

    Raises ValueError unless min_val < max_val.
    """
    if not min_val < max_val:
        raise ValueError(f"hardtanh needs min_val < max_val, got {min_val} and {max_val}")
    x, min_val, max_val = as_float(x), weak(min_val), weak(max_val)
    inside, held = held_between(x.data, low=min_val, high=max_val)
    return where(inside, x, Tensor(held))


@ArrayFunction
def held_between(xp, x, *, low, high):
    """Where x lies between two numbers, neither of them, and x held there."""
    return (x > low) & (x < high), xp.clip(x, low, high)


def relu6(x: Tensor) -> Tensor:
    """``min(max(x, 0), 6)`` (Howard et al., "MobileNets", arXiv:1704.04861; a range that few bits can hold)."""
    return hardtanh(x, 0.0, 6.0)


def hardsigmoid(x: Tensor) -> Tensor:
    """``relu6(x + 3) / 6``: a sigmoid of straight lines (Courbariaux et al., BinaryConnect, NIPS 2015)."""
    return relu6(as_float(x) + 3) / 6


def hardswish(x: Tensor) -> Tensor:
    """``x * relu6(x + 3) / 6``: a silu of straight lines (Howard et al., "MobileNetV3", 2019, section 5.2)."""
    x = as_float(x)
    return x * hardsigmoid(x)

"""Where weights begin. Each function draws an array of a shape from an explicit numpy Generator.

    layer.weight.data = nn.init.kaiming_normal(layer.weight.shape, rng, mode="fan_out", nonlinearity="relu")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.context import current, setting

_default = np.random.default_rng(0)  # what layers draw from when they are given no rng=

__all__ = [
    "constant",
    "dirac",
    "fans",
    "gain",
    "generator",
    "kaiming_normal",
    "kaiming_uniform",
    "manual_seed",
    "normal",
    "ones",
    "orthogonal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the default generator, from which layers made without ``rng=`` draw; returns it.

        >>> rng = md.manual_seed(0)
        >>> a = nn.Linear(2, 2).weight.numpy()
        >>> rng = md.manual_seed(0)
        >>> np.array_equal(a, nn.Linear(2, 2).weight)
        True
    """
    global _default
    _default = np.random.default_rng(seed)
    return _default


def generator(rng: np.random.Generator | int | None = None) -> np.random.Generator:
    """The generator to draw from: `rng` itself, a new one of that seed, or the default for None."""
    return _default if rng is None else np.random.default_rng(rng)


def own_generator(rng: np.random.Generator | int | None = None) -> np.random.Generator:
    """As `generator`, but None gives a new independent stream, spawned from the default: for layers that draw later."""
    return _default.spawn(1)[0] if rng is None else np.random.default_rng(rng)


def undrawn() -> setting:
    """Inside, random weights are not drawn: they are 0, and take no memory until they are written to.

    For networks whose weights come from a file, or whose shapes are all that is asked.
    """
    return setting(drawing=False)


# --- plain distributions


def uniform(
    shape: Sequence[int], rng: np.random.Generator, low: float = 0.0, high: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Uniform on [low, high)."""
    return _drawn(shape, rng.random, high - low, low, dtype)


def normal(
    shape: Sequence[int], rng: np.random.Generator, mean: float = 0.0, std: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Normal with this mean and standard deviation."""
    return _drawn(shape, rng.standard_normal, std, mean, dtype)


def _drawn(shape: Sequence[int], draw: Callable, scale: float, shift: float, dtype: Any) -> np.ndarray:
    if not current().drawing:
        return zeros(shape, dtype)
    x = draw(tuple(shape), dtype=dtype)
    x *= scale
    x += shift
    return x


def constant(shape: Sequence[int], value: float, dtype: Any = np.float32) -> np.ndarray:
    """One value everywhere."""
    return np.full(tuple(shape), value, dtype)


def zeros(shape: Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """0 everywhere."""
    return np.zeros(tuple(shape), dtype)


def ones(shape: Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """1 everywhere."""
    return constant(shape, 1, dtype)


# --- scaled by the number of connections


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape (out, in, *kernel): channels times kernel entries."""
    if len(shape) < 2:
        raise ValueError(f"fans: a weight has at least two axes (out, in, ...), got shape {tuple(shape)}")
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def gain(nonlinearity: str = "linear", a: float = 0.01) -> float:
    """What the standard deviation is multiplied by so that the activation preserves it; `a` is leaky_relu's slope."""
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + a**2)),
    }
    if nonlinearity not in gains:
        raise ValueError(f"gain of {nonlinearity!r} is unknown: one of {', '.join(gains)}")
    return gains[nonlinearity]


def _kaiming_std(shape: Sequence[int], a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'mode {mode!r} is unknown: "fan_in" or "fan_out"')
    fan_in, fan_out = fans(shape)
    return gain(nonlinearity, a) / math.sqrt(max(1, fan_in if mode == "fan_in" else fan_out))


def kaiming_uniform(
    shape: Sequence[int], rng: np.random.Generator, *, a: float = 0.0, mode: str = "fan_in",
    nonlinearity: str = "leaky_relu", dtype: Any = np.float32,
) -> np.ndarray:
    """Uniform on [-b, b], ``b = gain * sqrt(3 / fan)`` (He et al. 2015, eq. 10 and 14)."""
    bound = math.sqrt(3) * _kaiming_std(shape, a, mode, nonlinearity)
    return uniform(shape, rng, -bound, bound, dtype)


def kaiming_normal(
    shape: Sequence[int], rng: np.random.Generator, *, a: float = 0.0, mode: str = "fan_in",
    nonlinearity: str = "leaky_relu", dtype: Any = np.float32,
) -> np.ndarray:
    """Normal with standard deviation ``gain / sqrt(fan)`` (He et al. 2015, eq. 10 and 14)."""
    return normal(shape, rng, 0.0, _kaiming_std(shape, a, mode, nonlinearity), dtype)


def xavier_uniform(
    shape: Sequence[int], rng: np.random.Generator, *, gain: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Uniform on [-b, b], ``b = gain * sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio 2010, eq. 16)."""
    bound = gain * math.sqrt(6 / sum(fans(shape)))
    return uniform(shape, rng, -bound, bound, dtype)


def xavier_normal(
    shape: Sequence[int], rng: np.random.Generator, *, gain: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Normal with standard deviation ``gain * sqrt(2 / (fan_in + fan_out))`` (Glorot and Bengio 2010, eq. 12)."""
    return normal(shape, rng, 0.0, gain * math.sqrt(2 / sum(fans(shape))), dtype)


def orthogonal(
    shape: Sequence[int], rng: np.random.Generator, *, gain: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """`gain` times a random matrix (out, in * taps) with orthonormal rows, or columns if it is taller than wide
    (Saxe et al. 2013)."""
    if not current().drawing:
        return zeros(shape, dtype)
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))  # makes the draw uniform over orthogonal matrices
    return (gain * (q if rows >= columns else q.T)).reshape(tuple(shape)).astype(dtype)


def dirac(shape: Sequence[int], groups: int = 1, dtype: Any = np.float32) -> np.ndarray:
    """The convolution that copies its input: 1 at the centre tap of output channel i and input channel i of each group.

    With odd kernels and half padding the layer starts as the identity (Yu and Koltun 2015, eq. 4).
    """
    if len(shape) < 3 or shape[0] % groups:
        raise ValueError(f"dirac: needs a shape (out, in, *kernel), out divided by {groups} groups, got {tuple(shape)}")
    weight = np.zeros(tuple(shape), dtype)
    centre = tuple(n // 2 for n in shape[2:])
    per_group = shape[0] // groups
    for group in range(groups):
        for i in range(min(per_group, shape[1])):
            weight[(group * per_group + i, i, *centre)] = 1
    return weight


# --- what layers begin with


def default_weight(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """torch's default for linear and convolution weights: uniform on [-b, b], ``b = 1 / sqrt(fan_in)``."""
    return kaiming_uniform(shape, rng, a=math.sqrt(5))


def default_bias(size: int, weight_shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """torch's default for the bias of a layer with such a weight: uniform on [-b, b], ``b = 1 / sqrt(fan_in)``."""
    fan_in, _ = fans(weight_shape)
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return uniform((size,), rng, -bound, bound)

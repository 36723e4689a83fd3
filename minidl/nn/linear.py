"""Layers that move or mix features: Linear, Flatten, Identity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..core.tensor import Parameter, Tensor
from . import init
from .module import Module


class Linear(Module):
    """``y = x W^T + b``: x (..., in_features) gives (..., out_features); weight (out_features, in_features).

    Starts uniform on [-b, b], ``b = 1 / sqrt(in_features)``, drawn from `rng` or the default generator.

        >>> layer = nn.Linear(2, 3, rng=0)
        >>> layer(md.Tensor(np.zeros((5, 2), "f"))).shape, layer.weight.shape
        ((5, 3), (3, 2))
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, rng: Any = None):
        rng = init.generator(rng)
        self.in_features, self.out_features = in_features, out_features
        shape = (out_features, in_features)
        self.weight = Parameter(init.default_weight(shape, rng))
        self.bias = Parameter(init.default_bias(out_features, shape, rng)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Gives back its input; takes and ignores any arguments."""

    def __init__(self, *arguments: Any, **options: Any):
        pass

    def forward(self, x: Tensor) -> Tensor:
        return x


class Flatten(Module):
    """Axes `start_dim` to `end_dim` (both included) become one: (N, C, H, W) gives (N, C*H*W).

        >>> nn.Flatten()(md.Tensor(np.zeros((5, 8, 4, 4)))).shape
        (5, 128)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        first, last = (a + x.ndim if a < 0 else a for a in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < x.ndim:
            raise ValueError(f"Flatten: no axes {self.start_dim} to {self.end_dim} in a tensor of shape {x.shape}")
        flat = math.prod(x.shape[first : last + 1])  # not -1: an empty batch leaves it undetermined
        return x.reshape(x.shape[:first] + (flat,) + x.shape[last + 1 :])

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Axis `dim` becomes several, of the lengths `unflattened_size`, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]):
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        dim = self.dim + x.ndim if self.dim < 0 else self.dim
        known = max(1, math.prod(n for n in self.unflattened_size if n != -1))
        sizes = [x.shape[dim] // known if n == -1 else n for n in self.unflattened_size] if 0 <= dim < x.ndim else []
        if not sizes or math.prod(sizes) != x.shape[dim]:
            raise ValueError(f"Unflatten: axis {self.dim} of x {x.shape} does not split into {self.unflattened_size}")
        return x.reshape(x.shape[:dim] + tuple(sizes) + x.shape[dim + 1 :])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"

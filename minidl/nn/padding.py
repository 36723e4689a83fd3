"""Layers that give x a border. Names with 1d, 2d, 3d differ in the `rank`, the number of padded axes, alone."""

from __future__ import annotations

from collections.abc import Sequence

from .. import functional as F
from ..core.tensor import Tensor
from .module import Module, in_ranks


class Pad(Module):
    """A border around the last axes of x, which has a batch axis or not. `padding` is a width for all sides, or, as in
    torch, (left, right, top, bottom, front, back): two for each axis from the last to the first. See F.pad."""

    rank: int
    mode = "constant"
    value = 0.0

    def __init__(self, padding: int | Sequence[int]):
        self.padding = (padding,) * (2 * self.rank) if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 2 * self.rank:
            raise ValueError(
                f"{type(self).__name__}: padding is one int or {2 * self.rank}, two per axis from the last on; "
                f"got {padding}"
            )

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (self.rank + 1, self.rank + 2):
            raise ValueError(
                f"{type(self).__name__} takes (N, C) or (C,) and {self.rank} spatial axes, got {x.shape}"
            )
        pairs = list(zip(self.padding[::2], self.padding[1::2], strict=True))[::-1]
        return F.pad(x, [(0, 0)] * (x.ndim - self.rank) + pairs, mode=self.mode, value=self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad(Pad):
    """A border of zeros."""


class ConstantPad(Pad):
    """A border of one value."""

    def __init__(self, padding: int | Sequence[int], value: float):
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ReflectionPad(Pad):
    """A border that mirrors x, without its edge."""

    mode = "reflect"


class ReplicationPad(Pad):
    """A border that repeats the edge of x."""

    mode = "replicate"


class CircularPad(Pad):
    """A border that goes on at the other end of x."""

    mode = "circular"


ZeroPad1d, ZeroPad2d, ZeroPad3d = in_ranks(ZeroPad)
ConstantPad1d, ConstantPad2d, ConstantPad3d = in_ranks(ConstantPad)
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = in_ranks(ReflectionPad)
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = in_ranks(ReplicationPad)
CircularPad1d, CircularPad2d, CircularPad3d = in_ranks(CircularPad)

"""Layers that give x a border. Names with 1d, 2d, 3d differ in the `rank`, the number of padded axes, alone."""

from __future__ import annotations

from collections.abc import Sequence

from .. import functional as F
from ..core.tensor import Tensor
from .module import Ranked


class Pad(Ranked):
    """A border around the last axes of x, which has a batch axis or not. `padding` is a width for all sides, or, as in
    torch, (left, right, top, bottom, front, back): two for each axis from the last to the first. See F.pad."""

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


class ZeroPad1d(ZeroPad, rank=1): ...
class ZeroPad2d(ZeroPad, rank=2): ...
class ZeroPad3d(ZeroPad, rank=3): ...


class ConstantPad1d(ConstantPad, rank=1): ...
class ConstantPad2d(ConstantPad, rank=2): ...
class ConstantPad3d(ConstantPad, rank=3): ...


class ReflectionPad1d(ReflectionPad, rank=1): ...
class ReflectionPad2d(ReflectionPad, rank=2): ...
class ReflectionPad3d(ReflectionPad, rank=3): ...


class ReplicationPad1d(ReplicationPad, rank=1): ...
class ReplicationPad2d(ReplicationPad, rank=2): ...
class ReplicationPad3d(ReplicationPad, rank=3): ...


class CircularPad1d(CircularPad, rank=1): ...
class CircularPad2d(CircularPad, rank=2): ...
class CircularPad3d(CircularPad, rank=3): ...

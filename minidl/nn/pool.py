"""Pooling and unpooling layers. Names with 1d, 2d, 3d differ in the `rank` they check alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..core.tensor import Tensor, as_array
from ..ops.window import per_axis
from .conv import Sizes
from .module import Module, in_ranks


class Pool(Module):
    """What pooling layers share: a window, a check of the number of axes, and an x without N as a batch of one."""

    rank: int
    show_tuples = False  # torch's 1-D average and all unpoolings print their sizes as tuples

    def _set_window(self, kernel_size: Sizes, stride: Sizes | None, padding: Any) -> None:
        stride = kernel_size if stride is None else stride
        for name, value in (("kernel_size", kernel_size), ("stride", stride)):
            per_axis(f"{type(self).__name__}: {name}", value, self.rank, 1)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor, *others: Any, **options: Any) -> Any:
        if x.ndim == self.rank + 1:
            y = self.pool(x[None], *others, **options)
            return tuple(part[0] for part in y) if isinstance(y, tuple) else y[0]
        if x.ndim != self.rank + 2:
            raise ValueError(f"{type(self).__name__} takes (N, C) and {self.rank} spatial axes, got {x.shape}")
        return self.pool(x, *others, **options)

    def pool(self, x: Tensor) -> Any:
        """The function itself, of x (N, C, *space)."""
        raise NotImplementedError(f"{type(self).__name__} defines no pool(self, x)")

    def extra_repr(self) -> str:
        sizes = {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding}
        if self.show_tuples:
            sizes = {name: per_axis(name, size, self.rank, 0) for name, size in sizes.items()}
        return ", ".join(f"{name}={size}" for name, size in sizes.items())


class MaxPool(Pool):
    """The largest entry of each window: see F.max_pool. With `return_indices` also where it was, for MaxUnpool."""

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Any = 0, dilation: Sizes = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ):  # fmt: skip
        self._set_window(kernel_size, stride, padding)
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def pool(self, x: Tensor) -> Any:
        return F.max_pool(
            x, self.kernel_size, stride=self.stride, padding=self.padding, dilation=self.dilation,
            ceil_mode=self.ceil_mode, return_indices=self.return_indices,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


MaxPool1d, MaxPool2d, MaxPool3d = in_ranks(MaxPool)


class AvgPool(Pool):
    """The mean of each window, padding included unless `count_include_pad` is False: see F.avg_pool."""

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: float | None = None,
    ):  # fmt: skip
        self._set_window(kernel_size, stride, padding)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def pool(self, x: Tensor) -> Tensor:
        return F.avg_pool(
            x, self.kernel_size, stride=self.stride, padding=self.padding, ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad, divisor_override=self.divisor_override,
        )  # fmt: skip


AvgPool1d, AvgPool2d, AvgPool3d = in_ranks(AvgPool)
AvgPool1d.show_tuples = True


class MaxUnpool(Pool):
    """Each entry put back where a MaxPool with ``return_indices=True`` found it, zeros elsewhere: see F.max_unpool."""

    show_tuples = True

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Any = 0):
        self._set_window(kernel_size, stride, padding)

    def pool(self, x: Tensor, indices: Any, output_size: Sequence[int] | None = None) -> Tensor:
        indices = as_array(indices)
        indices = indices[None] if indices.ndim == self.rank + 1 else indices
        return F.max_unpool(
            x, indices, self.kernel_size, stride=self.stride, padding=self.padding, output_size=output_size
        )


MaxUnpool1d, MaxUnpool2d, MaxUnpool3d = in_ranks(MaxUnpool)


class AdaptiveAvgPool(Pool):
    """Means over as many windows as the output has cells: see F.adaptive_avg_pool. None keeps an axis as it is."""

    def __init__(self, output_size: int | Sequence[int | None] | None):
        self.output_size = output_size

    def pool(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = in_ranks(AdaptiveAvgPool)


class AdaptiveMaxPool(Pool):
    """The largest entries of as many windows as the output has cells: see F.adaptive_max_pool."""

    def __init__(self, output_size: int | Sequence[int | None] | None, return_indices: bool = False):
        self.output_size, self.return_indices = output_size, return_indices

    def pool(self, x: Tensor) -> Any:
        return F.adaptive_max_pool(x, self.output_size, return_indices=self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d = in_ranks(AdaptiveMaxPool)


class GlobalAvgPool(Module):
    """The mean of each map: (N, C, *space) gives (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.global_avg_pool(x)

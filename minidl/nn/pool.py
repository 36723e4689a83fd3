"""Pooling, unpooling and resampling layers. Names with 1d, 2d, 3d differ in the `rank` they check alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..core.tensor import Tensor
from ..ops.window import per_axis
from .conv import Sizes
from .module import Module, in_ranks


class Pool(Module):
    """What pooling layers share: a window, and a check of the number of axes."""

    rank: int
    show_tuples = False  # torch's 1-D average and all unpoolings print their sizes as tuples

    def _set_window(self, kernel_size: Sizes, stride: Sizes | None, padding: Any) -> None:
        stride = kernel_size if stride is None else stride
        for name, value in (("kernel_size", kernel_size), ("stride", stride)):
            per_axis(name, value, self.rank, 1)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def _check(self, x: Tensor) -> None:
        if x.ndim != self.rank + 2:
            raise ValueError(f"{type(self).__name__} takes (N, C) and {self.rank} spatial axes, got {x.shape}")

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

    def forward(self, x: Tensor) -> Any:
        self._check(x)
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
        count_include_pad: bool = True,
    ):  # fmt: skip
        self._set_window(kernel_size, stride, padding)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return F.avg_pool(
            x, self.kernel_size, stride=self.stride, padding=self.padding, ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
        )  # fmt: skip


AvgPool1d, AvgPool2d, AvgPool3d = in_ranks(AvgPool)
AvgPool1d.show_tuples = True


class MaxUnpool(Pool):
    """Each entry put back where a MaxPool with ``return_indices=True`` found it, zeros elsewhere: see F.max_unpool."""

    show_tuples = True

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Any = 0):
        self._set_window(kernel_size, stride, padding)

    def forward(self, x: Tensor, indices: Any, output_size: Sequence[int] | None = None) -> Tensor:
        self._check(x)
        return F.max_unpool(
            x, indices, self.kernel_size, stride=self.stride, padding=self.padding, output_size=output_size
        )


MaxUnpool1d, MaxUnpool2d, MaxUnpool3d = in_ranks(MaxUnpool)


class AdaptiveAvgPool(Pool):
    """Means over as many windows as the output has cells: see F.adaptive_avg_pool. None keeps an axis as it is."""

    def __init__(self, output_size: int | Sequence[int | None] | None):
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return F.adaptive_avg_pool(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = in_ranks(AdaptiveAvgPool)


class GlobalAvgPool(Module):
    """The mean of each map: (N, C, *space) gives (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.global_avg_pool(x)


class Upsample(Module):
    """Resampling to a size or by a factor: see F.interpolate. "bilinear" and "trilinear" are "linear" in 2 and 3-D."""

    def __init__(
        self, size: Sizes | None = None, scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
        align_corners: bool | None = None,
    ):  # fmt: skip
        if mode not in ("nearest", "linear", "bilinear", "trilinear"):
            raise ValueError(f'Upsample: mode {mode!r} is unknown: "nearest", "linear", "bilinear" or "trilinear"')
        if (size is None) == (scale_factor is None):
            raise ValueError(f"Upsample: one of size and scale_factor is needed, got {size} and {scale_factor}")
        if isinstance(scale_factor, Sequence):
            scale_factor = tuple(float(f) for f in scale_factor)
        elif scale_factor is not None:
            scale_factor = float(scale_factor)
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(
            x, size=self.size, scale_factor=self.scale_factor, align_corners=bool(self.align_corners),
            mode="nearest" if self.mode == "nearest" else "linear",
        )  # fmt: skip

    def extra_repr(self) -> str:
        target = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{target}, mode={self.mode!r}"

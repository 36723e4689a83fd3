"""Pooling and unpooling layers. Names with 1d, 2d, 3d differ in the `rank` they check alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..core.tensor import Tensor, as_array
from ..ops.pool import Cells
from ..ops.window import Padding, Sizes, per_axis
from .module import Module, Ranked


class Pool(Ranked):
    """What pooling layers share: a window, a check of the number of axes, and an x without N as a batch of one."""

    show_tuples = False  # torch's 1-D average and all unpoolings print their sizes as tuples

    def _set_window(self, kernel_size: Sizes, stride: Sizes | None, padding: Padding) -> None:
        stride = kernel_size if stride is None else stride
        for name, value in (("kernel_size", kernel_size), ("stride", stride)):
            per_axis(f"{type(self).__name__}: {name}", value, self.rank, 1)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor, *others: Any, **options: Any) -> Tensor:  # two, with return_indices
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
    """The largest entry of each window: see F.max_pool. With `return_indices` also where it was, for MaxUnpool.

        >>> nn.MaxPool2d(2)(md.Tensor(np.arange(16.0).reshape(1, 1, 4, 4))).numpy()[0, 0]
        array([[ 5.,  7.],
               [13., 15.]])
    """

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Padding = 0, dilation: Sizes = 1,
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


class MaxPool1d(MaxPool, rank=1): ...
class MaxPool2d(MaxPool, rank=2): ...
class MaxPool3d(MaxPool, rank=3): ...


class AvgPool(Pool):
    """The mean of each window, padding included unless `count_include_pad` is False: see F.avg_pool."""

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Padding = 0, ceil_mode: bool = False,
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


class AvgPool1d(AvgPool, rank=1):
    show_tuples = True


class AvgPool2d(AvgPool, rank=2): ...
class AvgPool3d(AvgPool, rank=3): ...


class MaxUnpool(Pool):
    """Each entry put back where a MaxPool with ``return_indices=True`` found it, zeros elsewhere: see F.max_unpool."""

    show_tuples = True

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Padding = 0):
        self._set_window(kernel_size, stride, padding)

    def pool(self, x: Tensor, indices: Any, output_size: Sequence[int] | None = None) -> Tensor:
        indices = as_array(indices)
        indices = indices[None] if indices.ndim == self.rank + 1 else indices
        return F.max_unpool(
            x, indices, self.kernel_size, stride=self.stride, padding=self.padding, output_size=output_size
        )


class MaxUnpool1d(MaxUnpool, rank=1): ...
class MaxUnpool2d(MaxUnpool, rank=2): ...
class MaxUnpool3d(MaxUnpool, rank=3): ...


class AdaptiveAvgPool(Pool):
    """Means over as many windows as the output has cells: see F.adaptive_avg_pool. None keeps an axis as it is."""

    def __init__(self, output_size: Cells):
        self.output_size = output_size

    def pool(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(AdaptiveAvgPool, rank=1): ...
class AdaptiveAvgPool2d(AdaptiveAvgPool, rank=2): ...
class AdaptiveAvgPool3d(AdaptiveAvgPool, rank=3): ...


class AdaptiveMaxPool(Pool):
    """The largest entries of as many windows as the output has cells: see F.adaptive_max_pool."""

    def __init__(self, output_size: Cells, return_indices: bool = False):
        self.output_size, self.return_indices = output_size, return_indices

    def pool(self, x: Tensor) -> Any:
        return F.adaptive_max_pool(x, self.output_size, return_indices=self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(AdaptiveMaxPool, rank=1): ...
class AdaptiveMaxPool2d(AdaptiveMaxPool, rank=2): ...
class AdaptiveMaxPool3d(AdaptiveMaxPool, rank=3): ...


class GlobalAvgPool(Module):
    """The mean of each map: (N, C, *space) gives (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.global_avg_pool(x)

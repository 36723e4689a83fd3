"""Resampling layers, and patches as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..core.tensor import Tensor
from ..ops.resample import MODES
from ..ops.window import Padding, Sizes
from .module import Module


class Upsample(Module):
    """Resampling to a size or by a factor: see F.interpolate, also for the modes."""

    def __init__(
        self, size: Sizes | None = None, scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
        align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    ):  # fmt: skip
        if mode not in MODES:
            raise ValueError(f"Upsample: mode {mode!r} is unknown: one of {', '.join(MODES)}")
        if (size is None) == (scale_factor is None):
            raise ValueError(f"Upsample: one of size and scale_factor is needed, got {size} and {scale_factor}")
        if isinstance(scale_factor, Sequence):
            scale_factor = tuple(float(f) for f in scale_factor)
        elif scale_factor is not None:
            scale_factor = float(scale_factor)
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(
            x, size=self.size, scale_factor=self.scale_factor, mode=self.mode, align_corners=bool(self.align_corners),
            recompute_scale_factor=bool(self.recompute_scale_factor),
        )  # fmt: skip

    def extra_repr(self) -> str:
        target = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{target}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample with mode "nearest"."""

    def __init__(self, size: Sizes | None = None, scale_factor: float | Sequence[float] | None = None):
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample with mode "bilinear" and aligned corners."""

    def __init__(self, size: Sizes | None = None, scale_factor: float | Sequence[float] | None = None):
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


class Columns(Module):
    """What Unfold and Fold share: the window, in two dimensions."""

    def __init__(self, kernel_size: Sizes, dilation: Sizes = 1, padding: Padding = 0, stride: Sizes = 1):
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def _options(self) -> dict[str, Any]:
        return {"dilation": self.dilation, "padding": self.padding, "stride": self.stride}

    def extra_repr(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self._options().items())
        return f"kernel_size={self.kernel_size}, {options}"


class Unfold(Columns):
    """The patches of (N, C, H, W), or (C, H, W), as columns (N, C * taps, positions): see F.unfold."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (3, 4):
            raise ValueError(f"Unfold takes (N, C, H, W) or (C, H, W), got {x.shape}")
        y = F.unfold(x[None] if x.ndim == 3 else x, self.kernel_size, **self._options())
        return y[0] if x.ndim == 3 else y


class Fold(Columns):
    """Columns (N, C * taps, positions), or without N, added up where they overlap: see F.fold."""

    def __init__(
        self, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Padding = 0, stride: Sizes = 1
    ):
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, columns: Tensor) -> Tensor:
        return F.fold(columns, self.output_size, self.kernel_size, **self._options())

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"

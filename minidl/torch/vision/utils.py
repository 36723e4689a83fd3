"""torchvision.utils: pictures side by side, and as files."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..creation import as_tensor
from ..tensor import Tensor
from .transforms import to_pil_image


def make_grid(
    tensor: Any, nrow: int = 8, padding: int = 2, normalize: bool = False, value_range: Any = None,
    scale_each: bool = False, pad_value: float = 0.0,
) -> Tensor:  # fmt: skip
    """Pictures (N, C, H, W) in rows of `nrow`, as one (3, H', W')."""
    several = np.stack([t.detach().numpy() for t in tensor])
    several = np.repeat(several, 3, 1) if several.shape[1] == 1 else several
    if normalize:
        low, high = value_range or (several.min(), several.max())
        several = (np.clip(several, low, high) - low) / max(high - low, 1e-5)
    n, c, h, w = several.shape
    columns = min(nrow, n)
    rows = -(-n // columns)
    grid = np.full((c, rows * (h + padding) + padding, columns * (w + padding) + padding), pad_value, several.dtype)
    for i, picture in enumerate(several):
        top, left = (k * (size + padding) + padding for k, size in zip(divmod(i, columns), (h, w)))
        grid[:, top : top + h, left : left + w] = picture
    return as_tensor(grid)


def save_image(tensor: Any, fp: Any, format: str | None = None, **options: Any) -> None:
    """A picture, or several as `make_grid` lays them out, as a file."""
    grid = make_grid(tensor if tensor.ndim == 4 else tensor[None], **options) if isinstance(tensor, Tensor) else tensor
    to_pil_image((grid * 255 + 0.5).clamp(0, 255).byte()).save(fp, format)


def _log_api_usage_once(obj: Any) -> None:
    """Nothing is logged."""


def _make_ntuple(x: Any, n: int) -> tuple:
    return tuple(x) if isinstance(x, list | tuple) else (x,) * n

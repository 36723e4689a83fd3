"""A trained denoiser on images of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..tiles import predict
from .model import Denoiser

TILE = 256


def denoise(
    model: Denoiser, image: np.ndarray, *, device: str = "cpu", tile: int = TILE, show: Callable | None = None
) -> np.ndarray:
    """A noisy image (H, W), or (C, H, W) channel by channel, denoised tile by tile: see `tiles`. Not clipped."""
    channels = image.astype(np.float32, copy=False).reshape(-1, 1, *image.shape[-2:])
    return np.stack([predict(model, x, tile=tile, device=device, show=show)[0] for x in channels]).reshape(image.shape)

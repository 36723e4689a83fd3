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
    """A noisy image (H, W) or (C, H, W) denoised tile by tile: see `tiles`. Not clipped.

    By a network for gray pictures channel by channel, by one for colours all three together. Raises ValueError if the
    picture has no channels for it.
    """
    planes = image.astype(np.float32, copy=False).reshape(-1, *image.shape[-2:])
    if len(planes) % model.channels:
        raise ValueError(f"the network is for pictures of {model.channels} channels, this one has {len(planes)}")
    parts = planes.reshape(-1, model.channels, *image.shape[-2:])
    results = [predict(model, x, tile=tile, device=device, show=show) for x in parts]
    return np.concatenate(results).reshape(image.shape)

"""A trained denoiser on images of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..tiles import predict
from .model import Denoiser

TILE = 256


def denoise(
    model: Denoiser, image: np.ndarray, *, device: str = "cpu", tile: int = TILE, show: Callable | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """A noisy image (H, W) or (C, H, W) denoised tile by tile: see `tiles`. Not clipped.

    The result goes to `out`, if it is given: a float32 array, which may be the image itself.
    By a network for gray pictures channel by channel, by one for colours all three together. Raises ValueError if the
    picture has no channels for it.
    """
    planes = image.astype(np.float32, copy=False).reshape(-1, *image.shape[-2:])
    if len(planes) % model.channels:
        raise ValueError(f"the network is for pictures of {model.channels} channels, this one has {len(planes)}")
    parts = planes.reshape(-1, model.channels, *image.shape[-2:])
    out = np.empty(image.shape, np.float32) if out is None else out
    for x, result in zip(parts, out.reshape(parts.shape), strict=True):
        result[...] = predict(model, x, tile=tile, device=device, show=show)
    return out

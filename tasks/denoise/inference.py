"""A trained denoiser on images of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tiles import predict
from .model import Denoiser

TILE = 256


def denoise(
    model: Denoiser, image: np.ndarray, *, device: str = "cpu", tile: int = TILE, show: Callable | None = None,
    dtype: Any = np.float32, **ends: Callable,
) -> np.ndarray:  # fmt: skip
    """A noisy image (H, W) or (C, H, W) denoised tile by tile: see `tiles`, also for its `prepare` and `finish`, which
    gives the `dtype`. Not clipped.

    By a network for gray pictures channel by channel, by one for colours all three together. Raises ValueError if the
    picture has no channels for it.
    """
    planes = image.reshape(-1, *image.shape[-2:])
    if len(planes) % model.channels:
        raise ValueError(f"the network is for pictures of {model.channels} channels, this one has {len(planes)}")
    out = np.empty(planes.shape, dtype)
    ends.setdefault("prepare", as_float32)
    for i in range(0, len(planes), model.channels):
        part = slice(i, i + model.channels)
        predict(model, planes[part], tile=tile, device=device, show=show, out=out[part], **ends)
    return out.reshape(image.shape)


def as_float32(part: np.ndarray) -> np.ndarray:
    """In C order."""
    return np.ascontiguousarray(part, np.float32)

"""A trained denoiser on images of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from minidl import Tensor, no_grad
from minidl.device import to_device

from .model import Denoiser

TILE = 256


@no_grad()
def denoise(
    model: Denoiser, image: np.ndarray, *, device: str = "cpu", tile: int = TILE, show: Callable | None = None
) -> np.ndarray:
    """A noisy image (H, W), or (C, H, W) channel by channel, denoised; not clipped.

    Works tile by tile, so that memory does not grow with the image. Each tile is given a margin as wide as the model's
    radius, cut off after: the result equals that of the whole image at once. ``show()`` is called after each tile.
    """
    if image.ndim == 3:
        return np.stack([denoise(model, channel, device=device, tile=tile, show=show) for channel in image])
    model.eval()
    result = np.empty(image.shape, np.float32)
    for inner, outer, kept in tiles(image.shape, tile, model.radius):
        y = np.ascontiguousarray(image[outer], np.float32)[None, None]  # (H, W) -> (1, 1, H, W)
        result[inner] = model(Tensor(to_device(y, device))).numpy()[0, 0][kept]
        if show is not None:
            show()
    return result


Area = tuple[slice, slice]


def tiles(shape: tuple[int, int], size: int, margin: int) -> Iterator[tuple[Area, Area, Area]]:
    """Squares that cover an image: (the square, it and its margin, the place of the one in the other)."""
    for top in range(0, shape[0], size):
        for left in range(0, shape[1], size):
            corner = (top, left)
            inner = tuple(slice(a, min(a + size, n)) for a, n in zip(corner, shape))
            outer = tuple(slice(max(s.start - margin, 0), min(s.stop + margin, n)) for s, n in zip(inner, shape))
            yield inner, outer, tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(inner, outer))

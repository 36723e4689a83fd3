"""Filters and feature maps as one picture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import nn

from . import layers


def tiled(tiles: np.ndarray, columns: int | None = None, gap: int = 1, background: float = 1.0) -> np.ndarray:
    """Tiles (n, h, w, ...) laid out row by row, `gap` pixels of background between them: about a square of them."""
    n, h, w, *rest = tiles.shape
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    lines = -(-n // columns)
    page = np.full((lines * (h + gap) - gap, columns * (w + gap) - gap, *rest), background, tiles.dtype)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        page[top : top + h, left : left + w] = tile
    return page


def filter_grid(model: nn.Module, layer: str | None = None, columns: int | None = None) -> np.ndarray:
    """The filters of a convolution, the model's first unless named, as a picture with values in [0, 1]: (H, W, 3).

    One scale for all, symmetric: 0 is 0.5, the largest absolute weight 0 or 1. Filters for three channels are in
    colour; others are gray, one tile for each channel, the channels of a filter side by side.
    """
    weight = _weight(model, layer)
    channels = weight.shape[1]
    if channels != 3:  # (F, C, h, w) -> (F C, h, w, 3)
        tiles = np.repeat(weight.reshape(-1, *weight.shape[2:])[..., None], 3, axis=3)
        columns = columns or (channels if channels > 1 else None)
    else:  # (F, 3, h, w) -> (F, h, w, 3)
        tiles = weight.transpose(0, 2, 3, 1)
    largest = np.abs(tiles).max()
    return tiled(0.5 + tiles / (2 * largest) if largest > 0 else np.full_like(tiles, 0.5), columns)


def map_grid(maps: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Feature maps (K, h, w) of one image as a gray picture with values in [0, 1]; one scale, from the least to the
    largest value of all."""
    if maps.ndim != 3:
        raise ValueError(f"map_grid takes the maps (K, h, w) of one image, got {maps.shape}")
    least, largest = maps.min(), maps.max()
    return tiled((maps - least) / (largest - least) if largest > least else np.full_like(maps, 0.5), columns)


def _weight(model: nn.Module, layer: str | None) -> np.ndarray:
    """The weight (F, C, h, w) of the named convolution, or of the first."""
    modules = list(model.modules()) if layer is None else [layers.find_layer(model, layer)]
    weights = (getattr(module, "weight", None) for module in modules)
    found: Any = next((w for w in weights if w is not None and w.ndim == 4), None)
    if found is None:
        where = f"layer {layer!r}" if layer else f"this {type(model).__name__}"
        raise ValueError(f"{where} has no filters (F, C, h, w): name a convolution of two axes by layer=")
    return found.numpy()

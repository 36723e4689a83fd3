"""Map: what a saliency method says of each pixel."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Map:
    """The result of one method on N images (N, C, H, W).

    values: (N, H, W), one number for each pixel, to draw and to score; with `signed` negative ones speak against.
    score: (N,), what the target gives for the images themselves.
    full: (N, C, H, W), the signed values before the channels were put together, where there are any.
    coarse: (N, h, w), the map before it was brought to the size of the image, where there is one.
    gap: (N,), of integrated gradients: how far the sum of `full` is from the difference of scores it should be.
    """

    name: str
    values: np.ndarray
    signed: bool
    score: np.ndarray
    full: np.ndarray | None = None
    coarse: np.ndarray | None = None
    gap: np.ndarray | None = None

    @property
    def empty(self) -> np.ndarray:
        """(N,) bool: the map is zero everywhere."""
        return ~self.values.any(axis=(1, 2))

    def normalised(self) -> np.ndarray:
        """`values` over the largest absolute one of each image: in [0, 1], or [-1, 1] if signed.

        A map that is zero everywhere stays so, with a warning.
        """
        if self.empty.any():
            which = ", ".join(map(str, np.flatnonzero(self.empty)))
            warnings.warn(f"{self.name}: the map of image {which} is zero everywhere", stacklevel=2)
        largest = np.abs(self.values).max(axis=(1, 2), keepdims=True)
        return self.values / np.where(largest > 0, largest, 1)

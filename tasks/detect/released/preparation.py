"""Pictures as torchvision's detectors take them: resized by their sides, normalised, together in one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minidl import Tensor, no_grad
from minidl import functional as F

from ..models.detector import View

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels


@dataclass(frozen=True)
class Preparation:
    """The shorter side becomes `shortest`, or less where the longer one would exceed `longest`, rounded down; or the
    picture becomes a square of side `square`. Bilinear, not smoothed before. A batch has sides that `multiple` divides;
    pictures lie in its upper left corner, the rest is 0, after the normalisation."""

    shortest: int = 800
    longest: int = 1333
    square: int = 0
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD
    multiple: int = 32

    def size(self, picture: tuple[int, int]) -> tuple[int, int]:
        """Height and width that a picture (height, width) is resized to."""
        if self.square:
            return self.square, self.square
        factor = min(self.shortest / min(picture), self.longest / max(picture))
        return tuple(math.floor(side * factor) for side in picture)

    def __call__(self, pictures: Sequence[np.ndarray]) -> tuple[Tensor, list[View]]:
        """Pictures (3, H, W) in [0, 1], of any sizes, in a batch, and how each lies in it."""
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.mean, self.std))
        views = [View(self.size(picture.shape[1:]), picture.shape[1:]) for picture in pictures]
        sides = (max(view.size[k] for view in views) for k in (0, 1))
        height, width = (math.ceil(side / self.multiple) * self.multiple for side in sides)
        batch = np.zeros((len(views), 3, height, width), np.float32)
        for place, view, picture in zip(batch, views, pictures):
            x = Tensor((picture.astype(np.float32) - mean) / std)[None]
            with no_grad():
                place[:, : view.size[0], : view.size[1]] = F.interpolate(x, size=view.size, mode="linear").data[0]
        return Tensor(batch), views

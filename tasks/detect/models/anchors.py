"""Anchors: boxes of chosen sizes and shapes at every cell of every map, and what a network predicts at each.

Anchors are data: NumPy arrays, wherever the network is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minidl import Tensor
from minidl import functional as F

from .convention import OURS, Convention

RATIOS = (0.5, 1.0, 2.0)  # height / width

# The side of the square anchor, or several, on each level. The papers', for pictures of 600 to 800 pixels:
SINGLE_MAP = ((128, 256, 512),)  # Ren et al., "Faster R-CNN", 2015, section 3.3: one map, of stride 16
PYRAMID = ((32,), (64,), (128,), (256,), (512,))  # Lin et al., "Feature pyramid networks", 2017, section 4.1: 4 to 64
SMALL_SINGLE_MAP = ((12, 18, 27, 40),)  # for pictures of about 96 pixels
SMALL_PYRAMID = ((12, 17), (24, 34), (48, 68))  # strides 4, 8, 16


def shapes(sizes: Sequence[float], ratios: Sequence[float] = RATIOS, convention: Convention = OURS) -> np.ndarray:
    """Widths and heights of the anchors of one cell: (S * R, 2), all ratios of the first size first.

    Definition: width * height = size^2, height / width = ratio. The convention may have all sizes of the first ratio
    first, and half the sides rounded.
    """
    size, root = np.asarray(sizes, float)[:, None], np.sqrt(ratios)
    pairs = np.stack([size / root, size * root], axis=-1)  # (S, R, 2)
    pairs = (pairs.swapaxes(0, 1) if convention.ratios_first else pairs).reshape(-1, 2)
    return 2 * np.rint(pairs / 2) if convention.rounded else pairs


def grid(cells: tuple[int, int], strides: Sequence[float], shapes: np.ndarray, centre: float = 0.5) -> np.ndarray:
    """Anchors of these shapes (K, 2) centred on each cell of a map (h, w): float32 (h * w * K, 4), cell by cell.

    strides: along y and x. The centre of cell (i, j) is x = (j + 1/2) stride, y = (i + 1/2) stride, or as near to the
    cell's corner as `centre` says.
    """
    y, x = ((np.arange(n) + centre) * stride for n, stride in zip(cells, strides))
    centres = np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1)[:, :, None]  # (h, w, 1, 2)
    half = np.asarray(shapes) / 2
    return np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Anchors:
    """The anchors of several maps: those of ``shapes[i]`` at each cell of map i, whose stride is ``strides[i]``."""

    shapes: tuple[np.ndarray, ...]  # (K, 2) each
    strides: tuple[float, ...]
    convention: Convention = OURS

    @classmethod
    def of(
        cls, sizes: Sequence[Sequence[float]], strides: Sequence[int], ratios: Sequence[float] = RATIOS,
        convention: Convention = OURS,
    ) -> Anchors:  # fmt: skip
        """Every ratio of every size of a level. Raises ValueError unless there are as many levels as strides."""
        if len(sizes) != len(strides):
            raise ValueError(f"anchors for {len(sizes)} levels, but {len(strides)} maps, of strides {tuple(strides)}")
        return cls(tuple(shapes(level, ratios, convention) for level in sizes), tuple(strides), convention)

    @property
    def per_cell(self) -> tuple[int, ...]:
        """How many anchors a cell of each level has."""
        return tuple(len(level) for level in self.shapes)

    def boxes(self, maps: Sequence[tuple[int, int]], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """All anchors for maps of these sizes (h, w) of images of `size` (height, width): float32 (A, 4), and the level
        of each, (A,)."""
        strides = [(stride, stride) for stride in self.strides]
        if self.convention.whole_strides:
            strides = [(size[0] // h, size[1] // w) for h, w in maps]
        centre = self.convention.centre
        levels = [grid(*level, centre) for level in zip(maps, strides, self.shapes, strict=True)]
        return np.concatenate(levels), np.repeat(np.arange(len(levels)), [len(level) for level in levels])

    def outputs(
        self, logits: Sequence[Tensor], deltas: Sequence[Tensor], classes: int, size: Sequence[int]
    ) -> AnchorOutputs:
        """Maps of K * classes logits and of K * 4 steps, one of each for every level, as entries of each anchor, for
        images of `size` (height, width)."""
        boxes, level = self.boxes([m.shape[2:] for m in logits], size)
        logits = F.concat([per_anchor(m, classes) for m in logits], axis=1)
        return AnchorOutputs(logits, F.concat([per_anchor(m, 4) for m in deltas], axis=1), boxes, level)


class AnchorOutputs(NamedTuple):
    """What a network predicts at each of A anchors in N images, and the anchors."""

    logits: Tensor  # (N, A, C)
    deltas: Tensor  # (N, A, 4), steps as `F.encode_boxes` counts them
    anchors: np.ndarray  # (A, 4)
    level: np.ndarray  # (A,)


def per_anchor(x: Tensor, entries: int) -> Tensor:
    """A map's K * entries channels as entries of each anchor, in the order of the anchors: (N, H * W * K, entries)."""
    n, channels, h, w = x.shape
    x = x.reshape(n, channels // entries, entries, h, w).transpose(0, 3, 4, 1, 2)  # (N, K, E, H, W) -> (N, H, W, K, E)
    return x.reshape(n, h * w * (channels // entries), entries)

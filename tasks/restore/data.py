"""Patches of photographs, damaged: with holes, or smaller. Gray images are float32 (H, W) in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from minidl import Tensor

from ..denoise.data import CleanPatches
from .holes import HOLES, SHARES, biharmonic, remote, surroundings
from .model import bicubic

WEIGHTS, PATCHES, TEST_HOLES, JUDGE = range(5, 9)  # keep the draws for each purpose apart
Batch = tuple[np.ndarray, np.ndarray]  # what the network is given, and the photograph; (N, C, H, W)


class Patches(CleanPatches):
    """``patches(step)`` is a batch: what `damage` makes of clean patches, and these, (batch, 1, side, side)."""

    purpose = PATCHES

    def __init__(
        self, images: Mapping[str, np.ndarray], side: int, batch: int, damage: Callable[..., np.ndarray], seed: int
    ):
        super().__init__(images, side, batch, seed)
        self.damage = damage

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> Batch:
        return self.drawn(rng, where.stop - where.start)

    def drawn(self, rng: np.random.Generator, count: int) -> Batch:
        clean = self.clean(count, rng)
        return self.damage(clean, rng), clean


def with_holes(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Patches (N, 1, H, W) with holes of a kind drawn for each: what a Completer takes, (N, 3, H, W)."""
    kinds = list(HOLES.values())
    drawn = rng.choice(len(kinds), len(clean), p=SHARES)
    return np.stack([holed(x[0], kinds[kind](x.shape[1:], rng)) for x, kind in zip(clean, drawn)])


def holed(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """An image (H, W) as a Completer takes it, (3, H, W): its missing pixels guessed twice, and how far they are."""
    return np.stack([biharmonic(image, missing), surroundings(image, missing), remote(missing)])


def smaller(scale: int) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Patches (N, 1, H, W) reduced by bicubic interpolation, (N, 1, H / scale, W / scale)."""
    return lambda clean, rng: bicubic(Tensor(clean), 1 / scale).numpy()


def cropped(image: np.ndarray, multiple: int) -> np.ndarray:
    """The image without its last rows and columns, so that its sides are multiples."""
    height, width = (n - n % multiple for n in image.shape[-2:])
    return image[..., :height, :width]

"""Patches of photographs, damaged: with holes, or smaller. Gray images are float32 (H, W) in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from minidl import Tensor, data

from ..denoise.data import crop, turned
from .holes import HOLES, surroundings
from .model import bicubic

WEIGHTS, PATCHES, TEST_HOLES, JUDGE = range(5, 9)  # keep the draws for each purpose apart
Batch = tuple[np.ndarray, np.ndarray]  # what the network is given, and the photograph; (N, C, H, W)


class Patches(data.RandomBatches):
    """``patches(step)`` is that step's batch: what `damage` makes of clean patches, and these, (batch, 1, size, size).

    Each patch is cut anywhere from an image drawn by the root of its area, turned and mirrored at random.
    """

    purpose = PATCHES

    def __init__(
        self, images: Mapping[str, np.ndarray], size: int, batch: int, damage: Callable[..., np.ndarray], seed: int
    ):
        for name, image in images.items():
            if min(image.shape) < size:
                raise ValueError(
                    f"patches of {size}x{size} do not fit into {name}, which is {image.shape[1]}x{image.shape[0]}; "
                    f"use --patch {min(image.shape)} or less, or leave the image out"
                )
        self.images, self.patch, self.batch, self.damage, self.seed = list(images.values()), size, batch, damage, seed
        weights = np.sqrt([image.size for image in self.images])
        self.chance = weights / weights.sum()

    def size(self, step: int) -> int:
        return self.batch

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> Batch:
        return self.drawn(rng, where.stop - where.start)

    def drawn(self, rng: np.random.Generator, count: int) -> Batch:
        chosen = rng.choice(len(self.images), count, p=self.chance)
        clean = np.stack([turned(crop(self.images[i], self.patch, rng), rng) for i in chosen])[:, None]  # (N, 1, H, W)
        return self.damage(clean, rng), clean


def with_holes(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Patches (N, 1, H, W) with holes of a kind drawn for each: what a Completer takes, (N, 2, H, W)."""
    kinds = list(HOLES.values())
    return np.stack([holed(x[0], kinds[rng.integers(len(kinds))](x.shape[1:], rng)) for x in clean])


def holed(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """An image (H, W) as a Completer takes it, (2, H, W): its missing pixels guessed, and where they are."""
    return np.stack([surroundings(image, missing), missing.astype(np.float32)])


def smaller(scale: int) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Patches (N, 1, H, W) reduced by bicubic interpolation, (N, 1, H / scale, W / scale)."""
    return lambda clean, rng: bicubic(Tensor(clean), 1 / scale).numpy()


def cropped(image: np.ndarray, multiple: int) -> np.ndarray:
    """The image without its last rows and columns, so that its sides are multiples."""
    height, width = (n - n % multiple for n in image.shape[-2:])
    return image[..., :height, :width]

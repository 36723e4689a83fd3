"""Photographs, noise and patches. Gray images are float32 (H, W) in [0, 1]; sigma is on the 0..255 scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from minidl import data

from ..own_pictures import readable
from ..photographs import photograph as bundled

TRAIN = ("coffee", "rocket", "brick", "grass", "gravel", "moon", "motorcycle", "china", "flower")
TEST = ("camera", "coins", "chelsea", "astronaut")  # never trained on
WEIGHTS, PATCHES, TEST_NOISE, CROPS, WATCH = range(5)  # keep the draws for each purpose apart


def photograph(name: str) -> np.ndarray:
    """A bundled photograph, gray."""
    return gray(bundled(name))


def gray(image: np.ndarray) -> np.ndarray:
    """An image of bytes, (H, W) or (H, W, 3), as its ITU-R 601 luma in [0, 1]."""
    image = image.astype(np.float32) / 255
    return image @ np.float32([0.299, 0.587, 0.114]) if image.ndim == 3 else image


def photographs(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Bundled photographs by name."""
    return {name: photograph(name) for name in names}


def read_files(
    files: Sequence[Path], show: Callable[[], object], *, bits: int | None, skip_bad: bool
) -> dict[str, np.ndarray]:
    """The images in files, gray, by path: see `own_pictures.readable`."""
    found = readable(files, show, gray=True, bits=bits, skip_bad=skip_bad)
    return {str(files[i]): image[0] for i, image in found}


def add_noise(clean: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """The image plus white Gaussian noise; not clipped, so that it stays Gaussian."""
    return clean + np.float32(sigma / 255) * rng.standard_normal(clean.shape, dtype=np.float32)


def noisy_versions(images: dict[str, np.ndarray], sigma: float, seed: int) -> dict[str, np.ndarray]:
    """Each image with noise that depends on the seed and its position only: what the methods are compared on."""
    return {
        name: add_noise(clean, sigma, data.generator(seed, TEST_NOISE, i))
        for i, (name, clean) in enumerate(images.items())
    }


def noise_level(image: np.ndarray) -> float:
    """An estimate of sigma from the image alone: the median of its diagonal differences, which edges hardly move.

    (H, W) of at least 2 x 2. Source: Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", 1994.
    """
    a, b, c, d = image[:-1:2, :-1:2], image[:-1:2, 1::2], image[1::2, :-1:2], image[1::2, 1::2]
    return float(np.median(np.abs(a - b - c + d)) / 2 / 0.6745 * 255)


class CleanPatches(data.RandomBatches):
    """Patches (batch, 1, side, side) of images, float32 (H, W), to make batches of.

    Each is cut anywhere from an image drawn by the root of its area, turned and mirrored at random. Raises ValueError
    for an image that is too small; the side that it is advised to take is a multiple of `multiple`.
    """

    def __init__(self, images: Mapping[str, np.ndarray], side: int, batch: int, seed: int, *, multiple: int = 1):
        for name, image in images.items():
            if min(image.shape) < side:
                raise ValueError(
                    f"patches of {side}x{side} do not fit into {name}, which is {image.shape[1]}x{image.shape[0]}; "
                    f"use --patch {min(image.shape) // multiple * multiple} or less, or leave the image out"
                )
        self.images, self.side, self.batch, self.seed = list(images.values()), side, batch, seed
        weights = np.sqrt([image.size for image in self.images])
        self.chance = weights / weights.sum()

    def size(self, step: int) -> int:
        return self.batch

    def clean(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """So many patches."""
        chosen = rng.choice(len(self.images), count, p=self.chance)
        return np.stack([turned(crop(self.images[i], self.side, rng), rng) for i in chosen])[:, None]  # (N, 1, H, W)


class Patches(CleanPatches):
    """``patches(step)`` is that step's batch: noisy and clean patches, float32 (batch, 1, side, side).

    The noise is fresh for each: of `sigma`, or, if that is a pair, of a level drawn from that range for each patch.
    """

    purpose = PATCHES

    def __init__(
        self, images: Mapping[str, np.ndarray], side: int, batch: int, sigma: float | tuple[float, float], seed: int
    ):
        super().__init__(images, side, batch, seed)
        self.sigma = sigma if isinstance(sigma, tuple) else (sigma, sigma)

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        clean = self.clean(where.stop - where.start, rng)
        sigma = rng.uniform(*self.sigma, (len(clean), 1, 1, 1)).astype(np.float32) / 255
        return clean + sigma * rng.standard_normal(clean.shape, dtype=np.float32), clean


def crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A square of an image, anywhere."""
    top, left = (int(rng.integers(n - size + 1)) for n in image.shape)
    return image[top : top + size, left : left + size]


def centre(image: np.ndarray, side: int) -> np.ndarray:
    """The square in the middle of an image, as much of it as there is."""
    return image[tuple(slice(max(n - side, 0) // 2, max(n - side, 0) // 2 + side) for n in image.shape)]


def turned(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the eight symmetries of the square."""
    patch = np.rot90(patch, rng.integers(4))
    return patch[:, ::-1] if rng.integers(2) else patch

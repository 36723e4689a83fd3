"""Pictures and the class of each pixel: the coins, the cells, a user's folder; and the patches that are trained on.

Images are float32 (C, H, W) in [0, 1], labels uint8 (H, W): class numbers, or IGNORED where nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl import data

from . import cells, coins
from .augment import augmented, border_weights, separated

IGNORED = 255
WEIGHTS, PATCHES, TRAIN_CELLS, TEST_CELLS = range(4)  # keep the draws for each purpose apart
CELLS = (12, 8)  # pictures to train on and to test on
BRIGHTNESS, CONTRAST, NOISE = 0.3, 0.25, 0.1  # how far patches are changed, in deviations of their picture


@dataclass(frozen=True)
class MaskPart:
    """Pictures of any sizes. instances: where objects are to be counted, the number of each pixel's, 0 for none."""

    names: list[str]
    images: list[np.ndarray]
    labels: list[np.ndarray]
    instances: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class MaskDataset:
    """What is trained on, what is watched meanwhile, what is tested on, and the names of the classes.

    The coins and the cells have no validation part: nothing is chosen while training on them.
    """

    name: str
    classes: list[str]
    train: MaskPart
    test: MaskPart
    validation: MaskPart | None = None

    @property
    def channels(self) -> int:
        return self.train.images[0].shape[0]


def bundled(name: str, seed: int) -> MaskDataset:
    """"coins": the left half of the photograph and the right one; "cells": pictures generated from the seed."""
    return _coins() if name == "coins" else _cells(seed)


def _coins() -> MaskDataset:
    image, truth = coins.photograph().astype(np.float32)[None] / 255, coins.truth()
    halves = {"left half": coins.TRAIN, "right half": coins.TEST}
    parts = [MaskPart([name], [image[:, *area]], [truth[area]]) for name, area in halves.items()]
    return MaskDataset("coins", ["background", "coin"], *parts)


def _cells(seed: int) -> MaskDataset:
    parts = []
    for key, count in zip((TRAIN_CELLS, TEST_CELLS), CELLS):
        cultures = [cells.generate(seed, key, i) for i in range(count)]
        apart = [separated(culture.instances) for culture in cultures]  # a line of background between two that touch
        names = [f"cells {i + 1}" for i in range(count)]
        images = [culture.image[None] for culture in cultures]
        parts.append(MaskPart(names, images, [(a > 0).astype(np.uint8) for a in apart], apart))
    return MaskDataset("cells", ["background", "cell"], *parts)


def standardised(image: np.ndarray) -> np.ndarray:
    """The picture less its mean, over its deviation, all channels together: as every network here takes it."""
    return (image - image.mean()) / max(float(image.std()), 1e-3)


class Patches(data.RandomBatches):
    """``patches(step)`` is that step's batch: images (N, C, side, side), labels (N, side, side), weights or None.

    Each patch is cut anywhere from a picture, deformed, turned and mirrored at random, made lighter or darker, and
    given a little noise. The weights of its pixels, where cells are to be told apart, are moved along with it:
    `border_weights` with w0 = `border`.
    """

    purpose = PATCHES

    def __init__(self, part: MaskPart, side: int, batch: int, *, elastic: float, border: float | None, seed: int):
        self.part, self.side, self.batch, self.elastic, self.seed = part, side, batch, elastic, seed
        for name, image in zip(part.names, part.images):
            if min(image.shape[1:]) < side:
                raise ValueError(f"{name} is smaller than a patch of {side}x{side}; use a smaller --patch")
        self.maps = [standardised(image) for image in part.images]
        self.weighted = border is not None
        if self.weighted:  # as one more channel, last
            weights = (border_weights(cells, w0=border)[None] for cells in part.instances)
            self.maps = [np.concatenate(pair) for pair in zip(self.maps, weights)]

    def size(self, step: int) -> int:
        return self.batch

    def samples(
        self, step: int, where: slice, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        pairs = [self._patch(int(i), rng) for i in rng.integers(len(self.maps), size=where.stop - where.start)]
        maps, labels = (np.stack(arrays) for arrays in zip(*pairs))
        images = maps[:, :-1] if self.weighted else maps
        return _relit(images, rng), labels.astype(np.int64), maps[:, -1] if self.weighted else None

    def _patch(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        top, left = (int(rng.integers(n - self.side + 1)) for n in self.part.labels[i].shape)
        area = (slice(top, top + self.side), slice(left, left + self.side))
        return augmented(self.maps[i][:, *area], self.part.labels[i][area], rng=rng, sigma=self.elastic)


def _relit(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Patches (N, C, H, W), each with a contrast, a brightness and a level of noise of its own."""

    def each(values: Any) -> np.ndarray:
        return np.asarray(values, np.float32).reshape(-1, 1, 1, 1)

    n = len(images)
    contrast, brightness = each(np.exp(rng.normal(0, CONTRAST, n))), each(rng.normal(0, BRIGHTNESS, n))
    noise = each(rng.uniform(0, NOISE, n)) * rng.standard_normal(images.shape, dtype=np.float32)
    return contrast * images + brightness + noise

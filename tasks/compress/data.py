"""Patches of photographs, each with a quality and the noise that stands for rounding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minidl import data

from ..denoise.data import crop, turned
from .model import CHANNELS, SIDE, STEPS

WEIGHTS, PATCHES = range(20, 22)  # keep the draws for each purpose apart


class Patches(data.RandomBatches):
    """``patches(step)``: clean patches (batch, 1, size, size), qualities (batch, len(STEPS)) one-hot, their steps
    (batch, 1, 1, 1), and uniform noise of one step (batch, 64, size / 8, size / 8); all float32."""

    purpose = PATCHES

    def __init__(self, images: Mapping[str, np.ndarray], size: int, batch: int, seed: int):
        for name, image in images.items():
            if min(image.shape) < size:
                raise ValueError(
                    f"patches of {size}x{size} do not fit into {name}, which is {image.shape[1]}x{image.shape[0]}; "
                    f"use --patch {min(image.shape) // SIDE * SIDE} or less, or leave the image out"
                )
        self.images, self.patch, self.batch, self.seed = list(images.values()), size, batch, seed
        weights = np.sqrt([image.size for image in self.images])
        self.chance = weights / weights.sum()

    def size(self, step: int) -> int:
        return self.batch

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        n = where.stop - where.start
        chosen = rng.choice(len(self.images), n, p=self.chance)
        clean = np.stack([turned(crop(self.images[i], self.patch, rng), rng) for i in chosen])[:, None]  # (N, 1, H, W)
        qualities = rng.integers(len(STEPS), size=n)
        one_hot = np.eye(len(STEPS), dtype=np.float32)[qualities]
        steps = np.array(STEPS, np.float32)[qualities].reshape(-1, 1, 1, 1)
        noise = rng.random((n, CHANNELS, self.patch // SIDE, self.patch // SIDE), np.float32) - np.float32(0.5)
        return clean, one_hot, steps, noise

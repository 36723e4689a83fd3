"""Patches of photographs, each with a quality and the noise that stands for rounding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minidl import data

from ..denoise.data import crop, turned
from .model import CHANNELS, SIDE, STEPS

WEIGHTS, PATCHES = range(20, 22)  # keep the draws for each purpose apart


class Patches:
    """``patches(step)``: clean patches (batch, 1, size, size), qualities (batch, len(STEPS)) one-hot, their steps
    (batch, 1, 1, 1), and uniform noise of one step (batch, 64, size / 8, size / 8); all float32."""

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

    def __call__(self, step: int) -> tuple[np.ndarray, ...]:
        rng = data.generator(self.seed, PATCHES, step)
        chosen = rng.choice(len(self.images), self.batch, p=self.chance)
        clean = np.stack([turned(crop(self.images[i], self.patch, rng), rng) for i in chosen])[:, None]  # (N, 1, H, W)
        qualities = rng.integers(len(STEPS), size=self.batch)
        one_hot = np.eye(len(STEPS), dtype=np.float32)[qualities]
        steps = np.array(STEPS, np.float32)[qualities].reshape(-1, 1, 1, 1)
        noise = rng.random((self.batch, CHANNELS, self.patch // SIDE, self.patch // SIDE), np.float32) - np.float32(0.5)
        return clean, one_hot, steps, noise

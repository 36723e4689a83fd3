"""Patches of photographs, each with a quality and the noise that stands for rounding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..denoise.data import CleanPatches
from .model import CHANNELS, SIDE, STEPS

WEIGHTS, PATCHES = range(20, 22)  # keep the draws for each purpose apart


class Patches(CleanPatches):
    """``patches(step)``: clean patches (batch, 1, side, side), qualities (batch, len(STEPS)) one-hot, their steps
    (batch, 1, 1, 1), and uniform noise of one step (batch, 64, side / 8, side / 8); all float32."""

    purpose = PATCHES

    def __init__(self, images: Mapping[str, np.ndarray], side: int, batch: int, seed: int):
        super().__init__(images, side, batch, seed, multiple=SIDE)

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        clean = self.clean(where.stop - where.start, rng)
        n, cells = len(clean), self.side // SIDE
        qualities = rng.integers(len(STEPS), size=n)
        one_hot = np.eye(len(STEPS), dtype=np.float32)[qualities]
        steps = np.array(STEPS, np.float32)[qualities].reshape(-1, 1, 1, 1)
        noise = rng.random((n, CHANNELS, cells, cells), np.float32) - np.float32(0.5)
        return clean, one_hot, steps, noise

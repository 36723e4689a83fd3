"""Other colours and other light for training pictures, so that what is learned does not hang on the few there are."""

from __future__ import annotations

import numpy as np


def jittered(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures (N, 3, H, W) in [0, 1], each with its channels in another order, half of them as negatives, the contrast
    times 0.6 to 1.4 and the brightness up to 0.15 more or less; cut off to [0, 1]. Boxes stay as they are.

    Source: the photometric distortions of Liu et al., "SSD", ECCV 2016, section 2.2, here without the colour space.
    """
    n = len(images)
    order = rng.permuted(np.tile(np.arange(3), (n, 1)), axis=1)  # (N, 3)
    images = images[np.arange(n)[:, None], order]
    negative = rng.random((n, 1, 1, 1)) < 0.5
    images = np.where(negative, 1 - images, images)
    contrast, brightness = rng.uniform(0.6, 1.4, (n, 1, 1, 1)), rng.uniform(-0.15, 0.15, (n, 1, 1, 1))
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return np.clip((images - mean) * contrast + mean + brightness, 0, 1).astype(np.float32)

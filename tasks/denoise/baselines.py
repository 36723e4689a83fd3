"""The classical filters that the network is compared with, each at its best setting on training photographs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import data

from ..grids import Methods, Setting, grid, tuned
from .data import CROPS, add_noise, crop
from .evaluate import psnr


def gaussian(y: np.ndarray, sigma: float, *, width: float) -> np.ndarray:
    """Convolution with a Gaussian of `width` pixels."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(y, width)


def median(y: np.ndarray, sigma: float, *, size: int) -> np.ndarray:
    """The median of each window of size x size."""
    from scipy.ndimage import median_filter

    return median_filter(y, size)


def total_variation(y: np.ndarray, sigma: float, *, strength: float) -> np.ndarray:
    """The x of least sum of \\|grad x\\| + \\|x - y\\|^2 / (2 weight), weight = strength * sigma.

    Source: Rudin, Osher and Fatemi, 1992; Chambolle, 2004.
    """
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(y, weight=strength * sigma / 255, eps=1e-5, max_num_iter=200)


def non_local_means(y: np.ndarray, sigma: float, *, patch: int, distance: int, strength: float) -> np.ndarray:
    """Averages of pixels with similar patches around them, the noise discounted: h = strength * sigma.

    Source: Buades, Coll and Morel, 2005; Darbon et al., 2008 (the fast form).
    """
    from skimage.restoration import denoise_nl_means

    s = sigma / 255
    return denoise_nl_means(y, patch_size=patch, patch_distance=distance, h=strength * s, sigma=s, fast_mode=True)


FILTERS: Methods = {
    "Gaussian": (gaussian, grid(width=(0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0))),
    "median": (median, grid(size=(1, 3, 5, 7))),
    "total variation": (total_variation, grid(strength=(0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2))),
    "non-local means": (
        non_local_means,
        grid(patch=(5,), distance=(6, 10), strength=(0.4, 0.5, 0.6, 0.7, 0.8, 1.0))
        + grid(patch=(3,), distance=(6,), strength=(0.7, 0.9, 1.1))
        + grid(patch=(7,), distance=(10,), strength=(0.4, 0.5, 0.6)),
    ),
}


def training_pairs(
    images: dict[str, np.ndarray], sigma: float, seed: int, *, count: int = 9, size: int = 160
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Clean and noisy crops of training photographs, to choose settings on."""
    chosen = list(images.values())[:count]
    pairs = []
    for i, image in enumerate(chosen):
        rng = data.generator(seed, CROPS, i)
        clean = crop(image, min(size, *image.shape), rng)
        pairs.append((clean, add_noise(clean, sigma, rng)))
    return pairs


def tune(
    pairs: list[tuple[np.ndarray, np.ndarray]], sigma: float, show: Callable[[], Any] = lambda: None
) -> dict[str, Setting]:
    """For each filter the setting of the highest mean PSNR. ``show()`` is called after each setting."""

    def score(denoise: Callable, setting: Setting) -> float:
        return np.mean([psnr(clean, denoise(noisy, sigma, **setting)) for clean, noisy in pairs])

    return tuned(FILTERS, score, show)


def apply(noisy: np.ndarray, sigma: float, settings: dict[str, Setting]) -> dict[str, np.ndarray]:
    """The image denoised by each filter."""
    return {name: FILTERS[name][0](noisy, sigma, **setting) for name, setting in settings.items()}

"""How well a map of saliency tells what stands out, and the classical maps that the network is compared with.

Source of the scores: Bylinskii et al., "What do different evaluation metrics tell us about saliency models?", TPAMI 41,
2019; of the F-measure, Achanta et al., "Frequency-tuned salient region detection", CVPR 2009.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BETA2 = 0.3  # how much recall weighs against precision


class Score(NamedTuple):
    """The area under the curve of AUC-Judd, NSS, and the F-measure at twice the mean; higher is better in all."""

    auc: float
    nss: float
    f: float


def scores(found: np.ndarray, truth: np.ndarray) -> Score:
    """Of a map (H, W) against where the salient thing is, bool (H, W). Raises ValueError if it is nowhere or all."""
    if truth.all() or not truth.any():
        raise ValueError(f"what stands out covers {truth.sum()} of {truth.size} pixels: nothing to tell apart")
    return Score(auc_judd(found, truth), nss(found, truth), f_measure(found, truth))


def auc_judd(found: np.ndarray, truth: np.ndarray) -> float:
    """The chance that a pixel of the thing has a higher value than one that is not, ties counting half.

    That is the area under true against false positives over all thresholds.
    """
    from scipy.stats import rankdata

    ranks, inside = rankdata(found), int(truth.sum())
    outside = truth.size - inside
    return float((ranks[truth.ravel()].sum() - inside * (inside + 1) / 2) / (inside * outside))


def nss(found: np.ndarray, truth: np.ndarray) -> float:
    """The mean, over the thing, of the map with mean 0 and standard deviation 1; 0 for a map without any deviation."""
    deviation = found.std()
    return float((found[truth].mean() - found.mean()) / deviation) if deviation > 0 else 0.0


def f_measure(found: np.ndarray, truth: np.ndarray) -> float:
    """Of what is at least twice the mean of the map, which is not negative."""
    found = found - min(found.min(), 0)
    chosen = found >= min(2 * found.mean(), found.max())
    both = (chosen & truth).sum()
    precision, recall = both / chosen.sum(), both / truth.sum()
    return float((1 + BETA2) * precision * recall / (BETA2 * precision + recall)) if both else 0.0


# --- classical maps


def spectral_residual(image: np.ndarray, side: int = 64, blur: float = 2.5) -> np.ndarray:
    """What in the logarithm of the amplitude spectrum of a picture (3, H, W) is not as its neighbourhood is, put back
    into the picture (H, W). Computed at `side` pixels.

    Source: Hou and Zhang, "Saliency detection: a spectral residual approach", CVPR 2007, eq. 2 to 5.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter, zoom

    gray = image.mean(axis=0)
    small = zoom(gray, [side / n for n in gray.shape], order=1)
    spectrum = np.fft.fft2(small)
    amplitude = np.log(np.abs(spectrum) + 1e-9)
    residual = amplitude - uniform_filter(amplitude, 3, mode="wrap")
    found = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    return zoom(gaussian_filter(found, blur), [n / side for n in gray.shape], order=1)


def centre_prior(image: np.ndarray) -> np.ndarray:
    """A Gaussian in the middle, a quarter of each side wide: where photographers put what matters."""
    y, x = (np.linspace(-1, 1, n) for n in image.shape[1:])
    return np.exp(-2 * (y[:, None] ** 2 + x**2))


BASELINES = {"spectral residual": spectral_residual, "centre prior": centre_prior}

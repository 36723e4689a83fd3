"""How good a denoised image is, and the table that compares methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Score(NamedTuple):
    """PSNR in dB and SSIM; higher is better in both."""

    psnr: float
    ssim: float


def psnr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """10 log10(1 / mean squared error), the estimate clipped to [0, 1]."""
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):  # no error at all: infinite
        return float(peak_signal_noise_ratio(clean, np.clip(estimate, 0, 1).astype(clean.dtype), data_range=1))


def ssim(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Structural similarity of gray images, the estimate clipped to [0, 1].

    Source: Wang et al., "Image quality assessment", 2004, as scikit-image has it: uniform 7x7 windows.
    """
    from skimage.metrics import structural_similarity

    return float(structural_similarity(clean, np.clip(estimate, 0, 1).astype(clean.dtype), data_range=1))


def scores(clean: np.ndarray, estimates: Mapping[str, np.ndarray]) -> dict[str, Score]:
    """The score of each method's estimate of one image."""
    return {method: Score(psnr(clean, x), ssim(clean, x)) for method, x in estimates.items()}


def table(results: Mapping[str, Mapping[str, Score]]) -> str:
    """A line per image and one for the means, PSNR and SSIM in a column per method; the best of each is starred."""
    methods = list(next(iter(results.values())))
    means = {m: Score(*np.mean([row[m] for row in results.values()], axis=0)) for m in methods}
    first = max(map(len, [*results, "mean"]))
    head = " " * first + "".join(f"{method:>17} " for method in methods)
    lines = [_line(name, row, first) for name, row in [*results.items(), ("mean", means)]]
    return "\n".join(line.rstrip() for line in [head, *lines])


def _line(name: str, row: Mapping[str, Score], first: int) -> str:
    best = Score(*(max(values) for values in zip(*row.values())))
    stars = [["*" if value == top else " " for value, top in zip(score, best)] for score in row.values()]
    cells = (f"{score.psnr:.2f}{p} {score.ssim:.3f}{s}" for score, (p, s) in zip(row.values(), stars))
    return f"{name:<{first}}" + "".join(f"{cell:>18}" for cell in cells)


def verdict(results: Mapping[str, Mapping[str, Score]], ours: str, *others: str) -> str:
    """In how many images `ours` has a higher PSNR than each other method, and by how much on average."""
    parts = []
    for other in others:
        gains = [row[ours].psnr - row[other].psnr for row in results.values()]
        won = sum(gain > 0 for gain in gains)
        parts.append(f"{other} on {won} of {len(gains)} images ({np.mean(gains):+.2f} dB on average)")
    return f"in PSNR {ours} beats " + " and ".join(parts)

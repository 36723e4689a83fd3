"""The pictures: crops of every method side by side, the training curve, the adversarial term."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from .. import plot
from ..denoise.figure import CORNERS, CROP, before_after, comparison
from ..plot import BLUE, pyplot, save, show

__all__ = ["CORNERS", "CROP", "before_after", "comparison", "curve", "trade_off"]


def curve(path: str | os.PathLike, log: Sequence[Mapping[str, float]], title: str) -> None:
    """PSNR on the patches of every step, and its running mean. log: the lines that `fit` has written."""
    figure, axes = pyplot().subplots(figsize=(8, 4.5))
    plot.curve(axes, log, "squared error", "training patches, mean of {} steps", lambda error: -10 * np.log10(error))
    axes.set(ylabel="PSNR (dB)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save(figure, path)


def trade_off(
    path: str | os.PathLike,
    names: Sequence[str],
    psnr: Sequence[float],
    chance: Sequence[float],
    patches: Mapping[str, Sequence[np.ndarray]],
) -> None:
    """PSNR of each network against how often its patches are taken for photographs; and some of these patches.

    Source: Blau and Michaeli, "The perception-distortion tradeoff", CVPR 2018, figure 1.
    """
    rows, columns = len(patches), max(map(len, patches.values()))
    figure = pyplot().figure(figsize=(6 + 1.6 * columns, 1.75 * rows + 0.8))
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[4, *[1] * columns])
    axes = figure.add_subplot(grid[:, 0])
    axes.plot(psnr, chance, color=BLUE, marker="o")
    for name, x, y in zip(names, psnr, chance):
        axes.annotate(name, (x, y), textcoords="offset points", xytext=(6, 6))
    axes.set(xlabel="PSNR (dB)", ylabel="taken for a photograph", title="less error, or more like a photograph")
    axes.margins(0.25)
    axes.grid(alpha=0.3)
    for i, (name, images) in enumerate(patches.items()):
        for j, image in enumerate(images):
            cell = figure.add_subplot(grid[i, j + 1])
            show(cell, image)
            cell.set_ylabel(name if j == 0 else "")
    save(figure, path)

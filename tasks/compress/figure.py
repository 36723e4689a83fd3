"""The pictures: bits per pixel against PSNR, crops at a small size, the training curve."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from .. import plot
from ..denoise.figure import CORNERS, CROP
from ..plot import BLUE, GREEN, ORANGE, PURPLE, pyplot, save, show

COLOURS = (BLUE, ORANGE, GREEN, PURPLE)


def rate_distortion(
    path: str | os.PathLike,
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    examples: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Each image's curves; below, crops of some images."""
    columns = max(len(curves), 3 * len(examples))
    figure = pyplot().figure(figsize=(3.4 * len(curves), 7.4))
    grid = figure.add_gridspec(2, columns * len(curves))
    for i, (name, row) in enumerate(curves.items()):
        axes = figure.add_subplot(grid[0, i * columns : (i + 1) * columns])
        for (method, curve), colour in zip(row.items(), COLOURS):
            rates, levels = zip(*curve)
            axes.plot(rates, levels, color=colour, marker=".", label=method, linewidth=2.4 if method == "ours" else 1.2)
        axes.set(xscale="log", xlabel="bits per pixel", title=name, ylabel="PSNR (dB)" if i == 0 else "")
        axes.set_xlim(0.05, 3)
        axes.grid(alpha=0.3, which="both")
        if i == 0:
            axes.legend()
    width = columns * len(curves) // (3 * len(examples)) if examples else 1
    for i, (name, row) in enumerate(examples.items()):
        for j, (title, image) in enumerate(row.items()):
            at = (3 * i + j) * width
            axes = figure.add_subplot(grid[1, at : at + width])
            top, left = CORNERS.get(name, (0, 0))
            show(axes, image[top : top + CROP, left : left + CROP])
            axes.set_title(title, fontsize=9)
    save(figure, path)


def curve(path: str | os.PathLike, log: Sequence[Mapping[str, float]]) -> None:
    """Error and rate on the patches of every step."""
    figure, both = pyplot().subplots(1, 2, figsize=(10, 4))
    for axes, what in zip(both, ("error", "bits per pixel")):
        plot.curve(axes, log, what, "mean of {} steps")
        axes.set(title=f"{what}{' in steps squared' if what == 'error' else ''}, training patches of all qualities")
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, path)

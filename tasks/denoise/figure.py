"""The pictures: crops of every method side by side, the training curve, a user's image before and after."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .. import plot
from ..plot import BLUE, GREY, ORANGE, pyplot, save, show
from .evaluate import Score

CROP = 80  # side of the squares that are enlarged
SHOWN = 1000  # pixels along an axis of a picture that a figure shows, at least
CORNERS = {"camera": (88, 212), "coins": (15, 182), "chelsea": (85, 110), "astronaut": (70, 180)}  # top, left


def comparison(
    path: str | os.PathLike,
    clean: Mapping[str, np.ndarray],
    estimates: Mapping[str, Mapping[str, np.ndarray]],
    results: Mapping[str, Mapping[str, Score]],
    title: str,
    corners: Mapping[str, tuple[int, int]] = CORNERS,
) -> None:
    """A row per test image, a column per method: the same crop, enlarged, and the PSNR of the whole image.

    corners: the top and the left of the crop, else it is the middle.
    """
    methods = list(next(iter(estimates.values())))
    rows, columns = len(clean), len(methods) + 2
    figure, grid = pyplot().subplots(rows, columns, figsize=(2.1 * columns, 2.35 * rows + 0.7), squeeze=False)
    for axes, (name, image) in zip(grid, clean.items()):
        side = min(CROP, *image.shape)
        top, left = corners.get(name, tuple((n - side) // 2 for n in image.shape))
        top, left = min(top, image.shape[0] - side), min(left, image.shape[1] - side)
        area = (slice(top, top + side), slice(left, left + side))
        show(axes[0], image, f"{image.shape[1]} x {image.shape[0]}")
        axes[0].set_ylabel(name, fontsize=12)
        axes[0].add_patch(pyplot().Rectangle((left, top), side, side, fill=False, edgecolor=ORANGE, linewidth=2))
        show(axes[1], image[area])
        best = max(score.psnr for score in results[name].values())
        for a, method in zip(axes[2:], methods):
            value = results[name][method].psnr
            show(a, estimates[name][method][area], f"{value:.2f} dB")
            a.xaxis.label.set_fontweight("bold" if value == best else "normal")
    for axes, text in zip(grid[0], ["photograph", "clean", *methods]):
        axes.set_title(text, fontsize=12)
    figure.suptitle(title, fontsize=13)
    save(figure, path)


def curve(path: str | os.PathLike, log: Sequence[Mapping[str, float]], noisy: float, title: str) -> None:
    """PSNR on the patches of every step, its running mean, and that on the test crops that were watched.

    log: the lines that `fit` has written. noisy: the PSNR of the noisy patches themselves, the line to leave behind.
    """
    figure, axes = pyplot().subplots(figsize=(8, 4.5))
    plot.curve(axes, log, "loss", "training patches, mean of {} steps", lambda loss: -10 * np.log10(loss))
    plot.watched(axes, log, "test_psnr", linewidth=2, label="crops of test images, never trained on")
    axes.axhline(noisy, color=GREY, linestyle="--", label="noisy patches")
    axes.set(ylabel="PSNR (dB)", title=title)
    axes.set_ylim(bottom=noisy - 1)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.12))  # above the line of the noisy patches
    save(figure, path)


class View(NamedTuple):
    """What a figure needs of a picture (C, H, W): all of it in few pixels, and its central part."""

    whole: np.ndarray
    part: np.ndarray
    corner: tuple[float, float]  # of the part in the whole: left, top
    side: float

    @classmethod
    def of(cls, image: np.ndarray, read: Callable[[np.ndarray], np.ndarray] = np.copy) -> View:
        """Of a large picture only each second, third, ... pixel; ``read(part)`` makes of a part what is shown."""
        height, width = image.shape[-2:]
        side, step = min(CROP, height, width), max(1, max(height, width) // SHOWN)
        top, left = (height - side) // 2, (width - side) // 2
        whole, part = image[..., ::step, ::step], image[..., top : top + side, left : left + side]
        return cls(read(whole), read(part), (left / step, top / step), side / step)


def before_after(path: str | os.PathLike, images: Mapping[str, np.ndarray | View], title: str) -> None:
    """Images of one size beside each other, and below each its central part, enlarged."""
    figure, grid = pyplot().subplots(2, len(images), figsize=(4.2 * len(images), 8.6), squeeze=False)
    for (whole, part), (name, image) in zip(grid.T, images.items()):
        view = image if isinstance(image, View) else View.of(image)
        side = view.part.shape[-1]
        show(whole, view.whole)
        whole.set_title(name, fontsize=12)
        frame = pyplot().Rectangle(view.corner, view.side, view.side, fill=False, edgecolor=BLUE, linewidth=2)
        whole.add_patch(frame)
        show(part, view.part, f"the {side} x {side} pixels in the frame")
    figure.suptitle(title, fontsize=13)
    save(figure, path)

"""The pictures: frames of clips with what is found in them, and the training curve."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import plot
from ..plot import pyplot, save, show
from .find import Found
from .scenes import CLASSES, Clip

MOMENTS = 4  # frames of a clip that are shown
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#F0E442", "#56B4E9")


def clips(
    path: str | os.PathLike, shown: Sequence[Clip], found: Mapping[str, list[Found]], least: Mapping[str, float]
) -> None:
    """Of each clip the truth and what each method finds: a row each, one colour for one identity."""
    rows = [(c, name) for c in range(len(shown)) for name in ("truth", *found)]
    figure, grid = pyplot().subplots(len(rows), MOMENTS, figsize=(3 * MOMENTS, 2.1 * len(rows)), squeeze=False)
    for row, (c, name) in zip(grid, rows):
        clip = shown[c]
        tubes, labels = (clip.tubes, clip.classes) if name == "truth" else certain(found[name][c], least[name])
        for axes, t in zip(row, np.linspace(0, len(clip.frames) - 1, MOMENTS).round().astype(int)):
            show(axes, clip.frames[t])
            draw(axes, tubes[:, t], labels)
            axes.set_title(f"frame {t + 1}" if (c, name) == rows[0] else "", fontsize=11)
        row[0].set_ylabel(name, fontsize=11)
    save(figure, path)


def certain(found: Found, least: float) -> tuple[np.ndarray, np.ndarray]:
    kept = found.scores >= least
    return found.tubes[kept], found.classes[kept]


def draw(axes: Any, boxes: np.ndarray, labels: np.ndarray) -> None:
    """Boxes of one frame; one that is empty is left out."""
    for k, ((x1, y1, x2, y2), label) in enumerate(zip(boxes.tolist(), labels)):
        if x2 > x1 and y2 > y1:
            colour = COLOURS[k % len(COLOURS)]
            place = (x1 - 0.5, y1 - 0.5)
            axes.add_patch(pyplot().Rectangle(place, x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=2))
            axes.text(x1, y1 - 1.5, CLASSES[label], color=colour, fontsize=9, weight="bold")


def curve(path: str | os.PathLike, log: Sequence[Mapping[str, float]]) -> None:
    """The four terms of the loss on the clips of every step."""
    names = ("objectness", "motion", "class", "refinement")
    figure, row = pyplot().subplots(1, len(names), figsize=(3.6 * len(names), 3.4))
    for axes, name in zip(row, names):
        plot.curve(axes, log, name, "mean of {} steps")
        axes.set(title=name)
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, path)

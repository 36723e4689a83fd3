"""The picture of a run: slices of test volumes, the truth, and what each row of the table makes of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..plot import BLUE, GREEN, ORANGE, pyplot, save, show
from .data import masks
from .evaluate import dice
from .pipeline import Pipeline, segment
from .speckle import Volume
from .train import Row

SHOWN = 4  # volumes
COLOURS = {"small": ORANGE, "large": BLUE}


def comparison(
    path: str | os.PathLike, volumes: Sequence[Volume], trained: Mapping[Row, Pipeline], device: str, title: str
) -> None:
    """A row per volume: its slice through the middle of the small organ, the truth, the result of every method."""
    rows, columns = len(volumes), len(trained) + 2
    figure, grid = pyplot().subplots(rows, columns, figsize=(2.5 * columns, 2.75 * rows + 0.8), squeeze=False)
    for places, volume in zip(grid, volumes):
        truth = masks(volume.labels)[0] > 0.5
        depth = int(np.median(np.argwhere(truth[0])[:, 0]))
        image = (volume.image[depth] + 3) / 5
        show(places[0], image, f"slice {depth} of {len(volume.image)}")
        show(places[1], image, "")
        outline(places[1], truth[:, depth], "-")
        for axes, (row, model) in zip(places[2:], trained.items()):
            found = segment(model, volume.image, refine=row.second, device=device) > 0.5
            values = [dice(found[i], truth[i]) for i in range(2)]
            show(axes, image, f"{values[0]:.2f} small, {values[1]:.2f} large")
            outline(axes, truth[:, depth], ":")
            outline(axes, found[:, depth], "-")
    for axes, text in zip(grid[0], ["image", "truth", *(row.label for row in trained)]):
        axes.set_title(text.replace("refined ", "refined\n").replace("initial ", "initial\n"), fontsize=11)
    caption = "lines: what was found (orange small, blue large organ); dots: the truth. Below: Dice of the whole volume"
    figure.suptitle(f"{title}\n{caption}", fontsize=12)
    save(figure, path)


def outline(axes: Any, organs: np.ndarray, style: str) -> None:
    """The borders of both organs (2, H, W) in a slice; where they run together, that of the small one is seen."""
    for organ, colour in reversed([*zip(organs, COLOURS.values())]):
        if organ.any() and not organ.all():
            width, colour = (1.8, colour) if style == "-" else (1.4, GREEN)
            axes.contour(organ.astype(float), [0.5], colors=colour, linewidths=width, linestyles=style)

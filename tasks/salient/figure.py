"""The pictures: scenes and what each method finds in them, photographs and ours, the training curve."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minidl.files.atomic import replacing

from .. import plot
from ..plot import pyplot, save, show
from .scenes import Scene


def maps(
    path: str | os.PathLike,
    scenes: Sequence[Scene],
    methods: Mapping[str, Callable],
    pictures: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    title: str,
) -> None:
    """A row for each scene: the picture, the truth, the map of each method; below, photographs and ours."""
    columns = max(2 + len(methods), len(pictures))
    figure, grid = pyplot().subplots(len(scenes) + 2, columns, figsize=(2.2 * columns, 2.3 * (len(scenes) + 2)))
    for axes in grid.ravel():
        axes.set_axis_off()
    for row, one in zip(grid, scenes):
        show(row[0], one.image)
        heat(row[1], one.truth)
        for axes, of_image in zip(row[2:], methods.values()):
            heat(axes, of_image(one.image))
        row[0].set_title(f"odd by {one.feature}", fontsize=11)
    for axes, text in zip(grid[0][1:], ["truth", *methods]):
        axes.set_title(text, fontsize=11)
    for i, (name, image) in enumerate(pictures.items()):
        show(grid[-2][i], image)
        grid[-2][i].set_title(name, fontsize=11)
        heat(grid[-1][i], found[name])
    figure.suptitle(f"new scenes over other textures; below, photographs and ours: {title}\n", fontsize=12)
    save(figure, path)


def heat(axes: Any, values: np.ndarray) -> None:
    """A map (H, W), from its least value to its greatest."""
    axes.imshow(values, cmap="magma")
    axes.set(xticks=[], yticks=[])


def pair(path: str | os.PathLike, image: np.ndarray, found: np.ndarray, title: str) -> None:
    """A picture beside its map."""
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(10, 5))
    show(left, image)
    heat(right, found)
    figure.suptitle(title)
    save(figure, path)


def written(path: str | os.PathLike, values: np.ndarray) -> None:
    """A map (H, W) in [0, 1] as a gray PNG."""
    from PIL import Image

    with replacing(path) as file:
        Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(file, "PNG")


def curve(path: str | os.PathLike, log: Sequence[Mapping[str, float]]) -> None:
    """The loss of every step, and AUC on the validation scenes."""
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(10, 4))
    plot.curve(left, log, "loss", "training scenes, mean of {} steps")
    left.set(ylabel="cross entropy")
    plot.watched(right, log, "validation_auc", label="validation scenes")
    right.set(xlabel="step", ylabel="AUC-Judd")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, path)

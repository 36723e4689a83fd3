"""The pictures: image, truth, probability and errors; cells with and without the weights of borders; the circles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import plot
from ..plot import BLUE, ORANGE, pyplot, save, show
from . import coins, metrics
from .data import IGNORED, MaskDataset, MaskPart
from .instances import Matching, components

ROWS = 3  # test pictures that are drawn, at most
MISSED, INVENTED = (0.84, 0.37, 0.0), (0.0, 0.45, 0.7)  # orange, blue
KEY = "orange: missed, blue: invented"


def comparison(
    path: str | os.PathLike, test: MaskPart, masks: Mapping[str, Sequence[np.ndarray]],
    probabilities: Sequence[np.ndarray], matrices: Mapping[str, np.ndarray], dataset: MaskDataset, title: str,
) -> None:  # fmt: skip
    """A row per test picture: image, truth, the network's probability, the errors of every method."""
    rows, columns = min(ROWS, len(test.names)), 3 + len(masks)
    height, width = test.labels[0].shape
    size = (3.1 * columns, 3.1 * rows * min(2.0, max(0.5, height / width)) + 1.2)
    figure, grid = pyplot().subplots(rows, columns, figsize=size, squeeze=False)
    for i, axes in enumerate(grid):
        image, truth, p = test.images[i], test.labels[i], probabilities[i]
        show(axes[0], image, test.names[i][-30:])
        show(axes[1], painted(truth, len(p)))
        show(axes[2], p[1] if len(p) == 2 else p.max(axis=0))
        for a, (name, each) in zip(axes[3:], reversed(masks.items())):
            show(a, errors(image, each[i], truth), _score(matrices[name]) if i == rows - 1 else "")
    heads = ["image", "truth", f"probability of {dataset.classes[1]}" if len(dataset.classes) == 2 else "certainty"]
    for axes, text in zip(grid[0], [*heads, *(f"errors of {name}" for name in reversed(masks))]):
        axes.set_title(text, fontsize=12)
    figure.suptitle(f"{dataset.name}: test part; {KEY}\n{title}", fontsize=12)
    save(figure, path)


def _score(matrix: np.ndarray) -> str:
    return f"Dice {np.nanmean(metrics.dice(matrix)[1:]):.4f}"


def cells(
    path: str | os.PathLike, test: MaskPart, masks: Mapping[str, Sequence[np.ndarray]],
    probabilities: Mapping[str, Sequence[np.ndarray]], matches: Mapping[str, Matching],
    dataset: MaskDataset, title: str,
) -> None:  # fmt: skip
    """A row per test picture: image, true cells, the probability of each network, the cells that each method counts."""
    rows, columns = min(ROWS, len(test.names)), 2 + len(probabilities) + len(masks)
    figure, grid = pyplot().subplots(rows, columns, figsize=(2.6 * columns, 2.75 * rows + 1), squeeze=False)
    heads = ["image", "truth", *(f"probability, {name}" for name in probabilities), *masks]
    for axes, text in zip(grid[0], heads):
        axes.set_title(text, fontsize=11)
    for i, axes in enumerate(grid):
        show(axes[0], test.images[i])
        show(axes[1], coloured(test.instances[i]), f"{len(np.unique(test.instances[i])) - 1} {dataset.classes[1]}s")
        places = iter(axes[2:])
        for each in probabilities.values():
            show(next(places), each[i][1])
        for name, each in masks.items():
            pieces = components(each[i])
            total = f"; F1 of all {matches[name].f1:.3f}" if i == rows - 1 else ""
            show(next(places), coloured(pieces), f"{pieces.max()} found{total}")
    figure.suptitle(f"{dataset.name}: test pictures, each connected piece in a colour of its own\n{title}", fontsize=12)
    save(figure, path)


def coloured(numbers: np.ndarray) -> np.ndarray:
    """Each number in a colour of its own, 0 in black: (3, H, W)."""
    colours = np.random.default_rng(1).uniform(0.35, 1, (int(numbers.max()) + 1, 3))
    colours[0] = 0
    return colours[numbers].transpose(2, 0, 1)  # (H, W, 3) -> (3, H, W)


def painted(labels: np.ndarray, classes: int) -> np.ndarray:
    """Classes in shades, or in colours where there are more than two; what is ignored in orange: (3, H, W)."""
    if classes == 2:
        colours = np.array([[0.0] * 3, [1.0] * 3])
    else:
        colours = pyplot().get_cmap("tab20")(np.arange(classes) % 20)[:, :3]
        colours[0] = 0
    known = labels != IGNORED
    result = colours[np.where(known, labels, 0)]
    result[~known] = MISSED
    return result.transpose(2, 0, 1)


def errors(image: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The picture, dim, with the pixels that are wrong in colour: (3, H, W). Blue is background taken for something."""
    result = 0.5 * np.broadcast_to(image.mean(axis=0), (3, *truth.shape))
    wrong = (mask != truth) & (truth != IGNORED)
    for colour, where in ((INVENTED, wrong & (truth == 0)), (MISSED, wrong & (truth != 0))):
        result = np.where(where, np.reshape(colour, (3, 1, 1)), result)
    return result


def curve(path: str | os.PathLike, log: Sequence[Mapping[str, float]], title: str) -> None:
    """The loss of every step, its running mean, and the Dice that was watched."""
    figure, axes = pyplot().subplots(figsize=(8, 4.5))
    plot.curve(axes, log, "loss", "loss of patches, mean of {} steps")
    axes.set(ylabel="loss", title=title)
    other = axes.twinx()
    for part in ("test", "validation"):
        plot.watched(other, log, f"{part}_dice", linewidth=2, label=f"mean Dice, {part} part")
    other.set(ylabel="Dice", ylim=(0, 1))
    figure.legend(loc="lower right", bbox_to_anchor=(0.88, 0.16))
    save(figure, path)


def picture(path: str | os.PathLike, image: np.ndarray, probability: np.ndarray, title: str) -> None:
    """A picture, how probable its class 1 is (or how certain the class), and the outlines of what was found."""
    mask = probability.argmax(axis=0)
    height, width = mask.shape
    tall = 4.2 * min(2.0, max(0.4, height / width)) + 0.8
    figure, (left, middle, right) = pyplot().subplots(1, 3, figsize=(12.6, tall))
    show(left, image)
    show(middle, probability[1] if len(probability) == 2 else probability.max(axis=0))
    show(right, outlined(image, mask))
    for axes, text in zip((left, middle, right), ("picture", "probability", "outlines")):
        axes.set_title(text, fontsize=12)
    figure.suptitle(title, fontsize=13)
    save(figure, path)


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with an orange line where the class changes: (3, H, W)."""
    line = np.zeros(mask.shape, bool)
    line[:-1] |= mask[:-1] != mask[1:]
    line[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    shown = np.broadcast_to(image, (3, *mask.shape))  # gray becomes three equal channels
    return np.where(line, np.reshape(MISSED, (3, 1, 1)), shown)


def truth(path: str | os.PathLike) -> None:
    """The circles of the coins over the photograph, enlarged, with the line between training and test."""
    image = coins.photograph() / 255
    height, width = image.shape
    figure, axes = pyplot().subplots(figsize=(width / 28, height / 28))
    show(axes, image, "columns left of the line are trained on, the others tested")
    for i, (y, x, radius) in enumerate(coins.COINS):
        axes.add_patch(_circle(x, y, radius))
        axes.text(x, y, str(i), color=ORANGE, ha="center", va="center", fontsize=9)
    axes.axvline(coins.MIDDLE - 0.5, color=BLUE, linewidth=1)
    save(figure, path)


def _circle(x: float, y: float, radius: float) -> Any:
    return pyplot().Circle((x, y), radius, fill=False, edgecolor=ORANGE, linewidth=1)

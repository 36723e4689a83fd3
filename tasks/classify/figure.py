"""The picture of a run: loss and accuracy while training, the confusion matrix, the worst mistakes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import plot
from ..plot import GREY, ORANGE, pyplot, save, show
from .data import Dataset
from .evaluate import WIDE, Result

SHOWN = 12  # mistakes


def overview(
    path: str | os.PathLike, result: Result, dataset: Dataset, log: Sequence[Mapping[str, float]], title: str
) -> None:
    """Four parts: two curves, the matrix, and the pictures that are most wrong. log: the lines `fit` has written."""
    figure = pyplot().figure(figsize=(13, 10.5))
    upper, lower = figure.add_gridspec(2, 1, height_ratios=(3, 4))
    for place, what, label in zip(upper.subgridspec(1, 2), ("loss", "accuracy"), ("cross entropy", "accuracy")):
        curve(figure.add_subplot(place), log, what, label)
    left, right = lower.subgridspec(1, 2, width_ratios=(1, 1))
    matrix(figure.add_subplot(left), result, dataset.classes)
    grid = right.subgridspec(3, 4, hspace=0.55)
    mistakes([figure.add_subplot(cell) for cell in grid], result, dataset)
    around = figure.add_subplot(right)
    around.set_axis_off()
    around.set_title("the worst mistakes; in grey what is right, but least sure", pad=24)
    figure.suptitle(title, fontsize=13)
    save(figure, path)


def curve(axes: Any, log: Sequence[Mapping[str, float]], what: str, label: str) -> None:
    """A quantity of every training batch, its running mean, and that of the test part, by step."""
    lines = [line for line in log if line.get(what) is not None]
    if lines:
        plot.curve(axes, lines, what, "training batches, mean of {} steps")
        plot.watched(axes, lines, f"test_{what}", markersize=4, label="test images, a sample if many, never trained on")
        axes.legend(loc="best")
    if what == "loss":
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=label)
    axes.grid(alpha=0.3)


def matrix(axes: Any, result: Result, classes: Sequence[str]) -> None:
    """The confusion matrix, shaded by the share of each row; with its numbers where there is room."""
    counts = result.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="truth", title="test images by class")
    if len(classes) > WIDE:
        return
    ticks = range(len(classes))
    long = max(map(len, classes)) > 3
    axes.set_xticks(ticks, classes, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(ticks, classes)
    for t, p in zip(*counts.nonzero()):
        colour = "white" if shares[t, p] > 0.5 else ORANGE
        axes.text(p, t, counts[t, p], ha="center", va="center", color=colour, fontweight="bold" if t != p else "normal")


def mistakes(places: Sequence[Any], result: Result, dataset: Dataset) -> None:
    """The pictures whose truth falls furthest behind another class; after them, in grey, those nearly mistaken."""
    order = np.argsort(result.margins, kind="stable")[: len(places)]
    for axes in places:
        axes.set_axis_off()
    for axes, i in zip(places, order):
        truth, predicted = result.labels[i], result.predictions[i]
        axes.set_axis_on()
        label = f"predicted {dataset.classes[predicted]}: {result.probabilities[i, predicted]:.0%}"
        show(axes, dataset.test.images[i] / 255, label)
        axes.set_title(f"truth {dataset.classes[truth]}", fontsize=11, color=ORANGE if predicted != truth else GREY)

"""The pictures: accuracy against labels, differences within runs, examples; and confusion on a user's photographs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..classify.data import Part
from ..classify.evaluate import Result
from ..classify.figure import matrix
from ..plot import BLUE, GREEN, GREY, ORANGE, pyplot, save, show
from .compare import counts, of
from .methods import METHODS
from .source import SOURCES

COLOURS = {"scratch": GREY, "frozen": BLUE, "finetune": ORANGE}
MARKERS = {"scratch": "s", "frozen": "o", "finetune": "D"}
ACROSS, DOWN = 8, 4  # examples of either kind


def comparison(path: str | os.PathLike, numbers: dict[str, Any], old: Part, new: Part) -> None:
    """Three parts: the curves with bands of a standard deviation, the paired differences, pictures of both kinds."""
    figure = pyplot().figure(figsize=(14, 5))
    left, middle, right = figure.add_gridspec(1, 3, width_ratios=(5, 5, 4))
    _curves(figure.add_subplot(left), numbers)
    _differences(figure.add_subplot(middle), numbers)
    upper, lower = right.subgridspec(2, 1, hspace=0.25)
    _examples(figure.add_subplot(upper), old, f"pretrained on {SOURCES[numbers['source']]}")
    _examples(figure.add_subplot(lower), new, f"new classes: handwritten {numbers['new'][0]} to {numbers['new'][-1]}")
    save(figure, path)


def tricks(path: str | os.PathLike, gains: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """What each trick adds to none: every seed is a dot, their mean a bar; a panel for each subject."""
    figure, panels = pyplot().subplots(1, len(gains), figsize=(1 + 6 * len(gains), 4.5), squeeze=False, sharey=True)
    for axes, (title, found) in zip(panels[0], gains.items()):
        names = [name for name in found if name != "none"]
        for i, name in enumerate(names):
            gain = 100 * found[name]
            colour = GREEN if (gain > 0).all() else ORANGE if (gain < 0).all() else GREY
            axes.plot(gain, i + np.linspace(-0.2, 0.2, len(gain)), "o", color=colour, alpha=0.5, markersize=5)
            axes.plot([gain.mean()] * 2, [i - 0.3, i + 0.3], color=colour, linewidth=3)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="accuracy less that without tricks, same seed (points)")
        axes.set_title(title.replace(", ", "\n", 1), fontsize=10)
        axes.grid(alpha=0.3, axis="x")
    panels[0][0].invert_yaxis()
    save(figure, path)


def _curves(axes: Any, numbers: dict[str, Any]) -> None:
    x = counts(numbers)
    for method, title in METHODS.items():
        runs = 100 * np.array([of(numbers, count)[method] for count in x])  # (labels, runs)
        mean, deviation = runs.mean(axis=1), runs.std(axis=1, ddof=min(1, runs.shape[1] - 1))
        axes.fill_between(x, mean - deviation, mean + deviation, color=COLOURS[method], alpha=0.2, linewidth=0)
        axes.plot(x, mean, color=COLOURS[method], marker=MARKERS[method], linewidth=2, label=title)
    axes.set(xscale="log", xlabel="labelled pictures per class", ylabel="accuracy on new pictures (%)")
    axes.set_xticks(x, x, minor=False)
    axes.set_xticks([], minor=True)
    axes.set_title(f"mean and standard deviation of {runs.shape[1]} runs")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _differences(axes: Any, numbers: dict[str, Any]) -> None:
    """Every run is a dot, their mean a bar."""
    x = counts(numbers)
    pairs = (("scratch", "frozen", BLUE), ("frozen", "finetune", ORANGE), ("scratch", "finetune", GREEN))
    for k, (worse, better, colour) in enumerate(pairs):
        for i, count in enumerate(x):
            found = of(numbers, count)
            difference, place = 100 * (found[better] - found[worse]), i + 0.25 * (k - 1)
            label = f"{METHODS[better]} less {METHODS[worse]}" if not i else None
            axes.plot(np.full(len(difference), place), difference, "o", color=colour, alpha=0.4, markersize=5)
            axes.plot([place - 0.09, place + 0.09], [difference.mean()] * 2, color=colour, linewidth=3, label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(x)), x)
    axes.set(xlabel="labelled pictures per class", ylabel="difference (percentage points)")
    axes.set_title("within each run, on the same labels")
    axes.grid(alpha=0.3, axis="y")
    axes.legend(loc="upper right", fontsize=9)


def _examples(axes: Any, part: Part, title: str) -> None:
    """The first pictures of many classes in one image, a pixel between each two."""
    many = ACROSS * DOWN
    order = np.argsort(np.arange(len(part.labels)) - _first(part.labels), kind="stable")[:many]
    side = part.images.shape[-1] + 1
    sheet = np.ones((DOWN * side - 1, ACROSS * side - 1))
    for place, i in enumerate(order):
        top, left = side * (place // ACROSS), side * (place % ACROSS)
        sheet[top : top + side - 1, left : left + side - 1] = part.images[i, 0] / 255
    show(axes, sheet)
    axes.set_title(title, fontsize=11)


def _first(labels: np.ndarray) -> np.ndarray:
    """For each picture i - (how many of its class came before it): sorting by the rest mixes the classes."""
    before = np.zeros(len(labels), int)
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        before[members] = np.arange(len(members))
    return np.arange(len(labels)) - before


def confusions(path: str | os.PathLike, results: Mapping[str, Result], classes: Sequence[str], title: str) -> None:
    """The confusion matrix of each method on the test photographs."""
    figure, axes = pyplot().subplots(1, len(results), figsize=(1 + 5 * len(results), 7), squeeze=False)
    for place, (method, result) in zip(axes[0], results.items()):
        matrix(place, result, classes)
        place.set_title(f"{METHODS[method]}: {result.correct} of {len(result.labels)} right")
    figure.suptitle(title.replace("; ", "\n"), fontsize=12)
    save(figure, path)

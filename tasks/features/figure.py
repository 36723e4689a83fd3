"""The picture: accuracy against labels, the codes in the plane, and pictures between pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl import Tensor
from minidl.device import to_device

from ..classify.data import Dataset
from ..plot import BLUE, GREEN, GREY, ORANGE, pyplot, save, show
from ..run import Job
from .model import Autoencoder
from .train import KINDS, codes

COLOURS, MARKERS = (GREY, GREEN, BLUE, ORANGE), "so^D"
SHOWN = 1000  # codes at most
WALKS, STATIONS = 4, 8  # from one picture to another


def features(
    path: str | os.PathLike, found: Mapping[str, Mapping[int, list[float]]], networks: Mapping[str, Autoencoder],
    dataset: Dataset, job: Job,
) -> None:  # fmt: skip
    """Left the curves; then for each autoencoder the first two principal components of its codes of new pictures, and
    what it makes of the codes on the way from one new picture to another."""
    figure = pyplot().figure(figsize=(5.5 + 4.5 * len(networks), 7.5))
    grid = figure.add_gridspec(2, 1 + len(networks), width_ratios=[5.5, *[4.5] * len(networks)], height_ratios=[3, 2])
    _curves(figure.add_subplot(grid[:, 0]), found)
    for i, (kind, model) in enumerate(networks.items(), 1):
        _plane(figure.add_subplot(grid[0, i]), codes(model, dataset.test.images[:SHOWN], job.device), dataset, kind)
        axes = figure.add_subplot(grid[1, i])
        show(axes, _walks(model, dataset, job.device), "from a new picture, left, to another")
    save(figure, path)


def _curves(axes: Any, found: Mapping[str, Mapping[int, list[float]]]) -> None:
    for (name, row), colour, marker in zip(found.items(), COLOURS, MARKERS):
        counts, runs = list(row), 100 * np.array(list(row.values()))  # (labels, seeds)
        mean, deviation = runs.mean(axis=1), runs.std(axis=1, ddof=min(1, runs.shape[1] - 1))
        axes.fill_between(counts, mean - deviation, mean + deviation, color=colour, alpha=0.2, linewidth=0)
        axes.plot(counts, mean, color=colour, marker=marker, linewidth=2, label=name)
    axes.set(xscale="log", xlabel="labelled pictures per class", ylabel="accuracy on new pictures (%)")
    axes.set_xticks(counts, counts)
    axes.set_xticks([], minor=True)
    axes.set_title(f"a linear classifier, {runs.shape[1]} seeds")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _plane(axes: Any, found: np.ndarray, dataset: Dataset, kind: str) -> None:
    centred = found - found.mean(axis=0)
    plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    labels = dataset.test.labels[: len(found)]
    axes.scatter(*plane.T, c=labels, cmap="tab10", s=6)
    if len(dataset.classes) <= 10:
        for c in np.unique(labels):
            axes.text(*np.median(plane[labels == c], axis=0), dataset.classes[c], fontsize=12, weight="bold")
    axes.set(xticks=[], yticks=[], title=f"codes of the {KINDS[kind]}")


def _walks(model: Autoencoder, dataset: Dataset, device: str) -> np.ndarray:
    """A sheet of pictures: each row starts and ends at a code, and walks straight in between."""
    ends = codes(model, dataset.test.images[: 2 * WALKS], device).reshape(WALKS, 2, 1, -1)
    share = np.linspace(0, 1, STATIONS, dtype=np.float32)[:, None]
    between = (ends[:, 0] * (1 - share) + ends[:, 1] * share).reshape(WALKS * STATIONS, -1)
    with model.inference():
        images = model.decode(Tensor(to_device(between, device))).to("cpu").numpy()
    images = np.pad(images, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=0.5)  # a frame around each
    channels, side = images.shape[1:3]
    sheet = images.reshape(-1, STATIONS, channels, side, side).transpose(2, 0, 3, 1, 4)  # (C, row, H, column, W)
    return sheet.reshape(channels, -1, STATIONS * side)

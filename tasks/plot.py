"""What the figures of the tasks share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidl.files.atomic import replacing

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#777777"  # every eye tells them apart
DPI = 110


def pyplot() -> Any:
    """matplotlib.pyplot, drawing to files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def show(axes: Any, image: np.ndarray, below: str = "") -> None:
    """An image of shape (H, W) or (C, H, W) in [0, 1], every pixel a square, with a line of text below."""
    if image.ndim == 3:
        image = image[0] if len(image) == 1 else image.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    axes.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(below, fontsize=11, labelpad=3)


def running_mean(values: np.ndarray, most: int = 50) -> tuple[np.ndarray, int]:
    """The means of every `span` values in a row, and span: a tenth of all, at most `most`."""
    span = max(1, min(most, len(values) // 10))
    return np.convolve(values, np.ones(span) / span, mode="valid"), span


def curve(axes: Any, log: Sequence[Mapping[str, float]], what: str, label: str, change: Callable = np.asarray) -> None:
    """What `fit` has logged of every step, pale, and its running mean; `change` is applied to both.

    label: with {} for the number of steps that the mean is over.
    """
    steps, values = (np.array(v) for v in zip(*((line["step"] + 1, line[what]) for line in log)))
    smooth, span = running_mean(values)
    axes.plot(steps, change(values), color=BLUE, alpha=0.25, linewidth=0.7)
    axes.plot(steps[span - 1 :], change(smooth), color=BLUE, linewidth=2, label=label.format(span))
    axes.set(xlabel="step")


def watched(axes: Any, log: Sequence[Mapping[str, float]], what: str, **style: Any) -> None:
    """What was logged of some steps only, if there is any."""
    if points := [(line["step"] + 1, line[what]) for line in log if what in line]:
        axes.plot(*zip(*points), color=ORANGE, marker="o", **style)


def save(figure: Any, path: str | os.PathLike) -> None:
    """Write the figure, all at once, and forget it."""
    figure.tight_layout()
    with replacing(path) as file:
        figure.savefig(file, dpi=DPI, format=Path(path).suffix[1:])
    pyplot().close(figure)

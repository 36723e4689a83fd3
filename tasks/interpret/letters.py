"""The letters that a network reads in a line of text, and where it sees each of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..plot import pyplot, save, show


class Letter(NamedTuple):
    """A letter of a line: the step of the sequence at which its probability is largest, its class, that probability."""

    step: int
    number: int
    probability: float


def decoded(probabilities: np.ndarray, blank: int = 0) -> list[Letter]:
    """The letters of one line (T, classes) by the best path: steps of one class in a row are one letter, the blank is
    none. Source: Graves et al., "Connectionist temporal classification", ICML 2006, section 3.2.
    """
    best, letters = probabilities.argmax(axis=1), []
    for step, number in enumerate(best):
        likely = float(probabilities[step, number])
        if number == blank:
            continue
        if step and best[step - 1] == number:
            if likely > letters[-1].probability:
                letters[-1] = Letter(step, int(number), likely)
        else:
            letters.append(Letter(step, int(number), likely))
    return letters


def alphabet(names: Sequence[str], classes: int, blank: int = 0) -> list[str]:
    """What each class is called: characters, one per class; or for all but the blank; or but it and the space, which
    is the last. Raises ValueError for another number of them."""
    missing = classes - len(names)
    if missing not in (0, 1, 2):
        raise ValueError(f"there are {len(names)} characters for {classes} classes; one each, but for blank and space")
    found = [*names, *[" "] * (missing == 2)]
    return found if missing == 0 else [*found[:blank], "", *found[blank:]]


def draw(path: str | os.PathLike, image: np.ndarray, rows: Sequence[tuple[str, np.ndarray]], title: str) -> None:
    """The line of text (C, H, W) in [0, 1], and below it once more for each letter, lit where the network sees it."""
    height, width = image.shape[1:]
    each = 10 * height / width + 0.25
    figure, axes = pyplot().subplots(len(rows) + 1, 1, figsize=(11, each * (len(rows) + 1) + 0.8), squeeze=False)
    show(axes[0, 0], image)
    axes[0, 0].set_title(title, fontsize=13)
    gray = 0.35 * image.mean(axis=0)
    for place, (label, values) in zip(axes[1:, 0], rows):
        _lit(place, gray, values / (values.max() or 1))
        place.text(0.985, 0.5, label, transform=place.transAxes, ha="right", va="center", fontsize=30, color="white")
    save(figure, path)


def _lit(axes: Any, gray: np.ndarray, values: np.ndarray) -> None:
    """A dark picture, with what the map holds as light."""
    light = np.clip(values, 0, 1)[..., None] * np.array([1.0, 0.75, 0.2])
    axes.imshow(np.clip(gray[..., None] + light, 0, 1), interpolation="nearest")
    axes.set(xticks=[], yticks=[])

"""Figures of a run: detections in test scenes with the truth, the losses by step; and a user's picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...plot import BLUE, GREEN, ORANGE, pyplot, running_mean, save, show
from ..data.records import HIDDEN, MISSING, Detections, Target
from ..evaluate.overlap import box_overlap

SURE = 0.3  # what scores less is not drawn
NOT_LOSSES = ("step", "lr", "grad_norm")


def overview(
    path: str | os.PathLike, images: np.ndarray, truths: Sequence[Target], found: Sequence[Detections],
    classes: Sequence[str], log: Sequence[Mapping[str, float]], title: str, points: Sequence[int] = (),
) -> None:  # fmt: skip
    """The first test scenes with truths and detections; and the losses by step. log: the lines `fit` has written.

    Where there are masks or keypoints, the truth is drawn next to the detections. points: how many keypoints objects of
    each class have.
    """
    plt = pyplot()
    apart = bool(found) and (found[0].masks is not None or found[0].keypoints is not None)
    rows, columns = (3, 3) if apart else (3, 4)
    height = (8 if apart else 11) + (3 if apart else 4) * bool(log)
    figure = plt.figure(figsize=(13, height))
    upper, *lower = figure.add_gridspec(2 if log else 1, 1, height_ratios=(3.3, 1) if log else (1,))
    cells = upper.subgridspec(rows, columns, wspace=0.06, hspace=0.16)
    for cell, image, truth, guess in zip(cells, images, truths, found):
        if apart:
            left, right = (figure.add_subplot(half) for half in cell.subgridspec(1, 2, wspace=0.02))
            given(left, image, truth, classes)
            guessed(right, image, truth, guess, classes, points)
        else:
            scene(figure.add_subplot(cell), image, truth, guess, classes)
    for cell in lower:
        curves(figure.add_subplot(cell), log)
    handles = [
        plt.Line2D([], [], color=colour, linestyle=line, linewidth=2, label=label)
        for colour, line, label in (
            (BLUE, "--", "truth"),
            (GREEN, "-", "found: its class, IoU at least 0.5"),
            (ORANGE, "-", f"found, but wrong; scores below {SURE} are not drawn"),
        )
    ]
    figure.suptitle(title + "\n\n", fontsize=13)  # the legend takes the place of the empty lines
    below = 0.98 - 0.25 / height
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, below), ncols=3, frameon=False)
    save(figure, path)


def picture(
    path: str | os.PathLike, image: np.ndarray, found: Detections, classes: Sequence[str], points: Sequence[int] = (),
    least: float = SURE,
) -> None:  # fmt: skip
    """A user's picture (3, H, W) with what was found in it."""
    figure = pyplot().figure(figsize=(9, 9))
    axes = figure.add_subplot()
    found = found[found.scores >= least]
    colours = [ORANGE] * len(found)
    show(axes, tinted(image, found.masks, colours), f"scores below {least:g} are not drawn")
    named(axes, found, colours, classes, points)
    save(figure, path)


def given(axes: Any, image: np.ndarray, truth: Target, classes: Sequence[str]) -> None:
    """A scene with its truth: boxes, masks, keypoints, hollow where they are hidden."""
    show(axes, tinted(image, truth.masks, [BLUE] * len(truth)), "truth")
    for box, label in zip(truth.boxes, truth.labels):
        outline(axes, box, BLUE, classes[label], truth=True)
    if truth.keypoints is not None:
        for x, y, visible in truth.keypoints.reshape(-1, 3):
            if visible != MISSING:
                dot(axes, x, y, BLUE, hollow=visible == HIDDEN)


def guessed(
    axes: Any, image: np.ndarray, truth: Target, found: Detections, classes: Sequence[str], points: Sequence[int]
) -> None:
    """A scene with what was found: in green where it is right and in orange where not."""
    found = found[found.scores >= SURE]
    right = hits(truth, found)
    colours = [GREEN if hit else ORANGE for hit in right]
    show(axes, tinted(image, found.masks, colours), f"{right.sum()} of {len(truth)} found, {(~right).sum()} wrong")
    named(axes, found, colours, classes, points)


def named(
    axes: Any, found: Detections, colours: Sequence[str], classes: Sequence[str], points: Sequence[int]
) -> None:
    """The box of each detection, class and score, and as many of its keypoints as its class has."""
    for i, (box, label, score) in enumerate(zip(found.boxes, found.labels, found.scores)):
        outline(axes, box, colours[i], f"{classes[label]} {score:.2f}")
        if found.keypoints is not None:
            for x, y, _ in found.keypoints[i, : points[label]]:
                dot(axes, x, y, colours[i])


def tinted(image: np.ndarray, masks: np.ndarray | None, colours: Sequence[str]) -> np.ndarray:
    """An image (3, H, W) with a veil of its colour over each mask (K, H, W)."""
    if masks is None:
        return image
    image = image.copy()
    for mask, colour in zip(masks, colours):
        tint = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)], image.dtype)
        image[:, mask] = 0.5 * image[:, mask] + 0.5 * tint[:, None]
    return image


def dot(axes: Any, x: float, y: float, colour: str, *, hollow: bool = False) -> None:
    """A keypoint; imshow puts the centre of the first pixel at 0."""
    face = "none" if hollow else colour
    edge = {"markerfacecolor": face, "markeredgecolor": "white", "markeredgewidth": 0.8}
    axes.plot([x - 0.5], [y - 0.5], "o", markersize=4.5, **edge, scalex=False, scaley=False)


def scene(axes: Any, image: np.ndarray, truth: Target, found: Detections, classes: Sequence[str]) -> None:
    """A scene, its truth in blue, what was found in green where it is right and in orange where not."""
    found = found[found.scores >= SURE]
    right = hits(truth, found)
    show(axes, image, f"{right.sum()} of {len(truth)} found, {(~right).sum()} wrong")
    for box, label in zip(truth.boxes, truth.labels):
        outline(axes, box, BLUE, classes[label], truth=True)
    named(axes, found, [GREEN if hit else ORANGE for hit in right], classes, ())


def hits(truth: Target, found: Detections, threshold: float = 0.5) -> np.ndarray:
    """Which detections are right, bool (D,): from the best score on, each takes the object of its class that it
    overlaps most of those no other has, if their IoU is at least `threshold`."""
    right = np.zeros(len(found), bool)
    if len(truth):
        free = (found.labels[:, None] == truth.labels) & ~truth.crowd  # (D, G)
        overlaps = box_overlap(found.boxes, truth.boxes)
        for i in range(len(found)):
            best = np.where(free[i], overlaps[i], -1).argmax()
            right[i] = free[i, best] and overlaps[i, best] >= threshold
            free[:, best] &= not right[i]
    return right


def outline(axes: Any, box: np.ndarray, colour: str, text: str, *, truth: bool = False) -> None:
    """A box with its text: a truth dashed, the text below; a detection with the text above."""
    x1, y1, x2, y2 = box - 0.5  # imshow puts the centre of the first pixel at 0
    line, width = ("--", 2.4) if truth else ("-", 1.4)
    axes.add_patch(pyplot().Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color=colour, linestyle=line, lw=width))
    place = (x1, y2, "top") if truth else (x1, y1, "bottom")
    edge = {"facecolor": colour, "edgecolor": "none", "pad": 0.6}
    axes.text(*place[:2], text, va=place[2], color="white", fontsize=7, bbox=edge, clip_on=True)


def curves(axes: Any, log: Sequence[Mapping[str, float]]) -> None:
    """Running means of the loss and of its terms, by step."""
    steps = np.array([line["step"] + 1 for line in log])
    for name in (name for name in log[0] if name not in NOT_LOSSES):
        smooth, span = running_mean(np.array([line[name] for line in log]))
        whole = {"color": "black", "linewidth": 2.2} if name == "loss" else {"linewidth": 1.2}
        axes.plot(steps[span - 1 :], smooth, label="sum of all" if name == "loss" else name, **whole)
    axes.set(xlabel="step", ylabel=f"losses, means of {span} steps", yscale="log")
    axes.set_ylim(top=15 * axes.get_ylim()[1])  # room for the legend
    axes.legend(loc="upper right", ncols=3)
    axes.grid(alpha=0.3)

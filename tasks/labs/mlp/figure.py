"""The picture: loss against passes over the data, against steps, and against the step size."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, blank

COLOURS = (GREY, SKY, GREEN, BLUE, ORANGE, PURPLE)
STYLES = ("-", "--", "-.", "-", "--", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P")


def draw(numbers: dict[str, Any]) -> Any:
    """Median and range of the runs of each method; and the pilot runs that chose the step sizes."""
    figure = blank(14, 4.8)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    for i, method in enumerate(numbers["methods"]):
        k = i % len(COLOURS)
        label = f"{method['name']}, step size {method['rate']:g}"
        steps, losses = np.array(method["marks"]), np.array(method["losses"])
        for axes, x in ((left, steps / method["steps per pass"]), (middle, steps)):
            axes.fill_between(x, losses.min(axis=0), losses.max(axis=0), color=COLOURS[k], alpha=0.25, linewidth=0)
            axes.plot(x, np.median(losses, axis=0), color=COLOURS[k], linestyle=STYLES[k], label=label)
        right.plot(*zip(*method["tried"]), color=COLOURS[k], linestyle=STYLES[k], marker=MARKERS[k])
    left.axvline(numbers["passes"], color="black", linestyle=":", linewidth=0.8)
    left.set(xscale="symlog", xlabel="passes over the training data", ylabel="training loss", yscale="log")
    left.set_xlim(left=0)
    left.set_title("the same work: what a pass brings")
    middle.set(xscale="symlog", xlabel="steps")
    middle.set_xlim(left=0)
    middle.set_title("what a step brings")
    right.set(xscale="log", xlabel="step size", ylim=(None, 10))
    right.set_title(f"choosing the step size: loss after {numbers['passes']} passes")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
    left.legend(loc="lower left", fontsize=8)
    return figure

"""One hidden layer on real digits: the full gradient against stochastic gradients and mini-batches.

Every method makes the same step, theta <- theta - rate * (mean gradient of a batch); they differ in the batch alone:
all samples, a few, or one. The lecture sums over samples in the full gradient and averages in a mini-batch; here all
average, so that the sum's rate is ours over the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl import data

from ...command import UsageError, each
from .figure import draw
from .network import Theta, evaluate, gradients, initial

__all__ = ["QUICK", "Settings", "claims", "draw", "measure"]

SPLIT, WEIGHTS, ORDER = 1, 2, 3  # keep the draws apart
PILOT = 1000  # the seeds that step sizes are chosen with are none of those that are reported
LOST = 1e3  # a loss above this has diverged
MARKS = 150  # points of a curve, at most
LEVEL = 0.1  # the loss that methods race to
NAMES = {0: "full gradient", 1: "one sample"}


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    hidden: int = 32  # units of the hidden layer
    batches: tuple[int, ...] = (0, 128, 32, 8, 1)  # samples per step; 0: all of them, the full gradient
    passes: int = 30  # over the training data
    longer: int = 1000  # passes of the full gradient, which makes one step in each
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # step sizes, of which each has its best
    pilots: int = 1  # runs of each step size, with seeds of their own, to choose it
    runs: int = 5  # that are reported, each with other initial weights and another order
    seed: int = 0  # decides the split, the weights and the order

    def __post_init__(self) -> None:
        if min(self.rates) <= 0:
            raise UsageError(f"--rates must be above 0, got {min(self.rates):g}")
        if self.longer < self.passes:
            raise UsageError(f"--longer {self.longer} must be at least --passes {self.passes}")


QUICK = Settings(hidden=4, batches=(0, 64), passes=2, longer=5, rates=(0.1, 1.0), runs=2)


def digits(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """1797 digits of 8x8 pixels from 0 to 1: images (N, 64) and labels (N,) for training, then those for testing."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    train, test = data.split(len(images), (0.8, 0.2), seed=seed)
    return images[train] / 16, labels[train], images[test] / 16, labels[test]


def measure(settings: Settings, progress: Callable) -> dict[str, Any]:
    """For each batch size: the step size with the least loss after `passes`, and curves of new runs with it."""
    x, labels, *test = digits(settings.seed)
    numbers: dict[str, Any] = {"samples": len(x), "passes": settings.passes, "methods": []}
    with progress("choosing step sizes", len(settings.batches) * len(settings.rates) * settings.pilots) as step:
        chosen = {batch: _choose(settings, batch, x, labels, test, step) for batch in settings.batches}
    with progress("training", len(settings.batches) * settings.runs) as step:
        for batch, losses in chosen.items():
            rate = min(losses, key=losses.get)
            passes = settings.passes if batch else settings.longer
            seeds = each(range(settings.seed, settings.seed + settings.runs), step)
            runs = [_train(settings, batch, rate, passes, seed, x, labels, test) for seed in seeds]
            numbers["methods"].append(
                {
                    "batch": batch,
                    "name": NAMES.get(batch, f"mini-batch of {batch}"),
                    "rate": rate,
                    "tried": [[r, value] for r, value in losses.items()],
                    "steps per pass": len(data.Batches(len(x), batch or len(x))),
                    "marks": runs[0]["marks"],
                    "losses": [run["losses"] for run in runs],
                    "accuracies": [run["accuracy"] for run in runs],
                }
            )
    return numbers


def _choose(
    settings: Settings, batch: int, x: Any, labels: Any, test: Any, step: Callable
) -> dict[float, float]:
    """The loss after `passes`, averaged over the pilot runs, for each step size."""
    losses = {}
    for rate in settings.rates:
        seeds = each(range(settings.seed + PILOT, settings.seed + PILOT + settings.pilots), step)
        ends = [_train(settings, batch, rate, settings.passes, seed, x, labels, test)["losses"][-1] for seed in seeds]
        losses[rate] = float(np.mean(ends))
    return losses


def _train(
    settings: Settings, batch: int, rate: float, passes: int, seed: int, x: Any, labels: Any, test: Any
) -> dict[str, Any]:
    """One run: the loss over all training samples after each of `marks` steps; accuracy on `test` after `passes`."""
    batches = data.Batches(len(x), batch or len(x), seed=seed)
    theta = initial(x.shape[1], settings.hidden, int(labels.max()) + 1, data.generator(seed, WEIGHTS))
    steps = passes * len(batches)
    marks = sorted({round(m) for m in np.geomspace(1, steps, MARKS)} | {0, settings.passes * len(batches)})
    losses, accuracy, t = [], 0.0, 0
    for mark in marks:
        with np.errstate(over="ignore", invalid="ignore"):
            while t < mark:
                chosen = batches(t)
                _, gradient = gradients(theta, x[chosen], labels[chosen])
                theta = Theta(*(p - rate * g for p, g in zip(theta, gradient)))
                t += 1
        losses.append(float(np.fmin(evaluate(theta, x, labels)[0], LOST)))  # a nan is lost too
        if mark == settings.passes * len(batches):
            accuracy = evaluate(theta, *test)[1]
    return {"marks": marks, "losses": losses, "accuracy": accuracy}


# --- what is to be seen


def claims(numbers: dict[str, Any]) -> list[str]:
    """For each method: its step size, the loss after the passes, what it takes to come to a level; then the order."""
    passes, methods = numbers["passes"], numbers["methods"]
    sentences = [
        f"{numbers['samples']} training digits; step sizes: each method's best of "
        f"{', '.join(f'{rate:g}' for rate, _ in methods[0]['tried'])} after {passes} passes, in runs of other seeds"
    ]
    for method in methods:
        ends, accuracies = _after(method, passes), [100 * a for a in method["accuracies"]]
        tried = [rate for rate, _ in method["tried"]]
        edge = ", at the edge of those tried" if method["rate"] in (min(tried), max(tried)) else ""
        sentences.append(
            f"{method['name']}: step size {method['rate']:g}{edge}; after {passes} passes "
            f"({passes * method['steps per pass']} steps) loss {_spread(ends, '.2g')}, accuracy on new digits "
            f"{_spread(accuracies, '.1f')} %; loss {LEVEL:g} {_race(method)}"
        )
    order = sorted(methods, key=lambda m: np.median(_after(m, passes)))
    sentences.append(f"loss after {passes} passes, least first: " + ", ".join(m["name"] for m in order))
    arrived = [m for m in methods if _first(m) is not None]
    order = sorted(arrived, key=_first)
    names = ", ".join(m["name"] for m in order) or "none arrives"
    sentences.append(f"steps to loss {LEVEL:g}, fewest first: {names}")
    return sentences


def _after(method: dict[str, Any], passes: int) -> list[float]:
    """The losses of all runs after that many passes."""
    i = method["marks"].index(passes * method["steps per pass"])
    return [losses[i] for losses in method["losses"]]


def _first(method: dict[str, Any]) -> int | None:
    """The first number of steps, of those that were looked at, at which the median run is at the level."""
    below = np.median(method["losses"], axis=0) <= LEVEL
    return method["marks"][int(below.argmax())] if below.any() else None


def _race(method: dict[str, Any]) -> str:
    steps = _first(method)
    if steps is None:
        return f"not within {method['marks'][-1] // method['steps per pass']} passes"
    return f"after {steps / method['steps per pass']:.3g} passes, {steps} steps"


def _spread(values: list[float], form: str) -> str:
    return f"{np.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"

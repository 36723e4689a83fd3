"""How good features are: the accuracy of a linear classifier on them that has few labels.

Each run draws its labelled pictures from the training part, and is scored on the test part. How much the classifier is
held back (C) and how features are scaled is chosen in pilot runs, with labels drawn by seeds of their own, on the rest
of the training part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from ..classify.data import Dataset
from ..transfer.compare import PILOT, draw
from .train import Features

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # C of the logistic regression: the larger, the less it is held back
SCALES = ("each", "whole")  # every feature has deviation 1, or all of them together: principal components keep theirs
PILOTS = 4


def accuracy(x: np.ndarray, labels: np.ndarray, x_new: np.ndarray, new_labels: np.ndarray, strength: float) -> float:
    """Of logistic regression on features."""
    from sklearn.linear_model import LogisticRegression

    return float(LogisticRegression(C=strength, max_iter=300).fit(x, labels).score(x_new, new_labels))


def scaled(features: Features, dataset: Dataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The features of the training and the test part, of each scale, by the former's means and deviations, without
    labels."""
    train, test = features(dataset.train.images), features(dataset.test.images)
    mean, deviation = train.mean(axis=0), train.std(axis=0).clip(1e-6)
    by = {"each": deviation, "whole": np.sqrt((deviation**2).mean())}
    return {scale: ((train - mean) / by[scale], (test - mean) / by[scale]) for scale in SCALES}


def judge(
    methods: Mapping[str, Callable[[int], Features]], dataset: Dataset, labels: Sequence[int], seeds: Sequence[int],
    show: Callable[[], Any],
) -> dict[str, dict[int, list[float]]]:  # fmt: skip
    """Accuracies of each method and number of labels, one for each seed; a method gives the features of a seed.

    ``show()`` is called after each method and seed.
    """
    known, new = dataset.train.labels, dataset.test.labels
    found: dict[str, dict[int, list[float]]] = {}
    for method, of_seed in methods.items():
        row = found[method] = {count: [] for count in labels}
        choices: dict[int, tuple[float, str]] = {}
        for seed in seeds:
            parts = scaled(of_seed(seed), dataset)
            for count in labels:
                if count not in choices:
                    choices[count] = chosen(parts, known, count, seed)
                strength, scale = choices[count]
                train, test = parts[scale]
                some, _ = draw(known, count, seed)
                row[count].append(accuracy(train[some], known[some], test, new, strength))
            show()
    return found


def chosen(
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]], labels: np.ndarray, count: int, seed: int
) -> tuple[float, str]:
    """The best of STRENGTHS and SCALES in pilot runs."""
    pairs = [draw(labels, count, seed + PILOT + pilot) for pilot in range(PILOTS)]

    def score(choice: tuple[float, str]) -> float:
        strength, scale = choice
        x = parts[scale][0]
        return float(np.mean([accuracy(x[a], labels[a], x[b], labels[b], strength) for a, b in pairs]))

    return max(product(STRENGTHS, SCALES), key=score)

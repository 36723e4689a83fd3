"""How good a classifier is: probabilities, accuracy with its uncertainty, the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F
from minidl.device import to_device
from minidl.ranks.share import SharedEvaluation

from .data import Part, like_imagenet

WIDE = 20  # classes: with more, the matrix is not printed


def outputs(
    model: nn.Module, images: np.ndarray, batch: int = 64, *, device: str = "cpu", show: Callable | None = None
) -> Iterator[Tensor]:
    """What a model gives for each batch of images, in eval mode: bytes are made `like_imagenet` first.

    ``show()`` is called after each batch of ``ceil(N / batch)``.
    """
    with model.inference():
        for start in range(0, len(images), batch):
            x = images[start : start + batch]
            x = like_imagenet(x) if x.dtype == np.uint8 else x
            yield model(Tensor(to_device(x, device)))
            if show is not None:
                show()


def predict(model: nn.Module, images: np.ndarray, batch: int = 64, **how: Any) -> np.ndarray:
    """The probability of each class for each image: float (N, classes), rows that add up to 1; `how`: see `outputs`."""
    return np.concatenate([F.softmax(y, axis=1).numpy() for y in outputs(model, images, batch, **how)])


@dataclass(frozen=True)
class Result:
    """What a classifier says, (N, classes) probabilities, and what is true, (N,)."""

    probabilities: np.ndarray
    labels: np.ndarray

    @cached_property
    def predictions(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> int:
        return int((self.predictions == self.labels).sum())

    @property
    def accuracy(self) -> float:
        return self.correct / len(self.labels)

    @property
    def true(self) -> np.ndarray:
        """The probability of the truth, (N,)."""
        return self.probabilities[np.arange(len(self.labels)), self.labels]

    @property
    def loss(self) -> float:
        return mean_cross_entropy(self.true)

    @cached_property
    def confusion(self) -> np.ndarray:
        """(classes, classes): how often the class of the row was taken for the class of the column."""
        classes = self.probabilities.shape[1]
        return np.bincount(classes * self.labels + self.predictions, minlength=classes**2).reshape(classes, classes)

    @cached_property
    def margins(self) -> np.ndarray:
        """The probability of the truth less that of the best other class: below 0, a mistake."""
        rows = np.arange(len(self.labels))
        others = self.probabilities.copy()
        others[rows, self.labels] = -1
        return self.probabilities[rows, self.labels] - others.max(axis=1)


def mean_cross_entropy(true: np.ndarray) -> float:
    """The mean of -log of the probability of the truth."""
    return float(-np.log(np.maximum(true, np.finfo(true.dtype).tiny)).mean())


def tested(model: nn.Module, part: Part, batch: int = 64, **how: Any) -> Result:
    """What a model says of the pictures of a part; `how`: see `outputs`."""
    return Result(predict(model, part.images, batch, **how), part.labels)


def watched(model: nn.Module, part: Part, batch: int = 64, **how: Any) -> SharedEvaluation:
    """Loss and accuracy on the test part, to be looked at while training: nothing is chosen by them."""

    def measure(some: Part) -> tuple[int, list[float]]:
        result = tested(model, some, batch, **how)
        return result.correct, result.true.tolist()

    def summary(found: list) -> dict[str, float]:
        correct, true = zip(*found)
        loss = mean_cross_entropy(np.concatenate([np.float32(each) for each in true]))
        return {"test_loss": loss, "test_accuracy": sum(correct) / len(part.labels)}

    return SharedEvaluation([part[i : i + batch] for i in range(0, len(part.labels), batch)], measure, summary)


def wilson(correct: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The interval in which the true share lies, with 95 % confidence, if `correct` of `n` were right.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    share, square = correct / n, z**2 / n
    centre = (share + square / 2) / (1 + square)
    half = z / (1 + square) * sqrt(share * (1 - share) / n + square / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy_line(result: Result) -> str:
    """The accuracy in words."""
    n = len(result.labels)
    low, high = wilson(result.correct, n)
    return (
        f"accuracy {result.accuracy:.2%} on test images: {result.correct} of {n}; "
        f"95 % interval {low:.2%} to {high:.2%} (Wilson)"
    )


def table(result: Result, classes: Sequence[str]) -> str:
    """The confusion matrix and the recall of each class; of many classes only what is worst."""
    matrix = result.confusion
    counts = matrix.sum(axis=1)
    recall = matrix.diagonal() / np.maximum(counts, 1)
    if len(classes) > WIDE:
        return _worst(matrix, recall, classes)
    first = max(map(len, [*classes, "truth"]))
    width = max(3, len(str(matrix.max())), *(len(name[:8]) for name in classes)) + 1
    head = f"{'truth':<{first}} " + "".join(f"{name[:8]:>{width}}" for name in classes) + "   recall"
    lines = [head]
    for name, row, share, n in zip(classes, matrix, recall, counts):
        cells = "".join(f"{count or '.':>{width}}" for count in row)
        lines.append(f"{name:<{first}} {cells}   " + (f"{share:6.1%} of {n}" if n else "none tested"))
    return "\n".join(lines)


def _worst(matrix: np.ndarray, recall: np.ndarray, classes: Sequence[str], most: int = 10) -> str:
    mistakes = matrix - np.diag(matrix.diagonal())
    common = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(common, matrix.shape))
    lines = ["commonest confusions:"]
    lines += [f"  {classes[t]} taken for {classes[p]}: {mistakes[t, p]} times" for t, p in pairs if mistakes[t, p]]
    tested = [c for c in np.argsort(recall, kind="stable") if matrix[c].any()][:most]
    lines += ["lowest recalls:", *(f"  {classes[c]}: {recall[c]:.1%} of {matrix[c].sum()}" for c in tested)]
    return "\n".join(lines)

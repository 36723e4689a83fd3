"""Numbers of a whole validation set, out of those of its batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.tensor import as_array
from ..device import to_device
from ..nn import Module
from ..ranks.share import SharedEvaluation

Metric = Callable[[Any, Any], Any]


class Metrics(SharedEvaluation):
    """Metrics of a validation set, for `fit` to evaluate: of several ranks each takes a part of the batches.

        def correct(model, batch):
            x, labels = images[batch], classes[batch]
            return model(md.tensor(x)).data.argmax(axis=1) == labels

        validation = data.Batches(len(images), 64, shuffle=False).epoch()
        fit(..., evaluate=Metrics(model, validation, {"accuracy": correct}))

    batches: whatever the metrics take. metrics: by the name in the log, functions of (model, batch) that give a value
    for each sample, an array or a Tensor of any shape, or a pair (numerator, denominator) of numbers. Logged is the
    mean of all values, a batch counting by its size, or ``sum of numerators / sum of denominators`` (of an IoU,
    intersections and unions); NaN if the denominators add up to 0.
    """

    def __init__(self, model: Module, batches: Sequence[Any], metrics: Mapping[str, Metric]):
        self.metrics = dict(metrics)
        super().__init__(list(batches), lambda batch: self._measured(model, batch), self._ratios)

    def _measured(self, model: Module, batch: Any) -> dict[str, tuple[float, float]]:
        return {name: _parts(metric(model, batch)) for name, metric in self.metrics.items()}

    def _ratios(self, found: list[dict[str, tuple[float, float]]]) -> dict[str, float]:
        sums = {name: [math.fsum(part) for part in zip(*(one[name] for one in found))] for name in self.metrics}
        return {name: above / below if below else math.nan for name, (above, below) in sums.items()}


def _parts(value: Any) -> tuple[float, float]:
    """Numerator and denominator of what a metric gives of a batch."""
    if isinstance(value, tuple):
        above, below = value
        return float(above), float(below)
    values = np.asarray(to_device(as_array(value), "cpu"))
    return float(values.sum(dtype=np.float64)), float(values.size)

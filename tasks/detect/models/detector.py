"""What all detectors offer: named losses to train on, detections, and all that is computed on the way to either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import Tensor, nn

from ..data.records import Detections, Target
from ..losses.terms import summed


class Detector(nn.Module):
    """A network that finds the objects in images (N, 3, H, W).

    A detector defines `training_pass` and `predict`. Both return all that they compute, as plain tuples of arrays and
    tensors: training sums the terms, a page that explains a picture shows everything.
    """

    num_classes: int

    def training_pass(self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None) -> Any:
        """The network's outputs, the targets matched to them, and `terms`: the `Terms` of each loss by its name.

        `rng` draws the samples of detectors that train on some of their boxes.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no training_pass(self, images, targets, rng)")

    def predict(self, images: Tensor, score: float | None = None, nms: float | None = None, limit: int = 100) -> Any:
        """The `Candidates` of each image and the `detections` among them: see `detect`."""
        raise NotImplementedError(f"{type(self).__name__} defines no predict(self, images, score, nms, limit)")

    def losses(
        self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """The named losses of a batch, whose sum is trained: see `training_pass`."""
        return summed(self.training_pass(images, targets, rng).terms)

    def detect(
        self, images: Tensor, score: float | None = None, nms: float | None = None, limit: int = 100
    ) -> list[Detections]:
        """What is in each image, best first: boxes that score above `score` in some class, suppressed class by class
        at an IoU above `nms`; the best `limit`. A box may stay under several classes.

        score, nms: the settings' own if left out.
        """
        return self.predict(images, score, nms, limit).detections

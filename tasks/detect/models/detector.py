"""What all detectors offer: named losses to train on, detections, and all that is computed on the way to either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn

from ..data.records import Detections, Target
from ..losses.terms import summed


class View(NamedTuple):
    """How a picture lies in a batch: its height and width there, from the top left, and its own, in whose pixels
    detections are."""

    size: tuple[int, int]
    picture: tuple[int, int]

    def outside(self, corners: np.ndarray) -> np.ndarray:
        """Points or boxes (..., 2 or 4) in the batch, x first, in the picture."""
        if self.size == self.picture:
            return corners
        y, x = (np.float32(whole) / np.float32(here) for whole, here in zip(self.picture, self.size))
        return corners * np.resize([x, y], corners.shape[-1]).astype(corners.dtype)


def views_of(images: Tensor, views: Sequence[View] | None) -> Sequence[View]:
    """The views, one for each image; images that fill the batch if there are none."""
    if views is None:
        return [View(images.shape[2:], images.shape[2:])] * len(images)
    if len(views) != len(images):
        raise ValueError(f"detect needs a view for each of {len(images)} images, got {len(views)}")
    return views


class Detector(nn.Module):
    """A network that finds the objects in images (N, 3, H, W).

    A detector defines `training_pass` and `predict`. Both return all that they compute, as plain tuples of arrays and
    tensors: training sums the terms, a page that explains a picture shows everything.
    """

    num_classes: int
    settings: Any  # with score, nms and limit, of `detect`

    def training_pass(self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None) -> Any:
        """The network's outputs, the targets matched to them, and `terms`: the `Terms` of each loss by its name.

        `rng` draws the samples of detectors that train on some of their boxes.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no training_pass(self, images, targets, rng)")

    def predict(
        self, images: Tensor, score: float | None = None, nms: float | None = None, limit: int | None = None,
        views: Sequence[View] | None = None,
    ) -> Any:  # fmt: skip
        """The `Candidates` of each image and the `detections` among them: see `detect`."""
        raise NotImplementedError(f"{type(self).__name__} defines no predict(self, images, score, nms, limit, views)")

    def thresholds(self, score: float | None, nms: float | None, limit: int | None) -> tuple[float, float, int]:
        """The settings' own for what is None."""
        s = self.settings
        return s.score if score is None else score, s.nms if nms is None else nms, s.limit if limit is None else limit

    def losses(
        self, images: Tensor, targets: Sequence[Target], rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """The named losses of a batch, whose sum is trained: see `training_pass`."""
        return summed(self.training_pass(images, targets, rng).terms)

    def detect(
        self, images: Tensor, score: float | None = None, nms: float | None = None, limit: int | None = None,
        views: Sequence[View] | None = None,
    ) -> list[Detections]:  # fmt: skip
        """What is in each image, best first: boxes that score above `score` in some class, suppressed class by class
        at an IoU above `nms`; the best `limit`. A box may stay under several classes.

        score, nms, limit: the settings' own if left out. views: where the picture lies in each image, if it does not
        fill it.
        """
        return self.predict(images, score, nms, limit, views).detections

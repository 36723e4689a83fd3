"""What is in a picture, and what a detector found in it.

A box is x1, y1, x2, y2 in pixels, y downwards. The picture's top left corner is (0, 0), and pixel (i, j) covers
j <= x < j + 1, i <= y < i + 1: one pixel is a box of area 1, a box around columns 3 to 5 is x1 = 3, x2 = 6, and the
centre of pixel (0, 0) is x = y = 0.5. Keypoints live in the same coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from minidl import Tensor

MISSING, HIDDEN, VISIBLE = 0, 1, 2  # the third number of a keypoint


@dataclass
class Target:
    """The objects of one picture: K boxes, with masks and keypoints where the data has them.

    boxes: (K, 4). labels: int64 (K,) from 0 to C - 1; there is no number for the background.
    masks: bool (K, H, W) or None. keypoints: (K, P, 3) or None; x, y and how visible: 0 not given, 1 known but hidden,
    2 visible. crowd: bool (K,), regions in which detections are neither right nor wrong; all False if left out.
    areas: float64 (K,), in pixels, where the data gives them; else, and where NaN, those of the masks, else of the
    boxes. Numbers are float64, but float32 stays what it is. Raises ValueError for shapes that do not fit.
    """

    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    crowd: np.ndarray | None = None
    areas: np.ndarray | None = None

    def __post_init__(self):
        _check(self)
        n = len(self.boxes)
        self.crowd = np.zeros(n, bool) if self.crowd is None else np.asarray(self.crowd, bool)
        self.areas = np.full(n, np.nan) if self.areas is None else np.asarray(self.areas, np.float64)
        if self.crowd.shape != (n,) or self.areas.shape != (n,):
            raise ValueError(
                f"a Target of {n} boxes needs crowd ({n},) and areas ({n},), got {self.crowd.shape}, {self.areas.shape}"
            )
        if (unknown := np.isnan(self.areas)).any():
            self.areas = np.where(unknown, self._measured(), self.areas)

    def _measured(self) -> np.ndarray:
        if self.masks is not None:
            return self.masks.sum(axis=(1, 2), dtype=np.float64)
        return (self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: np.ndarray | slice) -> Target:
        """Some of the objects: by positions, a slice or one bool each."""
        masks, points = _optional(self, index)
        return Target(self.boxes[index], self.labels[index], masks, points, self.crowd[index], self.areas[index])

    def scaled(self, factor: float | Sequence[float]) -> Target:
        """Of the same picture at `factor` times its size, one number or (y, x). Masks would need a resampling."""
        y, x = (factor, factor) if np.isscalar(factor) else factor
        return self._mapped(self._numbers([x, y]), self._numbers([0, 0]))

    def moved(self, dx: float, dy: float) -> Target:
        """Of the same picture moved right by dx and down by dy. Masks would need a resampling."""
        return self._mapped(self._numbers([1, 1]), self._numbers([dx, dy]))

    def seen(self) -> Target:
        """With the numbers that networks take: boxes and keypoints in float32."""
        points = None if self.keypoints is None else self.keypoints.astype(np.float32)
        return replace(self, boxes=self.boxes.astype(np.float32), keypoints=points)

    def _numbers(self, values: Sequence[float]) -> np.ndarray:
        return np.array(values, self.boxes.dtype)

    def flipped(self, width: float, swapped: Sequence | None = None) -> Target:
        """Of the picture of this width mirrored left to right: ``image[..., ::-1]``.

        A left eye becomes a right one: keypoint p of the result is keypoint ``swapped[p]`` of the picture, or
        ``swapped[label][p]`` where each class has its own order.
        """
        x1, y1, x2, y2 = self.boxes.T
        boxes = np.stack([width - x2, y1, width - x1, y2], axis=1)
        masks = None if self.masks is None else np.ascontiguousarray(self.masks[:, :, ::-1])
        points = None
        if self.keypoints is not None:
            swapped = np.arange(self.keypoints.shape[1]) if swapped is None else np.asarray(swapped)
            order = swapped[self.labels] if swapped.ndim == 2 else np.tile(swapped, (len(self), 1))  # (K, P)
            points = np.take_along_axis(self.keypoints, order[..., None], axis=1)
            mirrored = points * self._numbers([-1, 1, 1]) + self._numbers([width, 0, 0])
            points = np.where(points[..., 2:] > 0, mirrored, points)
        return Target(boxes, self.labels, masks, points, self.crowd, self.areas)

    def _mapped(self, scale: np.ndarray, shift: np.ndarray) -> Target:
        if self.masks is not None:
            raise ValueError("masks do not move with boxes; set masks to None, or move the picture's masks first")
        boxes = (self.boxes.reshape(-1, 2, 2) * scale + shift).reshape(-1, 4)
        points = None
        if self.keypoints is not None:
            given = self.keypoints[..., 2:] > 0
            points = self.keypoints.copy()  # those that are not given stay 0, 0, 0
            points[..., :2] = np.where(given, points[..., :2] * scale + shift, points[..., :2])
        return Target(boxes, self.labels, None, points, self.crowd, self.areas * scale.prod())


@dataclass
class Detections:
    """What was found in one picture, best first: boxes (K, 4), labels (K,), scores (K,), masks and keypoints as Target.

    The third number of a keypoint is whatever confidence the network has; the average precision does not look at it.
    Raises ValueError for shapes that do not fit and for scores that are not in descending order.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: np.ndarray | None = None
    keypoints: np.ndarray | None = None

    def __post_init__(self):
        _check(self)
        self.scores = _numbers(self.scores)
        n = len(self.boxes)
        if self.scores.shape != (n,):
            raise ValueError(f"Detections of {n} boxes need scores ({n},), got {self.scores.shape}")
        if not (self.scores[:-1] >= self.scores[1:]).all():
            raise ValueError("scores must descend, best first; Detections.ranked(...) sorts them")

    @classmethod
    def ranked(cls, boxes, labels, scores, masks=None, keypoints=None) -> Detections:
        """Detections out of arrays in any order. Of equal scores the first stays first."""
        order = np.argsort(-np.asarray(scores), kind="stable")
        boxes, labels, scores, masks, keypoints = (
            part if part is None else np.asarray(part)[order] for part in (boxes, labels, scores, masks, keypoints)
        )
        return cls(boxes, labels, scores, masks, keypoints)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: np.ndarray | slice) -> Detections:
        """Some of them: by positions in ascending order, a slice or one bool each."""
        masks, points = _optional(self, index)
        return Detections(self.boxes[index], self.labels[index], self.scores[index], masks, points)


def require_targets(targets: Sequence[Target], images: Tensor, num_classes: int) -> list[Target]:
    """The targets as they are `seen`.

    Raises ValueError unless there is one for each image (N, 3, H, W), with labels below num_classes.
    """
    if images.ndim != 4 or len(targets) != len(images):
        raise ValueError(f"losses need images (N, 3, H, W) and N targets, got {images.shape} and {len(targets)}")
    for n, target in enumerate(targets):
        if (target.labels >= num_classes).any():
            raise ValueError(f"target {n} has label {target.labels.max()}, the classes are 0 to {num_classes - 1}")
    return [target.seen() for target in targets]


def _numbers(values: np.ndarray | Sequence) -> np.ndarray:
    """As float64; float32, which networks give, stays what it is."""
    values = np.asarray(values)
    return values if values.dtype == np.float32 else values.astype(np.float64)


def _check(record: Target | Detections) -> None:
    """Convert what both records have, and see that the shapes fit."""
    name = type(record).__name__
    boxes, labels = _numbers(record.boxes), np.asarray(record.labels)
    n = len(boxes) if boxes.ndim else 0
    boxes = boxes.reshape(0, 4) if boxes.size == 0 and n == 0 else boxes
    if boxes.shape != (n, 4):
        raise ValueError(f"{name} needs boxes (K, 4), x1, y1, x2, y2 each, got {boxes.shape}")
    if labels.shape != (n,):
        raise ValueError(f"{name} of {n} boxes needs labels ({n},), got {labels.shape}")
    if labels.size and labels.dtype.kind not in "iu":
        raise ValueError(f"labels are whole numbers from 0, one per box, got {labels.dtype}")
    if labels.size and labels.min() < 0:
        raise ValueError(f"labels count from 0, box {int(labels.argmin())} has {labels.min()}")
    record.boxes, record.labels = boxes, labels.astype(np.int64)
    if record.masks is not None:
        record.masks = np.asarray(record.masks, bool)
        if record.masks.ndim != 3 or len(record.masks) != n:
            raise ValueError(f"{name} of {n} boxes needs masks ({n}, H, W), got {record.masks.shape}")
    if record.keypoints is not None:
        record.keypoints = _numbers(record.keypoints)
        if record.keypoints.ndim != 3 or len(record.keypoints) != n or record.keypoints.shape[2] != 3:
            raise ValueError(f"{name} of {n} boxes needs keypoints ({n}, P, 3), got {record.keypoints.shape}")


def _optional(record: Target | Detections, index: np.ndarray | slice) -> list[np.ndarray | None]:
    return [part if part is None else part[index] for part in (record.masks, record.keypoints)]


def around(masks: np.ndarray) -> np.ndarray:
    """The tight box of each mask: bool (K, H, W) -> float32 (K, 4); 0, 0, 0, 0 for an empty one."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks):
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes

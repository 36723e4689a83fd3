"""Pictures of circles, squares and triangles with exact masks and keypoints, on real textures.

Everything is drawn from geometry: a pixel belongs to a mask if more than half of it is covered, and to the shape that
lies on top. Keypoints are numbered so that the picture decides which is which; all shapes have four places for them:

    circle    top, right, bottom, left: the ends of its vertical and horizontal diameter
    square    top left, top right, bottom right, bottom left corner; it is turned by at most 30 degrees
    triangle  apex, right and left end of its base, and none; isosceles, turned by at most 30 degrees
"""

from __future__ import annotations

import numpy as np

from .records import HIDDEN, MISSING, VISIBLE, Target, around
from .textures import Pictures, leaves_enough

CLASSES = ("circle", "square", "triangle")
POINTS = (
    ("top", "right", "bottom", "left"),
    ("top left", "top right", "bottom right", "bottom left"),
    ("apex", "right", "left", ""),
)
SWAPPED = ((0, 3, 2, 1), (1, 0, 3, 2), (0, 2, 1, 3))  # of each class, for `Target.flipped`
SAMPLES = 8  # along each side of a pixel, to measure how much of it is covered
COVERED = 0.35  # the share of a shape that others may cover
TRIES = 20


class Shape:
    """A circle, square or triangle: `points` (4, 2) as in `POINTS`, x and y, rows of NaN where there is none."""

    def __init__(self, label: int, centre: tuple[float, float], side: float, angle: float, aspect: float = 1.0):
        self.label, self.centre, self.radius = label, np.array(centre), side / 2
        h, w = self.radius, self.radius * aspect
        own = (
            [(0, -h), (h, 0), (0, h), (-h, 0)],
            [(-h, -h), (h, -h), (h, h), (-h, h)],
            [(0, -h), (w, h), (-w, h), (np.nan, np.nan)],
        )[label]
        cos, sin = (1.0, 0.0) if label == 0 else (np.cos(angle), np.sin(angle))
        self.points = np.array(own) @ [[cos, sin], [-sin, cos]] + self.centre

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether each point lies inside."""
        if self.label == 0:
            return (x - self.centre[0]) ** 2 + (y - self.centre[1]) ** 2 < self.radius**2
        corners = self.points[~np.isnan(self.points[:, 0])]  # clockwise on the screen: the inside is to their right
        inside = np.ones(np.broadcast_shapes(x.shape, y.shape), bool)
        for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0)):
            inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0
        return inside

    def coverage(self, size: int) -> tuple[np.ndarray, tuple[slice, slice]]:
        """How much of each pixel it covers, in steps of 1/64, and the part of the picture (rows, columns) around it."""
        low = np.floor(np.nanmin(self.points, axis=0)).astype(int).clip(0, size)
        high = np.ceil(np.nanmax(self.points, axis=0)).astype(int).clip(0, size)
        x, y = ((np.arange((b - a) * SAMPLES) + 0.5) / SAMPLES + a for a, b in zip(low, high))
        inside = self.contains(x[None], y[:, None])
        fine = inside.reshape(len(y) // SAMPLES, SAMPLES, len(x) // SAMPLES, SAMPLES)
        return fine.mean(axis=(1, 3), dtype=np.float32), (slice(low[1], high[1]), slice(low[0], high[0]))


class Shapes(Pictures):
    """``shapes(index)`` is a picture, float32 (3, size, size) in [0, 1], and its `Target` with masks and keypoints.

    At most 35 % of each shape is hidden; the third number of a keypoint below another shape is 1. Box and mask are
    those of the part that can be seen, so a hidden keypoint may lie outside its box, and a sharp corner up to two
    pixels. Shapes are `sides` pixels high before they are turned.
    """

    classes, points, swapped = CLASSES, POINTS, SWAPPED
    purpose = {"train": 10, "test": 11}  # noqa: RUF012
    sizes = (18, 25)  # for `coco_ap`: about a third of the shapes are small, a third large
    count, sides = (1, 4), (16, 44)

    def fitting(
        self, rng: np.random.Generator, owner: np.ndarray, areas: list[int]
    ) -> tuple[Shape, np.ndarray, tuple[slice, slice]] | None:
        """A shape inside the picture and its `coverage`."""
        label, side = int(rng.integers(3)), np.exp(rng.uniform(*np.log(self.sides)))
        angle, aspect = np.deg2rad(rng.uniform(-30, 30)), rng.uniform(0.6, 1.2)
        for _ in range(TRIES):
            shape = Shape(label, tuple(rng.uniform(0, self.size, 2)), side, angle, aspect)
            if np.nanmin(shape.points) < 0 or np.nanmax(shape.points) > self.size:
                continue
            alpha, place = shape.coverage(self.size)
            if leaves_enough(owner, areas, place, alpha > 0.5, COVERED):
                return shape, alpha, place
        return None

    def target(self, things: list[Shape], masks: np.ndarray) -> Target:
        """With masks and keypoints."""
        return Target(around(masks), [shape.label for shape in things], masks, keypoints(things))


def keypoints(shapes: list[Shape]) -> np.ndarray:
    """Float32 (K, 4, 3) of shapes that lie one on the other, the last on top."""
    result = np.zeros((len(shapes), 4, 3), np.float32)
    for k, shape in enumerate(shapes):
        x, y = shape.points.T
        below = np.any([np.zeros(4, bool), *(upper.contains(x, y) for upper in shapes[k + 1 :])], axis=0)
        given = ~np.isnan(x)
        result[k, given, :2] = shape.points[given]
        result[k, :, 2] = np.where(given, np.where(below, HIDDEN, VISIBLE), MISSING)
    return result

"""Scenes whose truth is known: things that are alike over a real texture, and one that is not.

The odd one differs in one feature: colour, orientation, size or shape. Source of the design: Treisman and Gelade, "A
feature-integration theory of attention", Cognitive Psychology 12, 1980.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minidl import data

from ..photographs import photograph

FEATURES = ("colour", "orientation", "size", "shape")
TEXTURES = {"train": ("grass", "gravel", "coffee"), "validation": ("rocket",), "test": ("brick", "moon")}
PURPOSES = {"train": 30, "validation": 31, "test": 32}  # keep the draws for each purpose apart
SHAPES = ("bar", "disc", "square", "triangle", "cross")
FEW, MANY = 5, 14  # things in a scene, the last left out
CELLS = 4  # things stand in different cells of a grid of this many by as many


class Scene(NamedTuple):
    """A picture (3, H, W) in [0, 1], where the odd thing is (H, W), and the feature in which it is odd."""

    image: np.ndarray
    truth: np.ndarray
    feature: str


def scene(side: int, purpose: str, seed: int, number: int, feature: str | None = None) -> Scene:
    """The scene of a number: of the textures of its purpose. Everything in it depends on the arguments alone."""
    rng = data.generator(seed, PURPOSES[purpose], number)
    feature = feature or FEATURES[rng.integers(len(FEATURES))]
    image = texture(TEXTURES[purpose], side, rng)
    count = int(rng.integers(FEW, MANY))
    cells = rng.permutation(CELLS**2)[:count]
    common = Thing.drawn(side, rng)
    if feature == "orientation":  # which a disc has not
        common = common._replace(shape="bar")
    odd = common.changed(feature, rng)
    truth = np.zeros((side, side), bool)
    for i, cell in enumerate(cells):
        thing = odd if i == 0 else common
        room = side / CELLS
        centre = (np.array(divmod(int(cell), CELLS)) + 0.5 + rng.uniform(-0.15, 0.15, 2)) * room
        cover = thing.cover(centre, side, rng.uniform(-0.06, 0.06))
        image = image * (1 - cover) + np.array(thing.colour, np.float32)[:, None, None] * cover
        if i == 0:
            truth = cover > 0.5
    image = image + rng.normal(0, 0.02, image.shape)
    return Scene(image.clip(0, 1).astype(np.float32), truth, feature)


def texture(names: Sequence[str], side: int, rng: np.random.Generator) -> np.ndarray:
    """A square of a photograph (3, side, side), less contrast than it has."""
    whole = photograph(names[rng.integers(len(names))])
    whole = np.stack([whole] * 3, axis=-1) if whole.ndim == 2 else whole
    top, left = (int(rng.integers(n - side + 1)) for n in whole.shape[:2])
    part = whole[top : top + side, left : left + side].transpose(2, 0, 1) / np.float32(255)  # (H, W, C) -> (C, H, W)
    return part.mean() + (part - part.mean()) * np.float32(rng.uniform(0.4, 0.8))


class Thing(NamedTuple):
    """A shape of a colour, a size in pixels, and an angle."""

    shape: str
    colour: tuple[float, float, float]
    size: float
    angle: float

    @classmethod
    def drawn(cls, side: int, rng: np.random.Generator) -> Thing:
        shape = SHAPES[rng.integers(len(SHAPES))]
        return cls(shape, colour(rng.uniform(0, 1)), side / CELLS * rng.uniform(0.28, 0.36), rng.uniform(0, np.pi))

    def changed(self, feature: str, rng: np.random.Generator) -> Thing:
        """Another thing that differs in this feature, by enough to be seen."""
        if feature == "colour":
            hue = np.arctan2(self.colour[1] - 0.5, self.colour[0] - 0.5)
            return self._replace(colour=colour((hue / (2 * np.pi) + rng.uniform(0.35, 0.65)) % 1))
        if feature == "orientation":
            return self._replace(angle=self.angle + rng.uniform(0.3, 0.7) * np.pi)
        if feature == "size":
            return self._replace(size=self.size * (1.6 if rng.integers(2) else 0.55))
        others = [shape for shape in SHAPES if shape != self.shape]
        return self._replace(shape=others[rng.integers(len(others))])

    def cover(self, centre: np.ndarray, side: int, turn: float) -> np.ndarray:
        """How much of each pixel (side, side) it covers, with soft edges."""
        y, x = np.mgrid[:side, :side] + 0.5
        y, x = y - centre[0], x - centre[1]
        angle = self.angle + turn
        u, v = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
        r = self.size
        inside = {  # distances to the border, positive inside
            "bar": np.minimum(r - abs(u), r / 4 - abs(v)),
            "disc": 0.8 * r - np.hypot(u, v),
            "square": 0.7 * r - np.maximum(abs(u), abs(v)),
            "triangle": np.minimum(0.5 * r + v, 0.5 * r - 0.5 * v - 0.87 * abs(u)),
            "cross": np.maximum(
                np.minimum(r - abs(u), r / 5 - abs(v)), np.minimum(r - abs(v), r / 5 - abs(u))
            ),
        }[self.shape]
        return (inside + 0.5).clip(0, 1).astype(np.float32)


def colour(turn: float) -> tuple[float, float, float]:
    """A colour of the circle of hues, `turn` from 0 to 1."""
    angle = 2 * np.pi * turn
    return 0.5 + 0.5 * np.cos(angle), 0.5 + 0.5 * np.sin(angle), 0.5 - 0.4 * np.cos(angle + 0.8)

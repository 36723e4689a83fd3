"""Clips of digits that drive over real textures, seen in perspective.

Every object keeps to a ray from the vanishing point; its size and its speed grow with the distance from there, as those
of vehicles on a road do. Posts in the foreground hide what is behind, shadows darken a part of the road, and the
picture is blurred and noisy.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from minidl import data

from ..photographs import photograph

TEXTURES = {"train": ("grass", "gravel"), "validation": ("coffee",), "test": ("brick",)}
PURPOSES = {"train": 40, "validation": 41, "test": 42}  # keep the draws for each purpose apart
CLASSES = tuple("0147")  # of the digits
HEIGHT, WIDTH = 64, 96
FEW, MANY = 2, 5  # objects, the last left out
SIDE = (22, 36)  # of an object as near as the lower border, in pixels
SEEN = 0.4  # the share of an object that must be in sight for it to count as visible


class Clip(NamedTuple):
    """frames (T, 1, H, W) in [0, 1]; of K objects tubes (K, T, 4), classes (K,), and where they are in sight (K, T);
    the vanishing point (x, y)."""

    frames: np.ndarray
    tubes: np.ndarray
    classes: np.ndarray
    visible: np.ndarray
    vanishing: tuple[float, float]


def clip(purpose: str, seed: int, number: int, frames: int, *, posts: int | None = None) -> Clip:
    """The clip of a number; everything in it depends on the arguments alone. posts: how many hide what is behind (0
    to 2, drawn)."""
    rng = data.generator(seed, PURPOSES[purpose], number)
    vanishing = (WIDTH * rng.uniform(0.25, 0.75), HEIGHT * rng.uniform(0.0, 0.15))
    ground = texture(TEXTURES[purpose], rng)
    drawn = [Mover.drawn(purpose, vanishing, frames, rng) for _ in range(rng.integers(FEW, MANY))]
    hiding = post_mask(rng.integers(0, 3) if posts is None else posts, rng)
    shade = shadow(rng)
    grey = rng.uniform(0.1, 0.9)
    pictures, boxes, seen = [], [], []
    for t in range(frames):
        picture, owner = ground.copy(), np.full((HEIGHT, WIDTH), -1)
        for k in sorted(range(len(drawn)), key=lambda k: drawn[k].distance(t)):  # the nearest last
            drawn[k].paint(picture, owner, k, t)
        picture[hiding], owner[hiding] = grey, -1
        pictures.append(picture * shade)
        boxes.append([mover.box(t) for mover in drawn])
        seen.append([mover.in_sight(owner == k, t) for k, mover in enumerate(drawn)])
    noisy = blurred(np.stack(pictures)) + rng.normal(0, 0.03, (frames, HEIGHT, WIDTH))
    tubes = np.array(boxes, np.float32).transpose(1, 0, 2)  # (T, K, 4) -> (K, T, 4)
    classes = np.array([mover.label for mover in drawn])
    return Clip(noisy.clip(0, 1).astype(np.float32)[:, None], tubes, classes, np.array(seen).T > SEEN, vanishing)


class Mover(NamedTuple):
    """A digit on a ray: at time t it is `start * rate ** t` of the way from the vanishing point to `end`."""

    pixels: np.ndarray
    label: int
    vanishing: tuple[float, float]
    end: tuple[float, float]
    side: float
    start: float
    rate: float
    bright: bool

    @classmethod
    def drawn(cls, purpose: str, vanishing: tuple[float, float], frames: int, rng: np.random.Generator) -> Mover:
        images, labels = digits(purpose)
        i = int(rng.integers(len(labels)))
        total = rng.uniform(1.25, 1.9)  # how many times as near it is at the last frame as at the first
        start = rng.uniform(0.4, 0.55)
        rate = total ** (1 / max(frames - 1, 1))
        if rng.integers(2):  # it drives away
            start, rate = start * total, 1 / rate
        end = (WIDTH * rng.uniform(0.05, 0.95), HEIGHT * rng.uniform(0.85, 1.0))  # so it never leaves the picture
        return cls(images[i], int(labels[i]), vanishing, end, rng.uniform(*SIDE), start, rate, bool(rng.integers(2)))

    def distance(self, t: int) -> float:
        return self.start * self.rate**t

    def box(self, t: int) -> list[float]:
        """Its corners, inside the picture."""
        x1, y1, x2, y2 = self._whole(t)
        return [
            float(np.clip(x1, 0, WIDTH)),
            float(np.clip(y1, 0, HEIGHT)),
            *map(float, (min(max(x2, 0), WIDTH), min(max(y2, 0), HEIGHT))),
        ]

    def _whole(self, t: int) -> tuple[float, float, float, float]:
        near = self.distance(t)
        x, y = (v + near * (e - v) for v, e in zip(self.vanishing, self.end))
        half = near * self.side / 2
        return x - half, y - half, x + half, y + half

    def paint(self, picture: np.ndarray, owner: np.ndarray, k: int, t: int) -> None:
        """Draw it at time t; `owner` says which object each pixel shows."""
        x1, y1, x2, y2 = self._whole(t)
        n = len(self.pixels)
        rows, columns = (
            np.arange(max(int(a), 0), min(int(np.ceil(b)), m)) for a, b, m in ((y1, y2, HEIGHT), (x1, x2, WIDTH))
        )
        v = ((rows + 0.5 - y1) / max(y2 - y1, 1e-6) * n).astype(int)
        u = ((columns + 0.5 - x1) / max(x2 - x1, 1e-6) * n).astype(int)
        rows, v = rows[(v >= 0) & (v < n)], v[(v >= 0) & (v < n)]
        columns, u = columns[(u >= 0) & (u < n)], u[(u >= 0) & (u < n)]
        if not len(rows) or not len(columns):
            return
        ink, place = self.pixels[np.ix_(v, u)], np.ix_(rows, columns)
        paper = 0.15 if self.bright else 0.85
        picture[place] = 0.2 * picture[place] + 0.8 * (paper + (1 - 2 * paper) * ink)
        owner[place] = k

    def in_sight(self, shown: np.ndarray, t: int) -> float:
        """The share of its area that the picture shows."""
        x1, y1, x2, y2 = self._whole(t)
        return float(shown.sum() / max((x2 - x1) * (y2 - y1), 1.0))


@cache
def digits(purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """Those of scikit-learn's digits (N, 8, 8) in [0, 1] that are in CLASSES, and which: three parts, apart."""
    from sklearn.datasets import load_digits

    found = load_digits()
    ours = np.isin(found.target, [int(name) for name in CLASSES])
    images, labels = found.images[ours] / 16, np.array([CLASSES.index(str(n)) for n in found.target[ours]])
    chosen = data.split(len(labels), (0.6, 0.2, 0.2), seed=0)[list(PURPOSES).index(purpose)]
    return images[chosen], labels[chosen]


def texture(names: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """A piece of a photograph (H, W) in gray, with less contrast than it has."""
    whole = photograph(names[rng.integers(len(names))])
    whole = whole.mean(axis=-1) if whole.ndim == 3 else whole
    top, left = (int(rng.integers(n - m + 1)) for n, m in zip(whole.shape, (HEIGHT, WIDTH)))
    part = whole[top : top + HEIGHT, left : left + WIDTH] / 255
    return part.mean() + (part - part.mean()) * rng.uniform(0.3, 0.7)


def post_mask(count: int, rng: np.random.Generator) -> np.ndarray:
    """Where upright posts, 6 to 11 pixels wide, hide the road (H, W)."""
    hiding = np.zeros((HEIGHT, WIDTH), bool)
    for _ in range(count):
        left, width = int(rng.integers(8, WIDTH - 16)), int(rng.integers(6, 12))
        hiding[:, left : left + width] = True
    return hiding


def shadow(rng: np.random.Generator) -> np.ndarray:
    """How much light falls on each pixel (H, W): a slanted band has less."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    angle, at, width = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.25)
    along = np.cos(angle) * x / WIDTH + np.sin(angle) * y / HEIGHT
    return np.where(abs(along - at) < width, rng.uniform(0.5, 0.9), 1.0)


def blurred(pictures: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(pictures, (0, 0.6, 0.6))

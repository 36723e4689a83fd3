"""Planted evidence: pictures whose class is decided by one small glyph at a known place, and by nothing else.

Each picture has a background of real texture, one glyph of its class, and DISTRACTORS other glyphs that no class owns.
Background, places and distractors are drawn before the class is looked at, and all glyphs have the same number of
bright pixels: what is left to decide the class is the shape in the square that `masks` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ..photographs import photograph

SIDE, GLYPH = 32, 7  # pixels of a picture, of a glyph
CLASSES = ("plus", "cross", "T", "L")
SHAPES = {
    "plus": "...#... ...#... ...#... ####### ...#... ...#... ...#...",
    "cross": "#.....# .#...#. ..#.#.. ...#... ..#.#.. .#...#. #.....#",
    "T": "####### ...#... ...#... ...#... ...#... ...#... ...#...",
    "L": "#...... #...... #...... #...... #...... #...... #######",
    "up": "...#... ...#... ...#... ...#... ...#... ...#... #######",
    "corner": "####### #...... #...... #...... #...... #...... #......",
    "hook": "......# ......# ......# ......# ......# ......# #######",
    "seven": "####### .....#. ....#.. ...#... ..#.... .#..... #......",
}
GLYPHS = np.array([[[c == "#" for c in row] for row in shape.split()] for shape in SHAPES.values()])  # (8, 7, 7)
DISTRACTORS = 3  # in each picture
CELLS, CELL = 3, 10  # glyphs stand in different cells of a CELLS x CELLS grid, and so never overlap
TEXTURES = ("brick", "grass", "gravel")
DIM = 0.5  # how much of the contrast of a texture is kept


@dataclass(frozen=True)
class Scenes:
    """Pictures in [0, 1], float32 (N, 1, SIDE, SIDE); their classes (N,); and what is true of them.

    masks: bool (N, SIDE, SIDE), the square of the glyph that decides the class.
    distractors: (N, DISTRACTORS), the numbers in SHAPES of the others.
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    distractors: np.ndarray


def scenes(labels: np.ndarray, rng: np.random.Generator, *, test: bool) -> Scenes:
    """A picture for each label, 0 .. 3. Training and test textures come from different halves of the photographs."""
    n, count = len(labels), 1 + DISTRACTORS
    images = backgrounds(n, rng, test)
    cells = rng.permuted(np.tile(np.arange(CELLS**2), (n, 1)), axis=1)[:, :count]
    corners = CELL * np.stack([cells // CELLS, cells % CELLS]) + rng.integers(1, CELL - GLYPH + 2, (2, n, count))
    distractors = rng.integers(len(CLASSES), len(SHAPES), (n, DISTRACTORS))
    strength = rng.uniform(0.75, 1.0, (n, count, 1, 1))
    kinds = np.concatenate([labels[:, None], distractors], axis=1)
    rows, columns = (c[..., None] + np.arange(GLYPH) for c in corners)  # (N, count, GLYPH) each
    places = (np.arange(n)[:, None, None, None], rows[..., :, None], columns[..., None, :])
    images[places] = np.where(GLYPHS[kinds], strength, images[places])  # (N, count, GLYPH, GLYPH)
    masks = np.zeros((n, SIDE, SIDE), bool)
    masks[tuple(p[:, :1] for p in places)] = True  # the first glyph is the evidence
    return Scenes(images[:, None].astype(np.float32), np.asarray(labels), masks, distractors)


def backgrounds(n: int, rng: np.random.Generator, test: bool) -> np.ndarray:
    """Squares (n, SIDE, SIDE) of the textures, of their right halves for a test, with less contrast."""
    kinds = rng.integers(0, len(TEXTURES), n)
    photos = textures()
    height, width = photos.shape[1:]
    half = width // 2
    top = rng.integers(0, height - SIDE + 1, n)
    left = rng.integers(0, half - SIDE + 1, n) + (half if test else 0)
    rows, columns = (corner[:, None] + np.arange(SIDE) for corner in (top, left))
    squares = photos[kinds[:, None, None], rows[:, :, None], columns[:, None, :]]
    return 0.4 + DIM * (squares - 0.5)


@cache
def textures() -> np.ndarray:
    """The photographs of textures at half their size, (3, 256, 256) in [0, 1]."""
    full = np.stack([photograph(name) for name in TEXTURES]) / 255
    n, height, width = full.shape
    return full.reshape(n, height // 2, 2, width // 2, 2).mean(axis=(2, 4))  # means of 2x2 pixels


def balanced(n: int, rng: np.random.Generator) -> np.ndarray:
    """n labels in random order, each class as often as the others, or once more."""
    return rng.permutation(np.arange(n) % len(CLASSES))

"""Pictures to detect digits in: real handwritten digits, 1 to 6, on real textures.

The digits are scikit-learn's, 8 x 8 pixels (the test part of Alpaydin and Kaynak's optdigits, 13 writers). Digits and
backgrounds of the three splits are apart. How hard scenes are and the settings of detectors were chosen on validation
scenes; test scenes are for what is reported.

Training pictures vary more: digits are also sheared, stretched, and thinner or bolder, backgrounds recoloured and
zoomed.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage

from ...classify.data import SHARE, stratified
from .records import Target, around
from .textures import SPLITS, Pictures, leaves_enough

CLASSES = tuple("0123456789")
HIDDEN = 0.2  # the share of a digit that others may cover
SPREAD = 0.2  # of shear and of the logarithm of width / height in training
TRIES = 20  # places tried for a digit before it is left out


class Scenes(Pictures):
    """``scenes(index)`` is a picture, float32 (3, size, size) in [0, 1], and its `Target`: boxes and masks.

    The 8 rows of a digit become `sides` pixels; its ink may take a little less. At most a fifth of each is hidden. Box
    and mask are those of the ink that can be seen, areas are those of the boxes.
    """

    classes = CLASSES
    purpose = {"train": 0, "validation": 1, "test": 2}  # noqa: RUF012
    grounds = {  # noqa: RUF012
        "train": SPLITS["train"], "validation": SPLITS["test"],
        "test": ("coins", "moon", "hubble_deep_field", "immunohistochemistry"),
    }  # fmt: skip
    sizes = (18, 24)  # for `coco_ap`: about a third of the digits are small, a third large
    count, sides = (1, 6), (16, 44)

    def fitting(
        self, rng: np.random.Generator, owner: np.ndarray, areas: list[int]
    ) -> tuple[int, np.ndarray, tuple[slice, slice]] | None:
        """A digit's label, its ink and its place."""
        alpha, label = self._digit(rng)
        place = self._place(rng, alpha > 0.5, owner, areas)
        return place and (label, alpha, place)

    def target(self, things: list[int], masks: np.ndarray) -> Target:
        """With the areas of the boxes."""
        boxes = around(masks)
        return Target(boxes, things, masks, areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1))

    def _digit(self, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """How much ink is where, in [0, 1], cut off around the ink; and which digit it is."""
        digits, labels = _digits(self.split)
        chosen = rng.integers(len(digits))
        side = np.exp(rng.uniform(*np.log(self.sides)))
        slant, stretch, faint = rng.uniform(-1, 1, 3) if self.split == "train" else np.zeros(3)
        ink = _drawn(digits[chosen], side, _shape(rng.uniform(-0.25, 0.25), SPREAD * slant, SPREAD * stretch), faint)
        return ink, int(labels[chosen])

    def _place(
        self, rng: np.random.Generator, ink: np.ndarray, owner: np.ndarray, areas: list[int]
    ) -> tuple[slice, slice] | None:
        """Where to put it, as two slices, such that no digit below is hidden too much; None if none was found."""
        for _ in range(TRIES):
            corner = [int(rng.integers(self.size - n + 1)) for n in ink.shape]
            place = tuple(slice(start, start + n) for start, n in zip(corner, ink.shape))
            below = np.unique(owner[place][owner[place] >= 0])  # digits whose pixels lie in the same box
            if leaves_enough(owner, areas, place, ink, HIDDEN) and _apart(ink, place, owner, below):
                return place
        return None


def _apart(ink: np.ndarray, place: tuple, owner: np.ndarray, below: np.ndarray) -> bool:
    """Whether the box of the new digit has an IoU of at most 0.3 with the box of each below it."""
    height, width = ink.shape
    for k in below:
        x1, y1, x2, y2 = around((owner == k)[None])[0]
        shared = max(0, min(x2, place[1].stop) - max(x1, place[1].start))
        shared *= max(0, min(y2, place[0].stop) - max(y1, place[0].start))
        if shared > 0.3 * (height * width + (x2 - x1) * (y2 - y1) - shared):
            return False
    return True


@cache
def _digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, float64 (N, 8, 8) in [0, 1], and which digit each is.

    Validation has the digits that the task classify tests on; of its training digits a sixth is kept to test on here.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    others, validation = stratified(bunch.target, SHARE)
    train, test = (others[part] for part in stratified(bunch.target[others], 5 / 6))
    part = {"train": train, "validation": validation, "test": test}[split]
    return bunch.images[part] / 16, bunch.target[part]


def _shape(angle: float, slant: float, stretch: float) -> np.ndarray:
    """What takes a place in the picture to one in the digit that is turned, slanted and stretched: (2, 2)."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.array([[1.0, 0.0], [slant, np.exp(stretch)]])


def _drawn(digit: np.ndarray, side: float, shape: np.ndarray, faint: float) -> np.ndarray:
    """The 8 x 8 digit as `side` pixels of height and with sharp strokes, cut off around its ink: (h, w)."""
    n = int(np.ceil(1.5 * side)) + 2
    turn = shape * (8 / side)
    offset = 3.5 - turn @ np.full(2, (n - 1) / 2)  # centre to centre
    ink = ndimage.affine_transform(np.pad(digit, 2), turn, offset + 2, (n, n), order=3)
    ink = np.clip((ink - 0.3 - 0.1 * faint) / 0.6, 0, 1)  # sharper borders; what is half inked in a loop stays so
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return ink.astype(np.float32)

"""Counting objects: connected pieces of a mask, and how they match the true ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SPECK = 20  # pixels; smaller pieces are taken for noise
OVERLAP = 0.5  # IoU from which on a piece is the object: no two pieces can have it with one


class Matching(NamedTuple):
    """Objects in all pictures: how many there are, were found, were matched; the mean error of a picture's count."""

    true: int
    found: int
    matched: int
    count_error: float

    @property
    def f1(self) -> float:
        """``2 matched / (true + found)``: 1 if every object was found as one piece, and nothing else."""
        return 2 * self.matched / max(self.true + self.found, 1)


def components(mask: np.ndarray) -> np.ndarray:
    """The pieces of a mask, numbered from 1; pixels hang together by their sides; specks are left out."""
    from scipy.ndimage import label

    pieces, _ = label(mask)
    sizes = np.bincount(pieces.ravel())
    kept = np.flatnonzero(sizes[1:] >= SPECK) + 1
    number = np.zeros(len(sizes), np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    return number[pieces]


def matching(found: list[np.ndarray], true: list[np.ndarray]) -> Matching:
    """Pieces and objects, numbered from 1 in each picture, matched where their IoU exceeds OVERLAP."""
    numbers = [(len(np.unique(t[t > 0])), len(np.unique(f[f > 0])), _matched(f, t)) for f, t in zip(found, true)]
    true_count, found_count, matched = (int(n) for n in np.sum(numbers, axis=0))
    return Matching(true_count, found_count, matched, float(np.mean([abs(f - t) for t, f, _ in numbers])))


def _matched(found: np.ndarray, true: np.ndarray) -> int:
    """How many pairs overlap by more than OVERLAP."""
    columns = int(found.max()) + 1
    pairs = np.bincount((true.astype(np.int64) * columns + found).ravel(), minlength=(int(true.max()) + 1) * columns)
    both = pairs.reshape(-1, columns)
    union = both.sum(axis=1, keepdims=True) + both.sum(axis=0) - both
    return int((both / np.maximum(union, 1) > OVERLAP)[1:, 1:].sum())

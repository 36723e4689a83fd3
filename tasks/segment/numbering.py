"""Do the numbers in masks count objects, or are they classes? As StarDist and Cellpose have them, they count.

Objects are numbered 1, 2, 3, ... anew in each mask, so that masks end at different numbers, and each is one piece; a
class has the same number in every mask, and often several pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SINGLE = 0.9  # share of the numbers that must be one piece each
ORDERED = 0.8  # share of the masks that must number without gaps
SURE = 8  # objects in one mask from which on there is no doubt
CLASSES = 64  # different numbers at most that can be classes


class Numbers(NamedTuple):
    """Of one mask: the numbers above 0, how many of them are one connected piece each."""

    values: tuple[int, ...]
    single: int


def numbers_of(mask: np.ndarray) -> Numbers:
    """The numbers of a mask (H, W) of integers; pieces hang together by sides and corners."""
    from scipy.ndimage import find_objects, label

    values, small = np.unique(np.maximum(mask, 0), return_inverse=True)
    small = small.reshape(mask.shape) + (values[0] > 0)  # 0 is background
    values = values[values > 0]
    single = sum(
        label(small[area] == i, np.ones((3, 3)))[1] == 1
        for i, area in enumerate(find_objects(small), 1) if area is not None
    )  # fmt: skip
    return Numbers(tuple(values.tolist()), single)


def judged(masks: Sequence[Numbers]) -> str:
    """What the numbers in these masks are: "instances", "classes", or "unclear"."""
    masks = [mask for mask in masks if mask.values]
    counts = [len(mask.values) for mask in masks]
    if not masks or sum(mask.single for mask in masks) < SINGLE * sum(counts) or max(counts) < 2:
        return "classes"
    if len(set().union(*(mask.values for mask in masks))) > CLASSES:
        return "instances"
    gapless = sum(mask.values[-1] == len(mask.values) for mask in masks) >= ORDERED * len(masks)
    if not gapless or len(set(counts)) < 2:
        return "classes"
    return "instances" if max(counts) >= SURE else "unclear" if max(counts) > 2 else "classes"


def renumbered(mask: np.ndarray, ignore: int | None = None) -> np.ndarray:
    """The objects of a mask (H, W) numbered from 1 without gaps, int32; what is ignored becomes 0."""
    mask = np.where(mask == ignore, 0, np.maximum(mask, 0)) if ignore is not None else np.maximum(mask, 0)
    values, numbers = np.unique(mask, return_inverse=True)
    return (numbers.reshape(mask.shape) + (values[0] > 0)).astype(np.int32)

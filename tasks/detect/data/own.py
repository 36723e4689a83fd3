"""A user's own pictures: where they are, checked before training, split, and in squares of one size."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np

from minidl import data, nn

from ...command import UsageError, progress
from ...faults import LEFT_OUT, Fault, error
from ...options import Above
from ...own_pictures import OwnPictures
from .annotations import anchor_coverage, examine, require_none, show_first
from .catalogue import Catalogue
from .formats import read_annotations
from .letterbox import SIDE, framed, framed_target
from .records import Target
from .textures import Pictures

STRIDE = 16  # of the coarsest map that all small detectors have
SMALLEST = 48
FLIPS = 30  # purpose of random draws
TEST_SEED = 0  # one set of made test pictures for all runs, so that they can be compared
KEPT = 1000  # pictures that stay in memory once they are read


@dataclass(frozen=True)
class Source(OwnPictures):
    """Where pictures come from; those of a run that names no `data` are `made`.

    made_words: what made pictures and what is in them are called. boxes_alone: outlines and keypoints do not matter.
    """

    # data of your own
    data: str | None = None  # a json of COCO; a folder of PASCAL VOC, YOLO or labelme; a data.yaml; a .csv of boxes
    images: str | None = None  # where the pictures are, if not with the annotations
    classes: tuple[str, ...] = ()  # the names that may occur, in this order (those in the data)
    split: Annotated[float, Above(0)] = 0.2  # share that is tested on, where the data do not say
    size: int = SIDE  # side of the square that pictures fill, in pixels
    as_stored: bool = False  # boxes are on the pixels as files store them, not on what EXIF turns them into

    made: ClassVar[type[Pictures]]
    made_words: ClassVar[tuple[str, str]]
    boxes_alone: ClassVar[bool] = False

    def __post_init__(self):
        object.__setattr__(self, "classes", tuple(self.classes))  # a list, as it comes from a file
        if self.size % STRIDE or self.size < SMALLEST:
            raise UsageError(f"--size {self.size}: must be a multiple of {STRIDE}, at least {SMALLEST}")
        if not 0 < self.split < 1:
            raise UsageError(f"--split {self.split:g}: must be a share between 0 and 1")
        if self.data is None and (self.images or self.classes):
            raise UsageError("--images and --classes belong to pictures of your own: name them with --data")
        if self.data is None and (self.skip_bad or self.as_stored):
            raise UsageError("--skip-bad and --as-stored belong to pictures of your own: name them with --data")

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes or self.made.classes

    @property
    def words(self) -> tuple[str, str]:
        """What the pictures and what is in them are called."""
        return ("pictures", "objects") if self.data else self.made_words

    def faults(self) -> list[Fault]:
        """What makes a user's data unfit for this task, besides what `annotations.examine` finds."""
        return []

    @property
    def parts(self) -> tuple[str, ...]:
        """What `pictures` knows."""
        return ("train", "test") if self.data else tuple(self.made.grounds)

    def pictures(self, part: str) -> Pictures | Own:
        """Those of one of the `parts`."""
        if self.data:
            return Own(self, self.seed, part)
        return self.made(self.seed if part == "train" else TEST_SEED, part, self.size)

    @cached_property
    def catalogue(self) -> Catalogue:
        """The annotations, read at the first access."""
        found = read_annotations(self.data, self.images, self.classes, upright=not self.as_stored)
        found = found.boxes_alone() if self.boxes_alone else found
        return replace(found, classes=self.classes or found.classes, bits=self.bits, upright=not self.as_stored)

    @cached_property
    def examined(self) -> list[Fault]:
        """What is wrong with the data, looked through at the first access."""
        count, quiet = len(self.catalogue), not sys.stderr.isatty()
        with progress(f"looking through {count} pictures", count, quiet) as show:
            faults = examine(self.catalogue, show) + self.faults()
        return [fault.skipped() if self.skip_bad and fault.skippable else fault for fault in faults]

    @cached_property
    def used(self) -> Catalogue:
        """The pictures and objects that are trained on and tested on: with --skip-bad, those without errors."""
        if not self.skip_bad:
            return self.catalogue
        return self.catalogue.without(fault.record for fault in self.examined if fault.kind == LEFT_OUT)

    def picture_files(self) -> list[Path]:
        there = self.data and Path(self.data).exists()
        return [picture.path for picture in self.catalogue.pictures] if there else []

    def completed(self) -> Self:
        """With the bits of deep pictures and the classes that the data has, if they are not named."""
        full = super().completed()
        return replace(full, classes=self.catalogue.classes) if self.data and not self.classes else full


class Own:
    """One part of a user's pictures, as `textures.Pictures` has them: "train", shuffled and mirrored, or "test".

    Each is fitted into a square; see letterbox.py.
    """

    sizes = None  # for `coco_ap`: nothing is known of them

    def __init__(self, source: Source, seed: int, part: str):
        self.seed, self.part, self.size = seed, part, source.size
        self.swapped = mirrored(source.used.points)
        self.pictures = divided(source.used, source.split, seed)[part]
        self._read = lru_cache(KEPT)(self._fitted)
        self._order = lru_cache(1)(lambda n: data.Batches(len(self), n, seed=seed))

    def __len__(self) -> int:
        return len(self.pictures)

    def count_of(self, step: int, n: int) -> int:
        """How many pictures `batch` gives: fewer than n at the end of the pictures."""
        return self._order(n).size(step)

    def batch(self, step: int, n: int, where: slice = slice(None)) -> tuple[np.ndarray, list[Target]]:
        """Float32 (n, 3, size, size) in [0, 1] and the targets, or those `where` among them; fewer at the end of the
        pictures.

        For training, in the order of the epoch, and half of them mirrored: the seed and the step decide.
        """
        if self.part == "test":
            pairs = [self._read(i) for i in range(step * n, min((step + 1) * n, len(self)))[where]]
        else:
            chosen = self._order(n)(step)
            turned = data.generator(self.seed, FLIPS, step).integers(2, size=len(chosen))
            pairs = [self._turned(int(i), bool(turn)) for i, turn in zip(chosen[where], turned[where])]
        return np.stack([image for image, _ in pairs]), [target for _, target in pairs]

    def _fitted(self, i: int) -> tuple[np.ndarray, Target]:
        image, target = self.pictures[i]
        small, factor = framed(image, self.size)
        return small, framed_target(target, factor, image.shape[1:], self.size)

    def _turned(self, i: int, mirror: bool) -> tuple[np.ndarray, Target]:
        image, target = self._read(i)
        return (image[..., ::-1], target.flipped(self.size, self.swapped)) if mirror else (image, target)


def divided(catalogue: Catalogue, share: float, seed: int) -> dict[str, Catalogue]:
    """The pictures to train on and to test on: as the data set has them, else shuffled by the seed, `share` of them
    (rounded) to test on.

    Raises ValueError if one part has none.
    """
    if stated := catalogue.stated_parts():
        return stated
    train, test = catalogue.split((1 - share, share), seed)
    if not len(train) or not len(test):
        raise ValueError(
            f"--split {share:g} of {len(catalogue)} pictures leaves {len(train)} to train on and {len(test)} to test "
            "on; each part needs one"
        )
    return {"train": train, "test": test}


def mirrored(points: Sequence[str]) -> list[int] | None:
    """Which keypoint each becomes in a mirror: the one with right for left in its name, or left for right; or itself.

    None if there are no keypoints.
    """
    other = {"left": "right", "right": "left"}
    names = [re.sub("left|right", lambda side: other[side[0]], name) for name in points]
    return [points.index(name) if name in points else i for i, name in enumerate(names)] or None


# --- the check before training


def check(
    source: Source, seed: int, build: Callable[[], nn.Module], show: Callable[[str], object], most: int
) -> None:
    """Show what is wrong with the annotations, how well the detector's anchors cover the objects, and a summary.

    At most `most` errors and warnings are shown. Raises ValueError if there are errors.
    """
    catalogue, faults = source.used, list(source.examined)
    if not any(picture.things for picture in catalogue.pictures):
        faults.append(error(f"{source.data} has no objects"))
    lines: list[str] = []
    if not any(fault.stops for fault in faults):
        missed, lines = covered(source, build())
        faults += missed
    show_first(faults, show, most)
    for line in lines:
        show(line)
    show(summary(source, faults))
    require_none(faults)
    divided(catalogue, source.split, seed)


def covered(source: Source, model: nn.Module) -> tuple[list[Fault], list[str]]:
    """What the anchors of a detector miss, and a histogram of how well they cover objects; nothing without anchors."""
    anchors = anchors_of(model, source.size)
    if anchors is None:
        return [], []
    coverage = anchor_coverage(source.used, anchors)
    faults, lines = coverage.faults(), ["how well anchors cover the objects: the best IoU of each", *coverage.lines()]
    if faults:
        boxes = anchors((source.size, source.size))
        sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
        lines.append(
            f"anchors have sides of {sides.min():.0f} to {sides.max():.0f} pixels in squares of {source.size}: "
            "another --size makes objects larger or smaller"
        )
    return faults, lines


def anchors_of(model: nn.Module, side: int) -> Callable[[tuple[int, int]], np.ndarray] | None:
    """The anchors of a detector for squares of this side, in the pixels of a picture (height, width) that is fitted
    into one; None if it has no anchors."""
    anchors = getattr(getattr(model, "rpn", model), "anchors", None)
    if anchors is None:
        return None
    boxes, _ = anchors.boxes([(math.ceil(side / stride),) * 2 for stride in anchors.strides], (side, side))
    return lambda size: boxes * (max(size) / side)


def summary(source: Source, faults: Sequence[Fault]) -> str:
    """How many pictures, objects of each class, errors and warnings there are."""
    used, kinds = source.used, Counter(fault.kind for fault in faults)
    counts = Counter(thing.name for picture in used.pictures for thing in picture.things)
    classes = ", ".join(f"{name} {counts[name]}" for name in used.classes)
    counted = (
        _counted(len(used), "picture"), f"{_counted(counts.total(), 'object')} ({classes})",
        _counted(kinds["error"], "error"), _counted(kinds["warning"], "warning"),
    )  # fmt: skip
    return f"{source.data}: " + ", ".join(counted) + (f", {kinds[LEFT_OUT]} left out" if kinds[LEFT_OUT] else "")


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"

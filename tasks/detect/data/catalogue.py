"""Pictures with their annotations as the readers give them, before they are checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from minidl import data

from ...faults import Fault
from .outlines import masked
from .records import Target

PARTS = {"train": "train", "training": "train", "val": "test", "valid": "test", "validation": "test", "test": "test"}


@dataclass(frozen=True)
class Thing:
    """One object as its file has it. `box` is x1, y1, x2, y2 in our convention, `raw` the four numbers in the file."""

    where: str  # "instances.json, annotations[12]"
    name: str | None  # of its class; None if the file has none
    box: tuple[float, float, float, float]
    raw: tuple[float, float, float, float]
    crowd: bool = False
    outline: list | dict | None = None  # polygons or run lengths, as in COCO
    keypoints: list | None = None  # x, y, visible, x, y, visible ...
    area: float | None = None


@dataclass(frozen=True)
class Picture:
    """A file with an image, its (height, width) as the annotations have it (None if they do not), and its objects.

    part: "train" or "test" if the data set says so, else empty.
    """

    where: str
    path: Path
    size: tuple[int, int] | None
    things: list[Thing] = field(default_factory=list)
    part: str = ""


@dataclass(frozen=True)
class Catalogue:
    """``catalogue[i]`` is an image, float32 (3, H, W) in [0, 1], read on access, and its `Target`.

    classes: their names; a label is the position in them. form: what the boxes are in the file, "xywh", "xyxy" or
    "shares" of the picture's sides.
    points: the names of the keypoints, empty if there are none. strays: objects of pictures that are not listed.
    faults: records that could not be read and so are not here, and what else the reader found.
    bits: of pictures deeper than bytes. upright: whether boxes are on pictures as EXIF says that they are shown, not on
    the pixels as they are stored; both as in `minidl.data.read_image`.
    """

    classes: tuple[str, ...]
    pictures: list[Picture]
    form: str
    points: tuple[str, ...] = ()
    strays: tuple[Thing, ...] = ()
    faults: tuple[Fault, ...] = ()
    bits: int | None = None
    upright: bool = True

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> tuple[np.ndarray, Target]:
        image = data.read_image(self.pictures[i].path, bits=self.bits, upright=self.upright)
        return image, self.target(i, image.shape[1:])

    def target(self, i: int, size: tuple[int, int] | None = None) -> Target:
        """What is in picture i. Masks are given if all its objects have an outline; size is needed if unlisted.

        Raises ValueError, naming the object, for a class that is not known and for what has no meaning.
        """
        picture = self.pictures[i]
        things, size = picture.things, size or picture.size
        for thing in things:
            if thing.name not in self.classes:
                raise ValueError(f"{thing.where}: class {thing.name!r} is not one of {', '.join(self.classes)}")
        masks = points = areas = None
        if things and all(thing.outline for thing in things):
            masks = np.stack([masked(thing.outline, size, thing.where) for thing in things])
        if self.points:
            points = np.stack([_points(thing, len(self.points)) for thing in things]) if things else None
            points = np.zeros((0, len(self.points), 3)) if points is None else points
        if any(thing.area is not None for thing in things):
            areas = [np.nan if thing.area is None else thing.area for thing in things]
        boxes, labels = [thing.box for thing in things], [self.classes.index(thing.name) for thing in things]
        return Target(boxes, labels, masks, points, [thing.crowd for thing in things], areas)

    def without(self, records: Iterable[object]) -> Catalogue:
        """All but these pictures and objects."""
        out = {id(record) for record in records}
        pictures = [
            replace(picture, things=[thing for thing in picture.things if id(thing) not in out])
            for picture in self.pictures
            if id(picture) not in out
        ]
        return replace(self, pictures=pictures, strays=tuple(s for s in self.strays if id(s) not in out))

    def boxes_alone(self) -> Catalogue:
        """Without outlines and keypoints."""
        pictures = [
            replace(picture, things=[replace(thing, outline=None, keypoints=None) for thing in picture.things])
            for picture in self.pictures
        ]
        return replace(self, pictures=pictures, points=())

    def split(self, fractions: Sequence[float], seed: int) -> list[Catalogue]:
        """Disjoint parts of the pictures, shuffled: see `minidl.data.split`."""
        return [
            replace(self, pictures=[self.pictures[i] for i in part])
            for part in data.split(len(self), fractions, seed=seed)
        ]

    def stated_parts(self) -> dict[str, Catalogue] | None:
        """The pictures to train on and to test on, if the data set has both; those of no part are trained on."""
        parts = {
            name: replace(self, pictures=[p for p in self.pictures if (p.part or "train") == name])
            for name in ("train", "test")
        }
        return parts if any(p.part == "train" for p in self.pictures) and len(parts["test"]) else None


def _points(thing: Thing, count: int) -> np.ndarray:
    numbers = thing.keypoints or [0] * (3 * count)
    if len(numbers) != 3 * count:
        raise ValueError(f"{thing.where}: {count} keypoints are {3 * count} numbers, got {len(numbers)}")
    return np.array(numbers, np.float32).reshape(count, 3)

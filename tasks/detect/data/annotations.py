"""What is wrong with annotations: checked before anything is trained on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from minidl.files.pictures import white_of
from minidl.files.pixels import image_size, read_pixels

from ...faults import LEFT_OUT, Fault, error, warning
from ..evaluate.overlap import box_overlap
from .catalogue import Catalogue, Picture, Thing
from .outlines import parsed

SLACK = 1.0  # pixels by which a box may leave its picture
SUSPECT = 0.2  # share of boxes that make no sense as they are read from which the format is suspected
BINS = np.linspace(0, 1, 11)
COVERED = 0.5  # IoU with an anchor below which a truth is hard to match


def examine(catalogue: Catalogue, show: Callable[[], object] = lambda: None) -> list[Fault]:
    """All that is wrong with what a reader gave, errors first; each fault names its record (file and index).

    Every picture is decoded; ``show()`` is called after each.
    Errors: no pictures; records that cannot be read; a file that is missing, no whole image, or of another size than
    annotated; objects of pictures that are not listed; classes that are not known; boxes without area, of no finite
    numbers or outside the picture; boxes that look as if they were given in another format; outlines and keypoints that
    cannot be read.
    Warnings: boxes that leave the picture by more than a pixel or are smaller than one; records that occur twice;
    pictures without objects; classes without objects; visible keypoints outside the picture; pictures that EXIF turns;
    parts of outlines without area; an id that pycocotools does not take.
    """
    faults = [error("there are no pictures")] if not catalogue.pictures else []
    faults += catalogue.faults
    sizes, unreadable = _looked_at(catalogue, show)
    faults += unreadable
    faults += [error(f"{thing.where}: its picture is not listed", thing) for thing in catalogue.strays]
    suspicion = wrong_format(catalogue, sizes)
    faults += [error(suspicion)] if suspicion else []
    for picture, size in zip(catalogue.pictures, sizes):
        for thing in picture.things:
            faults += _thing_faults(catalogue, picture, thing, size, boxes=not suspicion)
    faults += _duplicates(catalogue) + _empty(catalogue)
    return sorted(faults, key=lambda fault: fault.kind)  # errors, then warnings


def show_first(faults: Sequence[Fault], show: Callable[[str], object], most: int) -> None:
    """Show the first `most` errors, as many of what is left out, and as many warnings."""
    for kind, several in (("error", "errors"), (LEFT_OUT, LEFT_OUT), ("warning", "warnings")):
        chosen = [fault for fault in faults if fault.kind == kind]
        for fault in chosen[:most]:
            show(str(fault))
        if len(chosen) > most:
            show(f"... and {len(chosen) - most} more {several}")


def require_none(faults: Sequence[Fault]) -> None:
    """Raise ValueError if there are errors among them."""
    errors = [fault for fault in faults if fault.stops]
    if errors:
        advice = "; --skip-bad leaves such records out" if all(fault.skippable for fault in errors) else ""
        raise ValueError(f"the annotations have {len(errors)} errors, the first: {errors[0].line}{advice}")


# --- pictures


def _looked_at(catalogue: Catalogue, show: Callable[[], object]) -> tuple[list[tuple[int, int] | None], list[Fault]]:
    """The (height, width) of each picture, its file's, else what is annotated; and what is wrong with the files."""
    sizes, faults, turned = [], [], []
    with ThreadPoolExecutor() as pool:
        found = pool.map(partial(_decoded, catalogue), catalogue.pictures)
        for picture, (size, turn, fault) in zip(catalogue.pictures, found):
            if size and picture.size and size != picture.size:
                fault = f"annotated as {_sides(picture.size)}, but {picture.path} is {_sides(size)}"
                if turn != 1 and picture.size == size[::-1]:
                    fault += f" {_as_read(catalogue)}: {_otherwise(catalogue)}"
            elif turn != 1:
                turned.append(picture.where)
            if fault:
                faults.append(error(f"{picture.where}: {fault}", picture))
            sizes.append(size or picture.size)
            show()
    if turned:
        many = f" and {len(turned) - 1} others" if len(turned) > 1 else ""
        faults.append(warning(
            f"{turned[0]}{many}: EXIF says that the picture is to be turned; boxes are taken to be on it "
            f"{_as_read(catalogue)}; {_otherwise(catalogue)}"
        ))  # fmt: skip
    return sizes, faults


def _decoded(catalogue: Catalogue, picture: Picture) -> tuple[tuple[int, int] | None, int, str | None]:
    """Height and width of the image as `read_image` gives it, its EXIF orientation, or why it cannot be read."""
    try:
        pixels = read_pixels(picture.path, upright=catalogue.upright)
        white_of(pixels.values, catalogue.bits, picture.path)
    except FileNotFoundError:
        return None, 1, f"there is no file {picture.path}"
    except (OSError, ValueError) as reason:
        return None, 1, str(reason)
    return pixels.values.shape[:2], pixels.turn, None


def _as_read(catalogue: Catalogue) -> str:
    return "as it is shown" if catalogue.upright else "as it is stored"


def _otherwise(catalogue: Catalogue) -> str:
    return "--as-stored if they are on its pixels as stored" if catalogue.upright else "it turns without --as-stored"


def _sides(size: tuple[int, int]) -> str:
    return f"{size[1]} wide and {size[0]} high"


def _duplicates(catalogue: Catalogue) -> list[Fault]:
    """Pictures that are listed again, and objects of the same class and box in one picture."""
    faults, listed = [], {}
    for picture in catalogue.pictures:
        first = listed.setdefault(picture.path, picture)
        if first is not picture:
            faults.append(warning(f"{picture.where}: {picture.path} is listed before, as {first.where}"))
        known: dict[tuple, Thing] = {}
        for thing in picture.things:
            first_thing = known.setdefault((thing.name, thing.box), thing)
            if first_thing is not thing:
                faults.append(warning(f"{thing.where}: same class and box as {first_thing.where}"))
    return faults


def _empty(catalogue: Catalogue) -> list[Fault]:
    empty = [warning(f"{p.where}: no objects") for p in catalogue.pictures if not p.things]
    counts = Counter(thing.name for picture in catalogue.pictures for thing in picture.things)
    return empty + [warning(f"class {name!r} has no objects") for name in catalogue.classes if not counts[name]]


# --- objects


def _thing_faults(
    catalogue: Catalogue, picture: Picture, thing: Thing, size: tuple[int, int] | None, boxes: bool
) -> Iterator[Fault]:
    if thing.name not in catalogue.classes:
        known = ", ".join(catalogue.classes[:8]) + (" ..." if len(catalogue.classes) > 8 else "")
        given = f"class {thing.name!r} is none of {known}" if thing.name else "its class is not in the list of classes"
        yield error(f"{thing.where}: {given}", thing)
    if boxes:
        yield from _box_faults(thing, size, picture)
    if size and thing.outline:
        try:
            parts = parsed(thing.outline, size, thing.where)
        except ValueError as reason:
            yield error(str(reason), thing)
        else:
            if (blank := len(thing.outline) - len(parts)) and isinstance(thing.outline, list):
                yield warning(f"{thing.where}: {blank} of {len(thing.outline)} polygons have less than 3 corners")
    if catalogue.points and thing.keypoints:
        yield from _point_faults(thing, len(catalogue.points), size)


def _box_faults(thing: Thing, size: tuple[int, int] | None, picture: Picture) -> Iterator[Fault]:
    x1, y1, x2, y2 = thing.box
    at = f"{thing.where}: box x1={x1:g} y1={y1:g} x2={x2:g} y2={y2:g}"
    if not all(map(math.isfinite, thing.box)):
        yield error(f"{at} is not of finite numbers", thing)
    elif x2 <= x1 or y2 <= y1:
        yield error(f"{at} has no area: {x2 - x1:g} wide and {y2 - y1:g} high", thing)
    elif size and (x2 <= 0 or y2 <= 0 or x1 >= size[1] or y1 >= size[0]):
        yield error(f"{at} lies outside of {picture.path.name}, {_sides(size)}", thing)
    elif size and max(-x1, -y1, x2 - size[1], y2 - size[0]) > SLACK:
        yield warning(f"{at} leaves {picture.path.name}, {_sides(size)}")
    elif min(x2 - x1, y2 - y1) < 1:
        yield warning(f"{at} is smaller than a pixel: {x2 - x1:g} wide and {y2 - y1:g} high")


def _point_faults(thing: Thing, count: int, size: tuple[int, int] | None) -> Iterator[Fault]:
    if len(thing.keypoints) != 3 * count:
        yield error(f"{thing.where}: {count} keypoints are {3 * count} numbers, got {len(thing.keypoints)}", thing)
        return
    points = np.array(thing.keypoints, float).reshape(count, 3)
    for p, (x, y, visible) in enumerate(points):
        if visible > 0 and size and not (-SLACK <= x <= size[1] + SLACK and -SLACK <= y <= size[0] + SLACK):
            yield warning(f"{thing.where}: keypoint {p} at x={x:g} y={y:g} is outside, {_sides(size)}")


def wrong_format(catalogue: Catalogue, sizes: list[tuple[int, int] | None]) -> str | None:
    """What the boxes look like, if not like what the format asks for; None if they look right.

    The numbers of a box, a, b, c, d, are read in the file's format and in the other: if a fifth of the boxes, and at
    least two, make no sense as they are read, and all make sense in the other, the other was meant. And numbers that
    all lie within 0 and 1 are shares of the picture's sides. Where shares are the format, the reader has looked.
    """
    if catalogue.form == "shares":
        return None
    records = [
        (thing, size)
        for picture, size in zip(catalogue.pictures, sizes)
        for thing in picture.things
        if size and all(map(math.isfinite, thing.raw))
    ]
    if not records:
        return None
    if all(0 <= number <= 1 for thing, _ in records for number in thing.raw):
        thing = records[0][0]
        return f"{thing.where}: box {_plain(thing)}, and all others lie within 0 and 1: shares, but pixels are needed"
    wrong = [thing for thing, size in records if not _sensible(thing.raw, size, catalogue.form)]
    other = "xyxy" if catalogue.form == "xywh" else "xywh"
    if len(wrong) < max(2, SUSPECT * len(records)) or not all(_sensible(t.raw, size, other) for t, size in records):
        return None
    meant = {"xyxy": "x1, y1, x2, y2", "xywh": "x, y, width, height"}
    return (
        f"{wrong[0].where}: box {_plain(wrong[0])} and {len(wrong) - 1} of {len(records) - 1} others make no sense as "
        f"{meant[catalogue.form]}, which the format asks for; all do as {meant[other]}"
    )


def _plain(thing: Thing) -> str:
    return "[" + ", ".join(f"{number:g}" for number in thing.raw) + "]"


def _sensible(raw: tuple[float, float, float, float], size: tuple[int, int], form: str) -> bool:
    a, b, c, d = raw
    right, bottom = (a + c, b + d) if form == "xywh" else (c, d)
    inside = min(a, b) >= -SLACK and right <= size[1] + SLACK and bottom <= size[0] + SLACK
    return inside and right > a and bottom > b


# --- anchors


class Coverage(NamedTuple):
    """The highest IoU of each truth with an anchor: `best` (K,), and which object it is."""

    best: np.ndarray
    things: list[Thing]

    def histogram(self) -> np.ndarray:
        """How many truths have their best IoU in 0 to 0.1, ..., 0.9 to 1: int (10,)."""
        return np.histogram(self.best, BINS)[0]

    def lines(self) -> list[str]:
        """The histogram as text, a line for each bin."""
        counts = self.histogram()
        longest = max(1, counts.max(initial=1))
        return [
            f"best IoU {low:.1f} to {low + 0.1:.1f}  {n:6d}  {'#' * round(40 * n / longest)}".rstrip()
            for low, n in zip(BINS, counts)
        ]

    def faults(self) -> list[Fault]:
        """One warning, naming the worst, if anchors miss truths: the best IoU is below one half."""
        missed = np.count_nonzero(self.best < COVERED)
        if not missed:
            return []
        worst = int(self.best.argmin())
        x1, y1, x2, y2 = self.things[worst].box
        line = (
            f"{self.things[worst].where}: no anchor has an IoU above {self.best[worst]:.2f} with this box, {x2 - x1:g} "
            f"wide and {y2 - y1:g} high; the best is below {COVERED} for {missed} of {len(self.best)} truths: change "
            f"the anchors"
        )
        return [warning(line)]


def anchor_coverage(catalogue: Catalogue, anchors: Callable[[tuple[int, int]], np.ndarray]) -> Coverage:
    """How well anchors cover the truths; ``anchors((height, width))`` gives those of a picture of this size, (A, 4).

    They are in the pixels of the picture as its file has it. Crowds do not count.
    """
    best, things, known = [], [], {}
    for picture in catalogue.pictures:
        size = picture.size or image_size(picture.path, upright=catalogue.upright)
        mine = [thing for thing in picture.things if not thing.crowd]
        if not mine:
            continue
        if size not in known:
            known = {size: np.asarray(anchors(size))}  # one is kept: pictures of one size often come together
        best.append(best_overlap(np.array([thing.box for thing in mine]), known[size]))
        things += mine
    return Coverage(np.concatenate([np.zeros(0), *best]), things)


def best_overlap(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The highest IoU of each box (K, 4) with any of the anchors (A, 4): (K,); 0 without anchors."""
    return np.array([box_overlap(box[None], anchors)[0].max(initial=0) for box in boxes])

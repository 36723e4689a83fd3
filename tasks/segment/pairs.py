"""A folder of pictures and masks: paired, checked, understood, divided. Each fault is one line that names the file.

A mask holds class numbers 0, 1, 2, ..., or 0 and one other value for two classes (0 and 255 is common); with more
classes, 255 is where nothing is known. Or it numbers objects: see numbering.py. Which files: see layouts.py.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minidl import data
from minidl.files.pixels import deep_pixels, opened, orientation

from ..faults import LEFT_OUT, Fault
from ..stacks import Page, as_pages, read_picture
from .data import IGNORED
from .layouts import found_pairs
from .numbering import CLASSES, Numbers, judged, numbers_of

PARTS = ("training", "validation", "test")
SHARES = (0.7, 0.15, 0.15)


class Pair(NamedTuple):
    """A picture, its mask, and the part of the data that they fall into."""

    image: Path | Page
    mask: Path | Page
    part: str = ""


class Content(NamedTuple):
    """What a pair of files holds: is it gray, the digest of the picture (none of a blank one), each value in the mask
    and its pixels, and whether these could be the numbers of objects."""

    gray: bool
    digest: str | None
    values: dict[int, int]
    numbers: Numbers


@dataclass
class Checkup:
    """What was found. table: for each value in the masks the class that it means, IGNORED where nothing is known;
    none where masks number objects (`instances`)."""

    folder: str
    faults: list[Fault] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    table: dict[int, int] = field(default_factory=dict)
    gray: bool = True
    bits: int | None = None
    upright: bool = True  # pictures are turned as their EXIF says
    instances: bool = False
    ignore: int | None = None

    @property
    def classes(self) -> int:
        if self.instances:
            return 2
        known = [c for c in self.table.values() if c != IGNORED]
        return max([1, *known]) + 1

    def count(self, kind: str) -> int:
        return sum(fault.kind == kind for fault in self.faults)

    def add(self, kind: str, file: Path | Page | str, text: str) -> None:
        """A fault of one file, or, for a string, of the folder."""
        self.faults.append(Fault(kind, f"{file}: {text}", None if isinstance(file, str) else file))

    def summary(self) -> str:
        parts = Counter(pair.part for pair in self.pairs)
        split = ", ".join(f"{parts[name]} {name}" for name in PARTS)
        skipped = self.count(LEFT_OUT)
        what = "objects numbered" if self.instances else f"{self.classes} classes"
        return (
            f"{self.folder}: {len(self.pairs)} pictures with masks ({split}), {what}; "
            f"{self.count('error')} errors, {self.count('warning')} warnings" + f", {skipped} left out" * bool(skipped)
        )


def examine(
    folder: str | os.PathLike, *, patch: int, seed: int, ignore: int | None = None, bits: int | None = None,
    skip_bad: bool = False, as_stored: bool = False, masks: str = "classes", show: Callable = lambda: None,
) -> Checkup:  # fmt: skip
    """Look through a folder. patch: what no picture may be smaller than; bits: see `minidl.data.read_image`; masks:
    what their numbers are, "classes" or "instances".

    skip_bad: files with errors are left out, with their pairs. as_stored: masks are on the pixels as the files of the
    pictures store them, not as EXIF turns them. ``show()`` is called after each pair.
    Raises FileNotFoundError if the folder, or one of the two in it, is not there.
    """
    checkup = Checkup(str(folder), bits=bits, upright=not as_stored, instances=masks == "instances", ignore=ignore)
    found = pairs(Path(folder), checkup)
    contents: dict[Pair, Content] = {}
    for pair in found:
        if (content := look(pair, patch, checkup)) is not None:
            contents[pair] = content
        show()
    checkup.faults = [fault.skipped() if skip_bad and fault.skippable else fault for fault in checkup.faults]
    judged = judge(checkup, contents, seed)
    while skip_bad and (bad := [fault for fault in judged.faults if fault.skippable]):
        checkup.faults += [fault.skipped() for fault in bad]
        files = {fault.record for fault in bad}
        contents = {pair: content for pair, content in contents.items() if not files & {pair.image, pair.mask}}
        judged = judge(checkup, contents, seed)
    return judged


def judge(checkup: Checkup, contents: dict[Pair, Content], seed: int) -> Checkup:
    """The checkup with its pairs divided, the values in the masks understood, and what is wrong with all together."""
    parts = zip(contents, divided(list(contents), seed))
    checkup = replace(checkup, faults=list(checkup.faults), pairs=[pair._replace(part=part) for pair, part in parts])
    if len(contents) < len(PARTS):
        few = f"{len(contents)} usable pairs; 3 are the least: to train, to validate, to test"
        checkup.add("error", checkup.folder, few)
    checkup.gray = all(content.gray for content in contents.values())
    values = {pair.mask: content.values for pair, content in contents.items()}
    if checkup.instances:
        counted([content.numbers for content in contents.values()], values, checkup)
    else:
        understand(values, checkup)
        if contents and judged([content.numbers for content in contents.values()]) == "unclear":
            text = "the values in the masks may number objects: if so, say --masks instances"
            checkup.add("warning", checkup.folder, text)
    leaks(checkup, {pair.image: content.digest for pair, content in contents.items()})
    return checkup


def split(n: int, seed: int) -> list[str]:
    """The part of each of n pairs, drawn by the seed: SHARES, at least one in each where there are three."""
    least = max(1, round(SHARES[1] * n))
    parts = np.full(n, PARTS[0], dtype=object)
    order = data.split(n, (1,), seed=seed)[0] if n else []
    parts[order[:least]] = PARTS[2]
    parts[order[least : 2 * least]] = PARTS[1]
    return list(parts)


def divided(pairs: list[Pair], seed: int) -> list[str]:
    """The part of each pair: the pages of a file are in one part; of one or two files, neighbours are."""
    files = list(dict.fromkeys(pair.image.path if isinstance(pair.image, Page) else pair.image for pair in pairs))
    if len(files) == len(pairs):
        return split(len(pairs), seed)
    if len(files) >= len(PARTS):
        part = dict(zip(files, split(len(files), seed)))
        return [part[pair.image.path if isinstance(pair.image, Page) else pair.image] for pair in pairs]
    few = max(1, round(SHARES[1] * len(pairs)))
    return ([PARTS[0]] * (len(pairs) - 2 * few) + [PARTS[1]] * few + [PARTS[2]] * few)[: len(pairs)]


# --- files


def pairs(folder: Path, checkup: Checkup) -> list[Pair]:
    """Pictures and their masks, as the folder lays them out."""
    return [Pair(image, mask) for image, mask in found_pairs(folder, checkup.add)]


def look(pair: Pair, patch: int, checkup: Checkup) -> Content | None:
    """Read a pair; None if it cannot be used."""
    image, mask, _ = pair
    before = checkup.count("error")
    pixels = labels = None
    try:
        pixels = read_picture(image, bits=checkup.bits, upright=checkup.upright)
    except (ValueError, OSError) as error:
        checkup.add("error", image, _cause(image, error))
    try:
        labels = read_values(mask)
    except (ValueError, OSError) as error:
        checkup.add("error", mask, _cause(mask, error))
    if pixels is None or labels is None:
        return None
    height, width = pixels.shape[1:]
    turned = _turned(image)
    shown = "as it is shown" if checkup.upright else "as it is stored"
    otherwise = "--as-stored if it is on the pixels as stored" if checkup.upright else "it turns without --as-stored"
    if labels.shape != (height, width):
        sizes = f"{labels.shape[1]}x{labels.shape[0]}, the picture {image.name} is {width}x{height}"
        aside = f" {shown}: {otherwise}" if turned and labels.shape == (width, height) else ""
        checkup.add("error", mask, f"the mask is {sizes}{aside or ': they must be of one size'}")
    elif turned:
        turns = "EXIF says that the picture is to be turned"
        checkup.add("warning", image, f"{turns}; its mask is taken to be on it {shown}; {otherwise}")
    if min(height, width) < patch:
        advice = f"--patch {min(height, width) // 16 * 16}" if min(height, width) >= 16 else "a larger picture"
        checkup.add("error", image, f"{width}x{height} is smaller than a patch of {patch}x{patch}; use {advice}")
    if pixels.min() == pixels.max():
        checkup.add("warning", image, f"every pixel is {round(255 * float(pixels.min()))}: there is nothing to see")
    if checkup.count("error") > before:
        return None
    values = dict(zip(*(a.tolist() for a in np.unique(labels, return_counts=True))))
    blank = pixels.min() == pixels.max()
    digest = None if blank else hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    return Content(bool((pixels == pixels[:1]).all()), digest, values, numbers_of(labels))


def _turned(image: Path | Page) -> bool:
    """Whether EXIF says that a picture is to be turned."""
    if isinstance(image, Page):
        return False
    with opened(image) as file:
        return orientation(file) != 1


def read_values(path: Path | Page) -> np.ndarray:
    """The value of each pixel of a mask, (H, W): gray values, or the numbers of a palette. Raises ValueError."""
    if isinstance(path, Page):
        pixels, bands = as_pages(path.path, "mask")[path.number], "L"
    elif path.suffix.lower() in (".tif", ".tiff") and (deep := deep_pixels(path)) is not None:
        pixels, bands = deep, "RGB"[: deep.shape[2]]
    else:
        with opened(path) as file:
            if file.mode == "1":
                return np.asarray(file).astype(np.uint8)
            pixels, bands = np.asarray(file), file.getbands()
    if pixels.ndim == 3:
        colours = pixels[..., : 3 if len(bands) >= 3 else 1]  # without alpha
        if (colours != colours[..., :1]).any():
            count = len(np.unique(colours.reshape(-1, colours.shape[-1]), axis=0))
            raise ValueError(f"{path}: a colour mask ({count} colours); save one number per class, as gray or palette")
        pixels = colours[..., 0]
    if pixels.dtype.kind == "f":
        if (pixels != np.rint(pixels)).any():
            raise ValueError(f"{path}: a mask of fractions; save one whole number per class")
        pixels = pixels.astype(np.int64)
    return pixels


def _cause(path: Path, error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).removeprefix(f"{path}: ")


# --- what the values mean


def counted(numbers: list[Numbers], values: dict[Path | Page, dict[int, int]], checkup: Checkup) -> None:
    """Say how masks that number objects are used; warn of those without any."""
    checkup.table = {}
    most = max((len(mask.values) for mask in numbers), default=0)
    use = "trained on as foreground, with lines of background between those that touch, and counted"
    text = f"masks number objects, up to {most} in a picture: they are {use}; --masks classes if they are classes"
    checkup.add("note", checkup.folder, text)
    for mask, found in zip(values, numbers):
        if not found.values:
            checkup.add("warning", mask, "empty: every pixel is background")
    if values and not most:
        checkup.add("error", checkup.folder, "all masks are empty: there is nothing to learn")


def understand(values: dict[Path | Page, dict[int, int]], checkup: Checkup) -> None:
    """Find the class of each value; name the masks with values that mean none, and those with one class only."""
    ignore = checkup.ignore
    shades = {mask: len(v) for mask, v in values.items() if len(v) > CLASSES}
    for mask, count in shades.items():
        jpeg = "a JPEG" if mask.suffix.lower() in (".jpg", ".jpeg") else "smoothed, or once a JPEG"
        checkup.add("error", mask, f"{count} gray values are no classes: {jpeg}? save masks as PNG, not resampled")
    plain = {mask: set(v) - {ignore} for mask, v in values.items() if mask not in shades}
    if not plain:
        return
    accepted = meaning(plain, checkup)
    for mask, present in plain.items():
        if odd := sorted(present - accepted.keys()):
            listed = ", ".join(map(str, odd[:5])) + (", ..." if len(odd) > 5 else "")
            jpeg = " (a JPEG changes values: save masks as PNG)" if mask.suffix.lower() in (".jpg", ".jpeg") else ""
            text = f"unexpected value{'s' * (len(odd) > 1)} {listed}; most masks have {_few(accepted)}{jpeg}"
            checkup.add("error", mask, f"{text}; --ignore N leaves a value out" if not jpeg else text)
    checkup.table = accepted if ignore is None else {**accepted, ignore: IGNORED}
    one_sided({mask: values[mask] for mask, present in plain.items() if present <= accepted.keys()}, checkup)


def meaning(masks: dict[Path | Page, set[int]], checkup: Checkup) -> dict[int, int]:
    """The class of each value that most masks have: 0, 1, 2, ...; two values 0 and v; 255 for the unknown."""
    common = Counter(value for present in masks.values() for value in present)
    large = {v for v in common if v >= CLASSES}
    small = {v for v in common if 0 <= v < CLASSES}
    numbered = sum(bool(present & (small - {0})) for present in masks.values())
    bright = sum(bool(present & large and not present & (small - {0})) for present in masks.values())
    if bright > numbered:
        return _binary(common, large, checkup)
    table = {value: value for value in range(max(small, default=1) + 1)}
    if 255 in large:
        _note_unknown(masks, checkup)
        table[255] = IGNORED
    for missing in sorted(set(table) - set(common) - {0}):
        checkup.add("warning", checkup.folder, f"no mask has class {missing}, but some have higher ones")
    return table


def _binary(common: Counter, large: set[int], checkup: Checkup) -> dict[int, int]:
    value = max(large, key=lambda v: (common[v], v))
    checkup.add("note", checkup.folder, f"masks hold 0 and {value}: {value} is taken for class 1")
    return {0: 0, value: 1}


def _note_unknown(masks: dict[Path | Page, set[int]], checkup: Checkup) -> None:
    """Say that 255 is ignored, unless some masks are of 0 and 1 and others of 0 and 255."""
    both = any({1, 255} <= present for present in masks.values())
    top = max(v for present in masks.values() for v in present if v < CLASSES)
    if not both and top == 1:
        odd = next(mask for mask, present in masks.items() if 255 in present)
        checkup.add("error", odd, "is of 0 and 255, others are of 0 and 1: save all masks alike")
    else:
        checkup.add("note", checkup.folder, "the value 255 is taken for unknown: such pixels count for nothing")


def one_sided(values: dict[Path | Page, dict[int, int]], checkup: Checkup) -> None:
    """Warn of masks without background, or without anything else; an error if all are empty."""
    empty = 0
    for mask, pixels in values.items():
        classes = {checkup.table.get(value, 0) for value in pixels} - {IGNORED}
        if not classes:
            checkup.add("warning", mask, "every pixel is unknown: nothing can be learnt from it")
        elif classes == {0}:
            empty += 1
            checkup.add("warning", mask, "empty: every pixel is background")
        elif 0 not in classes and len(classes) == 1:
            checkup.add("warning", mask, f"all foreground: every pixel is of class {classes.pop()}")
    if values and empty == len(values):
        checkup.add("error", checkup.folder, "all masks are empty: there is nothing to learn")


def _few(accepted: dict[int, int]) -> str:
    names = [str(v) for v in accepted]
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} to {names[-1]}"


def leaks(checkup: Checkup, digests: dict[Path | Page, str | None]) -> None:
    """Name pictures that are there twice: an error if one is trained on and the other tested."""
    first: dict[str, Pair] = {}
    for pair in checkup.pairs:
        if digests[pair.image] is None:
            continue
        other = first.setdefault(digests[pair.image], pair)
        if other is pair:
            continue
        if other.part != pair.part:
            text = f"a leak: the same picture as {other.image.name}; one is {pair.part}, the other {other.part} data"
            checkup.add("error", pair.image, f"{text}: keep one")
        else:
            checkup.add("warning", pair.image, f"the same picture as {other.image.name}, both {pair.part} data")

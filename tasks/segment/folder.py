"""A user's own pictures and masks, checked and read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..command import each, progress
from ..faults import LEFT_OUT
from ..stacks import read_picture
from .augment import separated
from .data import IGNORED, MaskDataset, MaskPart
from .numbering import judged, numbers_of, renumbered
from .pairs import PARTS, Checkup, Pair, examine, pairs, read_values


def checked(folder: str, *, quiet: bool, **how: Any) -> Checkup:
    """What is found in a folder; how: the arguments of `examine`."""
    count = len(pairs(Path(folder), Checkup(folder)))
    with progress(f"checking {count} pictures", count, quiet) as show:
        return examine(folder, show=show, **how)


def read(checkup: Checkup, quiet: bool) -> MaskDataset:
    """The pictures of a folder and what they show, in their three parts.

    Faults go to stderr: errors and what is left out always, the rest unless quiet. Raises ValueError if there are
    errors.
    """
    for fault in checkup.faults:
        if fault.stops or fault.kind == LEFT_OUT or not quiet:
            print(fault, file=sys.stderr)
    stop_on_errors(checkup)
    with progress("reading the pictures", len(checkup.pairs), quiet) as show:
        parts = {name: _part([p for p in checkup.pairs if p.part == name], checkup, show) for name in PARTS}
    names = ["background", *(["object"] if checkup.classes == 2 else map("class {}".format, range(1, checkup.classes)))]
    return MaskDataset(Path(checkup.folder).name, names, parts["training"], parts["test"], parts["validation"])


def stop_on_errors(checkup: Checkup) -> None:
    """Raise ValueError if there are any."""
    if count := checkup.count("error"):
        found = "the error above" if count == 1 else f"the {count} errors above"
        raise ValueError(f"{checkup.folder}: mend {found} first, or leave bad files out with --skip-bad")


def _part(pairs: list[Pair], checkup: Checkup, show: Callable) -> MaskPart:
    part = MaskPart([], [], [])
    for pair in each(pairs, show):
        part.names.append(str(pair.image))
        part.images.append(read_picture(pair.image, gray=checkup.gray, bits=checkup.bits, upright=checkup.upright))
        values = read_values(pair.mask)
        if checkup.instances:
            part.instances.append(separated(renumbered(values, checkup.ignore)))
            labels = (part.instances[-1] > 0).astype(np.uint8)
            part.labels.append(np.where(values == checkup.ignore, np.uint8(IGNORED), labels))
        else:
            part.labels.append(classes(values, checkup.table))
    return part


def numbering(folder: str) -> str:
    """What the numbers in the masks of a folder seem to be: "instances" or "classes"."""
    numbers = []
    try:
        for pair in pairs(Path(folder), Checkup(folder)):
            try:
                numbers.append(numbers_of(read_values(pair.mask)))
            except (ValueError, OSError):  # the checkup says what is wrong
                continue
    except FileNotFoundError:
        return "classes"
    return "instances" if judged(numbers) == "instances" else "classes"


def classes(values: np.ndarray, table: dict[int, int]) -> np.ndarray:
    """The class of each pixel for the value in its mask, uint8."""
    result = np.zeros(values.shape, np.uint8)
    for value, number in table.items():
        result[values == value] = number
    return result

"""A user's own pictures: their range, and what to do with those that cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np

from minidl import data

from .command import each
from .faults import LEFT_OUT, Fault
from .options import AtLeast, TaskSettings


@dataclass(frozen=True, kw_only=True)
class OwnPictures(TaskSettings):
    """What settings of a task have that reads a user's pictures."""

    # reading your own pictures
    bits: Annotated[int | None, AtLeast(0)] = None  # of those deeper than bytes: 2^N - 1 is white (what all need)
    skip_bad: bool = False  # leave out what cannot be used, and list it, instead of stopping

    def picture_files(self) -> Iterable[Path]:
        """The files of the data set."""
        return []

    def completed(self) -> Self:
        """With what the data decide: the bits, if they are not named."""
        return replace(self, bits=data.bit_depth(self.picture_files())) if self.bits is None else self


def images_below(folder: str | None) -> list[Path]:
    """The images below a folder, if it is there and has some: what is missing is reported where they are read."""
    try:
        return data.image_files(folder) if folder is not None else []
    except FileNotFoundError:
        return []


def readable(
    files: Sequence[Path], show: Callable[[], object], *, gray: bool = False, bits: int | None, skip_bad: bool
) -> Iterator[tuple[int, np.ndarray]]:
    """The position and the pixels of each picture: see `minidl.data.read_image`. ``show()`` is called after each.

    Those that cannot be read are left out and listed if `skip_bad`; else they raise ValueError in one line.
    """
    bad = []
    for i, file in enumerate(each(files, show)):
        try:
            pixels = data.read_image(file, gray=gray, bits=bits)
        except ValueError as error:
            if not skip_bad:
                raise ValueError(f"{error}; --skip-bad leaves such files out") from None
            bad.append(str(error))
        else:
            yield i, pixels
    left_out(bad, len(files))


def left_out(lines: Sequence[str], count: int, what: str = "pictures") -> None:
    """Tell on stderr what was left out, and how many of `count` that are; nothing if nothing was."""
    for line in lines:
        print(Fault(LEFT_OUT, line), file=sys.stderr)
    if lines:
        print(f"{LEFT_OUT}: {len(lines)} of {count} {what}", file=sys.stderr)

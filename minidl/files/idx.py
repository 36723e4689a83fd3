"""MNIST as its authors give it: idx files."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from .pictures import visible
from .reading import Budget

DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # the third byte of an idx file


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an idx file, gzipped or not: 0, 0, dtype, rank, each length in 4 bytes, the entries, big-endian.

    Source: http://yann.lecun.com/exdb/mnist. Raises ValueError in one line for anything else.
    """
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else open(path, "rb") as file:
        try:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in DTYPES:
                raise ValueError(f"{path}: not an idx file, it starts with {head!r}")
            lengths = file.read(4 * head[3])
            if len(lengths) < 4 * head[3]:
                raise EOFError(f"{head[3]} lengths are announced")
            shape = tuple(np.frombuffer(lengths, ">u4").tolist())
            dtype = np.dtype(DTYPES[head[2]])
            size = math.prod(shape) * dtype.itemsize
            Budget(os.path.getsize(path)).spend(size, f"{path}: {dtype}{list(shape)}")
            entries = file.read(size + 1)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: truncated or damaged ({error})") from None
    if len(entries) != size:
        there = f"only {len(entries)} are" if len(entries) < size else "more are"
        raise ValueError(f"{path}: declares {dtype}{list(shape)}, {size} bytes; {there} there")
    return np.frombuffer(entries, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def mnist(folder: str | os.PathLike[str], *, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """MNIST (or Fashion-MNIST) from its idx files: images uint8 (N, 1, 28, 28) and labels int64 (N,).

    The files may lie in folders of their own names, as Kaggle unpacks them. Raises FileNotFoundError if there are none,
    ValueError if several data sets are below the folder and none, or more than one, lies in a folder MNIST.
    """
    part = "train" if train else "t10k"
    names = [f"{part}-{kind}" for kind in ("images?idx3-ubyte*", "labels?idx1-ubyte*")]
    images, labels = map(read_idx, find_files(folder, names, "MNIST"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"{folder}: images {images.shape} and labels {labels.shape} do not belong together")
    return images[:, None], labels.astype(np.int64)


def find_files(folder: str | os.PathLike[str], patterns: Sequence[str], name: str) -> list[Path]:
    """The files of a data set: the first for each pattern, all from one place in the folder or below it.

    A file in a folder of its own name counts as lying beside it. Of several places one in a folder `name` is meant.
    Raises FileNotFoundError for a file that is nowhere, ValueError if the place is not clear.
    """
    places: dict[Path, dict[str, Path]] = {}
    for pattern in patterns:
        found = sorted(path for path in Path(folder).rglob(pattern) if visible(path, folder) and path.is_file())
        if not found:
            raise FileNotFoundError(f"no file {pattern} in {folder}")
        for path in found:
            own = path.parent != Path(folder) and fnmatch(path.parent.name, pattern)
            places.setdefault(path.parents[1 if own else 0], {}).setdefault(pattern, path)
    sets = {place: files for place, files in places.items() if len(files) == len(patterns)}
    if not sets and len(places) <= len(patterns):  # each kind of file has a folder
        sets = {Path(folder): {pattern: path for files in places.values() for pattern, path in files.items()}}
    named = [place for place in sets if name.lower() in map(str.lower, place.relative_to(folder).parts)]
    chosen = list(sets) if len(sets) == 1 else named
    if len(chosen) != 1:
        several = ", ".join(map(str, sets or places))
        raise ValueError(f"{folder} holds more than one data set, in {several}: name one of these folders")
    return [sets[chosen[0]][pattern] for pattern in patterns]

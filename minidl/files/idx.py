"""MNIST as its authors give it: idx files."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from .reading import Budget

DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # the third byte of an idx file


def read_idx(path: str | os.PathLike) -> np.ndarray:
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


def mnist(folder: str | os.PathLike, *, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """MNIST (or Fashion-MNIST) from its idx files: images uint8 (N, 1, 28, 28) and labels int64 (N,)."""
    part = "train" if train else "t10k"
    images, labels = (
        read_idx(find_file(folder, f"{part}-{kind}")) for kind in ("images?idx3-ubyte*", "labels?idx1-ubyte*")
    )
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"{folder}: images {images.shape} and labels {labels.shape} do not belong together")
    return images[:, None], labels.astype(np.int64)


def find_file(folder: str | os.PathLike, pattern: str) -> Path:
    """The first file in the folder, or below it, whose name matches the pattern."""
    found = sorted(Path(folder).rglob(pattern))
    if not found:
        raise FileNotFoundError(f"no file {pattern} in {folder}")
    return found[0]

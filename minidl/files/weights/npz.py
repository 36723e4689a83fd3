"""NumPy's .npy, one array, and .npz, a zip of them."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from ..reading import Entry, WeightsError, count
from ..source import Source
from . import pickles, torch_file
from .contents import Contents
from .zips import Archive

HEADER_LIMIT = 10_000  # characters; a numeric header has about a hundred


def read(archive: Archive) -> Contents:
    """Every array of an .npz, in the order of the file."""
    entries = []
    for member in archive.members:
        if member.endswith(".npy"):
            name = member.removesuffix(".npy")
            start = archive.head(member, HEADER_LIMIT)
            entries.append((name, array(name, start, archive.members[member].file_size, archive.later(member))))
    return Contents("NumPy, .npz", entries)


def read_alone(source: Source) -> Contents:
    """The array of an .npy under the name of the file; of a dict saved so, its entries."""
    name, data = source.path.stem, source.data
    dtype, start = header(name, bytes(data[:HEADER_LIMIT]))[0], end_of_header(data[:12])
    if dtype.kind != "O":
        return Contents("NumPy, .npy", [(name, array(name, data[:HEADER_LIMIT], len(data), lambda: data))])
    tree = pickles.load(Source(source.path, data[start:]).file())
    return torch_file.contents("NumPy, .npy of Python objects", tree, lambda record: b"", "<", source.budget)


def end_of_header(data: bytes | memoryview) -> int:
    """Where the entries of a .npy begin: after magic, version, the length of the header in 2 or 4 bytes, the header."""
    start = 10 if data[6] == 1 else 12
    return start + int.from_bytes(data[8:start], "little")


def header(name: str, data: bytes) -> tuple[np.dtype, bool, tuple]:
    """dtype, whether in Fortran's order, shape: what the dict literal says with which a .npy begins."""
    if data[:6] != b"\x93NUMPY" or data[6] not in (1, 2, 3):
        raise WeightsError(f"array {name!r} does not start as a .npy does")
    start, end = (10 if data[6] == 1 else 12), end_of_header(data)
    if end > min(len(data), HEADER_LIMIT):
        raise WeightsError(f"array {name!r} declares a header of {end - start} bytes")
    said = ast.literal_eval(data[start:end].decode("latin-1").strip())
    dtype = np.dtype(said["descr"]) if isinstance(said["descr"], str) else np.dtype("V1")
    return dtype, bool(said["fortran_order"]), said["shape"]


def array(name: str, start: bytes, size: int, content: Callable[[], memoryview]) -> Entry:
    """The entry of a .npy of `size` bytes that begins with `start`."""
    (dtype, fortran, shape), end = header(name, bytes(start)), end_of_header(start)
    if dtype.kind not in "fciubSU":
        held = "Python objects" if dtype.kind == "O" else f"entries of type {str(dtype)[:40]!r}"
        raise WeightsError(f"array {name!r} holds {held}; only numbers and strings are read")
    if count(shape) * dtype.itemsize != size - end:
        raise WeightsError(f"array {name!r} declares {dtype}{list(shape)}, but {size - end} bytes follow")

    def read() -> np.ndarray:
        data = content()[end:]
        if not count(shape) or not dtype.itemsize:
            return np.zeros(shape, dtype.newbyteorder("="))
        entries = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
        return entries.astype(dtype.newbyteorder("="), order="C")

    return Entry(tuple(shape), str(dtype.newbyteorder("=")), read)


def write(file: BinaryIO, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz. Equal arrays give equal bytes: no clock is asked."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            if "\0" in name:
                raise WeightsError(f"name {name!r} has a zero character, which an .npz cannot hold")
            if array.dtype.kind not in "fciubSU":
                raise WeightsError(f"array {name!r} has dtype {array.dtype}; only numbers and strings are saved")
            with archive.open(zipfile.ZipInfo(name + ".npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)

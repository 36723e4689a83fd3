"""NumPy's .npz: a zip of .npy members, one array each."""

from __future__ import annotations

import ast
import zipfile
from typing import BinaryIO

import numpy as np

from ..reading import Budget, WeightsError, count

HEADER_LIMIT = 10_000  # characters; a numeric header has about a hundred


def check_sizes(archive: zipfile.ZipFile, budget: Budget) -> None:
    """Refuse a zip bomb by the sizes that its directory declares; no more than that is ever unpacked."""
    for info in archive.infolist():
        budget.spend(info.file_size, f"member {info.filename!r}")


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The bytes of one member."""
    data = archive.read(info)
    if len(data) != info.file_size:
        raise WeightsError(f"member {info.filename!r} is cut short: {len(data)} of {info.file_size} bytes")
    return data


def read(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """Every array of an .npz, in the order of the file."""
    arrays: dict[str, np.ndarray] = {}
    for info in archive.infolist():
        if info.filename.endswith(".npy"):
            name = info.filename.removesuffix(".npy")
            if name in arrays:
                raise WeightsError(f"array {name!r} is there twice")
            arrays[name] = _array(name, read_member(archive, info))
    return arrays


def _array(name: str, data: bytes) -> np.ndarray:
    """Parse a .npy: magic, version, header length, a dict literal with descr, fortran_order and shape, the entries."""
    if data[:6] != b"\x93NUMPY" or data[6] not in (1, 2, 3):
        raise WeightsError(f"array {name!r} does not start as a .npy does")
    start = 10 if data[6] == 1 else 12
    end = start + int.from_bytes(data[8:start], "little")
    if end > min(len(data), HEADER_LIMIT):
        raise WeightsError(f"array {name!r} declares a header of {end - start} bytes")
    header = ast.literal_eval(data[start:end].decode("latin-1").strip())
    dtype = np.dtype(header["descr"]) if isinstance(header["descr"], str) else np.dtype("V1")
    if dtype.kind not in "fciubSU":
        held = "Python objects" if dtype.kind == "O" else f"entries of type {str(header['descr'])[:40]!r}"
        raise WeightsError(f"array {name!r} holds {held}; only numbers and strings are read")
    shape = header["shape"]
    if count(shape) * dtype.itemsize != len(data) - end:
        raise WeightsError(f"array {name!r} declares {dtype}{list(shape)}, but {len(data) - end} bytes follow")
    if not count(shape) or not dtype.itemsize:
        return np.zeros(shape, dtype.newbyteorder("="))
    flat = np.frombuffer(data, dtype, offset=end)
    array = flat.reshape(shape, order="F" if header["fortran_order"] else "C")
    return array.astype(dtype.newbyteorder("="), order="C", copy=True)


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

"""What reading a file from anywhere needs: the error, the limit on memory, a check of shapes, bytes to numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

DTYPES = {  # the names of torch; bfloat16 is the upper half of a float32
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2", "complex64": "c8", "complex128": "c16",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "bool": "u1",
    "float8_e4m3fn": "u1", "float8_e5m2": "u1", "float8_e8m0fnu": "u1", "float8_e4m3fnuz": "u1",
    "float8_e5m2fnuz": "u1",
}  # fmt: skip
FLOAT8 = {"float8_e4m3fn": (3, 7, [127, 255]), "float8_e4m3fnuz": (3, 8, [128]), "float8_e5m2fnuz": (2, 16, [128])}


class WeightsError(ValueError):
    """A file of weights is damaged, hostile, or not a file of weights. The message is one line."""


@dataclass(frozen=True)
class Entry:
    """An array in a file: its shape, its dtype by the file's own name, and how to read it, as a fresh array."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]

    def rearranged(self, axes: tuple[int, ...], split: tuple[int, ...] = (), shape: tuple[int, ...] = ()) -> Entry:
        """The entry reshaped to `split` (if given), its axes in another order, then reshaped to `shape` (if given)."""
        whole = split or self.shape
        found = shape or tuple(whole[axis] for axis in axes)
        return Entry(found, self.dtype, lambda: self._in_order(whole, axes, found))

    def _in_order(self, split: tuple[int, ...], axes: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
        return np.array(self.read().reshape(split).transpose(axes), order="C").reshape(shape)


def held(array: np.ndarray) -> Entry:
    """The entry of an array that is in memory already."""
    return Entry(array.shape, str(array.dtype), lambda: array)


class Budget:
    """A limit on the bytes that one file may unfold into, so that no file can fill the memory.

    Compressed and repeated data unfold, honest weights hardly: 16 times the file and 256 MiB is generous.
    """

    def __init__(self, file_size: int):
        self.limit = self.left = 2**28 + 16 * file_size

    def spend(self, size: int, what: str) -> None:
        self.left -= size
        if size < 0 or self.left < 0:
            raise WeightsError(f"{what} unfolds into {size} bytes; a file of this size is given {self.limit} in all")


def brief(value: Any) -> str:
    """A few characters for an error; of a nest out of a file the type only, as writing it out could take for ever."""
    return repr(value)[:40] if isinstance(value, (str, bytes, int, float)) else f"a {type(value).__name__}"


def count(shape: Any) -> int:
    """The number of entries of a shape read from a file: refuses what is no shape."""
    if not isinstance(shape, (tuple, list)) or len(shape) > 64:
        raise WeightsError(f"{brief(shape)} is not a shape")
    total = 1
    for n in shape:
        if type(n) is not int or n < 0:
            raise WeightsError(f"a shape has the entry {brief(n)}, which is no length")
        total *= n
    return total


def numbers(raw: np.ndarray, dtype: str) -> np.ndarray:
    """A fresh array in the machine's byte order from one of dtype ``DTYPES[dtype]``, in any order and layout."""
    if dtype == "bool":
        return np.asarray(np.not_equal(raw, 0, order="C"))
    if dtype == "bfloat16":
        return np.asarray(raw.astype(np.uint32, order="C") << 16, dtype=np.uint32).view(np.float32)
    if dtype.startswith("float8"):
        return np.asarray(_float8(dtype)[np.ascontiguousarray(raw)]).reshape(raw.shape)
    return raw.astype(raw.dtype.newbyteorder("="), order="C", copy=True)


def _float8(dtype: str) -> np.ndarray:
    """The 256 values of a type of 8 bits, by code.

    Sources: Micikevicius et al., "FP8 formats for deep learning", 2022 (e4m3fn, e5m2, which is the upper half of a
    float16); Noune et al., "8-bit numerical formats for deep neural networks", 2022 (fnuz: one NaN, no -0);
    OCP Microscaling specification 1.0, 5.4.1 (e8m0: powers of two).
    """
    code = np.arange(256)
    if dtype == "float8_e5m2":
        return (code.astype("u2") << 8).view("f2").astype("f4")
    if dtype == "float8_e8m0fnu":
        return np.where(code < 255, 2.0 ** (code - 127), np.nan).astype("f4")
    bits, bias, nan = FLOAT8[dtype]  # of the mantissa; of the exponent; the codes that are no numbers
    exponent, mantissa = code % 128 >> bits, code % 2**bits / 2**bits
    size = np.where(exponent > 0, 1 + mantissa, mantissa) * 2.0 ** (np.maximum(exponent, 1) - bias)
    table = np.where(code < 128, size, -size).astype("f4")
    table[nan] = np.nan
    return table

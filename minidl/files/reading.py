"""What reading a file from anywhere needs: the error, the limit on memory, a check of shapes, bytes to numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES = {  # the names of torch; bfloat16 is the upper half of a float32
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2", "complex64": "c8", "complex128": "c16",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "bool": "u1",
}  # fmt: skip


class WeightsError(ValueError):
    """A file of weights is damaged, hostile, or not a file of weights. The message is one line."""


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


def count(shape: Any) -> int:
    """The number of entries of a shape read from a file: refuses what is no shape."""
    if not isinstance(shape, (tuple, list)) or len(shape) > 64:
        raise WeightsError(f"{str(shape)[:40]} is not a shape")
    total = 1
    for n in shape:
        if type(n) is not int or n < 0:
            raise WeightsError(f"shape {str(tuple(shape))[:80]} has an entry that is no length")
        total *= n
    return total


def numbers(raw: np.ndarray, dtype: str) -> np.ndarray:
    """A fresh array in the machine's byte order from one of dtype ``DTYPES[dtype]``, in any order and layout."""
    if dtype == "bool":
        return np.asarray(np.not_equal(raw, 0, order="C"))
    if dtype == "bfloat16":
        return np.asarray(raw.astype(np.uint32, order="C") << 16, dtype=np.uint32).view(np.float32)
    return raw.astype(raw.dtype.newbyteorder("="), order="C", copy=True)

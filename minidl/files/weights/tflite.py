"""TFLite: a flatbuffer whose tables lie at offsets; the constant tensors of its graph, in float or whole numbers.

Axes stay TFLite's (a convolution's kernel is outputs, rows, columns, inputs). Quantised tensors are named and refused.
Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, and "FlatBuffers internals".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from ..reading import DTYPES, Entry, WeightsError, count, numbers
from ..source import Source
from .contents import Contents

TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8",
         10: "float64"}  # fmt: skip
MODEL_GRAPHS, MODEL_BUFFERS, GRAPH_TENSORS, BUFFER_DATA = 2, 4, 0, 0  # the places of fields in their tables
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_BUFFER, TENSOR_NAME, TENSOR_QUANTISATION, SCALES = 0, 1, 2, 3, 4, 2
LIMIT = 1_000_000  # entries of a vector of tables


class Table:
    """A table of a flatbuffer: fields by number, each at an offset that the table's own table of offsets says."""

    def __init__(self, data: memoryview, place: int):
        self.data, self.place = data, place
        self.offsets = place - self._number("<i", place)
        self.count = (self._number("<H", self.offsets) - 4) // 2

    def _number(self, code: str, place: int) -> int:
        if place < 0:
            raise WeightsError("an offset before the beginning: damaged")
        return struct.unpack_from(code, self.data, place)[0]

    def field(self, number: int) -> int:
        """Where a field lies; 0 if it is not there."""
        offset = self._number("<H", self.offsets + 4 + 2 * number) if number < self.count else 0
        return self.place + offset if offset else 0

    def number(self, field: int, code: str) -> int:
        place = self.field(field)
        return self._number(code, place) if place else 0

    def vector(self, field: int) -> tuple[int, int]:
        """Where the entries of a vector begin, and how many they are."""
        place = self.field(field)
        if not place:
            return 0, 0
        place += self._number("<I", place)
        return place + 4, self._number("<I", place)

    def bytes(self, field: int, itemsize: int = 1) -> memoryview:
        start, length = self.vector(field)
        found = self.data[start : start + length * itemsize]
        if len(found) != length * itemsize:
            raise WeightsError(f"a vector of {length} at {start} is cut short: damaged")
        return found

    def tables(self, field: int) -> Iterator[Table]:
        start, length = self.vector(field)
        if length > LIMIT:
            raise WeightsError(f"a vector of {length} tables: damaged")
        for i in range(length):
            yield Table(self.data, start + 4 * i + self._number("<I", start + 4 * i))

    def table(self, field: int) -> Table | None:
        place = self.field(field)
        return Table(self.data, place + self._number("<I", place)) if place else None


def read(source: Source) -> Contents:
    """The constant tensors of a TFLite model."""
    found = Contents("TFLite", [], notes=["kernels are (outputs, rows, columns, inputs), as TFLite has them"])
    model = Table(source.data, struct.unpack_from("<I", source.data, 0)[0])
    buffers = [buffer.bytes(BUFFER_DATA) for buffer in model.tables(MODEL_BUFFERS)]
    taken: set[str] = set()
    for graph in model.tables(MODEL_GRAPHS):
        for tensor in graph.tables(GRAPH_TENSORS):
            raw = buffers[tensor.number(TENSOR_BUFFER, "<I")]
            if len(raw):
                name = bytes(tensor.bytes(TENSOR_NAME)).decode("utf-8", errors="replace").replace("/", ".")
                name = name if name not in taken else f"{name}.{len(taken)}"
                taken.add(name)
                found.entries.append((name, _entry(name, tensor, raw)))
    return found


def _entry(name: str, tensor: Table, raw: memoryview) -> Entry:
    shape = tuple(struct.unpack(f"<{len(part) // 4}i", part) if (part := tensor.bytes(TENSOR_SHAPE, 4)) else ())
    dtype = TYPES.get(tensor.number(TENSOR_TYPE, "<b"), "")
    quantised = (q := tensor.table(TENSOR_QUANTISATION)) is not None and q.vector(SCALES)[1] > 0
    size = count(shape) * np.dtype(DTYPES[dtype]).itemsize if dtype else 0

    def read() -> np.ndarray:
        if quantised or not dtype:
            what = "quantised" if quantised else "of a type that is no number"
            raise WeightsError(f"{name!r} is {what}; convert the model again, without optimizations")
        if size != len(raw):
            raise WeightsError(f"tensor {name!r} declares {dtype}{list(shape)}, {len(raw)} bytes are there: damaged")
        return numbers(np.frombuffer(raw, np.dtype(DTYPES[dtype]).newbyteorder("<")).reshape(shape), dtype)

    return Entry(shape, f"{dtype} quantised" if quantised else dtype or "not read", read)

"""MATLAB's .mat of versions 5 to 7: elements of a type, a size and that many bytes, matrices of elements.

Cells become lists, structs dicts (an array of structs a list of them), chars strings, numbers entries. Functions,
sparse matrices and objects of newer classes are `Unread`, by name. Source: MathWorks, "MAT-File Format", chapter 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..reading import Entry, WeightsError, count
from ..source import Source, inflated

TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED, TEXTS = 14, 15, {16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, STRUCT, OBJECT, CHAR, SPARSE = 1, 2, 3, 4, 5
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX, LOGICAL = 0x800, 0x200
DEPTH_LIMIT = 32


class Unread:
    """A value that is not read: what it is."""

    def __init__(self, name: str):
        self.name = name


def read(source: Source) -> dict[str, Any]:
    """The variables of a file by their names."""
    reader = _Reader(source)
    found: dict[str, Any] = {}
    for kind, data in reader.elements(source.data[128:]):
        if kind == COMPRESSED:
            kind, data = next(reader.elements(memoryview(inflated(data, source.budget, "a compressed variable"))))
        if kind == MATRIX:
            name, value = reader.matrix(data)
            if name in found:
                raise WeightsError(f"the variable {name!r} is there twice")
            found[name] = value
    return found


class _Reader:
    """What the elements of a file are, in its order of bytes."""

    def __init__(self, source: Source):
        self.order = "<" if bytes(source.data[126:128]) == b"IM" else ">"
        self.encoding = {"<": "-le", ">": "-be"}[self.order]

    def elements(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """(type, bytes) of each element; four bytes or fewer stand in the tag itself, others are padded to eight."""
        place = 0
        while place + 8 <= len(data):
            kind, size = (int(n) for n in np.frombuffer(data[place : place + 8], self.order + "u4"))
            if kind >> 16:
                kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
                place += 8
            else:
                start = place + 8
                place = start + size + (-size % 8 if kind != COMPRESSED else 0)
            piece = data[start : start + size]
            if len(piece) != size:
                raise WeightsError(f"an element declares {size} bytes, {len(piece)} are there: truncated or damaged")
            yield kind, piece

    def numbers(self, element: tuple[int, memoryview]) -> np.ndarray:
        kind, data = element
        if kind not in TYPES:
            raise WeightsError(f"an element of type {kind} where numbers are expected: damaged")
        return np.frombuffer(data, np.dtype(TYPES[kind]).newbyteorder(self.order))

    def matrix(self, data: memoryview, depth: int = 0) -> tuple[str, Any]:
        """The name and the value of a matrix."""
        if depth > DEPTH_LIMIT:
            raise WeightsError(f"cells and structs are nested deeper than {DEPTH_LIMIT}")
        if not len(data):
            return "", []
        parts = self.elements(data)
        flags = int(self.numbers(next(parts))[0])
        kind = flags & 0xFF
        if kind not in (CELL, STRUCT, OBJECT, CHAR, *CLASSES):
            return self._named(parts), Unread("a sparse matrix" if kind == SPARSE else "a function or an object")
        shape = tuple(int(n) for n in self.numbers(next(parts)))
        size = count(shape)
        name = bytes(next(parts)[1]).decode("latin-1")
        if kind == CELL:
            return name, [self._inner(parts, depth) for _ in range(size)]
        if kind in (STRUCT, OBJECT):
            return name, self._structs(parts, size, kind, depth)
        if kind == CHAR:
            return name, self._text(next(parts))
        return name, self._entry(name, shape, CLASSES[kind], flags, parts)

    def _named(self, parts: Iterator[tuple[int, memoryview]]) -> str:
        """The name of what is not read: functions and objects have it in place of dimensions."""
        texts = [bytes(data).decode("latin-1") for kind, data in parts if kind == 1]
        return texts[0] if texts else ""

    def _inner(self, parts: Iterator[tuple[int, memoryview]], depth: int) -> Any:
        kind, data = next(parts)
        if kind != MATRIX:
            raise WeightsError(f"an element of type {kind} where a matrix is expected: damaged")
        return self.matrix(data, depth + 1)[1]

    def _structs(self, parts: Iterator[tuple[int, memoryview]], size: int, kind: int, depth: int) -> Any:
        if kind == OBJECT:
            next(parts)  # the name of its class
        length = int(self.numbers(next(parts))[0])
        texts = bytes(next(parts)[1])
        starts = range(0, len(texts), length) if length > 0 else ()
        fields = [texts[i : i + length].partition(b"\0")[0].decode("latin-1") for i in starts]
        if not fields:
            return {}
        structs = [{field: self._inner(parts, depth) for field in fields} for _ in range(size)]
        return structs[0] if size == 1 else structs

    def _text(self, element: tuple[int, memoryview]) -> str:
        kind, data = element
        if kind in TEXTS:
            return bytes(data).decode(TEXTS[kind] + (self.encoding if kind > 16 else ""), errors="replace")
        return "".join(map(chr, self.numbers(element)))

    def _entry(
        self, name: str, shape: tuple[int, ...], dtype: str, flags: int, parts: Iterator[tuple[int, memoryview]]
    ) -> Entry:
        pieces = [self.numbers(next(parts)) for _ in range(2 if flags & COMPLEX else 1)]
        if any(len(piece) != count(shape) for piece in pieces):
            raise WeightsError(f"a matrix of {list(shape)} has {len(pieces[0])} numbers: truncated or damaged")

        def read() -> np.ndarray:
            numbers = pieces[0].astype(kind)
            if len(pieces) == 2:
                numbers.imag = pieces[1]
            return np.array(numbers.reshape(shape, order="F"), order="C")

        if len(pieces) == 2:
            dtype = "c8" if dtype == "f4" else "c16"
        kind = np.dtype("?" if flags & LOGICAL else dtype)
        return Entry(shape, str(kind), read)

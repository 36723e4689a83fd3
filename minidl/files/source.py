"""The bytes of a file, mapped into memory: what is not asked for is not read from the disk."""

from __future__ import annotations

import io
import mmap
import zlib
from pathlib import Path
from typing import BinaryIO

from .reading import Budget

LINE = 512  # bytes of a line that are looked at together
PIECE = 1 << 20  # bytes that are unpacked at once


class Source:
    """The bytes of `path`, and how much they may unfold into. `config` is a file that says how to read them, if any."""

    def __init__(self, path: Path, data: memoryview, budget: Budget | None = None, config: Path | None = None):
        self.path, self.data, self.config = path, data, config
        self.budget = budget or Budget(len(data))

    def file(self) -> BinaryIO:
        """The bytes as a binary file, which copies what is read only."""
        return _Reader(self.data)


def mapped(path: Path) -> memoryview:
    """The bytes of a file; of one that cannot be mapped (an empty one, a pipe) a copy."""
    with open(path, "rb") as file:
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (ValueError, OSError):
            return memoryview(file.read())


def inflated(data: memoryview, budget: Budget, what: str) -> bytes:
    """The bytes that zlib packed, as long as they stay within the budget."""
    unpacker, pieces = zlib.decompressobj(), []
    while len(data):
        pieces.append(unpacker.decompress(data, PIECE))
        data = unpacker.unconsumed_tail
        budget.spend(len(pieces[-1]), what)
    return b"".join(pieces)


class _Reader(io.RawIOBase):
    """A file over bytes that lie elsewhere. What is asked for beyond their end takes no memory."""

    def __init__(self, data: memoryview):
        self.data, self.place = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def read(self, size: int = -1) -> bytes:
        end = None if size is None or size < 0 else self.place + size
        piece = bytes(self.data[self.place : end])
        self.place += len(piece)
        return piece

    def readinto(self, target: memoryview) -> int:
        piece = self.data[self.place : self.place + len(target)]
        target[: len(piece)] = piece
        self.place += len(piece)
        return len(piece)

    def readline(self, size: int = -1) -> bytes:
        line, place = b"", self.place
        while not line.endswith(b"\n") and (piece := bytes(self.data[place : place + LINE])):
            line += piece[: piece.find(b"\n") + 1 or LINE]
            place = self.place + len(line)
        self.place += len(line)
        return line

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = max(0, offset + (0, self.place, len(self.data))[whence])
        return self.place

"""A user's own image file: read with all its bits and its alpha channel, and written back the same."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from minidl.files.pictures import bit_depth, white_of
from minidl.files.pixels import read_pixels
from minidl.kernels.cpu.blocks import even

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by the number of channels
UP = 2  # PNG's filter: each byte less the one above it, which packs better, and sooner
BAND = 1 << 20  # numbers that are written at a time


@dataclass(frozen=True)
class Picture:
    """The gray or RGB channels of an image, (C, H, W), in which `white` stands for 1; if it has one, its alpha (H, W),
    float32 in [0, 1]; its bits.

    What is read stays in the numbers of the file until it is asked for.
    """

    values: np.ndarray
    alpha: np.ndarray | None
    bits: int
    white: float = 1

    @classmethod
    def read(cls, path: str | os.PathLike, bits: int | None = None) -> Picture:
        """Read an image; white is the largest number of `bits`, or of those it uses. Raises ValueError in one line."""
        values, alpha, _ = read_pixels(path)
        bits = 0 if alpha is not None else bits or bit_depth([path])  # what is opaque needs them all
        white = white_of(values, bits, path)
        if alpha is not None:
            alpha = alpha.astype(np.float32) / np.float32(white_of(alpha, None, path))
        bits = 8 if values.dtype == np.uint8 else min(bits or 16, 16)
        return cls(values.transpose(2, 0, 1), alpha, bits, white)  # (H, W, C) -> (C, H, W)

    @property
    def channels(self) -> np.ndarray:
        """All values in [0, 1], float32 (C, H, W)."""
        return self.shares(self.values)

    def shares(self, values: np.ndarray) -> np.ndarray:
        """Some values in [0, 1], float32 in C order."""
        if self.white == 1:
            return np.ascontiguousarray(values, np.float32)
        shares = values.astype(np.float32, order="C")
        shares /= np.float32(self.white)
        return shares

    @property
    def top(self) -> int:
        """White of what is written."""
        return 2**self.bits - 1

    @property
    def dtype(self) -> type:
        """That of what is written."""
        return np.uint8 if self.bits <= 8 else np.uint16

    def stored(self, shares: np.ndarray) -> np.ndarray:
        """Shares of white, clipped to [0, 1], as they are written."""
        return np.rint(shares.clip(0, 1) * self.top).astype(self.dtype)

    def write(self, path: str | os.PathLike) -> None:
        """Write a PNG, clipped to [0, 1]."""
        count, height, width = self.values.shape
        count += self.alpha is not None
        depth = np.dtype(self.dtype).itemsize
        header = struct.pack(">2I5B", width, height, 8 * depth, COLOUR_TYPES[count], 0, 0, 0)
        packed, above = zlib.compressobj(1), np.zeros((1, width * count * depth), np.uint8)
        with open(path, "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header))
            for rows in even(height, BAND // (width * count)):
                lines = np.vstack([above, self._lines(rows)])
                filtered = np.full((len(lines) - 1, lines.shape[1] + 1), UP, np.uint8)
                np.subtract(lines[1:], lines[:-1], out=filtered[:, 1:])
                above = lines[-1:]
                file.write(_chunk(b"IDAT", packed.compress(filtered)))
            file.write(_chunk(b"IDAT", packed.flush()) + _chunk(b"IEND", b""))

    def _lines(self, rows: slice) -> np.ndarray:
        """Some rows as bytes, pixel by pixel: (rows, W * C * bytes of a number)."""
        planes = self.values[:, rows]
        planes = planes if planes.dtype == self.dtype and self.white == self.top else self.stored(self.shares(planes))
        if self.alpha is not None:
            planes = np.concatenate([planes, self.stored(self.alpha[None, rows])])
        pixels = np.ascontiguousarray(planes.transpose(1, 2, 0), planes.dtype.newbyteorder(">"))  # (rows, W, C)
        return pixels.view(np.uint8).reshape(len(pixels), -1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

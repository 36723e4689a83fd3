"""A user's own image file: read with all its bits and its alpha channel, and written back the same."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minidl.files.pictures import bit_depth, white_of
from minidl.files.pixels import read_pixels

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by the number of channels


@dataclass(frozen=True)
class Picture:
    """The gray or RGB channels of an image, float32 in [0, 1], (C, H, W); its alpha (H, W) if it has one; its bits."""

    channels: np.ndarray
    alpha: np.ndarray | None
    bits: int

    @classmethod
    def read(cls, path: str | os.PathLike, bits: int | None = None) -> Picture:
        """Read an image; white is the largest number of `bits`, or of those it uses. Raises ValueError in one line."""
        values, alpha, _ = read_pixels(path)
        bits = 0 if alpha is not None else bits or bit_depth([path])  # what is opaque needs them all
        white = white_of(values, bits, path)
        channels = values.transpose(2, 0, 1).astype(np.float32, order="C")  # (H, W, C) -> (C, H, W)
        channels /= np.float32(white)
        if alpha is not None:
            alpha = alpha.astype(np.float32) / np.float32(white_of(alpha, None, path))
        return cls(channels, alpha, 8 if values.dtype == np.uint8 else min(bits or 16, 16))

    def write(self, path: str | os.PathLike) -> None:
        """Write a PNG, clipped to [0, 1]."""
        planes = [*self.channels, *([] if self.alpha is None else [self.alpha])]
        top = 2**self.bits - 1
        stored = 8 if self.bits <= 8 else 16
        count, (height, width) = len(planes), planes[0].shape
        packed, rows = zlib.compressobj(), []
        for lines in zip(*planes, strict=True):  # a line of each, so that no copy of the picture is made
            pixels = np.rint(np.stack(lines, axis=1).clip(0, 1) * top).astype(f">u{stored // 8}")  # (W, C)
            rows.append(packed.compress(b"\0" + pixels.tobytes()))  # each begins with its filter: none
        rows.append(packed.flush())
        header = struct.pack(">2I5B", width, height, stored, COLOUR_TYPES[count], 0, 0, 0)
        chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", b"".join(rows)) + _chunk(b"IEND", b"")
        Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

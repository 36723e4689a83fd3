"""A user's own image file: read with all its bits and its alpha channel, and written back the same."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minidl.files.pictures import opened

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by the number of channels


@dataclass(frozen=True)
class Picture:
    """The gray or RGB channels of an image, float32 in [0, 1], (C, H, W); its alpha (H, W) if it has one; its bits."""

    channels: np.ndarray
    alpha: np.ndarray | None
    bits: int

    @classmethod
    def read(cls, path: str | os.PathLike) -> Picture:
        """Read what Pillow reads, and TIFF. Colour PNG of 16 bits is read as 8. Raises ValueError in one line."""
        pixels = _tiff(path) if Path(path).suffix.lower() in (".tif", ".tiff") else None
        pixels = _pillow(path) if pixels is None else pixels
        bits = 16 if pixels.dtype == np.uint16 else 8
        planes = pixels.transpose(2, 0, 1).astype(np.float32) / (2**bits - 1)  # (H, W, C) -> (C, H, W)
        return cls(planes[: 1 if len(planes) < 3 else 3], None if len(planes) % 2 else planes[-1], bits)

    def write(self, path: str | os.PathLike) -> None:
        """Write a PNG, clipped to [0, 1]."""
        planes = self.channels if self.alpha is None else np.concatenate([self.channels, self.alpha[None]])
        top = 2**self.bits - 1
        pixels = np.rint(planes.clip(0, 1) * top).astype(f">u{self.bits // 8}").transpose(1, 2, 0)  # (H, W, C)
        height, width, count = pixels.shape
        rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # each begins with its filter: none
        header = struct.pack(">2I5B", width, height, self.bits, COLOUR_TYPES[count], 0, 0, 0)
        chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
        Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _pillow(path: str | os.PathLike) -> np.ndarray:
    """(H, W, C) of uint8 or uint16: the first frame, turned as its EXIF orientation says."""
    from PIL import ImageOps

    with opened(path) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):  # 16 bits per pixel
            return np.asarray(image).clip(0, 65535).astype(np.uint16)[..., None]
        alpha = "A" in image.getbands() or "transparency" in image.info
        gray = image.mode in ("1", "L", "LA", "La")
        mode = ("LA" if alpha else "L") if gray else ("RGBA" if alpha else "RGB")
        pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def _tiff(path: str | os.PathLike) -> np.ndarray | None:
    """(H, W, C) of uint16 where a TIFF has 16 bits, which Pillow cannot keep; None for others, and where it fails."""
    from tifffile import TiffFile

    try:
        with TiffFile(path) as file:
            page = file.pages[0]
            plain = page.photometric.name in ("MINISBLACK", "RGB") and page.axes in ("YX", "YXS")
            if plain and page.dtype == np.uint16:
                return page.asarray().reshape(*page.shape[:2], -1)
    except Exception:  # a compression that needs another package, or no TIFF at all: Pillow says what is wrong
        return None
    return None

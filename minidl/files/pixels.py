"""What is in an image file, with all its bits: what Pillow reads, and deep TIFF, for which tifffile is asked first."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ORIENTATION = 0x0112  # of EXIF: how the picture is to be turned to be shown, 1 to 8
TURNS = {  # what is shown, (H, W, C), for what is stored
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
UNDONE = {6: 8, 8: 6}  # the others undo themselves
LITTLE = sys.byteorder == "little"
LOWER = {  # how Pillow is to read colours of two bytes for it to keep the lower ones
    "RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGB;16N": "RGB;16B" if LITTLE else "RGB;16L",
    "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B", "RGBA;16N": "RGBA;16B" if LITTLE else "RGBA;16L", "LA;16B": "RGBA",
}  # fmt: skip


class Pixels(NamedTuple):
    """A picture with all its bits: (H, W, 1) or (H, W, 3), uint8, uint16, int32 or float; its alpha (H, W); its EXIF
    orientation, 1 to 8, by which it has been turned or not."""

    values: np.ndarray
    alpha: np.ndarray | None
    turn: int = 1


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The file as Pillow opens it. Raises ValueError in one line for whatever its decoders raise in the block."""
    from PIL import Image

    try:
        with open(path, "rb") as raw, Image.open(raw) as file:  # by its path, Pillow 11 to 13 scramble a turned TIFF
            yield file
    except FileNotFoundError:
        raise
    except Exception as error:  # each decoder raises its own
        what = " ".join(re.sub(r"<_io\.\w+ name=.*>", "", str(error)).split())[:120]
        raise ValueError(f"{path}: not a readable image ({what})") from None


def image_size(path: str | os.PathLike[str], *, upright: bool = True) -> tuple[int, int]:
    """Height and width of what `read_image` gives, as a rule from the head of the file."""
    if _deep_tiff(path) is not None:
        return read_pixels(path, upright=upright).values.shape[:2]
    with opened(path) as file:
        aside = orientation(file) >= 5
        shown = aside and file.format == "TIFF"  # of a TIFF, Pillow gives the size as it is shown
        return (file.width, file.height) if aside and upright != shown else (file.height, file.width)


def orientation(file: Any) -> int:
    """The EXIF orientation of an opened file, 1 to 8; 1 if it has none that can be read."""
    try:
        found = file.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF; the pixels may be whole
        return 1
    return found if found in TURNS else 1


def read_pixels(path: str | os.PathLike[str], *, upright: bool = True) -> Pixels:
    """The first frame of a picture, turned as its EXIF orientation says unless not `upright`. Raises ValueError."""
    if (deep := _deep_tiff(path)) is not None:
        pixels, before = deep
        after = before
    else:
        with opened(path) as file:
            low = _lower_bytes(path, file)
            before = orientation(file)
            file.load()
            after = orientation(file)  # 1 of a TIFF, which Pillow turns itself
            pixels = _bands(file)
        if low is not None:
            upper = pixels.values if pixels.alpha is None else np.dstack(pixels[:2])
            pixels = _apart(upper[..., -low.shape[2] :].astype(np.uint16) << 8 | low)
    turn = after if upright else 1 if after == before else UNDONE.get(before, before)
    values, alpha = (a if a is None or turn == 1 else TURNS[turn](a) for a in pixels[:2])
    return Pixels(values, alpha, before)


def _bands(file: Any) -> Pixels:
    """What a loaded file holds."""
    if file.mode.startswith("I") or file.mode == "F":
        values = np.asarray(file)[..., None]
        return Pixels(values.astype(values.dtype.newbyteorder("=")), None)
    alpha = "A" in file.getbands() or "a" in file.getbands() or "transparency" in file.info
    mode = "L" if file.mode in ("1", "L", "LA", "La") else "RGB"
    values = np.asarray(file.convert(mode + "A" if alpha else mode))
    return _apart(values.reshape(*values.shape[:2], -1))


def _apart(values: np.ndarray) -> Pixels:
    """(H, W, C) as the colours and, if C is 2 or 4, the alpha."""
    return Pixels(values, None) if values.shape[2] % 2 else Pixels(values[..., :-1], values[..., -1])


def _lower_bytes(path: str | os.PathLike[str], file: Any) -> np.ndarray | None:
    """Of colours of 16 bits, of which Pillow keeps the upper 8: the lower ones, decoded apart; None of other files."""
    if len(file.tile) != 1 or not (args := file.tile[0][3]):
        return None
    rawmode = args if isinstance(args, str) else str(args[0])
    if (other := LOWER.get(rawmode)) is None:
        return None
    with opened(path) as again:
        again.tile = [_with(file.tile[0], other if isinstance(args, str) else (other, *args[1:]))]
        again.load()
        low = np.asarray(again)
    return low[..., 1::2] if rawmode == "LA;16B" else low


def _with(tile: Any, args: Any) -> Any:
    return tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)  # a plain tuple in Pillow 10


def _deep_tiff(path: str | os.PathLike[str]) -> tuple[Pixels, int] | None:
    """A plain TIFF of more than bytes as it is stored, and its orientation, by tifffile; None of other files.

    Pillow does not know float16, float64 and colours in floats, cuts colours to 8 bits, and reads compressed ones of
    the other byte order wrongly.
    """
    with open(path, "rb") as raw:
        if raw.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return None
    try:
        from tifffile import TiffFile

        with TiffFile(path) as file:
            page = file.pages[0]
            plain = page.photometric.name in ("MINISBLACK", "RGB") and page.axes in ("YX", "YXS", "SYX")
            if not plain or page.dtype in (np.bool_, np.uint8):
                return None
            values, turn = page.asarray(), int(page.tags.valueof(ORIENTATION, 1))
    except Exception:  # a compression that needs another package, or damage: Pillow tries, or says what is wrong
        return None
    values = values.transpose(1, 2, 0) if page.axes == "SYX" else values.reshape(*values.shape[:2], -1)
    return _apart(values), turn if turn in TURNS else 1


def deep_pixels(path: str | os.PathLike[str]) -> np.ndarray | None:
    """The pixels (H, W, C) of a file of more than bytes; None of others, whose pixels are not looked at."""
    if Path(path).suffix.lower() in (".jpg", ".jpeg"):
        return None
    if (tiff := _deep_tiff(path)) is not None:
        return tiff[0].values
    with opened(path) as file:
        deep = file.mode.startswith("I") or file.mode == "F" or ";16" in repr(file.tile)
    return read_pixels(path).values if deep else None

"""Pictures as arrays: one, a folder of them, a folder per class. Needs Pillow.

Which number is white, and so is read as 1, is decided here for all:

    bytes                   255
    integers of more bits   2^b - 1, where b is the `bits` that are asked for, else 16, or more if a pixel needs them
    floats                  1; but 2^b - 1 if `bits` are asked for, or where they count: pixels of 2 and more

The `bits` of a data set are what the brightest of its pixels needs (`bit_depth`): 12 bits in files of 16 become all of
[0, 1], and its pictures stay comparable. What has no place in [0, 1] is refused: negative pixels, pixels above white,
floats that end between 1 and 2, which may be meant either way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .pixels import deep_pixels, read_pixels

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm"}
NOT_DATA = {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}  # folders in which systems keep copies, beside those with a dot


# --- files


def visible(path: Path, root: str | os.PathLike[str]) -> bool:
    """Whether a path below `root` is data: not hidden by a dot, and no copy that a system keeps (.ipynb_checkpoints,
    ._name and __MACOSX of a Mac, thumbnails)."""
    return not any(part.startswith(".") or part in NOT_DATA for part in path.relative_to(root).parts)


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The images in a folder and in the folders below it that are `visible`, in the order of their paths."""
    files = (path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGE_ENDINGS and visible(path, folder))
    if not (found := sorted(path for path in files if path.is_file())):
        raise FileNotFoundError(f"no images in {folder}; looked for {' '.join(sorted(IMAGE_ENDINGS))}")
    return found


def image_folder(folder: str | os.PathLike[str], *, gray: bool = False) -> list[np.ndarray]:
    """Every image in a folder and below, each of its own size, all of one range: see `read_image`, `bit_depth`."""
    files = image_files(folder)
    bits = bit_depth(files)
    return [read_image(path, gray=gray, bits=bits) for path in files]


def class_folders(root: str | os.PathLike[str]) -> tuple[list[Path], np.ndarray, list[str]]:
    """A folder per class: (image files, the class index of each, class names in alphabetical order)."""
    if not Path(root).is_dir():
        raise FileNotFoundError(f"{root}: no such folder; one is needed that holds a folder per class")
    classes = sorted(path.name for path in Path(root).iterdir() if path.is_dir() and visible(path, root))
    if not classes:
        raise FileNotFoundError(f"{root} has no folders; one per class is needed, with the images in it")
    parts = [image_files(Path(root) / name) for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in parts])
    return [path for part in parts for path in part], labels, classes


# --- their range


def read_image(
    path: str | os.PathLike[str], *, gray: bool = False, bits: int | None = None, upright: bool = True
) -> np.ndarray:
    """One image as float32 in [0, 1], of shape (3, H, W), or (1, H, W) if `gray` (ITU-R 601 luma). Needs Pillow.

    The first frame, without its alpha channel, turned as its EXIF orientation says; as it is stored if not `upright`.
    White is as above; `bits`, of pictures of more than 8, are as a rule the `bit_depth` of all files of a data set,
    0 as None. Raises ValueError in one line.
    """
    return shares(read_pixels(path, upright=upright).values, path, gray=gray, bits=bits)


def shares(
    values: np.ndarray, path: str | os.PathLike[str], *, gray: bool = False, bits: int | None = None
) -> np.ndarray:
    """Pixels (H, W, 1) or (H, W, 3) as `read_image` gives them: float32 (C, H, W), from black at 0 to white at 1."""
    white = white_of(values, bits, path)
    if gray and values.shape[2] == 3:
        values = _luma(values)
    pixels = values.astype(np.float32) / np.float32(white)
    pixels = pixels if gray or pixels.shape[2] == 3 else pixels.repeat(3, axis=2)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (H, W, C) -> (C, H, W)


def bit_depth(files: Iterable[str | os.PathLike[str] | np.ndarray]) -> int:
    """The bits that the brightest pixel of all needs, at least 8, in files, or arrays, of more than bytes.

    0 if there are none, or all are of floats that do not count. Files that cannot be read are passed over: reading them
    says why. Raises ValueError if integers of more than bytes and floats are mixed, which have no common range.
    """
    kinds: dict[str, str | os.PathLike[str]] = {}
    brightest = 0.0
    for path in files:
        try:
            values = path if isinstance(path, np.ndarray) else deep_pixels(path)
        except (OSError, ValueError):
            continue
        if values is not None and values.size and values.dtype != np.uint8:
            path = "an array" if isinstance(path, np.ndarray) else path
            kinds.setdefault("floats" if values.dtype.kind == "f" else "integers of more than 8 bits", path)
            brightest = max(brightest, float(values.max()))
    if len(kinds) > 1:
        both = " and ".join(f"{kind} ({path})" for kind, path in kinds.items())
        raise ValueError(f"the pictures are of {both}, which have no common range: save them alike")
    return 0 if not kinds or ("floats" in kinds and brightest < 2) else _bits(brightest)


def _bits(brightest: float) -> int:
    return max(8, int(np.ceil(brightest)).bit_length())


def white_of(values: np.ndarray, bits: int | None, path: str | os.PathLike[str]) -> float:
    """Which number is 1 in a picture (H, W, C). Raises ValueError for pixels that then are not in [0, 1]."""
    if values.dtype == np.uint8 or not values.size:
        return 255
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{path}: pixels that are no finite numbers; replace them")
    if low < 0:
        raise ValueError(f"{path}: pixels from {low:g} to {high:g}, but black is 0: add {-low:g} to all pictures, say")
    if bits:
        if high > 2**bits - 1:
            raise ValueError(f"{path}: a pixel of {high:g} needs {_bits(high)} bits; {bits} end at {2**bits - 1}")
        return 2**bits - 1
    if values.dtype.kind != "f":
        return 2 ** max(16, _bits(high)) - 1
    if 1 < high < 2:
        raise ValueError(f"{path}: floats up to {high:g}, neither shares of 1 nor counts: clip or rescale them")
    return 1 if high <= 1 else 2 ** _bits(high) - 1


def _luma(values: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 1), by ITU-R 601; of bytes as Pillow rounds it."""
    if values.dtype == np.uint8:
        from PIL import Image

        return np.asarray(Image.fromarray(values).convert("L"))[..., None]
    return (values @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]

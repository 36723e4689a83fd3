"""Pictures as arrays: one, a folder of them, a folder per class. Needs Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm"}


def image_files(folder: str | os.PathLike) -> list[Path]:
    """The images in a folder and in the folders below it, in the order of their paths."""
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())
    if not files:
        raise FileNotFoundError(f"no images in {folder}; looked for {' '.join(sorted(IMAGE_ENDINGS))}")
    return files


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[Any]:
    """The file as Pillow opens it. Raises ValueError in one line for whatever its decoders raise in the block."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            yield file
    except FileNotFoundError:
        raise
    except Exception as error:  # each decoder raises its own
        raise ValueError(f"{path}: not a readable image ({' '.join(str(error).split())[:120]})") from None


def read_image(path: str | os.PathLike, *, gray: bool = False) -> np.ndarray:
    """One image as float32 in [0, 1], of shape (3, H, W), or (1, H, W) if `gray` (ITU-R 601 luma). Needs Pillow.

    The first frame, turned as its EXIF orientation says, without its alpha channel. Raises ValueError in one line.
    """
    from PIL import ImageOps

    with opened(path) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):  # 16 bits per pixel
            pixels = np.asarray(image, np.float32)[..., None] / 65535
            pixels = pixels if gray else pixels.repeat(3, axis=2)
        else:
            pixels = np.asarray(image.convert("L" if gray else "RGB"), np.float32) / 255
    pixels = pixels.reshape(*pixels.shape[:2], -1)  # (H, W) -> (H, W, 1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (H, W, C) -> (C, H, W)


def image_folder(folder: str | os.PathLike, *, gray: bool = False) -> list[np.ndarray]:
    """Every image in a folder and below, each of its own size: see `image_files` and `read_image`."""
    return [read_image(path, gray=gray) for path in image_files(folder)]


def class_folders(root: str | os.PathLike) -> tuple[list[Path], np.ndarray, list[str]]:
    """A folder per class: (image files, the class index of each, class names in alphabetical order)."""
    if not Path(root).is_dir():
        raise FileNotFoundError(f"{root}: no such folder; one is needed that holds a folder per class")
    classes = sorted(path.name for path in Path(root).iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise FileNotFoundError(f"{root} has no folders; one per class is needed, with the images in it")
    parts = [image_files(Path(root) / name) for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in parts])
    return [path for part in parts for path in part], labels, classes

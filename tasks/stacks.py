"""Files that hold arrays or several pictures: .npy, .npz, NIfTI, TIFF stacks, and the _seg.npy of Cellpose."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minidl.data import read_image, read_nifti
from minidl.files.pictures import shares
from minidl.files.weights import pickles

ARRAYS = (".npy", ".npz", ".nii", ".nii.gz")
TIFF = (".tif", ".tiff")
KEYS = {  # names of arrays in a .npz
    "image": ("image", "img", "images", "x", "X", "raw", "data"),
    "mask": ("mask", "masks", "label", "labels", "y", "Y", "seg", "segmentation"),
}
COLOURS = 4  # at most; a last axis this short holds colours


def ending(path: Path) -> str:
    """The ending of a file in small letters, .nii.gz as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def stem(path: Path) -> str:
    """The name without its ending."""
    return path.name[: len(path.name) - len(ending(path))]


def read_array(path: Path, what: str = "image") -> np.ndarray:
    """The numbers in a file of `ARRAYS` or a TIFF, as they are; of a .npz the array for `what`, an image or a mask.

    Nothing that a pickle asks for is executed. Raises ValueError in one line.
    """
    kind = ending(path)
    if kind in (".nii", ".nii.gz"):
        return read_nifti(path)
    if kind in TIFF:
        return _tiff(path)
    try:
        with open(path, "rb") as file:
            if kind == ".npy" and _is_pickled(file):
                return _cellpose(file, path, what)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            name = next((name for name in KEYS[what] if name in loaded), None)
            if name is None:
                has = ", ".join(loaded.files[:6])
                raise ValueError(f"no array {' or '.join(KEYS[what][:3])} in it, it has {has}")
            return loaded[name]
    except (ValueError, KeyError, EOFError) as error:
        raise ValueError(f"{path}: not an array that can be read ({' '.join(str(error).split())[:150]})") from None


def _is_pickled(file) -> bool:
    """Whether a .npy holds objects; the file is then where they begin."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)[2].hasobject
    except ValueError:
        return False


def _cellpose(file, path: Path, what: str) -> np.ndarray:
    """The masks, or the picture, in the dict that Cellpose saves as NAME_seg.npy, read without executing it.

    Source: cellpose.readthedocs.io/en/latest/outputs.html.
    """
    content = pickles.load(file)
    objects = getattr(content, "objects", None)
    content = objects[0] if isinstance(objects, list) and len(objects) == 1 else content
    found = content.get({"mask": "masks", "image": "img"}[what]) if isinstance(content, dict) else None
    if getattr(found, "array", None) is None:
        raise ValueError(f"{path}: objects of Python, and no {what} among them as Cellpose saves it")
    return found.array


def _tiff(path: Path) -> np.ndarray:
    try:
        from tifffile import TiffFile
    except ImportError:
        raise ValueError(f"{path}: TIFF stacks need tifffile: pip install tifffile") from None
    try:
        with TiffFile(path) as file:
            series = file.series[0]
            axes, values = series.axes, series.asarray()
    except Exception as error:  # each decoder raises its own
        raise ValueError(f"{path}: not a readable TIFF ({' '.join(str(error).split())[:120]})") from None
    if values.ndim > 2 and "C" in axes and "S" not in axes:  # channels of a microscope, (C, H, W) or (Z, C, H, W)
        values = np.moveaxis(values, axes.index("C"), -1)
    return values


def pages(path: Path, what: str = "image") -> int:
    """How many pictures a file holds; 0 for one that is read as a picture."""
    kind = ending(path)
    if kind in ARRAYS:
        return len(as_pages(path, what))
    if kind not in TIFF:
        return 0
    try:
        from tifffile import TiffFile

        with TiffFile(path) as file:
            shape, axes = file.series[0].shape, file.series[0].axes
    except Exception:  # Pillow may read it, or says what is wrong
        return 0
    count = int(np.prod([n for n, axis in zip(shape, axes) if axis not in "YXSC"]))
    return count if count > 1 else 0


@lru_cache(maxsize=2)  # pages are asked for one after the other, of a picture and its mask
def as_pages(path: Path, what: str = "image") -> np.ndarray:
    """All pictures in a file, (N, H, W, C), or masks, (N, H, W). Raises ValueError for arrays of other shapes."""
    values = read_array(path, what)
    shape = values.shape
    coloured = what == "image" and values.ndim > 2 and shape[-1] <= COLOURS < shape[-2]
    if what == "mask" and values.ndim > 2 and shape[-1] == 1:
        values = values[..., 0]
    if values.dtype == bool:
        values = values.astype(np.uint8)
    rank = values.ndim - coloured
    if values.dtype.kind not in "fiu" or not 2 <= rank <= 4 or not values.size:
        raise ValueError(f"{path}: {values.dtype} {shape} is no {what}: (H, W), pages (N, H, W), or colours last")
    values = values.reshape(-1, *values.shape[values.ndim - coloured - 2 :])
    if what == "mask":
        return values
    values = values if coloured else values[..., None]
    if values.shape[-1] == 2:
        raise ValueError(f"{path}: {shape} has 2 channels; save one, or three as colours")
    return _stretched(values[..., :3], path)


def _stretched(values: np.ndarray, path: Path) -> np.ndarray:
    """Volumes of NIfTI, which have no black and no white, from their least to their greatest value in [0, 1]."""
    if ending(path) not in (".nii", ".nii.gz"):
        return values
    low, high = (float(v) for v in (values.min(), values.max()))
    return ((values - low) / max(high - low, 1e-12)).astype(np.float32)


class Page(NamedTuple):
    """One of the pictures in a file that holds several, or the only one in a file of an array."""

    path: Path
    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.path}, page {self.number + 1}" if self.count > 1 else str(self.path)

    @property
    def name(self) -> str:
        return str(self._replace(path=Path(self.path.name)))

    @property
    def suffix(self) -> str:
        return self.path.suffix


def entries(path: Path, what: str = "image") -> list[Path | Page]:
    """The pages of a file; the file itself if it is a picture. Raises ValueError if its array cannot be read."""
    count = pages(path, what)
    return [Page(path, number, count) for number in range(count)] or [path]


def read_picture(
    source: Path | Page, *, gray: bool = False, bits: int | None = None, upright: bool = True
) -> np.ndarray:
    """A picture, or a page of an array or a stack, as `minidl.data.read_image` gives it: float32 (C, H, W)."""
    if isinstance(source, Page):
        return shares(as_pages(source.path)[source.number], source, gray=gray, bits=bits)
    return read_image(source, gray=gray, bits=bits, upright=upright)

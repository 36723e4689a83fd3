"""Volumes of medical imaging: NIfTI-1 and NIfTI-2 in one file, .nii or .nii.gz."""

from __future__ import annotations

import gzip
import math
import os
import zlib

import numpy as np

from .reading import Budget

DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
FORMS = {  # bytes of the header: where and how dim, datatype, vox_offset and the two of scaling are, and the magic
    348: ((40, "i2"), (70, "i2"), (108, "f4"), (112, "f4"), (344, b"n+1\0")),
    540: ((16, "i8"), (12, "i2"), (168, "i8"), (176, "f8"), (4, b"n+2\0\r\n\x1a\n")),
}


def read_nifti(path: str | os.PathLike[str]) -> np.ndarray:
    """The voxels of a .nii or .nii.gz, (D, H, W): the axes as the file has them, its slowest one first.

    Integers as they are stored; float32 where the header scales them, ``slope * stored + inter``. Axes of length 1 at
    the slow end are left out. Orientation and voxel sizes are not looked at. Raises ValueError in one line.
    Source: nifti.nimh.nih.gov, nifti1.h and nifti2.h.
    """
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else open(path, "rb") as file:
        try:
            return _read(file, os.fspath(path), Budget(os.path.getsize(path)))
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: truncated or damaged ({error})") from None


def _read(file, path: str, budget: Budget) -> np.ndarray:
    head = file.read(540)
    order = next((o for o in "<>" if len(head) >= 352 and np.frombuffer(head, o + "i4", 1)[0] in FORMS), None)
    if order is None:
        raise ValueError(f"{path}: not a NIfTI file, it starts with {head[:4]!r}")
    dims, kind, offset, scale, (place, magic) = FORMS[int(np.frombuffer(head, order + "i4", 1)[0])]
    if not head[place:].startswith(magic):
        raise ValueError(f"{path}: a header of NIfTI whose voxels are in another file (.hdr and .img); save it as .nii")

    def numbers(at: tuple[int, str], count: int = 1) -> np.ndarray:
        return np.frombuffer(head, order + at[1], count, at[0])

    rank, *sides = (int(n) for n in numbers(dims, 8))
    code = int(numbers(kind)[0])
    if not 1 <= rank <= 7 or min(sides[:rank]) < 1:
        raise ValueError(f"{path}: damaged, it declares {rank} axes of {sides}")
    if code not in DTYPES:
        raise ValueError(f"{path}: voxels of NIfTI's type {code} (colours, complex numbers) are not read; save floats")
    dtype = np.dtype(order + DTYPES[code])
    shape = tuple(reversed(sides[:rank]))
    size = math.prod(shape) * dtype.itemsize
    budget.spend(size, f"{path}: {dtype}{list(shape)}")
    file.seek(int(numbers(offset)[0]))
    entries = file.read(size)
    if len(entries) != size:
        raise ValueError(f"{path}: declares {dtype}{list(shape)}, {size} bytes; only {len(entries)} are there")
    voxels = np.frombuffer(entries, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    while voxels.ndim > 3 and len(voxels) == 1:
        voxels = voxels[0]
    slope, inter = (float(n) for n in numbers(scale, 2))
    if slope and math.isfinite(slope) and math.isfinite(inter) and (slope, inter) != (1, 0):
        voxels = (voxels * slope + inter).astype(np.float32)
    return voxels

"""Volumes to train and to test on: generated ones, or a user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minidl import data
from minidl.files.pictures import visible

from ..command import each
from ..formats import named
from ..stacks import ending, read_array, stem
from .pipeline import ORGANS
from .speckle import Volume, generate, standard_scores

TRAIN, TEST, WEIGHTS, ORDER, FLIPS = range(5)  # keep the draws for each purpose apart
FOLDERS = (("images", "masks"), ("images", "labels"), ("imagesTr", "labelsTr"))  # of volumes, and of their labels
ENDINGS = (".npy", ".npz", ".nii", ".nii.gz", ".tif", ".tiff")
SHARE = 0.8  # of a user's volumes that is trained on


def generated(seed: int, purpose: int, count: int, size: int, show: Callable[[], object]) -> list[Volume]:
    """Volumes that depend on seed, purpose and size only. ``show()`` is called after each."""
    return [generate(data.generator(seed, purpose, i), size) for i in each(range(count), show)]


def volume_files(folder: str) -> list[Path]:
    """The volumes that --data FOLDER names: files of FOLDERS[0], each with a mask, or NAME.npz that hold both."""
    root = Path(folder)
    names = {name for name, _ in FOLDERS}
    inside = (file for name in sorted(names) for file in sorted(root.glob(f"{name}/*")) if ending(file) in ENDINGS)
    files = [file for file in (*inside, *sorted(root.glob("*.npz"))) if visible(file, root)]
    if len(files) < 2:
        looked = (
            f"{len(files)} volumes in {folder}, at least 2 are needed, to train and to test; looked for images/NAME "
            'with masks/NAME, as .npy, .nii, .nii.gz or .tif, and for NAME.npz with the arrays "image" and "mask"'
        )
        other = next((named(file) for file in sorted(root.rglob("*")) if file.is_file() and named(file)), None)
        raise FileNotFoundError(looked + (f"; there is {other}" if not files and other else ""))
    return files


def mask_of(file: Path) -> Path:
    """The file with the labels of a volume: of its name, in any format, in a folder of labels; without _0000, which
    nnU-Net adds to images. Raises FileNotFoundError."""
    if ending(file) == ".npz" and file.parent.name not in dict(FOLDERS):
        return file
    name = stem(file)
    places = [file.parent.parent / labels for images, labels in FOLDERS if images == file.parent.name]
    for place in places:
        for other in (name, name.removesuffix("_0000")):
            for kind in (ending(file), *ENDINGS):
                if (mask := place / f"{other}{kind}").exists():
                    return mask
    raise FileNotFoundError(2, f"no such mask, which {file} needs", str(places[0] / file.name))


def read_volumes(files: Sequence[Path], multiple: int, show: Callable[[], object] = lambda: None) -> list[Volume]:
    """The user's volumes, standardised and padded. Raises ValueError in one line that names the guilty file."""
    return [padded(checked(file, *_arrays(file)), multiple) for file in each(files, show)]


def _arrays(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask, as they are in the files."""
    mask = mask_of(file)
    try:
        return read_array(file, "image"), read_array(mask, "mask")
    except ValueError as error:
        raise ValueError(f"{file}: not a volume ({str(error).removeprefix(f'{file}: ')})") from None


def checked(file: Path, image: np.ndarray, mask: np.ndarray) -> Volume:
    """The volume, if image and mask are what they should be."""
    if image.ndim != 3 or image.dtype.kind not in "fiu" or not image.size:
        raise ValueError(f"{file}: an image must be numbers of shape (D, H, W), this is {image.dtype} {image.shape}")
    if mask.shape != image.shape:
        raise ValueError(f"{file}: the mask has shape {mask.shape}, the image {image.shape}; they must be equal")
    if not np.isfinite(image).all():
        raise ValueError(f"{file}: the image holds NaN or infinite voxels")
    found = np.unique(mask)
    if not np.isin(found, (0, 1, 2)).all():
        values = ", ".join(f"{v:g}" for v in found[:6]) + (", ..." if len(found) > 6 else "")
        raise ValueError(f"{file}: the mask holds {values}; it must hold 0 (none), 1 (small organ), 2 (large organ)")
    for label, organ in enumerate(ORGANS, 1):
        if label not in found:
            raise ValueError(f"{file}: the mask has no {organ} organ, label {label}; leave the volume out")
    return Volume(standard_scores(image), mask.astype(np.uint8))


def padded(volume: Volume, multiple: int) -> Volume:
    """Sides that divide by `multiple`: the image repeats its last slices, the labels are 0 there."""
    ends = [(0, -n % multiple) for n in volume.labels.shape]
    return Volume(np.pad(volume.image, ends, mode="edge"), np.pad(volume.labels, ends))


def split(volumes: Sequence[Volume], seed: int) -> tuple[list[Volume], list[Volume]]:
    """Those to train and those to test on; at least one of each."""
    order = data.generator(seed, ORDER).permutation(len(volumes))
    cut = min(max(1, round(SHARE * len(volumes))), len(volumes) - 1)
    return [volumes[i] for i in order[:cut]], [volumes[i] for i in order[cut:]]


def masks(labels: np.ndarray) -> np.ndarray:
    """(D, H, W) labels to (1, 2, D, H, W) float32 of 0 and 1: a channel per organ."""
    return np.stack([labels == i + 1 for i in range(len(ORGANS))])[None].astype(np.float32)


class VolumeBatches(data.RandomBatches):
    """``batches(step)``: that step's volumes, each mirrored along a random choice of axes."""

    purpose = FLIPS

    def __init__(self, volumes: Sequence[Volume], batch: int, seed: int):
        self.volumes, self.seed = volumes, seed
        self.order = data.Batches(len(volumes), min(batch, len(volumes)), seed=seed, drop_last=True)

    def size(self, step: int) -> int:
        return self.order.size(step)

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> list[Volume]:
        batch = []
        for i in self.order(step)[where]:
            flip = tuple(slice(None, None, 1 if keep else -1) for keep in rng.integers(2, size=3))
            batch.append(Volume(*(np.ascontiguousarray(array[flip]) for array in self.volumes[i])))
        return batch

"""Pictures and their classes: digits, MNIST, CIFAR-10, or a folder per class. All are bytes, (N, C, side, side)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import is_zipfile

import numpy as np

from minidl import data
from minidl.files.pictures import visible
from minidl.files.pixels import image_size

from ..command import progress
from ..formats import unknown
from ..models.googlenet import MEAN, STD
from ..own_pictures import images_below, readable

WEIGHTS, SHIFTS = range(2)  # keep the draws for each purpose apart
SHARE = 0.75  # of each class, to train on, where the data do not say
SIDE = 64  # of pictures from a folder, unless all are square and smaller, or --size says otherwise
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARRAYS = (  # in a .npz: pictures and classes to train on, to test on
    ("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"),
)  # fmt: skip
TEST_FOLDERS = ("test", "val")


@dataclass(frozen=True)
class Part:
    """Pictures, uint8 (N, C, side, side), and the class of each, int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __getitem__(self, chosen: np.ndarray | slice) -> Part:
        """Some of the pictures."""
        return Part(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Dataset:
    """What is trained on, what is tested on, and the names of the classes."""

    name: str
    classes: list[str]
    train: Part
    test: Part

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    @property
    def side(self) -> int:
        return self.train.images.shape[2]


def read(
    folder: str | None, side: int | None = None, quiet: bool = True, *, bits: int | None = None, skip_bad: bool = False
) -> Dataset:
    """scikit-learn's digits for None; else MNIST, CIFAR-10 or a folder per class, what is found in the folder; or a
    .npz: see `arrays`.

    side: pictures are made this large. bits: of pictures deeper than bytes, what all need unless given. skip_bad: those
    that cannot be read are left out and listed. Raises OSError or ValueError in one line.
    """
    if folder is None:
        return digits(side)
    root = Path(folder)
    if root.is_file():
        return arrays(root, side)
    if _holds(root, "*idx3-ubyte*"):
        names, load = [str(i) for i in range(10)], data.mnist
    elif _holds(root, "data_batch_1"):
        names, load = list(CIFAR10), data.cifar10
    else:
        bits = data.bit_depth(images_below(folder)) if bits is None else bits
        side = side or common_side(images_below(folder)) or SIDE
        return _folders(root, Reader(side, side, bits, skip_bad, partial(progress, quiet=quiet)))
    train, test = (load(root, train=training) for training in (True, False))
    return Dataset(root.name, names, *(Part(resized(images, side), labels) for images, labels in (train, test)))


def _holds(root: Path, pattern: str) -> bool:
    return any(visible(path, root) for path in root.rglob(pattern))


def arrays(file: Path, side: int | None = None) -> Dataset:
    """Pictures in a .npz as Keras (x_train, y_train, x_test, y_test) or MedMNIST (train_images, train_labels, ...) has
    them: bytes (N, H, W) or (N, H, W, C), H = W, and the number of each one's class. Raises ValueError in one line."""
    try:
        with np.load(file, allow_pickle=False) as found:
            names = next((names for names in ARRAYS if {*names} <= {*found.files}), None)
            if names is None:
                has = ", ".join(found.files[:6])
                raise ValueError(f"it has {has}; needed are {' or '.join(', '.join(names) for names in ARRAYS)}")
            parts = [found[name] for name in names]
    except (ValueError, EOFError, OSError, AttributeError) as error:
        text = unknown(file, "a .npz of arrays") if not is_zipfile(file) else f"{file}: {error}"
        raise ValueError(" ".join(text.split())[:300]) from None
    train, test = (_part(file, images, labels) for images, labels in (parts[:2], parts[2:]))
    count = int(max(train.labels.max(initial=0), test.labels.max(initial=0))) + 1
    train, test = (Part(resized(part.images, side), part.labels) for part in (train, test))
    return Dataset(file.stem, [str(i) for i in range(count)], train, test)


def _part(file: Path, images: np.ndarray, labels: np.ndarray) -> Part:
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    images = images[..., None] if images.ndim == 3 else images
    square_bytes = images.ndim == 4 and images.dtype == np.uint8 and images.shape[1] == images.shape[2]
    if not square_bytes or images.shape[3] not in (1, 3) or not len(images):
        got = f"{images.dtype} {images.shape}"
        raise ValueError(f"{file}: pictures must be uint8 (N, H, H), gray, or (N, H, H, 3), got {got}")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
        got = f"{labels.dtype} {labels.shape}"
        raise ValueError(f"{file}: {len(images)} pictures need a class number from 0 each, got {got}")
    images = images.transpose(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
    return Part(np.ascontiguousarray(images), labels.astype(np.int64))


def digits(side: int | None = None) -> Dataset:
    """scikit-learn's 1797 handwritten digits, 8x8, split by a seed that never changes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)[:, None]  # 0..16, (N, 8, 8) -> (N, 1, 8, 8)
    names = [str(i) for i in range(10)]
    return _split("scikit-learn's digits", names, Part(resized(images, side), found.target.astype(np.int64)))


def _folders(root: Path, reader: Reader) -> Dataset:
    """A folder per class, in root, or in its folders train and test (or val); in one channel if all are gray."""
    held_out = next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or held_out is None:
        part, names = reader.folder(root)
        return _split(root.name, names, *gray_alone(part))
    train, names = reader.folder(root / "train")
    test, others = reader.folder(held_out)
    if names != others:
        odd = sorted(set(names) ^ set(others))
        raise ValueError(f"{root}: train and {held_out.name} have different classes: {', '.join(odd[:5])} in one only")
    return Dataset(root.name, names, *gray_alone(train, test))


def common_side(files: Sequence[Path]) -> int | None:
    """The side of square pictures, at most SIDE, if all that can be read have it: small ones are not made larger."""
    side = None
    for file in files:
        try:
            height, width = image_size(file)
        except (OSError, ValueError):
            continue
        if height != width or width > SIDE or side not in (None, width):
            return None
        side = width
    return side


def gray_alone(*parts: Part) -> tuple[Part, ...]:
    """The parts with one channel of three if these are the same in every picture of all parts."""
    gray = all((part.images == part.images[:, :1]).all() for part in parts)
    return tuple(Part(part.images[:, :1], part.labels) for part in parts) if gray else parts


@dataclass(frozen=True)
class Reader:
    """How pictures of a user become the `square` of `short` and `side`; progress: of (label, total), as `command`'s."""

    short: int
    side: int
    bits: int | None
    skip_bad: bool
    progress: Callable

    def folder(self, root: Path) -> tuple[Part, list[str]]:
        """The pictures in a folder per class and the names of the classes, read as colours.

        What cannot be read is left out and listed if `skip_bad`; else it raises OSError or ValueError in one line.
        """
        files, labels, names = data.class_folders(root)
        images = np.empty((len(files), 3, self.side, self.side), np.uint8)
        kept: list[int] = []
        with self.progress(f"reading {len(files)} pictures of {len(names)} classes", len(files)) as show:
            for i, image in readable(files, show, bits=self.bits, skip_bad=self.skip_bad):
                images[len(kept)] = square(image, self.short, self.side)
                kept.append(i)
        if blank := set(range(len(names))) - set(labels[kept].tolist()):
            raise ValueError(f"{root / names[min(blank)]}: no picture in it can be read")
        return Part(images[: len(kept)], labels[kept]), names


def sampled(part: Part, most: int) -> Part:
    """The part, or `most` pictures of it, the same ones every time."""
    n = len(part.labels)
    return part if n <= most else part[np.sort(data.split(n, (1,), seed=0)[0][:most])]


def _split(name: str, classes: list[str], part: Part) -> Dataset:
    return Dataset(name, classes, *(part[chosen] for chosen in stratified(part.labels, SHARE)))


def stratified(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two parts, `share` of each class in the first and at least one picture of it in either."""
    parts: tuple[list, list] = ([], [])
    for c in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == c)
        if len(members) < 2:
            raise ValueError(f"class {c} has {len(members)} pictures: one to train on and one to test on are needed")
        order = members[data.split(len(members), (1,), seed=c)[0]]
        cut = min(max(1, round(share * len(members))), len(members) - 1)
        parts[0].append(order[:cut])
        parts[1].append(order[cut:])
    first, second = (np.sort(np.concatenate(part)) for part in parts)
    return first, second


# --- pixels


def square(image: np.ndarray, short: int, side: int, bicubic: bool = False) -> np.ndarray:
    """The central square of an image: float (C, H, W) in [0, 1] gives uint8 (C, side, side).

    The shorter side is first made `short` pixels long, bilinear (or `bicubic`) over all pixels that one of the result
    covers; the longer one is rounded down, the crop's place to the nearest pixel: Resize and CenterCrop of torchvision.
    """
    from PIL import Image

    pixels = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)  # (C, H, W) -> (H, W, C)
    height, width = pixels.shape[:2]
    size = tuple(int(short * n / min(height, width)) for n in (width, height))
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    left, top = (round((n - side) / 2) for n in size)
    filtered = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    picture = picture.resize(size, filtered).crop((left, top, left + side, top + side))
    return np.asarray(picture).reshape(side, side, -1).transpose(2, 0, 1)  # (side, side, C) -> (C, side, side)


def resized(images: np.ndarray, side: int | None) -> np.ndarray:
    """Square pictures made larger or smaller; themselves for None."""
    if side is None or side == images.shape[2]:
        return images
    return np.stack([square(image.astype(np.float32) / 255, side, side) for image in images])


def pictures(files: Sequence[str], channels: int, short: int, side: int, bits: int | None = None) -> np.ndarray:
    """A user's image files as pictures, uint8 (N, channels, side, side); bits: see `minidl.data.read_image`."""
    return np.stack([square(data.read_image(file, gray=channels == 1, bits=bits), short, side) for file in files])


def like_imagenet(images: np.ndarray) -> np.ndarray:
    """What networks see of pictures: colours less ImageNet's mean, divided by its standard deviation; float32.

    Gray pictures (N, 1, H, W) are treated with the means of the three colours' constants.
    """
    mean, std = (v if images.shape[1] == 3 else v.mean(keepdims=True) for v in (MEAN, STD))
    scale, offset = (v.astype(np.float32).reshape(-1, 1, 1) for v in (1 / (255 * std), -mean / std))
    return images * scale + offset


class PictureBatches(data.RandomBatches):
    """``batches(step)`` is that step's batch: pictures `like_imagenet`, and their classes.

    Each picture is moved by up to `shift` pixels along each axis, black coming in, and with `mirror` every other one
    is turned left to right. An epoch sees every picture once but for the rest that fills no batch.
    """

    purpose = SHIFTS

    def __init__(self, part: Part, batch: int, *, shift: int, mirror: bool, seed: int):
        self.part, self.shift, self.mirror, self.seed = part, shift, mirror, seed
        n = len(part.labels)
        self.order = data.Batches(n, min(batch, n), seed=seed, drop_last=True)

    def size(self, step: int) -> int:
        return self.order.size(step)

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order(step)[where]
        images = shifted(self.part.images[chosen], self.shift, rng)
        if self.mirror:
            turned = rng.random(len(images)) < 0.5
            images[turned] = images[turned][..., ::-1]
        return like_imagenet(images), self.part.labels[chosen]


def shifted(images: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Each picture moved by -most to most pixels along each axis, independently; black comes in."""
    padded = np.pad(images, [(0, 0), (0, 0), (most, most), (most, most)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[2:], axis=(2, 3))  # (N, C, shifts, H, W)
    down, right = rng.integers(0, 2 * most + 1, (2, len(images)))
    return windows[np.arange(len(images)), :, down, right]

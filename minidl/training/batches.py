"""Order, splits and loaders of data.

Whatever is random here is a plain function of a seed and a step: batch 1000 of a resumed run is batch 1000 of the run
that was never stopped, and nothing needs to be saved.

    train, test = data.split(len(images), (0.9, 0.1), seed=0)
    batches = data.Batches(len(train), 32, seed=0)
    for step in range(1000):
        x = images[train[batches(step)]]
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..files.atomic import Budget
from ..files.weights import load_weights

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm"}
IDX_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # the third byte of an idx file
ORDER, SPLIT = 1, 2  # keep the draws of the two apart


class Batches:
    """The order in which training sees n samples: ``batches(step)`` is the array of indices of that step's batch.

    Epoch e is a permutation of range(n) that depends on (seed, e) only, cut into batches of `batch_size`; the last
    one is smaller if the size does not divide n, unless `drop_last`. ``len(batches)`` is the number in an epoch.
    """

    def __init__(self, n: int, batch_size: int, *, seed: int = 0, shuffle: bool = True, drop_last: bool = False):
        if n < 1 or batch_size < 1:
            raise ValueError(f"Batches needs n and batch_size of at least 1, got n={n}, batch_size={batch_size}")
        if drop_last and batch_size > n:
            raise ValueError(f"a batch of {batch_size} out of {n} samples is dropped with drop_last: nothing is left")
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.shuffle, self.drop_last = shuffle, drop_last
        self._kept: tuple[int, np.ndarray] = (-1, np.arange(0))  # the epoch at hand and its order

    def __len__(self) -> int:
        return self.n // self.batch_size if self.drop_last else math.ceil(self.n / self.batch_size)

    def __call__(self, step: int) -> np.ndarray:
        """The indices of the batch of a step, counted from 0 over all epochs."""
        epoch, position = divmod(step, len(self))
        if step < 0:
            raise ValueError(f"steps count from 0, got {step}")
        return self.order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def order(self, epoch: int) -> np.ndarray:
        """All n indices, in the order of an epoch."""
        kept, order = self._kept
        if kept != epoch:
            order = generator(self.seed, ORDER, epoch).permutation(self.n) if self.shuffle else np.arange(self.n)
            order.setflags(write=False)
            self._kept = epoch, order
        return order

    def epoch(self, epoch: int = 0) -> Iterator[np.ndarray]:
        """The batches of one epoch, one after the other."""
        return (self(epoch * len(self) + position) for position in range(len(self)))

    def __iter__(self) -> Iterator[np.ndarray]:
        raise TypeError("an epoch has a number: use batches.epoch(e), or batches(step)")


def generator(seed: int, *key: int) -> np.random.Generator:
    """A random generator of its own for each key of integers: ``generator(seed, step)`` draws the noise of a step."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


class Prefetch:
    """`batches`, a function from step to batch, prepared one step ahead by a thread.

    The values are those of `batches` itself, which must depend on nothing but the step.
    """

    def __init__(self, batches: Callable[[int], Any]):
        self.batches = batches
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self.ahead: tuple[int, Any] = (-1, None)

    def __call__(self, step: int) -> Any:
        known, batch = self.ahead
        if known != step:
            batch = self.thread.submit(self.batches, step)
        self.ahead = step + 1, self.thread.submit(self.batches, step + 1)
        return batch.result()


def split(n: int, fractions: Sequence[float], *, seed: int) -> list[np.ndarray]:
    """Cut range(n), shuffled, into parts with the given fractions: disjoint arrays of indices.

    A part ends where the sum of fractions so far, times n, rounds to; fractions that add up to 1 leave nothing out.
    """
    total = math.fsum(fractions)
    if not fractions or min(fractions) < 0 or total > 1 + 1e-9:
        raise ValueError(f"split needs fractions of at least 0 that add up to at most 1, got {tuple(fractions)}")
    ends = np.rint(np.cumsum(fractions) * n).astype(int)
    return np.split(generator(seed, SPLIT, n).permutation(n)[: ends[-1]], ends[:-1])


# --- images in folders


def image_files(folder: str | os.PathLike) -> list[Path]:
    """The images in a folder and in the folders below it, in the order of their paths."""
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())
    if not files:
        raise FileNotFoundError(f"no images in {folder}; looked for {' '.join(sorted(IMAGE_ENDINGS))}")
    return files


def read_image(path: str | os.PathLike, *, gray: bool = False) -> np.ndarray:
    """One image as float32 in [0, 1], of shape (3, H, W), or (1, H, W) if `gray` (ITU-R 601 luma). Needs Pillow.

    The first frame, turned as its EXIF orientation says, without its alpha channel. Raises ValueError in one line.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 bits per pixel
                pixels = np.asarray(image, np.float32)[..., None] / 65535
                pixels = pixels if gray else pixels.repeat(3, axis=2)
            else:
                pixels = np.asarray(image.convert("L" if gray else "RGB"), np.float32) / 255
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow raises whatever its decoders do
        raise ValueError(f"{path}: not a readable image ({' '.join(str(error).split())[:120]})") from None
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


# --- MNIST and CIFAR-10, as their authors give them


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an idx file, gzipped or not: 0, 0, dtype, rank, each length in 4 bytes, the entries, big-endian.

    Source: http://yann.lecun.com/exdb/mnist. Raises ValueError in one line for anything else.
    """
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else open(path, "rb") as file:
        try:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in IDX_DTYPES:
                raise ValueError(f"{path}: not an idx file, it starts with {head!r}")
            lengths = file.read(4 * head[3])
            if len(lengths) < 4 * head[3]:
                raise EOFError(f"{head[3]} lengths are announced")
            shape = tuple(np.frombuffer(lengths, ">u4").tolist())
            dtype = np.dtype(IDX_DTYPES[head[2]])
            size = math.prod(shape) * dtype.itemsize
            Budget(os.path.getsize(path)).spend(size, f"{path}: {dtype}{list(shape)}")
            entries = file.read(size + 1)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: truncated or damaged ({error})") from None
    if len(entries) != size:
        there = f"only {len(entries)} are" if len(entries) < size else "more are"
        raise ValueError(f"{path}: declares {dtype}{list(shape)}, {size} bytes; {there} there")
    return np.frombuffer(entries, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def mnist(folder: str | os.PathLike, *, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """MNIST (or Fashion-MNIST) from its idx files: images uint8 (N, 1, 28, 28) and labels int64 (N,)."""
    part = "train" if train else "t10k"
    images, labels = (_find(folder, f"{part}-{kind}") for kind in ("images?idx3-ubyte*", "labels?idx1-ubyte*"))
    images, labels = read_idx(images), read_idx(labels)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"{folder}: images {images.shape} and labels {labels.shape} do not belong together")
    return images[:, None], labels.astype(np.int64)


def cifar10(folder: str | os.PathLike, *, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 from its python batches: images uint8 (N, 3, 32, 32) and labels int64 (N,).

    The batches are pickles; they are read without running them. Source: https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    images, labels = [], []
    for name in [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]:
        batch = load_weights(_find(folder, name))
        images.append(batch["data"])
        labels.append(batch["labels"])
    return np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels).astype(np.int64)


def _find(folder: str | os.PathLike, pattern: str) -> Path:
    found = sorted(Path(folder).rglob(pattern))
    if not found:
        raise FileNotFoundError(f"no file {pattern} in {folder}")
    return found[0]

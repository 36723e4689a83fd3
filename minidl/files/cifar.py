"""CIFAR-10 as its authors give it: pickles for Python, read without running them."""

from __future__ import annotations

import os

import numpy as np

from .idx import find_files
from .weights import load_weights


def cifar10(folder: str | os.PathLike[str], *, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 from its python batches: images uint8 (N, 3, 32, 32) and labels int64 (N,).

    The batches are pickles; they are read without running them. Source: https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
    batches = [load_weights(path) for path in find_files(folder, names, "cifar-10-batches-py")]
    images, labels = (np.concatenate([batch[key] for batch in batches]) for key in ("data", "labels"))
    return images.reshape(-1, 3, 32, 32), labels.astype(np.int64)

"""HDF5, by the package h5py: its datasets as entries. Nothing outside the file is opened, whatever it refers to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...core.advice import install
from ..reading import Budget, Entry, WeightsError
from ..source import Source

SIGNATURE = b"\x89HDF\r\n\x1a\n"
DEPTH_LIMIT = 32


def is_hdf5(data: memoryview) -> bool:
    """Whether the bytes are an HDF5 file, also after the 512 bytes of text that MATLAB puts before it."""
    return SIGNATURE in (bytes(data[:8]), bytes(data[512:520]))


def opened(source: Source) -> Any:
    """The h5py.File of these bytes."""
    try:
        import h5py
    except ImportError:
        raise WeightsError(f'this is an HDF5 file, which h5py reads: {install("weights")}') from None
    return h5py.File(source.file(), "r")


def children(group: Any) -> Iterator[tuple[str, Any]]:
    """(name, group or dataset) of all that is in a group of this file, the natural order: 2 before 10."""
    import h5py

    for name in sorted(group, key=lambda name: (len(name), name) if name.isdigit() else (0, name)):
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise WeightsError(f"{name!r} is in another file, which is not opened")
        yield name, group[name]


def is_group(item: Any) -> bool:
    return hasattr(item, "keys")


def entry(name: str, dataset: Any, budget: Budget) -> Entry:
    """The entry of a dataset."""

    def read() -> np.ndarray:
        if dataset.external or dataset.is_virtual:
            raise WeightsError(f"the entries of {name!r} are in another file, which is not opened")
        if dataset.dtype.kind not in "fciub":
            raise WeightsError(f"{name!r} holds entries of type {str(dataset.dtype)[:40]}; only numbers are read")
        budget.spend(dataset.size * dataset.dtype.itemsize, f"dataset {name!r}")
        return np.asarray(dataset[()]).astype(dataset.dtype.newbyteorder("="), order="C", copy=False)

    return Entry(tuple(dataset.shape or ()), str(dataset.dtype.newbyteorder("=")), read)


def datasets(group: Any, budget: Budget, path: str = "", depth: int = 0) -> Iterator[tuple[str, Entry]]:
    """(path joined with dots, entry) of every dataset of numbers below a group."""
    if depth > DEPTH_LIMIT:
        raise WeightsError(f"the groups are nested deeper than {DEPTH_LIMIT}")
    for name, item in children(group):
        path_here = f"{path}.{name}" if path else name
        if is_group(item):
            yield from datasets(item, budget, path_here, depth + 1)
        elif item.dtype.kind in "fciub":
            yield path_here, entry(path_here, item, budget)

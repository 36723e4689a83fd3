"""Regions of interest: see roi.cu."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ...ops.roi import largest_of_bins
from .source import BLOCK, blocks, empty, launch, maps, strides, supported


def align(x: Any, *, regions: Any) -> Any:
    """The mean over the samples of each bin: (N, C, H, W) -> (R, C, P, Q)."""
    if not supported(x):
        return NotImplemented
    c, h, w = x.shape[1:]
    y = empty((len(regions.boxes), c, *regions.output), x.dtype)
    if y.size:
        x = maps(x)
        tables = _weights(regions, (h, w), x.dtype)
        _run("roi_align", y, regions, y, *strides(y), x, *strides(x), *tables, regions.images, len(y), c, h, w)
    return y


def spread(x: Any, *, regions: Any, size: tuple[int, ...]) -> Any:
    """Each bin's entry shared among the cells that its mean was taken of: (R, C, P, Q) -> size, (N, C, H, W)."""
    if not supported(x):
        return NotImplemented
    n, c, h, w = size
    y = empty(size, x.dtype)
    if y.size:
        x = maps(x)
        tables = _weights(regions, (h, w), x.dtype)
        _run("roi_spread", y, regions, y, *strides(y), x, *strides(x), *tables, regions.images, len(x), n, c, h, w)
    return y


def largest(x: Any, *, regions: Any) -> Any:
    """The largest cell of each bin and its flat position in its map, 0 and -1 for an empty bin: 2 x (R, C, P, Q)."""
    if not supported(x):
        return NotImplemented
    shape = (len(regions.boxes), x.shape[1], *regions.output)
    y, at = empty(shape, x.dtype), empty(shape, np.dtype("int64"))
    if y.size:
        x, tables = maps(x), _cells(regions, x)
        _run(
            "roi_largest", y, regions, y, *strides(y), at, *strides(at), x, *strides(x), *tables, regions.images,
            len(y), x.shape[1], x.shape[3],
        )  # fmt: skip
    return y, at


def to_largest(x: Any, *, among: Any, regions: Any) -> Any:
    """Each entry added at the largest cell of its bin in `among`: (R, C, P, Q) -> (N, C, H, W)."""
    if not supported(x, among):
        return NotImplemented
    at = largest_of_bins(among, regions=regions)[1]
    y = empty(among.shape, x.dtype)
    if y.size:
        x, at = maps(x), maps(at)
        n, c, h, w = among.shape
        _run(
            "roi_to_largest", y, regions, y, *strides(y), x, *strides(x), at, *strides(at), *_cells(regions, among),
            regions.images, len(x), n, c, h, w,
        )  # fmt: skip
    return y


def _weights(regions: Any, size: tuple[int, int], dtype: Any) -> list[Any]:
    """a (R, P, H) and the rows that count (R, P, 2), b (R, Q, W) and the columns that count (R, Q, 2)."""
    cupy, found = sys.modules["cupy"], []
    for axis, (bins, cells) in enumerate(zip(regions.output, size)):
        grid = regions.grid(axis)
        boxes = len(grid[0])
        weights, ranges = cupy.empty((boxes, bins, cells), dtype), cupy.empty((boxes, bins, 2), np.dtype("int64"))
        if boxes:
            threads = (blocks(boxes * bins),), (BLOCK,)
            constants = {"OUTPUT": regions.output}
            launch("roi", "sample_weights", dtype, constants, *threads, weights, ranges, *grid, boxes, bins, cells)
        found += [weights, ranges]
    return found


def _cells(regions: Any, x: Any) -> list[Any]:
    """The rows of each bin (R, P, 2), and its columns (R, Q, 2)."""
    return [regions.ranges(axis, x.shape[2 + axis], x.dtype) for axis in (0, 1)]


def _run(name: str, y: Any, regions: Any, *arguments: Any) -> None:
    """A thread for each entry of a channel of y (A, C, B, D), a row of blocks for each channel."""
    grid = blocks(y.size // y.shape[1]), min(y.shape[1], 65535)
    launch("roi", name, y.dtype, {"OUTPUT": regions.output}, grid, (BLOCK,), *arguments)

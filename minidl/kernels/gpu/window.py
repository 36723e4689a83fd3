"""Launches a kernel over a window: a thread for each sample and entry of a map, a row of blocks for each channel."""

from __future__ import annotations

import math
from typing import Any

from .source import BLOCK, ROWS, blocks, geometry, launch, maps, strides, supported

INDICES = 2**31  # an index within a map is an int


def takes(window: Any, *arrays: Any) -> bool:
    """Can a kernel over this window run on these arrays?"""
    return supported(*arrays) and max(math.prod(window.size), window.positions) < INDICES


def run(file: str, name: str, window: Any, shape: tuple[int, int, int], *arrays: Any, numbers: tuple = ()) -> None:
    """Run a kernel with a thread for each of `shape` = (samples, channels, entries of a map); T is the last array's.

    The kernel is given each array with its steps from sample to sample and from channel to channel, the numbers, and
    the counts of samples and channels.
    """
    samples, channels, entries = shape
    if samples * channels == 0:
        return
    grid = (blocks(samples * entries), min(channels, ROWS))
    laid_out = [maps(a) for a in arrays]
    arguments = [argument for a in laid_out for argument in (a, *strides(a))]
    launch(file, name, arrays[-1].dtype, geometry(window), grid, (BLOCK,), *arguments, *numbers, samples, channels)

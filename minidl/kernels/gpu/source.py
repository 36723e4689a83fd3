"""From the text of a `.cu` file to a kernel that runs.

Before the text stand one ``typedef float T;`` and the constants of one geometry (sizes, strides, taps of a window):
the compiler unrolls the loops over taps, and a division by a constant becomes a multiplication. Batch and channels
come as arguments, so that a network's last, smaller batch needs no compilation of its own. CuPy keeps what it has
compiled on disk.

Arrays: (N, C, *size), any strides of n and c, spatial axes in C order (`maps`). Outputs have their channels outermost
in memory (`empty`): then the columns of a convolution are one matrix, and a channel is one run for batch norm.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import numpy as np

BLOCK = 256  # threads
ROWS = 2**16 - 1  # of blocks that a grid may have; a thread goes on with the channels beyond
DTYPES = {"float32": "float", "float64": "double"}  # that a kernel's T may stand for

Constants = tuple[tuple[str, Any], ...]


def supported(*arrays: Any) -> bool:
    """Are they all float32, or all float64? None counts for nothing."""
    dtypes = {a.dtype.name for a in arrays if a is not None}
    return len(dtypes) == 1 and dtypes <= set(DTYPES)


# --- text


def text(file: str, dtype: str, constants: Constants) -> str:
    """What is compiled: T, the constants, and the file ``{file}.cu`` with ``window.cuh`` where it includes that."""
    lines = [f"typedef {DTYPES[dtype]} T;", *(_declared(name, value) for name, value in constants)]
    return "\n".join([*lines, _read(file).replace('#include "window.cuh"', _read("window", "cuh"))])


@cache
def _read(file: str, suffix: str = "cu") -> str:
    return resources.files(__package__).joinpath(f"{file}.{suffix}").read_text(encoding="utf-8")


def _declared(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return f"__device__ constexpr int {name}[{len(value)}] = {{{', '.join(map(str, value))}}};"
    return f"constexpr {'double' if isinstance(value, float) else 'int'} {name} = {value!r};"


@lru_cache(maxsize=1024)
def geometry(window: Any) -> dict[str, Any]:
    """A window as constants, always of three axes: one of rank 1 or 2 gets leading axes of a single cell."""
    missing = (1,) * (3 - window.rank)
    return {
        "SIZE": missing + window.size,
        "KERNEL": missing + window.kernel,
        "STRIDE": missing + window.stride,
        "DILATION": missing + window.dilation,
        "LOW": (0,) * len(missing) + tuple(low for low, _ in window.padding),
        "OUTPUT": missing + window.output,
        "CELLS": math.prod(window.size),
        "TAPS": window.taps,
        "POSITIONS": window.positions,
    }


# --- compilation and launch


def launch(
    file: str, name: str, dtype: Any, constants: Mapping[str, Any], grid: tuple[int, ...], block: tuple[int, ...],
    *arguments: Any,
) -> None:
    """Run the kernel `name` of ``{file}.cu``; arguments: CuPy arrays, int (for long long), float (for double)."""
    kernel = _compiled(sys.modules["cupy"], file, np.dtype(dtype).name, tuple(constants.items()), name)
    kernel(grid, block, arguments)


@lru_cache(maxsize=4096)
def _compiled(cupy: Any, file: str, dtype: str, constants: Constants, name: str) -> Any:
    return _module(cupy, file, dtype, constants).get_function(name)


@lru_cache(maxsize=1024)
def _module(cupy: Any, file: str, dtype: str, constants: Constants) -> Any:
    return cupy.RawModule(code=text(file, dtype, constants), options=("--std=c++17",))


def blocks(threads: int) -> int:
    """How many blocks hold so many threads."""
    return -(-threads // BLOCK)


# --- memory


def maps(x: Any) -> Any:
    """x (N, C, *size) with its spatial axes in C order: itself, or a copy with channels outermost."""
    step = x.itemsize
    for n, stride in zip(x.shape[:1:-1], x.strides[:1:-1]):
        if n != 1 and stride != step:
            copy = empty(x.shape, x.dtype)
            copy[...] = x
            return copy
        step *= n
    return x


def strides(x: Any) -> tuple[int, int]:
    """The steps from sample to sample and from channel to channel, in elements."""
    return x.strides[0] // x.itemsize, x.strides[1] // x.itemsize


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of logical shape (N, C, *size) that lies in memory as (C, N, *size)."""
    n, c, *size = shape
    return sys.modules["cupy"].empty((c, n, *size), dtype).swapaxes(0, 1)


def as_matrix(x: Any) -> Any:
    """(N, C, *size) -> (C, N * P): a view if the channels lie outermost in memory, else a copy."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)

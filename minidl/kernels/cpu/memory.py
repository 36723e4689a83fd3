"""Memory that is used again. The operating system hands fresh memory out page by page, each cleared when it is first
touched; for large arrays that takes longer than computing their contents. NumPy asks the C library for memory, and
that gives large arrays back to the system as soon as they are freed, to ask for them again in the next step of
training. `fit`, and the first kernel with much to do, make it keep them; importing minidl does not.

That is glibc's `mallopt`, so it holds on Linux, for the whole process; elsewhere nothing changes. MINIDL_KEEP_MEMORY
is the bound, in MiB: when more than that is free at the end of the heap, it goes back (0: leave the C library alone).
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np

KEEP = 2047  # MiB
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h: bytes that may be free at the end; arrays mapped on their own
LARGEST = (1 << 31) - 1  # bytes: mallopt takes an int


def keep() -> bool:
    """Make the C library keep memory that is freed, up to the bound. False if it cannot, or should not.

    Raises ValueError if MINIDL_KEEP_MEMORY is not a whole number.
    """
    bound = os.environ.get("MINIDL_KEEP_MEMORY", "") or str(KEEP)
    if not bound.isdigit():
        raise ValueError(f"MINIDL_KEEP_MEMORY={bound!r} must be a whole number of MiB, 0 or more")
    mallopt = getattr(_c_library(), "mallopt", None)
    if mallopt is None or bound == "0":
        return False
    limit = min(int(bound) << 20, LARGEST)
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, limit))


keep_memory = cache(keep)  # once in a process is enough


def release_memory() -> None:
    """Give memory that is free back to the operating system now, and the scratch memory of kernels with it."""
    forget_scratch()
    give_back()


def give_back() -> None:
    """Give the pages that the C library holds, but nobody uses, back to the operating system."""
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Supply(threading.local):
    """What gives this thread the memory for results of kernels; None: the C library."""

    take: Callable[[Sequence[int], Any], np.ndarray] | None = None


supply = Supply()


def empty(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An uninitialised array in C order for (a part of) the result of a kernel: from the `supply`, if there is one."""
    return np.empty(shape, dtype) if supply.take is None else supply.take(shape, dtype)


class _Held(dict):
    __hash__ = object.__hash__


class Scratch(threading.local):
    """The memory that each thread computes in, by name."""

    every: ClassVar[Any] = weakref.WeakSet()  # of all threads

    def __init__(self) -> None:
        self.held = _Held()
        self.every.add(self.held)


_scratch = Scratch()


def scratch(name: str, shape: Sequence[int], like: np.ndarray) -> np.ndarray:
    """An uninitialised array of the dtype of `like`, in memory of this thread that its next call with that name reuses.

    Fresh memory is slow to touch for the first time; this has been touched before.
    """
    size = math.prod(shape) * like.itemsize
    held = _scratch.held
    if name not in held or held[name].nbytes < size:
        held[name] = np.empty(size, np.uint8)
    return held[name][:size].view(like.dtype).reshape(shape)


def forget_scratch() -> None:
    """Free the scratch memory of all threads; a kernel that is running keeps its own until it is done."""
    for held in list(_scratch.every):
        held.clear()


def peak_memory() -> int:
    """The most memory that this process has had in use, in bytes.

    Linux: VmHWM, not ru_maxrss, in which a process inherits the peak of the one that started it.
    """
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        import resource  # not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _c_library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if os.name == "posix" else None

"""How long a call takes and how much memory: on the CPU by the clock and the system, on a GPU by its own events.

A GPU works on after a call has returned. Its events stand in the same queue as the work: the time between two is that
of the work between them, and of the waiting where Python is too slow to keep the queue filled, as its user sees it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

from minidl.kernels.cpu.memory import peak_memory

Mark = Callable[[], Any]
Run = Callable[[int, Mark], Any]  # (calls, mark): makes so many calls; marks before, between and after them


def repeat(call: Callable[[], Any], calls: int, mark: Mark) -> None:
    """The plainest Run, of one call."""
    mark()
    for _ in range(calls):
        call()
        mark()


class Meter(Protocol):
    def times(self, run: Run, calls: int) -> list[float]:
        """Seconds of each of so many calls, one after the other."""

    def memory(self, call: Callable[[], Any]) -> int:
        """Bytes at the peak of a call, above those in use before it."""

    def taken(self) -> int:
        """Bytes that are taken from the system (or the device) now, free ones that are not given back included."""


# --- CPU


class Clock:
    """The meter of the CPU."""

    def times(self, run: Run, calls: int) -> list[float]:
        moments: list[float] = []
        run(calls, lambda: moments.append(time.perf_counter()))
        return [b - a for a, b in pairwise(moments)]

    def memory(self, call: Callable[[], Any]) -> int:
        before = reset_peak()
        call()
        return peak_memory() - before

    def memory_of_parts(self, run: Run, calls: int) -> tuple[int, int]:
        """The same of what a run does before its first mark, and of the calls after it."""
        before, early = reset_peak(), []

        def mark() -> None:
            if not early:
                early.append(peak_memory())
                reset_peak()

        run(calls, mark)
        return early[0] - before, peak_memory() - before

    def taken(self) -> int:
        return peak_memory()


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    return Clock().times(partial(repeat, call), 1)[0]


def reset_peak() -> int:
    """Give free memory back, and let the peak start from what is in use now; that, in bytes.

    Where the system cannot reset the peak (Linux can), it is that of the process so far.
    """
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
    return peak_memory()


# --- GPU


def between_events(
    event: Callable[[], Any], milliseconds: Callable[[Any, Any], float], run: Run, calls: int
) -> list[float]:
    """Seconds between events recorded at the marks; only the last is waited for."""
    events = [event() for _ in range(calls + 1)]
    unused = iter(events)
    run(calls, lambda: next(unused).record())
    events[-1].synchronize()
    return [milliseconds(a, b) / 1e3 for a, b in pairwise(events)]


class CuPyMeter:
    """The meter of CuPy. Its pool does not know its peak: a hook looks after each allocation."""

    def __init__(self, cupy: Any):
        self.cupy, self.pool = cupy, cupy.get_default_memory_pool()

    def times(self, run: Run, calls: int) -> list[float]:
        cuda = self.cupy.cuda
        return between_events(cuda.Event, cuda.get_elapsed_time, run, calls)

    def memory(self, call: Callable[[], Any]) -> int:
        self.pool.free_all_blocks()
        before = highest = self.pool.used_bytes()

        class Watch(self.cupy.cuda.MemoryHook):
            name = "peak"

            def malloc_postprocess(_, **about: Any) -> None:
                nonlocal highest
                highest = max(highest, self.pool.used_bytes())

        with Watch():
            call()
        return highest - before

    def taken(self) -> int:
        return self.pool.total_bytes()


class TorchMeter:
    """The meter of PyTorch on CUDA."""

    def __init__(self, torch: Any):
        self.cuda = torch.cuda

    def times(self, run: Run, calls: int) -> list[float]:
        event = partial(self.cuda.Event, enable_timing=True)
        return between_events(event, lambda a, b: a.elapsed_time(b), run, calls)

    def memory(self, call: Callable[[], Any]) -> int:
        self.cuda.synchronize()
        self.cuda.empty_cache()
        self.cuda.reset_peak_memory_stats()
        before = self.cuda.memory_allocated()
        call()
        self.cuda.synchronize()
        return self.cuda.max_memory_allocated() - before

    def taken(self) -> int:
        return self.cuda.max_memory_reserved()

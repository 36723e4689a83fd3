"""Work shared among threads. NumPy and BLAS release the GIL while they compute, so threads do run at
the same time. Every piece of work is one thread's, and its matrix products run on that thread alone: threads of BLAS
that wait for each other are slow as soon as anything else runs, and their number would decide the last bits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from .memory import keep_memory


def thread_count() -> int:
    """As many threads as the machine lets us have, or MINIDL_NUM_THREADS if that is fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("MINIDL_NUM_THREADS", "")
    if not wanted:
        return cores
    if not wanted.isdigit() or int(wanted) < 1:
        raise ValueError(f"MINIDL_NUM_THREADS={wanted!r} must be a whole number, 1 or more")
    return min(int(wanted), cores)


class Blas:
    """Holds BLAS to one thread while work is shared, and puts back what it found when the last has left."""

    def __init__(self) -> None:
        self.lock, self.users, self.limit = threading.Lock(), 0, None
        try:
            from threadpoolctl import ThreadpoolController
        except ImportError:  # then work is not shared: BLAS has its own threads
            self.controller = None
        else:
            self.controller = ThreadpoolController()

    def __enter__(self) -> None:
        with self.lock:
            if not self.users:
                self.limit = self.controller.limit(limits=1, user_api="blas")
            self.users += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.limit.restore_original_limits()


class Workers:
    """The pool of threads, made when it is first needed.

    No thread is held to a core: it would wait there for whatever else runs on it, another process of ours among it.
    """

    def __init__(self) -> None:
        self.blas = Blas()
        self.pool = ThreadPoolExecutor(max(thread_count() - 1, 1), "minidl") if self.blas.controller else None

    def share(self, work: Callable[..., None], items: Sequence[tuple]) -> None:
        remaining = iter(items)

        def run() -> None:
            for item in remaining:  # each thread takes the next one
                work(*item)

        with self.blas:
            others = [self.pool.submit(run) for _ in range(min(thread_count(), len(items)) - 1)]
            try:
                run()
            finally:
                remaining.__setstate__(len(items))  # after an error nobody starts on the rest
                for other in others:
                    other.result()


_workers: Workers | None = None

WORTH_SHARING = 1 << 20  # numbers: fewer are worked through in less time than it takes to wake a thread
MULTIPLY_ADDS = 16  # of a matrix product, in the time that a number of an array takes


def share(work: Callable[..., None], items: Sequence[tuple], cost: int) -> None:
    """``work(*item)`` for every item, in any order, on all threads if the `cost` (in numbers that are
    read, worked on once and written) is worth it.

    Items must not write to the same place. What is computed does not depend on the number of threads.
    """
    workers, large = _get(), cost >= WORTH_SHARING
    if large:
        keep_memory()
    if large and workers.pool is not None and len(items) > 1:
        workers.share(work, items)
        return
    with one_blas_thread():
        for item in items:
            work(*item)


def one_blas_thread() -> AbstractContextManager[None]:
    """Inside, matrix products run on the calling thread: BLAS's own would go on waiting in a loop after them, and
    take time from ours."""
    workers = _get()
    return nullcontext() if workers.pool is None else workers.blas


def _get() -> Workers:
    global _workers
    if _workers is None:
        _workers = Workers()
    return _workers


def _forget() -> None:
    global _workers
    _workers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # threads do not survive a fork

"""Work shared among threads. NumPy and BLAS release the GIL while they compute, so threads do run at
the same time. Every piece of work is one thread's, and its matrix products run on that thread alone: threads of BLAS
that wait for each other are slow as soon as anything else runs, and their number would decide the last bits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from .memory import keep_memory

CORES = os.cpu_count() or 1  # of the machine: asked for once, as it takes longer than waking a thread
NEIGHBOURS = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")  # how many ranks of MPI a launcher started here


def thread_count() -> int:
    """As many threads as the machine lets us have, ranks of MPI sharing its cores, or MINIDL_NUM_THREADS if given and
    fewer than the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else CORES
    wanted = os.environ.get("MINIDL_NUM_THREADS", "")
    if not wanted:
        ranks = next((int(os.environ[name]) for name in NEIGHBOURS if name in os.environ), 1)
        return min(cores, max(1, CORES // ranks))  # a launcher may have bound this process to fewer
    if not wanted.isdigit() or int(wanted) < 1:
        raise ValueError(f"MINIDL_NUM_THREADS={wanted!r} must be a whole number, 1 or more")
    return min(int(wanted), cores)


class Blas:
    """Holds BLAS to one thread while work is shared, and puts back what it found when the last has left."""

    def __init__(self) -> None:
        self.lock, self.users, self.found = threading.Lock(), 0, []
        try:
            from threadpoolctl import ThreadpoolController
        except ImportError:  # then work is not shared: BLAS has its own threads
            self.libraries = None
        else:
            self.libraries = [lib for lib in ThreadpoolController().lib_controllers if lib.user_api == "blas"]

    def __enter__(self) -> None:
        with self.lock:
            if not self.users:
                self.found = [lib.get_num_threads() for lib in self.libraries]
                self._set([1] * len(self.found))
            self.users += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self._set(self.found)

    def _set(self, counts: Sequence[int]) -> None:
        for lib, found, n in zip(self.libraries, self.found, counts):
            if found != 1:
                lib.set_num_threads(n)


class Job:
    """What threads do together. Each takes the next item until none is left; after an error nobody starts another."""

    def __init__(self, work: Callable[..., None], items: Sequence[tuple]):
        self.work, self.count, self.remaining = work, len(items), iter(items)
        self.errors: list[BaseException] = []

    def run(self) -> None:
        try:
            for item in self.remaining:
                self.work(*item)
        except BaseException as error:
            self.errors.append(error)
            self.remaining.__setstate__(self.count)


class Worker:
    """A thread that sleeps until it is given a job: waking it takes two locks, and a fifth of the time of an executor.

    No thread is held to a core: it would wait there for whatever else runs on it, another process of ours among it.
    """

    def __init__(self, number: int) -> None:
        self.wake, self.free, self.job = threading.Lock(), threading.Lock(), None
        self.wake.acquire()
        threading.Thread(target=self._serve, name=f"minidl_{number}", daemon=True).start()

    def start(self, job: Job) -> threading.Lock | None:
        """A lock that is released when the job is done; None if the worker is busy."""
        if not self.free.acquire(blocking=False):
            return None
        done = threading.Lock()
        done.acquire()
        self.job = job, done
        self.wake.release()
        return done

    def _serve(self) -> None:
        while True:
            self.wake.acquire()
            (job, done), self.job = self.job, None
            job.run()
            del job  # and the arrays that it holds
            self.free.release()
            done.release()


class Workers:
    """The threads beside the calling one, started when there is first something for them to do."""

    def __init__(self) -> None:
        self.blas, self.lock, self.others = Blas(), threading.Lock(), []
        self.can_share = self.blas.libraries is not None

    def share(self, work: Callable[..., None], items: Sequence[tuple], products: bool) -> None:
        job, wanted = Job(work, items), min(thread_count(), len(items)) - 1
        with self.lock:
            self.others += [Worker(number) for number in range(len(self.others), wanted)]
        with self.blas if products else nullcontext():
            started = [worker.start(job) for worker in self.others[:wanted]]
            try:
                job.run()
            finally:
                for done in started:
                    if done is not None:
                        done.acquire()
        if job.errors:
            raise job.errors[0]


_workers: Workers | None = None

WORTH_SHARING = 1 << 18  # numbers: fewer are worked through in less time than it takes to wake a thread
MULTIPLY_ADDS = 16  # of a matrix product, in the time that a number of an array takes


def share(work: Callable[..., None], items: Sequence[tuple], cost: int, products: bool = True) -> None:
    """``work(*item)`` for every item, in any order, on all threads if the `cost` (in numbers that are
    read, worked on once and written) is worth it. Does it take `products` of matrices?

    Items must not write to the same place. What is computed does not depend on the number of threads.
    """
    workers, large = _get(), cost >= WORTH_SHARING
    if large:
        keep_memory()
    if large and workers.can_share and len(items) > 1:
        workers.share(work, items, products)
        return
    with one_blas_thread() if products else nullcontext():
        for item in items:
            work(*item)


def one_blas_thread() -> AbstractContextManager[None]:
    """Inside, matrix products run on the calling thread: BLAS's own would go on waiting in a loop after them, and
    take time from ours."""
    workers = _get()
    return workers.blas if workers.can_share else nullcontext()


def limit_blas() -> None:
    """Give BLAS no more threads than there are for our own work: other processes use the same cores."""
    for lib in _get().blas.libraries or ():
        lib.set_num_threads(min(lib.get_num_threads(), thread_count()))


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

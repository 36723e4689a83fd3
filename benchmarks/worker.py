"""A process that runs one row in one library and answers: peak memory, results, times.

Each library has a process of its own: what one does to the allocator, or the threads it leaves spinning, is then not
the other's.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import numpy as np

from .libraries import Library, Unsupported, library
from .rows import Job, Row, macs

GEMM = 1024  # side of the square product that measures the peak


class Worker:
    """The other end of the process: `ask` sends a command and waits for what it gives."""

    def __init__(
        self, name: str, row: Row, threads: int, *, tiny: bool = False, environment: dict[str, str] | None = None
    ):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, row, threads, tiny), daemon=True)
        with environ(thread_limits(threads) | (environment or {})):
            self.process.start()
        theirs.close()

    def ask(self, command: str, *arguments: Any) -> Any:
        """What a command of Runner gives."""
        self.send(command, *arguments)
        return self.receive()

    def send(self, command: str, *arguments: Any) -> None:
        try:
            self.pipe.send((command, arguments))
        except BrokenPipeError:
            self._ended()

    def receive(self) -> Any:
        """Raises Unsupported if the library cannot run the row, RuntimeError if anything else went wrong."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._ended()
        if kind == "error":
            raise RuntimeError(f"{self.name} in its process: {value}")
        if kind == "unsupported":
            raise Unsupported(value)
        return value

    def _ended(self) -> NoReturn:
        self.process.join()
        raise RuntimeError(f"{self.name}: its process ended with code {self.process.exitcode}")

    def close(self) -> None:
        self.pipe.close()
        self.process.join()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def thread_limits(threads: int) -> dict[str, str]:
    names = ("MINIDL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


@contextmanager
def environ(variables: dict[str, str]) -> Iterator[None]:
    """What a process that starts inside the block inherits."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# --- inside the process


def serve(pipe: Connection, name: str, row: Row, threads: int, tiny: bool) -> None:
    runner: Any = None
    while True:
        try:
            command, arguments = pipe.recv()
        except EOFError:
            return
        try:
            if runner is None:
                runner = Runner(name, row, threads, tiny)
            pipe.send(("ok", getattr(runner, command)(*arguments)))
        except Unsupported as error:
            pipe.send(("unsupported", str(error)))
        except Exception:
            pipe.send(("error", traceback.format_exc()))


class Runner:
    """The commands. The first measures memory, while nothing but model and input is there."""

    def __init__(self, name: str, row: Row, threads: int, tiny: bool):
        self.library: Library = library(name, threads)
        self.row, self.tiny = row, tiny
        Job(row, self.library, tiny=True).run()  # so that code is loaded and threads are there
        self.job = Job(row, self.library, tiny)
        self.matrix: Any = None

    def memory(self) -> int:
        """Bytes at the peak of two calls, above those in use once the library, model and input are there."""
        before = forget_peak()
        for _ in range(2):
            self.job.run()
        return peak() - before

    def results(self) -> dict[str, np.ndarray]:
        return self.job.results()

    def times(self, calls: int) -> list[float]:
        """Seconds of each call."""
        return [timed(self.job.run) for _ in range(calls)]

    def gemm(self) -> float:
        """FLOP/s of the library's own float32 matrix product: the best of three."""
        if self.matrix is None:
            self.matrix = self.library.tensor(np.random.default_rng(0).standard_normal((GEMM, GEMM), np.float32))
        return 2 * GEMM**3 / min(timed(lambda: self.library.matmul(self.matrix, self.matrix)) for _ in range(3))

    def macs(self) -> int:
        """Multiply-adds of a call by formula: minidl counts those of a forward pass."""
        import minidl as md

        return macs(self.row, md.summary(self.job.model, self.row.tiny if self.tiny else self.row.shape))


def timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def forget_peak() -> int:
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
    return peak()


def peak() -> int:
    """The most memory that was in use, in bytes.

    Linux: VmHWM, not ru_maxrss, in which a process inherits the peak of the one that started it.
    """
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

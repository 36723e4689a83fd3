"""A process that runs one row in one library and answers: peak memory, results, times.

Each library has a process of its own: what one does to the allocator, or the threads it leaves spinning, is then not
the other's.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import numpy as np

from .ceiling import Cost, costs
from .interface import Library, Unsupported
from .libraries import library
from .meters import repeat
from .rows import STEP, Job, Row, macs

GEMM = {"cpu": 1024, "gpu": 8192}  # side of the square product that measures the peak
TINY_GEMM = 256


@dataclass(frozen=True)
class Column:
    """What is timed: a library, where it runs, and how."""

    library: str
    environment: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"
    tf32: bool = False  # may it round the factors of float32 products?
    algorithm: str | None = None  # of convolutions; None: the library's choice
    mode: str = ""  # of torch: see `library`
    limit: float | None = None  # seconds that an answer may take


class Worker:
    """The other end of the process: `ask` sends a command and waits for what it gives."""

    def __init__(self, column: Column | str, row: Row, threads: int, *, tiny: bool = False):
        column = Column(column) if isinstance(column, str) else column
        context = multiprocessing.get_context("spawn")
        self.name, self.limit = column.library, column.limit
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, column, row, threads, tiny), daemon=True)
        with environ(thread_limits(threads) | column.environment, without=("OPENBLAS_CORETYPE",)):
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
            if not self.pipe.poll(self.limit):
                self.process.kill()
                raise Unsupported(f"no answer after {self.limit:.0f} s")
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


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def environ(variables: dict[str, str], without: Iterable[str] = ()) -> Iterator[None]:
    """What a process that starts inside the block inherits, and what it does not."""
    before = dict(os.environ)
    os.environ.update(variables)
    for name in without:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# --- inside the process


def serve(pipe: Connection, column: Column, row: Row, threads: int, tiny: bool) -> None:
    runner: Any = None
    while True:
        try:
            command, arguments = pipe.recv()
        except EOFError:
            return
        try:
            if runner is None:
                runner = Runner(column, row, threads, tiny)
            pipe.send(("ok", getattr(runner, command)(*arguments)))
        except Unsupported as error:
            pipe.send(("unsupported", str(error)))
        except Exception:
            pipe.send(("error", traceback.format_exc()))


class Runner:
    """The commands. The first measures memory, while nothing but model and input is there."""

    def __init__(self, column: Column, row: Row, threads: int, tiny: bool):
        self.column, self.row, self.tiny = column, row, tiny
        self.library: Library = library(column.library, threads, column.device, column.tf32, column.mode)
        self.settings = ExitStack()  # never closed: the algorithm is set as long as this process runs
        self.settings.enter_context(self.library.algorithm(column.algorithm))
        Job(row, self.library, tiny=True).run()  # so that code is loaded and threads are there
        self.job = Job(row, self.library, tiny)
        self.job.finish()
        self.matrix: Any = None
        self.in_a_step = 0

    def memory(self) -> int:
        """Bytes at the peak of a few calls, above those in use once the library, model and input are there."""
        early = self.library.recorded_steps
        if early and self.row.group == STEP:
            parts = self.library.meter.memory_of_parts(partial(self.job.run, before=early), 2)
            self.in_a_step = parts[1]
            return max(parts)
        self.in_a_step = self.library.meter.memory(lambda: self.job.run(early + 2))
        return self.in_a_step

    def step_memory(self) -> int:
        """The same, without the calls in which a step is recorded. It was measured by the first command."""
        return self.in_a_step

    def kernels(self) -> str:
        """Which instruction set and which BLAS run."""
        return self.library.kernels()

    def taken(self) -> int:
        """Bytes that the library has taken from the system or the device."""
        return self.library.meter.taken()

    def results(self) -> dict[str, np.ndarray]:
        return self.job.results()

    def times(self, calls: int) -> list[float]:
        """Seconds of each call."""
        return self.library.meter.times(partial(self.job.run, before=self.library.recorded_steps), calls)

    def gemm(self) -> list[float]:
        """FLOP/s of the library's own float32 matrix product: the best of three, as a list."""
        side = TINY_GEMM if self.tiny else GEMM[self.column.device]
        if self.matrix is None:
            self.matrix = self.library.tensor(np.random.default_rng(0).standard_normal((side, side), np.float32))
        product = partial(self.library.matmul, self.matrix, self.matrix)
        return [2 * side**3 / min(self.library.meter.times(partial(repeat, product), 3))]

    def macs(self) -> int:
        """Multiply-adds of a call by formula: minidl counts those of a forward pass."""
        import minidl as md

        return macs(self.row, md.summary(self.job.model, self.row.tiny if self.tiny else self.row.shape))

    def costs(self) -> list[Cost]:
        """What each layer costs by formula, in a call of minidl's."""
        return costs(self.row, self.job.model, self.job.x)

    def digest(self, steps: int) -> str:
        """A hash of all bits of the parameters after so many training steps, and of the output then."""
        found = hashlib.sha256()
        self.job.run(steps)
        for tensor in (self.job.differentiate(), *self.job.model.parameters()):
            found.update(np.ascontiguousarray(self.library.array(tensor)))
        return found.hexdigest()

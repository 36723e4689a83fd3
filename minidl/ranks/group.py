"""The ranks that train together, and what they send each other. mpi4py is imported only when MPI is asked for."""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import platform
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from ..core.advice import install
from ..kernels.cpu import workers
from . import failure
from .news import News, limit
from .shards import SHARDS
from .watch import Watch

LAUNCHERS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS")  # what a launcher of MPI sets
AT_ONCE = 2e-3  # seconds: to be woken from a sleep takes longer than a short exchange
_give_way = getattr(os, "sched_yield", lambda: time.sleep(0))  # to another process that can run
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # the last one srun sets for any program
INSTALL = install("mpi")


class Alone:
    """One process: a group of one rank."""

    rank, size = 0, 1
    first = True  # of the ranks: the one that writes files
    shards = 1  # that batches are cut into where nothing else is asked for

    def send(self, array: np.ndarray, rank: int, tag: int) -> Any:
        raise RuntimeError("there is no other rank")

    receive = send

    def done(self, requests: list[Any]) -> bool:
        """Have all of these been carried out?"""
        return True

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        """The first rank's array, on all: of one shape and dtype everywhere."""
        return array

    def text(self, text: str) -> str:
        """The first rank's text, on all."""
        return text

    def gather(self, text: str) -> list[str]:
        """The text of each rank, on all."""
        return [text]

    def wait(self, done: Callable[[], bool]) -> None:
        """Until ``done()``. MPI's own waiting keeps a core busy, which other ranks may need: this gives it away after
        each look, and sleeps between looks once it takes longer than an exchange does."""
        waited, asked, pause = 0.0, 0.1, 1e-5
        now = time.perf_counter()
        while not done():
            if waited < AT_ONCE:
                _give_way()
            else:
                time.sleep(pause)
                pause = min(2 * pause, 1e-3)
            before, now = now, time.perf_counter()
            waited += min(now - before, 1.0)  # not what passed while this process was stopped
            if waited > asked:
                asked = waited + 0.1
                self.check(waited)

    def check(self, waited: float) -> None:
        """Called now and then by `wait`. Raises RanksError if there is no use in waiting any longer."""


class MPI(Alone):
    """The ranks of a communicator of mpi4py, MPI.COMM_WORLD by default."""

    shards = SHARDS

    def __init__(self, comm: Any = None):
        self.library = loaded()
        self.comm = comm or self.library.COMM_WORLD
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        if comm is None:
            check_launcher(self.size, self.library.get_vendor())
        self.first = self.rank == 0
        self.news, self.watch = News(self.library, self.comm), Watch()

    def settle(self) -> None:
        """Share the cores of a host among its ranks, and watch that none is lost."""
        mine = {"host": host(), "pid": os.getpid(), "address": self.watch.address}
        everyone = [json.loads(text) for text in self.gather(json.dumps(mine))]
        for rank, each in enumerate(everyone):
            self.news.named[rank] += f" (pid {each['pid']} on {each['host'].split()[0]})"
        here = [each["address"] for each in everyone if each["host"] == mine["host"]]
        workers.limit_blas()
        self.watch.start(here[0], len(here), self.news.named[self.rank])
        atexit.register(failure.leave, self)
        if not self.first:
            warnings.showwarning = lambda *_, **__: None  # what the first one warns of, all would warn of

    def check(self, waited: float) -> None:
        self.news.check(waited)

    def send(self, array: np.ndarray, rank: int, tag: int) -> Any:
        """A request: the array may be changed once it is done."""
        return self.comm.Isend(as_bytes(array), rank, tag)

    def receive(self, array: np.ndarray, rank: int, tag: int) -> Any:
        """A request: the array holds what was sent once it is done."""
        return self.comm.Irecv(as_bytes(array), rank, tag)

    def done(self, requests: list[Any]) -> bool:
        return self.library.Request.Testall(requests)

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        self._until(self.comm.Ibcast(as_bytes(array), 0))
        return array

    def text(self, text: str) -> str:
        content = np.frombuffer(text.encode(), np.uint8).copy()
        size = self.broadcast(np.array(len(content)))
        return self.broadcast(content if self.first else np.empty(int(size), np.uint8)).tobytes().decode()

    def gather(self, text: str) -> list[str]:
        content = np.frombuffer(text.encode(), np.uint8)
        sizes = np.empty(self.size, int)
        self._until(self.comm.Iallgather(np.array(len(content)), sizes))
        together = np.empty(sizes.sum(), np.uint8)
        self._until(self.comm.Iallgatherv(content, [together, sizes]))
        ends = np.cumsum(sizes)
        return [together[end - size : end].tobytes().decode() for end, size in zip(ends, sizes)]

    def _until(self, request: Any) -> None:
        self.wait(lambda: self.done([request]))


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of an array in C order."""
    return array.reshape(-1).view(np.uint8)


def loaded() -> Any:
    """The module mpi4py.MPI, which starts MPI. Raises RuntimeError, in one line, if it cannot be had."""
    if sys.__stderr__ is not None:  # another rank may never start it
        faulthandler.dump_traceback_later(max(60, limit()), exit=True, file=sys.__stderr__)
    try:
        from mpi4py import MPI as library
    except ModuleNotFoundError:
        raise RuntimeError(f"ranks need mpi4py and an MPI: {INSTALL}, or use the cluster's own") from None
    except (ImportError, RuntimeError) as error:  # mpi4py's own message lists all files that it has tried to load
        why = str(error).strip().splitlines()[0]
        raise RuntimeError(f"mpi4py finds no MPI ({why}): {INSTALL}, or load the cluster's own") from None
    finally:
        faulthandler.cancel_dump_traceback_later()
    return library


def host() -> str:
    """What processes have in common that see each other."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def launched() -> bool:
    """Was this process started by a launcher of MPI? Also as the only rank: one rank and two end in the same bits."""
    return any(name in os.environ for name in LAUNCHERS)


def launched_rank() -> str:
    """The number of this process, as its launcher has it."""
    return next(filter(None, map(os.environ.get, RANKS)), "0")


def check_launcher(size: int, vendor: tuple[str, tuple[int, ...]]) -> None:
    """Raises RuntimeError if the launcher started another number of ranks than the library of MPI knows of."""
    started = next(filter(None, map(os.environ.get, SIZES)), str(size))
    if started != str(size):
        name, version = vendor[0], ".".join(map(str, vendor[1]))
        raise RuntimeError(
            f"the launcher started {started} ranks, and {name} {version}, which mpi4py has loaded, knows of {size}: "
            f"they are of different MPIs; use the mpiexec of {name} (in {sys.exec_prefix}/bin if pip installed it), or "
            "srun with the option --mpi that it needs"
        )


_world: MPI | None = None
_alone = False  # was this process asked to be?


def connect(ranks: str | Alone | None = None) -> Alone:
    """The group to train with. "mpi": the ranks of MPI; "alone": this process; None: MPI's if a launcher started this
    process, else this process alone.

    Raises RuntimeError if MPI is asked for and not installed.
    """
    global _world, _alone
    if isinstance(ranks, Alone):
        return ranks
    if ranks not in (None, "mpi", "alone"):
        raise ValueError(f'ranks={ranks!r}: use "mpi", "alone", or None for MPI under its launcher only')
    _alone = ranks == "alone"
    if _alone or (ranks is None and not launched()):
        return Alone()
    if _world is None:
        _world = MPI()
        if _world.size > 1:
            _world.settle()
    return _world


def report(error: BaseException, code: int, show: Callable[[str], None]) -> None:
    """Show the error that a program ends with, once for all ranks: see `failure.report`."""
    try:
        group = Alone() if _alone else connect()
    except (RuntimeError, ValueError) as why:  # the same on all ranks
        if launched_rank() == "0" or str(error) != str(why):
            show("")
        return
    if group.size == 1 or group.library.Is_finalized():
        show("")
    else:
        failure.report(group, error, code, show)


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    def show(who: str) -> None:
        sys.__excepthook__(kind, error, trace)
        if who:
            cause = "".join(traceback.format_exception_only(kind, error)).strip()
            print(f"minidl: error: {who}{cause}", file=sys.stderr)

    report(error, 130 if issubclass(kind, KeyboardInterrupt) else 1, show)


if launched():  # also before the ranks are connected: others wait for this one then, until they are told
    sys.excepthook = _excepthook

"""The ranks that train together, and what they send each other. mpi4py is imported only when MPI is asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

LAUNCHERS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS")  # what a launcher of MPI sets
AT_ONCE = 2e-3  # seconds: to be woken from a sleep takes longer than a short exchange
_give_way = getattr(os, "sched_yield", lambda: time.sleep(0))  # to another process that can run
INSTALL = 'pip install "minidl[mpi]"'


class Alone:
    """One process: a group of one rank."""

    rank, size = 0, 1
    first = True  # of the ranks: the one that writes files

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


class MPI(Alone):
    """The ranks of a communicator of mpi4py, MPI.COMM_WORLD by default."""

    def __init__(self, comm: Any = None):
        try:
            from mpi4py import MPI as library
        except ModuleNotFoundError:
            raise RuntimeError(f"ranks need mpi4py and an MPI: {INSTALL}, or use the cluster's own") from None
        self.library = library
        self.comm = comm or library.COMM_WORLD
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.first = self.rank == 0

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
        wait(lambda: self.done([request]))


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of an array in C order."""
    return array.reshape(-1).view(np.uint8)


def wait(done: Callable[[], bool]) -> None:
    """Until ``done()``. MPI's own waiting keeps a core busy, which other ranks may need: this gives it away after each
    look, and sleeps between looks once it takes longer than an exchange does."""
    began, pause = time.perf_counter(), 1e-5
    while not done():
        if time.perf_counter() - began < AT_ONCE:
            _give_way()
        else:
            time.sleep(pause)
            pause = min(2 * pause, 1e-3)


def launched() -> bool:
    """Was this process started by a launcher of MPI? Also as the only rank: one rank and two end in the same bits."""
    return any(name in os.environ for name in LAUNCHERS)


_world: MPI | None = None


def connect(ranks: str | Alone | None = None) -> Alone:
    """The group to train with. "mpi": the ranks of MPI; "alone": this process; None: MPI's if a launcher started this
    process, else this process alone.

    Raises RuntimeError if MPI is asked for and not installed.
    """
    global _world
    if isinstance(ranks, Alone):
        return ranks
    if ranks not in (None, "mpi", "alone"):
        raise ValueError(f'ranks={ranks!r}: use "mpi", "alone", or None for MPI under its launcher only')
    if ranks == "alone" or (ranks is None and not launched()):
        return Alone()
    if _world is None:
        _world = MPI()
    return _world

"""What the ranks of MPI tell each other besides their work, on a communicator of its own: heard while they wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

FAILED, LEFT, ASKED, HERE = range(4)  # this one's program ends with an error; it has ended; where are you? here I am
LIMIT = 1800.0  # seconds that a rank waits for others: evaluating and saving on the first one take long
PATIENCE = 10.0  # seconds, once another one's program has ended


class RanksError(RuntimeError):
    """The ranks cannot go on together. The message names those at fault."""


class News:
    """What this rank knows of the others.

    failed: the type of the error that the program of a rank ends with, by rank. left: those whose program has ended
        without one. named: what to call each rank, "rank 2 of 4", and where it runs.
    """

    def __init__(self, library: Any, comm: Any):
        self.library, self.comm = library, comm.Dup()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.named = [f"rank {rank} of {self.size}" for rank in range(self.size)]
        self.failed: dict[int, str] = {}
        self.left: set[int] = set()
        self.here: set[int] = set()
        self.sent: list[Any] = []

    def tell(self, kind: int, text: str = "") -> None:
        for rank in range(self.size):
            if rank != self.rank:
                self._send(rank, kind, text)

    def _send(self, rank: int, kind: int, text: str) -> None:
        content = np.frombuffer(text.encode(), np.uint8)
        self.sent.append((content, self.comm.Isend(content, rank, kind)))

    def hear(self) -> None:
        """Note what has come."""
        status = self.library.Status()
        while self.comm.Iprobe(self.library.ANY_SOURCE, self.library.ANY_TAG, status):
            content = np.empty(status.Get_count(), np.uint8)
            rank, kind = status.Get_source(), status.Get_tag()
            self.comm.Recv(content, rank, kind)
            if kind == FAILED:
                self.failed[rank] = content.tobytes().decode()
            elif kind == LEFT:
                self.left.add(rank)
            elif kind == ASKED:
                self._send(rank, HERE, "")
            else:
                self.here.add(rank)

    def hear_for(self, seconds: float, enough: Callable[[], bool]) -> None:
        until = time.monotonic() + seconds
        while not enough() and time.monotonic() < until:
            time.sleep(0.005)
            self.hear()

    def check(self, waited: float) -> None:
        """Hear, after waiting for so many seconds. Raises RanksError if what is waited for will not come."""
        self.hear()
        if self.failed:
            return  # those end the job
        if self.left and waited > PATIENCE:
            raise RanksError(f"{self._listed(self.left)} ended its program while others went on")
        if waited > limit():
            self.here.clear()
            self.tell(ASKED)
            self.hear_for(2.0, lambda: len(self.here) == self.size - 1)
            silent = set(range(self.size)) - self.here - {self.rank}
            found = f"{self._listed(silent)} did not answer" if silent else "the ranks waited for each other"
            raise RanksError(f"{found} for {limit():g} s; MINIDL_RANKS_TIMEOUT sets the limit, in seconds")

    def _listed(self, ranks: set[int]) -> str:
        return " and ".join(self.named[rank] for rank in sorted(ranks))


def limit() -> float:
    """How long a rank waits for others, in seconds: MINIDL_RANKS_TIMEOUT, or LIMIT."""
    wanted = os.environ.get("MINIDL_RANKS_TIMEOUT", "")
    try:
        seconds = float(wanted or LIMIT)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ValueError(f"MINIDL_RANKS_TIMEOUT={wanted!r} must be a number of seconds above 0")
    return seconds

"""How a program on several ranks ends. An error of one rank ends all of them, in one line that names the rank; an error
of all is shown once; and a rank that is done waits, asleep, for the others."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from .news import FAILED, LEFT, RanksError
from .watch import DONE, DYING, SAID

GRACE = 2.0  # seconds in which the other ranks may come to the same error


def report(group: Any, error: BaseException, code: int, show: Callable[[str], None]) -> None:
    """Show the error that this rank ends with: of all who end with one, the first does.

    show: called with "", or with "rank 2 of 4: " if not all end with one of its type. If some go on, the job is ended
    with this exit code, and this does not return.
    """
    _ignore(signal.SIGINT, signal.SIGTERM)
    group.watch.tell(SAID)
    news, kind = group.news, type(error).__name__
    news.tell(FAILED, kind)
    news.hear_for(GRACE, lambda: len(news.failed.keys() | news.left) == group.size - 1)  # the rest may yet
    if group.rank < min(news.failed, default=group.size):
        alike = set(news.failed.values()) == {kind} and len(news.failed) == group.size - 1
        show("" if alike or isinstance(error, RanksError) else f"rank {group.rank} of {group.size}: ")
    if len(news.failed) < group.size - 1:
        if group.rank > min(news.failed, default=group.size):
            time.sleep(DYING)  # the one that has shown its error ends the job
        _abort(group, code)


def leave(group: Any) -> None:
    """Wait, asleep, until the programs of all ranks have ended: MPI's own waiting keeps a core busy."""
    if group.library.Is_finalized():
        return
    _ignore(signal.SIGINT)  # there is nothing left to interrupt
    news, began, told = group.news, time.monotonic(), False
    everyone = news.comm.Ibarrier()
    while not everyone.Test():
        news.hear_for(0.02, lambda: False)
        if not told and time.monotonic() - began > DYING:
            news.tell(LEFT)
            told = True
    group.watch.tell(DONE)


def _ignore(*signals: signal.Signals) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in signals:
            signal.signal(number, signal.SIG_IGN)


def _abort(group: Any, code: int) -> None:
    """End all ranks."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    time.sleep(0.1)  # for the launcher to read it
    group.comm.Abort(code)
    os._exit(code)

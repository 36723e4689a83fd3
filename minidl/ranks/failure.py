"""How a program on several ranks ends. An error of one rank ends all of them, in one line that names the rank; an error
of all is shown once; and a rank that is done waits, asleep, for the others."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from .news import FAILED, LEFT, RanksError

GRACE = 2.0  # seconds in which the other ranks may come to the same error
DYING = 3.0  # seconds in which a launcher ends a job by itself

Show = Callable[[str], None]


def prepare(group: Any) -> None:
    """From here on, this rank ends as this file says."""
    sys.excepthook = _excepthook(group)
    atexit.register(leave, group)
    if not group.first:  # what the first one warns of, they would all warn of
        import warnings

        warnings.showwarning = lambda *_, **__: None


def report(group: Any, error: BaseException, code: int, show: Show) -> None:
    """Show the error that this rank ends with: of all who end with one, the first does.

    show: called with "", or with "rank 2 of 4: " if not all end with one of its type. If some go on, the job is ended
    with this exit code, and this does not return.
    """
    _ignore(signal.SIGINT, signal.SIGTERM)
    news, kind = group.news, type(error).__name__
    news.tell(FAILED, kind)
    news.hear_for(GRACE, lambda: len(news.failed) == group.size - 1 or bool(news.left))
    if group.rank < min(news.failed, default=group.size):
        alike = set(news.failed.values()) == {kind} and len(news.failed) == group.size - 1
        show("" if alike or isinstance(error, RanksError) else f"rank {group.rank} of {group.size}: ")
    if len(news.failed) < group.size - 1:
        if group.rank > min(news.failed, default=group.size):
            time.sleep(DYING)  # the one that has shown its error ends the job
        group.abort(code)


def lost(group: Any, rank: int) -> None:
    """Say that a rank has ended without a word, and end the job if the launcher does not."""
    print(f"minidl: error: {group.news.named[rank]} was killed or crashed\n", end="", file=sys.stderr, flush=True)
    time.sleep(DYING)
    group.abort(1)


def leave(group: Any) -> None:
    """Wait, asleep, until the programs of all ranks have ended: MPI's own waiting keeps a core busy."""
    if group.library.Is_finalized():
        return
    _ignore(signal.SIGINT)  # there is nothing left to interrupt
    news, began, told = group.news, time.monotonic(), False
    group.watch.goodbye()
    everyone = news.comm.Ibarrier()
    while not everyone.Test():
        news.hear_for(0.02, lambda: False)
        if not told and time.monotonic() - began > DYING:
            news.tell(LEFT)
            told = True


def _ignore(*signals: signal.Signals) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in signals:
            signal.signal(number, signal.SIG_IGN)


def _excepthook(group: Any) -> Callable[..., None]:
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        cause = "".join(traceback.format_exception_only(kind, error)).strip()

        def show(who: str) -> None:
            sys.__excepthook__(kind, error, trace)
            if who:
                print(f"minidl: error: {who}{cause}", file=sys.stderr)

        report(group, error, 130 if issubclass(kind, KeyboardInterrupt) else 1, show)

    return hook


def flush_and_abort(comm: Any, code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    time.sleep(0.1)  # for the launcher to read it
    comm.Abort(code)
    os._exit(code)

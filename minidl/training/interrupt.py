"""Ctrl-C between two steps, not within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# What launchers and schedulers of jobs send to stop a program; the second one is what all of them pass on.
LAUNCHERS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


@contextmanager
def deferred_interrupt(others: tuple[signal.Signals, ...] = ()) -> Iterator[list]:
    """Inside, the first Ctrl-C only fills the list that is yielded; a second one raises KeyboardInterrupt at once.

    The caller looks at the list between two steps, when nothing is half done; if nobody has raised by the end of the
    block, the end does. Where SIGINT is ignored, or outside the main thread, nothing is changed. others: signals that
    are taken for Ctrl-C.
    """
    pressed: list = []
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield pressed
        return

    def note(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, *others)}
    try:
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pressed:  # after the last look
        raise KeyboardInterrupt

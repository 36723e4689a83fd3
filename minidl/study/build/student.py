"""A student's file: read, run, and asked for its functions. Whatever goes wrong in it is one line that names its line.

The code runs in this process and may do whatever its user may: run only what you would run yourself.
"""

from __future__ import annotations

import linecache
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from ..terminal import UsageError

SECONDS = 60.0  # that one function may take to be marked
LONGEST = 160  # characters of a message


class NotWritten(Exception):
    """The code raised NotImplementedError, or is not there: the function waits to be written."""


class StudentError(RuntimeError):
    """The student's code raised, or gave what cannot be used. The message is one line."""


class Stopped(BaseException):
    """The time is up. No Exception, so that code which catches those does not catch it."""


class Student:
    """The functions and classes of a file. Raises UsageError if there is none, StudentError if it cannot be run."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if self.path.is_dir():
            self.path /= "my_engine.py"
        try:
            source = self.path.read_bytes()
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}; minidl build start FOLDER writes one") from None
        self.module = ModuleType("my_engine")
        self.module.__file__ = str(self.path)
        sys.modules["my_engine"] = self.module  # dataclasses and pickles look it up
        folder = str(self.path.resolve().parent)
        if folder not in sys.path:
            sys.path.append(folder)  # files beside it can be imported
        with self.running("read"):
            exec(compile(source, str(self.path), "exec"), vars(self.module))

    @property
    def name(self) -> str:
        return self.path.name

    def find(self, name: str) -> Any:
        """What is called so. Raises NotWritten if nothing is."""
        found = getattr(self.module, name, None)
        if found is None:
            raise NotWritten(f"{self.name} defines no {name}")
        if not callable(found):
            raise StudentError(f"{self.name}: {name} is a {type(found).__name__}, not a function")
        return found

    def call(self, name: str, *arguments: Any) -> Any:
        """What the function of that name returns."""
        function = self.find(name)
        with self.running(name):
            return function(*arguments)

    @contextmanager
    def running(self, what: str) -> Iterator[None]:
        """A block that runs the student's code: its errors become StudentError, or NotWritten."""
        try:
            yield
        except NotImplementedError as error:
            raise NotWritten(f"{what} is not written yet") from error
        except (StudentError, NotWritten, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit as well
            raise StudentError(f"{self._place(error)}: {_words(error)}") from error

    def _place(self, error: BaseException) -> str:
        """The file, and the last line of it that an error passed."""
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(self.path)]
        if isinstance(error, SyntaxError) and error.filename == str(self.path) and error.lineno:
            lines.append(error.lineno)
        if not lines:
            return self.name
        text = linecache.getline(str(self.path), lines[-1]).strip()[:LONGEST]
        return f"{self.name}, line {lines[-1]}" + (f" ({text})" if text else "")


def _words(error: BaseException) -> str:
    if isinstance(error, Stopped):
        return f"stopped after {SECONDS:g} seconds"
    if isinstance(error, RecursionError):
        return "RecursionError: too deep; walk with a list of what is still to do instead of recursion"
    text = (error.msg if isinstance(error, SyntaxError) else str(error)).split("\n")[0][:LONGEST]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """A block that is stopped after so many seconds, where the system can do that: in the main thread, not on
    Windows."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Callable | int | None = signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped

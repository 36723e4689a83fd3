"""The logs of a run, opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from .log import CsvLog, JsonLog, Log
from .tensorboard import EventLog


@contextmanager
def open_logs(
    path: str | os.PathLike[str] | None, tensorboard: str | os.PathLike[str] | None, start: int
) -> Iterator[list[Log]]:
    """The logs of a run whose first `start` steps are done: a file, of CSV if its name ends so, else of JSON; a folder
    for TensorBoard."""
    with ExitStack() as stack:
        logs: list[Log] = []
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            as_csv = str(path).lower().endswith(".csv")
            logs.append(stack.enter_context(closing(CsvLog(path, start) if as_csv else JsonLog(path, start))))
        if tensorboard is not None:
            Path(tensorboard).mkdir(parents=True, exist_ok=True)
            logs.append(stack.enter_context(closing(EventLog(tensorboard, start))))
        yield logs

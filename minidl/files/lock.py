"""A folder that one process has for itself."""

from __future__ import annotations

import errno
import os
import weakref
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_held: dict[Path, int] = {}  # by this process: the open folder


def hold(folder: str | os.PathLike[str], owner: object) -> None:
    """This process alone has the folder, as long as `owner` lives. Raises BlockingIOError if another process has it.

    The lock is the operating system's, on the folder itself: nothing is written, and nothing stays when a process ends,
    however it ends. Where the system, or the file system, has no such lock, nobody is refused.
    """
    path = Path(folder).resolve()
    if fcntl is None or path in _held:
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(opened)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise BlockingIOError(error.errno, "another process is training in this folder", str(folder)) from None
        return
    _held[path] = opened
    weakref.finalize(owner, lambda: os.close(_held.pop(path)))

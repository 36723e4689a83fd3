"""What a student's process may do: limits, an audit hook, and Linux's Landlock where the kernel has it.

The limits stop accidents. The hook says in plain words what is closed to an answer that is marked, on every system, but
who studies CPython finds a way round it. Landlock is the kernel's own: no process gets round it, nor what it starts. It
closes files, TCP and signals, and nothing else: this is no sandbox.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

WRITTEN = 16 << 20  # bytes in any one file, the printed output among them
READ_FILE, READ_DIRECTORY = 1 << 2, 1 << 3  # Landlock's numbers
CLOSED = (
    "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile", "os.kill", "os.chdir", "pty.spawn",
    "subprocess.Popen", "socket.", "ctypes.", "gc.get_", "resource.setrlimit", "resource.prlimit", "signal.pthread",
)  # fmt: skip
LISTING = ("os.listdir", "os.scandir")
CHANGING = (
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.setxattr", "os.removexattr", "shutil.",
)  # fmt: skip
UNSEEN = ("minidl",)  # modules that are not there for an answer


def limit(seconds: float, memory: int, *, hard: bool = False) -> None:
    """Limits of the operating system, where it has them: memory in bytes, processor time, files.

    hard: the process cannot raise them again, and starts no other.
    """
    try:
        import resource
    except ImportError:  # Windows; the time limit of the marker still holds
        return
    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: int(seconds) + 1,
        resource.RLIMIT_FSIZE: WRITTEN,
        resource.RLIMIT_CORE: 0,
        **({resource.RLIMIT_NPROC: 0, resource.RLIMIT_NOFILE: 64} if hard else {}),
    }
    for kind, most in wanted.items():
        with contextlib.suppress(ValueError, OSError):  # a lower limit is in force, or macOS has none
            resource.setrlimit(kind, (most, most if hard else resource.getrlimit(kind)[1]))


def close(readable: Sequence[str], scratch: str) -> None:
    """Open nothing but Python's library and `readable` to be read, and `scratch`, a folder, to be written; for good."""
    readable, scratch = [*library(), *_real(readable)], os.path.realpath(scratch)
    _landlock(readable, scratch)
    _hook(readable, scratch)


@cache
def library() -> list[str]:
    """Where Python's own library lies, without packages that were installed into it, and the system's: real paths."""
    home = os.path.dirname(os.path.realpath(os.__file__))
    found = [os.path.join(home, name) for name in os.listdir(home) if name not in ("site-packages", "dist-packages")]
    system = [path for root in ("/lib", "/usr/lib") if os.path.isdir(root) for path in _entries(root, "-linux-")]
    return _real([*found, *system, "/lib64", "/usr/lib64", "/etc/ld.so.cache", os.devnull, "/dev/urandom"])


def _real(paths: Sequence[str]) -> list[str]:
    return [path for path in map(os.path.realpath, paths) if os.path.exists(path)]


def _entries(folder: str, part: str) -> list[str]:
    return [os.path.join(folder, name) for name in os.listdir(folder) if part in name]


def _hook(readable: Sequence[str], scratch: str) -> None:
    """Refuse by Python's audit events. What the hook uses is bound here, out of reach of changed modules."""
    realpath, decode, is_folder, text = os.path.realpath, os.fsdecode, os.path.isdir, (str, bytes, os.PathLike)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    beneath = {False: tuple(p + os.sep for p in (*readable, scratch)), True: (scratch + os.sep,)}

    def allowed(path: Any, change: bool) -> bool:
        return not isinstance(path, text) or (realpath(decode(path)) + os.sep).startswith(beneath[change])

    def audit(event: str, args: tuple) -> None:
        if event == "open":
            path, _, flags = args
            good = allowed(path, bool((flags or 0) & writing)) and not (isinstance(path, text) and is_folder(path))
        elif event in LISTING:
            good = allowed(args[0], False)
        elif event.startswith(CHANGING):
            good = all(allowed(path, True) for path in args)
        elif event == "import":
            if (name := args[0].split(".")[0]) in UNSEEN:
                raise ModuleNotFoundError(f"No module named {name!r}: an answer is marked without it")
            return
        else:
            good = not event.startswith(CLOSED)
        if not good:
            what = f": {args[0]}" if args and isinstance(args[0], text) else ""
            raise PermissionError(f"not open to an answer that is marked: {event}{what}")

    for place, name in ((subprocess, "_fork_exec"), (sys.modules.get("_posixsubprocess"), "fork_exec")):
        if hasattr(place, name):  # the one way to a process that raises no event
            delattr(place, name)
    sys.addaudithook(audit)


# --- Linux


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def adopt() -> None:
    """Become the parent of what a child leaves behind, so that it can be ended."""
    if libc := _libc():
        libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def end_with_parent() -> None:
    if libc := _libc():
        libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL


def _landlock(readable: Sequence[str], scratch: str) -> None:
    """https://docs.kernel.org/userspace-api/landlock.html; nothing happens where the kernel has none."""
    libc = _libc()
    version = libc.syscall(444, None, 0, 1) if libc else 0
    if version < 1:
        return
    every = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1  # kinds of access to files that it knows
    attributes = struct.pack("=QQQ", every, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]  # TCP, signals
    rules = libc.syscall(444, attributes, len(attributes), 0)
    for path, access in [*((path, READ_FILE | READ_DIRECTORY) for path in readable), (scratch, every & ~1)]:
        access &= every if os.path.isdir(path) else READ_FILE
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        libc.syscall(445, rules, 1, struct.pack("=Qi", access, opened), 0)
        os.close(opened)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    libc.syscall(446, rules, 0)
    os.close(rules)

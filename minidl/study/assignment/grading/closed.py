"""The environment that a class is marked in: Python's library, NumPy and SciPy, a copy of one student's files, and a
folder for what is written. minidl, with all that knows an answer, is not in it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..runner import CHILD, StudentProcess

PACKAGES = ("numpy", "scipy")
HARMLESS = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # of the environment's variables


class Closed:
    """Starts processes for students' code, in a folder that other users may pass through.

    allow: packages that an answer may import, beside NumPy and SciPy. python: an interpreter of another environment,
    which has NumPy; all that is installed there may be imported. user: the account that the code runs as, for which the
    marker must be root.
    """

    def __init__(self, folder: Path, allow: Sequence[str] = (), python: str = "", user: str = ""):
        self.folder, self.user = folder, user
        self.child, self.scratch, self.packages = folder / "child", folder / "scratch", folder / "packages"
        folder.chmod(0o711)
        shutil.copytree(CHILD, self.child, ignore=shutil.ignore_patterns("__pycache__"))
        self.scratch.mkdir()
        self.scratch.chmod(0o1777 if user else 0o700)
        self.packages.mkdir()
        if python:
            self.command, self.paths = [python, "-I", "-B"], []
            self.readable = [str(Path(python).absolute().parent.parent)]
        else:
            self.command = [sys.executable, "-I", "-S", "-B"]
            self.paths, self.readable = self._link([*PACKAGES, *allow])

    def _link(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """A folder that holds these packages and no other. Returns what to search for modules, and what to read."""
        places = []
        for name in names:
            spec = find_spec(name)
            if spec is None and name not in PACKAGES:
                raise ValueError(f"--allow {name}: there is no such package in the marker's environment")
            if spec is not None and spec.origin:
                package = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
                places += [package, *package.parent.glob(f"{name}.libs"), *package.parent.glob(f".{name}.dylibs")]
        try:
            for place in places:
                (self.packages / place.name).symlink_to(place)
        except OSError:  # Windows, without the right to make links
            return list(dict.fromkeys(str(place.parent) for place in places)), list(map(str, places))
        return [str(self.packages)], [str(self.packages), *map(str, places)]

    def process(self) -> StudentProcess:
        kept = {name: os.environ[name] for name in HARMLESS if name in os.environ}
        return StudentProcess(
            self.command,
            self.paths,
            self.readable,
            {**kept, "TMPDIR": str(self.scratch), "LC_ALL": "C.UTF-8"},
            self.child,
            self.user or None,
        )

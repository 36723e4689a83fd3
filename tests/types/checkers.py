"""What type checkers make of the package as it is installed: ``python -m tests.types.checkers``, after
``pip install -e ".[types]"``. The exit code is 0 if pyright and mypy find nothing.

They read a user's file (user.py), and pyright a list of all public names, of which none may be of unknown type.
"""

import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

PUBLIC = {
    "md": "minidl",
    "F": "minidl.functional",
    "nn": "minidl.nn",
    "init": "minidl.nn.init",
    "optim": "minidl.optim",
    "data": "minidl.data",
    "train": "minidl.train",
}  # modules whose names are the users', by what users call them
USER = Path(__file__).with_name("user.py").resolve()
STRICT = ("--strict", "--disallow-any-expr", "--disallow-any-decorated", "--disallow-any-unimported")


def every_name() -> str:
    """A file that names all that is public."""
    imports = [f"import {module} as {name}" for name, module in PUBLIC.items()]
    names = [f"    {name}.{member}," for name, module in PUBLIC.items() for member in import_module(module).__all__]
    return "\n".join(["# pyright: strict", *imports, "names: list[object] = [", *names, "]\n"])


def main() -> int:
    """Run both; the exit code."""
    with tempfile.TemporaryDirectory() as folder:  # not here, where minidl lies beside: as in a user's folder
        Path(folder, "names.py").write_text(every_name())
        Path(folder, "user.py").write_text(USER.read_text())
        programs = (
            ("pyright", "--pythonpath", sys.executable, "user.py", "names.py"),
            ("mypy", *STRICT, "--cache-dir", os.devnull, "user.py"),
        )
        codes = [subprocess.run([sys.executable, "-m", *program], cwd=folder).returncode for program in programs]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())

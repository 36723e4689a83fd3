"""The command line of all tasks, and the one place where an exception becomes a line on stderr and an exit code.

0 is success, 1 a failure, 2 a command line that asks for something impossible, 130 Ctrl-C.
"""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import sys
from pathlib import Path

import tasks

from .command import UsageError, suggestion

USAGE = """usage: python -m tasks NAME [options]

tasks:
{names}

python -m tasks NAME --help shows the options of one. --traceback before NAME shows where an error arose."""


def names() -> list[str]:
    """The packages in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(tasks.__path__) if module.ispkg)


def describe(name: str) -> str:
    """The first line of a task's docstring, read without importing it."""
    source = Path(tasks.__path__[0], name, "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "no description").splitlines()[0]


def run(argv: list[str]) -> int:
    """List the tasks, or run the one that is named."""
    known = names()
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, known))
        print(USAGE.format(names="\n".join(f"  {name:<{width}}  {describe(name)}" for name in known)))
        return 0
    if argv[0] not in known:
        hint = suggestion(argv[0], known) or f"; there is {', '.join(known)}"
        raise UsageError(f"{argv[0]!r} is not a task{hint}")
    return importlib.import_module(f"tasks.{argv[0]}").main(argv[1:]) or 0


def line(error: BaseException) -> str:
    """What to say of an error: its message; its type too, where the message may not stand alone."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    if isinstance(error, ImportError):
        return f'{error}; the tasks need more than the engine: pip install -e ".[tasks]"'
    if isinstance(error, MemoryError):
        return f"out of memory: {error}"
    known = isinstance(error, (UsageError, ValueError, RuntimeError, OSError, ArithmeticError))
    return str(error) if known and str(error) else f"{type(error).__name__}: {error}"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    traceback = argv[:1] == ["--traceback"]
    try:
        return run(argv[1:] if traceback else argv)
    except BrokenPipeError:  # the reader of a pipe has left: head, less
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as stop:
        print(f"\nminidl: {stop if str(stop) else 'interrupted'}", file=sys.stderr)
        return 130
    except Exception as error:
        if traceback:
            raise
        print(f"minidl: error: {line(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


if __name__ == "__main__":
    sys.exit(main())

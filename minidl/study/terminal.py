"""What all command lines share: a parser that fails in one line, and the one place where an exception becomes a line on
stderr and an exit code.

0 is success, 1 a failure, 2 a command line that asks for something impossible, 130 Ctrl-C. A command may have others.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from ..core.advice import install
from ..ranks.group import report
from ..table import table
from .page import Shown


class UsageError(Exception):
    """The command line asks for something impossible. The message is one line; the exit code is 2."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError, with a suggestion for an option or a choice that is misspelt."""

    def __init__(self, **options: Any):
        # no abbreviations: --step, a slip of --seed or --steps, would train and write over a run
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            asked = message.removeprefix(prefix).split()[0]
            message = f"{asked} is not an option of {self.prog}{suggestion(asked, self._option_string_actions)}"
        elif chosen := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            message += suggestion(chosen[1], [name.strip(" '") for name in chosen[2].split(",")])
        raise UsageError(f"{message}; see {self.prog} --help")

    def add_views(self) -> None:
        """Add --html PATH and --json: see `deliver`."""
        self.add_argument("--html", metavar="PATH", type=target, help="also write the page")
        self.add_argument("--json", action="store_true", help="print JSON in place of the text")


def target(path: str) -> str:
    """The type of an option that names a file to write: refused before the work if its folder is missing."""
    if not Path(path).parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: there is no folder {Path(path).parent}")
    return path


def deliver(found: Shown, options: argparse.Namespace) -> None:
    """Write the page of a result if --html asks for it, and print the result: as JSON with --json, else as text."""
    if options.html:  # before the text: the reader of a pipe may leave
        found.html(options.html)
    print(found.json() if options.json else found.text())


def suggestion(word: str, known: Iterable[str]) -> str:
    """'; did you mean NAME?', or nothing if no known name is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


@dataclass(frozen=True)
class Commands:
    """A program of several commands: ``PROGRAM NAME [options]`` runs ``main(argv)`` of the module of that name.

    modules: the module of each name; the first line of its docstring describes it. extra: what to install where an
    import fails.
    """

    program: str
    kind: str  # what a command is: "task"
    modules: Mapping[str, str]
    extra: str

    def main(self, argv: list[str] | None = None) -> int:
        """Run the command line; the exit code."""
        argv = sys.argv[1:] if argv is None else argv
        traceback = argv[:1] == ["--traceback"]
        try:
            return self.run(argv[1:] if traceback else argv)
        except BrokenPipeError:  # the reader of a pipe has left: head, less
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt as stop:
            return self.ended(stop, str(stop) or "interrupted", 130, "\nminidl: ")
        except Exception as error:
            if traceback:
                raise
            code = 2 if isinstance(error, UsageError) else 1
            return self.ended(error, self.line(error), code, "minidl: error: ")

    def ended(self, error: BaseException, cause: str, code: int, start: str) -> int:
        """Say why the command ends: once, whatever the number of ranks."""
        report(error, code, lambda who: print(f"{start}{who}{cause}", file=sys.stderr))
        return code

    def run(self, argv: list[str]) -> int:
        """List the commands, or run the one that is named."""
        if not argv or argv[0] in ("-h", "--help"):
            print(self.usage())
            return 0
        if argv[0] not in self.modules:
            hint = suggestion(argv[0], self.modules) or f"; there is {', '.join(self.modules)}"
            raise UsageError(f"{argv[0]!r} is not a {self.kind}{hint}")
        return importlib.import_module(self.modules[argv[0]]).main(argv[1:]) or 0

    def usage(self) -> str:
        """The list of the commands, a line each."""
        lines = table([(name, self.describe(name)) for name in self.modules], indent="  ")
        return "\n".join([
            f"usage: {self.program} NAME [options]\n\n{self.kind}s:", *lines,
            f"\n{self.program} NAME --help shows the options of one. "
            "--traceback before NAME shows where an error arose.",
        ])  # fmt: skip

    def describe(self, name: str) -> str:
        """The first line of the docstring of a command's module, read without importing it."""
        source = Path(find_spec(self.modules[name]).origin).read_text(encoding="utf-8")
        return (ast.get_docstring(ast.parse(source)) or "no description").splitlines()[0]

    def line(self, error: BaseException) -> str:
        """What to say of an error: its message; its type too, where the message may not stand alone."""
        if isinstance(error, OSError) and error.filename is not None:
            return f"{error.filename}: {error.strerror or error}"
        if isinstance(error, ImportError):
            return f"{error}; the {self.kind}s need more than the engine: {install(self.extra)}"
        if isinstance(error, MemoryError):
            return f"out of memory: {error}"
        known = isinstance(error, (UsageError, ValueError, RuntimeError, OSError, ArithmeticError))
        return str(error) if known and str(error) else f"{type(error).__name__}: {error}"


def counted(steps: Iterable[Any], what: str) -> Iterable[Any]:
    """The steps, under a progress bar once they have taken two seconds, on a terminal and if tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return steps
    return tqdm(steps, desc=what, delay=2, leave=False, dynamic_ncols=True, disable=None)

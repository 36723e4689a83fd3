"""The command line of the labs: list them, or run one and leave its numbers and its figure."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import pkgutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from minidl.files.atomic import replacing
from minidl.ranks.group import connect
from minidl.ranks.share import on_first

from .. import command, labs
from ..command import Parser, UsageError, progress, suggestion, writable
from ..frame import add_output
from ..options import add_settings, given
from ..plot import DPI
from ..run import require_none, write_text

PROGRAM = f"{command.PROGRAM} labs"
NUMBERS, FIGURE, CELLS = "numbers.json", "figure.png", "cells"


def names() -> list[str]:
    """The modules in this folder that are labs: not this one, nor parts of a lab, which have a _ in their name."""
    found = (module.name for module in pkgutil.iter_modules(labs.__path__) if not module.ispkg)
    return sorted(name for name in found if name != "cli" and "_" not in name)


def describe(name: str) -> str:
    """The first line of a lab's docstring, read without importing it."""
    source = Path(labs.__path__[0], f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "no description").splitlines()[0]


def main(argv: list[str]) -> int:
    """List the labs, or run the one that is named; the exit code."""
    known = names()
    if not argv or argv[0].startswith("-"):
        _list(known).parse_args(argv)
        _list(known).print_help()
        return 0
    name = argv[0]
    if name not in known:
        hint = suggestion(name, known) or f"; there is {', '.join(known)}"
        raise UsageError(f"{name!r} is not a lab{hint}")
    conduct(importlib.import_module(f"tasks.labs.{name}"), f"{PROGRAM} {name}", f"runs/labs/{name}", argv[1:])
    return 0


def conduct(lab: ModuleType, program: str, out: str, argv: list[str]) -> None:
    """Run one lab with the options in `argv`; `out` is where results go unless they say otherwise.

    Of several ranks on the first: a lab compares small networks, whose numbers are to be those of one process.
    """
    options = parser(lab, program, out).parse_args(argv)
    on_first(connect(), run, lab, chosen(lab, options), writable(options.out), options.quiet, options.overwrite)


def _list(known: list[str]) -> Parser:
    width = max(map(len, known))
    lines = "\n".join(f"  {name:<{width}}  {describe(name)}" for name in known)
    epilog = f"labs:\n{lines}\n\n{PROGRAM} NAME --help shows the options of one; docs/labs/NAME.md says what to see."
    return Parser(prog=PROGRAM, usage=f"{PROGRAM} NAME [options]", epilog=epilog)


def parser(lab: ModuleType, program: str, out: str) -> Parser:
    """An option for each field of the lab's Settings; one that is not given is absent."""
    top = Parser(prog=program, description=lab.__doc__.splitlines()[0])
    add_settings(top, lab.Settings)
    add = top.add_argument_group("running").add_argument
    add("--quick", action="store_true", help="a small case, in seconds: its numbers mean little")
    if hasattr(lab, "FULL"):
        add("--full", action="store_true", help="the case of the page, in hours")
    add_output(add, out)
    return top


def chosen(lab: ModuleType, options: argparse.Namespace) -> Any:
    """The settings: what is given, and for the rest the defaults, or the small or the full case."""
    full = getattr(options, "full", False)
    if options.quick and full:
        raise UsageError("--quick is the smallest case, --full the largest: give one of them")
    base = lab.QUICK if options.quick else lab.FULL if full else lab.Settings()
    return replace(base, **given(lab.Settings, options))


def run(lab: ModuleType, settings: Any, out: Path, quiet: bool, overwrite: bool = False) -> None:
    """Measure; leave the numbers and the figure in `out`; print what is to be seen.

    Raises UsageError if there are numbers that may not be overwritten.
    """
    if not overwrite:
        require_none(out, NUMBERS)
    start = time.perf_counter()
    numbers = measured(lab, settings, partial(progress, quiet=quiet), out)
    seconds = time.perf_counter() - start
    claims = lab.claims(numbers)
    content = {"settings": asdict(settings), "claims": claims, "numbers": numbers}
    write_text(out / NUMBERS, json.dumps(content, indent=1) + "\n")
    with replacing(out / FIGURE) as file:
        lab.draw(numbers).savefig(file, dpi=DPI, format="png")
    print("\n".join(claims))
    print(f"measured in {seconds:.0f} s; in {out}: {NUMBERS}, {FIGURE}")


def measured(lab: ModuleType, settings: Any, progress: Callable, out: Path | None = None) -> dict[str, Any]:
    """What the lab measures, as it comes back from a file. Raises ValueError if a number is not finite."""
    folder = [out / CELLS] if out and getattr(lab, "KEEPS", False) else []
    return json.loads(json.dumps(lab.measure(settings, progress, *folder), allow_nan=False))

"""What the command lines of all tasks share: kinds of numbers, progress, folders."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minidl.device import NAMES, resolve
from minidl.study.terminal import Parser, UsageError, suggestion

__all__ = [
    "PROGRAM", "Parser", "UsageError", "add_device", "device", "each", "progress", "real", "suggestion", "whole",
    "writable",
]  # fmt: skip

_called = Path(sys.argv[0])  # how this program was started: what messages advise is to be started alike
PROGRAM = "minidl tasks" if "minidl" in (_called.stem, _called.parent.name) else "python -m tasks"


def add_device(add: Callable[..., Any]) -> None:
    """The option --device of every task; `add` is the add_argument of a parser or of a group."""
    add("--device", choices=NAMES, default="cpu", help="auto: the gpu if there is one (cpu)")


def device(name: str) -> str:
    """"cpu" or "gpu" for what --device says. Raises UsageError if there is no such device here."""
    try:
        return resolve(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: {error}") from None


def whole(low: int) -> Callable[[str], int]:
    """The type of an option that is a whole number of at least `low`."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < low:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {low}, got {text!r}")
        return value

    return number


def real(low: float, *, above: bool = False) -> Callable[[str], float]:
    """The type of an option that is a finite number of at least `low`, or above it."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and (value > low if above else value >= low)):
            bound = f"{'above' if above else 'of at least'} {low:g}"
            raise argparse.ArgumentTypeError(f"must be a number {bound}, got {text!r}")
        return value

    return number


@contextmanager
def progress(label: str, total: int, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, a line elsewhere, nothing if quiet; what it gives is called after each piece of work."""
    if quiet or not sys.stderr.isatty():
        if not quiet:
            print(f"{label} ...", file=sys.stderr, flush=True)
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=label, dynamic_ncols=True, leave=False) as bar:
        yield bar.update


def each(items: Iterable[Any], show: Callable[[], object]) -> Iterator[Any]:
    """The items, one after another; ``show()`` is called after the work on each, to move a bar of `progress`."""
    for item in items:
        yield item
        show()


def writable(name: str) -> Path:
    """The folder of results, made if need be."""
    out = Path(name)
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise PermissionError(13, "cannot be written to; choose another --out", name)
    return out

"""What the command lines of all tasks share: a parser that fails in one line, and the kinds of numbers it takes."""

from __future__ import annotations

import argparse
import difflib
import math
from collections.abc import Callable, Iterable
from typing import Any, NoReturn


class UsageError(Exception):
    """The command line asks for something impossible. The message is one line; the exit code is 2."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError, with a suggestion for an option that is misspelt."""

    def __init__(self, **options: Any):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            asked = message.removeprefix(prefix).split()[0]
            message = f"{asked} is not an option of {self.prog}{suggestion(asked, self._option_string_actions)}"
        raise UsageError(f"{message}; see {self.prog} --help")


def suggestion(word: str, known: Iterable[str]) -> str:
    """'; did you mean NAME?', or nothing if no known name is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


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

"""What is wrong with a user's data, found before anything is trained on it."""

from __future__ import annotations

from typing import NamedTuple

LEFT_OUT = "left out"


class Fault(NamedTuple):
    """One line that names the record or the file, and the one it is about, if it is about one alone.

    An error stops, a warning does not, a note says how data is read; what is left out would have been an error.
    """

    kind: str
    line: str
    record: object = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.line}"

    @property
    def stops(self) -> bool:
        """Whether it is an error."""
        return self.kind == "error"

    @property
    def skippable(self) -> bool:
        """Whether it is an error of one record, without which the others can do."""
        return self.stops and self.record is not None

    def skipped(self) -> Fault:
        """The line about a record that is left out."""
        return self._replace(kind=LEFT_OUT)


def error(line: str, record: object = None) -> Fault:
    """A fault for which training must not start."""
    return Fault("error", line, record)


def warning(line: str) -> Fault:
    """A fault that may be meant."""
    return Fault("warning", line)

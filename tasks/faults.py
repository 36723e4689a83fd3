"""What is wrong with a user's data, found before anything is trained on it."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One line that names the record or the file. An error stops, a warning does not, a note says how data is read."""

    kind: str
    line: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.line}"

    @property
    def stops(self) -> bool:
        """Whether it is an error."""
        return self.kind == "error"


def error(line: str) -> Fault:
    """A fault for which training must not start."""
    return Fault("error", line)


def warning(line: str) -> Fault:
    """A fault that may be meant."""
    return Fault("warning", line)

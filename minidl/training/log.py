"""The log of a training run: the numbers of each step, as lines of JSON or as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import BinaryIO

from ..files.atomic import replacing

Record = dict[str, float]  # of one step: its number, lr, every term of the loss, ...


class Log:
    """A file that starts with the steps before `start`, as an earlier part of the run has left them."""

    file: BinaryIO

    def write(self, record: Record) -> None:
        """Add a step."""
        raise NotImplementedError(f"{type(self).__name__} defines no write(self, record)")

    def sync(self) -> None:
        """Force what was written to disk."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


class JsonLog(Log):
    """A line of JSON for each step."""

    def __init__(self, path: str | os.PathLike[str], start: int):
        self.file = open(path, "a+b")  # noqa: SIM115
        self.file.truncate(self._end_of(start))

    def _end_of(self, start: int) -> int:
        """Where the lines of the steps before `start` end, in bytes."""
        self.file.seek(0)
        end = 0
        for line in self.file:
            if not line.endswith(b"\n") or json.loads(line)["step"] >= start:
                break
            end += len(line)
        return end

    def write(self, record: Record) -> None:
        """Add a line; what JSON has no number for (NaN, infinities) is null."""
        finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
        self.file.write(json.dumps(finite).encode() + b"\n")
        self.file.flush()


class CsvLog(Log):
    """A row for each step, and a column for each number, empty in steps without it."""

    def __init__(self, path: str | os.PathLike[str], start: int):
        self.path = Path(path)
        self.names, rows = self._rows(start) if start else ([], [])
        self._rewrite(rows)

    def _rows(self, start: int) -> tuple[list[str], list[list[str]]]:
        """The names of the columns, and the rows of the steps before `start`. A half line at the end is none."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        names, *rows = [*csv.reader(line for line in text.splitlines(keepends=True) if line.endswith("\n"))] or [[]]
        if names[:1] not in ([], ["step"]):
            raise ValueError(f"{self.path} is no log of a run: its first column is {names[0]!r}, not 'step'")
        return names, [row for row in rows if int(row[0]) < start]

    def _rewrite(self, rows: list[list[str]]) -> None:
        """The file anew, with all columns that are known."""
        with replacing(self.path) as file:
            for row in [self.names] * bool(self.names) + rows:
                file.write(_line(row + [""] * (len(self.names) - len(row))))
        self.file = open(self.path, "ab")  # noqa: SIM115

    def write(self, record: Record) -> None:
        """Add a row, and columns for what no step before had."""
        if new := [name for name in record if name not in self.names]:
            self.file.close()
            rows = self._rows(int(record["step"]))[1]
            self.names += new
            self._rewrite(rows)
        self.file.write(_line([repr(record[name]) if name in record else "" for name in self.names]))
        self.file.flush()


def _line(row: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode()

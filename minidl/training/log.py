"""The log of a training run: a line of JSON for each step."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

Record = dict[str, float]  # of one step: its number, lr, every term of the loss, ...


class Log:
    """A file of JSON lines that starts with the lines of the steps before `start`."""

    def __init__(self, path: str | os.PathLike[str] | None, start: int):
        self.file = None
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
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
        if self.file is not None:
            finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
            self.file.write(json.dumps(finite).encode() + b"\n")
            self.file.flush()

    def sync(self) -> None:
        """Force what was written to disk."""
        if self.file is not None:
            os.fsync(self.file.fileno())

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        if self.file is not None:
            self.file.close()

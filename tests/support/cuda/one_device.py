"""The device of the stand-in for CuPy: there is one, and all work on it is done at once."""

from __future__ import annotations

from typing import Any


class Device:
    """The device, number 0."""

    id = 0
    compute_capability = "90"

    def __init__(self, number: int = 0):
        if number != 0:
            raise ValueError(f"there is one device, 0: got {number}")

    def use(self) -> None: ...

    def synchronize(self) -> None: ...

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: Any) -> None: ...


class Stream:
    """An order of work."""

    null: Stream

    def synchronize(self) -> None: ...


class Event:
    """A moment in a stream."""

    def record(self, stream: Stream | None = None) -> None: ...

    def synchronize(self) -> None: ...


class MemoryPool:
    """Where CuPy keeps memory that nobody uses."""

    def used_bytes(self) -> int:
        return 0

    def total_bytes(self) -> int:
        return 0

    def free_all_blocks(self) -> None: ...


Stream.null = Stream()

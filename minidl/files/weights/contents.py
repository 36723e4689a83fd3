"""What a file of weights holds: named entries, read when they are asked for, and the rest by its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...kernels.cpu.workers import share
from ..reading import Entry, WeightsError
from .names import prefix_under

DEPTH_LIMIT = 32
VISITS_LIMIT = 1_000_000


@dataclass
class Contents:
    """The entries of a file, in its order.

    form: what kind of file it is. entries: (name, entry), nested names joined with dots. prefix: what the names of the
    weights begin with where the file says it. others: (name, in words) of what is no array. notes: what its user should
    know, a line each.
    """

    form: str
    entries: list[tuple[str, Entry]]
    prefix: str = ""
    others: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def prefix_of(self, key: str | None) -> str:
        """What the names under `key` begin with; without a key, those of the weights."""
        return self.prefix if key is None else prefix_under((name for name, _ in self.entries), key)

    def under(self, key: str | None) -> dict[str, Entry]:
        """The entries whose names are under `key`, which is left out; without a key, the weights."""
        prefix = self.prefix_of(key)
        found: dict[str, Entry] = {}
        for name, entry in self.entries:
            if name.startswith(prefix):
                name = name.removeprefix(prefix)
                if name in found:
                    raise WeightsError(f"two entries are called {name!r} once nested names are joined with dots")
                found[name] = entry
        return found


def read_all(entries: dict[str, Entry]) -> dict[str, np.ndarray]:
    """The arrays of the entries, read on all threads if they are large."""
    arrays: dict[str, Any] = dict.fromkeys(entries)

    def read(name: str) -> None:
        arrays[name] = entries[name].read()

    numbers = sum(int(np.prod(entry.shape, dtype=np.float64)) for entry in entries.values())
    share(read, [(name,) for name in entries], cost=numbers, products=False)
    return arrays


def leaves(tree: Any, parts: Any = None) -> Iterator[tuple[str, Any]]:
    """(path joined with dots, value) of everything in a nest of dicts and lists. A list of numbers is one value.

    A key that is no name, such as a tuple, is "#" and its place. ``parts(value)`` gives the dict or list that another
    value is to be taken for, or None.
    """
    stack, visits = [("", tree, 0)], 0
    while stack:
        path, value, depth = stack.pop()
        visits += 1
        if depth > DEPTH_LIMIT or visits > VISITS_LIMIT:  # a small pickle can nest for ever, in itself too
            raise WeightsError(f"the entries are nested deeper than {DEPTH_LIMIT}, or more than {VISITS_LIMIT}")
        inner = value if isinstance(value, (dict, list, tuple)) else parts and parts(value)
        if isinstance(inner, dict):
            items: Any = inner.items()
        elif isinstance(inner, (list, tuple)) and not _numeric(inner):
            items = list(enumerate(inner))
        else:
            yield path, value
            continue
        start = f"{path}." if path else ""
        below = [(f"{start}{_name(key, i)}", entry, depth + 1) for i, (key, entry) in enumerate(items)]
        stack += reversed(below)


def _name(key: Any, place: int) -> str:
    return str(key) if isinstance(key, (str, int, float)) else f"#{place}"


def _numeric(values: Any) -> bool:
    return bool(values) and all(isinstance(value, (bool, int, float)) for value in values)

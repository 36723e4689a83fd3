"""Names of arrays: which part of a file they are, and what others put before them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..reading import WeightsError

NESTED = "state_dict"  # where most checkpoints have the weights


def prefix_under(names: Iterable[str], key: str | None) -> str:
    """What the names of the entry `key` begin with; of `key` in the state_dict if it is there. No key: all names."""
    if key is None:
        return ""
    names = list(names)
    for prefix in (f"{key}.", f"{NESTED}.{key}."):
        if any(name.startswith(prefix) for name in names):
            return prefix
    first = dict.fromkeys(name.partition(".")[0] for name in names)
    listed = ", ".join(list(first)[:10]) + (f" and {len(first) - 10} more" if len(first) > 10 else "")
    raise WeightsError(f"nothing is under {key[:60]!r}; the entries are {listed or 'none'}")


def without(arrays: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The arrays with `part`, such as "module" or "net.encoder", left out of their names wherever it stands."""
    pattern = re.compile(rf"(^|(?<=\.)){re.escape(part.strip('.'))}\.")
    renamed: dict[str, Any] = {}
    for name, array in arrays.items():
        short = pattern.sub("", name)
        if short in renamed:
            raise WeightsError(f"two entries are called {short!r} once {part!r} is left out of the names")
        renamed[short] = array
    if renamed.keys() == arrays.keys():
        raise WeightsError(f"no name has the part {part!r}; the first is {next(iter(arrays), 'none')!r}")
    return renamed

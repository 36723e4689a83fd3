"""What a student's function returned, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

LARGEST = 10_000  # entries of an output; no right answer has more


class NoAnswer(Exception):
    """The function returned something that is no answer; the message says what."""


def arrays(returned: Any, names: list[str]) -> list:
    """What was returned, as one array for each output. Raises NoAnswer."""
    if returned is None:
        raise NoAnswer("the function returned None: is there a return at its end?")
    if len(names) == 1:
        returned = (returned,)
    elif not isinstance(returned, (tuple, list)) or len(returned) != len(names):
        got = f"{len(returned)} things" if isinstance(returned, (tuple, list)) else f"one {type(returned).__name__}"
        raise NoAnswer(f"the function returned {got}; {len(names)} are asked for: {', '.join(names)}")
    found = []
    for name, value in zip(names, returned):
        try:
            value = np.asarray(value)
        except ValueError:
            raise NoAnswer(f"{name} is a list whose rows differ in length") from None
        if value.dtype.kind not in "biuf":
            what = "complex numbers" if value.dtype.kind == "c" else f"of type {value.dtype}"
            raise NoAnswer(f"{name} is {what}; real numbers are asked for")
        if value.size > LARGEST:
            raise NoAnswer(f"{name} has shape {value.shape}: far more entries than were asked for")
        found.append(value)
    return found

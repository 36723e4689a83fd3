"""Is something still what it was?"""

from __future__ import annotations

from typing import Any

import numpy as np

PLAIN = (bool, int, float, complex, str, type(None))  # told apart by value; all else by identity
NUMBERS = (float, complex, np.generic)  # 0.0 and -0.0 are equal, nan and nan are not


def contents(x: Any) -> Any:
    """What tells whether an attribute is still the same: numbers and text by value, containers by what is in them, all
    else by identity."""
    if type(x) in (tuple, list):
        return type(x), [contents(part) for part in x]
    if type(x) is dict:
        return dict, [(name, contents(part)) for name, part in x.items()]
    return (type(x), repr(x)) if type(x) in PLAIN else One(x)


class One:
    """An object that equals itself alone."""

    def __init__(self, x: Any):
        self.x = x

    def __eq__(self, other: object) -> bool:
        return type(other) is One and other.x is self.x

    __hash__ = None

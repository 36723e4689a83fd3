"""Sums of products of letters and numbers, written as on paper: ay + bz, 2a + 3b."""

from __future__ import annotations

import string
from collections.abc import Iterable

from ..page import number

Entry = str | float  # of a kernel: a letter, or a number


def names(count: int, taken: Iterable[Entry]) -> list[str]:
    """Letters a, b, c, ... that the kernel does not use; a1, a2, ... where they do not suffice."""
    taken = set(taken)
    free = [c for c in string.ascii_lowercase if c not in taken]
    return free[:count] if count <= len(free) else [f"{free[0]}{i + 1}" for i in range(count)]


def shown(entry: Entry) -> str:
    """A letter as it is, a number as everywhere."""
    return entry if isinstance(entry, str) else number(entry)


def product(variable: str, factor: Entry) -> str:
    """One term: "ay", "2a", "a" for 1, "-a" for -1; "" for 0 and for a variable that is 0."""
    if variable == "0" or factor == 0:
        return ""
    if isinstance(factor, str):
        return variable + factor
    return {1.0: "", -1.0: "-"}.get(float(factor), number(factor)) + variable


def total(terms: Iterable[str]) -> str:
    """Terms added up: "ay + bz", "a - 2b"; "0" if there are none."""
    text = ""
    for term in filter(None, terms):
        if not text:
            text = term
        else:
            text += f" - {term[1:]}" if term.startswith("-") else f" + {term}"
    return text or "0"


def dot(factors: Iterable[Entry], variables: Iterable[str]) -> str:
    """``sum of factor * variable``."""
    return total(product(v, f) for f, v in zip(factors, variables))


def added(entries: Iterable[Entry]) -> str:
    """The sum of entries of a kernel: "x + z", or a number if all are numbers."""
    entries = [e for e in entries if e != 0]
    if all(not isinstance(e, str) for e in entries):
        return number(sum(entries))
    return total(shown(e) for e in entries)

"""Tables as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby


def table(
    rows: Sequence[Sequence[str]], align: str = "<", *, indent: str = "", gap: str = "  ", most: int = 120
) -> list[str]:
    """The rows as lines, each column as wide as its widest cell, up to `most` letters.

    align: "<" (left) or ">" (right) for each column; the last one given holds for the columns after it.
    """
    widths = [min(max(map(len, column)), most) for column in zip(*rows, strict=True)]
    sides = align.ljust(len(widths), align[-1])
    return [
        indent + gap.join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths)).rstrip()
        for row in rows
    ]


def grouped(rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """A table of (heading, row): the heading of each group stands above its rows, an empty line between groups."""
    lines = iter(table([row for _, row in rows], indent="  "))
    found: list[str] = []
    for heading, group in groupby(rows, key=lambda pair: pair[0]):
        found += ["", heading, *(next(lines) for _ in group)]
    return found[1:]

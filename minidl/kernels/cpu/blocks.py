"""What is worked on at a time: ranges of samples and rows, as large as the cache allows and enough for all threads.

They follow from shapes alone, so that the bits of a result do not depend on the machine.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

SHARES = 8  # blocks that a batch is cut into, if they are still large enough
LEAST = 1 << 16  # entries of an array that are large enough a block: with fewer, threads wait for the GIL


def even(n: int, most: int) -> list[slice]:
    """0 ... n in slices of nearly equal length, none longer than `most`."""
    count = max(-(-n // max(most, 1)), 1)
    bounds = [n * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(bounds) if b > a]


@lru_cache(maxsize=1024)
def joined(n: int, length: int, least: int) -> int:
    """How many of n pieces of this length are taken as one, to have `least` numbers: a divisor of n, n if none will."""
    return next((k for k in range(1, n) if n % k == 0 and k * length >= least), n)


def block_size(entries: int, most: int) -> int:
    """How many entries of an array are worked on at a time, where each is worked on alone."""
    return min(max(entries // SHARES, LEAST), most)


def blocks(n: int, rows: int, columns: int, least: int, most: int) -> list[tuple[slice, slice]]:
    """n samples of rows by columns positions in blocks of whole samples, or of some rows of one: (samples, rows).

    A block has at most `most` positions; a batch has SHARES blocks if they can have `least` positions each.
    """
    wanted = min(max(n * rows * columns // SHARES, least), most)
    samples = even(n, wanted // max(rows * columns, 1))
    ranges = even(rows, wanted // max(columns, 1)) if wanted < rows * columns else [slice(0, rows)]
    return [(s, r) for s in samples for r in ranges]

"""The binary tree in which the values of shards are added up.

A node is the sum of the shards low..high-1. It is cut at `middle`, the largest power of two below its width from the
left, and its value is ``value(low, middle) + value(middle, high)``. With 8 shards:

    ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))

The error of such a sum grows with log2 of the number of terms (Higham, "Accuracy and Stability of Numerical
Algorithms", 2002, section 4.2). The value of a node lies in the slot `low`, so an addition is a pair of slots: what
lies in the second is added to the first.
"""

from __future__ import annotations

from collections.abc import Iterator

Addition = tuple[int, int]


def additions(low: int, high: int) -> Iterator[Addition]:
    """The additions that leave the sum of the shards low..high-1 in slot `low`: children before parents."""
    if high - low > 1:
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        yield from additions(low, middle)
        yield from additions(middle, high)
        yield low, middle


def owned(rank: int, size: int, shards: int) -> range:
    """The shards of a rank: neighbours, as even in number as can be, the first ranks having one more."""
    each, more = divmod(shards, size)
    first = rank * each + min(rank, more)
    return range(first, first + each + (rank < more))


def owner(shard: int, size: int, shards: int) -> int:
    """The rank that a shard is computed on."""
    return next(rank for rank in range(size) if shard in owned(rank, size, shards))


def doubles(size: int, shards: int) -> bool:
    """Can ranks exchange their sums in pairs, each pair twice as far apart as the one before (recursive doubling)?

    Then every rank has the whole sum after log2(size) exchanges: a + b and b + a are the same bits.
    """
    return size & (size - 1) == 0 and shards & (shards - 1) == 0

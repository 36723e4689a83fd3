"""Arrays side by side in one flat array, added up over the shards as the tree says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..device import to_device
from ..kernels.cpu.layout import alike
from ..kernels.cpu.update import BLOCK, blockwise
from .group import Alone
from .tree import additions, doubles, owned, owner

BYTES = 4 << 20  # of a bucket of gradients: long enough to be sent at full speed, short enough to be sent early


class Bucket:
    """The sum over all shards of some arrays, which every rank has in the end.

        begin()                  a step begins
        add(shard, i, array)     the i-th array of a shard of this rank; shards come in order, their arrays in any
        close(shard)             those that have not come are zeros: needed only if there are such
        put(shard, arrays)       all of a shard, in one call; None stands for zeros
        advance()                do what can be done now: add, send, receive; True once the sum is there
        total()                  the sum, as views of the bucket: they hold until the next `begin`

    likes: arrays of one dtype, whose shapes and order in memory the sums have. tag: the number of the bucket.
    """

    def __init__(self, likes: Sequence[Any], group: Alone, shards: int, tag: int):
        self.group, self.shards, self.tag = group, shards, tag
        self.dtype = likes[0].dtype
        self.forms = [(like.shape, dense_strides(like)) for like in likes]
        self.starts = np.cumsum([0, *(like.size for like in likes)]).tolist()
        self.first = owned(group.rank, group.size, shards).start
        self.free: list[Slot] = []
        self.slots: dict[int, Slot] = {}  # by the lowest shard of the node whose value they hold
        self.begin()

    def begin(self) -> None:
        self.free += self.slots.values()
        self.slots = {}
        self.newest = -1  # shard whose arrays are all there
        self.missing: set[int] = set()  # of the arrays of the shard after it, once the first of them has come
        self.into: Slot | None = None  # where they go: to a slot of their own, or added to what they are to be added to
        self.adds = False
        self.expected: tuple[int, int] | None = None  # the addition that waits for a shard
        self.steps: Iterator[None] = self._steps()
        self.finished = False

    def add(self, shard: int, i: int, array: Any) -> None:
        self._open(shard)
        self.missing.remove(i)
        self._into(i, to_device(array, "cpu"))
        if not self.missing:
            self._complete(shard)

    def close(self, shard: int) -> None:
        if self.newest < shard:
            self._open(shard)
            for i in self.missing:
                self._into(i, 0)
            self._complete(shard)

    def put(self, shard: int, arrays: Sequence[Any]) -> None:
        for i, array in enumerate(arrays):
            if array is not None:
                self.add(shard, i, array)
        self.close(shard)

    def advance(self) -> bool:
        if not self.finished:
            self.finished = next(self.steps, True) is True
        return self.finished

    def total(self) -> list[np.ndarray]:
        return self.slots[self.first].views

    def _open(self, shard: int) -> None:
        if not self.missing:
            self.missing = set(range(len(self.forms)))
            self.adds = self.expected is not None and self.expected[1] == shard
            if not self.adds:
                self.slots[shard] = self._new()
            self.into = self.slots[self.expected[0] if self.adds else shard]

    def _into(self, i: int, array: Any) -> None:
        write(add if self.adds else np.copyto, self.into.views[i], array)  # zeros are added, too: -0 + 0 is 0

    def _complete(self, shard: int) -> None:
        self.newest, self.missing = shard, set()
        self.advance()

    # --- the steps; each `yield` waits for something

    def _steps(self) -> Iterator[None]:
        rank, size = self.group.rank, self.group.size
        pairs = doubles(size, self.shards)
        for low, middle in additions(0, self.shards):
            here, there = (owner(shard, size, self.shards) for shard in (low, middle))
            if here == there == rank:
                yield from self._add(low, middle)
            elif here == rank and not pairs:
                yield from self._receive(low, there)
            elif there == rank and not pairs:
                yield from self._send(middle, here)
        while self.newest < self.first:
            yield
        if pairs:
            yield from self._exchange()
        else:
            yield from self._broadcast()

    def _add(self, low: int, middle: int) -> Iterator[None]:
        while self.newest < middle:
            self.expected = (low, middle) if self.newest == middle - 1 else None
            yield
        self.expected = None
        if middle in self.slots:  # else it was added when it was put
            write(add, self.slots[low].flat, self.slots[middle].flat)
            self.free.append(self.slots.pop(middle))

    def _receive(self, low: int, rank: int) -> Iterator[None]:
        while self.newest < low:
            yield
        theirs = self._new()
        yield from self._until([self.group.receive(theirs.flat, rank, self.tag)])
        write(add, self.slots[low].flat, theirs.flat)
        self.free.append(theirs)

    def _send(self, middle: int, rank: int) -> Iterator[None]:
        while self.newest < middle:
            yield
        yield from self._until([self.group.send(self.slots[middle].flat, rank, self.tag)])
        self.free.append(self.slots.pop(middle))

    def _exchange(self) -> Iterator[None]:
        """Recursive doubling: after each exchange twice as many ranks hold the same sum."""
        mine, distance = self.slots[self.first], 1
        while distance < self.group.size:
            peer, theirs = self.group.rank ^ distance, self._new()
            requests = [
                self.group.receive(theirs.flat, peer, self.tag), self.group.send(mine.flat, peer, self.tag)
            ]  # fmt: skip
            yield from self._until(requests)
            write(add, mine.flat, theirs.flat)
            self.free.append(theirs)
            distance *= 2

    def _broadcast(self) -> Iterator[None]:
        """From the first rank, along a binomial tree: those who have the sum send it on, twice as many each time."""
        rank, size = self.group.rank, self.group.size
        distance = 1 << rank.bit_length()  # the first one to send to
        if rank:
            self.free += self.slots.values()
            self.slots = {self.first: self._new()}
            sender = rank - distance // 2
            yield from self._until([self.group.receive(self.slots[self.first].flat, sender, self.tag)])
        requests = []
        while rank + distance < size:
            requests.append(self.group.send(self.slots[self.first].flat, rank + distance, self.tag))
            distance *= 2
        yield from self._until(requests)

    def _until(self, requests: list[Any]) -> Iterator[None]:
        while not self.group.done(requests):
            yield

    def _new(self) -> Slot:
        return self.free.pop() if self.free else Slot(self.forms, self.starts, self.dtype)


class Slot:
    """Memory for the value of a node of the tree: flat, and as views of the forms of the arrays."""

    def __init__(self, forms: Sequence[tuple], starts: Sequence[int], dtype: np.dtype):
        self.flat = np.empty(starts[-1], dtype)
        self.views = [
            np.ndarray(shape, dtype, self.flat, start * dtype.itemsize, strides)
            for (shape, strides), start in zip(forms, starts)
        ]


def add(total: np.ndarray, array: np.ndarray) -> None:
    np.add(total, array, out=total)


def write(function: Callable[[np.ndarray, Any], None], into: np.ndarray, array: Any) -> None:
    """``function(into, array)``, entry by entry: of large arrays on all threads, block by block. A number is spread."""
    if into.size > BLOCK and isinstance(array, np.ndarray) and alike(into, array):
        blockwise(function, into, array)
    else:
        function(into, array)


def dense_strides(like: Any) -> tuple[int, ...] | None:
    """The strides of an array that fills its memory in some order of its axes; None (C order) for any other."""
    expected = like.dtype.itemsize
    for stride, length in sorted(zip(like.strides, like.shape)):
        if length > 1:
            if stride != expected:
                return None
            expected *= length
    return like.strides


def filled(likes: Sequence[Any], most: int = BYTES) -> list[list[int]]:
    """The positions of the arrays of each bucket: neighbours of one dtype, from the last to the first, as gradients
    are ready in about that order; at most about `most` bytes each."""
    buckets: list[list[int]] = []
    size = 0
    for i in reversed(range(len(likes))):
        nbytes = likes[i].size * likes[i].dtype.itemsize
        if not buckets or size + nbytes > most or likes[buckets[-1][0]].dtype != likes[i].dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(i)
        size += nbytes
    return buckets

"""Arrays side by side in one flat array, added up over the shards as the tree says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..device import to_device
from .group import Alone
from .tree import additions, doubles, owned, owner

BYTES = 4 << 20  # of a bucket of gradients: long enough to be sent at full speed, short enough to be sent early


class Bucket:
    """The sum over all shards of some arrays, which every rank has in the end.

        begin()               a step begins
        put(shard, arrays)    the arrays of a shard of this rank; shards come in order
        advance()             do what can be done now: add, send, receive; True once the sum is there
        total()               the sum, as views of the bucket: they hold until the next `begin`

    likes: arrays of one dtype, whose shapes and order in memory the sums have. tag: the number of the bucket.
    """

    def __init__(self, likes: Sequence[Any], group: Alone, shards: int, tag: int):
        self.group, self.shards, self.tag = group, shards, tag
        self.dtype = likes[0].dtype
        self.forms = [(like.shape, dense_strides(like)) for like in likes]
        self.starts = np.cumsum([0, *(like.size for like in likes)]).tolist()
        self.first = owned(group.rank, group.size, shards).start
        self.free: list[np.ndarray] = []
        self.slots: dict[int, np.ndarray] = {}  # by the lowest shard of the node whose value they hold
        self.begin()

    def begin(self) -> None:
        self.free += self.slots.values()
        self.slots = {}
        self.newest = -1  # shard that was put
        self.expected: tuple[int, int] | None = None  # the addition that waits for a shard
        self.steps: Iterator[None] = self._steps()
        self.finished = False

    def put(self, shard: int, arrays: Sequence[Any]) -> None:
        """None stands for an array of zeros."""
        if self.expected is not None and self.expected[1] == shard:
            for view, array in zip(self._views(self.slots[self.expected[0]]), arrays):
                np.add(view, 0 if array is None else to_device(array, "cpu"), out=view)  # -0 + 0 is 0
        else:
            slot = self.slots[shard] = self._new()
            for view, array in zip(self._views(slot), arrays):
                view[...] = 0 if array is None else to_device(array, "cpu")
        self.newest = shard
        self.advance()

    def advance(self) -> bool:
        if not self.finished:
            self.finished = next(self.steps, True) is True
        return self.finished

    def total(self) -> list[np.ndarray]:
        return self._views(self.slots[self.first])

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
            self.slots[low] += self.slots[middle]
            self.free.append(self.slots.pop(middle))

    def _receive(self, low: int, rank: int) -> Iterator[None]:
        while self.newest < low:
            yield
        theirs = self._new()
        yield from self._until([self.group.receive(theirs, rank, self.tag)])
        self.slots[low] += theirs
        self.free.append(theirs)

    def _send(self, middle: int, rank: int) -> Iterator[None]:
        while self.newest < middle:
            yield
        yield from self._until([self.group.send(self.slots[middle], rank, self.tag)])
        self.free.append(self.slots.pop(middle))

    def _exchange(self) -> Iterator[None]:
        """Recursive doubling: after each exchange twice as many ranks hold the same sum."""
        mine, distance = self.slots[self.first], 1
        while distance < self.group.size:
            peer, theirs = self.group.rank ^ distance, self._new()
            requests = [self.group.receive(theirs, peer, self.tag), self.group.send(mine, peer, self.tag)]
            yield from self._until(requests)
            mine += theirs
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
            yield from self._until([self.group.receive(self.slots[self.first], sender, self.tag)])
        requests = []
        while rank + distance < size:
            requests.append(self.group.send(self.slots[self.first], rank + distance, self.tag))
            distance *= 2
        yield from self._until(requests)

    def _until(self, requests: list[Any]) -> Iterator[None]:
        while not self.group.done(requests):
            yield

    # --- memory

    def _new(self) -> np.ndarray:
        return self.free.pop() if self.free else np.empty(self.starts[-1], self.dtype)

    def _views(self, slot: np.ndarray) -> list[np.ndarray]:
        starts = [start * slot.itemsize for start in self.starts]
        return [np.ndarray(shape, self.dtype, slot, at, strides) for (shape, strides), at in zip(self.forms, starts)]


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

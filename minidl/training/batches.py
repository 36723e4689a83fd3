"""The order in which training sees its samples.

Whatever is random here is a plain function of a seed and a step: batch 1000 of a resumed run is batch 1000 of the run
that was never stopped, and nothing needs to be saved.

    train, test = data.split(len(images), (0.9, 0.1), seed=0)
    batches = data.Batches(len(train), 32, seed=0)
    for step in range(1000):
        x = images[train[batches(step)]]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..ranks.shards import part

ORDER, SPLIT = 1, 2  # the first key of each one's generators


class Batches:
    """The order in which training sees n samples: ``batches(step)`` is the array of indices of that step's batch.

    Epoch e is a permutation of range(n) that depends on (seed, e) only, cut into batches of `batch_size`; the last
    one is smaller if the size does not divide n, unless `drop_last`. ``len(batches)`` is the number in an epoch.

        >>> batches = data.Batches(10, 4, seed=0)
        >>> len(batches)
        3
        >>> sorted(i for step in range(3) for i in batches(step).tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(self, n: int, batch_size: int, *, seed: int = 0, shuffle: bool = True, drop_last: bool = False):
        if n < 1 or batch_size < 1:
            raise ValueError(f"Batches needs n and batch_size of at least 1, got n={n}, batch_size={batch_size}")
        if drop_last and batch_size > n:
            raise ValueError(f"a batch of {batch_size} out of {n} samples is dropped with drop_last: nothing is left")
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.shuffle, self.drop_last = shuffle, drop_last
        self._latest: tuple[int, np.ndarray] = (-1, np.arange(0))  # an epoch and its order

    def __len__(self) -> int:
        return self.n // self.batch_size if self.drop_last else math.ceil(self.n / self.batch_size)

    def __call__(self, step: int) -> np.ndarray:
        """The indices of the batch of a step, counted from 0 over all epochs."""
        epoch, position = divmod(step, len(self))
        if step < 0:
            raise ValueError(f"steps count from 0, got {step}")
        return self.order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def size(self, step: int) -> int:
        """The number of indices in the batch of a step."""
        return min(self.batch_size, self.n - step % len(self) * self.batch_size)

    def shard(self, step: int, shard: int, shards: int) -> np.ndarray:
        """The indices of one of the shards that the batch of a step is cut into."""
        return self(step)[part(self.size(step), shard, shards)]

    def order(self, epoch: int) -> np.ndarray:
        """All n indices, in the order of an epoch."""
        latest, order = self._latest
        if latest != epoch:
            order = generator(self.seed, ORDER, epoch).permutation(self.n) if self.shuffle else np.arange(self.n)
            order.setflags(write=False)
            self._latest = epoch, order
        return order

    def epoch(self, epoch: int = 0) -> Iterator[np.ndarray]:
        """The batches of one epoch, one after the other."""
        return (self(epoch * len(self) + position) for position in range(len(self)))

    def __iter__(self) -> Iterator[np.ndarray]:
        raise TypeError("an epoch has a number: use batches.epoch(e), or batches(step)")


class RandomBatches:
    """Batches with something random in each sample, of which `fit` can ask for one shard alone.

    A subclass has the `seed`, a `purpose` that no other draws of the seed have, and

        size(step)                   the number of samples in the batch of a step
        samples(step, where, rng)    those of them in the slice `where`, with what is drawn for them

    The batch of a step depends on (seed, step) only; a shard on (seed, step, shard, shards), so on no rank.
    """

    seed: int
    purpose = 0

    def size(self, step: int) -> int:
        raise NotImplementedError(f"{type(self).__name__} defines no size(self, step)")

    def samples(self, step: int, where: slice, rng: np.random.Generator) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no samples(self, step, where, rng)")

    def __call__(self, step: int) -> Any:
        return self.samples(step, slice(0, self.size(step)), generator(self.seed, self.purpose, step))

    def shard(self, step: int, shard: int, shards: int) -> Any:
        where = part(self.size(step), shard, shards)
        return self.samples(step, where, generator(self.seed, self.purpose, step, shard))


def generator(seed: int, *key: int) -> np.random.Generator:
    """A random generator of its own for each key of integers: ``generator(seed, step)`` draws the noise of a step."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def split(n: int, fractions: Sequence[float], *, seed: int) -> list[np.ndarray]:
    """Cut range(n), shuffled, into parts with the given fractions: disjoint arrays of indices.

    A part ends where the sum of fractions so far, times n, rounds to; fractions that add up to 1 leave nothing out.
    """
    total = math.fsum(fractions)
    if not fractions or min(fractions) < 0 or total > 1 + 1e-9:
        raise ValueError(f"split needs fractions of at least 0 that add up to at most 1, got {tuple(fractions)}")
    ends = np.rint(np.cumsum(fractions) * n).astype(int)
    return np.split(generator(seed, SPLIT, n).permutation(n)[: ends[-1]], ends[:-1])

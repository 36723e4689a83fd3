"""Shards: the parts that every batch is cut into, and the random streams of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

SHARDS = 8  # on more than one rank, where nothing else is asked for


def part(n: int, shard: int, shards: int) -> slice:
    """Where the samples of a shard lie among n: as even in number as can be, the first shards having one more."""
    each, more = divmod(n, shards)
    first = shard * each + min(shard, more)
    return slice(first, first + each + (shard < more))


def length(batch: Any) -> int:
    """The number of samples of a batch: of its arrays along their first axis, of its lists.

    A tuple or a dict holds several of these, or None. Raises ValueError if they differ in number.
    """
    lengths = set(_lengths(batch))
    if len(lengths) != 1:
        found = f"its parts have {sorted(lengths)} samples" if lengths else f"a {type(batch).__name__} has no samples"
        raise ValueError(
            f"a batch cannot be cut into shards: {found}; give arrays or lists of as many samples each, in a tuple "
            "or a dict, or define batches.shard(step, shard, shards) and batches.size(step)"
        )
    return lengths.pop()


def _lengths(batch: Any) -> Iterable[int]:
    if isinstance(batch, Mapping):
        batch = tuple(batch.values())
    if isinstance(batch, tuple):
        for each in batch:
            yield from _lengths(each)
    elif isinstance(batch, list):
        yield len(batch)
    elif getattr(batch, "ndim", 0):
        yield batch.shape[0]


def cut(batch: Any, samples: slice) -> Any:
    """These samples of a batch."""
    if isinstance(batch, Mapping):
        return {name: cut(each, samples) for name, each in batch.items()}
    if isinstance(batch, tuple):
        return tuple([cut(each, samples) for each in batch])
    if isinstance(batch, list) or getattr(batch, "ndim", 0):
        return batch[samples]
    return batch


class Sharded:
    """The batches of training, shard by shard.

    `batches` is any function from step to batch, which is cut; or it has ``shard(step, shard, shards)``, which makes
    the samples of one shard alone, and ``size(step)``, the number of samples of all: then a rank reads only its own.
    """

    def __init__(self, batches: Callable[[int], Any], shards: int):
        self.batches, self.shards = batches, shards
        self.whole: tuple[int, Any] = (-1, None)  # the newest batch that was made whole

    def size(self, step: int) -> int:
        return self.batches.size(step) if hasattr(self.batches, "shard") else length(self._whole(step))

    def __call__(self, step: int, shard: int) -> Any:
        if hasattr(self.batches, "shard"):
            return self.batches.shard(step, shard, self.shards)
        whole = self._whole(step)
        return cut(whole, part(length(whole), shard, self.shards))

    def _whole(self, step: int) -> Any:
        if self.whole[0] != step:
            self.whole = step, self.batches(step)
        return self.whole[1]


class Streams:
    """Generators that draw from a stream of their own for each step and shard.

    A step takes a key from each generator, which moves on by that alone; a shard's stream depends on the key and on the
    shard, so on no rank.
    """

    def __init__(self, generators: Iterable[np.random.Generator]):
        self.generators = list({id(g): g for g in generators}.values())
        self.keys: list[list[int]] = []
        self.after: list[Any] = []

    def begin(self) -> None:
        """Take the keys of a step."""
        self.keys = [g.integers(0, 2**63, size=2).tolist() for g in self.generators]
        self.after = [g.bit_generator.state for g in self.generators]

    def enter(self, shard: int) -> None:
        """From here on, draw from the streams of a shard."""
        for generator, key in zip(self.generators, self.keys):
            seeds = np.random.SeedSequence(key, spawn_key=(shard,))
            generator.bit_generator.state = type(generator.bit_generator)(seeds).state

    def end(self) -> None:
        """After the last shard of a step: as if nothing but the keys had been drawn."""
        for generator, state in zip(self.generators, self.after):
            generator.bit_generator.state = state



"""Batches that a thread prepares while the step before them is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any


class Prefetch:
    """`batches`, a function from step to batch, prepared one step ahead by a thread; shard by shard if it has `shard`.

    The values are those of `batches` itself, which must depend on nothing but the step, and on the shard.
    """

    def __init__(self, batches: Callable[[int], Any]):
        self.batches = batches
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self.ahead: dict[tuple[int, ...], tuple[int, Any]] = {}  # of the whole, or of each shard

    def __call__(self, step: int) -> Any:
        return self._next(self.batches, step)

    @property
    def size(self) -> Callable[[int], int]:
        return self.batches.size

    @property
    def shard(self) -> Callable[[int, int, int], Any]:
        """As that of `batches`. Raises AttributeError if it has none."""
        return partial(self._next, self.batches.shard)

    def _next(self, make: Callable, step: int, *shard: int) -> Any:
        known, batch = self.ahead.get(shard, (-1, None))
        if known != step:
            batch = self.thread.submit(make, step, *shard)
        self.ahead[shard] = step + 1, self.thread.submit(make, step + 1, *shard)
        return batch.result()
